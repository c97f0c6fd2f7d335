"""Kernels of `Diagonal`: first moments and squares of rows of integers, in time that is linear in their length.

Q is (m, D) float64 in C order and holds integers of at most 2**53. Column j has a partner, column p(j). The sums are
(2 * D, n_limbs) int64, see `_wide.pxd`: entry j is the sum of q_p(j) q_j, and entry D + j that of q_j**2. Sums of
integers are the same in any order, so nothing here depends on how rows are batched or laid out.

Arrays are IN unless a comment says OUT. Indices are trusted, since callers have checked them.
"""

from libc.stdint cimport int32_t, int64_t

from skunlearn._linalg._wide cimport add_wide, int128, shift_wide


def add_rows(
    const double[:, ::1] Q,
    const int32_t[::1] partners,
    int64_t[:, ::1] sums,         # OUT: sign times the moments of the rows is added
    int sign,
    int64_t[::1] bits,            # OUT: bits that a column's integers use, down from their sign, are set
):
    """Add rows, or take them away."""
    cdef Py_ssize_t i, j, d = Q.shape[1]
    cdef int n_limbs = sums.shape[1]
    cdef bint one_partner = True
    for j in range(d):
        one_partner = one_partner and partners[j] == 0
    with nogil:
        for i in range(Q.shape[0]):
            if one_partner and n_limbs == 2:
                add_row(&Q[i, 0], d, <int128*> &sums[0, 0], sign, &bits[0])
            else:
                add_any_row(&Q[i, 0], d, &partners[0], &sums[0, 0], n_limbs, sign, &bits[0])


cdef inline void add_row(const double* row, Py_ssize_t d, int128* sums, int sign, int64_t* bits) noexcept nogil:
    """Add a row whose columns all have column 0 as partner, in two limbs."""
    cdef Py_ssize_t j
    cdef int64_t integer, first = sign * <int64_t> row[0]
    for j in range(d):
        integer = <int64_t> row[j]
        bits[j] |= integer
        sums[j] += <int128> first * integer
        sums[d + j] += <int128> (sign * integer) * integer


cdef inline void add_any_row(
    const double* row,
    Py_ssize_t d,
    const int32_t* partners,
    int64_t* sums,
    int n_limbs,
    int sign,
    int64_t* bits,
) noexcept nogil:
    cdef Py_ssize_t j
    cdef int64_t integer, partner
    for j in range(d):
        integer = <int64_t> row[j]
        if integer == 0:
            continue
        bits[j] |= integer
        partner = sign * <int64_t> row[partners[j]]
        add_wide(sums + n_limbs * j, n_limbs, <int128> partner * integer)
        add_wide(sums + n_limbs * (d + j), n_limbs, <int128> (sign * integer) * integer)


def exceeds(const int64_t[:, ::1] sums, int bits):
    """Return whether a sum of squares has reached 2**bits; by Cauchy-Schwarz the other sums are no larger."""
    cdef Py_ssize_t j
    for j in range(sums.shape[0] // 2, sums.shape[0]):
        if sums[j, 1] >> (bits - 64):
            return True
    return False


def rescale(
    int64_t[:, ::1] sums,            # IN and OUT: column j of Q is multiplied by 2**powers[j]
    const int32_t[::1] partners,
    const int32_t[::1] powers,
):
    """Multiply by powers of two; the caller knows that all results are integers, and that they fit."""
    cdef Py_ssize_t j, d = powers.shape[0]
    cdef int n_limbs = sums.shape[1]
    with nogil:
        for j in range(d):
            shift_wide(&sums[j, 0], n_limbs, powers[partners[j]] + powers[j])
            shift_wide(&sums[d + j, 0], n_limbs, 2 * powers[j])
