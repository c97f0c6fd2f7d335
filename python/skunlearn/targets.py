"""What stands in the target columns of an owner's rows: nothing, class labels as codes, or the values themselves."""

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np

from skunlearn.class_codes import ClassCodes

__all__ = ["Labels", "Targets", "Values"]

#: Text, booleans, integers, floats, objects; a wider pattern would let a file ask for elements of any size.
_LABEL_DTYPE = re.compile(r"str|\|b1|\|O|\|[iu]1|[<>](?:[iu][248]|f[248])")


class Targets:
    """How targets travel between a user and the row store. This class is that of owners without any: transformers.

    Attributes
    ----------
    codes : ClassCodes
        Codes of the class labels; empty where targets are no labels.
    n_columns : int
        Target columns in the row store.
    """

    n_columns = 0
    #: Fields of `header`.
    FIELDS: tuple[str, ...] = ()
    #: What is the matter with the rows that `n_wrong` counts.
    WRONG = ""

    def __init__(self) -> None:
        self.codes = ClassCodes()

    @classmethod
    def restore(cls, header: dict[str, Any], n_columns: int) -> "Targets":
        """Return the targets of a saved model, from what `header` said and `is_header` has checked."""
        return cls()

    @classmethod
    def is_header(cls, header: dict[str, Any]) -> bool:
        """Whether the fields of a decoded header are such as `header` writes them."""
        return True

    def encode(self, y: Any) -> np.ndarray | None:
        """Return checked targets as columns for the store: float64 of shape (n_rows, n_columns)."""
        return None

    def decode(self, columns: np.ndarray | None) -> Any:
        """Return targets as `fit` takes them."""
        return None

    def count(self, columns: np.ndarray | None, weight: np.ndarray | None, sign: int) -> None:
        """Count rows in (`sign` 1) or out (-1)."""

    def recount(self, blocks: Iterable[tuple[np.ndarray | None, np.ndarray | None]]) -> None:
        """Count afresh from (columns, weight) of all rows."""

    def prune(self) -> None:
        """Drop what no row needs."""

    def n_vanishing(self, columns: np.ndarray | None, weight: np.ndarray | None) -> tuple[int, int]:
        """Return how many classes would go with these rows, and how many there are."""
        return 0, 0

    def empty_twin(self) -> "Targets":
        """Return targets of the same schema for an owner without rows."""
        return type(self)()

    # --- canonical form ----------------------------------------------------------------------------------------------

    def schema(self) -> dict[str, Any]:
        """Return what the digest hashes of the schema."""
        return {"declared": None}

    def labels(self) -> list[Any]:
        """Return the labels that rows bear, in the order that `canonical` refers to."""
        return []

    def canonical(self, columns: np.ndarray) -> np.ndarray:
        """Return columns free of history: float64."""
        return columns

    def header(self) -> dict[str, Any]:
        """Return what a saved model says about its targets, in terms of JSON."""
        return {}

    def code_map(self) -> np.ndarray | None:
        """Return the numbers that the codes in column 0 are saved as, or None where they are no codes."""
        return None

    def n_wrong(self, columns: np.ndarray) -> int:
        """Return how many of the columns' rows hold what no encoding gives."""
        return 0


class Labels(Targets):
    """Class labels, stored as codes in one column.

    Parameters
    ----------
    codes : ClassCodes
        The codes.
    """

    n_columns = 1
    FIELDS = ("labels", "labels_dtype", "n_declared")
    WRONG = "whose class is not in its list of labels"

    def __init__(self, codes: ClassCodes) -> None:
        self.codes = codes

    @classmethod
    def restore(cls, header: dict[str, Any], n_columns: int) -> "Labels":
        return cls(ClassCodes.restore(header["labels"], header["n_declared"], header["labels_dtype"]))

    @classmethod
    def is_header(cls, header: dict[str, Any]) -> bool:
        return (
            _are_labels(header["labels"], header["labels_dtype"])
            and type(header["n_declared"]) is int
            and header["n_declared"] in (0, len(header["labels"]))
        )

    def encode(self, y: Any) -> np.ndarray:
        return self.codes.encode(y).astype(np.float64)[:, None]

    def decode(self, columns: np.ndarray | None) -> Any:
        return self.codes.decode(_as_codes(columns))

    def count(self, columns: np.ndarray | None, weight: np.ndarray | None, sign: int) -> None:
        self.codes.count(_as_few_codes(columns), weight, sign)

    def recount(self, blocks: Iterable[tuple[np.ndarray | None, np.ndarray | None]]) -> None:
        self.codes.recount((_as_codes(columns), weight) for columns, weight in blocks)

    def prune(self) -> None:
        self.codes.prune()

    def n_vanishing(self, columns: np.ndarray | None, weight: np.ndarray | None) -> tuple[int, int]:
        return self.codes.n_vanishing(_as_few_codes(columns), weight)

    def empty_twin(self) -> "Labels":
        return type(self)(self.codes.empty_twin())

    def schema(self) -> dict[str, Any]:
        return {"declared": self.codes.declared}

    def labels(self) -> list[Any]:
        return self.codes.sorted_ranks()[0]

    def canonical(self, columns: np.ndarray) -> np.ndarray:
        ranks: np.ndarray = self.codes.sorted_ranks()[1][_as_codes(columns)]
        return ranks

    def header(self) -> dict[str, Any]:
        return {"labels": self.labels(), "labels_dtype": self.codes.dtype, "n_declared": self.codes.n_declared}

    def code_map(self) -> np.ndarray | None:
        ranks = self.codes.sorted_ranks()[1]
        return ranks if len(ranks) else None

    def n_wrong(self, columns: np.ndarray) -> int:
        codes = columns[:, 0]
        in_range = (codes >= 0) & (codes < len(self.codes)) & (codes == np.floor(codes))
        return int(np.count_nonzero(~in_range))


