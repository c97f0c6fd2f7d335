"""Sharded models: exact around any estimator that is trained reproducibly, and honest about the others."""

import gc
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from lightgbm import LGBMClassifier
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Perceptron, SGDClassifier, SGDRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from xgboost import XGBClassifier

import skunlearn.sharded._core as core_module
from skunlearn import Key, reference_fit, state_digest
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.sharded import SISAClassifier, SISARegressor, check_exactness

N_ROWS = 180
RNG = np.random.default_rng(7)
X = RNG.standard_normal((N_ROWS, 4))
LABELS = np.array(["a", "b", "c"])[(X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)]
Y = X @ [1.0, 2.0, 3.0, 4.0]
SUBJECTS = RNG.integers(0, 40, N_ROWS)

BASES = [
    DecisionTreeClassifier(max_features=2),
    ExtraTreesClassifier(n_estimators=3),
    GaussianNB(),
    HistGradientBoostingClassifier(max_iter=3),
    KNeighborsClassifier(3),
    LinearSVC(),
    LogisticRegression(),
    MLPClassifier((4,), max_iter=5),
    RandomForestClassifier(n_estimators=3),
    SVC(),
    SGDClassifier(loss="log_loss"),
    make_pipeline(StandardScaler(), Perceptron()),
    LGBMClassifier(n_estimators=3, subsample=0.5, subsample_freq=1, n_jobs=1, verbose=-1),
    XGBClassifier(n_estimators=3, subsample=0.5, n_jobs=1),
]
SLICED = [SGDClassifier(loss="log_loss"), GaussianNB(), MLPClassifier((4,))]


def live_ids(model):
    return [int(i) for block in model._live.rows.blocks_in_order("id") for i in block.ids]


def assert_is_its_refit(model):
    fresh = reference_fit(model)
    assert state_digest(model) == state_digest(fresh)
    np.testing.assert_array_equal(model.predict(X), fresh.predict(X))


def name_of(value):
    return type(value).__name__ if isinstance(value, BaseEstimator) else None


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("base", BASES, ids=name_of)
def test_histories_equal_a_refit(base, seed):
    rng = np.random.default_rng(seed)
    model = SISAClassifier(base, n_shards=4, random_state=seed).fit(X, LABELS)
    assert model.guarantee_.kind == "exact"
    for step in range(4):
        gone = rng.choice(live_ids(model), 2, replace=False)
        model.partial_forget(gone)
        if step % 2:
            model.predict(X)  # some estimators count in themselves how often they were asked
            model.partial_fit(X[gone[:1]], LABELS[gone[:1]], sample_ids=gone[:1])
        assert_is_its_refit(model)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("checkpoint", ["memory", "disk"])
@pytest.mark.parametrize("base", SLICED, ids=name_of)
def test_training_resumes_before_the_slice_that_lost_a_row(base, checkpoint, monkeypatch):
    model = SISAClassifier(base, n_shards=2, n_slices=4, checkpoint=checkpoint, random_state=0).fit(X, LABELS)
    learned = []
    monkeypatch.setattr(core_module, "train", lambda lesson: learned.append(lesson.n_rows) or train(lesson))
    train = core_module.Lesson.__module__ and __import__("skunlearn.sharded._training", fromlist=["train"]).train
    whole = model.shard_sizes_.tolist()
    for gone in live_ids(model)[:12]:
        learned.clear()
        model.partial_forget([gone]).predict(X[:1])
        assert len(learned) == 1
        assert learned[0] <= max(whole)
        assert_is_its_refit(model)
    monkeypatch.undo()
    assert min(learned) < min(whole), "no training ever resumed"


def test_regressors_and_their_weights_and_sparse_rows_equal_a_refit():
    weight = np.where(np.arange(N_ROWS) % 3, 1.0, 2.0)
    for rows in (X, sp.csr_array(X), X.astype(np.float32)):
        model = SISARegressor(DecisionTreeRegressor(max_features=2), 3, aggregate="weighted_mean", random_state=1)
        model.fit(rows, Y, sample_weight=weight, subject_ids=SUBJECTS)
        model.partial_forget(range(0, N_ROWS, 3))  # all weights are 1 now, as if there had been no other
        fresh = SISARegressor(DecisionTreeRegressor(max_features=2), 3, aggregate="weighted_mean", random_state=1)
        kept = np.arange(N_ROWS) % 3 > 0
        fresh.fit(rows[kept], Y[kept], sample_ids=np.flatnonzero(kept), subject_ids=SUBJECTS[kept])
        np.testing.assert_array_equal(model.predict(rows), fresh.predict(rows))
        assert state_digest(model) == state_digest(fresh)
    sliced = SISARegressor(SGDRegressor(), 3, 2, random_state=1).fit(X, np.column_stack([Y]).ravel())
    assert_is_its_refit(sliced.partial_forget([3, 4]))


