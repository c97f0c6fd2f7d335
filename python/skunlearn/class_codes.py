"""Class labels as integer codes that stay put while classes come and go."""

from typing import Any

import numpy as np

__all__ = ["ClassCodes", "best_columns", "distinct_labels"]


class ClassCodes:
    """The codes of the labels that rows of one owner bear.

    A label keeps its code as long as a row bears it, so no row is rewritten when another class comes or goes; a code
    whose last row leaves is free for the next new label. Codes are therefore history: only labels in sorted order are
    published, saved or hashed.

    Parameters
    ----------
    declared : array-like of shape (n_classes,), default=None
        Labels that are classes whether or not a row bears them. Rows with any other label are then refused.

    Attributes
    ----------
    n_stored : ndarray of shape (n_codes,), int64
        Rows that bear each label.
    n_effective : ndarray of shape (n_codes,), int64
        Those of them with a weight above 0; a label without any is no class.
    """

    def __init__(self, declared: Any = None) -> None:
        self._labels: list[Any] = []
        self._code_of: dict[Any, int] = {}
        self._dtype: np.dtype | None = None
        self.n_stored = np.zeros(0, dtype=np.int64)
        self.n_effective = np.zeros(0, dtype=np.int64)
        self.n_declared = 0
        if declared is not None:
            self.encode(distinct_labels(declared)[0])
            self.n_declared = len(self._labels)

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def declared(self) -> list[Any] | None:
        """The declared labels, sorted, or None. They have the codes 0 to n_declared - 1."""
        return self._labels[: self.n_declared] if self.n_declared else None

    def encode(self, y: np.ndarray) -> np.ndarray:
        """Return the codes of labels, giving codes to new ones.

        Parameters
        ----------
        y : ndarray of shape (n_rows,)

        Returns
        -------
        codes : ndarray of shape (n_rows,), intp

        Raises
        ------
        ValueError
            If labels are neither numbers nor str, mix the two, or are not among the declared ones. Nothing was changed.
        """
        labels, inverse = distinct_labels(y)
        values = labels.tolist()
        self._check_labels(values)
        self._check_dtype(values)
        unseen = [value for value in values if value not in self._code_of]
        if unseen and self.n_declared:
            raise ValueError(
                f"y holds {len(unseen)} of {len(values)} labels that are not among the {self.n_declared} declared "
                "classes. Nothing was changed. Declare all labels in classes=, or leave it out."
            )
        if self._dtype is None and len(labels):
            self._dtype = labels.dtype
        free = iter([code for code, label in enumerate(self._labels) if label is None])
        for value in unseen:
            code = next(free, len(self._labels))
            if code == len(self._labels):
                self._labels.append(value)
            else:
                self._labels[code] = value
            self._code_of[value] = code
        self._pad_counts()
        return np.array([self._code_of[value] for value in values], dtype=np.intp)[inverse]

    def _check_labels(self, values: list[Any]) -> None:
        are_str = {isinstance(value, str) for value in [*values, *list(self._code_of)[:1]]}
        # NaN equals no label, not even itself.
        if len(are_str) > 1 or not all(isinstance(v, (str, bool, int, float)) and v == v for v in values):
            raise _mixed_labels()

    def _check_dtype(self, values: list[Any]) -> None:
        if self._dtype is None or self._dtype.kind in "UO":
            return
        with np.errstate(invalid="ignore", over="ignore"):
            fits = np.array(values).astype(self._dtype).tolist() == values
        if not fits:
            raise ValueError(
                f"y holds labels that do not fit {self._dtype.name}, the dtype of classes_ in this model. Nothing was "
                "changed. Fit anew with labels of a wider dtype."
            )

    def _pad_counts(self) -> None:
        missing = len(self._labels) - len(self.n_stored)
        if missing:
            self.n_stored = np.pad(self.n_stored, (0, missing))
            self.n_effective = np.pad(self.n_effective, (0, missing))

    def count(self, codes: Any, weight: np.ndarray | None, sign: int) -> None:
        """Count rows in (`sign` 1) or out (-1) and drop the labels that no row bears any more."""
        if len(codes) == 1:
            code = codes[0]
            self.n_stored[code] += sign
            if weight is None or weight[0] > 0:
                self.n_effective[code] += sign
            if sign < 0 and self.n_stored[code] == 0:
                self.prune()
            return
        self.n_stored += sign * np.bincount(codes, minlength=len(self))
        self.n_effective += sign * np.bincount(_effective(codes, weight), minlength=len(self))
        if sign < 0:
            self.prune()

    def prune(self) -> None:
        """Drop every label that no row bears and that was not declared."""
        for code in range(self.n_declared, len(self._labels)):
            if self.n_stored[code] == 0 and self._labels[code] is not None:
                del self._code_of[self._labels[code]]
                self._labels[code] = None

    def recount(self, blocks: Any) -> None:
        """Count afresh from all rows."""
        self.n_stored[:] = 0
        self.n_effective[:] = 0
        for codes, weight in blocks:
            self.n_stored += np.bincount(codes, minlength=len(self))
            self.n_effective += np.bincount(_effective(codes, weight), minlength=len(self))
        self.prune()

    def n_vanishing(self, codes: Any, weight: np.ndarray | None) -> tuple[int, int]:
        """Return how many classes would go if rows with these codes went, and how many there are."""
        first = self.n_declared
        if len(codes) == 1:
            code = codes[0]
            last = code >= first and self.n_effective[code] == 1 and (weight is None or weight[0] > 0)
            return int(last), len(self.classes()[0]) if last else 0
        going = np.bincount(_effective(codes, weight), minlength=len(self))[first:]
        live = self.n_effective[first:]
        return int(np.count_nonzero((going == live) & (live > 0))), int(np.count_nonzero(live > 0)) + first

    def classes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the codes of the classes in the order of their labels, and the labels."""
        live = [c for c, label in enumerate(self._labels) if label is not None]
        live = [c for c in live if self.n_effective[c] or c < self.n_declared]
        live.sort(key=self._labels.__getitem__)
        return np.array(live, dtype=np.intp), self._as_array([self._labels[c] for c in live])

    def _as_array(self, labels: list[Any]) -> np.ndarray:
        # A string width would remember the longest label there ever was.
        if self._dtype is not None and self._dtype.kind != "U":
            return np.array(labels, dtype=self._dtype)
        return np.array(labels) if labels else np.empty(0, dtype="U1")

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Return the labels of codes."""
        filler = next(iter(self._code_of), None)
        return self._as_array([filler if label is None else label for label in self._labels])[codes]

    def empty_twin(self) -> "ClassCodes":
        """Return codes with the same declaration and dtype, without rows."""
        return ClassCodes.restore(self._labels[: self.n_declared], self.n_declared, self.dtype)

    def sorted_ranks(self) -> tuple[list[Any], np.ndarray]:
        """Return the labels that rows bear, sorted behind the declared ones, and the place of every code among them.

        This is the form that is saved and hashed: codes by rank, free of history.
        """
        used = [c for c in range(self.n_declared, len(self._labels)) if self.n_stored[c]]
        order = [*range(self.n_declared), *sorted(used, key=self._labels.__getitem__)]
        ranks = np.zeros(len(self._labels))
        ranks[order] = np.arange(len(order))
        return [self._labels[c] for c in order], ranks

    @property
    def dtype(self) -> str | None:
        """Name of the dtype of ``classes_``; None before the first label."""
        return None if self._dtype is None else ("str" if self._dtype.kind == "U" else self._dtype.str)

    @classmethod
    def restore(cls, labels: list[Any], n_declared: int, dtype: str | None) -> "ClassCodes":
        """Return codes 0, 1, ... for `labels`, as `sorted_ranks` listed them."""
        codes = cls()
        codes._check_labels(labels)
        codes._labels = list(labels)
        codes._code_of = {label: code for code, label in enumerate(labels)}
        codes._dtype = None if dtype is None else np.dtype(dtype)
        codes.n_declared = n_declared
        codes._pad_counts()
        return codes


