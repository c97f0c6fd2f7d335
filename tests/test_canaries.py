"""No trace of what was forgotten: rows with recognisable bits are looked for wherever they could have stayed.

Values are doubles with random mantissas (and those of their float32 neighbours), ids eight random bytes or random text,
weights random doubles, labels and subjects random text. Each pattern is found before its row is forgotten, or the test
could not fail.
"""

import copy
import ctypes
import gc
import io
import pickle
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import is_clusterer

import skunlearn
from skunlearn.cluster import BisectingKMeans, KMeans
from skunlearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor
from skunlearn.linear_model import LogisticRegression
from skunlearn.naive_bayes import BernoulliNB, CategoricalNB, GaussianNB, MultinomialNB

N_ROWS, N_FEATURES = 40, 4
GONE = [3, 7, 8, 20, 39]  # one in the middle of everything, two neighbours, the last row

pytestmark = pytest.mark.filterwarnings("ignore::skunlearn.exceptions.SkunlearnWarning")


class World:
    """A model of marked rows, and the patterns that stand for the rows which will go."""

    def __init__(self, Estimator: Any, layout: str, dtype: str, id_kind: str) -> None:
        rng = np.random.default_rng(17)
        if Estimator is not CategoricalNB:
            X = (1 + rng.random((N_ROWS, N_FEATURES))).astype(dtype)
        else:  # categories: float32 integers that no other number of the model is
            X = rng.integers(1000, 60_000, (N_ROWS, N_FEATURES)).astype(dtype)
            X[0] = 60_000
        if id_kind == "int64":
            ids: Any = rng.integers(2**61, 2**62, N_ROWS)
            self.id_bytes = [int(i).to_bytes(8, "little") for i in ids]
        else:
            ids = [f"canary-id-{n}-{rng.integers(2**40):x}" for n in range(N_ROWS)]
            self.id_bytes = [i.encode() for i in ids]
        self.ids = ids
        self.subjects = [f"canary-subject-{n}-{rng.integers(2**40):x}" for n in range(N_ROWS)]
        self.weight = 1 + rng.random(N_ROWS)
        self.y = np.array([f"class-{n % 2}" for n in range(N_ROWS)], dtype=object)
        self.y[GONE] = f"canary-class-{rng.integers(2**40):x}"
        self.X = X
        self.model = Estimator()
        if Estimator is CategoricalNB:
            self.model.set_params(min_categories=60_001)
        self.model.fit(
            sp.csr_array(X) if layout == "csr" else X,
            self.y,
            self.weight,
            sample_ids=ids,
            subject_ids=self.subjects,
        )
        stored = np.float32 if Estimator is CategoricalNB else dtype
        self.row_patterns = [row.astype(stored).tobytes() for row in X]  # a row whole: one number of it may be common

    @property
    def gone(self) -> Any:
        return [self.ids[n] for n in GONE]

    def patterns(self) -> dict[str, list[bytes]]:
        return {
            "values": [self.row_patterns[n] for n in GONE],
            "ids": [self.id_bytes[n] for n in GONE],
            "subjects": [self.subjects[n].encode() for n in GONE],
            "weights": [self.weight[n].tobytes() for n in GONE],
        }

    @property
    def labels(self) -> list[bytes]:
        """The class that will go; a clusterer takes no classes."""
        return [] if is_clusterer(self.model) else [self.y[GONE[0]].encode()]


def buffers_of(model: Any) -> bytes:
    """Everything in the native buffers, spare room included."""
    return b"|".join(ctypes.string_at(address, size) for address, size in model._live.rows.native.buffers() if size)


def arrays_of(root: Any) -> bytes:
    """Every array, text and number that can be reached from a model, but its parameters and code."""
    seen: set[int] = set()
    parts: list[bytes] = []
    todo = [root]
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, (type, type(sys), type(arrays_of))):
            continue
        seen.add(id(thing))
        if isinstance(thing, np.ndarray):
            base = thing
            while isinstance(base.base, np.ndarray):
                base = base.base
            parts.append(np.ascontiguousarray(base).tobytes() if base.dtype != object else repr(base.tolist()).encode())
        elif isinstance(thing, str):
            parts.append(thing.encode("utf-8", "replace"))
        elif isinstance(thing, bytes):
            parts.append(thing)
        elif isinstance(thing, int):
            parts.append((thing % 2**128).to_bytes(16, "little"))
        elif isinstance(thing, float):
            parts.append(np.float64(thing).tobytes())
        slots = [
            getattr(thing, name, None)
            for cls in type(thing).__mro__
            for name in getattr(cls, "__slots__", ())
            if not name.startswith("__")
        ]
        todo.extend([*gc.get_referents(thing), *slots])
    return b"|".join(parts)


