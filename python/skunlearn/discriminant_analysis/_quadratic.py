"""Quadratic discriminant analysis that forgets exactly."""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import sklearn.discriminant_analysis
from _unlearn_native._native import exp, ln, log_normalize

from skunlearn._linalg.fixed_order import freeze, squared_distances, sum_in_order
from skunlearn._linalg.solve import eigh_fixed
from skunlearn.base import fitted_attribute
from skunlearn.class_codes import best_columns
from skunlearn.discriminant_analysis._gaussian_classes import (
    ClassMoments,
    DiscriminantAnalysis,
    DiscriminantCore,
    shrink,
)
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.live import Owner
from skunlearn.rows import RowStore
from skunlearn.utils._sklearn_compat import HasMethods, Interval, StrOptions

__all__ = ["QuadraticDiscriminantAnalysis"]


class QuadraticDiscriminantAnalysis(DiscriminantAnalysis):
    """Quadratic discriminant analysis that forgets rows exactly.

    What is kept of the rows are exact integer sums of every class, so `partial_forget` is their subtraction: afterwards
    the model equals, bit for bit, one fitted on the rows that are left. Eigenvectors come from an own solver with a
    fixed order of operations, so no bit depends on LAPACK, threads or processor.

    Parameters
    ----------
    solver : {"svd", "eigen"}, default="svd"
        Both decompose the covariance matrix of each class: rows are not kept in a form of which there is a singular
        value decomposition. "svd" stands for the conventions of scikit-learn's solver of that name: it takes
        `reg_param`, refuses `shrinkage`, and asks for at least n_features rows a class.
    shrinkage : float or None, default=None
        With "eigen", covariances become (1 - shrinkage) S + shrinkage mean(diag(S)) I. "auto" is refused: it needs
        fourth moments.
    priors : array-like of shape (n_classes,), default=None
        Prior probabilities of the classes; by default their shares of the rows.
    reg_param : float, default=0.0
        With "svd", covariances become (1 - reg_param) S + reg_param I.
    store_covariance : bool, default=False
        Whether `covariance_` is offered.
    tol : float, default=1e-4
        A class whose covariance has an eigenvalue of at most that much determines no model.
    covariance_estimator : None
        Must be None: it would be fitted to the rows themselves.
    classes : array-like of shape (n_classes,), default=None
        Labels that are classes whether or not a row bears them; without rows they have probability 0. Recommended in
        production: it keeps the shape of every output when a class loses its last row.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    means_ : ndarray of shape (n_classes, n_features)
        Means of the classes, float64 also where X is float32.
    priors_ : ndarray of shape (n_classes,)
        Priors of the classes.
    rotations_ : list of ndarray of shape (n_features, n_features)
        For each class the eigenvectors of its covariance as columns, largest eigenvalue first; the entry of largest
        magnitude, the first of equals, is positive.
    scalings_ : list of ndarray of shape (n_features,)
        For each class the eigenvalues, regularised or shrunk.
    covariance_ : list of ndarray of shape (n_features, n_features)
        For each class the covariance, with the number of rows as the divisor, regularised or shrunk. Only with
        ``store_covariance=True``.
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
    LinearDiscriminantAnalysis : One covariance for all classes.
    sklearn.discriminant_analysis.QuadraticDiscriminantAnalysis : The estimator that `release` returns.

    Notes
    -----
    The score of class c is log(prior_c) - log(det(S_c)) / 2 - (x - m_c)' S_c^-1 (x - m_c) / 2, section 4.3 of [1]_.

    Every value enters as an integer, rounded by at most 2**-53 of the largest live value of its column; sums are exact.
    Where scikit-learn decomposes the centred rows, the covariance is decomposed here, whose condition is squared:
    variances below 1e-16 of the largest are lost.

    Forgetting m rows takes O(m n_features^2) integer additions; its time does not depend on the number of rows, unless
    the last of the largest values of a column goes. The first read after it takes O(n_classes n_features^3).

    The model keeps its rows; `release` does not.

    References
    ----------
    .. [1] T. Hastie, R. Tibshirani, J. Friedman, "The Elements of Statistical Learning", 2nd ed., Springer, 2009.

    Examples
    --------
    >>> from skunlearn.discriminant_analysis import QuadraticDiscriminantAnalysis
    >>> X = [[0.0], [2.0], [9.0], [5.0], [6.0], [7.0]]
    >>> model = QuadraticDiscriminantAnalysis().fit(X, [0, 0, 0, 1, 1, 1], sample_ids=list("abcdef"))
    >>> model.partial_forget(["c"]).means_
    array([[1.],
           [6.]])
    """

    _parameter_constraints: dict[str, Any] = {
        "solver": [StrOptions({"svd", "eigen"})],
        "shrinkage": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="both"), None],
        "priors": ["array-like", None],
        "reg_param": [Interval(Real, 0, 1, closed="both")],
        "store_covariance": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "covariance_estimator": [HasMethods("fit"), None],
        "classes": ["array-like", None],
    }

    rotations_ = fitted_attribute()
    scalings_ = fitted_attribute()

    def __init__(
        self,
        *,
        solver: str = "svd",
        shrinkage: Any = None,
        priors: Any = None,
        reg_param: float = 0.0,
        store_covariance: bool = False,
        tol: float = 1e-4,
        covariance_estimator: Any = None,
        classes: Any = None,
    ) -> None:
        self.solver = solver
        self.shrinkage = shrinkage
        self.priors = priors
        self.reg_param = reg_param
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
        state, scores = self._read(X)
        if len(state.classes_) != 2:
            return scores
        with np.errstate(invalid="ignore"):
            difference: np.ndarray = scores[:, 1] - scores[:, 0]
        return difference

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
        return state.classes_[best_columns(scores, state.priors_ > 0)]

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
        return log_normalize(self._read(X)[1])

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

    def _read(self, X: Any) -> tuple["QuadraticState", np.ndarray]:
        """Return one published version and its scores."""
        state = self._published()
        return state, state.scores(self._checked_rows(X))

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_QuadraticCore":
        return _QuadraticCore(type(self).__name__, params, rows)

    def _native_twin(self, state: "QuadraticState", params: dict[str, Any]) -> Any:
        twin = sklearn.discriminant_analysis.QuadraticDiscriminantAnalysis()
        # Older releases have neither solver nor shrinkage; what is fitted does not need them.
        twin.set_params(**{name: params[name] for name in twin.get_params() if name in params})
        twin.classes_ = state.classes_.copy()
        twin.means_ = state.means_.copy()
        twin.priors_ = state.priors_.copy()
        twin.rotations_ = [rotation.copy() for rotation in state.rotations_]
        twin.scalings_ = [scaling.copy() for scaling in state.scalings_]
        if state.covariance_ is not None:
            twin.covariance_ = [covariance.copy() for covariance in state.covariance_]
        return twin


