"""Running the checks: one by one, all at once, or as tests of pytest; after scikit-learn's functions of such names."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal
from unittest import SkipTest

from sklearn.base import BaseEstimator
from sklearn.exceptions import EstimatorCheckFailedWarning, SkipTestWarning

from skunlearn.utils.estimator_checks._claims import check_guarantee, check_report_and_errors
from skunlearn.utils.estimator_checks._failures import check_commit, check_threads
from skunlearn.utils.estimator_checks._histories import check_histories
from skunlearn.utils.estimator_checks._identities import (
    check_batching,
    check_forget_equals_refit,
    check_forget_learn_restores,
    check_no_history,
    check_order,
)
from skunlearn.utils.estimator_checks._requests import (
    check_bad_input_changes_nothing,
    check_containers,
    check_subjects,
)
from skunlearn.utils.estimator_checks._saved import check_persistence, check_release, check_traces
from skunlearn.utils.estimator_checks._sets import (
    check_class_vanishes,
    check_degenerate,
    check_weight_equals_copies,
    check_weights,
)

__all__ = ["check_forgetting", "forgetting_checks", "parametrize_with_forgetting_checks"]

Check = Callable[[Any], None]

_CHECKS: tuple[Check, ...] = (
    check_forget_equals_refit,
    check_batching,
    check_order,
    check_forget_learn_restores,
    check_no_history,
    check_bad_input_changes_nothing,
    check_commit,
    check_subjects,
    check_degenerate,
    check_class_vanishes,
    check_weights,
    check_weight_equals_copies,
    check_containers,
    check_threads,
    check_persistence,
    check_release,
    check_traces,
    check_guarantee,
    check_report_and_errors,
    check_histories,
)


def forgetting_checks(estimator: Any) -> Iterator[tuple[str, Check]]:
    """Yield the checks that an estimator must pass, from the plainest to the most searching.

    Parameters
    ----------
    estimator : estimator built on `skunlearn.base.ForgetMixin`
        An instance; checks work on clones of it.

    Yields
    ------
    name : str
        Name of the check; `expected_failed_checks` refers to it.
    check : callable
        To be called with the estimator; raises AssertionError where the promise is broken, and `unittest.SkipTest`
        where it was not made.
    """
    if not isinstance(estimator, BaseEstimator):
        raise TypeError(f"An instance of an estimator is needed. Got {type(estimator).__name__} instead.")
    for check in _CHECKS:
        yield check.__name__, check


def check_forgetting(
    estimator: Any,
    *,
    expected_failed_checks: Mapping[str, str] | None = None,
    on_skip: Literal["warn"] | None = "warn",
    on_fail: Literal["raise", "warn"] | None = "raise",
    callback: Callable[..., None] | None = None,
) -> list[dict[str, Any]]:
    """Check that an estimator forgets as it promises.

    Parameters
    ----------
    estimator : estimator built on `skunlearn.base.ForgetMixin`
        An instance; checks work on clones of it.
    expected_failed_checks : dict of {str: str}, default=None
        Names of checks that fail, with the reason. One that passes all the same counts as a failure.
    on_skip : {"warn"} or None, default="warn"
        Whether to warn about a check that does not apply.
    on_fail : {"raise", "warn"} or None, default="raise"
        What to do about a failure.
    callback : callable, default=None
        Called after every check with the keyword arguments that the result below has as keys.

    Returns
    -------
    results : list of dict
        One a check, with the keys of scikit-learn's `check_estimator`: "estimator", "check_name", "exception",
        "status" ("passed", "failed", "skipped" or "xfail"), "expected_to_fail" and "expected_to_fail_reason".

    Raises
    ------
    AssertionError
        If a check fails, or one passes that was expected to fail.
    ValueError
        If `expected_failed_checks` names a check that does not exist.

    Examples
    --------
    >>> from skunlearn.naive_bayes import BernoulliNB
    >>> from skunlearn.utils.estimator_checks import check_forgetting
    >>> results = check_forgetting(BernoulliNB())  # doctest: +SKIP
    """
    expected = _checked_names(estimator, expected_failed_checks)
    results = []
    for name, check in forgetting_checks(estimator):
        reason = expected.get(name)
        status, error = _run(check, estimator, reason)
        result = {
            "estimator": estimator,
            "check_name": name,
            "exception": error,
            "status": status,
            "expected_to_fail": reason is not None,
            "expected_to_fail_reason": reason,
        }
        results.append(result)
        if callback is not None:
            callback(**result)
        if status == "failed":
            _on_failure(result, on_fail)
        elif status == "skipped" and on_skip == "warn":
            warnings.warn(f"{name} skipped for {estimator!r}: {error}", SkipTestWarning, stacklevel=2)
    return results


def _run(check: Check, estimator: Any, reason: str | None) -> tuple[str, Exception | None]:
    try:
        check(estimator)
    except SkipTest as error:
        return "skipped", error
    except Exception as error:
        return ("failed" if reason is None else "xfail"), error
    if reason is not None:
        return "failed", AssertionError(f"It was expected to fail ({reason}), and passes.")
    return "passed", None


def _on_failure(result: dict[str, Any], on_fail: str | None) -> None:
    error = result["exception"]
    if on_fail == "raise":
        error.add_note(f"{result['check_name']} failed for {result['estimator']!r}.")
        raise error
    if on_fail == "warn":
        warnings.warn(EstimatorCheckFailedWarning(**result), stacklevel=3)


def _checked_names(estimator: Any, expected: Mapping[str, str] | None) -> Mapping[str, str]:
    unknown = set(expected or ()) - {name for name, _ in forgetting_checks(estimator)}
    if unknown:
        raise ValueError(f"expected_failed_checks names checks that do not exist: {', '.join(sorted(unknown))}.")
    return expected or {}


def parametrize_with_forgetting_checks(
    estimators: Sequence[Any],
    expected_failed_checks: Callable[[Any], Mapping[str, str]] | None = None,
) -> Any:
    """Decorate a test of pytest so that it runs once for every estimator and check.

    Parameters
    ----------
    estimators : list of estimators
        Instances built on `skunlearn.base.ForgetMixin`.
    expected_failed_checks : callable, default=None
        Returns for an estimator the names of the checks that fail, with the reason. They are marked as strictly
        expected to fail: one that passes is a failure.

    Returns
    -------
    decorator : pytest.MarkDecorator
        For a test with the arguments `estimator` and `check`.

    Examples
    --------
    >>> from skunlearn.naive_bayes import BernoulliNB
    >>> from skunlearn.utils.estimator_checks import parametrize_with_forgetting_checks
    >>> @parametrize_with_forgetting_checks([BernoulliNB()])
    ... def test_forgetting(estimator, check):
    ...     check(estimator)
    """
    import pytest

    cases = []
    for estimator in estimators:
        expected = _checked_names(estimator, expected_failed_checks and expected_failed_checks(estimator))
        for name, check in forgetting_checks(estimator):
            marks = [pytest.mark.xfail(reason=expected[name], strict=True)] if name in expected else []
            cases.append(pytest.param(estimator, check, id=f"{_short(estimator)}-{name}", marks=marks))
    return pytest.mark.parametrize(("estimator", "check"), cases)


def _short(estimator: Any) -> str:
    return " ".join(repr(estimator).split())
