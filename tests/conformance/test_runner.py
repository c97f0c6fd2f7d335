"""Running the checks: results, expected failures, and what pytest makes of them."""

import warnings

import pytest
from sklearn.exceptions import EstimatorCheckFailedWarning, SkipTestWarning

from skunlearn.naive_bayes import BernoulliNB
from skunlearn.utils import estimator_checks
from skunlearn.utils.estimator_checks import _runner, check_forgetting, parametrize_with_forgetting_checks


def check_passes(estimator):
    """A check that passes."""


def check_fails(estimator):
    """A check that fails."""
    raise AssertionError("broken")


def check_skips(estimator):
    """A check that does not apply."""
    from unittest import SkipTest

    raise SkipTest("not made for it")


@pytest.fixture
def checks(monkeypatch):
    """Let the suite consist of three checks, one of each outcome."""
    monkeypatch.setattr(_runner, "_CHECKS", (check_passes, check_fails, check_skips))


@pytest.mark.usefixtures("checks")
def test_results_say_what_came_of_every_check():
    """One result a check, with scikit-learn's keys; an expected failure is "xfail", with its reason."""
    seen = []

    results = check_forgetting(
        BernoulliNB(),
        expected_failed_checks={"check_fails": "known"},
        on_skip=None,
        callback=lambda **result: seen.append(result["check_name"]),
    )

    assert [result["status"] for result in results] == ["passed", "xfail", "skipped"]
    assert results[1]["expected_to_fail_reason"] == "known"
    assert seen == ["check_passes", "check_fails", "check_skips"]


@pytest.mark.usefixtures("checks")
def test_failure_raises_warns_or_is_returned():
    """`on_fail` says what to do about a failure."""
    with pytest.raises(AssertionError, match="broken"):
        check_forgetting(BernoulliNB(), on_skip=None)
    with pytest.warns(EstimatorCheckFailedWarning, match="broken"):
        check_forgetting(BernoulliNB(), on_skip=None, on_fail="warn")
    with pytest.warns(SkipTestWarning, match="not made for it"):
        results = check_forgetting(BernoulliNB(), on_fail=None)
    assert results[1]["status"] == "failed"


@pytest.mark.usefixtures("checks")
def test_expected_failure_is_strict():
    """A check that passes although it was expected to fail is a failure; one that does not exist is an error."""
    with pytest.raises(AssertionError, match=r"expected to fail \(stale\)"):
        check_forgetting(BernoulliNB(), expected_failed_checks={"check_passes": "stale"})
    with pytest.raises(ValueError, match="check_nothing"):
        check_forgetting(BernoulliNB(), expected_failed_checks={"check_nothing": "?"})


@pytest.mark.usefixtures("checks")
def test_parametrization_names_estimator_and_check():
    """Ids are readable, and expected failures strict."""
    mark = parametrize_with_forgetting_checks([BernoulliNB(alpha=2)], lambda _: {"check_fails": "known"})

    cases = mark.args[1]

    assert [case.id for case in cases][:2] == ["BernoulliNB(alpha=2)-check_passes", "BernoulliNB(alpha=2)-check_fails"]
    assert [dict(case.marks[0].kwargs) for case in cases if case.marks] == [{"reason": "known", "strict": True}]


def test_class_instead_of_instance_is_refused():
    """Checks work on clones of an instance."""
    with pytest.raises(TypeError, match="instance"):
        check_forgetting(BernoulliNB)


def test_every_check_is_public():
    """What the suite runs can be imported by name."""
    for name, check in estimator_checks.forgetting_checks(BernoulliNB()):
        assert getattr(estimator_checks, name) is check
        assert name in estimator_checks.__all__


def test_missing_hypothesis_names_the_extra(monkeypatch):
    """Without Hypothesis the error says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "hypothesis", None)

    with warnings.catch_warnings(), pytest.raises(ImportError, match=r"scikit-unlearn\[checks\]"):
        estimator_checks.check_histories(BernoulliNB())
