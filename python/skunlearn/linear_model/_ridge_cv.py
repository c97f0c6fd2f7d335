"""Ridge regression that chooses its penalty by cross-validation, and forgets exactly: the choice is made anew, too."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral, Real
from typing import Any

import numpy as np
import sklearn.linear_model
from _unlearn_native._native import prf

from skunlearn._linalg.class_sums import as_limbs
from skunlearn._linalg.moments import Moments, Rows
from skunlearn.base import fitted_attribute
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.linear_model._least_squares import SUMMED_AS, LeastSquares, LeastSquaresState, MomentCore, finite
from skunlearn.linear_model._normal_equations import NormalEquations, intercepts
from skunlearn.live import Owner
from skunlearn.rows import RowBlock, RowStore
from skunlearn.utils._sklearn_compat import Interval, StrOptions

__all__ = ["RidgeCV"]

_PURPOSE = "RidgeCV.fold"
_SCORINGS = ("r2", "neg_mean_squared_error")


class RidgeCV(LeastSquares):
    """Ridge regression with built-in cross-validation that forgets rows exactly.

    A row's fold is a keyed hash of its id, so no other row moves when it goes. Of every fold exact integer sums are
    kept; from them penalties are compared, and the best one is chosen anew, whenever the rows have changed. So
    `partial_forget` leaves, bit for bit, the model fitted with the same key on the rows that are left, and that goes
    for the choice of `alpha_`.

    Parameters
    ----------
    alphas : float or array-like of shape (n_alphas,), default=(0.1, 1.0, 10.0)
        Penalties to choose from, at least 0 and finite.
    fit_intercept : bool, default=True
        Whether to calculate the intercept, which is not penalised.
    scoring : {"r2", "neg_mean_squared_error"} or None, default=None
        How a fold is judged; None is "r2". Other scores are no functions of sums, and are refused.
    cv : int
        Number of folds, at least 2. The default of scikit-learn, None for leave-one-out, is refused, since it needs
        the leverage of every row; ``cv=5`` is a good choice. Splitters are refused: which fold a row is in would
        depend on other rows.
    gcv_mode : {"auto", "svd", "eigen"} or None, default=None
        Without effect: for leave-one-out.
    store_cv_results : bool, default=False
        Must be False, as in scikit-learn where `cv` is a number.
    alpha_per_target : bool, default=False
        Must be False, as in scikit-learn where `cv` is a number.
    random_state : int, RandomState instance, Key or None, default=None
        Source of the key of the folds; None draws one from the operating system. An int is public: who knows it and
        may choose ids can choose folds.

    Attributes
    ----------
    alpha_ : float
        The penalty of the best mean score over the folds; of several, the first in `alphas`.
    best_score_ : float
        Its mean score, rounded once; NaN where fewer than two folds have rows, and the first of `alphas` is taken.
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients for all rows, float64 also where X is float32.
    intercept_ : float or ndarray of shape (n_targets,)
        The float64 nearest to the mean of y minus that of ``X @ coef_.T``; 0.0 without an intercept.
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
    Ridge : With one penalty.
    sklearn.linear_model.RidgeCV : The estimator that `release` returns.

    Notes
    -----
    Cross-validation after [1]_. With G the matrix of sums of products of (1, x, y) over the rows of a fold, the sum of
    squared errors of (b, w) on it is v'Gv, v = (-b, -w, 1). Coefficients come from the sums of all other folds, as in
    `Ridge`; errors, scores and their mean over the folds that have rows are rational numbers, and compared as such.
    Targets count alike. The errors of weighted rows are weighted, as in scikit-learn under metadata routing only.

    Folds differ in size by chance. Forgetting takes time as in `Ridge`; the next read O(n_folds n_alphas n_features^3).
    The model keeps its rows; `release` does not.

    References
    ----------
    .. [1] M. Stone, "Cross-Validatory Choice and Assessment of Statistical Predictions", Journal of the Royal
       Statistical Society B 36, 1974.

    Examples
    --------
    >>> from skunlearn.linear_model import RidgeCV
    >>> X = [[float(i), float(i % 3)] for i in range(12)]
    >>> model = RidgeCV(cv=3, random_state=0).fit(X, [2 * a + b for a, b in X])
    >>> model.partial_forget([0, 5]).alpha_
    0.1
    """

    _tags_rows = True

    _parameter_constraints: dict[str, Any] = {
        "alphas": ["array-like", Interval(Real, 0, None, closed="left")],
        "fit_intercept": ["boolean"],
        "scoring": "no_validation",
        "cv": "no_validation",
        "gcv_mode": [StrOptions({"auto", "svd", "eigen"}), None],
        "store_cv_results": ["boolean"],
        "alpha_per_target": ["boolean"],
        "random_state": "no_validation",
    }

    alpha_ = fitted_attribute()
    best_score_ = fitted_attribute()

    def __init__(
        self,
        alphas: Any = (0.1, 1.0, 10.0),
        *,
        fit_intercept: bool = True,
        scoring: str | None = None,
        cv: int | None = None,
        gcv_mode: str | None = None,
        store_cv_results: bool = False,
        alpha_per_target: bool = False,
        random_state: Any = None,
    ) -> None:
        self.alphas = alphas
        self.fit_intercept = fit_intercept
        self.scoring = scoring
        self.cv = cv
        self.gcv_mode = gcv_mode
        self.store_cv_results = store_cv_results
        self.alpha_per_target = alpha_per_target
        self.random_state = random_state

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_RidgeCVCore":
        return _RidgeCVCore(type(self).__name__, params, rows)

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        checked = super()._check_X(estimator, X, **options)
        if options.get("reset"):
            n_folds, n_rows = _checked_cv(type(self).__name__, estimator.cv), checked[0].shape[0]
            if n_rows < n_folds:
                raise DegenerateRowsError(
                    f"cv={n_folds} folds are more than the n_samples={n_rows} rows. Nothing was changed. Set cv to at "
                    "most the number of rows."
                )
        return checked

    def _native_twin(self, state: "RidgeCVState", params: dict[str, Any]) -> Any:
        twin = sklearn.linear_model.RidgeCV(**params)
        twin.coef_ = state.coef_.copy()
        twin.intercept_ = np.copy(state.intercept_) if np.ndim(state.intercept_) else state.intercept_
        twin.alpha_, twin.best_score_ = state.alpha_, state.best_score_
        return twin

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        return _checked_cv(type(self).__name__, self.cv) * super()._core_nbytes(X, n_classes, n_targets)


@dataclass(frozen=True, slots=True, eq=False)
class RidgeCVState(LeastSquaresState):
    """The published state of one version; its arrays are read-only.

    Parameters
    ----------
    alpha_, best_score_ : float
        As in the estimator.
    """

    alpha_: float
    best_score_: float


class _RidgeCVCore(MomentCore):
    """Exact moments of every fold, and the best penalty that they determine."""

    def __init__(self, model_name: str, params: dict[str, Any], rows: RowStore) -> None:
        self._n_folds = _checked_cv(model_name, params["cv"])
        self._alphas = _checked_alphas(params["alphas"])
        self._scoring = _checked_scoring(model_name, params["scoring"])
        for name in ("store_cv_results", "alpha_per_target"):
            if params[name]:
                raise ValueError(
                    f"{model_name} does not offer {name}=True, which belongs to leave-one-out. Nothing was changed. "
                    f"Set {name}=False."
                )
        self._n_features: int = rows.native.n_features
        self._fit_intercept: bool = params["fit_intercept"]
        super().__init__(model_name, Moments(self._n_features, rows.native.n_targets, dtype=SUMMED_AS))

    def _as_rows(self, block: RowBlock) -> Rows:
        assert block.tags is not None
        return Rows(block.X, block.y, block.weight, folds_of(block.tags, self._n_folds))

    def publish(self, owner: Owner) -> RidgeCVState:
        """Return the solution for the best penalty."""
        self._require_rows()
        folds = [self._sums_of(code) for code in self._moments.codes]
        total = folds[0]
        for fold in folds[1:]:
            total += fold
        alpha, score = self._choose(folds, total)
        coef, intercept, rank = self._solve(total, alpha)
        has_columns = owner.targets.schema()["target_dimensions"] == 2
        coef = np.ascontiguousarray(coef[0] if len(coef) == 1 else coef)
        for array in (coef, intercept):
            array.flags.writeable = False
        if not self._fit_intercept:
            return RidgeCVState(coef, 0.0, rank, alpha, score)
        return RidgeCVState(coef, intercept if has_columns else intercept[0], rank, alpha, score)

    def _sums_of(self, code: int) -> "_Sums":
        gram = np.array(self._moments.integers(code), dtype=object)
        slack = 5 * self._moments.n_rows_of(code) if self._moments.has_weights else 0
        return _Sums(gram, self._moments.shifts.tolist(), self._n_features, self._moments.has_weights, slack)

    def _choose(self, folds: list["_Sums"], total: "_Sums") -> tuple[float, float]:
        """Return the penalty of the best mean score, and that score."""
        folds = [fold for fold in folds if fold.total]  # weights may be lost beside the largest of another fold
        if len(folds) < 2:
            return self._alphas[0], math.nan
        best, choice = None, self._alphas[0]
        for alpha in self._alphas:
            score = sum(self._scores(folds, total, alpha), Fraction(0)) / len(folds)
            if best is None or score > best:
                best, choice = score, alpha
        assert best is not None
        return choice, _nearest(best)

    def _scores(self, folds: list["_Sums"], total: "_Sums", alpha: float) -> Iterator[Fraction]:
        """Yield the score of every fold under the solution for all others."""
        for fold in folds:
            coef, intercept, _ = self._solve(total - fold, alpha)
            yield fold.score(coef, intercept, self._scoring)

    def _solve(self, sums: "_Sums", alpha: float) -> tuple[np.ndarray, np.ndarray, int]:
        """Return coefficients, intercepts and rank."""
        coef, rank = sums.solve(alpha, fit_intercept=self._fit_intercept)
        finite(coef, self._model_name)
        return coef, sums.intercepts(coef) if self._fit_intercept else np.zeros(len(coef)), rank


@dataclass(frozen=True, slots=True)
class _Sums:
    """Gram matrix of [c | X | y] in Python integers.

    Parameters
    ----------
    gram : ndarray of shape (n_columns, n_columns), object
        Symmetric.
    shifts : list of int
        Column j holds z_j * 2**shifts[j].
    n_features : int
        Columns of X.
    has_weights : bool
        Whether products with roots of weights are rounded.
    slack : int
        5 times the number of rows then: see `Moments.constant_columns`.
    """

    gram: np.ndarray
    shifts: list[int]
    n_features: int
    has_weights: bool
    slack: int

    def __add__(self, other: "_Sums") -> "_Sums":
        return _Sums(self.gram + other.gram, self.shifts, self.n_features, self.has_weights, self.slack + other.slack)

    def __sub__(self, other: "_Sums") -> "_Sums":
        return _Sums(self.gram - other.gram, self.shifts, self.n_features, self.has_weights, self.slack - other.slack)

    @property
    def total(self) -> int:
        """Total weight."""
        return int(self.gram[0, 0])

    def spread(self, j: int) -> int:
        """Return the sum of squares of column j about its mean, times the total; 0 where it may be rounding."""
        spread, square = self.total * self.gram[j, j] - self.gram[0, j] ** 2, self.gram[j, j]
        is_rounding = self.has_weights and spread <= self.total * ((square >> 103) + self.slack)
        return 0 if is_rounding else int(spread)

    def solve(self, alpha: float, *, fit_intercept: bool) -> tuple[np.ndarray, int]:
        """Return coefficients of shape (n_targets, n_features), and the rank."""
        d, gram, denominator = self.n_features, self.gram[1:, 1:], 1
        if fit_intercept:
            firsts, denominator = self.gram[1:, 0], self.total
            gram = denominator * gram - np.outer(firsts, firsts)
        limbs = as_limbs(gram.ravel().tolist()).reshape(*gram.shape, -1)
        shifts = np.array(self.shifts[1:], dtype=np.int64)
        equations = NormalEquations(limbs[:d, :d], limbs[:d, d:], denominator, shifts[:d], shifts[d:])
        constant = np.array([fit_intercept and self.spread(1 + j) == 0 for j in range(d)], dtype=bool)
        return equations.solve(np.full(len(shifts) - d, alpha), constant)

    def intercepts(self, coef: np.ndarray) -> np.ndarray:
        """Return what the means leave to the intercepts."""
        d, (total, *sums), (root, *shifts) = self.n_features, self.gram[0].tolist(), self.shifts
        return intercepts(coef, total, root, sums[:d], shifts[:d], sums[d:], shifts[d:])

    def score(self, coef: np.ndarray, intercept: np.ndarray, scoring: str) -> Fraction:
        """Return the mean score over the targets, exactly."""
        scores = [self._score_of(t, row, b, scoring) for t, (row, b) in enumerate(zip(coef, intercept, strict=True))]
        return sum(scores, Fraction(0)) / len(scores)

    def _score_of(self, target: int, coef: np.ndarray, intercept: float, scoring: str) -> Fraction:
        at = 1 + self.n_features + target
        error = self._squared_error(at, coef, intercept)
        if scoring == "neg_mean_squared_error":
            return -error / (self.total * _power(-2 * self.shifts[0]))
        spread = self.spread(at)
        if spread == 0:  # as scikit-learn's r2_score
            return Fraction(int(error == 0))
        return 1 - error * self.total / (spread * _power(-2 * self.shifts[at]))

    def _squared_error(self, at: int, coef: np.ndarray, intercept: float) -> Fraction:
        """Return the sum of weighted squares of y - b - x'w."""
        columns = [0, *range(1, 1 + self.n_features), at]
        fractions, exponents = np.frexp(np.array([-intercept, *-coef, 1.0]))
        integers = np.ldexp(fractions, 53).astype(np.int64).tolist()
        powers = [e - 53 - self.shifts[j] for e, j in zip(exponents.tolist(), columns, strict=True)]
        lowest = min(powers)
        v = np.array([i << (p - lowest) for i, p in zip(integers, powers, strict=True)], dtype=object)
        return Fraction(int(v @ self.gram[np.ix_(columns, columns)] @ v)) * _power(2 * lowest)


