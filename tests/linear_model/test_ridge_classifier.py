"""`RidgeClassifier`: the nearest float64 numbers to the optimum, whatever weighs, and scikit-learn's answers to rounding."""

import pickle
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.linear_model
from sklearn.datasets import load_breast_cancer, load_wine

from skunlearn import reference_fit, state_digest
from skunlearn.exceptions import ClassVanishedWarning, DegenerateRowsError
from skunlearn.linear_model import Ridge, RidgeClassifier

WEIGHTS = [None, "balanced", {0: 0.1, 1: 3.0, 2: 1.7}]
weighing = pytest.mark.parametrize("class_weight", WEIGHTS, ids=["equal", "balanced", "given"])
with_and_without_intercept = pytest.mark.parametrize("fit_intercept", [True, False])


def labelled(n=60, d=4, n_classes=3, seed=0):
    """Rows of float64 with 53 bits at work, labels that lean on them, and weights."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-3, 4, d)
    y = rng.integers(0, n_classes, n)
    y[:n_classes] = range(n_classes)
    return X + y[:, None], y, rng.random(n)


def rational_optimum(X, y, c, by_class, alpha, fit_intercept):
    """Solve the normal equations of quantised rows, weighted by class, in rational numbers; coefficients by target."""
    shifts = 53 - np.frexp(np.abs(np.column_stack([c, X * c[:, None]])).max(axis=0))[1]
    if (c == 1).all():
        shifts[0] = 0
    Z = np.column_stack([c, X * c[:, None]])
    Q = [
        [Fraction(int(np.rint(v))) / Fraction(2) ** int(s) for v, s in zip(r, shifts, strict=True)]
        for r in np.ldexp(Z, shifts)
    ]
    d, weight = X.shape[1], [by_class[label] for label in y.tolist()]
    classes = sorted(set(y.tolist()))
    columns = []
    for k in classes[1:] if len(classes) == 2 else classes:
        sign = [1 if label == k else -1 for label in y.tolist()]
        rows = [[*q, s * q[0]] for q, s in zip(Q, sign, strict=True)]
        gram = [
            [sum(w * r[i] * r[j] for w, r in zip(weight, rows, strict=True)) for j in range(d + 2)]
            for i in range(d + 2)
        ]
        if fit_intercept:
            gram = [[gram[i][j] - gram[0][i] * gram[0][j] / gram[0][0] for j in range(d + 2)] for i in range(d + 2)]
        table = [
            [gram[i][j] + (alpha if i == j else 0) for j in range(1, d + 1)] + [gram[i][d + 1]] for i in range(1, d + 1)
        ]
        for k_ in range(d):
            for i in range(d):
                if i != k_:
                    ratio = table[i][k_] / table[k_][k_]
                    table[i] = [a - ratio * b for a, b in zip(table[i], table[k_], strict=True)]
        columns.append([float(table[j][d] / table[j][j]) for j in range(d)])
    return columns


@weighing
@with_and_without_intercept
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_published_are_the_float64_nearest_to_the_rational_optimum(class_weight, fit_intercept, n_classes, weighted):
    """coef_ is the exact optimum rounded once, "balanced" weights being the rational numbers that they are."""
    X, y, weight = labelled(n_classes=n_classes)
    if isinstance(class_weight, dict):
        class_weight = {label: class_weight[label] for label in range(n_classes)}
    model = RidgeClassifier(alpha=0.3, fit_intercept=fit_intercept, class_weight=class_weight)
    model.fit(X, y, weight if weighted else None)

    by_class = {label: Fraction(1) for label in range(n_classes)}
    if class_weight == "balanced":
        by_class = {label: Fraction(len(y), n_classes * int((y == label).sum())) for label in range(n_classes)}
    elif class_weight:
        by_class = {label: Fraction(w) for label, w in class_weight.items()}
    c = np.sqrt(weight) if weighted else np.ones(len(y))
    want = rational_optimum(X, y, c, by_class, Fraction(0.3), fit_intercept)
    assert np.atleast_2d(model.coef_).tolist() == want


@weighing
@with_and_without_intercept
@pytest.mark.parametrize("load", [load_breast_cancer, load_wine])
@pytest.mark.parametrize("weighted", [False, True])
def test_bundled_tables_as_scikit_learn(class_weight, fit_intercept, load, weighted):
    """Attributes are scikit-learn's at rtol 1e-9, in its shapes, and so are labels, before and after a deletion."""
    X, y = load(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    weight = np.random.default_rng(0).random(len(y)) if weighted else np.ones(len(y))
    if isinstance(class_weight, dict):
        class_weight = {label: class_weight[label] for label in np.unique(y).tolist()}
    params = {"fit_intercept": fit_intercept, "class_weight": class_weight}
    going = np.arange(0, len(y), 7)

    ours = RidgeClassifier(**params).fit(X, y, weight)
    assert_like_sklearn(ours, sklearn.linear_model.RidgeClassifier(**params).fit(X, y, weight), X)
    ours.partial_forget(going)

    X, y, weight = (np.delete(part, going, 0) for part in (X, y, weight))
    assert_like_sklearn(ours, sklearn.linear_model.RidgeClassifier(**params).fit(X, y, weight), X)


def assert_like_sklearn(ours, theirs, X):
    assert ours.classes_.tolist() == theirs.classes_.tolist()
    assert ours.coef_.shape == theirs.coef_.shape
    assert type(ours.intercept_) is type(theirs.intercept_)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-9)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), rtol=1e-9, atol=1e-10)
    assert ours.predict(X).tolist() == theirs.predict(X).tolist()
    released = ours.release()
    assert type(released) is type(theirs)
    assert released.coef_.tobytes() == ours.coef_.tobytes()
    assert released.predict(X).tolist() == ours.predict(X).tolist()


