"""What a model promises about the rows it forgot, as an object that code and audits can read."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Guarantee", "Kind", "weakest"]

Kind = Literal["exact", "certified", "refit", "approximate", "none"]

_STRENGTH: tuple[Kind, ...] = ("exact", "certified", "refit", "approximate", "none")


@dataclass(frozen=True, slots=True)
class Guarantee:
    """The promise that a model makes about the rows it forgot.

    Parameters
    ----------
    kind : {"exact", "certified", "refit", "approximate", "none"}
        From strongest to weakest: equal bit for bit to a refit with the same key on the rows that are left; within a
        proved distance of it and hidden by noise; trained anew, but not reproducibly; close, without a bound; nothing.
    basis : str
        What the promise rests on, in words.
    epsilon, delta : float or None
        The (epsilon, delta) of a certified model.
    max_distance : float or None
        The proved distance to the refit of a certified model.
    n_releases : int or None
        How many releases `epsilon` and `delta` hold for, jointly.
    not_covered : tuple of str
        What was made with the rows and is outside the promise.
    """

    kind: Kind
    basis: str
    epsilon: float | None = None
    delta: float | None = None
    max_distance: float | None = None
    n_releases: int | None = None
    not_covered: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in _STRENGTH:
            raise ValueError(f"kind must be one of {_STRENGTH}. Got {self.kind!r} instead.")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict of plain values, ready for JSON."""
        return {**asdict(self), "not_covered": list(self.not_covered)}


def weakest(kinds: list[Kind]) -> Kind:
    """Return the weakest of `kinds`: a chain promises no more than its weakest link."""
    return max(kinds, key=_STRENGTH.index)
