"""Kernels of BernoulliNB, each against a slow twin that is obviously right."""

from types import SimpleNamespace

import numpy as np
import pytest
from _unlearn_native import _native
from scipy import sparse

from skunlearn._linalg import _bernoulli

WIDTHS = [*range(1, 18), 23, 24, 25, 31, 32, 33, 39, 40]
CLASS_COUNTS = [1, 2, 7]
DTYPES = [np.float32, np.float64]


def make(d, n_classes=2, dtype=np.float64, m=57, seed=0):
    """Rows with zeros, ties with the threshold, NaN and infinities; codes; weights in several blocks."""
    rng = np.random.default_rng([seed, d, n_classes])
    values = np.array([0.0, -0.0, 0.25, 0.5, 1.0, -2.0, 3.5, np.nan, np.inf, -np.inf, 1e-40], dtype=dtype)
    return SimpleNamespace(
        X=rng.choice(values, (m, d)),
        codes=rng.integers(0, n_classes, m).astype(np.int32),
        weights=rng.choice([1.0, 0.5, 1e-300, 1e300, 5e-324, 2.0**60], m),
        delta=rng.normal(size=(n_classes, d)),
        bias=rng.normal(size=n_classes),
    )


def csr(X):
    """The stored parts of a matrix; explicit zeros and NaN stay."""
    matrix = sparse.csr_matrix(np.nan_to_num(X, nan=7.0, posinf=8.0, neginf=9.0))
    rows = np.repeat(np.arange(X.shape[0]), np.diff(matrix.indptr))
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), X[rows, matrix.indices]


def off_alignment(array):
    """A copy that starts eight bytes (or four, for float32) past a 64-byte boundary."""
    buffer = np.empty(array.size + 16, dtype=array.dtype)
    start = (-buffer.ctypes.data // array.itemsize) % (64 // array.itemsize) + 1
    view = buffer[start : start + array.size].reshape(array.shape)
    view[:] = array
    view.flags.writeable = False
    return view


def slow_counts(data, threshold, n_slots):
    d = data.X.shape[1]
    counts = np.zeros((n_slots, d + 1), dtype=np.int64)
    for row, code in zip(data.X.astype(np.float64), data.codes, strict=True):
        for j in range(d):
            if row[j] > threshold:
                counts[code, j] += 1
        counts[code, d] += 1
    return counts


def slow_sums(data, threshold, n_slots, block):
    """Object integers: the sums of a block, as Python adds them."""
    d = data.X.shape[1]
    sums = np.zeros((n_slots, d + 1), dtype=object)
    blocks, integers = _native.split_weights(data.weights)
    for i in np.flatnonzero(blocks == block):
        on = np.append(data.X[i].astype(np.float64) > threshold, True)
        sums[data.codes[i], on] += (int(integers[i, 1]) << 64) + int(integers[i, 0]) % 2**64
    return sums


def slow_likelihoods(data, threshold):
    """Eight lanes in order of the features and their tree, one Python float at a time."""
    out = np.empty((data.X.shape[0], data.delta.shape[0]))
    for i, row in enumerate(data.X.astype(np.float64)):
        for c, delta in enumerate(data.delta):
            lane = [0.0] * 8
            for j in range(row.size):
                if row[j] > threshold:
                    lane[j % 8] += float(delta[j])
            total = ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]))
            out[i, c] = data.bias[c] + total
    return out


def integers_of(sums):
    """A (..., 2) array of [low, high] as Python integers."""
    return (sums[..., 1].astype(object) << 64) + sums[..., 0].astype(np.uint64).astype(object)


def assert_same_bits(found, expected):
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()


def counted_dense(X, data, threshold, n_slots):
    counts = np.zeros((n_slots, X.shape[1] + 1), dtype=np.int64)
    _bernoulli.count_dense(X, threshold, data.codes, counts)
    return counts


def likelihoods_dense(X, data, threshold):
    out = np.full((X.shape[0], data.delta.shape[0]), np.nan)
    _bernoulli.joint_log_likelihood_dense(X, threshold, data.delta, data.bias, out)
    return out


def likelihoods_csr(X, data, threshold):
    out = np.full((X.shape[0], data.delta.shape[0]), np.nan)
    _bernoulli.joint_log_likelihood_csr(*csr(X), threshold, data.delta, data.bias, out)
    return out


