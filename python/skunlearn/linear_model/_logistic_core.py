"""What logistic regression derives from its rows: a proved point of a lattice."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp

from skunlearn._linalg.likelihood import LabelledRows, Likelihood, wipe
from skunlearn._linalg.optimum import LATTICE_LOG2, Anchor, NoMinimumError, Search
from skunlearn._linalg.scales import ColumnScales
from skunlearn.exceptions import CertificateError, DegenerateRowsError, SkunlearnError
from skunlearn.live import Core, Owner
from skunlearn.rows import RowBlock

__all__ = ["LogisticCore", "labelled_rows", "squares_of_columns"]

#: Beyond this share of the rows of an anchor it is cheaper to compute another than to keep it.
_MOST_CHANGED = 8


class LogisticCore(Core):
    """The minimum of the penalised log likelihood, on the lattice that goes with the scales of the columns.

    What `learn` and `forget` keep up to date is the Hessian at an earlier minimum (the anchor); it makes the search
    short, and has no say in where it ends.

    Parameters
    ----------
    model_name : str
        Named in errors.
    params : dict
        The frozen parameters; C, fit_intercept, intercept_scaling, solver and class_weight are read.
    n_features : int
        Width of X.
    """

    def __init__(self, model_name: str, params: dict[str, Any], n_features: int) -> None:
        self._model_name = model_name
        self._params = params
        self._n_features = n_features
        self._clear()

    def _clear(self) -> None:
        self._scales = ColumnScales(self._n_features)
        self._v: np.ndarray | None = None
        self._lost_start()
        self._point: np.ndarray | None = None
        self._problem: SkunlearnError | None = None

    def _lost_start(self) -> None:
        """Know nothing of the Hessian."""
        self._anchor: Anchor | None = None
        self._anchored: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None  # codes, their factors, exponents
        self._norms_squared: np.ndarray | None = None
        self._n_changed = 0

    # --- rows come and go --------------------------------------------------------------------------------------------

    def _learn(self, block: RowBlock) -> None:
        self._change(block, +1)

    def _forget(self, block: RowBlock) -> None:
        self._change(block, -1)

    def _rebuild(self, owner: Owner) -> None:
        self._clear()
        for block in owner.effective_blocks():
            self._scales.learn(block.X)

    def _change(self, block: RowBlock, sign: int) -> None:
        (self._scales.learn if sign > 0 else self._scales.forget)(block.X)
        self._point = self._problem = None
        if self._anchored is None:
            return
        codes, factors, exponents = self._anchored
        rows = labelled_rows(block, codes, factors)
        self._n_changed += len(block)
        assert self._anchor is not None
        is_much = self._n_changed * _MOST_CHANGED > self._anchor.n_rows
        if rows is None or is_much or (self._scales.exponents != exponents).any():
            self._lost_start()
            return
        likelihood = self._likelihood(lambda: iter([rows]), len(block), len(codes), exponents)
        used, v = likelihood.used, self._anchor.v
        curvature = likelihood.curvature(rows, v).reshape(used.size, used.size)[np.ix_(used, used)]
        self._anchor.change(curvature, likelihood.relative_error_of_curvature(len(block), v), sign)
        if sign > 0 and self._norms_squared is not None:  # those of more rows are bounds for fewer, too
            self._norms_squared = self._norms_squared + squares_of_columns(likelihood.scaled(block.X))

    # --- reading -----------------------------------------------------------------------------------------------------

    def is_settled(self) -> bool:
        """Whether the point is known, or known not to exist."""
        return self._point is not None or self._problem is not None

    def _settle(self, owner: Owner) -> None:
        if self._scales.is_loose:
            self._scales = ColumnScales(self._n_features)
            for block in owner.effective_blocks():
                self._scales.learn(block.X)
        codes, _ = owner.codes.classes()
        codes = codes[owner.codes.n_effective[codes] > 0]
        if len(codes) < 2:
            self._problem = self._too_few_classes(len(codes))
            return
        factors = self._class_factors(owner, codes)
        if not np.isfinite(factors).all():
            self._problem = self._no_minimum()
            return
        exponents, n_rows = self._scales.exponents, int(owner.codes.n_effective.sum())
        start, drift = self._start(codes, factors, exponents)

        def blocks() -> Iterator[LabelledRows]:
            for block in owner.effective_blocks():
                rows = labelled_rows(block, codes, factors)
                assert rows is not None
                yield rows

        if self._norms_squared is None:
            unit = self._likelihood(blocks, n_rows, len(codes), exponents)
            parts = [squares_of_columns(unit.scaled(block.X)) for block in owner.effective_blocks()]
            self._norms_squared = np.sum(parts, axis=0)
        likelihood = self._likelihood(blocks, n_rows, len(codes), exponents)
        if not likelihood.used.any():
            self._lost_start()
            self._point = np.zeros(likelihood.shape, dtype=np.int64)
            return
        try:
            anchor = self._search(likelihood, start, drift)
        except NoMinimumError:
            self._lost_start()
            self._problem = self._no_minimum()
            return
        if anchor is not self._anchor:
            if self._n_changed:
                self._norms_squared = None
            self._anchor, self._anchored, self._n_changed = anchor, (codes, factors, exponents.copy()), 0

    def _search(self, likelihood: Likelihood, start: np.ndarray, drift: float) -> Anchor:
        """Find the point, from `start` or, where that fails, as a refit does: so a failure is no matter of history."""
        try:
            with np.errstate(all="ignore"):  # what is not finite proves nothing
                self._point, self._v, anchor = Search(likelihood, drift).locate(start, self._anchor)
        except NoMinimumError:
            if self._anchor is None and not start.any():
                raise
            with np.errstate(all="ignore"):
                self._point, self._v, anchor = Search(likelihood).locate(np.zeros_like(start), None)
        return anchor

    def _start(self, codes: np.ndarray, factors: np.ndarray, exponents: np.ndarray) -> tuple[np.ndarray, float]:
        """Return where to start, and how far the weights of rows are from what they are in the anchor."""
        shape = (self._n_scores(len(codes)), self._n_features + 1)
        drift = np.inf
        if self._anchored is not None:
            then, then_factors, then_exponents = self._anchored
            if len(then) == len(codes) and (then == codes).all() and (then_exponents == exponents).all():
                drift = float(np.abs(np.log(factors / then_factors)).max()) + 2.0**-40 * (factors != then_factors).any()
        if drift == np.inf:
            self._lost_start()
            drift = 0.0
        if self._anchor is None or self._v is None or self._v.shape != shape:
            return np.zeros(shape), drift
        return self._v, drift

    def _n_scores(self, n_present: int) -> int:
        declared = self._params["classes"]
        return 1 if n_present == 2 and (declared is None or len(declared) == 2) else n_present

    def _class_factors(self, owner: Owner, codes: np.ndarray) -> np.ndarray:
        """Return what the weights of rows of each class are multiplied by."""
        chosen = self._params["class_weight"]
        if chosen is None:
            return np.ones(len(codes))
        if isinstance(chosen, dict):
            _, labels = owner.codes.classes()
            all_codes = owner.codes.classes()[0].tolist()
            names = [labels[all_codes.index(code)] for code in codes.tolist()]
            return np.array([float(chosen.get(name, 1.0)) for name in np.array(names).tolist()])
        try:
            totals = _class_totals(owner, codes)
            return np.array([math.fsum(totals) / (len(totals) * total) for total in totals])
        except OverflowError:  # of sums of weights
            return np.full(len(codes), np.inf)

    def _likelihood(self, blocks: Any, n_rows: int, n_present: int, exponents: np.ndarray) -> Likelihood:
        """Return the objective; errors of its gradients are proved where the norms of columns are known."""
        norms_squared = np.inf if self._norms_squared is None else self._norms_squared
        alpha = 1.0 / self._params["C"]
        penalty = np.append(np.ldexp(alpha, -2 * exponents), 0.0)
        if self._params["solver"] == "liblinear":  # there the intercept is the coefficient of a constant column
            penalty[-1] = alpha / self._params["intercept_scaling"] ** 2
        return Likelihood(
            blocks=blocks,
            n_rows=n_rows,
            n_scores=self._n_scores(n_present),
            exponents=exponents,
            penalty=penalty,
            has_intercept=self._params["fit_intercept"],
            # The last term stands for squares that underflow.
            column_norms=np.sqrt(norms_squared) * (1 + 2.0**-20) + 2.0**-400,
        )

    def _too_few_classes(self, n_present: int) -> DegenerateRowsError:
        return DegenerateRowsError(
            f"This {self._model_name} has rows of {n_present} classes left, and needs rows of at least 2. Call "
            "partial_fit or fit."
        )

    def _no_minimum(self) -> CertificateError:
        return CertificateError(
            f"The rows of this {self._model_name} have no optimum that can be proved in float64: without a penalty the "
            "classes may be separable, or columns depend on each other or differ too much in scale. Choose a "
            "smaller C, or scale the columns."
        )

    def publish(self, owner: Owner) -> Any:
        """Return codes of the classes with rows, and their coefficients and intercepts."""
        if self._point is None:
            assert self._problem is not None
            raise self._problem
        values = np.ldexp(self._point.astype(np.float64), LATTICE_LOG2)
        return np.ldexp(values[:, :-1], -self._scales.exponents), values[:, -1].copy()

    def purge(self, owner: Owner) -> None:
        """Let go of the anchor; the point is a function of the rows as it is."""
        self._lost_start()
        self._v = None

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the scales and the point; of a degenerate set, the scales alone."""
        point = b"" if self._point is None else self._point.astype("<i8").tobytes()
        return [self._scales.exponents.astype("<i4").tobytes(), point]

    def nbytes(self) -> int:
        """Return the size of the anchor in bytes."""
        return 0 if self._anchor is None else 3 * self._anchor.hessian.nbytes


