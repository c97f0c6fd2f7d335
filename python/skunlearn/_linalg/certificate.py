"""How far a point is from the minimum of a convex function, proved.

F(v) = sum_i loss_i(x_i'v) + v'Pv / 2 in scaled coordinates: |x_ij| <= 1, and losses whose curvature changes by no more
than exp of the change of the score (the logistic one, and with ranges of scores the multinomial one). H is the Hessian
at v on the live rows, A its inverse, w* the minimum, and g a computed gradient whose entry j is within e_j.

A *factor* B need not be A: it is any symmetric matrix with lo A <= B <= hi A for known lo and hi. Whether it is one is
measured on the product B H, of which nothing is assumed but that every entry is a sum in some order. What the
optimiser, LAPACK or the machine did to v and B enters nowhere else.

Theorem (docs/certificates.md proves it). With kappa = max(1/lo - 1, 1 - 1/hi),
nu = (|g|_B + |e|_B) / sqrt(lo) >= |grad F(v)|_A, h >= max |x_i|_A and h nu < 1, put D = -ln(1 - h nu) / h. Then a
minimum exists, |v - w*|_H <= D and, about the centre v - B g,

    |w* - (v - B g)|_j <= (|B| e)_j + sqrt(B_jj) (kappa (|g|_B + |e|_B) + (exp(h D) - 1) nu / sqrt(lo)).
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri

__all__ = ["MOST_DOUBT", "Bound", "Factor", "bound_distance", "factorise", "update_factor"]

_U = 2.0**-53
#: Takes in the rounding of a few operations on positive numbers.
_SLACK = 1.0 + 2.0**-20
#: Beyond this the factor proves nothing, and only says where to go.
MOST_DOUBT = 0.5
#: Beyond this a factor is not changed any more: what it says would get worse with every row.
_MOST_KEPT_DOUBT = 2.0**-14
#: h nu beyond which the remainder would say too little.
_MOST_REACH = 0.5
#: Diagonals of Hessians outside of this range are refused: within, nothing that underflows matters.
_SMALLEST, _LARGEST = 2.0**-400, 2.0**400
#: What is added to a balanced diagonal, in turn, until LAPACK takes the matrix for positive definite.
_RIDGES = (0.0, 2.0**-40, 2.0**-20)


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """A matrix B and how far it can be from the inverse of a Hessian H.

    Parameters
    ----------
    inverse : ndarray of shape (n, n)
        B, symmetric.
    magnitudes : ndarray of shape (n, n)
        |B|.
    roots : ndarray of shape (n,)
        Square roots of the diagonal of B.
    doubt : float
        All eigenvalues of B H are between 1 - doubt and 1 + doubt.
    leverage : float
        Bound of |x|_B over all x with |x_j| <= 1.
    """

    inverse: np.ndarray
    magnitudes: np.ndarray
    roots: np.ndarray
    doubt: float
    leverage: float

    def step(self, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return B g, and how far each entry may be off by rounding."""
        rounding = (len(gradient) + 2) * _U * (self.magnitudes @ np.abs(gradient))
        return self.inverse @ gradient, rounding

    def norm(self, gradient: np.ndarray) -> float:
        """Return at least the norm of g in the metric B."""
        squared = float(gradient @ (self.inverse @ gradient))
        rounding = (2 * len(gradient) + 4) * _U * self._size(gradient)
        return float(np.sqrt(max(squared, 0.0) + rounding)) * _SLACK

    def norm_of_errors(self, errors: np.ndarray) -> float:
        """Return at least the norm in the metric B of any vector whose entries are at most `errors`."""
        return float(np.sqrt(self._size(errors))) * _SLACK

    def _size(self, vector: np.ndarray) -> float:
        return float(np.abs(vector) @ (self.magnitudes @ np.abs(vector)))


def factorise(hessian: np.ndarray, errors: np.ndarray) -> Factor | None:
    """Invert a Hessian, and bound how far what came out is from the inverse of the true one.

    The eigenvalues of B H - 1 are at most its largest sum of magnitudes along a row, in any scaling.

    Parameters
    ----------
    hessian : ndarray of shape (n, n)
        Symmetric.
    errors : ndarray of shape (n,)
        E: the true H differs from `hessian` by at most sqrt(E_j E_k) in entry j, k.

    Returns
    -------
    factor : Factor or None
        None where the numbers are out of range.
    """
    n, diagonal = len(hessian), hessian.diagonal()
    if not ((diagonal > _SMALLEST) & (diagonal < _LARGEST)).all():
        return None
    scale = np.ldexp(1.0, -np.rint(np.log2(diagonal) / 2).astype(np.int64))
    balanced = hessian * scale * scale[:, None]
    inverse = _untrusted_inverse(balanced)
    if inverse is None or not np.isfinite(inverse).all():
        return None
    magnitudes, roots_of_errors = np.abs(inverse), np.sqrt(errors) * scale
    residual = inverse @ balanced
    residual.ravel()[:: n + 1] -= 1.0
    rounding = (n + 4) * _U * (magnitudes @ np.abs(balanced).sum(axis=1))
    unknown = (magnitudes @ roots_of_errors) * roots_of_errors.sum()
    doubt = float((np.abs(residual).sum(axis=1) + rounding + unknown).max()) * _SLACK + 2.0**-40
    magnitudes *= scale
    magnitudes *= scale[:, None]
    inverse = inverse * scale * scale[:, None]
    roots = np.sqrt(np.maximum(inverse.diagonal(), 0.0)) * _SLACK
    return Factor(inverse, magnitudes, roots, doubt, float(np.sqrt(magnitudes.sum())) * _SLACK)


