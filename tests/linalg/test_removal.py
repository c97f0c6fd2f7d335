"""The bounds of certified removal, against minima in extended precision; and what is left of them when it is sabotaged."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skunlearn._linalg import removal
from skunlearn._linalg.certificate import Factor, factorise
from skunlearn._linalg.likelihood import LabelledRows
from skunlearn._linalg.optimum import NoMinimumError
from skunlearn._linalg.removal import Descent, RemovalAnchor, largest_eigenvalue, spectral_doubt

sys.path.insert(0, str(Path(__file__).parent))
from likelihood_oracle import csr_rows, likelihood_of

#: A nightly run has 100,000.
N_PROBLEMS = max(1, int(os.environ.get("SKUNLEARN_OPERATIONS", 1000)) // 5)
NO_GROUPS = np.zeros(0)


@dataclass
class World:
    """Rows before and after, and how the second set comes from the first."""

    X: np.ndarray
    labels: np.ndarray
    weight: np.ndarray
    going: np.ndarray
    coming: np.ndarray
    C: float
    has_intercept: bool
    balanced: bool
    layout: str
    units: np.ndarray
    off: float

    @property
    def before(self):
        return np.setdiff1d(np.arange(len(self.X)), self.coming)

    @property
    def after(self):
        return np.setdiff1d(np.arange(len(self.X)), self.going)

    def factors(self, live):
        if not self.balanced:
            return np.ones(2)
        totals = np.bincount(self.labels[live], self.weight[live], minlength=2)
        return totals.sum() / (2 * totals)

    def rows(self, live, factors):
        X = self.X[live]
        labels = self.labels[live].astype(np.int32)
        return LabelledRows(csr_rows(X) if self.layout == "csr" else X, labels, self.weight[live] * factors[labels])

    def likelihood(self, live, factors=None):
        rows = self.rows(live, self.factors(live) if factors is None else factors)
        return likelihood_of(
            self.X[live], rows.labels, rows.weight, 1, 1 / self.C, self.has_intercept, layout=self.layout
        )


def world(rng):
    """Heavy rows, repeats, sparse rows, weights over decades, a column that one row has; deletions that hurt."""
    n, d = int(rng.integers(8, 90)), int(rng.integers(1, 7))
    X = rng.normal(size=(n, d)) * rng.choice([1.0, 0.1, 0.01], size=d)
    if rng.random() < 0.4:
        X *= rng.random((n, d)) < 0.3
    if rng.random() < 0.3:
        X[rng.integers(n, size=n // 3)] = X[0]
    if rng.random() < 0.3:
        X[:, 0] = 0.0
        X[rng.integers(n), 0] = 1.0
    heavy = rng.integers(n, size=2)
    X[heavy] *= rng.choice([1.0, 10.0, 100.0])
    X /= max(np.abs(X).max(), 1e-9) * rng.choice([1.0, 1.7])
    labels = (X @ rng.normal(size=d) * 3 + rng.logistic(size=n) > 0).astype(int)
    labels[:4] = [0, 1, 0, 1]
    weight = np.exp(rng.normal(size=n) * rng.choice([0.0, 1.0, 3.0]))
    share = rng.choice([0.02, 0.1, 0.3])
    order = np.argsort(rng.random(n))
    kind = rng.integers(4)
    if kind == 1:
        order = np.argsort(-np.abs(X).max(axis=1) * weight)
    elif kind == 2:
        order = np.argsort(X[:, 0])
    elif kind == 3:  # all of a class but two rows
        order, share = np.concatenate([np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)]), (labels == 0).mean()
    order = order[order > 3]
    m = max(1, int(share * n))
    coming = order[-max(1, m // 4) :] if rng.random() < 0.4 else order[:0]
    going = np.setdiff1d(order[:m], coming)
    has_intercept = bool(rng.random() < 0.6)
    return World(
        X, labels, weight, going, coming,
        C=float(10.0 ** rng.integers(-2, 4)),
        has_intercept=has_intercept,
        balanced=bool(rng.random() < 0.3),
        layout=str(rng.choice(["dense", "csr"])),
        units=np.exp(rng.normal(size=d + has_intercept) * rng.choice([0.0, 1.0])),
        off=float(rng.choice([0.0, 1e-9, 1e-4, 1e-2, 0.3])),
    )  # fmt: skip


def minimum(world, live):
    """Newton's method with gradients in extended precision; independent of the package."""
    ones = [np.ones((len(live), 1))] if world.has_intercept else []
    X = np.hstack([world.X[live], *ones])
    sign = 2.0 * world.labels[live] - 1
    weight = (world.weight * world.factors(live)[world.labels])[live]
    penalty = np.full(X.shape[1], 1 / world.C)
    if world.has_intercept:
        penalty[-1] = 0.0
    wide, w = X.astype(np.longdouble), np.zeros(X.shape[1], dtype=np.longdouble)

    def value(w):
        return (weight * np.logaddexp(0, -sign * (wide @ w))).sum() + (penalty * w * w).sum() / 2

    for _ in range(200):
        wrong = 1 / (1 + np.exp(sign * (wide @ w)))
        gradient = -wide.T @ (weight * sign * wrong) + penalty * w
        curvature = (weight * wrong * (1 - wrong)).astype(float)
        step = np.linalg.solve((X.T * curvature) @ X + np.diag(penalty), gradient.astype(float))
        share = 1.0
        while value(w - share * step) > value(w) and share > 1e-3 and np.abs(step).max() > 1e-6:
            share /= 2
        w = w - share * step
        if np.abs(step).max() < 1e-17 * (1 + np.abs(w).max()):
            return w
    return w if np.abs(step).max() < 1e-14 * (1 + np.abs(w).max()) else None


