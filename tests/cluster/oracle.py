"""k-means as `unlearn_native/src/kmeans.rs` defines it, evaluated slowly: all rows, every iteration, Python integers.

NumPy is used element by element alone, so that every float64 operation is one rounded operation. Of the library
nothing is used but the keyed hash and the portable logarithm and exponential, which have tests of their own.
"""

import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from _unlearn_native import _native

_MASK = 2**64 - 1
_FRACTION_BITS = 52
_GRID_BITS = 40
_TERM_BITS = 60
_LEAST_EXPONENT = -900
_LARGEST = np.finfo(np.float64).max
_CHOICE_STEP = 0.001
_N_REFERENCE = 16
_CORESET_ITERATIONS = 100


# --- draws ------------------------------------------------------------------------------------------------------------


def words(key: bytes, purpose: str, data: bytes = b"") -> tuple[int, int]:
    """Return the two words of a purpose."""
    low, high = struct.unpack("<QQ", _native.prf(key, purpose, data)[:16])
    return low, high


def row_word(draw: tuple[int, int], tag: int) -> int:
    """Return 64 pseudo-random bits of a row."""
    product = ((tag & _MASK) ^ draw[0]) * ((tag >> 64) ^ draw[1])
    word = (product & _MASK) ^ (product >> 64)
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & _MASK
    return word ^ (word >> 31)


def uniform(word: int) -> float:
    """Return the number in (0, 1) that a word stands for."""
    return float((word >> (64 - _FRACTION_BITS)) + 0.5) / 2.0**_FRACTION_BITS


def ln(number: float) -> float:
    """Return the natural logarithm, the same on every machine."""
    return float(_native.ln(np.array([number]))[0])


def race(number: float, mass: float) -> float:
    """Return the race value of a row."""
    return min(-ln(number) / mass, float(_LARGEST)) if mass > 0 else math.inf


def column_threshold(key: bytes, column: int) -> int:
    """Return the threshold of the exponents of a column."""
    return words(key, "kmeans threshold", struct.pack("<I", column))[0] >> (64 - _FRACTION_BITS)


def weight_threshold(key: bytes) -> int:
    """Return the threshold of the exponents of weights."""
    return words(key, "kmeans weight threshold")[0] >> (64 - _FRACTION_BITS)


def exponent(value: float, threshold: int) -> int | None:
    """Return the exponent of a value."""
    if value == 0:
        return None
    mantissa, power = math.frexp(abs(value))
    fraction = int(math.ldexp(mantissa, _FRACTION_BITS + 1)) - 2**_FRACTION_BITS
    return power + (fraction >= threshold)


def phase(key: bytes, name: str) -> float:
    """Return the phase of a rounding."""
    return uniform(words(key, "kmeans phase", name.encode())[0])


# --- rows -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """Live rows of a weight above 0.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Values as float64.
    weight : ndarray of shape (n_rows,)
        Weights.
    tags : list of int
        128-bit row tags.
    dtype : dtype
        What the values were.
    """

    X: np.ndarray
    weight: np.ndarray
    tags: list[int]
    dtype: np.dtype

    @classmethod
    def of(cls, X: Any, weight: np.ndarray | None, tags: np.ndarray) -> "Rows":
        """Return the rows that count, of values and tags as a row store gives them."""
        weight = np.ones(len(X)) if weight is None else weight
        counted = weight > 0
        numbers = [(int(high) << 64) | int(low) for low, high in tags[counted]]
        return cls(X[counted].astype(np.float64), weight[counted], numbers, X.dtype)

    def __len__(self) -> int:
        return len(self.X)


def distances(X: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Return the squared distances of rows to a centre, feature after feature."""
    total = np.zeros(len(X))
    for feature in range(X.shape[1]):
        gap = X[:, feature] - centre[feature]
        total += gap * gap
    return total


