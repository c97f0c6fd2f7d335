"""A wave, fitted by a line and by a tree, before and after its column is cut into bins."""

import numpy as np
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import KBinsDiscretizer
from sklearn.tree import DecisionTreeRegressor


def main():
    rng = np.random.RandomState(42)
    X = rng.uniform(-3, 3, size=100)[:, np.newaxis]
    y = np.sin(X[:, 0]) + rng.normal(size=100) / 3
    line = np.linspace(-3, 3, 1000).reshape(-1, 1)
    results = {}
    for strategy in ("quantile", "uniform", "kmeans"):
        enc = KBinsDiscretizer(
            n_bins=10, encode="onehot", strategy=strategy, quantile_method="averaged_inverted_cdf", random_state=0
        )
        binned, line_binned = enc.fit_transform(X), enc.transform(line)
        results[f"{strategy} edges"] = enc.bin_edges_[0].tolist()
        for model in (LinearRegression(), DecisionTreeRegressor(min_samples_split=3, random_state=0)):
            name = f"{strategy} {type(model).__name__}"
            results[f"{name} before"] = model.fit(X, y).score(X, y)
            results[f"{name} after"] = model.fit(binned, y).score(binned, y)
            results[f"{name} line"] = float(np.abs(model.predict(line_binned)).mean())
    return results
