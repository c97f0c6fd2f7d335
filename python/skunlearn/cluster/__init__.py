"""Clustering that forgets exactly: what is kept of a run lets rows leave it as if they had never been there."""

from skunlearn.cluster._bisecting_k_means import BisectingKMeans
from skunlearn.cluster._dbscan import DBSCAN
from skunlearn.cluster._kmeans import KMeans

__all__ = ["DBSCAN", "BisectingKMeans", "KMeans"]
