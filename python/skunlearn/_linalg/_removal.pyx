"""The O(p^2) work of a certified removal: what leaves with a row, and how far the minimum can then be.

`skunlearn._linalg.removal` states the bound, docs/certificates.md proves it. Nothing here knows the loss but `slopes`:
the others take what a row contributes as numbers, c_i and a_i (its weight times the first and second derivative of its
loss) and kappa_i = weight times min(B3 / 2, 0.55 b l''), where |l'''| is at most B3 and at most b l''.

Conventions
-----------
Vectors have p entries, one for every coordinate in use. Rows are scaled: |x_j| <= 1. Symmetric matrices are read and
written below the diagonal only, which in the column order of BLAS is above it. BLAS is trusted to add products in some
order, and for no bit; what that and every other rounding can amount to is part of each bound, u = 2**-53.

`sums` is (G, 3, p, p): the Hessian H without penalties, K1 and K2, of G groups of rows. `vectors` is (G, 5, p): the
gradient g without penalties; a bound of the error of each of its entries; E, where no entry j, k of H is off by more
than sqrt(E_j E_k); and diagonals that those of K1 and K2 never exceeded. `state` is lo, hi, the largest leverage, and
the number of changes. Arrays are IN unless a comment says OUT.
"""

from libc.math cimport exp, expm1, fabs, fmax, fmin, log1p, sqrt
from libc.stdint cimport int32_t
from scipy.linalg.cython_blas cimport ddot, dsymv

from skunlearn._linalg._vector cimport only_const_doubles, only_doubles, vector_void

include "_blas_int.pxi"

cdef enum:
    HESSIAN = 0
    K1 = 1
    K2 = 2

cdef enum:
    GRADIENT = 0
    ERRORS = 1
    E = 2
    PEAK1 = 3
    PEAK2 = 4

cdef enum:
    LO = 0
    HI = 1
    LEVERAGE = 2
    N_CHANGES = 3

N_MATRICES, N_VECTORS = 3, 5
cdef double U = 2.0**-53, TINY = 2.0**-1000
#: Takes in the rounding of a few operations on positive numbers.
cdef double SLACK = 1.0 + 2.0**-20
#: psi(r) / 0.55 is at most 1 to here; see `remainder_factor`.
cdef double PSI_UNIT = 0.55


cdef inline double dot(const double* x, const double* y, Py_ssize_t n) noexcept nogil:
    cdef blas_int size = n, one = 1
    return ddot(&size, <double*> x, &one, <double*> y, &one)


cdef inline void multiply(
    const double* matrix, const double* x, Py_ssize_t n, double sign, double start, double* y
) noexcept nogil:
    """y = sign M x + start y."""
    cdef blas_int size = n, one = 1
    dsymv(b"U", &size, &sign, <double*> matrix, &size, <double*> x, &one, &start, y, &one)


cdef inline double weighted_size(const double* weights, const double* x, Py_ssize_t n) noexcept nogil:
    """sum_j weights_j |x_j|, in lanes."""
    cdef Py_ssize_t j
    cdef double a = 0.0, b = 0.0, c = 0.0, d = 0.0
    for j in range(0, n - n % 4, 4):
        a += weights[j] * fabs(x[j])
        b += weights[j + 1] * fabs(x[j + 1])
        c += weights[j + 2] * fabs(x[j + 2])
        d += weights[j + 3] * fabs(x[j + 3])
    for j in range(n - n % 4, n):
        a += weights[j] * fabs(x[j])
    return (a + b) + (c + d)


def slopes(
    const double[:, ::1] values,
    const int32_t[::1] labels,
    const double[::1] weight,
    const double[::1] v,
    double third,               # B3 / 2
    double[:, ::1] out,         # OUT: (4, m): c, what it may be off by, a, kappa
):
    """Write what rows of the logistic loss contribute at v."""
    cdef Py_ssize_t i, j, p = v.shape[0]
    cdef double z, size, tail, low, high, wrong, error, variance
    with nogil:
        for i in range(values.shape[0]):
            z = dot(&values[i, 0], &v[0], p)
            size = 0.0
            for j in range(p):
                size += fabs(values[i, j] * v[j])
            tail = exp(-fabs(z))
            low, high = tail / (1.0 + tail), 1.0 / (1.0 + tail)
            wrong = low if (z > 0) == (labels[i] == 1) else high
            variance = low * high
            error = 1.01 * expm1(fmin((p + 8) * U * size, 700.0))
            out[0, i] = -weight[i] * wrong if labels[i] == 1 else weight[i] * wrong
            out[1, i] = weight[i] * (variance * error + 16 * U * wrong) * SLACK + (1.0 + weight[i]) * TINY
            out[2, i] = weight[i] * variance
            out[3, i] = weight[i] * fmin(third, PSI_UNIT * variance) * SLACK


cdef vector_void add_outer(
    double a, double b, double c, double x_i, only_const_doubles x, Py_ssize_t n,
    only_doubles hessian, only_doubles first, only_doubles second,
) noexcept nogil:
    cdef Py_ssize_t j
    cdef double product
    for j in range(n):
        product = x_i * x[j]
        hessian[j] += a * product
        first[j] += b * product
        second[j] += c * product


