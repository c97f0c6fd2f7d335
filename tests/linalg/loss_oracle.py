"""Losses of one score in 60 digits: what `_losses`, the objective and the searches are held against."""

import mpmath
import numpy as np
from likelihood_oracle import csr_rows

from skunlearn._linalg.losses import GAMMA, POISSON, SQUARED, SQUARED_HINGE, huber, tweedie
from skunlearn._linalg.objective import Objective, TargetRows

mpmath.mp.dps = 60
exactly = np.frompyfunc(mpmath.mpf, 1, 1)
_exp = np.frompyfunc(mpmath.exp, 1, 1)

LOSSES = {
    "poisson": POISSON,
    "gamma": GAMMA,
    "tweedie 1.1": tweedie(1.1),
    "tweedie 1.7": tweedie(1.7),
    "squared": SQUARED,
    "squared hinge": SQUARED_HINGE,
    "huber": huber(0.7),
}


def objective_of(X, targets, weight, loss, penalty=1.0, has_intercept=True, exponents=None, layout="dense"):
    """Return the objective on these rows; the intercept has no penalty but for the hinge."""
    d = X.shape[1]
    exponents = np.zeros(d, dtype=np.int32) if exponents is None else exponents
    scaled = np.ldexp(X.astype(np.float64), -exponents)
    rows = TargetRows(csr_rows(X) if layout == "csr" else X, targets, weight)
    return Objective(
        blocks=lambda: iter([rows]),
        n_rows=len(X),
        n_scores=1,
        exponents=exponents,
        penalty=np.append(np.full(d, penalty), penalty if loss is SQUARED_HINGE else 0.0),
        has_intercept=has_intercept,
        column_norms=np.append(np.sqrt(np.square(scaled).sum(axis=0)), np.sqrt(len(X))) * (1 + 2.0**-20) + 2.0**-400,
        loss=loss,
    )


def targets_for(loss, scores, rng):
    """Return targets such as the loss is for, that lean on scores."""
    n = len(scores)
    if loss is SQUARED_HINGE:
        return np.where(scores + rng.normal(size=n) > 0, 1.0, -1.0)
    if loss.name in ("squared", "huber"):
        return scores + rng.standard_t(1.5, n)
    means = np.exp(np.clip(scores, -20, 20))
    if loss.name == "poisson":
        return rng.poisson(means).astype(float)
    return means * rng.gamma(1.0, 1.0, n) * (1.0 if loss.name == "gamma" else rng.integers(0, 2, n)) + (
        1e-3 if loss.name == "gamma" else 0.0
    )


class LossOracle:
    """An objective in mpmath.

    Parameters
    ----------
    objective : Objective
        Of dense rows.
    """

    def __init__(self, objective):
        (rows,) = objective.blocks()
        scaled = exactly(rows.X.astype(np.float64)) * exactly(np.ldexp(1.0, -objective.exponents))
        self.X = np.hstack([scaled, exactly(np.ones((len(rows.X), 1)))])
        self.targets, self.weight = exactly(rows.targets), exactly(rows.weight)
        self.penalty, self.used = exactly(objective.penalty), objective.used
        self.name, self.parameter = objective.loss.name, mpmath.mpf(objective.loss.parameter)

    def slopes(self, scores):
        """Return first and second derivatives."""
        z, y, p = scores, self.targets, self.parameter
        one = mpmath.mpf(1)
        if self.name == "poisson":
            return _exp(z) - y, _exp(z)
        if self.name == "gamma":
            return 1 - y * _exp(-z), y * _exp(-z)
        if self.name == "tweedie":
            up, down = _exp((2 - p) * z), y * _exp((1 - p) * z)
            return up - down, (2 - p) * up + (p - 1) * down
        if self.name == "squared":
            return z - y, one + 0 * z
        if self.name == "squared_hinge":
            rest = 1 - y * z
            return np.where(rest > 0, -2 * y * rest, 0 * z), np.where(rest > 0, 2 * one + 0 * z, 0 * z)
        rest = z - y
        inside = np.abs(rest) <= p
        return np.where(inside, rest, np.where(rest > 0, p, -p)), np.where(inside, one + 0 * z, 0 * z)

    def gradient(self, v):
        """Return the gradient at v, of shape (1, d + 1)."""
        v = exactly(v)
        c = self.weight * self.slopes(self.X @ v[0])[0]
        return (c @ self.X + self.penalty * v[0])[None]

    def hessian(self, v):
        """Return the Hessian at v."""
        a = self.weight * self.slopes(self.X @ exactly(v)[0])[1]
        return (self.X * a[:, None]).T @ self.X + np.diag(self.penalty)

    def minimum(self, start):
        """Return the minimum, by Newton's method from a float64 point near it."""
        v = exactly(start)
        for _ in range(60):
            gradient, hessian = self.gradient(v).ravel()[self.used], self.hessian(v)[np.ix_(self.used, self.used)]
            step = mpmath.lu_solve(mpmath.matrix(hessian.tolist()), mpmath.matrix(gradient.tolist()))
            v = v.copy()
            v.reshape(-1)[self.used] -= np.array(list(step), dtype=object)
            if max(abs(x) for x in step) < mpmath.mpf(10) ** -45:
                return v
        raise AssertionError("Newton's method found no minimum.")
