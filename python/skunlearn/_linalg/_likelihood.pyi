import numpy as np
from numpy.typing import NDArray

N_LEVELS: int
N_LANES_OF_SCORE: int

def n_additions(n_rows: int) -> int: ...
def add_gradient_dense(
    X: NDArray[np.floating],
    labels: NDArray[np.int32],
    weight: NDArray[np.float64],
    scale: NDArray[np.float64],
    coef: NDArray[np.float64],
    levels: NDArray[np.float64],
    counts: NDArray[np.int64],
    errors: NDArray[np.float64],
    scratch: NDArray[np.float64],
    steps: float,
) -> None: ...
def add_gradient_csr(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    data: NDArray[np.floating],
    labels: NDArray[np.int32],
    weight: NDArray[np.float64],
    scale: NDArray[np.float64],
    coef: NDArray[np.float64],
    levels: NDArray[np.float64],
    counts: NDArray[np.int64],
    errors: NDArray[np.float64],
    scratch: NDArray[np.float64],
    steps: float,
) -> None: ...
def probabilities_dense(
    X: NDArray[np.floating],
    scale: NDArray[np.float64],
    coef: NDArray[np.float64],
    out: NDArray[np.float64],
    scratch: NDArray[np.float64],
) -> None: ...
def probabilities_csr(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    data: NDArray[np.floating],
    scale: NDArray[np.float64],
    coef: NDArray[np.float64],
    out: NDArray[np.float64],
    scratch: NDArray[np.float64],
) -> None: ...
def scores_dense(
    X: NDArray[np.floating],
    scale: NDArray[np.float64],
    coef: NDArray[np.float64],
    scores: NDArray[np.float64],
    spreads: NDArray[np.float64],
) -> None: ...
def scores_csr(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    data: NDArray[np.floating],
    scale: NDArray[np.float64],
    coef: NDArray[np.float64],
    scores: NDArray[np.float64],
    spreads: NDArray[np.float64],
) -> None: ...
def add_rows_dense(
    X: NDArray[np.floating],
    c: NDArray[np.float64],
    scale: NDArray[np.float64],
    levels: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> None: ...
def add_rows_csr(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    data: NDArray[np.floating],
    c: NDArray[np.float64],
    scale: NDArray[np.float64],
    levels: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> None: ...
