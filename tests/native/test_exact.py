"""Exact sums of weights: what Python sees, against rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from _unlearn_native import _native
from hypothesis import given
from hypothesis import strategies as st

TINY, HUGE = 5e-324, 1.7976931348623157e308

weights = st.one_of(
    st.floats(min_value=0.0, allow_infinity=False, allow_subnormal=True),
    st.integers(0, 9).map(float),
    st.sampled_from([TINY, 2.0**-1022, 2.0**-53, 1.0 + 2.0**-52, 1e300, HUGE, 2.0**970]),
)


def integer_of(halves):
    """The 128-bit integer of a row [low, high]."""
    low, high = (int(half) for half in halves)
    return (high << 64) + low % 2**64


def halves_of(integer):
    low = integer % 2**64
    return [low - 2**64 if low >= 2**63 else low, integer >> 64]


def unit(block):
    return Fraction(2) ** (32 * block - 1126)


def rounded(total):
    """Nearest float64, ties to even: int / int is correctly rounded in Python."""
    try:
        return total.numerator / total.denominator
    except OverflowError:
        return np.inf


def sums_of(values, sign=1, sums=None):
    """Add (or take away) weights to a mapping from block to integer, dropping the blocks that come to zero."""
    sums = dict(sums or {})
    blocks, integers = _native.split_weights(np.asarray(values, dtype=np.float64))
    for block, halves in zip(blocks.tolist(), integers, strict=True):
        sums[block] = sums.get(block, 0) + sign * integer_of(halves)
    return {block: integer for block, integer in sorted(sums.items()) if integer}


def read(sums):
    """Round a mapping from block to integer."""
    if not sums:
        return 0.0
    return float(_native.round_sums(list(sums), [np.array(halves_of(integer)) for integer in sums.values()]))


@given(st.lists(weights, max_size=20))
def test_split_weights_is_lossless(values):
    """Every weight is its integer times 2**(32 block - 1126), and the block depends on its exponent alone."""
    blocks, integers = _native.split_weights(np.array(values, dtype=np.float64))

    assert blocks.dtype == np.uint8
    assert (integers.dtype, integers.shape) == (np.int64, (len(values), 2))
    for weight, block, halves in zip(values, blocks.tolist(), integers, strict=True):
        assert integer_of(halves) * unit(block) == Fraction(weight)
        assert 0 <= integer_of(halves) < 2**85
        if weight:
            exponent = int(np.frexp(weight)[1]) - 1
            assert block == (exponent + 1074) // 32


def test_split_weights_one():
    """Weight one is 2**70 in block 33: what a count of unit rows is shifted by."""
    blocks, integers = _native.split_weights(np.ones(1))

    assert (blocks.tolist(), integer_of(integers[0])) == ([33], 2**70)


@given(st.lists(weights, min_size=1, max_size=20))
def test_totals_are_correctly_rounded(values):
    """A total is the rational sum, rounded once."""
    assert read(sums_of(values)) == rounded(sum(map(Fraction, values)))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0**-53], 1.0),
        ([1.0 + 2.0**-52, 2.0**-53], 1.0 + 2.0**-51),
        ([1.0, 2.0**-53, TINY], 1.0 + 2.0**-52),
        ([2.0 - 2.0**-52, 2.0**-53], 2.0),
        ([HUGE, 2.0**970], np.inf),
        ([HUGE, 2.0**969], HUGE),
        ([TINY] * 3, 3 * TINY),
        ([2.0**-1022, TINY], 2.0**-1022 + TINY),
        ([1e300, 1.0, 1e-300], 1e300),
    ],
)
def test_halfway_and_extreme_totals(values, expected):
    """Ties go to even, one bit far below breaks them, subnormals are exact, and past the largest is infinite."""
    assert read(sums_of(values)) == expected


@given(st.lists(weights, max_size=15), st.lists(weights, max_size=15))
def test_adding_then_removing_leaves_no_trace(kept, gone):
    """The sums after adding and removing are those that never saw the removed weights, block for block."""
    sums = sums_of(gone, -1, sums_of(kept, +1, sums_of(gone)))

    assert sums == sums_of(kept)
    assert read(sums) == rounded(sum(map(Fraction, kept), Fraction(0)))


@given(
    st.lists(st.integers(0, 65), min_size=1, max_size=4).flatmap(
        lambda blocks: st.tuples(
            st.just(blocks),
            st.lists(st.integers(-(2**126), 2**126), min_size=2 * len(blocks), max_size=2 * len(blocks)),
        )
    )
)
def test_round_sums_of_any_integers(case):
    """Signs, repeated blocks and integers below the smallest subnormal are rounded correctly, cell by cell."""
    blocks, integers = case
    rows = [integers[2 * i : 2 * i + 2] for i in range(len(blocks))]

    found = _native.round_sums(blocks, [np.array([halves_of(integer) for integer in row]) for row in rows])

    for cell in range(2):
        total = sum(row[cell] * unit(block) for block, row in zip(blocks, rows, strict=True))
        assert found[cell] == rounded(total)


def test_round_sums_keeps_the_shape():
    """Arrays (..., 2) of any strides become an array (...)."""
    sums = np.zeros((3, 5, 2), dtype=np.int64)
    sums[..., 1] = np.arange(15).reshape(3, 5) << 6

    found = _native.round_sums([33, 0], [sums[:, ::-1], np.zeros((3, 5, 2), dtype=np.int64, order="F")])

    assert found.shape == (3, 5)
    assert found.tolist() == np.arange(15.0).reshape(3, 5)[:, ::-1].tolist()
    assert _native.round_sums([33], [np.zeros((0, 4, 2), dtype=np.int64)]).shape == (0, 4)


def test_split_weights_of_a_strided_read_only_array():
    """A step, a reversed order and a write lock change nothing."""
    values = np.linspace(0.0, 9.0, 31)
    view = values[::-3]
    view.flags.writeable = False

    for found, expected in zip(_native.split_weights(view), _native.split_weights(view.copy()), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("bad", [-1.0, -TINY, np.inf, -np.inf, np.nan])
def test_bad_weights_are_counted_not_shown(bad):
    """The message says how many of how many."""
    with pytest.raises(ValueError, match=r"^2 of 5 weights are negative, infinite or NaN"):
        _native.split_weights(np.array([1.0, bad, 0.0, bad, 2.0]))


@pytest.mark.parametrize(
    ("blocks", "sums"),
    [
        ([], []),
        ([1, 2], [np.zeros(2, np.int64)]),
        ([1], [np.zeros(3, np.int64)]),
        ([1, 2], [np.zeros((1, 2), np.int64), np.zeros((2, 2), np.int64)]),
        ([66], [np.zeros(2, np.int64)]),
    ],
)
def test_round_sums_refuses_what_does_not_fit(blocks, sums):
    """No block, another number of arrays, another last axis, unequal shapes, a block past the last."""
    with pytest.raises(ValueError, match=r"Give (at least one block|the blocks)"):
        _native.round_sums(blocks, sums)
