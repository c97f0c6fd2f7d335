"""The certified solve: every published bit is that of the exact solution, whatever proposed it."""

import hashlib
import json
import math
import os
import random
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skunlearn._linalg import solve as solve_module
from skunlearn._linalg.solve import eigh_fixed, solve

sys.path.insert(0, str(Path(__file__).parent))
import oracle
from oracle import exact_solution, least_norm_solution, nearest

HERE = Path(__file__).parent


def objects(numbers):
    return np.array(numbers, dtype=object)


def gram_of(columns):
    return [[sum(a * b for a, b in zip(x, y, strict=True)) for y in columns] for x in columns]


def times(matrix, x):
    return [sum(a * b for a, b in zip(row, x, strict=True)) for row in matrix]


def random_columns(seed, d, n_rows, bits):
    source = random.Random(seed)
    return [[source.randint(-(2**bits), 2**bits) for _ in range(n_rows)] for _ in range(d)]


def nearly_dependent_columns(seed, d, bits, noise_bits):
    """Every column is the first one plus noise: the Gram's condition is about 4^(bits - noise_bits)."""
    first = random_columns(seed, 1, d + 4, bits)[0]
    noise = random_columns(seed + 1, d, d + 4, noise_bits)
    return [[a + b for a, b in zip(first, column, strict=True)] for column in noise]


