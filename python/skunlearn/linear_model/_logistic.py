"""Logistic regression that forgets exactly, or under a certificate and noise."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import sklearn.linear_model
from _unlearn_native._native import exp, ln, log_normalize
from sklearn.base import ClassifierMixin

from skunlearn._linalg import _linear as kernels
from skunlearn.base import ForgetMixin, fitted_attribute
from skunlearn.guarantee import Guarantee
from skunlearn.linear_model._certified_core import CertifiedCore
from skunlearn.linear_model._guo2020_core import Guo2020Core
from skunlearn.linear_model._logistic_core import LogisticCore
from skunlearn.live import Owner
from skunlearn.rows import RowStore, as_native
from skunlearn.utils._sklearn_compat import Interval, StrOptions, fit_context, validate_data

__all__ = ["LogisticRegression", "refuse_class_weights"]

_OWN_PARAMETERS = frozenset(
    {
        "classes",
        "guarantee",
        "epsilon",
        "delta",
        "noise_scale",
        "n_releases",
        "on_budget",
        "feature_scale",
        "noise_random_state",
        "clip_norm",
    }
)
_SOLVERS = {"lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga"}


class LogisticRegression(ClassifierMixin, ForgetMixin):
    """Logistic regression with an L2 penalty, that forgets rows exactly or, by choice, certified.

    The optimum of the penalised log likelihood is a function of the rows. What is published is that optimum, rounded to
    a lattice of step 2**-20 relative to the scale of each column, and accepted only with a proof that no boundary
    between two points of the lattice is within the error: so it is, bit for bit, what fitting to the rows that are left
    gives, whatever the solver, BLAS or the processor did.

    With ``guarantee="certified"`` a point near the optimum follows deletions, as a rule without a look at other rows.
    It is secret; what is published is that point plus Gaussian noise, drawn once for every version of the rows that is
    read. How far the point may be from the optimum is fixed before any row is seen, so that what is published cannot
    be told, within (epsilon, delta), from a refit to the optimum with such noise.

    Parameters
    ----------
    penalty : {"l2", None}, default="deprecated"
        As in scikit-learn, deprecated there; "l1" and "elasticnet" are refused.
    C : float, default=1.0
        Inverse of the strength of the penalty; `np.inf` for none.
    l1_ratio : float, default=0.0
        Must be 0: with an L1 penalty the optimum is not smooth, and the proof does not hold.
    dual, tol, max_iter, warm_start, n_jobs, verbose, random_state
        Accepted and without effect: the published optimum is proved, and does not depend on how it was found.
    fit_intercept : bool, default=True
        Whether to have an intercept. It has no penalty, unless ``solver="liblinear"``.
    intercept_scaling : float, default=1
        With ``solver="liblinear"``, the constant that the penalised intercept is the coefficient of.
    class_weight : dict or "balanced", default=None
        Weights of classes, by which the weights of their rows are multiplied. "balanced" gives every class the same
        total; a class that a dict does not name has weight 1.
    solver : str, default="lbfgs"
        As in scikit-learn, without effect but for the penalty of the intercept; "liblinear" takes two classes only.
    classes : array-like of shape (n_classes,), default=None
        Labels that are classes whether or not a row bears them. Without rows a class has an intercept of -inf and
        probability 0.
    guarantee : {"exact", "certified", "guo2020"}, default="exact"
        What is promised about rows that are forgotten. The parameters below are for the second. The third is the method
        of Guo et al. (2020), for comparison: noise_scale is that of the linear term of its objective, n_releases,
        on_budget and feature_scale are not read, and it takes two classes.
    epsilon, delta : float, default=1.0 and 1e-6
        What is published cannot be told from refits to the optimum with the same noise, within these, for all of the
        planned releases together.
    noise_scale : float, default=1e-3
        Standard deviation of the noise on every coefficient and intercept, in units of `feature_scale`.
    n_releases : int, default=1000
        For how many releases epsilon and delta hold jointly. A release is a version of the rows that somebody reads.
    on_budget : {"warn", "raise"}, default="warn"
        What reading a version does once all releases are spent: publish it with a warning, or raise
        `ReleaseBudgetError`. Deleting never stops.
    feature_scale : float or array-like of shape (n_features,), default=None
        Public scales of the columns, 1 by default: the noise on coefficient j is noise_scale / feature_scale[j]. They
        must not be computed from the rows.
    noise_random_state : int, default=None
        For tests: the noise is then predictable, and the guarantee none.
    clip_norm : float, default=1.0
        With ``guarantee="guo2020"``, the norm that longer rows are scaled to in training; public, never the data's
        maximum. They are scored as they are, so scale rows to it before.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients; one row for two classes.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts.
    n_iter_ : ndarray of shape (1,), int32
        Always 1: how many steps led to the optimum is history.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has string names.
    guarantee_ : Guarantee
        ``kind="exact"``, or "certified" with its numbers.
    max_distance_ : float
        Certified: how far the secret point is from the optimum at most, in public units.
    ledger_ : ReleaseLedger
        Certified: how many versions were published, and the joint mu and epsilon of that.
    n_live_ : int
        Number of rows that the model holds.
    forget_report_ : ForgetReport
        What the last `partial_forget` did.

    See Also
    --------
    RidgeClassifier : Classification by least squares.
    sklearn.linear_model.LogisticRegression : The estimator that `release` returns.

    Notes
    -----
    With s_i the weight of row i, the optimum minimises sum_i s_i loss_i(w) + |w|^2 / (2 C). A read after a deletion
    takes a few passes over the rows from the optimum before it; the docstring of `skunlearn._linalg.certificate` states
    the bound and what it rests on. Where a pass in float64 cannot tell two points of the lattice apart, one in
    double-doubles does.

    The certified guarantee is not differential privacy, and hides neither the difference between a release before and
    one after a deletion nor how long a deletion took; docs/certificates.md proves the distance. Coefficients of columns
    that are not near unit scale drown in noise, which `fit` warns about.

    The model keeps its rows; `release` does not.

    Examples
    --------
    >>> from skunlearn.linear_model import LogisticRegression
    >>> X = [[0.0], [1.0], [2.0], [3.0], [9.0]]
    >>> model = LogisticRegression().fit(X, [0, 0, 1, 1, 0], sample_ids=["a", "b", "c", "d", "e"])
    >>> model.partial_forget(["e"]).predict([[0.5], [2.5]])
    array([0, 1])
    """

    _parameter_constraints: dict[str, Any] = {
        "penalty": [StrOptions({"l1", "l2", "elasticnet", "deprecated"}), None],
        "C": [Interval(Real, 0, None, closed="right")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both"), None],
        "dual": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "fit_intercept": ["boolean"],
        "intercept_scaling": [Interval(Real, 0, None, closed="neither")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "random_state": "no_validation",
        "solver": [StrOptions(_SOLVERS)],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "n_jobs": [None, Integral],
        "classes": ["array-like", None],
        "guarantee": [StrOptions({"exact", "certified", "guo2020"})],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "delta": [Interval(Real, 0, 1, closed="neither")],
        "noise_scale": [Interval(Real, 0, None, closed="neither")],
        "n_releases": [Interval(Integral, 1, None, closed="left")],
        "on_budget": [StrOptions({"warn", "raise"})],
        "feature_scale": ["array-like", Interval(Real, 0, None, closed="neither"), None],
        "noise_random_state": [Interval(Integral, 0, None, closed="left"), None],
        "clip_norm": [Interval(Real, 0, None, closed="neither")],
    }

    classes_ = fitted_attribute()
    coef_ = fitted_attribute()
    intercept_ = fitted_attribute()
    n_iter_ = fitted_attribute()

    def __init__(
        self,
        penalty: Any = "deprecated",
        *,
        C: float = 1.0,
        l1_ratio: float = 0.0,
        dual: bool = False,
        tol: float = 1e-4,
        fit_intercept: bool = True,
        intercept_scaling: float = 1,
        class_weight: Any = None,
        random_state: Any = None,
        solver: str = "lbfgs",
        max_iter: int = 100,
        verbose: int = 0,
        warm_start: bool = False,
        n_jobs: Any = None,
        classes: Any = None,
        guarantee: str = "exact",
        epsilon: float = 1.0,
        delta: float = 1e-6,
        noise_scale: float = 1e-3,
        n_releases: int = 1000,
        on_budget: str = "warn",
        feature_scale: Any = None,
        noise_random_state: int | None = None,
        clip_norm: float = 1.0,
    ) -> None:
        self.penalty = penalty
        self.C = C
        self.l1_ratio = l1_ratio
        self.dual = dual
        self.tol = tol
        self.fit_intercept = fit_intercept
        self.intercept_scaling = intercept_scaling
        self.class_weight = class_weight
        self.random_state = random_state
        self.solver = solver
        self.max_iter = max_iter
        self.verbose = verbose
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.classes = classes
        self.guarantee = guarantee
        self.epsilon = epsilon
        self.delta = delta
        self.noise_scale = noise_scale
        self.n_releases = n_releases
        self.on_budget = on_budget
        self.feature_scale = feature_scale
        self.noise_random_state = noise_random_state
        self.clip_norm = clip_norm

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
            If the guarantee is certified and more than 4,000 coefficients are to be found, or
            if the rows have no optimum that can be proved in float64: classes that are separable, without a penalty;
            values or weights that differ by too many orders of magnitude. A model fitted earlier is then unchanged.
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
        """Return the most probable class of every row; of several, the first.

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
        return state.classes_[chosen]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of every class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        scores = self._read(X)[1]
        if scores.shape[1] > 1:
            return exp(log_normalize(scores))
        tail = exp(-np.abs(scores))
        low, high = tail / (1.0 + tail), 1.0 / (1.0 + tail)
        return np.where(scores > 0, np.hstack([low, high]), np.hstack([high, low]))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the log probability of every class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        return ln(self.predict_proba(X))

    # --- the guarantee -----------------------------------------------------------------------------------------------

    @property
    def guarantee_(self) -> Guarantee:
        """What this model promises about the rows it forgot."""
        params = self._require_live().params
        if params["guarantee"] == "exact":
            return super().guarantee_
        if params["guarantee"] == "guo2020":
            return Guarantee(
                kind="approximate" if params["noise_random_state"] is None else "none",
                basis=(
                    "the certificate of Guo et al. 2020, for comparison: it was published for one release and requests "
                    "that do not depend on it, and leaves out how the bound depends on the noise"
                ),
                epsilon=float(params["epsilon"]),
                delta=float(params["delta"]),
                n_releases=1,
            )
        is_hidden = params["noise_random_state"] is None
        return Guarantee(
            kind="certified" if is_hidden else "none",
            basis=(
                "Gaussian noise over a secret point within max_distance of the optimum on the rows that are left: "
                "(epsilon, delta)-indistinguishable from refits to the optimum with the same noise, jointly for "
                "n_releases releases, whatever is requested in between"
                if is_hidden
                else "the noise is predictable, since noise_random_state was given"
            ),
            epsilon=float(params["epsilon"]) if is_hidden else None,
            delta=float(params["delta"]) if is_hidden else None,
            max_distance=self.max_distance_,
            n_releases=int(params["n_releases"]),
            not_covered=("differences between releases before and after a deletion", "how long an operation takes"),
        )

    @property
    def max_distance_(self) -> float:
        """How far the secret point is from the optimum at most, in public units; with a certified guarantee alone."""
        return self._certified_core("max_distance_").max_distance

    @property
    def ledger_(self) -> "ReleaseLedger":
        """What is spent of the guarantee; with a certified one alone. Looking at it spends nothing."""
        core, params = self._certified_core("ledger_"), self._require_live().params
        return ReleaseLedger(
            n_releases=core.ledger.n_releases,
            n_planned=int(params["n_releases"]),
            max_distance=core.max_distance,
            mu=core.ledger.mu,
            delta=float(params["delta"]),
            epsilon=core.ledger.epsilon(float(params["delta"])) if core.ledger.n_releases else 0.0,
        )

    def _secret(self) -> np.ndarray:
        """Return the secret point in public units; what shows it to anybody breaks the guarantee."""
        core, live = self._certified_core("A secret"), self._require_live()
        with live.lock:
            live.settle()
            core.check_published(live)
            coef, intercept = core.secret()
        return np.concatenate([(coef * core.feature_scale).ravel(), intercept])

    def _certified_core(self, name: str) -> CertifiedCore:
        live = self._require_live()
        if live.params["guarantee"] != "certified":
            raise AttributeError(f'{name} is there with guarantee="certified" alone.')
        core: CertifiedCore = live.core  # type: ignore[assignment]
        return core

    def purge(self) -> Self:
        """Derive whatever depends on the history of the rows anew, from the rows alone.

        With ``guarantee="certified"`` the secret point depends, within its distance from the optimum, on rows that
        were forgotten; afterwards it is a function of the live rows. What was published, and the ledger, stay. A saved
        model needs no purge: it holds rows, what was published and the ledger.

        Returns
        -------
        self : object
            The model.
        """
        live = self._require_live()
        self._check_forgettable(live)
        with live.lock:
            live.purge()
        return self

    def _read(self, X: Any) -> tuple["LogisticState", np.ndarray]:
        state = self._published()
        return state, state.scores(self._check_X(self, X, reset=False))

    # --- what the base asks for --------------------------------------------------------------------------------------

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_Core | _Certified | _Guo2020":
        self._refuse_what_is_not_convex_and_smooth(params)
        kinds: dict[str, type[_Core] | type[_Certified] | type[_Guo2020]] = {
            "exact": _Core,
            "certified": _Certified,
            "guo2020": _Guo2020,
        }
        return kinds[params["guarantee"]](type(self).__name__, _without_penalty(params), rows.native.n_features)

    def _refuse_what_is_not_convex_and_smooth(self, params: dict[str, Any]) -> None:
        if params["l1_ratio"] not in (0, None) or params["penalty"] in ("l1", "elasticnet"):
            raise ValueError(
                f"{type(self).__name__} offers no L1 penalty. Nothing was changed. Its optimum is not smooth, and the "
                "proof of the published coefficients does not hold; use l1_ratio=0."
            )
        refuse_class_weights(params["class_weight"])

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        checked = validate_data(estimator, X, accept_sparse="csr", dtype=(np.float64, np.float32), **options)
        if options.get("reset") and "y" in options:
            labels = np.unique(checked[1]) if np.ndim(checked[1]) == 1 else [0, 1]
            if len(labels) < 2:
                raise ValueError(
                    f"{type(self).__name__} needs samples of at least 2 classes in the data, but the data contains "
                    "only one class. Nothing was changed."
                )
            if len(labels) > 2 and estimator.solver == "liblinear":
                raise ValueError(
                    f"The 'liblinear' solver takes two classes, and y has {len(labels)}. Nothing was changed. Use "
                    "another solver, or OneVsRestClassifier."
                )
        return checked

    def _native_twin(self, state: "LogisticState", params: dict[str, Any]) -> Any:
        twin = sklearn.linear_model.LogisticRegression(
            **{name: value for name, value in params.items() if name not in _OWN_PARAMETERS}
        )
        for name in ("classes_", "coef_", "intercept_", "n_iter_"):
            setattr(twin, name, getattr(state, name).copy())
        return twin

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        n_parameters = (1 if n_classes == 2 else n_classes) * (X.shape[1] + 1)
        return 24 * n_parameters**2  # a Hessian, what is measured to be its inverse, and the magnitudes of that

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


