"""Requests: which are refused without a trace, whose rows a subject's are, and what may hold rows and ids."""

import array
import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import get_tags

from skunlearn.digest import reference_fit
from skunlearn.exceptions import DuplicateSampleError, MissingSampleIdsError, SampleIdTypeError, SampleIdValueError
from skunlearn.exceptions import UnknownSampleError as Unknown
from skunlearn.utils.estimator_checks._models import (
    assert_equals_refit,
    assert_same,
    far_apart,
    fit,
    forget,
    learn,
    observe,
    unchanged,
    without_noise,
)
from skunlearn.utils.estimator_checks._tables import Table, ordinary_table, str_ids, takes_weights

__all__ = [
    "UNKNOWN_INT",
    "UNKNOWN_STR",
    "bad_requests",
    "check_bad_input_changes_nothing",
    "check_containers",
    "check_subjects",
]

#: Ids that no row ever has.
UNKNOWN_INT = 987_654_321
UNKNOWN_STR = "nobody's"

Request = tuple[str, Callable[[], Any], type[Exception] | tuple[type[Exception], ...], list[Any] | None]


def check_bad_input_changes_nothing(estimator: Any) -> None:
    """A request that is refused is refused whole: a typed error, the ids on it and not in it, the model untouched."""
    for table in _tables_of_both_kinds(estimator):
        model = fit(estimator, table)
        for what, request, error_type, ids in bad_requests(model, table):
            with unchanged(model, table.X, what):
                error = _refusal(what, request, error_type)
            if ids is not None:
                assert error.ids == ids, f"{what}: the exception holds other ids than the offending ones."
                assert not _mentions(str(error), ids), f"{what}: the text of the error holds ids."
        assert_equals_refit(model, estimator, table, table.X, "After requests that were refused")


def _refusal(what: str, request: Callable[[], Any], error_type: Any) -> Any:
    try:
        request()
    except error_type as error:
        return error
    except Exception as error:
        raise AssertionError(f"{what} was refused, but with a {type(error).__name__}.") from error
    raise AssertionError(f"{what} was not refused.")


def _mentions(text: str, ids: list[Any]) -> bool:
    return any(len(str(i)) > 3 and str(i) in text for i in ids)


def _tables_of_both_kinds(estimator: Any) -> Iterator[Table]:
    table = ordinary_table(estimator)
    subjects = np.arange(len(table), dtype=np.int64) // 3
    sample_ids = np.arange(len(table), dtype=np.int64) + 10_000
    yield replace(table, sample_ids=sample_ids, subject_ids=[f"subject-{i}" for i in subjects])
    rng = np.random.default_rng(1)
    yield replace(table, sample_ids=str_ids(len(table), rng), subject_ids=subjects + 50_000)


def bad_requests(model: Any, table: Table) -> Iterator[Request]:
    """Yield (what, request, error type, offending ids or None) for a model fitted on `table`."""
    yield from _bad_forgets(model, table)
    yield from _bad_learns(model, table)
    yield from _bad_fits(model, table)


def _bad_forgets(model: Any, table: Table) -> Iterator[Request]:
    known, subject = list(table.ids([4, 0, 2])), [table.subject_ids[0]] if table.subject_ids is not None else []
    are_str = isinstance(table.sample_ids, list)
    unknown: Any = UNKNOWN_STR if are_str else UNKNOWN_INT
    wrong_kind: list[Any] = [UNKNOWN_INT] if are_str else [UNKNOWN_STR]

    def to_forget(*args: Any, **kwargs: Any) -> Callable[[], Any]:
        return lambda: model.partial_forget(*args, **kwargs)

    yield "An unknown id", to_forget([*known, unknown]), Unknown, [unknown]
    yield "An unknown id in front", to_forget([unknown, *known, unknown]), Unknown, [unknown, unknown]
    yield "Ids of the other kind", to_forget(wrong_kind), SampleIdTypeError, None
    yield "Ids of two kinds", to_forget([*known, *wrong_kind]), SampleIdTypeError, None
    yield "A single id", to_forget(known[0]), SampleIdTypeError, None
    yield "Ids in two dimensions", to_forget([known]), SampleIdValueError, None
    yield "NaN as an id", to_forget([np.nan]), SampleIdTypeError, None
    yield "Missing ids", to_forget([None]), SampleIdTypeError, None
    yield "Floats as ids", to_forget(np.array([0.0, 10.0])), SampleIdTypeError, None
    yield "Bools as ids", to_forget([True, False]), SampleIdTypeError, None
    yield "Bytes as ids", to_forget([b"a"]), SampleIdTypeError, None
    yield "An id beyond 64 bits", to_forget([2**63]), (SampleIdValueError, SampleIdTypeError), None
    yield "A set of ids", to_forget(set(known)), SampleIdTypeError, None
    yield "An unknown value of on_unknown", to_forget(known, on_unknown="skip"), ValueError, None
    if table.subject_ids is not None:
        other: Any = UNKNOWN_STR if isinstance(table.subject_ids, list) else UNKNOWN_INT
        wrong_subject: list[Any] = [UNKNOWN_INT] if isinstance(table.subject_ids, list) else [UNKNOWN_STR]
        yield "An unknown subject", to_forget(subject_ids=[*subject, other]), Unknown, [other]
        yield "An unknown subject beside known ids", to_forget(known, subject_ids=[other]), Unknown, [other]
        yield "Known subjects beside an unknown id", to_forget([unknown], subject_ids=subject), Unknown, [unknown]
        yield "Subjects of the other kind", to_forget(subject_ids=wrong_subject), SampleIdTypeError, None


