"""Kernels of the certified solve: exact residuals in integers around a Cholesky factor that nobody has to trust.

Conventions
-----------
A *number* is a row of int64 digits in base 2^52, least significant first, each in [-2^51, 2^51): so small numbers of
either sign have zeros on top, and a digit is a float64 exactly. A matrix is stored as planes, (n_digits, d, d).

``gram`` is N scaled by powers of two so that N[j, j] lies in [2^(top - 4), 2^top): H = N / 2^top is its float64
image, |H - N / 2^top| <= 4u |N| / 2^top + 2^-150 entry by entry, u = 2^-53.

Floats are added, multiplied, divided and rooted in an order that is written here, without FMA and without BLAS: where
a float is published as it is (`eigh`), its bits are the same on every machine. Arrays are IN unless a comment says
OUT.
"""

from cython cimport cdivision
from libc.math cimport fabs, frexp, isfinite, ldexp, rint, sqrt
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc

from skunlearn._linalg._vector cimport only_const_doubles, only_doubles, vector_void

cdef extern from *:
    """
    typedef __int128 int128;
    #ifndef __SIZEOF_INT128__
    #error "the certified solve needs a compiler with __int128"
    #endif
    #define HALF_DIGIT ((int64_t) 1 << 51)
    #define DIGIT_MASK (((int64_t) 1 << 52) - 1)
    """
    ctypedef long long int128
    const int64_t HALF_DIGIT, DIGIT_MASK
    int __builtin_clzll(unsigned long long) noexcept nogil

ctypedef fused entry:
    int64_t
    double

cdef enum:
    BASE_LOG2 = 52
    # Corrections are integers below 2^60: 2^51 * 2^60 * 2^14 columns stay below 2^126.
    CORRECTION_LOG2 = 60
    # A correction that wins fewer bits has stopped converging; more than the second are not taken at once.
    MIN_GAIN = 4
    MAX_GAIN = 64
    # Decisions are looked at after each of the first steps, then each time the precision has grown by a half.
    EAGER_STEPS = 6
    # Side of the squares by which a matrix is transposed: eight entries are a line of the cache.
    TILE = 8


cdef double UNIT = 2.0 ** -53
cdef double NOTHING = 2.0 ** -100

# What `refine` returns first.
cpdef enum Status:
    DECIDED
    UNDECIDED
    STALLED


# --- Numbers ---------------------------------------------------------------------------------------------------------


cdef inline bint carry(const int128* sums, int64_t* digits, Py_ssize_t n, Py_ssize_t stride) noexcept nogil:
    """Write `n` digits of the number sum_l sums[l] 2^(52 l); return whether they hold it."""
    cdef Py_ssize_t position
    cdef int128 total, rest = 0
    cdef int64_t digit
    for position in range(n):
        total = sums[position] + rest
        digit = ((<int64_t> total + HALF_DIGIT) & DIGIT_MASK) - HALF_DIGIT
        digits[position * stride] = digit
        rest = (total - digit) >> BASE_LOG2
    return rest == 0


cdef inline void recode_one(
    const int64_t* limbs,
    Py_ssize_t n_limbs,
    Py_ssize_t shift,
    int64_t* digits,  # OUT: n_digits of them, `stride` apart
    Py_ssize_t n_digits,
    Py_ssize_t stride,
) noexcept nogil:
    """Write two's complement `limbs` times 2^shift as digits; the caller has made room."""
    cdef Py_ssize_t position, index = 0
    cdef uint64_t sign = <uint64_t> (limbs[n_limbs - 1] >> 63)
    cdef uint64_t limb, low = 0, high = 0
    cdef int64_t digit, rest = 0
    # The next `n_bits` bits to be written are in low and high, with zeros above them.
    cdef Py_ssize_t n_bits = shift
    for position in range(n_digits):
        if n_bits < BASE_LOG2:
            limb = <uint64_t> limbs[index] if index < n_limbs else sign
            low |= limb << n_bits
            high = limb >> 1 >> (63 - n_bits)
            index += 1
            n_bits += 64
        digit = <int64_t> (low & <uint64_t> DIGIT_MASK) + rest
        rest = digit >= HALF_DIGIT
        digits[position * stride] = digit - (rest << BASE_LOG2)
        low = low >> BASE_LOG2 | high << (64 - BASE_LOG2)
        high >>= BASE_LOG2
        n_bits -= BASE_LOG2


