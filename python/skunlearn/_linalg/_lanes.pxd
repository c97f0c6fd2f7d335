"""Sums in eight lanes, joined by a fixed tree: term j goes to lane j % 8.

One row or many, dense or CSR, SIMD of any width: the bits are the same. A lane starts at 0.0 and is never -0.0, so a
term of either zero changes no bit, and CSR may leave it out.
"""

# Part of the definition of what is predicted.
cdef enum:
    N_LANES = 8


cdef inline double combine(const double* lanes) noexcept nogil:
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
