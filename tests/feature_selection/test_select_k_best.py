"""`SelectKBest`: scores that are rational functions of exact sums, and a map that is a mask."""

import pickle
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.feature_selection
from sklearn.datasets import load_iris
from sklearn.feature_selection import chi2, f_classif, f_regression, mutual_info_classif

from skunlearn import reference_fit, state_digest
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.feature_selection import SelectKBest
from skunlearn.utils.estimator_checks import (
    check_containers,
    check_degenerate,
    check_forget_equals_refit,
    check_persistence,
)

SCORES = {"f_classif": f_classif, "chi2": chi2, "f_regression": f_regression}
SCORE_IDS = list(SCORES)


def table(n=240, seed=0):
    """Counts of six features, three classes that three of them lean on, and a number."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    X = rng.integers(0, 8, (n, 6)) + y[:, None] * np.array([0, 2, 0, 1, 0, 3])
    return X.astype(float), np.array(["a", "b", "c"])[y], X[:, 1] * 0.5 + rng.normal(size=n)


def targets(name, labels, numbers):
    return numbers if name == "f_regression" else labels


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("name", SCORE_IDS)
def test_as_scikit_learn(name, layout):
    """Scores and p-values are scikit-learn's to rounding after rows have gone, and the choice is the same."""
    X, labels, numbers = table()
    y = targets(name, labels, numbers)
    kept = np.arange(len(X)) % 3 != 0
    ours = SelectKBest(SCORES[name], k=2).fit(layout(X), y).partial_forget(range(0, len(X), 3))
    theirs = sklearn.feature_selection.SelectKBest(SCORES[name], k=2).fit(layout(X[kept]), y[kept])
    np.testing.assert_allclose(ours.scores_, theirs.scores_, rtol=1e-9)
    np.testing.assert_allclose(ours.pvalues_, theirs.pvalues_, rtol=1e-8)
    assert ours.get_support().tolist() == theirs.get_support().tolist()
    there = ours.transform(X)
    assert (there == theirs.transform(X)).all()
    assert (ours.inverse_transform(there) == theirs.inverse_transform(there)).all()
    released = ours.release()
    assert released.scores_.tobytes() == ours.scores_.tobytes()
    assert released.get_support().tolist() == ours.get_support().tolist()


def test_iris_as_scikit_learn():
    """On real measurements scores are scikit-learn's at rtol 1e-9."""
    X, y = load_iris(return_X_y=True)
    for score_func, target in ((f_classif, y), (chi2, y), (f_regression, X[:, 0])):
        ours = SelectKBest(score_func, k=1).fit(X[:, 1:], target)
        np.testing.assert_allclose(ours.scores_, score_func(X[:, 1:], target)[0], rtol=1e-9)


def test_scores_are_rounded_once():
    """Each score is the float64 nearest to the rational number of the definition."""
    X, labels, _ = table(60)
    y = np.searchsorted(["a", "b", "c"], labels)
    rows = [[Fraction(v) for v in row] for row in X.tolist()]
    n, d = X.shape
    counts = [int((y == c).sum()) for c in range(3)]
    classif, chi, regression = (SelectKBest(f, k=1).fit(X, y) for f in (f_classif, chi2, f_regression))
    for j in range(d):
        sums = [sum(rows[i][j] for i in range(n) if y[i] == c) for c in range(3)]
        total, squares = sum(sums), sum(row[j] ** 2 for row in rows)
        between = sum(s * s / m for s, m in zip(sums, counts, strict=True)) - total**2 / n
        within = squares - total**2 / n - between
        assert classif.scores_[j] == float((between / 2) / (within / (n - 3)))
        assert chi.scores_[j] == float(n * sum(s * s / m for s, m in zip(sums, counts, strict=True)) / total - total)
        shared = n * sum(rows[i][j] * int(y[i]) for i in range(n)) - total * int(y.sum())
        of_x, of_y = n * squares - total**2, n * int((y**2).sum()) - int(y.sum()) ** 2
        assert regression.scores_[j] == float((n - 2) * shared**2 / (of_x * of_y - shared**2))


