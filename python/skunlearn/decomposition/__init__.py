"""Decompositions that forget exactly: what is kept of the rows are integer sums."""

from skunlearn.decomposition._pca import PCA

__all__ = ["PCA"]
