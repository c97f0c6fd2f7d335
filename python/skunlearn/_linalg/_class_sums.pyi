import numpy as np
from numpy.typing import NDArray

def add_rows(
    Q: NDArray[np.float64],
    codes: NDArray[np.int32],
    chosen: NDArray[np.uint8],
    sums: NDArray[np.int64],
    sign: int,
) -> None: ...
