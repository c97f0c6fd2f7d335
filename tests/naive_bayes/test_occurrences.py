"""`MultinomialNB` and `ComplementNB`: exact sums of any sizes, and scikit-learn's answers to rounding."""

import copy
import importlib.util
import os
import pickle
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.naive_bayes
from sklearn.datasets import load_digits

from skunlearn import reference_fit, state_digest
from skunlearn._linalg import _tallies
from skunlearn.exceptions import DamagedStateError, DegenerateRowsError
from skunlearn.live import LiveModel
from skunlearn.naive_bayes import ComplementNB, MultinomialNB

PAIRS = [
    (MultinomialNB, sklearn.naive_bayes.MultinomialNB, {}),
    (MultinomialNB, sklearn.naive_bayes.MultinomialNB, {"alpha": 0.1, "fit_prior": False}),
    (ComplementNB, sklearn.naive_bayes.ComplementNB, {}),
    (ComplementNB, sklearn.naive_bayes.ComplementNB, {"alpha": 0.3, "norm": True}),
]
pairs = pytest.mark.parametrize(("Ours", "Theirs", "params"), PAIRS)
both = pytest.mark.parametrize("Ours", [MultinomialNB, ComplementNB])


def occurrences(n=200, d=9, seed=0):
    rng = np.random.default_rng(seed)
    return rng.poisson(0.7, (n, d)).astype(float), rng.integers(0, 3, n), rng.random(n) * 3


def sizes_of_all_kinds(n=60, d=5, seed=0):
    """Values whose exponents span the float64, zeros and subnormals among them."""
    rng = np.random.default_rng(seed)
    X = rng.random((n, d)) * 2.0 ** rng.integers(-1000, 1000, (n, d))
    X[rng.random((n, d)) < 0.2] = 0.0
    X[0], X[1] = 5e-324, 2.0**-1040
    return X, rng.integers(0, 2, n), rng.choice([1.0, 0.1, 3.0, 1e-300, 1e6], n)


def exact_sums(X, y, weight, kept):
    """Sums by class of fl(weight * x), in rational numbers, and rounded once."""
    return [
        [float(sum((Fraction(weight[i] * X[i, j]) for i in kept if y[i] == c), Fraction(0))) for j in range(X.shape[1])]
        for c in np.unique(y[kept]).tolist()
    ]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@both
def test_sums_are_exact_whatever_their_sizes(Ours, dtype, layout, weighted):
    """feature_count_ is the exact sum of the products of weight and value, rounded once, after forgetting too."""
    X, y, weight = sizes_of_all_kinds()
    with np.errstate(over="ignore", under="ignore"):
        X = np.clip(X.astype(dtype), 0, 1e38 if dtype == np.float32 else 1e299).astype(dtype)
    weight = weight if weighted else np.ones(len(X))
    model = Ours().fit(sp.csr_array(X) if layout == "csr" else X, y, weight if weighted else None)

    going = np.random.default_rng(1).permutation(len(X))[:20]
    for i in going[:10].tolist():
        model.partial_forget([i])
    model.partial_forget(going[10:])

    kept = np.setdiff1d(np.arange(len(X)), going).tolist()
    assert model.feature_count_.tolist() == exact_sums(X.astype(float), y, weight, kept)
    assert model.class_count_.tolist() == [
        float(sum((Fraction(weight[i]) for i in kept if y[i] == c), Fraction(0))) for c in (0, 1)
    ]
    assert state_digest(model) == state_digest(reference_fit(model))


@both
def test_float_sums_would_be_caught(Ours):
    """Floats added one by one miss the exact sum of the same values, which the model has."""
    X, y = np.random.default_rng(0).random((500, 1)), np.zeros(500, dtype=int)
    exact = float(sum(map(Fraction, X[:, 0].tolist())))
    assert Ours().fit(X, y).feature_count_[0, 0] == exact
    assert np.add.accumulate(X)[-1, 0] != exact


