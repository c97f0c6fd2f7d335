"""Every estimator is a scikit-learn estimator."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from skunlearn.naive_bayes import BernoulliNB, CategoricalNB

ESTIMATORS = [
    BernoulliNB(),
    BernoulliNB(alpha=0.1, binarize=0.5, fit_prior=False),
    CategoricalNB(),
    CategoricalNB(alpha=0.5, min_categories=30, fit_prior=False),
]


#: Why a check of scikit-learn's cannot pass.
EXPECTED_FAILURES = {
    "check_fit_score_takes_y": "calls partial_fit without sample_ids on a fitted model, where rows could not be told "
    "apart by the ids under which they are to be forgotten",
}


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=lambda estimator: EXPECTED_FAILURES)
def test_sklearn(estimator, check):
    """The estimator passes scikit-learn's own check; the one exception is strict."""
    check(estimator)
