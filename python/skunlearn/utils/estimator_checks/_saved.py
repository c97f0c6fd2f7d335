"""What leaves the process: saved models, releases, and the traces that none of them may carry."""

import contextlib
import copy
import ctypes
import io
import pickle
import pickletools
import re
import secrets
from collections.abc import Iterator
from dataclasses import replace
from importlib.machinery import PathFinder
from typing import Any

import joblib
import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from skunlearn._faults import inject
from skunlearn.base import ForgetMixin
from skunlearn.digest import reference_fit, state_digest
from skunlearn.rows import RowStore
from skunlearn.utils.estimator_checks._failures import Fault, raise_at
from skunlearn.utils.estimator_checks._models import (
    assert_equals_refit,
    assert_same,
    encode,
    fit,
    forget,
    fresh,
    learn,
    public_attributes,
    saved_bytes,
    snapshot,
    without_noise,
)
from skunlearn.utils.estimator_checks._processes import ask_fresh_process
from skunlearn.utils.estimator_checks._tables import Table, hostile_tables, ordinary_table, takes_weights

__all__ = ["check_persistence", "check_release", "check_traces", "key_patterns", "row_patterns", "secret_table"]


_SPARE = re.compile(rb"\0{64,}")


def check_persistence(estimator: Any) -> None:
    """A model survives pickle, joblib, deepcopy, skops and a fresh process bit for bit; a damaged one is a ValueError.

    Loading gives a model that forgets and learns on; `clone` gives an unfitted one without a drawn key.
    """
    for table in hostile_tables(estimator):
        model = forget(fit(estimator, table), table.ids([0]))
        live = table.without([0])
        last = [len(live) - 1]
        copies = list(_copies(model))
        taken, less = snapshot(model, table.X), None
        for what, saved in copies:
            assert_same(saved, taken, table.X, f"{table.name}, {what}")
            assert saved._live.key == model._live.key, f"{what} loses the key."
            forget(saved, live.ids(last))
            where = f"{what}, then forgotten from"
            if less is None:
                less = assert_equals_refit(saved, estimator, live.without(last), table.X, where)
            assert_same(saved, less, table.X, where)
            learn(saved, live.rows(last))
            assert_same(saved, taken, table.X, f"{where} and learned again", positional=False)
    table = next(hostile_tables(estimator))
    _check_subjects_survive(estimator, table)
    _check_stale_model_saved(estimator, table)
    _check_fresh_process(forget(fit(estimator, table), table.ids([0, 1])))
    _check_damage(estimator, fit(estimator, table))
    if has_fit_parameter(estimator, "forgettable"):
        _check_unforgettable(estimator, ordinary_table(estimator))
    assert "_live" not in vars(clone(fit(estimator, table))), "clone keeps fitted state."


def _copies(model: Any) -> Iterator[tuple[str, Any]]:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        yield f"pickle protocol {protocol}", pickle.loads(pickle.dumps(model, protocol))
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    yield "joblib", joblib.load(file)
    yield "deepcopy", copy.deepcopy(model)
    try:
        import skops.io
    except ImportError:
        return
    content = skops.io.dumps(model)
    yield "skops", skops.io.loads(content, trusted=skops.io.get_untrusted_types(data=content))


def _check_subjects_survive(estimator: Any, table: Table) -> None:
    assert isinstance(table.subject_ids, list)
    subject = table.subject_ids[3]
    model = pickle.loads(pickle.dumps(fit(estimator, table)))
    forget(model, subject_ids=[subject])
    at = [i for i, owner in enumerate(table.subject_ids) if owner == subject]
    assert_equals_refit(model, estimator, table.without(at), table.X, "A subject of a loaded model forgotten")


def _check_stale_model_saved(estimator: Any, table: Table) -> None:
    """Saving does the pending work first: no state that still depends on a forgotten row gets out."""
    model = fit(estimator, table)
    with contextlib.suppress(Fault), inject(raise_at("forget.erased")):
        forget(model, table.ids([0, 1]))
    saved = pickle.loads(pickle.dumps(model))
    assert_equals_refit(saved, estimator, table.without([0, 1]), table.X, "Saved with work pending")


def _check_fresh_process(model: Any) -> None:
    if PathFinder.find_spec(type(model).__module__.partition(".")[0]) is None:
        return  # defined in a notebook or a test, where no other process finds it
    digest = "skunlearn.state_digest(pickle.loads(content)).hex()"
    told = ask_fresh_process("import skunlearn, sklearn.ensemble", digest, pickle.dumps(model))
    assert told == state_digest(model).hex(), "Loaded in a fresh process, the model has another digest."


