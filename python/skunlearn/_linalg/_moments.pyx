"""Kernels of the exact moment engine, row by row: load, survey, quantise, add to a Gram matrix in integers.

Conventions
-----------
A row of Z is [c | x | y]: c is the root of the weight, and x and y are multiplied by it. Z is (m, D) float64, C order.
`quantise` turns it, in place, into Q: the integers rint(z * multiplier), kept as float64, at most 2**53 in magnitude.

A Gram matrix is the lower triangle packed by rows, (D * (D + 1) // 2, n_limbs) int64: see `_wide.pxd`. Sums of integers
are the same in any order, so nothing here depends on how rows are batched or laid out.

Arrays are IN unless a comment says OUT. Indices are trusted, since callers have checked them; a build with
SKUNLEARN_CYTHON_DEBUG=1 checks every bound.
"""

from cython cimport floating
from libc.math cimport copysign, fabs, sqrt
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy, memset

from skunlearn._linalg._vector cimport TWO_52, only_const_doubles, only_doubles, vector_void
from skunlearn._linalg._wide cimport add_wide, int128, packed, shift_wide

cdef extern from *:
    int __builtin_ctzll(unsigned long long) noexcept nogil

# frexp's exponent is the biased one less 1022; values below 2**-954 are zero at every scale: scales end at 2**-900.
cdef enum:
    EXPONENT_BIAS = 1022
    SMALLEST_BIASED = 69
    SMALLEST_SCALE = 122
    MOST_QUANTUM = 4096

NO_EXPONENT = -EXPONENT_BIAS
NO_QUANTUM = MOST_QUANTUM


def load_dense(
    const floating[:, ::1] X,
    const double[:, ::1] y,       # or None
    const double[::1] weight,     # or None
    Py_ssize_t start,
    double[:, ::1] Z,             # OUT: rows start, start + 1, ... of X
):
    """Write rows of Z; return how many have a weight other than 1."""
    cdef Py_ssize_t i, n_weighted = 0, d = X.shape[1]
    cdef double root
    with nogil:
        for i in range(Z.shape[0]):
            root = 1.0 if weight is None else sqrt(weight[start + i])
            n_weighted += weight is not None and weight[start + i] != 1.0
            Z[i, 0] = root
            if d > 0:
                load_values(&X[start + i, 0], root, d, &Z[i, 1])
            if y is not None:
                load_values(&y[start + i, 0], root, y.shape[1], &Z[i, 1 + d])
    return n_weighted


def load_csr(
    const int64_t[::1] indptr,
    const int32_t[::1] indices,
    const floating[::1] data,
    Py_ssize_t d,
    const double[:, ::1] y,       # or None
    const double[::1] weight,     # or None
    Py_ssize_t start,
    double[:, ::1] Z,             # OUT: rows start, start + 1, ... of X
):
    """Write rows of Z, as `load_dense` does."""
    cdef Py_ssize_t i, p, n_weighted = 0
    cdef double root
    with nogil:
        for i in range(Z.shape[0]):
            root = 1.0 if weight is None else sqrt(weight[start + i])
            n_weighted += weight is not None and weight[start + i] != 1.0
            Z[i, 0] = root
            if d > 0:
                memset(&Z[i, 1], 0, d * sizeof(double))
            for p in range(indptr[start + i], indptr[start + i + 1]):
                Z[i, 1 + indices[p]] = root * <double> data[p]
            if y is not None:
                load_values(&y[start + i, 0], root, y.shape[1], &Z[i, 1 + d])
    return n_weighted


cdef inline void load_values(const floating* values, double root, Py_ssize_t n, double* out) noexcept nogil:
    cdef Py_ssize_t j
    if floating is double and root == 1.0:
        memcpy(out, values, n * sizeof(double))
        return
    for j in range(n):
        out[j] = root * <double> values[j]


def raise_peaks(
    const double[:, ::1] Z,
    double[::1] peaks,  # OUT: the largest magnitude of each column, if it is larger
):
    """Take the largest magnitude of each column."""
    cdef Py_ssize_t i
    if Z.shape[1] == 0:
        return
    with nogil:
        for i in range(Z.shape[0]):
            raise_to(&Z[i, 0], Z.shape[1], &peaks[0])


cdef vector_void raise_to(only_const_doubles row, Py_ssize_t n, only_doubles peaks) noexcept nogil:
    cdef Py_ssize_t j
    cdef double magnitude
    for j in range(n):
        magnitude = fabs(row[j])
        peaks[j] = magnitude if magnitude > peaks[j] else peaks[j]


cdef inline int32_t binade(double value, int32_t* quantum) noexcept nogil:
    """Return frexp's exponent, within the range of scales, and the exponent of the lowest bit; NO_EXPONENT for zero."""
    cdef uint64_t bits
    cdef int32_t biased
    memcpy(&bits, &value, sizeof(bits))
    biased = (bits >> 52) & 0x7ff
    if biased < SMALLEST_BIASED:
        quantum[0] = MOST_QUANTUM
        return -EXPONENT_BIAS
    quantum[0] = biased - 1075 + __builtin_ctzll(bits | <uint64_t> 1 << 52)
    return (biased if biased > SMALLEST_SCALE else SMALLEST_SCALE) - EXPONENT_BIAS


