"""One pass over rows of two classes: scores, what rows contribute, and its sum, a block of rows at a time.

Conventions
-----------
Those of `_likelihood`, but that coefficients take in the scales of columns, x_j coef_j = X_j (scale_j coef_j), and that
sums are of unscaled columns: both are scaled by powers of two, exactly, where no exponent is beyond LARGEST_EXPONENT.
Rows are read from memory once: a block of BLOCK is still near when its contributions are known and added up.

What bounds errors, in units of u = 2**-53, and is held against rational arithmetic in tests/linalg/test_passes.py:

* a score is off by `chain(d)` times the sum of the magnitudes of its terms: sums of SEGMENT columns in N_LANES lanes;
* a tight score by a rounding, and `tight_chain(d)` times that sum: it keeps what products and sums round away;
* exp, of an argument at most 0, by 2 times its value;
* a sum over rows by STEPS times the sum of the magnitudes of its terms c x: a product, GROUP rows as a tree, and groups
  by sums that keep what each addition rounds away. That of CSR rows goes through no groups.

Underflow in all of this is below 2**-500 (1 + weight) u a row, in scaled columns.
"""

from cython cimport floating
from libc.math cimport expm1, fabs
from libc.stdint cimport int32_t, int64_t

from skunlearn._linalg._vector cimport only_const_doubles, only_const_floats, only_doubles, vector_void

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    /* y times 2 to the power n, where `shifted` is 1.5 * 2**52 + n. */
    static inline double scaled_by_power(double y, double shifted) {
        int64_t bits, power;
        memcpy(&bits, &y, sizeof bits);
        memcpy(&power, &shifted, sizeof power);
        bits = (int64_t)((uint64_t)bits + ((uint64_t)power << 52));
        memcpy(&y, &bits, sizeof y);
        return y;
    }
    /* Compilers do not see these sums in lanes for what they are: two vectors of four lanes are spelled out. */
    #define LANES 8
    #define COLUMNS 128
    typedef double four_doubles __attribute__((vector_size(32)));
    typedef float four_floats __attribute__((vector_size(16)));
    typedef int64_t four_words __attribute__((vector_size(32)));
    #define sum_of_lanes(lanes) (((lanes)[0] + (lanes)[2]) + ((lanes)[1] + (lanes)[3]))
    #define SIZES(x) ((four_doubles)((four_words)(x) & INT64_MAX))
    #define ADD_EIGHT(FOUR_VALUES, X, COEF, CHANGE) do {                                                             \\
        FOUR_VALUES values;                                                                                          \\
        four_doubles value, other, product;                                                                          \\
        memcpy(&values, X, sizeof values);                                                                           \\
        value = __builtin_convertvector(values, four_doubles);                                                       \\
        memcpy(&other, COEF, sizeof other);                                                                          \\
        product = value * other;                                                                                     \\
        a += product, size_a += SIZES(product);                                                                      \\
        memcpy(&other, CHANGE, sizeof other);                                                                        \\
        moved_a += value * other;                                                                                    \\
        memcpy(&values, (X) + 4, sizeof values);                                                                     \\
        value = __builtin_convertvector(values, four_doubles);                                                       \\
        memcpy(&other, (COEF) + 4, sizeof other);                                                                    \\
        product = value * other;                                                                                     \\
        b += product, size_b += SIZES(product);                                                                      \\
        memcpy(&other, (CHANGE) + 4, sizeof other);                                                                  \\
        moved_b += value * other;                                                                                    \\
    } while (0)
    #define SCORE_ROWS(NAME, VALUE, FOUR_VALUES)                                                                     \\
    VECTOR_VOID NAME(                                                                                                \\
        const VALUE *x, Py_ssize_t d, Py_ssize_t m, const double *coef, const double *change,                        \\
        double *scores, double *magnitudes, double *changes                                                          \\
    ) {                                                                                                              \\
        const four_doubles zero = {0.0, 0.0, 0.0, 0.0};                                                              \\
        const Py_ssize_t whole = d - d % LANES;                                                                      \\
        double last_coef[LANES] = {0.0}, last_change[LANES] = {0.0};                                                 \\
        VALUE last[LANES] = {0};                                                                                     \\
        memcpy(last_coef, coef + whole, (d - whole) * sizeof(double));                                               \\
        memcpy(last_change, change + whole, (d - whole) * sizeof(double));                                           \\
        for (Py_ssize_t i = 0; i < m; i++, x += d) {                                                                 \\
            four_doubles sum = zero, size = zero, moved = zero;                                                      \\
            for (Py_ssize_t start = 0; start < d; start += COLUMNS) {                                                \\
                Py_ssize_t stop = start + COLUMNS < whole ? start + COLUMNS : whole;                                 \\
                four_doubles a = zero, b = zero, size_a = zero, size_b = zero, moved_a = zero, moved_b = zero;       \\
                for (Py_ssize_t j = start; j < stop; j += LANES)                                                     \\
                    ADD_EIGHT(FOUR_VALUES, x + j, coef + j, change + j);                                             \\
                if (start + COLUMNS >= d && whole < d) {                                                             \\
                    memcpy(last, x + whole, (d - whole) * sizeof(VALUE));                                            \\
                    ADD_EIGHT(FOUR_VALUES, last, last_coef, last_change);                                            \\
                }                                                                                                    \\
                sum += a + b, size += size_a + size_b, moved += moved_a + moved_b;                                   \\
            }                                                                                                        \\
            scores[i] = coef[d] + sum_of_lanes(sum);                                                                 \\
            magnitudes[i] = (coef[d] < 0 ? -coef[d] : coef[d]) + sum_of_lanes(size);                                 \\
            changes[i] = change[d] + sum_of_lanes(moved);                                                            \\
        }                                                                                                            \\
    }
    SCORE_ROWS(score_rows, double, four_doubles)
    SCORE_ROWS(score_rows_of_floats, float, four_floats)
    /* After Knuth and Dekker: x, or x y, is added to high + low, and only additions to low round. */
    static inline void keep(double x, double *high, double *low) {
        double s = *high + x, part = s - *high;
        *low += (*high - (s - part)) + (x - part);
        *high = s;
    }
    static inline void keep_product(double x, double y, double *high, double *low) {
        double product = x * y, t, head, tail, head_of_y, tail_of_y;
        t = 134217729.0 * x, head = t - (t - x), tail = x - head;
        t = 134217729.0 * y, head_of_y = t - (t - y), tail_of_y = y - head_of_y;
        keep(product, high, low);
        *low += ((head * head_of_y - product) + head * tail_of_y + tail * head_of_y) + tail * tail_of_y;
    }
    #define TIGHT_ROWS(NAME, VALUE, FOUR_VALUES)                                                                     \\
    VECTOR_VOID NAME(                                                                                                \\
        const VALUE *x, Py_ssize_t d, Py_ssize_t m, const double *coef, const double *change,                        \\
        double *scores, double *magnitudes, double *changes                                                          \\
    ) {                                                                                                              \\
        const four_doubles zero = {0.0, 0.0, 0.0, 0.0};                                                              \\
        for (Py_ssize_t i = 0; i < m; i++, x += d) {                                                                 \\
            four_doubles high = zero, low = zero, size = zero, moved = zero;                                         \\
            double score = coef[d], rest = 0.0, sizes = coef[d] < 0 ? -coef[d] : coef[d], motion = change[d];        \\
            Py_ssize_t j = 0;                                                                                        \\
            for (; j + 4 <= d; j += 4) {                                                                             \\
                FOUR_VALUES values;                                                                                  \\
                four_doubles value, other, product, head, tail, head_of_other, tail_of_other, s, t;                  \\
                memcpy(&values, x + j, sizeof values);                                                               \\
                value = __builtin_convertvector(values, four_doubles);                                               \\
                memcpy(&other, change + j, sizeof other);                                                            \\
                moved += value * other;                                                                              \\
                memcpy(&other, coef + j, sizeof other);                                                              \\
                product = value * other, size += SIZES(product);                                                     \\
                t = 134217729.0 * value, head = t - (t - value), tail = value - head;                                \\
                t = 134217729.0 * other, head_of_other = t - (t - other), tail_of_other = other - head_of_other;     \\
                tail_of_other = ((head * head_of_other - product) + head * tail_of_other + tail * head_of_other)     \\
                    + tail * tail_of_other;                                                                          \\
                s = high + product, t = s - high;                                                                    \\
                low += ((high - (s - t)) + (product - t)) + tail_of_other;                                           \\
                high = s;                                                                                            \\
            }                                                                                                        \\
            for (int lane = 0; lane < 4; lane++)                                                                     \\
                keep(high[lane], &score, &rest), rest += low[lane], sizes += size[lane], motion += moved[lane];      \\
            for (; j < d; j++) {                                                                                     \\
                keep_product(x[j], coef[j], &score, &rest);                                                          \\
                sizes += coef[j] * x[j] < 0 ? -(coef[j] * x[j]) : coef[j] * x[j], motion += x[j] * change[j];        \\
            }                                                                                                        \\
            scores[i] = score + rest, magnitudes[i] = sizes, changes[i] = motion;                                    \\
        }                                                                                                            \\
    }
    TIGHT_ROWS(tight_rows, double, four_doubles)
    TIGHT_ROWS(tight_rows_of_floats, float, four_floats)
    """
    double scaled_by_power(double y, double shifted) noexcept nogil
    # Scores of m rows, the magnitudes of their terms, and scores by `change`: the last three are OUT.
    void score_rows(
        const double* x, Py_ssize_t d, Py_ssize_t m, const double* coef, const double* change,
        double* scores, double* magnitudes, double* changes
    ) noexcept nogil
    void score_rows_of_floats(
        const float* x, Py_ssize_t d, Py_ssize_t m, const double* coef, const double* change,
        double* scores, double* magnitudes, double* changes
    ) noexcept nogil
    # The same, of products and sums that keep what is rounded away.
    void tight_rows(
        const double* x, Py_ssize_t d, Py_ssize_t m, const double* coef, const double* change,
        double* scores, double* magnitudes, double* changes
    ) noexcept nogil
    void tight_rows_of_floats(
        const float* x, Py_ssize_t d, Py_ssize_t m, const double* coef, const double* change,
        double* scores, double* magnitudes, double* changes
    ) noexcept nogil
    void add_kept "keep"(double x, double* high, double* low) noexcept nogil
    void add_kept_product "keep_product"(double x, double y, double* high, double* low) noexcept nogil
    const int LANES, COLUMNS

ctypedef void (*ScoreRows)(
    const double*, Py_ssize_t, Py_ssize_t, const double*, const double*, double*, double*, double*
) noexcept nogil
ctypedef void (*ScoreFloats)(
    const float*, Py_ssize_t, Py_ssize_t, const double*, const double*, double*, double*, double*
) noexcept nogil

cdef enum:
    BLOCK = 32
    GROUP = 8

N_ROWS_OF_BLOCK, N_LANES_OF_SCORE = BLOCK, LANES
#: Exponents of scales up to which scaled coefficients lose nothing that matters.
LARGEST_EXPONENT = 500
#: Roundings of a term of a sum over rows: its product, a group, the last sum.
cdef double OF_SUM = 1 + 3 + 1
STEPS = OF_SUM
# Those where no block is: its product and the last sum.
cdef double OF_KEPT_SUM = 2
#: What contributions themselves are off by: exp, its sum with 1, the quotient and the weight, and second orders.
cdef double OF_CONTRIBUTION = 6.0
cdef double U = 2.0**-53, UNDERFLOW = 2.0**-500
cdef double LOG2_E = 1.4426950408889634, SHIFT = 1.5 * 2.0**52
# ln 2 in two parts: the first of 32 bits, so that its multiples are exact.
cdef double LN2_HIGH = 0.6931471803691238, LN2_LOW = 1.9082149292705877e-10


cpdef double chain(Py_ssize_t d) noexcept nogil:
    """Bound how many roundings a term of a score goes through: product, lane, pairs, segments, lanes, intercept."""
    cdef Py_ssize_t in_lane = (d + LANES - 1) // LANES, most = COLUMNS // LANES
    return 1 + (in_lane if in_lane < most else most) + 1 + (d + COLUMNS - 1) // COLUMNS + 2 + 1


cpdef double tight_chain(Py_ssize_t d) noexcept nogil:
    """Bound the error of a tight score in units of u, beside that of rounding it, relative to the magnitudes.

    At most 2 d + 16 additions to a low part of at most so many u, each rounding once.
    """
    return U * (2.0 * d + 16) * (2.0 * d + 16)


cdef void score_csr_tightly(
    const int32_t* indices,
    const floating* data,
    Py_ssize_t n,
    const double* pairs,
    Py_ssize_t d,
    double* score,
    double* magnitude,
    double* change,
) noexcept nogil:
    cdef Py_ssize_t p
    cdef const double* pair
    cdef double high = pairs[2 * d], low = 0.0
    magnitude[0], change[0] = fabs(pairs[2 * d]), pairs[2 * d + 1]
    for p in range(n):
        pair = pairs + 2 * <Py_ssize_t> indices[p]
        add_kept_product(<double> data[p], pair[0], &high, &low)
        magnitude[0] += fabs(<double> data[p] * pair[0])
        change[0] += <double> data[p] * pair[1]
    score[0] = high + low


cdef void score_csr(
    const int32_t* indices,
    const floating* data,
    Py_ssize_t n,
    const double* pairs,
    Py_ssize_t d,
    double* score,
    double* magnitude,
    double* change,
) noexcept nogil:
    """Score a row; `pairs` are coefficients and their changes by turns. Four lanes: n // 4 + 4 roundings at most."""
    cdef Py_ssize_t p, lane
    cdef double x, product
    cdef const double* pair
    cdef double[4] a, b, c
    for lane in range(4):
        a[lane] = b[lane] = c[lane] = 0.0
    for p in range(n):
        x, pair, lane = <double> data[p], pairs + 2 * <Py_ssize_t> indices[p], p & 3
        product = x * pair[0]
        a[lane] += product
        b[lane] += fabs(product)
        c[lane] += x * pair[1]
    score[0] = pairs[2 * d] + ((a[0] + a[2]) + (a[1] + a[3]))
    magnitude[0] = fabs(pairs[2 * d]) + ((b[0] + b[2]) + (b[1] + b[3]))
    change[0] = pairs[2 * d + 1] + ((c[0] + c[2]) + (c[1] + c[3]))


