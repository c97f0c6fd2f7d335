"""After any history, published coefficients are an independent optimum in 60 digits, rounded to the same lattice.

3 histories a model by default; SKUNLEARN_OPERATIONS=1000 is the acceptance run: as many histories of each (some hours).
"""

import os
import sys
import warnings
from pathlib import Path

import mpmath
import numpy as np
import pytest

from skunlearn._linalg.losses import SQUARED_HINGE, huber, tweedie
from skunlearn._linalg.optimum import LATTICE_LOG2
from skunlearn.exceptions import CertificateError, ClassVanishedWarning, DegenerateRowsError
from skunlearn.linear_model import (
    GammaRegressor,
    HuberRegressor,
    LogisticRegression,
    PoissonRegressor,
    TweedieRegressor,
)
from skunlearn.svm import LinearSVC

sys.path.insert(0, str(Path(__file__).parents[1] / "linalg"))
from likelihood_oracle import Oracle, likelihood_of
from loss_oracle import LossOracle, objective_of, targets_for

N_HISTORIES = int(os.environ.get("SKUNLEARN_OPERATIONS", "3"))
MOST_ROWS, MOST_COLUMNS = (300, 10) if N_HISTORIES > 3 else (40, 4)


def cases(rng):
    """Return models with the losses that their oracles are of, in units of a power of two."""
    alpha = float(10.0 ** rng.uniform(-4, 0))
    threshold = 0.5 * 1.35
    return {
        "logistic": (LogisticRegression(C=1 / alpha), None, alpha),
        "poisson": (PoissonRegressor(alpha=alpha), tweedie(1), alpha),
        "gamma": (GammaRegressor(alpha=alpha), tweedie(2), alpha),
        "tweedie": (TweedieRegressor(power=1.5, alpha=alpha), tweedie(1.5), alpha),
        "huber": (HuberRegressor(scale=0.5, alpha=alpha), huber(threshold), alpha * 0.5),
        "svc": (LinearSVC(C=1 / alpha), SQUARED_HINGE, 1.0 / (1 / alpha)),
    }


@pytest.mark.parametrize("name", ["logistic", "poisson", "gamma", "tweedie", "huber", "svc"])
def test_histories_end_at_the_optimum(name, record_property):
    """Of hostile tables: columns of integers and of all scales, repeated rows, weights over four decades."""
    n_published = 0
    for seed in range(N_HISTORIES):
        rng = np.random.default_rng([seed, len(name)])
        model, loss, alpha = cases(rng)[name]
        X, y, weight = table(rng, loss)
        live = np.zeros(len(X), dtype=bool)
        live[: len(X) * 2 // 3] = True
        try:
            model.fit(X[live], y[live], weight[live], sample_ids=np.flatnonzero(live))
            for _ in range(6):
                wanted = rng.random(len(X)) < rng.choice([0.1, 0.02])
                going, coming = np.flatnonzero(wanted & live), np.flatnonzero(wanted & ~live)
                with warnings.catch_warnings(action="ignore", category=ClassVanishedWarning):
                    model.partial_forget(going)
                if len(coming):
                    model.partial_fit(X[coming], y[coming], sample_weight=weight[coming], sample_ids=coming)
                live[wanted] = ~live[wanted]
                model.coef_  # noqa: B018
        except (CertificateError, DegenerateRowsError):
            continue
        n_published += 1
        assert_is_optimum(model, loss, alpha, X[live], y[live], weight[live])
    record_property("published", f"{n_published} of {N_HISTORIES}")
    assert n_published >= 0.6 * N_HISTORIES


def table(rng, loss):
    n, d = int(rng.integers(20, MOST_ROWS + 1)), int(rng.integers(1, MOST_COLUMNS + 1))
    X = rng.normal(size=(n, d))
    X[:, ::2] = rng.integers(-2, 3, X[:, ::2].shape)
    X[n // 2 : n // 2 + n // 8] = X[: n // 8]
    X = X * 10.0 ** rng.integers(-3, 4, d)
    scores = X / np.maximum(np.abs(X).max(axis=0), 1e-9) @ rng.normal(size=d)
    if loss is None or loss is SQUARED_HINGE:
        y = (scores + rng.normal(size=n) > 0).astype(int)
        y[:4] = [0, 1, 0, 1]
    else:
        y = targets_for(loss, scores, rng)
    return X, y, 10.0 ** rng.uniform(-2, 2, n) if rng.random() < 0.5 else np.ones(n)


def assert_is_optimum(model, loss, alpha, X, y, weight):
    exponents = np.frexp(np.abs(X).max(axis=0))[1].astype(np.int32)
    coef, intercept = np.ravel(model.coef_), float(np.ravel(model.intercept_)[0])
    shift = 0
    if loss is None:
        objective = likelihood_of(X, y, weight, 1, exponents=exponents)
        objective.penalty[:-1] = np.ldexp(alpha_of(alpha), -2 * exponents)
        oracle = Oracle(objective)
    else:
        if loss is SQUARED_HINGE:
            y = np.where(y == 1, 1.0, -1.0)
        elif loss.name == "huber":
            shift = int(np.frexp(loss.parameter)[1])
            y, loss = np.ldexp(y, -shift), huber(float(np.ldexp(loss.parameter, -shift)))
        else:
            alpha *= float(mpmath.fsum(mpmath.mpf(float(w)) for w in weight))
        objective = objective_of(X, y, weight, loss, alpha, exponents=exponents)
        objective.penalty[:-1] = np.ldexp(alpha, -2 * exponents)
        oracle = LossOracle(objective)
    ours = np.append(np.ldexp(coef, exponents - shift), np.ldexp(intercept, -shift))
    truth = oracle.minimum(ours[None])[0]
    step = mpmath.mpf(2) ** LATTICE_LOG2
    assert [int(mpmath.nint(x / step)) for x in truth] == (ours / 2.0**LATTICE_LOG2).tolist()


def alpha_of(alpha):
    """Return what 1 / C is, with C = 1 / alpha."""
    return 1.0 / (1 / alpha)
