"""`skunlearn.class_codes`: codes stay put while classes come and go, and no history shows."""

from typing import Any

import numpy as np
import pytest

from skunlearn.class_codes import ClassCodes, best_columns
from skunlearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from skunlearn.linear_model import RidgeClassifier
from skunlearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from skunlearn.neighbors import NearestCentroid


def learned(*labels: Any, declared: Any = None) -> ClassCodes:
    codes = ClassCodes(declared)
    for label in labels:
        codes.count(codes.encode(np.array([label])), None, +1)
    return codes


def test_codes_are_given_once_and_taken_back_when_the_last_row_goes() -> None:
    """A label keeps its code while rows bear it; a free code goes to the next new label."""
    codes = ClassCodes()
    first = codes.encode(np.array([30, 10, 30, 20]))
    codes.count(first, None, +1)
    assert first[0] == first[2]
    assert len(set(first.tolist())) == 3

    codes.count(first[[1]], None, -1)
    assert codes.classes()[1].tolist() == [20, 30]
    fresh = codes.encode(np.array([5, 30]))
    assert fresh.tolist() == [first[1], first[0]]
    codes.count(fresh, None, +1)
    assert codes.classes()[1].tolist() == [5, 20, 30]
    assert codes.decode(np.r_[fresh, first[[0, 3]]]).tolist() == [5, 30, 30, 20]
    assert len(codes) == 3


def test_what_is_published_does_not_depend_on_the_history() -> None:
    """Labels, their order and dtype come from the rows that are there."""
    plain = learned("b", "a")
    winding = learned("zzzzzz", "a", "b")
    winding.count(winding.encode(np.array(["zzzzzz"])), None, -1)

    assert plain.sorted_ranks()[0] == winding.sorted_ranks()[0] == ["a", "b"]
    assert plain.classes()[1].dtype == winding.classes()[1].dtype == np.dtype("U1")
    ranks = winding.sorted_ranks()[1]
    assert [ranks[winding.encode(np.array([label]))[0]] for label in ("a", "b")] == [0, 1]


def test_rows_of_weight_zero_make_no_class() -> None:
    """They are stored, so their label is kept; they do not count, so it is no class."""
    codes = ClassCodes()
    rows = codes.encode(np.array([1, 2, 2]))
    weight = np.array([1.0, 0.0, 0.0])
    codes.count(rows, weight, +1)

    assert codes.classes()[1].tolist() == [1]
    assert codes.sorted_ranks()[0] == [1, 2]
    codes.count(rows[1:2], weight[1:2], -1)
    assert codes.sorted_ranks()[0] == [1, 2]
    codes.count(rows[2:], weight[2:], -1)
    assert codes.sorted_ranks()[0] == [1]


def test_declared_classes_stay_and_are_all_there_are() -> None:
    """Sorted, with or without rows; another label is refused and nothing changes."""
    codes = learned("b", declared=["c", "a", "b", "a"])

    assert codes.declared == ["a", "b", "c"]
    assert codes.classes()[1].tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match=r"y holds 2 of 3 labels that are not among the 3 declared classes"):
        codes.encode(np.array(["x", "a", "y"]))
    codes.count(codes.encode(np.array(["b"])), None, -1)
    assert codes.classes()[1].tolist() == ["a", "b", "c"]
    assert ClassCodes(["a"]).classes()[1].tolist() == ["a"]
    assert ClassCodes().declared is None


def test_vanishing_classes_are_counted_before_they_go() -> None:
    """One row or many: how many classes would go, of how many; declared ones never do."""
    codes = learned(1, 1, 2, 3)
    code = {label: codes.encode(np.array([label]))[0] for label in (1, 2, 3)}
    for going, expected in [([1], (0, 3)), ([1, 1], (1, 3)), ([2], (1, 3)), ([1, 1, 2, 3], (3, 3)), ([1, 2], (1, 3))]:
        n_vanishing, n_classes = codes.n_vanishing(np.array([code[label] for label in going]), None)
        assert n_vanishing == expected[0]
        assert not n_vanishing or n_classes == expected[1]
    zero = np.array([0.0])
    assert codes.n_vanishing(np.array([code[2]]), zero)[0] == 0
    declared = learned(1, declared=[1, 2])
    assert declared.n_vanishing(declared.encode(np.array([1])), None)[0] == 0


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        ([True, False], np.dtype(bool)),
        (np.array([1, 2], np.int8), np.dtype(np.int8)),
        (np.array([1, 2], np.uint64), np.dtype(np.uint64)),
        ([0.5, 1.5], np.dtype(float)),
        (["a", "bcd"], np.dtype("U3")),
        (np.array(["a", "bcd"], dtype=object), np.dtype(object)),
    ],
)
def test_classes_have_the_dtype_of_the_labels(labels: Any, dtype: np.dtype) -> None:
    """As in scikit-learn, through saving too."""
    codes = ClassCodes()
    codes.count(codes.encode(np.asarray(labels)), None, +1)
    restored = ClassCodes.restore(codes.sorted_ranks()[0], 0, codes.dtype)
    restored.count(restored.encode(np.asarray(labels)), None, +1)

    for each in (codes, restored):
        kinds = {each.classes()[1].dtype.kind, dtype.kind}
        assert kinds <= {dtype.kind, "U"}
        assert each.classes()[1].tolist() == sorted(np.asarray(labels).tolist())
    if dtype.kind not in "O":
        assert codes.classes()[1].dtype == restored.classes()[1].dtype == dtype