def recode(
    const int64_t[:, :, ::1] limbs,
    const int64_t[::1] shifts,
    int64_t[:, :, ::1] digits,  # OUT: (m, d, n_digits)
):
    """Write limbs[i, j] * 2^shifts[j] as digits."""
    cdef Py_ssize_t i, j
    with nogil:
        for i in range(limbs.shape[0]):
            for j in range(limbs.shape[1]):
                recode_one(&limbs[i, j, 0], limbs.shape[2], shifts[j], &digits[i, j, 0], digits.shape[2], 1)


def load_gram(
    const int64_t[:, :, ::1] limbs,
    const int64_t[::1] shifts,
    const int64_t[::1] ridge_limbs,
    const int64_t[::1] ridge_shifts,
    Py_ssize_t top,
    int64_t[:, :, ::1] gram,  # OUT: planes
    double[:, ::1] image,     # OUT: H
):
    """Write N[i, j] = limbs[i, j] 2^(shifts[i] + shifts[j]), N[j, j] plus ridge_limbs 2^ridge_shifts[j], and H.

    Only the lower triangle of `limbs` is read. An empty `ridge_limbs` is zero.
    """
    cdef Py_ssize_t i, j, position, d = limbs.shape[0], n = gram.shape[0], plane = d * d
    cdef double[4] weights
    cdef double value
    cdef int128* sums = <int128*> malloc(n * sizeof(int128))
    cdef int64_t* ridge = <int64_t*> malloc(n * sizeof(int64_t))
    cdef Py_ssize_t first = max(0, n - 4)
    if sums == NULL or ridge == NULL:
        free(sums)
        free(ridge)
        raise MemoryError("no room for the digits of one entry")
    with nogil:
        for position in range(first, n):
            weights[position - first] = ldexp(1.0, <int> (BASE_LOG2 * position - top))
        for i in range(d):
            for j in range(i + 1):
                recode_one(&limbs[i, j, 0], limbs.shape[2], shifts[i] + shifts[j], &gram[0, i, j], n, plane)
            if ridge_limbs.shape[0] > 0:
                recode_one(&ridge_limbs[0], ridge_limbs.shape[0], ridge_shifts[i], ridge, n, 1)
                for position in range(n):
                    sums[position] = <int128> gram[position, i, i] + ridge[position]
                carry(sums, &gram[0, i, i], n, plane)
            for j in range(i + 1):
                value = 0.0
                for position in range(n - 1, first - 1, -1):
                    value += <double> gram[position, i, j] * weights[position - first]
                image[i, j] = value
        for position in range(n):
            mirror(&gram[position, 0, 0], d, True)
        mirror(&image[0, 0], d, True)
    free(sums)
    free(ridge)


