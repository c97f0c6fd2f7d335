"""One pass over rows for the log likelihood of logistic models: its gradient, and what bounds the error of that.

Conventions
-----------
X is (m, d), dense in C order or CSR, float32 or float64; what enters is x_j = X_j * scale[j], at most 1 in magnitude
and exact: scales are powers of two, and what falls below the smallest normal number is less than 1e-290 of anything.
`coef` is (k, d + 1), the intercept last. With k = 1 a row of label 1 has probability sigma(z), z its score; with k > 1
label l has the share of exp(z_l). `weight` is one number a row, above 0.

No bit of a result is promised, only how far it is from the true value, u = 2**-53; docs/certificates.md derives it:

* A score is off by at most spread = (d / N_LANES + 8) u times the sum of the magnitudes of its terms, which is in as
  many lanes; probabilities then by their slope times exp(spread) - 1, as no slope changes faster than exp.
* What a row contributes is c x, with c = weight (probability - 1 of its label); its error is at most u t. The first
  part of t is from the score. The second is relative: exp, whose error is taken to be 2 u, the steps from it to c, the
  product, and the sum, in a tree of RADIX branches where a term goes through at most `n_additions(n_rows)`. The third
  stands for what underflows. c is computed without cancellation, from the probability of the other labels.

The sum of t**2 is what Cauchy and Schwarz want for |sum_i x_ij t_i|; see `certificate`. Arrays are IN unless a comment
says OUT. Labels and indices are trusted.
"""

from cython cimport floating
from libc.math cimport exp, expm1, fabs, log, log1p
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from skunlearn._linalg._vector cimport only_const_doubles, only_const_floats, only_doubles, vector_void

cdef enum:
    N_LANES = 8
    RADIX = 4
    LEVELS = 15  # enough for 2**30 rows

N_LEVELS = LEVELS
N_LANES_OF_SCORE = N_LANES
cdef double U = 2.0**-53, UNDERFLOW = 2.0**-1000


def n_additions(n_rows: int) -> int:
    """Return how many additions that round a contribution goes through: RADIX - 1 a level, and those of the levels."""
    highest = 0
    while RADIX ** (highest + 1) <= n_rows:
        highest += 1
    return (RADIX - 1) * (highest + 1) + highest


cdef vector_void add_products(
    only_const_doubles x,
    only_const_doubles scale,
    only_const_doubles coef,
    Py_ssize_t n,
    only_doubles lanes,         # OUT
    only_doubles magnitudes,    # OUT
) noexcept nogil:
    """Add the products of n values, a multiple of N_LANES, and their magnitudes."""
    cdef Py_ssize_t block, j, lane
    cdef double product
    cdef double[N_LANES] sums
    cdef double[N_LANES] sizes
    for lane in range(N_LANES):
        sums[lane] = sizes[lane] = 0.0
    for block in range(n // N_LANES):
        j = block * N_LANES
        for lane in range(N_LANES):
            product = (x[j + lane] * scale[j + lane]) * coef[j + lane]
            sums[lane] += product
            sizes[lane] += fabs(product)
    for lane in range(N_LANES):
        lanes[lane] = sums[lane]
        magnitudes[lane] = sizes[lane]


cdef vector_void add_products_of_floats(
    only_const_floats x,
    only_const_doubles scale,
    only_const_doubles coef,
    Py_ssize_t n,
    only_doubles lanes,         # OUT
    only_doubles magnitudes,    # OUT
) noexcept nogil:
    """Add the products of n values, a multiple of N_LANES, and their magnitudes."""
    cdef Py_ssize_t block, j, lane
    cdef double product
    cdef double[N_LANES] sums
    cdef double[N_LANES] sizes
    for lane in range(N_LANES):
        sums[lane] = sizes[lane] = 0.0
    for block in range(n // N_LANES):
        j = block * N_LANES
        for lane in range(N_LANES):
            product = (x[j + lane] * scale[j + lane]) * coef[j + lane]
            sums[lane] += product
            sizes[lane] += fabs(product)
    for lane in range(N_LANES):
        lanes[lane] = sums[lane]
        magnitudes[lane] = sizes[lane]


cdef inline double total(const double* lanes) noexcept nogil:
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))


