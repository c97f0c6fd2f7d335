"""What vectorizers of documents share: their rows, the vocabulary that is published, the contract."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import scipy.sparse as sp
import sklearn.feature_extraction.text
from sklearn.utils import metadata_routing

from skunlearn.base import ForgetMixin, MemoryEstimate, fitted_attribute
from skunlearn.columns import TableRows, as_table
from skunlearn.digest import canonical
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.feature_extraction._idf import TfidfState
from skunlearn.feature_extraction._words import BYTES_A_WORD, Analysis, Occurrences, WordCounts
from skunlearn.key import Key
from skunlearn.live import Core, IncomingRows, Owner
from skunlearn.rows import RowBlock
from skunlearn.transforms import ForgettingTransformerMixin, TransformMap
from skunlearn.utils._sklearn_compat import (
    HasMethods,
    Interval,
    RealNotInt,
    StrOptions,
    fit_context,
    in_sparse_interface,
)

__all__ = ["Vectorizer", "VocabularyCore", "WordMap"]

_BYTES_A_DOCUMENT = 500


class _Remembered(NamedTuple):
    """Where the words of live documents are remembered, and the columns of their numbers as long as those hold."""

    counts: WordCounts
    epoch: int
    column_of: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class WordMap(TransformMap):
    """The published state of one version.

    Parameters
    ----------
    vocabulary_ : dict of {str: int}
        Columns of words.
    names : ndarray of shape (n_words,), object
        Words of columns.
    analysis : Analysis
        What makes words of a document.
    dtype : dtype
        Of counts.
    binary : bool
        Whether all counts are 1.
    weighting : TfidfState or None
        What becomes of counts.
    remembered : _Remembered or None
        A cache: it changes how long live rows take, never what becomes of them.
    """

    vocabulary_: dict[str, int]
    names: np.ndarray
    analysis: Analysis
    dtype: np.dtype
    binary: bool
    weighting: TfidfState | None
    remembered: _Remembered | None

    @property
    def n_features_in(self) -> int:
        """Number of columns of the rows that come in: one, of documents."""
        return 1

    @property
    def idf_(self) -> np.ndarray:
        """Weights of words."""
        if self.weighting is None:
            raise AttributeError("There is no idf_ without weights.")
        return self.weighting.idf_

    def apply(self, X: Any) -> Any:
        """Return documents as rows of counts or weights."""
        documents, places = as_table(X).distinct(0)
        return self._given(self.analysis.occurrences(documents, self.vocabulary_.get).take(places))

    def apply_to_live(self, block: RowBlock) -> Any:
        """Return live documents as `apply` does; they were analysed already."""
        documents, places = block.X.distinct(0)
        remembered = self.remembered
        if remembered is not None and remembered.epoch == remembered.counts.epoch:
            occurrences = remembered.counts.rows_of(documents)
            if occurrences is not None and occurrences.words.max(initial=-1) < len(remembered.column_of):
                return self._given(occurrences.renumbered(remembered.column_of).take(places))
        return self.apply(block.X)

    def _given(self, occurrences: Occurrences) -> Any:
        indptr, words, counts = occurrences
        data = np.ones(len(counts), dtype=self.dtype) if self.binary else counts.astype(self.dtype)
        shape = (len(indptr) - 1, len(self.names))
        rows = sp.csr_array((data, words.astype(np.int32), indptr.astype(np.int32)), shape=shape)
        return rows if self.weighting is None else self.weighting.apply(rows)

    def parts(self) -> list[bytes | np.ndarray]:
        """Return the words in order, how they are found, and the form of what is given."""
        words = json.dumps(self.names.tolist()).encode()
        how = canonical({name: _named(value) for name, value in self.analysis.params.items()})
        form = repr((self.dtype.str, bool(self.binary))).encode()
        return [words, how, form, b"" if self.weighting is None else self.weighting.digest()]


def _named(value: Any) -> Any:
    """Return a parameter, and for a function its name: what a digest can tell functions by."""
    if callable(value):
        return [getattr(value, "__module__", None), getattr(value, "__qualname__", type(value).__qualname__)]
    return value


class VocabularyCore(Core):
    """Counts of words, and the vocabulary that is published of them.

    Parameters
    ----------
    model_name : str
        Named in errors.
    params : dict
        Parameters of the vectorizer.
    dtype : dtype
        Of what is given.
    """

    def __init__(self, model_name: str, params: dict[str, Any], dtype: np.dtype) -> None:
        low, high = params["ngram_range"]
        if low > high:
            raise ValueError(
                f"Invalid value for ngram_range={params['ngram_range']} lower boundary larger than the upper boundary. "
                "Nothing was changed."
            )
        self._model_name = model_name
        self._params = params
        self._dtype = dtype
        self._analysis = Analysis(params)
        self._fixed = None if params["vocabulary"] is None else _checked_vocabulary(params["vocabulary"])
        self._words = WordCounts(self._analysis, self._fixed)
        self.n_rows = 0

    def check(self, incoming: IncomingRows) -> None:
        """Refuse rows that are no documents."""
        table = incoming.X
        if not isinstance(table, TableRows) or table.shape[1] != 1:
            raise ValueError(
                f"{self._model_name} takes one column of documents, and got {table.shape[1]} columns. Nothing was "
                "changed. Name the column by a scalar, not by a list."
            )
        documents, places = table.distinct(0)
        is_text = np.array([type(document) is str for document in documents], dtype=bool)
        n_wrong = int(np.count_nonzero(~is_text[places]))
        if n_wrong:
            raise ValueError(_no_text(n_wrong, len(places)))

    def _learn(self, block: RowBlock) -> None:
        self.n_rows += len(block)
        self._words.learn(_tallied(block))

    def _forget(self, block: RowBlock) -> None:
        self.n_rows -= len(block)
        self._words.forget(_tallied(block))

    def _rebuild(self, owner: Owner) -> None:
        self.n_rows = 0
        self._words.clear()
        for block in owner.effective_blocks():
            self._learn(block)

    def publish(self, owner: Owner) -> WordMap:
        """Return the vocabulary."""
        if self.n_rows == 0:
            raise DegenerateRowsError(
                f"This {self._model_name} has no document left, so there is no vocabulary. Call partial_fit or fit."
            )
        if self._fixed is None:
            words, numbers = self._words.sorted()
            if not words:
                raise DegenerateRowsError("empty vocabulary; perhaps the documents only contain stop words")
            kept = self._kept(numbers)
            words, numbers = [words[i] for i in kept.tolist()], numbers[kept]
        else:
            words = sorted(self._fixed, key=self._fixed.__getitem__)
            numbers = np.arange(len(words))
        column_of = np.full(len(self._words.n_documents), -1, dtype=np.int64)
        column_of[numbers] = np.arange(len(numbers))
        names = np.array(words, dtype=object)
        names.flags.writeable = False
        return WordMap(
            vocabulary_={word: column for column, word in enumerate(words)},
            names=names,
            analysis=self._analysis,
            dtype=self._dtype,
            binary=self._params["binary"],
            weighting=self._weighting(owner.key, words, self._words.n_documents[numbers]),
            remembered=_Remembered(self._words, self._words.epoch, column_of),
        )

    def _weighting(self, key: Key, words: list[str], n_documents: np.ndarray) -> TfidfState | None:
        """Return what becomes of counts: nothing."""
        return None

    def _kept(self, numbers: np.ndarray) -> np.ndarray:
        """Return places of the words that are neither too rare nor too common, and of these the most frequent.

        Of equally frequent ones the first go first.
        """
        most, least, limit = (self._params[name] for name in ("max_df", "min_df", "max_features"))
        most = most if isinstance(most, Integral) else most * self.n_rows
        least = least if isinstance(least, Integral) else least * self.n_rows
        if most < least:
            raise DegenerateRowsError("max_df corresponds to < documents than min_df")
        n_documents = self._words.n_documents[numbers]
        kept = np.flatnonzero((n_documents <= most) & (n_documents >= least))
        if limit is not None and len(kept) > limit:
            frequency = n_documents if self._params["binary"] else self._words.n_occurrences[numbers]
            kept = np.sort(kept[np.argsort(-frequency[kept], kind="stable")[:limit]])
        if not len(kept):
            raise DegenerateRowsError("After pruning, no terms remain. Try a lower min_df or a higher max_df.")
        return kept

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the counts in the order of their words."""
        words, numbers = self._words.sorted()
        counts = [self._words.n_documents[numbers].tolist(), self._words.n_occurrences[numbers].tolist()]
        return [str(self.n_rows).encode(), json.dumps([words, counts]).encode()]

    def nbytes(self) -> int:
        """Return the size of the counts in bytes."""
        return self._words.nbytes()

    def without_rows(self, published: WordMap) -> WordMap:
        """Let go of what is remembered of documents."""
        self._words.clear()
        return replace(published, remembered=None)