cdef vector_void powers(only_const_doubles z, Py_ssize_t n, only_doubles out) noexcept nogil:
    """Write exp(z), z at most 0; below -690, that of -690."""
    cdef Py_ssize_t i
    cdef double x, shifted, power, r, tail
    for i in range(n):
        x = -690.0 if z[i] < -690.0 else z[i]
        shifted = x * LOG2_E + SHIFT
        power = shifted - SHIFT
        r = (x - power * LN2_HIGH) - power * LN2_LOW
        tail = 1.0 / 479001600.0 + r * (1.0 / 6227020800.0)
        tail = 1.0 / 39916800.0 + r * tail
        tail = 1.0 / 3628800.0 + r * tail
        tail = 1.0 / 362880.0 + r * tail
        tail = 1.0 / 40320.0 + r * tail
        tail = 1.0 / 5040.0 + r * tail
        tail = 1.0 / 720.0 + r * tail
        tail = 1.0 / 120.0 + r * tail
        tail = 1.0 / 24.0 + r * tail
        tail = 1.0 / 6.0 + r * tail
        tail = 0.5 + r * tail
        out[i] = scaled_by_power(1.0 + (r + (r * r) * tail), shifted)


cdef vector_void contribute(
    only_const_doubles scores,
    only_const_doubles spreads,
    only_const_doubles tails,    # exp(-|score|)
    const int32_t* labels,
    only_const_doubles weight,
    Py_ssize_t m,
    double relative,
    only_doubles c,              # OUT
    only_doubles t,              # OUT
    only_doubles losses,         # OUT
) noexcept nogil:
    """Write c and t of rows, and their losses, about. See `_likelihood`."""
    cdef Py_ssize_t i
    cdef double sign, low, high, wrong, s, size, square
    for i in range(m):
        sign = 2.0 * labels[i] - 1.0
        low, high = tails[i] / (1.0 + tails[i]), 1.0 / (1.0 + tails[i])
        wrong = low if sign * scores[i] > 0.0 else high
        c[i] = -sign * (weight[i] * wrong)
        t[i] = weight[i] * (low * high) * (1.01 * spreads[i]) + relative * fabs(c[i]) + (1.0 + weight[i]) * UNDERFLOW
        # ln(1 + tail) = 2 artanh(tail / (2 + tail))
        s = tails[i] / (2.0 + tails[i])
        square = s * s
        size = 1.0 / 21.0 + square * (1.0 / 23.0 + square * (1.0 / 25.0))
        size = 1.0 / 15.0 + square * (1.0 / 17.0 + square * (1.0 / 19.0 + square * size))
        size = 1.0 / 9.0 + square * (1.0 / 11.0 + square * (1.0 / 13.0 + square * size))
        size = 1.0 / 3.0 + square * (1.0 / 5.0 + square * (1.0 / 7.0 + square * size))
        size = 2.0 * (s + s * (square * size))
        losses[i] = weight[i] * (size + (fabs(scores[i]) if sign * scores[i] <= 0.0 else 0.0))


