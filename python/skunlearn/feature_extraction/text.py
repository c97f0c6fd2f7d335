"""Words of documents as features, forgetting documents exactly; names of `sklearn.feature_extraction.text`."""

from sklearn.feature_extraction.text import (
    ENGLISH_STOP_WORDS,
    HashingVectorizer,
    strip_accents_ascii,
    strip_accents_unicode,
    strip_tags,
)

from skunlearn.feature_extraction._count_vectorizer import CountVectorizer
from skunlearn.feature_extraction._tfidf_transformer import TfidfTransformer
from skunlearn.feature_extraction._tfidf_vectorizer import TfidfVectorizer

__all__ = [
    "ENGLISH_STOP_WORDS",
    "CountVectorizer",
    "HashingVectorizer",
    "TfidfTransformer",
    "TfidfVectorizer",
    "strip_accents_ascii",
    "strip_accents_unicode",
    "strip_tags",
]
