"""How naive Bayes does with more rows, and what it costs."""

from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import ShuffleSplit, cross_validate, learning_curve
from sklearn.naive_bayes import GaussianNB


def main():
    X, y = load_digits(return_X_y=True)
    folds = ShuffleSplit(n_splits=6, test_size=0.2, random_state=0)
    sizes, train, test, fit_times, score_times = learning_curve(
        GaussianNB(), X, y, train_sizes=[0.1, 0.4, 0.7, 1.0], cv=folds, return_times=True
    )
    seconds = fit_times.sum()
    results = {
        "sizes": sizes.tolist(),
        "train": train.mean(axis=1).tolist(),
        "test": test.mean(axis=1).tolist(),
        "timed": bool((score_times > 0).all()),
    }
    scored = cross_validate(
        RidgeClassifier(),
        X,
        y,
        cv=folds,
        scoring=["accuracy", "f1_macro"],
        return_train_score=True,
        return_estimator=True,
    )
    results |= {name: scored[name].mean() for name in ("test_accuracy", "train_accuracy", "test_f1_macro")}
    return {**results, "n_estimators": len(scored["estimator"]), "fit_seconds": seconds}
