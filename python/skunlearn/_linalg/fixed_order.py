"""Dense algebra whose every sum has a stated order, so that its bits are the same for one row or many, on any machine.

BLAS has no such order, and neither have NumPy's `@`, `einsum` and `sum`; what NumPy does entry by entry is safe.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp

from skunlearn._linalg import _linear as kernels
from skunlearn.rows import as_native

__all__ = ["freeze", "product", "squared_distances", "sum_in_order"]


def product(rows: Any, others: np.ndarray, offset: np.ndarray | None = None) -> np.ndarray:
    """Return rows @ others.T + offset, every entry summed in eight lanes (see `_lanes.pxd`).

    Parameters
    ----------
    rows : ndarray or CSR matrix of shape (n_rows, d), float64 or float32
        Rows; dense or sparse, alone or in bulk, they give the same bits.
    others : ndarray of shape (k, d), float64
        What each row is multiplied with.
    offset : ndarray of shape (k,), float64, default=None
        Added last; None stands for zeros.

    Returns
    -------
    product : ndarray of shape (n_rows, k), float64
    """
    others = np.ascontiguousarray(others)
    offset = np.zeros(len(others)) if offset is None else offset
    out = np.empty((rows.shape[0], len(others)))
    if sp.issparse(rows):
        indptr, indices, data = as_native(rows)
        kernels.predict_csr(indptr, indices.astype(np.int32, copy=False), data, others, offset, out)
    else:
        kernels.predict_dense(np.ascontiguousarray(rows), others, offset, out)
    return out


def squared_distances(rows: np.ndarray, mean: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    """Return what ``sum_in_order(product(rows - mean, whitening) ** 2)`` is, bit for bit, without the matrix between.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, d), float64
        Rows.
    mean : ndarray of shape (d,), float64
        Where distances begin.
    whitening : ndarray of shape (k, d), float64
        The directions that count, and in what unit.

    Returns
    -------
    distances : ndarray of shape (n_rows,), float64
    """
    out = np.empty(len(rows))
    scratch = np.empty(rows.shape[1])
    kernels.squared_distances(np.ascontiguousarray(rows), mean, np.ascontiguousarray(whitening), scratch, out)
    return out


def sum_in_order(terms: np.ndarray) -> np.ndarray:
    """Sum each row of `terms` from left to right: how NumPy's own sum rounds depends on the machine."""
    if terms.shape[1] == 0:
        return np.zeros(len(terms))
    sums: np.ndarray = np.add.accumulate(terms, axis=1)[:, -1]
    return sums


def freeze(*arrays: np.ndarray) -> None:
    """Make published arrays read-only: they are one object for all readers."""
    for array in arrays:
        array.flags.writeable = False
