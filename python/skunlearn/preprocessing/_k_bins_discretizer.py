"""Binning that forgets exactly."""

import warnings
from dataclasses import dataclass
from inspect import signature
from numbers import Integral
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import sklearn.preprocessing
from sklearn.base import OneToOneFeatureMixin

from skunlearn._linalg.fixed_order import freeze
from skunlearn._order_core import OrderCore
from skunlearn._sample_core import SampleCore
from skunlearn.base import ForgetMixin, fitted_attribute
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.live import Core, IncomingRows, Owner
from skunlearn.preprocessing._line_k_means import line_k_means_edges
from skunlearn.rows import RowStore
from skunlearn.transforms import ForgettingTransformerMixin, TransformMap
from skunlearn.utils._sklearn_compat import (
    Interval,
    StrOptions,
    check_array,
    fit_context,
    in_sparse_interface,
    validate_data,
)

__all__ = ["KBinsDiscretizer"]

#: Values kept at each end of a column for uniform bins.
_CAPACITY = 16
#: Bins of quantiles that are not wider are left out, as in scikit-learn.
_NARROW = 1e-8
#: The methods of numpy.percentile that sample weights have a meaning for.
_WEIGHTED_METHODS = ("averaged_inverted_cdf", "inverted_cdf")
_METHODS = {
    *_WEIGHTED_METHODS,
    "closest_observation",
    "interpolated_inverted_cdf",
    "hazen",
    "weibull",
    "linear",
    "median_unbiased",
    "normal_unbiased",
}


