"""The gradient of `_likelihood` once more, in double-doubles: for the rare minimum that lies next to a boundary.

A double-double is an unevaluated sum of two float64 numbers. Sums and products of them are within 2**-100 of the true
ones, relative to the magnitudes that enter, `exponential` within 2**-91 of its value; tests/linalg/test_likelihood.py
holds all of them against rational arithmetic. Conventions are those of `_likelihood`.
"""

from cython cimport floating
from libc.math cimport INFINITY, fabs, ldexp, rint
from libc.stdint cimport int32_t, int64_t

cdef struct dd:
    double hi
    double lo

cdef double LN2_HI = 0.6931471805599453, LN2_MID = 2.3190468138462996e-17, LN2_LO = 5.707708438416212e-34
cdef enum:
    N_TERMS = 12      # of the series of exp: 2**-9 to the power 13, over 13!, is below 2**-149
    N_SQUARINGS = 9


cdef inline dd two_sum(double a, double b) noexcept nogil:
    """After Knuth: hi + lo is a + b."""
    cdef dd out
    cdef double part
    out.hi = a + b
    part = out.hi - a
    out.lo = (a - (out.hi - part)) + (b - part)
    return out


cdef inline dd renormalise(double hi, double lo) noexcept nogil:
    """After Dekker, for |hi| >= |lo|."""
    cdef dd out
    out.hi = hi + lo
    out.lo = lo - (out.hi - hi)
    return out


cdef inline dd two_product(double a, double b) noexcept nogil:
    """After Dekker and Veltkamp, without a fused multiply-add: hi + lo is a b."""
    cdef dd out
    cdef double t, a_hi, a_lo, b_hi, b_lo
    t = 134217729.0 * a
    a_hi = t - (t - a)
    a_lo = a - a_hi
    t = 134217729.0 * b
    b_hi = t - (t - b)
    b_lo = b - b_hi
    out.hi = a * b
    out.lo = ((a_hi * b_hi - out.hi) + a_hi * b_lo + a_lo * b_hi) + a_lo * b_lo
    return out


cdef inline dd add(dd a, dd b) noexcept nogil:
    cdef dd high = two_sum(a.hi, b.hi), low = two_sum(a.lo, b.lo)
    high = renormalise(high.hi, high.lo + low.hi)
    return renormalise(high.hi, high.lo + low.lo)


cdef inline dd multiply(dd a, dd b) noexcept nogil:
    cdef dd out = two_product(a.hi, b.hi)
    return renormalise(out.hi, out.lo + (a.hi * b.lo + a.lo * b.hi))


cdef inline dd scaled_by(dd a, double b) noexcept nogil:
    cdef dd out = two_product(a.hi, b)
    return renormalise(out.hi, out.lo + a.lo * b)


cdef inline dd number(double hi) noexcept nogil:
    cdef dd out
    out.hi, out.lo = hi, 0.0
    return out


cdef inline dd negative(dd a) noexcept nogil:
    a.hi, a.lo = -a.hi, -a.lo
    return a


cdef inline dd divide(dd a, dd b) noexcept nogil:
    """Two Newton corrections of the quotient of the high parts."""
    cdef double first = a.hi / b.hi, second, third
    cdef dd rest = add(a, negative(scaled_by(b, first)))
    second = rest.hi / b.hi
    rest = add(rest, negative(scaled_by(b, second)))
    third = rest.hi / b.hi
    return add(renormalise(first, second), number(third))


