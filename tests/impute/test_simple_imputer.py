"""SimpleImputer: its statistics are scikit-learn's or on a lattice, and forgetting is a refit."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.impute

from skunlearn import Key, reference_fit, state_digest
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.impute import SimpleImputer

N_ROWS = 60
IDS = np.arange(N_ROWS) * 3
_RNG = np.random.default_rng(0)
GAPS = _RNG.choice([1.5, 2.5, np.nan, -3.0, 7.0], (N_ROWS, 4))
GAPS[:, 2], GAPS[:, 3] = np.nan, _RNG.integers(0, 3, N_ROWS)
WHOLE = _RNG.integers(-1, 4, (N_ROWS, 3))
WORDS = _RNG.choice(np.array(["a", "b", "c", np.nan], dtype=object), (N_ROWS, 2))
NONES = _RNG.choice(np.array(["a", "b", None], dtype=object), (N_ROWS, 2))
SPARSE = sp.csr_array(np.where(GAPS[:, [0, 1, 3]] == 1.5, 0, GAPS[:, [0, 1, 3]]))
SETTINGS = [
    ({}, GAPS),
    ({"add_indicator": True}, GAPS),
    ({"keep_empty_features": True, "add_indicator": True}, GAPS),
    ({"missing_values": -1}, WHOLE.astype(float)),
    ({}, GAPS.astype(np.float32)),
    ({}, SPARSE),
    ({"strategy": "median"}, GAPS),
    ({"strategy": "median", "add_indicator": True, "keep_empty_features": True}, GAPS),
    ({"strategy": "median", "missing_values": -1}, WHOLE),
    ({"strategy": "median"}, SPARSE),
    ({"strategy": "most_frequent"}, GAPS),
    ({"strategy": "most_frequent", "missing_values": -1}, WHOLE),
    ({"strategy": "most_frequent"}, WORDS),
    ({"strategy": "most_frequent", "missing_values": None, "add_indicator": True}, NONES),
    ({"strategy": "most_frequent", "add_indicator": True}, SPARSE),
    ({"strategy": "constant"}, GAPS),
    ({"strategy": "constant", "fill_value": "none", "add_indicator": True}, WORDS),
    ({"strategy": "constant", "missing_values": -1, "fill_value": 9}, WHOLE),
    ({"strategy": "constant", "keep_empty_features": True, "fill_value": 2.5}, GAPS),
    ({"strategy": np.ptp}, GAPS[:, :2]),
]
settings = pytest.mark.parametrize(("params", "X"), SETTINGS)
pytestmark = pytest.mark.filterwarnings("ignore:Skipping features without any observed values")


def equal(a, b, rtol):
    """Equal objects; numbers to `rtol`."""
    a, b = (x.toarray() if sp.issparse(x) else np.asarray(x) for x in (a, b))
    if a.dtype == object:
        return a.shape == b.shape and all(x == y or (x != x and y != y) for x, y in zip(a.flat, b.flat, strict=True))
    return np.allclose(a, b.astype(float), rtol=rtol, atol=0, equal_nan=True)


@settings
def test_release_is_what_sklearn_fits(params, X):
    """With exact statistics: the attributes and answers of scikit-learn's own, means to rounding."""
    model = SimpleImputer(**params, exact_statistics=True).fit(X)
    theirs = sklearn.impute.SimpleImputer(**params).fit(X)
    ours, wanted = vars(model.release()), vars(theirs)
    rtol = 1e-6 if X.dtype == np.float32 else 1e-9

    assert ours.keys() == wanted.keys()
    assert {k: ours[k] for k in ("_fit_dtype", "_fill_dtype")} == {k: wanted[k] for k in ("_fit_dtype", "_fill_dtype")}
    assert equal(ours["statistics_"], wanted["statistics_"], rtol)
    if params.get("add_indicator"):
        assert ours["indicator_"].features_.tolist() == wanted["indicator_"].features_.tolist()
        if X is GAPS and "keep_empty_features" not in params:
            assert equal(model.inverse_transform(theirs.transform(X)), theirs.inverse_transform(theirs.transform(X)), 0)
    assert model.transform(X).dtype == theirs.transform(X).dtype
    assert equal(model.transform(X), theirs.transform(X), rtol)
    assert model.get_feature_names_out().tolist() == theirs.get_feature_names_out().tolist()


