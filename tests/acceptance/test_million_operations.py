"""After any number of operations a model has the digest of a fit on the rows that are left.

20,000 operations by default; SKUNLEARN_OPERATIONS=1000000 is the acceptance run (some minutes).
"""

import os

import numpy as np
import pytest
import scipy.sparse as sp

from skunlearn import reference_fit, state_digest
from skunlearn.linear_model import Ridge, RidgeClassifier

from .data import adult_one_hot

N_OPERATIONS = int(os.environ.get("SKUNLEARN_OPERATIONS", "20000"))
#: Most calls are for one row; some are for more than the engine takes one by one.
BATCHES, SHARES = (1, 2, 10, 63, 64, 1000), (0.6, 0.2, 0.1, 0.04, 0.04, 0.02)
N_READS = 20


@pytest.mark.parametrize(
    ("model", "layout"),
    [
        (Ridge(), np.asarray),
        (RidgeClassifier(), sp.csr_array),
        (RidgeClassifier(class_weight="balanced"), np.asarray),
    ],
    ids=["Ridge", "RidgeClassifier-csr", "RidgeClassifier-balanced"],
)
def test_random_operations_leave_the_digest_of_a_refit(model, layout, record_property):
    """Rows of one-hot Adult learned and forgotten at random, mixed in size: digest and coefficients are a refit's."""
    X, y = adult_one_hot()
    assert X.shape[1] >= 105
    rows = layout(X)
    rng = np.random.default_rng(7)
    there = rng.random(len(X)) < 0.5
    ids = np.flatnonzero(there)
    model.fit(rows[ids], y[ids], sample_ids=ids)

    done = calls = 0
    while done < N_OPERATIONS:
        size = min(int(rng.choice(BATCHES, p=SHARES)), N_OPERATIONS - done)
        is_learning = rng.random() < 0.5
        at = _some(rng, there if not is_learning else ~there, size)
        if len(at) < size:
            continue
        if is_learning:
            model.partial_fit(rows[at], y[at], sample_ids=at)
        else:
            model.partial_forget(at)
        there[at] = is_learning
        done, calls = done + size, calls + 1
        if done % (N_OPERATIONS // N_READS) < size:
            _ = model.coef_

    want = reference_fit(model)
    fresh = type(model)(**model.get_params()).fit(rows[there], y[there], sample_ids=np.flatnonzero(there))
    assert model.n_live_ == there.sum()
    assert state_digest(model) == state_digest(want) == state_digest(fresh)
    assert model.coef_.tobytes() == want.coef_.tobytes() == fresh.coef_.tobytes()
    said = (
        f"{type(model).__name__}: {done:,} operations in {calls:,} calls, {there.sum():,} rows left: digests are equal"
    )
    record_property("said", said)
    print(said)  # noqa: T201


def _some(rng, mask, size):
    """Return `size` places of the mask at random, or none where it is hard to find as many."""
    at = np.unique(rng.integers(0, len(mask), 4 * size + 8))
    at = rng.permutation(at[mask[at]])
    return at[:size]
