"""Kernels that read exact Gram matrices: centre them in integers, and convert once.

A numerator is G00 * Gjk - G0j * G0k, the sum of products about the means times the total weight. It fits into `width`
limbs of 64 bits, so products may wrap around there. Dividing by G00 gives a double-double: an unevaluated sum high +
low.

A Gram matrix is packed as in `_moments.pyx`. Arrays are IN unless a comment says OUT.
"""

from libc.math cimport frexp, ldexp
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy

from skunlearn._linalg._vector cimport TWO_53, only_doubles, vector_void
from skunlearn._linalg._wide cimport packed, uint128

cdef extern from *:
    int __builtin_clzll(unsigned long long) noexcept nogil

cdef enum:
    MOST_LIMBS = 5


cdef inline void take_wide(const int64_t[:, ::1] gram, Py_ssize_t entry, int width, uint64_t* out) noexcept nogil:
    cdef int i, n_limbs = gram.shape[1]
    for i in range(width):
        out[i] = gram[entry, i] if i < n_limbs else gram[entry, n_limbs - 1] >> 63


cdef inline void add_product(
    const uint64_t* a,
    const uint64_t* b,
    int width,
    uint64_t* out,       # IN and OUT: a * b is added
) noexcept nogil:
    cdef int i, j
    cdef uint128 term
    cdef uint64_t carry
    for i in range(width):
        if a[i] == 0:  # a count of rows is short, and `a` is that of many products
            continue
        carry = 0
        for j in range(width - i):
            term = <uint128> a[i] * b[j] + out[i + j] + carry
            out[i + j] = <uint64_t> term
            carry = <uint64_t> (term >> 64)


cdef inline void negate_if(bint condition, uint64_t* limbs, int width) noexcept nogil:
    """Change the sign without a branch: half of all signs would be guessed wrong."""
    cdef int i
    cdef uint64_t mask = -<int64_t> condition, carry = condition
    for i in range(width):
        limbs[i] = (limbs[i] ^ mask) + carry
        carry &= limbs[i] == 0


cdef inline void numerator(
    const int64_t[:, ::1] gram,
    const uint64_t* total,        # G00
    const uint64_t* minus_first,  # -G0j
    Py_ssize_t j,
    Py_ssize_t k,
    int width,                    # a constant, so that the loops are unrolled
    uint64_t* out,                # OUT
) noexcept nogil:
    cdef uint64_t[MOST_LIMBS] entry
    cdef int i
    for i in range(width):
        out[i] = 0
    take_wide(gram, packed(j, k), width, entry)
    add_product(total, entry, width, out)
    take_wide(gram, packed(k, 0), width, entry)
    add_product(minus_first, entry, width, out)


cdef inline void write_numerator(
    const int64_t[:, ::1] gram,
    const uint64_t* total,
    const uint64_t* minus_first,
    Py_ssize_t j,
    Py_ssize_t k,
    int width,                    # 3 or 5
    int64_t* out,                 # OUT
) noexcept nogil:
    if width == 3:
        numerator(gram, total, minus_first, j, k, 3, <uint64_t*> out)
    else:
        numerator(gram, total, minus_first, j, k, 5, <uint64_t*> out)


cdef inline void to_double_double(
    uint64_t* limbs,   # IN and OUT: becomes the magnitude
    int width,
    double* high,      # OUT
    double* low,       # OUT: of the sign of `high`, below its last place; what is dropped is below 2**-105 of the value
) noexcept nogil:
    cdef bint negative = limbs[width - 1] >> 63
    cdef int i, shift, top = width - 1
    cdef uint64_t[3] leading
    cdef uint128 bits
    cdef double unit
    negate_if(negative, limbs, width)
    while top > 0 and limbs[top] == 0:
        top -= 1
    if limbs[top] == 0:
        high[0] = low[0] = 0.0
        return
    for i in range(3):
        leading[i] = limbs[top - i] if top >= i else 0
    shift = __builtin_clzll(leading[0])
    bits = (<uint128> leading[0] << 64 | leading[1]) << shift
    if shift:
        bits |= leading[2] >> (64 - shift)
    unit = power_of_two(64 * (top - 1) - shift + 22) * (1.0 - 2.0 * negative)
    high[0] = <double> <int64_t> (bits >> 75) * TWO_53 * unit
    low[0] = <double> <int64_t> (bits >> 22 & ((<uint64_t> 1 << 53) - 1)) * unit


