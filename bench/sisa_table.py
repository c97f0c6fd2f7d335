"""What sharding costs and buys: ``python bench/sisa_table.py [TABLE ...]`` prints a table for 1 to 20 shards.

Quality on held-out rows (AUC, or R2), the time of a fit over that of the bare estimator, and the time of a deletion
with the read that trains again. One core: set OMP_NUM_THREADS=1, for scikit-learn's boosting; nothing else should run.
"""

import sys
from statistics import mean
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from harness import datasets
from skunlearn import reference_fit, state_digest
from skunlearn.sharded import SISAClassifier, SISARegressor

SHARDS = (1, 5, 10, 20)
N_DELETIONS = 20
CLASSIFIERS = (DecisionTreeClassifier(min_samples_leaf=5), HistGradientBoostingClassifier(max_iter=60))
REGRESSORS = (DecisionTreeRegressor(min_samples_leaf=5), HistGradientBoostingRegressor(max_iter=60))
TABLES = {
    "adult": (datasets.ordinal, CLASSIFIERS),
    "california_housing": (datasets.regression, REGRESSORS),
}


def quality(model: Any, X: Any, y: np.ndarray) -> float:
    """Return the AUC of a classifier, or the R2 of a regressor."""
    if is_classifier(model):
        return float(roc_auc_score(y, model.predict_proba(X)[:, 1]))
    return float(r2_score(y, model.predict(X)))


def row(base: Any, n_shards: int, X: Any, y: np.ndarray) -> str:
    """Return the measurements of one ensemble."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(y))
    train, test = order[: len(y) * 4 // 5], order[len(y) * 4 // 5 :]
    start = perf_counter()
    clone(base).set_params(random_state=0).fit(X[train], y[train])
    bare = perf_counter() - start
    make = SISAClassifier if is_classifier(base) else SISARegressor
    start = perf_counter()
    model = make(base, n_shards, random_state=0).fit(X[train], y[train])
    fit = perf_counter() - start
    before = quality(model, X[test], y[test])
    times = []
    for gone in rng.permutation(len(train))[:N_DELETIONS].tolist():
        start = perf_counter()
        model.partial_forget([gone]).predict(X[test[:1]])
        times.append(perf_counter() - start)
    same = state_digest(model) == state_digest(reference_fit(model))
    deletion = mean(times)
    return f"{n_shards} | {before:.4f} | {fit / bare:.2f} | {1e3 * deletion:.1f} ms | {bare / deletion:.1f}x | {same}"


def main() -> None:
    """Print a row for every table, estimator and number of shards."""
    head = (
        "data",
        "estimator",
        "shards",
        "quality",
        "fit / bare fit",
        "deletion and read",
        "bare fit / deletion",
        "exact",
    )
    sys.stdout.write(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}\n")
    for name in sys.argv[1:] or TABLES:
        reason = datasets.missing_file(name)
        if reason is not None:
            sys.stderr.write(f"{name} left out: {reason}\n")
            continue
        load, bases = TABLES[name]
        table = load(name)
        for base in bases:
            for n_shards in SHARDS:
                sys.stdout.write(f"| {name} | {type(base).__name__} | {row(base, n_shards, table.X, table.y)} |\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
