"""Encoders: what they publish is scikit-learn's, and categories leave with their last row."""

import ctypes
import gc
import io
import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.preprocessing

from skunlearn import reference_fit, state_digest
from skunlearn._faults import FAULT_POINTS, inject
from skunlearn.exceptions import CategoryVanishedWarning, DegenerateRowsError, UnknownCategoryError
from skunlearn.preprocessing import OneHotEncoder, OrdinalEncoder

pd = pytest.importorskip("pandas")

N_ROWS = 60
IDS = np.arange(N_ROWS) * 7


def frame(seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "text": pd.Series(rng.choice(list("abcdefg"), N_ROWS), dtype=object),
            "whole": rng.integers(0, 5, N_ROWS),
            "real": rng.choice([0.5, 1.5, np.nan], N_ROWS),
            "flag": rng.choice([True, False], N_ROWS),
            "gaps": pd.Series(rng.choice(np.array(["x", None, "y"], dtype=object), N_ROWS), dtype=object),
        }
    )


STRANGER = pd.DataFrame(
    {
        "text": pd.Series(["zz"], dtype=object),
        "whole": [77],
        "real": [9.5],
        "flag": [True],
        "gaps": pd.Series(["q"], dtype=object),
    }
)
DECLARED = [list("gfedcbah"), [0, 1, 2, 3, 4, 5], [0.5, 1.5, np.nan], [False, True], ["y", "x", None]]
SETTINGS = [
    (OneHotEncoder, {}),
    (OneHotEncoder, {"drop": "first", "min_frequency": 12}),
    (OneHotEncoder, {"drop": "if_binary", "max_categories": 3, "handle_unknown": "infrequent_if_exist"}),
    (OneHotEncoder, {"handle_unknown": "ignore", "dtype": np.int32, "min_frequency": 0.2, "sparse_output": False}),
    (OneHotEncoder, {"drop": ["a", 1, np.nan, True, None]}),
    (OneHotEncoder, {"handle_unknown": "warn", "max_categories": 2}),
    (OneHotEncoder, {"categories": DECLARED, "handle_unknown": "ignore", "max_categories": 4}),
    (OneHotEncoder, {"max_categories": 1}),
    (OrdinalEncoder, {}),
    (OrdinalEncoder, {"min_frequency": 15, "handle_unknown": "use_encoded_value", "unknown_value": -1}),
    (OrdinalEncoder, {"max_categories": 3, "encoded_missing_value": -2, "dtype": np.int64}),
    (OrdinalEncoder, {"categories": DECLARED}),
]
settings = pytest.mark.parametrize(("Estimator", "params"), SETTINGS)
estimators = pytest.mark.parametrize("Estimator", [OneHotEncoder, OrdinalEncoder])


def same(a, b):
    """Equal in shape, kind and value; NaN equals itself."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype.kind == b.dtype.kind and a.shape == b.shape and same(a.tolist(), b.tolist())
    return a is b or a == b or (a != a and b != b)


def dense(encoded):
    return encoded.toarray() if sp.issparse(encoded) else encoded


@pytest.mark.filterwarnings("ignore:Found unknown categories")
@settings
def test_release_is_what_sklearn_fits(Estimator, params):
    """Every attribute, private ones included, and every answer, of a release is that of scikit-learn's own."""
    data = frame()
    model = Estimator(**params).fit(data)
    theirs = getattr(sklearn.preprocessing, Estimator.__name__)(**params).fit(data)
    questions = pd.concat([data, STRANGER], ignore_index=True) if "handle_unknown" in params else data

    assert same(vars(model.release()), vars(theirs))
    ours, wanted = model.transform(questions), theirs.transform(questions)
    assert type(ours) is type(wanted)
    assert ours.dtype == wanted.dtype
    assert np.array_equal(dense(ours), dense(wanted), equal_nan=True)
    assert model.get_feature_names_out().tolist() == theirs.get_feature_names_out().tolist()
    assert same(model.inverse_transform(ours), theirs.inverse_transform(wanted))


