"""Threads, forks and interrupts: a reader sees one version of a model, and no writer leaves half of one."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import joblib
import numpy as np
import pytest

import skunlearn
from skunlearn._faults import FAULT_POINTS, inject
from skunlearn.cluster import BisectingKMeans, KMeans
from skunlearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from skunlearn.linear_model import LogisticRegression, RidgeClassifier
from skunlearn.naive_bayes import BernoulliNB, CategoricalNB, GaussianNB, MultinomialNB

pytestmark = pytest.mark.filterwarnings("ignore::skunlearn.exceptions.SkunlearnWarning")


def kmeans_of_three(classes: Any = None) -> KMeans:
    """Make a clusterer under a key that two of them share; it takes no classes."""
    return KMeans(3, random_state=0)


def bisecting_k_means_of_three(classes: Any = None) -> BisectingKMeans:
    """Make a clusterer that holds copies of rows, under a key that two of them share; it takes no classes."""
    return BisectingKMeans(3, random_state=0)


def forest_of_four(classes: Any = None) -> RandomForestClassifier:
    """Make a small forest under a key that two of them share; its leaves hold so many rows that each of them shows."""
    return RandomForestClassifier(4, max_depth=2, random_state=0, classes=classes)


def extra_trees_of_three(classes: Any = None) -> ExtraTreesClassifier:
    """Make the other kind, which reads with two threads."""
    return ExtraTreesClassifier(3, max_depth=1, n_jobs=2, random_state=0, classes=classes)


estimators = pytest.mark.parametrize(
    "Estimator",
    [
        BernoulliNB, CategoricalNB, GaussianNB, LogisticRegression, MultinomialNB, RidgeClassifier, kmeans_of_three,
        bisecting_k_means_of_three, forest_of_four, extra_trees_of_three,
    ],
)  # fmt: skip
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

N_EACH = 24  # rows that each of two threads forgets
N_FEATURES = 6


@pytest.fixture
def _fast_switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def table(n_rows: int = 4 * N_EACH) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    X = rng.integers(0, 2, (n_rows, N_FEATURES)).astype(float)
    X[0], X[1] = 1, 0  # every category stays, whoever goes
    return X, np.arange(n_rows) % 2


def make(Estimator: Any, **given: Any) -> Any:
    X, y = table()
    return Estimator(**given).fit(X, y, sample_ids=np.arange(len(X)) + 1000)


def answer_of(model: Any, X: np.ndarray) -> bytes:
    names = ("predict_joint_log_proba", "decision_function", "transform", "predict_proba")
    return next(getattr(model, name) for name in names if hasattr(model, name))(X).tobytes()


def is_reference(model: Any) -> bool:
    return skunlearn.state_digest(model) == skunlearn.state_digest(skunlearn.reference_fit(model))


def in_threads(*works: Callable[[], None], timeout: float = 60) -> None:
    """Run all at once, and raise what any of them raised."""
    errors: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout)
    assert not any(thread.is_alive() for thread in threads), "a deadlock"
    if errors:
        raise errors[0]


# --- readers and writers ---------------------------------------------------------------------------------------------


@estimators
@pytest.mark.usefixtures("_fast_switching")
def test_every_answer_belongs_to_one_state_in_between(Estimator: Any) -> None:
    """Two threads forget their rows one by one while two predict: an answer is that of some (i, j) rows forgotten."""
    model = make(Estimator)
    X, _ = table()
    probe = X[:3]
    first, second = 1000 + np.arange(8, 8 + N_EACH), 1000 + np.arange(8 + N_EACH, 8 + 2 * N_EACH)
    state_of: dict[bytes, list[tuple[int, int]]] = {}
    column = pickle.dumps(model)
    for i in range(N_EACH + 1):
        twin = pickle.loads(column)
        for j in range(N_EACH + 1):
            state_of.setdefault(answer_of(twin, probe), []).append((i, j))
            if j < N_EACH:
                twin.partial_forget([second[j]])
        if i < N_EACH:
            column = pickle.dumps(pickle.loads(column).partial_forget([first[i]]))
    answers: list[list[bytes]] = [[], []]
    writing = threading.Barrier(4)
    n_done = [0, 0]

    def forget(who: int, ids: np.ndarray) -> None:
        writing.wait()
        for n in ids:
            model.partial_forget([n])
            n_done[who] += 1
            time.sleep(1e-4)

    def predict(who: int) -> None:
        writing.wait()
        while min(n_done) < N_EACH:
            answers[who].append(answer_of(model, probe))
        answers[who].append(answer_of(model, probe))

    in_threads(lambda: forget(0, first), lambda: forget(1, second), lambda: predict(0), lambda: predict(1))

    assert all(answer in state_of for who in answers for answer in who), "an answer of no state in between"
    assert len({answer for who in answers for answer in who}) > 5, "the readers saw too little to prove anything"
    for seen in answers:  # nobody sees an older state after a newer one
        newest = (0, 0)
        for answer in seen:
            reachable = [s for s in state_of[answer] if s[0] >= newest[0] and s[1] >= newest[1]]
            assert reachable, "a state came back"
            newest = (min(i for i, _ in reachable), min(j for _, j in reachable))
    assert model.n_live_ == 2 * N_EACH
    assert is_reference(model)


@estimators
@pytest.mark.usefixtures("_fast_switching")
def test_learning_and_forgetting_at_once_end_in_the_reference(Estimator: Any) -> None:
    """Threads that learn, forget, pickle and digest one model: the end does not depend on who came first."""
    model = make(Estimator)
    X, y = table()
    new = np.arange(20) + 5000

    def learn() -> None:
        for n in range(20):
            model.partial_fit(X[n : n + 1], y[n : n + 1], sample_ids=new[n : n + 1])

    def forget() -> None:
        for n in range(20):
            model.partial_forget([1000 + n])

    def look() -> None:
        for _ in range(10):
            assert is_reference(pickle.loads(pickle.dumps(model)))
            model.predict(X), model.release().predict(X)

    in_threads(learn, forget, look)

    expected = Estimator().fit(
        np.vstack([X[20:], X[:20]]), np.r_[y[20:], y[:20]], sample_ids=np.r_[np.arange(20, len(X)) + 1000, new]
    )
    assert skunlearn.state_digest(model) == skunlearn.state_digest(expected)
    assert is_reference(model)


@estimators
def test_the_same_row_is_forgotten_by_one_thread_only(Estimator: Any) -> None:
    """Of two threads that forget the same rows, one is told each row is gone."""
    model = make(Estimator)
    outcomes: list[bool] = []

    def forget() -> None:
        for n in range(N_EACH):
            try:
                model.partial_forget([1000 + n])
                outcomes.append(True)
            except KeyError:
                outcomes.append(False)

    in_threads(forget, forget)

    assert sorted(outcomes) == [False] * N_EACH + [True] * N_EACH
    assert is_reference(model)


# --- processes -------------------------------------------------------------------------------------------------------


def work_in_child(model: Any) -> bool:
    model.partial_forget([int(model._live.rows.native.ids(np.zeros(1, dtype=np.uint32))[0])])
    model.predict(table()[0])
    return is_reference(model)


@needs_fork
@estimators
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_of_fork_works_while_the_parent_writes(Estimator: Any) -> None:
    """No child starts within a write, and none inherits a lock that nobody releases."""
    model = make(Estimator)
    X, y = table()
    stop = threading.Event()

    def write() -> None:
        n = 0
        while not stop.is_set():
            model.partial_fit(X[:1], y[:1], sample_ids=[9000 + n]).partial_forget([9000 + n])
            n += 1

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        for _ in range(15):
            child = os.fork()
            if child == 0:  # pragma: no cover
                signal.alarm(20)
                os._exit(0 if work_in_child(model) else 3)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child hung or holds half a write"
    finally:
        stop.set()
        writer.join(30)

    assert is_reference(model)
    assert model.n_live_ == len(X)


def _child_of_pool(model: Any, answers: Any) -> None:
    answers.put((work_in_child(model), skunlearn.state_digest(model)))


@needs_fork
@estimators
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_changes_its_own_model_only(Estimator: Any) -> None:
    """Through multiprocessing: the child forgets, the parent's model stays."""
    model = make(Estimator)
    before = skunlearn.state_digest(model)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=_child_of_pool, args=(model, answers))
    child.start()
    child.join(30)

    assert child.exitcode == 0
    is_right, digest = answers.get()
    assert is_right
    assert digest != before
    assert skunlearn.state_digest(model) == before