@pytest.mark.parametrize("exact_statistics", [True, False])
@settings
def test_forgetting_equals_refit(params, X, exact_statistics):
    """Whatever is forgotten and learned again: digest, pickle and transform digest are those of a refit."""
    params = {**params, "exact_statistics": exact_statistics, "random_state": 3}
    model, rng = SimpleImputer(**params).fit(X, sample_ids=IDS), np.random.default_rng(1)
    live = np.ones(N_ROWS, dtype=bool)
    for n in (1, 5, 30, 1, 14):
        going = rng.choice(np.flatnonzero(live), n, replace=False)
        model.partial_forget(IDS[going])
        live[going] = False
        back = rng.choice(np.flatnonzero(~live), n // 2, replace=False)
        if len(back):
            model.partial_fit(X[back], sample_ids=IDS[back])
        live[back] = True
        fresh = SimpleImputer(**params).fit(X[live], sample_ids=IDS[live])
        assert state_digest(model) == state_digest(fresh) == state_digest(reference_fit(model))
        assert model.transform_digest() == fresh.transform_digest()
        assert pickle.dumps(model) == pickle.dumps(reference_fit(model))
        assert state_digest(pickle.loads(pickle.dumps(model))) == state_digest(model)


@pytest.mark.parametrize("strategy", ["mean", "median"])
def test_lattice_is_near_and_keyed(strategy):
    """Published statistics are within a quarter of a scale of the true ones, and few deletions change the map."""
    X = np.random.default_rng(0).normal(size=(2000, 3)) * [1, 1e3, 1e-3]
    spread = X.std(axis=0) if strategy == "mean" else np.quantile(X, 0.75, axis=0) - np.quantile(X, 0.25, axis=0)
    true = X.mean(axis=0) if strategy == "mean" else np.median(X, axis=0)
    model = SimpleImputer(strategy=strategy, random_state=Key(bytes(32))).fit(X)

    assert (np.abs(model.statistics_ - true) <= 0.26 * 2**0.125 * spread).all()
    assert (model.statistics_ != true).all()
    other = SimpleImputer(strategy=strategy, random_state=1).fit(X)
    assert other.transform_digest() != model.transform_digest()
    digests = [model.partial_forget([i]).transform_digest() for i in range(100)]
    assert sum(a != b for a, b in pairwise(digests)) <= 3


def test_ties_and_types():
    """Of equally frequent values the smallest is filled in, of whatever types they are."""
    X = np.array([["b"], ["a"], [2], [1.0], [True], [None]], dtype=object)
    model = SimpleImputer(strategy="most_frequent", missing_values=None).fit(X, sample_ids=[1, 2, 3, 4, 5, 6])

    assert model.statistics_.tolist() == [True]  # 1.0 and True are one value
    model.partial_forget([4])
    assert model.statistics_.tolist() == [True]
    model.partial_forget([5, 3])
    assert model.statistics_.tolist() == ["a"]


def test_transform_digest_tells_maps_apart():
    """Statistics, what is missing, the indicator, the layout and the dtype are in it."""
    models = [
        SimpleImputer(exact_statistics=True).fit(GAPS),
        SimpleImputer(exact_statistics=True, add_indicator=True).fit(GAPS),
        SimpleImputer(exact_statistics=True, keep_empty_features=True).fit(GAPS),
        SimpleImputer(exact_statistics=True).fit(GAPS.astype(np.float32)),
        SimpleImputer(strategy="constant").fit(GAPS),
        SimpleImputer(strategy="constant", fill_value=2).fit(GAPS),
        SimpleImputer(strategy="constant", fill_value=2, missing_values=-1).fit(WHOLE),
        SimpleImputer(strategy="constant", fill_value=2, missing_values=3).fit(WHOLE),
    ]

    assert len({model.transform_digest() for model in models}) == len(models)


def test_a_vanished_fill_is_nowhere():
    """The most frequent word goes with its rows: out of pickle, repr and release."""
    word = "most-frequent-0x5eed"
    X = np.array([[word], [word], ["b"], [None]], dtype=object)
    model = SimpleImputer(strategy="most_frequent", missing_values=None).fit(X, sample_ids=[1, 2, 3, 4])
    assert word.encode() in pickle.dumps(model)
    assert model.statistics_.tolist() == [word]

    model.partial_forget([1, 2])

    assert model.statistics_.tolist() == ["b"]
    assert word.encode() not in pickle.dumps(model)
    assert word.encode() not in pickle.dumps(model.release())
    assert model._live.rows.columns.sorted_values() == [["b", None]]
    assert word not in repr(model._live.core.values) + repr(model._live.core.counts)


def test_degenerate_rows():
    """A column without a value left is left out, or 0; without rows nothing is published."""
    X = [[1.0, np.nan], [3.0, 5.0]]
    for strategy in ("mean", "median", "most_frequent"):
        model = SimpleImputer(strategy=strategy, exact_statistics=True).fit(X, sample_ids=[1, 2])
        kept = SimpleImputer(strategy=strategy, exact_statistics=True, keep_empty_features=True).fit(X)
        assert model.partial_forget([2]).transform([[np.nan, 9.0]]).tolist() == [[1.0]]
        assert kept.partial_forget([1]).transform([[np.nan, np.nan]]).tolist() == [[1.0, 0.0]]
        with pytest.raises(DegenerateRowsError):
            model.partial_forget([1]).transform(X)
        assert model.partial_fit([[4.0, 4.0]], sample_ids=[3]).statistics_.tolist() == [4.0, 4.0]


@pytest.mark.parametrize(
    ("params", "X", "message"),
    [
        ({}, np.array([["secret"]], dtype=object), "Cannot use mean strategy with non-numeric data"),
        ({"strategy": "most_frequent"}, np.array([["a"]]), "does not support data with dtype"),
        ({"missing_values": 0}, sp.csr_array(np.eye(2)), "missing_values == 0 and input is sparse"),
        ({"missing_values": "NA"}, np.eye(2), "must be both numerical"),
        ({"strategy": "constant", "fill_value": "x"}, np.eye(2), "cannot be cast"),
    ],
)
def test_what_is_refused(params, X, message):
    """As in scikit-learn, without a value in the text."""
    with pytest.raises((TypeError, ValueError), match=message) as refusal:
        SimpleImputer(**params).fit(X)
    assert "secret" not in str(refusal.value)
