"""Two columns with outliers under seven scalers, and what a linear model and neighbours make of each."""

import numpy as np
from scipy.stats import skew
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from tests.dropin.tables import houses


def main():
    X, y = houses(1000)
    X = X[["median_income", "households"]].to_numpy(dtype=float)
    results = {}
    for scaler in (
        StandardScaler(),
        MinMaxScaler(),
        MaxAbsScaler(),
        RobustScaler(quantile_range=(25, 75)),
        PowerTransformer(method="yeo-johnson"),
        QuantileTransformer(output_distribution="uniform", n_quantiles=500, random_state=42),
        QuantileTransformer(output_distribution="normal", n_quantiles=500, random_state=42),
        Normalizer(),
    ):
        name = f"{type(scaler).__name__} {getattr(scaler, 'output_distribution', '')}".strip()
        scaled = scaler.fit_transform(X)
        results[f"{name} skew"] = skew(scaled).tolist()
        results[f"{name} order"] = float(np.corrcoef(scaled[:, 0], X[:, 0])[0, 1])
        results[f"{name} ridge"] = cross_val_score(make_pipeline(scaler, Ridge()), X, y, cv=3).mean()
        results[f"{name} knn"] = cross_val_score(make_pipeline(scaler, KNeighborsRegressor(50)), X, y, cv=3).mean()
    return results
