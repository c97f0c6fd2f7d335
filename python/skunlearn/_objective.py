"""Objectives of linear models in float64: gradients and Hessians as estimates, without a proof of their errors.

What forgets exactly or under a certificate does not read this module; what ranks rows and what forgets approximately
does. With x_i' = (x_i, 1), scores z_i = W x_i' of shape (k,) and W of shape (k, d + 1),

    F(W) = sum_i weight_i loss(z_i, target_i) + sum_lj penalty_lj W_lj^2 / 2.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import check_is_fitted

__all__ = ["Fitted", "LinearObjective", "LogLink", "Logistic", "Rows", "Softmax", "Squared", "fitted_objective"]

#: Parameters beyond which a Hessian is not formed.
MOST_PARAMETERS = 4_000


class Squared:
    """Half of the squared error of every score."""

    #: Whether scores have Hessians of their own, so that one of all is made of blocks.
    is_separable = True

    def loss(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the loss of rows."""
        return np.square(scores - targets).sum(axis=1) / 2

    def slope(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return its derivatives by the scores."""
        return scores - targets

    def curvature(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return its second derivatives, of shape (n_rows, k): those of a score by another one are 0."""
        return np.ones_like(scores)


class Logistic(Squared):
    """The log loss of two classes under one score; targets are 0 and 1."""

    def loss(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return -log_expit(np.where(targets > 0, scores, -scores)).sum(axis=1)

    def slope(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return np.where(targets > 0, -expit(-scores), expit(scores))

    def curvature(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return expit(scores) * expit(-scores)


class LogLink(Squared):
    """Half of the unit deviance of a Tweedie distribution under a log link.

    Parameters
    ----------
    power : float
        1 for Poisson, 2 for Gamma.
    """

    def __init__(self, power: float) -> None:
        self.power = power

    def loss(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        p = self.power
        if p == 1:
            return (np.exp(scores) - targets * scores).sum(axis=1)
        if p == 2:
            return (scores + targets * np.exp(-scores)).sum(axis=1)
        return (np.exp((2 - p) * scores) / (2 - p) - targets * np.exp((1 - p) * scores) / (1 - p)).sum(axis=1)

    def slope(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        p = self.power
        return np.exp((2 - p) * scores) - targets * np.exp((1 - p) * scores)

    def curvature(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        p = self.power
        return (2 - p) * np.exp((2 - p) * scores) - (1 - p) * targets * np.exp((1 - p) * scores)


class Softmax(Squared):
    """The log loss of several classes, a score each; targets are rows of an identity matrix."""

    is_separable = False

    def loss(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return -(targets * log_softmax(scores, axis=1)).sum(axis=1)

    def slope(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return softmax(scores, axis=1) - targets

    def curvature(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return its second derivatives, of shape (n_rows, k, k)."""
        shares = softmax(scores, axis=1)
        return shares[:, :, None] * (np.eye(shares.shape[1]) - shares[:, None, :])


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows as an objective takes them.

    Parameters
    ----------
    X : {ndarray, sparse matrix} of shape (n_rows, d)
        Values.
    targets : ndarray of shape (n_rows, k)
        What the loss takes beside the scores.
    weight : ndarray of shape (n_rows,)
        Weights.
    """

    X: Any
    targets: np.ndarray
    weight: np.ndarray

    def scores(self, W: np.ndarray) -> np.ndarray:
        """Return the scores of shape (n_rows, k)."""
        return np.asarray(self.X @ W[:, :-1].T) + W[:, -1]


class LinearObjective:
    """F on some rows.

    Parameters
    ----------
    loss : Squared
        The loss of a row.
    penalty : ndarray of shape (k, d + 1)
        Of every parameter; that of the intercept last.
    has_intercept : bool
        If not, the last column of W is 0 and stays there.
    blocks : iterable of Rows
        The rows, which can be passed over again.
    """

    def __init__(self, loss: Squared, penalty: np.ndarray, has_intercept: bool, blocks: Iterable[Rows]) -> None:
        self.loss = loss
        self.penalty = penalty
        self.has_intercept = has_intercept
        self.blocks = blocks

    def gradient(self, W: np.ndarray) -> np.ndarray:
        """Return the gradient at W, of the shape of W."""
        return self.penalty * W + self.pull_of_rows(W, self.blocks)

    def pull_of_rows(self, W: np.ndarray, blocks: Iterable[Rows]) -> np.ndarray:
        """Return what rows add to the gradient at W."""
        total = np.zeros_like(W)
        for rows in blocks:
            slope = self.loss.slope(rows.scores(W), rows.targets) * rows.weight[:, None]
            total[:, :-1] += np.asarray(rows.X.T @ slope).T
            total[:, -1] += slope.sum(axis=0) * self.has_intercept
        return total

    def inverse_hessian(self, W: np.ndarray) -> "InverseHessian":
        """Return the inverse of the Hessian at W; a pseudo-inverse where it has none.

        Raises
        ------
        ValueError
            If there are too many parameters.
        """
        k, p = W.shape
        size = p if self.loss.is_separable else k * p
        if size > MOST_PARAMETERS:
            raise ValueError(
                f"The model has {size:,} parameters, and this takes a matrix of the square of that; the limit is "
                f"{MOST_PARAMETERS:,}. Nothing was changed. Select features first."
            )
        free = np.ones((k, p), dtype=bool)
        free[:, -1] = self.has_intercept
        if self.loss.is_separable:
            hessian = np.zeros((k, p, p))
            for rows in self.blocks:
                curvature = self.loss.curvature(rows.scores(W), rows.targets) * rows.weight[:, None]
                for one in range(k):
                    hessian[one] += _gram(rows.X, curvature[:, one])
            hessian[:, np.arange(p), np.arange(p)] += self.penalty
            return InverseHessian(np.stack([_inverse(h, f) for h, f in zip(hessian, free, strict=True)]))
        whole: np.ndarray = np.zeros((k, p, k, p))
        for rows in self.blocks:
            curvature = self.loss.curvature(rows.scores(W), rows.targets) * rows.weight[:, None, None]
            for one in range(k):
                for other in range(one + 1):
                    whole[one, :, other] += _gram(rows.X, curvature[:, one, other])
        for one in range(k):
            for other in range(one):
                whole[other, :, one] = whole[one, :, other].T
        whole = whole.reshape(k * p, k * p)
        whole.ravel()[:: k * p + 1] += self.penalty.ravel()
        return InverseHessian(_inverse(whole, free.ravel()).reshape(k, p, k, p))


@dataclass(frozen=True, slots=True, eq=False)
class InverseHessian:
    """The inverse of a Hessian.

    Parameters
    ----------
    blocks : ndarray of shape (k, d + 1, d + 1) or (k, d + 1, k, d + 1)
        A block a score, or the whole.
    """

    blocks: np.ndarray

    @property
    def is_separable(self) -> bool:
        """Whether it is made of a block a score."""
        return self.blocks.ndim == 3

    def __matmul__(self, gradient: np.ndarray) -> np.ndarray:
        if self.is_separable:
            return np.einsum("kij,kj->ki", self.blocks, gradient)
        return np.tensordot(self.blocks, gradient, axes=2)

    def leverage(self, rows: Rows) -> np.ndarray:
        """Return x_i' H^-1 x_i of rows, score by score: of shape (n_rows, k), or (n_rows, k, k) if not separable."""
        X = with_ones(rows.X)
        k = len(self.blocks)
        if self.is_separable:
            return np.stack([_quadratic(X, block) for block in self.blocks], axis=1)
        of_pairs = [[_quadratic(X, self.blocks[one, :, other]) for other in range(k)] for one in range(k)]
        return np.moveaxis(np.array(of_pairs), 2, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """The parameters of a fitted model, and what they minimise.

    Parameters
    ----------
    loss : Squared
        The loss of a row.
    W : ndarray of shape (k, d + 1)
        Coefficients, intercept last.
    penalty : ndarray of shape (k, d + 1)
        Of every parameter; for `is_averaged` that of a unit of weight.
    has_intercept : bool
        Whether the intercept is free.
    is_averaged : bool
        Whether the penalty stands beside the mean of the losses instead of their sum.
    classes : ndarray or None
        Labels in the order of the scores; of two, the second has the score.
    class_weight : dict, "balanced" or None
        As in scikit-learn.
    """

    loss: Squared
    W: np.ndarray
    penalty: np.ndarray
    has_intercept: bool
    is_averaged: bool = False
    classes: np.ndarray | None = None
    class_weight: Any = None

    def rows(self, X: Any, y: Any, weight: Any = None) -> Rows:
        """Return rows with targets as the loss takes them, under the weights that users give."""
        weight = np.ones(X.shape[0]) if weight is None else np.asarray(weight, dtype=np.float64)
        if self.classes is None:
            targets = np.asarray(y, dtype=np.float64)
            return Rows(X, targets.reshape(len(targets), -1), weight)
        labels = np.searchsorted(self.classes, y)
        if isinstance(self.loss, Softmax):
            return Rows(X, np.eye(len(self.classes))[labels], weight)
        if isinstance(self.loss, Logistic):
            is_one = labels[:, None] if len(self.classes) == 2 else np.eye(len(self.classes))[labels]
            return Rows(X, is_one.astype(np.float64), weight)
        if len(self.classes) == 2:
            return Rows(X, 2.0 * labels[:, None] - 1.0, weight)
        return Rows(X, 2.0 * np.eye(len(self.classes))[labels] - 1.0, weight)

    def class_factors(self, totals: np.ndarray) -> np.ndarray:
        """Return what weights of rows are multiplied by, a class each; `totals` are sums of the weights of classes."""
        assert self.classes is not None
        if self.class_weight == "balanced":
            return totals.sum() / (len(totals) * totals)
        return compute_class_weight(self.class_weight, classes=self.classes, y=self.classes)

    def objective(self, blocks: Iterable[Rows], total_weight: float) -> LinearObjective:
        """Return the objective on rows under their final weights."""
        penalty = self.penalty * total_weight if self.is_averaged else self.penalty
        return LinearObjective(self.loss, penalty, self.has_intercept, blocks)


def fitted_objective(model: Any) -> Fitted:
    """Return what a fitted linear model of this library or of scikit-learn minimises.

    Raises
    ------
    TypeError
        If it is none of those whose objective is known here.
    NotFittedError
        If it is not fitted.
    """
    name = next((cls.__name__ for cls in type(model).__mro__ if cls.__name__ in _READERS), None)
    if name is None or not type(model).__module__.startswith(("sklearn.", "skunlearn.")):
        raise TypeError(
            f"The objective of a {type(model).__name__} is not known here. Nothing was changed. Pass a fitted "
            f"{', '.join(sorted(_READERS))}, or a Pipeline that ends in one."
        )
    check_is_fitted(model, "coef_")
    coef = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64))
    intercept = np.broadcast_to(np.asarray(model.intercept_, dtype=np.float64).reshape(-1), (len(coef),))
    return _READERS[name](model, np.column_stack([coef, intercept]))


def _read_logistic(model: Any, W: np.ndarray) -> Fitted:
    if model.penalty in ("l1", "elasticnet") or getattr(model, "l1_ratio", None) not in (None, 0):
        raise TypeError(
            f"A {type(model).__name__} with an L1 penalty has no gradient at its optimum, which this needs. Nothing "
            "was changed. Use an L2 penalty."
        )
    alpha = 0.0 if model.penalty is None else 1.0 / model.C
    of_intercept = alpha / model.intercept_scaling**2 if model.solver == "liblinear" else 0.0
    loss = Logistic() if len(W) == 1 else Softmax()
    penalty = _penalty(W, alpha, of_intercept)
    return Fitted(loss, W, penalty, model.fit_intercept, classes=model.classes_, class_weight=model.class_weight)


def _read_least_squares(model: Any, W: np.ndarray) -> Fitted:
    if getattr(model, "positive", False):
        raise TypeError(
            f"A {type(model).__name__} with positive=True has no gradient of 0 at its optimum, which this needs. "
            "Nothing was changed. Leave positive at False."
        )
    alpha = getattr(model, "alpha_", getattr(model, "alpha", 0.0))
    return Fitted(Squared(), W, _penalty(W, np.reshape(alpha, (-1, 1)), 0.0), model.fit_intercept)


def _read_ridge_classifier(model: Any, W: np.ndarray) -> Fitted:
    penalty = _penalty(W, model.alpha, 0.0)
    return Fitted(Squared(), W, penalty, model.fit_intercept, classes=model.classes_, class_weight=model.class_weight)


def _read_sgd(model: Any, W: np.ndarray) -> Fitted:
    losses: dict[str, Squared] = {"log_loss": Logistic(), "squared_error": Squared()}
    if model.loss not in losses or model.penalty != "l2" or model.average:
        raise TypeError(
            f"Of {type(model).__name__} those with loss='log_loss' or 'squared_error', penalty='l2' and without "
            "averages are known here. Nothing was changed."
        )
    return Fitted(
        losses[model.loss],
        W,
        _penalty(W, model.alpha, 0.0),
        model.fit_intercept,
        is_averaged=True,
        classes=getattr(model, "classes_", None),
        class_weight=getattr(model, "class_weight", None),
    )


def _read_log_link(model: Any, W: np.ndarray) -> Fitted:
    powers = {"PoissonRegressor": 1.0, "GammaRegressor": 2.0}
    power = next((powers[cls.__name__] for cls in type(model).__mro__ if cls.__name__ in powers), None)
    power = model.power if power is None else power
    if not 1 <= power <= 2:
        raise TypeError("Of Tweedie regressors those of a power from 1 to 2 are known here. Nothing was changed.")
    return Fitted(LogLink(power), W, _penalty(W, model.alpha, 0.0), model.fit_intercept, is_averaged=True)


_READERS = {
    "LogisticRegression": _read_logistic,
    "LinearRegression": _read_least_squares,
    "Ridge": _read_least_squares,
    "RidgeCV": _read_least_squares,
    "RidgeClassifier": _read_ridge_classifier,
    "PoissonRegressor": _read_log_link,
    "GammaRegressor": _read_log_link,
    "TweedieRegressor": _read_log_link,
    "SGDClassifier": _read_sgd,
    "SGDRegressor": _read_sgd,
}


def _penalty(W: np.ndarray, alpha: Any, of_intercept: float) -> np.ndarray:
    penalty = np.zeros_like(W)
    penalty[:, :-1] = alpha
    penalty[:, -1] = of_intercept
    return penalty


def with_ones(X: Any) -> Any:
    """Return values as float64 with a column of ones."""
    ones = np.ones((X.shape[0], 1))
    if sp.issparse(X):
        return sp.hstack([X.astype(np.float64), ones], format="csr")
    return np.hstack([X, ones])


def _gram(X: Any, weight: np.ndarray) -> np.ndarray:
    X = with_ones(X)
    return (X.T @ X.multiply(weight[:, None])).toarray() if sp.issparse(X) else X.T @ (X * weight[:, None])


def _quadratic(X: Any, block: np.ndarray) -> np.ndarray:
    mapped = X @ block
    return np.asarray(X.multiply(mapped).sum(axis=1)).ravel() if sp.issparse(X) else np.einsum("ij,ij->i", X, mapped)


def _inverse(hessian: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Return the inverse, with zeros at parameters that are not free."""
    out, chosen = np.zeros_like(hessian), np.ix_(free, free)
    out[chosen] = scipy.linalg.pinvh(hessian[chosen])
    return out
