"""Quantile transformation that forgets exactly."""

import warnings
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse as sp
import sklearn.preprocessing
from scipy.special import ndtr, ndtri

from skunlearn._linalg.fixed_order import freeze
from skunlearn._linalg.order_statistics import interpolate
from skunlearn._sample_core import SampleCore
from skunlearn.base import fitted_attribute
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.live import Owner
from skunlearn.preprocessing._unweighted import ColumnMap, ColumnScaler
from skunlearn.rows import RowStore
from skunlearn.utils._sklearn_compat import Interval, StrOptions

__all__ = ["QuantileTransformer"]

#: How near to the ends of (0, 1) a probability counts as the end of a normal distribution.
_BOUND = 1e-7


class QuantileTransformer(ColumnScaler):
    """Map each feature to a uniform or normal distribution by its quantiles, forgetting rows exactly.

    Quantiles are those of a keyed sample: the `subsample` rows whose ids hash to the smallest numbers under the key.
    After `partial_forget` the transformer equals, bit for bit, one fitted with the same key on the rows that are left.
    Of n rows, a random deletion changes the transform with a probability of subsample / n, for all features together.

    Parameters
    ----------
    n_quantiles : int, default=1000
        Number of quantiles, at most `subsample` and the number of rows.
    output_distribution : {"uniform", "normal"}, default="uniform"
        The distribution to map to.
    ignore_implicit_zeros : bool, default=False
        Whether quantiles of sparse rows are those of the values that are stored.
    subsample : int or None, default=10_000
        Rows of the sample; None stands for all.
    random_state : int, RandomState instance, Key or None, default=None
        Which rows are in the sample.
    copy : bool, default=True
        If False, `transform` changes its input where it can.

    Attributes
    ----------
    n_quantiles_ : int
        Number of quantiles, which there are no more of than live rows.
    quantiles_ : ndarray of shape (n_quantiles_, n_features)
        The quantiles, which may be values of rows; NaN for a feature without values.
    references_ : ndarray of shape (n_quantiles_,)
        The shares that they are the quantiles of.
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
    RobustScaler : Scaling by three quantiles.
    sklearn.preprocessing.QuantileTransformer : The estimator that `release` returns.

    Notes
    -----
    scikit-learn draws `subsample` rows at random, of sparse ones for each column anew; here a sample is whole rows.
    With no more rows than `subsample` all are in it, and quantiles are scikit-learn's to rounding. Forgetting a row of
    the sample, or learning one that enters it, leaves it to the next read to pass over the tags of the rows and to sort
    the sample; other rows cost nothing. The model keeps its rows; `release` does not, but quantiles are values of rows.

    Examples
    --------
    >>> from skunlearn.preprocessing import QuantileTransformer
    >>> X = [[1.0], [2.0], [3.0], [90.0]]
    >>> model = QuantileTransformer(n_quantiles=3).fit(X, sample_ids=["a", "b", "c", "d"])
    >>> model.partial_forget(["d"]).transform([[1.5]])
    array([[0.25]])
    """

    _parameter_constraints: dict[str, Any] = {
        "n_quantiles": [Interval(Integral, 1, None, closed="left")],
        "output_distribution": [StrOptions({"uniform", "normal"})],
        "ignore_implicit_zeros": ["boolean"],
        "subsample": [Interval(Integral, 1, None, closed="left"), None],
        "random_state": "no_validation",
        "copy": ["boolean"],
    }

    _tags_rows = True

    n_quantiles_ = fitted_attribute()
    quantiles_ = fitted_attribute()
    references_ = fitted_attribute()

    def __init__(
        self,
        *,
        n_quantiles: int = 1000,
        output_distribution: str = "uniform",
        ignore_implicit_zeros: bool = False,
        subsample: int | None = 10_000,
        random_state: Any = None,
        copy: bool = True,
    ) -> None:
        self.n_quantiles = n_quantiles
        self.output_distribution = output_distribution
        self.ignore_implicit_zeros = ignore_implicit_zeros
        self.subsample = subsample
        self.random_state = random_state
        self.copy = copy

    def _check_values(self, X: Any) -> None:
        ignores_zeros = self.ignore_implicit_zeros if self._live is None else self._live.params["ignore_implicit_zeros"]
        if sp.issparse(X) and not ignores_zeros and (X.data < 0).any():
            raise ValueError(
                f"{type(self).__name__} only accepts non-negative sparse matrices: zeros that are not stored would lie "
                "between the others. Nothing was changed. Pass dense rows, or ignore_implicit_zeros=True."
            )

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_QuantileCore":
        return _QuantileCore(type(self).__name__, params, rows.native.n_features)

    def _native_twin(self, state: "QuantileTransformerState", params: dict[str, Any]) -> Any:
        twin = sklearn.preprocessing.QuantileTransformer(**params)
        twin.n_quantiles_ = state.n_quantiles_
        twin.quantiles_, twin.references_ = state.quantiles_.copy(), state.references_.copy()
        return twin

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        return 8 * (1 + X.shape[1]) * min(self.n_quantiles, X.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class QuantileTransformerState(ColumnMap):
    """The published state of one version.

    Parameters
    ----------
    quantiles_, references_
        As in the estimator.
    is_normal : bool
        Whether to map to a normal distribution.
    """

    quantiles_: np.ndarray
    references_: np.ndarray
    is_normal: bool

    @property
    def n_features_in(self) -> int:
        """Number of columns."""
        return self.quantiles_.shape[1]

    @property
    def n_quantiles_(self) -> int:
        """Number of quantiles."""
        return len(self.references_)

    def map_in_place(self, X: Any) -> Any:
        """Transform rows where they are."""
        return self._each_column(X, self._to_distribution)

    def map_back_in_place(self, X: Any) -> Any:
        """Undo the transformation of rows where they are."""
        return self._each_column(X, self._from_distribution)

    def _each_column(self, X: Any, function: Any) -> Any:
        if not sp.issparse(X):
            for j in range(X.shape[1]):
                X[:, j] = function(X[:, j], self.quantiles_[:, j])
            return X
        order = np.argsort(X.indices, kind="stable")
        ends = np.cumsum(np.bincount(X.indices, minlength=X.shape[1]))
        for j, cells in enumerate(np.split(order, ends[:-1])):
            X.data[cells] = function(X.data[cells], self.quantiles_[:, j])
        return X

    def _to_distribution(self, x: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
        """Return the shares that values are the quantiles of: on a plateau of equal quantiles, its middle."""
        rising = np.interp(x, quantiles, self.references_)
        falling = np.interp(-x, -quantiles[::-1], -self.references_[::-1])
        shares = (0.5 * (rising - falling)).astype(x.dtype, copy=False)
        slack = x.dtype.type(_BOUND) if self.is_normal else x.dtype.type(0)
        low, high = quantiles[0], quantiles[-1]
        is_low, is_high = (x - slack < low, x + slack > high) if self.is_normal else (x == low, x == high)
        shares[is_high] = 1.0
        shares[is_low] = 0.0
        if self.is_normal:
            ends = ndtri(_BOUND - np.spacing(1)), ndtri(1 - (_BOUND - np.spacing(1)))
            shares = np.clip(ndtri(shares), *ends)
        shares[np.isnan(x)] = np.nan
        return shares

    def _from_distribution(self, x: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
        shares = ndtr(x) if self.is_normal else x
        is_low, is_high = shares == 0, shares == 1
        if self.is_normal:
            is_low, is_high = shares - _BOUND < 0, shares + _BOUND > 1
        values = np.interp(shares, self.references_, quantiles)
        values[np.isnan(x)] = np.nan
        values[is_high] = quantiles[-1]
        values[is_low] = quantiles[0]
        return values

    def parts(self) -> list[bytes | np.ndarray]:
        """Return the quantiles, their shares, and the distribution."""
        return [bytes([self.is_normal]), self.references_, self.quantiles_]


class _QuantileCore(SampleCore):
    """Quantiles of a keyed sample."""

    def __init__(self, model_name: str, params: dict[str, Any], n_features: int) -> None:
        super().__init__(model_name, n_features, params["subsample"])
        self._n_quantiles: int = params["n_quantiles"]
        self._is_normal: bool = params["output_distribution"] == "normal"
        self._ignores_zeros: bool = params["ignore_implicit_zeros"]
        if self._size is not None and self._n_quantiles > self._size:
            raise ValueError(
                "The number of quantiles cannot be greater than the number of samples used. Got "
                f"{self._n_quantiles} quantiles and {self._size} samples."
            )

    def warn_after_fit(self, owner: Owner) -> None:
        """Warn that there are fewer rows than quantiles."""
        if self._n_quantiles > owner.n_effective:
            warnings.warn(
                f"n_quantiles ({self._n_quantiles}) is greater than the total number of samples "
                f"({owner.n_effective}). n_quantiles is set to n_samples.",
                UserWarning,
                stacklevel=5,
            )

    def _derive(self, sample: Any, weight: np.ndarray | None, owner: Owner) -> QuantileTransformerState:
        references = np.linspace(0, 1, max(1, min(self._n_quantiles, owner.n_effective)))
        quantiles = np.empty((len(references), self._n_features))
        for j in range(self._n_features):
            values = self._column(sample, j)
            values.sort()  # NaN come last
            n = len(values) - int(np.count_nonzero(np.isnan(values)))
            quantiles[:, j] = _quantiles(values[:n], references) if len(values) else 0.0
            values.fill(0)
        freeze(references, quantiles)
        return QuantileTransformerState(quantiles, references, self._is_normal)

    def _column(self, sample: Any, j: int) -> np.ndarray:
        """Return a copy of a column's values."""
        if not sp.issparse(sample):
            return sample[:, j].astype(np.float64)
        stored = sample.data[sample.indptr[j] : sample.indptr[j + 1]].astype(np.float64)
        if self._ignores_zeros:
            return stored
        return np.concatenate([stored, np.zeros(sample.shape[0] - len(stored))])

    def publish(self, owner: Owner) -> QuantileTransformerState:
        """Return the quantiles."""
        if owner.n_effective == 0:
            raise DegenerateRowsError(
                f"This {self._model_name} has no row left, so there are no quantiles. Call partial_fit or fit."
            )
        state: QuantileTransformerState = self._derived
        return state

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the quantiles of the sample under the key."""
        state = self._derived
        return [] if owner.n_effective == 0 else [state.references_.tobytes(), state.quantiles_.tobytes()]


def _quantiles(values: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return quantiles of sorted values, linear between two; they ascend."""
    if len(values) == 0:
        return np.full(len(shares), np.nan)
    places = shares * (len(values) - 1)
    first = np.floor(places).astype(np.intp)
    before, behind = values[first], values[np.minimum(first + 1, len(values) - 1)]
    return np.maximum.accumulate(interpolate(before, behind, places - first)) + 0.0
