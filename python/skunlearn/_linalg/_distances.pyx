"""Scaled squared distances of rows to points, in a fixed order of operations.

X is (m, d), dense in C order or CSR with ascending column indices, float32 or float64; everything else is float64.
Arrays are IN unless a comment says OUT. Indices are trusted, since callers have checked them.
"""

from cython cimport floating
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from skunlearn._linalg._lanes cimport N_LANES, combine


cdef inline void add_squares(
    const floating* x,
    const double* point,
    const double* scale,
    Py_ssize_t n,
    double* lanes,  # OUT: increased
) noexcept nogil:
    cdef Py_ssize_t lane
    cdef double gap
    for lane in range(n):
        gap = (<double> x[lane] - point[lane]) / scale[lane]
        lanes[lane] += gap * gap


cdef inline double squared_distance(
    const floating* x,
    const double* point,
    const double* scale,
    Py_ssize_t d,
) noexcept nogil:
    """Return the sum of ((x - point) / scale)**2: see `_lanes` for its order."""
    cdef Py_ssize_t j, chunk, n_chunks = d // N_LANES, n_tail = d % N_LANES
    cdef double[N_LANES] lanes
    for j in range(N_LANES):
        lanes[j] = 0.0
    for chunk in range(n_chunks):
        j = chunk * N_LANES
        add_squares(x + j, point + j, scale + j, N_LANES, lanes)
    if n_tail > 0:
        j = n_chunks * N_LANES
        add_squares(x + j, point + j, scale + j, n_tail, lanes)
    return combine(lanes)


def squared_distances_dense(
    const floating[:, ::1] X,
    const double[:, ::1] points,
    const double[:, ::1] scales,
    double[:, ::1] out,  # OUT: (m, k)
):
    """Write the sum of ((X - point) / scale)**2 for each row and point; points and scales are (k, d)."""
    cdef Py_ssize_t i, c
    with nogil:
        for i in range(X.shape[0]):
            for c in range(points.shape[0]):
                out[i, c] = squared_distance(&X[i, 0], &points[c, 0], &scales[c, 0], points.shape[1])


def squared_distances_csr(
    const int64_t[::1] indptr,
    const int32_t[::1] indices,
    const floating[::1] data,
    const double[:, ::1] points,
    const double[:, ::1] scales,
    double[::1] row,     # (d,), zeros; so it is left
    double[:, ::1] out,  # OUT: (m, k)
):
    """Write the same bits as `squared_distances_dense`."""
    cdef Py_ssize_t i, c, p
    with nogil:
        for i in range(out.shape[0]):
            for p in range(indptr[i], indptr[i + 1]):
                row[indices[p]] = <double> data[p]
            for c in range(points.shape[0]):
                out[i, c] = squared_distance(&row[0], &points[c, 0], &scales[c, 0], points.shape[1])
            memset(&row[0], 0, row.shape[0] * sizeof(double))
