"""Scaling to a range that forgets exactly."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import sklearn.preprocessing

from skunlearn._linalg.fixed_order import freeze
from skunlearn._order_core import OrderCore
from skunlearn.base import fitted_attribute
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.live import Owner
from skunlearn.preprocessing._unweighted import ColumnMap, ColumnScaler, without_tiny
from skunlearn.rows import RowStore

__all__ = ["MinMaxScaler"]

#: Values kept at each end of a column: so many smallest values may go before a pass over the rows finds others.
_CAPACITY = 16


class MinMaxScaler(ColumnScaler):
    """Scale each feature to a range, forgetting rows exactly.

    What is published are the smallest and the largest live value of each feature: afterwards the scaler equals, bit for
    bit, one fitted on the rows that are left, and for most deletions it does not change at all. The probability that a
    random one changes the transform is at most 2 n_features / n_samples.

    Parameters
    ----------
    feature_range : tuple of two floats, default=(0, 1)
        The smallest and the largest value of a transformed feature.
    copy : bool, default=True
        If False, `transform` changes its input where it can.
    clip : bool, default=False
        Whether to clip what is transformed to `feature_range`.

    Attributes
    ----------
    min_ : ndarray of shape (n_features,)
        What is added after scaling.
    scale_ : ndarray of shape (n_features,)
        What is multiplied with; 1 divided by 1 for a constant feature.
    data_min_, data_max_ : ndarray of shape (n_features,)
        The smallest and the largest value, which are values of rows; NaN for a feature without any.
    data_range_ : ndarray of shape (n_features,)
        Their difference.
    n_samples_seen_ : int
        Number of live rows.
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
    MaxAbsScaler : Scaling that keeps zeros, and sparse rows.
    sklearn.preprocessing.MinMaxScaler : The estimator that `release` returns.

    Notes
    -----
    With a and b the ends of `feature_range`, scale_ = (b - a) / (data_max_ - data_min_), min_ = a - data_min_ scale_,
    and x becomes x scale_ + min_, in scikit-learn's order of operations and in the dtype of the rows, so attributes
    have its bits. Forgetting m rows takes O(m n_features) comparisons; when more of the smallest or largest values of a
    feature have gone than are kept, the next read passes over the rows. The model keeps its rows; `release` does not,
    but its extremes are values of rows.

    Examples
    --------
    >>> from skunlearn.preprocessing import MinMaxScaler
    >>> model = MinMaxScaler().fit([[1.0], [3.0], [5.0], [90.0]], sample_ids=["a", "b", "c", "d"])
    >>> model.partial_forget(["d"]).transform([[2.0]])
    array([[0.25]])
    """

    _parameter_constraints: dict[str, Any] = {"feature_range": [tuple], "copy": ["boolean"], "clip": ["boolean"]}

    min_ = fitted_attribute()
    scale_ = fitted_attribute()
    data_min_ = fitted_attribute()
    data_max_ = fitted_attribute()
    data_range_ = fitted_attribute()
    n_samples_seen_ = fitted_attribute()

    def __init__(self, feature_range: Any = (0, 1), *, copy: bool = True, clip: bool = False) -> None:
        self.feature_range = feature_range
        self.copy = copy
        self.clip = clip

    def _takes_sparse(self) -> bool:
        return False

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_ExtremesCore":
        return _ExtremesCore(type(self).__name__, params, rows)

    def _native_twin(self, state: "MinMaxScalerState", params: dict[str, Any]) -> Any:
        twin = sklearn.preprocessing.MinMaxScaler(**params)
        for name in ("min_", "scale_", "data_min_", "data_max_", "data_range_"):
            setattr(twin, name, getattr(state, name).copy())
        twin.n_samples_seen_ = state.n_samples_seen_
        return twin

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        return X.shape[1] * (2 * 8 * (_CAPACITY + 2) + 8)


@dataclass(frozen=True, slots=True, eq=False)
class MinMaxScalerState(ColumnMap):
    """The published state of one version.

    Parameters
    ----------
    min_, scale_, data_min_, data_max_, data_range_, n_samples_seen_
        As in the estimator.
    clip_range : tuple of two floats, or None
        What is clipped to.
    """

    min_: np.ndarray
    scale_: np.ndarray
    data_min_: np.ndarray
    data_max_: np.ndarray
    data_range_: np.ndarray
    n_samples_seen_: int
    clip_range: tuple[float, float] | None

    @property
    def n_features_in(self) -> int:
        """Number of columns."""
        return len(self.min_)

    def map_in_place(self, X: np.ndarray) -> np.ndarray:
        """Scale rows where they are."""
        X *= self.scale_
        X += self.min_
        if self.clip_range is not None:
            low, high = (X.dtype.type(end) for end in self.clip_range)
            np.clip(X, low, high, out=X)
        return X

    def map_back_in_place(self, X: np.ndarray) -> np.ndarray:
        """Undo the scaling of rows where they are."""
        X -= self.min_
        X /= self.scale_
        return X

    def parts(self) -> list[bytes | np.ndarray]:
        """Return offsets, factors and where to clip."""
        clip = b"" if self.clip_range is None else np.array(self.clip_range, dtype="<f8")
        return [self.min_.dtype.str.encode(), self.min_, self.scale_, clip]


class _ExtremesCore(OrderCore):
    """The smallest and the largest values of every column."""

    def __init__(self, model_name: str, params: dict[str, Any], rows: RowStore) -> None:
        super().__init__(model_name, rows.native.n_features, (0.0, 1.0), capacity=_CAPACITY)
        low, high = params["feature_range"]
        if low >= high:
            raise ValueError(
                f"Minimum of desired feature range must be smaller than maximum. Got {params['feature_range']}."
            )
        self._ends = float(low), float(high)
        self._clip: bool = params["clip"]
        self._dtype = np.dtype(rows.native.dtype)

    def publish(self, owner: Owner) -> MinMaxScalerState:
        """Return the extremes and what follows from them."""
        if owner.n_effective == 0:
            raise DegenerateRowsError(
                f"This {self._model_name} has no row left, so there are no extremes to scale by. Call partial_fit or "
                "fit."
            )
        (data_min, data_max), _, _ = self._order.neighbours()
        data_min, data_max = data_min.astype(self._dtype), data_max.astype(self._dtype)
        low, high = (self._dtype.type(end) for end in self._ends)
        with np.errstate(over="ignore", invalid="ignore"):
            data_range = data_max - data_min
            scale = (high - low) / without_tiny(data_range)
            smallest = low - data_min * scale
        freeze(smallest, scale, data_min, data_max, data_range)
        clip = self._ends if self._clip else None
        return MinMaxScalerState(smallest, scale, data_min, data_max, data_range, owner.n_effective, clip)