cdef dd exponential(dd z) noexcept nogil:
    """exp(z) for z <= 0; what falls short of 2**-91 below -600, and 0 below -700, is less than 1e-290."""
    cdef dd r, term, s
    cdef double n = rint(z.hi / LN2_HI)
    cdef int i
    if z.hi < -700.0:
        return number(0.0)
    r = add(z, negative(two_product(n, LN2_HI)))
    r = add(r, negative(two_product(n, LN2_MID)))
    r = add(r, number(-n * LN2_LO))
    r.hi, r.lo = ldexp(r.hi, -N_SQUARINGS), ldexp(r.lo, -N_SQUARINGS)
    term = r
    s = r
    for i in range(2, N_TERMS + 1):
        term = divide(multiply(term, r), number(i))
        s = add(s, term)
    # exp(2 r) - 1 from s = exp(r) - 1: keeps what 1 + s would round away
    for _ in range(N_SQUARINGS):
        s = add(scaled_by(s, 2.0), multiply(s, s))
    s = add(number(1.0), s)
    s.hi, s.lo = ldexp(s.hi, <int> n), ldexp(s.lo, <int> n)
    return s


cdef void contribute(
    const dd* scores, const double* magnitudes, Py_ssize_t k, int32_t label, double weight, double chain,
    double relative, dd* c, double* t
) noexcept nogil:
    cdef Py_ssize_t cls
    cdef dd top, tail, s, wrong = number(0.0)
    cdef double spread, worst = 0.0
    if k == 1:
        tail = exponential(scores[0] if scores[0].hi < 0 else negative(scores[0]))
        s = add(number(1.0), tail)
        # The smaller probability is tail / s, the larger 1 / s.
        c[0] = scaled_by(divide(tail if (scores[0].hi > 0) == (label == 1) else number(1.0), s), weight)
        if label:
            c[0] = negative(c[0])
        t[0] = 1.01 * weight * tail.hi * chain * magnitudes[0] + relative * fabs(c[0].hi)
        t[0] += 1e-290 * weight
        return
    top = scores[0]
    for cls in range(1, k):
        if scores[cls].hi > top.hi:
            top = scores[cls]
    s = number(0.0)
    for cls in range(k):
        c[cls] = exponential(add(scores[cls], negative(top)))
        if cls != label:
            wrong = add(wrong, c[cls])
        s = add(s, c[cls])
        spread = chain * magnitudes[cls]
        worst = spread if spread > worst else worst
    for cls in range(k):
        t[cls] = 2.1 * weight * (c[cls].hi / s.hi) * worst
        c[cls] = scaled_by(divide(negative(wrong) if cls == label else c[cls], s), weight)
        t[cls] += (k + 4) * relative * fabs(c[cls].hi) + 1e-290 * weight


def add_gradient_dense(
    const floating[:, ::1] X,
    const int32_t[::1] labels,
    const double[::1] weight,
    const double[::1] scale,
    const double[:, :, ::1] coef,      # (k, d + 1, 2): high and low parts, the intercept last
    double chain,                      # relative error of scores
    double relative,                   # relative error of c and of the sums
    double[:, :, ::1] gradient,        # OUT: (k, d + 1, 2), increased
    double[::1] errors,                # OUT: (k,), increased by t**2
    double[:, ::1] scratch,            # (6, k)
):
    """Add the gradients of rows."""
    cdef Py_ssize_t i, j, cls, d = X.shape[1], k = coef.shape[0]
    cdef dd* scores = <dd*> &scratch[0, 0]
    cdef dd* c = <dd*> &scratch[2, 0]
    cdef double* magnitudes = &scratch[4, 0]
    cdef double* t = &scratch[5, 0]
    cdef dd* out
    cdef const dd* w
    with nogil:
        for i in range(X.shape[0]):
            for cls in range(k):
                w = <const dd*> &coef[cls, 0, 0]
                scores[cls] = w[d]
                magnitudes[cls] = fabs(w[d].hi)
                for j in range(d):
                    scores[cls] = add(scores[cls], scaled_by(w[j], X[i, j] * scale[j]))
                    magnitudes[cls] += fabs(w[j].hi * (X[i, j] * scale[j]))
            contribute(scores, magnitudes, k, labels[i], weight[i], chain, relative, c, t)
            for cls in range(k):
                errors[cls] += t[cls] * t[cls]
                out = <dd*> &gradient[cls, 0, 0]
                for j in range(d):
                    out[j] = add(out[j], scaled_by(c[cls], X[i, j] * scale[j]))
                out[d] = add(out[d], c[cls])


