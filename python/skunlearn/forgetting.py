"""Forgetting as a workflow: what a deletion would do, and a receipt of what it did."""

import hmac
import json
import platform
import secrets
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from skunlearn.base import ForgetMixin
from skunlearn.digest import state_digest
from skunlearn.exceptions import ForeignModelError
from skunlearn.guarantee import Guarantee, Kind

__all__ = ["ForgetPlan", "ForgetReceipt", "StepPlan", "can_forget", "forget"]

_FORMAT = 1
_REFITS = ("rebuild", "reseed")
_LIBRARIES = ("scikit-unlearn", "unlearn-native", "scikit-learn", "numpy", "scipy")


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What a deletion would do to one part of a model.

    Parameters
    ----------
    path : str
        Where the part is; "" for the model itself.
    type : str
        Its class.
    action : {"forget", "blocked"}
        What would happen to it.
    kind : {"exact", "certified", "refit", "approximate", "none"}
        The guarantee afterwards.
    reason : str
        Why, in words.
    keeps : str
        What the part holds of rows.
    cost : str
        What the work is proportional to.
    """

    path: str
    type: str
    action: str
    kind: Kind
    reason: str
    keeps: str
    cost: str


@dataclass(frozen=True, slots=True)
class ForgetPlan:
    """What a deletion would do to a model, step by step; printing it gives a table.

    Parameters
    ----------
    steps : tuple of StepPlan
        The parts of the model.
    kind : {"exact", "certified", "refit", "approximate", "none"}
        The weakest guarantee of them.
    not_covered : tuple of str
        What was made with the rows and would stay.
    needs_rows : bool
        Whether the rows would have to be supplied by the caller.
    expected_refit_probability : float
        The chance that one random deletion leads to a refit of some step.
    """

    steps: tuple[StepPlan, ...]
    kind: Kind
    not_covered: tuple[str, ...] = ()
    needs_rows: bool = False
    expected_refit_probability: float = 0.0

    @property
    def is_possible(self) -> bool:
        """Whether `forget` would work on this model."""
        return all(step.action != "blocked" for step in self.steps)

    def __str__(self) -> str:
        rows = [("part", "class", "action", "guarantee", "why")]
        rows += [(step.path or "(model)", step.type, step.action, step.kind, step.reason) for step in self.steps]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = ["  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[4]]) for row in rows]
        lines += [f"not covered: {what}" for what in self.not_covered]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class ForgetReceipt:
    """What was removed from a model, how, and what is promised about it.

    It holds counts only: no ids, no values, no digest of either, and no time, which would show the path that a row
    took.

    Parameters
    ----------
    receipt_id : str
        Random.
    model_class : str
        Class of the model.
    requested, rows_removed, subjects_removed, unknown, duplicates : int
        Ids in the request, rows that left, subjects that lost all their rows, ids skipped as not live, repeats.
    guarantee : Guarantee
        The promise.
    steps : tuple of StepPlan
        What was done to every part.
    not_covered : tuple of str
        What was made with the rows and stayed.
    fraction_refitted : float
        Share of the model that was trained anew, at most: 1.0 where the report's path is "rebuild" or "reseed".
    state_commitment_after : str
        HMAC-BLAKE2b of the state digest afterwards under `nonce`, in hex. Not the digest itself: that is a function of
        the rows, and the digest *before* the next deletion, so a guess about a row could be checked with it.
    nonce : bytes of length 32
        Opens the commitment. It is in no repr, dict or JSON: keep it apart, or throw it away.
    library_versions : dict
        Versions of what took part.
    platform : str
        Machine and system.
    format_version : int
        Version of this format.
    epsilon, delta : float or None
        Of a certified model.
    """

    receipt_id: str
    model_class: str
    requested: int
    rows_removed: int
    subjects_removed: int
    unknown: int
    duplicates: int
    guarantee: Guarantee
    steps: tuple[StepPlan, ...]
    not_covered: tuple[str, ...]
    fraction_refitted: float
    state_commitment_after: str
    nonce: bytes = field(repr=False)
    library_versions: dict[str, str]
    platform: str
    format_version: int = _FORMAT
    epsilon: float | None = None
    delta: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the receipt as plain values, without the nonce."""
        names = [name for name in self.__slots__ if name not in {"nonce", "guarantee", "steps", "not_covered"}]
        return {
            **{name: getattr(self, name) for name in names},
            "guarantee": self.guarantee.to_dict(),
            "steps": [{name: getattr(step, name) for name in step.__slots__} for step in self.steps],
            "not_covered": list(self.not_covered),
        }

    def to_json(self) -> str:
        """Return the receipt as JSON with sorted keys, without the nonce."""
        return json.dumps(self.to_dict(), sort_keys=True)

    def matches(self, model: ForgetMixin) -> bool:
        """Return whether `model` is in the state that this receipt commits to."""
        return hmac.compare_digest(self.state_commitment_after, _commitment(self.nonce, model))


