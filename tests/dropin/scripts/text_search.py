"""Words, their weights and a classifier, searched over together by two workers."""

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import RandomizedSearchCV, train_test_split
from sklearn.naive_bayes import ComplementNB
from sklearn.pipeline import Pipeline
from tests.dropin.tables import messages


def main():
    texts, y = messages(1200)
    texts_train, texts_test, y_train, y_test = train_test_split(texts, y, test_size=0.5, random_state=0)
    pipeline = Pipeline([("vect", TfidfVectorizer()), ("clf", ComplementNB())])
    settings = {
        "vect__max_df": [0.2, 0.5, 1.0],
        "vect__min_df": [1, 3, 5],
        "vect__ngram_range": [(1, 1), (1, 2)],
        "vect__norm": ["l1", "l2"],
        "clf__alpha": [1e-2, 1e-1, 1.0],
    }
    search = RandomizedSearchCV(pipeline, settings, n_iter=6, cv=3, random_state=0, n_jobs=2)
    search.fit(texts_train, y_train)
    return {
        "best_score": search.best_score_,
        "auc": roc_auc_score(y_test, search.predict_proba(texts_test)[:, 1]),
        "n_words": len(search.best_estimator_["vect"].vocabulary_),
        **{f"best {name}": str(search.best_params_[name]) for name in settings},
    }
