"""Losses of one score: errors that are stated hold, the bound holds, and what is found is the optimum rounded."""

import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest

from skunlearn._linalg import _losses as kernels
from skunlearn._linalg import certificate, optimum
from skunlearn._linalg.exact_total import ExactTotal
from skunlearn._linalg.kinked import KinkedSearch, search_for
from skunlearn._linalg.losses import GAMMA, POISSON, SQUARED_HINGE, huber, tweedie
from skunlearn._linalg.objective import TargetRows
from skunlearn._linalg.optimum import NoMinimumError

sys.path.insert(0, str(Path(__file__).parent))
from loss_oracle import LOSSES, LossOracle, exactly, objective_of, targets_for

LATTICE = mpmath.mpf(2) ** optimum.LATTICE_LOG2
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
kinked = pytest.mark.parametrize("loss", [SQUARED_HINGE, huber(0.7)], ids=["hinge", "huber"])


def problem(loss, seed, n=None, d=None, **options):
    """Rows with values in [-1, 1] and some zeros, and weights over four decades."""
    rng = np.random.default_rng(seed)
    n, d = n or int(rng.integers(4, 12)), d or int(rng.integers(1, 4))
    X = rng.uniform(-1, 1, (n, d)) * rng.integers(0, 3, (n, d)).clip(0, 1)
    targets = targets_for(loss, X @ rng.normal(size=d) * 2, rng)
    targets[0] = max(targets[0], 1.0) if loss is not SQUARED_HINGE else targets[0]
    weight = 10.0 ** rng.uniform(-2, 2, n) if seed % 2 else np.ones(n)
    options.setdefault("penalty", float(10.0 ** rng.uniform(-3, 1)))
    return objective_of(X, targets, weight, loss, **options)


def in_csr(objective):
    (rows,) = objective.blocks()
    return objective_of(rows.X, rows.targets, rows.weight, objective.loss, float(objective.penalty[0]), layout="csr")


def worst_ratio(errors, bounds):
    """Return the largest share of a bound that an error takes up."""
    shares = [mpmath.mpf(0)]
    shares += [abs(e) / mpmath.mpf(b) for e, b in zip(np.ravel(errors), np.ravel(bounds), strict=True) if e != 0]
    return max(shares)


def mask(values, used):
    return np.where(used.reshape(values.shape), values, 0.0)


# --- the gradient, and the Hessian -----------------------------------------------------------------------------------


@every_loss
@pytest.mark.parametrize("size", [0.0, 1e-8, 1.0, 30.0, 500.0])
def test_error_of_gradient_is_within_its_bound(loss, size):
    """Dense and sparse; where slopes cancel, and where exp leaves nothing of a term."""
    for seed in range(3):
        objective = problem(loss, seed, n=24, d=11)
        v = np.random.default_rng(seed).uniform(-1, 1, objective.shape) * size
        true = LossOracle(objective).gradient(v)
        for each in (objective, in_csr(objective)):
            with np.errstate(all="ignore"):
                gradient, errors, _ = each.gradient(v)
            if not np.isfinite(gradient).all():  # exp overflows, and nothing is said
                assert loss.bend > 0
                assert not np.isfinite(errors).all()
                continue
            ratio = worst_ratio(gradient - true, errors)
            assert ratio <= 1, f"The error is {mpmath.nstr(ratio, 3)} times its bound."


