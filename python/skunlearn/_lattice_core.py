"""What models that minimise a convex objective derive from their rows: proved points of a lattice."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from skunlearn._linalg.kinked import search_for
from skunlearn._linalg.likelihood import Likelihood, wipe
from skunlearn._linalg.objective import Objective
from skunlearn._linalg.optimum import LATTICE_LOG2, Anchor, NoMinimumError, Search
from skunlearn._linalg.scales import ColumnScales
from skunlearn.exceptions import CertificateError, SkunlearnError
from skunlearn.live import Core, Owner
from skunlearn.rows import RowBlock

__all__ = ["Family", "LatticeCore", "squares_of_columns"]

#: Beyond this share of the rows of an anchor it is cheaper to compute another than to keep it.
_MOST_CHANGED = 8


class Family:
    """What an objective depends on beside the values of the rows, as it is for one live set: immutable.

    Models of several independent objectives number them from 0.

    Attributes
    ----------
    n_objectives : int
        How many objectives there are.
    shape : tuple of int
        Shape of the parameters of each, in scaled coordinates.
    exponent : int
        Parameters are multiplied by 2 to this power when they are published.
    """

    n_objectives: int = 1
    shape: tuple[int, int]
    exponent: int = 0

    @abstractmethod
    def rows(self, block: RowBlock, which: int) -> Any:
        """Return rows as an objective takes them, or None where they do not belong to this family."""

    @abstractmethod
    def likelihood(self, which: int, **parts: Any) -> Likelihood:
        """Return the objective on blocks of such rows."""

    @abstractmethod
    def drift(self, then: Any, which: int) -> float:
        """Bound |log| of the ratio of any row's weight now and for `then`; infinite where that is not comparable."""

    def start(self, which: int, blocks: Callable[[], Iterator[Any]]) -> np.ndarray:
        """Return where a search begins that knows nothing."""
        return np.zeros(self.shape)


@dataclass(slots=True, eq=False)
class _Track:
    """What is known of one objective from earlier.

    Parameters
    ----------
    family : Family
        Of the live set that the anchor was computed on.
    v : ndarray
        A point near its minimum.
    anchor : Anchor
        Its Hessian somewhere, of the rows that are live now.
    penalty : ndarray
        The penalties that are in the Hessian.
    gradient : ndarray
        About that at v, of the rows that are live now.
    n_changed : int
        Rows that came or went since.
    """

    family: Family
    v: np.ndarray
    anchor: Anchor
    penalty: np.ndarray
    gradient: np.ndarray
    n_changed: int = 0


