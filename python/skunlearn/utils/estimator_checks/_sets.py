"""Unusual sets of rows: too few of them, classes that go, weights of 0 and of every size."""

import copy
import pickle
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest import SkipTest

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from skunlearn.digest import reference_fit, state_digest
from skunlearn.exceptions import CategoryVanishedWarning, ClassVanishedWarning, SkunlearnWarning
from skunlearn.utils.estimator_checks._models import (
    POSITIONAL_ATTRIBUTES,
    answer,
    assert_equals_refit,
    assert_same,
    differences,
    far_apart,
    fit,
    forget,
    learn,
    observe,
    public_attributes,
    refit_or_none,
    snapshot,
    unchanged,
    without_noise,
)
from skunlearn.utils.estimator_checks._tables import (
    Table,
    hostile_tables,
    ordinary_table,
    proves_extremes,
    takes_weights,
    tamed,
    weight_pool,
)

__all__ = ["check_class_vanishes", "check_degenerate", "check_weight_equals_copies", "check_weights"]


def check_degenerate(estimator: Any) -> None:
    """A deletion is never refused. On few rows, one class, equal rows or none the model is what `fit` makes of them.

    A model that its rows do not determine raises NotFittedError where it is read, and learning brings it back.
    """
    for table in hostile_tables(estimator):
        base = fit(estimator, table)
        fitted = snapshot(base, table.X)
        for what, staying in _degenerate_sets(table):
            where = f"{table.name}, down to {what}"
            going = np.setdiff1d(np.arange(len(table)), staying)
            model = copy.deepcopy(base)
            try:
                forget(model, table.ids(going))
            except Exception as error:
                raise AssertionError(f"{where}: the deletion was refused with a {type(error).__name__}.") from error
            taken = assert_equals_refit(model, estimator, table.rows(staying), table.X, where)
            if table.rows(staying).n_effective == 0:
                _check_emptied(model, table.X, where)
            assert_same(pickle.loads(pickle.dumps(model)), taken, table.X, f"{where}, saved and loaded")
            learn(model, table.rows(going))
            assert_same(model, fitted, table.X, f"{where}, and back by learning", positional=False)
    _check_refused_fit(estimator)


