"""Damaged saved models: 100,000 of them, made by changing single fields and setting the checksums right again.

Two layers are saved: the model (`skunlearn.persistence`: a JSON header before the rows) and the rows (native). A
mutation changes a field of one of them to a value that is nearly right, or flips bytes, and seals both checksums, so
that the checks behind them are reached. What is refused is refused with a DamagedStateError, and never with a panic;
what loads is a model like any other.
"""

import contextlib
import json
import os
import pickle
import random
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.utils import get_tags

import skunlearn
from skunlearn import persistence
from skunlearn.cluster import DBSCAN, BisectingKMeans, KMeans
from skunlearn.decomposition import PCA
from skunlearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from skunlearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from skunlearn.exceptions import DamagedStateError, DegenerateRowsError, UnknownCategoryError
from skunlearn.feature_selection import SelectKBest, VarianceThreshold
from skunlearn.impute import SimpleImputer
from skunlearn.linear_model import LogisticRegression, Ridge, RidgeClassifier, RidgeCV
from skunlearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from skunlearn.neighbors import NearestCentroid
from skunlearn.preprocessing import (
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from skunlearn.rows import RowStore

pytestmark = [
    pytest.mark.filterwarnings("ignore::skunlearn.exceptions.SkunlearnWarning"),
    pytest.mark.filterwarnings("ignore:X does not have valid feature names"),
]

N_ROWS_LAYER, N_MODEL_LAYER = 92_000, 9_000
N_FORESTS = int(os.environ.get("SKUNLEARN_DAMAGED_FORESTS", "1000"))
_HEAD = struct.Struct("<8sHI")


# --- what is damaged -------------------------------------------------------------------------------------------------


def seeds() -> list[Any]:
    """Small models that between them use every section of the format."""
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 3, (7, 3)).astype(float), np.array([0, 1, 2, 0, 1, 2, 0])
    names, subjects = ["", "a", "a\0", "ü", "🦀", "b", "c"], ["s", "s", "t", "", "t", "s", "u"]
    weight = np.array([1.0, 0.5, 0.0, 2.0, 1e300, 5e-324, 1.0])
    order = [4, 2, 0, 6, 1, 3, 5]
    labels = np.array(["x", "y", "z"])[y]
    csr = sp.csr_array(X)
    return [
        BernoulliNB().fit(X, y),
        BernoulliNB().fit(X.astype(np.float32), labels, sample_ids=names, subject_ids=subjects),
        BernoulliNB(classes=["x", "y", "z", "none"]).fit(csr, labels, weight, sample_ids=order, subject_ids=order),
        BernoulliNB(alpha=[1.0, 0.0, 0.5]).fit(csr.astype(np.float32), y > 0, sample_ids=np.array(order) - 3),
        CategoricalNB().fit(X, y, weight, sample_ids=order, subject_ids=subjects),
        CategoricalNB(min_categories=4).fit(csr, labels, sample_ids=names[::-1]),
        CategoricalNB(classes=[0, 1, 2, 9]).fit(X, y, sample_ids=range(10, 17)),
        ComplementNB().fit(csr, labels, [1.0, 0.5, 0.0, 2.0, 1e300, 5e-324, 1.0], sample_ids=names),
        GaussianNB().fit(X, y, np.arange(7.0), sample_ids=order, subject_ids=subjects),
        MultinomialNB(classes=[0, 1, 2, 9]).fit(csr.astype(np.float32), y),
        NearestCentroid().fit(X, labels, sample_ids=names),
        StandardScaler().fit(X, sample_weight=np.arange(7.0)),
        OneHotEncoder(max_categories=2).fit(labels[:, None], sample_ids=names),
        OrdinalEncoder().fit(X.astype(int), sample_ids=order, subject_ids=subjects),
        SimpleImputer(strategy="most_frequent").fit(np.array([["a", 2], [b"b", 2.5], [None, True]] * 2, dtype=object)),
        LogisticRegression().fit(X, y, sample_ids=order),
        BernoulliNB().fit(X, y).partial_forget(range(7)),
        CategoricalNB().fit(X, labels, sample_ids=names).partial_forget(names),
        LinearDiscriminantAnalysis().fit(X, labels, sample_ids=names, subject_ids=subjects),
        QuadraticDiscriminantAnalysis(solver="eigen", shrinkage=0.5, tol=0, classes=[0, 1, 2, 3]).fit(X, y),
        PCA(1).fit(X.astype(np.float32), sample_ids=order),
        Ridge().fit(X, y / 3, np.minimum(weight, 1e9), sample_ids=order, subject_ids=subjects),
        Ridge().fit(csr.astype(np.float32), np.column_stack([y, y > 0]), sample_ids=names),
        RidgeClassifier(class_weight="balanced").fit(X, labels, sample_ids=names),
        RidgeCV(cv=2, random_state=0).fit(X, y / 3, sample_ids=names[::-1]),
        KMeans(2).fit(X, sample_ids=names, subject_ids=subjects),
        MinMaxScaler().fit(X, sample_ids=names),
        MaxAbsScaler().fit(csr.astype(np.float32), sample_ids=order),
        RobustScaler().fit(X, subject_ids=subjects),
        QuantileTransformer(n_quantiles=2, subsample=3).fit(X, sample_ids=order),
        KBinsDiscretizer(2, encode="ordinal", strategy="uniform").fit(
            X, sample_weight=np.arange(7.0), sample_ids=names
        ),
        VarianceThreshold().fit(csr, sample_ids=order),
        SelectKBest(k=1).fit(X, labels, sample_ids=names),
        BisectingKMeans(2, random_state=0).fit(X, sample_ids=names),
        DBSCAN(1.0, min_samples=2).fit(csr, None, weight, sample_ids=names[::-1]),
        IsolationForest(n_estimators=2, max_samples=4, contamination=0.2, random_state=0).fit(X, sample_ids=names),
        RandomForestClassifier(2, class_weight="balanced", categorical_features=[0], random_state=0).fit(X, y),
        *forests()[:2],
    ]


