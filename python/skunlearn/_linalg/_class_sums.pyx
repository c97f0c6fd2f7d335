"""Sums of rows by class, in integers: what a classifier needs of its labels beside one Gram matrix.

Q is (m, D) float64 and holds integers of at most 2**53, column 0 the roots of the weights: see `_moments.pyx`. A sum is
three int64 limbs: see `_wide.pxd`. Arrays are IN unless a comment says OUT. Codes are trusted.
"""

from libc.stdint cimport int32_t, int64_t

from skunlearn._linalg._wide cimport add_wide, int128


def add_rows(
    const double[:, ::1] Q,
    const int32_t[::1] codes,        # of the rows
    const unsigned char[::1] chosen,
    int64_t[:, :, ::1] sums,         # OUT: (n_codes, D, 3); entries of chosen columns are increased
    int sign,
):
    """Add sign * q_0 q to the sums of a row's class, in the columns that are chosen."""
    cdef Py_ssize_t i, j
    cdef int64_t root
    with nogil:
        for i in range(Q.shape[0]):
            root = sign * <int64_t> Q[i, 0]
            for j in range(Q.shape[1]):
                if chosen[j] and Q[i, j] != 0.0:
                    add_wide(&sums[codes[i], j, 0], 3, <int128> root * <int64_t> Q[i, j])