def test_two_classes_are_ridge_on_signs():
    """Without class weights the coefficients are those of Ridge on targets of -1 and 1, bit for bit."""
    X, y, weight = labelled(n_classes=2)
    for w in (None, weight):
        ours, ridge = RidgeClassifier(alpha=0.5).fit(X, y, w), Ridge(alpha=0.5).fit(X, 2.0 * y - 1, w)
        if w is None:  # a weighted target is rounded in Ridge; here it is the root of the weight itself
            assert ours.coef_.tobytes() == ridge.coef_.tobytes()
        np.testing.assert_allclose(ours.coef_, ridge.coef_, rtol=1e-12)


@weighing
def test_forgetting_any_rows_equals_refit(class_weight):
    """Rows go one by one and in batches, a class comes and goes, scales change: the bits of a refit, and the digest."""
    X, y, weight = labelled(n=200)
    X[7] *= 1e6
    X = np.column_stack([X, np.arange(len(y)) % 7])
    model = RidgeClassifier(class_weight=class_weight).fit(X, y, weight, sample_ids=np.arange(200))
    for going in ([7], [3], np.arange(20, 90)):
        model.partial_forget(going)
        assert_is_refit(model)
    with pytest.warns(ClassVanishedWarning):
        model.partial_forget(np.flatnonzero((y == 1) & ~np.isin(np.arange(200), [7, 3, *range(20, 90)])))
    assert_is_refit(model)
    model.partial_fit(X[20:40], y[20:40], sample_weight=weight[20:40], sample_ids=np.arange(20, 40))
    assert_is_refit(model)


def assert_is_refit(model):
    want = reference_fit(model)
    assert state_digest(model) == state_digest(want)
    assert model.coef_.tobytes() == want.coef_.tobytes()
    assert np.asarray(model.intercept_).tobytes() == np.asarray(want.intercept_).tobytes()


def test_layouts_and_dtypes_give_the_same_bits():
    """Equal values as float32, float64 or CSR: the same coefficients and scores."""
    X, y, weight = labelled()
    X = X.astype(np.float32)
    X[X < 0] = 0
    models = [RidgeClassifier().fit(rows, y, weight) for rows in (X, X.astype(np.float64), sp.csr_array(X))]
    assert len({m.coef_.tobytes() + m.intercept_.tobytes() + m.decision_function(X).tobytes() for m in models}) == 1


