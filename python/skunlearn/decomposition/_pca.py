"""Principal component analysis that forgets exactly."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import pi
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import sklearn.decomposition
from _unlearn_native._native import ln
from sklearn.base import ClassNamePrefixFeaturesOutMixin

from skunlearn._linalg.fixed_order import freeze, product, sum_in_order
from skunlearn._linalg.moments import Moments, Rows
from skunlearn._linalg.solve import eigh_fixed
from skunlearn.base import ForgetMixin, fitted_attribute
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.live import Core, Owner
from skunlearn.rows import RowBlock, RowStore
from skunlearn.transforms import ForgettingTransformerMixin, TransformMap
from skunlearn.utils._sklearn_compat import (
    Interval,
    RealNotInt,
    StrOptions,
    check_array,
    fit_context,
    validate_data,
)

__all__ = ["PCA"]

#: Why the other solvers of scikit-learn are refused.
_REFUSED = {
    "full": "decomposes the centred rows themselves, and is no function of their sums",
    "arpack": "iterates from a random start on the rows themselves",
    "randomized": "draws random directions and iterates on the rows themselves",
}
#: Variances are zero below this share of the largest, times n_features.
_ROUNDING = 2.0**-52


class PCA(ClassNamePrefixFeaturesOutMixin, ForgettingTransformerMixin, ForgetMixin):
    """Principal component analysis that forgets rows exactly.

    What is kept of the rows are exact integer sums, so `partial_forget` is their subtraction: afterwards the model
    equals, bit for bit, one fitted on the rows that are left. Components come from an own solver with a fixed order of
    operations, so no bit depends on LAPACK, threads or processor.

    Parameters
    ----------
    n_components : int, float, "mle" or None, default=None
        Components to keep: a number; between 0 and 1, as many as explain more than that share of the variance; "mle",
        as many as Minka's evidence [1]_ speaks for; None, min(n_samples, n_features).
    copy : bool, default=True
        Without effect: X is never changed.
    whiten : bool, default=False
        Whether `transform` divides by the standard deviations of the components.
    svd_solver : {"auto", "covariance_eigh"}, default="auto"
        Both decompose the covariance matrix. "full", "arpack" and "randomized" work on the rows themselves, and are
        refused.
    tol : float, default=0.0
        Without effect, as the four below.
    iterated_power : int or "auto", default="auto"
        Without effect.
    n_oversamples : int, default=10
        Without effect.
    power_iteration_normalizer : {"auto", "QR", "LU", "none"}, default="auto"
        Without effect.
    random_state : int, RandomState instance, Key or None, default=None
        Without effect: nothing is random.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Principal axes, the largest variance first, float64 also where X is float32; in each row the entry of largest
        magnitude, the first of equals, is positive.
    explained_variance_ : ndarray of shape (n_components,)
        Variance along each component, with n_samples - 1 as the divisor.
    explained_variance_ratio_ : ndarray of shape (n_components,)
        Its share of all; zeros where nothing varies.
    singular_values_ : ndarray of shape (n_components,)
        Singular values of the centred rows: roots of (n_samples - 1) times the variances.
    mean_ : ndarray of shape (n_features,)
        Means of the columns.
    n_components_ : int
        Number of components. It is a function of the live rows, unless `n_components` is a number of them.
    n_samples_ : int
        Number of rows.
    noise_variance_ : float
        Mean variance of what the components leave out; 0.0 where they leave out nothing.
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
    sklearn.decomposition.PCA : The estimator that `release` returns.

    Notes
    -----
    Every value enters as an integer, rounded by at most 2**-53 of the largest live value of its column; sums, and their
    centring, are exact. The components are the eigenvectors of the covariance, whose condition is squared against a
    decomposition of the rows: variances below n_features * 2**-52 of the largest are noise.

    Forgetting m rows takes O(m n_features^2) integer additions; its time does not depend on the number of rows, unless
    the last of the largest values of a column goes. The first read after it takes O(n_features^3). Every component
    moves with every row, so what follows in a pipeline is fitted anew.

    The covariance of the generative model, and with it `score`, is that of the data whether or not `whiten` is set;
    scikit-learn's, and so a release's, scales it once more where it is.

    The model keeps its rows; `release` does not.

    References
    ----------
    .. [1] T. P. Minka, "Automatic Choice of Dimensionality for PCA", NIPS 13, 2000.
    .. [2] M. E. Tipping, C. M. Bishop, "Probabilistic Principal Component Analysis", J. R. Statist. Soc. B 61, 1999.

    Examples
    --------
    >>> from skunlearn.decomposition import PCA
    >>> X = [[0.0, 0.0], [3.0, 4.0], [6.0, 8.0], [0.0, 9.0]]
    >>> model = PCA(1).fit(X, sample_ids=["a", "b", "c", "d"])
    >>> model.partial_forget(["d"]).components_.round(3)
    array([[0.6, 0.8]])
    """

    _parameter_constraints: dict[str, Any] = {
        "n_components": [
            Interval(Integral, 0, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="neither"),
            StrOptions({"mle"}),
            None,
        ],
        "copy": ["boolean"],
        "whiten": ["boolean"],
        "svd_solver": [StrOptions({"auto", "full", "covariance_eigh", "arpack", "randomized"})],
        "tol": [Interval(Real, 0, None, closed="left")],
        "iterated_power": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "n_oversamples": [Interval(Integral, 1, None, closed="left")],
        "power_iteration_normalizer": [StrOptions({"auto", "QR", "LU", "none"})],
        "random_state": "no_validation",
    }

    components_ = fitted_attribute()
    explained_variance_ = fitted_attribute()
    explained_variance_ratio_ = fitted_attribute()
    singular_values_ = fitted_attribute()
    mean_ = fitted_attribute()
    n_components_ = fitted_attribute()
    n_samples_ = fitted_attribute()
    noise_variance_ = fitted_attribute()

    def __init__(
        self,
        n_components: Any = None,
        *,
        copy: bool = True,
        whiten: bool = False,
        svd_solver: str = "auto",
        tol: float = 0.0,
        iterated_power: Any = "auto",
        n_oversamples: int = 10,
        power_iteration_normalizer: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.copy = copy
        self.whiten = whiten
        self.svd_solver = svd_solver
        self.tol = tol
        self.iterated_power = iterated_power
        self.n_oversamples = n_oversamples
        self.power_iteration_normalizer = power_iteration_normalizer
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: Any, y: Any = None, *, sample_ids: Any = None, subject_ids: Any = None, forgettable: bool = True
    ) -> Self:
        """Fit to rows, forgetting all that were there before.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.
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
            If the input is not acceptable, or does not determine a model; a model fitted earlier is then unchanged.
        """
        return self._fit_rows(X, None, None, sample_ids, subject_ids, forgettable=forgettable)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None, *, sample_ids: Any = None, subject_ids: Any = None) -> Self:
        """Learn rows: the inverse of `partial_forget`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.
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
        return self._learn_rows(X, None, None, sample_ids, subject_ids)

    def transform(self, X: Any) -> np.ndarray:
        """Project rows to the components.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_components)
            float64. A row alone gives the bits that it gives in bulk, dense or sparse.
        """
        state: PCAState = self._published()
        return state.apply(self._check_X(self, X, reset=False))

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Return the rows that `transform` would take to `X`, of those nearest to the mean.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Rows in terms of the components.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            float64.
        """
        state: PCAState = self._published()
        X = check_array(X, dtype=(np.float64, np.float32), ensure_min_features=0)
        if X.shape[1] != state.n_components_:
            raise ValueError(
                f"X has {X.shape[1]} columns, but this {type(self).__name__} has {state.n_components_} components."
            )
        with np.errstate(over="ignore", invalid="ignore"):
            return product(X, (state.components_ * state.unwhitening[:, None]).T, state.mean_)

    def get_covariance(self) -> np.ndarray:
        """Return the covariance of the generative model: components' variances, and noise elsewhere.

        Returns
        -------
        covariance : ndarray of shape (n_features, n_features)
        """
        state: PCAState = self._published()
        return state.spread(state.explained_variance_ - state.noise_variance_, state.noise_variance_)

    def get_precision(self) -> np.ndarray:
        """Return the inverse of `get_covariance`.

        Returns
        -------
        precision : ndarray of shape (n_features, n_features)

        Raises
        ------
        DegenerateRowsError
            If the covariance is singular.
        """
        return self._published().precision()

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the log-likelihood of every row under the generative model [2]_.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_likelihood : ndarray of shape (n_samples,)
            A row alone gives the bits that it gives in bulk.

        Raises
        ------
        DegenerateRowsError
            If the covariance is singular.

        References
        ----------
        .. [2] M. E. Tipping, C. M. Bishop, "Probabilistic Principal Component Analysis", J. R. Statist. Soc. B 61,
           1999.
        """
        state: PCAState = self._published()
        X = self._check_X(self, X, reset=False)
        centred = (X.toarray() if sp.issparse(X) else X).astype(np.float64, copy=False) - state.mean_
        with np.errstate(over="ignore", invalid="ignore"):
            distances = sum_in_order(centred * product(centred, state.precision()))
        n_features = len(state.mean_)
        log_likelihood: np.ndarray = -0.5 * (distances + (n_features * _ln(2.0 * pi) + state.log_determinant()))
        return log_likelihood

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean log-likelihood of rows under the generative model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        log_likelihood : float
        """
        samples = self.score_samples(X)
        return float(sum_in_order(samples[None, :])[0] / len(samples))

    @property
    def _n_features_out(self) -> int:
        n_components: int = self._published().n_components_
        return n_components

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        has_target = options.pop("y", "none") is None
        checked = validate_data(estimator, X, accept_sparse="csr", dtype=(np.float64, np.float32), **options)
        return (checked, None) if has_target else checked

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_PCACore":
        return _PCACore(type(self).__name__, params, rows.native.n_features)

    def _native_twin(self, state: "PCAState", params: dict[str, Any]) -> Any:
        twin = sklearn.decomposition.PCA(**params)
        for name in ("components_", "explained_variance_", "explained_variance_ratio_", "singular_values_", "mean_"):
            setattr(twin, name, getattr(state, name).copy())
        twin.n_components_, twin.n_samples_ = state.n_components_, state.n_samples_
        twin.noise_variance_ = state.noise_variance_
        twin._fit_svd_solver = "covariance_eigh"
        return twin

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        n_columns = 1 + X.shape[1]
        return 16 * n_columns * (n_columns + 1) // 2

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


@dataclass(frozen=True, slots=True, eq=False)
class PCAState(TransformMap):
    """The published state of one version; its arrays are read-only.

    Parameters
    ----------
    components_, explained_variance_, explained_variance_ratio_, singular_values_, mean_
        As in the estimator.
    n_components_, n_samples_, noise_variance_
        As in the estimator.
    unwhitening : ndarray of shape (n_components,)
        What whitened components are multiplied with; ones where they are not whitened.
    whitening : ndarray of shape (n_components,) or None
        What components are divided by to be whitened.
    """

    components_: np.ndarray
    explained_variance_: np.ndarray
    explained_variance_ratio_: np.ndarray
    singular_values_: np.ndarray
    mean_: np.ndarray
    n_components_: int
    n_samples_: int
    noise_variance_: float
    unwhitening: np.ndarray
    whitening: np.ndarray | None

    @property
    def n_features_in(self) -> int:
        """Number of columns."""
        return len(self.mean_)

    def apply(self, X: Any) -> np.ndarray:
        """Return rows that were checked in terms of the components."""
        with np.errstate(over="ignore", invalid="ignore"):
            projected = product(X, self.components_, -product(self.mean_[None, :], self.components_)[0])
            return projected if self.whitening is None else projected / self.whitening

    def parts(self) -> list[bytes | np.ndarray]:
        """Return the components, the mean and what whitens."""
        return [self.components_, self.mean_, b"" if self.whitening is None else self.whitening]

    def spread(self, along: np.ndarray, everywhere: float) -> np.ndarray:
        """Return components' diag(along) components + everywhere I."""
        columns = self.components_.T
        matrix = product(columns * along, columns)
        matrix[np.diag_indices_from(matrix)] += everywhere
        return matrix

    def precision(self) -> np.ndarray:
        """Return the inverse of the covariance of the generative model: the components are orthonormal."""
        variances = self._variances()
        of_noise = 0.0 if self.n_components_ == len(self.mean_) else 1.0 / self.noise_variance_
        return self.spread(1.0 / variances[: self.n_components_] - of_noise, of_noise)

    def log_determinant(self) -> float:
        """Return that of the covariance of the generative model."""
        return float(sum_in_order(ln(self._variances())[None, :])[0])

    def _variances(self) -> np.ndarray:
        """Return the eigenvalues of the covariance of the generative model, largest first."""
        n_left = len(self.mean_) - self.n_components_
        variances = np.concatenate([self.explained_variance_, np.full(n_left, self.noise_variance_)])
        n_wrong = int(np.count_nonzero(~(variances > len(variances) * _ROUNDING * variances[0])))
        if n_wrong:
            raise DegenerateRowsError(
                f"The covariance of this PCA is singular: it has no variance in {n_wrong} of {len(variances)} "
                "directions, so there is no precision and no likelihood. Lower n_components, or call partial_fit."
            )
        return variances