class KBinsDiscretizer(OneToOneFeatureMixin, ForgettingTransformerMixin, ForgetMixin):
    """Bin each feature into intervals, forgetting rows exactly.

    After `partial_forget` the discretizer equals, bit for bit, one fitted with the same key on the rows that are left.
    Uniform bins change only when the smallest or the largest value of a feature leaves; those of quantiles in most
    deletions, but each time for a few rows.

    Parameters
    ----------
    n_bins : int or array-like of shape (n_features,), default=5
        Number of bins, at least 2.
    encode : {"onehot", "onehot-dense", "ordinal"}, default="onehot"
        Whether bins are columns, sparse or dense, or numbers.
    strategy : {"quantile", "uniform", "kmeans"}, default="quantile"
        Bins of as many rows, of a width, or around the centres of a k-means of the column alone.
    quantile_method : str, default="averaged_inverted_cdf"
        A method of `numpy.percentile`; with weights the default or "inverted_cdf".
    dtype : {np.float32, np.float64}, default=None
        Dtype of what is transformed; that of the rows by default.
    subsample : int or None, default=200_000
        Quantiles and clusters are those of a keyed sample of so many rows; None stands for all.
    random_state : int, RandomState instance, Key or None, default=None
        Which rows are in the sample, where there are more than `subsample`.

    Attributes
    ----------
    bin_edges_ : ndarray of shape (n_features,) of ndarrays of shape (n_bins_ + 1,)
        Edges of the bins, which may be values of rows.
    n_bins_ : ndarray of shape (n_features,), int64
        Number of bins: those of quantiles no wider than 1e-8 are left out, and a feature has one at least.
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
    QuantileTransformer : A map by quantiles without steps.
    sklearn.preprocessing.KBinsDiscretizer : The estimator that `release` returns.

    Notes
    -----
    Row x is in bin i of a feature where i inner edges are at most x. scikit-learn draws a sample with replacement, by
    weight, for both strategies; here it is the `subsample` rows whose ids hash to the smallest numbers under the key,
    each with its weight, and uniform bins span all rows. With no more rows than `subsample` edges are scikit-learn's;
    with weights, and of ``"kmeans"``, to the rounding of their sums; where a cluster runs
    empty on the way it takes the value farthest from its centre, and may end elsewhere than scikit-learn's.

    Forgetting m rows takes O(m n_features) comparisons for uniform bins, and nothing for the others, where the next
    read sorts the sample anew if a row has left it. The model keeps its rows; `release` does not.

    Examples
    --------
    >>> from skunlearn.preprocessing import KBinsDiscretizer
    >>> X = [[1.0], [2.0], [3.0], [90.0]]
    >>> model = KBinsDiscretizer(2, encode="ordinal", strategy="uniform").fit(X, sample_ids=["a", "b", "c", "d"])
    >>> model.partial_forget(["d"]).transform(X)
    array([[0.],
           [1.],
           [1.],
           [1.]])
    """

    _parameter_constraints: dict[str, Any] = {
        "n_bins": [Interval(Integral, 2, None, closed="left"), "array-like"],
        "encode": [StrOptions({"onehot", "onehot-dense", "ordinal"})],
        "strategy": [StrOptions({"uniform", "quantile", "kmeans"})],
        "quantile_method": [StrOptions(_METHODS)],
        "dtype": "no_validation",
        "subsample": [Interval(Integral, 1, None, closed="left"), None],
        "random_state": "no_validation",
    }

    _tags_rows = True

    bin_edges_ = fitted_attribute()
    n_bins_ = fitted_attribute()

    def __init__(
        self,
        n_bins: Any = 5,
        *,
        encode: str = "onehot",
        strategy: str = "quantile",
        quantile_method: str = "averaged_inverted_cdf",
        dtype: Any = None,
        subsample: int | None = 200_000,
        random_state: Any = None,
    ) -> None:
        self.n_bins = n_bins
        self.encode = encode
        self.strategy = strategy
        self.quantile_method = quantile_method
        self.dtype = dtype
        self.subsample = subsample
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        sample_ids: Any = None,
        subject_ids: Any = None,
        forgettable: bool = True,
    ) -> Self:
        """Fit to rows, forgetting all that were there before.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.
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
        """
        return self._fit_rows(X, None, sample_weight, sample_ids, subject_ids, forgettable=forgettable)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, sample_ids: Any = None, subject_ids: Any = None
    ) -> Self:
        """Learn rows: the inverse of `partial_forget`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.
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
        return self._learn_rows(X, None, sample_weight, sample_ids, subject_ids)

    def transform(self, X: Any) -> Any:
        """Bin rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        X_new : {ndarray, sparse matrix} of shape (n_samples, n_features) or (n_samples, total number of bins)
            The bins of the rows.
        """
        state: KBinsDiscretizerState = self._published()
        return state.apply(self._check_X(self, X, reset=False))

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Return the middles of bins.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features) or (n_samples, total number of bins)
            Transformed rows.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            The middle of each bin.
        """
        state: KBinsDiscretizerState = self._published()
        X = check_array(X, accept_sparse="csr", dtype=(np.float64, np.float32))
        return state.middles(X)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns of what is transformed.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the features, where they had none.

        Returns
        -------
        feature_names_out : ndarray of str objects
            Those of the features; of columns for bins, with the number of the bin behind.
        """
        state: KBinsDiscretizerState = self._published()
        names = super().get_feature_names_out(input_features)
        if state.encode == "ordinal":
            return names
        of_bins = [
            f"{name}_{float(i)}" for name, n in zip(names, state.n_bins_.tolist(), strict=True) for i in range(n)
        ]
        return np.array(of_bins, dtype=object)

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        has_y = "y" in options
        options.pop("y", None)
        X = validate_data(estimator, X, dtype=(np.float64, np.float32), **options)
        return (X, None) if has_y else X

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> Core:
        if not (params["dtype"] is None or params["dtype"] in (np.float64, np.float32)):
            raise ValueError(
                f"The 'dtype' parameter of {type(self).__name__} must be np.float64, np.float32 or None. Got "
                f"{params['dtype']!r} instead."
            )
        return _CORES[params["strategy"]](type(self).__name__, params, rows.native.n_features)

    def _native_twin(self, state: "KBinsDiscretizerState", params: dict[str, Any]) -> Any:
        # `quantile_method` is younger than the oldest scikit-learn that is supported.
        known = signature(sklearn.preprocessing.KBinsDiscretizer).parameters
        twin = sklearn.preprocessing.KBinsDiscretizer(**{n: v for n, v in params.items() if n in known})
        twin.bin_edges_ = np.empty(len(state.bin_edges_), dtype=object)
        twin.bin_edges_[:] = [edges.copy() for edges in state.bin_edges_]
        twin.n_bins_ = state.n_bins_.copy()
        if state.encode != "ordinal":
            twin._encoder = sklearn.preprocessing.OneHotEncoder(
                categories=[np.arange(n) for n in state.n_bins_],
                sparse_output=state.encode == "onehot",
                dtype=state.dtype,
            ).fit(np.zeros((1, len(state.n_bins_))))
        return twin

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        return X.shape[1] * (2 * 8 * (_CAPACITY + 2) + 8) if self.strategy == "uniform" else 0

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"] if vars(self).get("dtype") is None else []
        return tags


@dataclass(frozen=True, slots=True, eq=False)
class KBinsDiscretizerState(TransformMap):
    """The published state of one version.

    Parameters
    ----------
    bin_edges_, n_bins_
        As in the estimator.
    encode : str
        Whether bins are columns, sparse or dense, or numbers.
    dtype : dtype or None
        Of what is transformed; None stands for that of the rows.
    """

    bin_edges_: np.ndarray
    n_bins_: np.ndarray
    encode: str
    dtype: Any

    @property
    def n_features_in(self) -> int:
        """Number of columns."""
        return len(self.n_bins_)

    def apply(self, X: Any) -> Any:
        """Return the bins of rows."""
        X = X.astype(X.dtype if self.dtype is None else self.dtype, copy=False)
        bins = np.empty(X.shape, dtype=np.int64)
        for j, edges in enumerate(self.bin_edges_):
            bins[:, j] = np.searchsorted(edges[1:-1], X[:, j], side="right")
        if self.encode == "ordinal":
            return bins.astype(X.dtype)
        bins += self._first_columns()
        n, d = bins.shape
        if self.encode == "onehot-dense":
            out = np.zeros((n, int(self.n_bins_.sum())), dtype=X.dtype)
            out[np.arange(n)[:, None], bins] = 1
            return out
        parts = np.ones(n * d, dtype=X.dtype), bins.ravel().astype(np.int32), np.arange(0, n * d + 1, d, dtype=np.int32)
        return in_sparse_interface(sp.csr_array(parts, shape=(n, int(self.n_bins_.sum()))))

    def middles(self, X: Any) -> np.ndarray:
        """Return the middles of the bins of transformed rows."""
        width = self.n_features_in if self.encode == "ordinal" else int(self.n_bins_.sum())
        if X.shape[1] != width:
            raise ValueError(f"Incorrect number of features. Expecting {width}, received {X.shape[1]}.")
        out = np.empty((X.shape[0], self.n_features_in), dtype=X.dtype)
        for j, (edges, first, n) in enumerate(
            zip(self.bin_edges_, self._first_columns().tolist(), self.n_bins_.tolist(), strict=True)
        ):
            if self.encode == "ordinal":
                bins = (X[:, [j]].toarray()[:, 0] if sp.issparse(X) else X[:, j]).astype(np.int64)
            else:
                bins = np.asarray(X[:, first : first + n].argmax(axis=1)).ravel()
            with np.errstate(invalid="ignore"):
                out[:, j] = ((edges[1:] + edges[:-1]) * 0.5)[bins]
        return out

    def _first_columns(self) -> np.ndarray:
        firsts: np.ndarray = np.cumsum(self.n_bins_) - self.n_bins_
        return firsts

    def parts(self) -> list[bytes | np.ndarray]:
        """Return the inner edges, for no value is compared with the outer ones, and how bins are encoded."""
        dtype = "" if self.dtype is None else np.dtype(self.dtype).name
        return [self.encode.encode(), dtype.encode(), *(edges[1:-1] for edges in self.bin_edges_)]


class _Bins:
    """What both cores share: how many bins there are to be, and what they are published as."""

    def __init__(self, params: dict[str, Any], n_features: int) -> None:
        self.encode: str = params["encode"]
        self.dtype: Any = params["dtype"]
        self.n_bins = _checked_n_bins(params["n_bins"], n_features)

    def publish(self, edges: list[np.ndarray]) -> KBinsDiscretizerState:
        """Return the state of these edges."""
        bin_edges = np.empty(len(edges), dtype=object)
        bin_edges[:] = edges
        n_bins = np.array([len(e) - 1 for e in edges], dtype=np.int64)
        freeze(bin_edges, n_bins, *edges)
        return KBinsDiscretizerState(bin_edges, n_bins, self.encode, self.dtype)

    def warn(self, state: KBinsDiscretizerState) -> None:
        """Warn about features with fewer bins than were asked for."""
        for j, (edges, wanted) in enumerate(zip(state.bin_edges_, self.n_bins.tolist(), strict=True)):
            if np.isinf(edges[0]):
                warnings.warn(f"Feature {j} is constant and will be replaced with 0.", UserWarning, stacklevel=6)
            elif len(edges) - 1 != wanted:
                warnings.warn(
                    f"Bins whose width are too small (i.e., <= {_NARROW:g}) in feature {j} are removed. Consider "
                    "decreasing the number of bins.",
                    UserWarning,
                    stacklevel=6,
                )


def _checked_n_bins(n_bins: Any, n_features: int) -> np.ndarray:
    if isinstance(n_bins, Integral):
        return np.full(n_features, n_bins, dtype=np.int64)
    given = np.asarray(n_bins)
    if given.shape != (n_features,):
        raise ValueError("n_bins must be a scalar or array of shape (n_features,).")
    with np.errstate(invalid="ignore"):
        checked = given.astype(np.int64)
    wrong = np.flatnonzero((checked < 2) | (checked != given)).tolist()
    if wrong:
        raise ValueError(
            f"KBinsDiscretizer received an invalid number of bins at indices {', '.join(map(str, wrong))}. Number of "
            "bins must be at least 2, and must be an int."
        )
    return checked


def _one_bin() -> np.ndarray:
    return np.array([-np.inf, np.inf])


def _no_rows(model_name: str) -> DegenerateRowsError:
    return DegenerateRowsError(
        f"This {model_name} has no row of a weight above 0 left, so there are no bins. Call partial_fit or fit."
    )


class _UniformCore(OrderCore):
    """Bins between the smallest and the largest value of every column."""

    def __init__(self, model_name: str, params: dict[str, Any], n_features: int) -> None:
        super().__init__(model_name, n_features, (0.0, 1.0), capacity=_CAPACITY)
        self._bins = _Bins(params, n_features)

    def warn_after_fit(self, owner: Owner) -> None:
        """Warn about constant features."""
        self._bins.warn(self.publish(owner))

    def publish(self, owner: Owner) -> KBinsDiscretizerState:
        """Return edges at equal distances."""
        if owner.n_effective == 0:
            raise _no_rows(self._model_name)
        (lows, highs), _, _ = self._order.neighbours()
        ends = zip(lows, highs, self._bins.n_bins.tolist(), strict=True)
        with np.errstate(over="ignore", invalid="ignore"):
            return self._bins.publish([_one_bin() if a == b else np.linspace(a, b, n + 1) for a, b, n in ends])


class _QuantileCore(SampleCore):
    """Bins between quantiles of a keyed sample."""

    def __init__(self, model_name: str, params: dict[str, Any], n_features: int) -> None:
        super().__init__(model_name, n_features, params["subsample"])
        self._bins = _Bins(params, n_features)
        self._method: Any = params["quantile_method"]

    def check(self, incoming: IncomingRows) -> None:
        """Refuse weights where the method gives them no meaning."""
        if incoming.weight is not None and self._method not in _WEIGHTED_METHODS:
            raise ValueError(
                "When fitting with strategy='quantile' and sample weights, quantile_method should either be set to "
                f"'averaged_inverted_cdf' or 'inverted_cdf', got quantile_method='{self._method}' instead. Nothing was "
                "changed."
            )

    def warn_after_fit(self, owner: Owner) -> None:
        """Warn about features with fewer bins than were asked for."""
        self._bins.warn(self.publish(owner))

    def _derive(self, sample: Any, weight: np.ndarray | None, owner: Owner) -> KBinsDiscretizerState:
        edges = []
        for j, n in enumerate(self._bins.n_bins.tolist()):
            levels = np.linspace(0, 100, n + 1)
            values = sample[:, j].astype(np.float64) + 0.0  # -0.0 + 0.0 is 0.0
            edges.append(self._edges(values, weight, levels))
            values.fill(0)
        return self._bins.publish(edges)

    def _edges(self, values: np.ndarray, weight: np.ndarray | None, levels: np.ndarray) -> np.ndarray:
        if values.min() == values.max():
            return _one_bin()
        if weight is None:
            with np.errstate(over="ignore", invalid="ignore"):
                edges = np.percentile(values, levels, method=self._method)
        else:
            edges = _weighted_percentiles(values, weight, levels, averages=self._method == _WEIGHTED_METHODS[0])
        return _wide(edges)

    def publish(self, owner: Owner) -> KBinsDiscretizerState:
        """Return edges at quantiles."""
        if owner.n_effective == 0:
            raise _no_rows(self._model_name)
        state: KBinsDiscretizerState = self._derived
        return state

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the edges of the sample under the key."""
        return [] if owner.n_effective == 0 else [edges.tobytes() for edges in self._derived.bin_edges_]


