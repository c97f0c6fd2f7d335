"""`VarianceThreshold`: exact variances, and a map that is a mask."""

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.feature_selection

from skunlearn.exceptions import DegenerateRowsError
from skunlearn.feature_selection import VarianceThreshold


def table(n=200, seed=0):
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.normal(size=n), np.full(n, 0.1), rng.random(n) < 0.05, rng.normal(size=n) * 10])


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_as_scikit_learn(threshold, layout):
    """Variances are scikit-learn's to rounding, with a threshold; the choice, its inverse and names are always."""
    X = table()
    kept = np.arange(len(X)) % 3 != 0
    ours = VarianceThreshold(threshold).fit(layout(X)).partial_forget(range(0, len(X), 3))
    theirs = sklearn.feature_selection.VarianceThreshold(threshold).fit(layout(X[kept]))
    if threshold:
        np.testing.assert_allclose(ours.variances_, theirs.variances_, rtol=1e-9, atol=1e-20)
    assert ours.get_support().tolist() == theirs.get_support().tolist()
    assert (ours.transform(X) == theirs.transform(X)).all()
    there = ours.transform(X)
    assert (ours.inverse_transform(there) == theirs.inverse_transform(there)).all()
    assert ours.get_feature_names_out().tolist() == theirs.get_feature_names_out().tolist()
    assert (ours.release().transform(X) == there).all()
    assert ours.release().variances_.tobytes() == ours.variances_.tobytes()


def test_zero_is_exactly_zero():
    """A column of equal values has variance 0 whatever went before, and one ulp above is a difference."""
    X = np.column_stack([np.full(50, 0.1), np.full(50, 0.1), np.arange(50.0)])
    X[0, 0], X[1, 1] = 1e9, np.nextafter(0.1, 1)
    model = VarianceThreshold().fit(X)
    assert model.get_support().tolist() == [True, True, True]
    assert model.partial_forget([0]).variances_[0] == 0.0
    assert model.get_support().tolist() == [False, True, True]
    assert model.partial_forget([1]).get_support().tolist() == [False, False, True]


def test_the_map_changes_only_with_the_mask():
    """Variances move in every deletion, and the digest of the map does not."""
    X = table()
    model = VarianceThreshold(0.5).fit(X)
    digest, variances = model.transform_digest(), model.variances_
    for i in range(20):
        assert model.partial_forget([i]).transform_digest() == digest
    assert (model.variances_ != variances)[[0, 3]].all()


def test_no_feature_left():
    """`fit` refuses rows of which no feature passes, as scikit-learn's; forgetting leads there, and rows revive."""
    with pytest.raises(ValueError, match=r"No feature in X meets the variance threshold 0.00000 \(X contains only"):
        VarianceThreshold().fit([[1.0, 2.0]])
    model = VarianceThreshold().fit([[1.0], [1.0], [2.0]])
    digest = model.transform_digest()
    with pytest.raises(DegenerateRowsError, match="No feature in X meets"):
        model.partial_forget([2]).transform([[1.0]])
    with pytest.raises(DegenerateRowsError, match="no row left"):
        model.partial_forget([0, 1]).get_support()
    assert model.partial_fit([[4.0], [5.0]], sample_ids=[0, 9]).transform_digest() == digest