@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("weighted", [False, True])
@pairs
def test_as_scikit_learn(Ours, Theirs, params, weighted, layout):
    """Attributes and probabilities are scikit-learn's at rtol 1e-9."""
    X, y, weight = occurrences()
    X = sp.csr_array(X) if layout == "csr" else X
    weight = weight if weighted else None

    ours, theirs = Ours(**params).fit(X, y, weight), Theirs(**params).fit(X, y, weight)

    for name in ("class_count_", "class_log_prior_", "feature_count_", "feature_log_prob_", "feature_all_"):
        if hasattr(theirs, name):
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-9)
            assert (getattr(ours.release(), name) == getattr(ours, name)).all()
    np.testing.assert_allclose(ours.predict_joint_log_proba(X), theirs.predict_joint_log_proba(X), rtol=1e-9)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-9)
    assert (ours.predict(X) == theirs.predict(X)).all()


@pairs
def test_digits_as_scikit_learn(Ours, Theirs, params):
    """On real counts, after a deletion, probabilities are those of a fit by scikit-learn on the rest."""
    X, y = load_digits(return_X_y=True)
    ours = Ours(**params).fit(X, y).partial_forget(range(0, len(X), 3))
    kept = np.arange(len(X)) % 3 > 0
    theirs = Theirs(**params).fit(X[kept], y[kept])
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-9, atol=1e-300)