class _KMeansCore(_QuantileCore):
    """Bins between the clusters of a keyed sample, one column at a time."""

    def check(self, incoming: IncomingRows) -> None:
        """Accept any weights."""

    def _derive(self, sample: Any, weight: np.ndarray | None, owner: Owner) -> KBinsDiscretizerState:
        edges = []
        for j, n in enumerate(self._bins.n_bins.tolist()):
            values = sample[:, j].astype(np.float64) + 0.0  # -0.0 + 0.0 is 0.0
            edges.append(self._clusters(values, weight, n))
            values.fill(0)
        return self._bins.publish(edges)

    def _clusters(self, values: np.ndarray, weight: np.ndarray | None, n_bins: int) -> np.ndarray:
        if values.min() == values.max():
            return _one_bin()
        return _wide(line_k_means_edges(values, weight, n_bins))


_CORES: dict[str, Any] = {"uniform": _UniformCore, "quantile": _QuantileCore, "kmeans": _KMeansCore}


def _wide(edges: np.ndarray) -> np.ndarray:
    """Return edges without those of bins that are too narrow."""
    wide: np.ndarray = edges[np.ediff1d(edges, to_begin=np.inf) > _NARROW]
    return wide if len(wide) > 1 else _one_bin()


def _weighted_percentiles(values: np.ndarray, weight: np.ndarray, levels: np.ndarray, *, averages: bool) -> np.ndarray:
    """Return the smallest values that carry a share of the weight, or the mean of two where both do.

    Weights are summed up in the order of values, and of weights where values are equal: in no order of rows.
    """
    order = np.lexsort((weight, values))
    values, below = values[order], np.add.accumulate(weight[order])
    wanted = levels / 100 * below[-1]
    last = len(values) - 1
    first = np.minimum(np.searchsorted(below, wanted, side="left"), last)
    if not averages:
        return values[first]
    behind = np.minimum(np.searchsorted(below, wanted, side="right"), last)
    return values[first] * 0.5 + values[behind] * 0.5
