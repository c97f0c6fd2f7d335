"""The private names of scikit-learn that this library leans on, in one place for all supported versions."""

import re
from inspect import signature
from typing import Any

import scipy.sparse as sp
from sklearn.base import _fit_context as fit_context
from sklearn.utils import validation
from sklearn.utils._param_validation import HasMethods, Interval, RealNotInt, StrOptions

__all__ = [
    "HasMethods",
    "Interval",
    "RealNotInt",
    "StrOptions",
    "check_array",
    "check_sample_weight",
    "fit_context",
    "validate_data",
]

_REFUSES_ZEROS = "allow_all_zero_weights" in signature(validation._check_sample_weight).parameters

_TEXT = "holds text that is no number. Nothing was changed. Encode it first, for instance with OrdinalEncoder."
#: Messages of scikit-learn and NumPy that quote values, and what is said instead.
_QUOTING = (
    (re.compile(r"(?:could not convert string to float|invalid literal for int\(\) with base 10): .*", re.S), _TEXT),
    (re.compile(r"(instead:\n)array=.*\.\n(Reshape your data)", re.S), r"\1\2"),
    (re.compile(r"(Complex data not supported)\n.*", re.S), r"\1"),
)


def validate_data(estimator: Any, X: Any, **options: Any) -> Any:
    """As scikit-learn's, but repeated entries of a sparse X are one value, and no value of a row stands in an error."""
    try:
        return validation.validate_data(estimator, _without_repeats(X), **options)
    except ValueError as error:
        raise _without_values(error, "X") from None


def _without_repeats(X: Any) -> Any:
    """Sum repeated entries before anything is checked: what is checked is then what is stored."""
    if not sp.issparse(X) or X.format not in ("csr", "csc", "bsr") or X.has_canonical_format:
        return X  # the other formats cannot repeat an entry, or sum it when they become CSR
    X = X.copy()
    X.sum_duplicates()
    return X


def check_array(X: Any, **options: Any) -> Any:
    """As scikit-learn's, but no value stands in an error."""
    try:
        return validation.check_array(X, **options)
    except ValueError as error:
        raise _without_values(error, options.get("input_name", "X")) from None


def check_sample_weight(sample_weight: Any, X: Any, **options: Any) -> Any:
    """As scikit-learn's, but weights may all be zero, and none stands in an error."""
    if _REFUSES_ZEROS:
        options["allow_all_zero_weights"] = True
    try:
        return validation._check_sample_weight(sample_weight, X, **options)
    except ValueError as error:
        raise _without_values(error, "sample_weight") from None


def _without_values(error: ValueError, name: str) -> ValueError:
    message = str(error)
    for quoting, replacement in _QUOTING:
        message = quoting.sub(replacement, message)
    return type(error)(f"{name} {message}" if message == _TEXT else message)