def labelled_rows(block: RowBlock, codes: np.ndarray, factors: np.ndarray) -> LabelledRows | None:
    """Return rows with labels by the order of `codes`; None if a row has another code."""
    assert block.y is not None
    label_of = np.full(int(max(codes.max(), block.y.max())) + 1, -1, dtype=np.int32)
    label_of[codes] = np.arange(len(codes), dtype=np.int32)
    labels = label_of[block.y[:, 0].astype(np.intp)]
    if (labels < 0).any():
        return None
    weight = factors[labels]
    return LabelledRows(block.X, labels, weight if block.weight is None else weight * block.weight)


def _class_totals(owner: Owner, codes: np.ndarray) -> list[float]:
    """Return the total weight of each class, the exact sum rounded once."""
    parts: list[list[float]] = [[] for _ in codes]
    for block in owner.effective_blocks():
        assert block.y is not None
        of_rows = block.y[:, 0].astype(np.intp)
        for part, code in zip(parts, codes.tolist(), strict=True):
            n = int(np.count_nonzero(of_rows == code))
            part.extend([float(n)] if block.weight is None else block.weight[of_rows == code].tolist())
    return [math.fsum(part) for part in parts]


def squares_of_columns(X: Any) -> np.ndarray:
    """Return the sums of squares of columns; X is a copy, and is overwritten."""
    squared = X.multiply(X).sum(axis=0) if sp.issparse(X) else np.einsum("ij,ij->j", X, X)
    wipe(X)
    return np.asarray(squared, dtype=np.float64).ravel()
