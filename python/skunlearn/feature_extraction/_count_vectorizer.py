"""Counts of words that forget documents."""

from typing import Any

import numpy as np

from skunlearn.feature_extraction._vectorizer import Vectorizer, VocabularyCore, WordMap
from skunlearn.rows import RowStore

__all__ = ["CountVectorizer"]


class CountVectorizer(Vectorizer):
    r"""Count the words of documents, forgetting documents exactly.

    The vocabulary is learned, so it remembers: one document may be the only one with a name in it. What is kept beside
    the documents are integers, in how many of them a word occurs and how often, so `partial_forget` is their
    subtraction: afterwards the vectorizer equals, bit for bit, one fitted on the documents that are left, and a word
    leaves the vocabulary with its last document.

    Parameters
    ----------
    input : {"filename", "file", "content"}, default="content"
        What documents are. Files are read once; their text is kept.
    encoding : str, default="utf-8"
        Of documents that are bytes.
    decode_error : {"strict", "ignore", "replace"}, default="strict"
        What to do about bytes that are no text.
    strip_accents : {"ascii", "unicode"}, callable or None, default=None
        How accents are taken off.
    lowercase : bool, default=True
        Whether capitals are made small.
    preprocessor : callable, default=None
        Made of a text before it is parted, in place of the two above.
    tokenizer : callable, default=None
        Makes tokens of a text, in place of `token_pattern`. All functions must depend on their argument alone.
    stop_words : {"english"}, list, default=None
        Words that do not count.
    token_pattern : str or None, default=r"(?u)\\b\\w\\w+\\b"
        Regular expression of a token.
    ngram_range : tuple (min_n, max_n), default=(1, 1)
        How many tokens, or characters, make a word.
    analyzer : {"word", "char", "char_wb"} or callable, default="word"
        Whether words are made of tokens or of characters; or a function from a document to its words, which are str.
    max_df, min_df : float in [0.0, 1.0] or int, default=1.0, 1
        A word of more, or of fewer, documents is left out; a float is a share of the documents.
    max_features : int, default=None
        Keep the words that occur most often; of equally frequent ones the first in order.
    vocabulary : Mapping or iterable, default=None
        The words and their columns, or the words in order. They stay whatever is forgotten.
    binary : bool, default=False
        Make all counts 1.
    dtype : dtype, default=np.int64
        Of counts.

    Attributes
    ----------
    vocabulary_ : dict of {str: int}
        The column of each word; words are sorted.
    fixed_vocabulary_ : bool
        Whether the vocabulary was given.
    guarantee_ : Guarantee
        ``kind="exact"``.
    n_live_ : int
        Number of documents that the model holds.

    See Also
    --------
    sklearn.feature_extraction.text.CountVectorizer : What `release` returns.
    HashingVectorizer : Learns nothing, so there is nothing to forget.

    Notes
    -----
    Forgetting a document takes as long as it has different words; the vocabulary is sorted at the next read. A document
    is analysed once, when it is learned. In a pipeline a changed vocabulary means that later steps are fitted again; a
    given one never changes. No error or warning names a word. The model keeps its documents; `release` does not.

    Examples
    --------
    >>> from skunlearn.feature_extraction.text import CountVectorizer
    >>> model = CountVectorizer().fit(["red wine", "white wine", "red ink"], sample_ids=[7, 8, 9])
    >>> model.partial_forget([9]).get_feature_names_out().tolist()
    ['red', 'white', 'wine']
    """

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
        stop_words: Any = None,
        token_pattern: str | None = r"(?u)\b\w\w+\b",
        ngram_range: tuple[int, int] = (1, 1),
        analyzer: Any = "word",
        max_df: float = 1.0,
        min_df: float = 1,
        max_features: int | None = None,
        vocabulary: Any = None,
        binary: bool = False,
        dtype: Any = np.int64,
    ) -> None:
        self.input = input
        self.encoding = encoding
        self.decode_error = decode_error
        self.strip_accents = strip_accents
        self.lowercase = lowercase
        self.preprocessor = preprocessor
        self.tokenizer = tokenizer
        self.stop_words = stop_words
        self.token_pattern = token_pattern
        self.ngram_range = ngram_range
        self.analyzer = analyzer
        self.max_df = max_df
        self.min_df = min_df
        self.max_features = max_features
        self.vocabulary = vocabulary
        self.binary = binary
        self.dtype = dtype

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> VocabularyCore:
        return VocabularyCore(type(self).__name__, params, np.dtype(params["dtype"]))

    def _native_twin(self, state: WordMap, params: dict[str, Any]) -> Any:
        twin = self._bare_twin(params)
        twin.fixed_vocabulary_ = params["vocabulary"] is not None
        twin.vocabulary_ = dict(state.vocabulary_)
        return twin