@dataclass(frozen=True, slots=True)
class ReleaseLedger:
    """What a certified model has published, and what that amounts to.

    Parameters
    ----------
    n_releases : int
        Versions that were read.
    n_planned : int
        Releases for which epsilon and delta of the guarantee hold jointly.
    max_distance : float
        How far the secret point is from the optimum at most, in each of them.
    mu : float
        Of the Gaussian differential privacy that they have jointly, as indistinguishability from refits.
    delta, epsilon : float
        The delta of the guarantee, and the joint epsilon that goes with it.
    """

    n_releases: int
    n_planned: int
    max_distance: float
    mu: float
    delta: float
    epsilon: float


@dataclass(frozen=True, slots=True, eq=False)
class LogisticState:
    """The published state of one version; its arrays are read-only.

    Parameters
    ----------
    classes_, coef_, intercept_, n_iter_ : ndarray
        As in the estimator.
    """

    classes_: np.ndarray
    coef_: np.ndarray
    intercept_: np.ndarray
    n_iter_: np.ndarray

    def scores(self, X: Any) -> np.ndarray:
        """Return scores of rows that were checked, of shape (n_rows, len(coef_))."""
        out = np.empty((X.shape[0], len(self.coef_)))
        if sp.issparse(X):
            indptr, indices, data = as_native(X)
            kernels.predict_csr(indptr, indices.astype(np.int32, copy=False), data, self.coef_, self.intercept_, out)
        else:
            kernels.predict_dense(np.ascontiguousarray(X), self.coef_, self.intercept_, out)
        return out


