from typing import Any

import numpy as np
from numpy.typing import NDArray

LOST: int

def update(
    X: NDArray[Any],
    quantiles: NDArray[np.float64],
    windows: NDArray[np.float64],
    sizes: NDArray[np.int64],
    below: NDArray[np.int64],
    counts: NDArray[np.int64],
    sign: int,
) -> None: ...
