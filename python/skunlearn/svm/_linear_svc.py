"""Linear support vector classification that forgets exactly."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import sklearn.svm
from sklearn.base import ClassifierMixin

from skunlearn._lattice_core import Family, LatticeCore
from skunlearn._linalg.likelihood import Likelihood
from skunlearn._linalg.losses import SQUARED_HINGE
from skunlearn._linalg.objective import Objective, TargetRows
from skunlearn.base import ForgetMixin, fitted_attribute
from skunlearn.exceptions import CertificateError
from skunlearn.linear_model._least_squares import linear_scores
from skunlearn.linear_model._logistic import refuse_class_weights
from skunlearn.linear_model._logistic_core import class_factors, codes_with_rows, log_ratio
from skunlearn.live import Owner
from skunlearn.rows import RowBlock, RowStore
from skunlearn.utils._sklearn_compat import Interval, StrOptions, fit_context, validate_data

__all__ = ["LinearSVC"]


class LinearSVC(ClassifierMixin, ForgetMixin):
    """Linear support vector classification by squared hinges, that forgets rows exactly.

    The optimum is a function of the rows. What is published is that optimum, rounded to a lattice of step 2**-20
    relative to the scale of each column, and accepted only with a proof that no boundary between two points of the
    lattice is within the error: so it is, bit for bit, what fitting to the rows that are left gives.

    Parameters
    ----------
    penalty : {"l2"}, default="l2"
        "l1" is refused.
    loss : {"squared_hinge"}, default="squared_hinge"
        "hinge" is refused: it has no curvature, and the proof does not hold.
    dual, tol, max_iter, verbose, random_state
        Accepted and without effect: the published optimum is proved, and does not depend on how it was found.
    C : float, default=1.0
        Inverse of the strength of the penalty.
    multi_class : {"ovr"}, default="ovr"
        One classifier a class against the rest; "crammer_singer" is refused.
    fit_intercept : bool, default=True
        Whether to have an intercept. It is penalised, as in scikit-learn.
    intercept_scaling : float, default=1.0
        The constant that the penalised intercept is the coefficient of.
    class_weight : dict or "balanced", default=None
        Weights of classes, by which the weights of their rows are multiplied: for more than two classes only in the
        classifier of that class, as in scikit-learn. A class that a dict does not name has weight 1.
    classes : array-like of shape (n_classes,), default=None
        Labels that are classes whether or not a row bears them. Without rows a class has an intercept of -inf.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients; one row for two classes.
    intercept_ : ndarray of shape (1,) or (n_classes,), or float
        Intercepts; 0.0 without.
    n_iter_ : int
        Always 1: how many steps led to the optimum is history.
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
    skunlearn.linear_model.LogisticRegression : Probabilities, too.
    sklearn.svm.LinearSVC : The estimator that `release` returns.

    Notes
    -----
    With weights s_i and labels y_i of -1 and 1, the optimum minimises sum_i s_i max(0, 1 - y_i z_i)^2 +
    (|w|^2 + (b / intercept_scaling)^2) / (2 C) over w and b, z_i = x_i'w + b [1]_. Between the kinks of the hinges that
    is quadratic: a read after a deletion that moves no row over its margin takes two passes over the rows.

    The model keeps its rows; `release` does not.

    References
    ----------
    .. [1] R.-E. Fan, K.-W. Chang, C.-J. Hsieh, X.-R. Wang, C.-J. Lin, "LIBLINEAR: A Library for Large Linear
       Classification", JMLR 9, 2008.

    Examples
    --------
    >>> from skunlearn.svm import LinearSVC
    >>> X = [[0.0], [1.0], [2.0], [3.0], [9.0]]
    >>> model = LinearSVC(C=10.0).fit(X, [0, 0, 1, 1, 0], sample_ids=["a", "b", "c", "d", "e"])
    >>> model.partial_forget(["e"]).predict([[0.5], [2.5]])
    array([0, 1])
    """

    _parameter_constraints: dict[str, Any] = {
        "penalty": [StrOptions({"l1", "l2"})],
        "loss": [StrOptions({"hinge", "squared_hinge"})],
        "dual": ["boolean", StrOptions({"auto"})],
        "tol": [Interval(Real, 0.0, None, closed="neither")],
        "C": [Interval(Real, 0.0, None, closed="neither")],
        "multi_class": [StrOptions({"ovr", "crammer_singer"})],
        "fit_intercept": ["boolean"],
        "intercept_scaling": [Interval(Real, 0, None, closed="neither")],
        "class_weight": [None, dict, StrOptions({"balanced"})],
        "verbose": ["verbose"],
        "random_state": "no_validation",
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "classes": ["array-like", None],
    }

    classes_ = fitted_attribute()
    coef_ = fitted_attribute()
    intercept_ = fitted_attribute()
    n_iter_ = fitted_attribute()

    def __init__(
        self,
        penalty: str = "l2",
        loss: str = "squared_hinge",
        *,
        dual: Any = "auto",
        tol: float = 1e-4,
        C: float = 1.0,
        multi_class: str = "ovr",
        fit_intercept: bool = True,
        intercept_scaling: float = 1.0,
        class_weight: Any = None,
        verbose: int = 0,
        random_state: Any = None,
        max_iter: int = 1000,
        classes: Any = None,
    ) -> None:
        self.penalty = penalty
        self.loss = loss
        self.dual = dual
        self.tol = tol
        self.C = C
        self.multi_class = multi_class
        self.fit_intercept = fit_intercept
        self.intercept_scaling = intercept_scaling
        self.class_weight = class_weight
        self.verbose = verbose
        self.random_state = random_state
        self.max_iter = max_iter
        self.classes = classes

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        sample_ids: Any = None,
        subject_ids: Any = None,
        forgettable: bool = True,
    ) -> Self:
        """Fit to rows, forgetting all that were there before.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,)
            Class labels, of at least two classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, at least 0. A row of weight 0 is stored and enters nothing.
        sample_ids : array-like of shape (n_samples,), int64 or str, default=None
            A unique id for every row; 0 to n_samples - 1 by default.
        subject_ids : array-like of shape (n_samples,), int64 or str, default=None
            Whose row it is.
        forgettable : bool, default=True
            Keep the rows. If False the model can neither forget nor learn, and holds no row.

        Returns
        -------
        self : object
            The fitted model.

        Raises
        ------
        ValueError
            If the input is not acceptable; a model fitted earlier is then unchanged.
        CertificateError
            If the rows have no optimum that can be proved in float64: values or weights that differ by too many orders
            of magnitude. A model fitted earlier is then unchanged.
        """
        return self._fit_rows(
            X, y, sample_weight, sample_ids, subject_ids, classes=self.classes, forgettable=forgettable
        )

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: Any = None,
        sample_weight: Any = None,
        *,
        sample_ids: Any = None,
        subject_ids: Any = None,
    ) -> Self:
        """Learn rows: the inverse of `partial_forget`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,)
            Class labels.
        classes : array-like of shape (n_classes,), default=None
            Declared classes, at the first call; the parameter of the same name by default.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, at least 0.
        sample_ids : array-like of shape (n_samples,), int64 or str, default=None
            Ids that are not live; required once the model is fitted. A forgotten id may come back.
        subject_ids : array-like of shape (n_samples,), int64 or str, default=None
            Whose row it is.

        Returns
        -------
        self : object
            The model, changed.

        Raises
        ------
        DuplicateSampleError
            If ids are live already; its attribute `ids` holds them. The model is unchanged.
        MissingSampleIdsError
            If the model is fitted and there are no `sample_ids`. The model is unchanged.
        """
        return self._learn_rows(X, y, sample_weight, sample_ids, subject_ids, classes=classes)

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the scores of rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
            Of the second class where there are two. A row alone gives the bits that it gives in bulk, dense or sparse.
        """
        scores = self._read(X)[1]
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of the highest score of every row; of several, the first.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Class labels.
        """
        state, scores = self._read(X)
        chosen = scores.argmax(axis=1) if scores.shape[1] > 1 else (scores[:, 0] > 0).astype(np.intp)
        labels: np.ndarray = state.classes_[chosen]
        return labels

    def _read(self, X: Any) -> tuple["LinearSVCState", np.ndarray]:
        state = self._published()
        return state, linear_scores(self._check_X(self, X, reset=False), state.coef_, state.intercept_)

    # --- what the base asks for --------------------------------------------------------------------------------------

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_Core":
        name = type(self).__name__
        refused = {
            "penalty": ("l1", "l2", "With it the optimum is not smooth in the rows"),
            "loss": ("hinge", "squared_hinge", "It has no curvature, so no distance from the optimum could be bounded"),
            "multi_class": ("crammer_singer", "ovr", "Its objective is not quadratic between kinks of single scores"),
        }
        for parameter, (value, instead, why) in refused.items():
            if params[parameter] == value:
                raise ValueError(
                    f'{name} does not offer {parameter}="{value}". Nothing was changed. {why}, and the proof of the '
                    f'published coefficients does not hold; use {parameter}="{instead}".'
                )
        refuse_class_weights(params["class_weight"])
        return _Core(name, params, rows.native.n_features)

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        checked = validate_data(estimator, X, accept_sparse="csr", dtype=(np.float64, np.float32), **options)
        if options.get("reset") and "y" in options and np.ndim(checked[1]) == 1 and len(np.unique(checked[1])) < 2:
            raise ValueError(
                f"{type(self).__name__} needs samples of at least 2 classes in the data, but the data contains only "
                "one class. Nothing was changed."
            )
        return checked

    def _native_twin(self, state: "LinearSVCState", params: dict[str, Any]) -> Any:
        twin = sklearn.svm.LinearSVC(**{name: value for name, value in params.items() if name != "classes"})
        twin.classes_, twin.coef_, twin.n_iter_ = state.classes_.copy(), state.coef_.copy(), state.n_iter_
        twin.intercept_ = np.copy(state.intercept_) if np.ndim(state.intercept_) else state.intercept_
        return twin

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        n_objectives = 1 if n_classes == 2 else n_classes
        return 24 * n_objectives * (X.shape[1] + 1) ** 2  # Hessians, what is measured to be their inverses, magnitudes

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


@dataclass(frozen=True, slots=True, eq=False)
class LinearSVCState:
    """The published state of one version; its arrays are read-only.

    Parameters
    ----------
    classes_, coef_ : ndarray
        As in the estimator.
    intercept_ : ndarray or float
        As in the estimator.
    n_iter_ : int
        1.
    """

    classes_: np.ndarray
    coef_: np.ndarray
    intercept_: Any
    n_iter_: int


class _MarginFamily(Family):
    """Classes that have rows, each against the rest; of two, the second against the first.

    Parameters
    ----------
    codes, factors : ndarray of shape (n_present,)
        Codes of the classes in the order of their labels, and what weights of their rows are multiplied by.
    params : dict
        The frozen parameters.
    n_features : int
        Width of X.
    """

    def __init__(self, codes: np.ndarray, factors: np.ndarray, params: dict[str, Any], n_features: int) -> None:
        self.codes = codes
        self.factors = factors
        self._params = params
        self.shape = (1, n_features + 1)
        declared = params["classes"]
        self._is_binary = len(codes) == 2 and (declared is None or len(declared) == 2)
        self.n_objectives = 1 if self._is_binary else len(codes)

    def _code(self, which: int) -> Any:
        return self.codes[1 if self._is_binary else which]

    def _factors(self, which: int) -> np.ndarray:
        """Return the factors of rows of this class, and of the rest."""
        return self.factors[::-1] if self._is_binary else np.array([self.factors[which], 1.0])

    def rows(self, block: RowBlock, which: int) -> TargetRows:
        """Return rows with targets 1, of this class, and -1."""
        assert block.y is not None
        is_one = block.y[:, 0] == self._code(which)
        of_one, of_rest = self._factors(which).tolist()
        weight = np.where(is_one, of_one, of_rest)
        return TargetRows(
            block.X, np.where(is_one, 1.0, -1.0), weight if block.weight is None else weight * block.weight
        )

    def drift(self, then: Any, which: int) -> float:
        """Bound |log| of the ratio of the factors."""
        if len(then.codes) != len(self.codes) or (then.codes != self.codes).any():
            return np.inf
        return log_ratio(self._factors(which), then._factors(which))

    def likelihood(self, which: int, **parts: Any) -> Likelihood:
        """Return the objective."""
        alpha = 1.0 / self._params["C"]
        penalty = np.append(np.ldexp(alpha, -2 * parts["exponents"]), alpha / self._params["intercept_scaling"] ** 2)
        has_intercept = self._params["fit_intercept"]
        return Objective(n_scores=1, penalty=penalty, has_intercept=has_intercept, loss=SQUARED_HINGE, **parts)


class _Core(LatticeCore):
    """The optima; C, fit_intercept, intercept_scaling, class_weight and classes are read."""

    def _family(self, owner: Owner) -> Family:
        codes = codes_with_rows(owner, self._model_name)
        factors = class_factors(owner, codes, self._params["class_weight"])
        if not np.isfinite(factors).all():
            raise self._no_minimum()
        return _MarginFamily(codes, factors, self._params, self._n_features)

    def _no_minimum(self) -> CertificateError:
        return CertificateError(
            f"The rows of this {self._model_name} have no optimum that can be proved in float64: columns or weights "
            "differ too much in scale, or the penalty is too small beside them. Choose a smaller C, or scale the "
            "columns."
        )

    def publish(self, owner: Owner) -> LinearSVCState:
        """Return the coefficients; those of declared classes without rows are 0, and their intercepts -inf."""
        coef, intercept = super().publish(owner)
        codes, labels = owner.codes.classes()
        if len(coef) > 1 and len(codes) > len(coef):
            present = owner.codes.n_effective[codes] > 0
            some_coef, some_intercepts = coef, intercept
            coef, intercept = np.zeros((len(codes), coef.shape[1])), np.full(len(codes), -np.inf)
            coef[present], intercept[present] = some_coef, some_intercepts
        coef = np.ascontiguousarray(coef)
        for array in (labels, coef, intercept):
            array.flags.writeable = False
        has_intercepts = self._params["fit_intercept"] or np.isinf(intercept).any()
        return LinearSVCState(labels, coef, intercept if has_intercepts else 0.0, 1)