def test_neither_order_nor_jobs_nor_wrapping_change_a_bit():
    reference = SISAClassifier(RandomForestClassifier(n_estimators=3), 4, random_state=3).fit(X, LABELS)
    order = RNG.permutation(N_ROWS)
    for n_jobs in (None, 2):
        other = SISAClassifier(RandomForestClassifier(n_estimators=3), 4, n_jobs=n_jobs, random_state=3)
        other.fit(X[order], LABELS[order], sample_ids=order)
        np.testing.assert_array_equal(other.predict_proba(X), reference.predict_proba(X))
    bare = reference.estimators_[0].predict_proba(X)
    alone = SISAClassifier(RandomForestClassifier(n_estimators=3), 1, random_state=3).fit(X, LABELS)
    assert bare.shape == alone.estimators_[0].predict_proba(X).shape
    np.testing.assert_array_equal(alone.predict_proba(X), alone.estimators_[0].predict_proba(X))


@pytest.mark.filterwarnings("ignore::skunlearn.exceptions.ClassVanishedWarning")
def test_a_subject_is_in_one_shard():
    subjects = np.where(np.arange(N_ROWS) < 100, 7, SUBJECTS + 100)
    model = SISAClassifier(DecisionTreeClassifier(), 6, random_state=0).fit(X, LABELS, subject_ids=subjects)
    cost = model.estimate_cost(subject_ids=[7])
    assert cost.n_shards == 1
    assert cost.fraction_of_fit < 1
    model.partial_forget(subject_ids=[7])
    assert model.forget_report_.rows_removed == 100
    assert model.forget_report_.work == {"shards_dropped": 1}
    assert_is_its_refit(model)
    model.partial_forget(range(100, N_ROWS))
    with pytest.raises(DegenerateRowsError):
        model.predict(X)


def test_shards_of_a_single_class_and_without_rows():
    few = np.arange(6)
    model = SISAClassifier(DecisionTreeClassifier(), 12, random_state=0).fit(X[few], LABELS[few])
    assert (model.shard_sizes_ == 0).any()
    assert {len(own) for own in model.shard_classes_} >= {0, 1}
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)
    assert_is_its_refit(model.partial_forget([0, 1]))


def test_a_declared_class_without_rows_is_never_predicted():
    model = SISAClassifier(GaussianNB(), 3, classes=["0", "a", "b", "c"], random_state=0).fit(X, LABELS)
    assert model.predict_proba(X)[:, 0].max() == 0.0
    assert "0" not in model.predict(X)


class Forgetful(ClassifierMixin, BaseEstimator):
    """Draws from NumPy's global generator, which no seed reaches."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.guess_ = np.random.random_sample(len(self.classes_))  # noqa: NPY002
        return self

    def predict(self, X):
        return np.full(X.shape[0], self.classes_[self.guess_.argmax()])


class Registrar(ClassifierMixin, BaseEstimator):
    """Remembers in a pickle that it was pickled."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(X.shape[0], self.classes_[0])

    def __getstate__(self):
        self.n_pickled_ = getattr(self, "n_pickled_", 0) + 1
        return dict(vars(self))


@pytest.mark.parametrize(
    ("base", "arm"), [(Forgetful(), "repeated"), (Registrar(), "pickled")], ids=["drawn", "pickled"]
)
def test_an_estimator_that_fails_its_self_test_is_no_longer_called_exact(base, arm):
    model = SISAClassifier(base, 3, random_state=0).fit(X, LABELS)
    assert model.guarantee_.kind == "refit"
    assert arm in model.guarantee_.basis
    assert not check_exactness(base, X, LABELS).passed
    assert model.partial_forget([0]).guarantee_.kind == "refit"


