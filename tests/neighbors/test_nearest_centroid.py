"""`NearestCentroid`: centroids and deviations rounded once, and scikit-learn's answers to rounding."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.neighbors
from sklearn.datasets import load_digits, load_iris, load_wine

from skunlearn import reference_fit, state_digest
from skunlearn._moment_core import nearest_root
from skunlearn.exceptions import ClassVanishedWarning, DegenerateRowsError
from skunlearn.naive_bayes import GaussianNB
from skunlearn.neighbors import NearestCentroid

SETTINGS = [
    {},
    {"shrink_threshold": 0.7},
    {"priors": "empirical"},
    {"priors": [0.2, 0.3, 0.5], "shrink_threshold": 20.0},
]


@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("params", SETTINGS)
def test_as_scikit_learn(params, layout):
    """Attributes, scores, probabilities and labels are scikit-learn's at rtol 1e-9, before and after a deletion."""
    X, y = load_iris(return_X_y=True)
    wrap = sp.csr_array if layout == "csr" else np.asarray
    ours = NearestCentroid(**params).fit(wrap(X), y)
    for kept in (np.arange(150), np.flatnonzero(np.arange(150) % 4)):
        if len(kept) < 150:
            ours.partial_forget(range(0, 150, 4))
        theirs = sklearn.neighbors.NearestCentroid(**params).fit(wrap(X[kept]), y[kept])
        for name in ("class_prior_", "centroids_", "within_class_std_dev_", "deviations_"):
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-9, atol=1e-12)
            assert (getattr(ours.release(), name) == getattr(ours, name)).all()
        for name in ("decision_function", "predict_log_proba", "predict_proba"):
            got, want = getattr(ours, name)(wrap(X)), getattr(theirs, name)(wrap(X))
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-10)
        assert (ours.predict(wrap(X)) == theirs.predict(wrap(X))).all()


def test_two_classes_have_one_score():
    """With two classes the decision function is the second score less the first, as scikit-learn's."""
    X, y = load_iris(return_X_y=True)
    X, y = X[y < 2], y[y < 2]
    ours, theirs = NearestCentroid().fit(X, y), sklearn.neighbors.NearestCentroid().fit(X, y)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), rtol=1e-9)


def test_published_are_the_float64_nearest():
    """Centroids are exact means rounded once; the pooled deviation is the root of an exact quotient, rounded once."""
    X, y = load_digits(return_X_y=True)
    X, y = X[:200], y[:200]
    model = NearestCentroid().fit(X, y)
    for c, centroid in enumerate(model.centroids_.tolist()):
        rows = X[y == c].astype(int)
        assert centroid == [sum(column) / len(column) for column in rows.T.tolist()]
    for j, within in enumerate(model.within_class_std_dev_.tolist()):
        pooled = Fraction(0)
        for c in range(10):
            column = X[y == c, j].astype(int).tolist()
            pooled += sum(v * v for v in column) - Fraction(sum(column) ** 2, len(column))
        pooled /= 190
        below, above = (Fraction(float(np.nextafter(within, side))) for side in (0.0, np.inf))
        at = Fraction(within)
        assert ((below + at) / 2) ** 2 <= pooled <= ((at + above) / 2) ** 2 or within == pooled == 0


def test_nearest_root():
    """The root of a quotient is rounded once: halfway cases, exact squares, and both ends of the range."""
    assert nearest_root(9, 4, 0) == 1.5
    assert nearest_root(2, 1, 0) == 2**0.5
    assert nearest_root(1, 1, 2000) == 2.0**1000
    assert nearest_root(1, 1, 2200) == np.inf
    assert nearest_root(1, 1, -2148) == 5e-324
    assert nearest_root(0, 1, 0) == 0.0
    half = (1 << 53) + 1  # halfway between two float64, and ties go to the even one
    assert nearest_root(half**2, 1, 0) == float(1 << 53)
    assert nearest_root(half**2 + 1, 1, 0) == float((1 << 53) + 2)
    assert nearest_root(half**2 - 1, 1, 0) == float(1 << 53)


