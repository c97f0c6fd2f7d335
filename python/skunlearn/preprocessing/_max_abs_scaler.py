"""Scaling by the largest magnitude that forgets exactly."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import sklearn.preprocessing

from skunlearn._linalg.fixed_order import freeze
from skunlearn._order_core import OrderCore
from skunlearn.base import fitted_attribute
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.live import Owner
from skunlearn.preprocessing._unweighted import ColumnMap, ColumnScaler, divide_columns, multiply_columns, without_tiny
from skunlearn.rows import RowStore

__all__ = ["MaxAbsScaler"]

#: Magnitudes kept of a column: so many of the largest may go before a pass over the rows finds others.
_CAPACITY = 16


class MaxAbsScaler(ColumnScaler):
    """Divide each feature by its largest magnitude, forgetting rows exactly.

    Zeros stay zeros, so rows may be sparse. After `partial_forget` the scaler equals, bit for bit, one fitted on the
    rows that are left, and for most deletions it does not change at all: the probability that a random one changes the
    transform is at most n_features / n_samples.

    Parameters
    ----------
    copy : bool, default=True
        If False, `transform` changes its input where it can.
    clip : bool, default=False
        Whether to clip what is transformed to [-1, 1].

    Attributes
    ----------
    max_abs_ : ndarray of shape (n_features,)
        The largest magnitude, which is that of a row; NaN for a feature without values.
    scale_ : ndarray of shape (n_features,)
        What is divided by: 1 where the largest magnitude is 0.
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
    MinMaxScaler : Scaling to any range.
    sklearn.preprocessing.MaxAbsScaler : The estimator that `release` returns.

    Notes
    -----
    x becomes x / scale_, for sparse rows as for dense ones; scikit-learn multiplies sparse ones by a reciprocal, which
    may differ in the last bit. Attributes have scikit-learn's bits. Forgetting m rows takes O(m n_features)
    comparisons; when more of the largest magnitudes of a feature have gone than are kept, the next read passes over the
    rows. The model keeps its rows; `release` does not, but its extremes are those of rows.

    Examples
    --------
    >>> from skunlearn.preprocessing import MaxAbsScaler
    >>> model = MaxAbsScaler().fit([[1.0], [-4.0], [2.0], [90.0]], sample_ids=["a", "b", "c", "d"])
    >>> model.partial_forget(["d"]).transform([[2.0]])
    array([[0.5]])
    """

    _parameter_constraints: dict[str, Any] = {"copy": ["boolean"], "clip": ["boolean"]}

    max_abs_ = fitted_attribute()
    scale_ = fitted_attribute()
    n_samples_seen_ = fitted_attribute()

    def __init__(self, *, copy: bool = True, clip: bool = False) -> None:
        self.copy = copy
        self.clip = clip

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_MagnitudeCore":
        return _MagnitudeCore(type(self).__name__, params, rows)

    def _native_twin(self, state: "MaxAbsScalerState", params: dict[str, Any]) -> Any:
        # `clip` is younger than the oldest scikit-learn that is supported.
        twin = sklearn.preprocessing.MaxAbsScaler(**{n: v for n, v in params.items() if v or n == "copy"})
        twin.max_abs_, twin.scale_ = state.max_abs_.copy(), state.scale_.copy()
        twin.n_samples_seen_ = state.n_samples_seen_
        return twin

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        return X.shape[1] * (8 * (_CAPACITY + 2) + 8)


@dataclass(frozen=True, slots=True, eq=False)
class MaxAbsScalerState(ColumnMap):
    """The published state of one version.

    Parameters
    ----------
    max_abs_, scale_, n_samples_seen_
        As in the estimator.
    clip : bool
        Whether to clip.
    """

    max_abs_: np.ndarray
    scale_: np.ndarray
    n_samples_seen_: int
    clip: bool

    @property
    def n_features_in(self) -> int:
        """Number of columns."""
        return len(self.scale_)

    def map_in_place(self, X: Any) -> Any:
        """Scale rows where they are."""
        divide_columns(X, self.scale_)
        if self.clip:
            values = X.data if sp.issparse(X) else X
            np.clip(values, -1.0, 1.0, out=values)
        return X

    def map_back_in_place(self, X: Any) -> Any:
        """Undo the scaling of rows where they are."""
        multiply_columns(X, self.scale_)
        return X

    def parts(self) -> list[bytes | np.ndarray]:
        """Return the scale, and whether to clip."""
        return [self.scale_.dtype.str.encode(), self.scale_, bytes([self.clip])]


class _MagnitudeCore(OrderCore):
    """The largest magnitudes of every column."""

    def __init__(self, model_name: str, params: dict[str, Any], rows: RowStore) -> None:
        super().__init__(model_name, rows.native.n_features, (1.0,), capacity=_CAPACITY)
        self._clip: bool = params["clip"]
        self._dtype = np.dtype(rows.native.dtype)

    def _values(self, values: np.ndarray) -> np.ndarray:
        return np.abs(values)

    def publish(self, owner: Owner) -> MaxAbsScalerState:
        """Return the largest magnitudes."""
        if owner.n_effective == 0:
            raise DegenerateRowsError(
                f"This {self._model_name} has no row left, so there is no magnitude to scale by. Call partial_fit or "
                "fit."
            )
        (max_abs,), _, _ = self._order.neighbours()
        max_abs = max_abs.astype(self._dtype)
        scale = without_tiny(max_abs)
        freeze(max_abs, scale)
        return MaxAbsScalerState(max_abs, scale, owner.n_effective, self._clip)
