"""What linear least squares share, with a penalty or without: exact moments, a certified solve, prediction."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from sklearn.base import MultiOutputMixin, RegressorMixin

from skunlearn._linalg import _linear as kernels
from skunlearn._linalg.moments import Moments, Rows
from skunlearn._linalg.solve import nearest_ratio
from skunlearn.base import ForgetMixin, fitted_attribute
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.linear_model._normal_equations import NormalEquations
from skunlearn.live import Core, IncomingRows, Owner
from skunlearn.rows import CsrRows, RowBlock, RowStore, csr_rows
from skunlearn.utils._sklearn_compat import fit_context, validate_data

__all__ = [
    "LeastSquares",
    "LeastSquaresCore",
    "LeastSquaresState",
    "MomentCore",
    "finite",
    "linear_scores",
    "refuse_positive",
]

#: Of float32 rows the engine would keep 35 bits; with 53, equal values make an equal model, whatever their dtype.
SUMMED_AS = np.float64


class LeastSquares(MultiOutputMixin, RegressorMixin, ForgetMixin):
    """Linear least squares: learning, reading and prediction. A subclass has the parameters and makes the core."""

    coef_ = fitted_attribute()
    intercept_ = fitted_attribute()

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
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
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : float or array-like of shape (n_samples,), default=None
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
        return self._fit_rows(X, y, sample_weight, sample_ids, subject_ids, forgettable=forgettable)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, sample_ids: Any = None, subject_ids: Any = None
    ) -> Self:
        """Learn rows: the inverse of `partial_forget`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets, of as many dimensions and columns as before.
        sample_weight : float or array-like of shape (n_samples,), default=None
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
        return self._learn_rows(X, y, sample_weight, sample_ids, subject_ids)

    def predict(self, X: Any) -> np.ndarray:
        """Predict the targets of rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predictions as float64. A row alone gives the bits that it gives in bulk, dense or sparse.
        """
        state = self._published()
        return state.predict(self._check_X(self, X, reset=False))

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        if "y" in options:
            options |= {"multi_output": True, "y_numeric": True}
        return validate_data(estimator, X, accept_sparse="csr", dtype=(np.float64, np.float32), **options)

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        n_columns = 1 + X.shape[1] + n_targets
        return 16 * n_columns * (n_columns + 1) // 2

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


@dataclass(frozen=True, slots=True, eq=False)
class LeastSquaresState:
    """The published state of one version; its arrays are read-only.

    Parameters
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        As in the estimator.
    intercept_ : float or ndarray of shape (n_targets,)
        As in the estimator.
    rank_ : int
        Rank of the matrix that was solved.
    """

    coef_: np.ndarray
    intercept_: Any
    rank_: int

    def predict(self, X: Any) -> np.ndarray:
        """Return predictions for rows that were checked."""
        out = linear_scores(X, self.coef_, self.intercept_)
        return out[:, 0] if self.coef_.ndim == 1 else out


def linear_scores(X: Any, coef: np.ndarray, intercept: Any) -> np.ndarray:
    """Return X coef' + intercept for rows that were checked, (n_rows, n_targets); a row alone gives the same bits."""
    coef = np.atleast_2d(coef)
    intercept = np.ascontiguousarray(np.broadcast_to(intercept, len(coef)))
    out = np.empty((X.shape[0], len(coef)))
    if sp.issparse(X):
        kernels.predict_csr(*csr_rows(X), coef, intercept, out)
    else:
        kernels.predict_dense(np.ascontiguousarray(X), coef, intercept, out)
    return out


