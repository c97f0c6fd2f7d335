"""Columns that are no numbers: what goes into a row store comes out, and nothing of it stays behind."""

import json

import numpy as np
import pytest

from skunlearn.columns import NAN, Columns, TableRows, as_table
from skunlearn.exceptions import DamagedStateError, DuplicateSampleError
from skunlearn.rows import RowStore

TABLE = np.array(
    [["x", 1, None, True], ["y", 2.5, "s", 1], ["x", NAN, b"z", 1.0], ["w", -0.0, 2**70, False]], dtype=object
)


def store_of(columns, rows=(), first_id=0):
    store = RowStore(
        id_kind="int64",
        subject_kind=None,
        layout="dense",
        dtype=np.float64,
        n_features=len(columns.dtypes),
        n_targets=0,
        columns=columns,
    )
    if len(rows):
        store.insert(np.arange(first_id, first_id + len(rows)), rows, None, None, None)
    return store


def slots(*numbers):
    return np.array(numbers, dtype=np.uint32)


def same(a, b):
    """Equal in type and value, NaN included."""
    pairs = zip(np.asarray(a, dtype=object).ravel(), np.asarray(b, dtype=object).ravel(), strict=True)
    return all(type(x) is type(y) and (x == y or (x != x and y != y)) for x, y in pairs)


def test_rows_come_out_as_they_went_in():
    """Values keep their types: True, 1 and 1.0 are three values of a column of objects."""
    store = store_of(Columns(["object"] * 4), as_table(TABLE))

    assert same(store.take(slots(0, 1, 2, 3)).X, TABLE)
    assert same(store.take(slots(3)).X, TABLE[[3]])
    assert same(np.concatenate([np.asarray(block.X) for block in store.blocks()]), TABLE)


def test_a_value_leaves_the_codebook_with_its_last_row():
    """After the erasure no codebook knows the value; a block taken before still does, until it is wiped."""
    store = store_of(Columns(["object"] * 4), as_table(TABLE))
    block = store.take(slots(1))

    store.erase(slots(1))

    assert store.columns.sorted_values()[0] == ["w", "x"]
    assert "y" not in store.columns.digest_part().decode()
    assert block.X.column(0).tolist() == ["y"]
    block.wipe()
    assert block.X.lookups == (None,) * 4


def test_bytes_and_digests_know_no_codes():
    """Whatever codes history gave, equal rows are saved and hashed as equal bytes."""
    straight = store_of(Columns(["object"] * 4), as_table(TABLE[::-1].copy()))
    crooked = store_of(Columns(["object"] * 4), as_table(np.array([["q", 0, 0, 0]] * 2, dtype=object)), first_id=50)
    for i in range(4):
        crooked.insert(np.array([i]), as_table(TABLE[::-1][[i]]), None, None, None)
    crooked.erase(slots(0, 1))

    assert straight.to_bytes() == crooked.to_bytes()
    assert straight.columns.digest_part() == crooked.columns.digest_part()
    assert straight.columns.header() == crooked.columns.header()
    rows = [next(store.blocks_in_order("id")).X for store in (straight, crooked)]
    assert not np.array_equal(rows[0].values, rows[1].values)  # the codes do differ
    assert np.array_equal(*(s.columns.ranked(X) for s, X in zip((straight, crooked), rows, strict=True)))


def test_a_saved_store_reads_back():
    """`from_bytes` undoes `to_bytes`; the header passes through JSON."""
    store = store_of(Columns(["object"] * 4), as_table(TABLE[[3, 1, 0, 2]]))
    columns = Columns.restore(json.loads(json.dumps(store.columns.header())))

    again = RowStore.from_bytes(store.to_bytes(), tag_key=None, model_name="model", columns=columns)

    assert again.to_bytes() == store.to_bytes()
    assert same(again.take(slots(0, 1, 2, 3)).X, TABLE[[3, 1, 0, 2]])


