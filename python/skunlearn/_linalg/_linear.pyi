import numpy as np
from numpy.typing import NDArray

def predict_dense(
    X: NDArray[np.floating],
    coef: NDArray[np.float64],
    intercept: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None: ...
def predict_csr(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    data: NDArray[np.floating],
    coef: NDArray[np.float64],
    intercept: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None: ...
def squared_distances(
    X: NDArray[np.float64],
    mean: NDArray[np.float64],
    whitening: NDArray[np.float64],
    scratch: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None: ...
