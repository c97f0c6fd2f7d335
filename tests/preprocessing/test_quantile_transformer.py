"""`QuantileTransformer`: quantiles of a keyed sample, which few deletions touch."""

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.preprocessing

from skunlearn import Key, reference_fit, state_digest
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.preprocessing import QuantileTransformer

pytestmark = pytest.mark.filterwarnings("ignore:n_quantiles")


def table(n=400, seed=0):
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=n), rng.pareto(2, n), rng.integers(0, 4, n), np.full(n, 7.0)])
    X[rng.random(X.shape) < 0.1] = np.nan
    return X


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
@pytest.mark.parametrize("n_quantiles", [10, 1000])
def test_all_rows_as_scikit_learn(n_quantiles, distribution):
    """With every row in the sample, quantiles and transforms are scikit-learn's to rounding."""
    X = table()
    kept = np.arange(len(X)) % 3 != 0
    params = {"n_quantiles": n_quantiles, "output_distribution": distribution}
    ours = QuantileTransformer(**params).fit(X).partial_forget(range(0, len(X), 3))
    theirs = sklearn.preprocessing.QuantileTransformer(**params).fit(X[kept])
    assert ours.n_quantiles_ == theirs.n_quantiles_
    np.testing.assert_allclose(ours.quantiles_, theirs.quantiles_, rtol=1e-9)
    np.testing.assert_array_equal(ours.references_, theirs.references_)
    np.testing.assert_allclose(ours.transform(X), theirs.transform(X), rtol=1e-9, atol=1e-9)
    assert ours.release().transform(X).tobytes() == ours.transform(X).tobytes()
    there = ours.transform(X)
    np.testing.assert_allclose(ours.inverse_transform(there), theirs.inverse_transform(there), rtol=1e-9)


@pytest.mark.parametrize("ignores", [False, True])
def test_sparse_as_scikit_learn(ignores):
    """Sparse rows give scikit-learn's quantiles, with the zeros that are not stored or without them."""
    X = np.abs(np.nan_to_num(table())) * (np.random.default_rng(1).random((400, 4)) < 0.5)
    rows = sp.csr_array(X)
    params = {"n_quantiles": 20, "ignore_implicit_zeros": ignores}
    ours = QuantileTransformer(**params).fit(rows).partial_forget(range(100))
    theirs = sklearn.preprocessing.QuantileTransformer(**params).fit(sp.csc_array(X[100:]))
    np.testing.assert_allclose(ours.quantiles_, theirs.quantiles_, rtol=1e-9)
    np.testing.assert_allclose(ours.transform(rows).toarray(), theirs.transform(sp.csc_array(X)).toarray(), rtol=1e-9)
    if not ignores:
        assert (ours.transform(rows).toarray() == ours.transform(X)).all()
        with pytest.raises(ValueError, match="non-negative"):
            ours.transform(-rows)


def test_only_rows_of_the_sample_change_the_map():
    """The sample is the rows of the smallest tags: others come and go without a change, and the key chooses."""
    X = np.random.default_rng(0).normal(size=(500, 2))
    model = QuantileTransformer(n_quantiles=10, subsample=50, random_state=0).fit(X)
    live = model._live
    tags = live.rows.native.tags(np.arange(500, dtype=np.uint32)).astype(object)
    order = np.argsort([int(low) + (int(high) << 64) for low, high in tags])
    ids = live.rows.native.ids(order.astype(np.uint32))
    digest = model.transform_digest()
    np.testing.assert_allclose(model.quantiles_, np.quantile(X[ids[:50]], model.references_, axis=0), rtol=1e-12)
    model.partial_forget(ids[50:150])
    assert model._live.core.is_settled()
    assert model.transform_digest() == digest
    model.partial_forget(ids[49:50])
    assert not model._live.core.is_settled()
    assert model.transform_digest() != digest
    assert state_digest(model) == state_digest(reference_fit(model))
    model.partial_fit(X[ids[49:150]], sample_ids=ids[49:150])
    assert model.transform_digest() == digest
    other = QuantileTransformer(n_quantiles=10, subsample=50, random_state=Key(bytes(32))).fit(X)
    assert (other.quantiles_ != model.quantiles_).any()
    before = model.quantiles_
    assert (model.reseed().quantiles_ != before).any()


def test_sample_grows_to_all_rows_and_back():
    """Across the size of the sample, in both directions, the model is a refit."""
    X = np.random.default_rng(0).normal(size=(60, 2))
    model = QuantileTransformer(n_quantiles=10, subsample=50, random_state=0).fit(X[:45])
    for start in range(45, 60, 3):
        model.partial_fit(X[start : start + 3], sample_ids=range(start, start + 3))
        assert state_digest(model) == state_digest(reference_fit(model))
    for i in range(0, 20, 3):
        model.partial_forget(range(i, i + 3))
        assert state_digest(model) == state_digest(reference_fit(model))


def test_refusals_and_no_row():
    """More quantiles than rows of the sample are refused; fewer rows warn; without rows reading raises."""
    with pytest.raises(ValueError, match="number of quantiles cannot be greater"):
        QuantileTransformer(n_quantiles=11, subsample=10).fit([[1.0]])
    with pytest.warns(UserWarning, match="n_quantiles is set to n_samples"):
        model = QuantileTransformer().fit([[1.0], [2.0]])
    with pytest.raises(DegenerateRowsError, match="no quantiles"):
        model.partial_forget([0, 1]).transform([[1.0]])