cdef void contribute_block(
    const double* scores,
    const double* spreads,
    const int32_t* labels,
    const double* weight,
    Py_ssize_t m,
    double relative,
    double* c,            # OUT: (BLOCK,)
    double* sums,         # OUT: t**2 and losses are added
) noexcept nogil:
    cdef Py_ssize_t i
    cdef double[BLOCK] arguments, tails, t, losses
    for i in range(m):
        arguments[i] = -fabs(scores[i])
    powers(arguments, m, tails)
    contribute(scores, spreads, tails, labels, weight, m, OF_CONTRIBUTION + relative, c, t, losses)
    for i in range(m):
        if not spreads[i] < 0.01 / U:  # beyond, exp(spread u) - 1 is no longer about spread u
            t[i] += weight[i] * (1.01 * expm1(U * spreads[i]) / U)
        sums[0] += t[i] * t[i]
        sums[1] += losses[i]


cdef vector_void add_group(
    only_const_doubles x, Py_ssize_t d, only_const_doubles c, only_doubles high, only_doubles low
) noexcept nogil:
    """Add the multiples c of GROUP rows to high + low."""
    cdef Py_ssize_t j
    for j in range(d):
        add_kept(
            ((c[0] * x[j] + c[1] * x[d + j]) + (c[2] * x[2 * d + j] + c[3] * x[3 * d + j]))
            + ((c[4] * x[4 * d + j] + c[5] * x[5 * d + j]) + (c[6] * x[6 * d + j] + c[7] * x[7 * d + j])),
            high + j,
            low + j,
        )


