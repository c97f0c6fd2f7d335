"""The conformance suite: does an estimator forget as it promises?

`check_forgetting` is to `skunlearn.base.ForgetMixin` what scikit-learn's `check_estimator` is to `BaseEstimator`. Each
check is a claim, stated in its docstring; all but `check_histories` work on small tables that are hostile on purpose,
and that one draws whole histories. The suite is tested in its turn by estimators that are wrong on purpose.
"""

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
from skunlearn.utils.estimator_checks._runner import (
    check_forgetting,
    forgetting_checks,
    parametrize_with_forgetting_checks,
)
from skunlearn.utils.estimator_checks._saved import check_persistence, check_release, check_traces
from skunlearn.utils.estimator_checks._sets import (
    check_class_vanishes,
    check_degenerate,
    check_weight_equals_copies,
    check_weights,
)

__all__ = [
    "check_bad_input_changes_nothing",
    "check_batching",
    "check_class_vanishes",
    "check_commit",
    "check_containers",
    "check_degenerate",
    "check_forget_equals_refit",
    "check_forget_learn_restores",
    "check_forgetting",
    "check_guarantee",
    "check_histories",
    "check_no_history",
    "check_order",
    "check_persistence",
    "check_release",
    "check_report_and_errors",
    "check_subjects",
    "check_threads",
    "check_traces",
    "check_weight_equals_copies",
    "check_weights",
    "forgetting_checks",
    "parametrize_with_forgetting_checks",
]