def _bad_learns(model: Any, table: Table) -> Iterator[Request]:
    are_str = isinstance(table.sample_ids, list)
    new: list[Any] = [f"new-{i}" for i in range(3)] if are_str else [1_000_001, 1_000_002, 1_000_003]
    rows = table.rows([0, 1, 2])

    def to_learn(sample_ids: Any, X: Any = rows.X, **kwargs: Any) -> Callable[[], Any]:
        target = () if rows.y is None else (kwargs.pop("y", rows.y),)
        return lambda: model.partial_fit(X, *target, sample_ids=sample_ids, **kwargs)

    live = table.ids([5])[0]
    yield "A live id learned", to_learn([*new[:2], live]), DuplicateSampleError, [live]
    yield "An id learned twice in a call", to_learn([new[0], new[1], new[0]]), DuplicateSampleError, [new[0]]
    yield "Rows without ids", to_learn(None), MissingSampleIdsError, None
    yield "Fewer ids than rows", to_learn(new[:2]), SampleIdValueError, None
    yield "Ids of the other kind learned", to_learn([1, 2, 3] if are_str else ["a", "b", "c"]), SampleIdTypeError, None
    yield "Fewer columns", to_learn(new, rows.X[:, :-1]), ValueError, None
    yield "Infinite values", to_learn(new, np.full_like(rows.X, np.inf)), ValueError, None
    if isinstance(new[0], str):
        yield "A surrogate as an id", to_learn([*new[:2], "\ud800"]), ValueError, None
    if rows.y is not None:
        yield "Fewer targets", to_learn(new, y=rows.y[:2]), ValueError, None
    if get_tags(model).estimator_type == "classifier":
        other_kind = [1, 2, 3] if rows.y is not None and rows.y.dtype.kind == "U" else ["p", "q", "r"]
        yield "Labels of the other kind", to_learn(new, y=other_kind), ValueError, None
        if "classes" in model.get_params(deep=False):
            yield "Other classes than declared", to_learn(new, classes=[70, 71, 72, 73]), ValueError, None
        if rows.y is not None and rows.y.dtype.kind == "i":  # the label must be gone again when the id is refused
            yield "A new class with a live id", to_learn([*new[:2], live], y=[1, 12, 13]), ValueError, None
    if takes_weights(model):
        yield "A negative weight", to_learn(new, sample_weight=[1.0, -1.0, 1.0]), ValueError, None
        yield "A weight that is NaN", to_learn(new, sample_weight=[1.0, np.nan, 1.0]), ValueError, None


def _bad_fits(model: Any, table: Table) -> Iterator[Request]:
    target = () if table.y is None else (table.y,)

    def to_fit(X: Any = table.X, **kwargs: Any) -> Callable[[], Any]:
        return lambda: model.fit(X, *target, **kwargs)

    twice = list(table.sample_ids)
    twice[1] = twice[0]
    yield "A fit with an id twice", to_fit(sample_ids=twice), DuplicateSampleError, [twice[0]]
    yield "A fit with too few ids", to_fit(sample_ids=twice[:3]), SampleIdValueError, None
    yield "A fit on infinite values", to_fit(np.full_like(table.X, np.inf)), ValueError, None
    yield "A fit on no rows", lambda: model.fit(table.X[:0], *(t[:0] for t in target)), ValueError, None
    if takes_weights(model):
        yield "A fit on weights 0", to_fit(sample_weight=np.zeros(len(table))), ValueError, None


