"""The key: the secret 256 bits from which all randomness of a model is derived."""

import hmac
import numbers
import secrets
from typing import Any

import numpy as np
from _unlearn_native._native import prf

__all__ = ["Key", "key_from_random_state"]

_KEY_BYTES = 32


class Key:
    """A secret and repeatable source of a model's randomness, to be passed as ``random_state``.

    An integer ``random_state`` is public: somebody who knows it and may choose sample ids can steer what is sampled.
    A `Key` repeats results just as an integer does, and stays secret: it is in no repr, digest, error or release.
    Pickles and copies of a model keep its key.

    Parameters
    ----------
    secret : bytes of length 32
        For instance ``secrets.token_bytes(32)``.

    Raises
    ------
    TypeError
        If `secret` is not bytes.
    ValueError
        If it has not 32 bytes.

    Examples
    --------
    >>> from skunlearn import Key
    >>> Key(bytes(range(32)))
    Key(...)
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if not isinstance(secret, bytes):
            raise TypeError(f"A Key takes {_KEY_BYTES} bytes. Got {type(secret).__name__} instead.")
        if len(secret) != _KEY_BYTES:
            raise ValueError(f"A Key takes {_KEY_BYTES} bytes. Got {len(secret)} instead.")
        self._secret = secret

    @classmethod
    def draw(cls) -> "Key":
        """Draw a key from the operating system."""
        return cls(secrets.token_bytes(_KEY_BYTES))

    def derive(self, purpose: str, position: int = 0) -> "Key":
        """Return the key of one part of a structure, for instance of step `position` of a pipeline."""
        return Key(prf(self._secret, purpose, position.to_bytes(8, "little")))

    def __repr__(self) -> str:
        return "Key(...)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and hmac.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        return hash((Key, self._secret))

    def __reduce__(self) -> tuple[type["Key"], tuple[bytes]]:
        return Key, (self._secret,)


def key_from_random_state(random_state: Any) -> Key:
    """Return the key that a ``random_state`` stands for.

    Parameters
    ----------
    random_state : int, RandomState instance, Key or None
        None draws a key from the operating system; an int is hashed to one, which is then public; a RandomState gives
        32 of its bytes.

    Raises
    ------
    TypeError
        If it is none of these.
    """
    if random_state is None:
        return Key.draw()
    if isinstance(random_state, Key):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return Key(random_state.bytes(_KEY_BYTES))
    if isinstance(random_state, numbers.Integral):
        return Key(prf(bytes(_KEY_BYTES), "random_state", str(int(random_state)).encode()))
    raise TypeError(
        "random_state must be None, an int, a numpy.random.RandomState or a skunlearn.Key. "
        f"Got {type(random_state).__name__} instead."
    )
