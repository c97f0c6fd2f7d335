"""CategoryCounts and the likelihood kernel of CategoricalNB, as Python sees them."""

import math
import threading

import numpy as np
import pytest
from _unlearn_native import _native
from hypothesis import given
from hypothesis import strategies as st

N_FEATURES = 3
CLASSES = np.arange(4, dtype=np.int32)
WEIGHTS = [1.0, 1.0, 0.5, 3.0, 1e-300, 1e300, 5e-324]

rows = st.lists(
    st.tuples(
        st.tuples(*[st.one_of(st.integers(0, 2), st.integers(0, 30))] * N_FEATURES),
        st.integers(0, 3),
        st.sampled_from(WEIGHTS),
    ),
    max_size=15,
)


def columns(table, dtype=np.float64):
    """X, class slots and weights of a list of rows."""
    X = np.array([x for x, _, _ in table], dtype=dtype).reshape(-1, N_FEATURES)
    return X, np.array([c for _, c, _ in table], dtype=np.int32), np.array([w for _, _, w in table])


def learned(table, slot_of=CLASSES):
    counts = _native.CategoryCounts(N_FEATURES)
    X, codes, weights = columns(table)
    counts.learn(X, slot_of[codes], weights)
    return counts


def state(counts, slots=CLASSES):
    return counts.sums_digest_parts(slots), counts.n_categories().tolist(), counts.class_rows(slots).tolist()


@given(rows)
def test_sums_are_those_of_the_rows(table):
    """Every cell is the correctly rounded sum (math.fsum) of the weights of its rows."""
    counts = learned(table)

    n_categories = counts.n_categories()
    assert n_categories.tolist() == [max((x[f] + 1 for x, _, _ in table), default=0) for f in range(N_FEATURES)]
    for f in range(N_FEATURES):
        sums = counts.category_sums(f, CLASSES, int(n_categories[f]) + 1)
        for c in CLASSES:
            for category in range(n_categories[f] + 1):
                weights = [w for x, of, w in table if of == c and x[f] == category]
                assert sums[c, category] == math.fsum(weights)
    assert counts.class_sums(CLASSES).tolist() == [math.fsum(w for _, of, w in table if of == c) for c in CLASSES]
    assert counts.class_rows(CLASSES).tolist() == [sum(of == c for _, of, _ in table) for c in CLASSES]


@given(rows, rows)
def test_forgetting_leaves_no_trace(kept, gone):
    """Learn both, forget one row by row: the state is that of the rows that are left, trailing categories included."""
    counts = learned(gone)
    counts.learn(*columns(kept))

    X, codes, weights = columns(gone)
    for i in range(len(gone)):
        counts.forget(X[i : i + 1], codes[i : i + 1], weights[i : i + 1])

    assert state(counts) == state(learned(kept))


@given(rows, st.permutations([0, 3, 4, 9]))
def test_digest_ignores_slot_numbers(table, slots):
    """The digest lists classes in the order asked for; what their slots are called does not matter."""
    slots = np.array(slots, dtype=np.int32)
    assert state(learned(table, slots), slots) == state(learned(table))


@given(rows, rows)
def test_digest_tells_sums_apart(one, other):
    """Equal digests only for equal sums."""
    a, b = learned(one), learned(other)
    width = int(max(a.n_categories().max(), b.n_categories().max()))
    same_sums = all(
        (a.category_sums(f, CLASSES, width) == b.category_sums(f, CLASSES, width)).all() for f in range(N_FEATURES)
    )
    if not same_sums:
        assert a.sums_digest_parts(CLASSES) != b.sums_digest_parts(CLASSES)


