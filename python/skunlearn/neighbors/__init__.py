"""Estimators by distance that forget exactly."""

from skunlearn.neighbors._nearest_centroid import NearestCentroid

__all__ = ["NearestCentroid"]
