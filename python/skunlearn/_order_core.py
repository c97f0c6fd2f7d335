"""What estimators over order statistics share: the core that keeps them."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from skunlearn._linalg.order_statistics import OrderStatistics
from skunlearn.live import Core, Owner
from skunlearn.rows import CsrRows, RowBlock

__all__ = ["OrderCore"]


class OrderCore(Core):
    """Exact order statistics of the columns, at given quantiles; weights above 0 count as one.

    Parameters
    ----------
    model_name : str
        Named in errors.
    n_features : int
        Columns of X.
    quantiles : sequence of float
        Where to look, from 0 to 1.
    capacity : int, default=256
        See `OrderStatistics`.
    """

    def __init__(self, model_name: str, n_features: int, quantiles: Any, *, capacity: int = 256) -> None:
        self._model_name = model_name
        self._n_features = n_features
        self._order = OrderStatistics(n_features, quantiles, capacity=capacity)

    def _values(self, values: np.ndarray) -> np.ndarray:
        """Return the numbers that stand for values; an array of its own, or `values` itself.

        Zero stands for zero: sparse rows are asked about what they store alone.
        """
        return values

    def _learn(self, block: RowBlock) -> None:
        with _Wiped(block.X, self) as X:
            self._order.learn(X)

    def _forget(self, block: RowBlock) -> None:
        with _Wiped(block.X, self) as X:
            self._order.forget(X)

    def _rebuild(self, owner: Owner) -> None:
        self._order.rebuild(lambda: self._all_rows(owner), owner.n_effective)

    def is_settled(self) -> bool:
        """Whether the order statistics can be read without a pass over the rows."""
        return self._order.is_settled

    def _settle(self, owner: Owner) -> None:
        self._order.settle(lambda: self._all_rows(owner), owner.n_effective)

    def _all_rows(self, owner: Owner) -> Iterator[Any]:
        for block in owner.effective_blocks():
            with _Wiped(block.X, self) as X:
                yield X

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return counts and order statistics."""
        return self._order.digest_parts()

    def nbytes(self) -> int:
        """Return the size of the windows in bytes."""
        return self._order.nbytes()


class _Wiped:
    """The values that a core takes for rows; copies are overwritten afterwards."""

    def __init__(self, X: Any, core: OrderCore) -> None:
        self._given = X.data if isinstance(X, CsrRows) else X
        self._taken = core._values(self._given)
        self._X = X

    def __enter__(self) -> Any:
        return self._X._replace(data=self._taken) if isinstance(self._X, CsrRows) else self._taken

    def __exit__(self, *error: object) -> None:
        if self._taken is not self._given:
            self._taken.fill(0)