@given(rows, st.integers(0, 14))
def test_a_refused_forget_changes_nothing(table, place):
    """One row of the batch was never learned: ValueError, and every row before and after it is still counted."""
    counts = learned(table)
    before = state(counts)
    batch = [*table]
    batch.insert(place, ((1, 1, 1), 0, 1.0))

    with pytest.raises(ValueError, match=f"{len(batch)} rows were not all learned .* Nothing was changed"):
        counts.forget(*columns(batch))

    assert state(counts) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, codes, w: (np.where(X == 2, 0.5, X), codes, w), r"1 of 6 values of X are not integers from 0"),
        (lambda X, codes, w: (np.where(X == 2, np.nan, X), codes, w), r"1 of 6 values of X are not integers from 0"),
        (lambda X, codes, w: (np.where(X == 2, 2**24, X), codes, w), r"1 of 6 values of X are not integers from 0"),
        (lambda X, codes, w: (-X, codes, w), r"5 of 6 values of X"),
        (lambda X, codes, w: (X[:, :2], codes, w), "X has 2 features, but 3 are expected"),
        (lambda X, codes, w: (X, codes[:1], w), "X has length 6, but 3 is needed"),
        (lambda X, codes, w: (X, -codes, w), "1 of 2 class slots are negative"),
        (lambda X, codes, w: (X, codes, w[:1]), "weight has length 1, but 2 is needed"),
        (lambda X, codes, w: (X, codes, w * [0, 1]), "1 of 2 weights are not positive and finite"),
    ],
)
def test_invalid_batches_change_nothing(change, message):
    """Values, shapes, slots and weights are checked before anything is counted, in learning and forgetting."""
    X, codes, weights = np.array([[0.0, 1.0, 5.0], [2.0, 3.0, 4.0]]), np.array([0, 2], np.int32), np.array([1.0, 2.5])
    counts = _native.CategoryCounts(3)
    counts.learn(X, codes, weights)
    before = state(counts), counts.n_slots

    for method in (counts.learn, counts.forget):
        with pytest.raises(ValueError, match=message):
            method(*change(X, codes, weights))

    assert (state(counts), counts.n_slots) == before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_check(dtype):
    """Only integers from 0 to 2**24 - 1 pass; the message counts the others and shows none."""
    counts = _native.CategoryCounts(2)
    counts.check(np.array([[0, 2**24 - 1], [-0.0, 7]], dtype=dtype))
    counts.check(np.empty((0, 2), dtype=dtype))

    X = np.array([[0, -1], [0.5, 2**24], [np.nan, np.inf], [3, 4]], dtype=dtype)
    with pytest.raises(ValueError, match=r"^5 of 8 values of X are not integers from 0 to 16777215\. Nothing"):
        counts.check(X)
    assert counts.n_categories().tolist() == [0, 0]


def views(X):
    """The same values in C and Fortran order, strided, unaligned, read-only and as float32."""
    strided = np.full((2 * X.shape[0], 3 * X.shape[1]), -7.0)
    strided[::2, ::3] = X
    unaligned = np.zeros(X.nbytes + 1, np.uint8)[1:].view(np.float64).reshape(X.shape)
    unaligned[:] = X
    locked = X.copy()
    locked.flags.writeable = False
    return [X, np.asfortranarray(X), strided[::2, ::3], X[::-1][::-1], unaligned, locked, X.astype(np.float32)]


def test_containers_do_not_matter():
    """Strides, order, alignment and width of X: the same counts and likelihoods, bit for bit."""
    rng = np.random.default_rng(0)
    X, codes = rng.integers(0, 6, (90, N_FEATURES)).astype(float), rng.integers(0, 4, 90).astype(np.int32)
    tables = [rng.normal(size=(6, 4)) for _ in range(N_FEATURES)]
    bias = rng.normal(size=4)
    expected = learned([(tuple(x), c, 1.0) for x, c in zip(X, codes, strict=True)])
    likelihood = _native.categorical_joint_log_likelihood(X, tables, bias)

    for view in views(X):
        counts = _native.CategoryCounts(N_FEATURES)
        counts.learn(view, np.repeat(codes, 2)[::2])
        assert state(counts) == state(expected)
        found = _native.categorical_joint_log_likelihood(view, [np.asfortranarray(t) for t in tables], bias)
        np.testing.assert_array_equal(found, likelihood)


def test_growing_classes_and_categories():
    """Classes and categories may come one by one, in any order; a slot never learned has sums of zero."""
    counts = _native.CategoryCounts(1)
    for step in (3, 0, 9, 1):
        counts.learn(np.array([[float(step)]]), np.array([step], np.int32))

    slots = np.array([9, 3, 5, 100], dtype=np.int32)
    assert counts.n_slots == 10
    assert counts.category_sums(0, slots, 11).tolist() == [
        [0.0] * 9 + [1.0, 0.0],
        [0.0] * 3 + [1.0] + [0.0] * 7,
        [0.0] * 11,
        [0.0] * 11,
    ]
    assert counts.class_rows(slots).tolist() == [1, 1, 0, 0]


