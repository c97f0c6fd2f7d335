"""The oracle states the same randomness as the native half: the vectors here are those of the Rust tests."""

import math

import numpy as np
import pytest
from _unlearn_native._native import forest_copies
from scipy import stats

from . import oracle

KEY = bytes(range(32))
TAG = 0x0123456789ABCDEF


def test_mixed_numbers():
    """`mix.rs`, frozen_vectors."""
    assert [oracle.h(1, 2), oracle.h(TAG, 7)] == [0x3D48243730183290, 0x245B5B862583D3E4]
    assert [oracle.h(TAG, 1), oracle.h(TAG, 2)] == [8888157174895707670, 14613023141562750273]
    assert [oracle.feature_priority(TAG, f) for f in range(3)] == [
        12914460367784625156,
        10365434025223447833,
        3053208853805975548,
    ]
    assert oracle.row_priority(TAG, 99 << 64 | 7) == oracle.h(TAG, 7)
    assert oracle.tree_tags(KEY, 2) == (3509705488606760329, 1277774613706792541)


def test_uniform_thresholds():
    """`cells.rs`, frozen_vectors."""

    def drawn(tag, lo, hi, k):
        lo, hi = float(np.float32(lo)), float(np.float32(hi))
        return [str(np.float32(t)) for t in oracle.uniform_thresholds(oracle.h(0x5EED, tag), 3, lo, hi, k)]

    assert drawn(1, 0.0, 1.0, 3) == ["0.80042917", "0.0752853", "0.5970404"]
    assert drawn(2, -3.7, 12.9, 2) == ["-1.5732164", "8.367311"]
    assert drawn(3, 1.0, 1.0 + 2.0**-23, 2) == ["1.0", "1.0"]
    assert drawn(4, -3e38, 3.4e38, 1) == ["1.8627172e+38"]
    assert drawn(5, 0.0, 2.0**-149, 1) == ["0.0"]


@pytest.mark.parametrize("share", [None, 0.07, 0.3, 1.0])
def test_rows_of_trees(share):
    """Which rows are in which trees, and how often, is what the oracle says."""
    tags = np.random.default_rng(0).integers(0, 2**64, (50, 2), dtype=np.uint64)
    members = [oracle.Member(low | high << 64, (), 0, 1, 0) for low, high in tags.tolist()]
    params = oracle.Params(key=KEY, n_features=1, n_estimators=30, share=share)

    copies = forest_copies(KEY, tags, n_trees=30, share=share)

    for tree in range(30):
        in_tree = {row.tag: row.weight for row in oracle.members_of_tree(members, params, tree)}
        assert [in_tree.get(row.tag, 0) for row in members] == copies[:, tree].tolist()


def test_copies_are_poisson_and_independent_across_trees():
    """P(N = n) is 1 / (e n!), and pairs of trees draw independently: 99.9 % quantiles of chi-square."""
    tags = np.random.default_rng(1).integers(0, 2**64, (40_000, 2), dtype=np.uint64)

    copies = np.minimum(forest_copies(KEY, tags, n_trees=2, share=None), 4).astype(int)

    mass = np.array([math.exp(-1) / math.factorial(n) for n in range(4)])
    mass = np.append(mass, 1 - mass.sum())
    counts = np.bincount(copies[:, 0] * 5 + copies[:, 1], minlength=25)
    assert stats.chisquare(counts, len(tags) * np.outer(mass, mass).ravel()).pvalue > 1e-3
