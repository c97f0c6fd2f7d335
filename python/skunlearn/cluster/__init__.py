"""Clustering that forgets exactly: what is kept of a run lets rows leave it as if they had never been there."""

from skunlearn.cluster._kmeans import KMeans

__all__ = ["KMeans"]