cdef void score_dense(
    const floating* x, const double* scale, const double* coef, Py_ssize_t d, double* score, double* magnitude
) noexcept nogil:
    cdef Py_ssize_t j
    cdef double[N_LANES] lanes
    cdef double[N_LANES] magnitudes
    cdef Py_ssize_t whole = d - d % N_LANES
    cdef double product
    if floating is double:
        add_products(x, scale, coef, whole, lanes, magnitudes)
    else:
        add_products_of_floats(x, scale, coef, whole, lanes, magnitudes)
    for j in range(whole, d):
        product = (<double> x[j] * scale[j]) * coef[j]
        lanes[j - whole] += product
        magnitudes[j - whole] += fabs(product)
    score[0] = coef[d] + total(lanes)
    magnitude[0] = fabs(coef[d]) + total(magnitudes)


cdef void score_csr(
    const int32_t* indices,
    const floating* data,
    Py_ssize_t n,
    const double* scale,
    const double* coef,
    Py_ssize_t d,
    double* score,
    double* magnitude,
) noexcept nogil:
    cdef Py_ssize_t p
    cdef double product
    cdef double[N_LANES] lanes
    cdef double[N_LANES] magnitudes
    for p in range(N_LANES):
        lanes[p] = magnitudes[p] = 0.0
    for p in range(n):
        product = (<double> data[p] * scale[indices[p]]) * coef[indices[p]]
        lanes[p % N_LANES] += product
        magnitudes[p % N_LANES] += fabs(product)
    score[0] = coef[d] + total(lanes)
    magnitude[0] = fabs(coef[d]) + total(magnitudes)


cdef inline void split(double z, double* other, double* one) noexcept nogil:
    """Write the probabilities of labels 0 and 1, both to full relative accuracy."""
    cdef double tail = exp(-fabs(z))
    cdef double low = tail / (1.0 + tail), high = 1.0 / (1.0 + tail)
    other[0] = low if z > 0 else high
    one[0] = high if z > 0 else low


cdef double share(const double* scores, Py_ssize_t k, double* shares) noexcept nogil:
    """Write the shares of exp(score); return the log of its sum."""
    cdef Py_ssize_t cls
    cdef double top = scores[0], s = 0.0
    for cls in range(1, k):
        top = scores[cls] if scores[cls] > top else top
    for cls in range(k):
        shares[cls] = exp(scores[cls] - top)
        s += shares[cls]
    for cls in range(k):
        shares[cls] /= s
    return top + log(s)


cdef inline double excess(double spread) noexcept nogil:
    """(exp(spread u) - 1) / u, rounded up."""
    return 1.01 * spread if spread < 0.01 / U else 1.01 * expm1(U * spread) / U


cdef double contribute(
    const double* scores,
    const double* magnitudes,
    Py_ssize_t k,
    int32_t label,
    double weight,
    double chain,
    double steps,
    double* c,            # OUT
    double* t,            # OUT
) noexcept nogil:
    """Write c and t of a row; return its loss."""
    cdef Py_ssize_t cls
    cdef double zero, one, wrong = 0.0, spread, worst = 0.0, loss, tiny = (1.0 + weight) * UNDERFLOW
    if k == 1:
        split(scores[0], &zero, &one)
        c[0] = -weight * zero if label else weight * one
        t[0] = weight * zero * one * excess(chain * magnitudes[0]) + (12 + steps) * fabs(c[0]) + tiny
        return weight * (log1p(exp(-fabs(scores[0]))) + (fabs(scores[0]) if (scores[0] > 0) != label else 0.0))
    loss = share(scores, k, c)
    for cls in range(k):
        if cls != label:
            wrong += c[cls]
        spread = chain * magnitudes[cls] + 2 * fabs(scores[cls] - loss)
        worst = spread if spread > worst else worst
    worst = excess(2 * worst)
    for cls in range(k):
        t[cls] = 1.01 * weight * c[cls] * worst * (wrong if cls == label else 1.0 - c[cls] + 1e-15) + tiny
        c[cls] = -weight * wrong if cls == label else weight * c[cls]
        t[cls] += (2 * k + 12 + steps) * fabs(c[cls])
    return weight * (loss - scores[label])


cdef vector_void add(only_const_doubles x, Py_ssize_t n, only_doubles out) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        out[j] += x[j]


cdef vector_void add_row(
    double c, only_const_doubles x, only_const_doubles scale, Py_ssize_t n, only_doubles out
) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        out[j] += c * (x[j] * scale[j])


