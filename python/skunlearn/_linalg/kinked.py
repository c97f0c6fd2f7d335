"""Searches for minima of an `Objective`, also where its losses have kinks: squared hinges, and Huber's loss.

Between kinks F is quadratic, so the bound of `certificate` has no remainder where no row meets one; where rows do, the
Hessian without them still bounds the distance. docs/certificates.md proves both. Newton's method with the Hessian at
the point, halving steps that do not lower F, finds the minimum; where that Hessian is singular, which it can be for
Huber's loss, a majorant takes its place for a step.
"""

from dataclasses import dataclass

import numpy as np

from skunlearn._linalg.certificate import Bound, bound_distance
from skunlearn._linalg.likelihood import Likelihood
from skunlearn._linalg.objective import Objective
from skunlearn._linalg.optimum import Anchor, NoMinimumError, Search

__all__ = ["KinkedSearch", "LossSearch", "search_for"]

_U = 2.0**-53
_SLACK = 1.0 + 2.0**-20
#: Movements of scores below which a proof is tried, and below which Newton's next step is the last but for kinks.
_MOST_MOVEMENT, _LAST_MOVEMENT = 2.0**-8, 2.0**-12
#: Rows nearer to a kink than this have no say in the least Hessian; half a step of the lattice is as much.
_NEAR_A_KINK = 2.0**-21
#: What a step has to lower Newton's decrement by, for an anchor from elsewhere to be kept.
_CONTRACTION = 0.3
#: An error of a Hessian of which nothing is to be proved.
_HUGE = 2.0**900
#: Passes that may leave the loss where it is: some halve a step, some only prove.
_MOST_IDLE = 25
#: Half the square of Newton's decrement is what a step lowers F by; below this share of F, rounding hides it.
_HIDDEN = 1e-10


@dataclass(slots=True, eq=False)
class LossSearch(Search):
    """Newton's method under a certificate, for any scale of losses and weights.

    Parameters
    ----------
    least_loss : float
        The least that a pass has found.
    n_idle : int
        Passes since then.
    """

    least_loss: float = np.inf
    n_idle: int = 0

    def _pass(self, v: np.ndarray, anchor: Anchor | None) -> tuple[np.ndarray, np.ndarray, float]:
        """Pass over the rows; give up where the loss has long ceased to fall, and there is no proof."""
        gradient, errors, loss = Search._pass(self, v, anchor)
        is_less = loss < self.least_loss - 1e-14 * abs(loss)
        self.least_loss, self.n_idle = (loss, 0) if is_less else (self.least_loss, self.n_idle + 1)
        if self.n_idle > _MOST_IDLE:
            raise NoMinimumError
        return gradient, errors, loss

    def _is_far(self, bound: Bound, loss: float) -> bool:
        return bound.decrement**2 > _HIDDEN * abs(loss)


