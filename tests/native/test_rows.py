"""The shell of RowStore: dtypes, strides, errors, views. Histories are tested beside the Rust code."""

import ctypes
import gc
import sys
import threading

import numpy as np
import pytest
from _unlearn_native import _native

KEY = bytes(range(32))


def make_store(**changes):
    schema = {
        "id_kind": "int64",
        "subject_kind": None,
        "layout": "dense",
        "dtype": "float64",
        "n_features": 3,
        "n_targets": 1,
        "tag_key": KEY,
    }
    return _native.RowStore(**(schema | changes))


def slots(*numbers):
    return np.array(numbers, dtype=np.uint32)


def table(n, n_features=3, dtype=np.float64):
    return np.arange(1, n * n_features + 1, dtype=dtype).reshape(n, n_features)


def filled(n=6, **changes):
    """Rows with ids 10, 11, ..., targets 0, 1, ... and no weights."""
    store = make_store(**changes)
    X = table(n, dtype=store.dtype)
    if store.layout == "csr":
        X = to_csr(X)
    ids = {"int64": np.arange(10, 10 + n), "str": [f"row-{i}" for i in range(n)]}[store.id_kind]
    clashes = store.insert(ids, X, np.arange(n, dtype=float)[:, None], None, None)
    assert clashes.size == 0
    return store


def to_csr(X, index_dtype=np.int32):
    indptr = np.arange(len(X) + 1, dtype=np.int64) * X.shape[1]
    return indptr, np.tile(np.arange(X.shape[1], dtype=index_dtype), len(X)), X.ravel()


# --- properties ------------------------------------------------------------------------------------------------------


def test_properties_say_what_was_asked_for():
    store = make_store(id_kind="str", subject_kind="int64", layout="csr", dtype="float32", n_features=7, n_targets=2)

    assert (store.id_kind, store.subject_kind, store.layout, store.dtype) == ("str", "int64", "csr", "float32")
    assert (store.n_features, store.n_targets, store.n_live, store.n_subjects) == (7, 2, 0, 0)
    assert store.has_weights is False


def test_range_ids_are_int64_to_the_outside():
    store = make_store(id_kind="range")
    store.insert(None, table(4), np.zeros((4, 1)), None, None)
    store.insert(None, table(2), np.zeros((2, 1)), None, None)

    np.testing.assert_array_equal(store.ids(store.order("id")), np.arange(6))
    assert store.id_kind == "int64"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id_kind": "float"}, "id_kind must be one of"),
        ({"subject_kind": "range"}, "subject_kind must be one of"),
        ({"layout": "csc"}, "layout must be one of"),
        ({"dtype": "int64"}, "dtype must be one of"),
        ({"n_features": 0}, "n_features must lie in"),
        ({"n_features": -1}, "n_features must lie in"),
        ({"n_features": 2**31}, "n_features must lie in"),
        ({"n_targets": -1}, "n_targets in"),
        ({"tag_key": b"short"}, "tag_key has 5 bytes"),
    ],
)
def test_bad_schema_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_store(**changes)


def test_index_takes_at_most_24_bytes_a_row():
    n = 500_000
    store = make_store(n_features=1, n_targets=0)
    store.insert(np.arange(n) * 7919, np.zeros((n, 1)), None, None, None)

    assert 4 * n < store.index_nbytes <= 24 * n
    assert store.nbytes >= store.index_nbytes + n * (8 + 8 + 16)