class LatticeCore(Core):
    """The minimum of convex objectives, on the lattice that goes with the scales of the columns.

    What `learn` and `forget` keep up to date is the Hessian at an earlier minimum (the anchor); it makes the search
    short, and has no say in where it ends. A subclass says what the objectives are.

    Parameters
    ----------
    model_name : str
        Named in errors.
    params : dict
        The frozen parameters.
    n_features : int
        Width of X.
    """

    def __init__(self, model_name: str, params: dict[str, Any], n_features: int) -> None:
        self._model_name = model_name
        self._params = params
        self._n_features = n_features
        #: How many searches each kind of pass has ended.
        self.reads_by_level: Counter[str] = Counter()
        self._clear()

    def _clear(self) -> None:
        self._scales = ColumnScales(self._n_features)
        self._lost_start()
        self._point: np.ndarray | None = None
        self._exponent = 0
        self._problem: SkunlearnError | None = None

    def _lost_start(self) -> None:
        """Know nothing of the Hessians."""
        self._tracks: list[_Track | None] = []
        self._exponents: np.ndarray | None = None  # those that the tracks are in
        self._norms_squared: np.ndarray | None = None
        self._n_left = 0  # rows that went, and that the norms still bound

    # --- what a subclass says ----------------------------------------------------------------------------------------

    @abstractmethod
    def _family(self, owner: Owner) -> Family:
        """Return the family of the live set; raise DegenerateRowsError where it has no objective."""

    def _tally(self, block: RowBlock, sign: int) -> None:
        """Count rows in or out, in exact sums of the subclass's own."""

    @abstractmethod
    def _no_minimum(self) -> CertificateError:
        """Return what to say of rows that have no optimum."""

    # --- rows come and go --------------------------------------------------------------------------------------------

    def _learn(self, block: RowBlock) -> None:
        self._change(block, +1)

    def _forget(self, block: RowBlock) -> None:
        self._change(block, -1)

    def _rebuild(self, owner: Owner) -> None:
        self._clear()
        for block in owner.effective_blocks():
            self._scales.learn(block.X)
            self._tally(block, +1)

    def _change(self, block: RowBlock, sign: int) -> None:
        (self._scales.learn if sign > 0 else self._scales.forget)(block.X)
        self._tally(block, sign)
        self._point = self._problem = None
        self._n_left += len(block) if sign < 0 else 0
        if self._exponents is None:
            return
        if (self._scales.exponents != self._exponents).any():
            self._lost_start()
            return
        for which, track in enumerate(self._tracks):
            if track is not None and not self._follow(track, which, block, sign):
                self._tracks[which] = None
        known = [track for track in self._tracks if track is not None]
        if not known:
            self._lost_start()
        elif sign > 0 and self._norms_squared is not None:  # those of more rows are bounds for fewer, too
            self._norms_squared = self._norms_squared + squares_of_columns(self._unit(known[0].family).scaled(block.X))

    def _follow(self, track: _Track, which: int, block: RowBlock, sign: int) -> bool:
        """Add what rows contribute to an anchor, or take it away; return whether that was possible."""
        rows = track.family.rows(block, which)
        track.n_changed += len(block)
        if rows is None or track.n_changed * _MOST_CHANGED > track.anchor.n_rows:
            return False
        likelihood = self._likelihood(track.family, which, lambda: iter([rows]), len(block))
        used, v = likelihood.used, track.anchor.v
        if _has_kinks(likelihood) and not likelihood.clearance(v) > 0:  # type: ignore[attr-defined]
            return False
        error, row = likelihood.relative_error_of_curvature(len(block), v), likelihood.row_and_slope(rows, v)
        if row is None:
            curvature = likelihood.curvature(rows, v).reshape(used.size, used.size)[np.ix_(used, used)]
            track.anchor.change(curvature, error, sign)
        else:
            x, slope = row[0][used], row[1]
            track.anchor.change(np.multiply.outer(slope * x, x), error, sign, (x, slope))
        pull = likelihood.gradient(track.v)[0] - likelihood.pull(track.v)
        track.gradient = track.gradient + sign * pull
        return True

    # --- reading -----------------------------------------------------------------------------------------------------

    def is_settled(self) -> bool:
        """Whether the point is known, or known not to exist."""
        return self._point is not None or self._problem is not None

    def _settle(self, owner: Owner) -> None:
        if self._scales.is_loose:
            self._scales = ColumnScales(self._n_features)
            for block in owner.effective_blocks():
                self._scales.learn(block.X)
        try:
            family = self._family(owner)
        except SkunlearnError as problem:
            self._problem = problem
            return
        drifts = self._drifts(family)
        with owner.held_blocks() as held:
            if self._norms_squared is None or self._n_left * _MOST_CHANGED > owner.n_effective:
                parts = [squares_of_columns(self._unit(family).scaled(block.X)) for block in held]
                self._norms_squared, self._n_left = np.sum(parts, axis=0), 0
            try:
                points = [self._locate(held, family, which, drift) for which, drift in enumerate(drifts)]
            except NoMinimumError:
                self._lost_start()
                self._problem = self._no_minimum()
                return
        self._point, self._exponent = np.concatenate(points), family.exponent

    def _drifts(self, family: Family) -> list[float]:
        """Return how far the weights of rows are from what they are in the anchors; lose those that are of no use."""
        exponents = self._scales.exponents
        if self._exponents is None or (self._exponents != exponents).any():
            self._lost_start()
            self._exponents = exponents.copy()
        if len(self._tracks) != family.n_objectives:
            self._tracks = [None] * family.n_objectives
        drifts = []
        for which, track in enumerate(self._tracks):
            drift = 0.0 if track is None else family.drift(track.family, which)
            if not np.isfinite(drift):
                self._tracks[which], drift = None, 0.0
            drifts.append(drift)
        return drifts

    def _locate(self, held: list[RowBlock], family: Family, which: int, drift: float) -> np.ndarray:
        """Return the point of the lattice next to the minimum of an objective."""
        rows = [family.rows(block, which) for block in held]

        def blocks() -> Iterator[Any]:
            return iter(rows)

        likelihood = self._likelihood(family, which, blocks, sum(map(len, held)))
        if not likelihood.used.any():
            self._tracks[which] = None
            return np.zeros(likelihood.shape, dtype=np.int64)
        track = self._tracks[which]
        if track is not None:
            change = np.broadcast_to(likelihood.penalty - track.penalty, likelihood.shape).ravel()[likelihood.used]
            if change.any():
                track.anchor.move_penalty(change)
                track.gradient = track.gradient + (likelihood.penalty - track.penalty) * track.v
                track.penalty = likelihood.penalty
        search, point, v, anchor = self._search(likelihood, track, drift, lambda: family.start(which, blocks))
        assert search.gradient is not None
        self.reads_by_level[search.level] += 1
        if track is None or anchor is not track.anchor:
            self._tracks[which] = _Track(family, v, anchor, likelihood.penalty, search.gradient)
        else:
            track.v, track.gradient = v, search.gradient
        return point

    @staticmethod
    def _search(
        likelihood: Likelihood, track: _Track | None, drift: float, start: Callable[[], np.ndarray]
    ) -> tuple[Search, np.ndarray, np.ndarray, Anchor]:
        """Find the point from what is known or, where that fails, as a refit does: so a failure is no matter of
        history.
        """
        with np.errstate(all="ignore"):  # what is not finite proves nothing
            if track is not None:
                search = search_for(likelihood, drift)
                with suppress(NoMinimumError):
                    return search, *search.locate(search.start(track.v, track.anchor, track.gradient), track.anchor)
            search = search_for(likelihood)
            return search, *search.locate(start(), None)

    def _likelihood(self, family: Family, which: int, blocks: Any, n_rows: int) -> Likelihood:
        """Return an objective; errors of its gradients are proved where the norms of columns are known."""
        with np.errstate(over="ignore"):  # under an infinite penalty nothing is proved
            return family.likelihood(
                which,
                blocks=blocks,
                n_rows=n_rows,
                exponents=self._scales.exponents,
                column_norms=self._column_norms(),
            )

    def _column_norms(self) -> Any:
        norms_squared = np.inf if self._norms_squared is None else self._norms_squared
        return np.sqrt(norms_squared) * (1 + 2.0**-20) + 2.0**-400  # the last term stands for squares that underflow

    def _unit(self, family: Family) -> Likelihood:
        return self._likelihood(family, 0, None, 0)

    def publish(self, owner: Owner) -> Any:
        """Return coefficients and intercepts, of shape (n, n_features) and (n,)."""
        if self._point is None:
            assert self._problem is not None
            raise self._problem
        values = np.ldexp(self._point.astype(np.float64), LATTICE_LOG2)
        coef = np.ldexp(values[:, :-1], self._exponent - self._scales.exponents)
        return coef, np.ldexp(values[:, -1], self._exponent)

    def purge(self, owner: Owner) -> None:
        """Let go of the anchors; the points are functions of the rows as they are."""
        self._lost_start()

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the scales and the point; of a degenerate set, the scales alone."""
        point = b"" if self._point is None else self._point.astype("<i8").tobytes()
        return [self._scales.exponents.astype("<i4").tobytes(), point]

    def nbytes(self) -> int:
        """Return the size of the anchors in bytes."""
        return sum(3 * track.anchor.hessian.nbytes for track in self._tracks if track is not None)


def _has_kinks(likelihood: Likelihood) -> bool:
    return isinstance(likelihood, Objective) and likelihood.loss.is_kinked


def squares_of_columns(X: Any) -> np.ndarray:
    """Return the sums of squares of columns; X is a copy, and is overwritten."""
    squared = X.multiply(X).sum(axis=0) if sp.issparse(X) else np.einsum("ij,ij->j", X, X)
    wipe(X)
    return np.asarray(squared, dtype=np.float64).ravel()