def survey(
    const double[:, ::1] Z,
    const int32_t[::1] columns,
    int32_t[::1] exponents,  # OUT: of the largest value of each column; raised
    int64_t[::1] counts,     # OUT: of the rows in that binade; increased, or begun anew
    int32_t[::1] quanta,     # OUT: exponent of a power of two that divides every value; lowered
):
    """Take binade, population of the top binade and granularity of the named columns."""
    cdef Py_ssize_t i, k
    cdef int32_t exponent, quantum
    with nogil:
        for i in range(Z.shape[0]):
            for k in range(columns.shape[0]):
                exponent = binade(Z[i, columns[k]], &quantum)
                if quantum < quanta[k]:
                    quanta[k] = quantum
                if exponent > exponents[k]:
                    exponents[k] = exponent
                    counts[k] = 1
                elif exponent == exponents[k]:
                    counts[k] += exponent != -EXPONENT_BIAS


def fits(const double[:, ::1] Z, const int32_t[::1] exponents):
    """Return whether no value lies above the binade of its column."""
    cdef Py_ssize_t i, j, n_above = 0
    cdef int32_t quantum
    with nogil:
        for i in range(Z.shape[0]):
            for j in range(Z.shape[1]):
                n_above += binade(Z[i, j], &quantum) > exponents[j]
    return n_above == 0


def admit(
    const double[:, ::1] Z,
    const int32_t[::1] exponents,
    int64_t[::1] counts,           # OUT: increased by the rows in the top binade
    int32_t[::1] quanta,           # OUT: lowered to what divides these values, too
):
    """Count in rows whose values fit."""
    cdef Py_ssize_t i, j
    cdef int32_t exponent, quantum
    with nogil:
        for i in range(Z.shape[0]):
            for j in range(Z.shape[1]):
                exponent = binade(Z[i, j], &quantum)
                counts[j] += exponent == exponents[j] and exponent != -EXPONENT_BIAS
                if quantum < quanta[j]:
                    quanta[j] = quantum


def dismiss(
    double[:, ::1] Z,              # IN and OUT: becomes Q
    const int32_t[::1] exponents,
    int64_t[::1] counts,           # OUT: decreased by the rows in the top binade
    const double[::1] multiplier,
):
    """Count out rows that were admitted, and quantise them."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(Z.shape[0]):
            dismiss_row(&Z[i, 0], Z.shape[1], &exponents[0], &counts[0])
            quantise_row(&Z[i, 0], &multiplier[0], Z.shape[1])


cdef inline void dismiss_row(
    const double* row,
    Py_ssize_t n,
    const int32_t* exponents,
    int64_t* counts,               # OUT
) noexcept nogil:
    cdef Py_ssize_t j
    cdef int32_t exponent, quantum
    for j in range(n):
        exponent = binade(row[j], &quantum)
        counts[j] -= exponent == exponents[j] and exponent != -EXPONENT_BIAS


def forget_row(
    double[:, ::1] Z,              # IN and OUT: one row; becomes zero
    const int32_t[::1] exponents,
    int64_t[::1] counts,           # OUT: decreased where the row is in the top binade
    const double[::1] multiplier,
    int64_t[:, ::1] gram,          # OUT: q q' is subtracted
    int64_t[::1] scratch,          # 2 * (D + 1) entries
):
    """Do to one row, in one call, what `dismiss` and `add_rows` do to many; leave no copy of it."""
    cdef Py_ssize_t d = Z.shape[1]
    with nogil:
        dismiss_row(&Z[0, 0], d, &exponents[0], &counts[0])
        quantise_row(&Z[0, 0], &multiplier[0], d)
        add_integers(&Z[0, 0], d, &gram[0, 0], gram.shape[1], -1, &scratch[0])
        memset(&Z[0, 0], 0, d * sizeof(double))
        memset(&scratch[0], 0, scratch.shape[0] * sizeof(int64_t))


def quantise(
    double[:, ::1] Z,              # IN and OUT: becomes Q
    const double[::1] multiplier,
):
    """Round z * multiplier to integers, ties to even."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(Z.shape[0]):
            quantise_row(&Z[i, 0], &multiplier[0], Z.shape[1])


