"""Certified removal: a point whose distance from the minimum is proved, mostly without a look at the rows.

F(v) = sum_i s_i l_i(x_i'v) + v'Pv / 2 in scaled coordinates, |x_ij| <= 1; docs/certificates.md proves what follows. An
*anchor* is a point v_a with a symmetric matrix B, any, of which lo B^-1 <= H <= hi B^-1 is known for the Hessian H at
v_a on the live rows, A = H^-1. Distances are measured in *units*: |z| = |Tz|_2 with T diagonal. Three tiers:

* Tier 0 looks at no row. H, the gradient g, K1 = sum kappa_i |x_i|_B x_i x_i' and K2 = sum kappa_i |T B x_i| x_i x_i',
  all at v_a, are kept up to date as rows come and go, and so are lo and hi: x x' <= (x'Bx) B^-1. The point is v_a + q
  with q = -B g, refined, and its distance follows from what the gradient there can be at most (`_removal.bound`).
* Tier 1 is one pass over the rows. It measures the gradient at v, with the error of every entry, and proves how far v,
  and v after one more step, are from the minimum.
* Tier 2 computes H and B anew, after a search for the minimum under line search.

What LAPACK, BLAS or an optimiser made of B, q and v enters nowhere but as the numbers that were measured.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.linalg.lapack import dpotrf

from skunlearn._linalg import _removal as kernels
from skunlearn._linalg.certificate import Factor, factorise
from skunlearn._linalg.likelihood import LabelledRows, Likelihood, wipe
from skunlearn._linalg.optimum import NoMinimumError
from skunlearn.rows import CsrRows

__all__ = ["Descent", "RemovalAnchor", "Settled", "largest_eigenvalue"]

_U = 2.0**-53
_SLACK = 1.0 + 2.0**-20
#: Half of the largest |l'''| of the logistic loss, 1 / (6 sqrt 3), rounded up; and b, with |l'''| <= b l''.
HALF_THIRD, CHANGE_OF_CURVATURE = 0.0481126, 1.0
_MOST_STEPS, _MOST_PRECISE_STEPS = 200, 6
#: Scaled coefficients beyond this are refused.
_LARGEST = 2.0**30
#: Newton's decrement below which full steps are taken, and by how much each then has to lower it.
_NEAR, _CONTRACTION = 0.1, 0.1
#: lo below which it is measured anew, rather than bounded by what went, and by how much it must have fallen.
_LOW, _FALL = 0.75, 0.1
#: Errors of curvatures, relative, beyond which nothing is said without a pass.
_MOST_RELATIVE = 2.0**-22
_BLOCK_ROWS = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What one pass proves.

    Parameters
    ----------
    step : ndarray of shape (n,)
        Newton's, by the anchor: the next point is v - step.
    here, stepped : float
        At least the distances of v and of v - step from the minimum, in units.
    decrement, noise : float
        At least the norm of the gradient in the metric of the inverse Hessian, and the part that its errors may add.
    """

    step: np.ndarray
    here: float
    stepped: float
    decrement: float
    noise: float


