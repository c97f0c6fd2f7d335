"""The certified solve: the float64 nearest to every coefficient of an exactly known linear system, proved.

What is published is a function of the exact numbers alone: no BLAS, thread count, library or CPU can change a bit of
it.

The system (N + ridge) x = M is scaled by powers of two until its diagonal lies in [1/16, 1), and kept as integers; A
is the scaled matrix and H its float64 image. A Cholesky factor of H proposes corrections, rounded to integers. The
residual R = 2^e M - A Y of their sum Y is updated in integers, so it is known *exactly*, whatever proposed the
corrections.

*The bound.* x - Y / 2^e is A^-1 R / 2^e, so each component of Y errs by at most norm(R) / lambda, lambda being a
lower bound of the least eigenvalue of A. Roundings, with u = 2^-53: those of norm(R), a sum of d < 2^14 squares, at
most (d + 10) u < 2^-38, padded by a relative 2^-30, and the digits left out of it, padded by d 2^-150; one division,
padded by 2^-40; one addition, after which the error is rounded up. The conversion of R is the only one: R, Y and A
are integers. Rounding to nearest is monotone: where Y - error and Y + error round to the same float64, so does
everything between, x among it.

*The eigenvalue* has one of three proofs.

- A ridge that is large enough is one: what it is added to has no negative eigenvalue.
- Our own Cholesky runs to its end on H - t I. Its factor has U'U = H - t I + E; an entry of E collects at most d - 1
  products and subtractions, the subtraction of t, a square root, a reciprocal and its product, so |E| <= g |U'||U|, g
  = (d + 5) u / (1 - (d + 5) u). Row j of |U'| has a squared norm of at most H[j, j] / (1 - g), so norm(E) <= g / (1 -
  g) trace(H) (after Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., chapter 10; Rump, BIT 46, 2006).
  U'U has no negative eigenvalue. |A - H| <= 4u |A| + 2^-150 entry by entry costs 4u trace(H) more, since a
  semidefinite matrix has a Frobenius norm below its trace. Together lambda >= t - (d + 16) u trace(H): what is left
  of the 16 covers terms of second order, underflow (d^2 2^-1022 in all), the rounding of t into the diagonal and that
  of this very expression.
- Near to the cut of the rank that is too coarse. L L' has no negative eigenvalue for *any* matrix L, so lambda >= t -
  norm(A - t I - L L'), and that difference is computed in integers (`_solve.misfit`).

*The last resort.* Where x lies on a rounding boundary, no error above zero decides. Cramer's rule does: x != 0 is p /
q with q <= det A <= 2^D (Hadamard; D = d times the bits of the largest diagonal entry). So |x| >= 2^-D, boundaries
near to x are multiples of 2^(-D - 56), and x is one of them or at least 2^(-2D - 56) away from all. Refinement to 2D
+ 160 bits, with an error below 2^100 units, tells; a tie goes to the even neighbour. Where refinement does not
converge, fraction-free elimination in Python integers solves the system.

*Rank.* See `solve`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skunlearn._linalg import _solve as kernels

__all__ = ["Solution", "eigh_fixed", "nearest_ratio", "solve"]

_UNIT = 2.0**-53
_BASE_LOG2 = 52
#: Steps of refinement before a right-hand side counts as "extended", and before it goes to the exact stage.
_FAST_STEPS, _EXTENDED_STEPS = 4, 48
_MIN_GAIN_LOG2 = 4
_MAX_COLUMNS = 2**14


class Solution(NamedTuple):
    """What `solve` returns.

    Attributes
    ----------
    coefficients : ndarray of shape (d,) or (d, n_targets)
        The solution; of the shape of `moments`.
    rank : int
        Rank of the matrix, by the rule that `solve` states.
    levels : tuple of str
        For each right-hand side what it took: "zero", "fast", "extended", "exact" or "minimum_norm".
    """

    coefficients: NDArray[np.float64]
    rank: int
    levels: tuple[str, ...]


def solve(
    gram: ArrayLike,
    moments: ArrayLike,
    *,
    denominator: int = 1,
    moment_denominator: int | None = None,
    ridge: float = 0.0,
    ridge_log2: ArrayLike | None = None,
    scale_log2: ArrayLike | None = None,
) -> Solution:
    """Solve (gram / denominator + ridge diag(4^ridge_log2)) x = moments / moment_denominator; return 2^scale_log2 x.

    Where the matrix has full rank, every coefficient is the float64 nearest to the exact one, ties to even.

    Parameters
    ----------
    gram : array of Python ints of shape (d, d), or int64 array of shape (d, d, n_limbs)
        A symmetric positive semidefinite integer matrix, of which the lower triangle is read. A third axis holds 64-bit
        limbs of two's complement numbers, least significant first.
    moments : array of Python ints of shape (d,) or (d, n_targets), or int64 array with a last axis of limbs
        Right-hand sides, in the form of `gram`, in the range of the matrix.
    denominator, moment_denominator : int
        Positive common denominators; the second is the first where it is None.
    ridge : float, default=0.0
        Non-negative and finite.
    ridge_log2 : int array of shape (d,), default=None
        Base-2 logarithms of column scales; None for zeros.
    scale_log2 : int array of shape (d,) or of that of the solution, default=None
        Powers of two that multiply the solution before it is rounded; None for zeros.

    Returns
    -------
    Solution
        Infinite where a coefficient exceeds the range of float64.

    Notes
    -----
    *Rank.* Columns whose diagonal entry in `gram` is zero are solved apart: coefficient 0 without a ridge, and no part
    of the rank. The matrix of the others is divided by what its integers have in common, and scaled to unit columns:
    x[j] = y[j] / 2^c[j], 2 c[j] being the bits of its diagonal entry, rounded up to an even number. Every entry of the
    scaled matrix is rounded once. The rank is the number of eigenvalues that `eigh_fixed` finds above d 2^-52 times
    the largest, or the exact rank, should elimination find a smaller one. Below rank d the solution is the one whose y
    has the least norm, from those eigenvectors, improved by two exact residuals. All of that happens in a fixed order
    of operations, so it is a function of the exact matrix; but there the coefficients are not the nearest float64s.

    The eigenvalues are not computed where the least one is proved to exceed (d + 8)^2 2^-48 trace. The cut is at most
    d 2^-52 trace, and 30 (d + 8)^2 roundings of the trace lie between the two, more than `eigh_fixed` errs by.
    """
    system = _read(gram, moments, denominator, moment_denominator, ridge, ridge_log2, scale_log2)
    if system.n_columns and not system.is_empty.any():
        out, rank, levels = _solve_reduced(system)
        return Solution(_shape(out, system), rank, levels)
    out = np.zeros((system.n_targets, system.n_columns))
    kept = np.flatnonzero(~system.is_empty)
    n_ridge_only = 0
    if len(kept) < system.n_columns and system.ridge_integer:
        n_ridge_only = system.n_columns - len(kept)
        out[:, system.is_empty] = _ridge_only(system.take(np.flatnonzero(system.is_empty)))
    if len(kept) == 0:
        return Solution(_shape(out, system), n_ridge_only, ("zero",) * system.n_targets)
    out[:, kept], rank, levels = _solve_reduced(system.take(kept))
    return Solution(_shape(out, system), rank + n_ridge_only, levels)


def eigh_fixed(matrix: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues and eigenvectors of a symmetric matrix, the same bits on every machine.

    Householder reduction and implicit QL in a fixed order of IEEE operations, without BLAS or FMA. Columns are taken in
    descending order of their diagonal entries, which is for accuracy: where the matrix is a well-conditioned one whose
    columns were put into different units, small eigenvalues keep most of their digits.

    Parameters
    ----------
    matrix : array-like of shape (d, d)
        Finite; the lower triangle is read.

    Returns
    -------
    values : ndarray of shape (d,)
        Ascending. Errors are some d roundings of the largest magnitude.
    vectors : ndarray of shape (d, d)
        Column i belongs to values[i]; its entry of largest magnitude, the first of equals, is positive.
    """
    lower = np.tril(np.asarray(matrix, dtype=np.float64))
    if not np.isfinite(lower).all():
        raise ValueError("The matrix to decompose holds NaN or infinity. Nothing was computed.")
    values, rows = _eigen_rows(lower)
    return values, np.ascontiguousarray(rows.T)