@pytest.mark.parametrize(
    "labels",
    [
        np.array([1, "a"], dtype=object),
        np.array([b"a"]),
        np.array([1j]),
        np.array([None, 1], dtype=object),
        np.array([1.0, np.nan]),
    ],
)
def test_labels_of_other_kinds_are_refused(labels: np.ndarray) -> None:
    """All numbers or all str; what was there stays."""
    codes = learned(1)
    with pytest.raises(ValueError, match="Class labels must all be numbers or all be str"):
        codes.encode(labels)
    assert codes.sorted_ranks()[0] == [1]


def test_a_label_that_changes_in_the_dtype_of_the_classes_is_refused() -> None:
    """int8 holds no 300, and an integer no half."""
    codes = ClassCodes()
    codes.count(codes.encode(np.array([1, 2], np.int8)), None, +1)
    for value in (300, 1.5, -129):
        with pytest.raises(ValueError, match="labels that do not fit int8"):
            codes.encode(np.array([value]))
    assert codes.encode(np.array([2.0])).tolist() == codes.encode(np.array([2], np.int8)).tolist()


def test_an_empty_twin_has_the_declaration_and_no_rows() -> None:
    """What reference_fit starts from."""
    twin = learned("b", declared=["a", "b"]).empty_twin()
    assert twin.declared == ["a", "b"]
    assert twin.n_stored.tolist() == [0, 0]
    assert learned("b").empty_twin().classes()[1].tolist() == []


def test_a_vanished_class_comes_back_with_its_rows() -> None:
    """Through a model: forget the class, learn it again, and nothing shows."""
    X, y = np.eye(4), ["a", "b", "b", "c"]
    model = BernoulliNB().fit(X, y, sample_ids=list("pqrs"))
    before = model.predict_proba(X).tobytes()
    with pytest.warns(UserWarning, match="1 of 3 classes"):
        model.partial_forget(["p"])
    assert model.classes_.tolist() == ["b", "c"]
    model.partial_fit(X[:1], y[:1], sample_ids=["p"])
    assert model.classes_.tolist() == ["a", "b", "c"]
    assert model.predict_proba(X).tobytes() == before


def test_best_columns() -> None:
    """The first of the largest scores of a row, among classes with rows, whatever their scores."""
    scores = np.array([[-np.inf, -np.inf, -np.inf], [np.inf, 1.0, 2.0], [np.nan, 3.0, 3.0]])
    assert best_columns(scores, np.array([False, True, True])).tolist() == [1, 2, 1]
    assert best_columns(scores[1:2], np.ones(3, dtype=bool)).tolist() == [0]


@pytest.mark.parametrize("Model", [MultinomialNB, ComplementNB, BernoulliNB, CategoricalNB])
def test_declared_class_without_rows_is_not_predicted_where_no_class_is_possible(Model: Any) -> None:
    """Without smoothing a row may be impossible in every class; it is then of one that has been seen."""
    model = Model(alpha=0.0, classes=[-1, 0, 1]).fit(np.array([[1, 0, 0], [0, 1, 0]]), [0, 1])
    assert -1 not in model.predict([[1, 1, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0]])


@pytest.mark.parametrize("declared", [[-1, 0], [-1, 0, 1], [-2, -1, 0, 1]])
@pytest.mark.parametrize(
    "Model",
    [GaussianNB, QuadraticDiscriminantAnalysis, LinearDiscriminantAnalysis, NearestCentroid, RidgeClassifier],
)
def test_declared_class_without_rows_is_not_predicted_far_away(Model: Any, declared: list[int]) -> None:
    """Rows whose distances and scores overflow are of a class that has been seen."""
    if Model is NearestCentroid and declared == [-1, 0]:
        pytest.skip("one class with rows determines no nearest centroid")
    y = np.resize([label for label in declared if label >= 0], 30)
    model = Model(classes=declared).fit(np.random.default_rng(0).normal(size=(30, 2)), y)
    far = 1.7e308 * np.array([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])
    with np.errstate(invalid="ignore"):  # of scikit-learn's check for infinities, which sums
        assert (model.predict(far) >= 0).all()
