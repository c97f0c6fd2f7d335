"""Every estimator forgets as it promises."""

import pytest
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from skunlearn.cluster import DBSCAN, BisectingKMeans, KMeans
from skunlearn.decomposition import PCA
from skunlearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from skunlearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from skunlearn.feature_extraction.text import TfidfTransformer
from skunlearn.feature_selection import SelectKBest, VarianceThreshold
from skunlearn.impute import SimpleImputer
from skunlearn.linear_model import (
    HuberRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    RidgeCV,
)
from skunlearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from skunlearn.neighbors import NearestCentroid
from skunlearn.pipeline import Pipeline, make_pipeline
from skunlearn.preprocessing import (
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from skunlearn.sharded import SISAClassifier, SISARegressor
from skunlearn.svm import LinearSVC
from skunlearn.utils.estimator_checks import parametrize_with_forgetting_checks

ESTIMATORS = [
    BernoulliNB(),
    BernoulliNB(alpha=0, binarize=0.5, classes=[-1, 3, 10], class_prior=[0.2, 0.3, 0.5]),
    CategoricalNB(),
    CategoricalNB(alpha=0.5, fit_prior=False, min_categories=8, classes=["a", "b", "c"]),
    LinearDiscriminantAnalysis(),
    LinearDiscriminantAnalysis("eigen", 0.5, [0.2, 0.3, 0.5], 1, True, classes=[-1, 3, 10]),
    QuadraticDiscriminantAnalysis(),
    QuadraticDiscriminantAnalysis(
        solver="eigen", shrinkage=0.5, priors=[0.2, 0.3, 0.5], store_covariance=True, tol=0, classes=[-1, 3, 10]
    ),
    PCA(),
    PCA(0.7, whiten=True, random_state=0),
    ComplementNB(),
    ComplementNB(alpha=0, norm=True, classes=[-1, 3, 10]),
    GaussianNB(),
    GaussianNB(priors=[0.2, 0.3, 0.5], var_smoothing=0.1, classes=[-1, 3, 10]),
    LinearRegression(),
    LinearRegression(fit_intercept=False),
    MultinomialNB(),
    MultinomialNB(alpha=0, classes=[-1, 3, 10], class_prior=[0.2, 0.3, 0.5]),
    NearestCentroid(),
    NearestCentroid(shrink_threshold=0.5, priors=[0.2, 0.3, 0.5], classes=[-1, 3, 10]),
    ExtraTreesClassifier(n_estimators=3, random_state=0),
    ExtraTreesClassifier(
        n_estimators=4,
        criterion="entropy",
        bootstrap=True,
        class_weight="balanced_subsample",
        n_thresholds=3,
        classes=[-1, 3, 10],
        random_state=1,
    ),
    ExtraTreesRegressor(n_estimators=3, random_state=0),
    IsolationForest(n_estimators=3, random_state=0),
    IsolationForest(n_estimators=4, max_samples=5, contamination=0.2, max_features=0.5, random_state=1),
    ExtraTreesRegressor(n_estimators=4, max_samples=0.5, min_samples_leaf=2, n_thresholds=2, random_state=1),
    RandomForestClassifier(n_estimators=3, random_state=0),
    RandomForestClassifier(
        n_estimators=4,
        max_depth=3,
        class_weight="balanced",
        max_samples=0.5,
        n_thresholds=2,
        categorical_features=[0],
        classes=["a", "b", "c"],
        random_state=1,
    ),
    RandomForestRegressor(n_estimators=3, random_state=0),
    RandomForestRegressor(n_estimators=4, bootstrap=False, max_features=1, min_samples_split=5, random_state=1),
    LogisticRegression(),
    LogisticRegression(C=100.0, fit_intercept=False, class_weight="balanced", classes=["a", "b", "c"]),
    PoissonRegressor(),
    HuberRegressor(scale=0.5),
    LinearSVC(),
    Ridge(),
    Ridge(alpha=[1e-3], fit_intercept=False, random_state=0),
    RidgeCV(cv=2),
    RidgeCV([0, 1e-3, 1e3], cv=2, fit_intercept=False, scoring="neg_mean_squared_error"),
    RidgeClassifier(),
    RidgeClassifier(alpha=0, class_weight="balanced", classes=[-1, 3, 10]),
    RidgeClassifier(alpha=1e-3, fit_intercept=False, class_weight={-1: 0.1, 3: 2, 10: 0}, classes=[-1, 3, 10]),
    SISAClassifier(DecisionTreeClassifier(max_depth=4), n_shards=2, random_state=0),
    SISARegressor(DecisionTreeRegressor(max_depth=4), n_shards=2, aggregate="weighted_mean", random_state=0),
    StandardScaler(),
    StandardScaler(exact_statistics=True, with_mean=False),
    MinMaxScaler(),
    MinMaxScaler((-1, 2), clip=True),
    MaxAbsScaler(),
    MaxAbsScaler(clip=True),
    RobustScaler(),
    RobustScaler(exact_statistics=True, with_centering=False, quantile_range=(10.0, 80.0), unit_variance=True),
    QuantileTransformer(),
    QuantileTransformer(n_quantiles=5, subsample=9, output_distribution="normal"),
    KBinsDiscretizer(),
    KBinsDiscretizer(3, encode="ordinal", strategy="uniform"),
    VarianceThreshold(),
    VarianceThreshold(0.001),
    SelectKBest(),
    SelectKBest(k=1),
    OneHotEncoder(),
    OneHotEncoder(drop="if_binary", sparse_output=False, min_frequency=0.2, max_categories=3),
    OrdinalEncoder(),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, min_frequency=3, max_categories=2),
    TfidfTransformer(),
    TfidfTransformer(norm="l1", sublinear_tf=True, smooth_idf=False, exact_statistics=False, random_state=0),
    SimpleImputer(),
    SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True, random_state=0),
    KMeans(),
    KMeans(3, init="random", n_init=2, max_iter=7, tol=0, algorithm="coreset", coreset_size=9),
    DBSCAN(),
    DBSCAN(1.5, min_samples=3, metric="manhattan"),
    BisectingKMeans(3),
    BisectingKMeans(5, init="k-means++", n_init=2, tol=0, bisecting_strategy="largest_cluster"),
    make_pipeline(StandardScaler(random_state=0), LogisticRegression()),
]