cdef inline double power_of_two(int exponent) noexcept nogil:
    cdef uint64_t bits = <uint64_t> (1023 + exponent) << 52
    cdef double power
    memcpy(&power, &bits, sizeof(power))
    return power


cdef inline double product_error(double a, double b, double product) noexcept nogil:
    """Return a * b - product exactly (Dekker 1971): fused multiply-add is not everywhere, and must not change bits."""
    cdef double split = 134217729.0
    cdef double high_a = split * a - (split * a - a)
    cdef double high_b = split * b - (split * b - b)
    cdef double low_a = a - high_a, low_b = b - high_b
    return ((high_a * high_b - product) + high_a * low_b + low_a * high_b) + low_a * low_b


cdef vector_void divide(
    only_doubles high,    # IN and OUT
    only_doubles low,     # IN and OUT
    Py_ssize_t n,
    double total,
    double total_low,
) noexcept nogil:
    """Divide double-doubles by one; the relative error is below 2**-102, and an exact quotient is exact."""
    cdef Py_ssize_t j
    cdef double quotient, product, rest
    for j in range(n):
        quotient = high[j] / total
        product = quotient * total
        rest = (high[j] - product) - product_error(quotient, total, product)
        rest = (rest + low[j] - quotient * total_low) / total
        high[j] = quotient + rest
        low[j] = rest - (high[j] - quotient)


cdef void begin_read(
    const int64_t[:, ::1] gram,
    int width,
    uint64_t* total,             # OUT: G00
    double* total_high,          # OUT
    double* total_low,           # OUT
) noexcept nogil:
    cdef uint64_t[MOST_LIMBS] copy = [0, 0, 0, 0, 0]
    take_wide(gram, 0, width, total)
    take_wide(gram, 0, width, copy)
    to_double_double(copy, width, total_high, total_low)


def numerators(
    const int64_t[:, ::1] gram,
    Py_ssize_t d,
    int64_t[:, ::1] out,         # OUT: ((d - 1) * d // 2, 3 or 5), packed, without column 0
):
    """Write the exact integers G00 * Gjk - G0j * G0k."""
    cdef Py_ssize_t j, k
    cdef int width = out.shape[1]
    cdef uint64_t[MOST_LIMBS] total, minus_first
    with nogil:
        take_wide(gram, 0, width, total)
        for j in range(1, d):
            take_wide(gram, packed(j, 0), width, minus_first)
            negate_if(True, minus_first, width)
            for k in range(1, j + 1):
                write_numerator(gram, total, minus_first, j, k, width, &out[packed(j - 1, k - 1), 0])


def normal_equations(
    const int64_t[:, ::1] gram,
    bint about_means,
    int64_t[:, :, ::1] of_features,  # OUT: (d, d, width), the lower triangle
    int64_t[:, :, ::1] of_targets,   # OUT: (d, n_targets, width)
):
    """Write the products of columns of X with columns of X and of y: numerators, or as they are in `width` limbs."""
    cdef Py_ssize_t j, k, d = of_features.shape[0]
    cdef int width = of_features.shape[2]
    cdef uint64_t[MOST_LIMBS] total, minus_first
    cdef int64_t* out
    with nogil:
        take_wide(gram, 0, width, total)
        for j in range(1, 1 + d + of_targets.shape[1]):
            take_wide(gram, packed(j, 0), width, minus_first)
            negate_if(True, minus_first, width)
            for k in range(1, min(j, d) + 1):
                out = &of_features[j - 1, k - 1, 0] if j <= d else &of_targets[k - 1, j - 1 - d, 0]
                if about_means:
                    write_numerator(gram, total, minus_first, j, k, width, out)
                else:
                    take_wide(gram, packed(j, k), width, <uint64_t*> out)


