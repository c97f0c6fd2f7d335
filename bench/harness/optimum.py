"""What a proved optimum costs: a read after a deletion against a warm refit, a pass over rows against reading them."""

from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone

from harness.datasets import Table
from harness.forgetting import Say, Sizes
from harness.records import measurement
from harness.sampling import Samples, interleaved, quiet
from skunlearn._linalg.likelihood import LabelledRows, Likelihood

__all__ = ["measure_optimum", "measure_pass"]

#: What "refit" means: by default scikit-learn stops where the optimum of fewer rows is not told from the one before.
_TIGHT = {"solver": "newton-cholesky", "tol": 1e-9, "max_iter": 1000, "warm_start": True}
#: A peer at that tolerance is this near to what is published, relative to the largest coefficient.
_NEAR = 1e-5


def measure_optimum(estimator: Any, table: Table, sizes: Sizes, say: Say) -> dict[str, Any]:
    """Time deletions of one row with the read that follows, and warm tight refits of scikit-learn without that row."""
    X = sp.csr_array(table.X) if sp.issparse(table.X) else np.ascontiguousarray(table.X)
    n, order = len(table.y), np.random.default_rng(0).permutation(len(table.y))
    model = clone(estimator).fit(X, table.y, sample_ids=np.arange(n))
    peer = model.release().set_params(**_TIGHT).fit(X, table.y)
    model.coef_  # noqa: B018
    model._live.core.reads_by_level.clear()
    say(f"single deletions from {n:,} rows, each with a read, {sizes.n_rounds} rounds in turns")
    arms = ("skunlearn", "scikit-learn")
    samples = {arm: Samples() for arm in arms}
    kept = np.arange(n)
    for i, arm in interleaved(list(arms), sizes.n_rounds + 1):
        gone = int(order[i])
        call = partial(_forget_and_read, model, gone)
        if arm != "skunlearn":
            kept = np.setdiff1d(np.arange(n), order[: i + 1])
            call = partial(peer.fit, X[kept], table.y[kept])
        with quiet():
            (samples[arm] if i else Samples()).time(call)
    if not np.abs(model.coef_ - peer.coef_).max() <= _NEAR * np.abs(peer.coef_).max():
        raise AssertionError("The optimum that was published and that of a tight refit differ: one of them is wrong.")
    levels = {f"reads_by_{level}": count for level, count in sorted(model._live.core.reads_by_level.items())}
    return {
        "case": _case(table, estimator),
        "measurements": [
            measurement("skunlearn", "forget_and_read", samples["skunlearn"], counts=levels),
            measurement("scikit-learn", "warm_refit", samples["scikit-learn"], rows_per_call=len(kept)),
        ],
        "checks": ["the optimum that was published agrees with that of a tight refit on the same rows"],
    }


def _forget_and_read(model: Any, gone: int) -> None:
    model.partial_forget([gone])
    model.coef_  # noqa: B018


def measure_pass(table: Table, sizes: Sizes, say: Say) -> dict[str, Any]:
    """Time a pass for the gradient over rows in memory, a tight one, and the product of the rows with themselves."""
    X = np.ascontiguousarray(table.X)
    n, d = X.shape
    rows = LabelledRows(X, (np.arange(n) % 2).astype(np.int32), np.ones(n))
    likelihood = Likelihood(lambda: iter([rows]), n, 1, np.zeros(d, np.int32), np.ones(d + 1), True, np.ones(d + 1))
    v, flat = np.random.default_rng(0).normal(size=(1, d + 1)) / d, X.ravel()
    calls = {
        ("skunlearn", "pass"): partial(likelihood.gradient_and_change, v, v),
        ("skunlearn", "tight_pass"): partial(likelihood.gradient_and_change, v, v, tight=True),
        ("BLAS", "read"): partial(np.dot, flat, flat),
    }
    say(f"passes over {n:,} rows, {sizes.n_rounds} rounds in turns")
    samples = {arm: Samples() for arm in calls}
    for i, arm in interleaved(list(calls), sizes.n_rounds + 1):
        with quiet():
            (samples[arm] if i else Samples()).time(calls[arm])
    return {
        "case": _case(table, None),
        "measurements": [
            measurement(arm, operation, taken, rows_per_call=n, counts={"bytes": X.nbytes})
            for (arm, operation), taken in samples.items()
        ],
        "checks": [],
    }


def _case(table: Table, estimator: Any) -> dict[str, Any]:
    return {
        "data": table.name,
        "sha256": table.sha256(),
        "n": len(table.y),
        "d": int(table.X.shape[1]),
        "layout": "csr" if sp.issparse(table.X) else "dense",
        "parameters": {} if estimator is None else {"estimator": type(estimator).__name__},
        "seed": 0,
    }
