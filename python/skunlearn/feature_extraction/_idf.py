"""Weights of words by the number of documents that have them, and how rows are weighted and normalized."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from _unlearn_native._native import exp2, ln, log2, prf

from skunlearn.key import Key
from skunlearn.transforms import TransformMap

__all__ = ["TfidfState", "freeze", "idf_on_lattice", "inverse_document_frequency"]


def inverse_document_frequency(n_bearing: np.ndarray, n_rows: float, *, smooth: bool, dtype: Any) -> np.ndarray:
    """Return ln((n + s) / (n_bearing + s)) + 1, s being 1 with `smooth` and else 0: scikit-learn's formula.

    A column that no row has is weighted infinitely where nothing is smoothed, as there.
    """
    bearing = n_bearing.astype(dtype) + dtype.type(smooth)
    with np.errstate(divide="ignore"):
        ratio = dtype.type(n_rows + smooth) / bearing
    return ln(ratio.astype(np.float64)).astype(dtype) + dtype.type(1)


def idf_on_lattice(n_bearing: np.ndarray, n_rows: int, key: Key, names: list[bytes]) -> tuple[np.ndarray, float]:
    """Return the counts rounded to a power of two each, times a phase that the key gives it: 2^(rint(log2 n - u) + u).

    Counts of 0 stay. `names` says which column is which, so that others that come and go move no phase.
    """
    words = b"".join(prf(key._secret, "idf", name)[:8] for name in [b"", *names])
    phases = (np.frombuffer(words, dtype="<u8") >> np.uint64(11)).astype(np.float64) * 2.0**-53
    counts = np.concatenate(([n_rows], n_bearing)).astype(np.float64)
    is_none = counts == 0
    snapped = exp2(np.rint(log2(np.where(is_none, 1.0, counts)) - phases) + phases)
    snapped[is_none] = 0.0
    return np.minimum(snapped[1:], snapped[0]), float(snapped[0])


@dataclass(frozen=True, slots=True, eq=False)
class TfidfState(TransformMap):
    """The published state of one version.

    Parameters
    ----------
    idf : ndarray of shape (n_features,) or None
        Weights of columns; None where there are none.
    width : int
        Number of columns.
    norm : {"l1", "l2"} or None
        Norm of the rows that are given.
    sublinear_tf : bool
        Whether counts are replaced by 1 + ln(count).
    """

    idf: np.ndarray | None
    width: int
    norm: str | None
    sublinear_tf: bool

    @property
    def n_features_in(self) -> int:
        """Number of columns."""
        return self.width

    @property
    def idf_(self) -> np.ndarray:
        """Weights of columns."""
        if self.idf is None:
            raise AttributeError("There is no idf_ with use_idf=False.")
        return self.idf

    def apply(self, X: Any) -> Any:
        """Return rows weighted and normalized, as a sparse array."""
        X = sp.csr_array(X)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            data = self._weighted(X)
        return sp.csr_array((data, X.indices.copy(), X.indptr.copy()), shape=X.shape)

    def _weighted(self, X: Any) -> np.ndarray:
        """Return the stored entries of sparse rows, weighted and normalized."""
        data = X.data.astype(X.dtype if X.dtype in (np.float32, np.float64) else np.float64)
        if self.sublinear_tf:
            data = ln(data.astype(np.float64)).astype(data.dtype) + data.dtype.type(1)
        if self.idf is not None:
            data *= self.idf[X.indices]
        if self.norm is not None:
            data = self._normalized(data, np.diff(X.indptr))
        return data

    def _normalized(self, data: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Divide each row by its norm, summed in the order of its columns whatever stands around it."""
        rows = np.repeat(np.arange(len(lengths)), lengths)
        wide = data.astype(np.float64)
        norms = np.bincount(rows, weights=np.abs(wide) if self.norm == "l1" else wide * wide, minlength=len(lengths))
        if self.norm == "l2":
            norms = np.sqrt(norms)
        norms[norms == 0] = 1.0
        return (wide / norms[rows]).astype(data.dtype)

    def parts(self) -> list[bytes | np.ndarray]:
        """Return the weights and the form of what is given."""
        form = repr((self.norm, bool(self.sublinear_tf))).encode()
        return [form] if self.idf is None else [form, self.idf.dtype.str.encode(), self.idf]


def freeze(array: np.ndarray) -> np.ndarray:
    """Return an array, read-only from now on."""
    array.flags.writeable = False
    return array