class _PCACore(Core):
    """Exact moments of the rows, and the eigenvectors of their covariance."""

    def __init__(self, model_name: str, params: dict[str, Any], n_features: int) -> None:
        reason = _REFUSED.get(params["svd_solver"])
        if reason is not None:
            raise ValueError(
                f'{model_name} does not offer svd_solver="{params["svd_solver"]}". Nothing was changed. It {reason}; '
                'use "covariance_eigh".'
            )
        self._model_name = model_name
        self._params = params
        self._n_features = n_features
        # Of float32 rows the engine would keep 35 bits; with 53, equal values make an equal model.
        self._moments = Moments(n_features, dtype=np.float64)

    def _learn(self, block: RowBlock) -> None:
        self._moments.learn(Rows(block.X))

    def _forget(self, block: RowBlock) -> None:
        self._moments.forget(Rows(block.X))

    def _rebuild(self, owner: Owner) -> None:
        self._moments.rebuild(lambda: _all_rows(owner))

    def is_settled(self) -> bool:
        """Whether scales and sums are those of the rows."""
        return self._moments.is_settled

    def _settle(self, owner: Owner) -> None:
        self._moments.settle(lambda: _all_rows(owner))

    def publish(self, owner: Owner) -> PCAState:
        """Return the components."""
        n_rows = self._moments.n_rows
        if n_rows < 2:
            raise DegenerateRowsError(
                f"This {self._model_name} has n_samples={n_rows} left, and a variance needs 2. Call partial_fit or fit."
            )
        values, vectors = eigh_fixed(self._covariance(n_rows))
        variances = np.maximum(values[::-1], 0.0)
        total = float(sum_in_order(variances[None, :])[0])
        ratio = variances / total if total else np.zeros_like(variances)
        n_components = self._n_components(variances, ratio, n_rows)
        left = variances[n_components:]
        leaves_noise = n_components < min(n_rows, self._n_features)
        deviations = np.sqrt(variances[:n_components])
        shifts = self._moments.shifts[1:]
        whitening = np.maximum(deviations, 2.0**-52) if self._params["whiten"] else None
        state = PCAState(
            components_=np.ascontiguousarray(vectors.T[::-1][:n_components]),
            explained_variance_=variances[:n_components].copy(),
            explained_variance_ratio_=ratio[:n_components].copy(),
            singular_values_=np.sqrt(variances[:n_components] * (n_rows - 1)),
            mean_=np.ldexp(self._moments.means()[0], -shifts),
            n_components_=n_components,
            n_samples_=n_rows,
            noise_variance_=float(sum_in_order(left[None, :])[0] / len(left)) if leaves_noise else 0.0,
            unwhitening=np.ones(n_components) if whitening is None else deviations,
            whitening=whitening,
        )
        freeze(
            state.components_,
            state.explained_variance_,
            state.explained_variance_ratio_,
            state.singular_values_,
            state.mean_,
        )
        return state

    def _covariance(self, n_rows: int) -> np.ndarray:
        shifts = self._moments.shifts[1:]
        with np.errstate(over="ignore"):
            covariance = np.ldexp(self._moments.scatter()[0] / (n_rows - 1), -(shifts + shifts[:, None]))
        if not np.isfinite(covariance).all():
            raise DegenerateRowsError(
                f"{np.count_nonzero(~np.isfinite(covariance.diagonal()))} of {self._n_features} variances of this "
                f"{self._model_name} are too large for float64. Scale X down."
            )
        return covariance

    def _n_components(self, variances: np.ndarray, ratio: np.ndarray, n_rows: int) -> int:
        asked: Any = self._params["n_components"]
        most = min(n_rows, self._n_features)
        if asked is None:
            return most
        if asked == "mle":
            if n_rows < self._n_features:
                raise DegenerateRowsError(
                    f"n_components='mle' is only supported if n_samples >= n_features. This {self._model_name} has "
                    f"{n_rows} rows left, and {self._n_features} features."
                )
            return _most_evident(variances, n_rows)
        if isinstance(asked, Integral):
            if int(asked) > most:
                raise DegenerateRowsError(
                    f"n_components={asked} must be between 0 and min(n_samples, n_features)={most} in this "
                    f"{self._model_name}. Lower it, or call partial_fit with more rows."
                )
            return int(asked)
        return min(int(np.searchsorted(np.add.accumulate(ratio), float(asked), side="right")) + 1, most)

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return scales and exact sums."""
        return self._moments.digest_parts()

    def nbytes(self) -> int:
        """Return the size of the sums in bytes."""
        return self._moments.nbytes()


def _most_evident(variances: np.ndarray, n_rows: int) -> int:
    """Return the number of components from 1 to n_features - 1 that Minka's evidence is largest for, the least of such.

    0 for one feature, as in scikit-learn.
    """
    evidence = np.array([-np.inf, *(_log_evidence(variances, k, n_rows) for k in range(1, len(variances)))])
    return int(evidence.argmax())


def _log_evidence(variances: np.ndarray, k: int, n_rows: int) -> float:
    """Return log p(rows | k components): Laplace's approximation of Minka (2000), without what k leaves alone.

    -inf where the k-th variance is next to nothing, or equals a smaller one: the approximation has no value there.
    """
    d = len(variances)
    smallest = 1e-15
    if variances[k - 1] < smallest:
        return -np.inf
    noise = max(smallest, float(sum_in_order(variances[None, k:])[0]) / (d - k))
    model = np.concatenate([variances[:k], np.full(d - k, noise)])
    # log |A|: pairs of a component with everything behind it
    at, behind = np.triu_indices(d, 1)
    pairs = at < k
    at, behind = at[pairs], behind[pairs]
    curvatures = (variances[at] - variances[behind]) * (1.0 / model[behind] - 1.0 / model[at])
    if not (curvatures > 0.0).all():
        return -np.inf
    log_n = _ln(float(n_rows))
    log_curvature = float(sum_in_order(ln(curvatures)[None, :])[0]) + len(curvatures) * log_n
    halves = np.arange(d, d - k, -1)
    log_frames = float(sum_in_order((_ln_gamma_of_halves(d)[halves] - _ln(pi) * halves / 2.0)[None, :])[0])
    log_likelihood = float(sum_in_order(ln(variances[:k])[None, :])[0]) + (d - k) * _ln(noise)
    n_free = d * k - k * (k + 1) / 2.0
    return (
        log_frames
        - k * _ln(2.0)
        - n_rows / 2.0 * log_likelihood
        + (n_free + k) / 2.0 * _ln(2.0 * pi)
        - (log_curvature + k * log_n) / 2.0
    )


def _ln_gamma_of_halves(most: int) -> np.ndarray:
    """Return the logarithm of the gamma function at 0 (left out), 1/2, 1, 3/2, ..., most/2."""
    values = np.zeros(most + 1)
    values[1] = 0.5 * _ln(pi)
    for twice in range(3, most + 1):
        values[twice] = values[twice - 2] + _ln((twice - 2) / 2.0)
    return values


def _ln(value: float) -> float:
    return float(ln(np.array([value]))[0])


def _all_rows(owner: Owner) -> Iterator[Rows]:
    return (Rows(block.X) for block in owner.effective_blocks())
