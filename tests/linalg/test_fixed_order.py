"""`skunlearn._linalg.fixed_order`: the bits of one IEEE operation after the other."""

import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from skunlearn._linalg.fixed_order import product, squared_distances, sum_in_order

sys.path.insert(0, str(Path(__file__).parent))
import oracle

sizes = pytest.mark.parametrize(("n", "k", "d"), [(1, 1, 1), (3, 2, 7), (4, 5, 8), (5, 3, 29), (2, 0, 3), (0, 2, 3)])


def matrices(n, k, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.7), rng.normal(size=(k, d)), rng.normal(size=k)


@sizes
def test_products_have_the_bits_of_a_plain_evaluation(n, k, d):
    """Eight lanes and their tree, dense or sparse; the offset comes last."""
    rows, others, offset = matrices(n, k, d)
    expected = [[b + oracle.dot(x, y) for y, b in zip(others.tolist(), offset, strict=True)] for x in rows.tolist()]

    for given in (rows, np.asfortranarray(rows), sp.csr_array(rows)):
        assert product(given, np.asfortranarray(others), offset).tolist() == expected


@sizes
def test_squared_distances_have_the_bits_of_products_squared_and_summed(n, k, d):
    rows, whitening, _ = matrices(n, k, d)
    mean = np.random.default_rng(1).normal(size=d)

    whitened = product(rows - mean, whitening)

    assert squared_distances(rows, mean, whitening).tolist() == sum_in_order(whitened * whitened).tolist()


def test_sums_go_from_left_to_right():
    terms = np.array([[2.0**53, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 2.0**53]])
    assert sum_in_order(terms).tolist() == [2.0**53, 2.0**53 + 4.0]
    assert sum_in_order(np.empty((2, 0))).tolist() == [0.0, 0.0]
