"""The minimum of a convex objective, rounded to a lattice: a function of the rows, whatever computed it.

Newton's method runs until the certified box around the minimum crosses no boundary between two points of the lattice.
Where the rounding of the gradient is what hinders that, a pass in double-doubles measures it again.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from skunlearn._linalg.certificate import MOST_DOUBT, Bound, Factor, bound_distance, factorise, update_factor
from skunlearn._linalg.likelihood import Likelihood

__all__ = ["LATTICE_LOG2", "Anchor", "NoMinimumError", "Search", "round_to_lattice"]

#: The step of the lattice in scaled coordinates is 2**LATTICE_LOG2.
LATTICE_LOG2 = -20
_U = 2.0**-53
_MOST_STEPS, _MOST_PRECISE_STEPS = 200, 20
#: Scaled coefficients beyond this have too few digits left for the lattice.
_LARGEST = 2.0**30
#: Newton's decrement below which full steps are taken, and by how much each then has to lower it.
_NEAR, _CONTRACTION = 0.1, 0.3
#: Change of scores since the anchor beyond which its Hessian is computed anew: a search that is given one may do with a
#: few passes more, one that starts without leaves one that the next searches will want near.
_MOST_DRIFT, _MOST_DRIFT_AT_FIRST = 0.3, 0.02


class NoMinimumError(ValueError):
    """The objective has no minimum, or none that can be proved to be one in this arithmetic."""


@dataclass(slots=True, eq=False)
class Anchor:
    """A Hessian, and where and when it was computed.

    Parameters
    ----------
    v : ndarray of shape (k, d + 1)
        The point.
    n_rows : int
        Rows that were live then.
    hessian : ndarray of shape (n, n)
        At that point, of the rows that are live now: rows that come and go are added and subtracted.
    errors : ndarray of shape (n,)
        E: no entry j, k is off by more than sqrt(E_j E_k). Of a sum over rows, E is the sum of the E of its parts, by
        Cauchy and Schwarz.
    factor : Factor or None
        Of it; None after a change.
    """

    v: np.ndarray
    n_rows: int
    hessian: np.ndarray
    errors: np.ndarray
    factor: Factor | None = None

    def change(
        self,
        curvature: np.ndarray,
        relative_error: float,
        sign: int,
        row: tuple[np.ndarray, float] | None = None,
    ) -> None:
        """Add what rows add to the Hessian, or take it away.

        Parameters
        ----------
        curvature : ndarray of shape (n, n)
            Of all of the rows.
        relative_error : float
            No entry j, k of it is off by more than this times the root of the product of its entries j, j and k, k.
        sign : {1, -1}
            Whether they come or go.
        row : tuple of (ndarray of shape (n,), float), default=None
            x and a, where curvature is a x x': the factor is then kept.
        """
        before = self.hessian.diagonal()
        self.hessian = self.hessian + sign * curvature
        of_sum = 2 * _U * np.maximum(np.abs(before), np.abs(self.hessian.diagonal()))
        self.errors = self.errors + relative_error * curvature.diagonal() + of_sum
        if self.factor is not None:
            factor, self.factor = self.factor, None
            if row is not None:
                self.factor = update_factor(factor, self.hessian, self.errors, *row, relative_error, sign)

    def move_penalty(self, change: np.ndarray) -> None:
        """Add to the diagonal what penalties have changed by, rounded once."""
        before = self.hessian.diagonal().copy()
        self.hessian = self.hessian + np.diag(change)
        largest = np.maximum(np.abs(before), np.abs(self.hessian.diagonal()))
        self.errors = self.errors + 2 * _U * (largest + np.abs(change))
        self.factor = None


@dataclass(slots=True, eq=False)
class Search:
    """Newton's method under a certificate.

    Parameters
    ----------
    likelihood : Likelihood
        The objective.
    drift : float
        At least |log| of the ratio of any row's weight now and in the anchor.
    """

    likelihood: Likelihood
    drift: float = 0.0
    n_passes: int = 0
    n_tight_passes: int = 0
    n_precise_passes: int = 0
    n_factors: int = 0
    gradient: np.ndarray | None = None
    _change: tuple[np.ndarray, np.ndarray, float] | None = None
    _is_tight: bool = False

    @property
    def level(self) -> str:
        """The most accurate kind of pass that was made."""
        return "double_doubles" if self.n_precise_passes else "tight_passes" if self.n_tight_passes else "passes"

    def start(self, v: np.ndarray, anchor: Anchor | None, gradient: np.ndarray | None) -> np.ndarray:
        """Return the point one step from v, where the gradient is about `gradient`, or v if the step is not short."""
        if anchor is None or gradient is None:
            return v
        factor = self._factorise(anchor)
        if factor is None or not factor.doubt < MOST_DOUBT:
            return v
        used = self.likelihood.used
        step, _ = factor.step(gradient.ravel()[used])
        is_near = float(gradient.ravel()[used] @ step) < _NEAR**2
        return _spread(-step, v, used) if is_near else v

    def locate(self, v: np.ndarray, anchor: Anchor | None) -> tuple[np.ndarray, np.ndarray, Anchor]:
        """Return the point of the lattice next to the minimum, a point near the minimum, and the anchor in use.

        Parameters
        ----------
        v : ndarray of shape (k, d + 1)
            Where to start.
        anchor : Anchor or None
            What is known from earlier.
        """
        used = self.likelihood.used
        most_drift = _MOST_DRIFT_AT_FIRST if anchor is None else _MOST_DRIFT
        before, step_share, last = np.inf, 1.0, None
        for _ in range(_MOST_STEPS):
            gradient, errors, loss = self._pass(v, anchor)
            if last is not None and not loss <= last[1] + 1e-12 * abs(last[1]) and step_share > 2.0**-40:
                step_share /= 2
                v = last[0] - step_share * last[2]
                continue
            if not np.isfinite(gradient).all() or self.likelihood.is_separated(loss):
                break
            anchor, bound = self._bound(v, anchor, gradient.ravel()[used], errors.ravel()[used], before, most_drift)
            ready = round_to_lattice(_spread(-bound.step, v, used), _spread(bound.radii, 0 * v, used))
            if ready is not None:
                return ready, v, anchor
            step = _spread(bound.step, 0 * v, used)
            if self._only_errors_hinder(bound, before):
                if self._is_tight or not self.likelihood.has_tight_pass:
                    return self._locate_precisely(v, anchor)
                self._is_tight, v, before, last = True, v - step, np.inf, None
                continue
            last = (v, loss, step) if self._is_far(bound, loss) else None
            v, before, step_share = v - step, bound.decrement, 1.0
            if not np.abs(v).max() < _LARGEST:
                break
        raise NoMinimumError

    def _locate_precisely(self, v: np.ndarray, anchor: Anchor) -> tuple[np.ndarray, np.ndarray, Anchor]:
        """Do the same with gradients in double-doubles and rational points."""
        used = self.likelihood.used
        centre = np.array([Fraction(x) for x in v.ravel().tolist()], dtype=object)
        for _ in range(_MOST_PRECISE_STEPS):
            self.n_precise_passes += 1
            high = centre.astype(np.float64)
            low = np.array([float(x - Fraction(h)) for x, h in zip(centre, high.tolist(), strict=True)])
            centre = np.array(
                [Fraction(h) + Fraction(rest) for h, rest in zip(high.tolist(), low.tolist(), strict=True)]
            )
            gradient, errors = self.likelihood.precise_gradient(high.reshape(v.shape), low.reshape(v.shape))
            self.gradient = gradient.astype(np.float64)
            rounded = self.gradient.ravel()[used]
            errors = errors.ravel()[used] + 2 * _U * np.abs(rounded)
            anchor, bound = self._bound(high.reshape(v.shape), anchor, rounded, errors, np.inf, _MOST_DRIFT)
            centre[used] -= np.array([Fraction(x) for x in bound.step.tolist()], dtype=object)
            radii = np.zeros(v.size)
            radii[used] = bound.radii
            ready = _round_precisely(centre, radii)
            if ready is not None:
                return ready.reshape(v.shape), high.reshape(v.shape), anchor
        raise NoMinimumError

    def _pass(self, v: np.ndarray, anchor: Anchor | None) -> tuple[np.ndarray, np.ndarray, float]:
        self.n_passes += not self._is_tight
        self.n_tight_passes += self._is_tight
        since = v if anchor is None else anchor.v
        gradient, errors, loss, change = self.likelihood.gradient_and_change(v, since, tight=self._is_tight)
        self.gradient, self._change = gradient, (v, since, change)
        return gradient, errors, loss

    def _is_far(self, bound: Bound, loss: float) -> bool:
        """Whether a full step may be too long, so that the loss is to say."""
        return bound.decrement > _NEAR

    @staticmethod
    def _only_errors_hinder(bound: Bound, before: float) -> bool:
        """Whether a more accurate gradient is what is missing, rather than one more step."""
        is_stalled = before < _NEAR and bound.decrement > before / 2 and bound.noise > bound.decrement / 8
        is_wide = bound.radii < 1.5 * bound.from_errors + 2.0**-60
        return bool(np.isfinite(bound.radii).all() and (is_stalled or is_wide.all()))

    def _bound(
        self,
        v: np.ndarray,
        anchor: Anchor | None,
        gradient: np.ndarray,
        errors: np.ndarray,
        before: float,
        most_drift: float,
    ) -> tuple[Anchor, Bound]:
        """Bound the distance by the anchor there is, or where that says too little by one at v."""
        if anchor is not None and self._drift(v, anchor) < most_drift and self._factorise(anchor) is not None:
            bound = self._bound_by(anchor, v, gradient, errors)
            if bound.decrement < _CONTRACTION * before or bound.noise > bound.decrement / 2:
                return anchor, bound
        anchor = self._anchor_at(v)
        if self._factorise(anchor) is None:
            raise NoMinimumError
        return anchor, self._bound_by(anchor, v, gradient, errors)

    def _bound_by(self, anchor: Anchor, v: np.ndarray, gradient: np.ndarray, errors: np.ndarray) -> Bound:
        assert anchor.factor is not None
        drift = self._drift(v, anchor)
        return bound_distance(anchor.factor, gradient, errors, np.exp(-drift), np.exp(drift), self.likelihood.bend)

    def _drift(self, v: np.ndarray, anchor: Anchor) -> float:
        """Bound |log| of the ratio of the curvatures of a row here and in the anchor."""
        # The last term is for a v that stands for itself and a low part of at most half an ulp.
        change = _score_change(v - anchor.v)
        if self._change is not None and self._change[1] is anchor.v:  # what a pass measured, and the way from there
            change = min(change, self._change[2] + _score_change(v - self._change[0]))
        return self.drift + self.likelihood.bend * (change + 2.0**-50 * float(np.abs(v).sum()))

    def _anchor_at(self, v: np.ndarray) -> Anchor:
        self.n_factors += 1
        self.drift = 0.0
        used = self.likelihood.used
        hessian = self.likelihood.hessian(v)[np.ix_(used, used)]
        relative_error = self.likelihood.relative_error_of_curvature(self.likelihood.n_rows, v)
        return Anchor(v.copy(), self.likelihood.n_rows, hessian, relative_error * hessian.diagonal())

    @staticmethod
    def _factorise(anchor: Anchor) -> Factor | None:
        if anchor.factor is None:
            anchor.factor = factorise(anchor.hessian, anchor.errors)
        return anchor.factor


def _score_change(change: np.ndarray) -> float:
    """Bound how far the scores of a row, relative to one another, change with v: |x_j| <= 1."""
    per_class = np.abs(change).sum(axis=1).max()
    return float(per_class if len(change) == 1 else 2 * per_class) * (1 + 2.0**-40)


def _spread(values: np.ndarray, onto: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Return a copy of `onto` with `values` added to the entries in use."""
    out = onto.copy()
    out.ravel()[used] += values
    return out


