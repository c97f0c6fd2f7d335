"""`skunlearn.targets`: what a user gives as y comes back from the columns of the store."""

import numpy as np
import pytest

from skunlearn.class_codes import ClassCodes
from skunlearn.targets import Labels, Targets, Values

LABELS = np.array(["b", "a", "b", "c"])
NUMBERS = np.array([[0.5, -1.0], [0.1, 1e300], [5e-324, 0.0], [3.0, 4.0]])


@pytest.mark.parametrize(
    ("targets", "y"),
    [
        (Targets(), None),
        (Labels(ClassCodes()), LABELS),
        (Values.like(NUMBERS[:, 0]), NUMBERS[:, 0]),
        (Values.like(NUMBERS[:, :1]), NUMBERS[:, :1]),
        (Values.like(NUMBERS), NUMBERS),
    ],
    ids=["none", "labels", "one", "a column", "two"],
)
def test_targets_come_back(targets, y):
    """decode is the inverse of encode, in shape and bits, also in a twin made from a header."""
    columns = targets.encode(y)
    targets.count(columns, None, +1)
    assert targets.is_header(targets.header())
    assert set(targets.header()) == set(targets.FIELDS)
    restored = type(targets).restore(targets.header(), targets.n_columns)
    assert restored.n_columns == targets.n_columns == (0 if columns is None else columns.shape[1])
    if y is None:
        assert columns is targets.decode(columns) is None
        return
    assert targets.n_wrong(columns) == restored.n_wrong(columns) == 0
    assert targets.decode(columns).tolist() == y.tolist()
    assert targets.decode(columns).shape == y.shape
    assert restored.decode(targets.canonical(columns).reshape(columns.shape)).tolist() == y.tolist()


def test_wrong_columns_are_counted():
    """Codes that no label has, and values that are not finite."""
    labels = Labels(ClassCodes())
    labels.encode(LABELS)
    assert labels.n_wrong(np.array([[0.0], [2.0], [3.0], [-1.0], [0.5], [np.nan]])) == 4
    assert Values(2, 2).n_wrong(np.array([[0.0, 1.0], [np.inf, 1.0], [np.nan, np.nan]])) == 2


@pytest.mark.parametrize("dimensions", [0, 3, 1.0, True, None, "2"])
def test_damaged_dimensions_are_no_header(dimensions):
    """Only 1 and 2 are dimensions of y."""
    assert not Values.is_header({"target_dimensions": dimensions})