def test_multilabel_is_refused_with_its_reason():
    """Targets in columns change nothing."""
    X, y, _ = labelled()
    model = RidgeClassifier().fit(X, y)
    before = state_digest(model)
    for bad in (np.eye(3, dtype=int)[y], sp.csr_array(np.eye(3, dtype=int)[y])):
        with pytest.raises(ValueError, match="does not offer multilabel"):
            model.fit(X, bad)
    assert state_digest(model) == before


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"class_weight": {0: -1.0, 1: 1.0, 2: 1.0}}, "1 of 3 entries of class_weight"),
        ({"class_weight": {0: np.inf, 1: "x", 2: 1.0}}, "2 of 3 entries of class_weight"),
        ({"class_weight": {0: 1.0, 5: 1.0}}, "leaves out 2 of 3 classes"),
        ({"alpha": np.inf}, "alpha"),
        ({"positive": True}, "positive=True"),
    ],
)
def test_bad_parameters_are_refused(params, message):
    """A ValueError at fit, without a value of the user's."""
    X, y, _ = labelled()
    with pytest.raises(ValueError, match=message):
        RidgeClassifier(**params).fit(X, y)


def test_a_declared_class_without_rows_is_never_predicted():
    """It keeps its column of coefficients, also without an intercept, where its score may be the largest."""
    X, y, _ = labelled()
    for fit_intercept in (True, False):
        model = RidgeClassifier(fit_intercept=fit_intercept, classes=[0, 1, 2, 3]).fit(X, y)
        assert model.coef_.shape == (4, X.shape[1])
        assert set(model.predict(-X).tolist()) <= {0, 1, 2}
        model.partial_forget(np.flatnonzero(y != 1))
        assert set(model.predict(-X).tolist()) == {1}
    two = RidgeClassifier(fit_intercept=False, classes=[0, 1]).fit(X[y == 1], y[y == 1])
    assert set(two.predict(-X).tolist()) == {1}


def test_one_class_is_predicted_for_every_row():
    """Coefficients are 0 then, with an intercept or without, in the model and its release."""
    X, _, _ = labelled()
    for fit_intercept in (True, False):
        model = RidgeClassifier(fit_intercept=fit_intercept).fit(X, np.zeros(len(X)))
        assert not model.coef_.any()
        assert set(model.predict(X)) == set(model.release().predict(X)) == {0.0}


def test_classes_of_weight_zero_alone_are_degenerate():
    """A model whose rows all have a class weight of 0 says so, and is back with another row."""
    X, y, _ = labelled(n_classes=2)
    model = RidgeClassifier(class_weight={0: 0.0, 1: 1.0}, classes=[0, 1]).fit(X, y)
    model.partial_forget(np.flatnonzero(y == 1))
    with pytest.raises(DegenerateRowsError, match="class_weight gives 0"):
        _ = model.coef_
    model.partial_fit(X[y == 1], y[y == 1], sample_ids=np.flatnonzero(y == 1))
    assert_is_refit(model)


@weighing
def test_saved_models_forget_on(class_weight):
    """A loaded model has the same bits, and its bytes are those of a refit."""
    X, y, weight = labelled()
    model = RidgeClassifier(class_weight=class_weight).fit(X, y, weight).partial_forget([3, 4])
    loaded = pickle.loads(pickle.dumps(model))
    assert pickle.dumps(loaded) == pickle.dumps(reference_fit(model))
    assert_is_refit(loaded.partial_forget([9]))


@weighing
def test_memory_is_estimated(class_weight):
    """The estimate of the sums is what they take."""
    X, y, _ = labelled(n=300)
    model = RidgeClassifier(class_weight=class_weight).fit(X, y)
    assert RidgeClassifier(class_weight=class_weight).estimate_memory(X, n_classes=3).core == model._live.core.nbytes()
