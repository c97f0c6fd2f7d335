"""Input that is not acceptable: the error says what, how many and what to do, and nothing has changed.

Every table below names the call, the type of the error and what its text must say. Ids, labels and values carry marks
that no text may hold. What looks bad but is valid stands in a table of its own, at the end.
"""

import pickle
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags

import skunlearn
from skunlearn.ensemble import RandomForestClassifier
from skunlearn.exceptions import (
    DegenerateRowsError,
    DuplicateSampleError,
    ForgettingDisabledError,
    MissingSampleIdsError,
    SampleIdTypeError,
    SampleIdValueError,
    SkunlearnError,
    UnknownCategoryError,
    UnknownSampleError,
)
from skunlearn.linear_model import RidgeClassifier
from skunlearn.naive_bayes import BernoulliNB, CategoricalNB

pytestmark = pytest.mark.filterwarnings("ignore::skunlearn.exceptions.SkunlearnWarning")

ID = 98_765_000  # ids are ID, ID + 1, ...
SECRET = "CANARY"  # every str id, subject and label begins with it
VALUE = 3_141_592.5  # a value of X; weights are multiples of it
MARKS = re.compile("98765|canary|3141592|6283185", re.IGNORECASE)

N_ROWS, N_FEATURES = 12, 3
LABELS = [f"{SECRET} red", f"{SECRET} blue", f"{SECRET} green"]
UNCHANGED = "Nothing was changed"


class World(NamedTuple):
    """A fitted model and the form in which it wants its input."""

    model: Any
    layout: str
    id_kind: str

    def X(self, rows: Any) -> Any:
        return sp.csr_array(np.asarray(rows, dtype=float)) if self.layout == "csr" else np.asarray(rows, dtype=float)

    def ids(self, *numbers: int) -> list[Any]:
        return [ID + n if self.id_kind == "int64" else f"{SECRET}-{n}" for n in numbers]

    def subjects(self, *numbers: int) -> list[str]:
        return [f"{SECRET}-subject-{n}" for n in numbers]

    def new(self, **changed: Any) -> dict[str, Any]:
        """Two rows that could be learned, but for what is `changed`."""
        return {
            "X": self.X([[1, 0, 2], [0, 1, 1]]),
            "y": LABELS[:2],
            "sample_ids": self.ids(100, 101),
            **changed,
        }


