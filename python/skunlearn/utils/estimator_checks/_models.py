"""How the checks drive a model, and how they compare two: by everything a user can see, and by digest."""

import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.tree._tree import Tree

from skunlearn.digest import reference_fit, state_digest
from skunlearn.exceptions import DegenerateRowsError, SkunlearnWarning
from skunlearn.key import Key
from skunlearn.utils.estimator_checks._tables import Table, determining_table

__all__ = [
    "POSITIONAL_ATTRIBUTES",
    "answer",
    "assert_equals_refit",
    "assert_same",
    "beside",
    "differences",
    "encode",
    "far_apart",
    "fit",
    "forget",
    "fresh",
    "hold",
    "learn",
    "observe",
    "public_attributes",
    "quiet",
    "refit_or_none",
    "saved_bytes",
    "secret_of",
    "snapshot",
    "unchanged",
    "without_noise",
]

_PREDICTIONS = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "predict_joint_log_proba",
    "decision_function",
    "transform",
    "score_samples",
)
#: Follow insertion order as in scikit-learn, and so stand outside the digest.
POSITIONAL_ATTRIBUTES = frozenset({"labels_", "core_sample_indices_", "outliers_"})
#: Says what was done last, which is history on purpose.
_HISTORICAL_ATTRIBUTES = frozenset({"forget_report_", "ledger_"})
#: Are shown with noise by models that are certified: every version of every model has its own.
_NOISY_ATTRIBUTES = frozenset({"coef_", "intercept_"})


def fresh(estimator: Any, key: int = 0) -> Any:
    """Return an unfitted clone under the key number `key`, where the estimator makes random choices."""
    model = clone(estimator)
    if "random_state" in model.get_params(deep=False):
        model.set_params(random_state=Key(bytes([0xA5 ^ key]) * 32))  # not zeros, which are everywhere
    return model


def fit(estimator: Any, table: Table, key: int = 0) -> Any:
    """Return a fresh clone that holds the rows of a table, also where `fit` refuses them: they determine no model."""
    model = fresh(estimator, key)
    try:
        return model.fit(*_positional(table), **beside(table))
    except DegenerateRowsError:
        return hold(model, table)


def hold(model: Any, table: Table) -> Any:
    """Bring a model to hold rows that `fit` refuses: fit it on others, forget those, and learn."""
    others = determining_table(model, table)
    model.fit(*_positional(others), **beside(others))
    forget(model, others.sample_ids)
    return learn(model, replace(table, implicit_ids=False))


def learn(model: Any, table: Table) -> Any:
    """Learn the rows of a table on top of those of a model."""
    return model.partial_fit(*_positional(table), **beside(table)) if len(table) else model


def forget(model: Any, sample_ids: Any = None, **options: Any) -> Any:
    """Forget rows; that a class or category goes with them is expected."""
    with quiet():
        return model.partial_forget(sample_ids, **options)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence this library's own warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkunlearnWarning)
        yield


def beside(table: Table) -> dict[str, Any]:
    """Return the keyword arguments that say what stands beside X and y."""
    arguments = {
        "sample_ids": None if table.implicit_ids else table.sample_ids,
        "subject_ids": table.subject_ids,
        "sample_weight": table.weight,
    }
    return {name: value for name, value in arguments.items() if value is not None}


def _positional(table: Table) -> tuple[Any, ...]:
    return (table.X,) if table.y is None else (table.X, table.y)


def refit_or_none(estimator: Any, table: Table, key: int = 0) -> Any:
    """Return an independent fit on the rows that are left, or None where `fit` refuses them, as scikit-learn's does."""
    if table.n_effective == 0:
        return None
    try:
        return fit(estimator, table, key)
    except ValueError:
        return None


def public_attributes(model: Any) -> dict[str, Any]:
    """Return every fitted attribute by name; one that cannot be read now is the error that reading it raises."""
    names = {name for name in (*vars(model), *dir(type(model))) if name.endswith("_") and not name.startswith("_")}
    values = {}
    for name in sorted(names - _HISTORICAL_ATTRIBUTES):
        try:
            values[name] = getattr(model, name)
        except NotFittedError as error:
            values[name] = error
        except AttributeError:
            continue
    return values


