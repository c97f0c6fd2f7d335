"""Statistics of a keyed sample of the rows: they change only when a row of the sample leaves, or one enters it."""

from abc import abstractmethod
from typing import Any

import numpy as np
import scipy.sparse as sp

from skunlearn.live import Core, Owner
from skunlearn.rows import CsrRows, RowBlock

__all__ = ["SampleCore"]


class SampleCore(Core):
    """What is derived of the rows with the smallest tags, of all where there are not too many.

    A tag is a keyed hash of the id of a row, so the sample is a function of the set of ids and the key. Of n rows and a
    sample of k, a random deletion touches it with a probability of k / n; else nothing is looked at.

    Parameters
    ----------
    model_name : str
        Named in errors.
    n_features : int
        Columns of X.
    size : int or None
        Rows of the sample; None stands for all.
    """

    def __init__(self, model_name: str, n_features: int, size: int | None) -> None:
        self._model_name = model_name
        self._n_features = n_features
        self._size = size
        self._n_rows = 0
        #: The largest tag of the sample, (high, low); None while all rows are in it.
        self._last_tag: tuple[int, int] | None = None
        self._derived: Any = None

    @abstractmethod
    def _derive(self, sample: Any, weight: np.ndarray | None, owner: Owner) -> Any:
        """Return what the rows of a sample determine: an ndarray or CSC matrix, at least one row, in no stated order.

        It is a function of the set of rows and its size, and holds no view of them: they are wiped afterwards.
        """

    def _learn(self, block: RowBlock) -> None:
        self._follow(block, 1)

    def _forget(self, block: RowBlock) -> None:
        self._follow(block, -1)

    def _follow(self, block: RowBlock, sign: int) -> None:
        self._n_rows += sign * len(block)
        if self._last_tag is None or _up_to(block.tags, self._last_tag).any():
            self._derived = None

    def _rebuild(self, owner: Owner) -> None:
        self._n_rows = owner.n_effective
        self._derived = None

    def is_settled(self) -> bool:
        """Whether what the sample determines is known."""
        return self._derived is not None or self._n_rows == 0

    def _settle(self, owner: Owner) -> None:
        self._last_tag = self._find_last_tag(owner)
        pieces, weights = [], []
        for block in owner.effective_blocks():
            chosen = np.ones(len(block), dtype=bool)
            if self._last_tag is not None:
                chosen = _up_to(block.tags, self._last_tag)
            if chosen.any():
                block = block.take(chosen)  # a copy
                pieces.append(self._as_matrix(block.X))
                weights.append(np.ones(len(block)) if block.weight is None else block.weight)
        sample = sp.vstack(pieces).tocsc() if sp.issparse(pieces[0]) else np.concatenate(pieces)
        weight = np.concatenate(weights)
        self._derived = self._derive(sample, None if (weight == 1.0).all() else weight, owner)
        for part in (*pieces, sample, weight, *weights):
            (part.data if sp.issparse(part) else part).fill(0)

    def _as_matrix(self, X: Any) -> Any:
        if not isinstance(X, CsrRows):
            return X
        return sp.csr_array((X.data, X.indices, X.indptr), shape=(len(X.indptr) - 1, self._n_features))

    def _find_last_tag(self, owner: Owner) -> tuple[int, int] | None:
        if self._size is None or self._n_rows <= self._size:
            return None
        tags = np.concatenate([block.tags for block in owner.effective_blocks()])
        low, high = tags[:, 0], tags[:, 1]
        last = np.partition(high, self._size - 1)[self._size - 1]
        n_before = int(np.count_nonzero(high < last))
        return int(last), int(np.sort(low[high == last])[self._size - n_before - 1])

    def nbytes(self) -> int:
        """Return the size of what is derived, in bytes."""
        return 0


def _up_to(tags: np.ndarray | None, last: tuple[int, int]) -> np.ndarray:
    """Return which tags are at most `last`."""
    assert tags is not None
    low, high = tags[:, 0], tags[:, 1]
    is_smaller: np.ndarray = (high < last[0]) | ((high == last[0]) & (low <= last[1]))
    return is_smaller