def quantise_counting(
    double[:, ::1] Z,              # IN and OUT: becomes Q
    const double[::1] multiplier,
    const double[::1] top,         # where the top binade begins
    double[::1] counts,            # OUT: increased by the rows in the top binade
    double[::1] errors,            # OUT: the largest error of rounding, if it is larger
):
    """Do what `quantise` does, and take the population of the top binade and the errors of rounding on the way."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(Z.shape[0]):
            quantise_row_counting(&Z[i, 0], &multiplier[0], &top[0], Z.shape[1], &counts[0], &errors[0])


cdef inline double nearest_integer(double value) noexcept nogil:
    """Return rint(value). The library function is no instruction on the baseline, and would not be vectorised."""
    cdef double away = copysign(TWO_52 if fabs(value) < TWO_52 else 0.0, value)
    return (value + away) - away


cdef vector_void quantise_row(only_doubles row, only_const_doubles multiplier, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        row[j] = nearest_integer(row[j] * multiplier[j])


cdef vector_void quantise_row_counting(
    only_doubles row,                # IN and OUT
    only_const_doubles multiplier,
    only_const_doubles top,
    Py_ssize_t n,
    only_doubles counts,             # OUT
    only_doubles errors,             # OUT
) noexcept nogil:
    cdef Py_ssize_t j
    cdef double value, error
    for j in range(n):
        counts[j] += 1.0 if fabs(row[j]) >= top[j] else 0.0
        value = row[j] * multiplier[j]
        row[j] = nearest_integer(value)
        error = fabs(value - row[j])
        errors[j] = error if error > errors[j] else errors[j]


cdef inline Py_ssize_t compress(
    const double* row,
    Py_ssize_t n,
    int64_t* integers,    # OUT: the integers that are not zero
    int64_t* places,   # OUT: their columns, ascending
) noexcept nogil:
    cdef Py_ssize_t j, count = 0
    for j in range(n):
        integers[count] = <int64_t> row[j]
        places[count] = j
        count += row[j] != 0.0
    return count


def add_rows(
    const double[:, ::1] Q,
    int64_t[:, ::1] gram,        # OUT: sign * q q' is added for every row
    int sign,
    int64_t[::1] scratch,        # 2 * (D + 1) entries
):
    """Add rows one by one: d**2 / 2 products of 64 bits, of the entries that are not zero."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(Q.shape[0]):
            add_integers(&Q[i, 0], Q.shape[1], &gram[0, 0], gram.shape[1], sign, &scratch[0])


cdef inline void add_integers(
    const double* row,
    Py_ssize_t d,
    int64_t* gram,               # OUT
    int n_limbs,
    int sign,
    int64_t* scratch,            # 2 * (d + 1) entries
) noexcept nogil:
    cdef int64_t* integers = scratch
    cdef int64_t* places = scratch + d + 1
    cdef Py_ssize_t count = compress(row, d, integers, places)
    if count == d and n_limbs == 2:
        add_full_row(integers, d, <int128*> gram, sign)
    else:
        add_row(integers, places, count, gram, n_limbs, sign)


cdef inline void add_full_row(const int64_t* integers, Py_ssize_t d, int128* gram, int sign) noexcept nogil:
    cdef Py_ssize_t j, k
    cdef int64_t left
    for j in range(d):
        left = sign * integers[j]
        for k in range(j + 1):
            gram[k] += <int128> left * integers[k]
        gram += j + 1


cdef inline void add_row(
    const int64_t* integers,
    const int64_t* places,
    Py_ssize_t count,
    int64_t* gram,
    int n_limbs,
    int sign,
) noexcept nogil:
    cdef Py_ssize_t j, k
    cdef int64_t left
    cdef int64_t* line
    for j in range(count):
        left = sign * integers[j]
        line = gram + n_limbs * packed(places[j], 0)
        for k in range(j + 1):
            add_wide(line + n_limbs * places[k], n_limbs, <int128> left * integers[k])


def add_columns(
    const double[:, ::1] Q,
    const unsigned char[::1] chosen,
    int64_t[:, ::1] gram,            # OUT: the entries of a chosen row or column are increased
    int64_t[::1] scratch,            # 2 * (D + 1) entries
):
    """Add the entries (j, k) of q q' where j or k is chosen."""
    cdef Py_ssize_t i, j, k, count, d = Q.shape[1]
    cdef int64_t* integers = &scratch[0]
    cdef int64_t* places = &scratch[d + 1]
    cdef int n_limbs = gram.shape[1]
    cdef bint whole
    with nogil:
        for i in range(Q.shape[0]):
            count = compress(&Q[i, 0], d, integers, places)
            for j in range(count):
                whole = chosen[places[j]]
                for k in range(j + 1):
                    if whole or chosen[places[k]]:
                        add_wide(
                            &gram[packed(places[j], places[k]), 0], n_limbs, <int128> integers[j] * integers[k]
                        )


def exceeds(const int64_t[:, ::1] gram, Py_ssize_t d, int bits):
    """Return whether some entry of the diagonal has reached 2**bits; by Cauchy-Schwarz the others are no larger."""
    cdef Py_ssize_t j
    for j in range(d):
        if gram[packed(j, j), 1] >> (bits - 64):
            return True
    return False


def rescale(
    int64_t[:, ::1] gram,          # IN and OUT: entry (j, k) is multiplied by 2**(powers[j] + powers[k])
    const int32_t[::1] powers,
):
    """Multiply by powers of two; the caller knows that all results are integers, and that they fit."""
    cdef Py_ssize_t j, k, d = powers.shape[0]
    cdef int n_limbs = gram.shape[1]
    with nogil:
        for j in range(d):
            for k in range(j + 1):
                if powers[j] + powers[k] != 0:
                    shift_wide(&gram[packed(j, k), 0], n_limbs, powers[j] + powers[k])
