"""Statistics on a lattice that few deletions leave: where to publish a location and a scale, given by the key.

With phases u1, u2 in [0, 1) for each column, scale = 2^((k + u2) / 4) with k = rint(4 log2(s) - u2) for the true scale
s, and location = (rint(m / step - u1) + u1) step with step = scale / 2 for the true location m. Nothing is damped: a
published value is a function of the true one and the key.
"""

import numpy as np
from _unlearn_native._native import exp2, log2, prf

from skunlearn.key import Key

__all__ = ["on_lattice"]

#: Octaves between two scales of the lattice, and scales between two locations.
_SCALE_STEP = 0.25
_LOCATION_STEP = 0.5
_LARGEST = float(np.finfo(np.float64).max)


def on_lattice(
    location: np.ndarray, scale: np.ndarray, constant: np.ndarray, key: Key, purposes: tuple[str, str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return locations and scales of columns on the lattice of a key.

    Parameters
    ----------
    location, scale : ndarray of shape (n_features,)
        The true ones; NaN stays NaN.
    constant : ndarray of shape (n_features,), bool
        Columns without a scale: theirs becomes a number near 1, and their location stays as it is.
    key : Key
        Places the lattice.
    purposes : tuple of two str
        What the phases of location and scale are derived for.
    """
    of_location, of_scale = (_phases(key, purpose, len(location)) for purpose in purposes)
    scale = np.where(constant, 1.0, scale)
    steps = np.rint(log2(scale) / _SCALE_STEP - of_scale)
    scale = np.minimum(exp2((steps + of_scale) * _SCALE_STEP), _LARGEST)
    step = scale * _LOCATION_STEP
    stays = constant | (step == 0)  # half of the smallest number is none
    step = np.where(stays, 1.0, step)
    with np.errstate(over="ignore"):
        snapped = (np.rint(location / step - of_location) + of_location) * step
        return np.where(stays, location, snapped), scale


def _phases(key: Key, purpose: str, n: int) -> np.ndarray:
    """Return a number in [0, 1) for each column, a function of the key alone."""
    words = b"".join(prf(key._secret, purpose, column.to_bytes(8, "little"))[:8] for column in range(n))
    return (np.frombuffer(words, dtype="<u8") >> np.uint64(11)).astype(np.float64) * 2.0**-53