def anchored(world, rng):
    """Return an anchor near the minimum of the rows before, with their factors; None where there is none."""
    likelihood = world.likelihood(world.before)
    used = likelihood.used
    assert used.sum() == len(world.units)
    near = minimum(world, world.before)
    if near is None:
        return None
    v = np.zeros(likelihood.shape)
    v.ravel()[used] = near.astype(float) + world.off * rng.normal(size=len(world.units))
    return RemovalAnchor.with_sums(likelihood, v, world.units, 2 if world.balanced else 1)


def moved(world, rng):
    """Return an anchor that has followed the rows, and the ratios of the factors."""
    anchor = anchored(world, rng)
    if anchor is None or anchor.sums is None:
        return None
    factors = world.factors(world.before)
    row = world.likelihood(world.before)
    if len(world.coming):
        anchor.change(row, world.rows(world.coming, factors), +1)
    for part in np.array_split(world.going, min(3, max(1, len(world.going)))):
        if len(part):
            anchor.change(row, world.rows(part, factors), -1)
    return anchor, world.factors(world.after) / factors if world.balanced else NO_GROUPS


def truth_of(world, v, used):
    best = minimum(world, world.after)
    if best is None:
        return None
    return float(np.linalg.norm((v.ravel()[used] - best).astype(float) * world.units))


def test_the_bound_without_a_pass_is_never_below_the_distance(record_property):
    rng, shares, n_refused = np.random.default_rng(0), [], 0
    for _ in range(N_PROBLEMS):
        problem = world(rng)
        followed = moved(problem, rng)
        if followed is None:
            continue
        anchor, ratios = followed
        for target in (np.inf, 0.0):
            distance, v = anchor.without_pass(ratios, target)
            if v is None or not np.isfinite(distance):
                n_refused += target == 0.0
                continue
            truth = truth_of(problem, v, anchor.used)
            if truth is None:
                continue
            assert distance >= truth, f"{distance} < {truth}: {problem}"
            if target == 0.0 and truth > 1e-9:
                shares.append(distance / truth)
    assert len(shares) > N_PROBLEMS / 4
    for name, number in (("median", np.median(shares)), ("p99", np.quantile(shares, 0.99)), ("refused", n_refused)):
        record_property(name, float(number))
    assert np.median(shares) < 10