def best_columns(scores: np.ndarray, has_rows: np.ndarray) -> np.ndarray:
    """Return the column of the largest score of each row: of several the first, of a class that has rows.

    Parameters
    ----------
    scores : ndarray of shape (n_samples, n_classes)
        The larger, the more of a class; all may be -inf, of a row that is of no class or too far away from all.
    has_rows : ndarray of shape (n_classes,), bool
        Which classes are more than declared; at least one.

    Returns
    -------
    columns : ndarray of shape (n_samples,), int
    """
    columns = np.flatnonzero(has_rows)
    best: np.ndarray = columns[scores[:, columns].argmax(axis=1)]
    return best


def distinct_labels(labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of a one-dimensional array-like, sorted and each once, and where each entry is among them."""
    labels = np.asarray(labels)
    if labels.ndim != 1:
        raise ValueError(
            f"Class labels must be one-dimensional. Got {labels.ndim} dimensions instead. Nothing was changed. Flatten "
            "them."
        )
    try:
        distinct, inverse = np.unique(labels, return_inverse=True)
    except TypeError:  # no order among them
        raise _mixed_labels() from None
    return distinct, inverse


def _mixed_labels() -> ValueError:
    return ValueError(
        "Class labels must all be numbers or all be str, in y as in what the model was fitted with. Nothing was "
        "changed. Convert them to one of the two."
    )


def _effective(codes: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    return codes if weight is None else codes[weight > 0]