def folds_of(tags: np.ndarray, n_folds: int) -> np.ndarray:
    """Return the fold of every row: tags are keyed already, and the hash parts this use of them from any other."""
    public, raw = bytes(32), tags.astype("<u8").tobytes()
    hashes = (prf(public, _PURPOSE, raw[i : i + 16]) for i in range(0, len(raw), 16))
    return np.array([int.from_bytes(h[:8], "little") % n_folds for h in hashes], dtype=np.int32)


def _power(exponent: int) -> Fraction:
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)


def _nearest(score: Fraction) -> float:
    try:
        return float(score)
    except OverflowError:
        return -math.inf


def _checked_cv(model_name: str, cv: Any) -> int:
    if isinstance(cv, Integral) and not isinstance(cv, bool) and int(cv) >= 2:
        return int(cv)
    reason = "is leave-one-out, which needs the leverage of every row" if cv is None else "is no number of folds"
    raise ValueError(
        f"cv={cv if cv is None or isinstance(cv, Integral) else type(cv).__name__} {reason}. Nothing was changed. "
        f"{model_name} takes an integer of at least 2: use cv=5."
    )


def _checked_alphas(alphas: Any) -> list[float]:
    penalties = np.atleast_1d(np.asarray(alphas, dtype=np.float64)).ravel()
    n_wrong = int(np.count_nonzero(~((penalties >= 0) & np.isfinite(penalties))))
    if n_wrong or len(penalties) == 0:
        raise ValueError(
            f"{n_wrong} of {len(penalties)} alphas are negative or not finite. Nothing was changed. Give at least one, "
            "and penalties that are finite and at least 0."
        )
    return penalties.tolist()


def _checked_scoring(model_name: str, scoring: Any) -> str:
    if scoring is None:
        return "r2"
    if isinstance(scoring, str) and scoring in _SCORINGS:
        return scoring
    raise ValueError(
        f"{model_name} does not offer this scoring: a fold is judged by its sums, and most scores are no function of "
        f"them. Nothing was changed. Use {' or '.join(map(repr, _SCORINGS))}."
    )