def forests() -> list[Any]:
    """Small forests that between them have missing values, weights, sparse rows and no rows."""
    rng = np.random.default_rng(1)
    X, y = rng.integers(0, 3, (7, 3)).astype(float), np.array([0, 1, 2, 0, 1, 2, 0])
    holes = np.where(rng.random(X.shape) < 0.2, np.nan, X)
    weight = np.array([1.0, 0.5, 0.0, 2.0, 1e300, 5e-324, 1.0])
    names = ["", "a", "a\0", "ü", "🦀", "b", "c"]
    labels = np.array(["x", "y", "z"])[y]
    return [
        RandomForestClassifier(3).fit(holes, labels, sample_ids=names, subject_ids=names[::-1]),
        ExtraTreesRegressor(2, max_samples=0.5, min_samples_leaf=2).fit(holes.astype(np.float32), y / 3, weight),
        RandomForestRegressor(2, max_depth=2).fit(sp.csr_array(X), y * 1e30, sample_ids=[4, 2, 0, 6, 1, 3, 5]),
        ExtraTreesClassifier(2, criterion="entropy", classes=[0, 1, 2, 9]).fit(X, y, weight, sample_ids=names),
        ExtraTreesClassifier(2).fit(holes, labels, sample_ids=names).partial_forget(names),
    ]


def blob_of(model: Any) -> bytes:
    return model.__getstate__()["_live"]["blob"]


