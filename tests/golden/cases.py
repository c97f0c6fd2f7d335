"""Models whose digests are written down: what they are may only change on purpose."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.feature_selection import chi2, f_regression

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


def golden_models() -> Iterator[tuple[str, Any]]:
    """Yield fitted models that have learned and forgotten, on tables made by integer arithmetic alone."""
    yield from _class_sums_and_forests()
    yield from _linear_models()
    yield from _forest_regressors()
    yield from _kmeans()
    yield from _numeric_transformers()
    yield from _encoders_and_imputers()
    yield from _dbscan()
    yield from _bisecting_k_means()
    yield from _forests_beyond_defaults()


def _class_sums_and_forests() -> Iterator[tuple[str, Any]]:
    X, y, weight, subjects = _table(60, 5)
    int_ids = np.arange(60) * 7919 - 100_000
    str_ids = [f"id-{i}é" for i in range(60)]
    for Estimator, params in _CLASSIFIERS:
        name = Estimator.__name__
        yield (
            f"{name}, dense, int64 ids",
            Estimator(**params).fit(X, y, sample_ids=int_ids).partial_forget(int_ids[3:9]),
        )
        yield (
            f"{name}, float32, weights, subjects",
            Estimator(**params)
            .fit(X.astype(np.float32), y, weight, sample_ids=str_ids, subject_ids=subjects)
            .partial_forget(subject_ids=[4, 7]),
        )
        yield (
            f"{name}, {'dense' if Estimator is GaussianNB else 'csr'}, declared str classes",
            Estimator(**params, classes=["a", "b", "c", "d"])
            .fit(X if Estimator is GaussianNB else sp.csr_array(X), np.array(list("abc"))[y], weight)
            .partial_forget(np.arange(0, 60, 5)),
        )
    for Estimator in (LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis, PCA):
        name, target = Estimator.__name__, () if Estimator is PCA else (y,)
        yield (
            f"{name}, dense, int64 ids",
            Estimator().fit(X, *target, sample_ids=int_ids).partial_forget(int_ids[3:9]),
        )
        yield (
            f"{name}, float32, subjects",
            Estimator()
            .fit(X.astype(np.float32), *target, sample_ids=str_ids, subject_ids=subjects)
            .partial_forget(subject_ids=[4, 7]),
        )
    yield "PCA, csr", PCA(2).fit(sp.csr_array(X)).partial_forget(np.arange(0, 60, 5))
    yield (
        "NearestCentroid, csr, str ids",
        NearestCentroid(shrink_threshold=0.5).fit(sp.csr_array(X), y, sample_ids=str_ids).partial_forget(str_ids[3:9]),
    )
    gaps = np.where(X == 3, np.nan, X)
    for exact_statistics in (False, True):
        yield (
            f"StandardScaler, {'exact' if exact_statistics else 'lattice'}, missing values, weights",
            StandardScaler(exact_statistics=exact_statistics, random_state=0)
            .fit(gaps, sample_weight=weight, sample_ids=int_ids)
            .partial_forget(int_ids[::7]),
        )


def _linear_models() -> Iterator[tuple[str, Any]]:
    X, labels, weight, subjects = _table(60, 5)
    weight = np.sqrt(np.sqrt(weight))  # correctly rounded everywhere
    X = X / 3 + np.ldexp(X[:, ::-1], -30)
    y = np.column_stack([X[:, 0] - X[:, 1], X[:, 2] / 7])
    for Estimator, params, targets in (
        (LinearRegression, {}, y),
        (Ridge, {"alpha": 0.1}, y),
        (RidgeCV, {"cv": 3, "random_state": 5}, y),
        (PoissonRegressor, {"alpha": 0.5}, np.abs(y[:, 0])),
        (GammaRegressor, {"alpha": 0.5}, np.abs(y[:, 0]) + 0.5),
        (TweedieRegressor, {"power": 1.5, "alpha": 0.5}, np.abs(y[:, 0])),
        (HuberRegressor, {"scale": 1.0}, y[:, 0]),
        (RidgeClassifier, {}, labels),
        (RidgeClassifier, {"class_weight": "balanced"}, labels),
    ):
        name = f"{Estimator.__name__}{params or ''}"
        yield f"{name}, dense, int64 ids", Estimator(**params).fit(X, targets).partial_forget(np.arange(3, 9))
        yield (
            f"{name}, float32, weights, subjects",
            Estimator(**params)
            .fit(X.astype(np.float32), targets, weight, subject_ids=subjects)
            .partial_forget(subject_ids=[4, 7]),
        )
        yield (
            f"{name}, csr, no intercept",
            Estimator(**params, fit_intercept=False)
            .fit(sp.csr_array(X), targets, weight)
            .partial_forget(np.arange(0, 60, 5)),
        )


def _forest_regressors() -> Iterator[tuple[str, Any]]:
    X, y, weight, subjects = _table(60, 5)
    str_ids = [f"id-{i}é" for i in range(60)]
    for Regressor in (RandomForestRegressor, ExtraTreesRegressor):
        yield (
            f"{Regressor.__name__}, missing values, weights, subjects",
            Regressor(n_estimators=5, random_state=0)
            .fit(np.where(X == 7, np.nan, X), X[:, 0] * 0.375 + y, weight, sample_ids=str_ids, subject_ids=subjects)
            .partial_forget(subject_ids=[4, 7]),
        )


_CLASSIFIERS: tuple[tuple[Any, dict[str, Any]], ...] = (
    (BernoulliNB, {"binarize": 2.5}),
    (CategoricalNB, {"min_categories": 9}),
    (ComplementNB, {"norm": True}),
    (GaussianNB, {"var_smoothing": 0.25}),
    (LogisticRegression, {"C": 0.5}),
    (LinearSVC, {"C": 0.5}),
    (MultinomialNB, {"alpha": 0.5}),
    (RandomForestClassifier, {"n_estimators": 5, "random_state": 0}),
    (ExtraTreesClassifier, {"n_estimators": 5, "random_state": 0, "max_samples": 0.5, "n_thresholds": 3}),
)


def _kmeans() -> Iterator[tuple[str, Any]]:
    X, _, weight, subjects = _table(60, 5)
    str_ids = [f"id-{i}é" for i in range(60)]
    yield "KMeans, dense, defaults", KMeans(4, random_state=0).fit(X).partial_forget([1, 30, 59])
    yield (
        "KMeans, float32, weights, subjects, three random starts",
        KMeans(5, init="random", n_init=3, tol=0, random_state=1)
        .fit(X.astype(np.float32), None, weight, sample_ids=str_ids, subject_ids=subjects)
        .partial_forget(subject_ids=[4, 7]),
    )
    yield (
        "KMeans, csr, start given, empty clusters",
        KMeans(6, init=np.vstack([X[:3], X[:2], X[:1] + 900]), random_state=2)
        .fit(sp.csr_array(X))
        .partial_forget(np.arange(0, 60, 5)),
    )


def _numeric_transformers() -> Iterator[tuple[str, Any]]:
    X, y, _, subjects = _table(60, 5)
    gaps = np.where(X == 3, np.nan, X)
    ids = np.arange(60) * 7919 - 100_000
    for model in (
        MinMaxScaler((-1, 3), clip=True),
        MaxAbsScaler(),
        RobustScaler(random_state=0),
        QuantileTransformer(n_quantiles=9, subsample=20, random_state=0),
        VarianceThreshold(4.5),
    ):
        name = type(model).__name__
        yield f"{name}, missing values", model.fit(gaps, sample_ids=ids).partial_forget(ids[::7])
    for model in (
        MaxAbsScaler(),
        RobustScaler(with_centering=False, random_state=0),
        QuantileTransformer(n_quantiles=9, random_state=0),
        VarianceThreshold(4.5),
    ):
        name = type(model).__name__
        yield f"{name}, csr, float32", model.fit(sp.csr_array(X.astype(np.float32))).partial_forget(np.arange(0, 60, 5))
    for strategy in ("quantile", "uniform"):
        yield (
            f"KBinsDiscretizer, {strategy}, weights, subjects",
            KBinsDiscretizer(3, strategy=strategy, random_state=0)
            .fit(X, sample_weight=1.0 + np.arange(60) % 5 / 2, sample_ids=ids, subject_ids=subjects)
            .partial_forget(subject_ids=[4, 7]),
        )
    yield (
        "KBinsDiscretizer, sample",
        KBinsDiscretizer(3, subsample=20, random_state=0).fit(X).partial_forget(np.arange(0, 60, 5)),
    )
    for name, model, target in (
        ("f_classif", SelectKBest(k=2), np.array(list("abc"))[y]),
        ("chi2", SelectKBest(chi2, k=2), y),
        ("f_regression", SelectKBest(f_regression, k=2), X[:, 0] * 0.375 + y),
    ):
        yield f"SelectKBest, {name}", model.fit(X, target, sample_ids=ids).partial_forget(ids[3:9])


def _encoders_and_imputers() -> Iterator[tuple[str, Any]]:
    X, _, _, subjects = _table(60, 5)
    ids = np.arange(60) * 7919 - 100_000
    words = np.array(["ärger", "b", None, 3.5, True, 2], dtype=object)[X.astype(int) % 6]
    gaps = np.where(X == 3, np.nan, X)
    text = np.where(X[:, :3] % 2, "odd", None).astype(object)
    yield "OneHotEncoder, numbers", OneHotEncoder(drop="if_binary").fit(X, sample_ids=ids).partial_forget(ids[::7])
    yield (
        "OneHotEncoder, objects, infrequent, subjects",
        OneHotEncoder(max_categories=3, min_frequency=0.2, sparse_output=False, dtype=np.float32)
        .fit(text, sample_ids=ids, subject_ids=subjects)
        .partial_forget(subject_ids=[4, 7]),
    )
    yield (
        "OrdinalEncoder, integers, NaN, unknown values",
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, min_frequency=3)
        .fit(gaps, sample_ids=ids)
        .partial_forget(ids[3:9]),
    )
    for strategy, rows in (("mean", gaps), ("median", gaps), ("most_frequent", words), ("constant", X.astype(int))):
        yield (
            f"SimpleImputer, {strategy}",
            SimpleImputer(
                strategy=strategy,
                missing_values=None if strategy == "most_frequent" else 3 if strategy == "constant" else np.nan,
                add_indicator=True,
                random_state=0,
            )
            .fit(rows, sample_ids=ids)
            .partial_forget(ids[::7]),
        )


def _dbscan() -> Iterator[tuple[str, Any]]:
    X, _, weight, subjects = _table(60, 5)
    str_ids = [f"id-{i}é" for i in range(60)]
    yield "DBSCAN, dense", DBSCAN(3.5, min_samples=3).fit(X).partial_forget([1, 30, 59])
    yield (
        "DBSCAN, float32, weights, subjects, Manhattan",
        DBSCAN(6.0, min_samples=2, metric="manhattan")
        .fit(X.astype(np.float32), None, weight, sample_ids=str_ids, subject_ids=subjects)
        .partial_forget(subject_ids=[4, 7]),
    )
    yield (
        "DBSCAN, csr, Chebyshev",
        DBSCAN(2.0, min_samples=3, metric="chebyshev").fit(sp.csr_array(X)).partial_forget(np.arange(0, 60, 5)),
    )


def _bisecting_k_means() -> Iterator[tuple[str, Any]]:
    X, _, weight, subjects = _table(60, 5)
    yield "BisectingKMeans, dense", BisectingKMeans(5, random_state=0).fit(X).partial_forget([1, 30, 59])
    yield (
        "BisectingKMeans, float32, weights, subjects, by size",
        BisectingKMeans(4, init="k-means++", n_init=2, random_state=1, bisecting_strategy="largest_cluster")
        .fit(X.astype(np.float32), None, weight, subject_ids=subjects)
        .partial_forget(subject_ids=[4, 7]),
    )


def _forests_beyond_defaults() -> Iterator[tuple[str, Any]]:
    X, y, weight, subjects = _table(60, 5)
    X = np.where(X == 7, np.nan, X)
    for Classifier in (RandomForestClassifier, ExtraTreesClassifier):
        for class_weight in ("balanced", "balanced_subsample"):
            yield (
                f"{Classifier.__name__}, {class_weight}, categories, missing values",
                Classifier(
                    n_estimators=5,
                    class_weight=class_weight,
                    categorical_features=[0, 3],
                    n_thresholds=3,
                    bootstrap=True,
                    random_state=0,
                )
                .fit(X, np.minimum(y, 1), weight, subject_ids=subjects)
                .partial_forget(subject_ids=[4, 7]),
            )
    yield (
        "IsolationForest, missing values, subsets of features, subjects",
        IsolationForest(n_estimators=5, max_samples=20, max_features=3, contamination=0.1, random_state=0)
        .fit(X, subject_ids=subjects)
        .partial_forget(subject_ids=[4, 7]),
    )


def _table(n: int, d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    state = np.arange(1, n * (d + 2) + 1, dtype=np.uint64) * np.uint64(6364136223846793005)
    words = ((state ^ (state >> np.uint64(29))) >> np.uint64(33)).astype(np.int64).reshape(n, d + 2)
    weight = np.ldexp(1.0 + words[:, d] % 1000 / 1024.0, (words[:, d] % 61 - 30).astype(np.int32))
    return (words[:, :d] % 8).astype(float), words[:, d + 1] % 3, weight, np.arange(n) // 4
