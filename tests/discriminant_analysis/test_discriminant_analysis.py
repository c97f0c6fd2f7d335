"""`skunlearn.discriminant_analysis`: exact covariances, scikit-learn's answers, and what few rows determine."""

import warnings
from fractions import Fraction

import numpy as np
import pytest
import sklearn.discriminant_analysis
from sklearn.covariance import EmpiricalCovariance
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from skunlearn import state_digest
from skunlearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from skunlearn.exceptions import ClassVanishedWarning, DegenerateRowsError

both = pytest.mark.parametrize("Ours", [LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis])


def theirs(model):
    other = getattr(sklearn.discriminant_analysis, type(model).__name__)()
    params = {name: value for name, value in model.get_params().items() if name in other.get_params()}
    if "solver" not in params and model.solver != "svd":
        pytest.skip("this scikit-learn has no such solver")
    return other.set_params(**params)


def blobs(n=90, d=4, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.resize(np.arange(n_classes), n)
    X = rng.normal(size=(n, d)) @ (rng.normal(size=(d, d)) + 3.0 * np.eye(d)) + rng.normal(size=(n_classes, d))[y]
    return X, y


# --- against scikit-learn --------------------------------------------------------------------------------------------

TABLES = {"iris": load_iris, "wine": load_wine, "breast_cancer": load_breast_cancer}
LINEAR = {
    "svd": {},
    "svd, priors": {"priors": "rising", "store_covariance": True, "n_components": 1},
    "lsqr": {"solver": "lsqr"},
    "lsqr, priors": {"solver": "lsqr", "shrinkage": 0.1, "priors": "rising"},
    "eigen": {"solver": "eigen"},
    "eigen, priors": {"solver": "eigen", "shrinkage": 0.3, "priors": "rising"},
}
QUADRATIC = {
    "svd": {"tol": 1e-12},
    "svd, regularised": {"reg_param": 0.1, "store_covariance": True},
    "svd, priors": {"tol": 1e-12, "priors": "rising"},
    "eigen": {"solver": "eigen", "shrinkage": 0.2, "store_covariance": True},
}


def rising(params, n_classes):
    if params.get("priors") != "rising":
        return params
    return params | {"priors": (np.arange(1, n_classes + 1) / (n_classes * (n_classes + 1) / 2)).tolist()}


def assert_close(actual, expected, rtol=1e-9):
    """Relative to the largest entry."""
    scale = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * scale)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("setting", LINEAR)
def test_linear_agrees_with_scikit_learn(table, setting):
    """Attributes and answers agree to 1e-9, on tables whose columns differ in unit by up to 1e5."""
    X, y = TABLES[table](return_X_y=True)
    if table == "breast_cancer" and setting == "lsqr":
        X = (X - X.mean(axis=0)) / X.std(axis=0)  # scikit-learn judges the rank unscaled
    ours = LinearDiscriminantAnalysis(**rising(LINEAR[setting], len(set(y)))).fit(X, y)
    other = theirs(ours).fit(X, y)

    for name in ("coef_", "intercept_", "means_", "priors_"):
        assert_close(getattr(ours, name), getattr(other, name))
    for name in ("xbar_", "covariance_", "explained_variance_ratio_"):
        assert hasattr(ours, name) == hasattr(other, name)
        if hasattr(other, name):
            assert_close(getattr(ours, name), getattr(other, name))
    assert_close(ours.decision_function(X), other.decision_function(X))
    assert_close(ours.predict_proba(X), other.predict_proba(X))
    assert (ours.predict(X) == other.predict(X)).all()
    if ours.solver != "lsqr":  # the sign of a direction is nobody's
        assert_close(np.abs(ours.transform(X)), np.abs(other.transform(X)))
        assert ours.get_feature_names_out().tolist() == other.get_feature_names_out().tolist()