# --- arrays in -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout_of", ["C", "F", "negative strides", "every second", "read-only", "misaligned"])
def test_any_memory_layout_stores_the_same_rows(dtype, layout_of):
    X = table(5, dtype=dtype)
    given = {
        "C": X,
        "F": np.asfortranarray(X),
        "negative strides": X[::-1, ::-1].copy()[::-1, ::-1],
        "every second": np.repeat(np.repeat(X, 2, axis=0), 2, axis=1)[::2, ::2],
        "read-only": X.copy(),
        "misaligned": np.frombuffer(b"\0" + X.tobytes(), dtype=np.uint8)[1:].view(dtype).reshape(X.shape),
    }[layout_of]
    given.flags.writeable = False
    store = make_store(dtype=dtype)

    store.insert(np.arange(10)[::2], given, np.zeros((10, 1))[::2], np.arange(10.0)[::2], None)

    block, y, weight = store.block(slots(0, 1, 2, 3, 4))
    assert block.dtype == dtype
    np.testing.assert_array_equal(block, X)
    np.testing.assert_array_equal(y, np.zeros((5, 1)))
    np.testing.assert_array_equal(weight, [0, 2, 4, 6, 8])
    np.testing.assert_array_equal(store.ids(slots(0, 1, 2, 3, 4)), [0, 2, 4, 6, 8])


def test_fields_of_a_packed_record_are_read_right():
    """Strides that are no multiple of the item size."""
    records = np.zeros(4, dtype=[("flag", "u1"), ("id", "<i8"), ("x", "<f8", (3,))])
    records["id"] = [5, 6, 7, 8]
    records["x"] = table(4)
    store = make_store()

    store.insert(records["id"], records["x"], np.zeros((4, 1)), None, None)

    np.testing.assert_array_equal(store.ids(slots(0, 1, 2, 3)), [5, 6, 7, 8])
    np.testing.assert_array_equal(store.block(slots(0, 1, 2, 3))[0], table(4))


@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_are_canonical(layout, dtype):
    """-0.0 is stored as 0.0 and every NaN as one quiet NaN, so that equal rows are equal bytes."""
    X = np.array([[-0.0, np.nan, -np.inf], [1.0, -np.nan, 0.0]], dtype=dtype)
    X[1, 1:2].view({"float32": np.uint32, "float64": np.uint64}[dtype])[0] |= 1  # another payload
    store = make_store(layout=layout, dtype=dtype, n_targets=0)

    store.insert(np.array([1, 2]), to_csr(X) if layout == "csr" else X, None, None, None)

    block, _, _ = store.block(slots(0, 1))
    quiet = np.array([np.nan], dtype=dtype)
    if layout == "csr":
        indptr, indices, data = block
        np.testing.assert_array_equal(indptr, [0, 2, 4])
        np.testing.assert_array_equal(indices, [1, 2, 0, 1])
        assert data.tobytes() == np.array([np.nan, -np.inf, 1.0, np.nan], dtype=dtype).tobytes()
    else:
        assert not np.signbit(block[0, 0])
        assert block[0, 1].tobytes() == block[1, 1].tobytes() == quiet.tobytes()


@pytest.mark.parametrize("index_dtype", [np.int32, np.int64])
def test_csr_rows_come_back_in_the_order_asked(index_dtype):
    store = make_store(layout="csr", n_targets=0, n_features=5)
    indices = np.array([1, 4, 0, 2], dtype=index_dtype)
    store.insert(
        np.array([7, 8, 9]), (np.array([0, 2, 2, 4]), indices, np.array([1.0, 2.0, 0.0, 3.0])), None, None, None
    )

    (indptr, columns, data), y, weight = store.block(slots(2, 1, 0))

    assert (indptr.dtype, columns.dtype, data.dtype) == (np.int64, np.int32, np.float64)
    assert (indptr.tolist(), columns.tolist(), data.tolist()) == ([0, 1, 1, 3], [2, 1, 4], [3.0, 1.0, 2.0])
    assert y is None
    assert weight is None


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ((np.array([0, 2]), np.array([0], np.int32), np.array([1.0])), "indptr"),
        ((np.array([1, 1]), np.array([0], np.int32), np.array([1.0])), "indptr"),
        ((np.array([0, 2, 1]), np.array([0], np.int32), np.array([1.0])), "indptr"),
        ((np.array([0, -1, 1]), np.array([0], np.int32), np.array([1.0])), "indptr"),
        ((np.array([], np.int64), np.array([], np.int32), np.array([])), "indptr"),
        ((np.array([0, 1]), np.array([0], np.int32), np.array([1.0, 2.0])), "indptr"),
        ((np.array([0, 1]), np.array([3], np.int32), np.array([1.0])), "1 of 1 rows"),
        ((np.array([0, 1]), np.array([-1], np.int32), np.array([1.0])), "1 of 1 rows"),
        ((np.array([0, 2]), np.array([1, 1], np.int32), np.array([1.0, 2.0])), "sum_duplicates"),
        ((np.array([0, 2]), np.array([2, 1], np.int64), np.array([1.0, 2.0])), "sort_indices"),
    ],
)
def test_bad_csr_is_refused(X, message):
    store = make_store(layout="csr", n_targets=0)

    with pytest.raises(ValueError, match=message):
        store.insert(np.array([1]), X, None, None, None)
    assert store.n_live == 0


