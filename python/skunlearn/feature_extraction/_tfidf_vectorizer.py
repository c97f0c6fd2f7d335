"""Weights of words that forget documents."""

import warnings
from typing import Any

import numpy as np
import sklearn.feature_extraction.text

from skunlearn.base import fitted_attribute
from skunlearn.feature_extraction._idf import TfidfState, freeze, idf_on_lattice, inverse_document_frequency
from skunlearn.feature_extraction._tfidf_transformer import native_twin
from skunlearn.feature_extraction._vectorizer import Vectorizer, VocabularyCore, WordMap
from skunlearn.key import Key
from skunlearn.rows import RowStore
from skunlearn.utils._sklearn_compat import StrOptions

__all__ = ["TfidfVectorizer"]


class TfidfVectorizer(Vectorizer):
    r"""Weight the words of documents by how few documents have them, forgetting documents exactly.

    `CountVectorizer` and `TfidfTransformer` in one. What is kept beside the documents are integers, so `partial_forget`
    is their subtraction: afterwards the vectorizer equals, bit for bit, one fitted on the documents that are left.

    Parameters
    ----------
    input, encoding, decode_error, strip_accents, lowercase, preprocessor, tokenizer, analyzer, stop_words
        As in `CountVectorizer`.
    token_pattern, ngram_range, max_df, min_df, max_features, vocabulary, binary
        As in `CountVectorizer`.
    dtype : dtype, default=np.float64
        Of weights: float32 or float64.
    norm : {"l1", "l2"} or None, default="l2"
        Norm of the rows that are given.
    use_idf : bool, default=True
        Whether to weight words at all.
    smooth_idf : bool, default=True
        Count one document more, which has every word.
    sublinear_tf : bool, default=False
        Replace a count by 1 + ln(count).
    exact_statistics : bool, default=True
        Weight by the exact counts; otherwise by counts rounded to powers of two, which few deletions change.
    random_state : int, RandomState instance, Key or None, default=None
        Where the powers of two lie, for each word; not read with ``exact_statistics=True``.

    Attributes
    ----------
    vocabulary_ : dict of {str: int}
        The column of each word; words are sorted.
    idf_ : ndarray of shape (n_words,)
        Weights of the words.
    fixed_vocabulary_ : bool
        Whether the vocabulary was given.
    guarantee_ : Guarantee
        ``kind="exact"``.
    n_live_ : int
        Number of documents that the model holds.

    See Also
    --------
    sklearn.feature_extraction.text.TfidfVectorizer : What `release` returns.
    TfidfTransformer : The formula, and what the lattice costs.

    Notes
    -----
    Notes of `CountVectorizer` and of `TfidfTransformer` hold.

    Examples
    --------
    >>> from skunlearn.feature_extraction.text import TfidfVectorizer
    >>> model = TfidfVectorizer().fit(["red wine", "white wine", "red ink"], sample_ids=[7, 8, 9])
    >>> model.partial_forget([9]).idf_.round(3).tolist()
    [1.405, 1.405, 1.0]
    """

    _parameter_constraints: dict[str, Any] = {
        **Vectorizer._parameter_constraints,
        "norm": [StrOptions({"l1", "l2"}), None],
        "use_idf": ["boolean"],
        "smooth_idf": ["boolean"],
        "sublinear_tf": ["boolean"],
        "exact_statistics": ["boolean"],
        "random_state": "no_validation",
    }

    idf_ = fitted_attribute()

    def __init__(
        self,
        *,
        input: str = "content",
        encoding: str = "utf-8",
        decode_error: str = "strict",
        strip_accents: Any = None,
        lowercase: bool = True,
        preprocessor: Any = None,
        tokenizer: Any = None,
        analyzer: Any = "word",
        stop_words: Any = None,
        token_pattern: str | None = r"(?u)\b\w\w+\b",
        ngram_range: tuple[int, int] = (1, 1),
        max_df: float = 1.0,
        min_df: float = 1,
        max_features: int | None = None,
        vocabulary: Any = None,
        binary: bool = False,
        dtype: Any = np.float64,
        norm: str | None = "l2",
        use_idf: bool = True,
        smooth_idf: bool = True,
        sublinear_tf: bool = False,
        exact_statistics: bool = True,
        random_state: Any = None,
    ) -> None:
        self.input = input
        self.encoding = encoding
        self.decode_error = decode_error
        self.strip_accents = strip_accents
        self.lowercase = lowercase
        self.preprocessor = preprocessor
        self.tokenizer = tokenizer
        self.analyzer = analyzer
        self.stop_words = stop_words
        self.token_pattern = token_pattern
        self.ngram_range = ngram_range
        self.max_df = max_df
        self.min_df = min_df
        self.max_features = max_features
        self.vocabulary = vocabulary
        self.binary = binary
        self.dtype = dtype
        self.norm = norm
        self.use_idf = use_idf
        self.smooth_idf = smooth_idf
        self.sublinear_tf = sublinear_tf
        self.exact_statistics = exact_statistics
        self.random_state = random_state

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_WeightedVocabularyCore":
        dtype = np.dtype(params["dtype"])
        if dtype not in (np.float32, np.float64):
            if dtype.kind != "f":
                warnings.warn(
                    f"Only float32 and float64 should be used as 'dtype'. {dtype} will be converted to np.float64.",
                    UserWarning,
                    stacklevel=4,
                )
            dtype = np.dtype(np.float64)
        return _WeightedVocabularyCore(type(self).__name__, params, dtype)

    def _native_twin(self, state: WordMap, params: dict[str, Any]) -> Any:
        own = sklearn.feature_extraction.text.TfidfVectorizer
        twin = own(**{name: params[name] for name in own().get_params(deep=False)})
        twin.fixed_vocabulary_ = params["vocabulary"] is not None
        twin.vocabulary_ = dict(state.vocabulary_)
        twin._tfidf = native_twin(state.weighting, params)
        return twin


class _WeightedVocabularyCore(VocabularyCore):
    """Counts of words, and the weights that are published of them."""

    def _weighting(self, key: Key, words: list[str], n_documents: np.ndarray) -> TfidfState:
        """Return the weights of words."""
        params, idf, n_rows = self._params, None, float(self.n_rows)
        if params["use_idf"]:
            if not params["exact_statistics"]:
                names = [b"w" + word.encode("utf-8", "surrogatepass") for word in words]
                n_documents, n_rows = idf_on_lattice(n_documents, self.n_rows, key, names)
            idf = inverse_document_frequency(n_documents, n_rows, smooth=params["smooth_idf"], dtype=self._dtype)
            freeze(idf)
        return TfidfState(idf, len(words), params["norm"], params["sublinear_tf"])
