"""Short messages as sparse counts of words, and a range of classifiers on them."""

from time import perf_counter

from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import ComplementNB
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.svm import LinearSVC
from tests.dropin.tables import messages


def main():
    texts, y = messages(2500)
    texts_train, texts_test, y_train, y_test = train_test_split(texts, y, test_size=0.6, random_state=0)
    vectorizer = TfidfVectorizer(sublinear_tf=True, max_df=0.5, min_df=5, stop_words="english")
    X_train = vectorizer.fit_transform(texts_train)
    X_test = vectorizer.transform(texts_test)
    results = {"n_words": X_train.shape[1], "first_words": list(vectorizer.get_feature_names_out()[:10])}
    start = perf_counter()
    for model in (
        LogisticRegression(C=5, max_iter=1000),
        RidgeClassifier(alpha=1.0, solver="sparse_cg"),
        KNeighborsClassifier(n_neighbors=20),
        RandomForestClassifier(random_state=0),
        LinearSVC(C=0.1, dual=False, max_iter=1000),
        SGDClassifier(loss="log_loss", alpha=1e-4, n_iter_no_change=3, random_state=0),
        NearestCentroid(),
        ComplementNB(alpha=0.1),
    ):
        name = type(model).__name__
        model.fit(X_train, y_train)
        if hasattr(model, "decision_function"):
            scores = model.decision_function(X_test)
            results[f"{name} auc"] = roc_auc_score(y_test, scores)
        results[f"{name} accuracy"] = model.score(X_test, y_test)
    return {**results, "fit_seconds": perf_counter() - start}