@pytest.mark.parametrize("as_sequence", [list, tuple, lambda ids: np.array(ids, dtype=object), np.array])
def test_str_ids_may_be_any_sequence_of_str(as_sequence):
    ids = ["b", "", "é", "日本", "a" * 100]
    store = make_store(id_kind="str")

    store.insert(as_sequence(ids), table(5), np.zeros((5, 1)), None, None)

    assert store.ids(slots(0, 1, 2, 3, 4)) == ids
    assert store.ids(store.order("id")) == sorted(ids, key=str.encode)
    found, unknown = store.find(as_sequence(["é", "no", "b", "é"]))
    assert (found.tolist(), unknown.tolist()) == ([0, 2], [1])


def test_longest_str_id_is_65535_bytes():
    store = make_store(id_kind="str")
    longest = "é" * 32767 + "x"

    store.insert([longest], table(1), np.zeros((1, 1)), None, None)

    assert store.ids(slots(0)) == [longest]
    with pytest.raises(ValueError, match="longer than 65535 bytes") as caught:
        store.insert([longest + "y"], table(1), np.zeros((1, 1)), None, None)
    assert "é" not in str(caught.value)


def test_surrogates_are_refused_without_naming_the_id():
    store = make_store(id_kind="str")

    with pytest.raises(ValueError, match="surrogates") as caught:
        store.insert(["ok", "secret\ud800"], table(2), np.zeros((2, 1)), None, None)

    assert "secret" not in str(caught.value)
    assert type(caught.value) is ValueError
    assert store.n_live == 0


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("position", "value", "error"),
    [
        (0, [10, 11], TypeError),
        (0, np.array([1, 2], np.int32), TypeError),
        (0, np.array([1.0, 2.0]), TypeError),
        (0, np.array([[1], [2]]), TypeError),
        (0, "ab", TypeError),
        (0, b"ab", TypeError),
        (0, 5, TypeError),
        (0, ["a", 1], TypeError),
        (0, ["a", "b"], TypeError),
        (0, None, ValueError),
        (0, np.array([1]), ValueError),
        (1, np.zeros((2, 3), np.float32), TypeError),
        (1, np.zeros((2, 3), ">f8"), TypeError),
        (1, np.zeros(6), TypeError),
        (1, [[1.0, 2.0, 3.0]] * 2, TypeError),
        (1, to_csr(np.zeros((2, 3))), TypeError),
        (1, np.zeros((2, 4)), ValueError),
        (1, np.zeros((3, 3)), ValueError),
        (2, None, ValueError),
        (2, np.zeros(2), TypeError),
        (2, np.zeros((2, 2)), ValueError),
        (2, np.zeros((3, 1)), ValueError),
        (2, np.array([[0.0], [np.nan]]), ValueError),
        (2, np.array([[0.0], [np.inf]]), ValueError),
        (3, np.ones(3), ValueError),
        (3, np.ones((2, 1)), TypeError),
        (3, np.array([1, 1]), TypeError),
        (3, np.array([1.0, -1.0]), ValueError),
        (3, np.array([1.0, np.nan]), ValueError),
        (3, np.array([1.0, np.inf]), ValueError),
        (4, np.array([1]), ValueError),
        (4, ["a", "b"], TypeError),
    ],
)
def test_bad_batch_is_refused_and_changes_nothing(position, value, error):
    store = filled(subject_kind="int64")
    before = store.to_bytes(None)
    arguments = [np.array([1, 2]), np.zeros((2, 3)), np.zeros((2, 1)), None, None]
    arguments[position] = value

    with pytest.raises(error) as caught:
        store.insert(*arguments)

    assert type(caught.value) is error
    assert store.to_bytes(None) == before