cdef vector_void add_row_of_floats(
    double c, only_const_floats x, only_const_doubles scale, Py_ssize_t n, only_doubles out
) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        out[j] += c * (x[j] * scale[j])


cdef void climb(double* levels, int64_t* counts, Py_ssize_t size) noexcept nogil:
    """Count a row in the lowest level of the tree, and empty full levels into those above."""
    cdef Py_ssize_t level
    counts[0] += 1
    for level in range(LEVELS - 1):
        if counts[level] < RADIX:
            return
        add(levels + level * size, size, levels + (level + 1) * size)
        memset(levels + level * size, 0, size * sizeof(double))
        counts[level] = 0
        counts[level + 1] += 1


def add_gradient_dense(
    const floating[:, ::1] X,
    const int32_t[::1] labels,
    const double[::1] weight,
    const double[::1] scale,
    const double[:, ::1] coef,
    double[:, :, ::1] levels,    # OUT: (N_LEVELS, k, d + 1), the tree of sums
    int64_t[::1] counts,         # OUT: (N_LEVELS,), how full its levels are
    double[::1] errors,          # OUT: (k + 1,), increased by the t**2 of each label; last, by the loss
    double[:, ::1] scratch,      # (4, k)
    double steps,                # additions that a contribution goes through
):
    """Add the gradients of rows."""
    cdef Py_ssize_t i, cls, d = X.shape[1], k = coef.shape[0], size = k * (d + 1)
    cdef double* scores = &scratch[0, 0]
    cdef double* magnitudes = &scratch[1, 0]
    cdef double* c = &scratch[2, 0]
    cdef double* t = &scratch[3, 0]
    cdef double* out
    with nogil:
        for i in range(X.shape[0]):
            for cls in range(k):
                score_dense(&X[i, 0], &scale[0], &coef[cls, 0], d, scores + cls, magnitudes + cls)
            errors[k] += contribute(scores, magnitudes, k, labels[i], weight[i], d // N_LANES + 8, steps, c, t)
            for cls in range(k):
                errors[cls] += t[cls] * t[cls]
                out = &levels[0, cls, 0]
                if floating is double:
                    add_row(c[cls], &X[i, 0], &scale[0], d, out)
                else:
                    add_row_of_floats(c[cls], &X[i, 0], &scale[0], d, out)
                out[d] += c[cls]
            climb(&levels[0, 0, 0], &counts[0], size)


def add_gradient_csr(
    const int64_t[::1] indptr,
    const int32_t[::1] indices,
    const floating[::1] data,
    const int32_t[::1] labels,
    const double[::1] weight,
    const double[::1] scale,
    const double[:, ::1] coef,
    double[:, :, ::1] levels,    # OUT, as above
    int64_t[::1] counts,         # OUT, as above
    double[::1] errors,          # OUT, as above
    double[:, ::1] scratch,
    double steps,
):
    """Add the gradients of rows."""
    cdef Py_ssize_t i, cls, p, n, d = coef.shape[1] - 1, k = coef.shape[0], size = k * (d + 1)
    cdef double* scores = &scratch[0, 0]
    cdef double* magnitudes = &scratch[1, 0]
    cdef double* c = &scratch[2, 0]
    cdef double* t = &scratch[3, 0]
    cdef double* out
    cdef const int32_t* places
    cdef const floating* values
    with nogil:
        for i in range(labels.shape[0]):
            n = indptr[i + 1] - indptr[i]
            places, values = &indices[indptr[i]], &data[indptr[i]]
            for cls in range(k):
                score_csr(places, values, n, &scale[0], &coef[cls, 0], d, scores + cls, magnitudes + cls)
            errors[k] += contribute(scores, magnitudes, k, labels[i], weight[i], n // N_LANES + 8, steps, c, t)
            for cls in range(k):
                errors[cls] += t[cls] * t[cls]
                out = &levels[0, cls, 0]
                for p in range(n):
                    out[places[p]] += c[cls] * (<double> values[p] * scale[places[p]])
                out[d] += c[cls]
            climb(&levels[0, 0, 0], &counts[0], size)


def probabilities_dense(
    const floating[:, ::1] X,
    const double[::1] scale,
    const double[:, ::1] coef,
    double[:, ::1] out,          # OUT: (m, max(k, 2)), of every label
    double[::1] scratch,         # (k,)
):
    """Write the probabilities of labels, each to full relative accuracy."""
    cdef Py_ssize_t i, cls, k = coef.shape[0]
    cdef double unused
    with nogil:
        for i in range(X.shape[0]):
            for cls in range(k):
                score_dense(&X[i, 0], &scale[0], &coef[cls, 0], X.shape[1], &scratch[cls], &unused)
            if k == 1:
                split(scratch[0], &out[i, 0], &out[i, 1])
            else:
                share(&scratch[0], k, &out[i, 0])


def probabilities_csr(
    const int64_t[::1] indptr,
    const int32_t[::1] indices,
    const floating[::1] data,
    const double[::1] scale,
    const double[:, ::1] coef,
    double[:, ::1] out,          # OUT: (m, max(k, 2))
    double[::1] scratch,         # (k,)
):
    """Write the probabilities of labels, each to full relative accuracy."""
    cdef Py_ssize_t i, cls, n, d = coef.shape[1] - 1, k = coef.shape[0]
    cdef double unused
    cdef const int32_t* places
    cdef const floating* values
    with nogil:
        for i in range(out.shape[0]):
            n = indptr[i + 1] - indptr[i]
            for cls in range(k):
                places, values = &indices[indptr[i]], &data[indptr[i]]
                score_csr(places, values, n, &scale[0], &coef[cls, 0], d, &scratch[cls], &unused)
            if k == 1:
                split(scratch[0], &out[i, 0], &out[i, 1])
            else:
                share(&scratch[0], k, &out[i, 0])


# --- for losses of one score, whose contributions `_losses` computes -------------------------------------------------


def scores_dense(
    const floating[:, ::1] X,
    const double[::1] scale,
    const double[::1] coef,
    double[::1] scores,          # OUT: (m,)
    double[::1] spreads,         # OUT: (m,), how far they are off in units of u
):
    """Write scores."""
    cdef Py_ssize_t i, d = X.shape[1]
    with nogil:
        for i in range(X.shape[0]):
            score_dense(&X[i, 0], &scale[0], &coef[0], d, &scores[i], &spreads[i])
            spreads[i] *= d // N_LANES + 8


def scores_csr(
    const int64_t[::1] indptr,
    const int32_t[::1] indices,
    const floating[::1] data,
    const double[::1] scale,
    const double[::1] coef,
    double[::1] scores,          # OUT
    double[::1] spreads,         # OUT
):
    """Write scores."""
    cdef Py_ssize_t i, n, d = coef.shape[0] - 1
    cdef const int32_t* places
    cdef const floating* values
    with nogil:
        for i in range(scores.shape[0]):
            n = indptr[i + 1] - indptr[i]
            places, values = &indices[indptr[i]], &data[indptr[i]]
            score_csr(places, values, n, &scale[0], &coef[0], d, &scores[i], &spreads[i])
            spreads[i] *= n // N_LANES + 8


def add_rows_dense(
    const floating[:, ::1] X,
    const double[::1] c,
    const double[::1] scale,
    double[:, ::1] levels,       # OUT: (N_LEVELS, d + 1), the tree of sums
    int64_t[::1] counts,         # OUT: (N_LEVELS,)
):
    """Add the multiple c[i] of each row."""
    cdef Py_ssize_t i, d = X.shape[1]
    with nogil:
        for i in range(X.shape[0]):
            if floating is double:
                add_row(c[i], &X[i, 0], &scale[0], d, &levels[0, 0])
            else:
                add_row_of_floats(c[i], &X[i, 0], &scale[0], d, &levels[0, 0])
            levels[0, d] += c[i]
            climb(&levels[0, 0], &counts[0], d + 1)


def add_rows_csr(
    const int64_t[::1] indptr,
    const int32_t[::1] indices,
    const floating[::1] data,
    const double[::1] c,
    const double[::1] scale,
    double[:, ::1] levels,       # OUT, as above
    int64_t[::1] counts,         # OUT
):
    """Add the multiple c[i] of each row."""
    cdef Py_ssize_t i, p, d = scale.shape[0]
    with nogil:
        for i in range(c.shape[0]):
            for p in range(indptr[i], indptr[i + 1]):
                levels[0, indices[p]] += c[i] * (<double> data[p] * scale[indices[p]])
            levels[0, d] += c[i]
            climb(&levels[0, 0], &counts[0], d + 1)
