"""How often words occur in documents: counted by document, and undone as exactly.

Documents are kept by the owner of the rows. What is kept here is, for each live document, which words it has and how
often, under numbers that stand for words: so a document is analysed once, not at every pass over the rows. A word loses
its number with its last document.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np
import sklearn.feature_extraction.text

__all__ = ["BYTES_A_WORD", "Analysis", "Occurrences", "WordCounts"]

#: A word: itself, its entry in a dictionary, its place, two counts. A document: its entry, an array.
BYTES_A_WORD = 200
_BYTES_A_DOCUMENT = 300

#: Parameters of scikit-learn's vectorizers that say how a document becomes words.
_ANALYSIS_PARAMETERS = (
    "analyzer",
    "decode_error",
    "encoding",
    "lowercase",
    "ngram_range",
    "preprocessor",
    "stop_words",
    "strip_accents",
    "token_pattern",
    "tokenizer",
)


class Analysis:
    """What makes words of a document: scikit-learn's own analyzer under some parameters.

    Parameters
    ----------
    params : dict
        Parameters of a vectorizer.
    """

    __slots__ = ("_analyze", "params")

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = {name: params[name] for name in _ANALYSIS_PARAMETERS}
        self._analyze: Callable[[str], Sequence[str]] | None = None

    @property
    def analyze(self) -> Callable[[str], Sequence[str]]:
        """Function from a document to its words."""
        if self._analyze is None:
            self._analyze = sklearn.feature_extraction.text.CountVectorizer(**self.params).build_analyzer()
        return self._analyze

    def __getstate__(self) -> dict[str, Any]:
        return self.params

    def __setstate__(self, params: dict[str, Any]) -> None:
        self.params, self._analyze = params, None

    def occurrences(self, documents: Sequence[str], number_of: Callable[[str], int | None]) -> "Occurrences":
        """Return how often documents have which words; one whose number is None does not count."""
        analyze, before = self.analyze, 0
        numbers: list[int | None] = []
        lengths = np.empty(len(documents), dtype=np.int64)
        for i, document in enumerate(documents):
            numbers.extend(map(number_of, analyze(document)))
            lengths[i] = len(numbers) - before
            before = len(numbers)
        rows = np.repeat(np.arange(len(documents)), lengths)
        found = np.array(numbers, dtype=np.float64)  # None is NaN
        if np.isnan(found).any():
            is_known = ~np.isnan(found)
            rows, found = rows[is_known], found[is_known]
        return Occurrences.of_pairs(rows, found.astype(np.int64), len(documents))


class Occurrences(NamedTuple):
    """Documents as rows, and how often each word occurs in them, in compressed sparse row form.

    Numbers of words ascend within a row.
    """

    indptr: np.ndarray
    words: np.ndarray
    counts: np.ndarray

    @classmethod
    def of_pairs(cls, rows: np.ndarray, words: np.ndarray, n_rows: int) -> "Occurrences":
        """Return occurrences that are given one by one."""
        width = int(words.max(initial=0)) + 1
        distinct, counts = np.unique(rows * width + words, return_counts=True)
        indptr = np.zeros(n_rows + 1, dtype=np.int64)
        np.cumsum(np.bincount(distinct // width, minlength=n_rows), out=indptr[1:])
        return cls(indptr, distinct % width, counts)

    @classmethod
    def of_rows(cls, rows: Sequence[np.ndarray]) -> "Occurrences":
        """Return rows that are given as arrays of words and counts."""
        indptr = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([row.shape[1] for row in rows], out=indptr[1:])
        words, counts = np.concatenate(rows, axis=1) if rows else np.zeros((2, 0), dtype=np.int32)
        return cls(indptr, words, counts)

    def rows(self) -> list[np.ndarray]:
        """Return the words and counts of each row as an array of its own."""
        pairs = np.array([self.words, self.counts], dtype=np.int32)
        edges = self.indptr.tolist()
        return [pairs[:, start:end].copy() for start, end in pairwise(edges)]

    def take(self, places: np.ndarray) -> "Occurrences":
        """Return rows in an order of one's own, also repeatedly."""
        lengths = np.diff(self.indptr)[places]
        indptr = np.concatenate(([0], np.cumsum(lengths)))
        kept = np.repeat(self.indptr[places] - indptr[:-1], lengths) + np.arange(indptr[-1])
        return Occurrences(indptr, self.words[kept], self.counts[kept])

    def renumbered(self, number_of: np.ndarray) -> "Occurrences":
        """Return the same under other numbers, without the words whose number is negative."""
        words = number_of[self.words]
        rows = np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))
        is_kept = words >= 0
        rows, words, counts = rows[is_kept], words[is_kept], self.counts[is_kept]
        order = np.lexsort((words, rows))
        indptr = np.zeros_like(self.indptr)
        np.cumsum(np.bincount(rows, minlength=len(indptr) - 1), out=indptr[1:])
        return Occurrences(indptr, words[order], counts[order])