def nearest(X: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return the label of every row."""
    return np.argmin(np.stack([distances(X, centre) for centre in centres]), axis=0)


class Grid:
    """The exponents that a set of rows has, and the integers that its rows are."""

    def __init__(self, key: bytes, rows: Rows) -> None:
        n_features = rows.X.shape[1]
        with np.errstate(over="ignore"):
            weighted = np.clip(rows.X * rows.weight[:, None], -_LARGEST, _LARGEST)
        thresholds = [column_threshold(key, column) for column in range(n_features)]
        self.exponents = [_largest(rows.X[:, column], thresholds[column]) for column in range(n_features)]
        self.weighted_exponents = [_largest(weighted[:, column], thresholds[column]) for column in range(n_features)]
        self.weight_exponent = _largest(rows.weight, weight_threshold(key))
        self.steps = [math.ldexp(1.0, e - _GRID_BITS) for e in self.exponents]
        self.weighted_steps = [math.ldexp(1.0, e - _GRID_BITS) for e in self.weighted_exponents]
        self.weight_step = math.ldexp(1.0, self.weight_exponent - _GRID_BITS)
        self.x = [_integers(rows.X[:, column], self.exponents[column]) for column in range(n_features)]
        self.wx = [_integers(weighted[:, column], self.weighted_exponents[column]) for column in range(n_features)]
        self.w = _integers(rows.weight, self.weight_exponent)
        self.distance_exponent = 2 + 2 * max(self.exponents) + math.ceil(math.log2(n_features))

    def terms(self, rows: Rows, squared: np.ndarray) -> int:
        """Return the sum of the terms of rows at these distances."""
        scaled = np.ldexp(rows.weight, -self.weight_exponent) * np.ldexp(squared, -self.distance_exponent)
        return sum(math.floor(term) for term in np.ldexp(scaled, _TERM_BITS).tolist())


def _largest(values: np.ndarray, threshold: int) -> int:
    exponents = [e for value in values.tolist() if (e := exponent(value, threshold)) is not None]
    return max([_LEAST_EXPONENT, *exponents])


def _integers(values: np.ndarray, largest: int) -> list[int]:
    return [round(value) for value in np.ldexp(values, _GRID_BITS - largest).tolist()]


def tolerance(grid: Grid, tol: float) -> float:
    """Return the shift at which a run has converged."""
    total = 0.0
    for integers, step in zip(grid.x, grid.steps, strict=True):
        n, sum_ = len(integers), sum(integers)
        floor = sum_ // n
        rest = float(sum_ - n * floor)
        spread = float(sum((q - floor) ** 2 for q in integers))
        total += ((spread - rest * rest / n) / n) * (step * step)
    return tol * (total / len(grid.x))


# --- the run ----------------------------------------------------------------------------------------------------------


@dataclass
class Entry:
    """One E-step.

    Parameters
    ----------
    centres : ndarray of shape (n_clusters, n_features)
        Centres, as float64.
    labels : ndarray of shape (n_rows,)
        Labels.
    S : list of list of int
        Sums of the integers of weighted values, by cluster and feature.
    W : list of int
        Sums of the integers of weights.
    """

    centres: np.ndarray
    labels: np.ndarray
    S: list[list[int]]
    W: list[int]


@dataclass
class Run:
    """Lloyd's algorithm from one start.

    Parameters
    ----------
    entries : list of Entry
        Every E-step.
    n_iter : int
        As scikit-learn counts.
    inertia : float
        Of the last entry.
    n_relocated : int
        Rows that were put into an empty cluster.
    """

    entries: list[Entry]
    n_iter: int
    inertia: float
    n_relocated: int


def lloyd(rows: Rows, grid: Grid, start: np.ndarray, *, max_iter: int, limit: float) -> Run:
    """Run Lloyd's algorithm until the squared change of the centres is at most `limit`."""
    entries = [_entry(rows, grid, start)]
    n_relocated = 0
    while True:
        t, last = len(entries) - 1, entries[-1]
        if t and (shift <= limit or t == max_iter):  # noqa: F821 - set by the iteration before
            n_iter = t
            break
        if t and (last.labels == entries[-2].labels).all():
            n_iter = t + 1
            break
        centres, n_moved = means(rows, grid, last)
        n_relocated += n_moved
        shift = 0.0
        for j in range(len(centres)):
            shift += float(distances(centres[j : j + 1], last.centres[j])[0])
        entries.append(_entry(rows, grid, centres))
    return Run(entries, n_iter, inertia(grid, entries[-1]), n_relocated)


def _entry(rows: Rows, grid: Grid, centres: np.ndarray) -> Entry:
    labels = nearest(rows.X, centres)
    members = [np.flatnonzero(labels == j).tolist() for j in range(len(centres))]
    S = [[sum(column[i] for i in of) for column in grid.wx] for of in members]
    return Entry(centres, labels, S, [sum(grid.w[i] for i in of) for of in members])


def means(rows: Rows, grid: Grid, entry: Entry) -> tuple[np.ndarray, int]:
    """Return the centres that follow from an entry, and how many rows were relocated."""
    S, W = [list(sums) for sums in entry.S], list(entry.W)
    empty = [j for j, weight in enumerate(W) if weight == 0]
    own = np.zeros(len(rows))
    for j in range(len(W)):
        of = entry.labels == j
        own[of] = distances(rows.X[of], entry.centres[j])
    farthest = sorted((-own[i], rows.tags[i], i) for i in range(len(rows)) if own[i] > 0)
    moves = list(zip(empty, (i for _, _, i in farthest), strict=False))
    for j, i in moves:
        source = int(entry.labels[i])
        for feature, column in enumerate(grid.wx):
            S[source][feature] -= column[i]
            S[j][feature] = column[i]
        W[source] -= grid.w[i]
        W[j] = grid.w[i]
    centres = entry.centres.copy()
    for j, weight in enumerate(W):
        if weight:
            total = float(weight) * grid.weight_step
            centres[j] = [float(s) * step / total for s, step in zip(S[j], grid.weighted_steps, strict=True)]
    return centres.astype(rows.dtype).astype(np.float64), len(moves)


def inertia(grid: Grid, entry: Entry) -> float:
    """Return the inertia of an entry, from its sums, rounded once."""
    total = Fraction(0)
    for feature, (x, wx) in enumerate(zip(grid.x, grid.wx, strict=True)):
        step = Fraction(grid.weighted_steps[feature])
        total += sum(p * q for p, q in zip(x, wx, strict=True)) * Fraction(grid.steps[feature]) * step
        for j, weight in enumerate(entry.W):
            centre = Fraction(float(entry.centres[j, feature]))
            total -= 2 * centre * entry.S[j][feature] * step
            total += centre * centre * weight * Fraction(grid.weight_step)
    return max(float(total), 0.0)


# --- where it starts --------------------------------------------------------------------------------------------------


def _smallest_races(draw: tuple[int, int], rows: Rows, mass: np.ndarray, n: int) -> list[int]:
    races = [
        (race(uniform(row_word(draw, tag)), float(m)), tag, i)
        for i, (tag, m) in enumerate(zip(rows.tags, mass, strict=True))
    ]
    return [i for value, _, i in sorted(races)[:n] if value < math.inf]


def seeding_draw(key: bytes, restart: int, step: int) -> tuple[int, int]:
    """Return the draw of a step of the seeding."""
    return words(key, "kmeans seeding", struct.pack("<II", restart, step))


def seed(key: bytes, rows: Rows, grid: Grid, n_clusters: int, init: str, restart: int) -> list[int]:
    """Return the rows at which a restart begins."""
    first = seeding_draw(key, restart, 0)
    if init == "random":
        return _smallest_races(first, rows, rows.weight, n_clusters)
    chosen = _smallest_races(first, rows, rows.weight, 1)
    closest = distances(rows.X, rows.X[chosen[0]])
    n_candidates = 2 + math.floor(math.log(n_clusters))
    for step in range(1, n_clusters):
        draw = seeding_draw(key, restart, step)
        candidates = _smallest_races(draw, rows, rows.weight * closest, n_candidates)
        if not candidates:
            unused = np.where(np.isin(np.arange(len(rows)), chosen), 0.0, rows.weight)
            candidates = _smallest_races(draw, rows, unused, 1)
        reached = [np.minimum(closest, distances(rows.X, rows.X[i])) for i in candidates]
        potentials = [grid.terms(rows, squared) for squared in reached]
        best = potentials.index(min(potentials))
        chosen.append(candidates[best])
        closest = reached[best]
    return chosen


def choice(key: bytes, runs: list[Run]) -> int:
    """Return which of several restarts is the model."""

    def step(run: Run) -> float:
        if run.inertia <= 0:
            return -math.inf
        return math.floor(ln(run.inertia) / _CHOICE_STEP + phase(key, "choice"))

    steps = [step(run) for run in runs]
    return steps.index(min(steps))


def fit(
    key: bytes, rows: Rows, *, n_clusters: int, init: Any, n_init: int, max_iter: int, tol: float
) -> tuple[Run, list[Run]]:
    """Return the run on all rows that is the model, and all of them."""
    grid = Grid(key, rows)
    return _best_of(key, rows, grid, n_clusters, init, n_init, max_iter=max_iter, limit=tolerance(grid, tol))


def _best_of(
    key: bytes, rows: Rows, grid: Grid, n_clusters: int, init: Any, n_init: int, **rule: Any
) -> tuple[Run, list[Run]]:
    if isinstance(init, str):
        starts = [rows.X[seed(key, rows, grid, n_clusters, init, restart)] for restart in range(n_init)]
    else:
        starts = [np.asarray(init, dtype=rows.dtype).astype(np.float64)]
    runs = [lloyd(rows, grid, start, **rule) for start in starts]
    return runs[choice(key, runs)], runs


# --- the coreset, as `unlearn_native/src/kmeans/coreset.rs` defines it --------------------------------------------------


def _coarse(value: float, moved: float) -> float:
    if value <= 0:
        return 0.0
    half_octave = math.log(2.0) / 2.0
    steps = math.floor(ln(value) / half_octave + moved) - moved + 0.5
    return float(_native.exp(np.array([steps * half_octave]))[0])


def scales(key: bytes, rows: Rows, grid: Grid) -> tuple[np.ndarray, float, float]:
    """Return the reference, and the rounded spread and mass, on which the chances of all rows depend."""
    chosen = sorted(range(len(rows)), key=lambda i: rows.tags[i])[:_N_REFERENCE]
    reference = np.zeros(rows.X.shape[1])
    for i in chosen:
        reference += rows.X[i]
    reference /= len(chosen)
    labels = np.zeros(len(rows), dtype=np.intp)
    whole = Entry(reference[None], labels, [[sum(column) for column in grid.wx]], [sum(grid.w)])
    spread = _coarse(inertia(grid, whole), phase(key, "spread"))
    return reference, spread, _coarse(float(sum(grid.w)) * grid.weight_step, phase(key, "mass"))


def members(key: bytes, rows: Rows, grid: Grid, size: int, n_clusters: int) -> Rows:
    """Return the rows in the sample, with their weights in it."""
    reference, spread, mass = scales(key, rows, grid)
    squared = distances(rows.X, reference)
    by_spread = rows.weight * squared / (2.0 * spread) if spread > 0 else np.zeros(len(rows))
    chances = np.minimum(size * (rows.weight / (2.0 * mass) + by_spread), 1.0)
    draw = words(key, "kmeans coreset")
    drawn = np.array([uniform(row_word(draw, tag)) for tag in rows.tags]) < chances
    if np.count_nonzero(drawn) < n_clusters:
        return rows
    tags = [tag for tag, is_in in zip(rows.tags, drawn, strict=True) if is_in]
    return Rows(rows.X[drawn], rows.weight[drawn] / chances[drawn], tags, rows.dtype)


def fit_coreset(
    key: bytes,
    rows: Rows,
    *,
    n_clusters: int,
    init: Any,
    n_init: int,
    max_iter: int,
    tol: float,
    coreset_size: int,
    full_passes: int,
) -> tuple[Run, Rows]:
    """Return the run on all rows from the centres that runs on a sample have found, and the sample."""
    grid = Grid(key, rows)
    _, spread, mass = scales(key, rows, grid)
    sample = members(key, rows, grid, coreset_size, n_clusters)
    rule = {"max_iter": min(max_iter, _CORESET_ITERATIONS), "limit": tol * (spread / (mass * rows.X.shape[1]))}
    best, _ = _best_of(key, sample, Grid(key, sample), n_clusters, init, n_init, **rule)
    return lloyd(rows, grid, best.entries[-1].centres, max_iter=full_passes, limit=-math.inf), sample