def weighted(data, threshold, n_slots, block, sign, sums, kind="dense"):
    blocks, integers = _native.split_weights(data.weights)
    tail = (threshold, data.codes, integers, blocks, block, sign, sums)
    if kind == "dense":
        _bernoulli.add_weighted_dense(data.X, *tail)
    else:
        _bernoulli.add_weighted_csr(*csr(data.X), *tail)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", WIDTHS)
def test_counts(d, dtype):
    """Dense, CSR and unaligned rows give the counts of the double loop; NaN and ties with the threshold are off."""
    for n_classes in CLASS_COUNTS:
        data = make(d, n_classes, dtype)
        for threshold in (-1.0, 0.0, 0.25, 0.3):
            expected = slow_counts(data, threshold, n_classes + 1)
            np.testing.assert_array_equal(counted_dense(data.X, data, threshold, n_classes + 1), expected)
            np.testing.assert_array_equal(
                counted_dense(off_alignment(data.X), data, threshold, n_classes + 1), expected
            )
            if threshold >= 0:
                counts = np.zeros_like(expected)
                _bernoulli.count_csr(*csr(data.X), threshold, data.codes, counts)
                np.testing.assert_array_equal(counts, expected)


def test_counts_are_added_to():
    """A kernel adds to what is there."""
    data = make(5)
    counts = np.full((2, 6), 10, dtype=np.int64)
    _bernoulli.count_dense(data.X, 0.0, data.codes, counts)
    np.testing.assert_array_equal(counts - 10, slow_counts(data, 0.0, 2))


@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [1, 2, 3, 8, 21])
def test_weighted_sums(d, dtype, kind):
    """Every block holds the exact integer sum of its own rows, and nothing of other blocks."""
    for n_classes in CLASS_COUNTS:
        data = make(d, n_classes, dtype)
        for block in np.unique(_native.split_weights(data.weights)[0]).tolist():
            sums = np.zeros((n_classes, d + 1, 2), dtype=np.int64)
            weighted(data, 0.25, n_classes, block, 1, sums, kind)
            assert (integers_of(sums) == slow_sums(data, 0.25, n_classes, block)).all()


@pytest.mark.parametrize("kind", ["dense", "csr"])
def test_weighted_add_then_remove_restores_zero(kind):
    """Other rows added in between stay; all taken away again, every bit is zero."""
    one, other = make(13, seed=1), make(13, seed=2)
    for block in np.unique(_native.split_weights(one.weights)[0]).tolist():
        sums = np.zeros((2, 14, 2), dtype=np.int64)
        weighted(one, 0.0, 2, block, 1, sums, kind)
        weighted(other, 0.0, 2, block, 1, sums, "dense")
        weighted(one, 0.0, 2, block, -1, sums, kind)
        assert (integers_of(sums) == slow_sums(other, 0.0, 2, block)).all()
        weighted(other, 0.0, 2, block, -1, sums, "csr")
        assert not sums.any()


def test_weighted_sums_carry_into_the_high_half():
    """128 bits: the low half overflows again and again."""
    data = make(3, m=400)
    data.weights[:] = np.nextafter(2.0**14, 0.0)  # the largest weight of its block
    sums = np.zeros((2, 4, 2), dtype=np.int64)
    weighted(data, 0.0, 2, 33, 1, sums)
    assert (integers_of(sums) == slow_sums(data, 0.0, 2, 33)).all()
    assert integers_of(sums).max() > 2**90


def test_unit_rows_folded_equal_unit_weights():
    """A count shifted by 70 is the sum of as many weights of one; folding it back leaves nothing."""
    data = make(11, 7)
    data.weights[:] = 1.0
    sums = np.zeros((7, 12, 2), dtype=np.int64)
    counts = slow_counts(data, 0.0, 7)

    _bernoulli.fold(counts, sums, 70, 1)

    assert (integers_of(sums) == slow_sums(data, 0.0, 7, 33)).all()
    weighted(data, 0.0, 7, 33, -1, sums)
    assert not sums.any()
    _bernoulli.fold(counts, sums, 70, -1)
    _bernoulli.fold(counts, sums, 70, 1)
    assert not sums.any()


