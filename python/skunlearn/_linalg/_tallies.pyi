import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float32] | NDArray[np.float64]
_Int32 = NDArray[np.int32]
_Int64 = NDArray[np.int64]
_Doubles = NDArray[np.float64]

def tally_dense(
    X: _Floats,
    codes: _Int32,
    weight: _Doubles | None,
    block: int,
    sign: int,
    counts: _Int64,
    sums: _Int64 | None,
) -> None: ...
def tally_csr(
    indptr: _Int64,
    indices: _Int32,
    data: _Floats,
    d: int,
    codes: _Int32,
    weight: _Doubles | None,
    block: int,
    sign: int,
    counts: _Int64,
    sums: _Int64 | None,
) -> None: ...
def complements(sums: _Int64, out: _Int64) -> None: ...
