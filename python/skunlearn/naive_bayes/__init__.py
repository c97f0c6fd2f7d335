"""Naive Bayes classifiers that forget exactly: everything they keep is an integer count."""

from skunlearn.naive_bayes._bernoulli import BernoulliNB
from skunlearn.naive_bayes._categorical import CategoricalNB

__all__ = ["BernoulliNB", "CategoricalNB"]
