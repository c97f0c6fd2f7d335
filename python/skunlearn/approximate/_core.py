"""What an approximate model derives from rows: parameters of a fit, moved a step by every deletion since."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.special import expit, softmax
from sklearn.base import clone

from skunlearn._objective import (
    Fitted,
    InverseHessian,
    LinearObjective,
    LogLink,
    Rows,
    Softmax,
    fitted_objective,
)
from skunlearn.base import ForgetMixin
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.live import Core, IncomingRows, Owner
from skunlearn.rows import CsrRows, RowBlock

__all__ = ["ApproximateCore", "ApproximateState", "FineTuneCore", "GradientCore", "InfluenceCore", "NewtonCore"]

Pull = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class ApproximateState:
    """The published state of one version; its arrays are read-only.

    Parameters
    ----------
    loss : Squared
        The loss of a row.
    W : ndarray of shape (k, d + 1)
        Coefficients, intercept last.
    classes_ : ndarray or None
        Labels, sorted.
    coef_, intercept_ : ndarray
        In the shapes of the estimator.
    """

    loss: Any
    W: np.ndarray
    classes_: np.ndarray | None
    coef_: np.ndarray
    intercept_: Any

    def scores(self, X: Any) -> np.ndarray:
        """Return scores of shape (n_rows, k)."""
        return Rows(X, np.empty((0, 0)), np.empty(0)).scores(self.W)

    def predict(self, X: Any) -> np.ndarray:
        """Return labels or numbers."""
        scores = self.scores(X)
        if self.classes_ is not None:
            best = scores.argmax(axis=1) if scores.shape[1] > 1 else (scores[:, 0] > 0).astype(np.intp)
            return self.classes_[best]
        means = np.exp(scores) if isinstance(self.loss, LogLink) else scores
        return means[:, 0] if self.coef_.ndim == 1 else means

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of every class."""
        scores = self.scores(X)
        if isinstance(self.loss, Softmax):
            return softmax(scores, axis=1)
        if scores.shape[1] == 1:
            return np.hstack([expit(-scores), expit(scores)])
        shares = expit(scores)
        return shares / shares.sum(axis=1, keepdims=True)


