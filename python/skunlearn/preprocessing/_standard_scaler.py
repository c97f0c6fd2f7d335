"""Standardisation that forgets exactly, with statistics on a lattice that few deletions leave."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import sklearn.preprocessing
from sklearn.base import OneToOneFeatureMixin
from sklearn.utils import check_array

from skunlearn._linalg.diagonal import MaskedMoments
from skunlearn._moment_core import ColumnSums, MomentCore
from skunlearn.base import ForgetMixin, fitted_attribute
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.live import Owner
from skunlearn.preprocessing._lattice import on_lattice
from skunlearn.rows import RowStore
from skunlearn.transforms import ForgettingTransformerMixin, TransformMap
from skunlearn.utils._sklearn_compat import fit_context, validate_data

__all__ = ["StandardScaler"]

#: What the phases of the lattice are derived for.
_PURPOSES = ("scaler mean", "scaler scale")


class StandardScaler(OneToOneFeatureMixin, ForgettingTransformerMixin, ForgetMixin):
    """Standardise features by removing the mean and scaling to unit variance, forgetting rows exactly.

    What is kept of the rows are exact integer sums, so `partial_forget` is their subtraction: afterwards the scaler
    equals, bit for bit, one fitted with the same key on the rows that are left.

    By default means and scales are published on a lattice: a scale is within a factor of 1.09 of the standard
    deviation, and a mean within a quarter of the scale. A random deletion then changes the transform with a probability
    of about 4.4 n_features / n_samples, at most 7.8 of that, so what was trained on transformed rows need not be
    trained again. The lattice is placed by the key: with ``random_state=None`` two fits differ within a cell; pass an
    int or a `Key` to repeat one. `exact_mean_` and `exact_var_` hold the true statistics, which `transform` does not
    use.

    Parameters
    ----------
    copy : bool, default=True
        If False, `transform` changes its input where it can.
    with_mean : bool, default=True
        Whether to subtract the mean; sparse rows are then refused.
    with_std : bool, default=True
        Whether to divide by the scale.
    exact_statistics : bool, default=False
        Publish the true statistics instead. The transform then changes in every deletion, and with it all that follows.
    random_state : int, RandomState instance, Key or None, default=None
        Where the lattice lies.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,) or None
        What is subtracted; None without mean and scale.
    scale_ : ndarray of shape (n_features,) or None
        What is divided by: 1 for a constant feature; None where ``with_std=False``.
    var_ : ndarray of shape (n_features,) or None
        The square of `scale_`, or 0 for a constant feature; None where ``with_std=False``.
    exact_mean_, exact_var_ : ndarray of shape (n_features,)
        Weighted mean and variance (ddof 0) of the values that are not NaN, correctly rounded; NaN where there are none.
    n_samples_seen_ : int, float or ndarray of shape (n_features,)
        Number of values, or total of their weights; an array where features differ in that.
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
    sklearn.preprocessing.StandardScaler : The estimator that `release` returns.

    Notes
    -----
    With s the standard deviation and m the mean of a feature, and phases u1, u2 in [0, 1) that the key gives it,
    scale_ = 2^((k + u2) / 4) with k = rint(4 log2(s) - u2), and mean_ = (rint(m / step - u1) + u1) step with
    step = scale_ / 2. Nothing is damped: a published value is a function of the live rows and the key.

    With ``exact_statistics=True`` mean and variance are the float64 numbers nearest to the true ones. scikit-learn's
    are sums of floats, and agree to their rounding, not bit for bit. A feature is constant where its variance is
    exactly 0 (with weights: below the rounding of their roots); scikit-learn draws that line at its own rounding error.

    Every value enters as an integer, rounded by at most 2**-53 of the largest live value of its column. NaN is skipped,
    feature by feature. Weight k is k copies only to rounding, because rows are multiplied by the root of their weight.
    Forgetting m rows takes O(m n_features) integer operations; its time does not depend on the number of rows, unless
    the last of the largest values of a column goes: the next read then passes over the rows. The model keeps its rows;
    `release` does not.

    Examples
    --------
    >>> from skunlearn.preprocessing import StandardScaler
    >>> X = [[1.0], [3.0], [5.0], [90.0]]
    >>> model = StandardScaler(exact_statistics=True).fit(X, sample_ids=["a", "b", "c", "d"])
    >>> model.partial_forget(["d"]).mean_
    array([3.])
    """

    _parameter_constraints: dict[str, Any] = {
        "copy": ["boolean"],
        "with_mean": ["boolean"],
        "with_std": ["boolean"],
        "exact_statistics": ["boolean"],
        "random_state": "no_validation",
    }

    mean_ = fitted_attribute()
    scale_ = fitted_attribute()
    var_ = fitted_attribute()
    exact_mean_ = fitted_attribute()
    exact_var_ = fitted_attribute()
    n_samples_seen_ = fitted_attribute()

    def __init__(
        self,
        *,
        copy: bool = True,
        with_mean: bool = True,
        with_std: bool = True,
        exact_statistics: bool = False,
        random_state: Any = None,
    ) -> None:
        self.copy = copy
        self.with_mean = with_mean
        self.with_std = with_std
        self.exact_statistics = exact_statistics
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
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows; NaN stands for a missing value.
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
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows; NaN stands for a missing value.
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

    def transform(self, X: Any, copy: bool | None = None) -> Any:
        """Standardise rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        copy : bool, default=None
            Whether to leave `X` as it is; the parameter of the same name by default.

        Returns
        -------
        X_new : {ndarray, sparse matrix} of shape (n_samples, n_features)
            Transformed rows, of the dtype of X. A row alone gives the bits that it gives in bulk, dense or sparse.
        """
        live = self._require_live()
        state: StandardScalerState = live.publish()
        X = self._check_X(self, X, reset=False, copy=self.copy if copy is None else copy, force_writeable=True)
        return state.scale_in_place(X)

    def inverse_transform(self, X: Any, copy: bool | None = None) -> Any:
        """Undo `transform`, to rounding.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Transformed rows.
        copy : bool, default=None
            Whether to leave `X` as it is; the parameter of the same name by default.

        Returns
        -------
        X_original : {ndarray, sparse matrix} of shape (n_samples, n_features)
            Rows, of the dtype of X.
        """
        live = self._require_live()
        state: StandardScalerState = live.publish()
        params = live.params
        X = check_array(
            X,
            accept_sparse="csr",
            copy=self.copy if copy is None else copy,
            dtype=(np.float64, np.float32),
            force_writeable=True,
            ensure_all_finite="allow-nan",
        )
        _check_not_centred(X, with_mean=params["with_mean"])
        if params["with_std"] and sp.issparse(X):
            X.data *= state.scale_.astype(X.dtype)[X.indices]
        elif not sp.issparse(X):
            if params["with_std"]:
                X *= state.scale_.astype(X.dtype)
            if params["with_mean"]:
                X += state.mean_.astype(X.dtype)
        return X

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_ScalerCore":
        return _ScalerCore(type(self).__name__, params, rows.native.n_features)

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
        live = estimator._live
        _check_not_centred(X, with_mean=estimator.with_mean if live is None else live.params["with_mean"])
        return (X, None) if has_y else X

    def _native_twin(self, state: "StandardScalerState", params: dict[str, Any]) -> Any:
        twin = sklearn.preprocessing.StandardScaler(
            **{name: params[name] for name in ("copy", "with_mean", "with_std")},
        )
        for name in ("mean_", "scale_", "var_", "n_samples_seen_"):
            value = getattr(state, name)
            setattr(twin, name, value.copy() if isinstance(value, np.ndarray) else value)
        return twin

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        return 32 * (1 + 2 * X.shape[1])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        # A saved model is checked before its parameters are set.
        tags.input_tags.sparse = not getattr(self, "with_mean", True)
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _check_not_centred(X: Any, *, with_mean: bool) -> None:
    if with_mean and sp.issparse(X):
        raise ValueError(
            "Cannot center sparse matrices: pass `with_mean=False` instead. Nothing was changed. Subtracting a mean "
            "would fill in every zero."
        )


@dataclass(frozen=True, slots=True, eq=False)
class StandardScalerState(TransformMap):
    """The published state of one version.

    Parameters
    ----------
    mean_, scale_, var_, exact_mean_, exact_var_, n_samples_seen_
        As in the estimator.
    with_mean : bool
        Whether the mean is subtracted.
    """

    mean_: Any
    scale_: Any
    var_: Any
    exact_mean_: np.ndarray
    exact_var_: np.ndarray
    n_samples_seen_: Any
    with_mean: bool

    @property
    def n_features_in(self) -> int:
        """Number of columns."""
        return len(self.exact_mean_)

    def apply(self, X: Any) -> Any:
        """Return rows standardised."""
        return self.scale_in_place(X.copy())

    def scale_in_place(self, X: Any) -> Any:
        """Standardise rows where they are."""
        if sp.issparse(X):
            if self.scale_ is not None:
                X.data /= self.scale_.astype(X.dtype)[X.indices]
            return X
        if self.with_mean:
            X -= self.mean_.astype(X.dtype)
        if self.scale_ is not None:
            X /= self.scale_.astype(X.dtype)
        return X

    def parts(self) -> list[bytes | np.ndarray]:
        """Return the mean and the scale, as far as they are used."""
        used = (self.mean_ if self.with_mean else None, self.scale_)
        return [b"" if array is None else array for array in used]


class _ScalerCore(MomentCore):
    """Exact moments of the values that are there, and the statistics that are published of them."""

    def __init__(self, model_name: str, params: dict[str, Any], n_features: int) -> None:
        super().__init__(model_name, n_features)
        self._with_mean: bool = params["with_mean"]
        self._with_std: bool = params["with_std"]
        self._exact_statistics: bool = params["exact_statistics"]

    def _new_moments(self) -> MaskedMoments:
        return MaskedMoments(self._n_features)

    def _column_sums(self, code: int = 0) -> ColumnSums:
        d, shifts = self._n_features, self._moments.shifts.tolist()
        sums, squares = self._moments.integers(code)
        return ColumnSums(squares[1 + d :], sums[1 : 1 + d], squares[1 : 1 + d], shifts[1 + d :], shifts[1 : 1 + d])

    def publish(self, owner: Owner) -> StandardScalerState:
        """Return the statistics, on the lattice unless the exact ones are asked for."""
        if self._moments.n_rows == 0:
            raise DegenerateRowsError(
                f"This {self._model_name} has no row of a weight above 0 left, so there are no statistics to scale by. "
                "Call partial_fit or fit."
            )
        columns = self._column_sums()
        missing = np.array(columns.weights, dtype=object) == 0
        exact_mean = np.where(missing, np.nan, columns.means())
        exact_var = np.where(missing, np.nan, columns.variances())
        deviation = np.where(missing, np.nan, columns.deviations())
        constant = self._constant(columns)
        exact_var[constant] = 0.0
        mean, scale, var = exact_mean, deviation, exact_var
        if not self._exact_statistics:
            mean, scale = on_lattice(exact_mean, deviation, constant, owner.key, _PURPOSES)
            with np.errstate(over="ignore"):
                var = scale * scale
        scale, var = np.where(constant, 1.0, scale), np.where(constant, 0.0, var)
        for array in (mean, scale, var, exact_mean, exact_var):
            array.flags.writeable = False
        return StandardScalerState(
            mean_=mean if self._with_mean or self._with_std else None,
            scale_=scale if self._with_std else None,
            var_=var if self._with_std else None,
            exact_mean_=exact_mean,
            exact_var_=exact_var,
            n_samples_seen_=self._n_samples_seen(columns),
            with_mean=self._with_mean,
        )

    def _constant(self, columns: ColumnSums) -> np.ndarray:
        """Return which columns do not vary; with weights, as far as the rounding of the engine lets tell.

        See `Moments.constant_columns` for the bound.
        """
        slack = 5 * self._moments.n_rows if self._moments.has_weights else 0
        rows = zip(columns.weights, columns.spreads(), columns.squares, strict=True)
        if not self._moments.has_weights:
            return np.array([bool(w) and v == 0 for w, v, _ in rows])
        return np.array([bool(w) and v <= w * ((q >> 103) + slack) for w, v, q in rows])

    def _n_samples_seen(self, columns: ColumnSums) -> Any:
        """Return numbers of values or, with weights, their totals; one for all columns where they agree."""
        scales = zip(columns.weights, columns.weight_shifts, strict=True)
        if self._moments.has_weights:
            seen = np.array([np.ldexp(float(w), -2 * shift) for w, shift in scales])
        else:
            seen = np.array([w >> 2 * shift for w, shift in scales], dtype=np.int64)
        if (seen == seen[0]).all():
            return seen[0]
        seen.flags.writeable = False
        return seen

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the exact sums and their scales, and what is published of them under the key."""
        parts = self._moments.digest_parts()
        if self._moments.n_rows:
            state = self.publish(owner)
            parts += [b"" if array is None else array.tobytes() for array in (state.mean_, state.scale_)]
        return parts
