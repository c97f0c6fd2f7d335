"""Claims and words: what a model promises, and what its texts give away."""

import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import get_tags

from skunlearn.digest import reference_fit, state_digest
from skunlearn.exceptions import SkunlearnError
from skunlearn.forgetting import can_forget
from skunlearn.forgetting import forget as forget_with_receipt
from skunlearn.guarantee import Guarantee
from skunlearn.utils.estimator_checks._models import differences, fit, forget, refit_or_none, secret_of
from skunlearn.utils.estimator_checks._requests import UNKNOWN_INT, UNKNOWN_STR, bad_requests
from skunlearn.utils.estimator_checks._saved import key_patterns, secret_table
from skunlearn.utils.estimator_checks._tables import Table, deletions, hostile_tables, ordinary_table

__all__ = ["check_guarantee", "check_report_and_errors"]


def check_guarantee(estimator: Any) -> None:
    """`guarantee_` says no more than is true, before and after forgetting.

    "exact" is put to the test with three arms: the model that forgot equals the refit, which equals another refit, and
    the one that forgot nothing does not. "certified" comes with numbers; a weaker kind claims none.
    """
    model = fit(estimator, ordinary_table(estimator))
    kinds = set()
    for claim in (model.guarantee_, forget(model, ordinary_table(estimator).ids([0])).guarantee_):
        assert isinstance(claim, Guarantee), f"guarantee_ is a {type(claim).__name__}."
        assert claim.basis, "The guarantee does not say what it rests on."
        json.dumps(claim.to_dict())
        kinds.add(claim.kind)
        if claim.kind == "certified":
            numbers = (claim.epsilon, claim.delta, claim.max_distance, claim.n_releases)
            assert None not in numbers, "A certified model states epsilon, delta, max_distance and n_releases."
            _check_certified(estimator)
        if claim.kind != "certified":
            assert (claim.epsilon, claim.delta) == (None, None), f"A model of kind {claim.kind} claims an epsilon."
    if "exact" in kinds:
        _check_exact(estimator)


def _check_exact(estimator: Any) -> None:
    for table in hostile_tables(estimator):
        noop = fit(estimator, table)  # never read: its copies forget with work pending
        nothing_forgotten = state_digest(fit(estimator, table))
        for what, going in deletions(table, seed=1):
            model = forget(copy.deepcopy(noop), table.ids(going))
            refits = [reference_fit(model), reference_fit(model)]
            digest = state_digest(refits[0])
            where = f"{table.name}, forgetting {what}"
            assert digest == state_digest(refits[1]), f"{where}: two refits differ, so fit is no function."
            assert digest != nothing_forgotten, f"{where}: the digest cannot tell no-op from refit."
            is_exact = state_digest(model) == digest and not differences(model, refits[0], table.X)
            assert is_exact, f"{where}: it claims to be exact, and is not what a refit is."


def _check_certified(estimator: Any) -> None:
    """The secret is within `max_distance` of the optimum, which an exact model of the same rows publishes to half a
    step of its lattice; and that of a model which forgot nothing is not, at least once.
    """
    n_caught = n_judged = 0
    for table in hostile_tables(estimator):
        for what, going in deletions(table, seed=1):
            noop = fit(estimator, table)
            model = forget(copy.deepcopy(noop), table.ids(going))
            left = table.without(going)
            exact = refit_or_none(clone(estimator).set_params(guarantee="exact"), left)
            secret, secret_of_noop = secret_of(model), secret_of(noop)
            if exact is None or secret is None:
                continue
            optimum, rounding = _optimum(exact, left.X)
            where, most = f"{table.name}, forgetting {what}", model.guarantee_.max_distance
            distance = np.linalg.norm(secret - optimum)
            assert distance <= most + rounding, f"{where}: the optimum is farther away than max_distance."
            if secret_of_noop is not None and secret_of_noop.shape == secret.shape:
                n_caught += bool(np.linalg.norm(secret_of_noop - optimum) > most + rounding)
            n_judged += 1
    assert n_judged, "There was no table to hold the claim against."
    assert n_caught, "A model that forgot nothing would have passed, too."


def _optimum(exact: Any, X: Any) -> tuple[np.ndarray, float]:
    """Return what an exact model publishes, in public units, and how far that may be from the optimum."""
    scale = 1.0 if exact.feature_scale is None else np.asarray(exact.feature_scale, dtype=np.float64)
    steps = np.ldexp(2.0**-20, -np.frexp(np.abs(X).max(axis=0))[1]) * scale
    optimum = np.concatenate([(exact.coef_ * scale).ravel(), exact.intercept_])
    half = np.concatenate([np.tile(steps, len(exact.coef_)), np.full(len(exact.intercept_), 2.0**-20)]) / 2
    return optimum, float(np.linalg.norm(half))