def split(blob: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header and the bytes of the rows."""
    _, _, length = _HEAD.unpack_from(blob)
    return json.loads(blob[_HEAD.size : _HEAD.size + length]), blob[_HEAD.size + length : -4]


def seal_rows(body: bytes) -> bytes:
    return body[:-4] + struct.pack("<I", zlib.crc32(body[:-4]))


@dataclass
class Layout:
    """Where the sections of saved rows lie: written from the format's description, not from its code."""

    body: bytes
    sections: dict[str, tuple[int, int, str]] = field(default_factory=dict)  # start, stop, struct code of a field

    def __post_init__(self) -> None:
        ids, subjects, is_csr, is_double, flags = self.body[10:15]
        self.n_features, self.n_targets, n_rows = struct.unpack_from("<IIQ", self.body, 16)
        self.n_rows, self._at = n_rows, 32
        self._keys("ids", ids, n_rows)
        if flags & 1:
            self._add("ranks", 4 * n_rows, "I")
        if subjects:
            (n_subjects,) = struct.unpack_from("<Q", self.body, self._at)
            self._add("n_subjects", 8, "Q")
            self._keys("subjects", subjects, n_subjects)
            self._add("subject_of_row", 4 * n_rows, "I")
        self._add("targets", 8 * n_rows * self.n_targets, "d")
        if flags & 2:
            self._add("weights", 8 * n_rows, "d")
        value = "d" if is_double else "f"
        size = struct.calcsize(value)
        if is_csr:
            (entries,) = struct.unpack_from("<Q", self.body, self._at + 8 * n_rows)
            self._add("indptr", 8 * (n_rows + 1), "Q")
            self._add("indices", 4 * entries, "I")
            self._add("values", size * entries, value)
        else:
            self._add("values", size * n_rows * self.n_features, value)
        assert self._at + 4 == len(self.body), "the map of the format does not fit the format"

    def _keys(self, name: str, kind: int, count: int) -> None:
        if kind == 1:
            self._add(name, 8 * count, "q")
            return
        lengths = struct.unpack_from(f"<{count}H", self.body, self._at)
        self._add(f"{name}_lengths", 2 * count, "H")
        self._add(f"{name}_text", sum(lengths), "B")

    def _add(self, name: str, nbytes: int, code: str) -> None:
        if nbytes:
            self.sections[name] = (self._at, self._at + nbytes, code)
        self._at += nbytes + -nbytes % 8


# --- how it is damaged -----------------------------------------------------------------------------------------------

INTEGERS = (
    0,
    1,
    2,
    3,
    5,
    7,
    8,
    255,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 2,
    2**32 - 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
FLOATS = (
    0.0,
    -0.0,
    1.0,
    0.5,
    2.0,
    3.0,
    -1.0,
    7.0,
    40.0,
    2.0**24,
    1e300,
    1e-300,
    5e-324,
    float("inf"),
    float("-inf"),
    float("nan"),
)
WIDTH = {"B": 8, "H": 16, "I": 32, "Q": 64, "q": 64}


def nearly(rng: random.Random, code: str, value: Any) -> Any:
    """A value of the same type as a field's: a neighbour, a special value, or anything."""
    if code in "df":
        new = rng.choice((*FLOATS, value + 1, value - 1, -value, value * 0.5))
        return min(max(new, -3e38), 3e38) if code == "f" and np.isfinite(new) else new
    bits = WIDTH[code]
    new = rng.choice((*INTEGERS, value + 1, value - 1, value ^ (1 << rng.randrange(bits)), rng.getrandbits(bits)))
    new &= (1 << bits) - 1
    return new - (1 << 64) if code == "q" and new >= 1 << 63 else new


def change_field(rng: random.Random, layout: Layout, body: bytearray) -> str:
    name = rng.choice(list(layout.sections) or ["header"])
    if name == "header":
        return change_header(rng, layout, body)
    start, stop, code = layout.sections[name]
    size = struct.calcsize(code)
    at = start + size * rng.randrange((stop - start) // size)
    struct.pack_into(f"<{code}", body, at, nearly(rng, code, struct.unpack_from(f"<{code}", body, at)[0]))
    return name


def swap_fields(rng: random.Random, layout: Layout, body: bytearray) -> str:
    """Exchange, or copy, two fields of one section: ids out of order, ranks twice, indices that do not ascend."""
    name = rng.choice(list(layout.sections) or ["header"])
    if name == "header":
        return change_header(rng, layout, body)
    start, stop, code = layout.sections[name]
    size = struct.calcsize(code)
    a, b = (start + size * rng.randrange((stop - start) // size) for _ in range(2))
    first, second = bytes(body[a : a + size]), bytes(body[b : b + size])
    body[b : b + size] = first
    if rng.random() < 0.7:
        body[a : a + size] = second
    return f"{name} swapped"


def change_header(rng: random.Random, layout: Layout, body: bytearray) -> str:
    which = rng.randrange(8)
    if which < 5:
        body[10 + which] = rng.choice((0, 1, 2, 3, body[10 + which] ^ 1, rng.randrange(256)))
    elif which == 7:
        struct.pack_into("<Q", body, 24, nearly(rng, "Q", layout.n_rows))
    else:
        at = 16 + 4 * (which - 5)
        width = nearly(rng, "I", struct.unpack_from("<I", body, at)[0])
        if layout.n_rows == 0 and width > 2**16 and rng.random() < 0.99:
            width %= 2**16  # rows bound the width; where there are none, a wide model is whole, and slow
        struct.pack_into("<I", body, at, width)
    return "header"


def resize(rng: random.Random, layout: Layout, body: bytearray) -> str:
    """Lose, repeat or insert eight bytes, or cut the end off."""
    at = 32 + 8 * rng.randrange(max(1, (len(body) - 36) // 8))
    which = rng.randrange(4)
    if which == 0:
        del body[at : at + 8]
    elif which == 1:
        body[at:at] = body[at : at + 8]
    elif which == 2:
        body[at:at] = bytes(8)
    else:
        del body[at:-4]
    return "length"


def flip_bytes(rng: random.Random, layout: Layout, body: bytearray) -> str:
    for _ in range(rng.randint(1, 3)):
        body[rng.randrange(32, max(33, len(body) - 4))] = rng.randrange(256)
    return "bytes"


def drop_column(rng: random.Random, layout: Layout, body: bytearray) -> str:
    """Take the targets away, or give each row two, consistently: whole saved rows of another schema."""
    if "targets" not in layout.sections:
        return change_header(rng, layout, body)
    start, stop, _ = layout.sections["targets"]
    n_targets = rng.choice((0, 2))
    columns = [body[i : i + 8] * n_targets for i in range(start, stop, 8)]
    body[start:stop] = b"".join(columns)
    struct.pack_into("<I", body, 20, n_targets)
    return "schema"


def leave(rng: random.Random, layout: Layout, body: bytearray) -> str:
    return "nothing"


MUTATIONS: list[Callable[[random.Random, Layout, bytearray], str]] = [
    *[change_field] * 10,
    *[swap_fields] * 4,
    *[change_header] * 2,
    *[resize] * 2,
    *[flip_bytes] * 4,
    drop_column,
]


def mutated_rows(rng: random.Random, layout: Layout) -> tuple[str, bytes]:
    body = bytearray(layout.body)
    names = [rng.choice(MUTATIONS)(rng, layout, body)]
    if rng.random() < 0.15 and len(body) >= 36:
        names.append(flip_bytes(rng, layout, body))
    if rng.random() < 0.02:  # the checks before the checksum, and the checksum
        body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
        return "+".join(names), bytes(body)
    return "+".join(names), seal_rows(bytes(body))


VALUES = (None, True, False, 0, 1, -1, 2, 3, 7, 2**31, 2**70, 0.5, -0.0, 1e999, "", "x", "y", "\0", "\ud800", "<i8", [], {}, [[]], ["x"], [1, 1], [0, 1, 2], [True], ["x", 1], [None])  # fmt: skip
DTYPES = ("str", "<i8", "<i1", "|b1", "<f8", "<f2", "|O", "O", "U", "<U1", "U1000000000", "V8", "S1", "M8[s]", "m8", "<c16", "i4,i4", "", "nonsense", "(2,)i4", "a", "|V999999999")  # fmt: skip


def mutated_header(rng: random.Random, header: dict[str, Any]) -> tuple[str, Any]:
    """A header with one field wrong; now and then without one, or with one too many."""
    header = json.loads(json.dumps(header))
    name = rng.choice(list(header))
    which = rng.randrange(10)
    if which == 0:
        del header[name]
    elif which == 1:
        header["more"] = 1
    elif name == "labels_dtype" and which < 8:
        header[name] = rng.choice(DTYPES)
    elif name == "labels" and header[name] and which < 8:
        labels = header[name]
        at = rng.randrange(len(labels))
        change = rng.randrange(4)
        if change == 0:
            labels[at] = rng.choice(VALUES)
        elif change == 1:
            labels.pop(at)
        elif change == 2:
            labels.insert(at, rng.choice(VALUES))
        else:
            rng.shuffle(labels)
    elif name == "key" and which < 6:
        header[name] = "".join(rng.choice("0123456789abcdefABg ") for _ in range(rng.choice((0, 63, 64, 64, 65))))
    elif name == "feature_names" and which < 6:
        header[name] = [rng.choice(("a", "b", "", 1, None)) for _ in range(rng.choice((0, 2, 3, 3, 4)))]
    else:
        header[name] = rng.choice(VALUES)
    return name, header


def mutated_model(rng: random.Random, blob: bytes, header: dict[str, Any], layout: Layout) -> tuple[str, bytes]:
    """A blob with its header or its rows changed, both checksums set right; seldom, one of them left wrong."""
    where, body = mutated_rows(rng, layout) if rng.random() < 0.3 else ("header", layout.body)
    if where == "header":
        where, header = mutated_header(rng, header)
    encoded = bytearray(json.dumps(header, sort_keys=True).encode())
    length, version, magic = len(encoded), 1, b"SKUNLIVE"
    which = rng.randrange(60)
    if which == 0 and encoded:
        encoded[rng.randrange(len(encoded))] = rng.randrange(256)
    elif which == 1:
        length = nearly(rng, "I", length)
    elif which == 2:
        version = nearly(rng, "H", version)
    elif which == 3:
        magic = b"SKUNLIFE"
    elif which == 4:
        encoded = bytearray(b"[" * 100_000)
        length = len(encoded)
    sealed = persistence.seal(_HEAD.pack(magic, version, length) + bytes(encoded) + body)
    return where, sealed if which != 5 else sealed[: rng.randrange(len(sealed))]


# --- what must hold --------------------------------------------------------------------------------------------------

#: Messages of the checks before the structure: first bytes, version, checksum, length.
BEFORE_STRUCTURE = (
    "first bytes", "saved rows have format", "end within the header", "checksum", "is truncated", "does not begin like", "but this release reads",
)  # fmt: skip


@dataclass
class Tally:
    """What became of the inputs."""

    inputs: int = 0
    structural: int = 0
    loaded: int = 0
    used: int = 0
    refusals: Counter = field(default_factory=Counter)

    def refused(self, error: DamagedStateError) -> None:
        self.inputs += 1
        message = str(error)
        self.structural += not any(early in message for early in BEFORE_STRUCTURE)
        self.refusals[message.split("state ")[-1][:60]] += 1

    def passed(self) -> None:
        self.inputs += 1
        self.structural += 1
        self.loaded += 1

    def __str__(self) -> str:
        share = 100 / self.inputs
        return (
            f"{self.inputs} inputs: {share * self.structural:.1f} % reached the structural checks, "
            f"{share * self.loaded:.1f} % loaded, {self.used} loaded models were used"
        )


def load(model: Any, blob: bytes, params: dict[str, Any]) -> Any:
    twin = type(model)(**model.get_params(deep=False))
    twin._live = persistence.load(twin, {"params": params, "blob": blob})
    return twin


def use(twin: Any) -> None:
    """Predict, digest, forget a row, learn it again, pickle: no panic, and no disagreement with a fresh fit."""
    digest = skunlearn.state_digest(twin)
    assert digest == skunlearn.state_digest(skunlearn.reference_fit(twin))
    live = twin._live
    # Without rows, or with sparse ones, a model may be of any width.
    X = sp.eye_array(4, live.n_features, format="csr")
    X = X if live.n_features > 1000 else X.toarray()
    if not sp.issparse(X) or get_tags(twin).input_tags.sparse:
        with contextlib.suppress(DegenerateRowsError, UnknownCategoryError):
            answers = [getattr(twin, f) for f in ("predict_proba", "predict", "transform") if hasattr(twin, f)]
            assert all(answer(X).shape[0] == 4 for answer in answers[:1])
    assert skunlearn.state_digest(pickle.loads(pickle.dumps(twin))) == digest
    if len(live.rows):
        twin.partial_forget(live.rows.native.ids(np.zeros(1, dtype=np.uint32)))
        assert skunlearn.state_digest(twin) == skunlearn.state_digest(skunlearn.reference_fit(twin))


def attempt(tally: Tally, what: str, blob: bytes, read: Callable[[], Any]) -> Any:
    """Read what was damaged: it loads, or the error is the documented one."""
    try:
        result = read()
    except DamagedStateError as error:
        tally.refused(error)
        return None
    except BaseException as error:  # a panic derives from it
        if isinstance(error, KeyboardInterrupt):
            raise
        pytest.fail(f"{what}: {type(error).__name__} instead of DamagedStateError: {error}\n{blob.hex()}")
    tally.passed()
    return result


@pytest.fixture(scope="module")
def prepared() -> list[tuple[Any, bytes, dict[str, Any], Layout, dict[str, Any]]]:
    return taken_apart(seeds())


def taken_apart(models: list[Any]) -> list[tuple[Any, bytes, dict[str, Any], Layout, dict[str, Any]]]:
    blobs = [blob_of(model) for model in models]
    parts = [split(blob) for blob in blobs]
    return [
        (model, blob, header, Layout(body), model._live.params)
        for model, blob, (header, body) in zip(models, blobs, parts, strict=True)
    ]


@pytest.fixture(autouse=True)
def _bound_memory() -> Iterator[None]:
    """Refuse allocations beyond 4 GB: a damaged count must not be taken at its word."""
    resource = pytest.importorskip("resource", reason="no limits on memory here")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_undamaged_models_pass(prepared: Any) -> None:
    """The control: the map of the format fits it, sealing again changes nothing, and every seed loads and works."""
    for model, blob, header, layout, params in prepared:
        assert seal_rows(layout.body) == layout.body
        encoded = json.dumps(header, sort_keys=True).encode()
        assert persistence.seal(_HEAD.pack(b"SKUNLIVE", 1, len(encoded)) + encoded + layout.body) == blob
        assert RowStore.from_bytes(layout.body, tag_key=None, model_name="m").to_bytes() == layout.body
        use(load(model, blob, params))


def test_damaged_rows_are_refused_or_work(prepared: Any, record_property: Any) -> None:
    """At least 92,000 damaged row stores: typed errors, no panic; what loads goes into a model, and that works."""
    tally, rng = Tally(), random.Random(20)
    for n in range(N_ROWS_LAYER):
        model, _, header, layout, params = prepared[n % len(prepared)]
        what, body = mutated_rows(rng, layout)
        store = attempt(tally, what, body, lambda body=body: RowStore.from_bytes(body, tag_key=None, model_name="m"))
        if store is None:
            continue
        assert store.to_bytes() == body, f"{what}: what was read is not what is written"
        if tally.loaded % 16 == 0:
            encoded = json.dumps(header, sort_keys=True).encode()
            blob = persistence.seal(_HEAD.pack(b"SKUNLIVE", 1, len(encoded)) + encoded + body)
            try:
                twin = load(model, blob, params)
            except DamagedStateError:
                continue
            use(twin)
            tally.used += 1

    record_property("tally", str(tally))
    print(f"rows: {tally}")  # noqa: T201
    assert tally.inputs == N_ROWS_LAYER
    assert tally.structural >= 0.3 * tally.inputs
    assert tally.loaded >= 0.02 * tally.inputs
    assert tally.used >= 1000


def test_damaged_models_are_refused_or_work(prepared: Any, record_property: Any) -> None:
    """At least 9,000 damaged models, header and rows: typed errors, no panic; what loads works."""
    tally, rng = Tally(), random.Random(21)
    for n in range(N_MODEL_LAYER):
        model, blob, header, layout, params = prepared[n % len(prepared)]
        what, damaged = mutated_model(rng, blob, header, layout)
        twin = attempt(tally, what, damaged, lambda m=model, d=damaged, p=params: load(m, d, p))
        if twin is not None and tally.loaded % 2 == 0:
            use(twin)
            tally.used += 1

    record_property("tally", str(tally))
    print(f"models: {tally}")  # noqa: T201
    assert tally.inputs == N_MODEL_LAYER
    assert tally.structural >= 0.3 * tally.inputs
    assert tally.loaded >= 0.02 * tally.inputs
    assert tally.used >= 100
    assert N_ROWS_LAYER + N_MODEL_LAYER >= 100_000


def test_damaged_forests_are_refused_or_work(record_property: Any) -> None:
    """Damaged forests (SKUNLEARN_DAMAGED_FORESTS, 1,000 by default): typed errors, no panic; all that load work."""
    tally, rng, parts = Tally(), random.Random(22), taken_apart(forests())
    for n in range(N_FORESTS):
        model, blob, header, layout, params = parts[n % len(parts)]
        what, damaged = mutated_forest(rng, blob, header, layout)
        twin = attempt(tally, what, damaged, lambda m=model, d=damaged, p=params: load(m, d, p))
        if twin is not None:
            use(twin)
            tally.used += 1

    record_property("tally", str(tally))
    print(f"forests: {tally}")  # noqa: T201
    assert tally.structural >= 0.3 * tally.inputs
    assert tally.loaded >= 0.02 * tally.inputs


def mutated_forest(rng: random.Random, blob: bytes, header: dict[str, Any], layout: Layout) -> tuple[str, bytes]:
    """Half of them damaged in the rows alone, which is what trees grow from."""
    if rng.random() < 0.5:
        return mutated_model(rng, blob, header, layout)
    what, body = mutated_rows(rng, layout)
    return what, persistence.seal(blob[: -4 - len(layout.body)] + body)


def test_a_pickle_with_another_state_is_refused(prepared: Any) -> None:
    """What stands beside the blob in a pickle is checked as well."""
    model, blob, _, _, params = prepared[0]
    for saved in (None, b"", [], {}, {"blob": None, "params": params}, {"blob": blob}, {"blob": blob, "params": None}, {"blob": blob, "params": {}}, {"blob": blob, "params": {**params, "more": 1}}, {"blob": blob, "params": {**params, "alpha": -1.0}}, {"blob": blob, "params": {**params, "alpha": [1.0, 2.0]}}, {"blob": "x", "params": params}):  # fmt: skip
        with pytest.raises(DamagedStateError):
            persistence.load(type(model)(), saved)


def test_every_truncation_and_every_flipped_bit_is_refused(prepared: Any) -> None:
    """Without setting the checksum right again, no damage at all goes unseen."""
    model, blob, _, _, params = prepared[1]
    for stop in range(len(blob)):
        with pytest.raises(DamagedStateError):
            load(model, blob[:stop], params)
    for bit in range(8 * len(blob)):
        damaged = bytearray(blob)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedStateError):
            load(model, bytes(damaged), params)
