"""The arithmetic of certified removal: how far noise hides a distance, what releases add up to, and the noise itself.

Two Gaussians of one scale sigma whose centres are gamma apart cannot be told apart better than N(0, 1) from N(mu, 1),
mu = gamma / sigma. In terms of (epsilon, delta), that is (Dong, Roth and Su, "Gaussian Differential Privacy", 2022)

    delta(mu, epsilon) = Phi(mu / 2 - epsilon / mu) - exp(epsilon) Phi(-mu / 2 - epsilon / mu).

Over several releases the squares of mu add, also where a release was chosen after seeing the ones before. Everything
here is computed in decimal arithmetic to a known error and then rounded to the side that promises less: a published
delta or epsilon is never below the true one, a distance that is allowed never above it.
"""

import decimal
import math
import secrets
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, Self

import numpy as np
from _unlearn_native._native import discrete_gaussian

__all__ = ["Ledger", "delta_of", "draw_noise", "epsilon_of", "max_distance", "mu_of"]

#: The grid of the noise has a step of 2**_GRID_LOG2 relative to its scale, rounded down to a power of two.
_GRID_LOG2 = -20
_SEED_BYTES = 32
_SMALLEST, _LARGEST = math.ulp(0.0), math.nextafter(math.inf, 0.0)
#: Beyond it a Gaussian has less left than the smallest float: exp(-40**2 / 2) < 2**-1150.
_FAR = 40
#: From here on the continued fraction of the tail takes fewer terms than the series.
_TAIL = 6


def delta_of(mu: float, epsilon: float) -> float:
    """Return the least delta for which a distance of `mu` noise scales is (`epsilon`, delta) indistinguishable.

    Parameters
    ----------
    mu : float
        Distance over noise scale, at least 0; of several releases the root of the sum of squares.
    epsilon : float
        At least 0.

    Returns
    -------
    delta : float
        The smallest float that is not below the true value.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> from skunlearn.privacy import delta_of
    >>> round(delta_of(1.0, 1.0), 6)
    0.126937
    """
    _check("mu", mu, lowest=0.0)
    _check("epsilon", epsilon, lowest=0.0)
    if mu == 0:
        return 0.0
    centre = Fraction(epsilon) / Fraction(mu) - Fraction(mu) / 2
    if centre >= _FAR:
        return _SMALLEST
    if centre <= -_FAR:
        return 1.0
    n_digits = 50
    while True:
        with _digits(n_digits):
            delta, error = _delta(Decimal(mu), Decimal(epsilon))
            low, high = min(_up(delta - error), 1.0), min(_up(delta + error), 1.0)
        if low == high:
            return high
        n_digits *= 2


def mu_of(epsilon: float, delta: float) -> float:
    """Return the largest mu that is (`epsilon`, `delta`) indistinguishable: the inverse of `delta_of`.

    Parameters
    ----------
    epsilon : float
        At least 0.
    delta : float
        Above 0 and below 1.

    Returns
    -------
    mu : float
        The largest float that is not above the true value.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> from skunlearn.privacy import mu_of
    >>> round(mu_of(1.0, 1e-6), 4)
    0.2367
    """
    _check("epsilon", epsilon, lowest=0.0)
    _check_delta(delta)
    return _mu_of(float(epsilon), float(delta))


@lru_cache(maxsize=256)
def _mu_of(epsilon: float, delta: float) -> float:
    return _last(lambda mu: delta_of(mu, epsilon) <= delta)


def epsilon_of(mu: float, delta: float) -> float:
    """Return the least epsilon for which a distance of `mu` noise scales is (epsilon, `delta`) indistinguishable.

    Parameters
    ----------
    mu : float
        Distance over noise scale, at least 0; of several releases the root of the sum of squares.
    delta : float
        Above 0 and below 1.

    Returns
    -------
    epsilon : float
        The smallest float that is not below the true value; inf if that is no float.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> from skunlearn.privacy import epsilon_of
    >>> round(epsilon_of(0.2367, 1e-6), 3)
    1.0
    """
    _check("mu", mu, lowest=0.0)
    _check_delta(delta)
    return _epsilon_of(float(mu), float(delta))


