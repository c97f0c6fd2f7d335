from enum import IntEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Int64: TypeAlias = NDArray[np.int64]
_Doubles: TypeAlias = NDArray[np.float64]

class Status(IntEnum):
    DECIDED = ...
    UNDECIDED = ...
    STALLED = ...

def recode(limbs: _Int64, shifts: _Int64, digits: _Int64) -> None: ...
def load_gram(
    limbs: _Int64,
    shifts: _Int64,
    ridge_limbs: _Int64,
    ridge_shifts: _Int64,
    top: int,
    gram: _Int64,
    image: _Doubles,
) -> None: ...
def diagonal_bits(limbs: _Int64, lengths: _Int64) -> bool: ...
def cholesky(image: _Doubles, shift: float, factor: _Doubles) -> bool: ...
def misfit(gram: _Int64, top: int, factor: _Doubles, shift: float) -> float: ...
def refine(
    gram: _Int64,
    top: int,
    factor: _Doubles,
    least_eigenvalue: float,
    residual: _Int64,
    scales: _Int64,
    stop_log2: int,
    corrections: _Int64,
    exponents: _Int64,
    out: _Doubles,
) -> tuple[Status, int, float]: ...
def eigh_rows(matrix: _Doubles, values: _Doubles, vectors: _Doubles) -> bool: ...
def apply_pseudo_inverse(values: _Doubles, vectors: _Doubles, x: _Doubles, out: _Doubles) -> None: ...