@dataclass(slots=True, eq=False)
class KinkedSearch(LossSearch):
    """Newton's method under a certificate, for losses with kinks."""

    def _bound(
        self,
        v: np.ndarray,
        anchor: Anchor | None,
        gradient: np.ndarray,
        errors: np.ndarray,
        before: float,
        most_drift: float,
    ) -> tuple[Anchor, Bound]:
        """Bound the distance by the anchor there is, or by one at v; without a proof, say where to go."""
        if anchor is not None and self._factorise(anchor) is not None:
            bound = self._bound_by(anchor, v, gradient, errors)
            movement = self._movement(anchor, bound)
            if np.isfinite(bound.radii).all() or (
                bound.decrement < _CONTRACTION * before and movement > _LAST_MOVEMENT
            ):
                return anchor, bound
        anchor = self._anchor_at(v)
        factor = self._factorise(anchor)
        if factor is not None and factor.doubt < 1.0:
            bound = self._bound_by(anchor, v, gradient, errors)
            if not np.isfinite(bound.radii).all() and self._movement(anchor, bound) < _NEAR_A_KINK:
                bound = self._bound_by_least(v, gradient, errors, bound)
            return anchor, bound
        anchor = Anchor(v.copy(), self._objective.n_rows, *self._majorant(v))
        if self._factorise(anchor) is None:
            raise NoMinimumError
        return anchor, self._bound_by(anchor, v, gradient, errors)

    def _majorant(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return a matrix to step by, and errors by which it proves nothing."""
        used = self._objective.used
        matrix = self._objective.majorant(v)[np.ix_(used, used)]
        return matrix, np.full(len(matrix), _HUGE)

    @property
    def _objective(self) -> Objective:
        assert isinstance(self.likelihood, Objective)
        return self.likelihood

    def _bound_by(self, anchor: Anchor, v: np.ndarray, gradient: np.ndarray, errors: np.ndarray) -> Bound:
        """Bound the distance where F is quadratic: no row meets a kink from v to the anchor, nor as far as the minimum
        may be.
        """
        factor = anchor.factor
        assert factor is not None
        bound = bound_distance(factor, gradient, errors, np.exp(-self.drift), np.exp(self.drift), bend=0.0)
        movement = self._movement(anchor, bound)
        if np.isfinite(bound.radii).all() and movement < _MOST_MOVEMENT:
            to_anchor = float(np.abs(v - anchor.v).sum()) * _SLACK + self._doubt_of_scores(anchor.v)
            if max(movement, to_anchor) + self._doubt_of_scores(v) < self._objective.clearance(v):
                return bound
        nothing = np.full(len(gradient), np.inf)
        return Bound(bound.step, nothing, bound.from_errors, bound.decrement, bound.noise)

    def _bound_by_least(self, v: np.ndarray, gradient: np.ndarray, errors: np.ndarray, near: Bound) -> Bound:
        """Bound the distance from v itself where kinks are near, by the least Hessian that there can be."""
        used = self._objective.used
        hessian = self._objective.least_hessian(v, _NEAR_A_KINK)[np.ix_(used, used)]
        relative_error = self._objective.relative_error_of_curvature(self._objective.n_rows, v)
        least = Anchor(v, self._objective.n_rows, hessian, relative_error * hessian.diagonal())
        factor = self._factorise(least)
        if factor is None:
            return near
        bound = bound_distance(factor, gradient, errors, 1.0, 1.0, bend=0.0)
        movement = self._movement(least, bound) + self._doubt_of_scores(v)
        if not (np.isfinite(bound.radii).all() and movement < _NEAR_A_KINK):
            return near
        root = np.sqrt(1 - factor.doubt)
        radii = (factor.roots * bound.decrement / root + np.abs(near.step)) * _SLACK
        from_errors = factor.roots * bound.noise / root**2 * _SLACK
        return Bound(near.step, radii, from_errors, near.decrement, near.noise)

    def _movement(self, anchor: Anchor, bound: Bound) -> float:
        """Bound how far scores move on the way to the minimum: h D."""
        assert anchor.factor is not None
        doubt = anchor.factor.doubt
        if not doubt < 1:
            return np.inf
        return float(anchor.factor.leverage / np.sqrt(np.exp(-self.drift) * (1 - doubt)) * bound.decrement * _SLACK)

    def _doubt_of_scores(self, v: np.ndarray) -> float:
        """Bound how far from a kink a row can be that is taken to be on its other side, and low parts of points."""
        size, width = float(np.abs(v).sum()), self._objective.shape[1]
        threshold = self._objective.loss.parameter
        return (width // 8 + 24) * 2 * _U * (size + threshold + 1.0)


def search_for(likelihood: Likelihood, drift: float = 0.0) -> Search:
    """Return the search that goes with the losses of an objective."""
    if not isinstance(likelihood, Objective):
        return Search(likelihood, drift)
    return (KinkedSearch if likelihood.loss.is_kinked else LossSearch)(likelihood, drift)
