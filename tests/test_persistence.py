"""`skunlearn.persistence`: what is saved is the rows and the key, in one canonical form."""

import copy
import io
import json
import pickle
import struct
import subprocess
import sys
from typing import Any

import joblib
import numpy as np
import pytest
import scipy.sparse as sp

import skunlearn
from skunlearn import persistence
from skunlearn._faults import inject
from skunlearn.exceptions import DamagedStateError
from skunlearn.naive_bayes import BernoulliNB, CategoricalNB

pytestmark = pytest.mark.filterwarnings("ignore::skunlearn.exceptions.SkunlearnWarning")

X = np.random.default_rng(6).integers(0, 3, (15, 3)).astype(float)
Y = np.arange(15) % 3
WEIGHT = np.r_[np.ones(10), 0.0, 0.5, 5e-324, 1e300, 2.0]
LABELS = {
    "int": Y,
    "int8": Y.astype(np.int8),
    "bool": Y > 0,
    "float": Y * 2.0,
    "str": np.array(["a", "bb", "ü\0c"])[Y],
    "object": np.array(["a", "bb", "ccc"], dtype=object)[Y],
}
IDS = {"range": None, "int64": np.random.default_rng(7).permutation(15) - 7, "str": ["", "\0", "ü", *"abcdefghijkl"]}


def joblibbed(model: Any) -> Any:
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


WAYS = {
    **{f"pickle {p}": (lambda m, p=p: pickle.loads(pickle.dumps(m, protocol=p))) for p in (2, 4, 5)},
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "joblib": joblibbed,
}


def models() -> dict[str, Any]:
    made = {}
    for Estimator in (BernoulliNB, CategoricalNB):
        for layout in (np.asarray, sp.csr_array):
            for n, (label, ids) in enumerate([(a, b) for a in LABELS for b in IDS]):
                model = Estimator().fit(
                    layout(X),
                    LABELS[label],
                    WEIGHT if n % 2 else None,
                    sample_ids=IDS[ids],
                    subject_ids=["s", "t", ""] * 5 if n % 3 else None,
                )
                made[f"{Estimator.__name__}-{layout.__name__}-{label}-{ids}"] = model
    return made


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_is_the_model(way: str) -> None:
    """All kinds of labels, ids, layouts: digest, predictions, dtype of the classes, order of insertion."""
    for name, model in models().items():
        twin = WAYS[way](model)
        assert skunlearn.state_digest(twin) == skunlearn.state_digest(model), name
        assert twin.predict_proba(X).tobytes() == model.predict_proba(X).tobytes(), name
        assert twin.predict(X).tolist() == model.predict(X).tolist(), name
        assert twin.classes_.dtype == model.classes_.dtype, name
        assert pickle.dumps(twin) == pickle.dumps(model), name


@pytest.mark.parametrize("Estimator", [BernoulliNB, CategoricalNB])
def test_equal_models_have_equal_bytes(Estimator: Any) -> None:
    """One that forgot, its reference, its copy: byte for byte; in another order of insertion, equal digests only."""
    model = Estimator().fit(X, LABELS["str"], WEIGHT, sample_ids=IDS["str"], subject_ids=["s", "t", ""] * 5)
    model.partial_fit(X[:4] + 5, ["zz"] * 4, sample_ids=list("wxyz"), subject_ids=["who"] * 4)
    model.partial_forget(list("wxyz")).partial_forget(["ü", "c"])

    saved = pickle.dumps(model)

    assert saved == pickle.dumps(skunlearn.reference_fit(model))
    assert saved == pickle.dumps(pickle.loads(saved))
    assert saved == pickle.dumps(copy.deepcopy(model))
    for trace in (b"who", b"zz", "ü".encode() + b"c"):
        assert (trace in saved) == (
            trace == "ü".encode() + b"c" and trace in pickle.dumps(skunlearn.reference_fit(model))
        )


@pytest.mark.parametrize("Estimator", [BernoulliNB, CategoricalNB])
def test_a_stale_model_is_saved_whole(Estimator: Any) -> None:
    """Pending work is done before anything is written."""
    model = Estimator().fit(X, Y)

    def fail(point: str) -> None:
        if point == "forget.erased":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), inject(fail):
        model.partial_forget(np.flatnonzero(Y == 2))  # and with them a class
    saved = pickle.dumps(model)
    twin = pickle.loads(saved)
    assert saved == pickle.dumps(skunlearn.reference_fit(model))
    assert twin.n_live_ == 10
    assert skunlearn.state_digest(twin) == skunlearn.state_digest(skunlearn.reference_fit(model))


def test_nothing_derived_is_saved() -> None:
    """The state holds parameters and one blob; the blob begins as described."""
    model = BernoulliNB().fit(X, Y)
    model.predict(X)
    saved = model.__getstate__()["_live"]

    assert set(saved) == {"params", "blob"}
    magic, version, length = struct.unpack_from("<8sHI", saved["blob"])
    assert (magic, version) == (b"SKUNLIVE", persistence.FORMAT)
    header = json.loads(saved["blob"][14 : 14 + length])
    assert set(header) == {"feature_names", "forgettable", "key", "labels", "labels_dtype", "n_declared"}
    assert saved["blob"][14 + length :].startswith(b"SKUNROWS")


