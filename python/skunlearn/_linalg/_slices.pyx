"""Gram matrices of integers through BLAS, exactly: the error-free slices of K. Ozaki, squared with Toom and Cook.

Balanced digits in base 2**18 turn an integer of 53 bits into three floats of magnitude at most 2**17. A matrix product
of such floats is exact, in any order and on any number of threads, as long as every partial sum is an integer below
2**53; the callers bound the number of rows for that, and `fold` then interpolates the products of digits and adds them
to a Gram matrix.

Q is (m, D) float64 in C order and holds integers; a Gram matrix is packed as in `_moments.pyx`. Arrays are IN unless a
comment says OUT.
"""

from libc.math cimport fabs, ldexp
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy

from scipy.linalg.cython_blas cimport dgemm, dsyrk

from skunlearn._linalg._vector cimport TWO_18, TWO_52, only_const_doubles, only_doubles, vector_void
from skunlearn._linalg._wide cimport add_wide, int128, packed

include "_blas_int.pxi"

cdef inline double nearest_multiple(double value, double unit) noexcept nogil:
    """Round to a multiple of a power of two, ties to even; `value` is at most 2**51 units."""
    return (value + 1.5 * TWO_52 * unit) - 1.5 * TWO_52 * unit


def residues(
    const double[:, ::1] Q,
    const double[::1] units,
    double[::1] below_unit,   # OUT: the largest distance to a multiple of the column's unit, if it is larger
    double[::1] below_digit,  # OUT: the same to a multiple of 2**18
):
    """Find which digits the columns use; return how many entries are not zero, and whether a digit is new to one."""
    cdef Py_ssize_t i, n = Q.shape[1]
    cdef int64_t n_nonzero = 0
    cdef int64_t n_used = count_nonzero(&below_unit[0], n) + count_nonzero(&below_digit[0], n)
    with nogil:
        for i in range(Q.shape[0]):
            n_nonzero += count_nonzero(&Q[i, 0], n)
            residues_of_row(&Q[i, 0], &units[0], n, &below_unit[0], &below_digit[0])
    return n_nonzero, count_nonzero(&below_unit[0], n) + count_nonzero(&below_digit[0], n) > n_used


