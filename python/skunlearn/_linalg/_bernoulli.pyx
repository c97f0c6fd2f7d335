"""Kernels of BernoulliNB: exact counts of binarised features, and joint log likelihoods in a fixed order.

Conventions
-----------
X is (m, d), dense in C order or CSR with ascending column indices, float32 or float64. A feature is on where
x > threshold, compared in float64; NaN never is. A CSR threshold is >= 0, so that the zeros it does not store are off.

Counts are (n_slots, d + 1): column j counts the rows of a class slot with feature j on, column d all its rows. Rows of
weight one are counted in int64; sums of other weights are 128-bit integers, each stored as [low, high] on a last axis
of length 2, which is one little-endian int128 in place. `_unlearn_native._native.split_weights` makes these integers.

Arrays are IN unless a comment says OUT. Codes and indices are trusted, since callers have checked them; a build with
SKUNLEARN_CYTHON_DEBUG=1 checks every bound.
"""

from cython cimport floating
from libc.stdint cimport int32_t, int64_t, uint8_t

from skunlearn._linalg._lanes cimport N_LANES, combine

cdef extern from *:
    """
    /* Lives in int64 arrays: hence the alias, and the alignment of theirs. */
    typedef __int128 int128 __attribute__((may_alias, aligned(8)));
    """
    ctypedef long long int128


def count_dense(
    const floating[:, ::1] X,
    double threshold,
    const int32_t[::1] codes,
    int64_t[:, ::1] counts,  # OUT: increased
):
    """Count rows of weight one: for each feature that is on, and once for the class."""
    cdef Py_ssize_t i, j, code, d = X.shape[1]
    with nogil:
        for i in range(X.shape[0]):
            code = codes[i]
            for j in range(d):
                counts[code, j] += <double> X[i, j] > threshold
            counts[code, d] += 1


def count_csr(
    const int64_t[::1] indptr,
    const int32_t[::1] indices,
    const floating[::1] data,
    double threshold,
    const int32_t[::1] codes,
    int64_t[:, ::1] counts,  # OUT: increased
):
    """Count rows of weight one, as `count_dense` does."""
    cdef Py_ssize_t i, p, code, d = counts.shape[1] - 1
    with nogil:
        for i in range(codes.shape[0]):
            code = codes[i]
            for p in range(indptr[i], indptr[i + 1]):
                counts[code, indices[p]] += <double> data[p] > threshold
            counts[code, d] += 1


def fold(
    const int64_t[:, ::1] counts,
    int64_t[:, :, ::1] sums,  # OUT: sign * counts * 2**shift is added
    int shift,
    int sign,
):
    """Add counts of rows of weight one to sums of other weights, or take them away."""
    cdef Py_ssize_t i, j
    cdef int128 count
    with nogil:
        for i in range(counts.shape[0]):
            for j in range(counts.shape[1]):
                count = sign * counts[i, j]
                add(sums, i, j, count << shift)


cdef inline void add(int64_t[:, :, ::1] sums, Py_ssize_t i, Py_ssize_t j, int128 integer) noexcept nogil:
    (<int128*> &sums[i, j, 0])[0] += integer


cdef inline int128 signed_integer(const int64_t[:, ::1] integers, Py_ssize_t i, int sign) noexcept nogil:
    return sign * (<const int128*> &integers[i, 0])[0]


def add_weighted_dense(
    const floating[:, ::1] X,
    double threshold,
    const int32_t[::1] codes,
    const int64_t[:, ::1] integers,
    const uint8_t[::1] blocks,
    int block,
    int sign,
    int64_t[:, :, ::1] sums,  # OUT: sign * integer is added
):
    """Add the weights of the rows whose block is `block`, or take them away."""
    cdef Py_ssize_t i, j, code, d = X.shape[1]
    cdef int128 integer
    with nogil:
        for i in range(X.shape[0]):
            if blocks[i] != block:
                continue
            code = codes[i]
            integer = signed_integer(integers, i, sign)
            for j in range(d):
                # All ones or zero: a branch would be mispredicted for half of the rows.
                add(sums, code, j, integer & -<int128> (<double> X[i, j] > threshold))
            add(sums, code, d, integer)


