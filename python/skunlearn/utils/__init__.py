"""Utilities: folds that survive deletions, the conformance suite, and the private seams to scikit-learn."""

from skunlearn.utils._keyed_kfold import KeyedKFold

__all__ = ["KeyedKFold"]