@estimators
def test_models_travel_to_worker_processes_and_back(Estimator: Any) -> None:
    """joblib's workers get models, forget a row each, and send them back."""
    models = [make(Estimator) for _ in range(3)]

    def forget_one(model: Any, n: int) -> tuple[Any, bytes]:
        model.partial_forget([1000 + n])
        return model, skunlearn.state_digest(model)

    results = joblib.Parallel(n_jobs=2, backend="loky")(joblib.delayed(forget_one)(m, n) for n, m in enumerate(models))

    for n, (model, (returned, digest)) in enumerate(zip(models, results, strict=True)):
        assert skunlearn.state_digest(returned) == digest
        assert is_reference(returned)
        assert skunlearn.state_digest(model.partial_forget([1000 + n])) == digest


# --- interrupts ------------------------------------------------------------------------------------------------------

BEFORE_COMMIT = {"fit.validated", "fit.built", "learn.validated", "learn.stale", "forget.validated", "forget.stale"}
OPERATIONS = {
    "fit": lambda m: m.fit(*table(), sample_ids=np.arange(len(table()[0]))),
    "learn": lambda m: m.partial_fit(*table(), sample_ids=np.arange(len(table()[0]))),
    "forget": lambda m: m.partial_forget([1000, 1001, 1007]),
}


