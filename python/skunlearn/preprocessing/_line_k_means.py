"""k-means of one column, as a function of its values alone: in one dimension clusters are runs of sorted values."""

import numpy as np

__all__ = ["line_k_means_edges"]

_MAX_ITER = 300
#: Of the variance; the shift of all centres, squared, that stops the iteration. Both are scikit-learn's.
_TOL = 1e-4


def line_k_means_edges(values: np.ndarray, weight: np.ndarray | None, n_clusters: int) -> np.ndarray:
    """Return the ends of a column and the borders between its clusters, ascending.

    The centres start at equal distances. Sums run over sorted values, one after the other, so neither the order of
    rows nor the processor has a part in them.

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
        Finite, and not all equal.
    weight : ndarray of shape (n_rows,) or None
        Positive weights of the rows.
    n_clusters : int
        How many centres there are.

    Returns
    -------
    edges : ndarray of shape (n_clusters + 1,)
        The smallest value, the middles between neighbouring centres, and the largest value.
    """
    low, high = values.min(), values.max()
    weight = np.ones(len(values)) if weight is None else weight
    order = np.lexsort((weight, values))
    uniform = np.linspace(low, high, n_clusters + 1)
    line = _Line(values[order], weight[order])
    centres = line.settle((uniform[1:] + uniform[:-1]) * 0.5)
    line.wipe()
    return np.concatenate([[low], (centres[1:] + centres[:-1]) * 0.5, [high]])


class _Line:
    """Sorted values with weights, and their running sums."""

    def __init__(self, values: np.ndarray, weight: np.ndarray) -> None:
        self.values, self.weight = values, weight
        self.origin = np.add.accumulate(values)[-1] / len(values)
        self.weights = np.concatenate([[0.0], np.add.accumulate(weight)])
        self.sums = np.concatenate([[0.0], np.add.accumulate(weight * (values - self.origin))])
        self.tol = _TOL * np.add.accumulate((values - self.origin) ** 2)[-1] / len(values)

    def settle(self, centres: np.ndarray) -> np.ndarray:
        """Return where centres, ascending, come to rest."""
        before = None
        for _ in range(_MAX_ITER):
            # A value half-way belongs to the lower centre.
            starts = np.searchsorted(self.values, (centres[1:] + centres[:-1]) * 0.5, side="right")
            bounds = np.concatenate([[0], starts, [len(self.values)]])
            new = self._means(bounds, centres)
            shift = np.add.accumulate((new - centres) ** 2)[-1]
            is_same = before is not None and np.array_equal(bounds, before)
            centres, before = np.sort(new), bounds
            if is_same or shift <= self.tol:
                break
        return centres

    def wipe(self) -> None:
        """Zero what rows can be read from."""
        for part in (self.values, self.weight, self.weights, self.sums):
            part.fill(0)

    def _means(self, bounds: np.ndarray, centres: np.ndarray) -> np.ndarray:
        """Return the means of the runs; an empty one takes the value that is farthest from its own centre."""
        weights, sums = np.diff(self.weights[bounds]), np.diff(self.sums[bounds])
        empty = np.flatnonzero(np.diff(bounds) == 0)
        if len(empty):
            run = np.repeat(np.arange(len(centres)), np.diff(bounds))
            farthest = np.argsort((self.values - centres[run]) ** 2, kind="stable")[::-1][: len(empty)]
            for cluster, row in zip(empty.tolist(), farthest.tolist(), strict=False):
                moved = self.weight[row] * (self.values[row] - self.origin)
                weights[run[row]] -= self.weight[row]
                sums[run[row]] -= moved
                weights[cluster], sums[cluster] = self.weight[row], moved
        # A run that gave away all it had lies where the heaviest does, until the next pass.
        heaviest = int(np.argmax(weights))
        has_rows = weights > 0
        means = np.full(len(centres), sums[heaviest] / weights[heaviest])
        np.divide(sums, weights, out=means, where=has_rows)
        return means + self.origin
