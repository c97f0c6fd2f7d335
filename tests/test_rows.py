"""`skunlearn.rows`: names and errors on the native store, and blocks on their way to a core."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from skunlearn.exceptions import (  # fmt: skip
    DamagedStateError,
    DuplicateSampleError,
    SampleIdTypeError,
    SampleIdValueError,
    UnknownSampleError,
)
from skunlearn.ids import parse_ids
from skunlearn.naive_bayes import BernoulliNB, CategoricalNB
from skunlearn.rows import CsrRows, RowBlock, RowStore


def store_of(X: Any, ids: Any, *, subjects: Any = None, weight: Any = None) -> RowStore:
    store = RowStore(
        id_kind="range" if ids is None else ("str" if isinstance(ids, list) else "int64"),
        subject_kind=None if subjects is None else "str",
        layout="csr" if sp.issparse(X) else "dense",
        dtype=X.dtype,
        n_features=X.shape[1],
        n_targets=1,
    )
    store.insert(ids, X, np.arange(X.shape[0], dtype=float)[:, None], weight, subjects)
    return store


X6 = np.arange(1.0, 19).reshape(6, 3) % 4


# --- ids -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ids",
    [[1, 2], (1, 2), np.array([1, 2]), range(1, 3), pd.Series([1, 2]), np.array([1, 2], dtype=object), [np.int8(1), 2]],
)
def test_integers_are_int64_ids(ids: Any) -> None:
    """Of every type and container."""
    parsed = parse_ids(ids, "sample_ids")
    assert isinstance(parsed, np.ndarray)
    assert parsed.dtype == np.int64
    assert parsed.tolist() == [1, 2]


@pytest.mark.parametrize(
    "ids",
    [["a", "b\0"], ("a", "b\0"), np.array(["a", "b\0"], dtype=object), pd.Series(["a", "b\0"]), [np.str_("a"), "b\0"]],
)
def test_strings_are_str_ids_and_keep_a_trailing_nul(ids: Any) -> None:
    """No fixed-width dtype on the way."""
    parsed = parse_ids(ids, "sample_ids")
    assert parsed == ["a", "b\0"]
    assert {type(i) for i in parsed} == {str}


def test_an_int64_array_is_not_copied() -> None:
    """Ten million ids are looked at once."""
    ids = np.arange(5)
    assert parse_ids(ids, "sample_ids") is ids


def test_no_ids_are_of_the_expected_kind() -> None:
    """An empty request has no kind of its own."""
    assert parse_ids([], "sample_ids", expected="str") == []
    assert parse_ids(np.empty(0, dtype="U3"), "sample_ids", expected="int64").dtype == np.int64


def test_the_parameter_is_named_in_errors() -> None:
    """sample_ids or subject_ids, whichever it was."""
    for name in ("sample_ids", "subject_ids"):
        with pytest.raises(SampleIdTypeError, match=f"^{name} must"):
            parse_ids([1.0], name)
        with pytest.raises(SampleIdValueError, match=f"^{name} must"):
            parse_ids([[1]], name)
        with pytest.raises(SampleIdTypeError, match=f"^{name} are str, but"):
            parse_ids(["1"], name, expected="int64")


# --- the store -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("ids", [None, np.array([9, 3, 7, 1, 8, 2]), list("fadbce")], ids=["range", "int64", "str"])
def test_rows_come_back_as_they_went_in(make: Any, ids: Any) -> None:
    """In the order of slots, of insertion and of ids."""
    store = store_of(make(X6), ids)
    named = np.arange(6) if ids is None else ids

    for by, order in (("insertion", np.arange(6)), ("id", np.argsort(np.asarray(named)))):
        blocks = list(store.blocks_in_order(by, n_rows=4))
        assert [len(b) for b in blocks] == [4, 2]
        X = np.vstack(
            [
                b.X
                if make is np.asarray
                else sp.csr_array((b.X.data, b.X.indices, b.X.indptr), shape=(len(b), 3)).toarray()
                for b in blocks
            ]
        )
        assert X.tolist() == X6[order].tolist()
        assert [i for b in blocks for i in b.ids] == [named[i] for i in order]
        assert np.concatenate([b.y[:, 0] for b in blocks]).tolist() == order.tolist()


def test_a_selection_is_ascending_and_counts_what_else_was_asked() -> None:
    """Slots once each; unknown ids, repeats and subjects counted."""
    store = store_of(X6, list("fadbce"), subjects=["s", "s", "t", "t", "u", "u"])

    chosen = store.select(["c", "f", "c", "x"], ["t", "nobody", "t"], "ignore")

    assert chosen.slots.tolist() == [0, 2, 3, 4]
    assert (chosen.n_unknown, chosen.n_duplicates, chosen.n_subjects) == (2, 1, 1)
    assert len(store.select(None, None, "raise").slots) == 0
    assert len(store.select([], [], "raise").slots) == 0


def test_a_row_named_by_id_and_by_subject_is_selected_once() -> None:
    """Both ways in one request."""
    store = store_of(X6, list("fadbce"), subjects=["s", "s", "t", "t", "u", "u"])
    assert store.select(["f"], ["s"], "raise").slots.tolist() == [0, 1]


def test_nothing_is_selected_where_something_is_unknown() -> None:
    """The ids are on the error, in the order of the request."""
    store = store_of(X6, np.arange(6) + 10)
    with pytest.raises(UnknownSampleError, match="2 of 3 sample ids") as caught:
        store.select([99, 10, 98], None, "raise")
    assert caught.value.ids == [99, 98]


def test_a_clash_inserts_nothing() -> None:
    """Not even the rows that do not clash."""
    store = store_of(X6, np.arange(6))
    before = store.to_bytes()
    with pytest.raises(DuplicateSampleError, match="2 of 3"):
        store.insert(np.array([6, 5, 6]), X6[:3], np.zeros((3, 1)), None, None)
    assert (len(store), store.to_bytes()) == (6, before)


def test_erasing_moves_the_last_row_into_the_gap() -> None:
    """The moves are told, and what stays is found under its id."""
    store = store_of(X6, list("fadbce"))

    moves = store.erase(store.select(["a", "e"], None, "raise").slots)

    assert moves.tolist() == [[4, 1]]
    assert [store.take(store.select([i], None, "raise").slots).X.tolist()[0] for i in "fdbc"] == X6[
        [0, 2, 3, 4]
    ].tolist()
    assert len(store) == 4


def test_blocks_of_a_range_of_slots_hold_just_these_rows() -> None:
    """Across the edges of chunks, dense as views that cannot be written."""
    X = np.arange(60_000.0).reshape(-1, 6)
    store = store_of(X, None)
    blocks = list(store.blocks(5, 9_990))
    assert np.vstack([b.X for b in blocks]).tolist() == X[5:9_990].tolist()
    assert all(not b.X.flags.writeable for b in blocks)
    assert list(store.blocks(7, 7)) == []


def test_no_weights_stand_for_ones() -> None:
    """Weights appear only where one differs from 1."""
    store = store_of(X6, None)
    assert next(store.blocks()).weight is None
    weighted = store_of(X6, None, weight=np.array([1, 1, 2.0, 0, 1, 1]))
    assert next(weighted.blocks()).weight.tolist() == [1, 1, 2, 0, 1, 1]


def test_an_empty_twin_has_the_schema() -> None:
    """And no row."""
    store = store_of(sp.csr_array(X6.astype(np.float32)), list("fadbce"), subjects=list("aabbcc"))
    twin = store.empty_twin(tag_key=None)
    for name in ("id_kind", "subject_kind", "layout", "dtype", "n_features", "n_targets"):
        assert getattr(twin.native, name) == getattr(store.native, name)
    assert len(twin) == 0


def test_bytes_make_the_same_store() -> None:
    """And damaged ones none."""
    store = store_of(X6, list("fadbce"), subjects=list("aabbcc"), weight=np.arange(6.0))
    saved = store.to_bytes()
    again = RowStore.from_bytes(saved, tag_key=None, model_name="m")
    assert again.to_bytes() == saved
    assert again.select(["a"], ["b"], "raise").slots.tolist() == [1, 2, 3]
    with pytest.raises(DamagedStateError):
        RowStore.from_bytes(saved[:-1], tag_key=None, model_name="m")


@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_a_pass_over_several_chunks_sees_every_row_once(layout: str) -> None:
    """Blocks cover the slots in order, whatever the layout and however many chunks there are."""
    store = RowStore(id_kind="range", subject_kind=None, layout=layout, dtype="float64", n_features=1, n_targets=0)
    n_rows = 2 * store.native.rows_per_chunk + 3
    X = np.arange(1.0, n_rows + 1)[:, None]

    store.insert(None, X if layout == "dense" else sp.csr_array(X), None, None, None)
    blocks = list(store.blocks(2))

    np.testing.assert_array_equal(np.concatenate([block.slots for block in blocks]), np.arange(2, n_rows))
    values = [block.X.ravel() if layout == "dense" else block.X.data for block in blocks]
    np.testing.assert_array_equal(np.concatenate(values), X[2:, 0])


# --- blocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array])
def test_a_block_takes_the_rows_of_a_mask(make: Any) -> None:
    """All its parts alike."""
    store = store_of(make(X6), list("fadbce"), weight=np.arange(6.0))
    block = store.take(np.arange(6, dtype=np.uint32), with_ids=True)
    mask = np.array([0, 1, 1, 0, 0, 1], dtype=bool)

    taken = block.take(mask)

    assert len(taken) == 3
    assert taken.ids == ["a", "d", "e"]
    assert taken.weight.tolist() == [1, 2, 5]
    X = (
        taken.X
        if make is np.asarray
        else sp.csr_array((taken.X.data, taken.X.indices, taken.X.indptr), shape=(3, 3)).toarray()
    )
    assert X.tolist() == X6[mask].tolist()


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array])
def test_wiping_a_block_zeroes_its_copies_and_not_the_store(make: Any) -> None:
    """Copies are overwritten, whoever allocated them; views of the store stay."""
    store = store_of(make(X6), np.arange(6) + 10, weight=np.arange(6.0))
    before = store.to_bytes()
    copied = store.take(np.arange(6, dtype=np.uint32), with_ids=True)
    viewed = next(store.blocks())
    parts = [*(copied.X if isinstance(copied.X, CsrRows) else (copied.X,)), copied.y, copied.weight, copied.ids]
    assert all(np.any(part) for part in parts)

    copied.wipe()
    viewed.wipe()

    assert not any(np.any(part) for part in parts)
    assert store.to_bytes() == before


def test_a_block_without_extras_is_wiped_too() -> None:
    """None has no bytes."""
    block = RowBlock(np.arange(2, dtype=np.uint32), np.ones((2, 2)))
    block.wipe()
    assert not block.X.any()


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("ids", [None, "int64", "str"])
@pytest.mark.parametrize("Estimator", [BernoulliNB, CategoricalNB])
@pytest.mark.parametrize("n_rows", [20_000, 60_000])
def test_the_estimate_of_memory_is_right(Estimator: Any, ids: str | None, make: Any, n_rows: int) -> None:
    """Before anything is allocated: within 20 % of what is then held, and not below it by more."""
    rng = np.random.default_rng(0)
    X = (rng.integers(0, 4, (n_rows, 24)) * (rng.random((n_rows, 24)) < (0.3 if make is sp.csr_array else 1))).astype(
        float
    )
    if Estimator is CategoricalNB:
        X = X.astype(np.float32)
    sample_ids = {None: None, "int64": rng.permutation(n_rows) * 7, "str": [f"row-{n}" for n in range(n_rows)]}[ids]

    estimate = Estimator().estimate_memory(make(X), n_classes=2, sample_ids=sample_ids)
    model = Estimator().fit(make(X), np.arange(n_rows) % 2, sample_ids=sample_ids)
    held = model._live.rows.native.nbytes + model._live.core.nbytes()

    assert estimate.total == estimate.rows + estimate.index + estimate.core
    assert 0.8 <= estimate.total / held <= 1.2, f"estimated {estimate}, held {held}"
    assert estimate == model.estimate_memory(make(X), n_classes=2, sample_ids=sample_ids)


@pytest.mark.parametrize("Estimator", [BernoulliNB, CategoricalNB])
@pytest.mark.parametrize("form", ["coo", "csc", "lil", "dok", "dia", "bsr"])
def test_memory_is_estimated_for_every_sparse_format(Estimator: Any, form: str) -> None:
    """Whatever `fit` takes."""
    assert Estimator().estimate_memory(sp.csr_array(X6).asformat(form)) == Estimator().estimate_memory(sp.csr_array(X6))