@pytest.mark.parametrize("check", [check_forget_equals_refit, check_degenerate, check_containers, check_persistence])
@pytest.mark.parametrize("name", ["chi2", "f_regression"])
def test_conformance_of_other_scores(name, check):
    """The scores that are no default forget as that does; a function among parameters has no name to list it by."""
    check(SelectKBest(SCORES[name], k=1))


@pytest.mark.parametrize("name", SCORE_IDS)
def test_the_map_changes_only_with_the_mask(name):
    """Scores move with every row, and the digest of the map does not, until the choice does."""
    X, labels, numbers = table()
    model = SelectKBest(SCORES[name], k=2).fit(X, targets(name, labels, numbers))
    for i in range(150):
        digest, mask, scores = model.transform_digest(), model.get_support().tolist(), model.scores_
        model.partial_forget([i])
        assert (model.transform_digest() == digest) == (model.get_support().tolist() == mask)
        assert (model.scores_ != scores).any()
    assert state_digest(model) == state_digest(reference_fit(model))
    assert state_digest(pickle.loads(pickle.dumps(model))) == state_digest(model)


def test_scores_are_told_apart():
    """Models that differ in the score alone have different digests."""
    X, labels, _ = table()
    y = np.searchsorted(["a", "b", "c"], labels)
    assert len({state_digest(SelectKBest(f, k=2).fit(X, y)) for f in SCORES.values()}) == 3


def test_ties_and_nan_as_scikit_learn():
    """Of equal scores the later feature is better, and a constant feature is worst."""
    X = np.array([[1.0, 0.0, 0.0, 2.0], [1.0, 1.0, 1.0, 2.0], [1.0, 5.0, 5.0, 2.0], [1.0, 6.0, 6.0, 2.0]])
    y = [0, 0, 1, 1]
    for k in (1, 2, 3, 0, "all"):
        ours = SelectKBest(k=k).fit(X, y)
        with np.errstate(invalid="ignore"), pytest.warns(UserWarning, match="constant"):
            theirs = sklearn.feature_selection.SelectKBest(k=k).fit(X, y)
        assert ours.get_support().tolist() == theirs.get_support().tolist()


def test_degenerate_sets():
    """One class, as many rows as classes, a constant target: NaN or 0, as in scikit-learn; without rows an error."""
    X, labels, _ = table(30)
    model = SelectKBest(k=2).fit(X, labels)
    model.partial_forget(np.flatnonzero(labels != "a"))
    assert np.isnan(model.scores_).all()
    assert model.get_support(indices=True).tolist() == [4, 5]
    assert np.isnan(SelectKBest(k=1).fit(X[:2], ["a", "b"]).scores_).all()
    assert SelectKBest(f_regression, k=1).fit(X, np.ones(30)).scores_.tolist() == [0.0] * 6
    perfect = SelectKBest(f_regression, k=1).fit(X, X[:, 0] * 2)
    assert perfect.scores_[0] == np.finfo(np.float64).max
    assert perfect.pvalues_[0] == 0.0
    with pytest.raises(DegenerateRowsError, match="no row left"):
        model.partial_forget(np.flatnonzero(labels == "a")).transform(X)


def test_refusals():
    """Other score functions, negative counts and no target are refused, with the reason."""
    X, labels, _ = table()
    with pytest.raises(ValueError, match="What another function needs of the rows is not known"):
        SelectKBest(mutual_info_classif).fit(X, labels)
    with pytest.raises(ValueError, match="240 of its values are not"):
        SelectKBest(chi2, k=1).fit(X - 100 * (np.arange(6) == 2), labels)
    with pytest.raises(ValueError, match="requires y"):
        SelectKBest(k=1).fit(X, None)
    with pytest.warns(UserWarning, match="k=10 is greater than n_features=6"):
        SelectKBest().fit(X, labels)
