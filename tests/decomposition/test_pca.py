"""`skunlearn.decomposition.PCA`: an exact covariance, scikit-learn's answers, and what few rows determine."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.decomposition
from sklearn.datasets import load_breast_cancer, load_iris, load_wine

from skunlearn import state_digest
from skunlearn.decomposition import PCA
from skunlearn.exceptions import DegenerateRowsError

TABLES = {"iris": load_iris, "wine": load_wine, "breast_cancer": load_breast_cancer}


def rows(n=40, d=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def assert_close(actual, expected, rtol=1e-9):
    """Relative to the largest entry."""
    scale = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * scale)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("n_components", [None, 2, 0, 0.9, 0.999, "mle"])
@pytest.mark.parametrize("whiten", [False, True])
def test_agrees_with_scikit_learn(table, n_components, whiten):
    """Attributes and answers agree to 1e-9, signs included. Columns of breast_cancer are brought to unit variance:
    scikit-learn's eigenvectors of variances at 1e-12 of the largest have no more digits.
    """
    X = TABLES[table](return_X_y=True)[0]
    if table == "breast_cancer":
        X = X / X.std(axis=0)
    ours = PCA(n_components, whiten=whiten).fit(X)
    other = sklearn.decomposition.PCA(n_components, whiten=whiten, svd_solver="covariance_eigh").fit(X)

    assert (ours.n_components_, ours.n_samples_) == (other.n_components_, other.n_samples_)
    for name in ("components_", "explained_variance_", "explained_variance_ratio_", "singular_values_", "mean_"):
        assert_close(getattr(ours, name), getattr(other, name))
    assert ours.noise_variance_ == pytest.approx(other.noise_variance_, rel=1e-9)
    assert_close(ours.transform(X), other.transform(X), rtol=1e-8 if whiten else 1e-9)
    assert ours.get_feature_names_out().tolist() == other.get_feature_names_out().tolist()
    if ours.n_components_:
        projected = ours.transform(X)
        assert_close(ours.inverse_transform(projected), other.inverse_transform(projected))


@pytest.mark.parametrize("n_components", [None, 2, 0, "mle"])
@pytest.mark.parametrize("whiten", [False, True])
def test_the_generative_model_is_that_of_scikit_learn_without_whitening(n_components, whiten):
    X = load_wine(return_X_y=True)[0]
    X = X / X.std(axis=0)
    ours = PCA(n_components, whiten=whiten).fit(X)
    other = sklearn.decomposition.PCA(n_components, svd_solver="covariance_eigh").fit(X)

    assert_close(ours.get_covariance(), other.get_covariance())
    assert_close(ours.get_precision(), other.get_precision())
    assert_close(ours.score_samples(X), other.score_samples(X))
    assert ours.score(X) == pytest.approx(other.score(X), rel=1e-9)


def test_variances_far_from_zero_are_exact_but_for_their_last_bits():
    """At 1e6 standard deviations from zero the trace of the covariance has 50 of its bits; scikit-learn's has 12."""
    rng = np.random.default_rng(3)
    X = 2.0**20 + np.ldexp(np.rint(rng.normal(size=(50, 3)) * 2**20), -20)
    columns = [[Fraction(v) for v in column] for column in X.T.tolist()]
    means = [sum(column) / 50 for column in columns]
    trace = sum(sum((v - m) ** 2 for v in column) for column, m in zip(columns, means, strict=True)) / 49

    model = PCA().fit(X)

    assert abs(sum(map(Fraction, model.explained_variance_.tolist())) / trace - 1) < Fraction(2) ** -50
    assert all(abs(Fraction(a) / b - 1) < Fraction(2) ** -52 for a, b in zip(model.mean_.tolist(), means, strict=True))


@pytest.mark.parametrize("whiten", [False, True])
def test_a_row_alone_and_sparse_rows_give_the_bits_of_dense_rows_in_bulk(whiten):
    X = rows(n=30, d=13) * (np.random.default_rng(1).random((30, 13)) < 0.5)
    dense, sparse = PCA(4, whiten=whiten).fit(X), PCA(4, whiten=whiten).fit(sp.csr_array(X))

    for method in ("transform", "score_samples"):
        bulk = getattr(dense, method)(X)
        assert getattr(sparse, method)(sp.csr_array(X)).tobytes() == bulk.tobytes()
        assert all(getattr(dense, method)(X[i : i + 1]).tobytes() == bulk[i : i + 1].tobytes() for i in range(30))