def observe(model: Any, X: Any) -> dict[str, Any]:
    """Return all that a user can see of a model, in a form in which only equal bits are equal.

    Where a model refuses some rows of `X`, it is asked about the others, and which they are is seen, too.
    """
    seen = {name: encode(value) for name, value in public_attributes(model).items()}
    names = [name for name in _PREDICTIONS if hasattr(model, name)]
    if names:
        accepted = _accepted(getattr(model, names[0]), X)
        seen["rows of X accepted"] = encode(accepted)
        if isinstance(accepted, np.ndarray):
            asked = X if accepted.all() else X[accepted]
            seen |= {f"{name}(X)": encode(_answer(getattr(model, name), asked)) for name in names if accepted.any()}
    return seen


def answer(model: Any, X: Any) -> Any:
    """Return what a model says about rows; one that answers for its own alone says their labels."""
    name = next((name for name in ("predict", "transform") if hasattr(model, name)), None)
    return model.labels_ if name is None else getattr(model, name)(X)


def _answer(method: Any, X: Any) -> Any:
    """Return what a method says; the rows may determine what another method says, and not this."""
    try:
        return method(X)
    except NotFittedError as error:
        return error


def _accepted(method: Any, X: Any) -> Any:
    """Return which rows a method answers about, or the error of a model that answers about none."""
    n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
    try:
        method(X)
    except NotFittedError as error:
        return error
    except ValueError:
        return np.array([_answers(method, X[i : i + 1]) for i in range(n_rows)])
    return np.ones(n_rows, dtype=bool)


def _answers(method: Any, row: Any) -> bool:
    try:
        method(row)
    except ValueError:
        return False
    return True


def encode(value: Any) -> Any:
    """Return a value as nested tuples of types, shapes and bytes."""
    if isinstance(value, Exception):
        return ("raises", type(value).__name__)
    if sp.issparse(value):
        rows = sp.csr_array(value)
        return ("sparse", encode(rows.indptr), encode(rows.indices), encode(rows.data))
    if isinstance(value, np.ndarray) and value.dtype.names is not None:
        # Field by field: between them is what was in memory before, in a copy anything.
        return ("record", *((name, encode(np.ascontiguousarray(value[name]))) for name in value.dtype.names))
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, (list, tuple, np.ndarray)):
        return (type(value).__name__, *(encode(item) for item in value))
    if isinstance(value, dict):
        return ("dict", *((encode(key), encode(item)) for key, item in value.items()))
    if isinstance(value, float):
        return ("float", value.hex())
    if isinstance(value, BaseEstimator):
        return (type(value).__name__, encode(public_attributes(value)))
    if isinstance(value, Tree):
        return (type(value).__name__, encode(value.__getstate__()))
    if value is None or isinstance(value, (str, bytes, int, np.generic)):
        return (type(value).__name__, repr(value))
    return (type(value).__name__, pickle.dumps(value))


class Snapshot(NamedTuple):
    """What can be seen of a model at one time, its digest, and what a certified model hides with how far that may be
    from the optimum.
    """

    seen: dict[str, Any]
    digest: bytes
    secret: np.ndarray | None
    max_distance: float

    def assert_equals(self, model: Any, X: Any, what: str, *, positional: bool = True) -> None:
        """Assert that a model looks like this; one that hides a secret, that its secret is near this one."""
        self.assert_same(snapshot(model, X), what, positional=positional)

    def assert_same(self, other: "Snapshot", what: str, *, positional: bool = True) -> None:
        """Assert that another snapshot is like this one."""
        differing = _differing(self.seen, other.seen, positional=positional)
        if self.secret is not None and other.secret is not None:
            differing = without_noise(differing)
            if not np.linalg.norm(self.secret - other.secret) <= self.max_distance + other.max_distance:
                differing.append("what they hide")
        assert not differing, f"{what}: {', '.join(differing)} differ."
        assert self.digest == other.digest, f"{what}: the digests differ, and nothing visible does."


_MOST_FITS = 100
#: The newest independent fits by what was asked for, each with the estimator, so that its `id` is nobody else's.
_INDEPENDENT_FITS: dict[Any, tuple[Any, Snapshot | None]] = {}


def snapshot(model: Any, X: Any) -> Snapshot:
    """Look at a model."""
    return Snapshot(observe(model, X), state_digest(model), secret_of(model), getattr(model, "max_distance_", 0.0))


