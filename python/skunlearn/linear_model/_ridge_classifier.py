"""Ridge regression on class labels that forgets exactly."""

import math
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import sklearn.linear_model
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelBinarizer

from skunlearn._linalg.class_sums import as_integers, as_limbs
from skunlearn._linalg.moments import Moments, Rows
from skunlearn.base import ForgetMixin, fitted_attribute
from skunlearn.class_codes import best_columns, distinct_labels
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.linear_model._least_squares import SUMMED_AS, MomentCore, finite, linear_scores, refuse_positive
from skunlearn.linear_model._normal_equations import NormalEquations, intercepts, triangle
from skunlearn.live import Owner
from skunlearn.rows import RowBlock, RowStore
from skunlearn.utils._sklearn_compat import Interval, StrOptions, fit_context, validate_data

__all__ = ["RidgeClassifier"]


class RidgeClassifier(ClassifierMixin, ForgetMixin):
    """Classifier by ridge regression on targets of -1 and 1, one for each class, that forgets rows exactly.

    What is kept of the rows are exact integer sums, so `partial_forget` is their subtraction: afterwards the model
    equals, bit for bit, one fitted on the rows that are left. Coefficients are the float64 numbers nearest to the
    optimum, proved, so no bit of them depends on a solver, BLAS, threads or processor. That holds for
    ``class_weight="balanced"``, too, whose weights change with every row.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength of the penalty, at least 0 and finite.
    fit_intercept : bool, default=True
        Whether to calculate the intercept, which is not penalised.
    copy_X : bool, default=True
        Without effect: X is never changed. For compatibility, as `max_iter`, `tol`, `solver` and `random_state`.
    max_iter : int, default=None
        Without effect: the optimum itself is published.
    tol : float, default=1e-4
        Without effect.
    class_weight : dict or "balanced", default=None
        What multiplies the weights of the rows of each class: given, finite and at least 0, 1 for a class that is not
        named; or n / (n_classes * n_class), in numbers of live rows of a weight above 0, for "balanced".
    solver : {"auto", "svd", "cholesky", "lsqr", "sparse_cg", "sag", "saga", "lbfgs"}, default="auto"
        Without effect.
    positive : bool, default=False
        Must be False: which coefficients are zero would be decided by an iterative solver.
    random_state : int, RandomState instance, Key or None, default=None
        Without effect: nothing is random.
    classes : array-like of shape (n_classes,), default=None
        Labels that are classes whether or not a row bears them; without rows they are not predicted. Recommended in
        production: it keeps the shape of every output when a class loses its last row.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    coef_ : ndarray of shape (n_features,) or (n_classes, n_features)
        Coefficients, float64 also where X is float32; of one dimension for up to two classes.
    intercept_ : float or ndarray of shape (1,) or (n_classes,)
        The float64 nearest to the mean target minus the mean of ``X @ coef_.T``; 0.0 without an intercept.
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
    Ridge : The same regression on numbers.
    sklearn.linear_model.RidgeClassifier : The estimator that `release` returns.

    Notes
    -----
    With S the sum of all rows x_i and S_k that of class k, X'y for the targets of class k is 2 S_k - S: beside the Gram
    matrix of `Ridge` [1]_ the model keeps one sum for each class. With `class_weight` it keeps a Gram matrix for each,
    and adds their multiples in rational arithmetic when it is read, O(n_classes n_features^2). Values enter, and
    forgetting takes time, as in `Ridge`.

    Multilabel targets are refused: a row has one class here, by which it is counted. `n_iter_` and `solver_` are not
    offered; a release has them. The model keeps its rows; `release` does not.

    References
    ----------
    .. [1] A. E. Hoerl, R. W. Kennard, "Ridge Regression: Biased Estimation for Nonorthogonal Problems", Technometrics
       12, 1970.

    Examples
    --------
    >>> from skunlearn.linear_model import RidgeClassifier
    >>> X, y = [[0.0], [1.0], [3.0], [4.0], [9.0]], ["no", "no", "yes", "yes", "no"]
    >>> model = RidgeClassifier().fit(X, y, sample_ids=["a", "b", "c", "d", "e"])
    >>> model.partial_forget(["e"]).predict([[1.5], [2.5]])
    array(['no', 'yes'], dtype='<U3')
    """

    _parameter_constraints: dict[str, Any] = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "fit_intercept": ["boolean"],
        "copy_X": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="left")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "solver": [StrOptions({"auto", "svd", "cholesky", "lsqr", "sparse_cg", "sag", "saga", "lbfgs"})],
        "positive": ["boolean"],
        "random_state": "no_validation",
        "classes": ["array-like", None],
    }

    classes_ = fitted_attribute()
    coef_ = fitted_attribute()
    intercept_ = fitted_attribute()

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        fit_intercept: bool = True,
        copy_X: bool = True,
        max_iter: int | None = None,
        tol: float = 1e-4,
        class_weight: Any = None,
        solver: str = "auto",
        positive: bool = False,
        random_state: Any = None,
        classes: Any = None,
    ) -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.copy_X = copy_X
        self.max_iter = max_iter
        self.tol = tol
        self.class_weight = class_weight
        self.solver = solver
        self.positive = positive
        self.random_state = random_state
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
            Class labels.
        sample_weight : float or array-like of shape (n_samples,), default=None
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
        sample_weight : float or array-like of shape (n_samples,), default=None
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
        """Return what the regression predicts: the larger, the more of a class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
            For up to two classes, above 0 for the second. A row alone gives the bits that it gives in bulk.
        """
        state = self._published()
        return state.scores(self._check_X(self, X, reset=False))

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of the largest score for every row; of several, the first.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Class labels. A declared class without rows is never predicted.
        """
        state = self._published()
        return state.predict(self._check_X(self, X, reset=False))

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_RidgeClassifierCore":
        return _RidgeClassifierCore(type(self).__name__, params, rows.native.n_features)

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        y = options.get("y")
        if y is not None and (sp.issparse(y) or np.asarray(y).shape[1:] not in ((), (1,))):
            raise ValueError(
                f"y has more than one column, and {type(self).__name__} does not offer multilabel targets: a row has "
                "one class here, by which its sums are kept. Nothing was changed. Fit one model a column."
            )
        return validate_data(estimator, X, accept_sparse="csr", dtype=(np.float64, np.float32), **options)

    def _targets_like(self, y: Any, classes: Any) -> Any:
        targets = super()._targets_like(y, classes)
        if isinstance(self.class_weight, dict):
            _check_named_classes(self.class_weight, distinct_labels(y if classes is None else classes)[0].tolist())
        return targets

    def _native_twin(self, state: "RidgeClassifierState", params: dict[str, Any]) -> Any:
        given = {name: value for name, value in params.items() if name != "classes"}
        twin = sklearn.linear_model.RidgeClassifier(**given)
        twin.classes_ = state.classes_.copy()
        twin.coef_ = state.coef_.copy()
        twin.intercept_ = np.copy(state.intercept_) if np.ndim(state.intercept_) else state.intercept_
        twin.n_iter_, twin.solver_ = None, "cholesky"
        twin._label_binarizer = LabelBinarizer(neg_label=-1).fit(state.classes_)
        return twin

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        n_columns = 1 + X.shape[1]
        gram = 16 * n_columns * (n_columns + 1) // 2
        return gram + 24 * n_classes * n_columns if self.class_weight is None else n_classes * gram

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


@dataclass(frozen=True, slots=True, eq=False)
class RidgeClassifierState:
    """The published state of one version; its arrays are read-only.

    Parameters
    ----------
    classes_, coef_, intercept_ : ndarray
        As in the estimator.
    has_rows : ndarray of shape (n_classes,), bool
        Which classes have rows of a weight above 0.
    """

    classes_: np.ndarray
    coef_: np.ndarray
    intercept_: Any
    has_rows: np.ndarray

    def scores(self, X: Any) -> np.ndarray:
        """Return scores for rows that were checked."""
        scores = linear_scores(X, self.coef_, self.intercept_)
        return scores[:, 0] if self.coef_.ndim == 1 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Return labels for rows that were checked."""
        scores = self.scores(X)
        if scores.ndim == 1:
            scores = np.column_stack([-scores, scores])[:, : len(self.classes_)]
        return self.classes_[best_columns(scores, self.has_rows)]