@dataclass(slots=True, eq=False)
class RemovalAnchor:
    """A point, a matrix that is about the inverse of the Hessian there, and what is known of both on the live rows.

    Parameters
    ----------
    v : ndarray of shape (k, d + 1)
        The point.
    used : ndarray of bool
        Which entries of v are free to move; all other vectors hold those alone.
    units : ndarray of shape (n,)
        Diagonal of T.
    factor : Factor
        B, measured on the rows that were live then.
    state : ndarray of shape (4,)
        lo, hi, at least |x|_B of every live row (with several classes, of x here and -x there), the number of changes.
    sums, vectors : ndarray or None
        As `_removal` wants them; None where every read takes a pass. Of one group of rows that has the penalties in it,
        or of one a class, and a last one for the penalties.
    relative : float
        Relative error of a curvature.
    peak_weights : ndarray
        Weight of the rows of each group, at most.
    n_rows, n_passes : int
        Rows that were live then; passes that were taken since.
    """

    v: np.ndarray
    used: np.ndarray
    units: np.ndarray
    factor: Factor
    state: np.ndarray
    n_rows: int
    sums: np.ndarray | None = None
    vectors: np.ndarray | None = None
    relative: float = 0.0
    peak_weights: np.ndarray = field(default_factory=lambda: np.zeros(1))
    n_passes: int = 0
    n_changed: int = 0
    last_measured: float = 1.0
    _largest: float | None = None
    _point: np.ndarray | None = None
    _scale: np.ndarray | None = None
    _rounding: float = 0.0

    @property
    def largest(self) -> float:
        """At least the largest eigenvalue of T B T."""
        if self._largest is None:
            self._largest = largest_eigenvalue(self.factor, self.units)
        return self._largest

    # --- made --------------------------------------------------------------------------------------------------------

    @classmethod
    def at(cls, likelihood: Likelihood, v: np.ndarray, units: np.ndarray) -> "RemovalAnchor | None":
        """Return an anchor for passes near v; None where B cannot be proved to be near the inverse."""
        used = likelihood.used
        hessian = likelihood.hessian(v)[np.ix_(used, used)]
        relative = likelihood.relative_error_of_curvature(likelihood.n_rows, v)
        factor = factorise(hessian, relative * hessian.diagonal())
        if factor is None or not factor.doubt < 0.5:
            return None
        state = np.array([1 - factor.doubt, 1 + factor.doubt, factor.leverage, 0.0])
        if likelihood.shape[0] > 1:  # scores of classes relative to one another: x here and -x there
            state[2] *= 2
        anchor = cls(v.copy(), used, units, factor, state, likelihood.n_rows)
        anchor.last_measured = state[0]
        return anchor

    @classmethod
    def with_sums(
        cls, likelihood: Likelihood, v: np.ndarray, units: np.ndarray, n_groups: int
    ) -> "RemovalAnchor | None":
        """Return an anchor that can do without passes, of two classes, in groups of rows by their labels."""
        anchor = cls.at(likelihood, v, units)
        if anchor is None or likelihood.shape[0] > 1:
            return anchor
        p, used = int(anchor.used.sum()), anchor.used
        point = v.ravel()[used]
        relative = float(np.expm1(4 * (p + 12) * np.abs(point).sum() * _U)) * 1.01 + 80 * _U
        if not relative < _MOST_RELATIVE:
            return anchor
        sums = np.zeros((n_groups + (n_groups > 1), kernels.N_MATRICES, p, p))
        vectors = np.zeros((len(sums), kernels.N_VECTORS, p))
        anchor.peak_weights = np.zeros(len(sums))
        anchor.relative, leverage = relative, 0.0
        of_units = float(np.linalg.norm(units * anchor.factor.roots)) * _SLACK
        for rows in likelihood.blocks():
            for values, labels, weight in _scaled_rows(likelihood, rows, used):
                _, _, a, kappa = _contributions(values, labels, weight, point)
                rights = values @ anchor.factor.inverse
                sizes = np.abs(values)
                reach = sizes @ anchor.factor.roots
                wipe(sizes)
                norms = np.einsum("ij,ij->i", values, rights) + (2 * p + 4) * _U * reach**2
                norms = np.sqrt(np.maximum(norms, 0.0)) * _SLACK
                toward = np.linalg.norm(rights * units, axis=1) * _SLACK + (p + 2) * _U * reach * of_units
                leverage = max(leverage, float(norms.max()))
                for group in range(n_groups):
                    chosen = labels == group if n_groups > 1 else slice(None)
                    some = values[chosen]
                    for number, factors in enumerate((a, kappa * norms * _SLACK, kappa * toward * _SLACK)):
                        weighted = some * factors[chosen, None]
                        sums[group, number] += some.T @ weighted
                        wipe(weighted)
                    anchor.peak_weights[group] += weight[chosen].sum() * _SLACK
                    if n_groups > 1:
                        wipe(some)
                wipe(values)
                wipe(rights)
        for group in range(n_groups):
            vectors[group, 0], vectors[group, 1] = _gradient_of_rows(likelihood, v, group if n_groups > 1 else None)
        diagonals = np.einsum("gmjj->gmj", sums)
        vectors[:, 2] = (relative + (likelihood.n_rows + 60) * _U) * diagonals[:, 0]
        vectors[:, 3:] = diagonals[:, 1:] * _SLACK
        penalty = np.broadcast_to(likelihood.penalty, likelihood.shape).ravel()[used]
        diagonals_of_last = np.einsum("jj->j", sums[-1, 0])
        diagonals_of_last += penalty
        vectors[-1, 0] += penalty * point
        vectors[-1, 1] += 4 * _U * np.abs(penalty * point) + 2 * _U * np.abs(vectors[-1, 0])
        vectors[-1, 2] += 4 * _U * diagonals_of_last
        anchor.state[2] = min(anchor.state[2], leverage)
        anchor.sums, anchor.vectors = sums, vectors
        return anchor

    # --- rows come and go --------------------------------------------------------------------------------------------

    def change(self, likelihood: Likelihood, rows: LabelledRows, sign: int) -> None:
        """Follow rows that come or go."""
        self.n_changed += len(rows.labels)
        if self.sums is None:
            self._change_range(likelihood, rows, sign)
            return
        assert self.vectors is not None
        if self._point is None:
            self._point = self.v.ravel()[self.used]
            self._scale = likelihood.scale if self.used.all() else None
        for values, labels, weight in self._values(likelihood, rows):
            contributions = _contributions(values, labels, weight, self._point)
            groups = labels if len(self.sums) > 1 else np.zeros(len(labels), dtype=np.int32)
            kernels.change(
                values,
                groups,
                contributions,
                self.factor.inverse,
                self.factor.roots,
                self.units,
                self.sums,
                self.vectors,
                self.state,
                np.empty((1, values.shape[1])),
                float(sign),
                self.relative,
            )
            if sign > 0:
                self.peak_weights += np.bincount(groups, weight, minlength=len(self.peak_weights)) * _SLACK
            wipe(values)

    def _values(self, likelihood: Likelihood, rows: LabelledRows) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield scaled rows; a few dense ones without detours."""
        if self._scale is None or isinstance(rows.X, CsrRows) or len(rows.labels) > _BLOCK_ROWS:
            yield from _scaled_rows(likelihood, rows, self.used)
            return
        values = np.empty((len(rows.labels), len(self.units)))
        np.multiply(rows.X, self._scale, out=values[:, :-1])
        values[:, -1] = 1.0
        yield values, rows.labels, rows.weight

    def _change_range(self, likelihood: Likelihood, rows: LabelledRows, sign: int) -> None:
        """Bound what rows do to lo and hi: the curvature of a row of classes is at most diag(shares) in x x'."""
        k = len(self.v)
        for values, shares, weight in likelihood.shares(rows, self.v):
            dense = values.toarray() if sp.issparse(values) else values
            norms = _norms_by_class(dense, self.factor, self.used, k)
            curvatures = shares[:, :1] * shares[:, 1:] if k == 1 else shares
            most = float((weight[:, None] * curvatures * norms).sum()) * _SLACK
            if sign > 0:
                self.state[1] += most
            else:
                self.state[0] -= most

    # --- Tier 0 ------------------------------------------------------------------------------------------------------

    def without_pass(self, ratios: np.ndarray, target: float) -> tuple[float, np.ndarray | None]:
        """Return a proved distance, infinite where nothing is proved, and the point that it is of.

        Parameters
        ----------
        ratios : ndarray of shape (n_groups,)
            Weights of the rows of a group now, by what they are in the anchor.
        target : float
            A distance that is good enough.
        """
        if self.sums is None or self.vectors is None:
            return np.inf, None
        sums, vectors = self._combined(ratios)
        if self.state[0] < _LOW:
            self._measure_range(sums[0], vectors[2], ratios)
        lo, hi = self._range(ratios)
        p = len(self.units)
        q = np.empty(p)
        distance = kernels.bound(
            sums[0],
            sums[1],
            sums[2],
            vectors,
            self.factor.inverse,
            self.factor.roots,
            np.empty((2, p)),
            q,
            lo,
            hi,
            self.state[2],
            self.largest,
            self.state[3] + self.n_rows,
            CHANGE_OF_CURVATURE,
            target,
            False,
        )
        reach = float(self.units @ np.abs(q))
        if not reach < np.inf:
            return np.inf, None
        v = self.v.copy()
        v.ravel()[self.used] += q
        if not self._rounding:
            self._rounding = 3 * _U * (float(self.units @ np.abs(self.v.ravel()[self.used])) + 2.0**-500)
        distance += self._rounding + 3 * _U * reach
        return (distance if distance < 1e300 else np.inf), v

    def _combined(self, ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert self.sums is not None
        assert self.vectors is not None
        if len(self.sums) == 1:
            return self.sums[0], self.vectors[0]
        ratios = np.append(ratios, 1.0)
        sums, vectors = np.tensordot(ratios, self.sums, 1), np.tensordot(ratios, self.vectors, 1)
        # Weights are products, rounded, of which the ratio is that of the factors; and the combination rounds.
        vectors[1] += (8 * _U * ratios @ self.peak_weights) + 8 * _U * (ratios @ np.abs(self.vectors[:, 0]))
        vectors[2] += 16 * _U * np.einsum("jj->j", sums[0])
        vectors[1:] *= _SLACK
        return sums, vectors

    def _range(self, ratios: np.ndarray) -> tuple[float, float]:
        """Return lo and hi of the weights of now."""
        if not len(ratios):
            return self.state[0], self.state[1]
        low, high = min(1.0, float(ratios.min(initial=1.0))), max(1.0, float(ratios.max(initial=1.0)))
        return self.state[0] * low * (2 - _SLACK if low < 1 else 1), self.state[1] * high * (_SLACK if high > 1 else 1)

    def _measure_range(self, hessian: np.ndarray, errors: np.ndarray, ratios: np.ndarray) -> None:
        """Measure lo and hi on B H, where what left would say too little."""
        if self.state[0] > _LOW or self.last_measured - self.state[0] < _FALL or len(ratios):
            return
        whole = np.tril(hessian) + np.tril(hessian, -1).T
        doubt = spectral_doubt(self.factor, whole, errors)
        if doubt < 1 - self.state[0]:
            self.state[0], self.state[1] = 1 - doubt, 1 + doubt
        self.last_measured = self.state[0]

    # --- Tier 1 ------------------------------------------------------------------------------------------------------

    def measure(
        self, v: np.ndarray, gradient: np.ndarray, errors: np.ndarray, ratios: np.ndarray, convexity: float
    ) -> Measured:
        """Bound the distances of v, and of the point after a step, from the minimum.

        Parameters
        ----------
        v : ndarray of shape (k, d + 1)
            The point.
        gradient, errors : ndarray of shape (n,)
            Measured there, and how far each entry may be off.
        ratios : ndarray
            As above.
        convexity : float
            All eigenvalues of T^-1 H T^-1 are at least this, anywhere.
        """
        norm, noise = self.factor.norm(gradient), self.factor.norm_of_errors(errors)
        step, rounding = self.factor.step(gradient)
        lo, hi = self._range(ratios)
        here = float(np.linalg.norm((np.abs(gradient) + errors) / self.units)) * _SLACK
        here = here / convexity * _SLACK if convexity > 0 else np.inf
        moved = np.abs(v - self.v).sum(axis=1).max() * (1.0 if len(v) == 1 else 2.0)
        drift = CHANGE_OF_CURVATURE * float(moved) * _SLACK
        if not (lo > 0 and drift < 30):
            return Measured(step, here, np.inf, norm + noise, noise)
        lo, hi = lo * np.exp(-drift) * (2 - _SLACK), hi * np.exp(drift) * _SLACK
        root = np.sqrt(lo) * (2 - _SLACK)
        nu = (norm + noise) / root * _SLACK
        reach = CHANGE_OF_CURVATURE * self.state[2] / root * _SLACK
        u = reach * nu * _SLACK
        if not u < 0.9:
            return Measured(step, here, np.inf, nu, noise)
        long = np.sqrt(self.largest) * _SLACK
        away = -np.log1p(-u) / reach * _SLACK if reach > 0 else nu
        here = min(here, long / root * away * _SLACK)
        kappa = max(1 / lo - 1, 1 - 1 / hi) * _SLACK
        rest = kappa * (norm + noise) + (1 / (1 - u) - 1) * _SLACK * nu / root
        from_errors = min(
            float(np.linalg.norm(self.units * (self.factor.magnitudes @ errors))) * _SLACK, long * noise * _SLACK
        )
        of_rounding = float(np.linalg.norm(self.units * (rounding + 2 * _U * np.abs(v.ravel()[self.used]))))
        of_rounding += 2 * _U * float(np.linalg.norm(self.units * step))
        stepped = (from_errors + of_rounding + long * rest) * _SLACK
        return Measured(step, here, stepped, nu, noise)

    def nbytes(self) -> int:
        """Return the size of all that is kept."""
        arrays = [self.factor.inverse, self.factor.magnitudes, self.v]
        return sum(a.nbytes for a in arrays) + (0 if self.sums is None else self.sums.nbytes)


@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """A point with a proof.

    Parameters
    ----------
    v : ndarray of shape (k, d + 1)
        The point.
    distance : float
        At least its distance from the minimum, in units.
    anchor : RemovalAnchor
        In use last.
    n_passes : int
        Passes over the rows.
    """

    v: np.ndarray
    distance: float
    anchor: RemovalAnchor
    n_passes: int


@dataclass(slots=True, eq=False)
class Descent:
    """Newton's method on the rows, until a distance is proved.

    Parameters
    ----------
    likelihood : Likelihood
        The objective.
    units : ndarray of shape (n,)
        Diagonal of T, of the entries in use.
    """

    likelihood: Likelihood
    units: np.ndarray

    @property
    def convexity(self) -> float:
        """At most the smallest eigenvalue of T^-1 H T^-1, anywhere: by the penalties alone."""
        used = self.likelihood.used
        penalty = np.broadcast_to(self.likelihood.penalty, self.likelihood.shape).ravel()[used]
        return float((penalty / self.units**2).min()) * (2 - _SLACK)

    def settle(
        self,
        v: np.ndarray,
        anchor: RemovalAnchor | None,
        ratios: np.ndarray,
        target: float,
        goal: float,
    ) -> Settled:
        """Return a point within `target` of the minimum; within `goal`, where the rounding of float64 allows it.

        Parameters
        ----------
        v : ndarray of shape (k, d + 1)
            Where to start.
        anchor : RemovalAnchor or None
            To go by, while it makes headway.
        ratios : ndarray
            Weights of groups of rows now, by what they are in `anchor`.
        target, goal : float
            Distances in units.

        Raises
        ------
        NoMinimumError
            If none can be proved.
        """
        used, n_passes, n_precise = self.likelihood.used, 0, 0
        best, best_v = np.inf, v
        before, share, last = np.inf, 1.0, None
        while n_passes < _MOST_STEPS:
            gradient, errors, loss = self.likelihood.gradient(v)
            n_passes += 1
            if last is not None and not loss <= last[1] + 1e-12 * abs(last[1]) and share > 2.0**-40:
                share /= 2
                v = last[0] - share * last[2]
                continue
            if not np.isfinite(gradient).all() or self.likelihood.is_separated(loss):
                break
            g, e = gradient.ravel()[used], errors.ravel()[used]
            anchor, ratios, measured = self._measured(v, anchor, ratios, g, e, before)
            is_noise = measured.noise > measured.decrement / 3
            if is_noise and min(measured.here, measured.stepped, best) > target and n_precise < _MOST_PRECISE_STEPS:
                n_precise += 1
                gradient, errors = self.likelihood.precise_gradient(v, np.zeros_like(v))
                g = gradient.ravel()[used].astype(np.float64)
                e = errors.ravel()[used] + 2 * _U * np.abs(g)
                measured = anchor.measure(v, g, e, ratios, self.convexity)
                is_noise = False
            step = np.zeros_like(v)
            step.ravel()[used] = measured.step
            if measured.here < best:
                best, best_v = measured.here, v
            if measured.stepped < best:
                best, best_v = measured.stepped, v - step
            if best <= goal or (best <= target and (is_noise or n_precise)):
                return Settled(best_v, best, anchor, n_passes)
            if is_noise and n_precise >= _MOST_PRECISE_STEPS:
                break
            last = (v, loss, step) if measured.decrement > _NEAR else None
            v, before, share = v - step, measured.decrement, 1.0
            if not np.abs(v).max() < _LARGEST:
                break
        raise NoMinimumError

    def _measured(
        self,
        v: np.ndarray,
        anchor: RemovalAnchor | None,
        ratios: np.ndarray,
        gradient: np.ndarray,
        errors: np.ndarray,
        before: float,
    ) -> tuple[RemovalAnchor, np.ndarray, Measured]:
        """Measure by the anchor there is, or where it makes no headway by one at v."""
        if anchor is not None:
            measured = anchor.measure(v, gradient, errors, ratios, self.convexity)
            makes_headway = measured.decrement < min(_CONTRACTION * before, 1.0)
            if makes_headway or measured.noise > measured.decrement / 3:
                return anchor, ratios, measured
        anchor = RemovalAnchor.at(self.likelihood, v, self.units)
        if anchor is None:
            raise NoMinimumError
        ratios = np.zeros(0)
        return anchor, ratios, anchor.measure(v, gradient, errors, ratios, self.convexity)


def largest_eigenvalue(factor: Factor, units: np.ndarray) -> float:
    """Return at least the largest eigenvalue of T B T, by a factor of Cholesky that is multiplied out, not trusted."""
    matrix = factor.inverse * units * units[:, None]
    n = len(matrix)
    plain = float((factor.magnitudes * units * units[:, None]).sum(axis=1).max()) * _SLACK
    vector = np.abs(matrix).sum(axis=1)
    guess = 0.0
    for _ in range(30):
        vector = matrix @ (vector / np.linalg.norm(vector))
        guess = float(np.linalg.norm(vector))
    for margin in (1.02, 1.2, 2.0):
        top = margin * guess
        difference = -matrix
        difference.ravel()[:: n + 1] += top
        lower, failed = dpotrf(difference, lower=True, clean=True)
        if failed or not np.isfinite(lower).all():
            continue
        # top - M = L L' + S, and L L' is positive semidefinite whatever L is.
        rest = np.abs(difference - lower @ lower.T)
        rest += (n + 6) * _U * (np.abs(lower) @ np.abs(lower).T + np.abs(difference) + top * np.eye(n))
        return min(plain, (top + float(rest.sum(axis=1).max())) * _SLACK)
    return plain


def spectral_doubt(factor: Factor, hessian: np.ndarray, errors: np.ndarray) -> float:
    """Return delta such that all eigenvalues of B H are between 1 - delta and 1 + delta.

    They are real, so the fourth power of none of 1 - B H is above the trace of its fourth power.
    """
    n = len(hessian)
    scale = 1.0 / np.maximum(factor.roots, 2.0**-400)
    inverse, balanced = factor.inverse * scale * scale[:, None], hessian / scale / scale[:, None]
    residual = inverse @ balanced
    residual.ravel()[:: n + 1] -= 1.0
    sizes, roots = np.abs(inverse), np.sqrt(errors) / scale
    unknown = float(np.linalg.norm(sizes @ roots)) * float(np.linalg.norm(roots))
    unknown += (n + 6) * _U * float(np.linalg.norm(sizes @ np.abs(balanced))) + 8 * _U * n
    square = residual @ residual
    of_residual = float(np.linalg.norm(residual))
    of_square = float(np.linalg.norm(square))
    off = (2 * of_residual + unknown) * unknown + (n + 2) * _U * of_residual**2
    fourth = float(np.einsum("ij,ji->", square, square)) + (2 * of_square + off) * off + n * n * _U * of_square**2
    return float(max(fourth, 0.0) ** 0.25) * _SLACK + 2.0**-40


def _scaled_rows(
    likelihood: Likelihood, rows: LabelledRows, used: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield scaled values of the columns in use, dense, with labels and weights; the last are copies to be wiped."""
    for start in range(0, len(rows.labels), _BLOCK_ROWS):
        chosen = slice(start, start + _BLOCK_ROWS)
        values: Any = likelihood.scaled(rows.X, chosen)
        if sp.issparse(values):
            values = values.toarray()
        if not used.all():
            whole, values = values, np.ascontiguousarray(values[:, used])
            wipe(whole)
        yield values, rows.labels[chosen], rows.weight[chosen]


def _contributions(values: np.ndarray, labels: np.ndarray, weight: np.ndarray, point: np.ndarray) -> np.ndarray:
    out = np.empty((4, len(labels)))
    kernels.slopes(values, labels, weight, point, HALF_THIRD, out)
    return out


def _gradient_of_rows(likelihood: Likelihood, v: np.ndarray, label: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradient without penalties of the rows of a label, or of all, and how far its entries may be off."""

    def blocks() -> Iterator[LabelledRows]:
        for rows in likelihood.blocks():
            yield rows if label is None else replace(rows, weight=rows.weight * (rows.labels == label))

    without = replace(likelihood, blocks=blocks, penalty=np.zeros_like(likelihood.penalty))
    gradient, errors, _ = without.gradient(v)
    return gradient.ravel()[likelihood.used], errors.ravel()[likelihood.used]


def _norms_by_class(values: np.ndarray, factor: Factor, used: np.ndarray, k: int) -> np.ndarray:
    """Return at least x'B_ll x of every row and class l."""
    p = values.shape[1]
    norms = np.empty((len(values), k))
    places = np.flatnonzero(used)
    for label in range(k):
        mine = (places >= label * p) & (places < (label + 1) * p)
        x = values[:, places[mine] - label * p]
        reach = np.abs(x) @ factor.roots[mine]
        inner = np.einsum("ij,ij->i", x @ factor.inverse[np.ix_(mine, mine)], x)
        norms[:, label] = np.maximum(inner, 0.0) + (2 * p + 4) * _U * reach**2
    return norms