@pytest.mark.filterwarnings("ignore::skunlearn.exceptions.SkunlearnWarning")
@settings
def test_forgetting_equals_refit(Estimator, params):
    """In batches of any size, through partial_fit and back: digest, pickle and transform digest are those of a refit."""
    data, rng = frame(), np.random.default_rng(1)
    model = Estimator(**params).fit(data, sample_ids=IDS)
    live = np.ones(N_ROWS, dtype=bool)
    for n in (1, 1, 5, 20, 1, 11):
        going = rng.choice(np.flatnonzero(live), n, replace=False)
        model.partial_forget(IDS[going])
        live[going] = False
        back = rng.choice(np.flatnonzero(~live), n // 2, replace=False)
        if len(back):
            model.partial_fit(data.iloc[back], sample_ids=IDS[back])
        live[back] = True
        reference = reference_fit(model)
        assert state_digest(model) == state_digest(reference)
        assert pickle.dumps(model) == pickle.dumps(reference)
        assert state_digest(pickle.loads(pickle.dumps(model))) == state_digest(reference)
        try:
            fresh = Estimator(**params).fit(data[live], sample_ids=IDS[live])
        except ValueError:  # a named category has no row left
            with pytest.raises(DegenerateRowsError):
                model.transform_digest()
            continue
        assert state_digest(model) == state_digest(fresh)
        assert model.transform_digest() == fresh.transform_digest() == reference.transform_digest()


@pytest.mark.filterwarnings("ignore::skunlearn.exceptions.SkunlearnWarning")
@estimators
def test_transform_digest_tells_maps_apart(Estimator):
    """Whatever changes an answer or its form changes the digest; counts alone do not."""
    data = frame()
    base = Estimator().fit(data, sample_ids=IDS)
    others = [
        Estimator(dtype=np.float32).fit(data),
        Estimator(max_categories=2).fit(data),
        Estimator(categories=DECLARED).fit(data),
        Estimator().fit(data.assign(text="a")),
        Estimator().fit(data.rename(columns=str).assign(whole=data["whole"] + 1)),
    ]
    if Estimator is OneHotEncoder:
        others += [
            Estimator(sparse_output=False).fit(data),
            Estimator(drop="first").fit(data),
            Estimator(handle_unknown="ignore").fit(data),
        ]
    else:
        others += [
            Estimator(handle_unknown="use_encoded_value", unknown_value=-1).fit(data),
            Estimator(encoded_missing_value=-1).fit(data),
        ]

    digests = [model.transform_digest() for model in [base, *others]]

    assert len(set(digests)) == len(digests)
    row = next(i for i in range(N_ROWS) if all((data[c] == data[c][i]).sum() > 1 for c in ("text", "whole")))
    assert base.partial_forget([IDS[row]]).transform_digest() == digests[0]


@estimators
def test_a_category_leaves_with_a_warning_before_anything_changes(Estimator):
    """As an error, the warning leaves the model as it was; declared categories stay, without a warning."""
    X = [["a", 1], ["b", 1], ["a", 2]]
    model = Estimator().fit(X, sample_ids=[1, 2, 3])
    before = state_digest(model)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CategoryVanishedWarning):
            model.partial_forget([2])

    assert state_digest(model) == before
    with pytest.warns(CategoryVanishedWarning, match="1 categories in 1 of 2 columns"):
        model.partial_forget([2])
    assert [values.tolist() for values in model.categories_] == [["a"], [1, 2]]

    declared = Estimator(categories=[["a", "b"], [1, 2]]).fit(X, sample_ids=[1, 2, 3])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        declared.partial_forget([2])
    assert [values.tolist() for values in declared.categories_] == [["a", "b"], [1, 2]]


def reachable_text(root):
    """Return all text that can be reached from an object."""
    seen, todo, parts = set(), [root], []
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, (type, type(np), type(reachable_text))):
            continue
        seen.add(id(thing))
        if isinstance(thing, (str, bytes)):
            parts.append(thing if isinstance(thing, str) else thing.decode("latin1"))
        elif isinstance(thing, np.ndarray):
            parts.append(repr(thing.tolist()))
        slots = [getattr(thing, s, None) for c in type(thing).__mro__ for s in getattr(c, "__slots__", ())]
        todo.extend([*gc.get_referents(thing), *slots])
    return "|".join(parts)


