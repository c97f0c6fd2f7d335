import numpy as np
from numpy.typing import NDArray

def add_gradient_dense(
    X: NDArray[np.floating],
    labels: NDArray[np.int32],
    weight: NDArray[np.float64],
    scale: NDArray[np.float64],
    coef: NDArray[np.float64],
    chain: float,
    relative: float,
    gradient: NDArray[np.float64],
    errors: NDArray[np.float64],
    scratch: NDArray[np.float64],
) -> None: ...
def add_gradient_csr(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    data: NDArray[np.floating],
    labels: NDArray[np.int32],
    weight: NDArray[np.float64],
    scale: NDArray[np.float64],
    coef: NDArray[np.float64],
    chain: float,
    relative: float,
    gradient: NDArray[np.float64],
    errors: NDArray[np.float64],
    scratch: NDArray[np.float64],
) -> None: ...
def add_gradient_of_loss_dense(
    code: int,
    parameter: float,
    X: NDArray[np.floating],
    targets: NDArray[np.float64],
    weight: NDArray[np.float64],
    scale: NDArray[np.float64],
    coef: NDArray[np.float64],
    chain: float,
    relative: float,
    gradient: NDArray[np.float64],
    errors: NDArray[np.float64],
) -> None: ...
def add_gradient_of_loss_csr(
    code: int,
    parameter: float,
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    data: NDArray[np.floating],
    targets: NDArray[np.float64],
    weight: NDArray[np.float64],
    scale: NDArray[np.float64],
    coef: NDArray[np.float64],
    chain: float,
    relative: float,
    gradient: NDArray[np.float64],
    errors: NDArray[np.float64],
) -> None: ...
def exponentials(z: NDArray[np.float64], out: NDArray[np.float64]) -> None: ...
