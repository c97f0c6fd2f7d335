"""Features extracted from text."""

from skunlearn.feature_extraction import text

__all__ = ["text"]
