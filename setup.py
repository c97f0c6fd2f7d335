"""Build the Cython half: every .pyx under the package, so adding one needs no edit here."""

import os
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

PACKAGE_ROOT = Path("python")
# A debug build checks bounds and initialisation; directives are not in Cython's time stamps, so it forces.
DEBUG = os.environ.get("SKUNLEARN_CYTHON_DEBUG") == "1"
# gcc or clang: the kernels use 128-bit integers. No contraction: see docs/decisions/0004.
COMPILE_ARGS = ["-O3", "-ffp-contract=off"]

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
setup(ext_modules=cythonize(extensions, compiler_directives=directives, force=DEBUG or None))
