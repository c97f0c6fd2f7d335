"""`skunlearn.digest`: equal models have equal digests, different ones different, and history is no difference."""

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp

import skunlearn
from skunlearn.digest import canonical
from skunlearn.naive_bayes import BernoulliNB, CategoricalNB

pytestmark = pytest.mark.filterwarnings("ignore::skunlearn.exceptions.SkunlearnWarning")
estimators = pytest.mark.parametrize("Estimator", [BernoulliNB, CategoricalNB])

X = np.random.default_rng(1).integers(0, 3, (12, 3)).astype(float)
Y = np.arange(12) % 3
IDS = np.arange(12) + 50


def fit(
    Estimator: Any, X: Any = X, y: Any = Y, weight: Any = None, ids: Any = IDS, subjects: Any = None, **params: Any
) -> Any:
    return Estimator(**params).fit(X, y, weight, sample_ids=ids, subject_ids=subjects)


def digest(model: Any) -> bytes:
    return skunlearn.state_digest(model)


@estimators
def test_a_digest_is_32_bytes_and_repeats(Estimator: Any) -> None:
    """Under another key, after reading, twice: the same."""
    model = fit(Estimator)
    first = digest(model)
    assert isinstance(first, bytes)
    assert len(first) == 32
    model.predict(X)
    assert digest(model) == first == digest(fit(Estimator))


@estimators
def test_history_is_no_difference(Estimator: Any) -> None:
    """Order, batches, detours by rows that came and went, classes and categories that vanished."""
    direct = fit(Estimator)
    order = np.random.default_rng(2).permutation(12)
    winding = fit(Estimator, X[order[:5]], Y[order[:5]], ids=IDS[order[:5]])
    winding.partial_fit(np.full((2, 3), 9.0), [77, 78], sample_ids=[1, 2])
    for n in order[5:]:
        winding.partial_fit(X[n : n + 1], Y[n : n + 1], sample_ids=IDS[n : n + 1])
    winding.partial_forget([2]).partial_forget(IDS[order[:2]]).partial_fit(
        X[order[:2]], Y[order[:2]], sample_ids=IDS[order[:2]]
    )
    winding.partial_forget([1])

    assert digest(winding) == digest(direct) == digest(skunlearn.reference_fit(winding))
    assert winding.predict_proba(X).tobytes() == direct.predict_proba(X).tobytes()


OTHER = X.copy()
OTHER[3, 1] = (OTHER[3, 1] + 1) % 3
SWAPPED = IDS.copy()
SWAPPED[[0, 1]] = SWAPPED[[1, 0]]
DIFFERENT = {
    "one value": {"X": OTHER},
    "one label": {"y": np.r_[Y[:-1], 0]},
    "one weight": {"weight": np.r_[np.ones(11), 1 + 2**-52]},
    "weight 0": {"weight": np.r_[np.ones(11), 0]},
    "one row less": {"X": X[:-1], "y": Y[:-1], "ids": IDS[:-1]},
    "another id": {"ids": IDS + (IDS == 61)},
    "two rows under each other's ids": {"ids": SWAPPED},
    "str ids": {"ids": [str(i) for i in IDS]},
    "subjects": {"subjects": ["s"] * 12},
    "other subjects": {"subjects": ["s"] * 11 + ["t"]},
    "sparse rows": {"X": sp.csr_array(X)},
    "names of columns": {"X": pd.DataFrame(X, columns=list("abc"))},
    "other names": {"X": pd.DataFrame(X, columns=list("abd"))},
    "alpha": {"alpha": 0.5},
    "fit_prior": {"fit_prior": False},
    "class_prior": {"class_prior": [0.5, 0.25, 0.25]},
    "class_prior in a series": {"class_prior": pd.Series([0.25, 0.5, 0.25])},
    "another in a series": {"class_prior": pd.Series([0.25, 0.25, 0.5])},
    "declared classes": {"classes": [0, 1, 2]},
    "more declared classes": {"classes": [0, 1, 2, 3]},
    "force_alpha": {"force_alpha": False},
}


@estimators
def test_every_difference_is_one(Estimator: Any) -> None:
    """Whatever the model is a function of: all digests differ, pairwise."""
    digests = {"plain": digest(fit(Estimator))}
    for name, change in DIFFERENT.items():
        digests[name] = digest(fit(Estimator, **change))
    assert len(set(digests.values())) == len(digests)