def kmeans_of_two() -> KMeans:
    """Make a clusterer whose centres are no rows."""
    return KMeans(2)


def bisecting_k_means_of_three() -> BisectingKMeans:
    """Make a clusterer that holds copies of rows."""
    return BisectingKMeans(3, bisecting_strategy="largest_cluster")


WORLDS = [
    (BernoulliNB, "dense", "float64", "int64"),
    (BernoulliNB, "dense", "float32", "str"),
    (BernoulliNB, "csr", "float64", "str"),
    (BernoulliNB, "csr", "float32", "int64"),
    (CategoricalNB, "dense", "float64", "int64"),
    (CategoricalNB, "csr", "float32", "str"),
    (GaussianNB, "dense", "float64", "str"),
    (MultinomialNB, "csr", "float64", "int64"),
    (LogisticRegression, "dense", "float64", "int64"),
    (LogisticRegression, "csr", "float32", "str"),
    (kmeans_of_two, "dense", "float64", "str"),
    (kmeans_of_two, "csr", "float32", "int64"),
    (bisecting_k_means_of_three, "dense", "float64", "int64"),
    (RandomForestClassifier, "dense", "float64", "str"),
    (RandomForestClassifier, "csr", "float32", "int64"),
    (ExtraTreesClassifier, "dense", "float32", "int64"),
]
worlds = pytest.mark.parametrize("kind", WORLDS, ids=lambda k: "-".join([k[0].__name__, *k[1:]]))


@worlds
@pytest.mark.parametrize("how", ["at once", "one by one", "by subject"])
def test_no_pattern_outlives_its_row(kind: Any, how: str) -> None:
    """In the native buffers, in what Python can reach, in pickles and releases: before there, afterwards not."""
    world = World(*kind)
    model, patterns = world.model, world.patterns()
    model.predict(world.X)
    pickled = pickle.dumps(model)
    for what, expected in patterns.items():
        for pattern in expected:
            assert pattern in buffers_of(model), f"the control does not find {what} in the buffers"
            assert pattern in pickled, f"the control does not find {what} in the pickle"
    for label in world.labels:
        assert label in pickled
        assert label in arrays_of(model)
        assert label in pickle.dumps(model.release())

    if how == "at once":
        model.partial_forget(world.gone)
    elif how == "one by one":
        for n in GONE:
            model.partial_forget([world.ids[n]])
    else:
        model.partial_forget(subject_ids=[world.subjects[n] for n in GONE])

    def places() -> dict[str, bytes]:
        return {
            "native buffers": buffers_of(model),
            "reachable objects": arrays_of(model._live),
            "pickle": pickle.dumps(model),
            "release": pickle.dumps(model.release()),
            "reference": pickle.dumps(skunlearn.reference_fit(model)),
        }

    gone = [*(p for ps in patterns.values() for p in ps), *world.labels]
    before_read, _ = places(), model.predict(world.X)
    for name, content in [*before_read.items(), *places().items()]:
        assert not any(pattern in content for pattern in gone), f"a trace in: {name}"
    assert pickle.dumps(model) == pickle.dumps(skunlearn.reference_fit(model))
    stayed = [world.id_bytes[n] for n in range(N_ROWS) if n not in GONE]
    assert all(pattern in buffers_of(model) for pattern in stayed), "the scan goes blind after a forget"


@worlds
def test_no_pattern_of_rows_that_were_there_is_released(kind: Any) -> None:
    """A release holds counts: no row's values, no id, no subject, of any row that is still live.

    A count to which one row adds is that row's weight; there is no way around that.
    """
    world = World(*kind)
    released = pickle.dumps(world.model.release())

    for n in range(N_ROWS):
        for pattern in (world.id_bytes[n], world.subjects[n].encode(), world.row_patterns[n]):
            assert pattern not in released