def test_float32_rows_give_the_bits_of_their_values_in_float64():
    X = rows().astype(np.float32)
    assert PCA().fit(X).transform(X).tobytes() == PCA().fit(X.astype(float)).transform(X.astype(float)).tobytes()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_signs_follow_the_rule(sign):
    components = PCA().fit(sign * rows()).components_
    assert all(row[np.abs(row).argmax()] > 0 for row in components)


@pytest.mark.parametrize(
    ("solver", "reason"), [("full", "centred rows"), ("arpack", "random start"), ("randomized", "random directions")]
)
def test_solvers_that_work_on_rows_are_refused_with_their_reason(solver, reason):
    model = PCA().fit(rows())
    before = state_digest(model)
    with pytest.raises(ValueError, match=f"svd_solver.*Nothing was changed.*{reason}"):
        model.set_params(svd_solver=solver).fit(rows())
    assert state_digest(model) == before


def test_auto_is_the_solver_there_is():
    assert state_digest(PCA(2).fit(rows())) != state_digest(PCA(2, svd_solver="covariance_eigh").fit(rows()))
    assert (PCA(2).fit(rows()).components_ == PCA(2, svd_solver="covariance_eigh").fit(rows()).components_).all()


@pytest.mark.parametrize(
    ("n_components", "keep", "message"),
    [
        (None, 0, "n_samples=0"),
        (None, 1, "n_samples=1"),
        (3, 2, "n_components=3 must be between 0 and min"),
        ("mle", 4, "only supported if n_samples >= n_features"),
    ],
)
def test_rows_that_determine_no_model_are_kept_and_learning_revives_it(n_components, keep, message):
    X = rows()
    model = PCA(n_components).fit(X)
    before, going = state_digest(model), np.arange(keep, 40)

    model.partial_forget(going)

    with pytest.raises(DegenerateRowsError, match=message):
        model.transform(X)
    model.partial_fit(X[going], sample_ids=going)
    assert state_digest(model) == before


def test_values_whose_square_is_infinite_determine_no_model():
    X = rows()
    X[5, 1] = 1e200
    with pytest.raises(DegenerateRowsError, match=r"1 of 5 variances.*too large"):
        PCA().fit(X)


def test_a_singular_covariance_has_no_precision_and_no_likelihood():
    X = rows()
    X[:, 1] = X[:, 0]
    model = PCA().fit(X)
    assert model.transform(X).shape == (40, 5)
    for read in (model.get_precision, lambda: model.score(X)):
        with pytest.raises(DegenerateRowsError, match="1 of 5 directions"):
            read()
    assert np.isfinite(PCA(3).fit(X).score(X))


def test_equal_rows_have_no_variance_and_explain_nothing():
    model = PCA().fit(np.ones((4, 2)))
    assert model.explained_variance_.tolist() == model.explained_variance_ratio_.tolist() == [0.0, 0.0]
    assert (model.transform(np.ones((1, 2))) == 0).all()


def test_inverse_transform_refuses_another_number_of_components():
    model = PCA(2).fit(rows())
    with pytest.raises(ValueError, match="X has 3 columns, but this PCA has 2 components"):
        model.inverse_transform(np.zeros((1, 3)))


def test_estimated_memory_is_what_is_held():
    X = rows(3000, 20)
    estimate = PCA().estimate_memory(X)
    live = PCA().fit(X)._live
    assert estimate.core == live.core.nbytes()
    assert estimate.total == pytest.approx(live.rows.native.nbytes + live.core.nbytes(), rel=0.02)


def test_fitting_and_transforming_takes_ids():
    X = rows()
    model = PCA(2)
    assert (model.fit_transform(X, sample_ids=np.arange(40) + 7) == model.transform(X)).all()
    assert model.partial_forget([7]).n_live_ == 39
