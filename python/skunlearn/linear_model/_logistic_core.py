"""What logistic regression derives from its rows: a proved point of a lattice."""

import math
from typing import Any

import numpy as np

from skunlearn._lattice_core import Family, LatticeCore
from skunlearn._linalg.likelihood import LabelledRows, Likelihood
from skunlearn.exceptions import CertificateError, DegenerateRowsError
from skunlearn.live import Owner
from skunlearn.rows import RowBlock

__all__ = ["LogisticCore", "LogisticFamily", "class_factors", "codes_with_rows", "labelled_rows", "log_ratio"]


class LogisticCore(LatticeCore):
    """The minimum of the penalised log likelihood.

    C, fit_intercept, intercept_scaling, solver and class_weight are read.
    """

    def _family(self, owner: Owner) -> "LogisticFamily":
        codes = codes_with_rows(owner, self._model_name)
        factors = class_factors(owner, codes, self._params["class_weight"])
        if not np.isfinite(factors).all():
            raise self._no_minimum()
        return LogisticFamily(codes, factors, self._params, self._n_features)

    def _no_minimum(self) -> CertificateError:
        return CertificateError(
            f"The rows of this {self._model_name} have no optimum that can be proved in float64: without a penalty the "
            "classes may be separable, or columns depend on each other or differ too much in scale. Choose a "
            "smaller C, or scale the columns."
        )


class LogisticFamily(Family):
    """Classes that have rows, and what the weights of rows of each are multiplied by.

    Parameters
    ----------
    codes : ndarray of shape (n_present,)
        Codes of the classes, in the order of their labels.
    factors : ndarray of shape (n_present,)
        What weights are multiplied by.
    params : dict
        The frozen parameters.
    n_features : int
        Width of X.
    """

    def __init__(self, codes: np.ndarray, factors: np.ndarray, params: dict[str, Any], n_features: int) -> None:
        self.codes = codes
        self.factors = factors
        self._params = params
        declared = params["classes"]
        is_binary = len(codes) == 2 and (declared is None or len(declared) == 2)
        self.shape = (1 if is_binary else len(codes), n_features + 1)

    def rows(self, block: RowBlock, which: int) -> LabelledRows | None:
        """Return rows with labels by the order of the codes; None if a row has another code."""
        return labelled_rows(block, self.codes, self.factors)

    def drift(self, then: Any, which: int) -> float:
        """Bound |log| of the ratio of the factors of a class."""
        if len(then.codes) != len(self.codes) or (then.codes != self.codes).any():
            return np.inf
        return log_ratio(self.factors, then.factors)

    def likelihood(self, which: int, **parts: Any) -> Likelihood:
        """Return the objective."""
        alpha = 1.0 / self._params["C"]
        penalty = np.append(np.ldexp(alpha, -2 * parts["exponents"]), 0.0)
        if self._params["solver"] == "liblinear":  # there the intercept is the coefficient of a constant column
            penalty[-1] = alpha / self._params["intercept_scaling"] ** 2
        return Likelihood(n_scores=self.shape[0], penalty=penalty, has_intercept=self._params["fit_intercept"], **parts)


def log_ratio(now: np.ndarray, then: np.ndarray) -> float:
    """Bound the largest |log| of the ratio of two factors."""
    return float(np.abs(np.log(now / then)).max()) + 2.0**-40 * bool((now != then).any())


def codes_with_rows(owner: Owner, model_name: str) -> np.ndarray:
    """Return the codes of classes with rows, in the order of their labels."""
    codes, _ = owner.codes.classes()
    codes = codes[owner.codes.n_effective[codes] > 0]
    if len(codes) < 2:
        raise DegenerateRowsError(
            f"This {model_name} has rows of {len(codes)} classes left, and needs rows of at least 2. Call "
            "partial_fit or fit."
        )
    return codes


def class_factors(owner: Owner, codes: np.ndarray, chosen: Any) -> np.ndarray:
    """Return what the weights of rows of each class are multiplied by."""
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
