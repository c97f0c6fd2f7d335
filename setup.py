"""Build the Cython half: every .pyx under the package, so adding one needs no edit here."""

import os
from pathlib import Path

import numpy
import scipy.linalg
from Cython.Build import cythonize
from setuptools import Extension, setup

PACKAGE_ROOT = Path("python")
# A debug build checks bounds and initialisation; directives are not in Cython's time stamps, so it forces.
DEBUG = os.environ.get("SKUNLEARN_CYTHON_DEBUG") == "1"
# gcc or clang: the kernels use 128-bit integers. No contraction: see docs/decisions/0004.
COMPILE_ARGS = ["-O3", "-ffp-contract=off"]


def write_if_changed(path, text):
    """Leave the time stamp of an unchanged file alone: every extension that includes it would be built again."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


# SciPy 1.18 says how long the integers of its BLAS are; before that they are always int.
blas_names = Path(scipy.linalg.__file__).with_name("cython_blas.pxd").read_text()
write_if_changed(
    PACKAGE_ROOT / "skunlearn/_linalg/_blas_int.pxi",
    "from scipy.linalg.cython_blas cimport blas_int\n" if "blas_int" in blas_names else "ctypedef int blas_int\n",
)

extensions = [
    Extension(
        ".".join(path.relative_to(PACKAGE_ROOT).with_suffix("").parts),
        [str(path)],
        include_dirs=[numpy.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        extra_compile_args=COMPILE_ARGS,
    )
    for path in sorted(PACKAGE_ROOT.rglob("*.pyx"))
]
directives = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "cdivision": not DEBUG,
    "initializedcheck": DEBUG,
    "freethreading_compatible": True,
}
setup(
    ext_modules=cythonize(extensions, compiler_directives=directives, force=DEBUG or None),
    options={"build_ext": {"parallel": os.cpu_count()}},
)