def add_weighted_csr(
    const int64_t[::1] indptr,
    const int32_t[::1] indices,
    const floating[::1] data,
    double threshold,
    const int32_t[::1] codes,
    const int64_t[:, ::1] integers,
    const uint8_t[::1] blocks,
    int block,
    int sign,
    int64_t[:, :, ::1] sums,  # OUT: sign * integer is added
):
    """Add the weights of the rows whose block is `block`, or take them away."""
    cdef Py_ssize_t i, p, code, d = sums.shape[1] - 1
    cdef int128 integer
    with nogil:
        for i in range(codes.shape[0]):
            if blocks[i] != block:
                continue
            code = codes[i]
            integer = signed_integer(integers, i, sign)
            for p in range(indptr[i], indptr[i + 1]):
                if <double> data[p] > threshold:
                    add(sums, code, indices[p], integer)
            add(sums, code, d, integer)


cdef inline void add_on(
    const floating* x,
    double threshold,
    const double* delta,
    Py_ssize_t n,
    double* lanes,  # OUT: increased
) noexcept nogil:
    """Add delta where x is on, 0.0 elsewhere: a lane is never -0.0, so that changes no bit."""
    cdef Py_ssize_t lane
    cdef double value
    for lane in range(n):
        value = delta[lane]
        lanes[lane] += value if <double> x[lane] > threshold else 0.0


def joint_log_likelihood_dense(
    const floating[:, ::1] X,
    double threshold,
    const double[:, ::1] delta,
    const double[::1] bias,
    double[:, ::1] out,  # OUT: (m, k)
):
    """Write bias plus the sum of delta over the features that are on, for each row and class.

    One row or many, dense or CSR, the bits are the same: see `_lanes` for the order of the sum.
    """
    cdef Py_ssize_t i, c, other, j, chunk, d = X.shape[1], k = delta.shape[0]
    cdef Py_ssize_t n_chunks = d // N_LANES, n_tail = d % N_LANES
    cdef double[N_LANES] lanes, other_lanes
    with nogil:
        for i in range(X.shape[0]):
            # Two classes at a time hide each other's latency; an odd last one runs beside itself.
            for c in range(0, k, 2):
                other = min(c + 1, k - 1)
                for j in range(N_LANES):
                    lanes[j] = other_lanes[j] = 0.0
                for chunk in range(n_chunks):
                    j = chunk * N_LANES
                    add_on(&X[i, j], threshold, &delta[c, j], N_LANES, lanes)
                    add_on(&X[i, j], threshold, &delta[other, j], N_LANES, other_lanes)
                if n_tail > 0:
                    j = n_chunks * N_LANES
                    add_on(&X[i, j], threshold, &delta[c, j], n_tail, lanes)
                    add_on(&X[i, j], threshold, &delta[other, j], n_tail, other_lanes)
                out[i, c] = bias[c] + combine(lanes)
                out[i, other] = bias[other] + combine(other_lanes)


def joint_log_likelihood_csr(
    const int64_t[::1] indptr,
    const int32_t[::1] indices,
    const floating[::1] data,
    double threshold,
    const double[:, ::1] delta,
    const double[::1] bias,
    double[:, ::1] out,  # OUT: (m, k)
):
    """Write the same bits as `joint_log_likelihood_dense`."""
    cdef Py_ssize_t i, c, j, p
    cdef double[N_LANES] lanes
    with nogil:
        for i in range(out.shape[0]):
            for c in range(delta.shape[0]):
                for j in range(N_LANES):
                    lanes[j] = 0.0
                for p in range(indptr[i], indptr[i + 1]):
                    if <double> data[p] > threshold:
                        j = indices[p]
                        lanes[j % N_LANES] += delta[c, j]
                out[i, c] = bias[c] + combine(lanes)
