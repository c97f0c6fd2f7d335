import numpy as np
from numpy.typing import NDArray

N_ROWS_OF_BLOCK: int
N_LANES_OF_SCORE: int
LARGEST_EXPONENT: int
STEPS: float

def chain(d: int) -> float: ...
def tight_chain(d: int) -> float: ...
def add_gradient_dense(
    X: NDArray[np.floating],
    labels: NDArray[np.int32],
    weight: NDArray[np.float64],
    coef: NDArray[np.float64],
    gradient: NDArray[np.float64],
    sums: NDArray[np.float64],
    is_tight: bool,
) -> None: ...
def add_gradient_csr(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    data: NDArray[np.floating],
    labels: NDArray[np.int32],
    weight: NDArray[np.float64],
    pairs: NDArray[np.float64],
    gradient: NDArray[np.float64],
    sums: NDArray[np.float64],
    is_tight: bool,
) -> None: ...
def scores_of(X: NDArray[np.floating], coef: NDArray[np.float64], out: NDArray[np.float64], is_tight: bool) -> None: ...
def sums_of(X: NDArray[np.floating], c: NDArray[np.float64], out: NDArray[np.float64]) -> None: ...
def exponentials(z: NDArray[np.float64], out: NDArray[np.float64]) -> None: ...