def operation_of(point: str) -> str:
    return point.split(".", maxsplit=1)[0]


@estimators
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, RuntimeError])
@pytest.mark.parametrize("point", [p for p in FAULT_POINTS if operation_of(p) in OPERATIONS])
def test_an_error_at_any_point_leaves_the_model_before_or_after(Estimator: Any, point: str, error: Any) -> None:
    """Before the commit nothing has happened, after it everything has: never half."""
    operate = OPERATIONS[operation_of(point)]
    model = make(Estimator, classes=[0, 1])
    before = skunlearn.state_digest(model)
    after = skunlearn.state_digest(operate(pickle.loads(pickle.dumps(model))))
    passed: list[str] = []

    def fail(name: str) -> None:
        passed.append(name)
        if name == point:
            raise error

    with pytest.raises(error), inject(fail):
        operate(model)

    assert passed[-1] == point
    model.predict(table()[0])
    assert skunlearn.state_digest(model) == (before if point in BEFORE_COMMIT else after)
    assert is_reference(model)
    assert pickle.dumps(model) == pickle.dumps(pickle.loads(pickle.dumps(model)))
    assert is_reference(model.partial_forget([int(model._live.rows.native.ids(np.zeros(1, np.uint32))[0])]))


@estimators
def test_rows_that_the_core_cannot_hold_do_not_stay(Estimator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else every rebuild would fail as learning them did, and with it every forget and every read."""
    model = make(Estimator, classes=[0, 1])
    before = skunlearn.state_digest(model)
    core = type(model._live.core)
    learn = core._learn

    def learn_if_it_fits(self: Any, block: Any) -> None:
        if 5000 in model._live.rows.native.ids(np.arange(model.n_live_, dtype=np.uint32)):
            raise MemoryError
        learn(self, block)

    monkeypatch.setattr(core, "_learn", learn_if_it_fits)
    with pytest.raises(MemoryError):
        model.partial_fit(table()[0][:2], table()[1][:2], sample_ids=[5000, 5001])

    assert skunlearn.state_digest(model) == before
    assert is_reference(model.partial_forget([1000]))


@estimators
@pytest.mark.parametrize("point", ["flush.stale", "flush.rebuilt"])
def test_an_error_within_a_rebuild_is_made_good_by_the_next_read(Estimator: Any, point: str) -> None:
    """A forget is interrupted, and so is the read that would mend it: the next one does."""
    model = make(Estimator)
    after = skunlearn.state_digest(pickle.loads(pickle.dumps(model)).partial_forget([1003]))

    def fail_at(at: str) -> Callable[[str], None]:
        def fail(name: str) -> None:
            if name == at:
                raise KeyboardInterrupt

        return fail

    with pytest.raises(KeyboardInterrupt), inject(fail_at("forget.erased")):
        model.partial_forget([1003])
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), inject(fail_at(point)):
            model.predict(table()[0])

    assert skunlearn.state_digest(model) == after
    assert is_reference(model)


@estimators
def test_ctrl_c_at_any_moment_leaves_the_model_before_or_after(Estimator: Any) -> None:
    """Real signals at moments that sweep over a forget and a learn: the model is always that of whole operations."""
    X, y = table()
    model = make(Estimator, classes=[0, 1])
    rows = np.arange(4)
    ids = 1000 + rows
    with_rows = skunlearn.state_digest(model)
    without = skunlearn.state_digest(pickle.loads(pickle.dumps(model)).partial_forget(ids))
    interrupted = 0
    is_in = True
    is_armed = False

    def interrupt(*_: Any) -> None:
        if is_armed:
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        for attempt in range(300):
            try:
                is_armed = True
                signal.setitimer(signal.ITIMER_REAL, 5e-6 + 4e-6 * (attempt % 150))
                if is_in:
                    model.partial_forget(ids)
                else:
                    model.partial_fit(X[rows], y[rows], sample_ids=ids)
                is_armed = False
            except KeyboardInterrupt:
                is_armed = False
                interrupted += 1
            digest = skunlearn.state_digest(model)
            assert digest in (with_rows, without), "half an operation"
            is_in = digest == with_rows
            if attempt % 25 == 0:
                assert is_reference(model)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)

    assert interrupted > 30, "too few signals hit an operation"
    assert is_reference(model)
    assert model._live.lock.acquire(timeout=5), "an interrupted operation kept the lock"
    model._live.lock.release()
