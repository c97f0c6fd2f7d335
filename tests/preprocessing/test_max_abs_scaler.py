"""`MaxAbsScaler`: scikit-learn's attributes on the rows that are left, dense or sparse."""

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.preprocessing

from skunlearn.exceptions import DegenerateRowsError
from skunlearn.preprocessing import MaxAbsScaler


def table(n=200, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 5)) * (rng.random((n, 5)) < 0.4)
    X[:, 3] = 0.0
    return X


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
def test_attributes_of_scikit_learn(layout, clip, dtype):
    """The largest magnitudes are scikit-learn's, bit for bit, and so are dense transforms; sparse ones to an ulp."""
    X = table().astype(dtype)
    kept = np.arange(len(X)) % 3 != 0
    params = {"clip": True} if clip else {}
    if clip and "clip" not in sklearn.preprocessing.MaxAbsScaler().get_params():
        pytest.skip("This scikit-learn has no clip.")
    ours = MaxAbsScaler(**params).fit(layout(X)).partial_forget(range(0, len(X), 3))
    theirs = sklearn.preprocessing.MaxAbsScaler(**params).fit(layout(X[kept]))
    assert ours.max_abs_.tobytes() == theirs.max_abs_.tobytes()
    assert ours.scale_.tobytes() == theirs.scale_.tobytes()
    dense = ours.transform(X)
    assert dense.tobytes() == theirs.transform(X).tobytes() == ours.release().transform(X).tobytes()
    sparse = ours.transform(sp.csr_array(X))
    assert (sparse.toarray() == dense).all()
    back = ours.inverse_transform(sparse).toarray()
    np.testing.assert_allclose(back if not clip else back[kept], X if not clip else X[kept], rtol=1e-6)


def test_missing_values_and_no_row():
    """NaN is skipped, a column of nothing else is NaN, and without rows reading raises."""
    X = np.array([[1.0, np.nan], [-3.0, 5.0], [np.nan, np.nan]])
    model = MaxAbsScaler().fit(X)
    assert model.max_abs_.tolist() == [3.0, 5.0]
    assert np.isnan(model.partial_forget([1]).max_abs_).tolist() == [False, True]
    with pytest.raises(DegenerateRowsError, match="no magnitude"):
        model.partial_forget([0, 2]).transform(X)
