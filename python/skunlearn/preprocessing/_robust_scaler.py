"""Scaling by median and quantile range that forgets exactly, with statistics on a lattice that few deletions leave."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.special
import sklearn.preprocessing

from skunlearn._linalg.fixed_order import freeze
from skunlearn._order_core import OrderCore
from skunlearn.base import fitted_attribute
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.live import Owner
from skunlearn.preprocessing._lattice import on_lattice
from skunlearn.preprocessing._unweighted import ColumnMap, ColumnScaler, divide_columns, is_tiny, multiply_columns
from skunlearn.rows import RowStore

__all__ = ["RobustScaler"]

_CAPACITY = 256
#: What the phases of the lattice are derived for.
_PURPOSES = ("robust centre", "robust scale")


class RobustScaler(ColumnScaler):
    """Remove the median and scale by a quantile range, forgetting rows exactly.

    After `partial_forget` the scaler equals, bit for bit, one fitted with the same key on the rows that are left.

    By default medians and scales are published on a lattice: a scale is within a factor of 1.09 of the quantile range,
    and a centre within a quarter of that scale of the median. A random deletion then changes the transform with a
    probability of the order of 10 n_features / n_samples, where the true median of a continuous feature moves in every
    deletion. The lattice is placed by the key: with ``random_state=None`` two fits differ within a cell; pass an int or
    a `Key` to repeat one. `exact_center_` and `exact_scale_` hold the true statistics, which `transform` does not use.

    Parameters
    ----------
    with_centering : bool, default=True
        Whether to subtract the centre; sparse rows are then refused.
    with_scaling : bool, default=True
        Whether to divide by the scale.
    quantile_range : tuple of two floats, default=(25.0, 75.0)
        Between which percentiles the range lies.
    copy : bool, default=True
        If False, `transform` changes its input where it can.
    unit_variance : bool, default=False
        Whether to divide scales by the quantile range of the standard normal distribution.
    exact_statistics : bool, default=False
        Publish the true statistics instead. The transform then changes in nearly every deletion, and with it all that
        follows.
    random_state : int, RandomState instance, Key or None, default=None
        Where the lattice lies.

    Attributes
    ----------
    center_ : ndarray of shape (n_features,) or None
        What is subtracted; None without centring.
    scale_ : ndarray of shape (n_features,) or None
        What is divided by: from 1, for a feature without a range; None without scaling.
    exact_center_, exact_scale_ : ndarray of shape (n_features,)
        Median, and range with 1 in place of 0, of the values that are not NaN; NaN where there are none.
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
    StandardScaler : The same for mean and standard deviation.
    sklearn.preprocessing.RobustScaler : The estimator that `release` returns.

    Notes
    -----
    Quantiles lie linearly between two values of rows. With s the range and m the median of a feature, and phases u1, u2
    in [0, 1) that the key gives it, the scale is 2^((k + u2) / 4) with k = rint(4 log2(s) - u2), and
    center_ = (rint(m / step - u1) + u1) step with step half the scale. A feature whose range is 0 keeps its median and
    the scale 1.

    Around each quantile some hundred neighbouring values are kept, with how many come before them. Forgetting m rows
    takes O(m n_features) steps whatever the number of rows; when a quantile has left what is kept around it, the next
    read passes over the rows. The model keeps its rows; `release` does not.

    Examples
    --------
    >>> from skunlearn.preprocessing import RobustScaler
    >>> X = [[1.0], [2.0], [3.0], [90.0]]
    >>> model = RobustScaler(exact_statistics=True).fit(X, sample_ids=["a", "b", "c", "d"])
    >>> model.partial_forget(["d"]).center_
    array([2.])
    """

    _parameter_constraints: dict[str, Any] = {
        "with_centering": ["boolean"],
        "with_scaling": ["boolean"],
        "quantile_range": [tuple],
        "copy": ["boolean"],
        "unit_variance": ["boolean"],
        "exact_statistics": ["boolean"],
        "random_state": "no_validation",
    }

    center_ = fitted_attribute()
    scale_ = fitted_attribute()
    exact_center_ = fitted_attribute()
    exact_scale_ = fitted_attribute()

    def __init__(
        self,
        *,
        with_centering: bool = True,
        with_scaling: bool = True,
        quantile_range: Any = (25.0, 75.0),
        copy: bool = True,
        unit_variance: bool = False,
        exact_statistics: bool = False,
        random_state: Any = None,
    ) -> None:
        self.with_centering = with_centering
        self.with_scaling = with_scaling
        self.quantile_range = quantile_range
        self.copy = copy
        self.unit_variance = unit_variance
        self.exact_statistics = exact_statistics
        self.random_state = random_state

    def _takes_sparse(self) -> bool:
        # A saved model is checked before its parameters are set.
        params = vars(self) if self._live is None else self._live.params
        return not params.get("with_centering", True)

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        if sp.issparse(X) and not estimator._takes_sparse():
            raise ValueError(
                "Cannot center sparse matrices: use `with_centering=False` instead. Nothing was changed. Subtracting a "
                "median would fill in every zero."
            )
        return super()._check_X(estimator, X, **options)

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_RobustCore":
        return _RobustCore(type(self).__name__, params, rows.native.n_features)

    def _native_twin(self, state: "RobustScalerState", params: dict[str, Any]) -> Any:
        twin = sklearn.preprocessing.RobustScaler(**{n: v for n, v in params.items() if n != "exact_statistics"})
        for name in ("center_", "scale_"):
            value = getattr(state, name)
            setattr(twin, name, None if value is None else value.copy())
        return twin

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        return X.shape[1] * (3 * 8 * (_CAPACITY + 2) + 8)


@dataclass(frozen=True, slots=True, eq=False)
class RobustScalerState(ColumnMap):
    """The published state of one version.

    Parameters
    ----------
    center_, scale_, exact_center_, exact_scale_
        As in the estimator.
    """

    center_: np.ndarray | None
    scale_: np.ndarray | None
    exact_center_: np.ndarray
    exact_scale_: np.ndarray

    @property
    def n_features_in(self) -> int:
        """Number of columns."""
        return len(self.exact_center_)

    def map_in_place(self, X: Any) -> Any:
        """Scale rows where they are."""
        if self.center_ is not None:
            X -= self.center_
        if self.scale_ is not None:
            divide_columns(X, self.scale_)
        return X

    def map_back_in_place(self, X: Any) -> Any:
        """Undo the scaling of rows where they are."""
        if self.scale_ is not None:
            multiply_columns(X, self.scale_)
        if self.center_ is not None:
            X += self.center_
        return X

    def parts(self) -> list[bytes | np.ndarray]:
        """Return centre and scale, as far as they are used."""
        return [b"" if array is None else array for array in (self.center_, self.scale_)]


class _RobustCore(OrderCore):
    """Medians and quantiles, and the statistics that are published of them."""

    def __init__(self, model_name: str, params: dict[str, Any], n_features: int) -> None:
        low, high = params["quantile_range"]
        if not 0 <= low <= high <= 100:
            raise ValueError(f"Invalid quantile range: {params['quantile_range']}")
        shares = (0.5, low / 100, high / 100)
        super().__init__(model_name, n_features, shares, capacity=_CAPACITY)
        self._with_centering: bool = params["with_centering"]
        self._with_scaling: bool = params["with_scaling"]
        self._exact_statistics: bool = params["exact_statistics"]
        self._unit = 1.0
        if params["unit_variance"]:
            self._unit = float(scipy.special.ndtri(shares[2]) - scipy.special.ndtri(shares[1]))

    def publish(self, owner: Owner) -> RobustScalerState:
        """Return the statistics, on the lattice unless the exact ones are asked for."""
        if owner.n_effective == 0:
            raise DegenerateRowsError(
                f"This {self._model_name} has no row left, so there are no quantiles to scale by. Call partial_fit or "
                "fit."
            )
        center, low, high = self._order.quantiles()
        with np.errstate(over="ignore"):
            spread = high - low
        without_range = is_tiny(spread)
        exact = np.where(without_range, 1.0, spread)
        location, scale = center, exact
        if not self._exact_statistics:
            location, scale = on_lattice(center, exact, without_range, owner.key, _PURPOSES)
            scale = np.where(without_range, 1.0, scale)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale, exact = scale / self._unit, exact / self._unit
        freeze(location, scale, center, exact)
        return RobustScalerState(
            center_=location if self._with_centering else None,
            scale_=scale if self._with_scaling else None,
            exact_center_=center,
            exact_scale_=exact,
        )

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return counts and order statistics, and what is published of them under the key."""
        parts = super().digest_parts(owner)
        if owner.n_effective:
            state = self.publish(owner)
            parts += [b"" if array is None else array.tobytes() for array in (state.center_, state.scale_)]
        return parts