FORESTS = (ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor)
#: Why a row of weight k is not k rows, for some.
WEIGHTS_THAT_ARE_NO_COPIES = {
    **dict.fromkeys(
        (GaussianNB, LinearRegression, Ridge, RidgeClassifier, RidgeCV, StandardScaler),
        "rows are multiplied by the root of their weight, which is rounded",
    ),
    **dict.fromkeys(
        (SISAClassifier, SISARegressor), "a row's shard is a hash of its id, so copies are in other shards"
    ),
    KMeans: "a row is drawn under its id, so its copies are other rows",
    **dict.fromkeys((BisectingKMeans, KMeans), "a row is drawn under its id, so its copies are other rows"),
    HuberRegressor: "outliers are told row by row, and copies are rows",
    DBSCAN: "labels and cores are told row by row, and copies are rows",
    IsolationForest: "a weight above 0 counts as one row",
    **dict.fromkeys(FORESTS, "pivots, leaves of at least so many rows and the bootstrap are about rows, not weights"),
}


def expected_failures(estimator):
    """Return which checks cannot pass, and why."""
    if isinstance(estimator, QuantileTransformer):
        return {"check_containers": "its negative values are refused where rows are sparse, as by scikit-learn's"}
    reason = WEIGHTS_THAT_ARE_NO_COPIES.get(type(estimator))
    failures = {} if reason is None else {"check_weight_equals_copies": reason}
    if isinstance(estimator, Pipeline):
        failures["check_containers"] = "the scaler hands float32 on, as scikit-learn's does, and rounds to it"
    if isinstance(estimator, TfidfTransformer) and estimator.sublinear_tf:
        failures["check_containers"] = "logarithms are taken of zeros that are written out, as by scikit-learn's"
    if isinstance(estimator, SISARegressor):
        failures["check_containers"] = "scikit-learn's tree breaks ties otherwise where rows are sparse"
    return failures


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # fewer distinct rows than clusters
@pytest.mark.filterwarnings(
    "ignore:Bins whose width", "ignore:Feature . is constant", "ignore:n_quantiles", "ignore:k=10"
)
@pytest.mark.filterwarnings("ignore:Skipping features without any observed values")  # scikit-learn's own
@parametrize_with_forgetting_checks(ESTIMATORS, expected_failures)
def test_forgetting(estimator, check):
    """The estimator passes the check; the docstring of the check is the claim."""
    check(estimator)
