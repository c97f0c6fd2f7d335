"""What there is to run. To add an estimator, add a family; to add a table, name it there."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from harness import datasets
from harness.cadences import measure_cadences
from harness.datasets import Table
from harness.forgetting import Say, Sizes, measure_forgetting
from harness.gram import measure_gram
from harness.id_index import measure_ids
from harness.optimum import measure_optimum, measure_pass
from harness.overhead import measure_overhead
from harness.pipelines import measure_pipeline
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
from skunlearn.feature_selection import SelectKBest, VarianceThreshold
from skunlearn.impute import SimpleImputer
from skunlearn.linear_model import (
    GammaRegressor,
    HuberRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    RidgeCV,
    TweedieRegressor,
)
from skunlearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from skunlearn.neighbors import NearestCentroid
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
from skunlearn.svm import LinearSVC

__all__ = ["CASES", "N_CLUSTERS", "Case", "chosen"]


@dataclass(frozen=True)
class Case:
    """One process: a name, the table it needs, and what measures it.

    `name` is "family/variant"; results of a family share a file. `measure` returns the body of a record.
    """

    name: str
    table: str
    measure: Callable[[Sizes, Say], dict[str, Any]]
    is_quick: bool = False

    @property
    def family(self) -> str:
        """What stands before the slash."""
        return self.name.partition("/")[0]


#: Clusters to look for: as many as there are classes, where there are classes; else ten.
N_CLUSTERS = {"covtype_15k": 7, "letter": 26}
#: Distances at which a table has clusters and noise.
EPS = {"digits": 22.0, "covtype_15k": 0.7, "letter": 1.5, "nycflights13": 0.5}


def _bernoulli(name: str) -> tuple[Any, Table]:
    """Return an estimator for a table: one-hot tables at the default threshold, numbers at half their range."""
    binarize = {"digits": 7.5}.get(name, 3.5 if name.startswith("generated") else 0.0)
    return BernoulliNB(binarize=binarize), datasets.binary(name)


def _categorical(name: str) -> tuple[Any, Table]:
    """Return an estimator that knows the categories of all rows, those held out included."""
    table = datasets.categorical(name)
    return CategoricalNB(min_categories=table.X.max(axis=0) + 1), table


def _complement(name: str) -> tuple[Any, Table]:
    return ComplementNB(), datasets.binary(name)


def _gaussian(name: str) -> tuple[Any, Table]:
    return GaussianNB(), datasets.binary(name)


def _multinomial(name: str) -> tuple[Any, Table]:
    return MultinomialNB(), datasets.binary(name)


def _nearest_centroid(name: str) -> tuple[Any, Table]:
    return NearestCentroid(), datasets.binary(name)


def _standard_scaler(name: str) -> tuple[Any, Table]:
    return StandardScaler(random_state=0), datasets.regression(name)


def _min_max_scaler(name: str) -> tuple[Any, Table]:
    return MinMaxScaler(), datasets.regression(name)


def _max_abs_scaler(name: str) -> tuple[Any, Table]:
    return MaxAbsScaler(), datasets.regression(name)


def _robust_scaler(name: str) -> tuple[Any, Table]:
    return RobustScaler(random_state=0), datasets.regression(name)


def _quantile_transformer(name: str) -> tuple[Any, Table]:
    return QuantileTransformer(n_quantiles=200, random_state=0), datasets.regression(name)


def _k_bins_discretizer(name: str) -> tuple[Any, Table]:
    return KBinsDiscretizer(encode="ordinal", random_state=0), datasets.regression(name)


def _variance_threshold(name: str) -> tuple[Any, Table]:
    return VarianceThreshold(), datasets.regression(name)


def _select_k_best(name: str) -> tuple[Any, Table]:
    return SelectKBest(k=5), datasets.labelled(name)


def _one_hot_encoder(name: str) -> tuple[Any, Table]:
    return OneHotEncoder(handle_unknown="ignore"), datasets.categorical(name)


def _ordinal_encoder(name: str) -> tuple[Any, Table]:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), datasets.categorical(name)


def _simple_imputer(name: str) -> tuple[Any, Table]:
    return SimpleImputer(random_state=0), datasets.regression(name)


def _extra_trees(name: str) -> tuple[Any, Table]:
    return ExtraTreesClassifier(random_state=0), datasets.ordinal(name)


def _linear_regression(name: str) -> tuple[Any, Table]:
    return LinearRegression(), datasets.regression(name)


def _random_forest(name: str) -> tuple[Any, Table]:
    return RandomForestClassifier(random_state=0), datasets.ordinal(name)


def _random_forest_of_few_rows(name: str) -> tuple[Any, Table]:
    """Return the forest that forgets fastest: each row is in a tenth of the trees."""
    return RandomForestClassifier(max_samples=0.1, max_depth=15, random_state=0), datasets.ordinal(name)


def _random_forest_regressor(name: str) -> tuple[Any, Table]:
    return RandomForestRegressor(random_state=0), datasets.regression(name)


def _isolation_forest(name: str) -> tuple[Any, Table]:
    return IsolationForest(random_state=0), datasets.clustering(name)


def _logistic_regression(name: str) -> tuple[Any, Table]:
    return LogisticRegression(), datasets.classification(name)


def _poisson_regressor(name: str) -> tuple[Any, Table]:
    return PoissonRegressor(), datasets.regression(name)


def _gamma_regressor(name: str) -> tuple[Any, Table]:
    return GammaRegressor(), datasets.regression(name)


def _tweedie_regressor(name: str) -> tuple[Any, Table]:
    return TweedieRegressor(power=1.5), datasets.regression(name)


def _huber_regressor(name: str) -> tuple[Any, Table]:
    return HuberRegressor(scale=1.0), datasets.regression(name)


def _linear_svc(name: str) -> tuple[Any, Table]:
    return LinearSVC(), datasets.classification(name)


def _ridge(name: str) -> tuple[Any, Table]:
    return Ridge(), datasets.regression(name)


def _linear_discriminant_analysis(name: str) -> tuple[Any, Table]:
    return LinearDiscriminantAnalysis(), datasets.labelled(name)


def _quadratic_discriminant_analysis(name: str) -> tuple[Any, Table]:
    """Return an estimator for a table: pixels of digits that never vary ask for a regularised covariance."""
    return QuadraticDiscriminantAnalysis(reg_param=0.1 if name == "digits" else 0.0), datasets.labelled(name)


def _pca(name: str) -> tuple[Any, Table]:
    return PCA(10, svd_solver="covariance_eigh"), datasets.labelled(name)


def _ridge_cv(name: str) -> tuple[Any, Table]:
    return RidgeCV(cv=5, random_state=0), datasets.regression(name)


def _ridge_classifier(name: str) -> tuple[Any, Table]:
    return RidgeClassifier(), datasets.binary(name)


def _kmeans(name: str) -> tuple[Any, Table]:
    return KMeans(N_CLUSTERS.get(name, 10), random_state=0), datasets.clustering(name)


def _bisecting_k_means(name: str) -> tuple[Any, Table]:
    return BisectingKMeans(N_CLUSTERS.get(name, 10), random_state=0), datasets.clustering(name)


def _dbscan(name: str) -> tuple[Any, Table]:
    return DBSCAN(EPS[name]), datasets.clustering(name)


def _forgetting(make: Callable[[str], tuple[Any, Table]], name: str, sizes: Sizes, say: Say) -> dict[str, Any]:
    return measure_forgetting(*make(name), sizes, say)


def _cadences(estimator: Any, make: Callable[[str], Table], name: str, sizes: Sizes, say: Say) -> dict[str, Any]:
    return measure_cadences(estimator, make(name), sizes, say)


def _gram(name: str, sizes: Sizes, say: Say) -> dict[str, Any]:
    return measure_gram(*_linear_regression(name), sizes, say)


def _optimum(make: Callable[[str], Table], name: str, sizes: Sizes, say: Say) -> dict[str, Any]:
    return measure_optimum(LogisticRegression(), make(name), sizes, say)


def _pass(make: Callable[[str], Table], name: str, sizes: Sizes, say: Say) -> dict[str, Any]:
    return measure_pass(make(name), sizes, say)


def _overhead(make: Callable[[str], tuple[Any, Table]], name: str, sizes: Sizes, say: Say) -> dict[str, Any]:
    return measure_overhead(*make(name), sizes, say)


_GENERATED = ("generated_1e4", "generated_1e5", "generated_1e6")
_QUICK_TABLES = ("diabetes", "digits", "generated_1e4")
_FORESTS = ("digits", "online_shoppers", "adult", "generated_1e4", "generated_1e5")
_REGRESSION = ("diabetes", "california_housing", "ccpp", "bike_hour", *_GENERATED, "normal_1e5", "onehot_1e5")
_LABELLED = ("digits", *_GENERATED)
#: Family: what makes its estimator and table, and its tables.
_FORGETTING = {
    "bernoulli_nb": (_bernoulli, ("digits", "mushroom", "a9a", "adult", "kddcup99_10pct", *_GENERATED)),
    "categorical_nb": (_categorical, ("digits", "mushroom", "adult", "kddcup99_10pct", *_GENERATED)),
    "complement_nb": (_complement, ("digits", "a9a", "kddcup99_10pct", *_GENERATED)),
    "gaussian_nb": (_gaussian, ("digits", *_GENERATED)),
    "multinomial_nb": (_multinomial, ("digits", "a9a", "kddcup99_10pct", *_GENERATED)),
    "nearest_centroid": (_nearest_centroid, ("digits", *_GENERATED)),
    "standard_scaler": (_standard_scaler, _REGRESSION),
    "min_max_scaler": (_min_max_scaler, _REGRESSION),
    "max_abs_scaler": (_max_abs_scaler, _REGRESSION),
    "robust_scaler": (_robust_scaler, _REGRESSION),
    "quantile_transformer": (_quantile_transformer, _REGRESSION),
    "k_bins_discretizer": (_k_bins_discretizer, ("california_housing", "ccpp", "normal_1e5")),
    "variance_threshold": (_variance_threshold, _REGRESSION),
    "select_k_best": (_select_k_best, _GENERATED),
    "one_hot_encoder": (_one_hot_encoder, ("digits", "mushroom", "adult", "kddcup99_10pct", *_GENERATED[:2])),
    "ordinal_encoder": (_ordinal_encoder, ("digits", "mushroom", "adult", "kddcup99_10pct", *_GENERATED[:2])),
    "simple_imputer": (_simple_imputer, _REGRESSION),
    "extra_trees_classifier": (_extra_trees, _FORESTS),
    "linear_regression": (_linear_regression, _REGRESSION),
    "random_forest_classifier": (_random_forest, _FORESTS),
    "random_forest_classifier_share": (_random_forest_of_few_rows, _FORESTS),
    "random_forest_regressor": (_random_forest_regressor, ("diabetes", "california_housing", "ccpp", "bike_hour")),
    "isolation_forest": (_isolation_forest, ("digits", "covtype_15k", "kddcup99_10pct", *_GENERATED)),
    "logistic_regression": (_logistic_regression, ("digits", "mushroom", "a9a", "adult", *_GENERATED[:2])),
    "poisson_regressor": (_poisson_regressor, ("diabetes", "california_housing", "ccpp", "bike_hour")),
    "gamma_regressor": (_gamma_regressor, ("diabetes", "california_housing", "ccpp", "bike_hour")),
    "tweedie_regressor": (_tweedie_regressor, ("diabetes", "california_housing", "ccpp", "bike_hour")),
    "huber_regressor": (_huber_regressor, ("diabetes", "california_housing", "ccpp", "bike_hour")),
    "linear_svc": (_linear_svc, ("digits", "mushroom", "a9a", "adult", *_GENERATED[:2])),
    "ridge": (_ridge, _REGRESSION),
    "linear_discriminant_analysis": (_linear_discriminant_analysis, _LABELLED),
    "quadratic_discriminant_analysis": (_quadratic_discriminant_analysis, _LABELLED),
    "pca": (_pca, _LABELLED),
    "ridge_cv": (_ridge_cv, _REGRESSION),
    "ridge_classifier": (_ridge_classifier, ("digits", "a9a", "adult", *_GENERATED)),
    "bisecting_k_means": (_bisecting_k_means, ("digits", "covtype_15k", "letter")),
    "dbscan": (_dbscan, ("digits", "covtype_15k", "letter", "nycflights13")),
    "kmeans": (_kmeans, ("digits", "covtype_15k", "letter", "kddcup99_10pct", "nycflights13", *_GENERATED)),
}
#: Forests whose work is timed by cadence; the first at scikit-learn's defaults.
_CADENCE_CLASSIFIERS = {
    "defaults": RandomForestClassifier(random_state=0),
    "depth_10": RandomForestClassifier(max_depth=10, random_state=0),
    "share": RandomForestClassifier(max_samples=0.1, max_depth=15, random_state=0),
    "extra_trees": ExtraTreesClassifier(random_state=0),
}
_CADENCE_REGRESSORS = {
    "regressor": RandomForestRegressor(random_state=0),
    "extra_trees_regressor": ExtraTreesRegressor(random_state=0),
}
_CADENCE_TABLES = ("digits", "online_shoppers", "adult", "diabetes130", "kddcup99_10pct")
#: Variant, forest, what makes the table, table.
_CADENCES = (
    *((f"{v}-{name}", f, datasets.ordinal, name) for v, f in _CADENCE_CLASSIFIERS.items() for name in _CADENCE_TABLES),
    *((f"{v}-late_flights", f, datasets.late_flights, "nycflights13") for v, f in _CADENCE_CLASSIFIERS.items()),
    *((f"{v}-nycflights13", f, datasets.ordinal, "nycflights13") for v, f in _CADENCE_REGRESSORS.items()),
)
#: Model behind the preprocessing, table.
_PIPELINES = {
    "logistic-adult": (LogisticRegression(), "adult"),
    "forest-adult": (RandomForestClassifier(random_state=0), "adult"),
    "ridge-adult": (RidgeClassifier(), "adult"),
    "k_means-adult": (KMeans(random_state=0), "adult"),
    "logistic-diabetes130": (LogisticRegression(), "diabetes130"),
    "ridge-nycflights13": (Ridge(), "nycflights13"),
}
#: Variant, table and what makes it, of proved optima.
_OPTIMA = (
    ("generated_1e4", "generated_1e4", datasets.classification),
    ("adult", "adult", datasets.binary),
    ("adult_csr", "adult", datasets.sparse_binary),
    ("mnist_even", "mnist", datasets.even_or_odd),
)
#: Families whose core reads the store, so that its share of a call cannot be timed beside it.
_READ_THE_STORE = ("bisecting_k_means", "dbscan", "kmeans")

CASES = (
    *(
        Case(f"{family}/{name}", name, partial(_forgetting, make, name), is_quick=name in _QUICK_TABLES)
        for family, (make, names) in _FORGETTING.items()
        for name in names
    ),
    *(
        Case(f"forest_cadence/{variant}", name, partial(_cadences, forest, make, name), is_quick=name == "digits")
        for variant, forest, make, name in _CADENCES
    ),
    *(
        Case(f"pipeline/{variant}", name, partial(measure_pipeline, estimator, name))
        for variant, (estimator, name) in _PIPELINES.items()
    ),
    *(Case(f"ids/{kind}", "ids", partial(measure_ids, kind), is_quick=True) for kind in ("range", "int64", "str")),
    *(
        Case(f"gram/{name}", name, partial(_gram, name), is_quick=name in _QUICK_TABLES)
        for name in ("generated_1e4", "generated_1e5", "normal_1e5", "onehot_1e5")
    ),
    *(
        Case(f"optimum/{variant}", name, partial(_optimum, make, name), is_quick=name in _QUICK_TABLES)
        for variant, name, make in _OPTIMA
    ),
    *(
        Case(f"pass/{name}", name, partial(_pass, make, name), is_quick=name in _QUICK_TABLES)
        for name, make in (
            ("generated_1e4", datasets.classification),
            ("normal_1e5", datasets.regression),
            ("adult", datasets.binary),
            ("mnist", datasets.even_or_odd),
        )
    ),
    *(
        Case(f"overhead/{family}", "generated_1e4", partial(_overhead, make, "generated_1e4"), is_quick=True)
        for family, (make, _) in _FORGETTING.items()
        if family not in _READ_THE_STORE
    ),
    *(
        Case(f"overhead/{family}_{table}", table, partial(_overhead, make, table))
        for family, make in (("linear_regression", _linear_regression), ("ridge", _ridge))
        for table in ("normal_1e5", "onehot_1e5")
    ),
)


def chosen(names: list[str], *, quick: bool) -> list[Case]:
    """Return the cases that are named, by family or in full; all of them (or all quick ones) by default.

    Raises
    ------
    SystemExit
        If a name is no case.
    """
    unknown = [n for n in names if not any(n in (case.name, case.family) for case in CASES)]
    if unknown:
        known = ", ".join(dict.fromkeys(case.family for case in CASES))
        raise SystemExit(f"No case {', '.join(unknown)}. There are {known}; run.py --list names all of them.")
    return [
        case for case in CASES if (case.is_quick or not quick) and (not names or {case.name, case.family} & {*names})
    ]