class MomentCore(Core):
    """Exact moments of the rows. A subclass says how a block of rows enters them, and what they determine.

    Parameters
    ----------
    model_name : str
        Named in errors.
    moments : Moments
        Without rows.
    """

    def __init__(self, model_name: str, moments: Moments) -> None:
        self._model_name = model_name
        self._moments = moments

    def _as_rows(self, block: RowBlock) -> Rows:
        return Rows(block.X, block.y, block.weight)

    def check(self, incoming: IncomingRows) -> None:
        """Refuse rows that their weight makes infinite."""
        if incoming.weight is None:
            return
        X = incoming.X
        X = csr_rows(X) if sp.issparse(X) or isinstance(X, CsrRows) else np.ascontiguousarray(X)
        self._moments.check(Rows(X, self._numbers(incoming.y), incoming.weight))

    def _numbers(self, y: Any) -> np.ndarray | None:
        """Return incoming targets as columns of the moments."""
        return np.ascontiguousarray(y).reshape(len(y), -1)

    def _learn(self, block: RowBlock) -> None:
        self._moments.learn(self._as_rows(block))

    def _forget(self, block: RowBlock) -> None:
        self._moments.forget(self._as_rows(block))

    def _rebuild(self, owner: Owner) -> None:
        self._moments.rebuild(lambda: self._all_rows(owner))

    def is_settled(self) -> bool:
        """Whether scales and sums are those of the rows."""
        return self._moments.is_settled

    def _settle(self, owner: Owner) -> None:
        self._moments.settle(lambda: self._all_rows(owner))

    def _all_rows(self, owner: Owner) -> Iterator[Rows]:
        return map(self._as_rows, owner.effective_blocks())

    def _require_rows(self) -> None:
        if self._moments.n_rows == 0:
            raise DegenerateRowsError(
                f"This {self._model_name} has no row of a weight above 0 left, so there is nothing to predict from. "
                "Call partial_fit or fit."
            )

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the exact sums and their scales."""
        return self._moments.digest_parts()

    def nbytes(self) -> int:
        """Return the size of the sums in bytes."""
        return self._moments.nbytes()


class LeastSquaresCore(MomentCore):
    """Exact moments of the rows, and the solution of the normal equations that they make.

    Parameters
    ----------
    model_name : str
        Named in errors.
    params : dict
        The frozen parameters; those named here are read.
    rows : RowStore
        A store with the schema of the rows to come.
    alphas : ndarray of shape (n_targets,)
        Penalty of each target.
    ravel_one_target : bool
        Whether `coef_` has one dimension also for y of shape (n_samples, 1).
    """

    def __init__(
        self, model_name: str, params: dict[str, Any], rows: RowStore, alphas: np.ndarray, *, ravel_one_target: bool
    ) -> None:
        refuse_positive(model_name, params)
        self._n_features: int = rows.native.n_features
        super().__init__(model_name, Moments(self._n_features, len(alphas), dtype=SUMMED_AS))
        self._fit_intercept: bool = params["fit_intercept"]
        self._alphas = alphas
        self._ravel_one_target = ravel_one_target

    def publish(self, owner: Owner) -> LeastSquaresState:
        """Return the solution."""
        self._require_rows()
        equations = self._normal_equations()
        coef, rank = equations.solve(self._alphas, self._constant_features(equations))
        finite(coef, self._model_name)
        intercept = self._intercepts(coef)
        has_columns = owner.targets.schema()["target_dimensions"] == 2
        is_flat = not has_columns or (self._ravel_one_target and len(coef) == 1)
        coef = np.ascontiguousarray(coef[0] if is_flat else coef)
        coef.flags.writeable = False
        if not has_columns and np.ndim(intercept):
            intercept = intercept[0]
        return LeastSquaresState(coef, intercept, rank)

    def _constant_features(self, equations: NormalEquations) -> np.ndarray:
        """Return which columns do not vary, where a target without a penalty asks for it."""
        if not self._fit_intercept or self._alphas.all():
            return np.zeros(self._n_features, dtype=bool)
        if self._moments.has_weights:
            return self._moments.constant_columns()[: self._n_features]
        return equations.zero_columns()

    def _normal_equations(self) -> NormalEquations:
        gram, moments, denominator = self._moments.normal_equations(about_means=self._fit_intercept)
        shifts = self._moments.shifts[1:].astype(np.int64)
        return NormalEquations(gram, moments, denominator, shifts[: self._n_features], shifts[self._n_features :])

    def _intercepts(self, coef: np.ndarray) -> Any:
        """Return what the means leave: the nearest float64 to mean(y) - mean(X) coef."""
        if not self._fit_intercept:
            return 0.0
        out = np.empty(len(coef))
        for target, row in enumerate(coef):
            residual = np.concatenate([-row, np.zeros(len(coef))])
            residual[self._n_features + target] = 1.0
            out[target] = nearest_ratio(*self._moments.mean_of(residual))
        out.flags.writeable = False
        return out


def refuse_positive(model_name: str, params: dict[str, Any]) -> None:
    """Refuse positive=True."""
    if params["positive"]:
        raise ValueError(
            f"{model_name} does not offer positive=True. Nothing was changed. Which coefficients are zero would be "
            "decided by an iterative solver, and not provably by the rows alone; use positive=False."
        )


def finite(coef: np.ndarray, model_name: str) -> None:
    """Refuse to publish coefficients that float64 cannot hold."""
    n_wrong = int(np.count_nonzero(~np.isfinite(coef)))
    if n_wrong:
        raise DegenerateRowsError(
            f"{n_wrong} of {coef.size} coefficients of this {model_name} are too large for float64. Scale X and y to "
            "sizes that are nearer to each other."
        )
