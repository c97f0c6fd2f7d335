"""`OrderStatistics`: what sorting all values says, whatever came and went before."""

import numpy as np
import pytest
import scipy.sparse as sp

from skunlearn._linalg.order_statistics import OrderStatistics, interpolate
from skunlearn.rows import CsrRows, csr_rows

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
EXTREMES = (0.0, 1.0)


def table(n=200, seed=0):
    """Columns: normal, with gaps, a few values, all equal, mostly missing, huge and tiny."""
    rng = np.random.default_rng(seed)
    gaps = rng.normal(size=n)
    gaps[rng.random(n) < 0.3] = np.nan
    rare = np.full(n, np.nan)
    rare[::25] = rng.normal(size=len(rare[::25]))
    wild = rng.choice([0.0, -0.0, 1e308, -1e308, 5e-324, -5e-324, 1.0], n)
    return np.column_stack([rng.normal(size=n), gaps, rng.integers(-2, 3, n), np.full(n, 7.0), rare, wild])


def expected(X, quantiles):
    """Return the neighbours of the quantiles by sorting."""
    before, behind = np.full((2, len(quantiles), X.shape[1]), np.nan)
    for j, column in enumerate(X.T):
        values = np.sort(column[~np.isnan(column)]) + 0.0
        for k, q in enumerate(quantiles if len(values) else ()):
            place = q * (len(values) - 1)
            before[k, j], behind[k, j] = values[int(np.floor(place))], values[int(np.ceil(place))]
    return before, behind


def assert_reads(engine, X, quantiles):
    engine.settle(lambda: [X], len(X))
    before, behind, _ = engine.neighbours()
    want = expected(X, quantiles)
    assert before.tobytes() == want[0].tobytes()
    assert behind.tobytes() == want[1].tobytes()
    assert (engine.counts == (~np.isnan(X)).sum(axis=0)).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("capacity", [2, 3, 8, 64, 1000])
@pytest.mark.parametrize("quantiles", [QUANTILES, EXTREMES, (0.5,), (0.1, 0.93)])
def test_any_history_reads_as_sorting(quantiles, capacity, dtype):
    """Rows that come and go, one by one or in batches, leave what sorting the rest says, in its bits."""
    with np.errstate(over="ignore"):
        X = table().astype(dtype)
    X[np.isinf(X)] = 3e38
    rng = np.random.default_rng(1)
    live = list(range(120))
    engine = OrderStatistics(X.shape[1], quantiles, capacity=capacity)
    engine.learn(X[live])
    assert_reads(engine, X[live], quantiles)
    for _ in range(60):
        gone = [i for i in range(len(X)) if i not in set(live)]
        if live and (not gone or rng.random() < 0.55):
            by = rng.choice(["any", "smallest", "largest"])
            order = rng.permutation(live) if by == "any" else np.array(live)[np.argsort(X[live, 0])]
            out = (order[::-1] if by == "largest" else order)[: rng.integers(1, 12)].tolist()
            engine.forget(np.ascontiguousarray(X[out]))
            live = [i for i in live if i not in set(out)]
        else:
            back = rng.permutation(gone)[: rng.integers(1, 12)].tolist()
            engine.learn(np.ascontiguousarray(X[back]))
            live += back
        if rng.random() < 0.7:
            assert_reads(engine, X[live], quantiles)
    engine.forget(X[live])
    assert_reads(engine, X[:0], quantiles)
    engine.learn(X)
    assert_reads(engine, X, quantiles)


def test_what_was_forgotten_is_in_no_window():
    """A value has left the windows when `forget` returns, and beyond their sizes there are zeros."""
    X = np.arange(1.0, 51.0)[:, None]
    engine = OrderStatistics(1, QUANTILES, capacity=32)
    engine.learn(X)
    engine.settle(lambda: [X], len(X))
    for i in (0, 49, 24, 25, 12, 37):
        engine.forget(X[i : i + 1])
        assert not (engine._windows == X[i]).any()
    held = np.arange(32) < engine._sizes[:, :, None]
    assert not engine._windows[~held].any()


def test_windows_last():
    """Most deletions need no pass over the rows: a window of extremes lasts for its capacity of them."""
    X = np.random.default_rng(0).normal(size=(1000, 3))
    engine = OrderStatistics(3, QUANTILES, capacity=64)
    engine.learn(X)
    assert not engine.is_settled
    engine.settle(lambda: [X], len(X))
    order = np.argsort(X[:, 0])
    for i in order[:30].tolist():
        engine.forget(X[i : i + 1])
        assert engine.is_settled
    for i in order[30:70].tolist():
        engine.forget(X[i : i + 1])
    assert not engine.is_settled
    with pytest.raises(RuntimeError, match="settle"):
        engine.neighbours()


@pytest.mark.parametrize("quantiles", [QUANTILES, EXTREMES])
def test_sparse_rows_are_dense_rows(quantiles, monkeypatch):
    """Zeros that are not stored count, in any run of rows."""
    monkeypatch.setattr("skunlearn._linalg.order_statistics._DENSE_CELLS", 50)
    X = table()[:, :4] * (np.random.default_rng(2).random((200, 4)) < 0.5)
    engine = OrderStatistics(4, quantiles)
    rows = csr_rows(sp.csr_array(X))
    engine.learn(rows)
    engine.settle(lambda: [rows], len(X))
    engine.forget(csr_rows(sp.csr_array(X[:70])))
    rest = csr_rows(sp.csr_array(X[70:]))
    assert isinstance(rest, CsrRows)
    engine.settle(lambda: [rest], 130)
    assert engine.neighbours()[0].tobytes() == expected(X[70:], quantiles)[0].tobytes()


def test_quantiles_as_numpy():
    """Quantiles are those of numpy.nanquantile to rounding, and never overflow."""
    X = table()[:, :4]
    engine = OrderStatistics(4, QUANTILES)
    engine.rebuild(lambda: [X[:100], X[100:]], len(X))
    np.testing.assert_allclose(engine.quantiles(), np.nanquantile(X, QUANTILES, axis=0), rtol=1e-14)
    ends = np.array([-1.7e308, 1.0, 5e-324]), np.array([1.7e308, 1.0, 5e-324])
    assert interpolate(*ends, np.array([0.5, 0.3, 0.7])).tolist() == [0.0, 1.0, 5e-324]


def test_digest_knows_no_history():
    """Two histories of one set have one digest; windows that differ do not enter it."""
    X = table()[:, :4]
    parts = []
    for order in (np.arange(200), np.arange(200)[::-1]):
        engine = OrderStatistics(4, QUANTILES, capacity=16)
        engine.learn(np.ascontiguousarray(X[order[:150]]))
        engine.settle(lambda order=order: [X[order[:150]]], 150)
        engine.learn(np.ascontiguousarray(X[order[150:]]))
        engine.settle(lambda: [X], 200)
        parts.append(engine.digest_parts())
    assert parts[0] == parts[1]