def _degenerate_sets(table: Table) -> Iterator[tuple[str, np.ndarray]]:
    n = len(table)
    yield "nothing", np.arange(0)
    yield "one row", np.array([n // 2])
    yield "two rows", np.array([0, n - 1])
    first = table.X[0]
    yield "equal rows", np.flatnonzero((first == table.X).all(axis=1))
    if table.y is not None:
        yield "one class", np.flatnonzero(table.y == table.y[-1])
    if table.weight is not None:
        yield "rows of weight 0", np.flatnonzero(table.weight == 0)


def _check_emptied(model: Any, X: np.ndarray, where: str) -> None:
    for what, read in (
        ("check_is_fitted", lambda: check_is_fitted(model)),
        ("release", model.release),
        ("predict", lambda: answer(model, X)),
    ):
        try:
            read()
        except NotFittedError:
            continue
        raise AssertionError(f"{where}: {what} answers without rows; it must raise NotFittedError.")


def _check_refused_fit(estimator: Any) -> None:
    """`fit` refuses what scikit-learn's refuses, and a model fitted before is then unchanged."""
    table = ordinary_table(estimator)
    model = fit(estimator, table)
    target = () if table.y is None else (table.y[:0],)
    with unchanged(model, table.X, "A fit on no rows"):
        try:
            model.fit(table.X[:0], *target)
        except ValueError:
            return
        raise AssertionError("fit accepts no rows.")


def check_class_vanishes(estimator: Any) -> None:
    """A class, or a largest category, goes with its last row, as if never seen; a warning comes before the commit.

    As an error the warning stops the deletion and leaves no trace. Declared classes stay, without a warning, at
    probability 0.
    """
    tags = get_tags(estimator)
    if tags.estimator_type == "classifier":
        _check_undeclared_class(estimator)
        _check_declared_class(estimator)
    if tags.input_tags.categorical:
        _check_category(estimator)
    if tags.estimator_type != "classifier" and not tags.input_tags.categorical:
        raise SkipTest("It has neither classes nor categories.")


def _check_undeclared_class(estimator: Any) -> None:
    if _declares(estimator):
        return
    for labels in ("int", "str", "bool"):
        table = ordinary_table(estimator, labels=labels)
        assert table.y is not None
        for label in np.unique(table.y):
            model = fit(estimator, table)
            going = np.flatnonzero(table.y == label)
            where = f"{labels} labels, forgetting a class of {len(going)} rows"
            _check_warned_before_commit(model, table, going, ClassVanishedWarning, where)
            left = public_attributes(model)["classes_"]  # an error, where one class alone determines no model
            assert isinstance(left, NotFittedError) or label not in left, f"{where}: the class is still in classes_."
            assert_equals_refit(model, estimator, table.without(going), table.X, where)
            learn(model, table.rows(going))
            assert_same(model, fit(estimator, table), table.X, f"{where} and learning it again", positional=False)


def _check_declared_class(estimator: Any) -> None:
    if "classes" not in estimator.get_params(deep=False):
        return
    table = ordinary_table(estimator)
    assert table.y is not None
    declared = np.unique(table.y) if not _declares(estimator) else np.unique(estimator.get_params()["classes"])
    model = fit(estimator.__class__(**{**estimator.get_params(deep=False), "classes": declared.tolist()}), table)
    going = np.flatnonzero(table.y == table.y[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error", ClassVanishedWarning)
        warnings.simplefilter("ignore", CategoryVanishedWarning)
        model.partial_forget(table.ids(going))
    assert model.classes_.tolist() == declared.tolist(), "A declared class left classes_ with its last row."
    if hasattr(model, "predict_proba"):
        column = declared.tolist().index(table.y[0])
        stays = model.predict_proba(table.X[np.setdiff1d(np.arange(len(table)), going)])
        assert not stays[:, column].any(), "A declared class without rows has a probability above 0."
    assert_same(model, reference_fit(model), table.X, "A declared class without rows")


def _declares(estimator: Any) -> bool:
    return estimator.get_params(deep=False).get("classes") is not None


def _check_category(estimator: Any) -> None:
    table = ordinary_table(estimator)
    X = table.X.copy()
    X[[2, 5], 0] = 7.0
    table = replace(table, X=X)
    model = fit(estimator, table)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        copy.deepcopy(model).partial_forget(table.ids([2, 5]))
    if any(issubclass(w.category, CategoryVanishedWarning) for w in caught):
        _check_warned_before_commit(model, table, np.array([2, 5]), CategoryVanishedWarning, "The largest category")
    else:  # the parameters keep the category
        forget(model, table.ids([2, 5]))
    assert_equals_refit(model, estimator, table.without([2, 5]), table.X, "Rows of the largest category forgotten")


def _check_warned_before_commit(model: Any, table: Table, going: np.ndarray, category: Any, where: str) -> None:
    """Forget rows: first with `category` as an error, which must leave the model as it was, then for good."""
    with unchanged(model, table.X, f"{where}, with the warning as an error,"), warnings.catch_warnings():
        warnings.simplefilter("ignore", SkunlearnWarning)
        warnings.simplefilter("error", category)
        try:
            model.partial_forget(table.ids(going))
        except category:
            pass
        else:
            raise AssertionError(f"{where}: no {category.__name__}.")
    forget(model, table.ids(going))


def check_weights(estimator: Any) -> None:
    """A row goes with the weight that it came with, be it 0.1, denormal or 1e300; weight 0 enters nothing."""
    _require_weights(estimator)
    table = ordinary_table(estimator)
    for weight in (
        np.resize([1.0, 2.0, 3.0], len(table)),
        np.resize([0.1, 0.7, 1 / 3, 1.0, 1e-3], len(table)),
        np.resize([1.0, 5e-324, 1e300, 1e-308, 0.0, 2.0**-1060, 1.0], len(table)),
        np.resize([0.0, 0.0, 1.0], len(table)),
    ):
        weight = weight if proves_extremes(estimator) else tamed(weight)
        weight = np.minimum(weight, max(weight_pool(estimator) or [1.0]))
        weighted = replace(table, weight=weight)
        base = fit(estimator, weighted)
        fitted = snapshot(base, table.X)
        for going in (np.arange(3), np.arange(0, len(table), 2), np.flatnonzero(weight != 1.0), np.arange(len(table))):
            model = forget(copy.deepcopy(base), weighted.ids(going))
            where = f"{len(going)} rows of weights like {weight[0]:g} and {weight[1]:g} forgotten"
            assert_equals_refit(model, estimator, weighted.without(going), table.X, where)
            learn(model, weighted.rows(going))
            assert_same(model, fitted, table.X, f"{where}, and learned again", positional=False)
    _check_weight_zero(estimator, table)


def _check_weight_zero(estimator: Any, table: Table) -> None:
    """Rows of weight 0 change the digest and what `n_live_` counts, and nothing else, whether they come or go."""
    weight = np.ones(len(table))
    weight[::3] = 0.0
    counted, without = np.flatnonzero(weight), np.flatnonzero(weight == 0)
    weighted = replace(table, weight=weight)
    want = refit_or_none(estimator, table.rows(counted))
    if want is None:
        return
    histories = {
        "fitted": fit(estimator, weighted),
        "learned later": learn(fit(estimator, table.rows(counted)), weighted.rows(without)),
    }
    for what, model in histories.items():
        differing = [n for n in differences(model, want, table.X) if n != "n_live_" and n not in POSITIONAL_ATTRIBUTES]
        assert not differing, f"Rows of weight 0, {what}, enter {', '.join(differing)}."
        assert state_digest(model) != state_digest(want), f"Rows of weight 0, {what}, are not in the digest."
        assert_equals_refit(model, estimator, weighted, table.X, f"Rows of weight 0, {what}")
        with warnings.catch_warnings():
            warnings.simplefilter("error", SkunlearnWarning)
            model.partial_forget(weighted.ids(without))
        assert_same(model, want, table.X, f"Rows of weight 0, {what}, forgotten", positional=False)


def check_weight_equals_copies(estimator: Any) -> None:
    """Weight k is k rows alike, bit for bit: this holds for counts.

    It does not hold where random choices are keyed by row, nor, beyond rounding, for moments: such an estimator lists
    this check among its expected failures.
    """
    _require_weights(estimator)
    table = ordinary_table(estimator)
    weight = np.resize([1.0, 3.0, 2.0], len(table))
    weighted = fit(estimator, replace(table, weight=weight))
    copies = np.repeat(np.arange(len(table)), weight.astype(int))
    copied = replace(table.rows(copies), sample_ids=np.arange(len(copies), dtype=np.int64))
    want = fit(estimator, copied)
    _assert_alike(weighted, want, table.X, "Weights against copies")
    forget(weighted, table.ids([1, 2, 4, 9]))
    forget(want, copied.ids(np.flatnonzero(np.isin(copies, [1, 2, 4, 9]))))
    _assert_alike(weighted, want, table.X, "Weights against copies, after forgetting")


def _assert_alike(model: Any, other: Any, X: np.ndarray, what: str) -> None:
    got, want = observe(model, X), observe(other, X)
    differing = [name for name in got if name != "n_live_" and got[name] != want[name]]
    if model.guarantee_.kind == "certified":
        differing = without_noise(differing) + far_apart(model, other)
    assert not differing, f"{what}: {', '.join(differing)} differ."


def _require_weights(estimator: Any) -> None:
    if not takes_weights(estimator):
        raise SkipTest("It takes no sample_weight.")
