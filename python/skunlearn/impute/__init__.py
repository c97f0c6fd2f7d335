"""Filling in missing values with statistics that forget exactly, and change rarely."""

from skunlearn.impute._simple_imputer import SimpleImputer

__all__ = ["SimpleImputer"]
