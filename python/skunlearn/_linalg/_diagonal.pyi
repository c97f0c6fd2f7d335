import numpy as np
from numpy.typing import NDArray

_Int32 = NDArray[np.int32]
_Int64 = NDArray[np.int64]
_Doubles = NDArray[np.float64]

def add_rows(Q: _Doubles, partners: _Int32, sums: _Int64, sign: int, bits: _Int64) -> None: ...
def exceeds(sums: _Int64, bits: int) -> bool: ...
def rescale(sums: _Int64, partners: _Int32, powers: _Int32) -> None: ...