def secret_of(model: Any) -> np.ndarray | None:
    """Return the point, in public units, that a certified model shows with noise alone; None where there is none."""
    if model.guarantee_.kind != "certified":
        return None
    try:
        model.flush()
        return model._secret()
    except NotFittedError:
        return None


def assert_same(actual: Any, expected: Any, X: Any, what: str, *, positional: bool = True) -> None:
    """Assert that two models are one: attributes, predictions and digest. `expected` may be a snapshot of one."""
    taken = expected if isinstance(expected, Snapshot) else snapshot(expected, X)
    taken.assert_equals(actual, X, what, positional=positional)


def differences(actual: Any, expected: Any, X: Any) -> list[str]:
    """Return the names of all that a user can see differ between two models; of certified ones, what noise is not on,
    and what they hide where that is too far apart.
    """
    names = _differing(observe(actual, X), observe(expected, X), positional=True)
    if secret_of(actual) is None or secret_of(expected) is None:
        return names
    return without_noise(names) + far_apart(actual, expected)


def far_apart(actual: Any, expected: Any) -> list[str]:
    """Return a list that says whether what two certified models hide is farther apart than it may be."""
    one, other = secret_of(actual), secret_of(expected)
    if one is None or other is None:
        return [] if one is other else ["whether they hide anything"]
    is_near = np.linalg.norm(one - other) <= actual.max_distance_ + expected.max_distance_
    return [] if is_near else ["what they hide"]


def without_noise(names: list[str]) -> list[str]:
    """Return the names of what certified models show without noise."""
    return [name for name in names if name not in _NOISY_ATTRIBUTES and not name.endswith("(X)")]


def saved_bytes(model: Any) -> bytes:
    """Return the bytes of a saved model; of a certified one those of its rows, as it also has what noise is on."""
    if model.guarantee_.kind == "certified":
        return bytes(model.__getstate__()["_live"]["blob"])
    return pickle.dumps(model)


def _differing(got: dict[str, Any], want: dict[str, Any], *, positional: bool) -> list[str]:
    names = sorted(got.keys() | want.keys())
    ignored = set() if positional else set(POSITIONAL_ATTRIBUTES)
    if ignored & got.keys() >= {"core_sample_indices_"}:
        ignored.add("components_")  # copies of those rows, in the same order
    return [n for n in names if got.get(n) != want.get(n) and n not in ignored]


def assert_equals_refit(model: Any, estimator: Any, live: Table, X: Any, what: str, key: int = 0) -> Snapshot:
    """Assert that a model is what a fit on the rows that should be left makes of them, and return how it looks.

    `reference_fit` fits on the rows that the model *has*; the fit on `live` knows which rows it should have.
    """
    assert model.n_live_ == len(live), f"{what}: the model holds {model.n_live_} rows instead of {len(live)}."
    taken = snapshot(model, X)
    taken.assert_equals(reference_fit(model), X, f"{what}, against reference_fit")
    independent = _independent_fit(estimator, live, X, key)
    if independent is not None:
        where = f"{what}, against a fit on the rows that are left"
        independent.assert_same(taken, where, positional=False)
    return taken


def _independent_fit(estimator: Any, live: Table, X: Any, key: int) -> Snapshot | None:
    """Return how a fit on rows looks, or None where `fit` refuses them; the checks ask about the same rows often."""
    beside_X = (live.y, live.sample_ids, live.subject_ids, live.weight, live.implicit_ids)
    asked = (id(estimator), key, encode(live.X), encode(beside_X), encode(X))
    if asked not in _INDEPENDENT_FITS:
        model = refit_or_none(estimator, live, key)
        if len(_INDEPENDENT_FITS) >= _MOST_FITS:
            del _INDEPENDENT_FITS[next(iter(_INDEPENDENT_FITS))]
        _INDEPENDENT_FITS[asked] = estimator, None if model is None else snapshot(model, X)
    return _INDEPENDENT_FITS[asked][1]


@contextmanager
def unchanged(model: Any, X: Any, what: str) -> Iterator[None]:
    """Assert that the block leaves no trace in a model: digest, visible state, saved bytes."""
    before = *snapshot(model, X)[:2], pickle.dumps(model)
    yield
    after = *snapshot(model, X)[:2], pickle.dumps(model)
    for aspect, was, is_now in zip(("visible state", "digest", "saved bytes"), before, after, strict=True):
        assert was == is_now, f"{what} changed the model: its {aspect} is another one."
