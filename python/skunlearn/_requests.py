"""Requests to forget that go to several models at once."""

import warnings
from typing import Any

import numpy as np

from skunlearn._foreign import as_given, joined
from skunlearn.base import ForgetMixin
from skunlearn.exceptions import ForeignStepError, SkunlearnWarning, UnknownSampleError
from skunlearn.rows import RowStore

__all__ = ["Request", "search_again"]


class Request:
    """One request to several members, which is found to be right for all of them before any of them changes.

    The caller holds the locks of all members.
    """

    def __init__(self, members: list[ForgetMixin], sample_ids: Any, subject_ids: Any, on_unknown: str) -> None:
        self._members = members
        self._given = (sample_ids, subject_ids)
        stores = [member._require_live().rows for member in members]
        is_alone = len(stores) == 1
        selections = [store.select(sample_ids, subject_ids, on_unknown if is_alone else "ignore") for store in stores]
        stores[0].select(None, None, on_unknown)  # is it one of the two?
        nowhere = set[tuple[int, Any]]() if is_alone else set.intersection(*map(self._unknown_in, stores))
        if nowhere and on_unknown == "raise":
            raise UnknownSampleError(
                f"{len(nowhere)} of {sum(len(ids) for ids in self._given if ids is not None)} ids are not live in any "
                f'of {len(members)} models (see the exception\'s .ids). Nothing was changed. Pass on_unknown="ignore" '
                "to skip them.",
                ids=[name for _, name in sorted(nowhere, key=str)],
            )
        self._slots = [selection.slots for selection in selections]
        self.n_rows = len({i for store, at in zip(stores, self._slots, strict=True) for i in _ids_at(store, at)})
        self.n_subjects = max(selection.n_subjects for selection in selections)
        self.n_duplicates = max(selection.n_duplicates for selection in selections)
        self.n_unknown = selections[0].n_unknown if is_alone else len(nowhere)

    def _unknown_in(self, store: RowStore) -> set[tuple[int, Any]]:
        """Return which ids a member does not have."""
        unknown: set[tuple[int, Any]] = set()
        for which, ids in enumerate(self._given):
            if ids is not None:
                try:
                    store.select(ids if which == 0 else None, ids if which == 1 else None, "raise")
                except UnknownSampleError as error:
                    unknown |= {(which, name) for name in error.ids}
        return unknown

    def check_classes(self, fixed: list[ForgetMixin]) -> None:
        """Refuse a request that would take a class away which an estimator around a member has numbered."""
        for member, slots in zip(self._members, self._slots, strict=True):
            live = member._require_live()
            if not any(member is other for other in fixed) or not len(slots) or live.codes.declared is not None:
                continue
            block = live.rows.take(slots)
            n_vanishing, n_classes = live.targets.n_vanishing(block.y, block.weight)
            block.wipe()
            if n_vanishing:
                raise ForeignStepError(
                    f"{n_vanishing} of {n_classes} classes would have no rows left, and the estimator around this "
                    f"{type(member).__name__} has numbered them. Nothing was changed. Fit it anew on the rows that are "
                    "left."
                )

    def commit(self) -> None:
        """Take the rows out of all members; what one member raises keeps the others from nothing."""
        ids, subjects = self._given
        if len(self._members) == 1:
            self._members[0].partial_forget(ids, subject_ids=subjects, on_unknown="ignore")
            return
        self._warn()
        failures = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SkunlearnWarning)
            for member in self._members:
                try:
                    member.partial_forget(ids, subject_ids=subjects, on_unknown="ignore")
                except Exception as error:
                    failures.append(error)
        if failures:
            raise failures[0]

    def _warn(self) -> None:
        """Warn of what would vanish in any member, before anything changes in the first."""
        for member, slots in zip(self._members, self._slots, strict=True):
            live = member._require_live()
            if len(slots):
                live.flush()
                block = live._identified(live.rows.take(slots, with_tags=live.rows.has_tags))
                try:
                    live._warn_before_forget(block)
                finally:
                    block.wipe()


def _ids_at(store: RowStore, slots: Any) -> list[Any]:
    ids = store.native.ids(slots)
    named: list[Any] = ids if isinstance(ids, list) else ids.tolist()
    return named


def search_again(search: Any) -> None:
    """Run a search again on the rows that its best estimator still has."""
    live = search.best_estimator_._require_live()
    names, width = live.feature_names, int(live.n_features)
    X, y, weight, ids, subjects = [], [], [], [], []
    for block in live.rows.blocks_in_order("insertion"):
        X.append(as_given(block.X, names, width))
        y.append(live.targets.decode(block.y))
        weight.append(np.ones(len(block)) if block.weight is None else block.weight)
        ids += list(block.ids)
        if live.rows.subject_kind is not None:
            subjects += list(live.rows.subjects(block.slots)[0])
    given: dict[str, Any] = {"sample_ids": np.array(ids, dtype=object if isinstance(ids[0], str) else np.int64)}
    if (np.concatenate(weight) != 1.0).any():
        given["sample_weight"] = np.concatenate(weight)
    if subjects:
        given["subject_ids"] = np.array(subjects, dtype=object if isinstance(subjects[0], str) else np.int64)
    search.fit(joined(X), None if y[0] is None else np.concatenate(y), **given)
