"""Selection by univariate tests that forgets exactly."""

from collections.abc import Callable
from numbers import Integral
from typing import Any, Self

import numpy as np
import sklearn.feature_selection
from sklearn.feature_selection import chi2, f_classif, f_regression

from skunlearn.base import ForgetMixin, fitted_attribute
from skunlearn.class_codes import ClassCodes
from skunlearn.feature_selection._mask import ForgettingSelectorMixin
from skunlearn.feature_selection._score_cores import (
    ChiSquareCore,
    ClassScoreCore,
    CorrelationCore,
    ScoreCore,
    SelectKBestState,
)
from skunlearn.rows import RowStore
from skunlearn.targets import Labels, Targets, Values
from skunlearn.utils._sklearn_compat import Interval, StrOptions, fit_context, validate_data

__all__ = ["SelectKBest"]

_CORES: dict[Callable[..., Any], type[ScoreCore]] = {
    chi2: ChiSquareCore,
    f_classif: ClassScoreCore,
    f_regression: CorrelationCore,
}


class _Groups(Labels):
    """Class labels of which none is published, so that none is missed."""

    def n_vanishing(self, columns: np.ndarray | None, weight: np.ndarray | None) -> tuple[int, int]:
        return 0, 0


class SelectKBest(ForgettingSelectorMixin, ForgetMixin):
    """Select the features with the highest scores of a univariate test, forgetting rows exactly.

    What is kept of the rows are exact integer sums, so `partial_forget` is their subtraction: afterwards the selector
    equals, bit for bit, one fitted on the rows that are left. Scores are rational numbers, rounded once. The transform
    changes only when features change places across rank `k`.

    Parameters
    ----------
    score_func : {f_classif, chi2, f_regression}, default=f_classif
        One of these functions of `sklearn.feature_selection`. Others are refused: what they need of the rows is not
        known, so they could not be forgotten.
    k : int or "all", default=10
        How many features to keep.

    Attributes
    ----------
    scores_ : ndarray of shape (n_features,)
        The score of each feature, the float64 nearest to it; NaN where the test says nothing.
    pvalues_ : ndarray of shape (n_features,)
        The p-values that go with the scores.
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
    VarianceThreshold : Selection without a target.
    sklearn.feature_selection.SelectKBest : The estimator that `release` returns.

    Notes
    -----
    With sums S_c of a feature over the n_c rows of each of C classes, S over all n, and Q the sum of squares, and with
    B = sum_c S_c^2 / n_c - S^2 / n:

    - ``f_classif``: F = (B / (C - 1)) / ((Q - S^2 / n - B) / (n - C));
    - ``chi2``: (n / S) sum_c S_c^2 / n_c - S, for features without negative values;
    - ``f_regression``: F = (n - 2) P^2 / (V_x V_y - P^2) with the variances and the covariance of feature and target.
      A constant feature or target gives 0, and a perfect fit the largest float64.

    Every value enters as an integer, rounded by at most 2**-53 of the largest live value of its column. Of equal
    scores the later feature is better, and NaN is worst, as in scikit-learn. Forgetting m rows takes O(m n_features)
    integer operations, and a read O(C n_features). The model keeps its rows; `release` does not.

    Examples
    --------
    >>> from skunlearn.feature_selection import SelectKBest
    >>> X = [[0.0, 3.0], [1.0, 1.0], [5.0, 2.0], [6.0, 2.0]]
    >>> model = SelectKBest(k=1).fit(X, ["no", "no", "yes", "yes"], sample_ids=["a", "b", "c", "d"])
    >>> model.partial_forget(["d"]).get_support()
    array([ True, False])
    """

    _parameter_constraints: dict[str, Any] = {
        "score_func": [callable],
        "k": [StrOptions({"all"}), Interval(Integral, 0, None, closed="left")],
    }

    scores_ = fitted_attribute()
    pvalues_ = fitted_attribute()

    def __init__(self, score_func: Any = f_classif, *, k: Any = 10) -> None:
        self.score_func = score_func
        self.k = k

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, *, sample_ids: Any = None, subject_ids: Any = None, forgettable: bool = True) -> Self:
        """Fit to rows, forgetting all that were there before.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,)
            Class labels; numbers for ``score_func=f_regression``.
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
        return self._fit_rows(X, y, None, sample_ids, subject_ids, forgettable=forgettable)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, *, sample_ids: Any = None, subject_ids: Any = None) -> Self:
        """Learn rows: the inverse of `partial_forget`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,)
            Class labels; numbers for ``score_func=f_regression``.
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
        return self._learn_rows(X, y, None, sample_ids, subject_ids)

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        options.setdefault("y", "no_validation")
        return validate_data(estimator, X, accept_sparse="csr", dtype=(np.float64, np.float32), **options)

    def _targets_type(self, params: Any) -> type[Targets]:
        is_known = isinstance(params, dict) and params.get("score_func") is f_regression
        return Values if is_known else _Groups

    def _targets_like(self, y: Any, classes: Any) -> Targets:
        return Values.like(y) if self.score_func is f_regression else _Groups(ClassCodes())

    def _checked_targets(self, y: Any) -> Any:
        score_func = self.score_func if self._live is None else self._live.params["score_func"]
        return super()._checked_targets(y) if score_func is f_regression else y

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> ScoreCore:
        try:
            core = _CORES[params["score_func"]]
        except (KeyError, TypeError):
            raise ValueError(
                f"score_func of {type(self).__name__} must be one of f_classif, chi2 and f_regression from "
                "sklearn.feature_selection. Nothing was changed. What another function needs of the rows is not known, "
                "so rows could not be forgotten; use scikit-learn's class, and refit."
            ) from None
        return core(type(self).__name__, rows.native.n_features, params["k"])

    def _native_twin(self, state: SelectKBestState, params: dict[str, Any]) -> Any:
        twin = sklearn.feature_selection.SelectKBest(**params)
        twin.scores_, twin.pvalues_ = state.scores_.copy(), state.pvalues_.copy()
        return twin

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        return 32 * (2 + 2 * X.shape[1]) * (1 if self.score_func is f_regression else n_classes)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        # A saved model is checked before its parameters are set.
        tags.input_tags.positive_only = vars(self).get("score_func") is chi2
        tags.target_tags.required = True
        return tags