def change(
    const double[:, ::1] values,
    const int32_t[::1] groups,
    const double[:, ::1] contributions,   # (4, m), as `slopes` writes them
    const double[:, ::1] inverse,
    const double[::1] roots,              # of the diagonal of the inverse
    const double[::1] units,
    double[:, :, :, ::1] sums,            # OUT
    double[:, :, ::1] vectors,            # OUT
    double[::1] state,                    # OUT
    double[:, ::1] scratch,               # (1, p)
    double sign,
    double relative,                      # error of a
):
    """Take rows in, or out."""
    cdef Py_ssize_t i, j, p = inverse.shape[0], group
    cdef double c, a, kappa, reach, spread, leverage, doubt, root, toward, of_units, before, b1, b2
    cdef double* y = &scratch[0, 0]
    cdef const double* x
    with nogil:
        of_units = 0.0
        for j in range(p):
            of_units += units[j] * units[j] * roots[j] * roots[j]
        of_units = sqrt(of_units)
        for i in range(values.shape[0]):
            x, group = &values[i, 0], groups[i]
            c, a, kappa = contributions[0, i], contributions[2, i], contributions[3, i]
            multiply(&inverse[0, 0], x, p, 1.0, 0.0, y)
            reach = weighted_size(&roots[0], x, p)
            leverage, doubt = dot(x, y, p), (2 * p + 4) * U * reach * reach
            toward, spread = 0.0, (p + 2) * U * reach * of_units
            for j in range(p):
                toward += units[j] * units[j] * y[j] * y[j]
            toward = sqrt(toward)
            if sign > 0:  # above what it is, and below when it is taken away: what stays is above all the same
                root = sqrt(fmax(leverage, 0.0) + doubt) * SLACK
                b1, b2 = kappa * root, kappa * (toward * SLACK + spread)
                state[HI] += a * (fmax(leverage, 0.0) + doubt) * SLACK
                state[LEVERAGE] = fmax(state[LEVERAGE], root)
            else:
                root = sqrt(fmax(leverage - doubt, 0.0)) * (2.0 - SLACK)
                b1, b2 = -kappa * root * (2.0 - SLACK), -kappa * fmax(toward * (2.0 - SLACK) - spread, 0.0)
                b2 *= 2.0 - SLACK
                state[LO] -= a * (fmax(leverage, 0.0) + doubt) * SLACK
            state[N_CHANGES] += 1
            for j in range(p):
                before = fabs(sums[group, HESSIAN, j, j])
                add_outer(
                    sign * a, b1, b2, x[j], x, j + 1,
                    &sums[group, HESSIAN, j, 0], &sums[group, K1, j, 0], &sums[group, K2, j, 0],
                )
                before = fmax(before, fabs(sums[group, HESSIAN, j, j]))
                vectors[group, E, j] += (relative * a * (x[j] * x[j]) + 2 * U * before) * SLACK
                vectors[group, ERRORS, j] += contributions[1, i] * fabs(x[j])
                vectors[group, GRADIENT, j] += sign * c * x[j]
                vectors[group, ERRORS, j] += 2 * U * (fabs(vectors[group, GRADIENT, j]) + fabs(c * x[j]))
                if sign > 0:
                    vectors[group, PEAK1, j] += b1 * (x[j] * x[j]) * SLACK
                    vectors[group, PEAK2, j] += b2 * (x[j] * x[j]) * SLACK


cdef double remainder_factor(double r) noexcept nogil:
    """max(1, psi(r) / 0.55), with psi(r) = (exp(r) - 1 - r) / r^2, rounded up; psi(0.279) = 0.5499."""
    if r <= 0.279:
        return 1.0
    return fmax(1.0, (expm1(r) - r) / (r * r) / PSI_UNIT) * SLACK


cdef double to_distance(double u) noexcept nogil:
    """-ln(1 - u) where u < 1."""
    return -log1p(-u) * SLACK


def bound(
    const double[:, ::1] hessian,
    const double[:, ::1] first,           # K1
    const double[:, ::1] second,          # K2
    const double[:, ::1] vectors,         # (5, p), gradient and Hessian with penalties
    const double[:, ::1] inverse,
    const double[::1] roots,
    double[:, ::1] scratch,               # (2, p)
    double[::1] q,                        # OUT; IN, too, if it is given
    double lo,
    double hi,
    double leverage,                      # sqrt of the largest x'Bx
    double largest,                       # at least the largest eigenvalue of T B T
    double n_terms,                       # additions in K1 and K2
    double change_of_curvature,           # b, with |l'''| <= b l''
    double target,
    bint is_given,                        # begin with the q there is, whatever made it
):
    """Choose a step q from the anchor, and return at least the distance from there to the minimum, in units.

    Work stops as soon as the distance is `target`: first a plain step under a remainder by Lemma 4 alone, then a
    refined step, then K1 and K2.
    """
    cdef Py_ssize_t p = q.shape[0], refinement
    cdef double h, metric, best = 1e300
    if not (lo > 0.0 and lo <= hi):
        return 1e300
    h = leverage / sqrt(lo) * SLACK
    metric = sqrt(largest / lo) * SLACK
    cdef double* residual = &scratch[0, 0]
    cdef double* image = &scratch[1, 0]
    with nogil:
        if not is_given:
            multiply(&inverse[0, 0], &vectors[GRADIENT, 0], p, -1.0, 0.0, &q[0])
        for refinement in range(2):
            best = one_bound(
                hessian, first, second, vectors, inverse, roots, residual, image, q, lo, hi, h, metric, largest,
                n_terms, change_of_curvature, target, refinement == 1,
            )
            if best <= target or refinement == 1:
                break
            multiply(&inverse[0, 0], residual, p, -1.0, 1.0, &q[0])
    return best


