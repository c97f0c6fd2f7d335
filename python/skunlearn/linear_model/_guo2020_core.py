"""The published method of certified removal, for comparison: a random linear term, Newton steps, and a budget.

Guo, Goldstein, Hannun and van der Maaten, "Certified Data Removal from Machine Learning Models" (ICML 2020). With x_i
clipped to a given norm R, the objective is

    F(w) = sum_i weight_i loss(y_i w.x_i) + |w|^2 / (2 C) + b.w,    b ~ N(0, noise_scale^2 I),

and what is published is w, without noise. Rows leave by w += p, p = H^-1 D, with D the gradients of their losses and H
the Hessian of F on the rows that are left. That leaves a gradient of norm at most gamma R |X| |p| |X p|, gamma = 1/4
(their corollary 1, for R = 1); the sum over steps may not pass noise_scale * epsilon / c, c^2 = 2 ln(1.5 / delta)
(their theorem 3), else F gets another b and is minimised anew. docs/certified_removal.md says what this does not cover.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from skunlearn._linalg.likelihood import wipe
from skunlearn.exceptions import CertificateError, DegenerateRowsError, SkunlearnError
from skunlearn.live import Core, Owner
from skunlearn.privacy import draw_noise
from skunlearn.rows import CsrRows, RowBlock

__all__ = ["Guo2020Core"]

_GAMMA = 0.25
_MOST_STEPS = 100
#: Of the budget, what the minimisation itself may leave of the gradient.
_MOST_LEFT = 2.0**-20
#: Above the rounding of a sum of squares, and of an eigenvalue.
_ROUNDING = 1 + 2.0**-20


@dataclass(slots=True, eq=False)
class _Trained:
    """A minimum, and what has happened to it since.

    Parameters
    ----------
    codes : ndarray of shape (2,)
        Codes of the classes, in the order of their labels.
    b : ndarray of shape (n,)
        The linear term; secret.
    w : ndarray of shape (n,)
        Coefficients, the intercept last.
    gram : ndarray of shape (n, n)
        X'X of the rows that were live then: its quadratic forms are bounds for those of fewer rows.
    norm : float
        Bound of the spectral norm of the same rows.
    spent : float
        Bound of the norm of the gradient at w.
    pending : ndarray of shape (n,)
        Gradients at w of the rows that have left since the last step.
    """

    codes: np.ndarray
    b: np.ndarray
    w: np.ndarray
    gram: np.ndarray
    norm: float
    spent: float
    pending: np.ndarray


class Guo2020Core(Core):
    """Coefficients by objective perturbation, from which rows are taken by Newton steps until a budget is spent.

    Parameters
    ----------
    model_name : str
        Named in errors.
    params : dict
        The frozen parameters; C, fit_intercept, class_weight, epsilon, delta, noise_scale, noise_random_state and
        clip_norm are read.
    n_features : int
        Width of X.

    Attributes
    ----------
    budget : float
        What the norm of the gradient may come to before F is minimised anew.
    n_trainings : int
        How often that was done.

    Raises
    ------
    ValueError
        If the parameters ask for what the method does not have.
    """

    def __init__(self, model_name: str, params: dict[str, Any], n_features: int) -> None:
        if not params["C"] < math.inf or params["class_weight"] == "balanced":
            raise ValueError(
                f'{model_name} with guarantee="guo2020" needs a penalty, and weights of rows that no other row moves: '
                'C must be finite, and class_weight not "balanced". Nothing was changed. guarantee="certified" takes '
                "both."
            )
        self._model_name = model_name
        self._alpha = 1.0 / params["C"]
        self._has_intercept = bool(params["fit_intercept"])
        self._class_weight = params["class_weight"] or {}
        self._clip_norm = float(params["clip_norm"])
        self._noise_scale = float(params["noise_scale"])
        self.budget = self._noise_scale * params["epsilon"] / math.sqrt(2 * math.log(1.5 / params["delta"]))
        seed = params["noise_random_state"]
        self._coins = None if seed is None else np.random.default_rng(seed)
        self._width = n_features + self._has_intercept
        self.n_trainings = 0
        self._trained: _Trained | None = None
        self._weight_of = [1.0, 1.0]
        self._is_settled = False
        self._problem: SkunlearnError | None = None

    @property
    def spent(self) -> float:
        """Bound of the norm of the gradient of F at the published coefficients."""
        return 0.0 if self._trained is None else self._trained.spent

    # --- rows come and go --------------------------------------------------------------------------------------------

    def _learn(self, block: RowBlock) -> None:
        self._rebuild(None)

    def _rebuild(self, owner: Owner | None) -> None:
        self._trained = self._problem = None
        self._is_settled = False

    def _forget(self, block: RowBlock) -> None:
        self._is_settled, self._problem = False, None
        trained = self._trained
        if trained is None or not len(block):
            return
        for X, signs, weight in self._designs([block], trained.codes):
            trained.pending += X.T @ (weight * _slope(signs, X @ trained.w))
            wipe(X)

    # --- reading -----------------------------------------------------------------------------------------------------

    def is_settled(self) -> bool:
        """Whether the coefficients are those of the rows of now, or it is known that there are none."""
        return self._is_settled

    def _settle(self, owner: Owner) -> None:
        codes, labels = owner.codes.classes()
        present = codes[owner.codes.n_effective[codes] > 0]
        if len(codes) > 2 or len(present) < 2:
            self._trained = None
            self._problem = self._not_two_classes(max(len(codes) if len(codes) > 2 else 0, len(present)))
        else:
            self._weight_of = [float(self._class_weight.get(label, 1.0)) for label in labels.tolist()]
            if self._trained is None or not self._step(owner, self._trained):
                self._train(owner, codes)
        self._is_settled = True

    def _step(self, owner: Owner, trained: _Trained) -> bool:
        """Take the Newton step for the rows that left; return whether the budget allowed it."""
        if not trained.pending.any():
            return True
        hessian = self._alpha * np.eye(self._width)
        for X, signs, weight in self._designs(owner.effective_blocks(), trained.codes):
            hessian += _weighted_gram(X, weight * _curvature(signs, X @ trained.w))
            wipe(X)
        step = scipy.linalg.solve(hessian, trained.pending, assume_a="pos")
        # The step is rounded: what it misses of the equation is left in the gradient.
        missed = float(np.linalg.norm(trained.pending - hessian @ step))
        longest = math.hypot(self._clip_norm, self._has_intercept)
        image = math.sqrt(float(step @ trained.gram @ step) + _doubt(trained.gram) * float(step @ step))
        residual = _GAMMA * longest * trained.norm * float(np.linalg.norm(step)) * image
        spent = (trained.spent + residual + missed) * _ROUNDING
        if not spent <= self.budget:
            return False
        trained.w = trained.w + step
        trained.spent, trained.pending = spent, np.zeros(self._width)
        return True

    def _train(self, owner: Owner, codes: np.ndarray) -> None:
        """Minimise F with another b, from zero, by Newton's method with halved steps."""
        noise, grid = draw_noise(self._width, self._noise_scale, self._coins)
        b, w = noise * grid, np.zeros(self._width)
        value, gradient, hessian = self._evaluate(owner, codes, b, w)
        for _ in range(_MOST_STEPS):
            if np.linalg.norm(gradient) <= _MOST_LEFT * self.budget:
                break
            step = -scipy.linalg.solve(hessian, gradient, assume_a="pos")
            slope, length = float(gradient @ step), 1.0
            trial = self._evaluate(owner, codes, b, w + step)
            while trial[0] > value + 0.25 * length * slope + 2.0**-45 * abs(value) and length > 2.0**-30:
                length /= 2
                trial = self._evaluate(owner, codes, b, w + length * step)
            w, (value, gradient, hessian) = w + length * step, trial
        left = float(np.linalg.norm(gradient)) * _ROUNDING
        if not left <= self.budget:
            self._trained, self._problem = None, self._no_minimum()
            return
        gram = self._gram(owner, codes)
        last = self._width - 1
        # From above: power iteration, as published, comes from below.
        largest = float(scipy.linalg.eigvalsh(gram, subset_by_index=[last, last])[0]) + _doubt(gram)
        self._trained = _Trained(codes, b, w, gram, math.sqrt(largest) * _ROUNDING, left, np.zeros(self._width))
        self.n_trainings += 1

    def _evaluate(
        self, owner: Owner, codes: np.ndarray, b: np.ndarray, w: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Return F, its gradient and its Hessian."""
        value = self._alpha * float(w @ w) / 2 + float(b @ w)
        gradient = self._alpha * w + b
        hessian = self._alpha * np.eye(self._width)
        for X, signs, weight in self._designs(owner.effective_blocks(), codes):
            scores = X @ w
            value += float((weight * np.logaddexp(0.0, -signs * scores)).sum())
            gradient += X.T @ (weight * _slope(signs, scores))
            hessian += _weighted_gram(X, weight * _curvature(signs, scores))
            wipe(X)
        return value, gradient, hessian

    def _gram(self, owner: Owner, codes: np.ndarray) -> np.ndarray:
        """Return X'X of the clipped rows, with their weights."""
        gram = np.zeros((self._width, self._width))
        for X, _, weight in self._designs(owner.effective_blocks(), codes):
            gram += _weighted_gram(X, weight)
            wipe(X)
        return gram

    def _designs(
        self, blocks: Iterator[RowBlock] | list[RowBlock], codes: np.ndarray
    ) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
        """Yield copies of clipped rows with their column of ones, signs of their classes, and weights."""
        for block in blocks:
            assert block.y is not None
            is_second = block.y[:, 0] == codes[1]
            weight = np.where(is_second, self._weight_of[1], self._weight_of[0])
            weight = weight if block.weight is None else weight * block.weight
            yield self._design(block.X), np.where(is_second, 1.0, -1.0), weight

    def _design(self, X: Any) -> Any:
        ones = np.ones((len(X.indptr) - 1 if isinstance(X, CsrRows) else len(X), int(self._has_intercept)))
        if isinstance(X, CsrRows):
            shape = (len(ones), self._width - self._has_intercept)
            matrix = sp.csr_array((X.data.astype(np.float64), X.indices, X.indptr), shape=shape)
            shrink = self._shrinkage(np.sqrt(matrix.multiply(matrix).sum(axis=1)))
            return sp.hstack([matrix.multiply(shrink[:, None]), ones], format="csr")
        values = np.hstack([X, ones], dtype=np.float64)
        rows = values[:, : X.shape[1]]
        rows *= self._shrinkage(np.sqrt(np.einsum("ij,ij->i", rows, rows)))[:, None]
        return values

    def _shrinkage(self, norms: np.ndarray) -> np.ndarray:
        return self._clip_norm / np.maximum(norms, self._clip_norm)

    # --- what is shown, and kept -------------------------------------------------------------------------------------

    def publish(self, owner: Owner) -> Any:
        """Return coefficients of shape (1, n_features) and intercepts of shape (1,)."""
        if self._trained is None:
            assert self._problem is not None
            raise self._problem
        w = self._trained.w
        intercept = w[-1:].copy() if self._has_intercept else np.zeros(1)
        return w[: self._width - self._has_intercept][None, :].copy(), intercept

    def remembered(self) -> dict[str, Any]:
        """Return how often F was minimised: a saved model keeps what it published, and is trained when rows change."""
        return {"n_trainings": self.n_trainings}

    def remember(self, saved: Any) -> None:
        """Take that back."""
        if not isinstance(saved, dict) or not isinstance(saved.get("n_trainings"), int) or saved["n_trainings"] < 0:
            raise ValueError("it does not say how often it was trained.")
        self.n_trainings = saved["n_trainings"]

    def purge(self, owner: Owner) -> None:
        """Train anew at the next read of other rows."""
        self._trained = None

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return nothing: the coefficients depend on coins and on history."""
        return []

    def nbytes(self) -> int:
        """Return the size of the coefficients in bytes."""
        return 8 * self._width * (self._width + 3)

    def _not_two_classes(self, n_classes: int) -> DegenerateRowsError:
        return DegenerateRowsError(
            f'This {self._model_name} has {n_classes} classes, and guarantee="guo2020" needs rows of exactly 2. Call '
            "partial_fit or fit."
        )

    def _no_minimum(self) -> CertificateError:
        return CertificateError(
            f"The objective of this {self._model_name} could not be minimised to within its budget of "
            f"{self.budget:.3g} in float64. Choose a larger noise_scale, or a smaller C."
        )


def _doubt(gram: np.ndarray) -> float:
    """Return more than the spectral norm of the rounding of a matrix of squares."""
    return 2.0**-30 * float(np.trace(gram))


def _slope(signs: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the derivative of ln(1 + exp(-sign score)) by the score."""
    return -signs * _logistic(-signs * scores)


def _curvature(signs: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return _logistic(scores) * _logistic(-scores)


def _logistic(z: np.ndarray) -> np.ndarray:
    tail = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, tail) / (1.0 + tail)


def _weighted_gram(X: Any, weight: np.ndarray) -> np.ndarray:
    if sp.issparse(X):
        return (X.T @ X.multiply(weight[:, None])).toarray()
    weighted = X * weight[:, None]
    gram = X.T @ weighted
    wipe(weighted)
    return gram