def add_gradient_csr(
    const int64_t[::1] indptr,
    const int32_t[::1] indices,
    const floating[::1] data,
    const int32_t[::1] labels,
    const double[::1] weight,
    const double[::1] scale,
    const double[:, :, ::1] coef,      # (k, d + 1, 2)
    double chain,
    double relative,
    double[:, :, ::1] gradient,        # OUT: (k, d + 1, 2), increased
    double[::1] errors,                # OUT: (k,), increased by t**2
    double[:, ::1] scratch,            # (6, k)
):
    """Add the gradients of rows."""
    cdef Py_ssize_t i, cls, p, d = coef.shape[1] - 1, k = coef.shape[0]
    cdef dd* scores = <dd*> &scratch[0, 0]
    cdef dd* c = <dd*> &scratch[2, 0]
    cdef double* magnitudes = &scratch[4, 0]
    cdef double* t = &scratch[5, 0]
    cdef dd* out
    cdef const dd* w
    with nogil:
        for i in range(labels.shape[0]):
            for cls in range(k):
                w = <const dd*> &coef[cls, 0, 0]
                scores[cls] = w[d]
                magnitudes[cls] = fabs(w[d].hi)
                for p in range(indptr[i], indptr[i + 1]):
                    scores[cls] = add(scores[cls], scaled_by(w[indices[p]], data[p] * scale[indices[p]]))
                    magnitudes[cls] += fabs(w[indices[p]].hi * (data[p] * scale[indices[p]]))
            contribute(scores, magnitudes, k, labels[i], weight[i], chain, relative, c, t)
            for cls in range(k):
                errors[cls] += t[cls] * t[cls]
                out = <dd*> &gradient[cls, 0, 0]
                for p in range(indptr[i], indptr[i + 1]):
                    out[indices[p]] = add(out[indices[p]], scaled_by(c[cls], data[p] * scale[indices[p]]))
                out[d] = add(out[d], c[cls])


# --- for losses of one score; their codes and parameters are those of `_losses` --------------------------------------

cdef enum:
    POISSON = 0
    GAMMA = 1
    TWEEDIE = 2
    SQUARED = 3
    SQUARED_HINGE = 4
    HUBER = 5


cdef dd power(dd z) noexcept nogil:
    """exp(z), within 2**-90 of its value for |z| <= 600."""
    return exponential(z) if z.hi <= 0 else divide(number(1.0), exponential(negative(z)))


cdef dd slope(int code, double parameter, dd z, double spread, double y, double* t) noexcept nogil:
    """Return the slope of the loss of a row of weight 1, and how far it is off.

    A sum is off by 2**-99 of the magnitudes that enter, exp(q z) by 2**-88 of its value: |q z| 2**-99 of that is from
    the product.
    """
    cdef dd first, second, c
    cdef double curvature
    if code in (POISSON, GAMMA, TWEEDIE):
        if fabs(z.hi) > 600.0:
            t[0] = INFINITY
            return number(0.0)
        if code == TWEEDIE:
            first, second = power(scaled_by(z, 2 - parameter)), scaled_by(power(scaled_by(z, 1 - parameter)), y)
            curvature = (2 - parameter) * first.hi + (parameter - 1) * second.hi
        elif code == POISSON:
            first, second = power(z), number(y)
            curvature = first.hi
        else:
            first, second = number(1.0), scaled_by(power(negative(z)), y)
            curvature = second.hi
        t[0] = 1.02 * curvature * spread + 2.0**-88 * (first.hi + second.hi) + 1e-290 * (1.0 + y)
        return add(first, negative(second))
    if code == SQUARED_HINGE:
        c = add(number(1.0), negative(scaled_by(z, y)))
        spread += 2.0**-98 * (1.0 + fabs(z.hi))
        t[0] = 2.1 * spread if c.hi > -2 * spread else 0.0
        return scaled_by(c, -2.0 * y) if c.hi > 0 else number(0.0)
    c = add(z, number(-y))
    spread += 2.0**-98 * (fabs(z.hi) + fabs(y))
    t[0] = 1.02 * spread
    if code == HUBER and fabs(c.hi) >= parameter:
        # At |c.hi| = parameter the low part says which it is; either is right to within the low part.
        second = number(parameter if c.hi > 0 else -parameter)
        t[0] = t[0] + fabs(c.lo) if fabs(c.hi) <= parameter + 2 * spread else 0.0
        return second
    return c


