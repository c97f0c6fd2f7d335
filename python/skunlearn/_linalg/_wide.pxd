"""Integers of 128 and 192 bits, as the moment kernels store and add them.

A stored integer is two or three int64 limbs, lowest first, in two's complement: on the little-endian machines that this
library is built for, the first two are one int128 in place.
"""

from libc.stdint cimport int64_t, uint64_t

cdef extern from *:
    """
    /* They live in int64 arrays: hence the alias, and the alignment of theirs. */
    typedef __int128 int128 __attribute__((may_alias, aligned(8)));
    typedef unsigned __int128 uint128 __attribute__((may_alias, aligned(8)));
    """
    ctypedef long long int128
    ctypedef unsigned long long uint128


cdef inline Py_ssize_t packed(Py_ssize_t i, Py_ssize_t j) noexcept nogil:
    """Return the place of entry (i, j), j <= i, in a lower triangle packed by rows."""
    return i * (i + 1) // 2 + j


cdef inline void add_wide(int64_t* entry, int n_limbs, int128 value) noexcept nogil:
    """Add to an integer of two or three limbs."""
    cdef uint128 low
    if n_limbs == 2:
        (<int128*> entry)[0] += value
        return
    low = (<uint128*> entry)[0] + <uint128> value
    entry[2] += <int64_t> (value >> 127) + (low < <uint128> value)
    (<uint128*> entry)[0] = low


cdef inline void shift_wide(int64_t* entry, int n_limbs, int power) noexcept nogil:
    """Multiply by 2**power; zero stays zero whatever the power."""
    cdef int64_t[3] wide
    cdef int64_t sign = entry[n_limbs - 1] >> 63
    cdef int i, source, words, bits
    cdef uint64_t high, low
    if not (entry[0] | entry[1] | entry[n_limbs - 1]):
        return
    for i in range(3):
        wide[i] = entry[i] if i < n_limbs else sign
    words, bits = power // 64, power % 64
    if bits < 0:
        words, bits = words - 1, bits + 64
    for i in range(n_limbs):
        source = i - words
        high = sign if source > 2 else 0 if source < 0 else wide[source]
        low = sign if source > 3 else 0 if source < 1 else wide[source - 1]
        entry[i] = high << bits | (low >> (64 - bits) if bits else 0)
