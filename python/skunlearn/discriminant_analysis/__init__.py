"""Discriminant analysis that forgets exactly: what is kept of the rows are integer sums of each class."""

from skunlearn.discriminant_analysis._linear import LinearDiscriminantAnalysis
from skunlearn.discriminant_analysis._quadratic import QuadraticDiscriminantAnalysis

__all__ = ["LinearDiscriminantAnalysis", "QuadraticDiscriminantAnalysis"]
