"""Portable ln, exp, their twins to base 2, and log-sum-exp."""

import numpy as np
import pytest
from _unlearn_native import _native

X = np.concatenate(
    [
        np.random.default_rng(0).uniform(-745.0, 709.0, 20_000),
        np.random.default_rng(1).normal(0.0, 1e-3, 2_000),
        [0.0, -0.0, 1.0, -1.0, 5e-324, -5e-324, 709.782712893384, -745.1332191019411],
    ]
)
POSITIVE = np.concatenate(
    [
        np.exp2(np.random.default_rng(2).uniform(-1074, 1024, 20_000)),
        np.random.default_rng(3).uniform(0.5, 2.0, 20_000),
        [1.0, np.nextafter(1.0, 0.0), np.nextafter(1.0, 2.0), 5e-324, 2.0**-1022, 1.7976931348623157e308],
    ]
)


def ulp_error(found, exact):
    """Distance from the exact value in units of the last place of the float64 nearest to it."""
    nearest = exact.astype(np.float64)
    return np.abs((found.astype(np.longdouble) - exact) / np.spacing(np.abs(nearest)).astype(np.longdouble))


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="longdouble is no wider than float64 here")
@pytest.mark.parametrize(
    ("function", "reference", "x"),
    [
        (_native.exp, np.exp, X),
        (_native.exp2, np.exp2, X),
        (_native.ln, np.log, POSITIVE),
        (_native.log2, np.log2, POSITIVE),
    ],
    ids=["exp", "exp2", "ln", "log2"],
)
def test_within_one_ulp(function, reference, x):
    """libm's own bound: less than one unit in the last place."""
    assert ulp_error(function(x), reference(x.astype(np.longdouble))).max() <= 1.0


def test_special_values():
    """Infinities, zeros and NaN behave as IEEE 754 says, without warnings."""
    np.testing.assert_array_equal(
        _native.exp(np.array([-np.inf, np.inf, -1e9, 1e9, 0.0])), [0.0, np.inf, 0.0, np.inf, 1.0]
    )
    np.testing.assert_array_equal(_native.ln(np.array([0.0, np.inf, 1.0])), [-np.inf, np.inf, 0.0])
    assert np.isnan(_native.ln(np.array([-1.0, np.nan]))).all()
    assert np.isnan(_native.exp(np.array([np.nan]))).all()


@pytest.mark.parametrize("function", [_native.exp, _native.ln])
def test_shape_and_strides(function):
    """Any number of axes, any order; a new array in C order with the bits of each element alone."""
    x = POSITIVE[:24].reshape(2, 3, 4)
    expected = np.array([function(np.array([value]))[0] for value in x.ravel()]).reshape(x.shape)

    for view in (x, np.asfortranarray(x), x[::-1, :, ::2], x.transpose(2, 0, 1), x[:0], x[0, 0, 0, ...]):
        view.flags.writeable = False
        found = function(view)
        assert found.flags.c_contiguous
        assert found.shape == view.shape
    np.testing.assert_array_equal(function(x), expected)
    np.testing.assert_array_equal(function(np.asfortranarray(x)), expected)
    np.testing.assert_array_equal(function(x[::-1, :, ::2]), expected[::-1, :, ::2])


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_log_normalize_matches_exact_shares(k):
    """Built backwards: jll = ln(share) + shift gives ln(share), to the rounding of jll itself."""
    rng = np.random.default_rng(k)
    shares = rng.dirichlet(np.ones(k), size=500)
    shift = rng.uniform(-2000.0, 0.0, (500, 1))

    found = _native.log_normalize(np.log(shares) + shift)

    # jll and the shifted differences carry half a unit of the last place of 2048 each, exp and ln some of one.
    np.testing.assert_allclose(found, np.log(shares), rtol=1e-15, atol=3 * np.spacing(2048.0))
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1.0, rtol=(k + 4) * np.finfo(float).eps)


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_log_normalize_row_alone_is_row_in_bulk(k):
    """Bit for bit, whatever the order of the array."""
    jll = np.random.default_rng(k).normal(-300.0, 200.0, (40, k))
    bulk = _native.log_normalize(jll)

    alone = np.vstack([_native.log_normalize(row[None]) for row in jll])

    assert alone.tobytes() == bulk.tobytes()
    assert _native.log_normalize(np.asfortranarray(jll)).tobytes() == bulk.tobytes()


def test_log_normalize_degenerate_rows():
    """Nothing possible: NaN, as scikit-learn; one class: log probability 0; no rows: no rows."""
    jll = np.array([[-np.inf, -np.inf], [-1e308, -np.inf], [np.nan, 0.0], [np.inf, 0.0]])

    found = _native.log_normalize(jll)

    expected = [[np.nan, np.nan], [0.0, -np.inf], [np.nan, np.nan], [np.nan, -np.inf]]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(_native.log_normalize(np.array([[-712.5], [3.0]])), [[0.0], [0.0]])
    assert _native.log_normalize(np.empty((0, 3))).shape == (0, 3)
    assert _native.log_normalize(np.empty((3, 0))).shape == (3, 0)


def test_log_normalize_leaves_its_argument_alone():
    jll = np.array([[1.0, 2.0]])
    _native.log_normalize(jll)
    assert jll.tolist() == [[1.0, 2.0]]
