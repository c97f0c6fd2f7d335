"""Losses of one score, and the constants that proofs need of them.

A `Loss` is l(z, y), convex in the score z. What is proved of a minimum rests on how fast its curvature changes:
|l'''| <= bend l'', or constant between kinks. `_losses` computes slopes and curvatures and bounds their errors.
"""

import math
from dataclasses import dataclass

import numpy as np

from skunlearn._linalg import _losses as kernels

__all__ = ["GAMMA", "LOGISTIC", "POISSON", "SQUARED", "SQUARED_HINGE", "Loss", "huber", "tweedie"]


@dataclass(frozen=True, slots=True)
class Loss:
    """A convex loss of a score.

    Parameters
    ----------
    name : str
        As in `_losses`, where its formula is.
    bend : float
        |l'''| <= bend l'': between two scores the curvature changes by at most exp of bend times their difference.
    third : float
        At least |l'''|; infinite where it has no bound.
    parameter : float
        The power of a Tweedie deviance, the threshold of Huber's loss.
    is_kinked : bool
        Whether l'' jumps, from 0 to a constant; there is no l''' then, and `bend` is 0 where there is no jump.
    """

    name: str
    bend: float
    third: float
    parameter: float = 0.0
    is_kinked: bool = False

    @property
    def code(self) -> int:
        """Return what the kernels call it."""
        return kernels.CODES[self.name]


#: Of z = x'v alone: labels are in other kernels.
LOGISTIC = Loss("logistic", bend=1.0, third=1 / (6 * math.sqrt(3)))
POISSON = Loss("poisson", bend=1.0, third=np.inf)
GAMMA = Loss("gamma", bend=1.0, third=np.inf)
SQUARED = Loss("squared", bend=0.0, third=0.0)
SQUARED_HINGE = Loss("squared_hinge", bend=0.0, third=np.inf, is_kinked=True)


def tweedie(power: float) -> Loss:
    """Return half the deviance of a Tweedie distribution under a log link, but for what does not depend on the score.

    Parameters
    ----------
    power : float
        From 1, Poisson, to 2, Gamma: beyond, the loss is not convex in the score.
    """
    if power == 1:
        return POISSON
    if power == 2:
        return GAMMA
    return Loss("tweedie", bend=max(power - 1, 2 - power), third=np.inf, parameter=power)


def huber(threshold: float) -> Loss:
    """Return Huber's loss: half the square up to `threshold`, a line beyond."""
    return Loss("huber", bend=0.0, third=np.inf, parameter=threshold, is_kinked=True)