def can_forget(model: Any) -> ForgetPlan:
    """Say what a deletion would do to a model, without touching it.

    Parameters
    ----------
    model : estimator
        A fitted model, of this library or not.

    Returns
    -------
    plan : ForgetPlan
        Step by step; `plan.is_possible` sums it up.
    """
    step = _step_plan(model)
    return ForgetPlan(steps=(step,), kind=step.kind, needs_rows=step.action == "blocked")


def forget(model: Any, sample_ids: Any = None, *, subject_ids: Any = None, on_unknown: str = "raise") -> ForgetReceipt:
    """Forget rows and return a receipt.

    Parameters
    ----------
    model : estimator of this library
        A fitted model.
    sample_ids, subject_ids, on_unknown
        As in `partial_forget`.

    Returns
    -------
    receipt : ForgetReceipt
        What was done.

    Raises
    ------
    ForeignModelError
        If the model cannot forget; `can_forget` says why. It is unchanged.
    UnknownSampleError
        If ids are not live; the model is unchanged.
    """
    plan = can_forget(model)
    if not plan.is_possible:
        raise ForeignModelError(
            f"{type(model).__name__} cannot forget: {plan.steps[0].reason}. Nothing was changed. Use the class of the "
            "same name in skunlearn, or refit it on the rows that are left."
        )
    model.partial_forget(sample_ids, subject_ids=subject_ids, on_unknown=on_unknown)
    report, guarantee = model.forget_report_, model.guarantee_
    nonce = secrets.token_bytes(32)
    return ForgetReceipt(
        receipt_id=secrets.token_hex(16),
        model_class=type(model).__name__,
        requested=sum(len(ids) for ids in (sample_ids, subject_ids) if ids is not None),
        rows_removed=report.rows_removed,
        subjects_removed=report.n_subjects,
        unknown=report.n_unknown,
        duplicates=report.n_duplicates,
        guarantee=guarantee,
        steps=plan.steps,
        not_covered=(*plan.not_covered, *guarantee.not_covered),
        fraction_refitted=1.0 if report.path in _REFITS else 0.0,
        state_commitment_after=_commitment(nonce, model),
        nonce=nonce,
        library_versions={name: version(name) for name in _LIBRARIES},
        platform=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        epsilon=guarantee.epsilon,
        delta=guarantee.delta,
    )


def _step_plan(model: Any) -> StepPlan:
    name = type(model).__name__
    if not isinstance(model, ForgetMixin):
        reason = "it is not an estimator of skunlearn and has no way back from a fit"
        return StepPlan("", name, "blocked", "none", reason, "unknown; it may hold rows", "a refit")
    live = model._require_live()
    if not live.forgettable:
        reason = "it was fitted with forgettable=False and kept no rows"
        return StepPlan("", name, "blocked", "none", reason, "no rows", "a refit")
    return StepPlan(
        path="",
        type=name,
        action="forget",
        kind=model.guarantee_.kind,
        reason=model.guarantee_.basis,
        keeps=f"{len(live.rows)} rows until they are forgotten",
        cost=model._cost_of_forgetting(),
    )


def _commitment(nonce: bytes, model: ForgetMixin) -> str:
    return hmac.new(nonce, state_digest(model), "blake2b").hexdigest()
