"""Naive Bayes on binary features that forgets exactly."""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse as sp
import sklearn.naive_bayes
from _unlearn_native._native import ln, round_sums, split_weights

from skunlearn._linalg import _bernoulli as kernels
from skunlearn._linalg.fixed_order import freeze, sum_in_order
from skunlearn.base import fitted_attribute
from skunlearn.live import Core, Owner
from skunlearn.naive_bayes._base import classes_with_rows
from skunlearn.naive_bayes._discrete import DiscreteNB, DiscreteNBState, class_log_prior, smoothing
from skunlearn.rows import CsrRows, RowBlock, RowStore
from skunlearn.utils._sklearn_compat import Interval, validate_data

__all__ = ["BernoulliNB"]

#: With binarize=None the features must be 0 or 1 already, and this tells them apart.
_BINARY_THRESHOLD = 0.5
#: Weight 1.0 as `split_weights` writes it: its block of exponents, and the power of two that it is there.
_UNIT_BLOCK, _UNIT_SHIFT = 33, 70
#: From here on it pays to count rows of weight 1 in plain integers first.
_BULK_ROWS = 16
_FEW_UNITS = split_weights(np.ones(_BULK_ROWS))


class BernoulliNB(DiscreteNB):
    """Naive Bayes classifier for multivariate Bernoulli models that forgets rows exactly.

    The model is a table of integer counts, so `partial_forget` is their subtraction: afterwards the model equals, bit
    for bit, one fitted on the rows that are left. A weighted count is the exact sum of the weights, rounded once.

    Parameters
    ----------
    alpha : float or array-like of shape (n_features,), default=1.0
        Additive (Laplace/Lidstone) smoothing parameter.
    force_alpha : bool, default=True
        If False, alpha below 1e-10 is set to 1e-10, with a warning.
    binarize : float or None, default=0.0
        A feature counts as 1 where it is above this threshold. If None, features must be 0 or 1.
    fit_prior : bool, default=True
        Whether to learn class prior probabilities; if False, the prior is uniform.
    class_prior : array-like of shape (n_classes,), default=None
        Prior probabilities of the classes; they are then not learned.
    classes : array-like of shape (n_classes,), default=None
        Labels that are classes whether or not a row bears them; without rows they have probability 0. Recommended in
        production: it keeps the shape of every output when a class loses its last row.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    class_count_ : ndarray of shape (n_classes,)
        Total weight of the rows of each class.
    class_log_prior_ : ndarray of shape (n_classes,)
        Log probability of each class.
    feature_count_ : ndarray of shape (n_classes, n_features)
        Total weight of the rows of each class whose feature is 1.
    feature_log_prob_ : ndarray of shape (n_classes, n_features)
        Smoothed log probability of a feature being 1 in a class.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has string names.
    guarantee_ : Guarantee
        ``kind="exact"``.
    n_live_ : int
        Number of rows that the model holds.
    forget_report_ : ForgetReport
        What the last `partial_forget` did.

    See Also
    --------
    CategoricalNB : Naive Bayes on categorical features.
    sklearn.naive_bayes.BernoulliNB : The estimator that `release` returns.

    Notes
    -----
    With N_c the total weight of class c and N_cj that of its rows with feature j, P(x_j = 1 | c) is
    (N_cj + alpha_j) / (N_c + 2 alpha_j), section 13.3 of [1]_. Forgetting m rows takes O(m n_features) integer
    additions; its time does not depend on the number of rows. The log probability that a feature is 0 is taken from the
    counts, where scikit-learn, and with it a release, takes it from the rounded probability that it is 1.

    The model keeps its rows; `release` does not.

    References
    ----------
    .. [1] C. D. Manning, P. Raghavan, H. Schuetze, "Introduction to Information Retrieval", Cambridge University Press,
       2008.

    Examples
    --------
    >>> from skunlearn.naive_bayes import BernoulliNB
    >>> X = [[1, 0], [1, 1], [0, 1], [0, 1]]
    >>> model = BernoulliNB().fit(X, [0, 0, 1, 1], sample_ids=["a", "b", "c", "d"])
    >>> model.partial_forget(["b"]).feature_count_
    array([[1., 0.],
           [0., 2.]])
    """

    _parameter_constraints: dict[str, Any] = {
        **DiscreteNB._parameter_constraints,
        "binarize": [None, Interval(Real, 0, None, closed="left")],
    }

    feature_count_ = fitted_attribute()

    def __init__(
        self,
        *,
        alpha: Any = 1.0,
        force_alpha: bool = True,
        binarize: float | None = 0.0,
        fit_prior: bool = True,
        class_prior: Any = None,
        classes: Any = None,
    ) -> None:
        self.alpha = alpha
        self.force_alpha = force_alpha
        self.binarize = binarize
        self.fit_prior = fit_prior
        self.class_prior = class_prior
        self.classes = classes

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_BernoulliCore":
        return _BernoulliCore(type(self).__name__, params, rows.native.n_features)

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        checked = validate_data(estimator, X, accept_sparse="csr", dtype=(np.float64, np.float32), **options)
        live = estimator._live
        if (estimator.binarize if live is None else live.params["binarize"]) is None:
            values = checked[0] if isinstance(checked, tuple) else checked
            values = values.data if sp.issparse(values) else values
            n_wrong = int(np.count_nonzero((values != 0) & (values != 1)))
            if n_wrong:
                raise ValueError(
                    f"{n_wrong} of {values.size} values of X are neither 0 nor 1, which binarize=None asks for. "
                    "Nothing was changed. Set binarize to a threshold."
                )
        return checked

    def _native_twin(self, state: "BernoulliNBState", params: dict[str, Any]) -> Any:
        twin = sklearn.naive_bayes.BernoulliNB(**{name: value for name, value in params.items() if name != "classes"})
        twin.classes_ = state.classes_.copy()
        twin.class_count_ = state.class_count_.copy()
        twin.class_log_prior_ = state.class_log_prior_.copy()
        twin.feature_count_ = state.feature_count_.copy()
        twin.feature_log_prob_ = state.feature_log_prob_.copy()
        return twin

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        return 16 * n_classes * (X.shape[1] + 1)


