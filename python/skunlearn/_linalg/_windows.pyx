"""Kernels of `OrderStatistics`: windows on the sorted values of columns, kept while values come and go.

Column j has `counts[j]` values that are not NaN. Its window k holds `sizes[j, k]` neighbours among them in ascending
order, the first of which has rank `below[j, k]`: so many values come before it. A window whose rank is LOST holds
nothing and follows nothing, until a pass over the rows finds its values again. Entries beyond the size are zero.

Arrays are IN unless a comment says OUT.
"""

from cython cimport floating
from libc.stdint cimport int64_t
from libc.string cimport memmove

cdef enum:
    _LOST = -1

LOST = _LOST


def update(
    const floating[:, ::1] X,
    const double[::1] quantiles,   # where the windows should be, as shares of the ranks
    double[:, :, ::1] windows,     # OUT: (d, n_windows, capacity)
    int64_t[:, ::1] sizes,         # OUT
    int64_t[:, ::1] below,         # OUT
    int64_t[::1] counts,           # OUT
    int sign,
):
    """Take rows in (`sign` 1) or out (-1)."""
    cdef Py_ssize_t i, j, k, capacity = windows.shape[2]
    cdef double x
    with nogil:
        for i in range(X.shape[0]):
            for j in range(X.shape[1]):
                x = X[i, j]
                if x != x:
                    continue
                counts[j] += sign
                for k in range(windows.shape[1]):
                    if below[j, k] == _LOST:
                        continue
                    if sign > 0:
                        insert(x, quantiles[k], &windows[j, k, 0], capacity, &sizes[j, k], &below[j, k], counts[j])
                    else:
                        erase(x, &windows[j, k, 0], &sizes[j, k], &below[j, k], counts[j])


cdef inline void insert(
    double x,
    double quantile,
    double* window,     # IN and OUT
    Py_ssize_t capacity,
    int64_t* size,      # IN and OUT
    int64_t* below,     # IN and OUT
    int64_t count,      # with x
) noexcept nogil:
    """Take a value in; a full window loses its end that is farther from the quantile."""
    cdef Py_ssize_t n = size[0], place
    if n and x > window[n - 1] and below[0] + n < count - 1:
        return
    if n and x < window[0] and below[0]:
        below[0] += 1
        return
    place = lower_bound(window, n, x)
    if n < capacity:
        memmove(window + place + 1, window + place, (n - place) * sizeof(double))
        window[place] = x
        size[0] += 1
    elif quantile * (count - 1) - below[0] > n // 2:
        below[0] += 1
        if place:
            memmove(window, window + 1, (place - 1) * sizeof(double))
            window[place - 1] = x
    elif place < n:
        memmove(window + place + 1, window + place, (n - 1 - place) * sizeof(double))
        window[place] = x


cdef inline void erase(
    double x,
    double* window,     # IN and OUT
    int64_t* size,      # IN and OUT
    int64_t* below,     # IN and OUT
    int64_t count,      # without x
) noexcept nogil:
    """Take a value out; a window that is empty though there are values is lost."""
    cdef Py_ssize_t n = size[0], place
    if n == 0 or x > window[n - 1]:
        return
    if x < window[0]:
        below[0] -= 1
        return
    place = lower_bound(window, n, x)
    memmove(window + place, window + place + 1, (n - 1 - place) * sizeof(double))
    window[n - 1] = 0.0
    size[0] = n - 1
    if n == 1:
        below[0] = _LOST if count else 0


cdef inline Py_ssize_t lower_bound(const double* window, Py_ssize_t n, double x) noexcept nogil:
    """Return how many values of the window are below x."""
    cdef Py_ssize_t low = 0, high = n, middle
    while low < high:
        middle = (low + high) // 2
        if window[middle] < x:
            low = middle + 1
        else:
            high = middle
    return low
