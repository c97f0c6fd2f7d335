"""Random chains of steps, and the histories that they go through."""

import numpy as np
import scipy.sparse as sp
from hypothesis import reject
from hypothesis import strategies as st

from skunlearn import reference_fit, state_digest
from skunlearn.cluster import KMeans
from skunlearn.decomposition import PCA
from skunlearn.discriminant_analysis import LinearDiscriminantAnalysis
from skunlearn.ensemble import ExtraTreesClassifier, RandomForestRegressor
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.linear_model import LogisticRegression, Ridge
from skunlearn.naive_bayes import BernoulliNB, GaussianNB
from skunlearn.pipeline import make_pipeline
from skunlearn.preprocessing import StandardScaler

N_FEATURES = 3

#: Transformers by how often their maps move: never to always.
TRANSFORMERS = [
    lambda: StandardScaler(random_state=0),
    lambda: StandardScaler(random_state=1, with_mean=False),
    lambda: StandardScaler(exact_statistics=True),
    lambda: PCA(),
    lambda: PCA(1, whiten=True),
    lambda: KMeans(2, random_state=0),
    lambda: "passthrough",
]
PREDICTORS = [
    lambda: Ridge(),
    lambda: LogisticRegression(),
    lambda: GaussianNB(),
    lambda: BernoulliNB(binarize=0.1),
    lambda: LinearDiscriminantAnalysis(),
    lambda: KMeans(2, random_state=3),
    lambda: ExtraTreesClassifier(n_estimators=2, random_state=0),
    lambda: RandomForestRegressor(n_estimators=2, random_state=0),
    lambda: PCA(2),
]


@st.composite
def chains(draw, transformers=tuple(TRANSFORMERS), predictors=tuple(PREDICTORS)):
    """Draw an unfitted pipeline of one to four steps, in which a pipeline may be a step."""
    steps = [make() for make in draw(st.lists(st.sampled_from(transformers), max_size=3))]
    if len(steps) == 3 and draw(st.booleans()):
        steps = [steps[0], make_pipeline(*steps[1:])]
    return make_pipeline(*steps, draw(st.sampled_from(predictors))())


def table(rng, n_rows):
    """Return rows on a coarse grid, so that constant columns, ties and equal rows are common, and two classes."""
    X = rng.integers(-3, 4, size=(n_rows, N_FEATURES)) * rng.choice([0.25, 1.0, 8.0])
    X[-1] *= 40.0  # its coming and going moves every map
    return X, np.arange(n_rows) % 2


def run_history(model, X, y, weight, data):
    """Fit on half of the rows, let batches come and go, read or not, and compare with a refit."""
    n_rows = len(y)
    first = np.arange(n_rows // 2)
    try:
        model.fit(_rows(X, first), y[first], sample_ids=first, sample_weight=_weights(weight, first, least=1))
    except DegenerateRowsError:  # such as two components of one column
        reject()
    live = set(first.tolist())
    for _ in range(data.draw(st.integers(1, 5))):
        gone = sorted(set(range(n_rows)) - live)
        if gone and data.draw(st.booleans()):
            new = data.draw(st.lists(st.sampled_from(gone), min_size=1, max_size=6, unique=True))
            model.partial_fit(_rows(X, new), y[new], sample_ids=new, sample_weight=_weights(weight, new))
            live |= set(new)
        elif live:
            old = data.draw(st.lists(st.sampled_from(sorted(live)), min_size=1, max_size=n_rows // 2, unique=True))
            model.partial_forget(old)
            live -= set(old)
        if data.draw(st.booleans()):
            assert_equals_refit(model, X)
    assert_equals_refit(model, X)
    assert model.n_live_ == len(live)


def _rows(X, rows):
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def _weights(weight, rows, least=0):
    return None if weight is None else np.maximum(weight[rows], least)


def outputs(model, X):
    """Return all that a model says of rows, or what it raises."""
    said = {}
    for method in ("predict", "predict_proba", "decision_function", "transform"):
        if hasattr(model, method):
            said[method] = _say(model, method, X)
    return said


def _say(model, method, X):
    try:
        answer = getattr(model, method)(X)
        return (answer.toarray() if sp.issparse(answer) else np.asarray(answer)).tobytes()
    except DegenerateRowsError as error:
        return str(error)


def assert_equals_refit(model, X):
    """Whatever the history: digest and outputs are those of a fit on the rows that are left."""
    reference = reference_fit(model)
    assert state_digest(model) == state_digest(reference)
    assert outputs(model, X) == outputs(reference, X)