cdef inline int64_t count_nonzero(only_const_doubles row, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t j
    cdef int64_t count = 0
    for j in range(n):
        count += row[j] != 0.0
    return count


cdef vector_void residues_of_row(
    only_const_doubles row,
    only_const_doubles units,
    Py_ssize_t n,
    only_doubles below_unit,   # OUT
    only_doubles below_digit,  # OUT
) noexcept nogil:
    cdef Py_ssize_t j
    cdef double rest
    for j in range(n):
        rest = fabs(row[j] - nearest_multiple(row[j], units[j]))
        below_unit[j] = rest if rest > below_unit[j] else below_unit[j]
        rest = fabs(row[j] - nearest_multiple(row[j], TWO_18))
        below_digit[j] = rest if rest > below_digit[j] else below_digit[j]


cdef inline void gather(
    const double* row,
    Py_ssize_t n_row,
    const int32_t[::1] columns,
    double* out,                # OUT: the named entries of the row
) noexcept nogil:
    cdef Py_ssize_t k
    if columns.shape[0] == n_row:
        memcpy(out, row, n_row * sizeof(double))
        return
    for k in range(columns.shape[0]):
        out[k] = row[columns[k]]


def slice_twice(
    const double[:, ::1] Q,
    const int32_t[::1] columns,
    double inverse_unit,
    double[:, :, :] operands,         # OUT: (3, m, n_columns): high, low, high + low
):
    """Write the operands of columns that use two digits (Karatsuba)."""
    cdef Py_ssize_t i, n = columns.shape[0]
    with nogil:
        for i in range(Q.shape[0]):
            gather(&Q[i, 0], Q.shape[1], columns, &operands[2, i, 0])
            split_in_two(&operands[2, i, 0], inverse_unit, n, &operands[0, i, 0], &operands[1, i, 0])


cdef vector_void split_in_two(
    only_doubles value_then_sum,  # IN and OUT
    double inverse_unit,
    Py_ssize_t n,
    only_doubles high,            # OUT
    only_doubles low,             # OUT
) noexcept nogil:
    cdef Py_ssize_t k
    cdef double value, multiple
    for k in range(n):
        value = value_then_sum[k] * inverse_unit
        multiple = nearest_multiple(value, TWO_18)
        high[k] = multiple * (1.0 / TWO_18)
        low[k] = value - multiple
        value_then_sum[k] = high[k] + low[k]


def slice_thrice(
    const double[:, ::1] Q,
    const int32_t[::1] columns,
    double[:, :, :] operands,         # OUT: (6, m, n_columns): high, middle, low, and their values at 1, -1 and 2
):
    """Write the operands of columns that use three digits (Toom and Cook)."""
    cdef Py_ssize_t i, n = columns.shape[0]
    with nogil:
        for i in range(Q.shape[0]):
            gather(&Q[i, 0], Q.shape[1], columns, &operands[5, i, 0])
            split_in_three(
                &operands[5, i, 0],
                n,
                &operands[0, i, 0],
                &operands[1, i, 0],
                &operands[2, i, 0],
                &operands[3, i, 0],
                &operands[4, i, 0],
            )


cdef vector_void split_in_three(
    only_doubles value_then_at_two,  # IN and OUT
    Py_ssize_t n,
    only_doubles high,               # OUT
    only_doubles middle,             # OUT
    only_doubles low,                # OUT
    only_doubles at_one,             # OUT
    only_doubles at_minus_one,       # OUT
) noexcept nogil:
    cdef Py_ssize_t k
    cdef double value, multiple, top, mid, bottom
    for k in range(n):
        value = value_then_at_two[k]
        multiple = nearest_multiple(value, TWO_18 * TWO_18)
        top = multiple * (1.0 / (TWO_18 * TWO_18))
        value = value - multiple
        multiple = nearest_multiple(value, TWO_18)
        mid = multiple * (1.0 / TWO_18)
        bottom = value - multiple
        high[k], middle[k], low[k] = top, mid, bottom
        at_one[k] = (bottom + top) + mid
        at_minus_one[k] = (bottom + top) - mid
        value_then_at_two[k] = bottom + 2.0 * mid + 4.0 * top


def add_square(
    const double[:, ::1] A,
    double[:, ::1] product,           # OUT: the lower triangle of A' A is added
):
    """Call dsyrk; C order is the transpose of what it knows."""
    cdef blas_int n = A.shape[1], m = A.shape[0]
    cdef double one = 1.0
    with nogil:
        dsyrk(b"U", b"N", &n, &m, &one, <double*> &A[0, 0], &n, &one, &product[0, 0], &n)


def add_product(
    const double[:, ::1] A,
    const double[:, ::1] B,
    double[:, ::1] product,           # OUT: A' B is added
):
    """Call dgemm."""
    cdef blas_int p = A.shape[1], n = B.shape[1], m = A.shape[0]
    cdef double one = 1.0
    with nogil:
        dgemm(
            b"N", b"T", &n, &p, &m, &one, <double*> &B[0, 0], &n, <double*> &A[0, 0], &p, &one, &product[0, 0], &n
        )


def fold_one_digit(
    double[:, ::1] products,          # IN and OUT: of columns that use one digit; becomes 0
    const int32_t[::1] columns,       # ascending
    const int32_t[::1] powers,        # of two, that the columns' units are
    int64_t[:, ::1] gram,             # OUT: sign * sum of q q' is added
    int sign,
):
    """Add the products of integers that are multiples of their columns' units; so are the sums, which BLAS took."""
    cdef Py_ssize_t i, j
    cdef int power, n_limbs = gram.shape[1]
    cdef int128 total
    with nogil:
        for i in range(columns.shape[0]):
            for j in range(i + 1):
                power = powers[i] + powers[j]
                total = <int64_t> ldexp(products[i, j], -power)
                add_wide(&gram[packed(columns[i], columns[j]), 0], n_limbs, sign * total << power)
    products[:] = 0.0


def fold_squares(
    double[:, :, ::1] products,       # IN and OUT: of 3 or 5 operands with themselves; becomes 0
    const int32_t[::1] columns,       # ascending
    int power,                        # of two, that the columns' unit is
    int64_t[:, ::1] gram,             # OUT: sign * sum of q q' is added
    int sign,
):
    """Interpolate the sums of squares, at most 2**126 in magnitude, and add them to a Gram matrix."""
    cdef Py_ssize_t i, j, step = products.shape[1] * products.shape[2]
    cdef int n_limbs = gram.shape[1]
    cdef int128 total
    with nogil:
        for i in range(columns.shape[0]):
            for j in range(i + 1):
                if products.shape[0] == 3:
                    total = karatsuba(&products[0, i, j], step)
                else:
                    total = toom_cook(&products[0, i, j], step)
                add_wide(&gram[packed(columns[i], columns[j]), 0], n_limbs, sign * total << 2 * power)
    products[:] = 0.0


cdef inline int128 karatsuba(const double* product, Py_ssize_t step) noexcept nogil:
    cdef int64_t high = <int64_t> product[0]
    cdef int64_t low = <int64_t> product[step]
    cdef int64_t cross = <int64_t> product[2 * step] - high - low
    return (<int128> high << 36) + (<int128> cross << 18) + low


cdef inline int128 toom_cook(const double* product, Py_ssize_t step) noexcept nogil:
    """Interpolate a polynomial of degree 4 from its values at infinity, 0, 1, -1 and 2; all divisions are exact."""
    cdef int64_t fourth = <int64_t> product[0]
    cdef int64_t zeroth = <int64_t> product[step]
    cdef int64_t at_one = <int64_t> product[2 * step]
    cdef int64_t at_minus_one = <int64_t> product[3 * step]
    cdef int64_t at_two = <int64_t> product[4 * step]
    cdef int64_t second = (at_one + at_minus_one) // 2 - zeroth - fourth
    cdef int64_t odd = (at_one - at_minus_one) // 2
    cdef int64_t third = ((at_two - zeroth - 4 * second - 16 * fourth) // 2 - odd) // 3
    cdef int64_t first = odd - third
    return (
        (<int128> fourth << 72) + (<int128> third << 54) + (<int128> second << 36) + (<int128> first << 18) + zeroth
    )


def fold_products(
    double[:, :, ::1] products,       # IN and OUT: of `left` with each digit of `right`, highest first; becomes 0
    const int32_t[::1] left,          # columns that use one digit
    const int32_t[::1] left_powers,
    const int32_t[::1] right,         # columns that use several
    int right_power,
    int64_t[:, ::1] gram,             # OUT: sign * sum of q q' is added
    int sign,
):
    """Put the sums of products together and add them to a Gram matrix."""
    cdef Py_ssize_t i, j, k, row, column
    cdef int n_limbs = gram.shape[1]
    cdef int128 total
    with nogil:
        for i in range(left.shape[0]):
            for j in range(right.shape[0]):
                total = 0
                for k in range(products.shape[0]):
                    total = (total << 18) + <int64_t> ldexp(products[k, i, j], -left_powers[i])
                total = sign * total << (left_powers[i] + right_power)
                row, column = max(left[i], right[j]), min(left[i], right[j])
                add_wide(&gram[packed(row, column), 0], n_limbs, total)
    products[:] = 0.0
