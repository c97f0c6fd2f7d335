"""The diagonal form of the moment engine against Python integers, over histories that force every change of scale."""

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skunlearn._linalg import _diagonal
from skunlearn._linalg.diagonal import DiagonalMoments, MaskedMoments
from skunlearn._linalg.moments import Rows

sys.path.insert(0, str(Path(__file__).parent))
from test_moments import COLUMNS, LARGEST, ONE_DIGIT, Table, expected_moments, histories, table_of


class DiagonalTable(Table):
    """A table of `test_moments`, followed by the diagonal form; column j has the partner partners[j]."""

    def __init__(self, table, partners=None, widen_bits=125):
        super().__init__(table.X, table.y, table.weight, table.codes, csr=table.csr, n_blocks=table.n_blocks)
        d = self.moments.n_columns
        self.partners = np.zeros(d, dtype=int) if partners is None else np.resize(partners, d)
        n_targets = 0 if self.y is None else self.y.shape[1]
        self.moments = DiagonalMoments(
            self.X.shape[1], n_targets, partners=self.partners, dtype=self.X.dtype, widen_bits=widen_bits
        )

    def fresh(self):
        twin = DiagonalTable(self, self.partners)
        twin.live = self.live
        twin.moments.rebuild(twin.blocks)
        return twin.moments


def assert_exact(table):
    """The settled engine holds what the definition says."""
    moments = table.settled()
    exponents, shifts, grams = expected_moments(table)
    places = list(enumerate(table.partners.tolist()))
    assert moments.exponents.tolist() == exponents
    assert moments.shifts.tolist() == shifts
    assert {code: moments.integers(code) for code in moments.codes} == {
        code: [[gram[p][j] for j, p in places], [gram[j][j] for j, _ in places]] for code, gram in grams.items()
    }
    assert moments.digest_parts() == table.fresh().digest_parts()


@settings(max_examples=300, deadline=None)
@given(histories(), st.booleans(), st.sampled_from([70, 107, 108, 125]))
def test_random_histories(history, has_partners, widen_bits):
    """After every step the engine is what a fresh fit on the live rows is, and what the definition says."""
    full, steps = history
    table = DiagonalTable(full, [0, 1, 0] if has_partners else None, widen_bits)
    for rows, settle in steps:
        rows = np.unique(rows)
        coming, going = rows[~table.live[rows]], rows[table.live[rows]]
        if len(coming):
            table.learn(coming)
        if len(going):
            table.forget(going)
        if settle:
            assert_exact(table)
    assert_exact(table)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_bulk_equals_rows_equals_integers(dtype):
    """A fit in bulk, updates row by row and the definition agree, whatever the columns are like."""
    table = DiagonalTable(table_of(list(COLUMNS), 150, dtype=dtype))
    table.learn(slice(None))
    assert_exact(table)
    by_rows = DiagonalTable(table_of(list(COLUMNS), 150, dtype=dtype))
    for i in np.random.default_rng(1).permutation(150).tolist():
        by_rows.learn([i])
    assert by_rows.settled().digest_parts() == table.moments.digest_parts()