@estimators
def test_weights_of_equal_rows_belong_to_their_ids(Estimator: Any) -> None:
    """Two equal rows with each other's weights: all counts are the same, and what a forget would do is not."""
    twice = np.repeat(X[:6], 2, axis=0), np.repeat(Y[:6], 2)
    one, other = (fit(Estimator, *twice, weight=np.tile(pair, 6)) for pair in ([1.0, 2.0], [2.0, 1.0]))

    assert one.predict_proba(X).tobytes() == other.predict_proba(X).tobytes()
    assert digest(one) != digest(other)


def test_classes_of_estimators_differ() -> None:
    """The same rows in another algorithm."""
    assert digest(fit(BernoulliNB)) != digest(fit(CategoricalNB))


@estimators
def test_what_is_the_same_value_is_no_difference(Estimator: Any) -> None:
    """1 and 1.0, a list and an array, -0.0 and 0.0, a pandas and a polars frame."""
    plain = digest(fit(Estimator))
    assert digest(fit(Estimator, alpha=1)) == digest(fit(Estimator, alpha=np.float64(1))) == plain
    assert digest(fit(Estimator, X=np.where(X == 0, -0.0, X))) == plain
    assert digest(fit(Estimator, weight=np.ones(12))) == plain
    named = digest(fit(Estimator, X=pd.DataFrame(X, columns=list("abc"))))
    assert digest(fit(Estimator, X=pl.DataFrame(X, schema=list("abc")))) == named != plain
    prior = [0.5, 0.25, 0.25]
    assert digest(fit(Estimator, class_prior=prior)) == digest(fit(Estimator, class_prior=np.array(prior)))


@estimators
@pytest.mark.parametrize("left", [0, 1, 5])
def test_a_reference_fit_is_the_model(Estimator: Any, left: int) -> None:
    """Also on sets that fit refuses; it is a model of its own, with the key and the parameters of fit."""
    subjects = ["s"] * 6 + ["t"] * 6
    model = fit(Estimator, weight=np.arange(12.0), subjects=subjects).partial_forget(IDS[: 12 - left])
    model.set_params(alpha=7.0)

    twin = skunlearn.reference_fit(model)

    assert type(twin) is Estimator
    assert digest(twin) == digest(model)
    assert twin._live.key == model._live.key
    if left:
        twin.partial_forget(IDS[-1:])
        assert model.n_live_ == left
        assert digest(twin) != digest(model)


@estimators
def test_rows_with_and_without_a_subject_are_told_apart(Estimator: Any) -> None:
    """Rows that arrive later without subjects belong to nobody, in the reference as well."""
    model = fit(Estimator, subjects=[""] * 6 + ["t"] * 6)
    model.partial_fit(X[:2], Y[:2], sample_ids=[1, 2])
    model.partial_fit(X[:2], Y[:2], sample_ids=[3, 4], subject_ids=["", "t"])

    assert digest(model) == digest(skunlearn.reference_fit(model))
    before = digest(model)
    owned = fit(Estimator, subjects=[""] * 6 + ["t"] * 6)
    owned.partial_fit(X[:2], Y[:2], sample_ids=[1, 2], subject_ids=["", ""])
    owned.partial_fit(X[:2], Y[:2], sample_ids=[3, 4], subject_ids=["", "t"])
    assert digest(owned) != before
    assert model.partial_forget(subject_ids=[""]).n_live_ == 9
    assert digest(model) == digest(skunlearn.reference_fit(model))


EQUAL = [
    [1, 1.0, True, np.int8(1), np.float32(1)],
    [0, -0.0, False],
    ["a", np.str_("a")],
    [[1, 2], (1, 2), range(1, 3), np.array([1, 2]), np.array([1.0, 2.0]), pd.Series([1, 2]), pl.Series([1, 2])],
    [3, np.array(3)],
    [None],
    [{"a": 1, "b": 2}, {"b": 2, "a": 1}],
    [[]],
    [{}],
    [""],
    [0.1, np.float64(0.1)],
    [2**70, float(2**70)],
    [float("inf")],
    [float("nan")],
    [[[1], 2]],
    [[1, [2]]],
    [["ab", "c"]],
    [["a", "bc"]],
    ["1"],
    [{"a": "b"}],
    [["a", "b"]],
    ["\ud800"],
]


@pytest.mark.parametrize("values", EQUAL, ids=lambda values: repr(values[0]))
def test_canonical_bytes_are_shared_by_equal_values_only(values: list[Any]) -> None:
    """Equal values have equal bytes, and no two unequal ones of the table share theirs."""
    mine = {canonical(value) for value in values}
    others = {canonical(value) for group in EQUAL if group is not values for value in group}
    assert len(mine) == 1
    assert not mine & others
