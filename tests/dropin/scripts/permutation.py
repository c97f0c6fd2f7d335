"""A forest that is fond of columns of noise with many values, and permutations that are not."""

from time import perf_counter

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.inspection import permutation_importance
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder
from tests.dropin.tables import adult


def main():
    X, y = adult(2000)
    rng = np.random.RandomState(42)
    X = X.assign(random_cat=rng.randint(3, size=len(X)).astype(str), random_num=rng.randn(len(X)))
    X["random_cat"] = X["random_cat"].astype(object)
    text, numbers = ["marital_status", "sex", "random_cat"], ["age", "education_num", "random_num"]
    X = X[text + numbers]
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, test_size=0.5, random_state=42)
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
    model = Pipeline(
        [
            (
                "preprocess",
                ColumnTransformer(
                    [("cat", encoder, text), ("num", SimpleImputer(strategy="mean"), numbers)],
                    verbose_feature_names_out=False,
                ),
            ),
            ("classifier", RandomForestClassifier(n_estimators=200, min_samples_leaf=10, random_state=42)),
        ]
    )
    start = perf_counter()
    model.fit(X_train, y_train)
    seconds = perf_counter() - start
    names = list(model[:-1].get_feature_names_out())
    permuted = permutation_importance(model, X_test, y_test, n_repeats=2, scoring="roc_auc", random_state=42)
    return {
        "test_auc": roc_auc_score(y_test, model.predict_proba(X_test)[:, 1]),
        "names": names,
        "first": names[int(np.argmax(model[-1].feature_importances_))],
        "first_permuted": X.columns[int(np.argmax(permuted.importances_mean))],
        "noise_permuted": bool(np.abs(permuted.importances_mean[[2, 5]]).max() < 0.02),
        "fit_seconds": seconds,
    }