@pytest.mark.parametrize("how", ["ids", "subjects"])
@estimators
def test_a_vanished_name_is_nowhere(Estimator, how):
    """In no pickle, repr, codebook, attribute, feature name, warning or error; it was there before."""
    name = "Holand-Netherlands-0x5eed"
    data = frame()
    data.loc[[3, 41], "text"] = name
    subjects = np.where(data["text"] == name, "the-subject-0x5eed", "others").tolist()
    model = Estimator().fit(data, sample_ids=IDS, subject_ids=subjects)
    model.transform(data)
    assert name in reachable_text(model._live)
    assert name.encode() in pickle.dumps(model)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if how == "ids":
            model.partial_forget(IDS[[3]]).partial_forget(IDS[[41]])
        else:
            model.partial_forget(subject_ids=["the-subject-0x5eed"])
    with pytest.raises(UnknownCategoryError) as unknown:
        model.transform(data)
    with pytest.raises(UnknownCategoryError) as undeclared:
        Estimator(categories=DECLARED).fit(data)

    rest = data.drop(index=[3, 41])
    places = {
        "warnings": " ".join(str(w.message) for w in caught),
        "errors": str(unknown.value) + str(undeclared.value),
        "repr": repr(model) + repr(vars(model)),
        "objects": reachable_text(model._live),
        "pickle": pickle.dumps(model).decode("latin1"),
        "release": pickle.dumps(model.release()).decode("latin1"),
        "names": " ".join(model.get_feature_names_out()),
        "buffers": b"".join(ctypes.string_at(a, n) for a, n in model._live.rows.native.buffers() if n).decode("latin1"),
    }
    assert len(caught) > 0
    for where, text in places.items():
        assert name not in text, f"a trace in: {where}"
    assert state_digest(model) == state_digest(
        Estimator().fit(rest, sample_ids=IDS[rest.index], subject_ids=["others"] * len(rest))
    )


@estimators
def test_the_type_of_an_object_column_is_no_history(Estimator):
    """True, 1 and 1.0 are one category, whichever came first, and rows keep what they bear."""
    X = np.array([[1.0], [True], [1], [2]], dtype=object)
    one = Estimator().fit(X, sample_ids=[0, 1, 2, 3])
    other = Estimator().fit(X[::-1], sample_ids=[3, 2, 1, 0])

    assert state_digest(one) == state_digest(other)
    assert one.transform_digest() == other.transform_digest()
    assert one.categories_[0].tolist() == [True, 2]
    assert one.partial_forget([1]).categories_[0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ([["a", "text"]], ValueError),
        ([["a", 1.5]], ValueError),
        ([["a", np.nan]], ValueError),
        ([[3, 1]], TypeError),
        ([["a", 2**60]], ValueError),
        ([["a"]], ValueError),
        ([["a", frozenset()]], TypeError),
    ],
)
@estimators
def test_partial_fit_refuses_other_kinds(Estimator, rows, error):
    """A string among numbers, a number among strings: an error that changes nothing and quotes nothing."""
    data = pd.DataFrame({0: pd.Series(["a", "b"], dtype=object), 1: [1, 2]})
    model = Estimator().fit(data, sample_ids=[1, 2])
    before = pickle.dumps(model)

    with pytest.raises(error) as refusal:
        model.partial_fit(np.array(rows, dtype=object), sample_ids=[3])

    assert "text" not in str(refusal.value).replace("such as text", "")
    assert pickle.dumps(model) == before
    assert model._live.rows.columns.sorted_values() == [["a", "b"], None]


@estimators
def test_nothing_left_is_degenerate(Estimator):
    """Without rows nothing is published; partial_fit revives the model, under the kinds of columns it had."""
    model = Estimator().fit(np.array([["a"], ["b"]]), sample_ids=[1, 2])
    with pytest.warns(CategoryVanishedWarning):
        model.partial_forget([1, 2])

    with pytest.raises(DegenerateRowsError):
        model.transform([["a"]])
    with pytest.raises(ValueError, match="not of the kind"):
        model.partial_fit(np.array([[1.0]]), sample_ids=[4])
    model.partial_fit(np.array([["c"]]), sample_ids=[7])
    assert model.categories_[0].tolist() == ["c"]


