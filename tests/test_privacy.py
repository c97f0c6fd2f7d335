"""The arithmetic of certified removal, against direct integration; the noise, against its distribution."""

import math
import pickle
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import scipy.stats
from _unlearn_native._native import discrete_gaussian
from hypothesis import given, settings
from hypothesis import strategies as st

from skunlearn.privacy import Ledger, delta_of, draw_noise, epsilon_of, max_distance, mu_of


def integrated_delta(mu, epsilon):
    """The integral of what N(mu, 1) has beyond exp(epsilon) N(0, 1): the definition of delta."""
    with mpmath.workdps(40):
        mu, epsilon = mpmath.mpf(mu), mpmath.mpf(epsilon)
        start = epsilon / mu - mu / 2  # from mu + start on the density of N(mu, 1) is the larger one

        def excess(t):
            return mpmath.exp(-t * start - t * t / 2) * -mpmath.expm1(-mu * t)

        reach = max(-start, 0) + 12
        if start > 1:
            reach = 60 / start
        points = [reach * k / 12 for k in range(13)]
        return mpmath.quad(excess, points) * mpmath.exp(-start * start / 2) / mpmath.sqrt(2 * mpmath.pi)


def exact_delta(mu, epsilon, digits=400):
    """The closed form, at a precision at which nothing cancels."""
    with mpmath.workdps(digits):
        mu, epsilon = mpmath.mpf(mu), mpmath.mpf(epsilon)
        low = mpmath.erfc((epsilon / mu - mu / 2) / mpmath.sqrt(2)) / 2
        return low - mpmath.exp(epsilon) * mpmath.erfc((epsilon / mu + mu / 2) / mpmath.sqrt(2)) / 2


@pytest.mark.parametrize(
    ("mu", "epsilon"),
    [(1.0, 1.0), (0.25, 1.0), (3.0, 0.1), (1e-8, 0.0), (1e-3, 1e-2), (50.0, 900.0), (1e-8, 3e-7), (0.04, 1.4)],
)
def test_delta_is_the_integral_of_the_privacy_loss(mu, epsilon):
    """delta is the mass of one Gaussian beyond exp(epsilon) times the other, rounded up by less than an ulp."""
    expected = integrated_delta(mu, epsilon)

    found = delta_of(mu, epsilon)

    assert abs(found - expected) < expected * 2.0**-51
    assert found >= expected * (1 - mpmath.mpf(10) ** -25)


@settings(max_examples=40, deadline=None)
@given(st.floats(-8, math.log10(50)), st.floats(-6, 38.0))
def test_delta_is_rounded_up_to_the_next_float(log_mu, distance):
    """delta(mu, epsilon) is the least float not below the closed form, down to 1e-300."""
    mu = 10.0**log_mu
    epsilon = max(0.0, mu * (distance + mu / 2))
    expected = exact_delta(mu, epsilon)

    found = delta_of(mu, epsilon)

    assert math.nextafter(found, 0.0) < expected <= found


def test_no_delta_is_below_the_smallest_float_or_above_one():
    """What is left beyond all floats still counts, and nothing counts more than everything."""
    assert delta_of(1e-8, 1.0) == math.ulp(0.0)
    assert delta_of(1e9, 1.0) == delta_of(80.0, 0.0) == delta_of(60.0, 0.0) == 1.0
    assert delta_of(0.0, 0.0) == 0.0


@pytest.mark.parametrize("epsilon", [0.0, 1e-6, 0.1, 1.0, 10.0, 2000.0])
@pytest.mark.parametrize("delta", [1e-300, 1e-30, 1e-6, 0.3])
def test_mu_is_the_largest_within_the_budget(epsilon, delta):
    """delta(mu_of) <= delta < delta(the next float): rounded down, and by no more than that."""
    mu = mu_of(epsilon, delta)

    assert exact_delta(mu, epsilon) <= delta < exact_delta(math.nextafter(mu, math.inf), epsilon)


@pytest.mark.parametrize(
    ("mu", "delta"), [(1e-8, 1e-300), (1e-8, 1e-9), (0.3, 1e-6), (1.0, 0.1), (50.0, 1e-300), (50.0, 0.5)]
)
def test_epsilon_is_the_least_that_holds(mu, delta):
    """delta(epsilon_of) <= delta < delta(the float before): rounded up, and by no more than that."""
    epsilon = epsilon_of(mu, delta)

    assert exact_delta(mu, epsilon) <= delta < exact_delta(mu, math.nextafter(epsilon, 0.0))


