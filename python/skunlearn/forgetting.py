"""Forgetting as a workflow: what a deletion would do, and a receipt of what it did."""

import hmac
import json
import platform
import secrets
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from math import prod
from typing import Any

from skunlearn._plans import StepPlan, Survey, fits_of, refit_probability, share_refitted, survey
from skunlearn._requests import Request, search_again
from skunlearn.base import ForgetMixin
from skunlearn.digest import state_digest
from skunlearn.exceptions import ForeignModelError, ForeignStepError
from skunlearn.guarantee import Guarantee, Kind, weakest

__all__ = ["ForgetPlan", "ForgetReceipt", "StepPlan", "can_forget", "forget"]

_FORMAT = 1
_LIBRARIES = ("scikit-unlearn", "unlearn-native", "scikit-learn", "numpy", "scipy")


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
        The chance that one random deletion leads to a refit of some step; NaN where it is not known.
    """

    steps: tuple[StepPlan, ...]
    kind: Kind
    not_covered: tuple[str, ...] = ()
    needs_rows: bool = False
    expected_refit_probability: float = 0.0

    @property
    def is_possible(self) -> bool:
        """Whether `forget` would work on this model; where `kind` is "approximate", with allow_approximate=True."""
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
        What was done to every part: "refit" where it was trained anew on the rows that are left.
    not_covered : tuple of str
        What was made with the rows and stayed.
    fraction_refitted : float
        Share of the parts that learn which was trained anew, at most: of a sharded model, of its shards; 1.0 of one
        whose report has the path "rebuild" or "reseed".
    state_commitment_after : str
        HMAC-BLAKE2b of the state digests of all parts with rows afterwards under `nonce`, in hex. Not the digest
        itself: that is a function of the rows, and the digest *before* the next deletion, so a guess about a row could
        be checked with it.
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

    def matches(self, model: Any) -> bool:
        """Return whether `model` is in the state that this receipt commits to."""
        members = survey(model).members
        return hmac.compare_digest(self.state_commitment_after, _commitment(self.nonce, members))


def can_forget(model: Any) -> ForgetPlan:
    """Say what a deletion would do to a model, without touching it.

    Parameters
    ----------
    model : estimator
        A fitted model, of this library or not: a pipeline, a search, an ensemble of models.

    Returns
    -------
    plan : ForgetPlan
        Step by step; `plan.is_possible` sums it up. The parts of a composite stand behind it.

    Examples
    --------
    >>> import skunlearn
    >>> from skunlearn.naive_bayes import GaussianNB
    >>> from sklearn.preprocessing import MinMaxScaler
    >>> from skunlearn.pipeline import make_pipeline
    >>> model = make_pipeline(MinMaxScaler(), GaussianNB()).fit([[0.0], [1.0], [5.0]], [0, 0, 1])
    >>> [(step.path, step.action) for step in skunlearn.can_forget(model).steps]
    [('', 'forget'), ('minmaxscaler', 'refit'), ('gaussiannb', 'forget')]
    """
    return _plan_of(survey(model))


def _plan_of(found: Survey) -> ForgetPlan:
    is_blocked = any(step.action == "blocked" for step in found.steps)
    chances = [refit_probability(member) for _, member in found.members]
    return ForgetPlan(
        steps=tuple(found.steps),
        kind=weakest([step.kind for step in found.steps]),
        not_covered=tuple(dict.fromkeys(found.not_covered)),
        needs_rows=is_blocked,
        expected_refit_probability=1.0 - prod(1.0 - chance for chance in chances),
    )


def forget(
    model: Any,
    sample_ids: Any = None,
    *,
    subject_ids: Any = None,
    on_unknown: str = "raise",
    on_foreign: str = "raise",
    on_search: str = "keep",
    allow_approximate: bool = False,
) -> ForgetReceipt:
    """Forget rows in every part of a model and return a receipt.

    All ids are looked up in all parts that have rows before any of these changes. An id is unknown if no part has it.

    Parameters
    ----------
    model : estimator
        A fitted model: of this library, or an estimator of scikit-learn's around such models.
    sample_ids, subject_ids, on_unknown
        As in `partial_forget`.
    on_foreign : {"raise", "keep"}, default="raise"
        What to do where a part has learned from rows and cannot forget them: refuse, or leave it as it is. The
        guarantee is then "none", and the receipt names the part. "refit" is the policy of a
        `skunlearn.pipeline.Pipeline`, which has the rows; here there are none.
    on_search : {"keep", "refit"}, default="keep"
        What to do with the choice that a search made with the rows: keep it, which the receipt names; or search again,
        on the rows that its best estimator still has.
    allow_approximate : bool, default=False
        Accept parts that forget without a bound, those of `skunlearn.approximate`; the receipt says so.

    Returns
    -------
    receipt : ForgetReceipt
        What was done.

    Raises
    ------
    ForeignModelError
        If the model cannot forget; `can_forget` says why. Or if a part does so approximately, and that is not allowed.
        It is unchanged.
    ForeignStepError
        If a part of it cannot. It is unchanged.
    UnknownSampleError
        If ids are not live; the model is unchanged.
    """
    for name, value, allowed in (
        ("on_foreign", on_foreign, ("raise", "keep", "refit")),
        ("on_search", on_search, ("keep", "refit")),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {allowed}. Got {value!r} instead. Nothing was changed.")
    found = survey(model)
    _check_possible(model, found, on_foreign)
    n_approximate = sum(step.kind == "approximate" for step in found.steps)
    if n_approximate and not allow_approximate:
        raise ForeignModelError(
            f"{n_approximate} of {len(found.steps)} parts of this {type(model).__name__} forget without a bound. "
            "Nothing was changed. Use the class of the same name of skunlearn, or pass allow_approximate=True."
        )
    with ExitStack() as locks:
        for _, member in found.members:
            locks.enter_context(member._require_live().lock)
        request = Request([member for _, member in found.members], sample_ids, subject_ids, on_unknown)
        request.check_classes(found.fixed_classes)
        before = [fits_of(path, member) for path, member in found.members]
        request.commit()
        nonce = secrets.token_bytes(32)
        commitment = _commitment(nonce, found.members)  # does what was put off
        after = [fits_of(path, member) for path, member in found.members]
        shares = [
            share_refitted(path, member, old, new)
            for (path, member), old, new in zip(found.members, before, after, strict=True)
        ]
    refitted = {path for old, new in zip(before, after, strict=True) for path in new if new[path] != old.get(path)}
    refitted |= {path for (path, _), share in zip(found.members, shares, strict=True) if share == 1.0}
    has_searched = on_search == "refit" and bool(found.searches)
    if has_searched:
        for search in found.searches:
            search_again(search)
        found, shares = survey(model), [1.0]
        commitment = _commitment(nonce, found.members)
    steps = tuple(_as_it_happened(step, refitted, on_foreign) for step in found.steps)
    not_covered = [what for what in found.not_covered if not (has_searched and "best_params_" in what)]
    not_covered += [f"{s.type} at {s.path or '(model)'} was kept: {s.keeps}" for s in steps if s.action == "keep"]
    guarantee = _guarantee_of(model, steps, tuple(dict.fromkeys(not_covered)))
    return ForgetReceipt(
        receipt_id=secrets.token_hex(16),
        model_class=type(model).__name__,
        requested=sum(len(ids) for ids in (sample_ids, subject_ids) if ids is not None),
        rows_removed=request.n_rows,
        subjects_removed=request.n_subjects,
        unknown=request.n_unknown,
        duplicates=request.n_duplicates,
        guarantee=guarantee,
        steps=steps,
        not_covered=tuple(dict.fromkeys(not_covered)),
        fraction_refitted=sum(shares) / len(shares),
        state_commitment_after=commitment,
        nonce=nonce,
        library_versions={name: version(name) for name in _LIBRARIES},
        platform=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        epsilon=guarantee.epsilon,
        delta=guarantee.delta,
    )


def _check_possible(model: Any, found: Survey, on_foreign: str) -> None:
    blocked = [step for step in found.steps if step.action == "blocked"]
    if blocked and on_foreign != "keep" and len(found.steps) > 1:
        first = blocked[0]
        raise ForeignStepError(
            f"{len(blocked)} of {len(found.steps)} parts of this {type(model).__name__} cannot forget rows. The first "
            f"is {first.type} at {first.path or '(model)'}: {first.reason}. Nothing was changed. Use the class of the "
            "same name in skunlearn; or a skunlearn.pipeline.Pipeline with on_foreign='refit', which has the rows to "
            "train it anew; or pass on_foreign='keep' to leave it as it is, which the receipt then says."
        )
    if not found.members:
        reason = blocked[0].reason if blocked else "no part of it has rows"
        raise ForeignModelError(
            f"{type(model).__name__} cannot forget: {reason}. Nothing was changed. Use the class of the same name in "
            "skunlearn, or refit it on the rows that are left."
        )


def _as_it_happened(step: StepPlan, refitted: set[str], on_foreign: str) -> StepPlan:
    if step.action == "blocked" and on_foreign == "keep":
        return replace(step, action="keep", kind="none")
    if step.path in refitted and step.action == "forget":
        return replace(step, action="refit")
    return replace(step, action="unchanged") if step.action == "refit" and step.path not in refitted else step


def _guarantee_of(model: Any, steps: tuple[StepPlan, ...], not_covered: tuple[str, ...]) -> Guarantee:
    if isinstance(model, ForgetMixin):
        guarantee: Guarantee = model.guarantee_
        return guarantee
    learned = [step for step in steps if step.action != "unchanged"] or list(steps)
    return Guarantee(
        kind=weakest([step.kind for step in learned]),
        basis="; ".join(dict.fromkeys(step.reason for step in learned)),
        not_covered=not_covered,
    )


def _commitment(nonce: bytes, members: list[tuple[str, ForgetMixin]]) -> str:
    digests = b"".join(state_digest(member) for _, member in members)
    return hmac.new(nonce, digests, "blake2b").hexdigest()
