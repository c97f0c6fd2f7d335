"""Support vector machines that forget exactly."""

from skunlearn.svm._linear_svc import LinearSVC

__all__ = ["LinearSVC"]
