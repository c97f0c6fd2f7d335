"""What the discriminant analyses share: exact moments of every class, priors, learning.

The covariance of class c is N_c / n_c^2, with N_c the integer matrix n_c sum(x x') - sum(x) sum(x'): nothing cancels in
floating point, and every entry is rounded a few times in all. What is made of it is made in a fixed order.
"""

import warnings
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin

from skunlearn._linalg.moments import Moments, Rows
from skunlearn.base import ForgetMixin, fitted_attribute
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.live import Core, Owner
from skunlearn.rows import RowBlock, RowStore
from skunlearn.utils._sklearn_compat import fit_context, validate_data

__all__ = ["ClassMoments", "DiscriminantAnalysis", "DiscriminantCore", "optional_attribute", "shrink"]


class optional_attribute(fitted_attribute):
    """A fitted attribute that some parameters do without; it is then missing, as in scikit-learn."""

    def __get__(self, model: Any, owner: type | None = None) -> Any:
        value = super().__get__(model, owner)
        if value is None:
            raise AttributeError(f"This {type(model).__name__} has no {self._name} under its parameters.")
        return value


class DiscriminantAnalysis(ClassifierMixin, ForgetMixin):
    """Gaussian class densities: learning. A subclass has the parameters, a core, and what is predicted."""

    classes_ = fitted_attribute()
    means_ = fitted_attribute()
    priors_ = fitted_attribute()
    covariance_ = optional_attribute()

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, *, sample_ids: Any = None, subject_ids: Any = None, forgettable: bool = True) -> Self:
        """Fit to rows, forgetting all that were there before.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,)
            Class labels.
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
        return self._fit_rows(X, y, None, sample_ids, subject_ids, classes=self.classes, forgettable=forgettable)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, *, sample_ids: Any = None, subject_ids: Any = None
    ) -> Self:
        """Learn rows: the inverse of `partial_forget`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,)
            Class labels.
        classes : array-like of shape (n_classes,), default=None
            Declared classes, at the first call; the parameter of the same name by default.
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
        return self._learn_rows(X, y, None, sample_ids, subject_ids, classes=classes)

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        return validate_data(estimator, X, dtype=(np.float64, np.float32), **options)

    def _checked_rows(self, X: Any) -> np.ndarray:
        """Return rows to answer about, as float64."""
        rows: np.ndarray = self._check_X(self, X, reset=False).astype(np.float64, copy=False)
        return rows

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        n_columns = 1 + X.shape[1]
        return n_classes * 16 * n_columns * (n_columns + 1) // 2


@dataclass(frozen=True, slots=True)
class ClassMoments:
    """Rows, mean and covariance of every class, in the order of the labels; a declared class may be without rows.

    Parameters
    ----------
    labels : ndarray of shape (n_classes,)
        The classes.
    n_rows : ndarray of shape (n_classes,), int64
        Rows of each.
    means : ndarray of shape (n_classes, n_features)
        Means; zeros where there is no row.
    covariances : list of ndarray of shape (n_features, n_features)
        Covariances, with n_rows as the divisor; zeros where there is no row.
    """

    labels: np.ndarray
    n_rows: np.ndarray
    means: np.ndarray
    covariances: list[np.ndarray]