cdef vector_void add_group_of_floats(
    only_const_floats x, Py_ssize_t d, only_const_doubles c, only_doubles high, only_doubles low
) noexcept nogil:
    """Add the multiples c of GROUP rows to high + low."""
    cdef Py_ssize_t j
    for j in range(d):
        add_kept(
            ((c[0] * <double> x[j] + c[1] * <double> x[d + j])
             + (c[2] * <double> x[2 * d + j] + c[3] * <double> x[3 * d + j]))
            + ((c[4] * <double> x[4 * d + j] + c[5] * <double> x[5 * d + j])
               + (c[6] * <double> x[6 * d + j] + c[7] * <double> x[7 * d + j])),
            high + j,
            low + j,
        )


cdef void add_rows(
    const floating* x, Py_ssize_t d, Py_ssize_t m, const double* c, double* high, double* low
) noexcept nogil:
    """Add the multiple c[i] of each row to high + low."""
    cdef Py_ssize_t _, i, j
    for _ in range(m // GROUP):
        if floating is double:
            add_group(x, d, c, high, low)
        else:
            add_group_of_floats(x, d, c, high, low)
        x += GROUP * d
        c += GROUP
    for i in range(m % GROUP):
        for j in range(d):
            add_kept(c[i] * <double> x[j], high + j, low + j)
        x += d


def add_gradient_dense(
    const floating[:, ::1] X,
    const int32_t[::1] labels,
    const double[::1] weight,
    const double[:, ::1] coef,   # (2, d + 1): scaled coefficients, and changes of them whose scores are to be measured
    double[:, ::1] gradient,     # OUT: (2, d + 1), increased: high and low parts, of unscaled columns
    double[::1] sums,            # OUT: (3,), increased by t**2 and by the losses; last, the largest change of a score
    bint is_tight,               # whether scores are to be as good as rounded
):
    """Add the gradients of rows."""
    cdef Py_ssize_t i, block, start, m, n = X.shape[0], d = X.shape[1]
    cdef double[BLOCK] scores, spreads, changes, c
    cdef double of_term = tight_chain(d) if is_tight else chain(d)
    cdef ScoreRows score
    cdef ScoreFloats score_floats
    with nogil:
        for block in range((n + BLOCK - 1) // BLOCK):
            start = block * BLOCK
            m = n - start if n - start < BLOCK else BLOCK
            if floating is double:
                score = tight_rows if is_tight else score_rows
                score(&X[start, 0], d, m, &coef[0, 0], &coef[1, 0], scores, spreads, changes)
            else:
                score_floats = tight_rows_of_floats if is_tight else score_rows_of_floats
                score_floats(&X[start, 0], d, m, &coef[0, 0], &coef[1, 0], scores, spreads, changes)
            for i in range(m):
                spreads[i] = spreads[i] * of_term + (fabs(scores[i]) if is_tight else 0.0)
                sums[2] = fabs(changes[i]) if fabs(changes[i]) > sums[2] else sums[2]
            contribute_block(scores, spreads, &labels[start], &weight[start], m, OF_SUM, c, &sums[0])
            add_rows(&X[start, 0], d, m, c, &gradient[0, 0], &gradient[1, 0])
            for i in range(m):
                add_kept(c[i], &gradient[0, d], &gradient[1, d])


def add_gradient_csr(
    const int64_t[::1] indptr,
    const int32_t[::1] indices,
    const floating[::1] data,
    const int32_t[::1] labels,
    const double[::1] weight,
    const double[:, ::1] pairs,  # (d + 1, 2): scaled coefficients, and changes of them
    double[:, ::1] gradient,     # OUT: (d + 1, 2), increased: high and low parts
    double[::1] sums,            # OUT: (3,), as above
    bint is_tight,
):
    """Add the gradients of rows."""
    cdef Py_ssize_t i, p, block, start, m, row, n = labels.shape[0], d = pairs.shape[0] - 1
    cdef double[BLOCK] scores, spreads, changes, c
    cdef double* out = &gradient[0, 0]
    with nogil:
        for block in range((n + BLOCK - 1) // BLOCK):
            start = block * BLOCK
            m = n - start if n - start < BLOCK else BLOCK
            for i in range(m):
                p = indptr[start + i]
                row = indptr[start + i + 1] - p
                if is_tight:
                    score_csr_tightly(
                        &indices[0] + p, &data[0] + p, row, &pairs[0, 0], d, scores + i, spreads + i, changes + i
                    )
                    spreads[i] = spreads[i] * tight_chain(row) + fabs(scores[i])
                else:
                    score_csr(
                        &indices[0] + p, &data[0] + p, row, &pairs[0, 0], d, scores + i, spreads + i, changes + i
                    )
                    spreads[i] *= row // 4 + 4
                sums[2] = fabs(changes[i]) if fabs(changes[i]) > sums[2] else sums[2]
            contribute_block(scores, spreads, &labels[start], &weight[start], m, OF_KEPT_SUM, c, &sums[0])
            for i in range(m):
                for p in range(indptr[start + i], indptr[start + i + 1]):
                    row = 2 * <Py_ssize_t> indices[p]
                    add_kept(c[i] * <double> data[p], out + row, out + row + 1)
                add_kept(c[i], out + 2 * d, out + 2 * d + 1)


# --- parts, for the tests --------------------------------------------------------------------------------------------


def scores_of(const floating[:, ::1] X, const double[:, ::1] coef, double[:, ::1] out, bint is_tight):
    """Write scores, the magnitudes of their terms, and changes, (3, m)."""
    cdef ScoreRows score = tight_rows if is_tight else score_rows
    cdef ScoreFloats score_floats = tight_rows_of_floats if is_tight else score_rows_of_floats
    with nogil:
        if floating is double:
            score(
                &X[0, 0], X.shape[1], X.shape[0], &coef[0, 0], &coef[1, 0], &out[0, 0], &out[1, 0], &out[2, 0]
            )
        else:
            score_floats(
                &X[0, 0], X.shape[1], X.shape[0], &coef[0, 0], &coef[1, 0], &out[0, 0], &out[1, 0], &out[2, 0]
            )


def sums_of(const floating[:, ::1] X, const double[::1] c, double[:, ::1] out):
    """Add the multiple c[i] of each row to (high, low)."""
    with nogil:
        add_rows(&X[0, 0], X.shape[1], X.shape[0], &c[0], &out[0, 0], &out[1, 0])


def exponentials(const double[::1] z, double[::1] out):
    """Write exp of numbers at most 0."""
    with nogil:
        powers(&z[0], z.shape[0], &out[0])