def test_the_bounds_of_a_pass_are_never_below_the_distances():
    rng = np.random.default_rng(1)
    for _ in range(max(1, N_PROBLEMS // 2)):
        problem = world(rng)
        followed = moved(problem, rng)
        if followed is None:
            continue
        anchor, ratios = followed
        likelihood = problem.likelihood(problem.after)
        v = anchor.v.copy()
        v.ravel()[anchor.used] += rng.normal(size=len(problem.units)) * rng.choice([0.0, 1e-6, 1e-3, 0.1])
        gradient, errors, _ = likelihood.gradient(v)
        convexity = Descent(likelihood, problem.units).convexity
        g, e = gradient.ravel()[anchor.used], errors.ravel()[anchor.used]
        measured = anchor.measure(v, g, e, ratios, convexity)
        after = v.copy()
        after.ravel()[anchor.used] -= measured.step
        here, there = truth_of(problem, v, anchor.used), truth_of(problem, after, anchor.used)
        if here is not None:
            assert measured.here >= here
            assert measured.stepped >= there


def test_a_descent_ends_within_its_target():
    rng, n_settled = np.random.default_rng(2), 0
    for _ in range(max(1, N_PROBLEMS // 10)):
        problem = world(rng)
        likelihood = problem.likelihood(problem.after)
        start = np.zeros(likelihood.shape)
        try:
            settled = Descent(likelihood, problem.units).settle(start, None, NO_GROUPS, 1e-6, 1e-9)
        except NoMinimumError:
            continue
        truth = truth_of(problem, settled.v, likelihood.used)
        n_settled += 1
        assert truth is None or truth <= settled.distance <= 1e-6
    assert n_settled > N_PROBLEMS / 30


def test_several_classes_settle_within_their_target():
    rng = np.random.default_rng(3)
    X, labels = rng.uniform(-1, 1, size=(60, 3)), rng.integers(0, 3, 60).astype(np.int32)
    likelihood = likelihood_of(X, labels, np.ones(60), 3)
    descent = Descent(likelihood, np.ones(12))
    settled = descent.settle(np.zeros((3, 4)), None, NO_GROUPS, 1e-4, 1e-4)
    finest = descent.settle(np.zeros((3, 4)), None, NO_GROUPS, 1e-11, 1e-12)
    assert np.linalg.norm(settled.v - finest.v) <= settled.distance + 1e-11
    rough = descent.settle(settled.v, settled.anchor, NO_GROUPS, 1e-4, 1e-4)
    left = likelihood_of(X[5:], labels[5:], np.ones(55), 3)
    rough.anchor.change(left, LabelledRows(X[:5], labels[:5], np.ones(5)), -1)
    warm = Descent(left, np.ones(12)).settle(rough.v, rough.anchor, NO_GROUPS, 1e-7, 1e-7)
    finest = Descent(left, np.ones(12)).settle(np.zeros((3, 4)), None, NO_GROUPS, 1e-11, 1e-12)
    assert np.linalg.norm(warm.v - finest.v) <= warm.distance + 1e-11


def test_eigenvalues_are_bounded_closely():
    rng = np.random.default_rng(4)
    for n in (1, 2, 7, 40):
        root = rng.normal(size=(n, n)) * np.exp(rng.normal(size=n))
        hessian = root @ root.T + np.eye(n)
        factor, units = factorise(hessian, np.zeros(n)), np.exp(rng.normal(size=n))
        truth = np.linalg.eigvalsh(units * np.linalg.inv(hessian) * units[:, None]).max()
        assert truth <= largest_eigenvalue(factor, units) <= 1.1 * truth
        other = hessian - 0.3 * np.outer(root[0], root[0]) / (root[0] @ np.linalg.solve(hessian, root[0]))
        doubt = spectral_doubt(factor, other, np.zeros(n))
        assert 0.3 - 1e-12 <= doubt < 0.31


# --- sabotage: the bound stays true, or nothing is proved -------------------------------------------------------------


def sabotaged(sabotage, monkeypatch=None):
    """Return, over worlds, by how much the bound fell below the distance at worst; sabotage changes the anchor."""
    rng, worst, n_seen = np.random.default_rng(5), np.inf, 0
    for _ in range(120):
        problem = world(rng)
        followed = moved(problem, rng)
        if followed is None:
            continue
        anchor, ratios = followed
        sabotage(anchor, rng)
        distance, v = anchor.without_pass(ratios, 0.0)
        if v is None or not np.isfinite(distance):
            continue
        truth = truth_of(problem, v, anchor.used)
        if truth is not None and truth > 1e-12:
            n_seen += 1
            worst = min(worst, distance / truth)
    assert n_seen > 10
    return worst


def test_a_corrupted_step_is_found_out(monkeypatch):
    """The distance is that of the point that is returned, however q came about."""
    honest, rng = removal.kernels.bound, np.random.default_rng(7)

    def corrupted(*arguments):
        q = arguments[7]
        q[:] = rng.normal(size=len(q)) * 10.0 ** rng.integers(-6, 0)
        return honest(*arguments[:-2], rng.choice([0.0, np.inf]), True)

    monkeypatch.setattr(removal.kernels, "bound", corrupted)
    assert sabotaged(lambda anchor, rng: None) >= 1


def test_a_corrupted_inverse_is_measured(monkeypatch):
    """What LAPACK gives as an inverse may be any matrix: the proof is about what it is."""
    honest = removal.factorise

    def corrupted(hessian, errors):
        from skunlearn._linalg import certificate

        true = certificate._untrusted_inverse
        certificate._untrusted_inverse = lambda balanced: (
            None
            if true(balanced) is None
            else true(balanced) * (1 + 0.1 * np.cos(np.add.outer(*[np.arange(len(balanced))] * 2)))
        )
        try:
            return honest(hessian, errors)
        finally:
            certificate._untrusted_inverse = true

    monkeypatch.setattr(removal, "factorise", corrupted)
    assert sabotaged(lambda anchor, rng: None) >= 1


def test_skipped_updates_are_caught():
    """The same harness finds an anchor that did not follow its rows: its bound is below the distance."""
    rng, caught = np.random.default_rng(6), {"gradient": 0, "nothing": 0}
    for _ in range(60):
        problem = world(rng)
        problem.off = 0.0
        anchor = anchored(problem, rng)
        if anchor is None or anchor.sums is None or problem.balanced:
            continue
        before = anchor.vectors.copy()
        honest, mutant = moved(problem, np.random.default_rng(0)), moved(problem, np.random.default_rng(0))
        mutant[0].vectors[:, 0] = before[:, 0]
        for name, other in (("gradient", mutant[0]), ("nothing", anchor)):
            distance, v = other.without_pass(NO_GROUPS, 0.0)
            truth = None if v is None else truth_of(problem, v, other.used)
            caught[name] += truth is not None and distance < truth
        assert honest is not None
    assert min(caught.values()) > 5


def test_a_factor_that_lies_about_itself_is_caught():
    """The harness sees a range of lo and hi that is too good."""

    def flatter(anchor, rng):
        anchor.state[:3] = [1.0, 1.0, 1e-3]
        anchor.factor = Factor(
            anchor.factor.inverse * 0.01, anchor.factor.magnitudes * 0.01, anchor.factor.roots * 0.1, 0.0, 1e-3
        )
        anchor._largest = 0.01 * anchor.largest

    assert sabotaged(flatter) < 1