def make_world(estimator: Any, layout: str, id_kind: str = "int64", **given: Any) -> World:
    world = World(estimator, layout, id_kind)
    rng = np.random.default_rng(0)
    X = rng.integers(0, 3, (N_ROWS, N_FEATURES))
    arguments = {
        "sample_ids": world.ids(*range(N_ROWS)),
        "subject_ids": world.subjects(*(np.arange(N_ROWS) // 4)),
        **given,
    }
    estimator.fit(world.X(X), [LABELS[i % 3] for i in range(N_ROWS)], **arguments)
    return world


def few_trees(**given: Any) -> RandomForestClassifier:
    """Make a forest as small as the tables here, under a key that two of them share."""
    return RandomForestClassifier(n_estimators=3, random_state=0, **given)


ESTIMATORS = [BernoulliNB, CategoricalNB, RidgeClassifier, few_trees]
both = pytest.mark.parametrize("Estimator", ESTIMATORS)
layouts = pytest.mark.parametrize("layout", ["dense", "csr"])


@pytest.fixture(
    params=[(e, layout) for e in ESTIMATORS for layout in ("dense", "csr")], ids=lambda p: f"{p[0].__name__}-{p[1]}"
)
def form(request: pytest.FixtureRequest) -> tuple[Any, str]:
    return request.param


def scores(model: Any, X: Any) -> Any:
    """Return what a classifier decides by."""
    names = ("predict_joint_log_proba", "decision_function", "predict_proba")
    return next(getattr(model, name) for name in names if hasattr(model, name))(X)


def methods_of(model: Any) -> list[str]:
    """Return the methods that a classifier answers with."""
    return [name for name in (*METHODS, "decision_function") if hasattr(type(model), name)]


# --- what every refusal must keep ------------------------------------------------------------------------------------


class Snapshot(NamedTuple):
    """All that can be seen of a model."""

    digest: bytes
    pickled: bytes
    joint: bytes
    n_live: int

    @classmethod
    def of(cls, world: World) -> "Snapshot":
        return cls(
            skunlearn.state_digest(world.model),
            pickle.dumps(world.model),
            scores(world.model, world.X(np.eye(N_FEATURES))).tobytes(),
            world.model.n_live_,
        )


def texts_of(error: BaseException | None) -> Iterator[str]:
    """Yield all that a log would show of an error, chained ones included."""
    while error is not None:
        yield str(error)
        yield repr(error)
        yield from getattr(error, "__notes__", ())
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def check_refused(call: Callable[[], Any], error: Any, says: str) -> Exception:
    """The call raises exactly `error`, whose text says `says` and holds no mark."""
    with pytest.raises(error, match=says) as caught:
        call()

    if isinstance(error, type) and issubclass(error, SkunlearnError):
        assert type(caught.value) is error, "another type than documented"
    for text in texts_of(caught.value):
        assert not MARKS.search(text), f"an id, label or value stands in: {text}"
    return caught.value


# --- forgetting ------------------------------------------------------------------------------------------------------

KIND = r"sample_ids are str, but this model was fitted with int64 ids.*Nothing was changed.*astype"
WRONG_TYPE = r"sample_ids must all be int64 or all be str\. Got {}.*Nothing was changed.*astype"
ONE_DIMENSION = r"sample_ids must be one-dimensional.*Nothing was changed"
LARGE = r"do not fit into 64 bits.*Nothing was changed.*Pass them as str"

FORGET = {
    "unknown id": (lambda w: {"sample_ids": w.ids(70)}, UnknownSampleError, r"1 of 1 sample ids are not live.*Nothing was changed.*on_unknown"),
    "two of three unknown": (lambda w: {"sample_ids": w.ids(0, 70, 71)}, UnknownSampleError, r"2 of 3 sample ids"),
    "negative unknown id": (lambda w: {"sample_ids": [-ID]}, UnknownSampleError, r"1 of 1 sample ids"),
    "str for int64": (lambda w: {"sample_ids": [f"{ID}"]}, SampleIdTypeError, KIND),
    "float array": (lambda w: {"sample_ids": np.array([ID, ID + 1.0])}, SampleIdTypeError, WRONG_TYPE.format("float64")),
    "float in a list": (lambda w: {"sample_ids": [ID, ID + 1.0]}, SampleIdTypeError, WRONG_TYPE.format("float and int")),
    "NaN in a list": (lambda w: {"sample_ids": [ID, float("nan")]}, SampleIdTypeError, WRONG_TYPE.format("float and int")),
    "NaN in an object array": (lambda w: {"sample_ids": np.array([ID, np.nan], dtype=object)}, SampleIdTypeError, WRONG_TYPE.format("float and int")),
    "NaN in a float array": (lambda w: {"sample_ids": np.array([ID, np.nan])}, SampleIdTypeError, WRONG_TYPE.format("float64")),
    "NA in a nullable series": (lambda w: {"sample_ids": pd.Series([ID, None], dtype="Int64")}, SampleIdTypeError, WRONG_TYPE.format("(float64|.*NAType.*)")),
    "None in a list": (lambda w: {"sample_ids": [ID, None]}, SampleIdTypeError, WRONG_TYPE.format("NoneType and int")),
    "only None": (lambda w: {"sample_ids": [None]}, SampleIdTypeError, WRONG_TYPE.format("NoneType")),
    "bool array": (lambda w: {"sample_ids": np.array([True])}, SampleIdTypeError, WRONG_TYPE.format("bool")),
    "bool in a list": (lambda w: {"sample_ids": [ID, True]}, SampleIdTypeError, WRONG_TYPE.format("bool and int")),
    "numpy bool in a list": (lambda w: {"sample_ids": [np.True_]}, SampleIdTypeError, WRONG_TYPE.format("bool")),
    "bytes in a list": (lambda w: {"sample_ids": [SECRET.encode()]}, SampleIdTypeError, WRONG_TYPE.format("bytes")),
    "bytes array": (lambda w: {"sample_ids": np.array([SECRET.encode()])}, SampleIdTypeError, WRONG_TYPE.format("bytes")),
    "int and str": (lambda w: {"sample_ids": [ID, SECRET]}, SampleIdTypeError, WRONG_TYPE.format("int and str")),
    "int and str in an object array": (lambda w: {"sample_ids": np.array([ID, SECRET], dtype=object)}, SampleIdTypeError, WRONG_TYPE.format("int and str")),
    "decimal": (lambda w: {"sample_ids": [Decimal(ID)]}, SampleIdTypeError, WRONG_TYPE.format("Decimal")),
    "complex": (lambda w: {"sample_ids": np.array([ID + 0j])}, SampleIdTypeError, WRONG_TYPE.format("complex128")),
    "dates": (lambda w: {"sample_ids": np.array(["2020-01-01"], dtype="M8[D]")}, SampleIdTypeError, WRONG_TYPE.format("datetime64")),
    "structured array": (lambda w: {"sample_ids": np.array([(ID,)], dtype=[("id", "i8")])}, SampleIdTypeError, WRONG_TYPE.format("void")),
    "2-d array": (lambda w: {"sample_ids": np.array([[ID]])}, SampleIdValueError, ONE_DIMENSION + r"|2 dimensions"),
    "0-d array": (lambda w: {"sample_ids": np.array(ID)}, SampleIdValueError, r"0 dimensions"),
    "nested list": (lambda w: {"sample_ids": [[ID]]}, SampleIdValueError, ONE_DIMENSION),
    "data frame": (lambda w: {"sample_ids": pd.DataFrame({"id": [ID]})}, SampleIdValueError, ONE_DIMENSION),
    "single int": (lambda w: {"sample_ids": ID}, SampleIdTypeError, r"Got a single int.*Nothing was changed.*Put it into a list"),
    "single str": (lambda w: {"sample_ids": SECRET}, SampleIdTypeError, r"Got a single str.*Nothing was changed.*Put it into a list"),
    "single bytes": (lambda w: {"sample_ids": SECRET.encode()}, SampleIdTypeError, r"Got a single bytes.*Nothing was changed"),
    "bytearray": (lambda w: {"sample_ids": bytearray(SECRET.encode())}, SampleIdTypeError, r"Got a single bytearray.*Nothing was changed"),
    "dict": (lambda w: {"sample_ids": {ID: 1}}, SampleIdTypeError, r"Got a dict.*Nothing was changed"),
    "set": (lambda w: {"sample_ids": {ID}}, SampleIdTypeError, r"in order\. Got a set.*Nothing was changed"),
    "generator": (lambda w: {"sample_ids": (i for i in [ID])}, SampleIdTypeError, r"Got a single generator.*Nothing was changed"),
    "sparse matrix": (lambda w: {"sample_ids": sp.csr_array([[ID]])}, SampleIdTypeError, r"must be a one-dimensional.*Nothing was changed"),
    "int of 65 bits": (lambda w: {"sample_ids": [ID << 64]}, SampleIdValueError, LARGE),
    "uint64 above int64": (lambda w: {"sample_ids": np.array([2**63 + ID], dtype=np.uint64)}, SampleIdValueError, LARGE),
    "misspelt on_unknown": (lambda w: {"sample_ids": w.ids(0), "on_unknown": "skip"}, ValueError, r"on_unknown must be 'raise' or 'ignore'.*Nothing was changed"),
    "on_unknown None": (lambda w: {"sample_ids": w.ids(0), "on_unknown": None}, ValueError, r"on_unknown must be"),
    "unhashable on_unknown": (lambda w: {"sample_ids": w.ids(0), "on_unknown": []}, ValueError, r"on_unknown must be"),
    "unknown subject": (lambda w: {"subject_ids": w.subjects(0, 9)}, UnknownSampleError, r"1 of 2 subject ids are not live.*Nothing was changed"),
    "known id and unknown subject": (lambda w: {"sample_ids": w.ids(0), "subject_ids": w.subjects(9)}, UnknownSampleError, r"1 of 1 subject ids"),
    "unknown id and known subject": (lambda w: {"sample_ids": w.ids(70), "subject_ids": w.subjects(0)}, UnknownSampleError, r"1 of 1 sample ids"),
    "int subject": (lambda w: {"subject_ids": [ID]}, SampleIdTypeError, r"subject_ids are int64, but this model was fitted with str ids.*Nothing was changed"),
    "single subject": (lambda w: {"subject_ids": w.subjects(0)[0]}, SampleIdTypeError, r"subject_ids must be.*Got a single str"),
    "2-d subjects": (lambda w: {"subject_ids": [w.subjects(0)]}, SampleIdValueError, r"subject_ids must be one-dimensional"),
    "None subject": (lambda w: {"subject_ids": [None]}, SampleIdTypeError, r"subject_ids must all be"),
    "subject with a surrogate": (lambda w: {"subject_ids": [SECRET + "\udc80"]}, SampleIdValueError, r"surrogate.*Nothing was changed"),
}  # fmt: skip


@pytest.mark.parametrize("case", FORGET)
def test_partial_forget_refuses(case: str, form: tuple[Any, str]) -> None:
    """A request that is not acceptable is refused as a whole."""
    arguments, error, says = FORGET[case]
    world = make_world(form[0](), form[1])
    before = Snapshot.of(world)

    caught = check_refused(lambda: world.model.partial_forget(**arguments(world)), error, says)

    assert UNCHANGED in str(caught)
    assert Snapshot.of(world) == before
    with pytest.raises(AttributeError):
        world.model.forget_report_  # noqa: B018


FORGET_STR = {
    "int64 for str": (lambda w: [ID], SampleIdTypeError, r'int64, but this model was fitted with str ids.*astype\("str"\)'),
    "int64 array for str": (lambda w: np.array([ID]), SampleIdTypeError, r"int64, but this model was fitted with str"),
    "surrogate": (lambda w: [SECRET + "\ud800"], SampleIdValueError, r"surrogate.*Nothing was changed"),
    "unknown by its case": (lambda w: [w.ids(0)[0].lower()], UnknownSampleError, r"1 of 1 sample ids"),
    "unknown by a NUL": (lambda w: [w.ids(0)[0] + "\0"], UnknownSampleError, r"1 of 1 sample ids"),
    "unknown empty id": (lambda w: [""], UnknownSampleError, r"1 of 1 sample ids"),
}  # fmt: skip


@pytest.mark.parametrize("case", FORGET_STR)
def test_partial_forget_refuses_with_str_ids(case: str, form: tuple[Any, str]) -> None:
    """The same where the model's ids are str."""
    ids, error, says = FORGET_STR[case]
    world = make_world(form[0](), form[1], "str")
    before = Snapshot.of(world)

    caught = check_refused(lambda: world.model.partial_forget(ids(world)), error, says)

    assert UNCHANGED in str(caught)
    assert Snapshot.of(world) == before


def test_unknown_ids_are_on_the_exception(form: tuple[Any, str]) -> None:
    """The ids are where a program finds them: on the exception, in the order of the request, through pickle too."""
    world = make_world(form[0](), form[1])

    with pytest.raises(UnknownSampleError) as caught:
        world.model.partial_forget(w := world.ids(71, 0, 70))

    assert caught.value.ids == [w[0], w[2]]
    revived = pickle.loads(pickle.dumps(caught.value))
    assert (type(revived), str(revived), revived.ids) == (UnknownSampleError, str(caught.value), caught.value.ids)
    assert isinstance(caught.value, (KeyError, ValueError))
    assert not str(caught.value).startswith(("'", '"'))


def test_subjects_of_a_model_without_subjects_are_refused(form: tuple[Any, str]) -> None:
    """Subjects must be known from the start, to forget as to learn."""
    world = make_world(form[0](), form[1], subject_ids=None)
    before = Snapshot.of(world)

    says = r"fitted without subject_ids.*Nothing was changed"
    check_refused(lambda: world.model.partial_forget(subject_ids=world.subjects(0)), SampleIdValueError, says)
    check_refused(
        lambda: world.model.partial_fit(**world.new(subject_ids=world.subjects(0, 1))), SampleIdValueError, says
    )

    assert Snapshot.of(world) == before


# --- rows that come in -----------------------------------------------------------------------------------------------


def weights(*values: float) -> dict[str, Any]:
    return {"sample_weight": np.array(values) * VALUE}


#: For fit and for partial_fit alike: what is wrong, the error, its text.
ROWS = {
    "repeated id": (lambda w: {"sample_ids": w.ids(100, 100)}, DuplicateSampleError, r"1 of 2 sample ids.*more than once.*Nothing was changed.*other ids"),
    "three ids for two rows": (lambda w: {"sample_ids": w.ids(100, 101, 102)}, SampleIdValueError, r"sample_ids has 3 ids for 2 rows.*Nothing was changed.*one id a row"),
    "no ids for two rows": (lambda w: {"sample_ids": []}, SampleIdValueError, r"sample_ids has 0 ids for 2 rows"),
    "float ids": (lambda w: {"sample_ids": [ID + 0.5, 1.0]}, SampleIdTypeError, WRONG_TYPE.format("float")),
    "NaN id": (lambda w: {"sample_ids": [ID + 100, np.nan]}, SampleIdTypeError, WRONG_TYPE.format("float and int")),
    "None id": (lambda w: {"sample_ids": [ID + 100, None]}, SampleIdTypeError, WRONG_TYPE.format("NoneType and int")),
    "bool ids": (lambda w: {"sample_ids": [True, False]}, SampleIdTypeError, WRONG_TYPE.format("bool")),
    "bytes ids": (lambda w: {"sample_ids": [b"CANARY", b"canary"]}, SampleIdTypeError, WRONG_TYPE.format("bytes")),
    "mixed ids": (lambda w: {"sample_ids": [ID, SECRET]}, SampleIdTypeError, WRONG_TYPE.format("int and str")),
    "2-d ids": (lambda w: {"sample_ids": np.array([[ID], [ID + 1]])}, SampleIdValueError, r"2 dimensions"),
    "set of ids": (lambda w: {"sample_ids": {ID + 100, ID + 101}}, SampleIdTypeError, r"Got a set"),
    "huge int id": (lambda w: {"sample_ids": [ID << 60, 1]}, SampleIdValueError, LARGE),
    "uint64 id": (lambda w: {"sample_ids": np.array([2**64 - ID, 1], dtype=np.uint64)}, SampleIdValueError, LARGE),
    "one subject for two rows": (lambda w: {"subject_ids": w.subjects(1)}, SampleIdValueError, r"subject_ids has 1 ids for 2 rows"),
    "None subject": (lambda w: {"subject_ids": [*w.subjects(1), None]}, SampleIdTypeError, r"subject_ids must all be"),
    "subject with a surrogate": (lambda w: {"subject_ids": ["\ud800", SECRET]}, SampleIdValueError, r"surrogate.*Nothing was changed"),
    "subject of 70,000 bytes": (lambda w: {"subject_ids": [SECRET, SECRET * 12_000]}, SampleIdValueError, r"65,?535.*Nothing was changed"),
    "negative weight": (lambda w: weights(1, -1), ValueError, r"1 of 2 sample weights are negative.*Nothing was changed.*at least 0"),
    "NaN weight": (lambda w: weights(1, np.nan), ValueError, r"sample_weight contains NaN"),
    "infinite weight": (lambda w: weights(np.inf, 1), ValueError, r"sample_weight contains infinity"),
    "three weights": (lambda w: weights(1, 1, 1), ValueError, r"sample_weight"),
    "2-d weights": (lambda w: {"sample_weight": [[VALUE, VALUE]]}, ValueError, r"[Ss]ample weights must be 1D"),
    "text as weight": (lambda w: {"sample_weight": [SECRET, SECRET]}, ValueError, r"sample_weight.*number"),
    "1-d X": (lambda w: {"X": [VALUE, VALUE]}, ValueError, r"2D array"),
    "3-d X": (lambda w: {"X": np.full((2, 3, 2), VALUE)}, ValueError, r"dim 3|3 dim"),
    "no rows": (lambda w: {"X": w.X(np.empty((0, N_FEATURES))), "y": [], "sample_ids": []}, ValueError, r"0 sample"),
    "NaN in X": (lambda w: {"X": w.X([[1, np.nan, 0], [1, 0, 1]])}, ValueError, r"NaN"),
    "infinity in X": (lambda w: {"X": w.X([[1, np.inf, 0], [1, 0, 1]])}, ValueError, r"infinity"),
    "text in X": (lambda w: {"X": [[SECRET, "b", "c"], ["d", "e", "f"]]}, ValueError, r"X.*number.*Nothing was changed"),
    "text in an object X": (lambda w: {"X": np.array([[SECRET, 1, 2], [1, 2, 3]], dtype=object)}, ValueError, r"X.*number.*Nothing was changed"),
    "dict in X": (lambda w: {"X": [[{SECRET: 1}, 1, 2], [1, 2, 3]]}, TypeError, r"number|float"),
    "complex X": (lambda w: {"X": np.full((2, N_FEATURES), VALUE + 1j)}, ValueError, r"[Cc]omplex"),
    "None as X": (lambda w: {"X": None}, (ValueError, TypeError), r"2D array|NoneType"),
    "three labels": (lambda w: {"y": LABELS}, ValueError, r"inconsistent numbers of samples"),
    "no labels": (lambda w: {"y": None}, ValueError, r"requires y to be passed"),
    "continuous labels": (lambda w: {"y": [VALUE, 0.5]}, ValueError, r"Unknown label type"),
    "NaN label": (lambda w: {"y": [np.nan, 1.0]}, ValueError, r"NaN"),
    "2-d labels": (lambda w: {"y": [[1, 0], [0, 1]]}, ValueError, r"1d array|multilabel"),
    "mixed labels": (lambda w: {"y": np.array([SECRET, 1], dtype=object)}, ValueError, r"all be numbers or all be str.*Nothing was changed"),
    "bytes labels": (lambda w: {"y": np.array([SECRET.encode()] * 2)}, (ValueError, TypeError), r"."),
}  # fmt: skip

#: Where only one of the estimators refuses.
ROWS_OF = {
    CategoricalNB: {
        "a category of 2**40": (lambda w: {"X": w.X([[1, 0, VALUE * 2 ** 20], [1, 0, 1]])}, ValueError, r"1 of \d+ values of X are no categories.*Nothing was changed.*OrdinalEncoder"),
        "a negative category": (lambda w: {"X": w.X([[1, 0, -VALUE], [1, 0, 1]])}, ValueError, r"[Nn]egative"),
        "a category of 2**24": (lambda w: {"X": w.X([[1, 0, 2 ** 24], [1, 0, 1]])}, ValueError, r"1 of \d+ values"),
    },
}  # fmt: skip

ROW_CASES = [(e, name) for e in ESTIMATORS for name in [*ROWS, *ROWS_OF.get(e, {})]]


def allows(world: World, case: str) -> bool:
    """Whether what is bad input for others is a missing value for this one."""
    return case.startswith("NaN") and world.layout == "dense" and get_tags(world.model).input_tags.allow_nan


row_cases = pytest.mark.parametrize(
    ("Estimator", "case"), ROW_CASES, ids=[f"{e.__name__}-{name}" for e, name in ROW_CASES]
)


@layouts
@row_cases
def test_partial_fit_refuses(Estimator: Any, case: str, layout: str) -> None:
    """Rows that cannot be learned leave the model as it was."""
    arguments, error, says = {**ROWS, **ROWS_OF.get(Estimator, {})}[case]
    world = make_world(Estimator(), layout)
    if case == "NaN in X" and allows(world, case):
        pytest.skip("NaN is a missing value")
    before = Snapshot.of(world)

    check_refused(lambda: world.model.partial_fit(**world.new(**arguments(world))), error, says)

    assert Snapshot.of(world) == before


@layouts
@row_cases
def test_fit_refuses(Estimator: Any, case: str, layout: str) -> None:
    """A fit that fails leaves a new estimator unfitted, and a fitted one as it was."""
    arguments, error, says = {**ROWS, **ROWS_OF.get(Estimator, {})}[case]
    world = make_world(Estimator(), layout)
    if case == "NaN in X" and allows(world, case):
        pytest.skip("NaN is a missing value")
    before, unfitted = Snapshot.of(world), Estimator()

    check_refused(lambda: world.model.fit(**world.new(**arguments(world))), error, says)
    check_refused(lambda: unfitted.fit(**world.new(**arguments(world))), error, says)

    assert Snapshot.of(world) == before
    assert vars(unfitted) == unfitted.get_params()
    with pytest.raises(NotFittedError):
        unfitted.predict(world.X(np.eye(N_FEATURES)))


#: For partial_fit of a fitted model only.
LEARN = {
    "ids missing": (lambda w: {"sample_ids": None}, MissingSampleIdsError, r"needs sample_ids.*Nothing was changed.*one new id a row"),
    "one live id": (lambda w: {"sample_ids": w.ids(100, 3)}, DuplicateSampleError, r"1 of 2 sample ids are live already.*Nothing was changed.*Forget them first"),
    "two live ids": (lambda w: {"sample_ids": w.ids(2, 3)}, DuplicateSampleError, r"2 of 2 sample ids are live"),
    "str ids for int64": (lambda w: {"sample_ids": [SECRET, "b"]}, SampleIdTypeError, KIND),
    "int subjects for str": (lambda w: {"subject_ids": [ID, ID]}, SampleIdTypeError, r"subject_ids are int64"),
    "one column more": (lambda w: {"X": w.X([[1, 0, 2, 1]] * 2)}, ValueError, r"X has 4 features.*expecting 3 features"),
    "one column more and no ids": (lambda w: {"X": w.X([[1, 0, 2, 1]] * 2), "sample_ids": None}, ValueError, r"X has 4 features"),
    "int labels for str": (lambda w: {"y": [ID, ID + 1]}, ValueError, r"labels must all be numbers or all be str.*Nothing was changed.*Convert them"),
    "other classes": (lambda w: {"classes": [f"{SECRET} one"]}, ValueError, r"classes is not what this model was fitted with.*Nothing was changed"),
    "classes of another kind": (lambda w: {"classes": [ID, ID + 1]}, ValueError, r"classes is not what"),
    "classes of two kinds": (lambda w: {"classes": np.array([ID, SECRET], dtype=object)}, ValueError, r"[Cc]lass"),
    "nested classes": (lambda w: {"classes": [[SECRET], [SECRET]]}, ValueError, r"[Cc]lass"),
}  # fmt: skip


@pytest.mark.parametrize("case", LEARN)
def test_partial_fit_of_a_fitted_model_refuses(case: str, form: tuple[Any, str]) -> None:
    """What does not fit the rows that are there is refused, and they are as they were."""
    arguments, error, says = LEARN[case]
    world = make_world(form[0](), form[1])
    before = Snapshot.of(world)

    check_refused(lambda: world.model.partial_fit(**world.new(**arguments(world))), error, says)

    assert Snapshot.of(world) == before


STR_IDS = {
    "surrogate": (lambda: [SECRET + "\udcff", "b"], SampleIdValueError, r"surrogate.*Nothing was changed"),
    "70,000 bytes": (lambda: ["b", SECRET * 12_000], SampleIdValueError, r"65,?535.*Nothing was changed"),
    "70,000 bytes of UTF-8": (lambda: ["b", "ü" * 35_000], SampleIdValueError, r"65,?535.*Nothing was changed"),
}


@pytest.mark.parametrize("case", STR_IDS)
def test_str_ids_that_cannot_be_kept_are_refused(case: str, form: tuple[Any, str]) -> None:
    """No UTF-8 or more than 65,535 bytes of it: refused by fit and partial_fit."""
    ids, error, says = STR_IDS[case]
    world = make_world(form[0](), form[1], "str")
    before, unfitted = Snapshot.of(world), form[0]()

    for call in (world.model.partial_fit, world.model.fit, unfitted.fit, unfitted.partial_fit):
        check_refused(lambda call=call: call(**world.new(sample_ids=ids())), error, says)

    assert Snapshot.of(world) == before
    assert vars(unfitted) == unfitted.get_params()


def test_clashing_ids_are_on_the_exception(form: tuple[Any, str]) -> None:
    """Live ones and repeated ones, in the order of the request."""
    world = make_world(form[0](), form[1], "str")
    ids = world.ids(100, 3, 100, 2)

    with pytest.raises(DuplicateSampleError) as caught:
        world.model.partial_fit(world.X(np.ones((4, 3))), LABELS[:1] * 4, sample_ids=ids)

    assert caught.value.ids == [ids[1], ids[2], ids[3]]
    assert pickle.loads(pickle.dumps(caught.value)).ids == caught.value.ids


def test_all_weights_zero_is_refused_by_fit_and_learned_by_partial_fit(form: tuple[Any, str]) -> None:
    """There is nothing to fit from rows of weight 0; on a fitted model they are stored."""
    world = make_world(form[0](), form[1])
    before, unfitted = Snapshot.of(world), form[0]()
    joint = before.joint

    for model in (world.model, unfitted):
        check_refused(
            lambda model=model: model.fit(**world.new(sample_weight=[0.0, 0.0])),
            ValueError,
            r"weight of every row is zero.*Nothing was changed.*above zero",
        )

    assert Snapshot.of(world) == before
    assert vars(unfitted) == unfitted.get_params()
    world.model.partial_fit(**world.new(sample_weight=[0.0, 0.0]))
    assert (world.model.n_live_, Snapshot.of(world).joint) == (N_ROWS + 2, joint)


@both
def test_columns_of_other_names_are_refused(Estimator: Any) -> None:
    """Learning and predicting check the names of the columns."""
    X = pd.DataFrame({"a": [0, 1, 1], "b": [1, 0, 1]})
    model = Estimator().fit(X, [0, 1, 1])
    world = World(model, "dense", "int64")
    before = skunlearn.state_digest(model), pickle.dumps(model)
    renamed, swapped = X.rename(columns={"b": "c"}), X[["b", "a"]]

    for frame in (renamed, swapped):
        check_refused(
            lambda f=frame: model.partial_fit(f, [0, 1, 1], sample_ids=world.ids(0, 1, 2)),
            ValueError,
            "feature names should match",
        )
        check_refused(lambda f=frame: model.predict(f), ValueError, "feature names should match")

    assert (skunlearn.state_digest(model), pickle.dumps(model)) == before


@both
@layouts
def test_labels_outside_the_declared_classes_are_refused(Estimator: Any, layout: str) -> None:
    """Declared classes are all there are, for fit as for partial_fit."""
    world = make_world(Estimator(classes=LABELS), layout)
    before = Snapshot.of(world)
    says = r"y holds 1 of 2 labels that are not among the 3 declared classes.*Nothing was changed.*classes="

    check_refused(lambda: world.model.partial_fit(**world.new(y=[LABELS[0], SECRET])), ValueError, says)
    check_refused(lambda: world.model.fit(**world.new(y=[LABELS[0], SECRET])), ValueError, says)

    assert Snapshot.of(world) == before
    check_refused(lambda: Estimator().partial_fit(**world.new(y=[LABELS[0], SECRET], classes=LABELS)), ValueError, says)


@both
def test_labels_that_do_not_fit_the_dtype_of_the_classes_are_refused(Estimator: Any) -> None:
    """300 is no int8, and must not become 44."""
    X = np.eye(3)
    model = Estimator().fit(X, np.array([1, 2, 3], dtype=np.int8))
    before = skunlearn.state_digest(model), pickle.dumps(model)

    check_refused(
        lambda: model.partial_fit(X, [1, 2, 98765], sample_ids=[10, 11, 12]),
        ValueError,
        r"do not fit int8.*Nothing was changed.*wider dtype",
    )

    assert (skunlearn.state_digest(model), pickle.dumps(model)) == before


def test_values_that_are_not_binary_are_refused_without_a_threshold() -> None:
    """With binarize=None the features must be 0 or 1 already, in all calls."""
    world = make_world(BernoulliNB(), "dense")
    model = BernoulliNB(binarize=None).fit(np.eye(3), [0, 1, 1])
    before = skunlearn.state_digest(model)
    X = [[1, 0, VALUE], [0, 1, 1]]
    says = r"1 of 6 values of X are neither 0 nor 1.*Nothing was changed.*Set binarize"

    for call in (
        lambda: model.partial_fit(X, [0, 1], sample_ids=world.ids(0, 1)),
        lambda: model.fit(X, [0, 1]),
        lambda: model.predict(X),
    ):
        check_refused(call, ValueError, says)

    assert skunlearn.state_digest(model) == before


@pytest.mark.parametrize(("fitted_with", "now"), [(None, 0.0), (0.0, None)])
def test_what_values_may_be_is_frozen_at_fit(fitted_with: Any, now: Any) -> None:
    """A threshold set later says nothing about the rows of this model."""
    world = make_world(BernoulliNB(), "dense")
    model = BernoulliNB(binarize=fitted_with).fit(np.eye(3), [0, 1, 1]).set_params(binarize=now)
    X = [[1, 0, VALUE], [0, 1, 1]]

    for call in (lambda: model.partial_fit(X, [0, 1], sample_ids=world.ids(0, 1)), lambda: model.predict(X)):
        if fitted_with is None:
            check_refused(call, ValueError, "neither 0 nor 1")
        else:
            call()


# --- set-up ----------------------------------------------------------------------------------------------------------

SETUP = [
    (BernoulliNB, {"alpha": -1.0}, r"'alpha' parameter of BernoulliNB must be"),
    (CategoricalNB, {"alpha": -1.0}, r"'alpha' parameter of CategoricalNB must be"),
    (BernoulliNB, {"alpha": "one"}, r"'alpha' parameter of BernoulliNB must be"),
    (BernoulliNB, {"alpha": [1.0, 1.0]}, r"alpha is an array.*2 elements instead of 3"),
    (BernoulliNB, {"alpha": [1.0, -1.0, 1.0]}, r"All values in alpha must be"),
    (BernoulliNB, {"alpha": [1.0, float("nan"), 1.0]}, r"alpha"),
    (BernoulliNB, {"alpha": float("nan")}, r"alpha"),
    (CategoricalNB, {"alpha": [1.0, 1.0, 1.0]}, r"'alpha' parameter"),
    (BernoulliNB, {"binarize": -0.5}, r"'binarize' parameter"),
    (BernoulliNB, {"force_alpha": "yes"}, r"'force_alpha' parameter"),
    (BernoulliNB, {"fit_prior": 3}, r"'fit_prior' parameter"),
    (BernoulliNB, {"class_prior": [0.5, 0.5]}, r"[Nn]umber of priors.*3"),
    (CategoricalNB, {"class_prior": [0.5, 0.25, 0.125, 0.125]}, r"[Nn]umber of priors.*3"),
    (BernoulliNB, {"class_prior": [[0.5], [0.25], [0.25]]}, r"[Nn]umber of priors.*shape \(3, 1\).*3 classes"),
    (CategoricalNB, {"class_prior": 0.5}, r"'class_prior' parameter"),
    (BernoulliNB, {"class_prior": [0.5, float("nan"), 0.5]}, r"class_prior"),
    (BernoulliNB, {"class_prior": [1.5, -1.0, 0.5]}, r"class_prior"),
    (CategoricalNB, {"min_categories": 0}, r"'min_categories' parameter"),
    (CategoricalNB, {"min_categories": [3, 3]}, r"min_categories.*shape \(3,\)"),
    (CategoricalNB, {"min_categories": [3.0, 3.0, 3.0]}, r"'min_categories' should have integral type"),
    (CategoricalNB, {"min_categories": "many"}, r"'min_categories' parameter"),
    (BernoulliNB, {"classes": LABELS[:1]}, r"declared classes"),
    (CategoricalNB, {"classes": np.array([SECRET, 1], dtype=object)}, r"[Cc]lass"),
    (CategoricalNB, {"classes": [LABELS]}, r"labels must be one-dimensional.*Nothing was changed"),
    (BernoulliNB, {"classes": [1, 2, 3]}, r"labels must all be"),
]


@layouts
@pytest.mark.parametrize(("Estimator", "params", "says"), SETUP, ids=[f"{e.__name__}-{p}" for e, p, _ in SETUP])
def test_fit_refuses_parameters(Estimator: Any, params: dict[str, Any], says: str, layout: str) -> None:
    """A parameter that cannot be leaves a new estimator unfitted, and a fitted one under its old parameters."""
    world = make_world(Estimator(), layout)
    good, before, unfitted = world.model.get_params(), Snapshot.of(world), Estimator(**params)
    rows = world.new(X=world.X(np.eye(3)), y=LABELS, sample_ids=None)

    check_refused(lambda: world.model.set_params(**params).fit(**rows), ValueError, says)
    check_refused(lambda: unfitted.fit(**rows), ValueError, says)

    assert Snapshot.of(world)[::2] == before[::2], "parameters are frozen at fit"
    assert Snapshot.of(World(world.model.set_params(**good), layout, "int64")) == before
    assert unfitted._live is None
    with pytest.raises(NotFittedError):
        skunlearn.state_digest(unfitted)


# --- predicting ------------------------------------------------------------------------------------------------------

PREDICT = {
    "one column less": (lambda w: w.X([[1, 0]]), ValueError, r"X has 2 features.*expecting 3 features"),
    "one row as 1-d": (lambda w: [VALUE, 0, 1], ValueError, r"2D array"),
    "no rows": (lambda w: w.X(np.empty((0, 3))), ValueError, r"0 sample"),
    "NaN": (lambda w: w.X([[1, np.nan, 0]]), ValueError, r"NaN"),
    "infinity": (lambda w: w.X([[1, -np.inf, 0]]), ValueError, r"infinity"),
    "text": (lambda w: [[SECRET, "a", "b"]], ValueError, r"X.*number"),
    "3-d": (lambda w: np.full((1, 3, 1), VALUE), ValueError, r"dim"),
    "None": (lambda w: None, (ValueError, TypeError), r"2D array|NoneType"),
}
METHODS = ["predict", "predict_proba", "predict_log_proba", "predict_joint_log_proba"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", PREDICT)
def test_prediction_refuses(case: str, method: str, form: tuple[Any, str]) -> None:
    """Rows that are no rows of this model have no class."""
    X, error, says = PREDICT[case]
    world = make_world(form[0](), form[1])
    ask = getattr(world.model, method, None) or getattr(world.model, "decision_function", world.model.predict)
    if allows(world, case):
        pytest.skip("NaN is a missing value")
    before = Snapshot.of(world)

    check_refused(lambda: ask(X(world)), error, says)

    assert Snapshot.of(world) == before


@layouts
@pytest.mark.parametrize("method", METHODS)
def test_categories_beyond_the_model_are_refused(method: str, layout: str) -> None:
    """An unknown category is no value that may be read past the end of a table; the text counts features."""
    world = make_world(CategoricalNB(), layout)
    before = Snapshot.of(world)

    for value in (3, 2**24 - 1):
        X = world.X([[1, 0, value], [0, value, value]])
        says = r"2 of 3 features of X hold categories beyond.*min_categories"
        error = check_refused(lambda X=X: getattr(world.model, method)(X), UnknownCategoryError, says)
        assert isinstance(error, IndexError)

    assert Snapshot.of(world) == before


# --- states in which there is nothing to do it with ------------------------------------------------------------------

DERIVED = ("coef_", "class_count_", "feature_importances_")


@both
def test_an_unfitted_model_says_so(Estimator: Any) -> None:
    """Everything but learning raises scikit-learn's NotFittedError."""
    model = Estimator()
    for call in (
        *(lambda m=m: getattr(model, m)(np.eye(3)) for m in methods_of(model)),
        lambda: model.partial_forget([ID]),
        model.flush,
        model.reseed,
        model.release,
        lambda: model.guarantee_,
        lambda: model.n_live_,
        lambda: skunlearn.state_digest(model),
        lambda: skunlearn.reference_fit(model),
        lambda: skunlearn.forget(model, [ID]),
        lambda: skunlearn.can_forget(model),
    ):
        check_refused(call, NotFittedError, r"not fitted yet. Call 'fit'")

    assert vars(model) == model.get_params()
    assert not hasattr(model, "classes_")


@both
@layouts
def test_a_model_without_rows_to_forget_says_so(Estimator: Any, layout: str) -> None:
    """forgettable=False: predicts, and neither forgets nor learns."""
    world = make_world(Estimator(), layout, forgettable=False)
    model = world.model
    before = pickle.dumps(model), scores(model, world.X(np.eye(3))).tobytes()
    for call in (
        lambda: model.partial_forget(world.ids(0)),
        lambda: model.partial_forget(subject_ids=world.subjects(0)),
        lambda: model.partial_forget([]),
        lambda: model.partial_fit(**world.new()),
        model.reseed,
        lambda: skunlearn.state_digest(model),
        lambda: skunlearn.reference_fit(model),
    ):
        check_refused(call, ForgettingDisabledError, r"forgettable=False.*Nothing was changed.*Fit it anew")

    assert (pickle.dumps(model), scores(model, world.X(np.eye(3))).tobytes()) == before


@both
@layouts
def test_an_emptied_model_says_what_is_missing(Estimator: Any, layout: str) -> None:
    """A deletion is never refused; reading then says what to do."""
    world = make_world(Estimator(), layout)
    world.model.partial_forget(world.ids(*range(N_ROWS)))
    for call in (
        *(lambda m=m: getattr(world.model, m)(world.X(np.eye(3))) for m in methods_of(world.model)),
        world.model.release,
        lambda: world.model.classes_,
        lambda: getattr(world.model, next(n for n in DERIVED if hasattr(type(world.model), n))),
    ):
        check_refused(call, DegenerateRowsError, r"no row.*left.*partial_fit")

    check_refused(lambda: world.model.partial_forget(world.ids(0)), UnknownSampleError, r"1 of 1 sample ids")
    world.model.partial_fit(**world.new())
    assert world.model.n_live_ == 2


# --- valid, however it looks -----------------------------------------------------------------------------------------


def read_only(X: np.ndarray) -> np.ndarray:
    X = X.copy()
    X.flags.writeable = False
    return X


def unaligned(X: np.ndarray) -> np.ndarray:
    buffer = np.zeros(X.nbytes + 1, dtype=np.uint8)
    view = buffer[1:].view(X.dtype).reshape(X.shape)
    view[...] = X
    return view


FORMS_OF_X = {
    "Fortran order": np.asfortranarray,
    "read-only": read_only,
    "every other row": lambda X: np.repeat(X, 2, axis=0)[::2],
    "every other column": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "reversed twice": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
    "transposed": lambda X: X.T.copy().T,
    "big-endian": lambda X: X.astype(">f8"),
    "unaligned": unaligned,
    "int64": lambda X: X.astype(np.int64),
    "uint8": lambda X: X.astype(np.uint8),
    "list": lambda X: X.tolist(),
    "object": lambda X: X.astype(object),
    "negative zeros": lambda X: np.where(X == 0, -0.0, X),
}
SPARSE_FORMS_OF_X = {
    "csc": sp.csc_array,
    "coo": sp.coo_array,
    "coo with repeats": lambda X: sp.coo_array((np.repeat(sp.coo_array(X).data, 2) / 2, tuple(np.repeat(i, 2) for i in sp.coo_array(X).coords)), shape=X.shape),
    "matrix": sp.csr_matrix,
    "explicit zeros": lambda X: with_explicit_zeros(X),
    "unsorted indices": lambda X: with_unsorted_indices(X),
    "repeats": lambda X: with_repeats(X),
    "csc with repeats": lambda X: with_repeats(X.T).T,
    "read-only": lambda X: read_only_csr(X),
    "int64 indices": lambda X: with_int64_indices(X),
}  # fmt: skip


def with_explicit_zeros(X: np.ndarray) -> Any:
    full = sp.csr_array(np.ones_like(X))
    full.data[:] = X.ravel()
    return full


def with_unsorted_indices(X: np.ndarray) -> Any:
    csr = sp.csr_array(X)
    rows = [slice(*csr.indptr[i : i + 2]) for i in range(len(X))]
    indices = np.concatenate([csr.indices[r][::-1] for r in rows])
    data = np.concatenate([csr.data[r][::-1] for r in rows])
    return sp.csr_array((data, indices, csr.indptr), shape=X.shape)


def with_repeats(X: np.ndarray) -> Any:
    csr = sp.csr_array(X)
    return sp.csr_array((np.repeat(csr.data, 2) / 2, np.repeat(csr.indices, 2), csr.indptr * 2), shape=X.shape)


def read_only_csr(X: np.ndarray) -> Any:
    csr = sp.csr_array(X)
    for part in (csr.data, csr.indices, csr.indptr):
        part.flags.writeable = False
    return csr


def with_int64_indices(X: np.ndarray) -> Any:
    csr = sp.csr_array(X)
    csr.indices, csr.indptr = csr.indices.astype(np.int64), csr.indptr.astype(np.int64)
    return csr


@both
@pytest.mark.parametrize("name", [*FORMS_OF_X, *(f"sparse {n}" for n in SPARSE_FORMS_OF_X)])
def test_every_form_of_the_same_rows_gives_the_same_model(Estimator: Any, name: str) -> None:
    """How an array lies in memory is no part of what it says: fit, learning and prediction alike."""
    is_sparse = name.startswith("sparse ")
    shape = SPARSE_FORMS_OF_X[name.removeprefix("sparse ")] if is_sparse else FORMS_OF_X[name]
    X = np.random.default_rng(1).integers(0, 3, (N_ROWS, N_FEATURES)).astype(float)
    y, ids = np.arange(N_ROWS) % 2, np.arange(N_ROWS) + ID
    plain_form = sp.csr_array if is_sparse else np.asarray

    plain = Estimator().fit(plain_form(X), y, sample_ids=ids)
    shaped = (
        Estimator().fit(shape(X[:8]), y[:8], sample_ids=ids[:8]).partial_fit(shape(X[8:]), y[8:], sample_ids=ids[8:])
    )

    assert skunlearn.state_digest(shaped) == skunlearn.state_digest(plain)
    assert scores(shaped, shape(X)).tobytes() == scores(plain, X).tobytes()
    shaped.partial_forget(ids[3:5])
    assert skunlearn.state_digest(shaped) == skunlearn.state_digest(plain.partial_forget(ids[3:5]))


FORMS_OF_INT_IDS = {
    "int8": lambda ids: np.array(ids, dtype=np.int8),
    "uint16": lambda ids: np.array(ids, dtype=np.uint16),
    "uint64": lambda ids: np.array(ids, dtype=np.uint64),
    "big-endian": lambda ids: np.array(ids, dtype=">i8"),
    "object": lambda ids: np.array(ids, dtype=object),
    "numpy scalars": lambda ids: [np.int32(i) for i in ids],
    "tuple": tuple,
    "range": lambda ids: range(ids[0], ids[-1] + 1),
    "series": pd.Series,
    "index": pd.Index,
    "reversed view": lambda ids: np.array(ids)[::-1].copy()[::-1],
    "read-only": lambda ids: read_only(np.array(ids)),
    "strided": lambda ids: np.repeat(np.array(ids), 2)[::2],
}


@pytest.mark.parametrize("name", FORMS_OF_INT_IDS)
def test_every_form_of_the_same_int_ids_is_the_same(name: str, form: tuple[Any, str]) -> None:
    """Any integers up to 63 bits are int64 ids."""
    shape, ids = FORMS_OF_INT_IDS[name], list(range(20, 20 + N_ROWS))
    plain = make_world(form[0](), form[1], sample_ids=ids)
    shaped = make_world(form[0](), form[1], sample_ids=shape(ids))

    assert skunlearn.state_digest(shaped.model) == skunlearn.state_digest(plain.model)
    shaped.model.partial_forget(shape(ids[2:5]))
    plain.model.partial_forget(ids[2:5])
    assert skunlearn.state_digest(shaped.model) == skunlearn.state_digest(plain.model)


ODD_STRINGS = ["", "\0", "\0\0", "a", "a\0", "a\0\0", "\0a", " a", "ü", "u\u0308", "🦀", "9", "09", "x" * 65_535]


@pytest.mark.parametrize(
    "as_container",
    [list, tuple, lambda i: np.array(i, dtype=object), pd.Series],
    ids=["list", "tuple", "object", "series"],
)
def test_odd_strings_are_ids_of_their_own(as_container: Callable[[Any], Any], form: tuple[Any, str]) -> None:
    """NUL bytes, nothing at all, both ways to write an umlaut, 65,535 bytes: each is one id, and no other."""
    X = np.random.default_rng(2).integers(0, 3, (len(ODD_STRINGS), N_FEATURES))
    y = np.arange(len(ODD_STRINGS)) % 2
    X = sp.csr_array(X.astype(float)) if form[1] == "csr" else X
    model = form[0](classes=[0, 1]).fit(
        X, y, sample_ids=as_container(ODD_STRINGS), subject_ids=as_container(ODD_STRINGS)
    )

    assert model.n_live_ == len(ODD_STRINGS)
    for n, text in enumerate(ODD_STRINGS):
        if n % 2:
            model.partial_forget(as_container([text]))
        else:
            model.partial_forget(subject_ids=as_container([text]))
        with pytest.raises(UnknownSampleError):
            model.partial_forget([text])
        assert model.n_live_ == len(ODD_STRINGS) - n - 1
        assert skunlearn.state_digest(model) == skunlearn.state_digest(skunlearn.reference_fit(model))


def test_the_ends_of_int64_are_ids(form: tuple[Any, str]) -> None:
    """The smallest and the largest number of 64 bits, and their neighbours."""
    ids = [-(2**63), -(2**63) + 1, -1, 0, 2**63 - 2, 2**63 - 1]
    X = np.random.default_rng(3).integers(0, 3, (len(ids), N_FEATURES)).astype(float)
    model = form[0]().fit(sp.csr_array(X) if form[1] == "csr" else X, [0, 1] * 3, sample_ids=ids)

    model.partial_forget([ids[0], ids[-1]])

    assert skunlearn.state_digest(model) == skunlearn.state_digest(skunlearn.reference_fit(model))
    check_refused(lambda: model.partial_forget([ids[0]]), UnknownSampleError, "1 of 1")


@pytest.mark.parametrize(
    "empty",
    [[], (), np.empty(0), np.empty(0, dtype=object), np.empty(0, dtype="U4"), pd.Series([], dtype=object)],
    ids=str,
)
@pytest.mark.parametrize("id_kind", ["int64", "str"])
def test_an_empty_request_of_any_type_does_nothing(empty: Any, id_kind: str, form: tuple[Any, str]) -> None:
    """No ids are no ids, whatever kind they are not."""
    world = make_world(form[0](), form[1], id_kind)
    before = Snapshot.of(world)

    world.model.partial_forget(empty).partial_forget(subject_ids=empty).partial_forget()

    assert Snapshot.of(world) == before
    assert (world.model.forget_report_.rows_removed, world.model.forget_report_.path) == (0, "nothing")


def test_weights_of_any_size_are_weights(form: tuple[Any, str]) -> None:
    """The smallest and the largest doubles side by side: exact sums hold both, and forget both."""
    world = make_world(form[0](), form[1])
    before = Snapshot.of(world)

    world.model.partial_fit(**world.new(sample_weight=[5e-324, 1e308]))
    assert skunlearn.state_digest(world.model) == skunlearn.state_digest(skunlearn.reference_fit(world.model))
    world.model.partial_forget(world.ids(100, 101))

    assert Snapshot.of(world) == before


def test_a_clone_of_a_model_that_refused_is_unfitted(form: tuple[Any, str]) -> None:
    """clone takes parameters, never rows."""
    world = make_world(form[0](), form[1])
    assert clone(world.model)._live is None
