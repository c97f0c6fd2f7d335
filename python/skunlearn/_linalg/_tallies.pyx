"""Kernels of the naive Bayes classifiers that count occurrences: exact sums of values that are not negative.

Conventions
-----------
X is (m, d), dense in C order or CSR with ascending column indices, float32 or float64, without negative values. What
is summed is fl(weight * x), a float64. Like the weights in `_bernoulli.pyx` it is integer * 2**(32 * block - 1126),
with block = (e + 1074) / 32 rounded down where 2**e <= value < 2**(e + 1); the integer is below 2**85.

Sums of one block are (n_slots, d + 1) 128-bit integers, each stored as [low, high] on a last axis of length 2, which
is one little-endian int128 in place: column j for feature j of a class slot, column d for the weights of its rows.

Arrays are IN unless a comment says OUT. Codes and indices are trusted, since callers have checked them.
"""

from cython cimport floating
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    /* Lives in int64 arrays: hence the alias, and the alignment of theirs. */
    typedef __int128 int128 __attribute__((may_alias, aligned(8)));
    """
    ctypedef long long int128
    int __builtin_clzll(unsigned long long) noexcept nogil


cdef inline int split(double value, int128* integer) noexcept nogil:
    """Write the integer of a value above 0, and return its block."""
    cdef uint64_t bits, mantissa
    cdef int biased, position
    memcpy(&bits, &value, sizeof(bits))
    biased = (bits >> 52) & 0x7ff
    mantissa = bits & ((<uint64_t> 1 << 52) - 1)
    if biased == 0:
        position = 63 - __builtin_clzll(mantissa)
        integer[0] = <int128> mantissa << (52 - (position & ~31))
        return position >> 5
    position = biased + 51
    integer[0] = <int128> (mantissa | <uint64_t> 1 << 52) << (position & 31)
    return position >> 5


cdef inline void tally(
    double value,
    int block,
    int sign,
    int64_t* counts,  # OUT: entries of each block
    int64_t* sum,     # OUT, or NULL
) noexcept nogil:
    """Count a value under its block or, where there is a sum, add it to that if it is of the block."""
    cdef int128 integer
    cdef int its_block
    if value == 0.0:
        return
    its_block = split(value, &integer)
    if sum == NULL:
        counts[its_block] += 1
    elif its_block == block:
        (<int128*> sum)[0] += sign * integer


cdef inline int64_t* sum_of(int64_t[:, :, ::1] sums, Py_ssize_t code, Py_ssize_t j) noexcept nogil:
    return NULL if sums is None else &sums[code, j, 0]


def tally_dense(
    const floating[:, ::1] X,
    const int32_t[::1] codes,
    const double[::1] weight,  # or None
    int block,
    int sign,
    int64_t[::1] counts,       # OUT, without sums: increased by the values above 0 of each block
    int64_t[:, :, ::1] sums,   # OUT, or None: sign * integer is added for the values of `block`
):
    """Count the values of each block, or add those of one to the sums."""
    cdef Py_ssize_t i, j, d = X.shape[1]
    cdef double w
    with nogil:
        for i in range(X.shape[0]):
            w = 1.0 if weight is None else weight[i]
            for j in range(d):
                tally(w * <double> X[i, j], block, sign, &counts[0], sum_of(sums, codes[i], j))
            tally(w, block, sign, &counts[0], sum_of(sums, codes[i], d))


def tally_csr(
    const int64_t[::1] indptr,
    const int32_t[::1] indices,
    const floating[::1] data,
    Py_ssize_t d,
    const int32_t[::1] codes,
    const double[::1] weight,  # or None
    int block,
    int sign,
    int64_t[::1] counts,       # OUT, without sums: increased by the values above 0 of each block
    int64_t[:, :, ::1] sums,   # OUT, or None: sign * integer is added for the values of `block`
):
    """Do what `tally_dense` does."""
    cdef Py_ssize_t i, p
    cdef double w
    with nogil:
        for i in range(codes.shape[0]):
            w = 1.0 if weight is None else weight[i]
            for p in range(indptr[i], indptr[i + 1]):
                tally(w * <double> data[p], block, sign, &counts[0], sum_of(sums, codes[i], indices[p]))
            tally(w, block, sign, &counts[0], sum_of(sums, codes[i], d))


def complements(
    const int64_t[:, :, ::1] sums,
    int64_t[:, :, ::1] out,         # OUT: (n_slots + 1, ...): the sums of all other slots, and those of all
):
    """Take the sums of each slot away from the total."""
    cdef Py_ssize_t c, j, n_slots = sums.shape[0]
    cdef int128 total
    with nogil:
        for j in range(sums.shape[1]):
            total = 0
            for c in range(n_slots):
                total += (<const int128*> &sums[c, j, 0])[0]
            for c in range(n_slots):
                (<int128*> &out[c, j, 0])[0] = total - (<const int128*> &sums[c, j, 0])[0]
            (<int128*> &out[n_slots, j, 0])[0] = total
