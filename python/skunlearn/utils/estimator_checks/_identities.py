"""The identities: a model is a function of its rows, however they came and went."""

import copy
import pickle
from dataclasses import replace
from typing import Any

import numpy as np

from skunlearn.digest import reference_fit, state_digest
from skunlearn.utils.estimator_checks._models import (
    assert_equals_refit,
    assert_same,
    fit,
    forget,
    learn,
    observe,
    refit_or_none,
    saved_bytes,
    snapshot,
    unchanged,
)
from skunlearn.utils.estimator_checks._tables import Table, deletions, hostile_tables, ordinary_table, takes_weights

__all__ = [
    "check_batching",
    "check_forget_equals_refit",
    "check_forget_learn_restores",
    "check_no_history",
    "check_order",
]

_KEYS = (0, 1)


def check_forget_equals_refit(estimator: Any) -> None:
    """fit(D) forgetting R is fit(D without R): every attribute, every prediction, the digest.

    The model has answered before it forgets, so a cache that outlives a row shows. And the digest sees rows: it is
    another one for other rows, even for rows that enter nothing, and for the same rows under other ids.
    """
    for table in hostile_tables(estimator, tall=True):
        for number, (what, going) in enumerate(deletions(table)):
            key = _KEYS[number % len(_KEYS)]
            model = fit(estimator, table, key)
            observe(model, table.X)
            before = state_digest(model)
            forget(model, table.ids(going))
            where = f"{table.name}, forgetting {what}"
            assert state_digest(model) != before, f"{where}: the digest is that of a model which forgot nothing."
            assert_equals_refit(model, estimator, table.without(going), table.X, where, key)
    _check_digest_sees_rows(estimator)


def _check_digest_sees_rows(estimator: Any) -> None:
    table = ordinary_table(estimator)
    digest = state_digest(fit(estimator, table))
    swapped = table.rows([1, 0, *range(2, len(table))])
    same_rows = replace(swapped, X=table.X, y=table.y)
    assert (table.X[0] != table.X[1]).any() or table.y is not None
    assert state_digest(fit(estimator, same_rows)) != digest, "The digest does not see which row has which id."
    if takes_weights(estimator):
        weight = np.ones(len(table))
        weight[3] = 0.0
        model = fit(estimator, replace(table, weight=weight))
        before = state_digest(model)
        forget(model, table.ids([3]))
        assert state_digest(model) != before, "The digest does not see a row of weight 0."


def check_batching(estimator: Any) -> None:
    """Rows may go, and come, in one batch, one by one or in unequal parts: the model is the same."""
    for table in hostile_tables(estimator):
        base = fit(estimator, table)
        for what, going in deletions(table):
            models = [
                forget(copy.deepcopy(base), table.ids(going)),
                _forget_in_batches(base, table, [going[i : i + 1] for i in range(len(going))]),
                _forget_in_batches(base, table, [going[:1], going[1:]]),
            ]
            at_once = snapshot(models[0], table.X)
            for model in models[1:]:
                assert_same(model, at_once, table.X, f"{table.name}, {what} in batches, against at once")
        _check_learning_in_batches(estimator, base, table)


def _check_learning_in_batches(estimator: Any, base: Any, table: Table) -> None:
    for sizes in ([1] * len(table), [len(table) - 1, 1]):
        edges = np.cumsum([0, *sizes])
        parts = [table.rows(np.arange(*edges[i : i + 2])) for i in range(len(sizes))]
        first = next((i for i, part in enumerate(parts) if part.n_effective), 0)
        model = refit_or_none(estimator, parts[first])
        if model is None:  # fit asks for more rows than that
            continue
        for part in [*parts[:first], *parts[first + 1 :]]:
            learn(model, part)
        assert_same(model, base, table.X, f"{table.name}, learned in batches, against at once", positional=first == 0)


def _forget_in_batches(base: Any, table: Table, batches: list[np.ndarray]) -> Any:
    model = copy.deepcopy(base)
    for batch in batches:
        forget(model, table.ids(batch))
    return model


def check_order(estimator: Any) -> None:
    """Rows may be learned and forgotten in any order: F(a)F(b) = F(b)F(a), and a permuted fit is the same fit."""
    for table in hostile_tables(estimator):
        base = fit(estimator, table)
        fitted = snapshot(base, table.X)
        n = len(table)
        for order in (np.arange(n)[::-1], *(np.random.default_rng(seed).permutation(n) for seed in range(2))):
            model = fit(estimator, table.rows(order))
            assert_same(model, fitted, table.X, f"{table.name}, fitted in another order", positional=False)
        for what, going in deletions(table):
            one, other = going[: len(going) // 2], going[len(going) // 2 :]
            forward = _forget_in_batches(base, table, [one, other])
            backward = _forget_in_batches(base, table, [other[::-1], one])
            assert_same(forward, backward, table.X, f"{table.name}, {what} in two orders")


def check_forget_learn_restores(estimator: Any) -> None:
    """Learning is the inverse of forgetting: rows that go and come back leave the model as it was, however often."""
    for table in hostile_tables(estimator):
        base = fit(estimator, table)
        fitted = snapshot(base, table.X)
        for what, going in deletions(table):
            where = f"{table.name}, {what} forgotten"
            model = forget(copy.deepcopy(base), table.ids(going))
            less = assert_equals_refit(model, estimator, table.without(going), table.X, where)
            learn(model, table.rows(going))
            assert_same(model, fitted, table.X, f"{where} and learned again", positional=False)
            forget(model, table.ids(going))
            assert_same(model, less, table.X, f"{where} again", positional=False)
            learn(model, table.rows(going))
            assert_same(model, fitted, table.X, f"{where} and learned again, twice", positional=False)


def check_no_history(estimator: Any) -> None:
    """A model holds no trace of how it came to be: what was forgotten, in how many calls, how large it was before.

    Models that hold the same rows in the same order have the same saved bytes, also after they were saved and loaded.
    Reading changes nothing.
    """
    for table in hostile_tables(estimator):
        base = fit(estimator, table)
        with unchanged(base, table.X, f"{table.name}: reading"):
            observe(base, table.X)
        for what, going in deletions(table):
            where = f"{table.name}, {what} forgotten"
            model = forget(copy.deepcopy(base), table.ids(going))
            histories = (
                _forget_in_batches(base, table, [going[i : i + 1] for i in range(len(going))]),
                _detour(base, table, going),
                pickle.loads(pickle.dumps(model)),
                reference_fit(model),
            )
            taken, saved = snapshot(model, table.X), saved_bytes(model)
            for history in histories:
                assert_same(history, taken, table.X, where)
                assert saved_bytes(history) == saved, f"{where}: the saved bytes tell histories apart."


def _detour(base: Any, table: Table, going: np.ndarray) -> Any:
    """Forget rows, learn them again, and forget them for good: the rows that stay keep their order."""
    model = copy.deepcopy(base)
    forget(model, table.ids(going))
    learn(model, table.rows(going))
    return forget(model, table.ids(going[::-1]))
