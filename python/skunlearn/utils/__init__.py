"""Utilities: folds that survive deletions, rankings of rows, the conformance suite, private seams to scikit-learn."""

from skunlearn.utils._influence import InfluenceRanking, rank_by_influence
from skunlearn.utils._keyed_kfold import KeyedKFold

__all__ = ["InfluenceRanking", "KeyedKFold", "rank_by_influence"]