def test_clashes_are_reported_and_nothing_changes():
    store = filled()
    before = (store.to_bytes(None), store.n_live)

    clashes = store.insert(np.array([1, 12, 2, 1, 15, 1]), table(6), np.zeros((6, 1)), np.full(6, 2.0), None)

    assert clashes.dtype == np.uint32
    assert clashes.tolist() == [1, 3, 4, 5]
    assert (store.to_bytes(None), store.n_live) == before
    assert store.find(np.array([1, 2]))[1].tolist() == [0, 1]
    assert store.insert(np.array([1, 2]), table(2), np.zeros((2, 1)), None, None).size == 0


def test_rows_without_ids_need_a_range_that_lost_nothing():
    store = make_store(id_kind="range", n_targets=0)
    store.insert(None, table(3), None, None, None)
    store.erase(slots(2))

    with pytest.raises(ValueError, match="Pass ids"):
        store.insert(None, table(1), None, None, None)
    with pytest.raises(ValueError, match="Pass ids"):
        filled().insert(None, table(1), np.zeros((1, 1)), None, None)


def test_explicit_ids_convert_a_range():
    store = make_store(id_kind="range", n_targets=0)
    store.insert(None, table(4), None, None, None)
    store.erase(slots(0))

    assert store.insert(np.array([3, 7]), table(2), None, None, None).tolist() == [0]
    assert store.insert(np.array([0, 7]), table(2), None, None, None).size == 0

    assert store.ids(store.order("insertion")).tolist() == [1, 2, 3, 0, 7]


@pytest.mark.parametrize("method", ["erase", "block", "ids", "tags"])
def test_slots_out_of_range_are_an_index_error(method):
    store = filled(6)

    for bad in (slots(6), slots(0, 2**32 - 1)):
        with pytest.raises(IndexError, match="1 of"):
            getattr(store, method)(bad)
    with pytest.raises(TypeError, match="slots must be a 1-d numpy array of dtype uint32"):
        getattr(store, method)(np.array([0]))
    assert store.n_live == 6


def test_slots_to_erase_must_ascend():
    store = filled()

    for bad in (slots(1, 1), slots(2, 1)):
        with pytest.raises(ValueError, match="ascend"):
            store.erase(bad)
    assert store.n_live == 6


def test_what_a_store_does_not_keep_is_refused():
    store = filled(tag_key=None)

    with pytest.raises(ValueError, match="tag_key"):
        store.tags(slots(0))
    with pytest.raises(ValueError, match="without subjects"):
        store.find_subjects(np.array([1]))
    with pytest.raises(ValueError, match="without subjects"):
        store.subjects(slots(0))
    with pytest.raises(ValueError, match="without subjects"):
        store.insert(np.array([1]), table(1), np.zeros((1, 1)), None, np.array([1]))
    with pytest.raises(ValueError, match="by must be one of"):
        store.order("slot")


# --- finding and erasing ---------------------------------------------------------------------------------------------


def test_erase_reports_moves_in_the_order_done():
    store = filled(6)

    moves = store.erase(slots(1, 2, 5))

    assert moves.dtype == np.uint32
    assert moves.tolist() == [[4, 2], [3, 1]]
    assert store.ids(slots(0, 1, 2)).tolist() == [10, 13, 14]
    assert store.ids(store.order("insertion")).tolist() == [10, 13, 14]
    assert store.find(np.array([11, 13, 12, 15]))[1].tolist() == [0, 2, 3]
    assert store.erase(slots()).shape == (0, 2)