@dataclass(frozen=True, slots=True, eq=False)
class BernoulliNBState(DiscreteNBState):
    """The published state of a `BernoulliNB`.

    Parameters
    ----------
    feature_count_, feature_log_prob_ : ndarray of shape (n_classes, n_features)
        As in the estimator.
    feature_log_odds : ndarray of shape (n_classes, n_features)
        log P(x_j = 1 | c) - log P(x_j = 0 | c), with the second taken as 0 where it is -inf.
    absent_log_prob : ndarray of shape (n_classes,)
        log P(c) + sum over features of log P(x_j = 0 | c), without those that are -inf.
    certain : ndarray of shape (n_classes, n_features), float64
        1 where a feature is certain (P(x_j = 0 | c) = 0): a row without it cannot be of the class.
    threshold : float
        Where a feature counts as 1.
    """

    feature_count_: np.ndarray
    feature_log_prob_: np.ndarray
    feature_log_odds: np.ndarray
    absent_log_prob: np.ndarray
    certain: np.ndarray
    threshold: float

    def joint_log_likelihood(self, X: Any) -> np.ndarray:
        """Return log P(x, y) for rows that were checked."""
        joint = self._sum_present(X, self.feature_log_odds, self.absent_log_prob)
        if self.certain.any():
            missing = self._sum_present(X, self.certain, -self.certain.sum(axis=1))
            joint[missing < 0] = -np.inf
        return joint

    def _sum_present(self, X: Any, terms: np.ndarray, start: np.ndarray) -> np.ndarray:
        out = np.empty((X.shape[0], len(self.classes_)))
        if sp.issparse(X):
            indptr = X.indptr.astype(np.int64, copy=False)
            indices = X.indices.astype(np.int32, copy=False)
            threshold = _threshold_in(X.data, self.threshold)
            kernels.joint_log_likelihood_csr(indptr, indices, X.data, threshold, terms, start, out)
        else:
            threshold = _threshold_in(X, self.threshold)
            kernels.joint_log_likelihood_dense(np.ascontiguousarray(X), threshold, terms, start, out)
        return out