@lru_cache(maxsize=256)
def _epsilon_of(mu: float, delta: float) -> float:
    if delta_of(mu, 0.0) <= delta:
        return 0.0
    return math.nextafter(_last(lambda epsilon: delta_of(mu, epsilon) > delta), math.inf)


def max_distance(epsilon: float, delta: float, noise_scale: float, n_releases: int) -> float:
    """Return how far from the reference each of `n_releases` releases may be, if jointly they are to be within budget.

    Parameters
    ----------
    epsilon, delta : float
        What holds for all of the releases together.
    noise_scale : float
        Standard deviation of the noise of each coordinate of each release.
    n_releases : int
        How many releases there will be, at least 1.

    Returns
    -------
    distance : float
        Euclidean, rounded down: ``Ledger.spend(distance / noise_scale)`` is within the budget `n_releases` times.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> from skunlearn.privacy import max_distance
    >>> round(max_distance(1.0, 1e-6, noise_scale=1e-3, n_releases=1000), 8)
    7.49e-06
    """
    _check("noise_scale", noise_scale, lowest=_SMALLEST)
    _check("n_releases", n_releases, lowest=1)
    square = Fraction(mu_of(epsilon, delta)) ** 2 / int(n_releases)
    share = _root_up(square)
    if Fraction(share) ** 2 > square:
        share = math.nextafter(share, 0.0)
    distance = noise_scale * share
    # Neither the distance nor, rounded in its turn, the ratio that is spent may exceed what they stand for.
    while distance > 0 and (
        Fraction(distance) > Fraction(noise_scale) * Fraction(share) or distance / noise_scale > share
    ):
        distance = math.nextafter(distance, 0.0)
    return distance