def test_linear_agrees_with_scikit_learn_on_dependent_columns():
    """All levels of two factors, so that columns sum to one twice: what is defined by rank agrees."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    levels = [np.eye(4)[rng.integers(0, 4, 300)], np.eye(3)[(y + rng.integers(0, 2, 300)) % 3]]
    X = np.column_stack([*levels, rng.normal(size=(300, 2)) + y[:, None]])

    ours = LinearDiscriminantAnalysis().fit(X, y)
    other = theirs(ours).fit(X, y)

    assert ours.scalings_.shape == other.scalings_.shape
    assert_close(ours.coef_, other.coef_)
    assert_close(ours.decision_function(X), other.decision_function(X))
    by_least_squares = LinearDiscriminantAnalysis("lsqr").fit(X, y)
    assert_close(by_least_squares.predict_proba(X), ours.predict_proba(X))


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("setting", QUADRATIC)
def test_quadratic_agrees_with_scikit_learn(table, setting):
    X, y = TABLES[table](return_X_y=True)
    ours = QuadraticDiscriminantAnalysis(**rising(QUADRATIC[setting], len(set(y)))).fit(X, y)
    other = theirs(ours).fit(X, y)

    assert_close(ours.means_, other.means_)
    assert_close(ours.priors_, other.priors_)
    for name in ("scalings_", "covariance_"):
        assert hasattr(ours, name) == hasattr(other, name)
        for mine, its in zip(getattr(ours, name, ()), getattr(other, name, ()), strict=True):
            assert_close(mine, its)
    assert_close(ours.decision_function(X), other.decision_function(X))
    assert_close(ours.predict_proba(X), other.predict_proba(X))
    assert (ours.predict(X) == other.predict(X)).all()


def test_linear_agrees_on_more_classes_than_rank():
    """Ten classes of digits, 64 pixels of which some never vary within a class."""
    X, y = load_digits(return_X_y=True)
    ours = LinearDiscriminantAnalysis().fit(X, y)
    other = theirs(ours).fit(X, y)
    narrow = LinearDiscriminantAnalysis().fit(X[:, 20:22], y)
    its = theirs(narrow).fit(X[:, 20:22], y)

    assert_close(ours.coef_, other.coef_)
    assert_close(narrow.coef_, its.coef_)
    assert narrow.explained_variance_ratio_.shape == its.explained_variance_ratio_.shape == (2,)


# --- against rational arithmetic -------------------------------------------------------------------------------------


def exact_covariance(X):
    rows = [[Fraction(v) for v in row] for row in X.tolist()]
    n, d = X.shape
    means = [sum(row[j] for row in rows) / n for j in range(d)]
    return means, [
        [sum((row[j] - means[j]) * (row[k] - means[k]) for row in rows) / n for k in range(d)] for j in range(d)
    ]


def test_means_and_covariances_are_exact_but_for_their_last_bits():
    """Far from zero (1e6 standard deviations), where float sums lose 12 digits: 2 roundings a mean, 4 a covariance."""
    rng = np.random.default_rng(3)
    X = 2.0**20 + np.ldexp(np.rint(rng.normal(size=(60, 3)) * 2**20), -20)  # exact at the scale of the engine
    y = np.resize([0, 1], 60)

    model = QuadraticDiscriminantAnalysis(store_covariance=True).fit(X, y)

    for c in (0, 1):
        means, covariance = exact_covariance(X[y == c])
        for j in range(3):
            assert abs(Fraction(model.means_[c, j]) / means[j] - 1) <= 2 * Fraction(2) ** -53
            for k in range(3):
                error = abs(Fraction(model.covariance_[c][j, k]) / covariance[j][k] - 1)
                assert error <= 4 * Fraction(2) ** -53


@both
def test_float32_rows_give_the_bits_of_their_values_in_float64(Ours):
    X, y = blobs()
    X = X.astype(np.float32)

    narrow, wide = Ours().fit(X, y), Ours().fit(X.astype(np.float64), y)

    assert narrow.predict_proba(X).tobytes() == wide.predict_proba(X.astype(np.float64)).tobytes()
    assert narrow.means_.tobytes() == wide.means_.tobytes()


@both
def test_a_row_alone_gives_the_bits_that_it_gives_in_bulk(Ours):
    X, y = blobs(n=50, d=13)
    model = Ours(tol=0.0).fit(X, y)
    methods = [model.decision_function, model.predict_log_proba, model.predict_proba]
    methods += [model.transform] if hasattr(model, "transform") else []

    for method in methods:
        bulk = method(X)
        assert all(method(X[i : i + 1]).tobytes() == bulk[i : i + 1].tobytes() for i in range(len(X)))


def test_signs_follow_the_rule():
    """In rotations_ and scalings_ the entry of largest magnitude in a column is positive, whichever way the data go."""
    X, y = blobs()
    for sign in (1.0, -1.0):
        linear = LinearDiscriminantAnalysis().fit(sign * X, y)
        eigen = LinearDiscriminantAnalysis("eigen").fit(sign * X, y)
        quadratic = QuadraticDiscriminantAnalysis().fit(sign * X, y)
        for columns in (linear.scalings_, eigen.scalings_, *quadratic.rotations_):
            assert all(column[np.abs(column).argmax()] > 0 for column in columns.T)


# --- what is refused -------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"covariance_estimator": EmpiricalCovariance(), "solver": "eigen"}, "fitted to the rows themselves"),
        ({"shrinkage": "auto", "solver": "eigen"}, "fourth moments"),
        ({"shrinkage": 0.5}, "shrinkage not supported with 'svd' solver"),
        ({"priors": [0.5, -0.5, 1.0]}, "1 of 3 are not"),
        ({"priors": [0.5, float("nan"), 0.5]}, "1 of 3 are not"),
        ({"priors": [[0.5, 0.5, 0.0]]}, "one-dimensional"),
        ({"priors": [0.0, 0.0, 0.0]}, "all zero"),
        ({"priors": [0.5, 0.5]}, "2 entries.*3 classes"),
    ],
)
def test_what_is_refused_changes_nothing(Ours, params, message):
    X, y = blobs()
    model = Ours().fit(X, y)
    before = state_digest(model)

    with pytest.raises(ValueError, match=message):
        model.set_params(**params).fit(X, y)

    assert state_digest(model) == before


def test_priors_that_do_not_sum_to_one_are_scaled_with_a_warning():
    X, y = blobs()
    model = LinearDiscriminantAnalysis(priors=[1.0, 1.0, 2.0])

    with pytest.warns(UserWarning, match="Renormalizing"):
        model.fit(X, y)

    assert model.priors_.tolist() == [0.25, 0.25, 0.5]


def test_least_squares_do_not_transform():
    X, y = blobs()
    model = LinearDiscriminantAnalysis("lsqr").fit(X, y)
    with pytest.raises(NotImplementedError, match="lsqr"):
        model.transform(X)
    assert not hasattr(model, "scalings_")


# --- what few rows determine -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "keep", "message"),
    [
        (LinearDiscriminantAnalysis(), [], "no row left"),
        (LinearDiscriminantAnalysis(), [0, 1, 2], "more than the number of classes"),
        (LinearDiscriminantAnalysis(n_components=2), [0, 1, 3, 4, 6, 7], "n_components"),
        (LinearDiscriminantAnalysis("eigen"), [0, 1, 2, 3, 4, 5], "not of full rank"),
        (QuadraticDiscriminantAnalysis(), [], "no row left"),
        (QuadraticDiscriminantAnalysis(), list(range(0, 90, 3)), "has to be greater than one"),
        (QuadraticDiscriminantAnalysis(), [0, 1, 3, 4, 6, 7, 9, 10, 12, 13, 2], "1 of 3 classes.*fewer than 4"),
        (QuadraticDiscriminantAnalysis(), list(range(12)), "not full rank"),
    ],
)
@pytest.mark.filterwarnings("ignore::skunlearn.exceptions.ClassVanishedWarning")
def test_rows_that_determine_no_model_are_kept_and_learning_revives_it(model, keep, message):
    X, y = blobs()
    model = model.fit(X, y)
    before = state_digest(model)
    going = np.setdiff1d(np.arange(90), keep)

    model.partial_forget(going)

    with pytest.raises(DegenerateRowsError, match=message):
        model.predict(X)
    assert model.n_live_ == len(keep)
    model.partial_fit(X[going], y[going], sample_ids=going)
    assert state_digest(model) == before


@both
def test_values_whose_square_is_infinite_determine_no_model(Ours):
    X, y = blobs()
    X[5, 1] = 1e200
    with pytest.raises(DegenerateRowsError, match=r"1 of 3 covariance matrices.*too large"):
        Ours().fit(X, y)


def test_columns_that_vary_in_no_class_are_left_out_and_only_such_determine_no_model():
    X, y = blobs()
    X[:, 1] = y
    model = LinearDiscriminantAnalysis().fit(X, y)
    assert (model.scalings_[1] == 0).all()
    with pytest.raises(DegenerateRowsError, match="No column"):
        LinearDiscriminantAnalysis().fit(X[:, [1]], y)


@pytest.mark.parametrize("priors", [None, [0.2, 0.3, 0.5]])
@pytest.mark.parametrize(
    "model", [LinearDiscriminantAnalysis(), LinearDiscriminantAnalysis("eigen"), QuadraticDiscriminantAnalysis()]
)
def test_a_declared_class_without_rows_has_probability_zero(model, priors):
    """Also in a release, and where two classes are left of which one is without rows."""
    X, y = blobs()
    model.set_params(classes=[0, 1, 2], priors=priors).fit(X, y)

    with warnings.catch_warnings():
        warnings.simplefilter("error", ClassVanishedWarning)
        model.partial_forget(np.flatnonzero(y == 1))

    proba = model.predict_proba(X)
    assert (proba[:, 1] == 0).all()
    assert np.isfinite(proba).all()
    with np.errstate(divide="ignore", invalid="ignore"):
        np.testing.assert_allclose(model.release().predict_proba(X), proba, rtol=1e-9, atol=1e-12)
    pair = type(model)(classes=[0, 1]).fit(X[y < 2], y[y < 2])
    pair.partial_forget(np.flatnonzero(y[y < 2] == 0))
    assert pair.predict_proba(X).tolist() == [[0.0, 1.0]] * len(X)
    assert (pair.predict(X) == 1).all()


@both
def test_classes_of_prior_zero_alone_determine_no_model(Ours):
    X, y = blobs()
    model = Ours(priors=[0.0, 0.0, 1.0], classes=[0, 1, 2]).fit(X, y)
    model.partial_forget(np.flatnonzero(y == 2))
    with pytest.raises(DegenerateRowsError, match="prior of zero"):
        model.predict(X)


def test_a_declared_class_without_rows_has_no_rank_to_check():
    """Its identity covariance is a filler, however large `tol` is."""
    X, y = blobs()
    model = QuadraticDiscriminantAnalysis(tol=2.0, classes=[0, 1, 2, 3]).fit(X * 100, y)
    assert (model.predict_proba(X)[:, 3] == 0).all()


@both
def test_estimated_memory_is_what_is_held(Ours):
    X, y = blobs(n=3000, d=20)
    estimate = Ours().estimate_memory(X, n_classes=3)
    live = Ours(tol=0).fit(X, y)._live
    assert estimate.core == live.core.nbytes()
    assert estimate.total == pytest.approx(live.rows.native.nbytes + live.core.nbytes(), rel=0.02)


def test_fitting_and_transforming_takes_ids():
    X, y = blobs()
    model = LinearDiscriminantAnalysis()
    assert (model.fit_transform(X, y, sample_ids=np.arange(90) + 7) == model.transform(X)).all()
    assert model.partial_forget([7]).n_live_ == 89


def test_one_class_alone_is_certain_in_linear_discriminant_analysis():
    X, y = blobs()
    model = LinearDiscriminantAnalysis().fit(X, 0 * y + 7)
    assert model.predict_proba(X).tolist() == [[1.0]] * len(X)
    assert set(model.predict(X).tolist()) == {7}
    assert model.transform(X).shape == (len(X), 0)
