"""`RobustScaler`: exact medians and ranges, on a lattice that few deletions leave."""

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.preprocessing

from skunlearn import Key
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.preprocessing import RobustScaler


def table(n=900, seed=0):
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=n), 1e6 + rng.pareto(2, n), rng.random(n) < 0.1, np.full(n, 7.0)])
    X[rng.random(X.shape) < 0.1] = np.nan
    return X


@pytest.mark.parametrize(
    "params",
    [{}, {"unit_variance": True, "quantile_range": (5.0, 90.0)}, {"with_centering": False}, {"with_scaling": False}],
)
def test_exact_statistics_as_scikit_learn(params):
    """With exact_statistics=True attributes and transforms are scikit-learn's to rounding, after rows have gone."""
    X = table()
    kept = np.arange(len(X)) % 3 != 0
    ours = RobustScaler(exact_statistics=True, **params).fit(X).partial_forget(range(0, len(X), 3))
    theirs = sklearn.preprocessing.RobustScaler(**params).fit(X[kept])
    for name in ("center_", "scale_"):
        got, want = getattr(ours, name), getattr(theirs, name)
        assert (got is None) == (want is None)
        if got is not None:
            np.testing.assert_allclose(got, want, rtol=1e-9)
    np.testing.assert_allclose(ours.transform(X), theirs.transform(X), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours.inverse_transform(ours.transform(X)), X, rtol=1e-9)
    assert ours.release().transform(X).tobytes() == ours.transform(X).tobytes()


def test_sparse_rows_are_scaled_as_dense_ones():
    """Zeros that are not stored count, and sparse rows cannot be centred."""
    X = table()[:, :2] * (np.random.default_rng(1).random((900, 2)) < 0.6)
    X[np.isnan(X)] = 1.0
    rows = sp.csr_array(X)
    params = {"exact_statistics": True, "with_centering": False}
    ours = RobustScaler(**params).fit(rows).partial_forget(range(100))
    dense = RobustScaler(**params).fit(X[100:])
    assert ours.scale_.tobytes() == dense.scale_.tobytes()
    assert (ours.transform(rows).toarray() == dense.transform(X)).all()
    with pytest.raises(ValueError, match="Cannot center sparse matrices"):
        RobustScaler().fit(rows)
    with pytest.raises(ValueError, match="Cannot center sparse matrices"):
        RobustScaler().fit(X).transform(rows)


def test_lattice_is_that_of_the_definition():
    """A scale is within 2^(1/8) of the range, a centre within a quarter of it of the median; the key places both."""
    X = table()[:, :2]
    model = RobustScaler(random_state=3).fit(X)
    assert (np.abs(np.log2(model.scale_ / model.exact_scale_)) <= 0.125 + 1e-12).all()
    assert (np.abs(model.center_ - model.exact_center_) <= model.scale_ / 4 * (1 + 1e-12)).all()
    other = RobustScaler(random_state=Key(bytes(32))).fit(X)
    assert (other.exact_center_ == model.exact_center_).all()
    assert (other.scale_ != model.scale_).all()
    order = np.random.default_rng(0).permutation(len(X))
    assert RobustScaler(random_state=3).fit(X[order]).transform_digest() == model.transform_digest()


def test_few_deletions_change_the_map():
    """Of 300 deletions from 2,000 rows at most a few change it, where each moves the true median."""
    X = np.random.default_rng(0).normal(size=(2000, 3))
    model = RobustScaler(random_state=0).fit(X)
    n_maps = n_medians = 0
    for i in range(300):
        digest, medians = model.transform_digest(), model.exact_center_
        model.partial_forget([i])
        n_maps += model.transform_digest() != digest
        n_medians += (model.exact_center_ != medians).any()
    assert n_maps <= 30  # 10 to 20 d/n a deletion are expected, in bursts
    assert n_medians == 300


def test_features_without_a_range():
    """A constant feature keeps its median and the scale 1, on the lattice, too."""
    X = np.column_stack([np.full(20, 0.1), np.arange(20) == 3, np.arange(20.0)])
    model = RobustScaler(random_state=0).fit(X)
    assert model.scale_[:2].tolist() == [1.0, 1.0]
    assert model.center_[:2].tolist() == [0.1, 0.0]
    assert model.scale_[2] > 5


def test_refusals_and_no_row():
    """A range the wrong way round is refused; without rows reading raises."""
    with pytest.raises(ValueError, match="Invalid quantile range"):
        RobustScaler(quantile_range=(75.0, 25.0)).fit([[1.0]])
    model = RobustScaler().fit([[1.0], [2.0]]).partial_forget([0, 1])
    with pytest.raises(DegenerateRowsError, match="no quantiles"):
        _ = model.center_
