"""The exact Gram matrix of integers: where it is kept, and how many rows at a time enter it through BLAS."""

import functools

import numpy as np

from skunlearn._linalg import _moments, _slices

__all__ = ["Gram", "Slicer", "blas_is_exact"]

#: An int128 takes 2**125 and whatever is added between two looks at the diagonal, at most 2**125 again.
WIDEN_BITS = 125
_DIGIT_BITS = 18
#: Rows between folds by digits in use: rows times the largest square of an operand stay within 2**53.
_ROWS_BETWEEN_FOLDS = {1: 1 << 19, 2: 1 << 17, 3: 1 << 13}
#: Operands that are multiplied with themselves, among those that `slice_twice` and `slice_thrice` write.
_SQUARED = {1: (), 2: (0, 1, 2), 3: (0, 2, 3, 4, 5)}
#: Fewer columns of one digit than these are not worth products of their own.
_FEWEST_ONE_DIGIT_COLUMNS = 8
#: Products of 64-bit integers, and units of n * d**2 through BLAS, that take the same time.
_BLAS_ADVANTAGE = 20.0


class Gram:
    """The sum of q q' over rows q of integers, exact.

    Parameters
    ----------
    n_columns : int
        Length of q.
    bits : int
        Entries of q are at most 2**bits in magnitude.
    widen_bits : int, default=125
        Entries are kept in 128 bits until one on the diagonal reaches 2**widen_bits, and in 192 from then on.

    Attributes
    ----------
    limbs : ndarray of shape (n_columns * (n_columns + 1) // 2, 2 or 3), int64
        The lower triangle, packed by rows, lowest limb first.
    n_rows : int
        Rows in the sum.
    scratch : ndarray of shape (2 * (n_columns + 1),), int64
        Room for kernels that take a row apart; zero between calls.
    """

    __slots__ = ("_bits", "_widen_bits", "limbs", "n_columns", "n_rows", "scratch")

    def __init__(self, n_columns: int, bits: int, widen_bits: int = WIDEN_BITS) -> None:
        self.n_columns = n_columns
        self.n_rows = 0
        self.limbs = np.zeros((n_columns * (n_columns + 1) // 2, 2), dtype=np.int64)
        self._bits = bits
        self._widen_bits = widen_bits
        self.scratch = np.zeros(2 * (n_columns + 1), dtype=np.int64)

    def add_rows(self, Q: np.ndarray, sign: int) -> None:
        """Add rows, or take them away, one by one."""
        _moments.add_rows(Q, self.limbs, sign, self.scratch)
        self.scratch.fill(0)  # it held a row
        self.widen_if_full()

    def add_columns(self, Q: np.ndarray, chosen: np.ndarray) -> None:
        """Add what rows contribute to the rows and columns of the matrix that the mask `chosen` names."""
        _moments.add_columns(Q, chosen.view(np.uint8), self.limbs, self.scratch)
        self.scratch.fill(0)
        self.widen_if_full()

    def clear_columns(self, columns: np.ndarray) -> None:
        """Set rows and columns of the matrix to zero."""
        for column in columns.tolist():
            start = column * (column + 1) // 2
            below = np.arange(column, self.n_columns)
            self.limbs[start : start + column] = 0
            self.limbs[below * (below + 1) // 2 + column] = 0

    def rescale(self, powers: np.ndarray) -> None:
        """Multiply column j of Q by 2**powers[j], which the caller knows to be exact."""
        if powers.max() > 0 and self.n_rows << 2 * self._bits >= 1 << self._widen_bits:
            self.widen()
        _moments.rescale(self.limbs, powers)

    def widen_if_full(self) -> None:
        """Widen once the diagonal says so; to be called at least every 2**16 rows, or after a fold."""
        if self.limbs.shape[1] == 2 and _moments.exceeds(self.limbs, self.n_columns, self._widen_bits):
            self.widen()

    def widen(self) -> None:
        """Keep entries in 192 bits from now on."""
        self.limbs = self.wide_limbs()

    def wide_limbs(self) -> np.ndarray:
        """Return the entries in 192 bits, whatever they are kept in."""
        if self.limbs.shape[1] == 3:
            return self.limbs
        return np.concatenate([self.limbs, self.limbs[:, 1:] >> 63], axis=1)


class Slicer:
    """Adds many rows to a Gram matrix through BLAS; `close` it to have them all there.

    Columns whose integers need one digit in base 2**18 (counts, one-hot codes) are multiplied as they are; the others
    as two or three digits. What a column needs is found out block by block, and a wrong guess costs one fold.

    Parameters
    ----------
    gram : Gram
        What is added to.
    bits : {35, 53}
        Two digits or three at most.
    unit_column : bool
        Column 0 holds ones, and not integers that are aligned at the top.
    sign : {1, -1}, default=1
        Whether rows are added or taken away.
    """

    def __init__(self, gram: Gram, bits: int, unit_column: bool, sign: int = 1) -> None:
        self._gram = gram
        self._sign = sign
        self._most_digits = -(-bits // _DIGIT_BITS)
        self.one_digit_powers = np.full(gram.n_columns, _DIGIT_BITS * (self._most_digits - 1), dtype=np.int32)
        if unit_column:
            self.one_digit_powers[0] = 0
        self._units = np.ldexp(1.0, self.one_digit_powers)
        # Largest distances from multiples of a column's unit and of a digit: they say which digits it has used so far.
        self._below_unit, self._below_digit = np.zeros((2, gram.n_columns))
        self._is_planned = False
        self._n_rows = 0

    def add(self, Q: np.ndarray) -> None:
        """Add rows by the cheaper route: through BLAS, or one by one where most entries are zero."""
        n_nonzero, uses_more = _slices.residues(Q, self._units, self._below_unit, self._below_digit)
        if uses_more or not self._is_planned:
            self.fold()
            self._plan()
        if n_nonzero**2 / 2 * _BLAS_ADVANTAGE < len(Q) ** 2 * self._blas_units or not blas_is_exact():
            self._gram.add_rows(Q, self._sign)
            return
        if self._n_rows + len(Q) > self._most_rows:
            self.fold()
        self._multiply(Q)
        self._n_rows += len(Q)

    def _plan(self) -> None:
        """Part the columns by digits in use.

        Sets `_one` and `_several` (columns), `_n_digits` of the latter and the power of two that their unit is,
        products and operands, `_most_rows` between folds, and `_blas_units` that a row costs.
        """
        digits = self._digits()
        several = digits > 1
        n_digits = int(digits.max())
        self._several_power = _DIGIT_BITS * (self._most_digits - n_digits)
        if several.any() and self._several_power == 0 and (~several).sum() < _FEWEST_ONE_DIGIT_COLUMNS:
            several[:] = True
        self._one = np.flatnonzero(~several).astype(np.int32)
        self._several = np.flatnonzero(several).astype(np.int32)
        self._n_digits = n_digits
        self._is_planned = True
        self._most_rows = _ROWS_BETWEEN_FOLDS[n_digits]
        n_one, n_several = len(self._one), len(self._several)
        squared = len(_SQUARED[n_digits])
        self._blas_units = n_one**2 + 2 * n_digits * n_one * n_several + squared * n_several**2
        self._operands: tuple[np.ndarray, np.ndarray] | None = None
        self._one_products = np.zeros((n_one, n_one))
        self._several_products = np.zeros((squared, n_several, n_several))
        self._mixed_products = np.zeros((n_digits, n_one, n_several))

    def _room_for(self, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        if self._operands is None or self._operands[0].shape[0] < n_rows:
            n_operands = {2: 3, 3: 6}[self._n_digits]
            self._operands = (
                np.empty((n_rows, len(self._one))),
                np.empty((n_operands, n_rows, len(self._several))),
            )
        return self._operands

    def _multiply(self, Q: np.ndarray) -> None:
        if len(self._several) == 0:
            # One digit times a power of two: BLAS sums it as exactly as the digit.
            _slices.add_square(Q, self._one_products)
            return
        one, several = (operands[..., : len(Q), :] for operands in self._room_for(len(Q)))
        if self._n_digits == 2:
            _slices.slice_twice(Q, self._several, 2.0**-self._several_power, several)
        else:
            _slices.slice_thrice(Q, self._several, several)
        for product, operand in zip(self._several_products, _SQUARED[self._n_digits], strict=True):
            _slices.add_square(several[operand], product)
        if len(self._one):
            np.take(Q, self._one, axis=1, out=one, mode="clip")
            _slices.add_square(one, self._one_products)
            for digit, product in enumerate(self._mixed_products):
                _slices.add_product(one, several[digit], product)

    def fold(self) -> None:
        """Put the products of digits together, and into the Gram matrix."""
        if self._n_rows == 0:
            return
        limbs, sign, powers = self._gram.limbs, self._sign, self.one_digit_powers[self._one]
        _slices.fold_one_digit(self._one_products, self._one, powers, limbs, sign)
        if len(self._several):
            _slices.fold_squares(self._several_products, self._several, self._several_power, limbs, sign)
            _slices.fold_products(
                self._mixed_products, self._one, powers, self._several, self._several_power, limbs, sign
            )
        self._n_rows = 0
        self._gram.widen_if_full()

    def powers_of_two(self) -> np.ndarray:
        """Return for each column the exponent of a power of two that divides all its integers so far."""
        digits = self._digits()
        return np.where(digits == 1, self.one_digit_powers, _DIGIT_BITS * (self._most_digits - digits))

    def _digits(self) -> np.ndarray:
        return np.where(self._below_unit == 0, 1, np.where(self._below_digit == 0, 2, self._most_digits))

    def close(self) -> None:
        """Fold, and overwrite the copies of rows."""
        self.fold()
        if self._is_planned and self._operands is not None:
            for operand in self._operands:
                operand.fill(0)


@functools.cache
def blas_is_exact() -> bool:
    """Return whether BLAS multiplies the largest operands there are, in the largest number, exactly."""
    largest = 7 << 17
    n_rows = _ROWS_BETWEEN_FOLDS[3]
    rows, columns = np.ogrid[:n_rows, :16]
    integers = largest - rows * (columns + 1) % 97
    integers[:, 8:] *= 1 - 2 * (rows * (columns[:, 8:] - 7) // 3 % 2)
    expected = integers.T @ integers  # not BLAS: it has no integers
    floats = integers.astype(np.float64)
    square, product = np.zeros((16, 16)), np.zeros((8, 8))
    _slices.add_square(floats, square)
    _slices.add_product(floats[:, :8].copy(), floats[:, 8:].copy(), product)
    return bool((np.tril(square) == np.tril(expected)).all() and (product == expected[:8, 8:]).all())