def check_subjects(estimator: Any) -> None:
    """A subject goes with all rows, whenever they came; it equals forgetting those rows by id, and is unknown after."""
    table = ordinary_table(estimator)
    first, later = np.arange(16), np.arange(16, len(table))
    kinds: list[Any] = [np.array([i % 5 - 2 for i in range(len(table))]), [f"s{i % 5}\0" for i in range(len(table))]]
    for subject_ids in kinds:
        owned = replace(table, subject_ids=subject_ids)
        base = learn(fit(estimator, owned.rows(first)), owned.rows(later))
        for going in ([subject_ids[0]], [subject_ids[1], subject_ids[2], subject_ids[1]], sorted(set(subject_ids))):
            at = np.flatnonzero([s in set(going) for s in subject_ids])
            model = forget(copy.deepcopy(base), subject_ids=going)
            assert model.forget_report_.rows_removed == len(at), "forget_report_ counts other rows than went."
            assert_equals_refit(model, estimator, owned.without(at), table.X, f"{len(set(going))} subjects forgotten")
            by_id = forget(copy.deepcopy(base), owned.ids(at))
            assert_same(model, by_id, table.X, "Forgotten by subject, against by id")
            _check_gone(model, going)
        both = forget(copy.deepcopy(base), owned.ids([0, 3]), subject_ids=[subject_ids[0]])
        at = np.union1d([0, 3], np.flatnonzero([s == subject_ids[0] for s in subject_ids]))
        assert_equals_refit(both, estimator, owned.without(at), table.X, "A subject and two rows forgotten in one call")
    _check_unusual_owners(estimator, table)


def _check_gone(model: Any, going: Any) -> None:
    with unchanged(model, np.zeros((1, model.n_features_in_)), "Forgetting a subject again"):
        error = _refusal("A subject forgotten already", lambda: model.partial_forget(subject_ids=going), Unknown)
        assert set(error.ids) == set(going)
        model.partial_forget(subject_ids=going, on_unknown="ignore")


def _check_unusual_owners(estimator: Any, table: Table) -> None:
    """One subject with every row, one with a single row, rows that are nobody's, and no subjects at all."""
    n = len(table)
    model = forget(fit(estimator, replace(table, subject_ids=np.zeros(n, dtype=np.int64))), subject_ids=[0])
    assert_equals_refit(model, estimator, table.rows([]), table.X, "All rows of the only subject forgotten")

    lone = replace(table, subject_ids=np.array([7, *([8] * (n - 1))]))
    model = forget(fit(estimator, lone), subject_ids=[7])
    assert_equals_refit(model, estimator, lone.without([0]), table.X, "A subject with one row forgotten")

    model = fit(estimator, lone.rows(np.arange(n - 4)))
    learn(model, table.rows(np.arange(n - 4, n)))
    assert_same(model, reference_fit(model), table.X, "With rows that are nobody's")
    forget(model, subject_ids=[8])
    assert model.n_live_ == 5, "Forgetting a subject took other rows than its own, or left some."
    assert_same(model, reference_fit(model), table.X, "A subject forgotten beside rows that are nobody's")

    ownerless = fit(estimator, table)
    with unchanged(ownerless, table.X, "Forgetting by subject without subjects"):
        _refusal("A subject of nobody's rows", lambda: ownerless.partial_forget(subject_ids=[1]), SampleIdValueError)


def check_containers(estimator: Any) -> None:
    """What holds the rows and the ids does not matter: order in memory, sparseness, frames, lists; nor does batch size.

    Equal values in another layout or dtype are another schema with another digest, but the same fitted attributes and
    the same predictions; but for float32 where the estimator keeps to it.
    """
    table = ordinary_table(estimator)
    base = fit(estimator, table)
    for what, X in _same_schema(table.X):
        model = fit(estimator, replace(table, X=X))
        assert_same(model, base, table.X, f"Fitted on {what}")
        assert observe(base, X) == observe(base, table.X), f"The answers about {what} differ."
    for what, X in _other_schema(estimator, table.X):
        model = fit(estimator, replace(table, X=X))
        got, want = observe(model, X), observe(base, table.X)
        if got.pop("transform(X)", None) is not None:
            _check_same_transform(model.transform(X), base.transform(table.X), what)
        if "core_sample_indices_" in got:
            del got["components_"]  # copies of rows, in their layout and dtype
        differing = [name for name, seen in got.items() if name != "feature_names_in_" and seen != want[name]]
        if model.guarantee_.kind == "certified":
            differing = without_noise(differing) + far_apart(model, base)
        if what == "float32":  # categories are values of rows, and of their dtype
            differing = [name for name in differing if name not in ("categories_", "infrequent_categories_")]
        if what != "float32" or not _keeps_float32(estimator):
            assert not differing, f"Fitted on {what}: {', '.join(differing)} differ."
        forget(model, table.ids([3, 4, 5, 11]))
        assert_same(model, reference_fit(model), X, f"Fitted on {what}, with rows forgotten")
    _check_id_containers(estimator, table)
    _check_rows_alone(base, table.X)


