"""What the trees of a forest that do not hold a row say of it: an estimate of its error for free."""

import warnings
from dataclasses import dataclass

import numpy as np
from _unlearn_native._native import forest_copies

from skunlearn.ensemble._core import PublishedForest, float32_rows
from skunlearn.live import LiveModel

__all__ = ["OutOfBag", "out_of_bag"]


@dataclass(frozen=True, slots=True, eq=False)
class OutOfBag:
    """Outputs for all rows of a weight above 0, in the order of their insertion.

    Parameters
    ----------
    outputs : ndarray of shape (n_rows, n_classes) or (n_rows, 1)
        Mean over the trees that do not hold the row; zeros where all do.
    targets : ndarray of shape (n_rows,)
        Places of the classes among ``classes_``, or numbers.
    """

    outputs: np.ndarray
    targets: np.ndarray


def out_of_bag(live: LiveModel, state: PublishedForest) -> OutOfBag:
    """Let each row be judged by the trees without it; the caller holds the lock."""
    block = live.rows.take(live.rows.native.order("insertion"), with_tags=True)
    if block.weight is not None:
        block = block.take(block.weight > 0)
    assert block.y is not None
    assert block.tags is not None
    copies = forest_copies(
        live.key._secret,
        block.tags,
        n_trees=live.params["n_estimators"],
        share=live.params["max_samples"],
    )
    is_out = copies[:, copies.any(axis=0)] == 0  # trees without rows are none
    grown = state.trees()
    totals = np.zeros((len(block), grown.trees[0].value.shape[2]))
    with float32_rows(block.X, live.n_features) as X:
        columns = grown.levels.columns(X)
        # Without any tree a leaf stands in, which is no judge.
        for tree, out in zip(grown.trees, is_out.T, strict=False):
            totals[out] += tree.predict(columns[out])
    n_judges = is_out.sum(axis=1)
    if not n_judges.all():
        warnings.warn(
            f"{np.count_nonzero(n_judges == 0)} of {len(block)} rows are in every tree and have no out-of-bag output: "
            "there are too few trees for a reliable estimate.",
            stacklevel=4,
        )
    targets = block.y[:, 0]
    if state.classes_ is not None:
        codes, _ = live.codes.classes()
        ranks = np.zeros(len(live.codes), dtype=np.intp)
        ranks[codes] = np.arange(len(codes))
        targets = ranks[targets.astype(np.intp)]
    return OutOfBag(totals / np.maximum(n_judges, 1)[:, None], targets)
