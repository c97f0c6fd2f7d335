"""What the naive Bayes classifiers on numbers of occurrences share: exact sums by class, and linear scores."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from _unlearn_native._native import round_sums

from skunlearn._linalg import _linear, _tallies
from skunlearn.base import fitted_attribute
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.live import Core, IncomingRows, Owner
from skunlearn.naive_bayes._discrete import DiscreteNB, DiscreteNBState, smoothing
from skunlearn.rows import CsrRows, RowBlock, csr_rows
from skunlearn.utils._sklearn_compat import validate_data

__all__ = ["OccurrenceCore", "OccurrenceNB", "OccurrenceNBState"]

#: Blocks of 32 exponents that a float64 can be of.
_N_BLOCKS = 66


class OccurrenceNB(DiscreteNB):
    """Naive Bayes on numbers of occurrences. A subclass turns an `OccurrenceCore` into an `OccurrenceNBState`."""

    feature_count_ = fitted_attribute()

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        checked = validate_data(estimator, X, accept_sparse="csr", dtype=(np.float64, np.float32), **options)
        if isinstance(checked, tuple):
            values = checked[0].data if sp.issparse(checked[0]) else checked[0]
            n_negative = int(np.count_nonzero(values < 0))
            if n_negative:
                raise ValueError(
                    f"Negative values in data passed to {type(self).__name__} (input X): {n_negative} of "
                    f"{values.size}. Nothing was changed. Numbers of occurrences are at least 0."
                )
        return checked

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        return 16 * n_classes * (X.shape[1] + 1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags


@dataclass(frozen=True, slots=True, eq=False)
class OccurrenceNBState(DiscreteNBState):
    """The published state of one version.

    Parameters
    ----------
    feature_count_, feature_log_prob_ : ndarray of shape (n_classes, n_features)
        As in the estimators.
    bias : ndarray of shape (n_classes,)
        Score of a row of zeros.
    """

    feature_count_: np.ndarray
    feature_log_prob_: np.ndarray
    bias: np.ndarray

    def _scores(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return bias + X feature_log_prob_' without the terms that are infinite, and which scores have such a term.

        A feature that does not occur in a row has no term, be its log probability infinite or not.
        """
        infinite = np.isinf(self.feature_log_prob_)
        if not infinite.any():
            scores = _linear_scores(X, self.feature_log_prob_, self.bias)
            return scores, np.zeros(scores.shape, dtype=bool)
        scores = _linear_scores(X, np.where(infinite, 0.0, self.feature_log_prob_), self.bias)
        n_infinite = _linear_scores(X != 0, infinite.astype(np.float64), np.zeros(len(self.bias)))
        return scores, n_infinite > 0


def _linear_scores(X: Any, coef: np.ndarray, bias: np.ndarray) -> np.ndarray:
    out = np.empty((X.shape[0], len(coef)))
    if X.dtype not in (np.float32, np.float64):
        X = X.astype(np.float64)
    if sp.issparse(X):
        _linear.predict_csr(*csr_rows(X), coef, bias, out)
    else:
        _linear.predict_dense(np.ascontiguousarray(X), coef, bias, out)
    return out


