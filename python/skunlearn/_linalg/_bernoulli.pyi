from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Floats: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
_Int32: TypeAlias = NDArray[np.int32]
_Int64: TypeAlias = NDArray[np.int64]
_Doubles: TypeAlias = NDArray[np.float64]

def count_dense(X: _Floats, threshold: float, codes: _Int32, counts: _Int64) -> None: ...
def count_csr(
    indptr: _Int64, indices: _Int32, data: _Floats, threshold: float, codes: _Int32, counts: _Int64
) -> None: ...
def fold(counts: _Int64, sums: _Int64, shift: int, sign: int) -> None: ...
def add_weighted_dense(
    X: _Floats,
    threshold: float,
    codes: _Int32,
    integers: _Int64,
    blocks: NDArray[np.uint8],
    block: int,
    sign: int,
    sums: _Int64,
) -> None: ...
def add_weighted_csr(
    indptr: _Int64,
    indices: _Int32,
    data: _Floats,
    threshold: float,
    codes: _Int32,
    integers: _Int64,
    blocks: NDArray[np.uint8],
    block: int,
    sign: int,
    sums: _Int64,
) -> None: ...
def joint_log_likelihood_dense(
    X: _Floats, threshold: float, delta: _Doubles, bias: _Doubles, out: _Doubles
) -> None: ...
def joint_log_likelihood_csr(
    indptr: _Int64,
    indices: _Int32,
    data: _Floats,
    threshold: float,
    delta: _Doubles,
    bias: _Doubles,
    out: _Doubles,
) -> None: ...