class DiscriminantCore(Core):
    """Exact moments of every class.

    Parameters
    ----------
    model_name : str
        Named in errors.
    params : dict
        The frozen parameters.
    rows : RowStore
        A store with the schema of the rows to come.
    """

    def __init__(self, model_name: str, params: dict[str, Any], rows: RowStore) -> None:
        _refuse_what_needs_rows(model_name, params)
        self._model_name = model_name
        self._params = params
        self._n_features: int = rows.native.n_features
        self._priors = None if params["priors"] is None else self._checked_priors(params["priors"])
        # Of float32 rows the engine would keep 35 bits; with 53, equal values make an equal model.
        self._moments = Moments(self._n_features, dtype=np.float64)

    def _checked_priors(self, priors: Any) -> np.ndarray:
        checked = np.array(priors, dtype=np.float64)
        if checked.ndim != 1:
            raise ValueError(f"priors must be one-dimensional. Got {checked.ndim} dimensions. Nothing was changed.")
        n_wrong = int(np.count_nonzero(~(checked >= 0) | np.isinf(checked)))
        if n_wrong:
            raise ValueError(
                f"priors must be non-negative. {n_wrong} of {len(checked)} are not, or are not finite. Nothing was "
                "changed."
            )
        if not checked.any():
            raise ValueError("priors are all zero. Nothing was changed. Give some class a prior above zero.")
        return checked

    def _normalised(self, priors: np.ndarray) -> np.ndarray:
        """Return priors that sum to 1, with a warning where they do not."""
        total = float(np.add.accumulate(priors)[-1])
        if abs(total - 1.0) <= 1e-5:
            return priors
        warnings.warn("The priors do not sum to 1. Renormalizing", UserWarning, stacklevel=2)
        scaled: np.ndarray = priors / total
        return scaled

    def _learn(self, block: RowBlock) -> None:
        self._moments.learn(_as_rows(block))

    def _forget(self, block: RowBlock) -> None:
        self._moments.forget(_as_rows(block))

    def _rebuild(self, owner: Owner) -> None:
        self._moments.rebuild(lambda: _all_rows(owner))

    def is_settled(self) -> bool:
        """Whether scales and sums are those of the rows."""
        return self._moments.is_settled

    def _settle(self, owner: Owner) -> None:
        self._moments.settle(lambda: _all_rows(owner))

    @abstractmethod
    def publish(self, owner: Owner) -> Any:
        """Return the densities of the classes."""

    def class_moments(self, owner: Owner) -> ClassMoments:
        """Return what the integer sums say of every class.

        Raises
        ------
        DegenerateRowsError
            If there is no row, or an entry is too large for float64.
        """
        codes, labels = owner.codes.classes()
        n_rows = owner.codes.n_effective[codes]
        if not n_rows.any():
            raise DegenerateRowsError(
                f"This {self._model_name} has no row left, so there is nothing to predict from. Call partial_fit or "
                "fit."
            )
        means = np.zeros((len(codes), self._n_features))
        covariances = [np.zeros((self._n_features, self._n_features)) for _ in codes]
        shifts = self._moments.shifts[1:]
        for at, (code, n) in enumerate(zip(codes.tolist(), n_rows.tolist(), strict=True)):
            if n:
                means[at] = np.ldexp(self._moments.means(code)[0], -shifts)
                with np.errstate(over="ignore"):
                    covariances[at] = np.ldexp(self._moments.scatter(code)[0] / n, -(shifts + shifts[:, None]))
        self._check_finite(covariances)
        return ClassMoments(labels, n_rows, means, covariances)

    def _check_finite(self, matrices: list[np.ndarray]) -> None:
        n_wrong = sum(not np.isfinite(matrix).all() for matrix in matrices)
        if n_wrong:
            raise DegenerateRowsError(
                f"{n_wrong} of {len(matrices)} covariance matrices of this {self._model_name} are too large for "
                "float64. Scale X down."
            )

    def class_priors(self, n_rows: np.ndarray) -> np.ndarray:
        """Return the priors: given, or the shares of the rows; a class without rows has none."""
        if self._priors is None:
            shares: np.ndarray = n_rows / int(n_rows.sum())
            return shares
        if len(self._priors) != len(n_rows):
            raise DegenerateRowsError(
                f"priors has {len(self._priors)} entries, and this {self._model_name} has {len(n_rows)} classes. "
                "Declare classes= to keep a prior for a class that has no rows."
            )
        priors = np.where(n_rows > 0, self._priors, 0.0)
        if not priors.any():
            raise DegenerateRowsError(
                f"Every class of this {self._model_name} that has rows has a prior of zero. Call partial_fit with rows "
                "of another class."
            )
        return priors

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return scales and exact sums, classes in the order of their labels."""
        return self._moments.digest_parts(owner.codes.classes()[0].tolist())

    def nbytes(self) -> int:
        """Return the size of the sums in bytes."""
        return self._moments.nbytes()


def shrink(matrix: np.ndarray, shrinkage: float | None) -> np.ndarray:
    """Return (1 - shrinkage) matrix + shrinkage mean(diagonal) I."""
    if not shrinkage:
        return matrix
    shrunk: np.ndarray = (1.0 - shrinkage) * matrix
    at = np.arange(len(matrix))
    shrunk[at, at] += shrinkage * (np.add.accumulate(matrix[at, at])[-1] / len(matrix))
    return shrunk


def _refuse_what_needs_rows(model_name: str, params: dict[str, Any]) -> None:
    """Refuse estimates of a covariance that are no function of the sums."""
    if params["covariance_estimator"] is not None:
        raise ValueError(
            f"{model_name} does not offer covariance_estimator. Nothing was changed. It would be fitted to the rows "
            "themselves, and could not forget one; use shrinkage=, a number between 0 and 1."
        )
    if params["shrinkage"] is None:
        return
    if params["shrinkage"] == "auto":
        raise ValueError(
            f'{model_name} does not offer shrinkage="auto". Nothing was changed. The Ledoit-Wolf estimate needs fourth '
            "moments, and the exact sums are of the second order; choose a number between 0 and 1."
        )
    if params["solver"] == "svd":
        raise ValueError("shrinkage not supported with 'svd' solver. Nothing was changed. Use solver='eigen'.")


def _as_rows(block: RowBlock) -> Rows:
    assert block.y is not None
    return Rows(block.X, codes=block.y[:, 0].astype(np.intp))


def _all_rows(owner: Owner) -> Iterator[Rows]:
    return map(_as_rows, owner.effective_blocks())