@dataclass(frozen=True, slots=True, eq=False)
class QuadraticState:
    """The published state of one version; its arrays are read-only.

    Parameters
    ----------
    classes_, means_, priors_, rotations_, scalings_, covariance_
        As in the estimator; `covariance_` is None where it is not offered.
    whitenings : list of ndarray of shape (n_features, n_features)
        For each class, rows that take what is left of the mean to unit variance.
    biases : ndarray of shape (n_classes,)
        What the score of a class is at its mean.
    """

    classes_: np.ndarray
    means_: np.ndarray
    priors_: np.ndarray
    rotations_: list[np.ndarray]
    scalings_: list[np.ndarray]
    covariance_: list[np.ndarray] | None
    whitenings: list[np.ndarray]
    biases: np.ndarray

    def scores(self, X: np.ndarray) -> np.ndarray:
        """Return the scores of rows that were checked."""
        out = np.empty((len(X), len(self.classes_)))
        for c, whitening in enumerate(self.whitenings):
            distances = squared_distances(X, self.means_[c], whitening)
            with np.errstate(invalid="ignore"):  # rows of 1e308 are far from every class
                out[:, c] = self.biases[c] - 0.5 * distances
        return out


class _QuadraticCore(DiscriminantCore):
    """The eigenvectors of the covariance of every class."""

    def publish(self, owner: Owner) -> QuadraticState:
        """Return the densities of the classes."""
        moments = self.class_moments(owner)
        self._check_rows(moments)
        priors = self.class_priors(moments.n_rows)
        has_rows = moments.n_rows > 0
        covariances = [
            self._regularised(covariance) if used else np.eye(self._n_features)
            for covariance, used in zip(moments.covariances, has_rows.tolist(), strict=True)
        ]
        self._check_finite(covariances)
        spectra = [eigh_fixed(covariance) for covariance in covariances]
        scalings = [values[::-1].copy() for values, _ in spectra]
        rotations = [np.ascontiguousarray(vectors[:, ::-1]) for _, vectors in spectra]
        self._check_rank([scaling for scaling, used in zip(scalings, has_rows.tolist(), strict=True) if used])
        log_determinants = sum_in_order(ln(np.array(scalings)))
        log_priors = np.where(has_rows, ln(priors), -np.inf)
        state = QuadraticState(
            classes_=moments.labels,
            means_=moments.means,
            priors_=priors,
            rotations_=rotations,
            scalings_=scalings,
            covariance_=covariances if self._params["store_covariance"] else None,
            whitenings=[
                np.ascontiguousarray(rotation.T) / np.sqrt(scaling)[:, None]
                for rotation, scaling in zip(rotations, scalings, strict=True)
            ],
            biases=log_priors - 0.5 * log_determinants,
        )
        freeze(state.classes_, state.means_, priors, *rotations, *scalings, *covariances)
        return state

    def _check_rows(self, moments: ClassMoments) -> None:
        n_classes = len(moments.labels)
        if n_classes < 2:
            raise DegenerateRowsError(
                f"The number of classes has to be greater than one. This {self._model_name} has {n_classes} class "
                "left. Call partial_fit with rows of another one."
            )
        least = max(2, self._n_features if self._params["solver"] == "svd" else 0)
        n_small = int(np.count_nonzero((moments.n_rows > 0) & (moments.n_rows < least)))
        if n_small:
            raise DegenerateRowsError(
                f"{n_small} of {n_classes} classes of this {self._model_name} have fewer than {least} samples, so "
                "their covariance is ill defined. Call partial_fit with more rows of them."
            )

    def _regularised(self, covariance: np.ndarray) -> np.ndarray:
        if self._params["solver"] == "eigen":
            return shrink(covariance, self._params["shrinkage"])
        reg_param = float(self._params["reg_param"])
        regularised: np.ndarray = (1.0 - reg_param) * covariance
        regularised[np.diag_indices_from(regularised)] += reg_param
        return regularised

    def _check_rank(self, scalings: list[np.ndarray]) -> None:
        """Refuse classes with rows whose least eigenvalue is not above `tol`."""
        n_wrong = sum(not scaling[-1] > self._params["tol"] for scaling in scalings)
        if n_wrong:
            parameter = "shrinkage" if self._params["solver"] == "eigen" else "reg_param"
            raise DegenerateRowsError(
                f"The covariance matrices of {n_wrong} of {len(scalings)} classes of this {self._model_name} are not "
                f"full rank: an eigenvalue is at most tol. Increase {parameter}, or call partial_fit with more rows."
            )