def test_published_values():
    """The values that the notes of the method give, and no budget for no distance."""
    assert [round(mu_of(*pair), 4) for pair in [(1.0, 1e-4), (1.0, 1e-6), (0.1, 1e-4)]] == [0.3139, 0.2367, 0.0408]
    assert epsilon_of(0.0, 1e-6) == epsilon_of(1e-9, 1e-6) == 0.0


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-3, 20.0), st.floats(-280, -1), st.floats(1e-300, 1e300), st.integers(1, 10**6))
def test_distances_exhaust_the_budget_and_no_more(epsilon, log_delta, noise_scale, n_releases):
    """n releases at max_distance are within (epsilon, delta), in exact arithmetic; at 1e-15 more they are not."""
    delta = 10.0**log_delta

    share = max_distance(epsilon, delta, noise_scale, n_releases) / noise_scale

    budget = Fraction(mu_of(epsilon, delta)) ** 2
    assert n_releases * Fraction(share) ** 2 <= budget < n_releases * Fraction(share * (1 + 1e-15)) ** 2


def test_squares_add_up():
    """The joint mu of releases is the root of the sum of squares, in any order, whatever rounding would have done."""
    shares = [1e-9, 3.0, 0.1, 0.1, 1e-9, 4.0]
    ledgers = [Ledger(), Ledger()]

    for share, other in zip(shares, reversed(shares), strict=True):
        ledgers[0].spend(share)
        ledgers[1].spend(other)

    total = sum(Fraction(share) ** 2 for share in shares)
    mu = ledgers[0].mu
    assert ledgers[0] == ledgers[1]
    assert Fraction(math.nextafter(mu, 0.0)) ** 2 < total <= Fraction(mu) ** 2
    assert ledgers[0].n_releases == 6
    assert ledgers[0].epsilon(1e-3) == epsilon_of(mu, 1e-3)


def test_composition_is_the_product_of_the_distributions():
    """Two releases of mu 0.6 and 0.8 are as one of mu 1: the plane, integrated directly."""
    mus, epsilon = (0.6, 0.8), 1.0

    def excess(x, y):
        loss = mus[0] * x - mus[0] ** 2 / 2 + mus[1] * y - mus[1] ** 2 / 2
        return math.exp(-((x - mus[0]) ** 2 + (y - mus[1]) ** 2) / 2) * max(0.0, -math.expm1(epsilon - loss))

    steps = np.linspace(-8, 9, 601)
    expected = (
        sum(excess(x, y) for x in steps.tolist() for y in steps.tolist()) * (steps[1] - steps[0]) ** 2 / (2 * math.pi)
    )

    ledger = Ledger()
    ledger.spend(mus[0])
    ledger.spend(mus[1])

    assert delta_of(ledger.mu, epsilon) == pytest.approx(expected, rel=1e-4)  # the rule's error; adding mu gives 0.29


def test_a_budget_is_spent_after_as_many_releases_as_it_was_made_for():
    """n_releases at max_distance can be spent, one more cannot; spending it regardless shows in epsilon."""
    share = max_distance(1.0, 1e-6, 1e-3, 1000) / 1e-3
    ledger = Ledger()

    for _ in range(1000):
        assert ledger.can_spend(share, 1.0, 1e-6)
        ledger.spend(share)

    assert not ledger.can_spend(share, 1.0, 1e-6)
    assert 1 - 1e-9 < ledger.epsilon(1e-6) <= 1.0
    ledger.spend(share)
    assert ledger.epsilon(1e-6) > 1.0


def test_ledgers_survive_states_and_pickles():
    """A ledger is its state; a damaged state is refused."""
    ledger = Ledger()
    ledger.spend(0.1)
    state = ledger.to_state()

    assert Ledger.from_state(state) == pickle.loads(pickle.dumps(ledger)) == ledger
    assert repr(ledger) == f"Ledger(n_releases=1, mu={ledger.mu})"
    for damage in [
        {"n_releases": 0},
        {"n_releases": -1},
        {"mu_squared": ["1", "0"]},
        {"mu_squared": 3},
    ]:
        with pytest.raises(ValueError, match="damaged"):
            Ledger.from_state({**state, **damage})


