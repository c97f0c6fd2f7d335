"""What certified logistic regression derives from its rows: a secret point near the optimum, and a ledger."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from skunlearn._lattice_core import squares_of_columns
from skunlearn._linalg.likelihood import LabelledRows, Likelihood
from skunlearn._linalg.optimum import NoMinimumError
from skunlearn._linalg.removal import Descent, RemovalAnchor, Settled
from skunlearn._linalg.scales import ColumnScales
from skunlearn.exceptions import (
    CertificateError,
    NoiseWarning,
    ReleaseBudgetError,
    ReleaseBudgetWarning,
    SkunlearnError,
)
from skunlearn.linear_model._logistic_core import LogisticCore, LogisticFamily, labelled_rows
from skunlearn.live import Owner
from skunlearn.privacy import Ledger, draw_noise, max_distance
from skunlearn.rows import RowBlock

__all__ = ["CertifiedCore"]

_U = 2.0**-53
#: Beyond this share of the rows of an anchor another one is cheaper.
_MOST_CHANGED = 2
#: A new anchor is this much nearer to the optimum than it must be, so that rows can go before the next.
_POLISH = 2.0**-8
#: Scores of an anchor are a number of coordinates for which a matrix can be kept; beyond, nothing is.
_MOST_COORDINATES = 4000
#: Noise of a score that is worth a warning.
_LOUD = 0.05
_NO_RATIOS = np.zeros(0)


@dataclass(slots=True, eq=False)
class _Frame:
    """In what coordinates and of what classes the anchor speaks.

    Parameters
    ----------
    codes, factors : ndarray
        Codes of the classes with rows, and what the weights of their rows were multiplied by in the anchor.
    exponents : ndarray of shape (n_features,), int32
        Scales: every value that is or was live since is at most 1.
    likelihood : Likelihood
        For what rows are on their own; it makes no passes.
    units : ndarray of shape (n_features + 1,)
        What a coefficient of 1 in these coordinates is in units, in which distances are; the last of the intercept.
    label_of : ndarray of int32
        Labels by codes, -1 for codes without.
    """

    codes: np.ndarray
    factors: np.ndarray
    exponents: np.ndarray
    likelihood: Likelihood
    units: np.ndarray
    label_of: np.ndarray

    def labelled(self, block: RowBlock) -> LabelledRows | None:
        """Return rows with labels and with weights as in the anchor; None if a row has another class."""
        assert block.y is not None
        of_rows = block.y[:, 0].astype(np.intp)
        if int(of_rows.max(initial=0)) >= len(self.label_of):
            return None
        labels = self.label_of[of_rows]
        if int(labels.min(initial=0)) < 0:
            return None
        weight = self.factors[labels]
        return LabelledRows(block.X, labels, weight if block.weight is None else weight * block.weight)


class CertifiedCore(LogisticCore):
    """A point within a fixed distance of the minimum of the penalised log likelihood, and noise on what is shown of it.

    The point is secret, and depends on history until `purge`; what is shown is that point plus noise, drawn once for a
    version of the rows that is read. The distance is fixed before any row is seen.

    Parameters
    ----------
    model_name : str
        Named in errors.
    params : dict
        The frozen parameters; beside those of `LogisticCore`, epsilon, delta, noise_scale, n_releases, feature_scale
        and noise_random_state.
    n_features : int
        Width of X.
    """

    draws_at_reads = True

    def __init__(self, model_name: str, params: dict[str, Any], n_features: int) -> None:
        self._noise_scale = float(params["noise_scale"])
        if not 2.0**-200 <= self._noise_scale <= 2.0**200:
            raise ValueError("noise_scale must be between 2**-200 and 2**200. Nothing was changed.")
        self.max_distance = max_distance(params["epsilon"], params["delta"], self._noise_scale, params["n_releases"])
        self.feature_scale = _checked_scale(params["feature_scale"], n_features)
        self.ledger = Ledger()
        seed = params["noise_random_state"]
        self._coins = None if seed is None else np.random.default_rng(seed)
        self._in_id_order = False
        super().__init__(model_name, params, n_features)

    def _clear(self) -> None:
        self._frame: _Frame | None = None
        self._removal: RemovalAnchor | None = None
        self._norms_squared = None
        self._secret: np.ndarray | None = None
        self._is_settled = False
        self._distance = np.inf
        self._target = 0.0
        self._problem = None

    # --- rows come and go --------------------------------------------------------------------------------------------

    def _rebuild(self, owner: Owner) -> None:
        self._clear()

    def _change(self, block: RowBlock, sign: int) -> None:
        self._is_settled, self._problem = False, None
        frame = self._frame
        if frame is None:
            return
        rows = frame.labelled(block)
        if rows is None or (sign > 0 and not self._takes(frame, block)):
            self._clear()
            return
        anchor = self._removal
        if anchor is None:
            return
        if (anchor.n_changed + len(block)) * _MOST_CHANGED > anchor.n_rows:
            self._removal = None
            return
        anchor.change(frame.likelihood, rows, sign)

    def _takes(self, frame: _Frame, block: RowBlock) -> bool:
        """Whether new rows fit the scales; their norms are then added to those of the columns."""
        scales = ColumnScales(self._n_features)
        scales.learn(block.X)
        if (scales.exponents > frame.exponents).any():
            return False
        assert self._norms_squared is not None
        self._norms_squared = self._norms_squared + squares_of_columns(frame.likelihood.scaled(block.X))
        return True

    # --- reading -----------------------------------------------------------------------------------------------------

    def is_settled(self) -> bool:
        """Whether a point is proved for the rows of now, or known that none can be."""
        return self._is_settled

    def _settle(self, owner: Owner) -> None:
        if self._removal is not None and self._params["class_weight"] != "balanced" and self._settles_at_once(owner):
            return
        try:
            family = self._family(owner)
        except SkunlearnError as problem:
            self._give_up(problem)
            return
        codes, factors = family.codes, family.factors
        if self._frame is not None and not np.array_equal(self._frame.codes, codes):
            self._clear()
        try:
            with np.errstate(all="ignore"):  # what is not finite proves nothing
                if self._frame is not None:
                    try:
                        self._find(owner, codes, factors)
                    except NoMinimumError:  # as a refit does it: so a failure is no matter of history
                        self._clear()
                if self._frame is None:
                    self._open_frame(owner, codes, factors)
                    self._find(owner, codes, factors)
        except NoMinimumError:
            self._give_up(self._no_minimum())
        self._is_settled = True

    def _settles_at_once(self, owner: Owner) -> bool:
        """Whether the anchor does, without a pass, where no class came or went."""
        frame, anchor, present = self._frame, self._removal, owner.codes.n_effective
        assert frame is not None
        assert anchor is not None
        if np.count_nonzero(present) != len(frame.codes) or not present[frame.codes].all():
            return False
        with np.errstate(all="ignore"):
            distance, v = anchor.without_pass(_NO_RATIOS, self._target)
        if v is None or not distance + self._rounding(v) <= self.max_distance:
            return False
        self._secret, self._distance, self._is_settled = v, distance, True
        return True

    def _give_up(self, problem: Any) -> None:
        self._clear()
        self._problem, self._is_settled = problem, True

    def _open_frame(self, owner: Owner, codes: np.ndarray, factors: np.ndarray) -> None:
        scales = ColumnScales(self._n_features)
        for block in owner.effective_blocks():
            scales.learn(block.X)
        self._norms_squared = None
        unit = self._objective(codes, factors, scales.exponents, lambda: iter(()), 0)
        parts = [squares_of_columns(unit.scaled(block.X)) for block in owner.effective_blocks()]
        self._norms_squared = np.sum(parts, axis=0)
        label_of = np.full(int(codes.max()) + 1, -1, dtype=np.int32)
        label_of[codes] = np.arange(len(codes), dtype=np.int32)
        units = np.append(np.ldexp(self.feature_scale, -scales.exponents), 1.0)
        self._frame = _Frame(codes, factors, scales.exponents, unit, units, label_of)
        self._secret, self._removal = np.zeros(unit.shape), None

    def _find(self, owner: Owner, codes: np.ndarray, factors: np.ndarray) -> None:
        """Find a point that is near enough: without a look at the rows, by passes over them, or from a new anchor."""
        frame = self._frame
        assert frame is not None
        assert self._secret is not None
        target = self._target = (self.max_distance - 2 * self._rounding(self._secret)) * (1 - 2.0**-20)
        if not target > 0:
            raise NoMinimumError
        used = frame.likelihood.used
        if used.sum() > _MOST_COORDINATES:
            raise CertificateError(
                f"This {self._model_name} has {int(used.sum())} coefficients, and a certified guarantee is offered up "
                f'to {_MOST_COORDINATES}. Use guarantee="exact", or fewer columns or classes.'
            )
        if not used.any():
            self._distance = 0.0
            return
        is_balanced = self._params["class_weight"] == "balanced"
        ratios = factors / frame.factors if is_balanced else _NO_RATIOS
        start, anchor = self._secret, self._removal
        if anchor is not None:
            self._distance, v = anchor.without_pass(ratios, target)
            if v is not None and self._distance + self._rounding(v) <= self.max_distance:
                self._secret = v
                return
            if v is not None and np.abs(v - anchor.v).sum() < 1.0:
                start = v
        passes = self._passes(owner, codes, factors)
        likelihood = self._objective(codes, factors, frame.exponents, passes, self._n_rows(owner))
        descent = Descent(likelihood, np.broadcast_to(frame.units, likelihood.shape).ravel()[used])
        if anchor is not None:
            settled = descent.settle(start, anchor, ratios, target, target)
            anchor.n_passes += settled.n_passes
            if settled.anchor is anchor and 4 * anchor.n_passes <= int(used.sum()) + 16:
                self._accept(settled)
                return
            start = settled.v
        settled = descent.settle(start, None, _NO_RATIOS, target, _POLISH * target)
        self._accept(settled)
        n_groups = len(codes) if is_balanced and len(self._secret) == 1 else 1
        anchor = RemovalAnchor.with_sums(likelihood, settled.v, descent.units, n_groups)
        self._removal, frame.factors = anchor or settled.anchor, factors

    def _objective(
        self, codes: np.ndarray, factors: np.ndarray, exponents: np.ndarray, blocks: Any, n_rows: int
    ) -> Likelihood:
        family = LogisticFamily(codes, factors, self._params, self._n_features)
        return family.likelihood(
            0, blocks=blocks, n_rows=n_rows, exponents=exponents, column_norms=self._column_norms()
        )

    def _accept(self, settled: Settled) -> None:
        if not settled.distance + self._rounding(settled.v) <= self.max_distance:
            raise NoMinimumError
        self._secret, self._distance = settled.v, settled.distance

    def _rounding(self, v: np.ndarray) -> float:
        """Return the distance that the way from a point to the grid of the noise costs; both worlds go it."""
        assert self._frame is not None
        n_numbers = v.size - (0 if self._params["fit_intercept"] else len(v))
        grid = np.ldexp(1.0, np.frexp(self._noise_scale)[1] - 21)
        return float(np.sqrt(n_numbers) * grid + 8 * _U * (np.abs(v) @ self._frame.units).sum()) * (1 + 2.0**-20)

    def _passes(self, owner: Owner, codes: np.ndarray, factors: np.ndarray) -> Any:
        def blocks() -> Iterator[LabelledRows]:
            for block in self._blocks(owner):
                rows = labelled_rows(block, codes, factors)
                assert rows is not None
                yield rows

        return blocks

    def _blocks(self, owner: Owner) -> Iterator[RowBlock]:
        if not self._in_id_order:
            yield from owner.effective_blocks()
            return
        for block in owner.rows.blocks_in_order("id"):
            if block.weight is not None and not block.weight.all():
                block = block.take(block.weight > 0)
            if len(block):
                yield block

    @staticmethod
    def _n_rows(owner: Owner) -> int:
        return int(owner.codes.n_effective.sum())

    # --- what is shown -----------------------------------------------------------------------------------------------

    def check_published(self, owner: Owner) -> None:
        """Raise what `publish` would raise, without drawing."""
        if self._problem is not None:
            raise self._problem

    def publish(self, owner: Owner) -> Any:
        """Draw a version: coefficients and intercepts of the classes with rows."""
        self.check_published(owner)
        coef, intercept = self.secret()
        numbers = coef * self.feature_scale
        has_intercept = self._params["fit_intercept"]
        if has_intercept:
            numbers = np.hstack([numbers, intercept[:, None]])
        noise, grid = draw_noise(numbers.shape, self._noise_scale, self._coins)
        places = np.rint(numbers / grid)
        if not np.abs(places).max(initial=0.0) < 2.0**52:
            raise self._no_minimum()
        self._spend()
        shown = (places + noise) * grid
        coef = shown[:, : self._n_features] / self.feature_scale
        return coef, (shown[:, -1].copy() if has_intercept else intercept)

    def _spend(self) -> None:
        """Count a release; past the budget refuse it, or warn."""
        n_planned = self._params["n_releases"]
        is_spent = self.ledger.n_releases >= n_planned
        if is_spent and self._params["on_budget"] == "raise":
            raise ReleaseBudgetError(
                f"All {n_planned} releases of this {self._model_name} are spent, so this version is not published. Its "
                'rows are as they were, and still come and go. Fit anew, or use on_budget="warn" from the start.'
            )
        self.ledger.spend(self.max_distance / self._noise_scale)
        if is_spent:
            epsilon = self.ledger.epsilon(self._params["delta"])
            warnings.warn(
                f"This is release {self.ledger.n_releases} of a {self._model_name} whose guarantee was to hold for "
                f"{n_planned}: jointly epsilon is {epsilon:.4g} now, at the same delta. Fit anew, or plan more "
                "n_releases.",
                ReleaseBudgetWarning,
                stacklevel=6,
            )

    def remembered(self) -> dict[str, Any]:
        """Return the ledger: what was published stays published."""
        return {"ledger": self.ledger.to_state()}

    def remember(self, saved: Any) -> None:
        """Take a ledger back."""
        if not isinstance(saved, dict) or set(saved) != {"ledger"}:
            raise ValueError("it has no ledger of its releases.")
        self.ledger = Ledger.from_state(saved["ledger"])

    def warn_after_fit(self, owner: Owner) -> None:
        """Warn where the noise on a coefficient moves scores by more than it should."""
        if self._params["noise_random_state"] is not None:
            warnings.warn(
                "noise_random_state makes the noise predictable: it hides nothing, and the guarantee is none. Leave it "
                "out except in tests.",
                NoiseWarning,
                stacklevel=5,
            )
        if self._frame is None or self._norms_squared is None:
            return
        squares = self._norms_squared[:-1] / max(self._n_rows(owner), 1)
        rms = np.ldexp(np.sqrt(squares), self._frame.exponents) / self.feature_scale
        n_loud = int((self._noise_scale * rms > _LOUD).sum())
        if n_loud:
            warnings.warn(
                f"In {n_loud} of {self._n_features} columns the noise moves scores by more than {_LOUD} of their unit "
                "(noise_scale times the root mean square of the column). Scale the columns, or give their public "
                "scales as feature_scale, or choose a smaller noise_scale.",
                NoiseWarning,
                stacklevel=5,
            )

    def secret(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the coefficients and intercepts that nobody but the operator may see."""
        assert self._frame is not None
        assert self._secret is not None
        return np.ldexp(self._secret[:, :-1], -self._frame.exponents), self._secret[:, -1].copy()

    def purge(self, owner: Owner) -> None:
        """Derive the secret point anew from the rows alone, in the order of their ids."""
        self._clear()
        self._in_id_order = True
        try:
            self._settle(owner)
        finally:
            self._in_id_order = False

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return nothing: what is derived depends on history, and what is shown on coins."""
        return []

    def nbytes(self) -> int:
        """Return the size of the anchor in bytes."""
        return 0 if self._removal is None else self._removal.nbytes()


def _checked_scale(given: Any, n_features: int) -> np.ndarray:
    if given is None:
        return np.ones(n_features)
    try:
        scale = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError("feature_scale holds values that are no numbers. Nothing was changed.") from None
    if scale.shape not in ((), (1,), (n_features,)):
        raise ValueError(
            f"feature_scale has shape {scale.shape}, but X has {n_features} columns. Nothing was changed. Give one "
            "number, or one a column."
        )
    n_wrong = int((~((scale >= 2.0**-200) & (scale <= 2.0**200))).sum())
    if n_wrong:
        raise ValueError(
            f"{n_wrong} of {scale.size} entries of feature_scale are not between 2**-200 and 2**200. Nothing was "
            "changed."
        )
    return np.broadcast_to(scale, n_features).copy()
