"""Folds by a keyed hash: no deletion moves another row."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_score

from skunlearn import Key
from skunlearn.utils import KeyedKFold


def folds_of(ids, **params):
    folds = np.full(len(ids), -1)
    for fold, (train, test) in enumerate(KeyedKFold(**params).split(ids, groups=ids)):
        assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(len(ids)))
        folds[test] = fold
    return folds


@pytest.mark.parametrize("ids", [np.arange(-50, 200), [f"p{i}" for i in range(250)]], ids=["int64", "str"])
def test_no_deletion_and_no_order_moves_a_row(ids):
    folds = folds_of(ids, n_splits=4, random_state=3)
    assert np.bincount(folds).min() > 30
    kept = np.flatnonzero(np.arange(250) % 3)[::-1]
    np.testing.assert_array_equal(folds_of([ids[i] for i in kept], n_splits=4, random_state=3), folds[kept])


def test_rows_of_a_person_stay_together_and_another_key_parts_others():
    people = np.arange(200) % 40
    folds = folds_of(people, random_state=Key(bytes(32)))
    assert all(len(set(folds[people == p])) == 1 for p in range(40))
    assert not np.array_equal(folds, folds_of(people, random_state=1))


def test_it_is_a_cv_of_scikit_learn():
    X = np.arange(60.0).reshape(-1, 1)
    scores = cross_val_score(LinearRegression(), X, X.ravel(), groups=np.arange(60), cv=KeyedKFold(4, random_state=0))
    np.testing.assert_allclose(scores, 1.0)
    assert KeyedKFold(7).get_n_splits() == 7


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="needs groups"):
        next(KeyedKFold().split([[1], [2]]))
    with pytest.raises(ValueError, match="at least 2"):
        next(KeyedKFold(1).split([[1], [2]], groups=[1, 2]))
    with pytest.raises(ValueError, match="fewer folds"):
        list(KeyedKFold(5, random_state=0).split([[1], [2]], groups=[1, 2]))