def test_folding_large_counts():
    """2**40 rows shifted by 70 need bits far above the low half, and a sign."""
    counts = np.array([[2**40 + 12345, 1]], dtype=np.int64)
    sums = np.zeros((1, 2, 2), dtype=np.int64)
    _bernoulli.fold(counts, sums, 70, -1)
    assert integers_of(sums).tolist() == [[-(2**40 + 12345) << 70, -1 << 70]]
    _bernoulli.fold(counts, sums, 0, 1)
    assert integers_of(sums)[0, 1] == 1 - (1 << 70)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", WIDTHS)
def test_likelihoods(d, dtype):
    """Dense, CSR, unaligned, one row at a time: the bits of eight lanes and their tree."""
    for k in CLASS_COUNTS:
        data = make(d, k, dtype, m=19)
        for threshold in (-1.0, 0.0, 0.3):
            expected = slow_likelihoods(data, threshold)
            assert_same_bits(likelihoods_dense(data.X, data, threshold), expected)
            assert_same_bits(likelihoods_dense(off_alignment(data.X), data, threshold), expected)
            alone = [likelihoods_dense(data.X[i : i + 1], data, threshold) for i in range(len(data.X))]
            assert_same_bits(np.vstack(alone), expected)
            if threshold >= 0:
                assert_same_bits(likelihoods_csr(data.X, data, threshold), expected)
                alone = [likelihoods_csr(data.X[i : i + 1], data, threshold) for i in range(len(data.X))]
                assert_same_bits(np.vstack(alone), expected)


@pytest.mark.parametrize("d", [1, 9, 40])
def test_infinite_and_negative_zero_deltas(d):
    """Features that are off leave no NaN where delta is infinite, and -0.0 counts as 0.0, dense and CSR alike."""
    data = make(d, 2)
    data.delta[0] = -0.0
    data.delta[1, ::2] = -np.inf
    data.bias[:] = [-0.0, 1.0]

    found = likelihoods_dense(data.X, data, 0.0)

    assert_same_bits(found, slow_likelihoods(data, 0.0))
    assert_same_bits(found, likelihoods_csr(data.X, data, 0.0))
    assert not np.isnan(found).any()


@pytest.mark.parametrize("threshold", [0.1, 1.0 / 3.0, 1e-46, 3.4e38, -0.1])
def test_float32_rows_are_their_float64_values(threshold):
    """The comparison is in float64, also where the threshold has no float32: in counts, sums and likelihoods."""
    near = np.nextafter(np.float32(threshold), np.float32([-np.inf, np.inf, 0.0]))
    values = np.array([*near, threshold, 0.0, 1.0, 3.4e38, 1e-45, -1.0], dtype=np.float32)
    single = make(10, dtype=np.float32)
    single.X = np.random.default_rng(0).choice(values, (57, 10))
    double = SimpleNamespace(**{**vars(single), "X": single.X.astype(np.float64)})

    assert_same_bits(counted_dense(single.X, single, threshold, 2), counted_dense(double.X, double, threshold, 2))
    assert_same_bits(likelihoods_dense(single.X, single, threshold), likelihoods_dense(double.X, double, threshold))
    for data in (single, double):
        sums = np.zeros((2, 11, 2), dtype=np.int64)
        weighted(data, threshold, 2, 33, 1, sums)
        assert (integers_of(sums) == slow_sums(double, threshold, 2, 33)).all()


def test_empty_batches():
    """No rows: nothing is counted, nothing written."""
    data = make(4, m=0)
    assert not counted_dense(data.X, data, 0.0, 2).any()
    assert likelihoods_dense(data.X, data, 0.0).shape == (0, 2)
    assert likelihoods_csr(data.X, data, 0.0).shape == (0, 2)


def test_explicit_zeros_are_off():
    """CSR may store zeros; a threshold >= 0 leaves them off."""
    counts = np.zeros((1, 3), dtype=np.int64)
    stored = np.array([0.0, -1.0, 2.0])
    _bernoulli.count_csr(np.array([0, 2, 3]), np.array([0, 1, 1], np.int32), stored, 0.0, np.zeros(2, np.int32), counts)
    assert counts.tolist() == [[0, 1, 2]]