class Ledger:
    """What releases have cost, jointly.

    Squares of mu are added as exact fractions, so a ledger does not depend on the order or the grouping of releases.

    Attributes
    ----------
    n_releases : int
        How many releases were spent.
    mu : float
        Joint mu of all of them, rounded up.

    Examples
    --------
    >>> from skunlearn.privacy import Ledger, max_distance
    >>> ledger = Ledger()
    >>> share = max_distance(1.0, 1e-6, noise_scale=1e-3, n_releases=2) / 1e-3
    >>> ledger.spend(share)
    >>> ledger.spend(share)
    >>> ledger.n_releases, ledger.epsilon(1e-6) <= 1.0, ledger.can_spend(share, 1.0, 1e-6)
    (2, True, False)
    """

    def __init__(self) -> None:
        self._spent = Fraction(0)
        self._n_releases = 0

    @property
    def n_releases(self) -> int:
        """How many releases were spent."""
        return self._n_releases

    @property
    def mu(self) -> float:
        """Joint mu of all releases, rounded up."""
        return _root_up(self._spent)

    def can_spend(self, gamma_over_sigma: float, epsilon: float, delta: float) -> bool:
        """Return whether one more release of this mu leaves all of them within (`epsilon`, `delta`)."""
        _check("gamma_over_sigma", gamma_over_sigma, lowest=0.0)
        return self._spent + Fraction(gamma_over_sigma) ** 2 <= Fraction(mu_of(epsilon, delta)) ** 2

    def spend(self, gamma_over_sigma: float) -> None:
        """Enter a release; one beyond a budget, too: that is for the caller to ask and to decide.

        Parameters
        ----------
        gamma_over_sigma : float
            Distance over noise scale that was promised for this release before any data were seen. One that was
            measured on the rows would itself tell of them.
        """
        _check("gamma_over_sigma", gamma_over_sigma, lowest=0.0)
        self._spent += Fraction(gamma_over_sigma) ** 2
        self._n_releases += 1

    def epsilon(self, delta: float) -> float:
        """Return the joint epsilon of all releases at `delta`, rounded up."""
        return epsilon_of(self.mu, delta)

    def to_state(self) -> dict[str, Any]:
        """Return what was spent, as plain values."""
        parts = [str(self._spent.numerator), str(self._spent.denominator)]
        return {"n_releases": self._n_releases, "mu_squared": parts}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Return the ledger that `to_state` was called of.

        Raises
        ------
        ValueError
            If `state` is not such a state.
        """
        ledger = cls()
        try:
            numerator, denominator = (int(part) for part in state["mu_squared"])
            ledger._n_releases, ledger._spent = int(state["n_releases"]), Fraction(numerator, denominator)
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            raise ValueError("The state of this Ledger is damaged. Restore it from another copy.") from None
        if ledger._n_releases < 0 or ledger._spent < 0 or (ledger._spent > 0 and ledger._n_releases == 0):
            raise ValueError("The state of this Ledger is damaged. Restore it from another copy.")
        return ledger

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ledger) and self.to_state() == other.to_state()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Ledger(n_releases={self._n_releases}, mu={self.mu})"


def draw_noise(shape: Any, scale: float, coins: np.random.Generator | None = None) -> tuple[np.ndarray, float]:
    """Return discrete Gaussian noise as integers, and the step of the grid that they are multiples of.

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the noise; its entries are independent.
    scale : float
        Standard deviation, from 2**-1000 to 2**1000.
    coins : numpy.random.Generator, default=None
        None takes 256 bits from the operating system. A generator makes the noise predictable: for tests only.

    Returns
    -------
    noise : ndarray of int64
        Integers z of probability proportional to exp(-z^2 / (2 s^2)), s the least integer with
        s^2 >= (scale / grid)^2 + 1/12.
    grid : float
        2**(floor(log2(scale)) - 20); the noise is ``noise * grid``.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Notes
    -----
    Add it to a vector that was rounded to multiples of the grid, as integers. Rounding d coordinates moves it by at
    most ``sqrt(d) * grid / 2``, which counts as distance, for the reference as well. Per coordinate, the noise is
    within 2**-85 in total variation of a Gaussian of at least the given scale, rounded to the grid
    (docs/certified_removal.md has the proof); the 1/12 is the variance that the rounding adds.
    """
    _check("scale", scale, lowest=2.0**-1000)
    if scale > 2.0**1000:
        raise ValueError(f"scale must be at most 2**1000. Got {scale!r} instead.")
    grid = math.ldexp(1.0, math.frexp(scale)[1] - 1 + _GRID_LOG2)
    seed = secrets.token_bytes(_SEED_BYTES) if coins is None else coins.bytes(_SEED_BYTES)
    variance = (Fraction(scale) / Fraction(grid)) ** 2 + Fraction(1, 12)
    return discrete_gaussian(math.prod(np.atleast_1d(shape).tolist()), _root_ceil(variance), seed).reshape(shape), grid


# --- exact values, and bounds of what is not exact -------------------------------------------------------------------


def _delta(mu: Decimal, epsilon: Decimal) -> tuple[Decimal, Decimal]:
    """Return delta and a bound of its error, in the current context.

    With b = epsilon / mu + mu / 2, a = b - mu and Mills' ratio M(x) = (1 - Phi(x)) / phi(x), delta is
    phi(a) (M(a) - M(b)), since exp(epsilon) phi(b) = phi(a): nothing overflows, and one difference remains.
    """
    upper = epsilon / mu + mu / 2
    lower = epsilon / mu - mu / 2
    of_lower, of_upper = _mills_ratio(lower), _mills_ratio(upper)
    density = (-lower * lower / 2).exp() / (2 * _pi()).sqrt()
    # `lower` is off by a unit of epsilon / mu and of mu / 2. M moves by at most (1 + |x|) M a unit, phi by |x| phi, and
    # their product phi(a) M(a) = 1 - Phi(a) by phi(a) only; what is lost within M was made good by 15 digits.
    size = 1 + abs(upper) + abs(lower)
    unit = Decimal(10) ** (6 - decimal.getcontext().prec)
    return density * (of_lower - of_upper), unit * size**3 * density * (of_lower + of_upper)


def _mills_ratio(x: Decimal) -> Decimal:
    if x >= _TAIL:
        return _mills_ratio_of_tail(x)
    # Below _TAIL the two terms cancel to at least 10**-8 of the larger.
    with _digits(decimal.getcontext().prec + 15):
        term = total = x
        k = 1
        while abs(term) > abs(total) * Decimal(10) ** -decimal.getcontext().prec:
            k += 2
            term = term * x * x / k
            total += term
        return (_pi() / 2).sqrt() * (x * x / 2).exp() - total


def _mills_ratio_of_tail(x: Decimal) -> Decimal:
    """Return M(x) by its continued fraction 1 / (x + 1 / (x + 2 / (x + ...))), whose convergents lie on both sides."""
    accuracy = Decimal(10) ** (2 - decimal.getcontext().prec)
    before, numerator = Decimal(1), Decimal(0)
    last, denominator = Decimal(0), Decimal(1)
    k, ratio = 0, Decimal(0)
    while True:
        before, numerator = numerator, x * numerator + max(k, 1) * before
        last, denominator = denominator, x * denominator + max(k, 1) * last
        k += 1
        found = numerator / denominator
        if abs(found - ratio) <= accuracy * found:
            return found
        ratio = found


@lru_cache(maxsize=16)
def _pi_to(n_digits: int) -> Decimal:
    """Return pi by Machin's formula, in integers."""
    one = 10 ** (n_digits + 10)

    def arctan_of_inverse(n: int) -> int:
        power = total = one // n
        k, sign = 1, 1
        while power:
            power //= n * n
            k, sign = k + 2, -sign
            total += sign * (power // k)
        return total

    return Decimal(4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239))).scaleb(-(n_digits + 10))