def add_gradient_of_loss_dense(
    int code,
    double parameter,
    const floating[:, ::1] X,
    const double[::1] targets,
    const double[::1] weight,
    const double[::1] scale,
    const double[:, ::1] coef,         # (d + 1, 2)
    double chain,
    double relative,
    double[:, ::1] gradient,           # OUT: (d + 1, 2), increased
    double[::1] errors,                # OUT: (1,), increased by t**2
):
    """Add the gradients of rows."""
    cdef Py_ssize_t i, j, d = X.shape[1]
    cdef const dd* w = <const dd*> &coef[0, 0]
    cdef dd* out = <dd*> &gradient[0, 0]
    cdef dd score, c
    cdef double magnitude, t
    with nogil:
        for i in range(X.shape[0]):
            score, magnitude = w[d], fabs(w[d].hi)
            for j in range(d):
                score = add(score, scaled_by(w[j], X[i, j] * scale[j]))
                magnitude += fabs(w[j].hi * (X[i, j] * scale[j]))
            c = scaled_by(slope(code, parameter, score, chain * magnitude, targets[i], &t), weight[i])
            t = weight[i] * t + relative * fabs(c.hi) + 1e-290 * weight[i]
            errors[0] += t * t
            for j in range(d):
                out[j] = add(out[j], scaled_by(c, X[i, j] * scale[j]))
            out[d] = add(out[d], c)


def add_gradient_of_loss_csr(
    int code,
    double parameter,
    const int64_t[::1] indptr,
    const int32_t[::1] indices,
    const floating[::1] data,
    const double[::1] targets,
    const double[::1] weight,
    const double[::1] scale,
    const double[:, ::1] coef,         # (d + 1, 2)
    double chain,
    double relative,
    double[:, ::1] gradient,           # OUT: (d + 1, 2), increased
    double[::1] errors,                # OUT: (1,), increased by t**2
):
    """Add the gradients of rows."""
    cdef Py_ssize_t i, p, d = coef.shape[0] - 1
    cdef const dd* w = <const dd*> &coef[0, 0]
    cdef dd* out = <dd*> &gradient[0, 0]
    cdef dd score, c
    cdef double magnitude, t
    with nogil:
        for i in range(targets.shape[0]):
            score, magnitude = w[d], fabs(w[d].hi)
            for p in range(indptr[i], indptr[i + 1]):
                score = add(score, scaled_by(w[indices[p]], data[p] * scale[indices[p]]))
                magnitude += fabs(w[indices[p]].hi * (data[p] * scale[indices[p]]))
            c = scaled_by(slope(code, parameter, score, chain * magnitude, targets[i], &t), weight[i])
            t = weight[i] * t + relative * fabs(c.hi) + 1e-290 * weight[i]
            errors[0] += t * t
            for p in range(indptr[i], indptr[i + 1]):
                out[indices[p]] = add(out[indices[p]], scaled_by(c, data[p] * scale[indices[p]]))
            out[d] = add(out[d], c)


def exponentials(const double[:, ::1] z, double[:, ::1] out):
    """Write exp of double-doubles at most 0, rows (high, low); for the tests."""
    cdef Py_ssize_t i
    cdef dd value
    for i in range(z.shape[0]):
        value.hi, value.lo = z[i, 0], z[i, 1]
        value = exponential(value)
        out[i, 0], out[i, 1] = value.hi, value.lo