@every_loss
@pytest.mark.parametrize("size", [1e3, 1e7])
def test_error_of_gradient_is_within_its_bound_where_scores_cancel(loss, size):
    """The error of the score is all that counts, and then what it says of the side of a kink."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X = np.repeat(rng.uniform(0.1, 1, (20, 5)), 2, axis=1)
        v = np.zeros((1, 11))
        v[:, 0:-1:2] = rng.uniform(0.5, 1, 5) * size
        v[:, 1:-1:2] = -v[:, 0:-1:2] + rng.normal(size=5)
        scores = X @ (v[0, :-1])
        targets = targets_for(loss, scores, rng)
        if loss is SQUARED_HINGE:  # on their margins, as far as float64 can say
            X /= np.abs(scores)[:, None] + (np.abs(scores)[:, None] < 1)
            targets = np.where(scores > 0, 1.0, -1.0)
        elif loss.name == "huber":
            targets = scores + rng.choice([-1, 1], 20) * loss.parameter * (1 + rng.integers(-9, 9, 20) * 1e-16 * size)
        objective = objective_of(X, targets, np.ones(20), loss, 0.0)

        gradient, errors, _ = objective.gradient(v)

        assert worst_ratio(gradient - LossOracle(objective).gradient(v), errors) <= 1


@every_loss
def test_bounds_of_gradients_are_not_idle(loss):
    """Errors come within a factor of 2,000 of their bounds, in float64: a bound that is broken would be seen."""
    ratios = []
    for seed in range(4):
        objective = problem(loss, seed, n=3, d=1)
        v = np.random.default_rng(seed).uniform(-1, 1, objective.shape)
        gradient, errors, _ = objective.gradient(v)
        ratios.append(worst_ratio(gradient - LossOracle(objective).gradient(v), errors))
    assert max(ratios) > 1 / 2000


@every_loss
@pytest.mark.parametrize("size", [1e-8, 1.0, 100.0])
def test_error_of_precise_gradient_is_within_its_bound(loss, size):
    """And that bound is some 2**28 times smaller than the one in float64."""
    for seed in range(2):
        rng = np.random.default_rng(seed)
        objective = problem(loss, seed, n=24, d=5)
        high = rng.uniform(-1, 1, objective.shape) * size
        low = high * rng.uniform(-1, 1, objective.shape) * 2.0**-54
        true = LossOracle(objective).gradient(exactly(high) + exactly(low))
        for each in (objective, in_csr(objective)):
            gradient, errors = each.precise_gradient(high, low)
            exact = np.frompyfunc(lambda f: mpmath.mpf(f.numerator) / f.denominator, 1, 1)(gradient)
            assert worst_ratio(exact - true, errors) <= 1
            assert (errors < each.gradient(high)[1] * 2.0**-28).all()


@kinked
def test_precise_slopes_next_to_a_kink(loss):
    """Scores within 1e-29 of it, on either side."""
    for side in (-1, 0, 1):
        target = 1.0 if loss is SQUARED_HINGE else -loss.parameter
        at = 1.0 if loss is SQUARED_HINGE else 0.0
        objective = objective_of(np.ones((1, 1)), np.array([target]), np.ones(1), loss, 0.0)
        high, low = np.array([[at, 0.0]]), np.array([[side * 1e-29, 0.0]])
        true = LossOracle(objective).gradient(exactly(high) + exactly(low))
        gradient, errors = objective.precise_gradient(high, low)
        exact = np.frompyfunc(lambda f: mpmath.mpf(f.numerator) / f.denominator, 1, 1)(gradient)
        assert worst_ratio(exact - true, errors) <= 1


@every_loss
def test_error_of_hessian_is_within_its_bound(loss):
    """Of a pass over all rows, when rows have gone and come since, and when the penalty has moved."""
    for seed in range(4):
        everything = problem(loss, seed, n=10, d=3)
        v = np.random.default_rng(seed).uniform(-1, 1, everything.shape)
        search = search_for(everything)
        anchor = search._anchor_at(v)
        assert_entries_within(anchor, everything, v)

        (rows,) = everything.blocks()
        gone = TargetRows(rows.X[3:4], rows.targets[3:4], rows.weight[3:4])
        keep = np.arange(10) != 3
        fewer = objective_of(rows.X[keep], rows.targets[keep], rows.weight[keep], loss, float(everything.penalty[0]))
        curvature = everything.curvature(gone, v).reshape(v.size, v.size)[np.ix_(everything.used, everything.used)]
        for sign, now in ((-1, fewer), (+1, everything), (-1, fewer)):
            anchor.change(curvature, everything.relative_error_of_curvature(1, v), sign)
            assert_entries_within(anchor, now, v)
        other = objective_of(rows.X[keep], rows.targets[keep], rows.weight[keep], loss, 0.3)
        anchor.move_penalty((other.penalty - fewer.penalty)[everything.used])
        assert_entries_within(anchor, other, v)


def assert_entries_within(anchor, objective, v):
    true = LossOracle(objective).hessian(v)[np.ix_(objective.used, objective.used)]
    roots = np.frompyfunc(mpmath.sqrt, 1, 1)(anchor.errors)
    assert worst_ratio(anchor.hessian - true, np.outer(roots, roots)) <= 1


@every_loss
def test_constants_of_losses(loss):
    """Curvature changes by no more than exp of `bend` times the change of the score; but for kinks."""
    rng = np.random.default_rng(0)
    n = 2000
    z, moved = rng.uniform(-9, 9, n), rng.uniform(-3, 3, n)
    targets = targets_for(loss, z, rng)
    before, after = np.empty(n), np.empty(n)
    kernels.curvatures(loss.code, loss.parameter, z, targets, before)
    kernels.curvatures(loss.code, loss.parameter, z + moved, targets, after)
    if loss.is_kinked:
        assert len(np.unique(np.concatenate([before, after]))) == 2
        return
    positive = before > 0
    changes = np.abs(np.log(after[positive] / before[positive]))
    assert (changes <= loss.bend * np.abs(moved[positive]) * (1 + 1e-12) + 1e-12).all()
    assert loss.bend == 0 or (changes / np.abs(moved[positive])).max() > 0.9 * loss.bend


@kinked
def test_clearance_proves_the_side_of_a_kink(loss):
    """As far as it says, curvatures are what they are at the score."""
    rng = np.random.default_rng(0)
    n = 3000
    scores, spreads = rng.uniform(-3, 3, n), rng.uniform(0, 100, n)
    targets = rng.choice([-1.0, 1.0], n) if loss is SQUARED_HINGE else rng.uniform(-3, 3, n)
    here, there, clear = np.empty(n), np.empty(n), np.empty(n)
    kernels.clearances(loss.code, loss.parameter, scores, spreads, targets, clear)
    kernels.curvatures(loss.code, loss.parameter, scores, targets, here)
    assert (clear > 0).mean() > 0.9
    reach = np.maximum(clear, 0) * (1 - 2.0**-40)
    for side in (-1, 1):
        kernels.curvatures(loss.code, loss.parameter, scores + side * reach, targets, there)
        assert (here == there).all()
    crossed = np.zeros(n, dtype=bool)
    for side in (-1, 1):
        kernels.curvatures(loss.code, loss.parameter, scores + side * (reach + 1e-9), targets, there)
        crossed |= here != there
    assert crossed.mean() > 0.9


# --- the bound -------------------------------------------------------------------------------------------------------


@every_loss
def test_bound_is_at_least_the_distance(loss, record_property):
    """From points away from the minimum, by factors from elsewhere: no violation."""
    shares = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        objective = problem(loss, seed, has_intercept=bool(seed % 3))
        used = objective.used
        try:
            _, near, _ = search_for(objective).locate(start_of(objective), None)
        except NoMinimumError:
            continue
        truth = LossOracle(objective).minimum(near)
        for _ in range(3):
            size = 10.0 ** rng.uniform(-9, -0.5)
            v = near + mask(rng.normal(size=near.shape) * size, used)
            at = v + mask(rng.normal(size=near.shape) * 10.0 ** rng.uniform(-6, -0.3), used)
            search = search_for(objective)
            anchor = search._anchor_at(at)
            gradient, errors, _ = objective.gradient(v)
            _, bound = search._bound(v, anchor, gradient.ravel()[used], errors.ravel()[used], np.inf, 9.0)
            if np.isfinite(bound.radii).all():
                centre = v.ravel()[used] - bound.step
                shares.append(worst_ratio(centre - truth.ravel()[used], bound.radii + np.abs(centre) * 2.0**-52))
    assert len(shares) > 20
    assert max(shares) <= 1
    record_property("distance / bound: largest of", f"{float(max(shares)):.3g} of {len(shares)}")


@kinked
def test_bound_is_false_where_kinks_are_not_looked_for(loss, monkeypatch):
    """The test above can fail: with rows taken to be clear of kinks, it does."""
    monkeypatch.setattr("skunlearn._linalg.objective.Objective.clearance", lambda self, v: np.inf)
    with pytest.raises(AssertionError):
        test_bound_is_at_least_the_distance(loss, lambda *args: None)


def test_bound_is_false_where_curvature_is_taken_for_constant(monkeypatch):
    """The same for exp: with a bend of 0 it is violated."""
    monkeypatch.setattr("skunlearn._linalg.objective.Objective.bend", 0.0)
    with pytest.raises(AssertionError):
        test_bound_is_at_least_the_distance(POISSON, lambda *args: None)


def start_of(objective):
    """Return where to begin: the optimum without features."""
    (rows,) = objective.blocks()
    start = np.zeros(objective.shape)
    if objective.loss.bend and objective.has_intercept:
        start[0, -1] = np.log(np.average(rows.targets, weights=rows.weight))
    return start


# --- the point -------------------------------------------------------------------------------------------------------


def rounded_truth(objective, near):
    truth = LossOracle(objective).minimum(near)
    return np.array([int(mpmath.nint(x / LATTICE)) for x in truth.ravel()]).reshape(truth.shape)


@every_loss
def test_point_is_the_minimum_rounded(loss):
    """From wherever the search starts."""
    n_found = 0
    for seed in range(25):
        objective = problem(loss, seed, has_intercept=bool(seed % 3))
        try:
            point, near, anchor = search_for(objective).locate(start_of(objective), None)
        except NoMinimumError:
            continue
        n_found += 1
        assert (point == rounded_truth(objective, near)).all()
        again, _, _ = search_for(objective).locate(near + mask(np.full(near.shape, 1e-3), objective.used), anchor)
        assert (again == point).all()
    assert n_found >= 20


@every_loss
def test_point_is_the_same_when_double_doubles_find_it(loss, monkeypatch):
    """Every search is made to end in double-doubles."""
    n_precise = 0
    for seed in range(12):
        objective = problem(loss, seed)
        point, _, _ = search_for(objective).locate(start_of(objective), None)
        with monkeypatch.context() as patch:
            patch.setattr(optimum, "round_to_lattice", lambda centre, radii: None)
            search = search_for(objective)
            precise, _, _ = search.locate(start_of(objective), None)
        n_precise += search.n_precise_passes > 0
        assert (precise == point).all()
    assert n_precise == 12


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_minimum_on_a_kink(weight):
    """Rows that lie on their margin at the optimum: of two targets at 1 and -1 with much weight, a third is there."""
    X = np.array([[1.0], [-1.0], [0.5], [-0.5]])
    targets = np.array([1.0, -1.0, 1.0, -1.0])
    # Without the last two the optimum is 4 s / (p + 4 s); they get values for which their margins are exactly 1 there.
    penalty = 4.0 * weight
    hinge = objective_of(
        np.vstack([X[:2], [[2.0], [-2.0]]]) / 2,
        targets,
        np.array([weight, weight, weight, weight]),
        SQUARED_HINGE,
        penalty / 4,
        has_intercept=False,
    )
    point, near, _ = search_for(hinge).locate(np.zeros((1, 2)), None)
    assert (point == rounded_truth(hinge, near)).all()

    # Huber: residuals 0 of all rows but two that pull against each other from exactly the threshold.
    X = np.array([[1.0], [1.0], [1.0], [1.0]])
    objective = objective_of(
        X, np.array([0.5, 0.5, 1.0, 0.0]), np.full(4, weight), huber(0.5), 0.0, has_intercept=False
    )
    search = search_for(objective)
    point, near, _ = search.locate(np.zeros((1, 2)), None)
    assert point[0, 0] == 2**19
    assert isinstance(search, KinkedSearch)
    assert objective.clearance(near) < 1e-12


@kinked
def test_minima_of_small_integers(loss):
    """Where rows lie on kinks at the optimum as often as may be."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(3, 9))
        X = rng.integers(-1, 2, (n, 2)).astype(float)
        targets = rng.choice([-1.0, 1.0], n) if loss is SQUARED_HINGE else rng.integers(-2, 3, n).astype(float)
        objective = objective_of(X, targets, np.ones(n), loss if loss is SQUARED_HINGE else huber(1.0), 1.0)
        try:
            point, near, _ = search_for(objective).locate(start_of(objective), None)
        except NoMinimumError:
            continue
        cells = LossOracle(objective).minimum(near).ravel() / LATTICE
        halves = [abs(abs(x - mpmath.nint(x)) - 0.5) for x in cells]
        assert min(halves) > 1e-30
        assert (point == np.array([int(mpmath.nint(x)) for x in cells])).all()