@pytest.mark.parametrize("csr", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("by_code", [False, True])
def test_batches(csr, weighted, by_code):
    """Batches in bulk, single rows, and a fresh fit agree; what comes back restores what was."""
    rng = np.random.default_rng(3)
    n = 1500
    kinds = [*ONE_DIGIT, "normal", "pareto", "wide integers", "giant row", "zeros"]
    table = DiagonalTable(
        table_of(
            kinds,
            n,
            y=rng.standard_normal((n, 1)),
            weight=rng.choice([1.0, 1.0, 0.5, 3.0], n) if weighted else None,
            codes=rng.integers(0, 3, n) if by_code else None,
            csr=csr,
        )
    )
    table.learn(np.arange(1000))
    before = table.settled().digest_parts()
    batch = rng.choice(1000, 200, replace=False)
    table.learn(np.arange(1000, 1200))
    table.forget(batch)
    table.forget(np.flatnonzero(table.live)[300:301])
    assert_exact(table)
    missing = np.flatnonzero(~table.live[:1000])
    table.learn(missing[:50])
    table.learn(missing[50:])
    table.forget(np.arange(1000, 1200))
    assert table.settled().digest_parts() == before
    for rows in np.array_split(np.flatnonzero(table.live), 7):
        table.forget(rows)
    assert table.settled().codes == []
    assert table.moments.nbytes() == 0


def test_widening_where_it_must_come():
    """A constant column passes 2**127 at 2**21 rows of 53 bits, and comes back."""
    block = Rows(np.full((1 << 17, 1), LARGEST))
    moments = DiagonalMoments(1)
    moments.rebuild(lambda: [block] * 31)
    for _ in range(3):
        moments.learn(block)
    n, q = 34 << 17, (1 << 53) - 1
    assert moments.integers() == [[n, n * q], [n, n * q * q]]
    assert n * q * q > 1 << 127
    for _ in range(10):
        moments.forget(block)
    n = 24 << 17
    assert moments.integers() == [[n, n * q], [n, n * q * q]]


def test_shifts_need_no_rows():
    """Where all values are exact at both scales, a larger value is taken in without a pass over the rows."""
    table = DiagonalTable(table_of(ONE_DIGIT, 100))
    table.learn(np.arange(99))
    table.settled()
    table.X[99] = 5000.0
    table.learn([99])
    assert table.moments.is_settled
    assert_exact(table)


def test_float_sums_are_caught(monkeypatch):
    """A mutant that sums floats fails the comparison that the engine passes."""

    def add_floats(Q, partners, sums, sign, bits):
        for j in range(Q.shape[1]):
            for place, total in ((j, (Q[:, partners[j]] * Q[:, j]).sum()), (Q.shape[1] + j, (Q[:, j] ** 2).sum())):
                entry = int.from_bytes(sums[place].tobytes(), "little", signed=True) + sign * int(total)
                sums[place] = np.frombuffer(entry.to_bytes(16, "little", signed=True), dtype=np.int64)

    monkeypatch.setattr(_diagonal, "add_rows", add_floats)
    table = DiagonalTable(table_of(["normal", "pareto"], 150))
    table.learn(slice(None))
    with pytest.raises(AssertionError):
        assert_exact(table)


@pytest.mark.parametrize("weighted", [False, True])
def test_masked_columns_are_columns_of_the_rows_that_have_a_value(weighted):
    """The moments of a column with gaps are those of an engine that sees its values alone, after forgetting too."""
    rng = np.random.default_rng(4)
    X = table_of(["normal", "pareto", "integers", "giant row", "constant"], 200).X
    X[rng.random(X.shape) < 0.3] = np.nan
    weight = 10.0 ** rng.integers(-12, 12, 200) if weighted else None

    def rows(which, column=slice(None)):
        return Rows(np.ascontiguousarray(X[which, column]), weight=None if weight is None else weight[which])

    masked, live = MaskedMoments(5), np.arange(200)
    masked.learn(rows(live))
    masked.settle(lambda: [rows(live)])
    going, live = live[::3], np.setdiff1d(live, live[::3])
    for i in going.tolist():
        masked.forget(rows([i]))
    masked.settle(lambda: [rows(live)])

    sums, squares = masked.integers()
    shifts = masked.shifts.tolist()
    for j in range(5):
        present = live[~np.isnan(X[live, j])]
        alone = DiagonalMoments(1)
        alone.rebuild(lambda: [rows(present, slice(j, j + 1))])  # noqa: B023
        (weights, total), (_, square) = alone.integers()
        of_weight, of_column = alone.shifts.tolist()
        assert scaled(squares[6 + j], 2 * shifts[6 + j]) == scaled(weights, 2 * of_weight)
        assert scaled(sums[1 + j], shifts[1 + j] + shifts[6 + j]) == scaled(total, of_weight + of_column)
        assert scaled(squares[1 + j], 2 * shifts[1 + j]) == scaled(square, 2 * of_column)


def scaled(integer, shift):
    return integer * Fraction(2) ** -shift
