"""Scale, reduce, classify: a search over the size of the middle step, in two workers."""

from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler


def main():
    X, y = load_digits(return_X_y=True)
    X, y = X[:700], y[:700]
    pipeline = Pipeline(
        [("scaler", StandardScaler()), ("pca", PCA()), ("logistic", LogisticRegression(max_iter=10_000))]
    )
    settings = {"pca__n_components": [5, 15], "logistic__C": [0.01, 1.0]}
    search = GridSearchCV(pipeline, settings, cv=3, n_jobs=2).fit(X, y)
    pca = search.best_estimator_["pca"]
    return {
        "best_score": search.best_score_,
        "best_params": str(sorted(search.best_params_.items())),
        "worst_score": search.cv_results_["mean_test_score"].min(),
        "explained": pca.explained_variance_ratio_.sum(),
        "classes": search.classes_.tolist(),
    }
