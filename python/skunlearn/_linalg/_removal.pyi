import numpy as np
from numpy.typing import NDArray

N_MATRICES: int
N_VECTORS: int

def slopes(
    values: NDArray[np.float64],
    labels: NDArray[np.int32],
    weight: NDArray[np.float64],
    v: NDArray[np.float64],
    third: float,
    out: NDArray[np.float64],
) -> None: ...
def change(
    values: NDArray[np.float64],
    groups: NDArray[np.int32],
    contributions: NDArray[np.float64],
    inverse: NDArray[np.float64],
    roots: NDArray[np.float64],
    units: NDArray[np.float64],
    sums: NDArray[np.float64],
    vectors: NDArray[np.float64],
    state: NDArray[np.float64],
    scratch: NDArray[np.float64],
    sign: float,
    relative: float,
) -> None: ...
def bound(
    hessian: NDArray[np.float64],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    vectors: NDArray[np.float64],
    inverse: NDArray[np.float64],
    roots: NDArray[np.float64],
    scratch: NDArray[np.float64],
    q: NDArray[np.float64],
    lo: float,
    hi: float,
    leverage: float,
    largest: float,
    n_terms: float,
    change_of_curvature: float,
    target: float,
    is_given: bool,
) -> float: ...
