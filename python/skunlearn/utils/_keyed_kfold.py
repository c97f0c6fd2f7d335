"""Folds that no deletion moves a row between."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from _unlearn_native._native import prf
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import indexable

from skunlearn.ids import id_bytes, parse_ids
from skunlearn.key import key_from_random_state

__all__ = ["KeyedKFold"]


class KeyedKFold(BaseCrossValidator):
    """K folds by a keyed hash of an id: a row's fold never depends on other rows.

    With folds by position one deletion moves every later row to another fold, so a model that was chosen or calibrated
    by cross-validation changes all over. Here it changes where the row was. Rows of the same id are in the same fold,
    so a person never stands on both sides of a split.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2. They are equal in size on average only.
    random_state : int, RandomState instance, Key or None, default=None
        Source of the hash. An int is public: somebody who knows it and may choose ids can choose folds. None draws
        another one at every split.

    Examples
    --------
    >>> from skunlearn.utils import KeyedKFold
    >>> people = ["ann", "bob", "eve", "ann", "joe", "ida"]
    >>> folds = KeyedKFold(n_splits=2, random_state=0)
    >>> [len(test) for _, test in folds.split(people, groups=people)]
    [3, 3]
    """

    def __init__(self, n_splits: int = 5, *, random_state: Any = None) -> None:
        self.n_splits = n_splits
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups
            Ignored.

        Returns
        -------
        n_splits : int
        """
        return self.n_splits

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the rows to train on and the rows to test on, fold by fold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,), default=None
            Ignored.
        groups : array-like of shape (n_samples,), int64 or str
            The subject id of each row, or its sample id.

        Yields
        ------
        train, test : ndarray of int
            Positions of rows.

        Raises
        ------
        ValueError
            If there are no `groups`, fewer than 2 folds, or a fold without rows.
        SampleIdTypeError
            If `groups` are no ids.
        """
        if not isinstance(self.n_splits, (int, np.integer)) or self.n_splits < 2:
            raise ValueError(f"n_splits must be an integer of at least 2. Got {self.n_splits!r} instead.")
        if groups is None:
            raise ValueError(
                "KeyedKFold needs groups: the subject id of each row, or its sample id. Positions of rows would change "
                "with every deletion."
            )
        X, y, groups = indexable(X, y, groups)
        folds = self._folds(groups)
        for fold in range(self.n_splits):
            is_test = folds == fold
            if is_test.all() or not is_test.any():
                raise ValueError(
                    f"A fold of KeyedKFold has {int(is_test.sum())} of {len(folds)} rows, so it cannot be trained and "
                    "tested on. Use fewer folds, or more ids."
                )
            yield np.flatnonzero(~is_test), np.flatnonzero(is_test)

    def _iter_test_masks(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator[np.ndarray]:
        folds = self._folds(groups)
        return (folds == fold for fold in range(self.n_splits))

    def _folds(self, groups: Any) -> np.ndarray:
        secret = key_from_random_state(self.random_state)._secret
        ids = parse_ids(groups, "groups")
        distinct, inverse = np.unique(np.asarray(ids, dtype=object), return_inverse=True)
        words = b"".join(prf(secret, "fold", id_bytes(name))[:4] for name in distinct.tolist())
        hashes = np.frombuffer(words, dtype="<u4").astype(np.uint64)
        folds: np.ndarray = (hashes * np.uint64(self.n_splits) >> np.uint64(32)).astype(np.intp)[inverse]
        return folds