def _tallied(block: RowBlock) -> Counter[str]:
    documents, places = block.X.distinct(0)
    if len(documents) == len(places):
        return Counter(documents)
    tally: Counter[str] = Counter()
    for document, n in zip(documents, np.bincount(places, minlength=len(documents)).tolist(), strict=True):
        tally[document] += n
    return tally


def _checked_vocabulary(vocabulary: Any) -> dict[str, int]:
    """Return a given vocabulary as the columns of its words."""
    if isinstance(vocabulary, Mapping):
        columns = {word: int(column) for word, column in vocabulary.items()}
        if sorted(columns.values()) != list(range(len(columns))):
            raise ValueError(
                f"The indices of a vocabulary must be 0 to {len(columns) - 1}, each once. Nothing was changed."
            )
    else:
        words = sorted(vocabulary) if isinstance(vocabulary, (set, frozenset)) else list(vocabulary)
        columns = {word: column for column, word in enumerate(words)}
        if len(columns) < len(words):
            raise ValueError(f"{len(words) - len(columns)} terms of the vocabulary are there twice: a duplicate term.")
    if not columns:
        raise ValueError("empty vocabulary passed to fit. Nothing was changed.")
    return columns


def _no_text(n_wrong: int, n_documents: int) -> str:
    return (
        f"{n_wrong} of {n_documents} documents are no text: an invalid document, expected byte or unicode string. "
        "Nothing was changed. Convert them to str; tokens can be joined, and parted again by a tokenizer."
    )


