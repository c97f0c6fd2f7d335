"""How good forests are: ``python bench/forest_accuracy.py [--seeds N] [--most ROWS] [TABLE ...]`` prints a table.

AUC (of several classes, the mean of one against the rest) or R^2 on a held-out fifth, over seeds that split and fit, at
scikit-learn's defaults and with trees of depth 10, beside scikit-learn's forest of the same name and LightGBM's
defaults. A gap is ours less theirs, with its standard error over seeds. No time is
measured, so the machine need not be quiet.
"""

import argparse
import importlib.util
import sys
from typing import Any

import numpy as np
import sklearn.ensemble
from sklearn.metrics import r2_score, roc_auc_score

from harness import datasets
from harness.datasets import Table
from skunlearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor

CLASSES = (
    "online_shoppers", "higgs_7500", "lending_club", "flchain", "satellite", "covtype_15k", "letter", "bank_marketing",
    "mushroom", "adult", "mpls_stops", "diabetes130", "fertility254k", "kddcup99_10pct",
)  # fmt: skip
NUMBERS = ("ccpp", "bike_hour", "california_housing", "nycflights13")
SETTINGS: dict[str, dict[str, Any]] = {"defaults": {}, "depth 10": {"max_depth": 10}}
#: The bound on a gap that is not remarked on.
TOLERANCE = 0.003
HEAD = """\
| data | forest | parameters | ours | scikit-learn | gap | LightGBM |
| --- | --- | --- | ---: | ---: | ---: | ---: |
"""


def main(arguments: list[str] | None = None) -> None:
    """Print a row for every table, forest and setting: means over seeds."""
    options = _parse(arguments)
    if importlib.util.find_spec("lightgbm") is None:
        sys.stderr.write("LightGBM is left out: it is not installed (dependency group bench)\n")
    sys.stdout.write(HEAD)
    gaps = []
    for name in options.tables:
        reason = datasets.missing_file(name)
        if reason is not None:
            sys.stderr.write(f"{name} left out: {reason}\n")
            continue
        gaps += _rows(name, options.seeds, options.most)
    if gaps:
        n_far = sum(gap < -TOLERANCE for gap in gaps)
        sys.stdout.write(f"\nMean gap {np.mean(gaps):+.4f}; {n_far} of {len(gaps)} below -{TOLERANCE}.\n")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/forest_accuracy.py", description="Print how good forests are.")
    parser.add_argument("tables", nargs="*", metavar="TABLE", default=(*CLASSES, *NUMBERS))
    parser.add_argument("--seeds", type=int, default=5, help="splits and fits of each table (default: 5)")
    parser.add_argument("--most", type=int, help="rows to draw of a larger table (default: all)")
    return parser.parse_args(arguments)


def _rows(name: str, n_seeds: int, most: int | None) -> list[float]:
    """Print the rows of a table and return the gaps."""
    table = datasets.ordinal(name)
    is_classes = name in CLASSES
    forests = (
        (RandomForestClassifier, ExtraTreesClassifier) if is_classes else (RandomForestRegressor, ExtraTreesRegressor)
    )
    splits = [_split(table, seed, most) for seed in range(n_seeds)]
    boosted = np.mean([_boosted_score(*split, seed=seed, is_classes=is_classes) for seed, split in enumerate(splits)])
    gaps = []
    for Forest in forests:
        Twin = getattr(sklearn.ensemble, Forest.__name__)
        for setting, params in SETTINGS.items():
            ours, theirs = (
                np.array([_score(F(random_state=seed, **params), *split) for seed, split in enumerate(splits)])
                for F in (Forest, Twin)
            )
            gaps.append(float(np.mean(ours - theirs)))
            error = np.std(ours - theirs, ddof=1) / np.sqrt(n_seeds) if n_seeds > 1 else np.nan
            mark = " \\*" if gaps[-1] < -TOLERANCE else ""
            sys.stdout.write(
                f"| {name} | {Forest.__name__} | {setting} | {ours.mean():.4f} | {theirs.mean():.4f} | "
                f"{gaps[-1]:+.4f} ± {error:.4f}{mark} | {boosted:.4f} |\n"
            )
            sys.stdout.flush()
    return gaps


def _split(table: Table, seed: int, most: int | None) -> tuple[np.ndarray, ...]:
    """Return rows and targets to fit, and a fifth of each held out."""
    order = np.random.default_rng(seed).permutation(len(table.y))[:most]
    X, y = table.X[order], table.y[order]
    n_train = len(order) * 4 // 5
    return X[:n_train], y[:n_train], X[n_train:], y[n_train:]


def _score(model: Any, X: np.ndarray, y: np.ndarray, X_new: np.ndarray, y_new: np.ndarray) -> float:
    model.fit(X, y)
    if not hasattr(model, "predict_proba"):
        return float(r2_score(y_new, model.predict(X_new)))
    proba = model.predict_proba(X_new)
    return float(roc_auc_score(y_new, proba[:, 1] if proba.shape[1] == 2 else proba, multi_class="ovr"))


def _boosted_score(*split: np.ndarray, seed: int, is_classes: bool) -> float:
    """Return the score of LightGBM's defaults, NaN where it is not installed."""
    if importlib.util.find_spec("lightgbm") is None:
        return float("nan")
    import lightgbm

    Boosted = lightgbm.LGBMClassifier if is_classes else lightgbm.LGBMRegressor
    return _score(Boosted(random_state=seed, n_jobs=1, verbose=-1), *split)


if __name__ == "__main__":
    main()
