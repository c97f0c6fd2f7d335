import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float32] | NDArray[np.float64]
_Doubles = NDArray[np.float64]

def squared_distances_dense(X: _Floats, points: _Doubles, scales: _Doubles, out: _Doubles) -> None: ...
def squared_distances_csr(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    data: _Floats,
    points: _Doubles,
    scales: _Doubles,
    row: _Doubles,
    out: _Doubles,
) -> None: ...
