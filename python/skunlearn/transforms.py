"""Transformers as maps: what a composite knows of its steps.

A transformer publishes a *map*, an immutable function from rows to rows. While a deletion leaves the map of a step
unchanged bit for bit, the rows that later steps were fitted on are what a refit would hand to them, less the deleted
ones, so they forget these and nothing else. Whether it is unchanged is told by its digest, never by a version counter:
a counter is history.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import TransformerMixin

from skunlearn.columns import TableRows, as_table
from skunlearn.digest import FramedHash
from skunlearn.rows import CsrRows, RowBlock, csr_rows

__all__ = ["ForgettingTransformerMixin", "TransformMap"]


class TransformMap(ABC):
    """What a transformer publishes of one version; its arrays are read-only."""

    __slots__ = ()

    @abstractmethod
    def apply(self, X: Any) -> Any:
        """Return validated rows transformed; `X`, an array, a sparse matrix or a `TableRows`, is left as it is."""

    @abstractmethod
    def parts(self) -> list[bytes | np.ndarray]:
        """Return everything that `apply` and `apply_to_live` read, and the width, dtype and layout of what they give.

        Not what they do not read, such as counts: it would change where the map does not.
        """

    def apply_to_live(self, block: RowBlock) -> Any:
        """Return live rows as `fit_transform` gives them, which is `apply` unless the transformer fits across folds."""
        if not isinstance(block.X, CsrRows):
            return self.apply(block.X)
        indptr, indices, data = block.X
        shape = (len(block), self.n_features_in)
        return self.apply(sp.csr_array((data, indices, indptr), shape=shape))

    @property
    @abstractmethod
    def n_features_in(self) -> int:
        """Number of columns of the rows that the map takes."""

    def block(self, block: RowBlock) -> RowBlock:
        """Return a block of live rows with transformed values, for the core of the next step."""
        X = self.apply_to_live(block)
        if getattr(X, "dtype", np.dtype(object)).kind in "iub":
            X = X.astype(np.float64)  # counts are kept as numbers like others
        if sp.issparse(X):
            X = csr_rows(X)
        elif not isinstance(X, TableRows):
            X = as_table(X) if X.dtype == object else np.ascontiguousarray(X)
        return RowBlock(block.slots, X, block.y, block.weight, block.ids, block.tags, block.groups)

    def digest(self) -> bytes:
        """Return 32 bytes that two maps share exactly if they are the same function."""
        framed = FramedHash()
        framed.add(type(self).__name__.encode())
        framed.add(str(self.n_features_in).encode())
        for part in self.parts():
            framed.add(part)
        return framed.digest()


class ForgettingTransformerMixin(TransformerMixin):
    """Mixin for transformers whose published state is a `TransformMap`."""

    def transform_digest(self) -> bytes:
        """Return 32 bytes that change exactly when the transform does.

        Two fitted transformers of a class that share them give every row the same bits, in `transform` and in
        `fit_transform`; a step behind this one then need not be fitted again.

        Returns
        -------
        digest : bytes of length 32

        Raises
        ------
        NotFittedError
            If the transformer is not fitted, or the rows that are left do not determine a transform.
        """
        state: TransformMap = self._published()
        return state.digest()