def hilbert(d):
    scale = math.lcm(*range(1, 2 * d))
    return [[scale // (i + j + 1) for j in range(d)] for i in range(d)], scale


@st.composite
def systems(draw):
    """A regular system with a ridge, column scales and output scales of any size, and its exact solution."""
    d = draw(st.integers(1, 5))
    bits = draw(st.sampled_from([1, 8, 53, 90]))
    entries = st.integers(-(2**bits), 2**bits)
    columns = [[draw(entries) for _ in range(d + 1)] for _ in range(d)]
    moments = [draw(st.integers(-(2**200), 2**200)) for _ in range(d)]
    matrix = gram_of(columns)
    ridge = draw(st.one_of(st.just(0.0), st.floats(1e-300, 1e300)))
    if not ridge:
        matrix = [[x + (i == j) for j, x in enumerate(row)] for i, row in enumerate(matrix)]
    denominator, moment_denominator = draw(st.integers(1, 2**70)), draw(st.one_of(st.none(), st.integers(1, 2**70)))
    ridge_log2 = [draw(st.integers(-300, 300)) for _ in range(d)]
    scale_log2 = [draw(st.integers(-1400, 1400)) for _ in range(d)]
    options = {
        "denominator": denominator,
        "moment_denominator": moment_denominator,
        "ridge": ridge,
        "ridge_log2": ridge_log2,
        "scale_log2": scale_log2,
    }
    return matrix, moments, options


def exact(matrix, moments, options):
    shift = [Fraction(options["ridge"]) * Fraction(4) ** s for s in options["ridge_log2"]]
    rational = [
        [Fraction(x, options["denominator"]) + (shift[i] if i == j else 0) for j, x in enumerate(row)]
        for i, row in enumerate(matrix)
    ]
    right = [Fraction(m, options["moment_denominator"] or options["denominator"]) for m in moments]
    return [nearest(x, s) for x, s in zip(exact_solution(rational, right), options["scale_log2"], strict=True)]


@given(systems())
def test_every_coefficient_is_the_nearest_float64(system):
    """A published coefficient is the exact one, rounded once, wherever the matrix has full rank by the rule."""
    matrix, moments, options = system

    solution = solve(objects(matrix), objects(moments), **options)

    if solution.rank == len(matrix):
        assert solution.coefficients.tolist() == exact(matrix, moments, options)
    else:
        assert solution.levels == ("minimum_norm",)


@pytest.mark.parametrize("d", [1, 2, 3, 7, 15, 30])
@pytest.mark.parametrize("bits", [4, 20, 53])
def test_random_tables(d, bits):
    columns = random_columns(d, d, d + 3, bits)
    matrix, moments = gram_of(columns), times(columns, random_columns(99, 1, d + 3, bits)[0])

    solution = solve(objects(matrix), objects(moments))

    assert solution.coefficients.tolist() == [nearest(x) for x in exact_solution(matrix, moments)]
    assert (solution.rank, solution.levels) == (d, ("fast",))


@pytest.mark.parametrize("noise_bits", [44, 40, 36])
@pytest.mark.parametrize("d", [2, 10, 30])
def test_collinear_tables(d, noise_bits):
    """Conditions of the Gram from 1e6 to 1e14: as long as the rank is full, nothing is lost."""
    columns = nearly_dependent_columns(d, d, 53, noise_bits)
    matrix, moments = gram_of(columns), times(columns, random_columns(98, 1, d + 4, 53)[0])

    solution = solve(objects(matrix), objects(moments))

    assert solution.rank == d
    assert solution.coefficients.tolist() == [nearest(x) for x in exact_solution(matrix, moments)]


@pytest.mark.parametrize("d", range(1, 11))
def test_hilbert_matrices(d):
    """Up to condition 1.6e13."""
    matrix, scale = hilbert(d)
    moments = list(range(1, d + 1))

    solution = solve(objects(matrix), objects(moments), denominator=scale, moment_denominator=7)

    rational = [[Fraction(1, i + j + 1) for j in range(d)] for i in range(d)]
    expected = exact_solution(rational, [Fraction(m, 7) for m in moments])
    assert solution.rank == d
    assert solution.coefficients.tolist() == [nearest(x) for x in expected]


def system_with_solution(seed, numerators, denominators, bits=20):
    """Integers (N, M) with N x = M, x[j] = numerators[j] / denominators[j]: N = D N0 D makes M an integer."""
    d = len(numerators)
    inner = gram_of(random_columns(seed, d, d + 3, bits))
    matrix = [[a * inner[i][j] * b for j, b in enumerate(denominators)] for i, a in enumerate(denominators)]
    return matrix, [a * x for a, x in zip(denominators, times(inner, numerators), strict=True)]


@pytest.mark.parametrize("d", [1, 2, 9, 25])
@pytest.mark.parametrize("tie", [2**53 + 1, 2**53 + 3, -(2**53) - 1])
def test_a_tie_goes_to_the_even_neighbour(d, tie):
    """The solution lies exactly between two float64s, and beside it are thirds: no residual ever vanishes."""
    matrix, moments = system_with_solution(d, [tie] + [1] * (d - 1), [1] + [3] * (d - 1))

    solution = solve(objects(matrix), objects(moments))

    assert solution.coefficients[0] == float(tie)
    assert solution.coefficients[1:].tolist() == [1 / 3] * (d - 1)
    assert solution.levels == ("exact",)


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("power", [5, 40, 200])
def test_a_near_tie_goes_to_its_own_side(side, power):
    """The solution is 3^-power beside the middle of two float64s."""
    matrix, moments = system_with_solution(5, [(2**53 + 1) * 3**power + side, 1, 1], [3**power, 3, 7])

    solution = solve(objects(matrix), objects(moments))

    assert solution.coefficients.tolist() == [float(2**53 + 1 + side), 1 / 3, 1 / 7]
    assert solution.levels == ("fast" if power == 5 else "extended",)


@pytest.mark.parametrize("tie", [2**53 + 1, 2**53 + 3])
def test_a_residual_of_zero_ends_the_refinement(tie):
    """Then the solution is known, ties and all."""
    solution = solve(objects([[4, 0], [0, 1]]), objects([4 * tie, 0]))

    assert solution.coefficients.tolist() == [float(tie), 0.0]
    assert solution.levels == ("fast",)


@pytest.mark.parametrize("gap", [100, 300, 900])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_solution_with_long_runs_of_zeros(gap, side):
    """A residual that is tiny by luck does not lead the next step astray."""
    moment = ((2**53 + 1) << gap) + side

    solution = solve(objects([[1 << gap, 0], [0, 3]]), objects([moment, 1]))

    assert solution.coefficients.tolist() == [float(2**53 + 1 + side), 1 / 3]


def test_integer_solutions():
    matrix, moments = system_with_solution(1, [5, 0, -3, 2**60 + 1], [1, 1, 1, 1])

    assert solve(objects(matrix), objects(moments)).coefficients.tolist() == [5.0, 0.0, -3.0, 2.0**60]


def test_zero_coefficients_are_positive_zero():
    """Exactly zero beside thirds, of either sign of approach."""
    matrix, moments = system_with_solution(3, [0, 1, 0, -1], [1, 3, 3, 3])

    solution = solve(objects(matrix), objects(moments))

    assert solution.coefficients.tolist() == [0.0, 1 / 3, 0.0, -1 / 3]
    assert not np.signbit(solution.coefficients[[0, 2]]).any()


def test_a_right_hand_side_of_zero():
    solution = solve(objects([[2, 1], [1, 2]]), objects([[0, 1], [0, 0]]))

    assert solution.coefficients.tolist() == [[0.0, 2 / 3], [0.0, -1 / 3]]
    assert solution.levels == ("zero", "fast")


@pytest.mark.parametrize("scale", [-1200, -1080, -1075, -1074, -1060, -1022, 0, 900, 1023, 1024])
@pytest.mark.parametrize("numerator", [1, -1, 2, 3, 5, 3 * 2**54 + 1])
@pytest.mark.parametrize("denominator", [1, 2, 3, 6])
def test_results_at_the_ends_of_the_range(numerator, denominator, scale):
    """Subnormal results are rounded once, too; what exceeds the range is infinite."""
    matrix, moments = system_with_solution(7, [numerator, 1], [denominator, 3])

    solution = solve(objects(matrix), objects(moments), scale_log2=[scale, 0])

    assert solution.coefficients.tolist() == [nearest(Fraction(numerator, denominator), scale), 1 / 3]


@pytest.mark.parametrize("matrix_log2", [0, 60, 2000])
@pytest.mark.parametrize("moment_log2", [0, 60, 2000])
def test_one_column(matrix_log2, moment_log2):
    solution = solve(objects([[7 << matrix_log2]]), objects([-(3 << moment_log2)]))

    assert solution.coefficients.tolist() == [nearest(Fraction(-3, 7), moment_log2 - matrix_log2)]
    assert solution.levels == ("fast",)


def test_columns_of_very_different_sizes():
    """2^0 to 2^400 in one table: powers of two per column change nothing but the exponents."""
    columns = random_columns(11, 5, 9, 30)
    moments = times(columns, random_columns(12, 1, 9, 30)[0])
    powers = [0, 400, 17, 250, 3]
    plain = solve(objects(gram_of(columns)), objects(moments))

    scaled = solve(
        objects(gram_of([[x << p for x in column] for column, p in zip(columns, powers, strict=True)])),
        objects([m << p for m, p in zip(moments, powers, strict=True)]),
        scale_log2=powers,
    )

    assert scaled.coefficients.tolist() == plain.coefficients.tolist()


def to_limbs(numbers, n_limbs):
    array = objects(numbers)
    data = b"".join(int(x).to_bytes(8 * n_limbs, "little", signed=True) for x in array.ravel())
    return np.frombuffer(data, "<i8").reshape(*array.shape, n_limbs)


@pytest.mark.parametrize("n_limbs", [2, 3, 6])
def test_limbs_are_the_integers_that_they_hold(n_limbs):
    """Two's complement limbs, of any number of them, read-only or strided, give what Python integers give."""
    columns = random_columns(21, 6, 9, 58)
    matrix, moments = gram_of(columns), [[x, -x] for x in times(columns, [1, -1] * 4 + [1])]
    expected = solve(objects(matrix), objects(moments), ridge=0.1, denominator=9)

    limbs = np.repeat(to_limbs(matrix, n_limbs), 2, axis=2)[:, :, ::2]
    found = solve(limbs, to_limbs(moments, n_limbs), ridge=0.1, denominator=9)

    assert found.coefficients.tolist() == expected.coefficients.tolist()
    assert found.coefficients[:, 0].tolist() == (-found.coefficients[:, 1]).tolist()


def test_only_the_lower_triangle_is_read():
    lower = [[4, 99, 99], [1, 5, 99], [2, 1, 6]]
    full = [[4, 1, 2], [1, 5, 1], [2, 1, 6]]

    solution = solve(objects(lower), objects([1, 2, 3]))

    assert solution.coefficients.tolist() == [nearest(x) for x in exact_solution(full, [1, 2, 3])]


def test_arguments_are_not_changed():
    gram, moments = to_limbs([[4, 1], [1, 5]], 2).copy(), to_limbs([1, 2], 2).copy()
    before = gram.tobytes() + moments.tobytes()

    solve(gram, moments, ridge=1.0)

    assert gram.tobytes() + moments.tobytes() == before


def test_no_columns():
    solution = solve(np.empty((0, 0), object), np.empty((0, 2), object))

    assert solution.coefficients.shape == (0, 2)
    assert solution.rank == 0


@pytest.mark.parametrize(
    ("gram", "moments", "options", "message"),
    [
        ([[1.5]], [1], {}, "integers"),
        ([[1, 2]], [1], {}, "square"),
        ([[1]], [1, 2], {}, "rows"),
        ([[-1]], [1], {}, "semidefinite"),
        ([[1]], [1], {"ridge": -1.0}, "ridge"),
        ([[1]], [1], {"ridge": math.nan}, "ridge"),
        ([[1]], [1], {"denominator": 0}, "Denominators"),
    ],
)
def test_what_is_refused(gram, moments, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        solve(np.array(gram), np.array(moments), **options)


# --- Rank ------------------------------------------------------------------------------------------------------------


def one_hot(seed, n_rows, *n_levels):
    """Blocks of one-hot columns, every one adding up to the column of ones: n_blocks - 1 exact dependencies."""
    source = np.random.default_rng(seed)
    columns = []
    for n in n_levels:
        codes = source.integers(0, n, n_rows)
        codes[:n] = range(n)
        columns += [[int(code == level) for code in codes] for level in range(n)]
    return columns


def test_collinear_one_hot_blocks_have_the_least_norm():
    """Rank is that of rational elimination, and coefficients are near to the exact solution of least norm, in units of
    the scaled columns, within 2^-40."""
    columns = one_hot(1, 60, 3, 4, 5)
    matrix, moments = gram_of(columns), times(columns, list(range(60)))
    halves = [((x[j]).bit_length() + 1) // 2 for j, x in enumerate(matrix)]

    solution = solve(objects(matrix), objects(moments))

    scaled = [[Fraction(x, 2**h) for x in column] for column, h in zip(columns, halves, strict=True)]
    y = least_norm_solution(scaled, [Fraction(m, 2**h) for m, h in zip(moments, halves, strict=True)])
    expected = np.array([float(v / 2**h) for v, h in zip(y, halves, strict=True)])
    assert solution.rank == len(oracle.independent(matrix)) == 10
    assert solution.levels == ("minimum_norm",)
    np.testing.assert_allclose(solution.coefficients, expected, rtol=0, atol=2.0**-40 * np.abs(expected).max())


@pytest.mark.parametrize("noise_bits", [44, 40, 36])
def test_the_least_norm_predicts_what_fits_exactly(noise_bits):
    """Two residuals make up for a condition of 1e10: predictions of a table with an exact fit are right to 2^-52."""
    columns = nearly_dependent_columns(1, 5, 53, noise_bits)
    columns += columns[:2]
    target = times(list(zip(*columns, strict=True)), [3, -1, 4, 1, -5, 9, -2])

    solution = solve(objects(gram_of(columns)), objects(times(columns, target)))

    predicted = times(list(zip(*columns, strict=True)), [Fraction(x) for x in solution.coefficients.tolist()])
    assert (solution.rank, solution.levels) == (5, ("minimum_norm",))
    assert max(abs(p - t) for p, t in zip(predicted, target, strict=True)) <= Fraction(max(map(abs, target)), 2**52)


@pytest.mark.parametrize("factor", [2, 3, 2**130, 7 * 2**64, 3**50])
def test_the_least_norm_is_a_function_of_the_exact_matrix(factor):
    """Numerators and denominators times anything are the same system: same bits, of rank and of coefficients."""
    columns = one_hot(2, 50, 2, 7, 4)
    matrix, moments = objects(gram_of(columns)), objects(times(columns, list(range(-20, 30))))
    expected = solve(matrix, moments, denominator=50)

    found = solve(matrix * factor, moments * factor, denominator=50 * factor)
    other = solve(matrix * factor, moments, denominator=factor, moment_denominator=1)

    assert expected.levels == ("minimum_norm",)
    assert found.rank == other.rank == expected.rank
    assert found.coefficients.tobytes() == other.coefficients.tobytes() == expected.coefficients.tobytes()


def test_columns_of_zeros_have_coefficient_zero():
    columns = random_columns(3, 4, 9, 12)
    columns[1] = columns[3] = [0] * 9
    moments = times(columns, list(range(9)))

    solution = solve(objects(gram_of(columns)), objects(moments))

    kept = [columns[0], columns[2]]
    expected = [nearest(x) for x in exact_solution(gram_of(kept), times(kept, list(range(9))))]
    assert solution.coefficients.tolist() == [expected[0], 0.0, expected[1], 0.0]
    assert solution.rank == 2
    assert solve(objects([[0, 0], [0, 0]]), objects([0, 0])).levels == ("zero",)


def test_columns_of_zeros_with_a_ridge_cost_nothing():
    """A category that has vanished: its coefficient is zero at once, and whatever stands there is divided exactly."""
    matrix = [[5, 0, 2], [0, 0, 0], [2, 0, 7]]
    options = {
        "ridge": 0.1,
        "ridge_log2": [0, 3, -2],
        "denominator": 3,
        "scale_log2": [0, -1074, 0],
        "moment_denominator": 3,
    }

    solution = solve(objects(matrix), objects([[1, 1], [0, 3 << 1080], [-1, 2]]), **options)

    assert (solution.rank, solution.levels) == (3, ("fast", "fast"))
    for column, moments in zip(solution.coefficients.T, ([1, 0, -1], [1, 3 << 1080, 2]), strict=True):
        assert column.tolist() == exact(matrix, moments, options)


@pytest.mark.parametrize("noise_bits", range(20, 34))
def test_the_rank_is_the_number_of_eigenvalues_above_the_cut(noise_bits):
    """Around the cut as `eigh_fixed` sees it; its own errors are part of the rule."""
    columns = nearly_dependent_columns(4, 6, 53, noise_bits)
    matrix = gram_of(columns)
    divisor = math.gcd(*(x for row in matrix for x in row))
    halves = [((row[j] // divisor).bit_length() + 1) // 2 for j, row in enumerate(matrix)]
    image = [[x / (divisor << (halves[i] + halves[j])) for j, x in enumerate(row)] for i, row in enumerate(matrix)]
    values = eigh_fixed(image)[0]

    solution = solve(objects(matrix), objects(times(columns, list(range(10)))))

    assert solution.rank == np.count_nonzero(values > 6 * 2.0**-52 * values[-1])


def test_an_exactly_singular_matrix_that_seems_regular_is_found_out(monkeypatch):
    """Should rounding lift the least eigenvalue above the cut, elimination decides."""
    columns = one_hot(1, 60, 3, 4)
    matrix, moments = objects(gram_of(columns)), objects(times(columns, list(range(60))))
    expected = solve(matrix, moments)
    monkeypatch.setattr(solve_module._Spectrum, "rank", 7)

    found = solve(matrix, moments)

    assert found.rank == expected.rank == 6
    assert found.coefficients.tobytes() == expected.coefficients.tobytes()


# --- Nobody is trusted -----------------------------------------------------------------------------------------------


def hostile_systems():
    yield gram_of(random_columns(31, 12, 20, 50)), random_columns(32, 1, 12, 90)[0]
    columns = nearly_dependent_columns(33, 8, 53, 31)
    yield gram_of(columns), times(columns, list(range(12)))
    yield system_with_solution(34, [2**53 + 1, 1, 1, 1], [1, 3, 3, 3])
    yield system_with_solution(35, [(2**53 + 1) * 3**40 + 1, 1, 5], [3**40, 3, 7])
    columns = one_hot(36, 40, 3, 4)
    yield gram_of(columns), times(columns, list(range(40)))


def published(systems):
    return [solve(objects(matrix), objects(moments)).coefficients.tobytes() for matrix, moments in systems]


SABOTAGE = {
    "1e-6 relative": lambda factor, noise: factor * (1.0 + 1e-6 * noise),
    "a half": lambda factor, noise: factor * (1.0 + 0.5 * noise),
    "noise": lambda factor, noise: noise,
    "twice": lambda factor, noise: 2.0 * factor,
    "zeros": lambda factor, noise: 0.0 * factor,
    "not a number": lambda factor, noise: math.nan * factor,
    "infinite": lambda factor, noise: factor * 1e308 * 1e308,
    "nothing": lambda factor, noise: None,
}


@pytest.mark.filterwarnings("ignore:(invalid|overflow):RuntimeWarning")
@pytest.mark.parametrize("kind", SABOTAGE)
def test_a_sabotaged_factor_changes_no_bit(kind, monkeypatch):
    """Whatever stands in the place of the Cholesky factor, the bits are the same: it proposes, integers dispose."""
    expected = published(hostile_systems())
    genuine, source = solve_module._factor, np.random.default_rng(5)

    def factor(image, shift=0.0):
        found = genuine(image, shift)
        return None if found is None else SABOTAGE[kind](found, source.normal(size=image.shape))

    monkeypatch.setattr(solve_module, "_factor", factor)

    assert published(hostile_systems()) == expected


def test_a_residual_that_does_not_fit_stalls():
    """Too few digits, or a factor so wrong that the first step asks for too many: nothing follows from what wraps."""
    gram, moment = to_limbs([[3, 1], [1, 5]], 1), to_limbs([[1], [1]], 1)
    system = solve_module._read(gram, moment, 1, None, 0.0, None, None)
    scaled = solve_module._scale(system)
    kernels = solve_module.kernels
    n = len(scaled.gram)
    for width, size, right in ((n, 2.0, 2**40), (n, 1.0, 1), (n + 1, 2.0**40, 1), (n + 3, 2.0**200, 1)):
        residual = np.zeros((2, width), np.int64)
        residual[:, 0] = right
        out, exponents, corrections = np.empty(2), np.empty(9, np.int64), np.empty((9, 2), np.int64)
        factor = size * solve_module._factor(scaled.image)

        status = kernels.refine(
            scaled.gram, scaled.top, factor, 0.1, residual, scaled.lifts, 900, corrections, exponents, out
        )[0]

        assert status == kernels.Status.STALLED


def test_publishing_what_lapack_says_would_be_caught(monkeypatch):
    """The mutant: a solution that nobody proved is not the nearest float64, so the tests above would see it."""

    def lapack(scaled, factor, eigenvalue, moment, scales, out):
        weights = np.ldexp(1.0, 52 * np.arange(moment.shape[1]) - scaled.top)
        out[:] = np.ldexp(np.linalg.solve(scaled.image, moment.astype(float) @ weights), scales)
        return "fast"

    expected = published(hostile_systems())
    monkeypatch.setattr(solve_module, "_refine_one", lapack)

    assert sum(a != b for a, b in zip(published(hostile_systems()), expected, strict=True)) >= 3


def test_a_bound_of_no_size_would_be_caught(monkeypatch):
    """The mutant: with an eigenvalue of 2^80 the error is one unit, and what looks decided is not."""
    expected = published(hostile_systems())
    genuine = solve_module._refine_one

    def careless(scaled, factor, eigenvalue, moment, scales, out):
        return genuine(scaled, factor, 2.0**80, moment, scales, out)

    monkeypatch.setattr(solve_module, "_refine_one", careless)
    monkeypatch.setattr(solve_module, "_factor", lambda image, shift=0.0: np.eye(len(image)) + 0.0 * image)

    assert published(hostile_systems()) != expected


def scaled_rationals(scaled):
    weights = [Fraction(2) ** (52 * k - scaled.top) for k in range(len(scaled.gram))]
    planes = scaled.gram.tolist()
    d = len(scaled.image)
    return [[sum(w * p[i][j] for w, p in zip(weights, planes, strict=True)) for j in range(d)] for i in range(d)]


@pytest.mark.parametrize("noise_bits", [50, 45, 40, 35, 33, 31, 30, 28, 20])
def test_bounds_of_the_least_eigenvalue_are_below_it(noise_bits):
    """A - bound I has positive pivots in rational numbers; and the bounds are not idle."""
    columns = nearly_dependent_columns(41, 7, 53, noise_bits)
    system = solve_module._read(objects(gram_of(columns)), objects([0] * 7), 1, None, 0.0, None, None)
    scaled = solve_module._scale(system)
    exact_matrix = scaled_rationals(scaled)
    least = float(np.linalg.eigvalsh(scaled.image)[0])

    by_pivots = solve_module._eigenvalue_from_pivots(scaled.image)
    by_misfit = [solve_module._eigenvalue_from_misfit(scaled, part * least) for part in (0.9, 0.5, 2.0)]

    assert (by_pivots > 0.0) == (noise_bits >= 40)
    for bound in [by_pivots, *by_misfit]:
        if bound > 0.0:
            rows = enumerate(exact_matrix)
            shifted = [[x - (i == j) * Fraction(bound) for j, x in enumerate(row)] for i, row in rows]
            assert oracle.is_positive_definite(shifted)
    if noise_bits >= 33:
        assert by_misfit[1] > 0.25 * least


@pytest.mark.parametrize("ridge", [1e-15, 1e-6, 0.1, 1.0, 1e30])
def test_a_ridge_bounds_the_least_eigenvalue(ridge):
    """Without any rows the ridge is the matrix, and the bound is its least entry; a small one proves nothing."""
    for matrix in ([[0] * 3] * 3, gram_of(random_columns(43, 3, 9, 30))):
        system = solve_module._read(objects(matrix), objects([0] * 3), 7, None, ridge, [30, 47, 36], None)
        scaled = solve_module._scale(system)
        exact_matrix = scaled_rationals(scaled)
        bound = Fraction(solve_module._eigenvalue_from_ridge(system, scaled))

        if not any(map(any, matrix)):
            least = min(exact_matrix[j][j] for j in range(3))
            assert least * (1 - Fraction(2) ** -52) <= bound <= least
        elif bound > 0:
            shifted = [[x - (i == j) * bound / 2 for j, x in enumerate(row)] for i, row in enumerate(exact_matrix)]
            assert oracle.is_positive_definite(shifted)
        else:
            assert ridge == 1e-15
    without = solve_module._read(objects(matrix), objects([0] * 3), 7, None, 0.0, None, None)
    assert solve_module._eigenvalue_from_ridge(without, solve_module._scale(without)) == 0.0


def test_the_float64_image_is_within_its_bound():
    columns = nearly_dependent_columns(42, 6, 90, 60)
    system = solve_module._read(objects(gram_of(columns)), objects([0] * 6), 3, None, 0.1, [40] * 6, None)
    scaled = solve_module._scale(system)

    for row, image_row in zip(scaled_rationals(scaled), scaled.image.tolist(), strict=True):
        for x, h in zip(row, image_row, strict=True):
            assert abs(x - Fraction(h)) <= 4 * Fraction(2) ** -53 * abs(x) + Fraction(2) ** -150


def test_scaled_diagonals_are_between_a_sixteenth_and_one():
    for d in (1, 3, 8):
        for ridge in (0.0, 1e-30, 1.0, 1e30):
            system = solve_module._read(
                objects(gram_of(random_columns(d, d, 12, 40))), objects([0] * d), 5, None, ridge, [20] * d, None
            )
            diagonal = solve_module._scale(system).image.diagonal()
            assert ((diagonal >= 1 / 16) & (diagonal < 1.0)).all()


# --- Machines --------------------------------------------------------------------------------------------------------


def run_elsewhere(**environment):
    run = subprocess.run(
        [sys.executable, str(HERE / "published_bits.py")],
        env={**os.environ, "PYTHONWARNINGS": "ignore", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if run.returncode < 0:
        return None
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def bits_here():
    return run_elsewhere(OPENBLAS_NUM_THREADS="1")


@pytest.mark.parametrize("threads", ["1", "2", "4"])
def test_bits_do_not_depend_on_blas_threads(threads, bits_here):
    there = run_elsewhere(OPENBLAS_NUM_THREADS=threads)

    assert there["certified"] == bits_here["certified"]


# OpenBLAS for x86-64 keeps one table of kernels for Katmai to Prescott, and reports the first name.
@pytest.mark.parametrize(
    ("core", "reported"), [("Haswell", "Haswell"), ("SkylakeX", "SkylakeX"), ("Prescott", "Katmai")]
)
def test_bits_do_not_depend_on_the_cpu(core, reported, bits_here):
    there = run_elsewhere(OPENBLAS_CORETYPE=core, OPENBLAS_NUM_THREADS="1")

    if there is None or not {core, reported} & set(there["cores"]):
        pytest.skip(f"this CPU cannot run OpenBLAS's {core} kernels")
    assert there["certified"] == bits_here["certified"]


def test_the_bits_of_lapack_do_depend_on_the_cpu():
    """Else the two tests above could not fail: the mutant that publishes LAPACK's answer differs between cores."""
    runs = [run_elsewhere(OPENBLAS_CORETYPE=core, OPENBLAS_NUM_THREADS="1") for core in ("Haswell", "Prescott")]
    if None in runs or not all(run["cores"] for run in runs) or runs[0]["cores"] == runs[1]["cores"]:
        pytest.skip("this machine has no OpenBLAS with two kernels to compare")

    assert runs[0]["lapack"] != runs[1]["lapack"]


# --- Eigenvectors ----------------------------------------------------------------------------------------------------


def symmetric(seed, d):
    matrix = np.random.default_rng(seed).normal(size=(d, d))
    return matrix + matrix.T


def hard_matrices():
    yield symmetric(1, 1)
    yield symmetric(2, 2)
    yield symmetric(3, 17)
    yield symmetric(4, 40)
    yield np.zeros((5, 5))
    yield np.eye(6)
    yield np.diag([3.0, 1.0, 2.0, 1.0])
    yield np.ones((9, 9))
    yield np.array([[0.0, 1.0], [1.0, 0.0]])
    yield np.array(hilbert(12)[0], dtype=float)
    yield np.outer(2.0 ** -np.arange(20), 2.0 ** -np.arange(20)) * symmetric(5, 20)
    yield np.kron(np.eye(4), symmetric(6, 3))


@pytest.mark.parametrize("matrix", list(hard_matrices()))
def test_eigenvectors_decompose_the_matrix(matrix):
    """A V = V diag(values), V orthonormal, within 16 d roundings of the norm; ascending; the sign rule."""
    d, norm = len(matrix), np.abs(matrix).max() * len(matrix) or 1.0

    values, vectors = eigh_fixed(matrix)

    assert np.abs(matrix @ vectors - vectors * values).max() <= 16 * d * 2.0**-53 * norm
    assert np.abs(vectors.T @ vectors - np.eye(d)).max() <= 16 * d * 2.0**-53
    assert (np.diff(values) >= 0.0).all()
    assert all(column[np.abs(column).argmax()] > 0.0 for column in vectors.T)


@pytest.mark.parametrize("matrix", list(hard_matrices()))
def test_eigenvectors_have_the_bits_of_a_plain_evaluation(matrix):
    """One IEEE operation after the other in Python: no FMA, no reordering, no library took part."""
    matrix = matrix / 2.0 ** np.frexp(np.abs(matrix).max())[1]
    values, rows = np.empty(len(matrix)), np.empty(matrix.shape)
    solve_module.kernels.eigh_rows(matrix.copy(), values, rows)

    expected_values, expected_rows = oracle.eigen_rows(matrix.tolist())

    assert values.tolist() == expected_values
    assert rows.tolist() == expected_rows


@pytest.mark.parametrize("exponent", [-1000, -500, 3, 900])
def test_eigenvalues_scale_by_powers_of_two(exponent):
    values, vectors = eigh_fixed(symmetric(7, 11))

    scaled_values, scaled_vectors = eigh_fixed(np.ldexp(symmetric(7, 11), exponent))

    assert scaled_vectors.tolist() == vectors.tolist()
    assert scaled_values.tolist() == np.ldexp(values, exponent).tolist()


@pytest.mark.parametrize("seed", range(3))
def test_small_eigenvalues_of_columns_in_other_units_keep_their_digits(seed):
    """The eigenvalues multiply to the exact determinant within 2**-40, though they span 20 decades, in any order of
    the columns; LAPACK, or columns taken as they come, may lose all digits of the smallest.
    """
    rng = np.random.default_rng(seed)
    d = 9
    mixed = rng.normal(size=(3 * d, d)) + rng.normal(size=(3 * d, 1))
    units = rng.permutation(10.0 ** -np.linspace(0, 10, d))
    matrix = np.tril((mixed.T @ mixed) * units * units[:, None])
    exact = determinant(matrix + np.tril(matrix, -1).T)

    values, _ = eigh_fixed(matrix)

    assert abs(math.prod(map(Fraction, values.tolist())) / exact - 1) < 2.0**-40


def determinant(matrix):
    table, product = [[Fraction(v) for v in row] for row in matrix.tolist()], Fraction(1)
    for k in range(len(table)):
        product *= table[k][k]
        for row in table[k + 1 :]:
            ratio = row[k] / table[k][k]
            row[:] = [x - ratio * y for x, y in zip(row, table[k], strict=True)]
    return product


def test_eigenvectors_of_odd_input():
    values, vectors = eigh_fixed(np.empty((0, 0)))
    assert values.shape == (0,)
    assert vectors.shape == (0, 0)
    with pytest.raises(ValueError, match="NaN"):
        eigh_fixed([[math.nan]])


def test_solving_does_not_depend_on_what_was_solved_before():
    """No state: the digest of many results is that of a second run in another order."""
    systems = list(hostile_systems())

    def digest(bits):
        return hashlib.sha256(b"".join(bits)).hexdigest()

    assert digest(published(systems)) == digest(published(systems[::-1])[::-1])
