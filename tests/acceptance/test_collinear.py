"""Nearly dependent columns: the certified solve errs no more than a QR or SVD of the rows would.

Both are measured against the exact solution of the rows as they are, in rational numbers. Sums of products square the
condition, so a float64 Gram matrix of condition 1e12 leaves a Cholesky solution four digits. Here sums are exact, and
what is left is the rounding of every value to 53 bits of its column: a backward error like that of `lstsq`.
"""

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg

from skunlearn.linear_model import LinearRegression, Ridge

sys.path.insert(0, str(Path(__file__).parents[1] / "linalg"))
from oracle import exact_solution

CONDITION_OF_GRAM = 1e12


def with_singular_values(seed, n=40, d=8):
    """Return rows whose singular values fall from 1 to 1e-6 in equal ratios."""
    rng = np.random.default_rng(seed)
    left, _ = np.linalg.qr(rng.normal(size=(n, d)))
    right, _ = np.linalg.qr(rng.normal(size=(d, d)))
    values = np.geomspace(1, CONDITION_OF_GRAM**-0.5, d)
    return left * values @ right, rng.normal(size=n)


def with_a_twin(seed, n=40, d=6):
    """Return rows whose last column is the first one, but for a part in a million."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    X[:, -1] = X[:, 0] + 2e-6 * rng.normal(size=n)
    return X, X @ rng.normal(size=d) + 1e-3 * rng.normal(size=n)


def with_powers(seed, n=40):
    """Return powers of a number: the condition of a polynomial in the monomial basis."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0.5, 1.5, n))
    return np.column_stack([x**k for k in range(1, 8)]), np.sin(3 * x) + 0.01 * rng.normal(size=n)


def relative_error(got, want):
    size = sum(w * w for w in want)
    return float(sum((Fraction(g) - w) ** 2 for g, w in zip(got, want, strict=True)) / size) ** 0.5


def exact_least_squares(X, y, fit_intercept):
    columns = [[Fraction(x) for x in column] for column in X.T.tolist()]
    target = [Fraction(t) for t in y.tolist()]
    if fit_intercept:
        n = len(target)
        columns = [[x - sum(column) / n for x in column] for column in columns]
    gram = [[sum(map(Fraction.__mul__, a, b)) for b in columns] for a in columns]
    return exact_solution(gram, [sum(map(Fraction.__mul__, a, target)) for a in columns])


def by_float_sums(X, y, fit_intercept):
    """The control: a Gram matrix of float64 sums."""
    if fit_intercept:
        X, y = X - X.mean(axis=0), y - y.mean()
    return np.linalg.solve(X.T @ X, X.T @ y)


def lstsq(X, y, fit_intercept):
    if fit_intercept:
        X, y = X - X.mean(axis=0), y - y.mean()
    return scipy.linalg.lstsq(X, y)[0]


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("make", [with_singular_values, with_a_twin, with_powers])
def test_collinear_tables_err_no_more_than_four_times_lstsq(make, fit_intercept, record_property):
    """Over twenty tables of each kind, largest error against largest error, and median against median."""
    ours, theirs, control, conditions = [], [], [], []
    for seed in range(20):
        X, y = make(seed)
        want = exact_least_squares(X, y, fit_intercept)
        model = LinearRegression(fit_intercept=fit_intercept).fit(X, y)
        assert model.rank_ == X.shape[1]
        assert Ridge(alpha=0, fit_intercept=fit_intercept).fit(X, y).coef_.tobytes() == model.coef_.tobytes()
        ours.append(relative_error(model.coef_.tolist(), want))
        theirs.append(relative_error(lstsq(X, y, fit_intercept).tolist(), want))
        control.append(relative_error(by_float_sums(X, y, fit_intercept).tolist(), want))
        conditions.append(np.linalg.cond(X - X.mean(axis=0) * fit_intercept) ** 2)

    said = (
        f"{make.__name__}, intercept {fit_intercept}: condition {np.median(conditions):.1e}, error {max(ours):.1e}, "
        f"lstsq {max(theirs):.1e}; medians {np.median(ours):.1e}, {np.median(theirs):.1e}; "
        f"float sums {np.median(control):.1e}; worst ratio {max(a / b for a, b in zip(ours, theirs, strict=True)):.2g}"
    )
    record_property("said", said)
    print(said)  # noqa: T201
    assert max(conditions) >= CONDITION_OF_GRAM / 2
    assert max(ours) <= 4 * max(theirs)
    assert np.median(ours) <= 4 * np.median(theirs)
    assert np.median(control) > 40 * np.median(theirs)