@pairs
def test_texts_as_scikit_learn(Ours, Theirs, params):
    """On words of short messages, before and after a deletion, feature_log_prob_ is scikit-learn's at rtol 1e-9."""
    folder = Path(os.environ.get("SKUNLEARN_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
    if not any(folder.glob("sms_spam*")):
        pytest.skip("sms_spam is not in the data folder (SKUNLEARN_DATA, else ../shared/data)")
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    from sklearn.feature_extraction.text import CountVectorizer

    spec = importlib.util.spec_from_file_location("_load", folder / "load.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    texts, y, _ = module.load("sms_spam")
    X, y = CountVectorizer().fit_transform(np.asarray(texts).ravel().tolist()), np.asarray(y)

    ours = Ours(**params).fit(X, y).partial_forget(range(0, len(y), 10))

    kept = np.flatnonzero(np.arange(len(y)) % 10)
    theirs = Theirs(**params).fit(X[kept], y[kept])
    np.testing.assert_allclose(ours.feature_log_prob_, theirs.feature_log_prob_, rtol=1e-9)
    assert (ours.predict(X) == theirs.predict(X)).all()


@both
def test_alpha_for_each_feature(Ours):
    """An array of alphas smooths each feature by its own."""
    X, y, _ = occurrences()
    alpha = np.arange(1, X.shape[1] + 1.0)
    theirs = getattr(sklearn.naive_bayes, Ours.__name__)(alpha=alpha).fit(X, y)
    np.testing.assert_allclose(Ours(alpha=alpha).fit(X, y).feature_log_prob_, theirs.feature_log_prob_, rtol=1e-9)


@both
@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_negative_values_are_refused(Ours, layout):
    """As by scikit-learn's: counted, named by nothing, and nothing changes."""
    X, y, _ = occurrences()
    model = Ours().fit(X, y)
    before = state_digest(model)
    wrong = X[:3].copy()
    wrong[1, 2] = -0.5
    with pytest.raises(ValueError, match=f"Negative values in data passed to {Ours.__name__}"):
        model.partial_fit(sp.csr_array(wrong) if layout == "csr" else wrong, y[:3], sample_ids=[1000, 1001, 1002])
    assert state_digest(model) == before


@both
def test_infinite_products_are_refused(Ours):
    """Rows that their weight makes infinite are refused; sums that overflow leave a model that cannot be read."""
    X, y = np.full((4, 2), 1e300), [0, 0, 1, 1]
    for X_like in (X, sp.csr_array(X)):
        with pytest.raises(ValueError, match="2 of 4 rows are not finite"):
            Ours().fit(X_like, y, [1.0, 1e20, 1.0, 1e20])
    with pytest.raises(DegenerateRowsError, match="too large for float64"):
        Ours().fit(np.full((4, 2), 1.7e308), y)


@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_impossible_features(layout):
    """With alpha=0 a word that a class has never seen rules it out, and its absence says nothing."""
    X = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
    rows = sp.csr_array(X) if layout == "csr" else X
    model = MultinomialNB(alpha=0).fit(X[[0, 2, 2]], [0, 1, 1])
    assert model.predict_proba(rows[[0, 2]]).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert np.isneginf(model.predict_joint_log_proba(rows[[1]])).all()
    complement = ComplementNB(alpha=0).fit(X[[0, 2, 2]], [0, 1, 1])
    assert complement.predict_proba(rows).tolist() == [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]


def test_normalised_weights_sum_to_one():
    """With norm=True the weights of a class sum to 1, also where some are infinite or all are 0."""
    X, y, _ = occurrences()
    X[y != 1, 4] = 0.0
    for alpha in (0, 0.5):
        weights = ComplementNB(alpha=alpha, norm=True).fit(X, y).feature_log_prob_
        np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-12)
    assert ComplementNB(norm=True).fit(X[:, :1], y).feature_log_prob_.tolist() == [[1.0]] * 3


@both
def test_rows_of_zeros(Ours):
    """Rows without any occurrence count for their class; with alpha=0 its features are equally probable."""
    model = Ours(alpha=0).fit([[0.0, 0.0], [1.0, 2.0]], [0, 1])
    assert model.class_count_.tolist() == [1.0, 1.0]
    assert np.isfinite(model.feature_log_prob_).all()
    assert np.isfinite(model.predict_proba([[1.0, 1.0]])).all()


@both
def test_a_block_of_sizes_goes_with_its_last_value(Ours):
    """Values of another size take memory while they are there, and leave no trace."""
    X, y, _ = occurrences()
    base = Ours().fit(X, y)
    model = copy.deepcopy(base).partial_fit([[1e200] * X.shape[1]], y[:1], sample_ids=[1000])
    assert model._live.core.nbytes() > base._live.core.nbytes()
    model.partial_forget([1000])
    assert model._live.core.nbytes() == base._live.core.nbytes()
    assert state_digest(model) == state_digest(base)


@both
def test_negative_values_in_a_file_are_refused(Ours, monkeypatch):
    """What no check lets in is refused when it is loaded, before a kernel sees it."""
    X, y, _ = occurrences()
    X[0, 0] = -1.0
    with monkeypatch.context() as patch:
        patch.setattr(Ours, "_check_X", lambda self, estimator, X, y, **options: (X, y))
        patch.setattr(LiveModel, "publish", lambda self: None)
        schema = vars(Ours())
        saved = pickle.dumps(Ours().set_params(**schema)._fit_rows(X, y, None, None, None))
    with pytest.raises(DamagedStateError, match="numbers of occurrences are negative"):
        pickle.loads(saved)


def test_complements_are_exact():
    """The kernel takes each slot away from the total in 128 bits, against Python integers."""
    rng = np.random.default_rng(0)
    sums = rng.integers(-(2**62), 2**62, (3, 4, 2))
    out = np.empty((4, 4, 2), dtype=np.int64)
    _tallies.complements(sums, out)

    def integers(pairs):
        return [[(int(high) << 64) + int(low) % 2**64 for low, high in row] for row in pairs.tolist()]

    values = integers(sums)
    totals = [sum(column) for column in zip(*values, strict=True)]
    expected = [[t - v for t, v in zip(totals, row, strict=True)] for row in values]

    def wrapped(rows):
        return [[v % 2**128 for v in row] for row in rows]

    assert wrapped(integers(out)) == wrapped([*expected, totals])