def test_a_failed_insert_leaves_no_value():
    """A duplicate id is refused, and the codebook forgets what came with it."""
    store = store_of(Columns(["object"] * 4), as_table(TABLE))
    before = store.to_bytes()

    with pytest.raises(DuplicateSampleError):
        store.insert(np.array([9, 0]), as_table(np.array([["new"] * 4] * 2, dtype=object)), None, None, None)

    assert store.to_bytes() == before
    assert store.columns.sorted_values()[0] == ["w", "x", "y"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda h: h[0]["values"].append("y"),
        lambda h: h[0]["values"].append("zz"),
        lambda h: h[0]["values"].pop(),
        lambda h: h[0]["values"].reverse(),
        lambda h: h[0].update(values=None),
        lambda h: h[0].update(dtype="float64"),
        lambda h: h[0].update(dtype="datetime64[ns]"),
        lambda h: h[0].update(dtype=7),
        lambda h: h[0].update(extra=1),
        lambda h: h[2].update(dtype="str"),
        lambda h: h[1]["values"].append(["f", "1.5"]),
        lambda h: h[1]["values"].append({"f": 1}),
        lambda h: h[1]["values"].append(["b", "zz"]),
        lambda h: h.pop(),
        lambda h: h.clear(),
    ],
)
def test_a_damaged_header_is_refused(damage):
    """A header that `header` does not write, or that does not fit the rows, is an error."""
    store = store_of(Columns(["object"] * 4), as_table(TABLE))
    header = json.loads(json.dumps(store.columns.header()))
    damage(header)

    with pytest.raises((ValueError, DamagedStateError)):
        RowStore.from_bytes(store.to_bytes(), tag_key=None, model_name="model", columns=Columns.restore(header))


def test_selections_of_number_columns_are_arrays():
    """A selection without a category column is a float64 array, any other a table."""
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1, 2], "b": ["u", "v"], "c": [0.5, np.nan], "d": [True, False]})
    table = as_table(frame)

    assert table.dtypes[0] == "int64"
    assert table.dtypes[2:] == ("float64", "bool")
    assert isinstance(table[:, [0, 3]], np.ndarray)
    assert table[:, [0, 3]].tolist() == [[1.0, 1.0], [2.0, 0.0]]
    assert isinstance(table[:, 1:], TableRows)
    assert table[:, 1:].column(0).tolist() == ["u", "v"]
    assert table[np.array([False, True])][:, [1]].column(0).tolist() == ["v"]


def test_unborne_categories_are_left_at_the_door():
    """A categorical and a dictionary carry names that no row bears: none enters the table."""
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"k": pd.Categorical(["u", "v"], categories=["ghost", "u", "v"])})

    tables = [as_table(frame)]
    if pytest.importorskip("polars"):
        import polars as pl

        tables.append(as_table(pl.DataFrame({"k": pl.Series(["u", "v"], dtype=pl.Enum(["ghost", "u", "v"]))})))

    for table in tables:
        assert table.column(0).tolist() == ["u", "v"]
        assert "ghost" not in table.lookups[0].tolist()


@pytest.mark.parametrize(
    ("dtypes", "rows"),
    [
        (["float64"], np.array([["text"]], dtype=object)),
        (["int64"], np.array([[1.5]])),
        (["int64"], np.array([[np.nan]])),
        (["bool"], np.array([[2]])),
        (["int8"], np.array([[300]])),
        (["float32"], np.array([[1e300]])),
        (["str"], np.array([[1]])),
        (["float64"], np.array([[2**70]], dtype=object)),
    ],
)
def test_values_of_another_kind_are_refused(dtypes, rows):
    """The kind of a column is frozen with the model."""
    with pytest.raises(ValueError, match=r"1 of 1 columns of X .* Nothing was changed"):
        Columns(dtypes).conform(as_table(rows))


@pytest.mark.parametrize(
    ("dtypes", "rows", "expected"),
    [
        (["float64"], np.array([[1], [True]], dtype=object), [1.0, 1.0]),
        (["float32"], np.array([[0.1]]), [float(np.float32(0.1))]),
        (["object"], np.array([[3]]), [3]),
        (["object"], np.array([["a"]]), ["a"]),
        (["int64"], np.array([[3.0]]), [3.0]),
    ],
)
def test_values_of_the_same_kind_are_converted(dtypes, rows, expected):
    """What loses nothing in another dtype is taken."""
    assert same(Columns(dtypes).conform(as_table(rows)).column(0), expected)


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        (np.array([[[1]], [[2]]], dtype=object)[..., None], ValueError),
        (np.array([[2**53 + 1]]), ValueError),
        (np.array([["2020-01-01"]], dtype="datetime64[D]"), TypeError),
        (np.array([[frozenset()]], dtype=object), TypeError),
        (np.array([[np.inf]]), ValueError),
    ],
)
def test_what_cannot_be_kept_is_refused(rows, error):
    """Dates, containers, infinite numbers and integers that a float would round are no input."""
    with pytest.raises(error):
        as_table(rows)
