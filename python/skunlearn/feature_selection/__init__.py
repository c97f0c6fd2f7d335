"""Feature selection that forgets exactly: what is published of the rows is a mask."""

from skunlearn.feature_selection._select_k_best import SelectKBest
from skunlearn.feature_selection._variance_threshold import VarianceThreshold

__all__ = ["SelectKBest", "VarianceThreshold"]
