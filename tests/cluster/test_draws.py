"""Random numbers of k-means: frozen, and of the law that they claim."""

import math

import numpy as np
import pytest
from _unlearn_native._native import row_tags
from scipy.stats import chi2

from . import oracle

KEY = b"0123456789abcdef0123456789abcdef"
TAG = 0x0123_4567_89AB_CDEF_FEDC_BA98_7654_3210


def test_draws_are_the_frozen_ones():
    """The oracle draws what `unlearn_native/src/kmeans/draw.rs` draws: these numbers stand in its tests, too."""
    assert oracle.row_word(oracle.seeding_draw(KEY, 0, 0), TAG) == 0x5EC4_2919_BB54_F29E
    assert oracle.row_word(oracle.seeding_draw(KEY, 3, 7), TAG) == 0x2FEA_763D_9BC5_2138
    assert oracle.row_word(oracle.words(KEY, "kmeans coreset"), TAG) == 0x69A5_A57B_8FFA_FDF5
    assert oracle.column_threshold(KEY, 0) == 0x1793_6DC3_DCCA
    assert oracle.column_threshold(KEY, 5) == 0x5_6CD6_1876_21E1
    assert oracle.weight_threshold(KEY) == 0x8_711E_231E_7CDE
    assert np.float64(oracle.phase(KEY, "choice")).view(np.uint64) == 0x3FDE_36E3_5197_852A


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, None), (1.0, 1), (1.5, 2), (-1.499999, 1), (2.0, 2), (0.75, 1), (5e-324, -1073), (1.5e-323, -1071)],
)
def test_exponents(value, expected):
    """An exponent is above the value, and one more where the fraction reaches the threshold, here of one half."""
    assert oracle.exponent(value, 2**51) == expected


X = np.array([[0.0], [1.0], [3.0], [7.0], [7.5], [20.0]])
WEIGHT = np.array([1.0, 3.0, 0.5, 1.0, 2.0, 0.25])


def seedings(n_keys, init, n_clusters, restart=0):
    """Yield the seeding of the table above under many keys."""
    for number in range(n_keys):
        key = number.to_bytes(32, "little")
        rows = oracle.Rows.of(X, WEIGHT, row_tags(key, np.arange(len(X))))
        yield key, rows, oracle.seed(key, rows, None, n_clusters, init, restart)  # no potential is compared


def assert_follows(counts, chances):
    """Pearson's test at one in a million: these keys are fixed, so it fails for good or never."""
    expected = np.asarray(chances) * np.sum(counts)
    statistic = float((((np.asarray(counts) - expected) ** 2)[expected > 0] / expected[expected > 0]).sum())
    assert not np.asarray(counts)[expected == 0].any()
    assert statistic < chi2.isf(1e-6, np.count_nonzero(expected) - 1)


@pytest.mark.parametrize("restart", [0, 5])
def test_first_centre_is_a_row_by_weight(restart):
    """The first centre is a row with a chance proportional to its weight, in every restart."""
    counts = np.zeros(len(X))
    for _, _, chosen in seedings(4000, "k-means++", 1, restart):
        counts[chosen[0]] += 1

    assert_follows(counts, WEIGHT / WEIGHT.sum())


def test_first_candidate_follows_the_squared_distances():
    """Given the first centre, the winner of the race of the next step has a chance proportional to w D."""
    counts = np.zeros((len(X), len(X)))
    for key, rows, chosen in seedings(8000, "k-means++", 1):
        mass = rows.weight * oracle.distances(rows.X, rows.X[chosen[0]])
        draw = oracle.seeding_draw(key, 0, 1)
        races = [
            oracle.race(oracle.uniform(oracle.row_word(draw, tag)), m) for tag, m in zip(rows.tags, mass, strict=True)
        ]
        counts[chosen[0], int(np.argmin(races))] += 1

    for first in np.flatnonzero(counts.sum(axis=1) > 500):
        mass = WEIGHT * oracle.distances(X, X[first])
        assert_follows(counts[first], mass / mass.sum())


def test_random_rows_are_drawn_without_replacement_by_weight():
    """With init="random" the first two rows follow the law of successive draws."""
    counts = np.zeros((len(X), len(X)))
    for _, _, chosen in seedings(8000, "random", 2):
        counts[tuple(chosen)] += 1

    chances = np.outer(WEIGHT / WEIGHT.sum(), WEIGHT)
    np.fill_diagonal(chances, 0.0)
    chances /= (WEIGHT.sum() - WEIGHT)[:, None]
    assert_follows(counts.ravel(), chances.ravel())


def test_steps_restarts_and_rows_are_independent():
    """The numbers of one row at two steps, and of two rows at one step, show no correlation, and are uniform."""
    key = bytes(range(32))
    tags = [(int(high) << 64) | int(low) for low, high in row_tags(key, np.arange(4000))]
    numbers = np.array(
        [
            [oracle.uniform(oracle.row_word(oracle.seeding_draw(key, restart, step), tag)) for tag in tags]
            for restart, step in ((0, 0), (0, 1), (1, 0), (1, 1))
        ]
    )

    correlations = np.corrcoef(np.vstack([numbers, numbers[:, ::-1]]))
    assert np.abs(correlations - np.eye(len(correlations))).max() < 5 / math.sqrt(len(tags))
    for row in numbers:
        assert_follows(np.bincount((row * 50).astype(int), minlength=50), np.full(50, 1 / 50))


def test_known_key_lets_a_row_choose_its_fate_and_a_secret_one_does_not():
    """Whoever knows the key finds an id under which a row is the first centre; under another key it is one of many.

    This is why an integer `random_state`, which is public, is for ids that no adversary chooses.
    """
    known, others = bytes(32), np.arange(199)

    def first_words(key, ids):
        draw = oracle.seeding_draw(key, 0, 0)
        return [oracle.row_word(draw, (int(high) << 64) | int(low)) for low, high in row_tags(key, ids)]

    def wins(key, identity):  # all masses are 1: the largest number has the smallest race
        return max(first_words(key, others)) < first_words(key, np.array([identity]))[0]

    tried = np.arange(10_000, 110_000)
    chosen = int(tried[np.argmax(first_words(known, tried))])
    n_wins = sum(wins(number.to_bytes(32, "big"), chosen) for number in range(1, 601))

    assert wins(known, chosen)
    assert n_wins < 20  # 3 are expected of 600