def _check_same_transform(got: Any, want: Any, what: str) -> None:
    """A transform may keep layout and dtype: its values are the same, in the bits of float64 or rounded in float32."""
    got, want = (Z.toarray() if sp.issparse(Z) else np.asarray(Z) for Z in (got, want))
    if got.dtype == want.dtype:
        is_same = (got == want) | ((got != got) & (want != want))
        assert is_same.all(), f"The transform of {what} has other values."
    else:
        assert np.allclose(got, want, rtol=1e-5, atol=1e-6, equal_nan=True), (
            f"The transform of {what} is not that of float64."
        )


def _keeps_float32(estimator: Any) -> bool:
    tags = get_tags(estimator).transformer_tags
    return tags is not None and "float32" in tags.preserves_dtype


def _same_schema(X: np.ndarray) -> Iterator[tuple[str, Any]]:
    yield "an array in Fortran order", np.asfortranarray(X)
    yield "a strided view", np.repeat(np.repeat(X, 2, axis=0), 2, axis=1)[::2, ::2]
    yield "a reversed view", X[::-1, ::-1].copy()[::-1, ::-1]
    read_only = X.copy()
    read_only.flags.writeable = False
    yield "a read-only array", read_only
    yield "nested lists", X.tolist()


def _other_schema(estimator: Any, X: np.ndarray) -> Iterator[tuple[str, Any]]:
    yield "float32", X.astype(np.float32)
    if get_tags(estimator).input_tags.sparse:
        yield "a CSR matrix", sp.csr_matrix(X)
        yield "a CSC array", sp.csc_array(X)
        yield "a CSR array with zeros written out", _with_explicit_zeros(X)
    names = [f"column {j}" for j in range(X.shape[1])]
    for library in ("pandas", "polars"):
        try:
            frame = __import__(library).DataFrame(dict(zip(names, X.T, strict=True)))
        except ImportError:
            continue
        yield f"a {library} frame", frame


def _with_explicit_zeros(X: np.ndarray) -> Any:
    indptr = np.arange(len(X) + 1) * X.shape[1]
    return sp.csr_array((X.ravel(), np.tile(np.arange(X.shape[1]), len(X)), indptr), shape=X.shape)


def _check_id_containers(estimator: Any, table: Table) -> None:
    going = table.ids([1, 2, 5])
    assert isinstance(going, np.ndarray)
    want = forget(fit(estimator, table), going)
    holders: list[tuple[str, Any]] = [
        ("a list", going.tolist()),
        ("a tuple", tuple(going.tolist())),
        ("an array of int32", going.astype(np.int32)),
        ("an array of uint64", going.astype(np.uint64)),
        ("an array of objects", going.astype(object)),
        ("a list of NumPy integers", list(going)),
        ("a strided view", np.repeat(going, 2)[::2]),
        ("an array of the standard library", array.array("q", going.tolist())),
        ("repeats", [*going, *going[:2]]),
    ]
    for what, ids in holders:
        assert_same(forget(fit(estimator, table), ids), want, table.X, f"Forgotten by ids in {what}")
    texts = [str(i) for i in table.sample_ids.tolist()] if isinstance(table.sample_ids, np.ndarray) else []
    base = fit(estimator, replace(table, sample_ids=texts))
    assert_same(fit(estimator, replace(table, sample_ids=np.array(texts))), base, table.X, "Ids as an array of str")
    model = fit(estimator, replace(table, sample_ids=np.array(texts, dtype=object)))
    assert_same(model, base, table.X, "Ids as an array of objects")


def _check_rows_alone(model: Any, X: np.ndarray) -> None:
    """A row alone gets the bits that it gets in bulk."""
    for name in ("predict", "predict_proba", "decision_function", "transform"):
        if hasattr(model, name):
            method = getattr(model, name)
            bulk = method(X)
            if isinstance(bulk, np.ndarray):
                alone = np.concatenate([method(X[i : i + 1]) for i in range(len(X))])
                assert bulk.tobytes() == alone.tobytes(), f"{name} depends on how many rows are asked about at once."
