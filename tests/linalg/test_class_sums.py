"""Sums by class beside one Gram matrix: column 0 of a Gram matrix for each class, over any history."""

import numpy as np
import pytest
import scipy.sparse as sp

from skunlearn._linalg.moments import Moments, Rows
from skunlearn.rows import CsrRows


def rows(X, y, weight, at, *, csr):
    X = X[at]
    if csr:
        X = sp.csr_array(X)
        X = CsrRows(X.indptr.astype(np.int64), X.indices.astype(np.int32), X.data)
    return Rows(X, None, None if weight is None else weight[at], y[at])


@pytest.mark.parametrize("csr", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_sums_by_class_are_those_of_gram_matrices_by_class(weighted, csr, seed):
    """Learning, forgetting and every change of scale: the total is their sum, and the sums are their first columns."""
    rng = np.random.default_rng(seed)
    n, n_classes = 300, 4
    X = np.column_stack(
        [
            rng.standard_normal(n) * 2.0 ** rng.integers(-40, 40, n),
            rng.integers(-9, 9, n) * 2.0 ** rng.integers(0, 9, n),
            rng.pareto(0.7, n),
            rng.random(n) < 0.2,
            np.zeros(n),
            rng.standard_normal((n, 15)),  # so that some columns in this many are recomputed, and not all
        ]
    )
    y = rng.integers(0, n_classes, n).astype(np.int32)
    weight = rng.random(n) * 2.0 ** rng.integers(-9, 9, n) if weighted else None
    live = np.zeros(n, dtype=bool)
    together, apart = Moments(20, class_sums=True), Moments(20)

    for _ in range(40):
        is_learning = rng.random() < 0.5
        there = np.flatnonzero(~live if is_learning else live)
        at = rng.permutation(there)[: rng.choice([1, 3, 80])]
        if len(at) == 0:
            continue
        live[at] = is_learning
        for moments in (together, apart):
            (moments.learn if is_learning else moments.forget)(rows(X, y, weight, at, csr=csr))
        if rng.random() < 0.5:
            blocks = [rows(X, y, weight, np.flatnonzero(live), csr=csr)] if live.any() else []
            for moments in (together, apart):
                moments.settle(lambda blocks=blocks: blocks)
            assert_same(together, apart, n_classes)


def assert_same(together, apart, n_classes):
    assert together.shifts.tolist() == apart.shifts.tolist()
    for code in range(n_classes):
        want = apart.sums(code) if code in apart.codes else [0] * apart.n_columns
        assert together.class_sums(code) == want
    if apart.codes:
        total = sum(np.array(apart.integers(code), dtype=object) for code in apart.codes)
        assert together.integers() == total.tolist()


def test_sums_of_the_largest_integers_do_not_overflow():
    """2**53 times 2**53, a few thousand times: beyond 2**117, and exact."""
    n = 5000
    largest = 2 - 2.0**-52
    X, weight = np.full((n, 2), largest), np.full(n, (2 - 2.0**-26) ** 2)
    X[:, 1] *= -1
    moments = Moments(2, class_sums=True)
    moments.rebuild(lambda: [Rows(X, None, weight, np.zeros(n, dtype=np.int32))])
    assert moments.class_sums(0) == moments.sums()
    assert moments.class_sums(0)[1] > 2**116
