"""TargetEncoder: encodings are scikit-learn's, folds go by id, and sums of targets are exact."""

import pickle
from fractions import Fraction

import numpy as np
import pytest
import sklearn.preprocessing
from hypothesis import given, settings
from hypothesis import strategies as st

from skunlearn import reference_fit, state_digest
from skunlearn.compose import ColumnTransformer
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.linear_model import Ridge, RidgeClassifier
from skunlearn.pipeline import make_pipeline
from skunlearn.preprocessing import TargetEncoder

N_ROWS = 120
IDS = np.arange(N_ROWS) * 3
CANARY = "Holand-Netherlands"


def rows(n=N_ROWS, seed=0):
    rng = np.random.default_rng(seed)
    columns = [
        rng.choice(list("abcde"), n),
        rng.choice(np.array(["x", None, "y"], dtype=object), n),
        rng.integers(0, 3, n),
    ]
    return np.array([column.astype(object) for column in columns], dtype=object).T


def targets(kind, n=N_ROWS, seed=1):
    rng = np.random.default_rng(seed)
    if kind == "continuous":
        return rng.normal(size=n) * 10.0 ** rng.integers(-8, 8, n)
    return rng.choice(["no", "yes"] if kind == "binary" else ["u", "v", "w"], n)


kinds = pytest.mark.parametrize("kind", ["continuous", "binary", "multiclass"])
smooths = pytest.mark.parametrize("smooth", ["auto", 0.0, 7.5])


@kinds
@smooths
def test_exact_encodings_are_those_of_scikit_learn(kind, smooth):
    X, y = rows(), targets(kind)
    model = TargetEncoder(smooth=smooth, exact_statistics=True, random_state=0).fit(X, y)
    own = sklearn.preprocessing.TargetEncoder(smooth=smooth).fit(X, y)
    scale = np.abs(y).max() if kind == "continuous" else 1.0
    assert model.target_type_ == own.target_type_ == kind
    np.testing.assert_allclose(model.target_mean_, own.target_mean_, rtol=1e-12, atol=1e-14 * scale)
    for ours, theirs in zip(model.encodings_, own.encodings_, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12 * scale)
    np.testing.assert_array_equal(model.get_feature_names_out(), own.get_feature_names_out())
    strangers = np.array([["zz", None, 7]], dtype=object)
    np.testing.assert_allclose(model.transform(strangers), own.transform(strangers), atol=1e-12 * scale)
    released = model.release()
    assert type(released) is sklearn.preprocessing.TargetEncoder
    np.testing.assert_array_equal(released.transform(X), model.transform(X))
    if kind == "continuous":
        assert released.classes_ is None
    else:
        np.testing.assert_array_equal(released.classes_, own.classes_)


@kinds
@smooths
def test_encodings_on_the_lattice_are_within_half_a_step(kind, smooth):
    X, y = rows(), targets(kind)
    exact = TargetEncoder(smooth=smooth, exact_statistics=True, random_state=0).fit(X, y)
    model = TargetEncoder(smooth=smooth, random_state=0).fit(X, y)
    step = 1 / 64 if kind != "continuous" else np.std(y) / 16 * 2**0.5
    apart = [np.abs(ours - theirs).max() for ours, theirs in zip(model.encodings_, exact.encodings_, strict=True)]
    assert 0 < max(apart) <= step / 2
    other = TargetEncoder(smooth=smooth, random_state=1).fit(X, y)
    assert other.transform_digest() != model.transform_digest()


@kinds
def test_rows_are_encoded_by_the_rows_of_other_folds(kind):
    X, y = rows(), targets(kind)
    model = TargetEncoder(exact_statistics=True, random_state=0, cv=3)
    encoded = model.fit_transform(X, y, sample_ids=IDS)
    assert not np.array_equal(encoded, model.transform(X))
    live = model._live
    folds = [(int(low) >> 32) * 3 >> 32 for low in live.rows.native.tags(np.arange(N_ROWS, dtype=np.uint32))[:, 0]]
    assert set(folds) == {0, 1, 2}
    for fold in range(3):
        inside = np.array(folds) == fold
        own = sklearn.preprocessing.TargetEncoder().fit(X[~inside], y[~inside])
        np.testing.assert_allclose(
            encoded[inside], own.transform(X[inside]), rtol=1e-9, atol=1e-9 * np.abs(encoded).max()
        )


@kinds
def test_a_row_does_not_leave_its_fold_when_others_leave(kind):
    X, y = rows(), targets(kind)
    model = TargetEncoder(random_state=0).fit(X, y, sample_ids=IDS)
    model.partial_forget(IDS[:40])
    fresh = TargetEncoder(random_state=0)
    encoded = fresh.fit_transform(X[40:], y[40:], sample_ids=IDS[40:])
    assert fresh.transform_digest() == model.transform_digest()
    live = model._live
    block = next(live.effective_blocks())
    by_id = dict(
        zip(live.rows.native.ids(block.slots).tolist(), model._published().apply_to_live(block).tolist(), strict=True)
    )
    assert [by_id[i] for i in IDS[40:].tolist()] == encoded.tolist()