class Vectorizer(ForgettingTransformerMixin, ForgetMixin):
    """What vectorizers of documents share with each other. A subclass has scikit-learn's parameters."""

    # `raw_documents` is what elsewhere is called X, and nothing to be routed.
    __metadata_request__fit: ClassVar = {"raw_documents": metadata_routing.UNUSED}
    __metadata_request__partial_fit: ClassVar = {"raw_documents": metadata_routing.UNUSED}
    __metadata_request__transform: ClassVar = {"raw_documents": metadata_routing.UNUSED}

    _parameter_constraints: dict[str, Any] = {
        "input": [StrOptions({"filename", "file", "content"})],
        "encoding": [str],
        "decode_error": [StrOptions({"strict", "ignore", "replace"})],
        "strip_accents": [StrOptions({"ascii", "unicode"}), None, callable],
        "lowercase": ["boolean"],
        "preprocessor": [callable, None],
        "tokenizer": [callable, None],
        "stop_words": [StrOptions({"english"}), list, None],
        "token_pattern": [str, None],
        "ngram_range": [tuple],
        "analyzer": [StrOptions({"word", "char", "char_wb"}), callable],
        "max_df": [Interval(RealNotInt, 0, 1, closed="both"), Interval(Integral, 1, None, closed="left")],
        "min_df": [Interval(RealNotInt, 0, 1, closed="both"), Interval(Integral, 1, None, closed="left")],
        "max_features": [Interval(Integral, 1, None, closed="left"), None],
        "vocabulary": [Mapping, HasMethods("__iter__"), None],
        "binary": ["boolean"],
        "dtype": "no_validation",
    }

    vocabulary_ = fitted_attribute()

    @property
    def n_features_in_(self) -> int:
        """Documents are no columns."""
        raise AttributeError(f"{type(self).__name__} takes documents, which have no number of features.")

    @property
    def feature_names_in_(self) -> Any:
        """Documents are no columns."""
        raise AttributeError(f"{type(self).__name__} takes documents, which have no names of features.")

    @property
    def fixed_vocabulary_(self) -> bool:
        """Whether the vocabulary was given."""
        return self._require_live().params["vocabulary"] is not None

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        raw_documents: Any,
        y: Any = None,
        *,
        sample_ids: Any = None,
        subject_ids: Any = None,
        forgettable: bool = True,
    ) -> Self:
        """Fit to documents, forgetting all that were there before.

        Parameters
        ----------
        raw_documents : iterable of length n_samples
            Documents as `input` says: str or bytes, files, or names of files. Their text is kept.
        y : None
            Ignored.
        sample_ids : array-like of shape (n_samples,), int64 or str, default=None
            A unique id for every document; 0 to n_samples - 1 by default.
        subject_ids : array-like of shape (n_samples,), int64 or str, default=None
            Whose document it is.
        forgettable : bool, default=True
            Keep the documents. If False the model can neither forget nor learn, and holds none.

        Returns
        -------
        self : object
            The fitted model.

        Raises
        ------
        ValueError
            If documents are no text, or no word is left; a model fitted earlier is then unchanged.
        """
        return self._fit_rows(raw_documents, None, None, sample_ids, subject_ids, forgettable=forgettable)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, raw_documents: Any, y: Any = None, *, sample_ids: Any = None, subject_ids: Any = None
    ) -> Self:
        """Learn documents: the inverse of `partial_forget`.

        Parameters
        ----------
        raw_documents : iterable of length n_samples
            Documents.
        y : None
            Ignored.
        sample_ids : array-like of shape (n_samples,), int64 or str, default=None
            Ids that are not live; required once the model is fitted. A forgotten id may come back.
        subject_ids : array-like of shape (n_samples,), int64 or str, default=None
            Whose document it is.

        Returns
        -------
        self : object
            The model, changed.

        Raises
        ------
        DuplicateSampleError
            If ids are live already; its attribute `ids` holds them. The model is unchanged.
        MissingSampleIdsError
            If the model is fitted and there are no `sample_ids`. The model is unchanged.
        ValueError
            If documents are no text. The model is unchanged.
        """
        return self._learn_rows(raw_documents, None, None, sample_ids, subject_ids)

    def fit_transform(self, raw_documents: Any, y: Any = None, **params: Any) -> Any:
        """Fit to documents and transform these, analysing each once.

        Parameters
        ----------
        raw_documents, y, **params
            As in `fit`.

        Returns
        -------
        X : sparse matrix of shape (n_samples, n_words)
            Documents as rows.
        """
        self._validate_params()
        table = self._check_X(self, raw_documents, reset=True)  # files can be read once
        self.fit(table, y, **params)
        state: WordMap = self._published()
        return in_sparse_interface(state.apply_to_live(RowBlock(np.arange(len(table), dtype=np.uint32), table)))

    def transform(self, raw_documents: Any) -> Any:
        """Count the words of documents that are in the vocabulary, and weight them where the model does.

        Parameters
        ----------
        raw_documents : iterable of length n_samples
            Documents.

        Returns
        -------
        X : sparse matrix of shape (n_samples, n_words)
            Documents as rows. One alone gives the bits that it gives in bulk.
        """
        state: WordMap = self._published()
        return in_sparse_interface(state.apply(self._check_X(self, raw_documents, reset=False)))

    def inverse_transform(self, X: Any) -> list[np.ndarray]:
        """Return the words that rows have.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_words)
            Rows.

        Returns
        -------
        X_original : list of n_samples ndarray of str
            The words of each, in no order.
        """
        return self.release().inverse_transform(X)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the words of the columns.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        feature_names_out : ndarray of shape (n_words,), object
            Words.
        """
        state: WordMap = self._published()
        return state.names.copy()

    # --- scikit-learn's analysis -------------------------------------------------------------------------------------

    def build_analyzer(self) -> Any:
        """Return the function from a document to its words: scikit-learn's own."""
        return self._bare_twin(self.get_params(deep=False)).build_analyzer()

    def build_preprocessor(self) -> Any:
        """Return the function that is applied to the text of a document first."""
        return self._bare_twin(self.get_params(deep=False)).build_preprocessor()

    def build_tokenizer(self) -> Any:
        """Return the function from a text to its tokens."""
        return self._bare_twin(self.get_params(deep=False)).build_tokenizer()

    def decode(self, doc: Any) -> str:
        """Return the text of a document, which may be in a file.

        Parameters
        ----------
        doc : str, bytes or file
            A document as `input` says.
        """
        return self._bare_twin(self.get_params(deep=False)).decode(doc)

    def get_stop_words(self) -> Any:
        """Return the words that are left out."""
        return self._bare_twin(self.get_params(deep=False)).get_stop_words()

    def _bare_twin(self, params: dict[str, Any]) -> Any:
        """Return scikit-learn's own vectorizer, not fitted."""
        own = sklearn.feature_extraction.text.CountVectorizer
        return own(**{name: params[name] for name in own().get_params(deep=False)})

    # --- the contract ------------------------------------------------------------------------------------------------

    def release(self) -> Any:
        """Return what to deploy: scikit-learn's own vectorizer, without documents, ids or key.

        Returns
        -------
        vectorizer : object
            A vectorizer of scikit-learn's own class with the vocabulary of this one.

        Raises
        ------
        NotFittedError
            If the documents that are left do not determine a vocabulary.
        """
        twin = super().release()
        del twin.n_features_in_
        return twin

    def estimate_memory(self, X: Any, **options: Any) -> MemoryEstimate:
        """Say how much memory a model of these documents would hold.

        Parameters
        ----------
        X : iterable of length n_samples
            Documents.
        **options : dict
            ``sample_ids``, as elsewhere.

        Returns
        -------
        estimate : MemoryEstimate
            Sizes in bytes.
        """
        table = self._check_X(self, X, reset=True)
        estimate = super().estimate_memory(table.values, **options)
        text = sum(
            _BYTES_A_DOCUMENT + len(document.encode("utf-8", "surrogatepass")) for document in table.distinct(0)[0]
        )
        core = WordCounts(Analysis(self.get_params(deep=False)), None)
        core.learn(_tallied(RowBlock(np.arange(len(table), dtype=np.uint32), table)))
        return replace(estimate, rows=estimate.rows + text, core=core.nbytes())

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        return BYTES_A_WORD * X.shape[0]

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        """Return documents as a table of one column of text; files are read."""
        live = None if options["reset"] else vars(estimator).get("_live")
        table = X if isinstance(X, TableRows) else _as_documents(X, self._bare_twin(_params_of(estimator, live)))
        return (table, None) if "y" in options else table

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags


