"""Narrow the gap between groups by forgetting the rows that widen it most, and look at every metric of both groups.

Rows are ranked by what forgetting each does to the difference in selection rate between men and women on validation
rows (`rank_by_influence` with the derivative of that difference). As the gap in selection narrows, the gap in true
positive rate may change its sign: a table of one metric would hide it. Dropping a whole group is shown for comparison.
"""

import warnings

import numpy as np
from _tables import size, table

from skunlearn import reference_fit, state_digest
from skunlearn.compose import make_column_transformer
from skunlearn.exceptions import CategoryVanishedWarning
from skunlearn.linear_model import LogisticRegression
from skunlearn.pipeline import make_pipeline
from skunlearn.preprocessing import OneHotEncoder, StandardScaler
from skunlearn.utils import rank_by_influence

# A category whose last row leaves goes with it, as it should.
warnings.simplefilter("ignore", CategoryVanishedWarning)

SHARES = (0.0, 0.01, 0.02, 0.05)


def chain(X):
    """Return a classifier of a mixed table, not fitted."""
    text = list(X.select_dtypes(object).columns)
    numbers = [column for column in X.columns if column not in text]
    columns = make_column_transformer(
        (StandardScaler(random_state=0), numbers), (OneHotEncoder(handle_unknown="ignore"), text)
    )
    return make_pipeline(columns, LogisticRegression())


def of_groups(model, X, y, is_man):
    """Return accuracy, and selection, true positive, false positive rate and precision of men and women."""
    chosen = model.predict(X) == 1
    metrics = {"accuracy": (chosen == y).mean()}
    for group, rows in (("men", is_man), ("women", ~is_man)):
        metrics[f"selected, {group}"] = chosen[rows].mean()
        metrics[f"true positive, {group}"] = chosen[rows & (y == 1)].mean()
        metrics[f"false positive, {group}"] = chosen[rows & (y == 0)].mean()
        metrics[f"precision, {group}"] = (y[rows & chosen] == 1).mean()
    for name in ("selected", "true positive", "false positive", "precision"):
        metrics[f"gap: {name}"] = metrics[f"{name}, men"] - metrics[f"{name}, women"]
    return metrics


def selection_gap_gradient(model, X, is_man):
    """Return the derivative of the gap in mean probability by the score of each row."""
    chance = model.predict_proba(X)[:, 1]
    return chance * (1 - chance) * np.where(is_man, 1 / is_man.sum(), -1 / (~is_man).sum())


def main():
    """Forget by influence on the gap and print all metrics of both groups."""
    n = size(12_000)
    X, y, _ = table("adult", 2 * n)
    is_man = (X["sex"] == "Male").to_numpy()
    train, validation, test = np.arange(n), np.arange(n, n + n // 2), np.arange(n + n // 2, 2 * n)

    model = chain(X).fit(X.iloc[train], y[train], sample_ids=train)
    gradient = selection_gap_gradient(model, X.iloc[validation], is_man[validation])
    ranked = np.asarray(rank_by_influence(model, X.iloc[validation], score_gradient=gradient).sample_ids)
    columns, is_refit, n_gone = {}, True, 0
    for share in SHARES:
        wanted = int(share * n)
        model.partial_forget(ranked[n_gone:wanted])
        n_gone = wanted
        refit = reference_fit(model)
        is_refit &= state_digest(model) == state_digest(refit)
        columns[f"-{share:.0%}"] = of_groups(model, X.iloc[test], y[test], is_man[test])
    columns["refit"] = of_groups(refit, X.iloc[test], y[test], is_man[test])
    at_random = np.random.default_rng(0).permutation(n)[:n_gone]
    random = chain(X).fit(X.iloc[train], y[train], sample_ids=train).partial_forget(at_random)
    columns["random"] = of_groups(random, X.iloc[test], y[test], is_man[test])
    women = train[~is_man[train]]
    no_men = chain(X).fit(X.iloc[women], y[women])
    columns["no men"] = of_groups(no_men, X.iloc[test], y[test], is_man[test])

    print(
        f"{n:,} rows; a share forgotten by influence on the gap in selection rate; metrics on {len(test):,} other rows."
    )
    print(f"{'':24}" + "".join(f"{name:>9}" for name in columns))
    for metric in columns["refit"]:
        print(f"{metric:24}" + "".join(f"{column[metric]:9.4f}" for column in columns.values()))
    print(f"After each share the model equals a refit on the rows that are left, bit for bit: {is_refit}")
    return {"columns": columns, "is_refit": is_refit}


if __name__ == "__main__":
    main()