@pytest.mark.parametrize(
    "call",
    [
        lambda: mu_of(-1.0, 0.1),
        lambda: mu_of(1.0, 0.0),
        lambda: mu_of(1.0, 1.0),
        lambda: mu_of(math.nan, 0.1),
        lambda: delta_of(math.inf, 1.0),
        lambda: epsilon_of(1.0, math.nan),
        lambda: max_distance(1.0, 1e-6, 0.0, 1),
        lambda: max_distance(1.0, 1e-6, 1.0, 0),
        lambda: Ledger().spend(-1.0),
        lambda: draw_noise(3, 0.0),
        lambda: draw_noise(3, 1e305),
    ],
)
def test_parameters_out_of_range_are_refused(call):
    """Each parameter has its range."""
    with pytest.raises(ValueError, match="must be"):
        call()


# --- noise -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1.999999, 3e-200])
def test_noise_is_gaussian_at_its_scale(scale):
    """Kolmogorov and Smirnov, and the variance, of 30,000 coordinates at fixed coins; low bits are uniform."""
    noise, grid = draw_noise((150, 200), scale, np.random.default_rng(7))

    values = (noise * (grid / scale)).ravel()
    assert grid == 2.0 ** (math.floor(math.log2(scale)) - 20)
    assert noise.dtype == np.int64
    assert noise.shape == (150, 200)
    assert scipy.stats.kstest(values, "norm").pvalue > 1e-3
    assert abs((values**2).mean() - 1) < 4 * math.sqrt(2 / values.size)
    assert scipy.stats.chisquare(np.bincount(noise.ravel() & 15, minlength=16)).pvalue > 1e-3


def test_noise_of_another_scale_would_be_noticed():
    """The test above has teeth: noise that is 3 per cent too small fails it."""
    noise, grid = draw_noise(30_000, 1.0, np.random.default_rng(7))

    values = noise * grid * 0.97

    assert abs((values**2).mean() - 1) > 4 * math.sqrt(2 / values.size)


def test_noise_comes_from_the_operating_system_or_from_given_coins():
    """Without coins two draws differ; with equal coins they do not, and coins are used up."""
    coins = [np.random.default_rng(0), np.random.default_rng(0)]
    first, second, third = (draw_noise(8, 1.0, one)[0] for one in [*coins, coins[0]])

    assert (first == second).all()
    assert (first != third).any()
    assert (draw_noise(8, 1.0)[0] != draw_noise(8, 1.0)[0]).any()
    assert draw_noise((), 1.0)[0].shape == ()
    assert draw_noise((0, 3), 1.0)[0].shape == (0, 3)


def rounded_gaussian_distance(scale):
    """Total variation between the discrete Gaussian and a rounded one of the variance less 1/12."""
    with mpmath.workdps(40):
        root = mpmath.sqrt(mpmath.mpf(scale) ** 2 - mpmath.mpf(1) / 12)
        reach = range(-16 * scale, 16 * scale + 1)
        weights = [mpmath.exp(-(mpmath.mpf(z) ** 2) / (2 * scale**2)) for z in reach]
        total = mpmath.fsum(weights)
        rounded = [mpmath.ncdf((z + 0.5) / root) - mpmath.ncdf((z - 0.5) / root) for z in reach]
        return mpmath.fsum(abs(w / total - p) for w, p in zip(weights, rounded, strict=True)) / 2


def test_discrete_noise_is_a_rounded_gaussian():
    """Their distance falls with the fourth power of the scale, below scale^-4 / 40: at 2^20, below 2^-85."""
    distances = {scale: rounded_gaussian_distance(scale) for scale in (2, 4, 8)}

    assert all(distance < mpmath.mpf(scale) ** -4 / 40 for scale, distance in distances.items())
    assert distances[8] > mpmath.mpf(8) ** -4 / 4000
    assert mpmath.mpf(2) ** -80 / 40 < mpmath.mpf(2) ** -85


@pytest.mark.parametrize(
    ("scale", "steps"), [(1.0, 2**20 + 1), (1 + 2.0**-21, 2**20 + 1), (1 + 2.0**-20 - 2.0**-50, 2**20 + 2)]
)
def test_the_scale_in_steps_makes_up_for_the_rounding(scale, steps):
    """It is the least integer whose square exceeds that of the asked scale by 1/12 of a step squared."""
    noise, _ = draw_noise(64, scale, np.random.default_rng(0))

    assert (noise == discrete_gaussian(64, steps, np.random.default_rng(0).bytes(32))).all()
    assert (noise != discrete_gaussian(64, steps - 1, np.random.default_rng(0).bytes(32))).any()