class _BernoulliCore(Core):
    """Exact weighted counts by class code and feature; the last column counts the class itself.

    `sums` maps a block of 32 exponents to the sums of the weights in it, as int128 (see `split_weights`), and `n_rows`
    to how many rows they come from: a block without rows is dropped, so no trace of a weight outlives its row.
    """

    def __init__(self, model_name: str, params: dict[str, Any], n_features: int) -> None:
        self._model_name = model_name
        self._params = params
        self._alpha = smoothing(params, n_features)
        self._threshold = _BINARY_THRESHOLD if params["binarize"] is None else float(params["binarize"])
        self._n_features = n_features
        self._sums: dict[int, np.ndarray] = {}
        self._n_rows: dict[int, int] = {}

    def _learn(self, block: RowBlock) -> None:
        self._add(block, +1)

    def _forget(self, block: RowBlock) -> None:
        self._add(block, -1)

    def _rebuild(self, owner: Owner) -> None:
        self._sums, self._n_rows = {}, {}
        for block in owner.effective_blocks():
            self._learn(block)

    def _add(self, block: RowBlock, sign: int) -> None:
        assert block.y is not None
        codes = block.y[:, 0].astype(np.int32)
        n_codes = int(codes[0] if len(codes) == 1 else codes.max()) + 1
        if block.weight is None and len(codes) >= _BULK_ROWS:
            self._add_counts(block.X, codes, n_codes, sign)
        else:
            self._add_rows(block.X, codes, n_codes, block.weight, sign)
        for exponents in [e for e, n_rows in self._n_rows.items() if n_rows == 0]:
            del self._sums[exponents], self._n_rows[exponents]

    def _add_counts(self, X: Any, codes: np.ndarray, n_codes: int, sign: int) -> None:
        """Count rows of weight 1, and add the counts."""
        counts = np.zeros((n_codes, self._n_features + 1), dtype=np.int64)
        if isinstance(X, CsrRows):
            kernels.count_csr(*X, _threshold_in(X.data, self._threshold), codes, counts)
        else:
            kernels.count_dense(X, _threshold_in(X, self._threshold), codes, counts)
        kernels.fold(counts, self._sums_of(_UNIT_BLOCK, n_codes, sign * len(codes)), _UNIT_SHIFT, sign)

    def _add_rows(self, X: Any, codes: np.ndarray, n_codes: int, weight: np.ndarray | None, sign: int) -> None:
        """Add the weight of each row by itself, one block of exponents after the other."""
        blocks, integers = _FEW_UNITS if weight is None else split_weights(weight)
        for exponents, n_rows in _count_each(blocks[: len(codes)]):
            sums = self._sums_of(exponents, n_codes, sign * n_rows)
            if isinstance(X, CsrRows):
                threshold = _threshold_in(X.data, self._threshold)
                kernels.add_weighted_csr(*X, threshold, codes, integers, blocks, exponents, sign, sums)
            else:
                threshold = _threshold_in(X, self._threshold)
                kernels.add_weighted_dense(X, threshold, codes, integers, blocks, exponents, sign, sums)

    def _sums_of(self, exponents: int, n_codes: int, n_rows: int) -> np.ndarray:
        """Return the sums of a block of exponents, with room for `n_codes` classes, and count its rows."""
        sums = self._sums.get(exponents)
        if sums is None or len(sums) < n_codes:
            grown = np.zeros((n_codes, self._n_features + 1, 2), dtype=np.int64)
            if sums is not None:
                grown[: len(sums)] = sums
            self._sums[exponents] = sums = grown
        self._n_rows[exponents] = self._n_rows.get(exponents, 0) + n_rows
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

    def publish(self, owner: Owner) -> BernoulliNBState:
        """Return the probabilities that the counts give."""
        codes, labels = classes_with_rows(owner, self._model_name)
        has_rows = owner.codes.n_effective[codes] > 0
        exponents, sums = zip(*self._sums_in_order(codes), strict=True)
        counts = round_sums(list(exponents), list(sums))
        feature_count, class_count = counts[:, :-1].copy(), counts[:, -1].copy()
        smoothed_class = class_count[:, None] + 2 * np.broadcast_to(self._alpha, (1, self._n_features))
        with np.errstate(invalid="ignore"):  # alpha=0 in a class without rows: 0 of 0
            present = ln(feature_count + self._alpha) - ln(smoothed_class)
            present[smoothed_class == 0] = -ln(np.array([2.0]))[0]  # scikit-learn would predict a class that is NaN
            absent = ln((class_count[:, None] - feature_count) + self._alpha) - ln(smoothed_class)
            certain = np.isneginf(absent)
            absent[certain] = 0.0
            log_odds = np.where(has_rows[:, None], present - absent, 0.0)
            absent = np.where(has_rows[:, None], absent, 0.0)
        prior = class_log_prior(self._params, class_count, has_rows)
        state = BernoulliNBState(
            classes_=labels,
            class_count_=class_count,
            class_log_prior_=prior,
            feature_count_=feature_count,
            feature_log_prob_=present,
            feature_log_odds=log_odds,
            absent_log_prob=prior + sum_in_order(absent),
            certain=certain.astype(np.float64),
            threshold=self._threshold,
        )
        freeze(labels, class_count, prior, feature_count, present)
        return state

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the exact sums, block of exponents by block, classes in the order of their labels."""
        codes, _ = owner.codes.classes()
        return [
            exponents.to_bytes(1, "little") + sums.astype("<i8", copy=False).tobytes()
            for exponents, sums in self._sums_in_order(codes)
        ]

    def nbytes(self) -> int:
        """Return the size of the counts in bytes."""
        return sum(sums.nbytes for sums in self._sums.values())


def _threshold_in(values: np.ndarray, threshold: float) -> float:
    """Return the threshold as NumPy compares it with values: in their own width."""
    return float(np.float32(threshold)) if values.dtype == np.float32 else threshold


def _count_each(blocks: np.ndarray) -> list[tuple[int, int]]:
    """Return which blocks of exponents there are, and how many rows have theirs."""
    if len(blocks) == 1:
        return [(int(blocks[0]), 1)]
    distinct, counts = np.unique(blocks, return_counts=True)
    return list(zip(distinct.tolist(), counts.tolist(), strict=True))
