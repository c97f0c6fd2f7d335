"""Exact first and second moments of the live rows: a pure function of the set of rows, updated in integers.

A row of Z is [c | x | y] with c = sqrt(weight), and x and y multiplied by it. Column j has the binade e_j of its
largest live value, 2**(e_j - 1) <= max|z_ij| < 2**e_j, and a row enters as integers q_ij = rint(z_ij * 2**s_j), with
the shift s_j = b - e_j: b = 53 for float64 and 35 for float32. While all weights are 1, s_0 = 0, so that column 0
counts rows. The sum of q q' is exact. Rounding happens once per value, by at most 2**-53 of the largest value of its
column (2**-35 for float32), and never in a sum.

Values below 2**-954 are zero here, and e_j is at least -900: no bit depends on what a processor does to subnormals.

Order of calls: `learn` and `forget` follow the rows in time that does not depend on how many there are. Where a scale
has to change and only the rows can tell how, that is left to `settle`, which passes over them once for all changes
since the last one. Everything that reads needs a settled engine. A row that is forgotten has left the sums at once.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from skunlearn._linalg import _moment_reads, _moments
from skunlearn._linalg.class_sums import ClassSums, as_integers
from skunlearn._linalg.gram import WIDEN_BITS, Gram, Slicer
from skunlearn.rows import CsrRows

__all__ = ["SMALLEST_VALUE", "Moments", "Rows", "as_integers"]

_BITS = {"float64": 53, "float32": 35}
_NO_EXPONENT = _moments.NO_EXPONENT
_NO_QUANTUM = _moments.NO_QUANTUM
_SMALLEST_EXPONENT = -900
#: Smaller values are zero here.
SMALLEST_VALUE = 2.0**-954
#: Values of a column may have bits as low as that, for all we know.
_ANY_QUANTUM = -_NO_QUANTUM
#: From here on rows go through BLAS.
_BULK_ROWS = 64
#: Bytes of a block of Z: it and its slices should stay in the cache.
_BLOCK_BYTES = 1 << 18
#: Recomputing one column of n in this many costs as much as computing all of them through BLAS.
_REBUILD_SHARE = 8


@dataclass(slots=True)
class Rows:
    """Rows of a weight above 0, as the engine takes them.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), or CsrRows
        Finite values, float64 or float32, in C order; possibly a read-only view.
    y : ndarray of shape (n_rows, n_targets), float64, or None
        Further columns.
    weight : ndarray of shape (n_rows,), float64, or None
        Weights; None stands for ones.
    codes : ndarray of shape (n_rows,), int, or None
        Whose Gram matrix a row enters, or whose sums; None stands for zeros.
    """

    X: Any
    y: np.ndarray | None = None
    weight: np.ndarray | None = None
    codes: np.ndarray | None = None

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.X.indptr) - 1 if isinstance(self.X, CsrRows) else len(self.X)


Blocks = Callable[[], Iterable[Rows]]


class Moments:
    """Exact Gram matrices of [c | X | y], one for each code of a row, at scales that all share.

    Or one Gram matrix of all rows, and for each code the sums of its rows alone.

    Parameters
    ----------
    n_features, n_targets : int
        Columns of X and of y.
    dtype : dtype, float64 or float32
        Of X; says how many bits a value keeps.
    widen_bits : int, default=125
        See `Gram`; lower in tests.
    class_sums : bool, default=False
        Keep one Gram matrix, of code 0, and `class_sums`.

    Attributes
    ----------
    n_columns : int
        1 + n_features + n_targets.
    """

    def __init__(
        self,
        n_features: int,
        n_targets: int = 0,
        *,
        dtype: Any = np.float64,
        widen_bits: int = WIDEN_BITS,
        class_sums: bool = False,
    ) -> None:
        self._n_features = n_features
        self.n_columns = 1 + n_features + n_targets
        self._bits = _BITS[np.dtype(dtype).name]
        self._widen_bits = widen_bits
        self._columns = np.arange(self.n_columns, dtype=np.int32)
        self._row = np.zeros((1, self.n_columns))
        self._keeps_class_sums = class_sums
        self._block_rows = max(_BULK_ROWS, min(4096, _BLOCK_BYTES // (8 * self.n_columns)))
        self._clear()

    def _clear(self) -> None:
        """Hold no row."""
        self._is_settled = False
        self._row.fill(0)
        self._grams: dict[int, Any] = {}
        self._class_sums = ClassSums(self.n_columns) if self._keeps_class_sums else None
        self._n_weighted = 0
        # Of every column: the binade in force, rows in it, what divides every value, and the shift in force.
        self._exponents = np.full(self.n_columns, _NO_EXPONENT, dtype=np.int32)
        self._counts = np.zeros(self.n_columns, dtype=np.int64)
        self._quanta = np.full(self.n_columns, _NO_QUANTUM, dtype=np.int32)
        self._set_shifts(np.zeros(self.n_columns, dtype=np.int32))
        # Broken columns are zero in every Gram matrix, until `settle` computes them from the rows.
        self._broken = np.zeros(self.n_columns, dtype=bool)
        self._stale = False

    def _set_shifts(self, shifts: np.ndarray, broken: np.ndarray | None = None) -> None:
        self._shifts = shifts
        self._multiplier = np.ldexp(1.0, shifts)
        if broken is not None:
            self._broken = broken
            self._multiplier[broken] = 0.0

    # --- learning and forgetting -------------------------------------------------------------------------------------

    def check(self, rows: Rows) -> None:
        """Refuse rows that a weight makes infinite.

        Raises
        ------
        ValueError
            If the root of a weight times a value is not finite.
        """
        n_wrong = sum(int(np.count_nonzero(~np.isfinite(Z).all(axis=1))) for Z, _, _ in self._load(rows))
        if n_wrong:
            raise ValueError(
                f"{n_wrong} of {rows.n_rows} rows are not finite after multiplication by the root of their "
                "sample_weight. Nothing was changed. Scale X, y or the weights down."
            )

    def learn(self, rows: Rows) -> None:
        """Take rows in."""
        self._is_settled = False
        if self._stale:
            return
        if rows.n_rows >= _BULK_ROWS and rows.n_rows >= self.n_rows:
            self._go_stale()
            return
        for Z, n_weighted, _ in self._load(rows):
            if (n_weighted and not self._n_weighted) or not _moments.fits(Z, self._exponents):
                self._make_room(Z, n_weighted)
            self._n_weighted += n_weighted
            _moments.admit(Z, self._exponents, self._counts, self._quanta)
        has_unit_column = self._has_unit_column
        slicers: dict[int, Slicer] = {}
        for Z, _, codes in self._load(rows):
            _moments.quantise(Z, self._multiplier)
            self._add(Z, codes, 1, has_unit_column, slicers)
        self._close(slicers)

    def forget(self, rows: Rows) -> None:
        """Take rows out; they were learned, with these values and weights, and not forgotten since."""
        self._is_settled = False
        if self._stale:
            return
        if rows.n_rows >= _BULK_ROWS and 2 * rows.n_rows >= self.n_rows:
            self._go_stale()
            return
        if rows.n_rows == 1 and self._class_sums is None:
            self._forget_one(rows)
        else:
            self._forget_many(rows)
        if not self._grams:
            self._clear()

    def _forget_one(self, rows: Rows) -> None:
        """Do what `_forget_many` does, in two calls: most requests are for one row."""
        code = 0 if rows.codes is None else int(rows.codes[0])
        self._n_weighted -= self._load_block(rows, 0, self._row)
        gram = self._grams[code]
        _moments.forget_row(self._row, self._exponents, self._counts, self._multiplier, gram.limbs, gram.scratch)
        gram.n_rows -= 1
        if gram.n_rows == 0:
            del self._grams[code]

    def _forget_many(self, rows: Rows) -> None:
        has_unit_column = self._has_unit_column
        slicers: dict[int, Slicer] = {}
        for Z, n_weighted, codes in self._load(rows):
            self._n_weighted -= n_weighted
            _moments.dismiss(Z, self._exponents, self._counts, self._multiplier)
            self._add(Z, codes, -1, has_unit_column, slicers)
        self._close(slicers)

    def _go_stale(self) -> None:
        """Leave it to `settle`: what comes or goes outweighs what stays."""
        self._clear()
        self._stale = True

    def _load(self, rows: Rows) -> Iterator[tuple[np.ndarray, int, np.ndarray | None]]:
        """Yield blocks of Z, how many of their rows have a weight other than 1, and their codes; wipe it all."""
        n_rows = rows.n_rows
        buffer = np.empty((min(n_rows, self._block_rows), self.n_columns))
        for start in range(0, n_rows, self._block_rows):
            Z = buffer[: min(self._block_rows, n_rows - start)]
            n_weighted = self._load_block(rows, start, Z)
            yield Z, n_weighted, None if rows.codes is None else rows.codes[start : start + len(Z)]
        buffer.fill(0)

    def _load_block(self, rows: Rows, start: int, Z: np.ndarray) -> int:
        """Write rows of Z from row `start` on; return how many have a weight other than 1."""
        if isinstance(rows.X, CsrRows):
            return _moments.load_csr(*rows.X, self._n_features, rows.y, rows.weight, start, Z)
        return _moments.load_dense(rows.X, rows.y, rows.weight, start, Z)

    def _make_room(self, Z: np.ndarray, n_weighted: int) -> None:
        """Change the scales of columns that incoming rows, `n_weighted` of them weighted, do not fit."""
        exponents = np.full(self.n_columns, _NO_EXPONENT, dtype=np.int32)
        unused_counts, unused_quanta = np.zeros_like(self._counts), np.zeros_like(self._quanta)
        _moments.survey(Z, self._columns, exponents, unused_counts, unused_quanta)
        changed = exponents > self._exponents
        self._counts[changed] = 0
        np.maximum(self._exponents, exponents, out=self._exponents)
        changed[0] |= self._n_weighted == 0 and n_weighted > 0
        self._change_shifts(changed, is_weighted=self._n_weighted + n_weighted > 0)

    def _change_shifts(self, changed: np.ndarray, *, is_weighted: bool) -> None:
        """Put the shifts that go with the binades in force: by powers of two where all values are exact at both."""
        shifts = np.where(changed, self._canonical_shifts(is_weighted), self._shifts)
        exact = self._quanta + np.minimum(shifts, self._shifts) >= 0
        powers = np.where(exact & ~self._broken, shifts - self._shifts, 0).astype(np.int32)
        breaking = changed & ~exact & (shifts != self._shifts)
        for gram in self._grams.values():
            gram.clear_columns(np.flatnonzero(breaking))
            gram.rescale(np.where(breaking, 0, powers).astype(np.int32))
        if self._class_sums is not None:
            self._class_sums.clear_columns(np.flatnonzero(breaking))
            self._class_sums.rescale(np.where(breaking, 0, powers))
        self._set_shifts(shifts, self._broken | breaking)

    def _canonical_shifts(self, is_weighted: bool) -> np.ndarray:
        shifts = np.where(self._exponents == _NO_EXPONENT, 0, self._bits - self._exponents)
        if not is_weighted:
            shifts[0] = 0
        return np.asarray(shifts, dtype=np.int32)

    @property
    def _has_unit_column(self) -> bool:
        """Whether column 0 of Q is 1 in every row."""
        return not self.has_weights and bool(self._shifts[0] == 0)

    def _add(
        self, Z: np.ndarray, codes: np.ndarray | None, sign: int, has_unit_column: bool, slicers: dict[int, Any]
    ) -> None:
        """Add a block of quantised rows, or take it away; what goes through BLAS waits in `slicers`."""
        for code, Q in self._by_gram(Z, codes, sign):
            gram = self._gram_of(code)
            gram.n_rows += sign * len(Q)
            if len(Q) < _BULK_ROWS and code not in slicers:
                gram.add_rows(Q, sign)
                continue
            if code not in slicers:
                slicers[code] = self._adder(gram, has_unit_column, sign)
            slicers[code].add(Q)

    def _close(self, slicers: dict[int, Any]) -> None:
        for slicer in slicers.values():
            slicer.close()
        for code in [code for code, gram in self._grams.items() if gram.n_rows == 0]:
            del self._grams[code]

    def _by_gram(
        self, Q: np.ndarray, codes: np.ndarray | None, sign: int = 1, chosen: np.ndarray | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the rows of each Gram matrix; where there is one for all, add to the sums of the codes instead."""
        if self._class_sums is None:
            yield from _by_code(Q, codes)
            return
        assert codes is not None
        self._class_sums.add_rows(Q, codes, sign, chosen)
        yield 0, Q

    def _gram_of(self, code: int) -> Any:
        gram = self._grams.get(code)
        if gram is None:
            gram = self._grams[code] = self._new_gram()
        return gram

    def _new_gram(self) -> Any:
        """Return what the rows of one code are summed up in: another shape has another class here."""
        return Gram(self.n_columns, self._bits, self._widen_bits)

    def _adder(self, gram: Any, unit_column: bool, sign: int = 1) -> Any:
        """Return what adds many rows to it."""
        return Slicer(gram, self._bits, unit_column, sign)

    # --- settling ----------------------------------------------------------------------------------------------------

    def settle(self, blocks: Blocks) -> None:
        """Bring scales and sums to what they are for the live rows, from which `blocks` makes a pass."""
        if not self._stale:
            self._tighten(blocks)
            if self._broken.sum() * _REBUILD_SHARE > self.n_columns:
                self._stale = True
            elif self._broken.any():
                self._recompute_broken(blocks)
        if self._stale:
            self.rebuild(blocks)

    @property
    def is_settled(self) -> bool:
        """Whether the engine can be read without a pass over the rows; once it is, only rows change that."""
        if not self._is_settled:
            self._is_settled = not (self._stale or self._broken.any() or self._loose().any())
        return self._is_settled

    def _loose(self) -> np.ndarray:
        """Return which columns have a scale that no live value asks for."""
        without_top = (self._exponents != _NO_EXPONENT) & (self._counts == 0)
        loose: np.ndarray = without_top | (self._canonical_shifts(self.has_weights) != self._shifts)
        return loose

    def _tighten(self, blocks: Blocks) -> None:
        """Find the binades of columns whose largest values have gone."""
        loose = self._loose()
        columns = np.flatnonzero(loose).astype(np.int32)
        if len(columns) == 0:
            return
        exponents = np.full(len(columns), _NO_EXPONENT, dtype=np.int32)
        counts = np.zeros(len(columns), dtype=np.int64)
        quanta = np.full(len(columns), _NO_QUANTUM, dtype=np.int32)
        for rows in blocks():
            for Z, _, _ in self._load(rows):
                _moments.survey(Z, columns, exponents, counts, quanta)
        self._exponents[columns] = exponents
        self._counts[columns] = counts
        self._quanta[columns] = quanta
        self._change_shifts(loose, is_weighted=self.has_weights)

    def _recompute_broken(self, blocks: Blocks) -> None:
        """Compute the broken columns from the rows."""
        broken = self._broken
        self._set_shifts(self._shifts, np.zeros_like(broken))
        for rows in blocks():
            for Z, _, codes in self._load(rows):
                _moments.quantise(Z, self._multiplier)
                for code, Q in self._by_gram(Z, codes, chosen=broken):
                    self._grams[code].add_columns(Q, broken)

    def rebuild(self, blocks: Blocks) -> None:
        """Start afresh: one pass for the scales, and one through BLAS for the sums."""
        self._clear()
        self._stale = True
        peaks = np.zeros(self.n_columns)
        for rows in blocks():
            self._raise_peaks(rows, peaks)
        exponents = np.maximum(np.frexp(peaks)[1], _SMALLEST_EXPONENT)
        self._exponents = np.where(peaks < SMALLEST_VALUE, _NO_EXPONENT, exponents).astype(np.int32)
        self._set_shifts(self._canonical_shifts(self.has_weights))
        self._sum_up(blocks)
        self._stale = False

    def _raise_peaks(self, rows: Rows, peaks: np.ndarray) -> None:
        """Take the largest magnitudes of the columns, and count the weights; where it can, without making rows of Z."""
        if isinstance(rows.X, CsrRows) or rows.X.dtype != np.float64 or rows.weight is not None:
            for Z, n_weighted, _ in self._load(rows):
                _moments.raise_peaks(Z, peaks)
                self._n_weighted += n_weighted
            return
        peaks[0] = max(peaks[0], 1.0)
        _moments.raise_peaks(rows.X, peaks[1 : 1 + self._n_features])
        if rows.y is not None:
            _moments.raise_peaks(rows.y, peaks[1 + self._n_features :])

    def _sum_up(self, blocks: Blocks) -> None:
        """Sets Gram matrices, counts and quanta, at the scales in force."""
        counts, errors = np.zeros((2, self.n_columns))
        top = self._top_binades()
        slicers: dict[int, Any] = {}
        for rows in blocks():
            for Z, _, codes in self._load(rows):
                _moments.quantise_counting(Z, self._multiplier, top, counts, errors)
                for code, Q in self._by_gram(Z, codes):
                    gram = self._gram_of(code)
                    if code not in slicers:
                        slicers[code] = self._adder(gram, self._has_unit_column)
                    slicers[code].add(Q)
                    gram.n_rows += len(Q)
        unused = np.full(self.n_columns, _NO_QUANTUM, dtype=np.int32)
        for slicer in slicers.values():
            slicer.close()
            np.minimum(unused, slicer.powers_of_two(), out=unused)
        self._counts = counts.astype(np.int64)
        quanta = np.where(errors > 0, _ANY_QUANTUM, unused - self._shifts)
        self._quanta = np.where(self._exponents == _NO_EXPONENT, _NO_QUANTUM, quanta).astype(np.int32)

    def _top_binades(self) -> np.ndarray:
        """Return where the top binade of each column begins; the lowest one takes all that is smaller."""
        top = np.where(self._exponents == _SMALLEST_EXPONENT, SMALLEST_VALUE, np.ldexp(1.0, self._exponents - 1))
        return np.where(self._exponents == _NO_EXPONENT, np.inf, top)

    # --- reading -----------------------------------------------------------------------------------------------------

    @property
    def codes(self) -> list[int]:
        """Codes that have rows, ascending."""
        return sorted(self._grams)

    @property
    def n_rows(self) -> int:
        """Rows in all Gram matrices; 0 while the engine waits for `settle` to build them."""
        return sum(gram.n_rows for gram in self._grams.values())

    def n_rows_of(self, code: int = 0) -> int:
        """Return how many rows have a code."""
        return self._grams[code].n_rows if code in self._grams else 0

    @property
    def has_weights(self) -> bool:
        """Whether some live weight is not 1."""
        return self._n_weighted > 0

    @property
    def shifts(self) -> np.ndarray:
        """The scales: column j holds z_j * 2**shifts[j], rounded."""
        self._require_settled()
        return self._shifts.copy()

    @property
    def exponents(self) -> np.ndarray:
        """Binades e_j of the columns, with 2**(e_j - 1) <= max|z_j| < 2**e_j; -1022 where all values are zero."""
        self._require_settled()
        return self._exponents.copy()

    def limbs(self, code: int = 0) -> np.ndarray:
        """Return the Gram matrix as 192-bit integers, the limbs low, mid, high of the lower triangle packed by rows."""
        gram = self._read(code)
        limbs = gram.wide_limbs()
        return limbs.copy() if limbs is gram.limbs else limbs

    def integers(self, code: int = 0) -> list[list[int]]:
        """Return the Gram matrix as Python integers."""
        return _unpack(as_integers(self.limbs(code)), self.n_columns)

    def sums(self, code: int = 0) -> list[int]:
        """Return column 0 of the Gram matrix as Python integers: the total weight, and the sums of the columns."""
        firsts = np.cumsum(np.arange(self.n_columns))
        return as_integers(self._read(code).limbs[firsts])

    def normal_equations(self, *, about_means: bool, code: int = 0) -> tuple[np.ndarray, np.ndarray, int]:
        """Return products of the columns of X, those of X with y, and what divides both.

        Parameters
        ----------
        about_means : bool
            Whether columns are centred first; then products are numerators, and the denominator is the total weight.
        code : int, default=0
            Which Gram matrix is read.

        Returns
        -------
        of_features : ndarray of shape (n_features, n_features, n_limbs), int64
            The lower triangle; what is above the diagonal means nothing.
        of_targets : ndarray of shape (n_features, n_targets, n_limbs), int64
            Products of the columns of X with those of y.
        denominator : int
            A positive integer.
        """
        d, width = self._n_features, self._width if about_means else 3
        of_features = np.empty((d, d, width), dtype=np.int64)
        of_targets = np.empty((d, self.n_columns - 1 - d, width), dtype=np.int64)
        limbs = self._read(code).limbs
        _moment_reads.normal_equations(limbs, about_means, of_features, of_targets)
        return of_features, of_targets, as_integers(limbs[:1])[0] if about_means else 1

    def mean_of(self, vector: np.ndarray, code: int = 0) -> tuple[int, int, int]:
        """Return the exact weighted mean of vector'[x | y], as n, m and e of n / m * 2**e.

        Parameters
        ----------
        vector : ndarray of shape (n_columns - 1,), float64
            A factor for every column of X and y.
        code : int, default=0
            Which Gram matrix is read.
        """
        limbs = self._read(code).limbs
        exponents = np.frexp(vector)[1] - 53 - self._shifts[1:]
        lowest = int(exponents.min())
        # A term has at most 53 + 192 bits, and there are fewer than 2**32.
        out = np.empty((int(exponents.max()) - lowest + 53 + 192 + 32) // 64 + 1, dtype="<u8")
        _moment_reads.combine_sums(limbs, vector, self._shifts, lowest, out)
        numerator = int.from_bytes(out.tobytes(), "little", signed=True)
        return numerator, as_integers(limbs[:1])[0], lowest + int(self._shifts[0])

    def class_sums(self, code: int) -> list[int]:
        """Return the total weight of a code's rows and the sums of their columns, at the scales of `sums`."""
        self._require_settled()
        assert self._class_sums is not None
        return self._class_sums.of(code)

    def numerator_limbs(self, code: int = 0) -> np.ndarray:
        """Return G00 Gjk - G0j G0k for the columns of X and y in limbs, the lower triangle packed by rows."""
        n = self.n_columns - 1
        out = np.empty((n * (n + 1) // 2, self._width), dtype=np.int64)
        _moment_reads.numerators(self._read(code).limbs, self.n_columns, out)
        return out

    def numerators(self, code: int = 0) -> list[list[int]]:
        """Return what `numerator_limbs` holds, as Python integers."""
        return _unpack(as_integers(self.numerator_limbs(code)), self.n_columns - 1)

    def constant_columns(self, code: int = 0) -> np.ndarray:
        """Return which columns of X and y do not vary, as far as the rounding of this engine lets tell.

        Without weights that is an exact question. With them q_j errs from a multiple of q_0 by 2**-52 of itself (the
        root and the product) and 1.5 (quantisation of both) even where x_j is constant; the sum of the squares of that
        is at most 2**-103 G_jj + 5 n, and no smaller scatter means anything.
        """
        last = np.cumsum(np.arange(1, self.n_columns + 1)) - 1
        total, *squares = as_integers(self._read(code).limbs[last])
        spreads = [total * g - s * s for g, s in zip(squares, self.sums(code)[1:], strict=True)]
        if not self.has_weights:
            return np.array(spreads) == 0
        slack = 5 * self.n_rows_of(code)
        return np.array([s <= total * ((g >> 103) + slack) for s, g in zip(spreads, squares, strict=True)])

    def scatter(self, code: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return the weighted sums of products about the means, for the columns of X and y.

        Returns
        -------
        high, low : ndarray of shape (n_columns - 1, n_columns - 1)
            Entry (j, k), times 2**-(shifts[1 + j] + shifts[1 + k]), is the sum; the relative error of high + low is
            below 2**-102, nothing cancels, and a sum that is zero is zero.
        """
        high, low = np.empty((2, self.n_columns - 1, self.n_columns - 1))
        _moment_reads.scatter(self._read(code).limbs, self.n_columns, self._width, high, low)
        return high, low

    def products(self, code: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return the Gram matrix itself, as `scatter` does, with column 0."""
        high, low = np.empty((2, self.n_columns, self.n_columns))
        _moment_reads.raw(self._read(code).limbs, self.n_columns, high, low)
        return high, low

    def means(self, code: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return weighted means of the columns of X and y as double-doubles; entry j is in units of 2**(s_0 - s_j)."""
        high, low = np.empty((2, self.n_columns - 1))
        _moment_reads.means(self._read(code).limbs, high, low)
        return high, low

    def digest_parts(self, codes: Iterable[int] | None = None) -> list[bytes]:
        """Return scales and sums in canonical form, whatever the layout.

        Parameters
        ----------
        codes : iterable of int, default=None
            The codes in an order that does not depend on history; ascending by default.
        """
        scales = self.exponents.astype("<i4").tobytes()
        return [scales, *(self._sum_bytes(code) for code in (self.codes if codes is None else codes))]

    def _sum_bytes(self, code: int) -> bytes:
        return self.limbs(code).astype("<i8", copy=False).tobytes() if code in self._grams else b""

    def nbytes(self) -> int:
        """Return the size of the sums in bytes."""
        of_classes = 0 if self._class_sums is None else self._class_sums.limbs.nbytes
        return sum(gram.limbs.nbytes for gram in self._grams.values()) + of_classes

    @property
    def _width(self) -> int:
        """Limbs of a numerator: 2**187 bounds it without weights, 2**293 with them, up to 2**40 rows."""
        return 5 if self._n_weighted else 3

    def _read(self, code: int) -> Any:
        self._require_settled()
        return self._grams[code]

    def _require_settled(self) -> None:
        if not self.is_settled:
            raise RuntimeError("The moments wait for a pass over the rows. Call settle first.")


def _by_code(Q: np.ndarray, codes: np.ndarray | None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the rows of each code; copies are wiped."""
    if codes is None:
        yield 0, Q
    elif (codes == codes[0]).all():
        yield int(codes[0]), Q
    else:
        for code in np.unique(codes).tolist():
            chosen = Q[codes == code]
            yield code, chosen
            chosen.fill(0)


def _unpack(packed: list[int], n: int) -> list[list[int]]:
    """Return the symmetric matrix of a packed lower triangle."""
    return [[packed[max(i, j) * (max(i, j) + 1) // 2 + min(i, j)] for j in range(n)] for i in range(n)]
