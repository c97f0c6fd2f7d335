"""Clean a table of wrong labels by forgetting, and learn back what was removed wrongly.

One label in ten of the training rows is flipped. `rank_by_influence` says which rows would lower the loss on clean
validation rows if they were forgotten. They are forgotten in chunks; after each the loss is looked at, and a chunk that
made it worse is learned back, which restores the model bit for bit. At the end half of what was removed is reviewed by
somebody who knows the truth, and rows that were right after all are learned back. A refit stands beside it.
"""

import warnings

import numpy as np
from _tables import size, table
from sklearn.metrics import log_loss

from skunlearn import reference_fit, state_digest
from skunlearn.compose import make_column_transformer
from skunlearn.exceptions import CategoryVanishedWarning
from skunlearn.linear_model import LogisticRegression
from skunlearn.pipeline import make_pipeline
from skunlearn.preprocessing import OneHotEncoder, StandardScaler
from skunlearn.utils import rank_by_influence

# A category whose last row leaves goes with it, as it should.
warnings.simplefilter("ignore", CategoryVanishedWarning)

FLIPPED, N_CHUNKS = 0.1, 10


def chain(X):
    """Return a classifier of a mixed table, not fitted."""
    text = list(X.select_dtypes(object).columns)
    numbers = [column for column in X.columns if column not in text]
    columns = make_column_transformer(
        (StandardScaler(random_state=0), numbers), (OneHotEncoder(handle_unknown="ignore"), text)
    )
    return make_pipeline(columns, LogisticRegression(C=0.1))


def main():
    """Flip labels, forget by influence, learn back, and print losses."""
    n = size(5_000)
    X, truth, _ = table("adult", 2 * n)
    rng = np.random.default_rng(0)
    train, validation, test = np.arange(n), np.arange(n, n + n // 2), np.arange(n + n // 2, 2 * n)
    is_flipped = np.zeros(n, dtype=bool)
    is_flipped[rng.permutation(n)[: int(FLIPPED * n)]] = True
    y = np.where(is_flipped, 1 - truth[train], truth[train])

    def loss(model, rows):
        return log_loss(truth[rows], model.predict_proba(X.iloc[rows]))

    model = chain(X).fit(X.iloc[train], y, sample_ids=train)
    as_is = loss(model, test)
    ranking = rank_by_influence(model, X.iloc[validation], truth[validation])
    suspects = np.asarray(ranking.sample_ids)[: is_flipped.sum()]

    removed, best, n_restored = [], loss(model, validation), 0
    for chunk in np.array_split(suspects, N_CHUNKS):
        digest = state_digest(model)
        after = loss(model.partial_forget(chunk), validation)
        if after < best:
            best = after
            removed.extend(chunk.tolist())
        else:
            model.partial_fit(X.iloc[chunk], y[chunk], sample_ids=chunk)
            n_restored += state_digest(model) == digest
    removed = np.array(removed, dtype=np.int64)
    cleaned = loss(model, test)

    reviewed = removed[::2]
    wrongly = reviewed[~is_flipped[reviewed]]
    if len(wrongly):
        model.partial_fit(X.iloc[wrongly], y[wrongly], sample_ids=wrongly)
    is_kept = np.ones(n, dtype=bool)
    is_kept[np.setdiff1d(removed, wrongly)] = False
    refit = reference_fit(model)
    random = chain(X).fit(X.iloc[train], y, sample_ids=train).partial_forget(rng.permutation(n)[: len(removed)])
    oracle = chain(X).fit(X.iloc[train[~is_flipped]], y[~is_flipped])

    results = {
        "as it is": as_is,
        "random rows forgotten": loss(random, test),
        "forgotten by influence": cleaned,
        "and wrongly removed rows learned back": loss(model, test),
        "refit on the same rows": loss(refit, test),
        "flipped rows known and left out": loss(oracle, test),
    }
    n_found = int(is_flipped[removed].sum())
    print(
        f"{n:,} rows, {is_flipped.sum():,} labels flipped. Removed {len(removed):,}, of which {n_found:,} were flipped;"
    )
    print(f"{n_restored} chunks restored bit for bit; of {len(reviewed):,} reviewed {len(wrongly):,} learned back.")
    for name, value in results.items():
        print(f"  log loss, {name}: {value:.4f}")
    same = state_digest(model) == state_digest(refit) and model.n_live_ == is_kept.sum()
    print(f"The model and a refit on the {is_kept.sum():,} rows that are left are the same, bit for bit: {same}")
    return {**results, "n_found": n_found, "n_removed": len(removed), "is_refit": same}


if __name__ == "__main__":
    main()