@pytest.mark.parametrize(
    "Forest", [RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor]
)
def test_no_number_of_a_forgotten_row_is_in_a_saved_forest(Forest: Any) -> None:
    """Trees are made of numbers of rows: none of a forgotten one, as float64 or float32, is in any saved byte."""
    rng = np.random.default_rng(23)
    X = 1 + rng.random((N_ROWS, N_FEATURES))
    y = (X.sum(axis=1) > 6).astype(int)
    weight = 1 + rng.random(N_ROWS)
    model = Forest(n_estimators=60, random_state=0).fit(X, y, weight)
    single = X.astype(np.float32)
    doubles = {v.tobytes() for v in (*X[GONE].ravel(), *single[GONE].astype(np.float64).ravel(), *weight[GONE])}
    patterns = doubles | {v.tobytes() for v in single[GONE].ravel()}

    def places() -> dict[str, bytes]:
        joblib.dump(model, file := io.BytesIO())
        return {
            "pickle": pickle.dumps(model),
            "joblib": file.getvalue(),
            "copy": pickle.dumps(copy.deepcopy(model)),
            "release": pickle.dumps(model.release()),
            "trees": b"".join(pickle.dumps(tree.tree_) for tree in model.estimators_),
            "arrays": arrays_of(model._live),
        }

    before = places()
    in_pickle = sum(pattern in before["pickle"] for pattern in doubles)
    assert in_pickle >= len(GONE) * N_FEATURES, "the control does not find the rows"
    in_release = sum(pattern in before["release"] for pattern in doubles)
    if Forest in (RandomForestClassifier, RandomForestRegressor):
        assert in_release >= len(GONE), "the control finds no threshold"

    model.partial_forget(GONE[:2])
    model.predict(X[:1])  # the rest stays stale until something is saved
    model.partial_forget(GONE[2:])

    for name, content in places().items():
        assert not any(pattern in content for pattern in patterns), f"a number of a forgotten row in: {name}"


def test_freed_rows_are_zero_after_learning_and_forgetting_again() -> None:
    """A store that grew and shrank many times holds the bytes of its rows and else zeros."""
    world = World(BernoulliNB, "csr", "float64", "str")
    model = world.model
    rng = np.random.default_rng(3)
    marks = []
    for n in range(60):
        X = 1 + rng.random((5, N_FEATURES))
        ids = [f"passing-{n}-{i}-{'x' * int(rng.integers(1, 300))}" for i in range(5)]
        marks += [X[0].tobytes(), *(i.encode() for i in ids)]
        model.partial_fit(X, ["class-0"] * 5, sample_ids=ids, subject_ids=ids)
        assert all(mark in buffers_of(model) for mark in marks[-6:])
        model.partial_forget(ids)

    content = buffers_of(model)
    assert not any(mark in content for mark in marks)
    assert b"passing-" not in content


@worlds
def test_no_pattern_stands_in_texts(kind: Any) -> None:
    """Errors with their chains, warnings, reprs, plans, reports and receipts hold none of it."""
    world = World(*kind)
    model = world.model
    texts: list[str] = []

    def refused(call: Any) -> None:
        with pytest.raises(Exception) as caught:  # noqa: PT011
            call()
        error: BaseException | None = caught.value
        while error is not None:
            texts.extend([str(error), repr(error), *traceback.format_exception_only(error)])
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        refused(
            lambda: model.partial_fit(
                world.X[:1], world.y[:1], sample_ids=world.ids[:1], subject_ids=world.subjects[:1]
            )
        )
        refused(lambda: model.fit(world.X[:2], world.y[:2], sample_ids=[world.ids[0]] * 2))
        refused(lambda: model.partial_forget([world.ids[0], None]))
        refused(lambda: model.predict(world.X[0]))
        refused(lambda: model.predict([[world.subjects[0]] * N_FEATURES]))
        texts += [
            repr(model),
            str(model),
            repr(model.guarantee_),
            repr(model.release()),
            repr(skunlearn.can_forget(model)),
            str(skunlearn.can_forget(model)),
        ]
        receipt = skunlearn.forget(model, world.gone)
        texts += [repr(receipt), receipt.to_json(), repr(model.forget_report_)]
        refused(lambda: model.partial_forget(world.gone))
        refused(lambda: model.partial_forget(subject_ids=[world.subjects[3]]))
        model.partial_forget([world.ids[n] for n in range(N_ROWS) if n not in GONE])
        refused(lambda: model.predict(world.X))
    texts += [str(w.message) for w in caught]

    assert not world.labels or sum("Vanished" in w.category.__name__ for w in caught) >= 2
    everything = "\n".join(texts)
    numbers = (
        [repr(v) for v in [*world.X.ravel().tolist(), *world.weight.tolist()]] if kind[0] is not CategoricalNB else []
    )
    for mark in [*map(str, world.ids), *world.subjects, world.y[GONE[0]], "class-0", *numbers]:
        assert mark not in everything, "an id, subject, label or value stands in a text"