def round_to_lattice(centre: np.ndarray, radii: Any) -> np.ndarray | None:
    """Return the lattice point, in integers, nearest to all within `radii` of `centre`; None if there is not one."""
    if not (np.isfinite(radii).all() and np.isfinite(centre).all() and np.abs(centre).max(initial=0.0) < _LARGEST):
        return None
    cells = np.ldexp(centre, -LATTICE_LOG2)
    nearest = np.rint(cells)
    # Entries of `centre` are rounded sums: half an ulp each.
    widths = np.ldexp(radii + np.abs(centre) * 2.0**-52, -LATTICE_LOG2)
    return nearest.astype(np.int64) if (np.abs(cells - nearest) + widths < 0.5).all() else None


def _round_precisely(centre: np.ndarray, radii: np.ndarray) -> np.ndarray | None:
    """As `round_to_lattice`, of rational numbers."""
    cells = [x * 2**-LATTICE_LOG2 for x in centre]
    nearest = [round(cell) for cell in cells]
    for cell, integer, radius in zip(cells, nearest, radii.tolist(), strict=True):
        if not np.isfinite(radius) or abs(cell - integer) + Fraction(radius) * 2**-LATTICE_LOG2 >= Fraction(1, 2):
            return None
    return np.array(nearest, dtype=np.int64)
