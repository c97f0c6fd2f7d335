"""What forgetting a row is said to do is what forgetting it does."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import spearmanr
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression as ForeignLogisticRegression
from sklearn.metrics import log_loss

from skunlearn import state_digest
from skunlearn.exceptions import ForgettingDisabledError
from skunlearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from skunlearn.naive_bayes import GaussianNB
from skunlearn.pipeline import make_pipeline
from skunlearn.preprocessing import StandardScaler
from skunlearn.utils import rank_by_influence

N_ROWS = 90
RNG = np.random.default_rng(0)
X, X_VAL = RNG.normal(size=(N_ROWS, 3)), RNG.normal(size=(60, 3))
NUMBERS, NUMBERS_VAL = (rows @ [1.0, -2.0, 0.5] + RNG.standard_t(3, size=len(rows)) for rows in (X, X_VAL))
IDS = [f"row {i}" for i in range(N_ROWS)]


def labels(rows, n_classes):
    return np.argmax(rows[:, :n_classes] + RNG.gumbel(size=(len(rows), n_classes)), axis=1)


def log_loss_of(model, y):
    return log_loss(y, model.predict_proba(X_VAL), labels=model.classes_)


def half_squared_error(model, y):
    return np.square(model.predict(X_VAL) - y).reshape(len(y), -1).sum(axis=1).mean() / 2


def deletions(model, y, metric, ids):
    """What forgetting each row does to a metric; the model is what it was in the end."""
    before, digest = metric(model), state_digest(model)
    for sample_id in ids:
        at = IDS.index(sample_id)
        yield metric(model.partial_forget([sample_id])) - before
        model.partial_fit(X[[at]], y[[at]], sample_ids=[sample_id])
    assert state_digest(model) == digest


@pytest.mark.parametrize(
    ("n_classes", "params", "least"),
    [
        (2, {}, 0.98),
        (2, {"C": 0.01, "fit_intercept": False}, 0.99),
        (2, {"solver": "liblinear", "intercept_scaling": 2}, 0.98),
        (3, {}, 0.98),
        (3, {"class_weight": {0: 3.0}}, 0.98),
        (2, {"class_weight": "balanced"}, 0.85),  # a refit weighs all other rows anew
    ],
)
def test_the_ranking_of_rows_by_a_logistic_regression_is_that_of_their_deletions(n_classes, params, least):
    y, y_val = labels(X, n_classes), labels(X_VAL, n_classes)
    model = LogisticRegression(**params).fit(X, y, sample_ids=IDS)
    ids, values = rank_by_influence(model, X_VAL, y_val)
    true = list(deletions(model, y, lambda model: log_loss_of(model, y_val), ids))
    assert spearmanr(values, true).statistic > least
    assert (np.diff(values) >= 0).all()
    assert sorted(ids) == sorted(IDS)


@pytest.mark.parametrize("model", [Ridge(alpha=3.0), LinearRegression(), Ridge(fit_intercept=False)])
@pytest.mark.parametrize("n_targets", [1, 2])
def test_for_least_squares_the_step_is_exact(model, n_targets):
    y, y_val = NUMBERS, NUMBERS_VAL
    if n_targets == 2:
        y, y_val = np.column_stack([y, y**2]), np.column_stack([y_val, y_val**2])
    model.fit(X, y, sample_ids=IDS)
    ids, values = rank_by_influence(model, X_VAL, y_val)
    gradient = (model.predict(X_VAL) - y_val).reshape(len(y_val), -1) / len(y_val)
    scores = model.predict(X_VAL)
    along = lambda model: (gradient * (model.predict(X_VAL) - scores).reshape(gradient.shape)).sum()  # noqa: E731
    np.testing.assert_allclose(values, list(deletions(model, y, along, ids)), rtol=1e-6, atol=1e-12)
    _, same = rank_by_influence(model, X_VAL, score_gradient=gradient)
    np.testing.assert_allclose(same, values, rtol=1e-9, atol=1e-15)


def test_a_planted_wrong_row_is_first_by_every_criterion():
    y = NUMBERS.copy()
    y[17] = 60.0
    model = Ridge().fit(X, y, sample_ids=IDS)
    for ranking in (
        rank_by_influence(model, X_VAL, NUMBERS_VAL),
        rank_by_influence(model, by="self"),
        rank_by_influence(model, by="loss"),
    ):
        assert ranking.sample_ids[0] == IDS[17]


def test_self_influence_of_several_classes_is_what_the_loss_of_a_row_grows_by():
    y = labels(X, 3)
    model = LogisticRegression(C=0.1).fit(X, y, sample_ids=IDS)
    ids, values = rank_by_influence(model, by="self")
    true = []
    for sample_id in ids:
        at = [IDS.index(sample_id)]
        own = lambda model: -model.predict_log_proba(X[at])[0, y[at[0]]]  # noqa: B023, E731
        true += deletions(model, y, own, [sample_id])
    assert (np.diff(values) <= 0).all()
    assert spearmanr(values, true).statistic > 0.99


def test_rows_are_ranked_as_the_last_step_of_a_pipeline_sees_them():
    y, y_val = labels(X, 2), labels(X_VAL, 2)
    scaler = StandardScaler()
    pipeline = make_pipeline(scaler, LogisticRegression()).fit(X, y, sample_ids=IDS)
    alone = LogisticRegression().fit(pipeline[:-1].transform(X), y, sample_ids=IDS)
    ids, values = rank_by_influence(pipeline, X_VAL, y_val)
    other_ids, other_values = rank_by_influence(alone, pipeline[:-1].transform(X_VAL), y_val)
    assert ids == other_ids
    np.testing.assert_array_equal(values, other_values)


def test_sparse_rows_float32_and_weights_change_nothing():
    y, y_val = labels(X, 2), labels(X_VAL, 2)
    weight = RNG.integers(0, 3, N_ROWS).astype(float)
    narrow, narrow_val = X.astype(np.float32).astype(float), X_VAL.astype(np.float32)
    dense = LogisticRegression().fit(narrow, y, weight, sample_ids=IDS)
    sparse = LogisticRegression().fit(sp.csr_array(narrow.astype(np.float32)), y, weight, sample_ids=IDS)
    want, got = (rank_by_influence(model, narrow_val, y_val) for model in (dense, sparse))
    assert len(want.values) == np.count_nonzero(weight)
    assert want.sample_ids == got.sample_ids
    np.testing.assert_allclose(got.values, want.values, rtol=1e-6, atol=1e-12)


def test_what_cannot_be_ranked_is_refused():
    y, y_val = labels(X, 2), labels(X_VAL, 2)
    model = LogisticRegression().fit(X, y)
    with pytest.raises(ValueError, match="takes X_val"):
        rank_by_influence(model)
    with pytest.raises(ValueError, match="one of y_val and score_gradient"):
        rank_by_influence(model, X_VAL, y_val, score_gradient=y_val)
    with pytest.raises(ValueError, match="X has 2 features"):
        rank_by_influence(model, X_VAL[:, :2], y_val)
    with pytest.raises(ValueError, match="labels in y_val are no classes"):
        rank_by_influence(model, X_VAL, y_val + 5)
    with pytest.raises(ValueError, match="not all 0"):
        rank_by_influence(model, X_VAL, y_val, sample_weight=np.zeros(len(X_VAL)))
    ridge = Ridge().fit(X, np.column_stack([NUMBERS, NUMBERS]))
    with pytest.raises(ValueError, match="y_val has 1 columns, and the model 2 targets"):
        rank_by_influence(ridge, X_VAL, NUMBERS_VAL)
    with pytest.raises(ValueError, match="NaN or infinity"):
        rank_by_influence(ridge, X_VAL, np.full((len(X_VAL), 2), np.nan))
    with pytest.raises(ValueError, match="by must be one of"):
        rank_by_influence(model, X_VAL, y_val, by="magic")
    with pytest.raises(ValueError, match="columns, and the model 1"):
        rank_by_influence(model, X_VAL, score_gradient=np.ones((len(X_VAL), 2)))
    with pytest.raises(TypeError, match="The objective of a GaussianNB is not known"):
        rank_by_influence(GaussianNB().fit(X, y), X_VAL, y_val)
    with pytest.raises(TypeError, match="holds no rows"):
        rank_by_influence(ForeignLogisticRegression().fit(X, y), X_VAL, y_val)
    with pytest.raises(NotFittedError):
        rank_by_influence(RidgeClassifier(), X_VAL, y_val)
    with pytest.raises(ForgettingDisabledError):
        rank_by_influence(LogisticRegression().fit(X, y, forgettable=False), X_VAL, y_val)
