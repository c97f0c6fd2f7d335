"""The suite is tested by estimators that are wrong on purpose: a check that rejects none of them proves nothing."""

import pytest
from hypothesis import settings

from skunlearn.base import ForgetMixin
from skunlearn.naive_bayes import BernoulliNB
from skunlearn.utils import estimator_checks as suite

from . import mutants

#: (mutant, the check that must reject it, what it must say)
REJECTED = [
    (mutants.ForgetsNothing(), suite.check_forget_equals_refit, "forgot nothing"),
    (mutants.ForgetsPublicly(), suite.check_forget_equals_refit, "forgot nothing"),
    (mutants.DigestWithoutRows(), suite.check_forget_equals_refit, "digest"),
    (mutants.StaleCache(), suite.check_forget_equals_refit, "predict_proba"),
    (mutants.StaleProjection(), suite.check_forget_equals_refit, "transform"),
    (mutants.FloatSums(), suite.check_forget_learn_restores, "digests differ"),
    (mutants.RandomStream(), suite.check_batching, "digests differ"),
    (mutants.TieByPosition(), suite.check_order, "majority_"),
    (mutants.KeepsTombstones(), suite.check_no_history, "saved bytes"),
    (mutants.KeepsCounter(), suite.check_no_history, "saved bytes"),
    (mutants.KeepsCapacity(), suite.check_no_history, "saved bytes"),
    (mutants.HalfDone(), suite.check_bad_input_changes_nothing, "changed the model"),
    (mutants.IdsInErrors(), suite.check_bad_input_changes_nothing, "text of the error holds ids"),
    (mutants.NeverStale(), suite.check_commit, "interrupted at"),
    (mutants.FirstRowOfSubject(), suite.check_subjects, "rows"),
    (mutants.RefusesLastRow(), suite.check_degenerate, "refused"),
    (mutants.AnswersAsBefore(), suite.check_degenerate, "differ"),
    (mutants.ClassStays(), suite.check_class_vanishes, "still in classes_"),
    (mutants.NeverWarns(), suite.check_class_vanishes, "no ClassVanishedWarning"),
    (mutants.WarnsAfterCommit(), suite.check_class_vanishes, "with the warning as an error, changed"),
    (mutants.CategoryStays(), suite.check_class_vanishes, "n_categories_"),
    (mutants.WeightIgnored(), suite.check_weights, "weights"),
    (mutants.ForgetsUnitWeights(), suite.check_weights, "weights"),
    (mutants.WeightSquared(), suite.check_weight_equals_copies, "copies"),
    (mutants.MemoryOrder(), suite.check_containers, "Fortran"),
    (mutants.JobsShow(), suite.check_threads, "n_jobs"),
    (mutants.NoLock(), suite.check_threads, "thread|rows"),
    (mutants.LoadsDamaged(), suite.check_persistence, "loads without an error"),
    (mutants.SavesNoSubjects(), suite.check_persistence, "digest"),
    (mutants.ReleaseKeepsIds(), suite.check_release, "holds the id"),
    (mutants.ReleaseKeepsKey(), suite.check_release, "holds the key"),
    (mutants.ReleaseIsView(), suite.check_release, "feature_log_prob_ of the release"),
    (mutants.SavesStale(), suite.check_traces, "forgotten row is still in"),
    (mutants.KeepsTombstones(), suite.check_traces, "the id of a forgotten row"),
    (mutants.OverclaimsExact(), suite.check_guarantee, "claims to be exact"),
    (mutants.IdsInErrors(), suite.check_report_and_errors, "holds an id"),
    (mutants.ValuesInErrors(), suite.check_report_and_errors, "a value"),
    (mutants.KeyInRepr(), suite.check_report_and_errors, "the key"),
    (mutants.FloatGram(), suite.check_forget_learn_restores, "digests differ"),
    (mutants.ScaleStays(), suite.check_forget_equals_refit, "against reference_fit"),
    (mutants.BalancedOnce(class_weight="balanced"), suite.check_forget_equals_refit, "coef_"),
    (mutants.ChoosesOnce([1e-3, 0.1, 10, 1e3], cv=2), suite.check_forget_equals_refit, "alpha_"),
    (mutants.FoldsInTurn(cv=2), suite.check_order, "coef_|score_|digest"),
    (mutants.RemembersReturn(), suite.check_histories, "forgot other rows"),
    (mutants.KeepsLabels(2), suite.check_forget_equals_refit, "labels_"),
    (mutants.StartsAtFirstRows(2), suite.check_order, "cluster_centers_"),
]


@pytest.fixture
def _unshrunk():
    """Let Hypothesis find a failure, and not look for the shortest."""
    settings.load_profile("unshrunk")
    yield
    settings.load_profile("ci")


@pytest.mark.parametrize(
    ("mutant", "check", "message"),
    [pytest.param(*case, id=f"{type(case[0]).__name__}-{case[1].__name__}") for case in REJECTED],
)
@pytest.mark.usefixtures("_unshrunk")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_mutant_is_rejected(mutant, check, message):
    """The check that is named for the mutant rejects it, for its own fault."""
    with pytest.raises(AssertionError, match=message):
        check(mutant)


def test_every_check_rejects_a_mutant():
    """No check is vacuous."""
    rejecting = {check.__name__ for _, check, _ in REJECTED}

    assert {name for name, _ in suite.forgetting_checks(BernoulliNB())} == rejecting


def test_every_mutant_is_rejected():
    """No mutant is left over."""
    classes = {cls for cls in vars(mutants).values() if isinstance(cls, type) and issubclass(cls, ForgetMixin)}

    public = {cls for cls in classes if cls.__module__ == mutants.__name__ and not cls.__name__.startswith("_")}

    assert public <= {type(mutant) for mutant, _, _ in REJECTED}