@pytest.mark.parametrize("kind", ["int64", "str"])
def test_subjects_lead_to_their_rows(kind):
    names = [5, 6, 5, 5] if kind == "int64" else ["p", "q", "p", "p"]
    convert = np.array if kind == "int64" else list
    store = make_store(subject_kind=kind)
    store.insert(np.arange(4), table(4), np.zeros((4, 1)), None, convert(names))
    store.insert(np.array([9]), table(1), np.zeros((1, 1)), None, None)

    found, unknown = store.find_subjects(convert([names[0], names[0] * 99]))

    assert (found.tolist(), unknown.tolist(), store.n_subjects) == ([0, 2, 3], [1], 2)
    if kind == "int64":
        subjects, mask = store.subjects(slots(4, 1))
        assert (subjects.tolist(), mask.tolist()) == ([0, 6], [False, True])
    else:
        assert store.subjects(slots(4, 1)) == [None, "q"]
    store.erase(found)
    assert store.n_subjects == 1
    assert store.find_subjects(convert(names[:1]))[1].tolist() == [0]


def test_tags_belong_to_ids_and_follow_the_key():
    store = filled(4)
    ids = np.array([11, 13, 10])

    np.testing.assert_array_equal(store.tags(slots(1, 3, 0)), _native.row_tags(KEY, ids))
    store.erase(slots(0))
    np.testing.assert_array_equal(store.tags(slots(0, 1)), _native.row_tags(KEY, np.array([13, 11])))
    store.retag(KEY[::-1])
    np.testing.assert_array_equal(store.tags(slots(0, 1)), _native.row_tags(KEY[::-1], np.array([13, 11])))


def test_weights_take_no_column_until_one_is_not_1():
    store = filled(3)
    store.insert(np.array([1]), table(1), np.zeros((1, 1)), np.ones(1), None)
    assert not store.has_weights

    store.insert(np.array([2]), table(1), np.zeros((1, 1)), np.array([0.0]), None)

    assert store.has_weights
    assert store.block(slots(0, 4, 3))[2].tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_erased_rows_leave_no_bytes_in_the_buffers(layout):
    """Every buffer is searched for the bytes of values, id, subject and tag; before the erasure all are found."""
    n = 300
    rng = np.random.default_rng(0)
    X, y, weight = rng.random((n, 3)) + 1, rng.random((n, 1)) + 1, rng.random(n) + 1
    ids, subjects = [f"canary-{i:03}-{'x' * 20}" for i in range(n)], [f"person-{i:03}" for i in range(n)]
    store = make_store(id_kind="str", subject_kind="str", layout=layout)
    store.insert(ids, to_csr(X) if layout == "csr" else X, y, weight, subjects)
    gone = np.sort(rng.choice(n, 120, replace=False)).astype(np.uint32)
    patterns = [value.tobytes() for i in gone for value in (*X[i], y[i, 0], weight[i])]
    patterns += [text.encode() for i in gone for text in (ids[i], subjects[i])]
    patterns += [tag.tobytes() for tag in store.tags(gone)]

    def n_found():
        # Without the zeros at the end, but for as many as a pattern could end in: the search is long enough.
        contents = [ctypes.string_at(*buffer).rstrip(b"\0") + bytes(16) for buffer in store.buffers()]
        return sum(any(pattern in content for content in contents) for pattern in patterns)

    assert n_found() == len(patterns)
    store.erase(gone)
    assert n_found() == 0
    assert store.n_live == n - 120


# --- views -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_chunks_are_read_only_views(dtype):
    store = make_store(dtype=dtype)
    X = table(5, dtype=dtype)
    store.insert(np.arange(5), X, np.arange(5.0)[:, None], np.arange(5.0), None)

    first, again = store.chunk(1, 4), store.chunk(1, 4)

    for array, other, expected in zip(first, again, (X[1:4], [[1], [2], [3]], [1, 2, 3]), strict=True):
        np.testing.assert_array_equal(array, expected)
        assert np.shares_memory(array, other)
        assert array.flags.c_contiguous
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
    assert any(
        address <= first[0].__array_interface__["data"][0] < address + nbytes for address, nbytes in store.buffers()
    )


