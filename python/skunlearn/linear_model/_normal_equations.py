"""Normal equations in integers: what least squares solves, whichever targets and weights they came from."""

from dataclasses import dataclass

import numpy as np

from skunlearn._linalg.solve import nearest_ratio, solve

__all__ = ["NormalEquations", "intercepts", "triangle"]


@dataclass(frozen=True, slots=True)
class NormalEquations:
    """(gram / denominator + alpha) w = moments / denominator, column j and target t being multiplied by powers of two.

    Parameters
    ----------
    gram : ndarray of shape (n_features, n_features, n_limbs), int64
        Sums of products, about the means where there is an intercept; the upper triangle is not read.
    moments : ndarray of shape (n_features, n_targets, n_limbs), int64
        The same of features and targets.
    denominator : int
        What divides both.
    feature_shifts, target_shifts : ndarray of int64
        Column j holds x_j * 2**shifts[j].
    """

    gram: np.ndarray
    moments: np.ndarray
    denominator: int
    feature_shifts: np.ndarray
    target_shifts: np.ndarray

    def zero_columns(self) -> np.ndarray:
        """Return which columns have no square."""
        diagonal = np.arange(len(self.gram))
        return np.asarray(~self.gram[diagonal, diagonal].any(axis=1))

    def solve(self, alphas: np.ndarray, constant: np.ndarray) -> tuple[np.ndarray, int]:
        """Return coefficients of shape (n_targets, n_features), and the rank of the matrix.

        Parameters
        ----------
        alphas : ndarray of shape (n_targets,)
            Penalties.
        constant : ndarray of shape (n_features,), bool
            Columns whose spread may be rounding: without a penalty they would have arbitrary coefficients.
        """
        coef, rank = np.empty(self.moments.shape[1::-1]), 0
        for alpha in sorted(set(alphas.tolist())):
            chosen = np.flatnonzero(alphas == alpha)
            gram, moments = self.gram, self.moments[:, chosen]
            if alpha == 0 and constant.any():
                used = ~constant
                gram, moments = gram * (used & used[:, None])[:, :, None], moments * used[:, None, None]
            # Column j was multiplied by 2**shift: what is solved for is coef * 2**(shift of target - shift of column).
            solution = solve(
                gram,
                moments,
                denominator=self.denominator,
                ridge=alpha,
                ridge_log2=self.feature_shifts,
                scale_log2=self.feature_shifts[:, None] - self.target_shifts[chosen],
            )
            coef[chosen], rank = solution.coefficients.T, solution.rank
        return coef, rank


def triangle(packed: np.ndarray, first: int, n: int) -> np.ndarray:
    """Return rows and columns first to first + n of a packed lower triangle of limbs; zero above the diagonal."""
    square = np.zeros((n, n, packed.shape[1]), dtype=np.int64)
    for i in range(n):
        start = (first + i) * (first + i + 1) // 2 + first
        square[i, : i + 1] = packed[start : start + i + 1]
    return square


def intercepts(
    coef: np.ndarray,
    total: int,
    total_shift: int,
    feature_sums: list[int],
    feature_shifts: list[int],
    target_sums: list[int],
    target_shifts: list[int],
) -> np.ndarray:
    """Return what the means leave: the float64 nearest to mean(y) - mean(X) coef, for every target.

    Parameters
    ----------
    coef : ndarray of shape (n_targets, n_features)
    total : int
        Total weight, in units of 2**(-2 * total_shift).
    feature_sums, target_sums : list of int
        Weighted sums, in units of 2**-(total_shift + shift of the column).
    total_shift, feature_shifts, target_shifts : int
        Shifts of the root of the weight, and of the columns.
    """
    out = np.empty(len(coef))
    for t, row in enumerate(coef):
        products, exponent = _exact_products(row, feature_sums, feature_shifts)
        lowest = min(exponent, -target_shifts[t])
        numerator = (target_sums[t] << (-target_shifts[t] - lowest)) - (products << (exponent - lowest))
        out[t] = nearest_ratio(numerator, total, total_shift + lowest)
    return out


def _exact_products(coef: np.ndarray, sums: list[int], shifts: list[int]) -> tuple[int, int]:
    """Return (integer, exponent) whose value integer * 2**exponent is the sum of coef * sums / 2**shifts."""
    fractions, exponents = np.frexp(coef)
    integers = np.ldexp(fractions, 53).astype(np.int64).tolist()
    powers = [e - 53 - shift for e, shift in zip(exponents.tolist(), shifts, strict=True)]
    lowest = min(powers)
    terms = zip(integers, sums, powers, strict=True)
    return sum((integer * s) << (power - lowest) for integer, s, power in terms), lowest