def test_an_unfitted_model_is_saved_as_any_other() -> None:
    """Parameters only."""
    twin = pickle.loads(pickle.dumps(BernoulliNB(alpha=0.5)))
    assert twin._live is None
    assert twin.alpha == 0.5


def test_a_newer_format_is_named_as_such() -> None:
    """The error says which format, which ones this release reads, and what to install."""
    model = BernoulliNB().fit(X, Y)
    saved = model.__getstate__()["_live"]
    blob = bytearray(saved["blob"])
    struct.pack_into("<H", blob, 8, 7)
    newer = {**saved, "blob": persistence.seal(bytes(blob[:-4]))}

    with pytest.raises(DamagedStateError, match=r"format 7.*reads up to 1.*Install a newer"):
        persistence.load(BernoulliNB(), newer)


DAMAGED = {
    "labels in another order": {"labels": [1, 0, 2]},
    "a label that no row bears": {"labels": [0, 1, 2, 3]},
    "a label missing": {"labels": [0, 1]},
    "labels of two kinds": {"labels": [0, 1, "2"]},
    "some of the labels declared": {"n_declared": 2},
    "a dtype that changes a label": {"labels": [0, 1, 300], "labels_dtype": "|i1"},
    "a dtype of huge elements": {"labels_dtype": "U1000000000"},
    "no dtype": {"labels_dtype": None},
    "a short key": {"key": "00"},
    "a key that is no hex": {"key": "g" * 64},
    "too few names": {"feature_names": ["a"]},
    "names that are no text": {"feature_names": [1, 2, 3]},
    "no rows wanted": {"forgettable": False},
    "one field more": {"more": 1},
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_header_that_does_not_fit_is_refused(case: str) -> None:
    """One field wrong, the checksum right; the text holds neither key nor labels."""
    model = BernoulliNB().fit(X, Y)
    saved = model.__getstate__()["_live"]
    (length,) = struct.unpack_from("<I", saved["blob"], 10)
    header = {**json.loads(saved["blob"][14 : 14 + length]), **DAMAGED[case]}
    encoded = json.dumps(header, sort_keys=True).encode()
    blob = persistence.seal(
        struct.pack("<8sHI", b"SKUNLIVE", 1, len(encoded)) + encoded + saved["blob"][14 + length : -4]
    )

    with pytest.raises(DamagedStateError, match="Saved BernoulliNB") as caught:
        persistence.load(BernoulliNB(), {**saved, "blob": blob})

    assert "300" not in str(caught.value)
    assert header["key"] not in str(caught.value) or header["key"] == "00"


def test_a_failed_load_leaves_no_half_of_a_model() -> None:
    """The instance that was to be filled stays as it was."""
    state = BernoulliNB(alpha=0.5).fit(X, Y).__getstate__()
    state["_live"] = {**state["_live"], "blob": state["_live"]["blob"][:-1]}
    bare = BernoulliNB()
    with pytest.raises(DamagedStateError):
        bare.__setstate__(state)
    assert bare.alpha == 1.0
    assert bare._live is None


@pytest.mark.parametrize("Estimator", [BernoulliNB, CategoricalNB])
def test_a_fresh_process_reads_what_was_saved(Estimator: Any, tmp_path: Any) -> None:
    """And answers with the same bits, forgets, and has the digest."""
    model = Estimator().fit(X, LABELS["str"], WEIGHT, sample_ids=IDS["str"])
    (tmp_path / "model").write_bytes(pickle.dumps(model))
    code = (
        "import pickle, sys, skunlearn; m = pickle.load(open(sys.argv[1], 'rb')); print(skunlearn.state_digest(m).hex());"
        "m.partial_forget(['a', 'b']); print(skunlearn.state_digest(m).hex())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model")], capture_output=True, text=True, check=True
    )
    expected = [skunlearn.state_digest(model).hex(), skunlearn.state_digest(model.partial_forget(["a", "b"])).hex()]
    assert run.stdout.split() == expected


def test_a_deep_header_is_refused_whatever_the_recursion_limit() -> None:
    """The JSON decoder recurses in C: under a raised limit a nested header would exhaust the stack, and end the process."""
    blob = bytearray(BernoulliNB().fit(X, Y).__getstate__()["_live"]["blob"])
    deep = b"[" * 200_000
    blob = persistence.seal(struct.pack("<8sHI", b"SKUNLIVE", 1, len(deep)) + deep + bytes(blob[-100:]))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    try:
        with pytest.raises(DamagedStateError, match="malformed header"):
            persistence.load(BernoulliNB(), {"params": BernoulliNB().get_params(deep=False), "blob": blob})
    finally:
        sys.setrecursionlimit(limit)