class _Core(LogisticCore):
    def publish(self, owner: Owner) -> LogisticState:
        """Return the coefficients; those of declared classes without rows are 0, and their intercepts -inf."""
        return _state_of(owner, *super().publish(owner))


class _Certified(CertifiedCore):
    def publish(self, owner: Owner) -> LogisticState:
        """Return the coefficients with noise; none is on those of declared classes without rows."""
        return _state_of(owner, *super().publish(owner))


class _Guo2020(Guo2020Core):
    def publish(self, owner: Owner) -> LogisticState:
        """Return the coefficients of this training and the steps since."""
        return _state_of(owner, *super().publish(owner))


def _state_of(owner: Owner, coef: np.ndarray, intercept: np.ndarray) -> LogisticState:
    codes, labels = owner.codes.classes()
    if len(coef) > 1 and len(codes) > len(coef):
        present = owner.codes.n_effective[codes] > 0
        some_coef, some_intercepts = coef, intercept
        coef, intercept = np.zeros((len(codes), coef.shape[1])), np.full(len(codes), -np.inf)
        coef[present], intercept[present] = some_coef, some_intercepts
    state = LogisticState(labels, np.ascontiguousarray(coef), intercept, np.ones(1, dtype=np.int32))
    for array in (state.classes_, state.coef_, state.intercept_, state.n_iter_):
        array.flags.writeable = False
    return state


def _without_penalty(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters where C alone says how strong the penalty is."""
    return {**params, "C": np.inf} if params["penalty"] is None else params


def refuse_class_weights(class_weight: Any) -> None:
    """Refuse a dict of weights that are not finite numbers of at least 0."""
    if not isinstance(class_weight, dict):
        return
    weights = list(class_weight.values())
    n_wrong = sum(not (isinstance(weight, Real) and 0 <= float(weight) < np.inf) for weight in weights)
    if n_wrong:
        raise ValueError(
            f"{n_wrong} of {len(weights)} entries of class_weight are no finite numbers of at least 0. Nothing was "
            "changed. With a negative weight the objective has no optimum."
        )