class WordCounts:
    """In how many documents each word occurs, and how often in all.

    Parameters
    ----------
    analysis : Analysis
        What makes words of a document.
    fixed : dict of {str: int} or None
        Numbers of the only words that count; None to count all.

    Attributes
    ----------
    numbers : dict of {str: int}
        Numbers of the words that documents have, or of those that are fixed.
    n_documents, n_occurrences : ndarray of int64
        By the number of a word; where no word has the number, it means nothing.
    epoch : int
        Changes whenever a word loses its number. Kept for whoever remembers numbers; no part of the state.
    """

    def __init__(self, analysis: Analysis, fixed: dict[str, int] | None) -> None:
        self._analysis = analysis
        self._fixed = fixed
        self.epoch = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.epoch += 1
        self._rows: dict[str, np.ndarray] = {}
        self._n_bearing: Counter[str] = Counter()
        self._words: list[str | None] = []
        self._free: list[int] = []
        self.numbers: dict[str, int] = defaultdict(self._new_number) if self._fixed is None else dict(self._fixed)
        size = 0 if self._fixed is None else max(self._fixed.values(), default=-1) + 1
        self.n_documents = np.zeros(size, dtype=np.int64)
        self.n_occurrences = np.zeros(size, dtype=np.int64)
        self._n_numbers = size

    def _new_number(self) -> int:
        if self._free:
            return self._free.pop()
        self._n_numbers += 1
        return self._n_numbers - 1

    def learn(self, documents: Counter[str]) -> None:
        """Count documents in, each as often as it occurs."""
        new = [document for document in documents if document not in self._rows]
        if new:
            self._rows.update(zip(new, self._analysed(new).rows(), strict=True))
        self._n_bearing.update(documents)
        self._count(documents, +1)

    def _analysed(self, documents: list[str]) -> Occurrences:
        if self._fixed is not None:
            return self._analysis.occurrences(documents, self.numbers.get)
        before = len(self.numbers)
        occurrences = self._analysis.occurrences(documents, self.numbers.__getitem__)
        added = list(islice(reversed(self.numbers.items()), len(self.numbers) - before))
        if not all(type(word) is str for word, _ in added):
            raise TypeError("The analyzer gave tokens that are no str. Convert them.")
        self._words += [None] * (self._n_numbers - len(self._words))
        for word, number in added:
            self._words[number] = word
        grown = np.zeros((2, self._n_numbers), dtype=np.int64)
        grown[:, : len(self.n_documents)] = self.n_documents, self.n_occurrences
        self.n_documents, self.n_occurrences = grown
        return occurrences

    def forget(self, documents: Counter[str]) -> None:
        """Count documents out, each as often as it occurs."""
        touched = self._count(documents, -1)
        for document, n in documents.items():
            self._n_bearing[document] -= n
            if self._n_bearing[document] == 0:
                del self._n_bearing[document], self._rows[document]
        if self._fixed is None:
            self._drop(touched[self.n_documents[touched] == 0])

    def _count(self, documents: Counter[str], sign: int) -> np.ndarray:
        """Add to both counts, and return the words that were there."""
        occurrences = Occurrences.of_rows([self._rows[document] for document in documents])
        bearing = sign * np.repeat(np.array(list(documents.values()), dtype=np.int64), np.diff(occurrences.indptr))
        np.add.at(self.n_documents, occurrences.words, bearing)
        np.add.at(self.n_occurrences, occurrences.words, bearing * occurrences.counts)
        return np.unique(occurrences.words)

    def _drop(self, numbers: np.ndarray) -> None:
        for number in numbers.tolist():
            del self.numbers[self._words[number]]
            self._words[number] = None
            self._free.append(number)
        if len(numbers):
            self.epoch += 1
        if not self.numbers:  # without words it is as good as new
            self.clear()

    def n_vanishing(self, documents: Counter[str]) -> int:
        """Return how many words only these documents have."""
        occurrences = Occurrences.of_rows([self._rows[document] for document in documents])
        bearing = np.repeat(np.array(list(documents.values()), dtype=np.int64), np.diff(occurrences.indptr))
        words, places = np.unique(occurrences.words, return_inverse=True)
        going = np.bincount(places, weights=bearing, minlength=len(words))
        return int(np.count_nonzero(going == self.n_documents[words]))

    def rows_of(self, documents: Sequence[str]) -> Occurrences | None:
        """Return what live documents have, under the numbers there are; None if some are not live."""
        rows = [self._rows.get(document) for document in documents]
        return None if any(row is None for row in rows) else Occurrences.of_rows(rows)  # type: ignore[arg-type]

    def sorted(self) -> tuple[list[str], np.ndarray]:
        """Return the words in order, and their numbers."""
        words = sorted(self.numbers)
        return words, np.array([self.numbers[word] for word in words], dtype=np.int64)

    def nbytes(self) -> int:
        """Estimate the size in bytes."""
        return BYTES_A_WORD * len(self.numbers) + sum(_BYTES_A_DOCUMENT + row.nbytes for row in self._rows.values())