@pytest.mark.parametrize("Estimator", [BernoulliNB, CategoricalNB])
def test_the_key_is_in_the_pickle_alone(Estimator: Any) -> None:
    """Raw, in hex or printed, the key is in no digest, repr, error, release, receipt or blob's other part."""
    model = Estimator().fit(np.eye(3), [0, 1, 1], sample_ids=["a", "b", "c"])
    secret = model._live.key._secret
    forms = [secret, secret.hex().encode(), repr(secret).encode(), secret[::-1], secret[:8], secret.hex()[:16].encode()]
    assert any(form in pickle.dumps(model) for form in forms), "the control does not find it"

    receipt = skunlearn.forget(model, ["a"])
    texts = [
        repr(model),
        str(vars(model)),
        repr(model._live.key),
        str(model._live.key),
        repr(receipt),
        receipt.to_json(),
        repr(model.guarantee_),
    ]
    for call in (
        lambda: model.partial_forget(["a"]),
        lambda: model.predict([[1]]),
        lambda: skunlearn.Key(secret[:31]),
        lambda: skunlearn.Key(secret.hex()),
    ):
        with pytest.raises((ValueError, TypeError)) as caught:
            call()
        texts.append(repr(caught.value) + str(caught.value))
    places = [
        skunlearn.state_digest(model),
        pickle.dumps(model.release()),
        receipt.nonce,
        buffers_of(model),
        *(t.encode() for t in texts),
    ]

    for form in forms:
        assert not any(form in place for place in places)
    assert skunlearn.state_digest(model) == skunlearn.state_digest(pickle.loads(pickle.dumps(model)).reseed())


SCAN = Path(__file__).with_name("canary_child.py")


SCANNED = [
    "BernoulliNB-dense",
    "BernoulliNB-csr",
    "CategoricalNB-dense",
    "CategoricalNB-csr",
    "RandomForestClassifier-dense",
    "ExtraTreesClassifier-csr",
]


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs /proc/self/mem of Linux")
def test_no_pattern_is_in_the_memory_of_the_process() -> None:
    """All of a child's own memory, after its models forgot: no live copy of the rows, the ids or the weights.

    glibc overwrites what is freed (MALLOC_PERTURB_, and no thread caches, which escape it), so what is found is held by
    something. The control scans before the forget, and must find every pattern of every model.
    """
    run = subprocess.run(
        [sys.executable, str(SCAN), *SCANNED],
        capture_output=True,
        text=True,
        timeout=300,
        env={
            "MALLOC_PERTURB_": "165",
            "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
            "PYTHONMALLOC": "malloc",
            "OPENBLAS_NUM_THREADS": "1",
        },
        check=False,
    )

    assert run.returncode == 0, run.stderr[-2000:]
    lines = [line.split() for line in run.stdout.splitlines()]
    scans = [{model: dict(part.split("=") for part in counts) for model, *counts in half} for half in halves(lines)]
    assert [list(scan) for scan in scans] == [SCANNED, SCANNED]
    before, after = scans
    for model in SCANNED:
        assert all(int(hits) >= 1 for hits in before[model].values()), f"the control finds too little: {before}"
        assert set(after[model].values()) == {"0"}, f"copies that are still alive: {after}"


def halves(lines: list[list[str]]) -> list[list[list[str]]]:
    return [lines[: len(SCANNED)], lines[len(SCANNED) :]]
