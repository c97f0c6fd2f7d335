"""What rows contribute under a loss of one score: the slope of the loss, its curvature, and what bounds their errors.

A loss is a code and one parameter (see `losses`). A row has a score z, its target y and a weight s above 0:

    POISSON        e^z - y z                                            y >= 0
    GAMMA          z + y e^-z                                           y > 0
    TWEEDIE        e^((2-p) z) / (2-p) - y e^((1-p) z) / (1-p)          y >= 0, p the parameter, 1 < p < 2
    SQUARED        (z - y)^2 / 2
    SQUARED_HINGE  max(0, 1 - y z)^2                                    y is -1 or 1
    HUBER          (z - y)^2 / 2 where |z - y| <= p, else p |z - y| - p^2 / 2

`spreads` are how far computed scores are off, in units of u = 2**-53, from `_likelihood`. c = s loss' is off by at most
u t; docs/certificates.md derives t. Its parts: the score, seen through the curvature, which changes no faster than exp;
the terms of c before they cancel, and exp, whose error is taken to be 2 u; what c goes through afterwards, of which
`steps` are additions; what underflows. Arrays are IN unless a comment says OUT.
"""

from libc.math cimport exp, expm1, fabs

cdef enum:
    POISSON = 0
    GAMMA = 1
    TWEEDIE = 2
    SQUARED = 3
    SQUARED_HINGE = 4
    HUBER = 5

CODES = {
    "poisson": POISSON,
    "gamma": GAMMA,
    "tweedie": TWEEDIE,
    "squared": SQUARED,
    "squared_hinge": SQUARED_HINGE,
    "huber": HUBER,
}
cdef double U = 2.0**-53, UNDERFLOW = 2.0**-1000

cdef struct Slope:
    double c
    double t              # without what comes after c
    double curvature
    double loss


cdef inline double excess(double spread) noexcept nogil:
    """(exp(spread u) - 1) / u, rounded up."""
    return 1.01 * spread if spread < 0.01 / U else 1.01 * expm1(U * spread) / U


cdef Slope slope(int code, double parameter, double z, double spread, double y) noexcept nogil:
    """Return the slope of the loss of a row of weight 1."""
    cdef Slope out
    cdef double first, second, rest
    if code == POISSON:
        first = exp(z)
        out.c, out.curvature, out.loss = first - y, first, first - y * z
        out.t = 1.01 * first * excess(spread) + 3 * first
    elif code == GAMMA:
        first = y * exp(-z)
        out.c, out.curvature, out.loss = 1.0 - first, first, z + first
        out.t = 1.01 * first * excess(spread) + 4 * first
    elif code == TWEEDIE:
        first, second = exp((2 - parameter) * z), y * exp((1 - parameter) * z)
        out.c, out.curvature = first - second, (2 - parameter) * first + (parameter - 1) * second
        out.loss = first / (2 - parameter) + second / (parameter - 1)
        out.t = 1.01 * out.curvature * excess(spread) + (4 + 1.1 * fabs(z)) * (first + second) + second
    elif code == SQUARED:
        out.c, out.curvature, out.loss = z - y, 1.0, (z - y) * (z - y) / 2
        out.t = 1.01 * spread
    elif code == SQUARED_HINGE:
        rest = 1.0 - y * z
        out.c = out.curvature = out.loss = out.t = 0.0
        if rest > 0.0:
            out.c, out.curvature, out.loss = -2.0 * y * rest, 2.0, rest * rest
        if rest > -2.0 * U * spread:
            out.t = 2.1 * spread
    else:
        rest = z - y
        out.c, out.curvature, out.loss = rest, 1.0, rest * rest / 2
        if not fabs(rest) <= parameter:
            out.c, out.curvature = parameter if rest > 0 else -parameter, 0.0
            out.loss = parameter * fabs(rest) - parameter * parameter / 2
        out.t = 1.01 * spread if fabs(rest) <= (parameter + 2 * U * spread) * (1 + 8 * U) else 0.0
    return out


def add_slopes(
    int code,
    double parameter,
    const double[::1] scores,
    const double[::1] spreads,
    const double[::1] targets,
    const double[::1] weight,
    double steps,
    double[::1] c,               # OUT
    double[::1] sums,            # OUT: (2,), increased by t**2, and by the loss
):
    """Write what rows contribute to the gradient, as multiples of them."""
    cdef Py_ssize_t i
    cdef Slope row
    cdef double t, s
    with nogil:
        for i in range(scores.shape[0]):
            s = weight[i]
            row = slope(code, parameter, scores[i], spreads[i], targets[i])
            c[i] = s * row.c
            t = s * row.t + (12 + steps) * fabs(c[i]) + (1.0 + s) * (1.0 + fabs(targets[i])) * UNDERFLOW
            sums[0] += t * t
            sums[1] += s * row.loss


def curvatures(
    int code,
    double parameter,
    const double[::1] scores,
    const double[::1] targets,
    double[::1] out,             # OUT
):
    """Write second derivatives of the losses of rows of weight 1; at a kink, either."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(scores.shape[0]):
            out[i] = slope(code, parameter, scores[i], 0.0, targets[i]).curvature


def clearances(
    int code,
    double parameter,
    const double[::1] scores,
    const double[::1] spreads,
    const double[::1] targets,
    double[::1] out,             # OUT
):
    """Write how far scores are at least from where the curvature of their loss jumps; infinite where it does not.

    Numbers above 0 prove on which side a row is.
    """
    cdef Py_ssize_t i
    cdef double rest
    with nogil:
        for i in range(scores.shape[0]):
            if code == SQUARED_HINGE:
                rest = 1.0 - targets[i] * scores[i]
                out[i] = fabs(rest) * (1 - 4 * U) - 1.01 * U * spreads[i]
            elif code == HUBER:
                rest = fabs(scores[i] - targets[i])
                out[i] = fabs(rest - parameter) * (1 - 4 * U) - U * (1.01 * spreads[i] + 2 * rest)
            else:
                out[i] = 1.0 / UNDERFLOW