class _RidgeClassifierCore(MomentCore):
    """Exact moments of X: one Gram matrix and a sum for each class, or a Gram matrix for each where classes weigh."""

    def __init__(self, model_name: str, params: dict[str, Any], n_features: int) -> None:
        refuse_positive(model_name, params)
        if not math.isfinite(params["alpha"]):
            raise ValueError("alpha is not finite. Nothing was changed. A penalty must be finite and at least 0.")
        self._class_weight: Any = params["class_weight"]
        if isinstance(self._class_weight, dict):
            _check_class_weight(self._class_weight)
        super().__init__(model_name, Moments(n_features, dtype=SUMMED_AS, class_sums=self._class_weight is None))
        self._n_features = n_features
        self._alpha = float(params["alpha"])
        self._fit_intercept: bool = params["fit_intercept"]

    def _as_rows(self, block: RowBlock) -> Rows:
        assert block.y is not None
        return Rows(block.X, None, block.weight, block.y[:, 0].astype(np.int32))

    def _numbers(self, y: Any) -> None:
        return None

    def publish(self, owner: Owner) -> RidgeClassifierState:
        """Return the solution."""
        self._require_rows()
        codes, labels = owner.codes.classes()
        has_rows = owner.codes.n_effective[codes] > 0
        sums = self._sums(codes.tolist(), labels.tolist(), owner.codes.n_effective[codes].tolist())
        if sums.total == 0:
            raise DegenerateRowsError(
                f"All rows that are left in this {self._model_name} are of classes to which class_weight gives 0, so "
                "there is nothing to predict from. Call partial_fit or fit."
            )
        coef = sums.solve(self._alpha, fit_intercept=self._fit_intercept)
        finite(coef, self._model_name)
        intercept: Any = sums.intercepts(coef) if self._fit_intercept else 0.0
        coef = np.ascontiguousarray(coef[0] if len(coef) == 1 else coef)
        for array in (labels, coef, *([intercept] if self._fit_intercept else [])):
            array.flags.writeable = False
        return RidgeClassifierState(labels, coef, intercept, has_rows)

    def _sums(self, codes: list[int], labels: list[Any], counts: list[int]) -> "_WeightedSums":
        """Return sums of rows weighted by class; those of each class in the order of labels."""
        shifts = self._moments.shifts.tolist()
        if self._class_weight is None:
            of_class = [self._moments.class_sums(code) for code in codes]
            slack = 5 * sum(counts) if self._moments.has_weights else None
            return _WeightedSums(self._moments.limbs(), of_class, Fraction(1), shifts, slack)
        integers, unit = _common(self._weights(labels, counts))
        chosen = [(code, k) for code, k in zip(codes, integers, strict=True) if k and self._moments.n_rows_of(code)]
        of_class = [[0] * self._moments.n_columns for _ in codes]
        total: Any = 0
        for code, k in chosen:
            total = np.array(as_integers(self._moments.limbs(code)), dtype=object) * k + total
            of_class[codes.index(code)] = [k * s for s in self._moments.sums(code)]
        if not chosen:
            total = np.zeros(self._moments.n_columns * (self._moments.n_columns + 1) // 2, dtype=object)
        slack = 5 * sum(k * n for k, n in zip(integers, counts, strict=True)) if self._moments.has_weights else None
        return _WeightedSums(as_limbs(total.tolist()), of_class, unit, shifts, slack)

    def _weights(self, labels: list[Any], counts: list[int]) -> list[Fraction]:
        """Return what multiplies the rows of each class."""
        if isinstance(self._class_weight, dict):
            return [Fraction(float(self._class_weight.get(label, 1))) for label in labels]
        n_rows, n_classes = sum(counts), np.count_nonzero(counts)
        return [Fraction(n_rows, int(n_classes) * n) if n else Fraction(0) for n in counts]

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the exact sums and their scales, classes in the order of their labels."""
        codes = owner.codes.classes()[0].tolist()
        if self._class_weight is not None:
            return self._moments.digest_parts(codes)
        parts = self._moments.digest_parts()
        return [*parts, *(as_limbs(self._moments.class_sums(code), 3).astype("<i8").tobytes() for code in codes)]


@dataclass(frozen=True, slots=True)
class _WeightedSums:
    """Gram matrix of [c | X] and sums of classes, all times `unit`.

    Parameters
    ----------
    gram : ndarray of shape (n_columns * (n_columns + 1) // 2, n_limbs), int64
        The lower triangle packed by rows.
    of_class : list of list of int
        Column 0 of the Gram matrix of each class.
    unit : Fraction
        What multiplies all of it.
    shifts : list of int
        Scales, as in `Moments`.
    slack : int or None
        5 times the weighted number of rows where they have weights: see `Moments.constant_columns`.
    """

    gram: np.ndarray
    of_class: list[list[int]]
    unit: Fraction
    shifts: list[int]
    slack: int | None

    @property
    def n_columns(self) -> int:
        return len(self.shifts)

    @property
    def sums(self) -> list[int]:
        """Column 0 of the Gram matrix."""
        return as_integers(self.gram[np.cumsum(np.arange(self.n_columns))])

    @property
    def total(self) -> int:
        """Total weight."""
        return self.sums[0]

    def of_targets(self) -> list[list[int]]:
        """Return sums of rows times their target: 2 S_k - S, for the second of two classes or for each of several."""
        sums = self.sums
        classes = self.of_class if len(self.of_class) > 2 else self.of_class[1:] or [[0] * self.n_columns]
        return [[2 * s_k - s for s_k, s in zip(of_class, sums, strict=True)] for of_class in classes]

    def solve(self, alpha: float, *, fit_intercept: bool) -> np.ndarray:
        """Return coefficients of shape (n_targets, n_features)."""
        if len(self.of_class) == 1:
            return np.zeros((1, self.n_columns - 1))  # without an intercept, a score above 0 would name a second class
        gram, moments, denominator = self._centred() if fit_intercept else self._raw()
        d = self.n_columns - 1
        features, root = np.array(self.shifts[1:], dtype=np.int64), self.shifts[0]
        equations = NormalEquations(
            triangle(as_limbs(gram), 0, d),
            as_limbs([m for of_target in moments for m in of_target]).reshape(len(moments), d, -1).swapaxes(0, 1),
            denominator * self.unit.denominator,
            features,
            np.full(len(moments), root, dtype=np.int64),
        )
        constant = self._constant(gram) if fit_intercept else np.zeros(d, dtype=bool)
        return equations.solve(np.full(len(moments), alpha), constant)[0]

    def _raw(self) -> tuple[list[int], list[list[int]], int]:
        d, k = self.n_columns - 1, self.unit.numerator
        square = triangle(self.gram, 1, d)[np.tril_indices(d)]
        return [k * g for g in as_integers(square)], [[k * m for m in t[1:]] for t in self.of_targets()], 1

    def _centred(self) -> tuple[list[int], list[list[int]], int]:
        """Return Gram matrix and moments about the means, times the total weight."""
        (total, *sums), k = self.sums, self.unit.numerator
        d = len(sums)
        products = np.array(as_integers(triangle(self.gram, 1, d)[np.tril_indices(d)]), dtype=object)
        firsts = np.array(sums, dtype=object)
        gram = k * (total * products - np.outer(firsts, firsts)[np.tril_indices(d)])
        moments = [
            [k * (total * m - s * of_ones) for m, s in zip(rest, sums, strict=True)]
            for of_ones, *rest in self.of_targets()
        ]
        return gram.tolist(), moments, total

    def _constant(self, centred: list[int]) -> np.ndarray:
        """Return which columns do not vary, as far as rounding lets tell: see `Moments.constant_columns`."""
        last = np.cumsum(np.arange(1, self.n_columns + 1)) - 1
        total, *squares = as_integers(self.gram[last])
        spreads = [centred[i] for i in last[:-1].tolist()]
        if self.slack is None:
            return np.array(spreads) == 0
        slack, k = self.slack, self.unit.numerator
        return np.array([s <= k * total * ((g >> 103) + slack) for s, g in zip(spreads, squares, strict=True)])

    def intercepts(self, coef: np.ndarray) -> np.ndarray:
        """Return what the means leave to the intercepts."""
        (total, *sums), (root, *features) = self.sums, self.shifts
        of_targets = [t[0] for t in self.of_targets()]
        return intercepts(coef, total, root, sums, features, of_targets, [root] * len(coef))


def _common(weights: list[Fraction]) -> tuple[list[int], Fraction]:
    """Return integers without a common factor, and the fraction that makes them the weights again."""
    denominator = math.lcm(*(w.denominator for w in weights))
    integers = [w.numerator * (denominator // w.denominator) for w in weights]
    factor = math.gcd(*integers) or 1
    return [i // factor for i in integers], Fraction(factor, denominator)


def _check_class_weight(class_weight: dict[Any, Any]) -> None:
    wrong = [w for w in class_weight.values() if not (isinstance(w, Real) and math.isfinite(w) and float(w) >= 0)]
    if wrong:
        raise ValueError(
            f"{len(wrong)} of {len(class_weight)} entries of class_weight are no numbers, negative or not finite. "
            "Nothing was changed. Weights must be finite and at least 0."
        )


def _check_named_classes(class_weight: dict[Any, Any], labels: list[Any]) -> None:
    """Refuse, as scikit-learn does, a class_weight that leaves out a class and names something else instead."""
    n_unnamed = sum(label not in class_weight for label in labels)
    if n_unnamed and len(labels) - n_unnamed != len(class_weight):
        raise ValueError(
            f"class_weight leaves out {n_unnamed} of {len(labels)} classes, and names labels that are no class. "
            "Nothing was changed. Name every class, or only classes."
        )