class ApproximateCore(Core):
    """The parameters of a fitted linear model, and how they follow rows that come and go.

    Parameters
    ----------
    model_name : str
        Named in errors.
    params : dict
        The frozen parameters.
    n_features : int
        Columns of X.
    """

    #: Whether a change is answered when somebody reads, by a pass over the rows that are there then.
    is_lazy = True

    def __init__(self, model_name: str, params: dict[str, Any], n_features: int) -> None:
        self._model_name = model_name
        self._params = params
        self._n_features = n_features
        self._clear()

    def _clear(self) -> None:
        self._fitted: Fitted | None = None
        self._shapes: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
        self.W: np.ndarray | None = None
        #: The parameters of the fit: what somebody publishes who does nothing.
        self.W_of_fit: np.ndarray | None = None
        self._n_weight = 0.0
        self._codes = np.empty(0, dtype=np.int64)
        #: The fitted estimator without its coefficients, which are those of the fit.
        self.template: Any = None
        self._is_behind = False

    # --- following the rows ------------------------------------------------------------------------------------------

    def check(self, incoming: IncomingRows) -> None:
        """Accept every row that was validated."""

    def _learn(self, block: RowBlock) -> None:
        self._follow(block, +1)

    def _forget(self, block: RowBlock) -> None:
        self._follow(block, -1)

    def _follow(self, block: RowBlock, sign: int) -> None:
        if self.W is None or self._fitted is None:
            return
        self._n_weight += sign * float(len(block) if block.weight is None else block.weight.sum())
        self._is_behind = True
        if self.is_lazy:
            return
        assert block.y is not None
        rows = self._rows(block, np.unique(block.y[:, 0]) if self._fitted.classes is not None else None)
        if rows is None:  # of a class that the fit has not seen: it is fitted again
            self._clear()
            return
        self.W = self._step(lambda W: self._pull(rows, W), self.W, sign)

    def _pull(self, rows: Rows, W: np.ndarray) -> np.ndarray:
        """Return what rows add to the gradient at W, their share of an averaged penalty with it."""
        assert self._fitted is not None
        objective = self._fitted.objective([rows], float(rows.weight.sum()))
        return objective.gradient(W) if self._fitted.is_averaged else objective.pull_of_rows(W, [rows])

    def last_path(self) -> tuple[str, dict[str, int]]:
        """Return that the parameters made a step."""
        return "step", {}

    def _rebuild(self, owner: Owner) -> None:
        self._clear()

    def is_settled(self) -> bool:
        """Whether the parameters have answered to every change."""
        return self.W is not None and not self._is_behind

    def _settle(self, owner: Owner) -> None:
        if owner.n_effective == 0:
            self._clear()
            self._is_behind = False
            return
        codes = owner.codes.classes()[0]
        codes = codes[owner.codes.n_effective[codes] > 0] if len(codes) else codes
        if self.W is None or not np.array_equal(codes, self._codes):
            self._fit(owner, codes)
        elif self._is_behind and self.is_lazy:
            assert self._fitted is not None
            self.W = self._move(self._fitted.objective(self.blocks(owner), self._n_weight), self.W)
        self._is_behind = False

    # --- what a method does ------------------------------------------------------------------------------------------

    def _start(self, objective: LinearObjective, W: np.ndarray) -> None:
        """Keep what later steps need of the rows of the fit."""

    def _step(self, pull: Pull, W: np.ndarray, sign: int) -> np.ndarray:
        """Return the parameters after rows have come or gone; `pull` is their part of the gradient."""
        raise NotImplementedError

    def _move(self, objective: LinearObjective, W: np.ndarray) -> np.ndarray:
        """Return the parameters moved towards the optimum of all rows."""
        raise NotImplementedError

    # --- fitting -----------------------------------------------------------------------------------------------------

    def _fit(self, owner: Owner, codes: np.ndarray) -> None:
        self._clear()
        model, self._codes = self.refit(owner), codes
        self.template = with_parameters(model, None)
        self._fitted = fitted_objective(model)
        self._shapes = np.shape(model.coef_), np.shape(model.intercept_)
        self.W = self.W_of_fit = self._fitted.W
        self._n_weight = sum(float(rows.weight.sum()) for rows in self.blocks(owner))
        self._start(self._fitted.objective(self.blocks(owner), self._n_weight), self.W)

    def refit(self, owner: Owner) -> Any:
        """Return the estimator fitted to all rows: scikit-learn's own."""
        blocks = list(owner.effective_blocks())
        parts = [self._matrix(block) for block in blocks]
        X = sp.vstack(parts, format="csr") if sp.issparse(parts[0]) else np.concatenate(parts)
        y = np.concatenate([owner.targets.decode(block.y) for block in blocks])
        weight = [np.ones(len(block)) if block.weight is None else block.weight for block in blocks]
        weighted = any(block.weight is not None for block in blocks)
        model = clone(self._params["estimator"])
        keeps_none = {"forgettable": False} if isinstance(model, ForgetMixin) else {}
        try:
            model.fit(X, y, **({"sample_weight": np.concatenate(weight)} if weighted else {}), **keeps_none)
        except ValueError as error:  # what it says may be a value of a row
            raise DegenerateRowsError(
                f"{type(model).__name__} could not be fitted on the {len(y)} rows of this {self._model_name} "
                f"({type(error).__name__}). Learn more rows; fit the estimator alone to see why."
            ) from None
        finally:
            for part in parts:
                (part.data if sp.issparse(part) else part).fill(0)
        return model.release() if isinstance(model, ForgetMixin) else model

    def blocks(self, owner: Owner) -> "_Passes":
        """Return the live rows as the objective takes them."""
        return _Passes(self, owner)

    def _rows(self, block: RowBlock, labels: np.ndarray | None) -> Rows | None:
        assert self._fitted is not None
        assert block.y is not None
        if labels is not None:
            if not np.isin(labels, self._codes).all():
                return None
            classes = self._fitted.classes
            assert classes is not None
            y = classes[np.searchsorted(self._codes, block.y[:, 0].astype(np.int64))]
            return self._weighted(self._fitted.rows(self._matrix(block), y, block.weight), block)
        return self._fitted.rows(self._matrix(block), block.y, block.weight)

    def _weighted(self, rows: Rows, block: RowBlock) -> Rows:
        """Return rows under the weights of their classes."""
        assert self._fitted is not None
        if self._fitted.class_weight is None:
            return rows
        assert block.y is not None
        factors = self._fitted.class_factors(np.ones(len(self._codes)))
        return Rows(rows.X, rows.targets, rows.weight * factors[np.searchsorted(self._codes, block.y[:, 0])])

    def _matrix(self, block: RowBlock) -> Any:
        if isinstance(block.X, CsrRows):
            indptr, indices, data = block.X
            matrix = sp.csr_array((data, indices, indptr), shape=(len(block), self._n_features), copy=True)
            return matrix.astype(np.float64)
        return np.array(block.X, dtype=np.float64)

    # --- reading -----------------------------------------------------------------------------------------------------

    def residual(self, owner: Owner, W: np.ndarray) -> float:
        """Return the norm of the gradient of the objective of all rows."""
        assert self._fitted is not None
        return float(np.linalg.norm(self._fitted.objective(self.blocks(owner), self._n_weight).gradient(W)))

    def publish(self, owner: Owner) -> ApproximateState:
        """Return the parameters."""
        if self.W is None or self._fitted is None:
            raise DegenerateRowsError(
                f"This {self._model_name} has no row of a weight above 0 left, so there is nothing to predict from. "
                "Call partial_fit or fit."
            )
        coef = self.W[:, :-1].reshape(self._shapes[0]).copy()
        intercept: Any = self.W[:, -1].reshape(self._shapes[1]).copy() if self._shapes[1] else float(self.W[0, -1])
        for array in (coef, intercept):
            if isinstance(array, np.ndarray):
                array.flags.writeable = False
        return ApproximateState(self._fitted.loss, self.W.copy(), self._fitted.classes, coef, intercept)

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the parameters; they depend on the history."""
        return [b"" if self.W is None else self.W.astype("<f8").tobytes()]

    def nbytes(self) -> int:
        """Return the size of the parameters in bytes."""
        return 0 if self.W is None else 3 * self.W.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class _Passes:
    """Live rows that can be passed over again."""

    core: ApproximateCore
    owner: Owner

    def __iter__(self) -> Iterator[Rows]:
        for block in self.owner.effective_blocks():
            fitted = self.core._fitted
            assert fitted is not None
            rows = self.core._rows(block, None if fitted.classes is None else self.core._codes)
            assert rows is not None
            yield rows
            (rows.X.data if sp.issparse(rows.X) else rows.X).fill(0)


class InfluenceCore(ApproximateCore):
    """A step with the Hessian of the fit, from the rows that leave alone."""

    is_lazy = False

    def _clear(self) -> None:
        super()._clear()
        self._inverse: InverseHessian | None = None

    def _start(self, objective: LinearObjective, W: np.ndarray) -> None:
        self._inverse = objective.inverse_hessian(W)

    def _step(self, pull: Pull, W: np.ndarray, sign: int) -> np.ndarray:
        assert self._inverse is not None
        return W - sign * (self._inverse @ pull(W))

    def nbytes(self) -> int:
        """Return the size of parameters and Hessian in bytes."""
        return super().nbytes() + (0 if self._inverse is None else self._inverse.blocks.nbytes)


class NewtonCore(ApproximateCore):
    """One step of Newton's method on the rows that are left."""

    def _move(self, objective: LinearObjective, W: np.ndarray) -> np.ndarray:
        return W - objective.inverse_hessian(W) @ objective.gradient(W)


class FineTuneCore(ApproximateCore):
    """Some steps of gradient descent on the rows that are left."""

    def _move(self, objective: LinearObjective, W: np.ndarray) -> np.ndarray:
        for _ in range(self._params["n_steps"]):
            W = W - self._params["learning_rate"] / max(self._n_weight, 1.0) * objective.gradient(W)
        return W


class GradientCore(ApproximateCore):
    """Some steps of gradient ascent on the rows that leave, or of descent on those that come."""

    is_lazy = False

    def _step(self, pull: Pull, W: np.ndarray, sign: int) -> np.ndarray:
        for _ in range(self._params["n_steps"]):
            W = W - sign * self._params["learning_rate"] / max(self._n_weight, 1.0) * pull(W)
        return W


def with_parameters(model: Any, state: ApproximateState | None) -> Any:
    """Return a fitted estimator with other coefficients, or with none."""
    twin = copy.copy(model)
    if state is None:
        del twin.coef_, twin.intercept_
        return twin
    twin.coef_ = state.coef_.copy()
    twin.intercept_ = np.copy(state.intercept_) if np.ndim(state.intercept_) else state.intercept_
    return twin
