"""Random histories: whatever is done to a model in whatever order, it is the model of the rows that should be left."""

import contextlib
import copy
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags

from skunlearn._faults import FAULT_POINTS, inject
from skunlearn.exceptions import DegenerateRowsError, UnknownSampleError
from skunlearn.utils.estimator_checks._failures import Fault, is_committed, raise_at
from skunlearn.utils.estimator_checks._models import (
    assert_equals_refit,
    beside,
    forget,
    fresh,
    hold,
    learn,
    observe,
    quiet,
)
from skunlearn.utils.estimator_checks._tables import Table, label_pool, least_rows, value_pool, weight_pool

__all__ = ["check_histories"]

_INT_IDS = [5, -1, 0, 2**63 - 1, 3, -(2**63), 2**53 + 1, 2**53, *range(100, 140)]
_STR_IDS = ["b", "", "a\0", "a", "\u96ea", "e\u0301", "\u00e9", *(f"id-{i}" for i in range(100, 140))]
_N_FEATURES = 3
_MOST_ROWS = 12


class Row(NamedTuple):
    """A row as the test keeps it: places in the pools of values, labels, weights and subjects."""

    values: tuple[int, ...]
    label: int = 0
    weight: int = 0
    subject: int = 0


def check_histories(estimator: Any) -> None:
    """After any history of fits, lessons, deletions, readings, copies, releases and faults, the model equals a fit on
    the rows that the test itself kept count of.

    Histories are drawn and shrunk by Hypothesis under its active profile; a failure prints the shortest script that
    shows it.
    """
    try:
        from hypothesis import HealthCheck, settings
        from hypothesis.stateful import run_state_machine_as_test
    except ImportError:
        raise ImportError(
            "check_histories draws its histories with Hypothesis. Install it with: pip install scikit-unlearn[checks]"
        ) from None
    profile = settings(
        settings.default,
        deadline=None,
        stateful_step_count=10,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(_machine(estimator), settings=profile)


def _machine(estimator: Any) -> Any:
    """Return the state machine for an estimator; its rules are thin, so that a printed script reads well."""
    from hypothesis import strategies as st
    from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

    pools = _Pools(estimator)
    row = st.builds(
        Row,
        values=st.tuples(*[st.integers(0, len(pools.values) - 1)] * _N_FEATURES),
        label=st.integers(0, len(pools.labels["int"]) - 1),
        weight=st.integers(0, len(pools.weights or [1.0]) - 1),
        subject=st.integers(0, 3),
    )
    rows = st.lists(row, min_size=1, max_size=_MOST_ROWS)
    first_rows = st.lists(row, min_size=1 if least_rows(estimator) == 2 else least_rows(estimator), max_size=_MOST_ROWS)
    places = st.lists(st.integers(0, 2 * _MOST_ROWS), max_size=6)
    kinds = st.sampled_from(["int", "str"])
    needs_rows = precondition(lambda self: len(self.history.live) > 0)
    has_room = precondition(lambda self: len(self.history.live) + _MOST_ROWS < len(_STR_IDS))

    class Histories(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.history = _History(estimator, pools)

        @initialize(rows=first_rows, ids=kinds, labels=st.sampled_from(sorted(pools.labels)), weighted=st.booleans())
        def begin(self, rows: list[Row], ids: str, labels: str, weighted: bool) -> None:
            self.history.begin(rows, ids, labels, weighted)

        @rule(rows=rows)
        def fit(self, rows: list[Row]) -> None:
            self.history.refit(rows)

        @has_room
        @rule(rows=rows)
        def partial_fit(self, rows: list[Row]) -> None:
            self.history.learn(rows)

        @rule(places=places)
        def forget(self, places: list[int]) -> None:
            self.history.forget(self.history.ids_at(places))

        @needs_rows
        @rule(places=places)
        def forget_with_unknown_and_repeats(self, places: list[int]) -> None:
            self.history.forget_ignoring_unknown(self.history.ids_at(places))

        @rule(places=places)
        def forget_refused(self, places: list[int]) -> None:
            self.history.forget_refused(self.history.ids_at(places))

        @rule(subjects=st.sets(st.integers(0, 3)))
        def forget_subjects(self, subjects: set[int]) -> None:
            self.history.forget_subjects(subjects)

        @rule()
        def forget_everything(self) -> None:
            self.history.forget(list(self.history.live))

        @needs_rows
        @rule(places=places)
        def forget_and_learn_again(self, places: list[int]) -> None:
            self.history.forget_and_learn_again(self.history.ids_at(places))

        @rule(through=st.sampled_from(["pickle", "deepcopy"]))
        def copy(self, through: str) -> None:
            self.history.copy(through)

        @rule()
        def predict_and_release(self) -> None:
            self.history.read()

        @precondition(lambda self: "n_jobs" in self.history.model.get_params(deep=False))
        @rule(n_jobs=st.sampled_from([None, 1, 2]))
        def set_n_jobs(self, n_jobs: int | None) -> None:
            self.history.model.set_params(n_jobs=n_jobs)

        @has_room
        @rule(
            operation=st.sampled_from(["forget", "learn", "fit"]),
            point=st.sampled_from(FAULT_POINTS),
            in_repair=st.sampled_from([None, "flush.stale", "flush.rebuilt"]),
            rows=rows,
            places=places,
        )
        def fault(self, operation: str, point: str, in_repair: str | None, rows: list[Row], places: list[int]) -> None:
            self.history.fault(operation, point, in_repair, rows, self.history.ids_at(places))

        @invariant()
        def equals_a_fit_on_the_rows_that_are_left(self) -> None:
            self.history.check()

    Histories.__name__ = Histories.__qualname__ = f"Histories{type(estimator).__name__}"
    return Histories


class _Pools:
    """What values and labels an estimator may be given."""

    def __init__(self, estimator: Any) -> None:
        self.values = value_pool(estimator, "hostile")
        self.labels = {kind: label_pool(estimator, kind) for kind in ("int", "str", "bool")}
        least = min(len(labels) for labels in self.labels.values())
        self.labels = {kind: (labels * 2)[: max(least, 3)] for kind, labels in self.labels.items()}
        self.is_classifier = get_tags(estimator).estimator_type == "classifier"
        self.needs_target = get_tags(estimator).target_tags.required
        self.least_target = 0.5 if get_tags(estimator).target_tags.positive_only else 0.0
        self.weights = weight_pool(estimator)


class _History:
    """A model, and beside it, in a plain dict by id and in order of arrival, the rows that it should hold."""

    def __init__(self, estimator: Any, pools: _Pools) -> None:
        self.estimator = estimator
        self.pools = pools
        self.model = fresh(estimator)
        self.live: dict[Any, Row] = {}
        self.all_ids: list[Any] = _INT_IDS
        self.labels: list[Any] = []
        self.weighted = False

    # --- what the rules do -------------------------------------------------------------------------------------------

    def begin(self, rows: list[Row], ids: str, labels: str, weighted: bool) -> None:
        """Fit for the first time; rows that determine no model are learned."""
        self.all_ids = _INT_IDS if ids == "int" else _STR_IDS
        self.labels = self.pools.labels[labels]
        self.weighted = weighted and self.pools.weights is not None
        rows = [rows[0]._replace(weight=0), *rows[1:]]  # fit refuses rows that all have weight 0
        if not self.refit(rows):
            self.live = dict(zip(self.all_ids, rows, strict=False))
            hold(self.model, self.table(self.live))

    def refit(self, rows: list[Row]) -> bool:
        """Fit anew; return whether the rows determine a model. If they do not, nothing has changed."""
        new = dict(zip(self.all_ids, rows, strict=False))
        table = self.table(new)
        if table.n_effective == 0:
            with contextlib.suppress(ValueError):
                self._fit(table)
                raise AssertionError("fit accepts rows that all have weight 0.")
            return False
        try:
            self._fit(table)
        except ValueError as error:
            is_one_class = self.pools.is_classifier and table.y is not None and len(np.unique(table.y)) < 2
            if not is_one_class and not isinstance(error, DegenerateRowsError):
                raise
            return False
        self.live = new
        return True

    def learn(self, rows: list[Row]) -> None:
        new = self._new(rows)
        learn(self.model, self.table(new))
        self.live.update(new)

    def forget(self, ids: list[Any]) -> None:
        forget(self.model, ids)
        self._drop(ids)
        assert self.model.n_live_ == len(self.live), "It forgot other rows than it was asked to."

    def forget_ignoring_unknown(self, ids: list[Any]) -> None:
        forget(self.model, [*ids, *self._unknown(), *ids], on_unknown="ignore")
        self._drop(ids)

    def forget_refused(self, ids: list[Any]) -> None:
        unknown = self._unknown()
        refused: UnknownSampleError | None = None
        try:
            forget(self.model, [*ids, *unknown])
        except UnknownSampleError as error:
            refused = error
        assert refused is not None, "An id that is not live was not refused."
        assert refused.ids == unknown

    def forget_subjects(self, subjects: set[int]) -> None:
        going = [i for i, row in self.live.items() if row.subject in subjects]
        forget(self.model, subject_ids=sorted(subjects), on_unknown="ignore")
        self._drop(going)

    def forget_and_learn_again(self, ids: list[Any]) -> None:
        again = {i: self.live[i] for i in dict.fromkeys(ids)}
        self.forget(ids)
        if again:
            learn(self.model, self.table(again))
            self.live.update(again)

    def copy(self, through: str) -> None:
        self.model = copy.deepcopy(self.model) if through == "deepcopy" else pickle.loads(pickle.dumps(self.model))

    def read(self) -> None:
        observe(self.model, self._asked())
        with contextlib.suppress(NotFittedError):
            self.model.release()

    def fault(self, operation: str, point: str, in_repair: str | None, rows: list[Row], ids: list[Any]) -> None:
        """Interrupt an operation at a fault point, and perhaps the repair after it; it has happened, or it has not."""
        run, after = self._operation(operation, rows, ids)
        interrupted = False
        try:
            with quiet(), inject(raise_at(point)):
                run()
        except Fault:
            interrupted = True
        except ValueError:  # fit on weights 0 alone
            return
        if not interrupted or is_committed(operation, point):
            self.live = after
        if in_repair is not None:
            with contextlib.suppress(Fault), inject(raise_at(in_repair)):
                self.model.flush()

    def _operation(self, operation: str, rows: list[Row], ids: list[Any]) -> tuple[Callable[[], Any], dict[Any, Row]]:
        if operation == "forget":
            return lambda: self.model.partial_forget(ids), {i: row for i, row in self.live.items() if i not in ids}
        if operation == "learn":
            new = self._new(rows)
            return lambda: learn(self.model, self.table(new)), {**self.live, **new}
        new = dict(zip(self.all_ids, rows, strict=False))
        return lambda: self._fit(self.table(new)), new

    # --- what must hold ----------------------------------------------------------------------------------------------

    def check(self) -> None:
        if not self.labels:
            return
        assert_equals_refit(self.model, self.estimator, self.table(self.live), self._asked(), "After this history")

    # --- the test's own rows -----------------------------------------------------------------------------------------

    def table(self, rows: dict[Any, Row]) -> Table:
        """Return rows as a table."""
        X = np.array([[self.pools.values[v] for v in row.values] for row in rows.values()])
        ids = list(rows)
        return Table(
            name="a history",
            X=X.reshape(len(rows), _N_FEATURES),
            y=self._targets(rows),
            sample_ids=ids if self.all_ids is _STR_IDS else np.array(ids, dtype=np.int64),
            subject_ids=np.array([row.subject for row in rows.values()], dtype=np.int64),
            weight=self._weights(rows),
        )

    def _weights(self, rows: dict[Any, Row]) -> np.ndarray | None:
        pool = self.pools.weights
        return np.array([pool[row.weight] for row in rows.values()]) if self.weighted and pool else None

    def _targets(self, rows: dict[Any, Row]) -> np.ndarray | None:
        if self.pools.is_classifier:
            return np.array([self.labels[row.label] for row in rows.values()], dtype=np.array(self.labels).dtype)
        if not self.pools.needs_target:
            return None
        return np.array([0.5 * row.label + self.pools.least_target for row in rows.values()])

    def ids_at(self, places: list[int]) -> list[Any]:
        """Return live ids by their places, counted round and round."""
        ids = list(self.live)
        return [ids[place % len(ids)] for place in places] if ids else []

    def _new(self, rows: list[Row]) -> dict[Any, Row]:
        """Return rows under the first ids that are free, so that forgotten ids come back."""
        free = [i for i in self.all_ids if i not in self.live]
        return dict(zip(free, rows, strict=False))

    def _unknown(self) -> list[Any]:
        return [next(i for i in self.all_ids if i not in self.live)]

    def _drop(self, ids: list[Any]) -> None:
        for i in ids:
            self.live.pop(i, None)

    def _fit(self, table: Table) -> Any:
        target = () if table.y is None else (table.y,)
        return self.model.fit(table.X, *target, **beside(table))

    def _asked(self) -> np.ndarray:
        """Return rows to predict: every value in every column, and those that are live."""
        grid = np.repeat(np.array(self.pools.values)[:, None], _N_FEATURES, axis=1)
        return np.vstack([grid, self.table(self.live).X])
