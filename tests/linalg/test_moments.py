"""The moment engine against Python integers, over histories that force every change of scale."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from skunlearn._linalg import gram as gram_module
from skunlearn._linalg.gram import Gram, Slicer, blas_is_exact
from skunlearn._linalg.moments import Moments, Rows
from skunlearn.rows import CsrRows

LARGEST = 2 - 2.0**-52


class Table:
    """All rows there could be, which of them are live, and the engine that follows them."""

    def __init__(self, X, y=None, weight=None, codes=None, *, csr=False, n_blocks=3, widen_bits=125):
        self.X, self.y, self.weight, self.codes, self.csr, self.n_blocks = X, y, weight, codes, csr, n_blocks
        self.live = np.zeros(len(X), dtype=bool)
        self.moments = Moments(X.shape[1], 0 if y is None else y.shape[1], dtype=X.dtype, widen_bits=widen_bits)

    def rows(self, which):
        X = self.X[which]
        if self.csr:
            X = sp.csr_array(X)
            X = CsrRows(X.indptr.astype(np.int64), X.indices.astype(np.int32), X.data)
        parts = (None if part is None else part[which] for part in (self.y, self.weight, self.codes))
        return Rows(X, *parts)

    def blocks(self):
        live = np.flatnonzero(self.live)
        for start, stop in pairwise(np.linspace(0, len(live), self.n_blocks + 1).astype(int).tolist()):
            if start < stop:
                yield self.rows(live[start:stop])

    def learn(self, which):
        self.live[which] = True
        self.moments.learn(self.rows(which))

    def forget(self, which):
        self.live[which] = False
        self.moments.forget(self.rows(which))

    def settled(self):
        self.moments.settle(self.blocks)
        return self.moments

    def fresh(self):
        twin = Table(self.X, self.y, self.weight, self.codes)
        twin.live = self.live
        twin.moments.rebuild(twin.blocks)
        return twin.moments


def expected_moments(table):
    """Exponents, shifts and Gram matrices by code, from the definition and in Python integers."""
    bits = 53 if table.X.dtype == np.float64 else 35
    codes, Z = [], []
    for i in np.flatnonzero(table.live).tolist():
        root = math.sqrt(1.0 if table.weight is None else table.weight[i])
        values = [float(x) for x in table.X[i]] + ([] if table.y is None else table.y[i].tolist())
        Z.append([root, *(root * x for x in values)])
        codes.append(0 if table.codes is None else int(table.codes[i]))
    if not Z:
        return [-1022] * table.moments.n_columns, [0] * table.moments.n_columns, {}
    exponents, shifts = [], []
    for column in zip(*Z, strict=True):
        largest = max(map(abs, column))
        exponent = -1022 if largest < 2.0**-954 else max(math.frexp(largest)[1], -900)
        exponents.append(exponent)
        shifts.append(0 if exponent == -1022 else bits - exponent)
    if all(row[0] == 1.0 for row in Z):
        shifts[0] = 0
    Q = [[round(Fraction(z) * Fraction(2) ** s) for z, s in zip(row, shifts, strict=True)] for row in Z]
    grams = {}
    for code in sorted(set(codes)):
        mine = [q for q, c in zip(Q, codes, strict=True) if c == code]
        columns = list(zip(*mine, strict=True))
        grams[code] = [[sum(map(int.__mul__, a, b)) for b in columns] for a in columns]
    return exponents, shifts, grams


def assert_exact(table):
    """The settled engine holds what the definition says."""
    moments = table.settled()
    exponents, shifts, grams = expected_moments(table)
    assert moments.exponents.tolist() == exponents
    assert moments.shifts.tolist() == shifts
    assert {code: moments.integers(code) for code in moments.codes} == grams


def assert_same(moments, other):
    assert moments.codes == other.codes
    assert moments.digest_parts() == other.digest_parts()


def with_digits(rng, n):
    """All three digits at +-2**17, in integers of 53 bits, and ties of their rounding."""
    digits = rng.choice([-1.0, 1.0], (3, n)) * (1 << 17)
    return digits[0] * 2.0**36 * 0.5 + digits[1] * 2.0**18 + digits[2]


COLUMNS = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "pareto": lambda rng, n: rng.pareto(0.7, n) * rng.choice([-1, 1], n),
    "one-hot": lambda rng, n: (rng.random(n) < 0.2).astype(float),
    "integers": lambda rng, n: rng.integers(-1000, 1000, n).astype(float),
    "wide integers": lambda rng, n: rng.integers(-(1 << 33), 1 << 33, n).astype(float),
    "digits": with_digits,
    "largest": lambda rng, n: rng.choice([-1, 1], n) * LARGEST,
    "dyadic": lambda rng, n: rng.integers(-8, 9, n) * 2.0 ** rng.integers(-40, 40, n),
    "zeros": lambda rng, n: rng.choice([0.0, -0.0], n),
    "constant": lambda rng, n: np.full(n, 0.1),
    "subnormal": lambda rng, n: rng.integers(-9, 9, n) * 5e-324,
    "tiny": lambda rng, n: rng.integers(-9, 9, n) * 2.0**-955,
    "small": lambda rng, n: rng.standard_normal(n) * 1e-270,
    "huge": lambda rng, n: rng.standard_normal(n) * 1e300,
    "giant row": lambda rng, n: np.where(np.arange(n) == n // 2, 1e30, rng.standard_normal(n)),
}


def table_of(kinds, n, seed=0, dtype=np.float64, **options):
    rng = np.random.default_rng(seed)
    X = np.column_stack([COLUMNS[kind](rng, n) for kind in kinds])
    if dtype == np.float32:
        X = np.clip(X, -3e38, 3e38)
    return Table(np.ascontiguousarray(X.astype(dtype)), **options)


ONE_DIGIT = ["one-hot"] * 9 + ["integers"]
KIND_SETS = [
    list(COLUMNS),
    ONE_DIGIT,
    [*ONE_DIGIT, "wide integers", "wide integers"],
    [*ONE_DIGIT, "normal", "digits", "wide integers"],
    ["digits", "largest"],
]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kinds", KIND_SETS)
def test_slices_equal_rows_equal_integers(kinds, dtype, monkeypatch):
    """A fit through BLAS, updates row by row and a fit without BLAS give the integers of the definition."""
    monkeypatch.setattr(gram_module, "_BLAS_ADVANTAGE", np.inf)
    table = table_of(kinds, 150, dtype=dtype)
    table.learn(slice(None))
    assert_exact(table)
    by_rows = Table(table.X)
    for i in np.random.default_rng(1).permutation(150).tolist():
        by_rows.learn([i])
    assert_same(by_rows.settled(), table.moments)
    monkeypatch.setattr(gram_module, "blas_is_exact", lambda: False)
    assert_same(table.fresh(), table.moments)


@pytest.mark.parametrize("kinds", KIND_SETS)
def test_blas_is_used_below_its_limits(kinds, monkeypatch):
    """Folds come before a partial sum could pass 2**53: with every digit at its largest, over several folds."""
    monkeypatch.setattr(gram_module, "_BLAS_ADVANTAGE", 0.0)
    table = table_of(kinds, 20_000, n_blocks=1)
    table.learn(slice(None))
    moments = table.settled()
    by_rows = Moments(len(kinds))
    monkeypatch.setattr(gram_module, "blas_is_exact", lambda: False)
    by_rows.rebuild(table.blocks)
    assert_same(moments, by_rows)


def test_float_sums_are_caught(monkeypatch):
    """A mutant that sums floats through BLAS fails the comparison that the engine passes."""

    class FloatSlicer(Slicer):
        def _multiply(self, Q):
            total = np.tril(Q.T @ Q)
            for place, (i, j) in enumerate(zip(*np.tril_indices(Q.shape[1]), strict=True)):
                low, high = int(total[i, j]) & (1 << 64) - 1, int(total[i, j]) >> 64
                entry = sum(int(limb) << 64 * k for k, limb in enumerate(self._gram.limbs[place].view(np.uint64)))
                entry += low + (high << 64)
                self._gram.limbs[place].view(np.uint64)[:] = [entry >> 64 * k & (1 << 64) - 1 for k in range(2)]

    monkeypatch.setattr("skunlearn._linalg.moments.Slicer", FloatSlicer)
    exact = table_of(ONE_DIGIT, 150)
    exact.learn(slice(None))
    assert_exact(exact)  # sums of these are exact in floats: the mutant itself is sound
    table = table_of(["normal", "pareto", "normal"], 150)
    table.learn(slice(None))
    with pytest.raises(AssertionError):
        assert_exact(table)


@st.composite
def histories(draw):
    """A table of few rows whose columns differ wildly, and a history of learning, forgetting and settling."""
    seed = draw(st.integers(0, 2**32 - 1))
    kinds = draw(st.lists(st.sampled_from(list(COLUMNS)), min_size=1, max_size=6))
    n = draw(st.integers(1, 12))
    rng = np.random.default_rng(seed)
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    y = rng.standard_normal((n, 2)) * 10.0 ** rng.integers(-3, 4, (n, 1)) if draw(st.booleans()) else None
    weight = None
    if draw(st.booleans()):
        weight = rng.choice([1.0, 1.0, 1.0, 2.0, 0.25, 0.3, 1e-12, 1e12, 2.0**105], n)
    codes = rng.integers(0, 3, n) if draw(st.booleans()) else None
    with np.errstate(over="ignore"):
        table = table_of(
            kinds,
            n,
            seed,
            dtype,
            y=y,
            weight=weight,
            codes=codes,
            csr=draw(st.booleans()),
            widen_bits=draw(st.sampled_from([70, 107, 108, 125])),
        )
        if draw(st.booleans()):  # rows of different sizes, so that scales come and go with them
            table.X *= (10.0 ** rng.integers(-6, 7, (n, 1))).astype(dtype)
        largest = table.X.astype(float) * (1.0 if weight is None else np.sqrt(weight)[:, None])
        table.X[~np.isfinite(largest)] = 1.0  # the engine is not asked for these: see `Moments.check`
    steps = draw(
        st.lists(st.tuples(st.lists(st.integers(0, n - 1), min_size=1, max_size=4), st.booleans()), max_size=12)
    )
    return table, steps


@settings(max_examples=300, deadline=None)
@given(histories())
def test_random_histories(history):
    """After every step the engine is what a fresh fit on the live rows is, and what the definition says."""
    table, steps = history
    for rows, settle in steps:
        rows = np.unique(rows)
        coming, going = rows[~table.live[rows]], rows[table.live[rows]]
        if len(coming):
            table.learn(coming)
        if len(going):
            table.forget(going)
        if settle:
            assert_exact(table)
            assert_same(table.moments, table.fresh())
    assert_exact(table)


@pytest.mark.parametrize("csr", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("by_code", [False, True])
def test_batches(csr, weighted, by_code):
    """Batches through BLAS, single rows, and a fresh fit agree; what comes back restores what was."""
    rng = np.random.default_rng(3)
    n = 1500
    weight = rng.choice([1.0, 1.0, 0.5, 3.0], n) if weighted else None
    codes = rng.integers(0, 3, n) if by_code else None
    kinds = [*ONE_DIGIT, "normal", "pareto", "wide integers", "giant row", "zeros"]
    table = table_of(kinds, n, y=rng.standard_normal((n, 1)), weight=weight, codes=codes, csr=csr)
    table.learn(np.arange(1000))
    before = table.settled().digest_parts()
    batch = rng.choice(1000, 200, replace=False)
    table.learn(np.arange(1000, 1200))
    table.forget(batch)
    table.forget(np.flatnonzero(table.live)[300:301])
    assert_same(table.settled(), table.fresh())
    missing = np.flatnonzero(~table.live[:1000])
    table.learn(missing[:50])
    table.learn(missing[50:])
    table.forget(np.arange(1000, 1200))
    assert table.settled().digest_parts() == before
    for rows in np.array_split(np.flatnonzero(table.live), 7):
        table.forget(rows)
    table.settled()
    assert table.moments.codes == []
    assert table.moments.nbytes() == 0


def test_order_and_layout_do_not_matter():
    """Permuted rows and CSR rows give the same integers."""
    table = table_of(list(COLUMNS), 400)
    table.learn(slice(None))
    table.settled()
    order = np.random.default_rng(5).permutation(400)
    for X, csr in ((table.X[order], False), (table.X, True), (table.X[order], True)):
        other = Table(X, csr=csr)
        other.learn(slice(None))
        assert_same(other.settled(), table.moments)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_threads_do_not_matter(n_threads):
    """BLAS on one or two threads gives the integers of the row kernel."""
    table = table_of(["normal"] * 40 + ONE_DIGIT * 2, 9000)
    with threadpool_limits(n_threads, "blas"):
        table.learn(slice(None))
        table.settled()
    by_rows = Gram(table.X.shape[1] + 1, 53)
    shifts = table.moments.shifts
    Z = np.column_stack([np.ones(len(table.X)), table.X])
    by_rows.add_rows(np.rint(np.ldexp(Z, shifts)), 1)
    assert (by_rows.wide_limbs() == table.moments.limbs()).all()


def test_widening_where_it_must_come():
    """A constant column passes 2**127 at 2**21 rows of 53 bits, and comes back."""
    block = Rows(np.full((1 << 17, 1), LARGEST))
    moments = Moments(1)
    moments.rebuild(lambda: [block] * 31)
    extra = Rows(np.full((1, 1), -LARGEST))
    for _ in range(3):
        moments.learn(block)
    moments.learn(extra)
    n, q = 34 << 17, (1 << 53) - 1
    assert moments.integers() == [[n + 1, (n - 1) * q], [(n - 1) * q, (n + 1) * q * q]]
    assert (n + 1) * q * q > 1 << 127
    assert moments.numerators() == [[(n + 1) * (n + 1) * q * q - (n - 1) ** 2 * q * q]]
    moments.forget(extra)
    for _ in range(10):
        moments.forget(block)
    n = 24 << 17
    assert moments.integers() == [[n, n * q], [n * q, n * q * q]]


@pytest.mark.parametrize("widen_bits", [70, 106, 110])
def test_layout_is_no_state(widen_bits):
    """Widened early or never, through rows or BLAS, an engine holds the same and reads the same."""
    table = table_of(list(COLUMNS), 200, widen_bits=widen_bits)
    table.learn(slice(None))
    wide, narrow = table.settled(), table.fresh()
    assert wide.nbytes() > narrow.nbytes()
    assert_same(wide, narrow)
    for read in ("scatter", "products", "means"):
        assert (np.array(getattr(wide, read)()) == np.array(getattr(narrow, read)())).all()


def fraction(high, low):
    return Fraction(float(high)) + Fraction(float(low))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_reads(weighted, dtype):
    """Numerators are exact; means and scatters are within 2**-102 of them, and zero where they are zero."""
    rng = np.random.default_rng(7)
    n = 60
    weight = 10.0 ** rng.uniform(-3, 3, n) if weighted else None
    table = table_of(list(COLUMNS), n, dtype=dtype, weight=weight, y=1e9 + rng.standard_normal((n, 1)))
    table.learn(slice(None))
    moments = table.settled()
    G = moments.integers()
    D = len(G)
    N = [[G[0][0] * G[j][k] - G[0][j] * G[0][k] for k in range(1, D)] for j in range(1, D)]
    assert moments.numerators() == N
    expected = {
        "scatter": [[Fraction(entry, G[0][0]) for entry in row] for row in N],
        "products": [[Fraction(entry) for entry in row] for row in G],
        "means": [[Fraction(entry, G[0][0]) for entry in G[0][1:]]],
    }
    for read, values in expected.items():
        high, low = map(np.atleast_2d, getattr(moments, read)())
        assert (high == high + low).all()
        for (j, k), value in np.ndenumerate(np.array(values, dtype=object)):
            assert abs(fraction(high[j, k], low[j, k]) - value) <= abs(value) / 2**102
    if not weighted:
        constant = list(COLUMNS).index("constant")
        assert (moments.scatter()[0][constant] == 0).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_targets", [1, 3])
def test_normal_equations_are_parts_of_the_matrix(weighted, n_targets):
    """Products of X with itself and with y, as they are and about the means, with what divides them."""
    rng = np.random.default_rng(8)
    weight = 10.0 ** rng.uniform(-3, 3, 60) if weighted else None
    table = table_of(list(COLUMNS), 60, weight=weight, y=1e9 + rng.standard_normal((60, n_targets)))
    table.learn(slice(None))
    moments = table.settled()
    G, d = np.array(moments.integers(), dtype=object), len(COLUMNS)
    for about_means, whole in ((False, G[1:, 1:]), (True, np.array(moments.numerators(), dtype=object))):
        of_features, of_targets, denominator = moments.normal_equations(about_means=about_means)
        below = np.tril_indices(d)
        assert (as_objects(of_features)[below] == whole[:d, :d][below]).all()
        assert (as_objects(of_targets) == whole[:d, d:]).all()
        assert denominator == (G[0, 0] if about_means else 1)


def as_objects(limbs):
    return sum(limbs[..., i].astype(np.uint64).astype(object) << 64 * i for i in range(limbs.shape[-1])) - (
        (limbs[..., -1] < 0).astype(object) << 64 * limbs.shape[-1]
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("widen_bits", [70, 125])
def test_means_of_combinations_are_exact(weighted, widen_bits):
    """The weighted mean of vector'[x | y] is a ratio of integers, for factors of any size."""
    rng = np.random.default_rng(9)
    weight = 10.0 ** rng.uniform(-3, 3, 60) if weighted else None
    table = table_of(list(COLUMNS), 60, weight=weight, widen_bits=widen_bits)
    table.learn(slice(None))
    moments = table.settled()
    total, *sums = moments.sums()
    of_total, *shifts = moments.shifts.tolist()
    d = len(sums)
    for vector in (
        np.zeros(d),
        rng.standard_normal(d),
        rng.standard_normal(d) * 10.0 ** rng.uniform(-300, 300, d),
        np.where(rng.random(d) < 0.5, 0.0, -5e-324),
        np.full(d, np.finfo(float).max),
    ):
        numerator, denominator, exponent = moments.mean_of(vector)
        found = Fraction(numerator, denominator) * Fraction(2) ** exponent
        terms = (Fraction(v) * s * Fraction(2) ** -e for v, s, e in zip(vector.tolist(), sums, shifts, strict=True))
        assert found == sum(terms) * Fraction(2) ** of_total / total


