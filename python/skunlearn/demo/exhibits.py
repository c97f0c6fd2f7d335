"""What the demo shows. To add an estimator, add a line to `EXHIBITS`."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.preprocessing import scale
from sklearn.svm import SVC

from skunlearn.base import ForgetMixin
from skunlearn.cluster import DBSCAN, BisectingKMeans, KMeans
from skunlearn.decomposition import PCA
from skunlearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from skunlearn.ensemble import ExtraTreesClassifier, IsolationForest, RandomForestClassifier, RandomForestRegressor
from skunlearn.feature_extraction.text import TfidfTransformer
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
from skunlearn.pipeline import make_pipeline
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
from skunlearn.sharded import SISAClassifier
from skunlearn.svm import LinearSVC

__all__ = ["EXHIBITS", "Exhibit"]

Table = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One line of the demo.

    Parameters
    ----------
    model : estimator of this library
        Unfitted. Where it makes random choices, `random_state` is an int or a `Key`: a refit must have the same key.
    data : str
        Name of the table.
    load : callable
        Returns X and y.
    n_single : int or None
        Rows to forget one by one; None stands for a tenth of them.
    n_refits : int
        How often it is refitted, for the median.
    """

    model: ForgetMixin
    data: str
    load: Callable[[], Table]
    n_single: int | None = None
    n_refits: int = 15


def digits() -> Table:
    """Return scikit-learn's digits: 64 pixels of values 0 to 16, ten classes."""
    X, y = load_digits(return_X_y=True)
    return X, y


def generated() -> Table:
    """Return a table of 200,000 rows and 30 features of values 0 to 8, two classes."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200_000)
    X = rng.integers(0, 8, (len(y), 30)) + y[:, None] * rng.integers(0, 2, (len(y), 30))
    return X.astype(np.float64), y


def diabetes() -> Table:
    """Return scikit-learn's diabetes: ten measurements of 442 patients, and how the disease went on."""
    X, y = load_diabetes(return_X_y=True)
    return X, y


def breast_cancer() -> Table:
    """Return scikit-learn's breast cancer: 30 standardised measurements of 569 tumours, and which were malignant."""
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X), y


def generated_numbers() -> Table:
    """Return a table of 200,000 rows and 30 normal features, and a target that leans on all of them."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200_000, 30))
    return X, X @ rng.normal(size=30) + rng.normal(size=len(X))


EXHIBITS = (
    Exhibit(BernoulliNB(binarize=7.5), "digits", digits),
    Exhibit(CategoricalNB(min_categories=17), "digits", digits),
    Exhibit(BernoulliNB(binarize=3.5), "generated", generated, n_single=1000, n_refits=5),
    Exhibit(CategoricalNB(min_categories=9), "generated", generated, n_single=1000, n_refits=5),
    Exhibit(MultinomialNB(), "digits", digits),
    Exhibit(ComplementNB(), "digits", digits),
    Exhibit(GaussianNB(), "digits", digits),
    Exhibit(NearestCentroid(), "digits", digits),
    Exhibit(StandardScaler(random_state=0), "diabetes", diabetes),
    Exhibit(MinMaxScaler(), "diabetes", diabetes),
    Exhibit(MaxAbsScaler(), "digits", digits),
    Exhibit(RobustScaler(random_state=0), "diabetes", diabetes),
    Exhibit(QuantileTransformer(n_quantiles=100, random_state=0), "diabetes", diabetes),
    Exhibit(KBinsDiscretizer(encode="ordinal", random_state=0), "breast cancer", breast_cancer),
    Exhibit(VarianceThreshold(0.1), "digits", digits),
    Exhibit(SelectKBest(k=10), "breast cancer", breast_cancer),
    Exhibit(OneHotEncoder(handle_unknown="ignore"), "digits", digits),
    Exhibit(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), "digits", digits),
    Exhibit(SimpleImputer(random_state=0), "diabetes", diabetes),
    Exhibit(TfidfTransformer(), "digits", digits),
    Exhibit(RandomForestClassifier(random_state=0), "digits", digits, n_refits=5),
    Exhibit(ExtraTreesClassifier(random_state=0), "digits", digits, n_refits=5),
    Exhibit(RandomForestRegressor(random_state=0), "diabetes", diabetes, n_refits=5),
    Exhibit(IsolationForest(random_state=0), "digits", digits, n_refits=5),
    Exhibit(Ridge(), "diabetes", diabetes),
    Exhibit(RidgeCV(cv=5, random_state=0), "diabetes", diabetes),
    Exhibit(RidgeClassifier(class_weight="balanced"), "breast cancer", breast_cancer),
    Exhibit(LogisticRegression(), "breast_cancer", breast_cancer),
    Exhibit(PoissonRegressor(), "diabetes", diabetes),
    Exhibit(GammaRegressor(), "diabetes", diabetes),
    Exhibit(TweedieRegressor(power=1.5), "diabetes", diabetes),
    Exhibit(HuberRegressor(scale=50.0), "diabetes", diabetes),
    Exhibit(LinearSVC(), "breast cancer", breast_cancer),
    Exhibit(LinearRegression(), "generated", generated_numbers, n_single=1000, n_refits=5),
    Exhibit(LinearDiscriminantAnalysis(), "digits", digits),
    Exhibit(QuadraticDiscriminantAnalysis(reg_param=0.1), "digits", digits),
    Exhibit(PCA(), "digits", digits),
    Exhibit(KMeans(10, random_state=0), "digits", digits),
    Exhibit(SISAClassifier(SVC(), random_state=0), "digits", digits, n_single=20, n_refits=3),
    Exhibit(make_pipeline(StandardScaler(random_state=0), Ridge()), "diabetes", diabetes),
    Exhibit(DBSCAN(22.0), "digits", digits),
    Exhibit(BisectingKMeans(10, random_state=0), "digits", digits, n_single=50, n_refits=5),
)
