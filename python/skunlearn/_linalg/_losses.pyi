import numpy as np
from numpy.typing import NDArray

CODES: dict[str, int]

def add_slopes(
    code: int,
    parameter: float,
    scores: NDArray[np.float64],
    spreads: NDArray[np.float64],
    targets: NDArray[np.float64],
    weight: NDArray[np.float64],
    steps: float,
    c: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> None: ...
def curvatures(
    code: int,
    parameter: float,
    scores: NDArray[np.float64],
    targets: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None: ...
def clearances(
    code: int,
    parameter: float,
    scores: NDArray[np.float64],
    spreads: NDArray[np.float64],
    targets: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None: ...