def test_check_exactness_names_its_arms():
    result = check_exactness(SGDClassifier(), X, LABELS)
    assert result.passed, str(result)
    assert set(result.arms) == {"repeated", "pickled", "order of arrival", "fresh process", "resumed"}


def test_what_a_shard_learned_is_gone_before_it_is_trained_again():
    canary = 123456.789
    rows = np.vstack([X, np.full((1, 4), canary)])
    model = SISAClassifier(KNeighborsClassifier(1), 3, random_state=0).fit(rows, np.append(LABELS, "a"))
    pattern = np.float64(canary).tobytes()
    assert any(pattern in pickle.dumps(e) for e in model.estimators_)
    model.partial_forget([N_ROWS])
    gc.collect()
    assert not any(pattern in pickle.dumps(shard.model) for shard in model._live.core._shards)
    model.predict(X)
    assert pattern not in pickle.dumps(model)
    assert pattern not in pickle.dumps(model.release())


@pytest.mark.parametrize("checkpoint", ["memory", "disk"])
def test_superseded_checkpoints_are_destroyed(checkpoint):
    canary = 123456.789
    rows = np.vstack([X, np.full((1, 4), canary)])
    model = SISAClassifier(Rote(), 2, 3, checkpoint=checkpoint, random_state=0).fit(rows, np.append(LABELS, "a"))
    shards = model._live.core._shards
    pattern = np.float64(canary).tobytes()
    held = [c for shard in shards for c in shard.checkpoints if pattern in c.read()]
    assert held
    paths = [c._path for c in held if checkpoint == "disk"]
    buffers = [c._state for c in held if checkpoint == "memory"]
    model.partial_forget([N_ROWS])
    assert not any(path.exists() for path in paths)
    assert not any(any(buffer) for buffer in buffers)
    model.predict(X)
    assert not any(pattern in c.read() for shard in model._live.core._shards for c in shard.checkpoints)
    folder = Path(model._live.core._checkpoints._folder) if checkpoint == "disk" else None
    assert_is_its_refit(model)
    del model, shards, held
    gc.collect()
    assert folder is None or not folder.exists()


class Rote(ClassifierMixin, BaseEstimator):
    """Learns by heart."""

    def partial_fit(self, X, y, classes=None):
        if classes is not None:
            self.classes_ = classes
        self.rows_ = np.vstack([self.rows_, X]) if hasattr(self, "rows_") else X.copy()
        return self

    def fit(self, X, y):
        return self.partial_fit(X, y, np.unique(y))

    def predict(self, X):
        return np.zeros(X.shape[0], dtype=int)


def test_a_fit_that_is_killed_in_the_middle_loses_nothing(monkeypatch):
    model = SISAClassifier(DecisionTreeClassifier(), 3, random_state=0).fit(X, LABELS)
    model.partial_forget([0, 1, 2, 3, 4, 5])

    def killed(lesson):
        raise KeyboardInterrupt

    monkeypatch.setattr(core_module, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        model.predict(X)
    monkeypatch.undo()
    assert_is_its_refit(model)


def test_what_cannot_be_is_refused_with_its_reason():
    with pytest.raises(ValueError, match="leave it at None"):
        SISAClassifier(SGDClassifier(random_state=np.random.RandomState(0))).fit(X, LABELS)
    with pytest.raises(ValueError, match="partial_fit"):
        SISAClassifier(SVC(), n_slices=2).fit(X, LABELS)
    with pytest.raises(ValueError, match="sample_weight"):
        SISAClassifier(KNeighborsClassifier(), 2).fit(X, LABELS, sample_weight=np.full(N_ROWS, 2.0))
    with pytest.raises(DegenerateRowsError, match="smallest of"):
        SISAClassifier(LinearDiscriminantAnalysis(), 1, random_state=0).fit(X[:4], list("aabb")).partial_forget(
            [0, 2]
        ).predict(X)


def test_a_key_is_in_no_seed():
    key = Key(bytes(range(32)))
    model = SISAClassifier(SGDClassifier(loss="log_loss"), 2, random_state=key).fit(X, LABELS)
    released = pickle.dumps(model.release())
    assert bytes(range(32)) not in released
    assert {e.random_state for e in model.estimators_} == {e.random_state for e in reference_fit(model).estimators_}
    assert len({e.random_state for e in model.estimators_}) == 2