def _pi() -> Decimal:
    return +_pi_to(decimal.getcontext().prec)


@contextmanager
def _digits(n_digits: int) -> Iterator[None]:
    with decimal.localcontext() as context:
        context.prec, context.Emin, context.Emax = n_digits, decimal.MIN_EMIN, decimal.MAX_EMAX
        context.rounding = decimal.ROUND_HALF_EVEN
        yield


def _up(value: Decimal) -> float:
    """Return the smallest positive float that is not below `value`."""
    if value <= 0:
        return _SMALLEST
    nearest = float(value)
    return nearest if Fraction(nearest) >= Fraction(value) else math.nextafter(nearest, math.inf)


def _root_up(square: Fraction) -> float:
    """Return the smallest float whose square is not below `square`."""
    with _digits(40):
        root = float((Decimal(square.numerator) / Decimal(square.denominator)).sqrt())
    while Fraction(root) ** 2 < square:
        root = math.nextafter(root, math.inf)
    while root > 0 and Fraction(math.nextafter(root, 0.0)) ** 2 >= square:
        root = math.nextafter(root, 0.0)
    return root


def _root_ceil(square: Fraction) -> int:
    """Return the least integer whose square is not below `square`."""
    root = math.isqrt(math.ceil(square))
    return root if root * root >= square else root + 1


def _last(holds: Callable[[float], bool]) -> float:
    """Return the largest positive float of which `holds`, which is true up to some point; 0.0 if it is never true.

    Positive floats are ordered as the integers of their bits are.
    """
    low, high = 0, _bits_of(_LARGEST) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if holds(_float_of(middle)):
            low = middle
        else:
            high = middle
    return _float_of(low)


def _bits_of(value: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


def _float_of(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<q", bits))[0])


def _check(name: str, value: float, lowest: float) -> None:
    if not lowest <= value < math.inf:
        raise ValueError(f"{name} must be a finite number of at least {lowest}. Got {value!r} instead.")


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta must be above 0 and below 1. Got {delta!r} instead.")