def test_the_digest_covers_the_encodings_of_folds():
    X = np.array([["a"], ["a"], ["a"], ["b"], ["b"], ["b"]], dtype=object)
    y = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    one = TargetEncoder(smooth=0.0, exact_statistics=True, random_state=0).fit(X, y, sample_ids=np.arange(6))
    swapped = TargetEncoder(smooth=0.0, exact_statistics=True, random_state=0)
    swapped.fit(X[[2, 1, 0, 5, 4, 3]], y[[2, 1, 0, 5, 4, 3]], sample_ids=np.arange(6))
    np.testing.assert_array_equal(one.encodings_, swapped.encodings_)
    assert one.transform_digest() != swapped.transform_digest()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-1e140, 1e140), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_sums_of_targets_are_exact(y, seed):
    X = np.array([["a"]] * len(y) + [["b"]], dtype=object)
    model = TargetEncoder(smooth=0.0, target_type="continuous", exact_statistics=True, random_state=seed)
    model.fit(X, [*y, 1e-300], sample_ids=np.arange(len(y) + 1))
    expected = sum(map(Fraction, y), Fraction(0)) / len(y)
    assert model.encodings_[0][0] == float(expected)
    model.partial_forget(np.arange(1, len(y)))
    assert model.encodings_[0].tolist() == [y[0] + 0.0, 1e-300]


SETTINGS = [
    ("continuous", lambda: TargetEncoder(random_state=0)),
    ("continuous", lambda: make_pipeline(TargetEncoder(cv=2), Ridge())),
    ("binary", lambda: TargetEncoder(smooth=2.0, random_state=0, cv=3)),
    (
        "multiclass",
        lambda: make_pipeline(
            ColumnTransformer([("t", TargetEncoder(exact_statistics=True), [0, 1])], remainder="drop"),
            RidgeClassifier(),
        ),
    ),
]


@pytest.mark.filterwarnings("ignore::skunlearn.exceptions.ClassVanishedWarning")
@pytest.mark.filterwarnings("ignore::skunlearn.exceptions.CategoryVanishedWarning")
@pytest.mark.parametrize(("kind", "make"), SETTINGS)
@settings(max_examples=10, deadline=None)
@given(
    operations=st.lists(
        st.tuples(st.sampled_from(["forget", "learn", "save"]), st.sets(st.integers(0, 19), min_size=1, max_size=12)),
        max_size=5,
    )
)
def test_after_every_operation_it_equals_a_refit(kind, make, operations):
    X, y = rows(20), targets(kind, 20)
    live = set(range(14))
    model = make().fit(X[:14], y[:14], sample_ids=np.arange(14))
    for what, chosen in operations:
        if what == "forget" and chosen & live:
            model.partial_forget(sorted(chosen & live))
            live -= chosen
        elif what == "learn" and chosen - live:
            new = sorted(chosen - live)
            if kind == "multiclass" or len(set(y[sorted(live | chosen)].tolist())) > 1:
                model.partial_fit(X[new], y[new], sample_ids=new)
                live |= chosen
        elif what == "save":
            model = pickle.loads(pickle.dumps(model))
        reference = reference_fit(model)
        assert state_digest(model) == state_digest(reference)
        read = "predict" if hasattr(model, "predict") else "transform"
        try:
            expected = getattr(reference, read)(X)
        except DegenerateRowsError:
            with pytest.raises(DegenerateRowsError):
                getattr(model, read)(X)
        else:
            np.testing.assert_array_equal(getattr(model, read)(X), expected)


@pytest.mark.filterwarnings("ignore::skunlearn.exceptions.CategoryVanishedWarning")
@kinds
def test_a_category_is_nowhere_once_its_last_row_is_forgotten(kind):
    X, y = rows(), targets(kind)
    X[5, 0] = CANARY
    model = TargetEncoder(random_state=0).fit(X, y, sample_ids=IDS)
    assert CANARY.encode() in pickle.dumps(model)
    model.partial_forget(IDS[[5]])
    shown = [repr(model), str(model.categories_), repr(vars(model._live.core)), repr(model._published())]
    assert not any(CANARY in text for text in shown)
    assert CANARY.encode() not in pickle.dumps(model)
    assert CANARY.encode() not in pickle.dumps(model.release())


@pytest.mark.parametrize(
    ("params", "y", "message"),
    [
        (
            {"cv": sklearn.model_selection.KFold(3) if hasattr(sklearn, "model_selection") else 1},
            [0, 1],
            "number of folds",
        ),
        ({"cv": 1}, [0, 1], "number of folds"),
        ({"shuffle": False}, [0, 1], "no folds by position"),
        ({}, None, "requires y"),
        ({}, [[0, 1], [1, 0]], "(Target type was inferred|1d array|bad input shape)"),
        ({"target_type": "continuous"}, ["u", "v"], "no numbers|could not convert"),
        ({"target_type": "continuous"}, [1e200, 0.0], "1 of 2 targets are beyond"),
        ({"target_type": "binary"}, [0, 1, 2], "has 3 classes|have 3 classes"),
    ],
)
def test_what_it_cannot_follow_is_refused(params, y, message):
    X = np.array([["a"], ["b"], ["a"]], dtype=object)[: 2 if y is None else len(y)]
    with pytest.raises((ValueError, TypeError), match=message):
        TargetEncoder(**params).fit(X, y)


def test_numbers_before_a_regressor_are_numbers_even_if_they_look_like_labels():
    X, y = rows()[:, :1], np.arange(N_ROWS) % 4
    model = make_pipeline(TargetEncoder(), Ridge()).fit(X, y)
    assert model[0].target_type_ == "continuous"
    with pytest.raises(ValueError, match="target_type is 'multiclass', and targets are numbers"):
        make_pipeline(TargetEncoder(target_type="multiclass"), Ridge()).fit(X, y)


def test_forgettable_false_encodes_by_folds_and_keeps_nothing():
    X, y = rows(), targets("continuous")
    kept, dropped = TargetEncoder(random_state=0), TargetEncoder(random_state=0)
    np.testing.assert_array_equal(kept.fit_transform(X, y), dropped.fit_transform(X, y, forgettable=False))
    assert len(dropped._live.rows) == 0
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(dropped)).transform(X), kept.transform(X))
