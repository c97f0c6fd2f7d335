"""Predictions of linear models in a fixed order of operations.

X is (m, d), dense in C order or CSR with ascending column indices, float32 or float64; products and sums are float64.
Arrays are IN unless a comment says OUT. Indices are trusted, since callers have checked them.
"""

from cython cimport floating
from libc.stdint cimport int32_t, int64_t

from skunlearn._linalg._lanes cimport N_LANES, combine


cdef inline void add_products(
    const floating* x,
    const double* coef,
    Py_ssize_t n,
    double* lanes,  # OUT: increased
) noexcept nogil:
    cdef Py_ssize_t lane
    for lane in range(n):
        lanes[lane] += <double> x[lane] * coef[lane]


def predict_dense(
    const floating[:, ::1] X,
    const double[:, ::1] coef,
    const double[::1] intercept,
    double[:, ::1] out,  # OUT: (m, k)
):
    """Write X coef' + intercept, with coef (k, d), for each row and target: see `_lanes` for the order of the sum."""
    cdef Py_ssize_t i, t, j, chunk, d = X.shape[1], k = coef.shape[0]
    cdef Py_ssize_t n_chunks = d // N_LANES, n_tail = d % N_LANES
    cdef double[N_LANES] lanes
    with nogil:
        for i in range(X.shape[0]):
            for t in range(k):
                for j in range(N_LANES):
                    lanes[j] = 0.0
                for chunk in range(n_chunks):
                    j = chunk * N_LANES
                    add_products(&X[i, j], &coef[t, j], N_LANES, lanes)
                if n_tail > 0:
                    j = n_chunks * N_LANES
                    add_products(&X[i, j], &coef[t, j], n_tail, lanes)
                out[i, t] = intercept[t] + combine(lanes)


def predict_csr(
    const int64_t[::1] indptr,
    const int32_t[::1] indices,
    const floating[::1] data,
    const double[:, ::1] coef,
    const double[::1] intercept,
    double[:, ::1] out,  # OUT: (m, k)
):
    """Write the same bits as `predict_dense`."""
    cdef Py_ssize_t i, t, j, p
    cdef double[N_LANES] lanes
    with nogil:
        for i in range(out.shape[0]):
            for t in range(coef.shape[0]):
                for j in range(N_LANES):
                    lanes[j] = 0.0
                for p in range(indptr[i], indptr[i + 1]):
                    j = indices[p]
                    lanes[j % N_LANES] += <double> data[p] * coef[t, j]
                out[i, t] = intercept[t] + combine(lanes)


def squared_distances(
    const double[:, ::1] X,
    const double[::1] mean,
    const double[:, ::1] whitening,
    double[::1] scratch,  # OUT: (d,)
    double[::1] out,      # OUT: (m,)
):
    """Write |whitening (x - mean)|^2 for each row, with whitening (k, d): products as in `predict_dense`, squares in
    order.
    """
    cdef Py_ssize_t i, t, j, chunk, d = X.shape[1]
    cdef Py_ssize_t n_chunks = d // N_LANES, n_tail = d % N_LANES
    cdef double[N_LANES] lanes
    cdef double total, value
    with nogil:
        for i in range(X.shape[0]):
            for j in range(d):
                scratch[j] = X[i, j] - mean[j]
            total = 0.0
            for t in range(whitening.shape[0]):
                for j in range(N_LANES):
                    lanes[j] = 0.0
                for chunk in range(n_chunks):
                    j = chunk * N_LANES
                    add_products(&scratch[j], &whitening[t, j], N_LANES, lanes)
                if n_tail > 0:
                    j = n_chunks * N_LANES
                    add_products(&scratch[j], &whitening[t, j], n_tail, lanes)
                value = combine(lanes)
                total += value * value
            out[i] = total
