"""The exact sum of float64 numbers that come and go."""

from fractions import Fraction

import numpy as np

__all__ = ["ExactTotal"]

#: All float64 numbers are multiples of 2**-_UNIT.
_UNIT = 1074
_LOW = 26


class ExactTotal:
    """A sum of finite float64 numbers, held as an integer: what was added and taken away leaves no trace."""

    def __init__(self) -> None:
        self._units = 0

    def add(self, values: np.ndarray, sign: int = 1) -> None:
        """Add values, or take them away; at most 2**30 at a time."""
        mantissas, exponents = np.frexp(values)
        integers = np.ldexp(mantissas, 53).astype(np.int64)
        for exponent in np.unique(exponents).tolist():
            chosen = integers[exponents == exponent]
            total = (int((chosen >> _LOW).sum()) << _LOW) + int((chosen & ((1 << _LOW) - 1)).sum())
            shift = exponent - 53 + _UNIT  # below 0 for subnormal numbers, whose last digits are zeros
            self._units += sign * (total << shift if shift >= 0 else total >> -shift)

    def __float__(self) -> float:
        """Return the nearest float64; OverflowError where there is none."""
        return float(Fraction(self._units, 1 << _UNIT))
