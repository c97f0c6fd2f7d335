"""The fused pass: every error it states is reached to more than half by data made to reach it, and never exceeded."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest

from skunlearn._linalg import _passes as kernels

U = Fraction(1, 2**53)
dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def scores_off(X, coef):
    """Return how far scores are off, relative to the magnitudes of their terms, in units of u."""
    out = np.empty((3, len(X)))
    kernels.scores_of(X, np.stack([coef, np.zeros_like(coef)]), out, False)
    terms = [[Fraction(float(x)) * Fraction(w) for x, w in zip(row, coef, strict=False)] for row in X]
    true = [sum(row) + Fraction(coef[-1]) for row in terms]
    sizes = [sum(map(abs, row)) + abs(Fraction(coef[-1])) for row in terms]
    for size, computed in zip(sizes, out[1].tolist(), strict=True):
        assert abs(size - Fraction(computed)) <= size * U * 200
    return [float(abs(t - Fraction(s)) / size / U) for t, s, size in zip(true, out[0].tolist(), sizes, strict=True)]


@dtypes
@pytest.mark.parametrize("d", [1, 7, 8, 9, 105, 127, 128, 129, 136, 784])
def test_error_of_scores_is_within_its_bound(d, dtype):
    """Of random rows, and of cancelling ones."""
    rng = np.random.default_rng(d)
    X = rng.uniform(-1, 1, (5, d)).astype(dtype)
    coef = rng.normal(size=d + 1)
    coef[1::2] = -coef[: len(coef[1::2]) * 2 : 2]
    assert max(scores_off(X, coef)) <= kernels.chain(d)


@pytest.mark.parametrize("d", [128, 512, 784])
def test_error_of_scores_reaches_more_than_half_of_its_bound(d):
    """Lanes start at 1, and lose to rounding whatever is added to them: half of what is stated would be false."""
    lost = 2.0**-53 * (1 - 2.0**-20)
    x = np.full(d, lost)
    x[: kernels.N_LANES_OF_SCORE] = 1.0
    for start in range(128, d, 128):  # sums of later segments are lost as a whole
        x[start : start + 128] = lost / min(16, (d - start) // 8)
    off = scores_off(x[None], np.append(np.ones(d), 0.0))[0]
    assert kernels.chain(d) / 2 < off <= kernels.chain(d)


@dtypes
@pytest.mark.parametrize("d", [1, 3, 4, 7, 8, 105, 784])
def test_tight_scores_are_as_good_as_rounded(d, dtype):
    """Of rows whose terms cancel to 2**-30 of their magnitudes; a half of a rounding would be too little."""
    rng = np.random.default_rng(d)
    X = rng.uniform(-1, 1, (40, d)).astype(dtype)
    coef = np.concatenate([rng.normal(size=d), [0.0]])
    X[:, 1 : d - d % 2 : 2], coef[1 : d - d % 2 : 2] = (
        X[:, 0 : d - d % 2 : 2],
        -coef[0 : d - d % 2 : 2] * (1 + 2.0**-30),
    )
    out = np.empty((3, len(X)))
    kernels.scores_of(X, np.stack([coef, np.zeros_like(coef)]), out, True)
    shares = []
    for row, score, size in zip(X.tolist(), out[0].tolist(), out[1].tolist(), strict=True):
        true = sum(Fraction(x) * Fraction(w) for x, w in zip(row, coef.tolist(), strict=False))
        stated = abs(Fraction(score)) + Fraction(kernels.tight_chain(d)) * Fraction(size)
        shares.append(float(abs(true - Fraction(score)) / stated / U))
    assert max(shares) <= 1
    assert max(shares) > 0.5 or d > 100


def sums_off(X, c):
    """Return how far sums over rows are off, relative to the magnitudes of their terms, in units of u."""
    out = np.zeros((2, X.shape[1]))
    kernels.sums_of(X, c, out)
    computed = (out[0] + out[1]).tolist()
    ratios = []
    for column, total in zip(X.T.tolist(), computed, strict=True):
        terms = [Fraction(x) * Fraction(w) for x, w in zip(column, c.tolist(), strict=True)]
        ratios.append(float(abs(sum(terms) - Fraction(total)) / sum(map(abs, terms)) / U))
    return ratios


@dtypes
@pytest.mark.parametrize("n", [1, 7, 8, 31, 32, 33, 500])
def test_error_of_sums_is_within_its_bound(n, dtype):
    """Of whole blocks and of parts."""
    rng = np.random.default_rng(n)
    for _ in range(3):
        X = rng.uniform(-1, 1, (n, 9)).astype(dtype)
        assert max(sums_off(X, rng.normal(size=n) * 10.0 ** rng.uniform(-6, 0, n))) <= kernels.STEPS


def test_error_of_sums_reaches_more_than_half_of_its_bound():
    """The three additions of a group lose what they add to the first row, and the last sum half a step."""
    lost = 2.0**-53 * (1 - 2.0**-20)
    c = np.array([1.0, lost, lost / 2, lost / 2, lost / 4, lost / 4, lost / 4, lost / 4, lost])
    off = sums_off(np.ones((len(c), 3)), c)[0]
    assert kernels.STEPS / 2 < off <= kernels.STEPS


def test_sums_over_many_blocks_keep_what_additions_round_away():
    """1,000 blocks of which each is lost beside the first: none of them is."""
    c = np.zeros(32 * 1_000)
    c[::32] = 2.0**-54
    c[0] = 1.0
    assert sums_off(np.ones((len(c), 1)), c)[0] <= 1.0


def test_exp_is_within_what_is_stated():
    """2 u, of which more than a half is reached; below -690 it stays."""
    rng = np.random.default_rng(0)
    z = -np.concatenate([[0.0, 690.0, 2.0**-60, 0.34657, 0.34658], rng.uniform(0, 690, 3000), rng.uniform(0, 2, 3000)])
    out = np.empty_like(z)
    kernels.exponentials(z, out)
    with mpmath.workprec(150):
        off = [
            abs(mpmath.mpf(a) / mpmath.exp(mpmath.mpf(b)) - 1) * 2**53
            for a, b in zip(out.tolist(), z.tolist(), strict=True)
        ]
    assert 1 < max(off) <= 2
    far = np.array([-691.0, -1e300, -np.inf])
    out = np.empty_like(far)
    kernels.exponentials(far, out)
    assert (out == out[0]).all()
    assert out[0] <= 2.0**-990
    out = np.empty(1)
    kernels.exponentials(np.array([np.nan]), out)
    assert np.isnan(out).all()
