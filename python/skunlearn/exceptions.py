"""Errors and warnings: one hierarchy, each class also the built-in one that a caller would expect.

A message says what happened, how many of how many, what state it left, and what to do. No id, no value of a row and no
part of a key ever stands in a message: messages end in logs. Where a caller needs the ids, they are on the exception.
"""

from typing import Any

from sklearn.exceptions import NotFittedError

__all__ = [
    "ApproximateForgettingWarning",
    "CategoryVanishedWarning",
    "CertificateError",
    "ClassVanishedWarning",
    "DamagedStateError",
    "DegenerateRowsError",
    "DuplicateSampleError",
    "ForeignModelError",
    "ForeignStepError",
    "ForgettingDisabledError",
    "MissingSampleIdsError",
    "NoiseWarning",
    "OwnedStepError",
    "ReleaseBudgetError",
    "ReleaseBudgetWarning",
    "SampleIdTypeError",
    "SampleIdValueError",
    "SkunlearnError",
    "SkunlearnWarning",
    "UnknownCategoryError",
    "UnknownSampleError",
]


class SkunlearnError(Exception):
    """Base of every error that this library raises on purpose."""


class _OffendingIdsError(SkunlearnError):
    """An error about some of the ids of a request; they are in `ids`, never in the text.

    Parameters
    ----------
    message : str
        The text.
    ids : list of int or list of str, default=()
        The offending ids, in the order of the request.
    """

    def __init__(self, message: str, ids: Any = ()) -> None:
        super().__init__(message)
        self.ids = list(ids)

    # KeyError prints its argument with repr: the message would arrive in quotes.
    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.ids)


class UnknownSampleError(_OffendingIdsError, KeyError, ValueError):
    """Some of the sample or subject ids to forget are not live. Nothing was changed; `ids` holds them."""


class DuplicateSampleError(_OffendingIdsError, ValueError):
    """Some of the sample ids to learn are live already, or occur twice. Nothing was changed; `ids` holds them."""


class SampleIdTypeError(SkunlearnError, TypeError):
    """Ids of a kind that is not accepted, or not the kind that the model was fitted with."""


class SampleIdValueError(SkunlearnError, ValueError):
    """Ids of the right kind but the wrong shape, length or content."""


class MissingSampleIdsError(SkunlearnError, ValueError):
    """Rows were given to a fitted model without the ids by which they could be forgotten."""


class ForgettingDisabledError(SkunlearnError, RuntimeError):
    """The model was fitted with ``forgettable=False`` and kept no rows."""


class OwnedStepError(SkunlearnError, RuntimeError):
    """A step was asked for what only the composite that owns its rows can do."""


class DegenerateRowsError(SkunlearnError, NotFittedError):
    """The rows that are left do not determine a model: it keeps them, and answers again after ``partial_fit``."""


class CertificateError(DegenerateRowsError):
    """What the rows determine cannot be proved in float64, so nothing is published; they come and go all the same."""


class ReleaseBudgetError(SkunlearnError, RuntimeError):
    """All releases that the guarantee was to hold for are spent, and ``on_budget="raise"``: nothing more is published.

    Rows come and go all the same.
    """


class UnknownCategoryError(SkunlearnError, IndexError, ValueError):
    """Rows to predict hold categories that the model does not know."""


class DamagedStateError(SkunlearnError, ValueError):
    """A saved model is damaged, or was written by a newer version."""


class ForeignModelError(SkunlearnError, TypeError):
    """`skunlearn.forget` was given a model that cannot forget."""


class ForeignStepError(SkunlearnError, TypeError):
    """A composite was given a step that cannot forget."""


class SkunlearnWarning(UserWarning):
    """Base of the warnings of this library."""


class ReleaseBudgetWarning(SkunlearnWarning):
    """More versions were published than the guarantee was to hold for; `ledger_` says what it is now."""


class NoiseWarning(SkunlearnWarning):
    """The noise of a certified model is large for the values of some columns, or can be predicted."""


class ClassVanishedWarning(SkunlearnWarning):
    """A class is about to lose its last row and leaves ``classes_``.

    Raised before anything changes. Declare ``classes=`` to keep the column, at probability 0; silence it with
    ``warnings.simplefilter("ignore", ClassVanishedWarning)``.
    """


class ApproximateForgettingWarning(SkunlearnWarning):
    """Rows left a model that forgets without a bound: what it publishes may still depend on them."""


class CategoryVanishedWarning(SkunlearnWarning):
    """A feature is about to lose a category with the last row that bears it; the largest one, if they are numbered.

    Raised before anything changes. Declare ``categories`` or ``min_categories`` to keep it; silence it with
    ``warnings.simplefilter("ignore", CategoryVanishedWarning)``.
    """
