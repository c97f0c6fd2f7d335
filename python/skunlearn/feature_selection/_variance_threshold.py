"""Selection by variance that forgets exactly."""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import sklearn.feature_selection

from skunlearn._linalg.diagonal import MaskedMoments
from skunlearn._linalg.fixed_order import freeze
from skunlearn._linalg.moments import Rows
from skunlearn._moment_core import ColumnSums, MomentCore
from skunlearn.base import fitted_attribute
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.feature_selection._mask import ForgettingSelectorMixin, SelectionState
from skunlearn.live import Owner
from skunlearn.preprocessing._unweighted import UnweightedTransformer
from skunlearn.rows import RowStore
from skunlearn.utils._sklearn_compat import Interval, validate_data

__all__ = ["VarianceThreshold"]


class VarianceThreshold(ForgettingSelectorMixin, UnweightedTransformer):
    """Select the features whose variance is above a threshold, forgetting rows exactly.

    What is kept of the rows are exact integer sums, so `partial_forget` is their subtraction: afterwards the selector
    equals, bit for bit, one fitted on the rows that are left. The transform changes only when a feature crosses the
    threshold.

    Parameters
    ----------
    threshold : float, default=0.0
        Features of at most this variance are left out; by default those that do not vary.

    Attributes
    ----------
    variances_ : ndarray of shape (n_features,)
        Variance (ddof 0) of the values that are not NaN, correctly rounded; NaN where there are none.
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
    SelectKBest : Selection by what features tell about a target.
    sklearn.feature_selection.VarianceThreshold : The estimator that `release` returns.

    Notes
    -----
    With S_0, S_1 and S_2 the sums of 1, x_j and x_j^2, the variance is (S_0 S_2 - S_1^2) / S_0^2 in exact integers: it
    is 0 exactly where the values are equal, each taken to 2**-53 of the largest live value of its column. With
    ``threshold=0`` scikit-learn publishes the range of a feature where that is smaller than the variance; here
    `variances_` are variances, and the choice is the same.

    Forgetting m rows takes O(m n_features) integer operations; its time does not depend on the number of rows, unless
    the last of the largest values of a column goes: the next read then passes over the rows. Where no feature is above
    the threshold, `fit` refuses the rows, and reading raises `DegenerateRowsError`. The model keeps its rows; `release`
    does not.

    Examples
    --------
    >>> from skunlearn.feature_selection import VarianceThreshold
    >>> model = VarianceThreshold().fit([[0.0, 2.0], [0.0, 1.0], [3.0, 5.0]], sample_ids=["a", "b", "c"])
    >>> model.partial_forget(["c"]).get_support()
    array([False,  True])
    """

    _parameter_constraints: dict[str, Any] = {"threshold": [Interval(Real, 0, None, closed="left")]}

    variances_ = fitted_attribute()

    def __init__(self, threshold: float = 0.0) -> None:
        self.threshold = threshold

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        has_y = "y" in options
        options.pop("y", None)
        X = validate_data(
            estimator,
            X,
            accept_sparse="csr",
            dtype=(np.float64, np.float32),
            ensure_all_finite="allow-nan",
            **options,
        )
        return (X, None) if has_y else X

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_VarianceCore":
        return _VarianceCore(type(self).__name__, params, rows.native.n_features)

    def _native_twin(self, state: "VarianceThresholdState", params: dict[str, Any]) -> Any:
        twin = sklearn.feature_selection.VarianceThreshold(**params)
        twin.variances_ = state.variances_.copy()
        return twin

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        return 32 * (1 + 2 * X.shape[1])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        return tags


@dataclass(frozen=True, slots=True, eq=False)
class VarianceThresholdState(SelectionState):
    """The published state of one version.

    Parameters
    ----------
    variances_ : ndarray of shape (n_features,)
        As in the estimator.
    """

    variances_: np.ndarray


class _VarianceCore(MomentCore):
    """Exact moments of the values that are there."""

    def __init__(self, model_name: str, params: dict[str, Any], n_features: int) -> None:
        super().__init__(model_name, n_features)
        self._threshold = float(params["threshold"])

    def _new_moments(self) -> MaskedMoments:
        return MaskedMoments(self._n_features)

    def _rows(self, X: Any, weight: np.ndarray | None, codes: np.ndarray | None) -> Rows:
        return Rows(X)

    def publish(self, owner: Owner) -> VarianceThresholdState:
        """Return the variances, and which are large enough."""
        d, n_rows = self._n_features, self._moments.n_rows
        if n_rows == 0:
            raise DegenerateRowsError(
                f"This {self._model_name} has no row left, so there are no variances. Call partial_fit or fit."
            )
        shifts = self._moments.shifts.tolist()
        sums, squares = self._moments.integers()
        columns = ColumnSums(squares[1 + d :], sums[1 : 1 + d], squares[1 : 1 + d], shifts[1 + d :], shifts[1 : 1 + d])
        variances = np.where(np.array(columns.weights, dtype=object) == 0, np.nan, columns.variances())
        mask = variances > self._threshold
        if not (mask & np.isfinite(variances)).any():
            one = " (X contains only one sample)" if n_rows == 1 else ""
            raise DegenerateRowsError(
                f"No feature in X meets the variance threshold {self._threshold:.5f}{one}. Lower the threshold, or "
                "learn rows that differ."
            )
        freeze(mask, variances)
        return VarianceThresholdState(mask, variances)
