"""The maps of the numeric transformers: their digests tell exactly whether rows are transformed as before.

Other estimators rely on it: a step that sees equal digests is not fitted again.
"""

from dataclasses import fields, replace

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.feature_selection import chi2

from skunlearn.feature_selection import SelectKBest, VarianceThreshold
from skunlearn.preprocessing import (
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from skunlearn.rows import RowBlock

pytestmark = pytest.mark.filterwarnings("ignore:Bins whose width", "ignore:n_quantiles")

N, D = 120, 4
TRANSFORMERS = {
    "StandardScaler": StandardScaler(random_state=0),
    "MinMaxScaler": MinMaxScaler(),
    "MinMaxScaler, clipped": MinMaxScaler((-1, 2), clip=True),
    "MaxAbsScaler": MaxAbsScaler(),
    "MaxAbsScaler, clipped": MaxAbsScaler(clip=True),
    "RobustScaler": RobustScaler(random_state=0),
    "RobustScaler, exact": RobustScaler(exact_statistics=True, with_centering=False),
    "QuantileTransformer": QuantileTransformer(n_quantiles=10, subsample=30, random_state=0),
    "QuantileTransformer, normal": QuantileTransformer(n_quantiles=10, output_distribution="normal"),
    "KBinsDiscretizer": KBinsDiscretizer(3),
    "KBinsDiscretizer, uniform": KBinsDiscretizer(3, strategy="uniform", encode="ordinal"),
    "KBinsDiscretizer, dense": KBinsDiscretizer(2, encode="onehot-dense", dtype=np.float32),
    "VarianceThreshold": VarianceThreshold(1.0),
    "SelectKBest": SelectKBest(k=2),
    "SelectKBest, chi2": SelectKBest(chi2, k=2),
}


def table(seed=0):
    """Values of at least 0, some of them equal; columns of different spread; the class leans on two of them."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, N)
    X = np.round(rng.gamma(2.0, size=(N, D)) * [0.5, 1.0, 1.0, 4.0], 2) + np.outer(y, [0, 0.3, 0.4, 0])
    return X, y


def probes(X):
    """Return 1,000 rows: between the values, beyond them, and the values themselves."""
    rng = np.random.default_rng(9)
    return np.concatenate([rng.uniform(-2, 20, (1000 - len(X), X.shape[1])), X])


def answer(state, X):
    out = state.apply(X)
    out = sp.csr_array(out) if sp.issparse(out) else out
    parts = (out.indptr, out.indices, out.data) if sp.issparse(out) else (out,)
    return out.shape, out.dtype, *(part.tobytes() for part in parts)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_equal_digests_are_equal_maps(name):
    """Along a history, models with one digest transform 1,000 probes into the same bits; other bits, other digests."""
    X, y = table()
    asked = probes(X)
    model = TRANSFORMERS[name]
    model.fit(X, *((y,) if isinstance(model, SelectKBest) else ()))
    seen = {}
    extremes = [int(X[:, 3].argmax()), int(X[:, 1].argmin())]
    for i in [*range(40), *(e for e in extremes if e >= 40)]:
        state = model._published()
        said = answer(state, asked)
        assert seen.setdefault(state.digest(), said) == said, "equal digests, other bits"
        model.partial_forget([i])
    assert len(seen) > 1 or isinstance(model, (SelectKBest, VarianceThreshold))  # their masks last


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_digests_know_what_is_read_and_nothing_else(name):
    """A field that `apply` reads changes the digest when it changes; one that it does not read leaves it alone."""
    X, y = table()
    asked = probes(X)
    model = TRANSFORMERS[name].fit(X, *((y,) if isinstance(TRANSFORMERS[name], SelectKBest) else ()))
    state = model._published()
    n_read = 0
    for field in fields(state):
        for other in mutants(getattr(state, field.name)):
            mutant = replace(state, **{field.name: other})
            is_read = answer(mutant, asked) != answer(state, asked)
            n_read += is_read
            assert (mutant.digest() != state.digest()) == is_read, field.name
    assert n_read


def mutants(value):
    """Yield values that differ from one."""
    if isinstance(value, bool):
        yield not value
    elif value in ("onehot", "onehot-dense", "ordinal") if isinstance(value, str) else False:
        yield from ({"onehot", "onehot-dense", "ordinal"} - {value})
    elif isinstance(value, tuple):
        yield None
        yield (value[0] - 0.5, value[1])
    elif isinstance(value, np.ndarray) and value.dtype == object:
        moved = value.copy()
        moved[1] = moved[1] + 0.25
        yield moved
    elif isinstance(value, np.ndarray) and value.dtype == bool:
        yield ~value
    elif isinstance(value, np.ndarray) and value.dtype.kind == "f":
        yield value * 1.5 + 0.125


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_apply_is_transform_and_leaves_rows_alone(name):
    """A map gives the bits of `transform`, of a block too, and does not write into the rows that it is given."""
    X, y = table()
    model = TRANSFORMERS[name].fit(X, *((y,) if isinstance(TRANSFORMERS[name], SelectKBest) else ()))
    state = model._published()
    assert state.n_features_in == D
    before = X.copy()
    X.flags.writeable = False
    got, want = state.apply(X), model.transform(before)
    assert (before == X).all()
    assert (got.toarray() == want.toarray()).all() if sp.issparse(got) else got.tobytes() == want.tobytes()
    block = state.block(RowBlock(np.arange(N, dtype=np.uint32), X))
    assert len(block) == N
    if not sp.issparse(got):
        assert block.X.tobytes() == want.tobytes()