def test_chunk_bounds_are_checked():
    store = make_store(n_features=2**17, n_targets=0)
    assert store.rows_per_chunk == 1
    store.insert(np.arange(3), np.ones((3, 2**17)), None, None, None)

    assert store.chunk(2, 3)[0].shape == (1, 2**17)
    assert store.chunk(3, 3)[0].shape == (0, 2**17)
    for start, stop in [(0, 2), (2, 1), (3, 4), (-1, 1), (0, -1), (0, 2**40)]:
        with pytest.raises(IndexError, match="one chunk"):
            store.chunk(start, stop)


def test_csr_chunks_are_copies():
    store = filled(5, layout="csr")

    (indptr, indices, data), y, weight = store.chunk(1, 3)

    assert (indptr.tolist(), indices.tolist()) == ([0, 3, 6], [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(data, table(5)[1:3].ravel())
    assert y.tolist() == [[1.0], [2.0]]
    assert weight is None
    store.erase(slots(1))
    np.testing.assert_array_equal(data, table(5)[1:3].ravel())


def test_views_keep_their_memory_when_store_and_rows_are_gone():
    """Erasing frees chunks, but never one that a view may look at; the view of an erased row shows zeros."""
    n_features = 2**17
    store = make_store(n_features=n_features, n_targets=0)
    store.insert(np.arange(8), np.ones((8, n_features)), None, None, None)
    view = store.chunk(6, 7)[0]
    last = view[:, -1:]

    store.erase(slots(*range(1, 8)))

    assert store.nbytes >= 8 * n_features * 8
    assert not view.any()
    assert last[0, 0] == 0
    del view, last
    store.insert(np.array([99]), np.full((1, n_features), 3.0), None, None, None)
    kept = store.chunk(1, 2)[0]
    store.erase(slots())
    del store
    gc.collect()
    np.testing.assert_array_equal(kept, 3.0)


def test_chunks_are_freed_when_nobody_looks_at_them():
    n_features = 2**17
    store = make_store(n_features=n_features, n_targets=0)
    store.insert(np.arange(8), np.ones((8, n_features)), None, None, None)

    store.erase(slots(*range(1, 8)))

    assert store.nbytes < 3 * n_features * 8 + 2**23


def test_no_reference_is_leaked():
    store = filled(5, id_kind="str")
    before = sys.getrefcount(store)
    arrays = [np.zeros((1, 3)), np.zeros((1, 1)), np.ones(1), slots(0)]
    counts = [sys.getrefcount(array) for array in arrays]
    ids = ["one id that lives in this list only"]
    id_count = sys.getrefcount(ids[0])

    for _ in range(50):
        views = store.chunk(0, 2)
        store.insert(ids, arrays[0], arrays[1], arrays[2], None)
        store.block(arrays[3])
        store.erase(store.find(ids)[0])
    del views

    assert sys.getrefcount(store) == before
    assert [sys.getrefcount(array) for array in arrays] == counts
    id_count_now = sys.getrefcount(ids[0])  # inside of the assert, pytest would hold one more
    assert id_count_now == id_count


def test_blocks_are_the_callers_own():
    store = filled(3)
    X, y, _ = store.block(slots(2, 0))

    X[:] = -1.0
    y[:] = -1.0

    np.testing.assert_array_equal(store.block(slots(2, 0))[0], table(3)[[2, 0]])


# --- threads ---------------------------------------------------------------------------------------------------------


def test_readers_see_whole_rows_while_a_writer_moves_them():
    """Every value of row i is i, and so is its target: no reader ever sees halves of two rows."""
    n = 400
    store = make_store(n_features=16)
    values = np.repeat(np.arange(n, dtype=float)[:, None], 16, axis=1)
    store.insert(np.arange(n), values, values[:, :1].copy(), None, None)
    torn, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            X, y, _ = store.block(slots(0, 1, 2))
            if np.any(X - y):
                torn.append(X)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(5):
        for i in range(n - 3):
            found, _ = store.find(np.array([i]))
            store.erase(found)
            store.insert(np.array([i]), values[i : i + 1], values[i : i + 1, :1].copy(), None, None)
    stop.set()
    for reader in readers:
        reader.join()

    assert not torn
    assert store.n_live == n


# --- bytes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id_kind", ["int64", "str"])
@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_saved_rows_come_back_and_history_does_not(id_kind, layout, dtype):
    changed = filled(6, id_kind=id_kind, layout=layout, dtype=dtype)
    changed.erase(slots(0, 3))
    order = changed.order("insertion")
    X, y, _ = changed.block(order)
    fresh = make_store(id_kind=id_kind, layout=layout, dtype=dtype)
    fresh.insert(changed.ids(order), X, y, None, None)

    data = changed.to_bytes(None)

    assert data == fresh.to_bytes(None)
    loaded = _native.RowStore.from_bytes(data, tag_key=KEY)
    assert loaded.to_bytes(None) == data
    assert list(loaded.ids(slots(0, 1, 2, 3))) == list(changed.ids(order))
    assert (loaded.layout, loaded.dtype, loaded.id_kind) == (layout, dtype, id_kind)
    np.testing.assert_array_equal(loaded.tags(slots(0, 1, 2, 3)), changed.tags(order))


def test_target_map_writes_what_codes_stand_for():
    store = filled(3)
    mapped = filled(3)
    mapped.erase(slots(0, 1, 2))
    mapped.insert(np.arange(10, 13), table(3), np.array([[7.0], [-1.5], [0.0]]), None, None)

    assert store.to_bytes(np.array([7.0, -1.5, -0.0])) == mapped.to_bytes(None)
    with pytest.raises(ValueError, match="1 of 3 targets"):
        store.to_bytes(np.array([7.0, -1.5]))
    with pytest.raises(ValueError, match="1 of 3 entries of target_map"):
        store.to_bytes(np.array([7.0, np.nan, 1.0]))
    with pytest.raises(ValueError, match="2 of 3 targets"):
        mapped.to_bytes(np.arange(7.0))


def test_damaged_bytes_are_refused():
    data = filled(4, id_kind="str").to_bytes(None)
    flipped = bytearray(data)
    flipped[-10] ^= 1
    newer = bytearray(data)
    newer[8] = 9

    for damaged, message in [
        (b"", "no saved rows"),
        (b"PICKLE" + data, "no saved rows"),
        (data[:20], "end within the header"),
        (data[:-9], "checksum"),
        (bytes(flipped), "checksum"),
        (_native.seal(bytes(newer)), "format 9, and this release reads up to 1"),
        (_native.seal(data + bytes(8)), "bytes after the values"),
        (_native.seal(data[:-12]), "end too early"),
    ]:
        with pytest.raises(ValueError, match=message):
            _native.RowStore.from_bytes(damaged, tag_key=None)
    assert _native.seal(data) == data
    with pytest.raises(ValueError, match="too short"):
        _native.seal(b"abc")


def test_every_flipped_bit_is_noticed_or_canonical():
    """Any one-bit change that loads in spite of a right checksum is itself what saving would write."""
    data = filled(3, id_kind="str", subject_kind="int64").to_bytes(None)
    n_refused = 0
    for bit in range(8 * (len(data) - 4)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        changed = _native.seal(bytes(changed))
        try:
            loaded = _native.RowStore.from_bytes(changed, tag_key=None)
        except (ValueError, MemoryError):
            n_refused += 1
        else:
            assert loaded.to_bytes(None) == changed
    assert n_refused > len(data)


def test_key_and_rows_are_in_no_repr():
    store = filled(id_kind="str")

    assert "row-" not in repr(store)
    assert repr(KEY)[2:-1] not in repr(store)