@pytest.mark.parametrize("what", ["inverse", "start"])
@every_loss
def test_point_is_right_or_refused_whatever_proposed_it(loss, what, monkeypatch):
    """Inverses and starts that are wrong: the point is that of the truth, or there is none."""
    n_refused, rng = 0, np.random.default_rng(0)
    for seed in range(15):
        objective = problem(loss, seed)
        right, _, _ = search_for(objective).locate(start_of(objective), None)
        start = start_of(objective)
        with monkeypatch.context() as patch:
            if what == "inverse":
                inverse = certificate._untrusted_inverse
                patch.setattr(certificate, "_untrusted_inverse", lambda h, i=inverse: i(h) * rng.uniform(0.7, 1.3))
            else:
                start = start + mask(rng.normal(size=start.shape) * 3, objective.used)
            try:
                point, _, _ = search_for(objective).locate(start, None)
            except NoMinimumError:
                n_refused += 1
                continue
            assert (point == right).all()
    assert n_refused < 8


def test_losses_without_a_minimum_are_refused():
    """Poisson with zeros alone, in few passes; Huber with a line of optima."""
    X = np.array([[0.5], [-0.5]])
    search = search_for(objective_of(X, np.zeros(2), np.ones(2), POISSON, 0.0))
    with pytest.raises(NoMinimumError), np.errstate(all="ignore"):
        search.locate(np.zeros((1, 2)), None)
    flat = objective_of(np.zeros((2, 1)), np.array([-9.0, 9.0]), np.ones(2), huber(0.1), 1.0)
    with pytest.raises(NoMinimumError), np.errstate(all="ignore"):
        search_for(flat).locate(np.zeros((1, 2)), None)


def test_powers_at_the_ends_are_poisson_and_gamma():
    """And constants between are those of the worse term."""
    assert tweedie(1) is POISSON
    assert tweedie(2) is GAMMA
    assert tweedie(1.25).bend == 0.75


def test_exact_total():
    """Numbers over all binades, subnormal ones too, leave no trace."""
    rng = np.random.default_rng(0)
    values = np.concatenate([np.ldexp(rng.uniform(-1, 1, 500), rng.integers(-1070, 1000, 500)), [5e-324, 0.0, 1e308]])
    total = ExactTotal()
    total.add(np.array([0.1, 0.2]))
    total.add(values)
    assert total._units == sum(int(mpmath.mpf(float(x)) * mpmath.mpf(2) ** 1074) for x in [0.1, 0.2, *values])
    total.add(rng.permutation(values), -1)
    assert float(total) == 0.1 + 0.2