def _params_of(estimator: Any, live: Any) -> dict[str, Any]:
    params: dict[str, Any] = estimator.get_params(deep=False) if live is None else live.params
    return params


def _as_documents(X: Any, decoder: Any) -> TableRows:
    """Return documents as a table of one column of text."""
    if isinstance(X, str):
        raise ValueError("Iterable over raw text documents expected, string object received. Nothing was changed.")
    n_dimensions = getattr(X, "ndim", 1)
    if sp.issparse(X) or n_dimensions != 1:
        raise ValueError(
            f"Documents are expected in one dimension, and X has {n_dimensions}. Nothing was changed. Pass one column."
        )
    documents: list[str] = []
    n_documents = n_wrong = n_undecoded = 0
    for document in X:
        n_documents += 1
        if type(document) is not str or decoder.input != "content":
            try:
                document = decoder.decode(document)
            except UnicodeDecodeError:
                n_undecoded += 1
                continue
            except ValueError:
                document = None
        if not isinstance(document, str):
            n_wrong += 1
            continue
        documents.append(str(document))
    if n_undecoded:
        raise ValueError(
            f"{n_undecoded} of {n_documents} documents are not encoded as {decoder.encoding!r}. Nothing was changed. "
            "Set encoding or decode_error."
        )
    if n_wrong:
        raise ValueError(_no_text(n_wrong, n_documents))
    if not documents:
        raise ValueError("Found no documents while a minimum of 1 is required. Nothing was changed.")
    place_of = {document: place for place, document in enumerate(dict.fromkeys(documents))}
    places = np.fromiter(map(place_of.__getitem__, documents), np.float64, len(documents))
    lookup = np.empty(len(place_of), dtype=object)
    lookup[:] = list(place_of)
    return TableRows(places[:, None], ("str",), (lookup,))