cdef double one_bound(
    const double[:, ::1] hessian,
    const double[:, ::1] first,
    const double[:, ::1] second,
    const double[:, ::1] vectors,
    const double[:, ::1] inverse,
    const double[::1] roots,
    double* residual,
    double* image,
    double[::1] q,
    double lo,
    double hi,
    double h,
    double metric,
    double largest,
    double n_terms,
    double b,
    double target,
    bint has_remainders,
) noexcept nogil:
    cdef Py_ssize_t j, p = q.shape[0]
    cdef double size, of_errors, squared, norm_q, r, linear, total, nu, u, gamma1, gamma2, k1, k2, tau, reach, factor
    # |Hq + g|_A, with what every rounding adds to each entry.
    for j in range(p):
        residual[j] = vectors[GRADIENT, j]
    multiply(&hessian[0, 0], &q[0], p, 1.0, 0.0, image)
    size, of_errors, reach = 0.0, 0.0, 0.0
    for j in range(p):
        size += sqrt(fmax(hessian[j, j], 0.0) + vectors[E, j]) * fabs(q[j])
        of_errors += sqrt(vectors[E, j]) * fabs(q[j])
        reach += fabs(q[j])
    squared = dot(&q[0], image, p)
    norm_q = sqrt(fmax(squared, 0.0) + (2 * p + 8) * U * size * size + of_errors * of_errors) * SLACK
    total = 0.0
    for j in range(p):
        residual[j] += image[j]
        total += roots[j] * (
            (p + 4) * U * sqrt(fmax(hessian[j, j], 0.0) + vectors[E, j]) * size
            + sqrt(vectors[E, j]) * of_errors
            + vectors[ERRORS, j]
            + 2 * U * (fabs(vectors[GRADIENT, j]) + fabs(residual[j]))
        )
    multiply(&inverse[0, 0], residual, p, 1.0, 0.0, image)
    size = weighted_size(&roots[0], residual, p)
    squared = fmax(dot(residual, image, p), 0.0) + (2 * p + 8) * U * size * size
    linear = (sqrt(squared) + total) / sqrt(lo) * SLACK
    r = fmin(b * h * norm_q, b * reach * SLACK)
    if not r < 30.0:
        return 1e300
    # Lemmas 4 and 5.
    nu = linear + ((expm1(r) - r) / r if r > 1e-8 else r) * norm_q * SLACK
    gamma1 = gamma_of(nu, r, b * h, metric)
    if gamma1 <= target or not has_remainders:
        return gamma1
    # Lemma 3: the remainder by rows.
    factor = remainder_factor(r)
    multiply(&first[0, 0], &q[0], p, 1.0, 0.0, image)
    size = peak_size(&vectors[PEAK1, 0], &q[0], p)
    k1 = factor * (fmax(dot(&q[0], image, p), 0.0) + (n_terms + 2 * p + 8) * 4 * U * size * size) * SLACK
    nu = fmin(nu, linear + k1 / sqrt(lo) * SLACK)
    gamma1 = gamma_of(nu, r, b * h, metric)
    u = b * h * exp(r) * nu * SLACK
    if gamma1 <= target or not u < 1.0:
        return gamma1
    multiply(&second[0, 0], &q[0], p, 1.0, 0.0, image)
    size = peak_size(&vectors[PEAK2, 0], &q[0], p)
    k2 = factor * (fmax(dot(&q[0], image, p), 0.0) + (n_terms + 2 * p + 8) * 4 * U * size * size) * SLACK
    tau = fmax(1.0 / lo - 1.0, 1.0 - 1.0 / hi) + 2.0**-40
    gamma2 = metric * linear + k2 + tau * sqrt(largest) * k1 + metric * expm1(r - log1p(-u)) * nu
    return fmin(gamma1, gamma2 * SLACK)


cdef double peak_size(const double* peaks, const double* q, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t j
    cdef double size = 0.0
    for j in range(n):
        size += sqrt(peaks[j]) * fabs(q[j])
    return size


cdef double gamma_of(double nu, double r, double h, double metric) noexcept nogil:
    """Lemma 5: the distance, in units; h is that of the loss whose curvature changes by exp."""
    cdef double u = h * exp(r) * nu * SLACK
    if not u < 1.0:
        return 1e300
    return metric * (to_distance(u) / h if h > 0.0 else nu) * SLACK
