"""Logistic models in 60 digits: what the kernels and the certificate are held against."""

import mpmath
import numpy as np

from skunlearn._linalg.likelihood import LabelledRows, Likelihood
from skunlearn.rows import CsrRows

mpmath.mp.dps = 60
_exactly = np.frompyfunc(mpmath.mpf, 1, 1)


def likelihood_of(X, labels, weight, n_scores, penalty=1.0, has_intercept=True, exponents=None, layout="dense"):
    """Return the objective on these rows."""
    d = X.shape[1]
    exponents = np.zeros(d, dtype=np.int32) if exponents is None else exponents
    scaled = np.ldexp(X.astype(np.float64), -exponents)
    rows = LabelledRows(csr_rows(X) if layout == "csr" else X, labels.astype(np.int32), weight)
    return Likelihood(
        blocks=lambda: iter([rows]),
        n_rows=len(X),
        n_scores=n_scores,
        exponents=exponents,
        penalty=np.append(np.full(d, penalty), 0.0),
        has_intercept=has_intercept,
        column_norms=np.append(np.sqrt(np.square(scaled).sum(axis=0)), np.sqrt(len(X))) * (1 + 2.0**-20) + 2.0**-400,
    )


def csr_rows(X):
    """Return a matrix in compressed sparse row form."""
    row, column = np.nonzero(X)
    indptr = np.searchsorted(row, np.arange(len(X) + 1)).astype(np.int64)
    return CsrRows(indptr, column.astype(np.int32), np.ascontiguousarray(X[row, column]))


class Oracle:
    """The same objective in mpmath.

    Parameters
    ----------
    likelihood : Likelihood
        Of dense rows.
    """

    def __init__(self, likelihood):
        (rows,) = likelihood.blocks()
        scaled = _exactly(rows.X.astype(np.float64)) * _exactly(np.ldexp(1.0, -likelihood.exponents))
        self.X = np.hstack([scaled, _exactly(np.ones((len(rows.X), 1)))])
        self.labels, self.weight = rows.labels, _exactly(rows.weight)
        self.penalty, self.k = _exactly(likelihood.penalty), likelihood.n_scores
        self.used = likelihood.used

    def probabilities(self, v):
        """Return the probabilities of labels, of shape (n_rows, max(k, 2))."""
        scores = self.X @ v.T
        if self.k == 1:
            scores = np.hstack([0 * scores, scores])
        powers = np.frompyfunc(mpmath.exp, 1, 1)(scores - scores.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def gradient(self, v):
        """Return the gradient at v, an array of mpf."""
        v = _exactly(v)
        excess = self.probabilities(v)
        excess[np.arange(len(self.labels)), self.labels] -= 1
        excess = excess[:, 1:] if self.k == 1 else excess
        common = 0 if self.k == 1 else v.sum(axis=0)
        return (self.weight[:, None] * excess).T @ self.X + self.penalty * v + common

    def hessian(self, v):
        """Return the Hessian at v, of shape (v.size, v.size)."""
        p = self.X.shape[1]
        shares = self.probabilities(_exactly(v))
        out = np.full((self.k, p, self.k, p), mpmath.mpf(0))
        diagonal = np.arange(p)
        for one in range(self.k):
            for other in range(self.k):
                slopes = (
                    shares[:, one] * ((one == other) - shares[:, other]) if self.k > 1 else shares[:, 0] * shares[:, 1]
                )
                out[one, :, other] = (self.X * (self.weight * slopes)[:, None]).T @ self.X
                out[one, diagonal, other, diagonal] += int(self.k > 1)
            out[one, diagonal, one, diagonal] += self.penalty
        return out.reshape(self.k * p, self.k * p)

    def minimum(self, start):
        """Return the minimum, by Newton's method from a float64 point near it."""
        v = _exactly(start)
        for _ in range(60):
            gradient, hessian = self.gradient(v).ravel()[self.used], self.hessian(v)[np.ix_(self.used, self.used)]
            step = mpmath.lu_solve(mpmath.matrix(hessian.tolist()), mpmath.matrix(gradient.tolist()))
            v = v.copy()
            v.reshape(-1)[self.used] -= np.array(list(step), dtype=object)
            if max(abs(x) for x in step) < mpmath.mpf(10) ** -45:
                return v
        raise AssertionError("Newton's method found no minimum.")
