"""What scikit-learn's fitted estimators keep of rows, by class: found by looking for a marked row in their pickles."""

from typing import Any

__all__ = ["ENTRIES", "ROWS", "what_it_keeps"]

#: Made with scikit-learn 1.9.1 by `python -m tests.retention`.
ROWS = frozenset(
    {
        "AffinityPropagation",
        "DBSCAN",
        "GaussianProcessClassifier",
        "GaussianProcessRegressor",
        "HDBSCAN",
        "Isomap",
        "KNNImputer",
        "KNeighborsClassifier",
        "KNeighborsRegressor",
        "KNeighborsTransformer",
        "KernelDensity",
        "KernelPCA",
        "KernelRidge",
        "LabelPropagation",
        "LabelSpreading",
        "LocalOutlierFactor",
        "LocallyLinearEmbedding",
        "NearestNeighbors",
        "NuSVC",
        "NuSVR",
        "Nystroem",
        "OneHotEncoder",
        "OrdinalEncoder",
        "QuantileTransformer",
        "RadiusNeighborsClassifier",
        "RadiusNeighborsRegressor",
        "RadiusNeighborsTransformer",
        "SVC",
        "SVR",
        "TargetEncoder",
    }
)
ENTRIES = frozenset(
    {
        "AgglomerativeClustering",
        "Birch",
        "BisectingKMeans",
        "ClassicalMDS",
        "EllipticEnvelope",
        "HuberRegressor",
        "KMeans",
        "MDS",
        "MeanShift",
        "MinCovDet",
        "MiniBatchKMeans",
        "OPTICS",
        "PLSRegression",
        "RANSACRegressor",
        "SpectralBiclustering",
        "SpectralClustering",
        "SpectralCoclustering",
        "SpectralEmbedding",
        "TSNE",
    }
)


def what_it_keeps(estimator: Any) -> str:
    """Return in words what a fitted estimator of another library keeps of the rows that it was fitted on."""
    name = type(estimator).__name__
    if not type(estimator).__module__.startswith("sklearn."):
        return "unknown; it may hold rows"
    if name in ROWS:
        return "values of rows, bit for bit"
    if name in ENTRIES:
        return "one entry a row"
    return "statistics of all rows; it may hold values of some"
