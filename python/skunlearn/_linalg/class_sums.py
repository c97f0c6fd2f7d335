"""Exact sums of rows by class code: column 0 of a Gram matrix for each class, without the rest of it."""

import numpy as np

from skunlearn._linalg import _class_sums as kernels

__all__ = ["ClassSums", "as_integers", "as_limbs"]


class ClassSums:
    """The sums of q_0 q over the rows q of each class code, q_0 being the root of the weight.

    Parameters
    ----------
    n_columns : int
        Length of q.

    Attributes
    ----------
    limbs : ndarray of shape (n_codes, n_columns, 3), int64
        192-bit integers, lowest limb first; zero for a code without rows.
    """

    __slots__ = ("_all", "limbs")

    def __init__(self, n_columns: int) -> None:
        self.limbs = np.zeros((0, n_columns, 3), dtype=np.int64)
        self._all = np.ones(n_columns, dtype=bool)

    def add_rows(self, Q: np.ndarray, codes: np.ndarray, sign: int = 1, chosen: np.ndarray | None = None) -> None:
        """Add rows, or take them away; only in the columns of the mask `chosen`, where there is one."""
        missing = int(codes.max()) + 1 - len(self.limbs)
        if missing > 0:
            self.limbs = np.pad(self.limbs, ((0, missing), (0, 0), (0, 0)))
        chosen = self._all if chosen is None or chosen[0] else chosen  # column 0 is a factor of all
        kernels.add_rows(Q, codes.astype(np.int32, copy=False), chosen.view(np.uint8), self.limbs, sign)

    def clear_columns(self, columns: np.ndarray) -> None:
        """Set columns to zero; all of them with column 0."""
        self.limbs[:, slice(None) if 0 in columns else columns] = 0

    def rescale(self, powers: np.ndarray) -> None:
        """Multiply column j of Q by 2**powers[j], which the caller knows to be exact."""
        for j, power in enumerate((powers + powers[0]).tolist()):
            if power:
                sums = as_integers(self.limbs[:, j])
                shifted = [s << power if power > 0 else s >> -power for s in sums]
                self.limbs[:, j] = as_limbs(shifted, 3)

    def of(self, code: int) -> list[int]:
        """Return the sums of one class as Python integers."""
        if code >= len(self.limbs):
            return [0] * self.limbs.shape[1]
        return as_integers(self.limbs[code])


def as_integers(limbs: np.ndarray) -> list[int]:
    """Return two's complement integers, the last axis of `limbs` holding 64 bits each, as Python integers."""
    raw = np.ascontiguousarray(limbs, dtype="<i8").tobytes()
    size = 8 * limbs.shape[-1]
    return [int.from_bytes(raw[i : i + size], "little", signed=True) for i in range(0, len(raw), size)]


def as_limbs(integers: list[int], n_limbs: int | None = None) -> np.ndarray:
    """Return Python integers in limbs, (n_integers, n_limbs); by default in as many as the largest needs."""
    if n_limbs is None:
        n_limbs = max((n.bit_length() for n in integers), default=0) // 64 + 1
    raw = b"".join(n.to_bytes(8 * n_limbs, "little", signed=True) for n in integers)
    return np.frombuffer(raw, "<i8").astype(np.int64, copy=False).reshape(len(integers), n_limbs)