def test_manhattan_is_refused_with_its_reason():
    """Medians are no function of sums."""
    with pytest.raises(ValueError, match="medians"):
        NearestCentroid("manhattan").fit([[0.0], [1.0]], [0, 1])


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_ has")
@pytest.mark.parametrize(
    ("X", "y", "says"),
    [([[0.0], [1.0]], [0, 0], "number of classes"), ([[1.0, 2.0]] * 3, [0, 1, 1], "zero variance")],
)
def test_what_scikit_learn_refuses(X, y, says):
    """One class, or equal rows: `fit` refuses, and a model that came there by forgetting says so when it is read."""
    for Estimator in (NearestCentroid, sklearn.neighbors.NearestCentroid):
        with pytest.raises(ValueError, match=says), np.errstate(all="ignore"):
            Estimator().fit(X, y)


def test_what_forgetting_may_leave():
    """A model of one class, or of equal rows, says what is missing when it is read; learning brings it back."""
    model = NearestCentroid().fit([[0.0], [1.0], [7.0]], [0, 0, 1])
    with pytest.warns(ClassVanishedWarning):
        model.partial_forget([2])
    with pytest.raises(DegenerateRowsError, match="number of classes"):
        model.predict([[0.0]])
    model.partial_fit([[0.0]], [1], sample_ids=[2]).partial_forget([1])
    with pytest.raises(DegenerateRowsError, match="zero variance"):
        model.release()
    model.partial_fit([[9.0]], [1], sample_ids=[9])
    assert model.predict([[0.0], [8.0]]).tolist() == [0, 1]


def test_one_row_a_class():
    """Without degrees of freedom nothing is scaled, where scikit-learn divides 0 by 0."""
    model = NearestCentroid(shrink_threshold=0.5).fit([[0.0, 5.0], [2.0, 5.0]], [0, 1])
    assert model.within_class_std_dev_.tolist() == [0.0, 0.0]
    assert model.centroids_.tolist() == [[0.0, 5.0], [2.0, 5.0]]
    assert model.predict([[0.5, 0.0], [1.5, 0.0]]).tolist() == [0, 1]


def test_declared_class_without_rows_is_never_predicted():
    """Neither at equal priors nor at given ones, although its centroid reads as 0."""
    X, y = load_iris(return_X_y=True)
    for priors in ("uniform", "empirical", [0.3, 0.3, 0.4]):
        model = NearestCentroid(priors=priors, classes=[0, 1, 2]).fit(X, y).partial_forget(range(50))
        rows = np.zeros((1, 4))
        assert model.predict(rows).tolist() != [0]
        assert not model.predict_proba(X)[:, 0].any()
        assert model.class_prior_[0] == 0
        assert state_digest(model) == state_digest(reference_fit(model))


def test_declared_class_without_rows_is_released():
    """A release predicts what the model does where a declared class is without rows, by scaled distances then."""
    X, y = load_wine(return_X_y=True)
    model = NearestCentroid(classes=[-1, 0, 1, 2]).fit(X, y)
    with np.errstate(divide="ignore"):
        assert (model.release().predict(X) == model.predict(X)).all()
    assert (model.predict(X) == model.classes_[model.predict_proba(X).argmax(axis=1)]).all()


def test_priors_are_normalised_with_a_warning():
    """As scikit-learn's; negative ones are refused."""
    X, y = load_iris(return_X_y=True)
    with pytest.warns(UserWarning, match="do not sum to 1"):
        model = NearestCentroid(priors=[1, 1, 2]).fit(X, y)
    assert model.class_prior_.tolist() == [0.25, 0.25, 0.5]
    with pytest.raises(ValueError, match="non-negative"):
        NearestCentroid(priors=[2.0, -0.5, -0.5]).fit(X, y)
    with pytest.raises(ValueError, match="Number of priors"):
        NearestCentroid(priors=[0.5, 0.5]).fit(X, y)


@pytest.mark.parametrize("Model", [NearestCentroid, GaussianNB])
def test_classes_of_a_prior_of_zero_alone(Model):
    """Where only classes are left that a given prior rules out, reading says so; learning brings the model back."""
    X, y = load_iris(return_X_y=True)
    model = Model(priors=[0.0, 0.0, 1.0], classes=[0, 1, 2]).fit(X, y).partial_forget(range(100, 150))
    with pytest.raises(DegenerateRowsError, match="prior of zero"):
        model.predict(X)
    assert state_digest(model) == state_digest(reference_fit(model))
    assert set(model.partial_fit(X[100:], y[100:], sample_ids=range(100, 150)).predict(X).tolist()) == {2}