@pytest.mark.parametrize("csr", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_row_alone_leaves_as_rows_together_do(csr, weighted):
    """One by one or two by two, dense or not: the same engine; and the buffers of one row are empty afterwards."""
    weight = np.random.default_rng(10).uniform(0.5, 2.0, 40) if weighted else None
    codes = np.arange(40) % 3
    singly, in_pairs = (table_of(list(COLUMNS), 40, weight=weight, codes=codes, csr=csr) for _ in range(2))
    for table in (singly, in_pairs):
        table.learn(slice(None))
        table.settled()
    for i in range(0, 38, 2):
        singly.forget([i])
        singly.forget([i + 1])
        in_pairs.forget([i, i + 1])
        assert not singly.moments._row.any()
        assert not any(gram.scratch.any() for gram in singly.moments._grams.values())
    assert_same(singly.settled(), in_pairs.settled())
    assert_exact(singly)
    assert_exact(in_pairs)
    singly.forget([38])
    singly.forget([39])
    assert singly.settled().codes == []


def test_equal_weights_of_one_are_no_weights():
    """Weights that are all 1 change nothing, nor do others once their rows have gone."""
    table = table_of(list(COLUMNS), 30, weight=np.r_[np.ones(28), 0.3, 2.0**106])
    table.learn(np.arange(30))
    table.settled()
    assert table.moments.has_weights
    table.forget([28, 29])
    table.settled()
    assert not table.moments.has_weights
    plain = Table(table.X)
    plain.learn(np.arange(28))
    assert_same(plain.settled(), table.moments)


def test_shifts_need_no_rows():
    """Where all values are exact at both scales, a larger value is taken in without a pass over the rows."""
    table = table_of(ONE_DIGIT, 100)
    table.learn(np.arange(99))
    table.settled()
    table.X[99] = 5000.0
    table.learn([99])
    assert table.moments.is_settled
    assert_exact(table)


def test_reading_needs_settling():
    """An engine that waits for the rows does not answer."""
    table = table_of(["normal"], 100)
    table.learn(slice(None))
    with pytest.raises(RuntimeError, match="Call settle first"):
        table.moments.integers()


def test_overflow_by_weight_is_refused():
    """Rows that become infinite under their weight are counted, and named by nothing."""
    rows = Rows(np.array([[1e300], [1.0], [-1e300]]), weight=np.array([1e20, 1e20, 1e20]))
    with pytest.raises(ValueError, match="2 of 3 rows are not finite"):
        Moments(1).check(rows)
    Moments(1).check(Rows(np.array([[1e300]])))


def test_the_largest_block_is_exact():
    """This machine's BLAS passes the test that the engine puts it to."""
    assert blas_is_exact()


def test_an_inexact_blas_is_found_out(monkeypatch):
    """A product that rounds even once is not trusted."""
    true_product = gram_module._slices.add_product

    class Rounding:
        add_square = staticmethod(gram_module._slices.add_square)

        @staticmethod
        def add_product(A, B, product):
            true_product(A, B, product)
            product[3, 4] += 1.0

    monkeypatch.setattr(gram_module, "_slices", Rounding)
    assert not blas_is_exact.__wrapped__()
