"""Linear discriminant analysis that forgets exactly."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import sklearn.discriminant_analysis
from _unlearn_native._native import exp, ln, log_normalize
from sklearn.base import ClassNamePrefixFeaturesOutMixin

from skunlearn._linalg.fixed_order import freeze, product, sum_in_order
from skunlearn._linalg.solve import eigh_fixed
from skunlearn.base import fitted_attribute
from skunlearn.class_codes import best_columns
from skunlearn.discriminant_analysis._gaussian_classes import (
    ClassMoments,
    DiscriminantAnalysis,
    DiscriminantCore,
    optional_attribute,
    shrink,
)
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.live import Owner
from skunlearn.rows import RowStore
from skunlearn.transforms import ForgettingTransformerMixin, TransformMap
from skunlearn.utils._sklearn_compat import HasMethods, Interval, StrOptions

__all__ = ["LinearDiscriminantAnalysis"]


class LinearDiscriminantAnalysis(ClassNamePrefixFeaturesOutMixin, ForgettingTransformerMixin, DiscriminantAnalysis):
    """Linear discriminant analysis that forgets rows exactly.

    What is kept of the rows are exact integer sums of every class, so `partial_forget` is their subtraction: afterwards
    the model equals, bit for bit, one fitted on the rows that are left. Eigenvectors come from an own solver with a
    fixed order of operations, so no bit depends on LAPACK, threads or processor.

    Parameters
    ----------
    solver : {"svd", "lsqr", "eigen"}, default="svd"
        All three start from the covariance within classes; rows are not kept in a form of which there is a singular
        value decomposition. "svd" stands for the conventions of scikit-learn's solver of that name: directions in which
        columns of unit variance hardly vary are left out. "lsqr" inverts, and does not transform; "eigen" solves the
        generalised eigenproblem, and asks for a covariance of full rank.
    shrinkage : float or None, default=None
        With "lsqr" and "eigen", covariances become (1 - shrinkage) S + shrinkage mean(diag(S)) I. "auto" is refused: it
        needs fourth moments.
    priors : array-like of shape (n_classes,), default=None
        Prior probabilities of the classes; by default their shares of the rows.
    n_components : int, default=None
        Components that `transform` returns, at most min(n_classes - 1, n_features), which is the default.
    store_covariance : bool, default=False
        Whether `covariance_` is offered with "svd"; with the others it always is.
    tol : float, default=1e-4
        With "svd", standard deviations within classes of at most that much, of columns at unit variance, count as zero;
        so do those below the root of n_features * 2**-52 of the largest, where rounding begins.
    covariance_estimator : None
        Must be None: it would be fitted to the rows themselves.
    classes : array-like of shape (n_classes,), default=None
        Labels that are classes whether or not a row bears them; without rows they have probability 0. Recommended in
        production: it keeps the shape of every output when a class loses its last row.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Weights, float64 also where X is float32; of two classes, the difference of theirs.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts.
    covariance_ : ndarray of shape (n_features, n_features)
        Covariance within classes, weighted by the priors, with the number of rows as the divisor.
    explained_variance_ratio_ : ndarray of shape (n_components,)
        Share of the variance between classes; not with "lsqr".
    means_ : ndarray of shape (n_classes, n_features)
        Means of the classes.
    priors_ : ndarray of shape (n_classes,)
        Priors of the classes.
    scalings_ : ndarray of shape (n_features, rank)
        What rows are multiplied with, the most discriminative direction first; in each column the entry of largest
        magnitude, the first of equals, is positive. Not with "lsqr".
    xbar_ : ndarray of shape (n_features,)
        Mean of the classes, weighted by the priors; with "svd" only.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has string names.
    guarantee_ : Guarantee
        ``kind="exact"``.
    n_live_ : int
        Number of rows that the model holds.
    forget_report_ : ForgetReport
        What the last `partial_forget` did.

    See Also
    --------
    QuadraticDiscriminantAnalysis : A covariance for each class.
    sklearn.discriminant_analysis.LinearDiscriminantAnalysis : The estimator that `release` returns.

    Notes
    -----
    With S the covariance within classes, the score of class c is x' S^-1 m_c - m_c' S^-1 m_c / 2 + log(prior_c),
    section 4.3 of [1]_.

    Every value enters as an integer, rounded by at most 2**-53 of the largest live value of its column; sums are exact,
    one Gram matrix a class, so that the priors may weigh the classes otherwise than the rows do. The condition of the
    problem is that of S, squared against a decomposition of the rows.

    Forgetting m rows takes O(m n_features^2) integer additions; its time does not depend on the number of rows, unless
    the last of the largest values of a column goes. The first read after it takes O(n_features^3).

    The model keeps its rows; `release` does not.

    References
    ----------
    .. [1] T. Hastie, R. Tibshirani, J. Friedman, "The Elements of Statistical Learning", 2nd ed., Springer, 2009.

    Examples
    --------
    >>> from skunlearn.discriminant_analysis import LinearDiscriminantAnalysis
    >>> X = [[0.0], [2.0], [9.0], [5.0], [7.0]]
    >>> model = LinearDiscriminantAnalysis().fit(X, [0, 0, 0, 1, 1], sample_ids=list("abcde"))
    >>> model.partial_forget(["c"]).predict([[3.4], [3.6]])
    array([0, 1])
    """

    _parameter_constraints: dict[str, Any] = {
        "solver": [StrOptions({"svd", "lsqr", "eigen"})],
        "shrinkage": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="both"), None],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "priors": ["array-like", None],
        "store_covariance": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "covariance_estimator": [HasMethods("fit"), None],
        "classes": ["array-like", None],
    }

    coef_ = fitted_attribute()
    intercept_ = fitted_attribute()
    explained_variance_ratio_ = optional_attribute()
    scalings_ = optional_attribute()
    xbar_ = optional_attribute()

    def __init__(
        self,
        solver: str = "svd",
        shrinkage: Any = None,
        priors: Any = None,
        n_components: int | None = None,
        store_covariance: bool = False,
        tol: float = 1e-4,
        covariance_estimator: Any = None,
        *,
        classes: Any = None,
    ) -> None:
        self.solver = solver
        self.shrinkage = shrinkage
        self.priors = priors
        self.n_components = n_components
        self.store_covariance = store_covariance
        self.tol = tol
        self.covariance_estimator = covariance_estimator
        self.classes = classes

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the score of every class: its log posterior probability, up to a constant of the row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
            Columns in the order of ``classes_``; of two classes, what the second has more than the first. A row alone
            gives the bits that it gives in bulk.
        """
        return self._read(X)[1]

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of every row; of several, the first.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Class labels.
        """
        state, scores = self._read(X)
        if len(state.classes_) == 2:
            scores = np.column_stack([-scores, scores])
        return state.classes_[best_columns(scores.reshape(len(scores), len(state.classes_)), state.priors_ > 0)]

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the log probability of every class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        state, scores = self._read(X)
        if len(state.classes_) == 2:  # never above 0: an infinite score, of a class without rows, would be lost
            scores = np.column_stack([np.minimum(-scores, 0.0), np.minimum(scores, 0.0)])
        return log_normalize(scores.reshape(len(scores), len(state.classes_)))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of every class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        return exp(self.predict_log_proba(X))

    def transform(self, X: Any) -> np.ndarray:
        """Project rows to where the classes differ most.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_components)
            float64; fewer columns where the rank is smaller. A row alone gives the bits that it gives in bulk.

        Raises
        ------
        NotImplementedError
            With ``solver="lsqr"``.
        """
        live = self._require_live()
        if live.params["solver"] == "lsqr":
            raise NotImplementedError("transform not implemented for 'lsqr' solver (use 'svd' or 'eigen').")
        state: LinearState = live.publish()
        return state.apply(self._checked_rows(X))

    def _read(self, X: Any) -> tuple["LinearState", np.ndarray]:
        """Return one published version and its scores."""
        state: LinearState = self._published()
        with np.errstate(over="ignore", invalid="ignore"):
            scores = product(self._checked_rows(X), state.coef_, state.intercept_)
        return state, scores[:, 0] if len(state.coef_) == 1 else scores

    @property
    def _n_features_out(self) -> int:
        state: LinearState = self._published()
        return state.max_components if state.scalings_ is None else len(state.projection())

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_LinearCore":
        return _LinearCore(type(self).__name__, params, rows)

    def _native_twin(self, state: "LinearState", params: dict[str, Any]) -> Any:
        twin = sklearn.discriminant_analysis.LinearDiscriminantAnalysis(
            **{name: value for name, value in params.items() if name != "classes"}
        )
        for name in ("classes_", "coef_", "intercept_", "means_", "priors_"):
            setattr(twin, name, getattr(state, name).copy())
        for name in ("covariance_", "explained_variance_ratio_", "scalings_", "xbar_"):
            value = getattr(state, name)
            if value is not None:
                setattr(twin, name, value.copy())
        twin._max_components = twin._n_features_out = state.max_components
        return twin


@dataclass(frozen=True, slots=True, eq=False)
class LinearState(TransformMap):
    """The published state of one version; its arrays are read-only.

    Parameters
    ----------
    classes_, means_, priors_, coef_, intercept_, covariance_, explained_variance_ratio_, scalings_, xbar_
        As in the estimator; the last four are None where they are not offered.
    max_components : int
        Components that `transform` returns at most.
    """

    classes_: np.ndarray
    means_: np.ndarray
    priors_: np.ndarray
    coef_: np.ndarray
    intercept_: np.ndarray
    covariance_: np.ndarray | None
    explained_variance_ratio_: np.ndarray | None
    scalings_: np.ndarray | None
    xbar_: np.ndarray | None
    max_components: int

    @property
    def n_features_in(self) -> int:
        """Number of columns."""
        return self.means_.shape[1]

    def apply(self, X: Any) -> np.ndarray:
        """Return rows that were checked in terms of the directions in which the classes differ most."""
        rows = X.astype(np.float64, copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            return product(rows if self.xbar_ is None else rows - self.xbar_, self.projection())

    def parts(self) -> list[bytes | np.ndarray]:
        """Return the directions and the mean."""
        return [str(self.projection().shape).encode(), self.projection(), b"" if self.xbar_ is None else self.xbar_]

    def projection(self) -> np.ndarray:
        """Return the directions that `transform` projects to, as rows."""
        return np.empty((0, 0)) if self.scalings_ is None else self.scalings_.T[: self.max_components]


@dataclass(slots=True)
class _Discriminants:
    """What a solver finds: scores of all classes, and directions as rows."""

    coef: np.ndarray
    intercept: np.ndarray
    directions: np.ndarray | None = None
    ratio: np.ndarray | None = None


class _LinearCore(DiscriminantCore):
    """One covariance for all classes, and the directions in which they differ."""

    def __init__(self, model_name: str, params: dict[str, Any], rows: RowStore) -> None:
        super().__init__(model_name, params, rows)
        if self._priors is not None:
            self._priors = self._normalised(self._priors)

    def publish(self, owner: Owner) -> LinearState:
        """Return scores and directions."""
        moments = self.class_moments(owner)
        self._check_rows(moments)
        priors = self.class_priors(moments.n_rows)
        log_priors = np.where(moments.n_rows > 0, ln(priors), -np.inf)
        max_components = self._max_components(len(moments.labels))
        solver: str = self._params["solver"]
        covariance = xbar = None
        if solver != "svd" or self._params["store_covariance"]:
            covariance = _weighted_sum(priors, [shrink(c, self._params["shrinkage"]) for c in moments.covariances])
        if solver == "svd":
            xbar = sum_in_order((priors[:, None] * moments.means).T)
            found = self._solve_svd(moments, priors, log_priors, xbar)
        elif solver == "lsqr":
            assert covariance is not None
            found = _solve_lsqr(moments.means, covariance, log_priors)
        else:
            assert covariance is not None
            found = self._solve_eigen(moments, priors, covariance, log_priors)
        return self._state(moments, priors, found, covariance, xbar, max_components)

    def _check_rows(self, moments: ClassMoments) -> None:
        n_rows, n_classes = int(moments.n_rows.sum()), int(np.count_nonzero(moments.n_rows))
        if n_rows == n_classes:
            raise DegenerateRowsError(
                f"The number of samples must be more than the number of classes. This {self._model_name} has {n_rows} "
                f"rows of {n_classes} classes left. Call partial_fit with more rows."
            )

    def _max_components(self, n_classes: int) -> int:
        most = min(n_classes - 1, self._n_features)
        asked: int | None = self._params["n_components"]
        if asked is not None and asked > most:
            raise DegenerateRowsError(
                f"n_components cannot be larger than min(n_features, n_classes - 1). It is {asked}, and this "
                f"{self._model_name} has {self._n_features} features and {n_classes} classes. Lower it, or declare "
                "classes=."
            )
        return most if asked is None else int(asked)

    def _state(
        self,
        moments: ClassMoments,
        priors: np.ndarray,
        found: _Discriminants,
        covariance: np.ndarray | None,
        xbar: np.ndarray | None,
        max_components: int,
    ) -> LinearState:
        coef, intercept = found.coef, found.intercept
        if len(coef) == 2:
            with np.errstate(invalid="ignore"):
                coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        if not np.isfinite(coef).all():
            raise DegenerateRowsError(
                f"{np.count_nonzero(~np.isfinite(coef))} of {coef.size} coefficients of this {self._model_name} are "
                "too large for float64. Scale the columns of X to sizes that are nearer to each other."
            )
        scalings = None if found.directions is None else np.ascontiguousarray(_signed(found.directions).T)
        ratio = None if found.ratio is None else found.ratio[:max_components].copy()
        state = LinearState(
            moments.labels, moments.means, priors, coef, intercept, covariance, ratio, scalings, xbar, max_components
        )
        parts = (state.classes_, state.means_, priors, coef, intercept, covariance, ratio, scalings, xbar)
        freeze(*(part for part in parts if part is not None))
        return state

    def _solve_svd(
        self, moments: ClassMoments, priors: np.ndarray, log_priors: np.ndarray, xbar: np.ndarray
    ) -> _Discriminants:
        """Whiten what columns of unit variance vary by within classes, then part the means."""
        shares = moments.n_rows / int(moments.n_rows.sum())
        whitening = _whitening(_weighted_sum(shares, moments.covariances), float(self._params["tol"]))
        if len(whitening) == 0:
            raise DegenerateRowsError(
                f"No column of this {self._model_name} varies within a class by more than tol, so there is no scale to "
                "part the classes by. Call partial_fit with more rows."
            )
        apart = moments.means - xbar
        n_classes = len(moments.labels)
        weighted = np.sqrt(priors)[:, None] * product(apart, whitening)
        squares, vectors = eigh_fixed(product(weighted, weighted))
        n_found = min(n_classes, len(whitening))
        spreads = np.sqrt(np.maximum(squares[::-1][:n_found], 0.0))
        cut = max(float(self._params["tol"]), (n_classes * 2.0**-52) ** 0.5) * spreads[0]
        kept = spreads > cut
        of_classes = vectors.T[::-1][:n_found][kept]
        rotation = product(of_classes, weighted.T) / spreads[kept, None]
        directions = product(rotation, whitening.T)
        positions = product(apart, directions)
        coef = product(positions, directions.T)
        intercept = log_priors - 0.5 * sum_in_order(positions * positions) - product(coef, xbar[None, :])[:, 0]
        return _Discriminants(coef, intercept, directions, _shares(spreads * spreads))

    def _solve_eigen(
        self, moments: ClassMoments, priors: np.ndarray, covariance: np.ndarray, log_priors: np.ndarray
    ) -> _Discriminants:
        """Solve S_between w = lambda S_within w, with the total spread shrunk as the one within is."""
        whitening = _whitening(covariance, 0.0)
        if len(whitening) < self._n_features:
            raise DegenerateRowsError(
                f"The covariance within the classes of this {self._model_name} is not of full rank, which "
                "solver='eigen' asks for. Use shrinkage=, or solver='svd'."
            )
        n_rows = int(moments.n_rows.sum())
        shares = moments.n_rows / n_rows
        apart = np.sqrt(shares)[:, None] * (moments.means - sum_in_order((shares[:, None] * moments.means).T))
        between = product(apart.T, apart.T) + _weighted_sum(shares - priors, moments.covariances)
        between = shrink(between, self._params["shrinkage"])
        values, vectors = eigh_fixed(product(product(whitening, between), whitening))
        directions = product(vectors.T[::-1], whitening.T)
        coef = product(product(moments.means, whitening), whitening.T)
        return _Discriminants(coef, _intercepts(coef, moments.means, log_priors), directions, _shares(values[::-1]))


def _solve_lsqr(means: np.ndarray, covariance: np.ndarray, log_priors: np.ndarray) -> _Discriminants:
    """Multiply the means with the pseudo-inverse of the covariance."""
    values, vectors = eigh_fixed(covariance)
    kept = values > len(values) * 2.0**-52 * values[-1]
    rows = vectors.T[kept]
    coef = product(product(means, rows) / values[kept], rows.T)
    return _Discriminants(coef, _intercepts(coef, means, log_priors))


def _intercepts(coef: np.ndarray, means: np.ndarray, log_priors: np.ndarray) -> np.ndarray:
    intercepts: np.ndarray = log_priors - 0.5 * sum_in_order(means * coef)
    return intercepts


def _whitening(covariance: np.ndarray, tol: float) -> np.ndarray:
    """Return rows w with w' covariance w = 1, orthogonal by it, largest spread of columns at unit variance first."""
    deviations = np.sqrt(covariance.diagonal())
    deviations = np.where(deviations == 0.0, 1.0, deviations)
    values, vectors = eigh_fixed(covariance / deviations / deviations[:, None])
    kept = values > max(tol * tol, len(values) * 2.0**-52 * float(values[-1]))
    whitening: np.ndarray = (vectors.T[kept] / np.sqrt(values[kept])[:, None] / deviations)[::-1]
    return whitening


def _weighted_sum(weights: np.ndarray, matrices: list[np.ndarray]) -> np.ndarray:
    """Sum weighted matrices, the first class first."""
    total = np.zeros_like(matrices[0])
    for weight, matrix in zip(weights.tolist(), matrices, strict=True):
        total += weight * matrix
    return total


def _shares(values: np.ndarray) -> np.ndarray:
    """Return each value's share of all; zeros where they sum to zero."""
    total = float(sum_in_order(values[None, :])[0])
    return values / total if total else np.zeros_like(values)


def _signed(rows: np.ndarray) -> np.ndarray:
    """Return rows whose entry of largest magnitude, the first of equals, is positive."""
    if rows.size == 0:
        return rows
    largest = rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)]
    return rows * np.where(largest < 0.0, -1.0, 1.0)[:, None]