def _check_damage(estimator: Any, model: Any) -> None:
    """Truncated anywhere, or with any bit flipped, a saved model does not load."""
    state = model.__getstate__()
    blob = state["_live"]["blob"]
    rng = np.random.default_rng(0)
    for end in sorted({0, 1, len(blob) // 2, len(blob) - 1, *rng.integers(0, len(blob), 20).tolist()}):
        _check_does_not_load(estimator, state, blob[:end], f"Truncated to {end} of {len(blob)} bytes")
    for place in rng.integers(0, len(blob), 60).tolist():
        flipped = bytearray(blob)
        flipped[place] ^= 1 << int(rng.integers(8))
        _check_does_not_load(estimator, state, bytes(flipped), f"With byte {place} of {len(blob)} changed")
    _check_does_not_load(estimator, state, blob + b"\0", "With a byte behind its end")
    _check_does_not_load(estimator, state, b"", "Emptied")


def _check_does_not_load(estimator: Any, state: dict[str, Any], blob: bytes, what: str) -> None:
    model = fresh(estimator)
    before = dict(vars(model))
    try:
        model.__setstate__({**state, "_live": {**state["_live"], "blob": blob}})
    except ValueError:
        assert vars(model) == before, f"{what}, the saved model was refused, but left something behind."
        return
    except BaseException as error:
        raise AssertionError(f"{what}, the saved model raises a {type(error).__name__}, not a ValueError.") from error
    raise AssertionError(f"{what}, the saved model loads without an error.")


def _check_unforgettable(estimator: Any, table: Table) -> None:
    """Fitted with forgettable=False a model answers the same, holds no row, and is fitted also when loaded."""
    target = () if table.y is None else (table.y,)
    model = fresh(estimator).fit(table.X, *target, forgettable=False)
    want = fresh(estimator).fit(table.X, *target)
    for light in (model, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        check_is_fitted(light)
        assert light.n_live_ == 0, "Fitted with forgettable=False it holds rows."
        values = public_attributes(want)
        for name in without_noise(list(values)) if want.guarantee_.kind == "certified" else values:
            value = values[name]
            if name != "n_live_":
                assert encode(getattr(light, name)) == encode(value), f"With forgettable=False {name} is another one."
        try:
            light.partial_forget([0])
        except RuntimeError:
            continue
        raise AssertionError("Fitted with forgettable=False it claims to forget.")


def check_release(estimator: Any) -> None:
    """A release is what the model says, bit for bit, without rows, ids or key; it is immutable by what the model does,
    and where it is scikit-learn's own class it loads where this library is not installed.
    """
    table = secret_table(estimator)
    going = np.arange(4)
    model = forget(fit(estimator, table), table.ids(going))
    released = model.release()
    assert not isinstance(released, ForgetMixin), "The release is the model itself, or another one with rows."
    saved = pickle.dumps(released)
    for what, pattern in [*_id_patterns(table, np.arange(len(table))), *key_patterns(model)]:
        assert pattern not in saved, f"The release holds {what}."
    for what, pattern in row_patterns(estimator, table, going):
        assert pattern not in saved, f"The release holds {what} of a forgotten row."
    _check_answers_as_model(model, released, table.X)
    before = encode(public_attributes(released))
    forget(model, table.ids(np.arange(4, 8)))
    assert encode(public_attributes(released)) == before, "The release changes with the model."
    assert pickle.dumps(released) == saved, "The release changes with the model."
    fitted = fit(estimator, ordinary_table(estimator))
    if fitted.guarantee_.kind != "certified":
        assert pickle.dumps(reference_fit(fitted).release()) == pickle.dumps(fitted.release()), "Two releases differ."
    if type(released).__module__.startswith("sklearn."):
        _check_loads_without_library(released)


def _dense(answer: Any) -> np.ndarray:
    return answer.toarray() if sp.issparse(answer) else np.asarray(answer)


def _check_answers_as_model(model: Any, released: Any, X: np.ndarray) -> None:
    for name, value in public_attributes(model).items():
        if hasattr(released, name):
            assert encode(getattr(released, name)) == encode(value), f"{name} of the release is not the model's."
    params = released.get_params(deep=False)
    assert params.get("random_state") in (None, "deprecated"), "The release keeps a random_state."
    for name in ("predict_proba", "decision_function", "transform"):
        if hasattr(model, name) and hasattr(released, name):
            with np.errstate(all="ignore"):
                got, want = _dense(getattr(released, name)(X)), _dense(getattr(model, name)(X))
            if get_tags(model).estimator_type == "clusterer":  # distances: scikit-learn cancels in their squares
                got, want = got**2, want**2
            finite = np.isfinite(got)  # scikit-learn multiplies 0 by infinity where a feature is certain
            close = np.isclose(got, want, rtol=1e-9, atol=1e-12) | ~finite
            assert close.all(), f"{name} of the release is not the model's."


def _check_loads_without_library(released: Any) -> None:
    named = {str(arg) for _, arg, _ in pickletools.genops(pickle.dumps(released, 2)) if isinstance(arg, str)}
    assert not any("unlearn" in name for name in named), "The saved release names this library."
    absent = "sys.modules['skunlearn'] = sys.modules['_unlearn_native'] = None\nimport sklearn.ensemble"
    told = ask_fresh_process(absent, "type(pickle.loads(content)).__name__", pickle.dumps(released))
    assert told == type(released).__name__


def check_traces(estimator: Any) -> None:
    """Once forgotten, a row is nowhere: not in saved models, not in a release, not in the buffers of the row store.

    Values, weights, ids, subjects and labels are patterns that occur nowhere by chance. Each is found before, or the
    search would be blind; and none afterwards, while those of the rows that stay still are.
    """
    table = secret_table(estimator)
    going, staying = np.arange(0, len(table), 2), np.arange(1, len(table), 2)
    model = fit(estimator, table)
    for place, content in _places(model):
        for what, pattern in row_patterns(estimator, table, going):
            assert pattern in content, f"{what} of a live row is not found in {place}: the search is blind."
    half = len(going) // 2
    forget(model, table.ids(going[:half]))
    forget(model, table.ids(going[half:]))
    for place, content in _places(model):
        for what, pattern in row_patterns(estimator, table, going):
            assert pattern not in content, f"{what} of a forgotten row is still in {place}."
        for what, pattern in row_patterns(estimator, table, staying):
            assert pattern in content, f"{what} of a live row is gone from {place}."
    assert saved_bytes(model) == saved_bytes(reference_fit(model)), "The saved model is not that of a refit."
    released = pickle.dumps(model.release())
    for what, pattern in row_patterns(estimator, table, going):
        assert pattern not in released, f"{what} of a forgotten row is in the release."
    _check_nothing_left(estimator, table)
    _check_label_gone(estimator, table)


def _check_label_gone(estimator: Any, table: Table) -> None:
    """The label of a class that vanished is in no saved model and in no release."""
    declared = estimator.get_params(deep=False).get("classes")
    if get_tags(estimator).estimator_type != "classifier" or declared is not None:
        return
    label = secrets.token_hex(8)
    model = fit(estimator, replace(table, y=np.array([label, "p", "q", "p"] * (len(table) // 4))))
    assert label.encode() in pickle.dumps(model), "A live label is not found: the search is blind."
    forget(model, table.ids(np.arange(0, len(table), 4)))
    for content in (pickle.dumps(model), pickle.dumps(model.release())):
        assert label.encode() not in content, "The label of a class that vanished is still there."


def _check_nothing_left(estimator: Any, table: Table) -> None:
    """Emptied by one call, a model that has answered holds no row either."""
    model = fit(estimator, table)
    forget(model, table.ids(np.arange(len(table))))
    for place, content in _places(model):
        for what, pattern in row_patterns(estimator, table, np.arange(len(table))):
            assert pattern not in content, f"{what} of a forgotten row is in {place} of an emptied model."


def secret_table(estimator: Any) -> Table:
    """Return rows whose every part is random beyond coincidence, as far as the tags of the estimator allow."""
    rng = np.random.default_rng(secrets.randbits(128))
    table = ordinary_table(estimator, n=96)  # so many that random rows determine a model, whichever half is forgotten
    n, d = table.X.shape
    X = table.X if get_tags(estimator).input_tags.categorical else 1.0 + rng.random((n, d))
    ids = [secrets.token_hex(8) for _ in range(n)]
    subjects = (rng.integers(2**40, 2**62, size=n // 2, dtype=np.int64) | 1).repeat(2)[np.r_[0:n:2, 1:n:2]]
    weight = np.asarray(1.0 + rng.random(n)) if takes_weights(estimator) else None
    return replace(table, X=X, sample_ids=ids, subject_ids=subjects, weight=weight)


def row_patterns(estimator: Any, table: Table, at: np.ndarray) -> Iterator[tuple[str, bytes]]:
    """Yield (what, bytes) for all parts of rows that are random."""
    yield from _id_patterns(table, at)
    rows = table.rows(at)
    if not get_tags(estimator).input_tags.categorical:
        for value in rows.X.ravel():
            yield "a value", value.tobytes()
    if rows.weight is not None:
        for weight in rows.weight:
            yield "the weight", weight.tobytes()


def _id_patterns(table: Table, at: np.ndarray) -> Iterator[tuple[str, bytes]]:
    rows = table.rows(at)
    assert isinstance(rows.subject_ids, np.ndarray)
    for sample_id, subject_id in zip(rows.sample_ids, rows.subject_ids, strict=True):
        yield "the id", str(sample_id).encode()
        yield "the subject id", subject_id.tobytes()


def key_patterns(model: Any) -> list[tuple[str, bytes]]:
    """Return (what, bytes) for the ways in which a key might be written."""
    secret = model._live.key._secret
    return [("the key", secret), ("the key", secret.hex().encode())]


def _places(model: Any) -> Iterator[tuple[str, bytes]]:
    yield "the pickled model", pickle.dumps(model)
    file = io.BytesIO()
    joblib.dump(model, file)
    yield "the model saved by joblib", file.getvalue()
    yield "a copy", pickle.dumps(copy.deepcopy(model))
    rows = model._live.rows
    if isinstance(rows, RowStore):
        content = b"|".join(ctypes.string_at(at, size) for at, size in rows.native.buffers() if size)
        yield "the row store", _SPARE.sub(bytes(64), content)  # spare room is most of it