class OccurrenceCore(Core):
    """Exact sums of the features by class code; the last column sums up the weights.

    `sums` maps a block of 32 exponents to the sums of the values in it, as int128 (see `_tallies.pyx`), and `n_values`
    holds how many values of every block there are: a block without any is dropped, so no trace outlives a row.
    """

    def __init__(self, model_name: str, params: dict[str, Any], n_features: int) -> None:
        self._model_name = model_name
        self._params = params
        self._alpha = smoothing(params, n_features)
        self._n_features = n_features
        self._sums: dict[int, np.ndarray] = {}
        self._n_values = np.zeros(_N_BLOCKS, dtype=np.int64)

    def check(self, incoming: IncomingRows) -> None:
        """Refuse rows that their weight makes infinite."""
        if incoming.weight is None:
            return
        X = incoming.X
        n_wrong = _n_infinite(csr_rows(X) if sp.issparse(X) or isinstance(X, CsrRows) else X, incoming.weight)
        if n_wrong:
            raise ValueError(
                f"{n_wrong} of {len(incoming.weight)} rows are not finite after multiplication by their sample_weight. "
                "Nothing was changed. Scale X or the weights down."
            )

    def _learn(self, block: RowBlock) -> None:
        self._add(block, +1)

    def _forget(self, block: RowBlock) -> None:
        self._add(block, -1)

    def _rebuild(self, owner: Owner) -> None:
        self._sums = {}
        self._n_values[:] = 0
        for block in owner.effective_blocks():
            _check_stored(block)
            self._learn(block)

    def _add(self, block: RowBlock, sign: int) -> None:
        assert block.y is not None
        codes = block.y[:, 0].astype(np.int32)
        counts = np.zeros(_N_BLOCKS, dtype=np.int64)
        self._tally(block, codes, 0, sign, counts, None)
        for exponents in np.flatnonzero(counts).tolist():
            sums = self._sums_of(exponents, int(codes.max()) + 1)
            self._tally(block, codes, exponents, sign, counts, sums)
        self._n_values += sign * counts
        for exponents in [e for e in self._sums if self._n_values[e] == 0]:
            del self._sums[exponents]

    def _tally(
        self, block: RowBlock, codes: np.ndarray, exponents: int, sign: int, counts: np.ndarray, sums: np.ndarray | None
    ) -> None:
        if isinstance(block.X, CsrRows):
            _tallies.tally_csr(*block.X, self._n_features, codes, block.weight, exponents, sign, counts, sums)
        else:
            _tallies.tally_dense(block.X, codes, block.weight, exponents, sign, counts, sums)

    def _sums_of(self, exponents: int, n_codes: int) -> np.ndarray:
        """Return the sums of a block of exponents, with room for `n_codes` classes."""
        sums = self._sums.get(exponents)
        if sums is None or len(sums) < n_codes:
            grown = np.zeros((n_codes, self._n_features + 1, 2), dtype=np.int64)
            if sums is not None:
                grown[: len(sums)] = sums
            self._sums[exponents] = sums = grown
        return sums

    def _sums_in_order(self, codes: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Return (block of exponents, sums of the classes `codes`) in ascending order."""
        ordered = []
        for exponents in sorted(self._sums):
            sums = np.zeros((len(codes), self._n_features + 1, 2), dtype=np.int64)
            known = codes < len(self._sums[exponents])
            sums[known] = self._sums[exponents][codes[known]]
            ordered.append((exponents, sums))
        return ordered

    def _counts(self, sums: list[tuple[int, np.ndarray]]) -> np.ndarray:
        """Return exact sums, each rounded once; the last column sums up the weights."""
        exponents, parts = zip(*sums, strict=True)
        counts: np.ndarray = round_sums(list(exponents), list(parts))
        n_large = int(np.count_nonzero(~np.isfinite(counts)))
        if n_large:
            raise self._too_large(n_large, counts.size)
        return counts

    def _too_large(self, n_large: int, n: int) -> DegenerateRowsError:
        return DegenerateRowsError(
            f"{n_large} of {n} sums of this {self._model_name} are too large for float64. Scale X or the weights down."
        )

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the exact sums, block of exponents by block, classes in the order of their labels."""
        codes, _ = owner.codes.classes()
        return [
            exponents.to_bytes(1, "little") + sums.astype("<i8", copy=False).tobytes()
            for exponents, sums in self._sums_in_order(codes)
        ]

    def nbytes(self) -> int:
        """Return the size of the sums in bytes."""
        return sum(sums.nbytes for sums in self._sums.values())


def _n_infinite(X: Any, weight: np.ndarray) -> int:
    """Return how many rows are not finite after multiplication by their weight."""
    with np.errstate(over="ignore", under="ignore"):
        if isinstance(X, CsrRows):
            row_of = np.repeat(np.arange(len(weight)), np.diff(X.indptr))
            return len(np.unique(row_of[~np.isfinite(X.data * weight[row_of])]))
        return int(np.count_nonzero(~np.isfinite(X * weight[:, None]).all(axis=1)))


def _check_stored(block: RowBlock) -> None:
    """Refuse rows that no check has let in: a damaged file may hold them."""
    values = block.X.data if isinstance(block.X, CsrRows) else block.X
    if (values < 0).any() or (block.weight is not None and _n_infinite(block.X, block.weight)):
        raise ValueError("numbers of occurrences are negative, or infinite under their weight.")