class Values(Targets):
    """Numbers, stored as they are.

    Parameters
    ----------
    n_dimensions : int
        Dimensions of y: 1, or 2 for one or more targets in columns. It decides the shape of what is published.
    n_columns : int
        Number of targets.
    """

    FIELDS = ("target_dimensions",)
    WRONG = "whose targets are not finite"

    def __init__(self, n_dimensions: int, n_columns: int) -> None:
        super().__init__()
        self.n_dimensions = n_dimensions
        self.n_columns = n_columns

    @classmethod
    def restore(cls, header: dict[str, Any], n_columns: int) -> "Values":
        return cls(header["target_dimensions"], 1 if header["target_dimensions"] == 1 else max(n_columns, 1))

    @classmethod
    def is_header(cls, header: dict[str, Any]) -> bool:
        return type(header["target_dimensions"]) is int and header["target_dimensions"] in (1, 2)

    @classmethod
    def like(cls, y: np.ndarray) -> "Values":
        """Return the targets that `y` is an array of."""
        return cls(y.ndim, 1 if y.ndim == 1 else y.shape[1])

    def encode(self, y: Any) -> np.ndarray:
        if y.ndim != self.n_dimensions or y.size != len(y) * self.n_columns:
            shape = "(n_samples,)" if self.n_dimensions == 1 else f"(n_samples, {self.n_columns})"
            raise ValueError(
                f"y has {y.ndim} dimensions and {1 if y.ndim == 1 else y.shape[1]} targets, but this model was fitted "
                f"on y of shape {shape}. Nothing was changed. Reshape it, or fit anew."
            )
        columns: np.ndarray = y.reshape(len(y), self.n_columns)
        return columns

    def decode(self, columns: np.ndarray | None) -> Any:
        assert columns is not None
        return columns[:, 0] if self.n_dimensions == 1 else columns

    def empty_twin(self) -> "Values":
        return Values(self.n_dimensions, self.n_columns)

    def schema(self) -> dict[str, Any]:
        return {"target_dimensions": self.n_dimensions}

    def header(self) -> dict[str, Any]:
        return {"target_dimensions": self.n_dimensions}

    def n_wrong(self, columns: np.ndarray) -> int:
        return int(np.count_nonzero(~np.isfinite(columns).all(axis=1)))


def _as_codes(columns: np.ndarray | None) -> np.ndarray:
    assert columns is not None
    return columns[:, 0].astype(np.intp)


def _as_few_codes(columns: np.ndarray | None) -> Any:
    """Return the code of one row in a list: an array would take longer to make than it takes to count."""
    if columns is not None and len(columns) == 1:
        return [int(columns.item())]
    return _as_codes(columns)


def _are_labels(labels: Any, dtype: Any) -> bool:
    """Whether these are labels as `ClassCodes` lists them: of one kind, ascending, and unchanged by their dtype."""
    if not isinstance(labels, list) or not all(isinstance(label, (str, bool, int, float)) for label in labels):
        return False
    if len({isinstance(label, str) for label in labels}) > 1 or not all(a < b for a, b in pairwise(labels)):
        return False
    if dtype is None:
        return not labels
    if not isinstance(dtype, str) or not _LABEL_DTYPE.fullmatch(dtype):
        return False
    try:
        return bool(np.array(labels, dtype=dtype).tolist() == labels)
    except (TypeError, ValueError, OverflowError):
        return False