def _eigen_rows(lower: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    d = len(lower)
    exponent = int(np.frexp(np.abs(lower).max(initial=0.0))[1])
    scaled = np.ldexp(lower, -exponent)
    scratch = np.ascontiguousarray(scaled + np.tril(scaled, -1).T)
    # Large entries first: so the reduction leaves the small eigenvalues of columns in different units their digits.
    graded = np.argsort(-np.diagonal(scratch), kind="stable")
    values, graded_rows, rows = np.empty(d), np.empty((d, d)), np.empty((d, d))
    if d > 0 and not kernels.eigh_rows(np.ascontiguousarray(scratch[np.ix_(graded, graded)]), values, graded_rows):
        raise ArithmeticError(f"The QL iteration did not converge on a {d} x {d} matrix. Nothing was changed.")
    rows[:, graded] = graded_rows
    order = np.argsort(values, kind="stable")
    values, rows = np.ldexp(values[order], exponent), rows[order]
    largest = rows[np.arange(d), np.abs(rows).argmax(axis=1)] if d > 0 else values
    rows[largest < 0.0] *= -1.0
    return values, rows


# --- The system, read ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _System:
    """(gram + ridge_integer 2^ridge_shifts) x = moments: integers in limbs, but for powers of two on the diagonal."""

    gram: NDArray[np.int64]  # (d, d, n_limbs)
    moments: NDArray[np.int64]  # (n_targets, d, n_limbs)
    ridge_integer: int
    ridge_shifts: NDArray[np.int64]  # (d,)
    bits: NDArray[np.int64]  # (d,): diagonal entries lie in [2^(bits - 2), 2^bits)
    is_empty: NDArray[np.bool_]  # (d,): nothing but the ridge, if any, is in that row and column
    scales: NDArray[np.int64]  # (n_targets, d)
    is_flat: bool

    @property
    def n_columns(self) -> int:
        return len(self.gram)

    @property
    def n_targets(self) -> int:
        return len(self.moments)

    def take(self, kept: NDArray[np.intp]) -> _System:
        return _System(
            np.ascontiguousarray(self.gram[np.ix_(kept, kept)]),
            np.ascontiguousarray(self.moments[:, kept]),
            self.ridge_integer,
            self.ridge_shifts[kept],
            self.bits[kept],
            self.is_empty[kept],
            np.ascontiguousarray(self.scales[:, kept]),
            self.is_flat,
        )


def _read(
    gram: Any,
    moments: Any,
    denominator: int,
    moment_denominator: int | None,
    ridge: float,
    ridge_log2: Any,
    scale_log2: Any,
) -> _System:
    ridge = float(ridge)
    if not 0.0 <= ridge < math.inf:
        raise ValueError("ridge must be finite and not negative.")
    if denominator < 1 or (moment_denominator is not None and moment_denominator < 1):
        raise ValueError("Denominators must be positive.")
    gram_limbs = _to_limbs(gram, 2)
    d = len(gram_limbs)
    if gram_limbs.shape[1] != d or d > _MAX_COLUMNS:
        raise ValueError(f"gram must be square, with at most {_MAX_COLUMNS} columns.")
    in_limbs = np.ndim(gram) == 3
    is_flat = np.ndim(moments) == (2 if in_limbs else 1)
    moment_limbs = _to_limbs(moments, 1 if is_flat else 2, in_limbs)
    if len(moment_limbs) != d:
        raise ValueError(f"moments has {len(moment_limbs)} rows, and gram has {d}.")
    columns = moment_limbs[np.newaxis] if is_flat else np.ascontiguousarray(moment_limbs.swapaxes(0, 1))
    if moment_denominator is not None and moment_denominator != denominator:
        gram_limbs = _to_limbs(_to_integers(gram_limbs) * moment_denominator, 2)
        columns = _to_limbs(_to_integers(columns) * denominator, 2)
        denominator *= moment_denominator

    numerator, ridge_denominator = ridge.as_integer_ratio()
    ridge_integer = numerator * denominator
    shifts = np.zeros(d, np.int64) if ridge_log2 is None else 2 * np.asarray(ridge_log2, np.int64)
    shifts = shifts - (ridge_denominator.bit_length() - 1)
    bits = np.empty(d, np.int64)
    if not kernels.diagonal_bits(gram_limbs, bits):
        raise ValueError("gram is not positive semidefinite: a diagonal entry is negative.")
    is_empty = bits == 0  # semidefinite: where the diagonal is zero, so is the row
    if ridge_integer:
        bits = np.maximum(bits, ridge_integer.bit_length() + shifts) + 1
    scales = np.zeros((len(columns), d), np.int64)
    if scale_log2 is not None:
        scales += np.asarray(scale_log2, np.int64).T
    return _System(gram_limbs, columns, ridge_integer, shifts, bits, is_empty, scales, is_flat)


def _shape(out: NDArray[np.float64], system: _System) -> NDArray[np.float64]:
    return out[0] if system.is_flat else np.ascontiguousarray(out.T)


def _to_limbs(numbers: Any, n_axes: int, in_limbs: bool | None = None) -> NDArray[np.int64]:
    """Limbs of an array of integers, or the array itself where it has them already."""
    array = np.asarray(numbers)
    if array.ndim == n_axes + 1 and in_limbs is not False:
        if array.dtype != np.int64:
            raise TypeError(f"Limbs must be int64, not {array.dtype}.")
        return np.ascontiguousarray(array)
    if array.ndim != n_axes:
        raise ValueError(f"Expected {n_axes} axes of integers, or one more of limbs; got {array.ndim} axes.")
    if array.dtype.kind in "iu" and array.dtype != np.uint64:
        return np.ascontiguousarray(array.astype(np.int64)[..., np.newaxis])
    integers = [int(number) for number in array.ravel().tolist()] if array.dtype.kind in "Oiu" else None
    if integers is None:
        raise TypeError(f"The system must be given as integers, not {array.dtype}.")
    limbs = _limbs_of(integers)
    return limbs.reshape(*array.shape, limbs.shape[1])


def _limbs_of(integers: list[int]) -> NDArray[np.int64]:
    n_limbs = max((number.bit_length() for number in integers), default=0) // 64 + 1
    data = b"".join(number.to_bytes(8 * n_limbs, "little", signed=True) for number in integers)
    return np.frombuffer(data, "<i8").astype(np.int64, copy=False).reshape(len(integers), n_limbs)


def _to_integers(limbs: NDArray[np.int64]) -> NDArray[Any]:
    """Python integers, as an object array."""
    data, size = limbs.astype("<i8").tobytes(), 8 * limbs.shape[-1]
    out = np.empty(limbs.shape[:-1], object)
    out.ravel()[:] = [int.from_bytes(data[at : at + size], "little", signed=True) for at in range(0, len(data), size)]
    return out


def _ridge_only(system: _System) -> NDArray[np.float64]:
    """Solve a diagonal system."""
    out = np.empty((system.n_targets, system.n_columns))
    for row, moments, scales in zip(out, _to_integers(system.moments).tolist(), system.scales, strict=True):
        exponents = (scales - system.ridge_shifts).tolist()
        row[:] = [nearest_ratio(m, system.ridge_integer, e) for m, e in zip(moments, exponents, strict=True)]
    return out


# --- Full rank: refine and prove -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scaled:
    """The system scaled by powers of two: x[j] = 2^lifts[j] times its solution; entries below 2^top in magnitude."""

    top: int
    lifts: NDArray[np.int64]  # (d,), not negative
    gram: NDArray[np.int64]  # (n_digits, d, d)
    image: NDArray[np.float64]  # (d, d)

    @property
    def determinant_log2(self) -> int:
        return self.top * len(self.image)


def _scale(system: _System) -> _Scaled:
    halves = (system.bits + 1) // 2
    widest = halves
    if system.ridge_integer:
        widest = halves + np.maximum(0, (1 - system.ridge_shifts) // 2)  # so that the shifted ridge is an integer, too
    half = int(widest.max())
    top, lifts = 2 * half, half - halves
    ridge = _limbs_of([system.ridge_integer])[0] if system.ridge_integer else np.empty(0, np.int64)
    d = system.n_columns
    gram = np.empty(((top + 1) // _BASE_LOG2 + 1, d, d), np.int64)
    image = np.empty((d, d))
    kernels.load_gram(system.gram, lifts, ridge, system.ridge_shifts + 2 * lifts, top, gram, image)
    return _Scaled(top, lifts, gram, image)


def _factor(image: NDArray[np.float64], shift: float = 0.0) -> NDArray[np.float64] | None:
    """A Cholesky factor, None where a pivot is not positive. Any other matrix gives the same results, only later."""
    factor = np.empty_like(image)
    return factor if kernels.cholesky(image, shift, factor) else None


def _clear(image: NDArray[np.float64]) -> float:
    """What the least eigenvalue has to exceed, so that the rank is full beyond doubt."""
    return (len(image) + 8) ** 2 * 2.0**-48 * math.fsum(image.diagonal().tolist())


def _eigenvalue_from_ridge(system: _System, scaled: _Scaled) -> float:
    """The least entry of the scaled ridge where that is well away from the cut of the rank; else 0.0."""
    if not system.ridge_integer:
        return 0.0
    exponent = int((system.ridge_shifts + 2 * scaled.lifts).min()) - scaled.top
    bits = system.ridge_integer.bit_length()
    leading = system.ridge_integer >> (bits - 53) if bits > 53 else system.ridge_integer << (53 - bits)
    bound = math.ldexp(leading, exponent + bits - 53)
    return bound if bound >= _clear(scaled.image) else 0.0


def _eigenvalue_from_pivots(image: NDArray[np.float64]) -> float:
    """A lower bound of the least eigenvalue where that is well away from the cut of the rank; else 0.0."""
    d, trace = len(image), math.fsum(image.diagonal().tolist())
    clear = _clear(image)
    if not kernels.cholesky(image, 2.0 * clear, np.empty_like(image)):
        return 0.0
    bound = 2.0 * clear - (d + 16) * _UNIT * trace
    return bound if bound >= clear else 0.0


def _eigenvalue_from_misfit(scaled: _Scaled, shift: float) -> float:
    """A lower bound of the least eigenvalue from an exact difference, at most `shift`; 0.0 where there is none."""
    factor = _factor(scaled.image, shift)
    if factor is None or not np.abs(scaled.image).max() <= 1.0:
        return 0.0
    return max(0.0, (shift - kernels.misfit(scaled.gram, scaled.top, factor, shift)) * (1.0 - 2.0**-40))


def _solve_reduced(system: _System) -> tuple[NDArray[np.float64], int, tuple[str, ...]]:
    """Solve a system whose diagonal has no zero."""
    scaled = _scale(system)
    eigenvalue = _eigenvalue_from_ridge(system, scaled) or _eigenvalue_from_pivots(scaled.image)
    if eigenvalue == 0.0:
        spectrum = _Spectrum.of(system)
        if spectrum.rank < system.n_columns:
            return spectrum.solutions(system, spectrum.rank), spectrum.rank, ("minimum_norm",) * system.n_targets
        eigenvalue = _eigenvalue_from_misfit(scaled, float(spectrum.values[0]) / 2.0)
    refined = _refine_all(system, scaled, eigenvalue) if eigenvalue > 0.0 else None
    return _eliminate(system) if refined is None else (refined[0], system.n_columns, refined[1])


def _refine_all(
    system: _System, scaled: _Scaled, eigenvalue: float
) -> tuple[NDArray[np.float64], tuple[str, ...]] | None:
    """Refine every right-hand side; None where any does not converge."""
    factor = _factor(scaled.image)
    if factor is None:
        return None
    d, n_targets = system.n_columns, system.n_targets
    out, levels = np.zeros((n_targets, d)), []
    sizes = system.moments.shape[2] * 64 + int(scaled.lifts.max())
    n_digits = max(len(scaled.gram) + 4, (sizes + 1) // _BASE_LOG2 + 7)
    residuals = np.empty((n_targets, d, n_digits), np.int64)
    kernels.recode(system.moments, scaled.lifts, residuals)
    scales = system.scales + scaled.lifts
    for residual, row, scale in zip(residuals, out, scales, strict=True):
        level = _refine_one(scaled, factor, eigenvalue, residual, scale, row)
        if level is None:
            return None
        levels.append(level)
    return out, tuple(levels)


def _refine_one(
    scaled: _Scaled,
    factor: NDArray[np.float64],
    eigenvalue: float,
    moment: NDArray[np.int64],
    scales: NDArray[np.int64],
    out: NDArray[np.float64],
) -> str | None:
    """Write the nearest float64s of one solution into `out`; return the level, None where it does not converge."""
    if not moment.any():
        return "zero"
    stop_log2 = 2 * scaled.determinant_log2 + 160
    exact_steps = 2 + stop_log2 // _MIN_GAIN_LOG2
    for level, max_steps in (("fast", _FAST_STEPS), ("extended", _EXTENDED_STEPS), ("exact", exact_steps)):
        corrections = np.empty((max_steps, len(out)), np.int64)
        exponents = np.empty(max_steps, np.int64)
        status, n_steps, error = kernels.refine(
            scaled.gram, scaled.top, factor, eigenvalue, moment.copy(), scales, stop_log2, corrections, exponents, out
        )
        if status == kernels.Status.DECIDED:
            return level
        if status == kernels.Status.STALLED:
            return None
    if exponents[n_steps - 1] < stop_log2 or error >= 2.0**100:
        return None
    out[:] = _settle(corrections[:n_steps].tolist(), exponents[:n_steps].tolist(), int(error), scales.tolist())
    return "exact"


def _settle(corrections: list[list[int]], exponents: list[int], error: int, scales: list[int]) -> list[float]:
    """Round components that are known to twice the bits of the determinant: one still undecided lies on a boundary."""
    out = []
    for j, scale in enumerate(scales):
        total, point = 0, exponents[0]
        for step, exponent in zip(corrections, exponents, strict=True):
            total = (total << (exponent - point)) + step[j]
            point = exponent
        low, high = (nearest_ratio(total + end, 1, scale - point) for end in (-error, error))
        out.append(low if low == high else _nearest_boundary(low, high))
    return out


def _nearest_boundary(low: float, high: float) -> float:
    """Round the one boundary between two neighbours; a number between those of either sign is zero."""
    if low <= 0.0 <= high:
        return 0.0
    for end in (low, high):
        if math.isinf(end):
            return end
    return float((Fraction(low) + Fraction(high)) / 2)


# --- Deficient rank --------------------------------------------------------------------------------------------------


def _integer_matrix(system: _System) -> tuple[NDArray[Any], int]:
    """The matrix times 2^shift, in Python integers, and that shift."""
    d, shift = system.n_columns, 0
    lower = np.tril_indices(d)
    matrix = np.empty((d, d), object)
    matrix[lower] = matrix.T[lower] = _to_integers(system.gram[lower])
    if system.ridge_integer:
        shift = max(0, -int(system.ridge_shifts.min()))
        matrix *= 1 << shift
        for j, ridge_shift in enumerate(system.ridge_shifts.tolist()):
            matrix[j, j] += system.ridge_integer << (shift + ridge_shift)
    return matrix, shift


@dataclass(frozen=True)
class _Spectrum:
    """Eigenvalues of the scaled primitive matrix, and the pseudo-inverse that they define."""

    matrix: NDArray[Any]  # (d, d): the system's times 2^shift
    shift: int
    divisor: int  # the primitive matrix is matrix / divisor
    halves: list[int]  # entry (i, j) of it is divided by 2^(halves[i] + halves[j])
    values: NDArray[np.float64]
    rows: NDArray[np.float64]  # eigenvectors

    @classmethod
    def of(cls, system: _System) -> _Spectrum:
        matrix, shift = _integer_matrix(system)
        d = len(matrix)
        divisor = math.gcd(*matrix[np.tril_indices(d)].tolist())
        halves = [((matrix[j, j] // divisor).bit_length() + 1) // 2 for j in range(d)]
        image = np.zeros((d, d))
        for i, row in enumerate(matrix.tolist()):
            for j in range(i + 1):
                image[i, j] = row[j] / (divisor << (halves[i] + halves[j]))
        return cls(matrix, shift, divisor, halves, *_eigen_rows(image))

    @property
    def rank(self) -> int:
        cut = len(self.values) * 2.0**-52 * float(self.values[-1])
        return int(np.count_nonzero(self.values > cut))

    def solutions(self, system: _System, rank: int) -> NDArray[np.float64]:
        """The solutions of least norm, for the leading `rank` eigenvectors."""
        values, rows = self.values[-rank:].copy(), self.rows[-rank:].copy()
        out = np.empty((system.n_targets, system.n_columns))
        moments = _to_integers(system.moments) * (1 << self.shift)
        for row, moment, scales in zip(out, moments, system.scales.tolist(), strict=True):
            integers, exponent = self._least(moment, values, rows)
            row[:] = [nearest_ratio(x, 1, scale - exponent) for x, scale in zip(integers, scales, strict=True)]
        return out

    def _least(
        self, moment: NDArray[Any], values: NDArray[np.float64], rows: NDArray[np.float64]
    ) -> tuple[list[int], int]:
        """A float64 solution and two corrections, each from the exact residual: integers / 2^exponent."""
        proposal = np.empty(len(moment))
        integers, exponent = moment * 0, 0
        for _ in range(3):
            residual = (moment * (1 << exponent) - self.matrix @ integers).tolist()
            if not any(residual):
                break
            # Any power of two near to the largest entry does: it leaves as it came.
            bits = [r.bit_length() - half for r, half in zip(residual, self.halves, strict=True)]
            unit = max(bits) - self.divisor.bit_length()
            scaled = [
                nearest_ratio(r, self.divisor, -half - unit) for r, half in zip(residual, self.halves, strict=True)
            ]
            kernels.apply_pseudo_inverse(values, rows, np.array(scaled), proposal)
            fractions, exponents = np.frexp(proposal)
            shifts = [e - 53 + unit - half for e, half in zip(exponents.tolist(), self.halves, strict=True)]
            steps = np.ldexp(fractions, 53).astype(np.int64).tolist()
            finer = max(0, -min(shift for shift, step in zip(shifts, steps, strict=True) if step)) if any(steps) else 0
            integers = integers * (1 << finer) + np.array(
                [step << (shift + finer) if step else 0 for shift, step in zip(shifts, steps, strict=True)], object
            )
            exponent += finer
        return integers.tolist(), exponent


# --- The exact solution ----------------------------------------------------------------------------------------------


def _eliminate(system: _System) -> tuple[NDArray[np.float64], int, tuple[str, ...]]:
    """Solve by fraction-free elimination (Bareiss 1968); an exactly singular matrix has the solution of least norm."""
    matrix, shift = _integer_matrix(system)
    d = len(matrix)
    table = np.concatenate([matrix, (_to_integers(system.moments) * (1 << shift)).T], axis=1)
    previous, rank = 1, 0
    for k in range(d):
        if table[k, k] == 0:
            continue  # semidefinite: where the diagonal is zero, so is the row, and the column adds no rank
        others = np.arange(d) != k
        table[others] = (table[k, k] * table[others] - np.outer(table[others, k], table[k])) // previous
        previous = table[k, k]
        rank += 1
    if rank < d:
        return _Spectrum.of(system).solutions(system, rank), rank, ("minimum_norm",) * system.n_targets
    out = np.empty((system.n_targets, d))
    for target in range(system.n_targets):
        for j, scale in enumerate(system.scales[target].tolist()):
            out[target, j] = nearest_ratio(table[j, d + target], table[j, j], scale)
    return out, d, ("exact",) * system.n_targets


def nearest_ratio(numerator: int, denominator: int, scale: int) -> float:
    """The float64 nearest to numerator / denominator * 2^scale, ties to even; never -0.0."""
    if scale >= 0:
        numerator <<= scale
    else:
        denominator <<= -scale
    try:
        return numerator / denominator + 0.0
    except OverflowError:
        return math.inf if (numerator > 0) == (denominator > 0) else -math.inf