def update_factor(
    factor: Factor,
    hessian: np.ndarray,
    errors: np.ndarray,
    x: np.ndarray,
    a: float,
    relative_error: float,
    sign: int,
) -> Factor | None:
    """Return the factor of a Hessian to which a x x' was added, or taken from, by the formula of Sherman and Morrison.

    In exact arithmetic that would change the inverse of B by exactly this; docs/certificates.md proves what is lost.

    Parameters
    ----------
    factor : Factor
        Before.
    hessian, errors : ndarray
        After, as in `factorise`.
    x : ndarray of shape (n,)
        Exact.
    a : float
        At least 0, and off by at most `relative_error` times its value.
    relative_error : float
        As said.
    sign : {1, -1}
        Added or taken away.

    Returns
    -------
    factor : Factor or None
        None where so little would be proved that another factorisation is better.
    """
    n = len(x)
    y, of_y = factor.inverse @ x, (n + 2) * _U * (factor.magnitudes @ np.abs(x))
    size = np.abs(y)
    tau, of_tau = float(x @ y), float(np.abs(x) @ (of_y + (n + 2) * _U * size)) * _SLACK
    rho = a * (1 + relative_error) * (tau + of_tau) / (1 - factor.doubt) * _SLACK
    if not (rho < 0.5 and factor.doubt < _MOST_KEPT_DOUBT):
        return None
    left = 1 - rho if sign < 0 else 1.0
    eta = (factor.doubt / (1 - factor.doubt) + relative_error * rho) / left * _SLACK

    gain = a / (1 + sign * a * tau)
    inverse = factor.inverse - sign * np.multiply.outer(gain * y, y)
    inverse = (inverse + inverse.T) / 2
    magnitudes = np.abs(inverse)
    diagonal = hessian.diagonal()
    if not ((diagonal > _SMALLEST) & (diagonal < _LARGEST)).all():
        return None
    units = np.ldexp(1.0, -np.rint(np.log2(diagonal) / 2).astype(np.int64))
    roots = np.sqrt(errors)
    weights = np.abs(hessian) @ units + roots * (roots @ units)  # |H| 1, in balanced coordinates
    of_gain = 2 * a * of_tau / left + 8 * _U
    off = gain * (of_y * (size @ weights) + size * (of_y @ weights) + of_y * (of_y @ weights))
    off += (of_gain * gain + 4 * _U * gain) * size * (size @ weights) + 4 * _U * (magnitudes @ weights)
    theta = float((off / units).max()) * 1.01
    doubt = (eta / (1 - eta) + theta) * _SLACK
    if not doubt < _MOST_KEPT_DOUBT:
        return None
    ends = np.sqrt(np.maximum(inverse.diagonal(), 0.0)) * _SLACK
    return Factor(inverse, magnitudes, ends, doubt, float(np.sqrt(magnitudes.sum())) * _SLACK)


def _untrusted_inverse(balanced: np.ndarray) -> np.ndarray | None:
    for ridge in _RIDGES:
        lower, failed = dpotrf(balanced + ridge * np.eye(len(balanced)), lower=True)
        if not failed:
            lower, failed = dpotri(lower, lower=True)
        if not failed:
            below = np.tril(lower, -1)
            return below + below.T + np.diag(lower.diagonal())
    return None


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """Where the minimum is.

    Parameters
    ----------
    step : ndarray of shape (n,)
        The centre is v - step.
    radii : ndarray of shape (n,)
        The minimum is within these of the centre, coordinate by coordinate; infinite where nothing is proved.
    from_errors : ndarray of shape (n,)
        The part of the radii that a more accurate gradient would take away; the rest, a further step would.
    decrement : float
        Norm of the gradient in the metric of the inverse Hessian, with what its errors may add: Newton's decrement.
    noise : float
        The part of it that its errors may add.
    """

    step: np.ndarray
    radii: np.ndarray
    from_errors: np.ndarray
    decrement: float
    noise: float


def bound_distance(
    factor: Factor, gradient: np.ndarray, errors: np.ndarray, lo: float, hi: float, bend: float = 1.0
) -> Bound:
    """Bound the distance from the minimum.

    Parameters
    ----------
    factor : Factor
        Proved at another point or on other rows, perhaps.
    gradient, errors : ndarray of shape (n,)
        g, and how far each entry may be off.
    lo, hi : float
        The Hessian at v on the live rows is between lo and hi times the one that `factor` was computed of.
    bend : float
        b: curvatures of rows change by no more than exp of b times the change of their scores.
    """
    norm, noise = factor.norm(gradient), factor.norm_of_errors(errors)
    step, rounding = factor.step(gradient)
    from_errors = factor.magnitudes @ errors * _SLACK
    nothing = Bound(step, np.full(len(step), np.inf), from_errors, norm + noise, noise)
    if not factor.doubt < MOST_DOUBT:
        return nothing
    lo, hi = lo * (1 - factor.doubt), hi * (1 + factor.doubt)
    nu = (norm + noise) / np.sqrt(lo) * _SLACK
    reach = bend * factor.leverage / np.sqrt(lo) * _SLACK * nu  # b h nu
    if not reach < _MOST_REACH:
        return nothing
    kappa = max(1 / lo - 1, 1 - 1 / hi)
    change = -np.log1p(-reach) * _SLACK  # b h D
    rest = kappa * (norm + noise) + np.expm1(change) * nu / np.sqrt(lo)
    return Bound(step, (from_errors + rounding + factor.roots * rest) * _SLACK, from_errors, nu, noise)
