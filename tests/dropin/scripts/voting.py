"""Three classifiers that vote with their probabilities, the last of them with more weight."""

import numpy as np
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main():
    X, y = make_classification(3000, 12, n_informative=6, n_classes=3, random_state=0)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.7, stratify=y, random_state=0)
    members = [
        ("lr", make_pipeline(StandardScaler(), LogisticRegression(random_state=1))),
        ("rf", RandomForestClassifier(n_estimators=60, random_state=1)),
        ("gnb", GaussianNB()),
    ]
    soft = VotingClassifier(members, voting="soft", weights=[1, 1, 5]).fit(X_train, y_train)
    hard = VotingClassifier(members, voting="hard").fit(X_train, y_train)
    chances = soft.predict_proba(X_test)
    return {
        "soft": soft.score(X_test, y_test),
        "hard": hard.score(X_test, y_test),
        "log_loss": log_loss(y_test, chances),
        "mean_chances": np.asarray(chances.mean(axis=0)).tolist(),
        "width": soft.transform(X_test).shape[1] if soft.flatten_transform else 0,
    }