def test_dropping_slots():
    """A slot with rows stays; an empty one gives its room back, and its number can be used again."""
    X, codes = np.array([[2.0], [5.0]]), np.array([1, 6], np.int32)
    counts = _native.CategoryCounts(1)
    counts.learn(X, codes)

    with pytest.raises(ValueError, match="still has 1 rows"):
        counts.drop_slot(6)
    counts.forget(X[1:], codes[1:])
    counts.drop_slot(6)

    assert counts.n_slots == 2
    assert counts.n_categories().tolist() == [3]
    counts.learn(X[1:], codes[1:])
    assert counts.category_sums(0, codes, 6).tolist() == [[0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]]


def test_reading_refuses_what_does_not_exist():
    counts = _native.CategoryCounts(1)
    counts.learn(np.array([[4.0]]), np.array([0], np.int32))

    with pytest.raises(IndexError, match="feature 1 does not exist"):
        counts.category_sums(1, CLASSES, 5)
    with pytest.raises(ValueError, match="5 categories are live, but room for 4"):
        counts.category_sums(0, CLASSES, 4)
    with pytest.raises(ValueError, match="1 of 2 class slots are negative"):
        counts.class_sums(np.array([0, -1], np.int32))


@pytest.mark.parametrize("k", [0, 1, 2, 3, 4, 7])
def test_likelihood_is_the_sum_over_features_in_order(k):
    """((0 + table 0) + table 1) + ... + bias, bit for bit; a row alone is the row in bulk."""
    rng = np.random.default_rng(k)
    sizes = [1, 4, 9, 2, 30]
    X = np.stack([rng.integers(0, size, 150) for size in sizes], axis=1).astype(float)
    tables = [rng.normal(size=(size, k)) for size in sizes]
    bias = rng.normal(size=k)

    found = _native.categorical_joint_log_likelihood(X, tables, bias)

    expected = np.zeros((150, k))
    for f, table in enumerate(tables):
        expected += table[X[:, f].astype(int)]
    assert found.tobytes() == (expected + bias).tobytes()
    alone = [_native.categorical_joint_log_likelihood(X[i : i + 1], tables, bias) for i in range(150)]
    assert np.vstack(alone).tobytes() == found.tobytes()
    assert _native.categorical_joint_log_likelihood(X[:0], tables, bias).shape == (0, k)


def test_likelihood_refuses_other_categories():
    """A category past its table, a fraction, a negative number and NaN are counted, not read."""
    tables, bias = [np.zeros((2, 2)), np.zeros((1, 2))], np.zeros(2)

    with pytest.raises(IndexError, match=r"^5 of 8 values of X"):
        _native.categorical_joint_log_likelihood(np.array([[1, 0], [2, 0], [0.5, 1], [np.nan, -1]]), tables, bias)
    with pytest.raises(ValueError, match="X has 1 features, but 2 are expected"):
        _native.categorical_joint_log_likelihood(np.zeros((1, 1)), tables, bias)
    with pytest.raises(ValueError, match="1 of 2 tables do not have a column for each of 2 classes"):
        _native.categorical_joint_log_likelihood(np.zeros((1, 2)), [np.zeros((2, 2)), np.zeros((2, 3))], bias)


def test_threads_may_learn_and_forget_at_once():
    """Integers do not care who comes first: after equal numbers of both, nothing is left but the first rows."""
    rng = np.random.default_rng(0)
    X, codes = rng.integers(0, 5, (500, N_FEATURES)).astype(float), rng.integers(0, 4, 500).astype(np.int32)
    weights = rng.choice(WEIGHTS, 500)
    counts = _native.CategoryCounts(N_FEATURES)
    counts.learn(X, codes, weights)
    before = state(counts)

    def learn_and_forget():
        for _ in range(30):
            counts.learn(X, codes, weights)
            counts.forget(X, codes, weights)

    threads = [threading.Thread(target=learn_and_forget) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert state(counts) == before