cdef inline void mirror(entry* matrix, Py_ssize_t d, bint to_upper) noexcept nogil:
    """Copy one triangle to the other, by tiles: a column touches a line of the cache with every entry."""
    cdef Py_ssize_t down, across, i, j
    for down in range((d + TILE - 1) // TILE):
        for across in range(down + 1):
            for i in range(down * TILE, min((down + 1) * TILE, d)):
                for j in range(across * TILE, min((across + 1) * TILE, i)):
                    if to_upper:
                        matrix[j * d + i] = matrix[i * d + j]
                    else:
                        matrix[i * d + j] = matrix[j * d + i]


def diagonal_bits(
    const int64_t[:, :, ::1] limbs,
    int64_t[::1] lengths,  # OUT
):
    """Write the lengths in bits of the numbers on the diagonal; return whether none is negative."""
    cdef Py_ssize_t i, index, n_limbs = limbs.shape[2]
    for i in range(limbs.shape[0]):
        if limbs[i, i, n_limbs - 1] < 0:
            return False
        index = n_limbs - 1
        while index >= 0 and limbs[i, i, index] == 0:
            index -= 1
        lengths[i] = 64 * (index + 1) - __builtin_clzll(limbs[i, i, index]) if index >= 0 else 0
    return True


cdef double round_digits(int64_t* digits, Py_ssize_t n, int64_t exponent) noexcept nogil:
    """Return the float64 nearest to the number times 2^exponent, ties to even; `digits` is scratch afterwards."""
    cdef Py_ssize_t position, high = n - 1
    cdef int64_t borrow = 0, drop, mantissa, length, offset
    cdef double sign = 1.0
    while high >= 0 and digits[high] == 0:
        high -= 1
    if high < 0:
        return 0.0
    if digits[high] < 0:
        sign = -1.0
        for position in range(high + 1):
            digits[position] = -digits[position]
    for position in range(high + 1):
        digits[position] += borrow
        borrow = digits[position] >> BASE_LOG2
        digits[position] &= DIGIT_MASK
    while digits[high] == 0:
        high -= 1
    length = BASE_LOG2 * high
    mantissa = digits[high]
    while mantissa > 0:
        mantissa >>= 1
        length += 1
    # Bits below `drop` are rounded away: 53 are kept, fewer where the result is subnormal.
    drop = max(length - 53, -1074 - exponent)
    if drop > length:
        return sign * 0.0
    if length + exponent > 1025:
        return sign * ldexp(1.0, 1024)
    if drop <= 0:
        drop = 0
    position = drop // BASE_LOG2
    offset = drop % BASE_LOG2
    mantissa = digits[position] >> offset if position <= high else 0
    if position + 1 <= high:
        mantissa |= digits[position + 1] << (BASE_LOG2 - offset)
    if drop > 0 and is_above_half(digits, drop, mantissa):
        mantissa += 1
    return sign * ldexp(<double> mantissa, <int> (exponent + drop))


cdef inline bint is_above_half(const int64_t* digits, int64_t drop, int64_t mantissa) noexcept nogil:
    """Whether what lies below bit `drop` rounds up: more than half, or half under an odd mantissa."""
    cdef Py_ssize_t position = (drop - 1) // BASE_LOG2
    cdef int64_t offset = (drop - 1) % BASE_LOG2
    if not (digits[position] >> offset) & 1:
        return False
    if (mantissa & 1) or digits[position] & ((<int64_t> 1 << offset) - 1):
        return True
    while position > 0:
        position -= 1
        if digits[position]:
            return True
    return False


# --- Factor and bounds -----------------------------------------------------------------------------------------------


def cholesky(
    const double[:, ::1] image,
    double shift,
    double[:, ::1] factor,  # OUT: U on and above the diagonal, its transpose below
):
    """Factor H - shift I = U'U in a fixed order; return whether every pivot was positive."""
    cdef Py_ssize_t i, j, d = image.shape[0]
    cdef double pivot, inverse
    cdef double* row
    with nogil:
        for i in range(d):
            row = &factor[i, 0]
            for j in range(i, d):
                row[j] = image[i, j]
            row[i] -= shift
            subtract_rows(row + i, &factor[0, i], i, d, d - i)
            pivot = row[i]
            if not (pivot > 0.0 and isfinite(pivot)):
                with gil:
                    return False
            pivot = sqrt(pivot)
            inverse = 1.0 / pivot
            row[i] = pivot
            for j in range(i + 1, d):
                row[j] *= inverse
        mirror(&factor[0, 0], d, False)
    return True


cdef vector_void subtract_rows(
    only_doubles row,          # IN and OUT
    only_const_doubles upper,  # earlier rows, `stride` apart; each begins with the factor that it is multiplied with
    Py_ssize_t n_rows,
    Py_ssize_t stride,
    Py_ssize_t n,
) noexcept nogil:
    """Subtract multiples of four rows at a time, one after the other within each entry: the bits of one by one."""
    cdef Py_ssize_t j, _step
    cdef double a, b, c, e
    for _step in range(n_rows // 4):
        a, b, c, e = upper[0], upper[stride], upper[2 * stride], upper[3 * stride]
        for j in range(n):
            row[j] = ((row[j] - a * upper[j]) - b * upper[stride + j]) - c * upper[2 * stride + j]
            row[j] -= e * upper[3 * stride + j]
        upper += 4 * stride
    for _step in range(n_rows % 4):
        a = upper[0]
        for j in range(n):
            row[j] -= a * upper[j]
        upper += stride


# IEEE division, also in a checked build: a factor with zeros gives infinities, and `refine` says that it stalls.
@cdivision(True)
cdef inline void solve_triangles(
    const double* factor,
    Py_ssize_t d,
    double* x,  # IN and OUT: the right-hand side becomes the solution
) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef const double* row
    cdef double value
    for i in range(d):
        row = factor + i * d
        value = x[i] / row[i]
        x[i] = value
        for j in range(i + 1, d):
            x[j] -= value * row[j]
    for i in range(d - 1, -1, -1):
        row = factor + i * d
        value = x[i] / row[i]
        x[i] = value
        for j in range(i):
            x[j] -= value * row[j]


def misfit(
    const int64_t[:, :, ::1] gram,
    Py_ssize_t top,
    const double[:, ::1] factor,
    double shift,
):
    """Return a bound on the Frobenius norm of N / 2^top - shift I - L L', L being `factor` in multiples of 2^-60.

    The difference is computed in integers, in units of 2^-120. So for any matrix in the place of `factor`, however it
    was come by, the least eigenvalue of N / 2^top is at least shift minus this: L L' has no negative one. |shift| <=
    1.
    """
    cdef Py_ssize_t i, j, k, position, move, d = factor.shape[0], n = gram.shape[0]
    cdef double total = 0.0, entry, bound
    cdef int128 gap
    cdef int64_t* rounded = <int64_t*> malloc(d * d * sizeof(int64_t))
    if rounded == NULL:
        raise MemoryError("no room for the rounded factor")
    with nogil:
        for i in range(d):
            for j in range(i + 1):
                entry = factor[i, j]
                # Rows of L have a norm below 1 where L L' is near to H; larger entries could overflow.
                rounded[i * d + j] = <int64_t> rint(ldexp(entry, 60)) if fabs(entry) <= 1.0 else 0
        for i in range(d):
            for j in range(i + 1):
                gap = 0
                for position in range(n):
                    move = BASE_LOG2 * position - top + 120
                    if move >= 0:
                        gap += <int128> gram[position, i, j] << move
                    elif move > -127:
                        gap += <int128> gram[position, i, j] >> -move
                if i == j:
                    gap -= <int128> rint(ldexp(shift, 120))
                for k in range(j + 1):
                    gap -= <int128> rounded[i * d + k] * rounded[j * d + k]
                entry = fabs(<double> gap) + n + 2
                total += (1.0 if i == j else 2.0) * entry * entry
        bound = ldexp(sqrt(total), -120) * (1.0 + ldexp(1.0, -30))
    free(rounded)
    return bound


# --- Refinement ------------------------------------------------------------------------------------------------------


cdef Py_ssize_t leading_digit(const int64_t[:, ::1] residual) noexcept nogil:
    """Return the highest position at which any of the numbers has a digit, -1 where all are zero."""
    cdef Py_ssize_t i, position
    for position in range(residual.shape[1] - 1, -1, -1):
        for i in range(residual.shape[0]):
            if residual[i, position]:
                return position
    return -1


cdef double to_doubles(
    const int64_t[:, ::1] residual,
    Py_ssize_t lead,
    double* out,  # OUT: the numbers divided by 2^(52 lead)
) noexcept nogil:
    """Return a bound on the Euclidean norm of what is written, before rounding."""
    cdef Py_ssize_t i, position, last = max(0, lead - 3), d = residual.shape[0]
    cdef double value, scale, total = 0.0
    for i in range(d):
        value = 0.0
        scale = 1.0
        for position in range(lead, last - 1, -1):
            value += <double> residual[i, position] * scale
            scale *= 2.220446049250313e-16  # 2^-52
        out[i] = value
        total += value * value
    # Rounding of the sums, and the digits below the fourth.
    return sqrt(total) * (1.0 + ldexp(1.0, -30)) + <double> d * ldexp(1.0, -150)


cdef bint subtract_product(
    int64_t[:, ::1] residual,  # IN and OUT: R becomes R * 2^shift - 2^(52 offset) N z
    Py_ssize_t shift,
    const int64_t[:, :, ::1] gram,
    const int64_t* z,
    Py_ssize_t offset,
    int128* sums,              # OUT: scratch
) noexcept nogil:
    """Return whether the new residual fits."""
    cdef Py_ssize_t i, j, position, move = shift // BASE_LOG2
    cdef Py_ssize_t d = gram.shape[1], n = gram.shape[0], width = residual.shape[1]
    cdef int within = shift % BASE_LOG2
    cdef const int64_t* row
    cdef int128 even, odd
    if n + offset > width:
        return False
    for i in range(d):
        for position in range(width):
            sums[position] = <int128> residual[i, position - move] << within if position >= move else 0
        for position in range(max(0, width - move), width):
            if residual[i, position]:
                return False
        for position in range(n):
            row = &gram[position, i, 0]
            even = odd = 0
            for j in range(0, d - 1, 2):
                even += <int128> row[j] * z[j]
                odd += <int128> row[j + 1] * z[j + 1]
            if d % 2:
                even += <int128> row[d - 1] * z[d - 1]
            sums[position + offset] -= even + odd
        if not carry(sums, &residual[i, 0], width, 1):
            return False
    return True


cdef bint decide(
    const int64_t[:, ::1] corrections,
    const int64_t[::1] exponents,
    Py_ssize_t n_steps,
    double error,
    const int64_t[::1] scales,
    double[::1] out,  # OUT
    int128* sums,     # OUT: scratch
    int64_t* digits,  # OUT: scratch
) noexcept nogil:
    """Write the float64 of each component if all values within `error` units round to it; return whether."""
    cdef Py_ssize_t j, t, side, position, n_digits
    cdef int64_t last = exponents[n_steps - 1], shift
    cdef double[2] ends
    n_digits = (last - exponents[0] + CORRECTION_LOG2) // BASE_LOG2 + 3
    for j in range(out.shape[0]):
        for side in range(2):
            for position in range(n_digits):
                sums[position] = 0
            for t in range(n_steps):
                shift = last - exponents[t]
                sums[shift // BASE_LOG2] += <int128> corrections[t, j] << (shift % BASE_LOG2)
            sums[0] += <int128> error if side else -<int128> error
            carry(sums, digits, n_digits, 1)
            ends[side] = round_digits(digits, n_digits, scales[j] - last)
        if ends[0] != ends[1]:
            return False
        out[j] = ends[0] + 0.0  # never -0.0
    return True


def refine(
    const int64_t[:, :, ::1] gram,
    Py_ssize_t top,
    const double[:, ::1] factor,
    double least_eigenvalue,
    int64_t[:, ::1] residual,     # IN and OUT: (d, width); M becomes what is left of it
    const int64_t[::1] scales,
    int64_t stop_log2,
    int64_t[:, ::1] corrections,  # OUT: (max_steps, d)
    int64_t[::1] exponents,       # OUT: (max_steps,)
    double[::1] out,              # OUT: (d,), complete where DECIDED is returned
):
    """Solve N x = M until the nearest float64 of every x[j] 2^scales[j] is proved; return (status, steps, error).

    After t steps x is near to Y 2^-exponents[t - 1], Y = sum_s corrections[s] 2^(exponents[t - 1] - exponents[s]),
    and R = 2^exponents[t - 1] M - N Y is known exactly: it is the residual, an integer vector. Hence every |x[j]
    2^exponents[t - 1] - Y[j]| <= norm(R) / (least_eigenvalue 2^top) = error, whatever `factor` is; a bad factor only
    converges slowly, or not at all (STALLED). `least_eigenvalue` must be a lower bound of that of N / 2^top. Stops at
    `stop_log2` bits after the point.
    """
    cdef Py_ssize_t j, d = gram.shape[1], t = 0, lead, offset = 0, width = residual.shape[1], max_digits
    cdef int64_t exponent = 0, gain, precision, next_look = 0
    cdef int status = UNDECIDED, q
    cdef double largest, norm, error = 0.0
    cdef double* delta = <double*> malloc(d * sizeof(double))
    max_digits = corrections.shape[0] * MAX_GAIN // BASE_LOG2 + width + 8
    cdef int128* sums = <int128*> malloc(max_digits * sizeof(int128))
    cdef int64_t* digits = <int64_t*> malloc(max_digits * sizeof(int64_t))
    if delta == NULL or sums == NULL or digits == NULL:
        free(delta)
        free(sums)
        free(digits)
        raise MemoryError("no room to refine the solution")
    with nogil:
        lead = leading_digit(residual)
        norm = to_doubles(residual, lead, delta)
        while t < corrections.shape[0] and (t == 0 or exponent < stop_log2):
            solve_triangles(&factor[0, 0], d, delta)
            largest = 0.0
            for j in range(d):
                largest = max(largest, fabs(delta[j])) if isfinite(delta[j]) else ldexp(1.0, 1024)
            if not isfinite(largest) or largest == 0.0:
                status = STALLED
                break
            frexp(largest, &q)
            precision = CORRECTION_LOG2 - q
            gain = precision - BASE_LOG2 * (lead - offset) + top
            if t > 0 and gain > MAX_GAIN:
                precision -= gain - MAX_GAIN
                gain = MAX_GAIN
            if t == 0 and gain < 0:
                # x is large: bits of M below the point of the first correction wait in digits below N's.
                offset = (-gain + BASE_LOG2 - 1) // BASE_LOG2
                exponent = -BASE_LOG2 * offset
                gain += BASE_LOG2 * offset
            elif t > 0 and gain < MIN_GAIN:
                status = STALLED
                break
            for j in range(d):
                corrections[t, j] = <int64_t> rint(ldexp(delta[j], <int> precision))
            if not subtract_product(residual, gain, gram, &corrections[t, 0], offset, sums):
                status = STALLED
                break
            exponent += gain
            exponents[t] = exponent
            t += 1
            lead = leading_digit(residual)
            if lead < 0:
                error = 0.0
            else:
                norm = to_doubles(residual, lead, delta)
                error = norm / least_eigenvalue * (1.0 + ldexp(1.0, -40))
                error = ldexp(error, <int> (BASE_LOG2 * (lead - offset) - top)) + 1.0
                error = rint(error + 0.5)
            if error < ldexp(1.0, 100) and (lead < 0 or t <= EAGER_STEPS or exponent >= next_look):
                next_look = exponent + exponent // 2
                if decide(corrections, exponents, t, error, scales, out, sums, digits):
                    status = DECIDED
                    break
            if lead < 0:
                break
    free(delta)
    free(sums)
    free(digits)
    return status, t, error


# --- Eigenvectors ----------------------------------------------------------------------------------------------------


cdef inline double dot(const double* x, const double* y, Py_ssize_t n) noexcept nogil:
    """Sum in eight lanes, joined by a fixed tree: the same bits at any SIMD width."""
    cdef Py_ssize_t i, lane, tail = n - n % 8
    cdef double[8] lanes
    for lane in range(8):
        lanes[lane] = 0.0
    for i in range(0, tail, 8):
        for lane in range(8):
            lanes[lane] += x[i + lane] * y[i + lane]
    for i in range(tail, n):
        lanes[i - tail] += x[i] * y[i]
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))


cdef inline void add_multiple(double* x, double factor, const double* y, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        x[i] += factor * y[i]


cdef void tridiagonalise(
    double* a,          # IN and OUT: symmetric (d, d); row k becomes reflector k, from column k + 1
    Py_ssize_t d,
    double* diagonal,   # OUT: d
    double* beside,     # OUT: d - 1
    double* heights,    # OUT: d; reflector k is I - u u' / heights[k], the identity where that is 0
    double* product,    # OUT: scratch
) noexcept nogil:
    """Householder's reduction, first column first, all sums along rows in order of the columns."""
    cdef Py_ssize_t i, k, m
    cdef double norm, height, half
    cdef double* u
    for k in range(d - 1):
        diagonal[k] = a[k * d + k]
        u = a + k * d + k + 1
        m = d - k - 1
        norm = sqrt(dot(u, u, m))
        if m == 1 or norm == 0.0:
            beside[k] = u[0]
            heights[k] = 0.0
            continue
        if u[0] > 0.0:
            norm = -norm
        beside[k] = norm
        height = norm * norm - u[0] * norm
        heights[k] = height
        u[0] -= norm
        for i in range(m):
            product[i] = 0.0
        for i in range(m):
            add_multiple(product, u[i], a + (k + 1 + i) * d + k + 1, m)
        for i in range(m):
            product[i] /= height
        half = dot(u, product, m) / (height + height)
        add_multiple(product, -half, u, m)
        for i in range(m):
            rank_two(a + (k + 1 + i) * d + k + 1, u[i], product, product[i], u, m)
    diagonal[d - 1] = a[d * d - 1]


cdef inline void rank_two(
    double* row, double a, const double* x, double b, const double* y, Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        row[i] -= a * x[i] + b * y[i]


cdef void reflect_back(
    const double* reflectors,
    const double* heights,
    Py_ssize_t d,
    double* basis,    # OUT: (d, d), column j is where the reflections take e_j
    double* product,  # OUT: scratch
) noexcept nogil:
    cdef Py_ssize_t i, k, m
    cdef const double* u
    for i in range(d * d):
        basis[i] = 0.0
    for i in range(d):
        basis[i * d + i] = 1.0
    for k in range(d - 2, -1, -1):
        if heights[k] == 0.0:
            continue
        u = reflectors + k * d + k + 1
        m = d - k - 1
        for i in range(m):
            product[i] = 0.0
        for i in range(m):
            add_multiple(product, u[i], basis + (k + 1 + i) * d + k + 1, m)
        for i in range(m):
            add_multiple(basis + (k + 1 + i) * d + k + 1, -(u[i] / heights[k]), product, m)


cdef inline void rotate(double* x, double* y, double c, double s, Py_ssize_t n) noexcept nogil:
    """(x, y) becomes (c x - s y, s x + c y)."""
    cdef Py_ssize_t i
    cdef double value
    for i in range(n):
        value = y[i]
        y[i] = s * x[i] + c * value
        x[i] = c * x[i] - s * value


cdef bint diagonalise(
    double* diagonal,  # IN and OUT: becomes the eigenvalues
    double* beside,    # IN and OUT: d entries, the last one is not used; becomes zero
    Py_ssize_t d,
    double* vectors,   # IN and OUT: (d, d), rows are rotated
) noexcept nogil:
    """Implicit QL with Wilkinson's shift (Bowdler, Martin, Reinsch, Wilkinson 1968); return whether it converged."""
    cdef Py_ssize_t i, low, m, _sweep
    cdef double g, r, s, c, p, f, b
    beside[d - 1] = 0.0
    for low in range(d):
        for _sweep in range(80):
            m = low
            # Entries are at most about 1 here: what is below 2^-100 is nothing, beside any diagonal.
            while m < d - 1 and fabs(beside[m]) > UNIT * (fabs(diagonal[m]) + fabs(diagonal[m + 1])) + NOTHING:
                m += 1
            if m == low:
                break
            g = (diagonal[low + 1] - diagonal[low]) / (2.0 * beside[low])
            r = sqrt(g * g + 1.0)
            g = diagonal[m] - diagonal[low] + beside[low] / (g + (r if g >= 0.0 else -r))
            s = c = 1.0
            p = 0.0
            i = m - 1
            while i >= low:
                f = s * beside[i]
                b = c * beside[i]
                r = sqrt(f * f + g * g)
                beside[i + 1] = r
                if r == 0.0:
                    diagonal[i + 1] -= p
                    beside[m] = 0.0
                    break
                s = f / r
                c = g / r
                g = diagonal[i + 1] - p
                r = (diagonal[i] - g) * s + 2.0 * c * b
                p = s * r
                diagonal[i + 1] = g + p
                g = c * r - b
                rotate(vectors + i * d, vectors + (i + 1) * d, c, s, d)
                i -= 1
            if i >= low:
                continue
            diagonal[low] -= p
            beside[low] = g
            beside[m] = 0.0
        else:
            return False
    return True


cdef inline void reverse(double* x, Py_ssize_t stride, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef double value
    for i in range(n // 2):
        value = x[i * stride]
        x[i * stride] = x[(n - 1 - i) * stride]
        x[(n - 1 - i) * stride] = value


def eigh_rows(
    double[:, ::1] matrix,   # IN and OUT: symmetric, entries of at most about 1; scratch afterwards
    double[::1] values,      # OUT: eigenvalues, in no order
    double[:, ::1] vectors,  # OUT: row i is the eigenvector of values[i]
):
    """Decompose a symmetric matrix in a fixed order of operations; return whether the iteration converged."""
    cdef Py_ssize_t i, j, d = matrix.shape[0]
    cdef double value
    cdef bint converged
    cdef double* scratch = <double*> malloc(3 * d * sizeof(double))
    if scratch == NULL:
        raise MemoryError("no room to decompose the matrix")
    with nogil:
        tridiagonalise(&matrix[0, 0], d, &values[0], scratch, scratch + d, scratch + 2 * d)
        reflect_back(&matrix[0, 0], scratch + d, d, &vectors[0, 0], scratch + 2 * d)
        for i in range(d):
            for j in range(i):
                value = vectors[i, j]
                vectors[i, j] = vectors[j, i]
                vectors[j, i] = value
        # QL begins at the top and keeps small eigenvalues best from there; the reduction of a matrix whose large
        # entries come first has left them at the top.
        reverse(&values[0], 1, d)
        reverse(scratch, 1, d - 1)
        for j in range(d):
            reverse(&vectors[0, j], d, d)
        converged = diagonalise(&values[0], scratch, d, &vectors[0, 0])
    free(scratch)
    return converged


def apply_pseudo_inverse(
    const double[::1] values,
    const double[:, ::1] vectors,
    const double[::1] x,
    double[::1] out,  # OUT
):
    """Write sum_i v_i (v_i' x) / values[i], v_i the rows of `vectors`, in order of i."""
    cdef Py_ssize_t i, d = x.shape[0]
    with nogil:
        for i in range(d):
            out[i] = 0.0
        for i in range(values.shape[0]):
            add_multiple(&out[0], dot(&vectors[i, 0], &x[0], d) / values[i], &vectors[i, 0], d)
