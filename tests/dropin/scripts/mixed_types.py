"""Numbers and categories, each with steps of its own, and a search over all of it."""

from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.feature_selection import SelectPercentile, chi2
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import RandomizedSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tests.dropin.tables import adult


def classifier(numbers, text):
    numeric = Pipeline([("imputer", SimpleImputer(strategy="median")), ("scaler", StandardScaler())])
    categorical = Pipeline(
        [
            ("encoder", OneHotEncoder(handle_unknown="ignore")),
            ("selector", SelectPercentile(chi2, percentile=50)),
        ]
    )
    columns = ColumnTransformer([("num", numeric, numbers), ("cat", categorical, text)])
    return Pipeline([("preprocessor", columns), ("classifier", LogisticRegression())])


def main():
    X, y = adult(3000)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=0)
    numbers, text = ["age", "education_num", "hours_per_week"], ["workclass", "marital_status", "occupation", "sex"]
    model = classifier(numbers, text).fit(X_train, y_train)

    by_dtype = classifier(make_column_selector(dtype_include="number"), make_column_selector(dtype_include=object))
    settings = {
        "preprocessor__num__imputer__strategy": ["mean", "median"],
        "preprocessor__cat__selector__percentile": [30, 50, 70],
        "classifier__C": [0.1, 1.0, 10.0],
    }
    search = RandomizedSearchCV(by_dtype, settings, n_iter=3, cv=3, random_state=0).fit(X_train, y_train)
    return {
        "accuracy": model.score(X_test, y_test),
        "log_loss": log_loss(y_test, model.predict_proba(X_test)),
        "columns": list(model[:-1].get_feature_names_out()),
        "best_score": search.best_score_,
        "searched_auc": roc_auc_score(y_test, search.predict_proba(X_test)[:, 1]),
    }