def test_dropped_category_may_vanish():
    """A named category without rows determines no transform, and its return restores it."""
    model = OneHotEncoder(drop=["a"]).fit([["a"], ["b"]], sample_ids=[1, 2])
    digest = model.transform_digest()
    with pytest.warns(CategoryVanishedWarning):
        model.partial_forget([1])

    with pytest.raises(DegenerateRowsError, match="1 have no row"):
        model.transform([["b"]])
    assert model.partial_fit([["a"]], sample_ids=[1]).transform_digest() == digest
    with pytest.raises(ValueError, match="Unable to drop"):
        OneHotEncoder(drop=["z"]).fit([["a"], ["b"]])


@pytest.mark.parametrize("library", ["pandas", "polars"])
@estimators
def test_frames_of_both_libraries(Estimator, library):
    """Categoricals and dictionaries are decoded: a declared name that no row bears is no category."""
    frames = pytest.importorskip(library)
    if library == "pandas":
        data = frames.DataFrame({"k": frames.Categorical(["u", "v", "u"], categories=["ghost", "u", "v"])})
    else:
        data = frames.DataFrame({"k": frames.Series(["u", "v", "u"], dtype=frames.Enum(["ghost", "u", "v"]))})

    model = Estimator().fit(data)

    assert model.categories_[0].tolist() == ["u", "v"]
    assert b"ghost" not in pickle.dumps(model)
    assert model.feature_names_in_.tolist() == ["k"]
    output = model.set_params(sparse_output=False).fit(data) if Estimator is OneHotEncoder else model
    assert output.set_output(transform=library).transform(data).shape[0] == 3


def test_rows_alone_and_in_bulk():
    """A row gets the bits that it gets in bulk."""
    data = frame()
    model = OneHotEncoder(max_categories=3).fit(data)
    bulk = model.transform(data).toarray()

    assert all(np.array_equal(model.transform(data.iloc[[i]]).toarray()[0], bulk[i]) for i in range(N_ROWS))


def test_saved_models_need_no_pickled_objects():
    """The blob holds names as JSON: nothing but parameters and bytes is in the pickle."""
    model = OneHotEncoder().fit(frame())
    loads = []

    class Watching(pickle.Unpickler):
        def find_class(self, module, name):
            loads.append(name)
            return super().find_class(module, name)

    Watching(io.BytesIO(pickle.dumps(model))).load()
    assert set(loads) <= {"OneHotEncoder", "float64", "_reconstruct", "scalar", "dtype"}


def learn_d(model):
    model.partial_fit([["d"]], sample_ids=[4])


def forget_b(model):
    model.partial_forget([2])


@pytest.mark.filterwarnings("ignore::skunlearn.exceptions.SkunlearnWarning")
@pytest.mark.parametrize("point", [p for p in FAULT_POINTS if p.startswith(("learn", "forget"))])
@estimators
def test_an_interruption_leaves_no_half_of_a_category(Estimator, point):
    """At every point of both operations: the row is there with its category, or neither is, as in a refit."""
    model = Estimator().fit([["a"], ["b"], ["c"]], sample_ids=[1, 2, 3])

    def interrupt(name):
        if name == point:
            raise KeyboardInterrupt

    operation = learn_d if point.startswith("learn") else forget_b
    with inject(interrupt), pytest.raises(KeyboardInterrupt):
        operation(model)

    assert state_digest(model) == state_digest(reference_fit(model))
    assert pickle.dumps(model) == pickle.dumps(reference_fit(model))
    assert model._live.rows.columns.sorted_values() == [model.categories_[0].tolist()]
    assert len(model.categories_[0]) == model.n_live_


@pytest.mark.parametrize("where", ["erase", "insert"])
def test_an_interruption_within_the_store_is_mended(where, monkeypatch):
    """Rows have gone or come, and the codebook has not counted them: the next read counts afresh."""
    model = OrdinalEncoder().fit([["a"], ["b"], ["c"]], sample_ids=[1, 2, 3])
    columns = model._live.rows.columns
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(type(columns), "count", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            (forget_b if where == "erase" else learn_d)(model)

    assert state_digest(model) == state_digest(reference_fit(model))
    expected = ["a", "c"] if where == "erase" else ["a", "b", "c", "d"]
    assert model.categories_[0].tolist() == expected
    assert columns.sorted_values() == [expected]