def combine_sums(
    const int64_t[:, ::1] gram,
    const double[::1] vector,    # (d - 1,): factors of the columns of X and y
    const int32_t[::1] shifts,   # (d,): the scales
    int lowest,                  # exponent of the result's unit, which divides all terms
    uint64_t[::1] out,           # OUT: two's complement, wide enough for the sum
):
    """Write the sum of vector[j] * G0j * 2**-shifts[j] over the columns, exactly, in units of 2**lowest."""
    cdef Py_ssize_t j, i
    cdef int exponent
    cdef int64_t integer
    cdef uint64_t[5] factor, entry, product
    with nogil:
        for i in range(out.shape[0]):
            out[i] = 0
        for j in range(vector.shape[0]):
            integer = <int64_t> ldexp(frexp(vector[j], &exponent), 53)
            if integer == 0:
                continue
            for i in range(5):
                factor[i] = integer if i == 0 else integer >> 63
                product[i] = 0
            take_wide(gram, packed(j + 1, 0), 5, entry)
            add_product(factor, entry, 5, product)
            add_shifted(product, exponent - 53 - shifts[j + 1] - lowest, &out[0], out.shape[0])


cdef void add_shifted(
    const uint64_t* limbs,  # five, in two's complement
    Py_ssize_t shift,
    uint64_t* out,          # IN and OUT: limbs * 2**shift is added
    Py_ssize_t n,
) noexcept nogil:
    cdef Py_ssize_t i, index, first = shift // 64
    cdef int within = shift % 64
    cdef uint64_t sign = <uint64_t> (<int64_t> limbs[4] >> 63)
    cdef uint64_t low = 0, high, carry = 0
    cdef uint128 total
    for i in range(first, n):
        index = i - first
        high = limbs[index] if index < 5 else sign
        total = <uint128> out[i] + (high << within | low >> 1 >> (63 - within)) + carry
        out[i] = <uint64_t> total
        carry = <uint64_t> (total >> 64)
        low = high


def scatter(
    const int64_t[:, ::1] gram,
    Py_ssize_t d,
    int width,
    double[:, ::1] high,         # OUT: (d - 1, d - 1), symmetric
    double[:, ::1] low,          # OUT
):
    """Write the sums of products about the means, numerator / G00, as double-doubles."""
    cdef Py_ssize_t j, k
    cdef uint64_t[MOST_LIMBS] total, minus_first, limbs
    cdef double total_high, total_low
    with nogil:
        begin_read(gram, width, total, &total_high, &total_low)
        for j in range(1, d):
            take_wide(gram, packed(j, 0), width, minus_first)
            negate_if(True, minus_first, width)
            for k in range(1, j + 1):
                if width == 3:
                    numerator(gram, total, minus_first, j, k, 3, limbs)
                    to_double_double(limbs, 3, &high[j - 1, k - 1], &low[j - 1, k - 1])
                else:
                    numerator(gram, total, minus_first, j, k, 5, limbs)
                    to_double_double(limbs, 5, &high[j - 1, k - 1], &low[j - 1, k - 1])
            divide(&high[j - 1, 0], &low[j - 1, 0], j, total_high, total_low)
            for k in range(j - 1):
                high[k, j - 1] = high[j - 1, k]
                low[k, j - 1] = low[j - 1, k]


def raw(
    const int64_t[:, ::1] gram,
    Py_ssize_t d,
    double[:, ::1] high,         # OUT: (d, d), symmetric
    double[:, ::1] low,          # OUT
):
    """Write the Gram matrix itself as double-doubles."""
    cdef Py_ssize_t j, k
    cdef uint64_t[MOST_LIMBS] limbs
    cdef double sum_high, sum_low
    with nogil:
        for j in range(d):
            for k in range(j + 1):
                take_wide(gram, packed(j, k), 3, limbs)
                to_double_double(limbs, 3, &sum_high, &sum_low)
                high[j, k] = high[k, j] = sum_high + sum_low
                low[j, k] = low[k, j] = sum_low - (high[j, k] - sum_high)


def means(
    const int64_t[:, ::1] gram,
    double[::1] high,            # OUT: (d - 1,)
    double[::1] low,             # OUT
):
    """Write G0j / G00 as double-doubles."""
    cdef Py_ssize_t j
    cdef uint64_t[MOST_LIMBS] total, limbs
    cdef double total_high, total_low
    if high.shape[0] == 0:
        return
    with nogil:
        begin_read(gram, 3, total, &total_high, &total_low)
        for j in range(high.shape[0]):
            take_wide(gram, packed(j + 1, 0), 3, limbs)
            to_double_double(limbs, 3, &high[j], &low[j])
        divide(&high[0], &low[0], high.shape[0], total_high, total_low)