def check_report_and_errors(estimator: Any) -> None:
    """No text gives away an id, a subject, a value of a row or the key: no repr, report, receipt, error, warning or
    log, whatever is asked of the model. Counts are right instead.
    """
    table = secret_table(estimator)
    assert isinstance(table.subject_ids, np.ndarray)
    model = fit(estimator, table)
    secrets_of_rows = _secrets(estimator, table)
    keys = [pattern for _, pattern in key_patterns(model)]
    secrets_of_rows += [keys[0].hex(), repr(keys[0])[2:-1]]
    for what, text in _texts(model, table):
        for secret in secrets_of_rows:
            assert secret not in text, f"{what} holds an id, a value or the key."
    _check_counts(estimator, table)


def _secrets(estimator: Any, table: Table) -> list[str]:
    assert isinstance(table.subject_ids, np.ndarray)
    values = [] if get_tags(estimator).input_tags.categorical else table.X.ravel().tolist()
    weights = [] if table.weight is None else table.weight.tolist()
    numbers = [str(number)[:10] for number in [*values, *weights]]
    return [*map(str, table.sample_ids), *map(str, table.subject_ids.tolist()), *numbers, UNKNOWN_STR, str(UNKNOWN_INT)]


def _texts(model: Any, table: Table) -> Iterator[tuple[str, str]]:
    yield "repr", repr(model)
    yield "can_forget", str(can_forget(model)) + repr(can_forget(model))
    with _everything_said() as said:
        receipt = forget_with_receipt(model, table.ids([0, 1]), subject_ids=[table.subject_ids[2]])  # type: ignore[index]
        model.partial_forget([*table.ids([4]), UNKNOWN_STR], on_unknown="ignore")
    yield "A warning, log or print", said()
    yield "The receipt", repr(receipt) + receipt.to_json()
    yield "forget_report_", repr(model.forget_report_)
    yield "guarantee_", repr(model.guarantee_)
    left = table.without([0, 1, 4, *np.flatnonzero(table.subject_ids == table.subject_ids[2])])  # type: ignore[index]
    for what, request, _, _ in [*bad_requests(model, left), *_bad_rows(model, left)]:
        with _everything_said() as said:
            text = _text_of_refusal(request)
        yield f"The error about {what}", text
        yield f"A warning, log or print about {what}", said()
    forget(model, left.sample_ids)
    yield "repr of the emptied model", repr(model) + repr(model.forget_report_)
    yield "The error of an emptied model", _text_of_refusal(model.release)


def _bad_rows(model: Any, table: Table) -> Iterator[tuple[Any, ...]]:
    """Yield requests whose values, rather than ids, are at fault."""
    target = () if table.y is None else (table.y[:3],)
    new = [f"new-{i}" for i in range(3)]
    for what, X in (
        ("values that are no categories", table.X[:3] + 0.123456789),
        ("negative values", -1.123456789 - table.X[:3]),
        ("values too large for a category", table.X[:3] + 98765432.0),
    ):
        yield what, lambda X=X: copy.deepcopy(model).partial_fit(X, *target, sample_ids=new), None, None
        yield f"{what}, predicted", lambda X=X: model.predict(X) if hasattr(model, "predict") else None, None, None


def _text_of_refusal(request: Callable[[], Any]) -> str:
    try:
        request()
    except Exception as error:
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if isinstance(error, SkunlearnError):
            assert cause is None or isinstance(cause, SkunlearnError), "An error of this library shows a foreign one."
        return str(error) + repr(error.args[:1])
    return ""


@contextlib.contextmanager
def _everything_said() -> Iterator[Callable[[], str]]:
    """Collect warnings, log records and prints."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with (
            warnings.catch_warnings(record=True) as caught,
            contextlib.redirect_stdout(stream),
            contextlib.redirect_stderr(stream),
        ):
            warnings.simplefilter("always")
            yield lambda: stream.getvalue() + " ".join(str(w.message) for w in caught)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def _check_counts(estimator: Any, table: Table) -> None:
    """`forget_report_` counts what was asked for and what went; it is not there before, and a fit takes it away."""
    table = replace(table, subject_ids=np.arange(len(table), dtype=np.int64) // 2)
    model = fit(estimator, table)
    assert not hasattr(model, "forget_report_"), "forget_report_ is there before anything was forgotten."
    forget(model, [*table.ids([0, 1, 0]), UNKNOWN_STR], subject_ids=[1, 1, 77], on_unknown="ignore")
    report = model.forget_report_
    got = (report.rows_removed, report.n_subjects, report.n_unknown, report.n_duplicates)
    assert got == (4, 1, 2, 1), "forget_report_ does not count what was asked for."
    forget(model, [])
    assert model.forget_report_.rows_removed == 0, "forget_report_ still speaks of an earlier call."
