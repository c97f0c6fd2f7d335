"""What makes loops over the columns of one row fast, and changes no bit: no sum is in them, no fused multiply-add."""

cdef extern from *:
    """
    /* The same body for the baseline and for AVX2; the loader picks one. */
    #if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
    #define VECTOR_VOID __attribute__((target_clones("avx2", "default"))) void
    #else
    #define VECTOR_VOID void
    #endif
    /* Arrays of one kernel never overlap; without this word most loops would not be vectorised. */
    typedef double *__restrict__ only_doubles;
    typedef const double *__restrict__ only_const_doubles;
    typedef const float *__restrict__ only_const_floats;
    #define TWO_18 0x1p18
    #define TWO_52 0x1p52
    #define TWO_53 0x1p53
    """
    const double TWO_18, TWO_52, TWO_53
    ctypedef void vector_void "VECTOR_VOID"
    ctypedef double* only_doubles
    ctypedef const double* only_const_doubles
    ctypedef const float* only_const_floats
