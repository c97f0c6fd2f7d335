"""`MinMaxScaler`: scikit-learn's bits on the rows that are left, and changes only with an extreme."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.preprocessing

from skunlearn import reference_fit, state_digest
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.preprocessing import MinMaxScaler

ATTRIBUTES = ("min_", "scale_", "data_min_", "data_max_", "data_range_")


def table(n=200, seed=0):
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=n), np.full(n, 7.0), rng.integers(-2, 3, n), rng.normal(size=n) * 1e9])
    X[rng.random(X.shape) < 0.1] = np.nan
    return X


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("params", [{}, {"feature_range": (-1, 3), "clip": True}])
def test_bits_of_scikit_learn(params, dtype):
    """After rows have gone, attributes and transforms are those of scikit-learn fitted on the rest, bit for bit."""
    X = table().astype(dtype)
    kept = np.arange(len(X)) % 3 != 0
    ours = MinMaxScaler(**params).fit(X).partial_forget(range(0, len(X), 3))
    theirs = sklearn.preprocessing.MinMaxScaler(**params).fit(X[kept])
    for name in ATTRIBUTES:
        assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes(), name
    assert ours.n_samples_seen_ == theirs.n_samples_seen_
    assert ours.transform(X).tobytes() == theirs.transform(X).tobytes() == ours.release().transform(X).tobytes()
    back = ours.transform(X)
    assert ours.inverse_transform(back).tobytes() == theirs.inverse_transform(back).tobytes()


def test_changes_only_with_an_extreme():
    """While both extremes of every column stay, so does the map; a second holder keeps it, too."""
    X = np.random.default_rng(0).normal(size=(300, 3))
    smallest = int(X[:, 0].argmin())
    twin = (smallest + 1) % 300
    X[twin] = X[smallest]
    model = MinMaxScaler().fit(X)
    digest = model.transform_digest()
    holders = {*X.argmin(axis=0).tolist(), *X.argmax(axis=0).tolist(), smallest, twin}
    others = [i for i in range(300) if i not in holders]
    assert model.partial_forget(others[:100]).transform_digest() == digest
    assert model.partial_forget([twin]).transform_digest() == digest
    assert model.partial_forget([smallest]).transform_digest() != digest


def test_more_extremes_go_than_are_kept():
    """Forgetting in order of size exhausts the windows again and again; the model stays a refit."""
    X = np.random.default_rng(0).normal(size=(120, 2))
    model = MinMaxScaler().fit(X)
    order = np.argsort(X[:, 0])
    for i in order[:110].tolist():
        model.partial_forget([i])
        left = X[model._live.rows.native.ids(np.arange(model.n_live_, dtype=np.uint32))]
        assert (model.data_min_ == left.min(axis=0)).all()
        assert (model.data_max_ == left.max(axis=0)).all()
    assert state_digest(model) == state_digest(reference_fit(model))


def test_degenerate_sets_and_refusals():
    """No row: reading raises, and rows revive; a bad range and sparse rows are refused with the model unchanged."""
    X = table()
    model = MinMaxScaler().fit(X)
    digest = state_digest(model)
    with pytest.raises(ValueError, match="Minimum of desired feature range"):
        MinMaxScaler((1, 1)).fit(X)
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        model.fit(sp.csr_array(np.nan_to_num(X)))
    assert state_digest(model) == digest
    model.partial_forget(range(len(X)))
    with pytest.raises(DegenerateRowsError, match="no extremes"):
        model.transform(X)
    assert state_digest(model.partial_fit(X, sample_ids=np.arange(len(X)))) == digest
    model.partial_forget(range(1, len(X)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(model.data_min_).tolist() == np.isnan(X[0]).tolist()
