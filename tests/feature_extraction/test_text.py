"""Vectorizers: counts and weights are scikit-learn's, and words leave with their last document."""

import io
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.feature_extraction.text
from hypothesis import given, settings
from hypothesis import strategies as st

from skunlearn import reference_fit, state_digest
from skunlearn.compose import ColumnTransformer
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer
from skunlearn.linear_model import RidgeClassifier
from skunlearn.naive_bayes import MultinomialNB
from skunlearn.pipeline import make_pipeline
from skunlearn.preprocessing import StandardScaler

OWN = sklearn.feature_extraction.text
CANARY = "Holand-Netherlands"
WORDS = ["red", "wine", "ink", "white", "paper", "rain"]
N_OPERATIONS = int(os.environ.get("SKUNLEARN_OPERATIONS", "0"))
N_EXAMPLES = max(12, N_OPERATIONS // 10)


def documents(n=40, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(0, 6)).tolist() + [f"only{i}"] * (i % 7 == 0)) for i in range(n)]


SETTINGS = [
    (CountVectorizer, {}),
    (CountVectorizer, {"ngram_range": (1, 2), "min_df": 2, "max_df": 0.5, "binary": True, "dtype": np.float32}),
    (CountVectorizer, {"analyzer": "char_wb", "ngram_range": (2, 3), "min_df": 0.1}),
    (CountVectorizer, {"vocabulary": {"wine": 1, "ink": 0}, "stop_words": ["red"]}),
    (CountVectorizer, {"tokenizer": str.split, "token_pattern": None, "lowercase": False}),
    (TfidfVectorizer, {}),
    (TfidfVectorizer, {"sublinear_tf": True, "norm": "l1", "smooth_idf": False, "max_df": 0.9, "dtype": np.float32}),
    (TfidfVectorizer, {"use_idf": False, "vocabulary": ["wine", "paper", "none"]}),
]
in_all_settings = pytest.mark.parametrize(("Estimator", "params"), SETTINGS)


def assert_same_rows(ours, theirs, tolerance=0.0):
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours.toarray(), theirs.toarray(), rtol=tolerance, atol=0)


@in_all_settings
def test_it_gives_what_scikit_learn_gives(Estimator, params):
    texts = documents()
    model, own = Estimator(**params), getattr(OWN, Estimator.__name__)(**params)
    tolerance = 0.0 if Estimator is CountVectorizer else 1e-6 if params.get("dtype") is np.float32 else 1e-14
    fitted = own.fit_transform(texts)
    assert_same_rows(model.fit_transform(texts), fitted, tolerance)
    assert_same_rows(
        model.transform(["wine wine", "", "snow red"]), own.transform(["wine wine", "", "snow red"]), tolerance
    )
    assert model.vocabulary_ == own.vocabulary_
    np.testing.assert_array_equal(model.get_feature_names_out(), own.get_feature_names_out())
    for ours, theirs in zip(model.inverse_transform(fitted), own.inverse_transform(fitted), strict=True):
        assert set(ours) == set(theirs)
    released = model.release()
    assert type(released) is type(own)
    assert released.vocabulary_ == model.vocabulary_
    assert_same_rows(released.transform(texts), model.transform(texts), tolerance and 1e-6)
    if hasattr(own, "idf_"):
        np.testing.assert_array_equal(released.idf_, model.idf_)
        assert model.idf_.dtype == own.idf_.dtype


def test_the_most_frequent_words_are_kept_and_ties_go_to_the_first():
    texts = ["b b a", "c c", "d a", "b"]
    model = CountVectorizer(max_features=2, token_pattern=r"\w").fit(texts)
    assert model.get_feature_names_out().tolist() == ["a", "b"]
    binary = CountVectorizer(max_features=2, token_pattern=r"\w", binary=True).fit(texts)
    assert binary.get_feature_names_out().tolist() == ["a", "b"]
    assert CountVectorizer(max_features=1, token_pattern=r"\w", binary=False).fit(texts).vocabulary_ == {"b": 0}


@st.composite
def histories(draw):
    text = st.lists(st.sampled_from(WORDS[:4]), max_size=3).map(" ".join)
    operation = st.one_of(
        st.tuples(st.just("learn"), st.lists(text, min_size=1, max_size=3)),
        st.tuples(st.just("forget"), st.lists(st.integers(0, 12), min_size=1, max_size=4)),
        st.tuples(st.just("save"), st.none()),
    )
    return draw(st.lists(text, min_size=1, max_size=6)), draw(st.lists(operation, max_size=6))


def run(model, history):
    """Learn, forget and save as told, yielding after each operation."""
    first, operations = history
    y = np.arange(40) % 3
    try:
        model.fit([*first, "wine ink red"], y[: len(first) + 1], sample_ids=np.arange(len(first) + 1))
    except DegenerateRowsError:
        return
    live, n_ever = list(range(len(first) + 1)), len(first) + 1
    for what, argument in operations:
        if what == "learn":
            ids = list(range(n_ever, n_ever + len(argument)))
            model.partial_fit(argument, y[ids], sample_ids=ids)
            live, n_ever = live + ids, n_ever + len(ids)
        elif what == "forget":
            gone = {live[i % len(live)] for i in argument} if live else set()
            model.partial_forget(sorted(gone)) if gone else None
            live = [i for i in live if i not in gone]
        else:
            model = pickle.loads(pickle.dumps(model))
        yield model


HISTORY_SETTINGS = [
    lambda: CountVectorizer(min_df=2, ngram_range=(1, 2)),
    lambda: TfidfVectorizer(exact_statistics=False, random_state=3, max_features=3),
    lambda: make_pipeline(CountVectorizer(), TfidfTransformer(exact_statistics=False, random_state=0), MultinomialNB()),
    lambda: make_pipeline(TfidfVectorizer(vocabulary=WORDS), RidgeClassifier()),
]


@pytest.mark.filterwarnings("ignore::skunlearn.exceptions.ClassVanishedWarning")
@pytest.mark.parametrize("make", HISTORY_SETTINGS)
@settings(max_examples=N_EXAMPLES, deadline=None)
@given(history=histories())
def test_after_every_operation_it_equals_a_refit(make, history):
    for model in run(make(), history):
        reference = reference_fit(model)
        assert state_digest(model) == state_digest(reference)
        try:
            expected = reference.release()
        except DegenerateRowsError:
            with pytest.raises(DegenerateRowsError):
                model.release()
            continue
        read = "predict" if hasattr(expected, "predict") else "transform"
        ours, theirs = (getattr(m, read)(["red wine", "rain ink ink"]) for m in (model, reference))
        ours, theirs = (x if read == "predict" else x.toarray() for x in (ours, theirs))
        np.testing.assert_array_equal(ours, theirs)


def test_a_word_that_goes_and_comes_back_before_a_read_is_seen_by_later_steps():
    texts, y = ["red wine", "ink", "red paper", "wine rain"], [0, 1, 0, 1]
    model = make_pipeline(CountVectorizer(), MultinomialNB()).fit(texts, y, sample_ids=[0, 1, 2, 3])
    model.partial_forget([1]).partial_fit(["snow"], [1], sample_ids=[4])
    model.partial_forget([4]).partial_fit(["ink ink"], [1], sample_ids=[5])
    fresh = make_pipeline(CountVectorizer(), MultinomialNB()).fit(
        ["red wine", "red paper", "wine rain", "ink ink"], [0, 0, 1, 1], sample_ids=[0, 2, 3, 5]
    )
    np.testing.assert_array_equal(model.predict_proba(["ink", "snow red"]), fresh.predict_proba(["ink", "snow red"]))
    assert state_digest(model) == state_digest(reference_fit(model))


def test_the_order_of_learning_does_not_matter():
    texts = documents()
    model = TfidfVectorizer().fit(texts, sample_ids=np.arange(40))
    order = np.random.default_rng(0).permutation(40)
    other = TfidfVectorizer().fit([texts[i] for i in order[:9]], sample_ids=order[:9])
    other.partial_fit([texts[i] for i in order[9:]], sample_ids=order[9:])
    assert model.transform_digest() == other.transform_digest()
    np.testing.assert_array_equal(model.transform(texts).toarray(), other.transform(texts).toarray())


@pytest.mark.parametrize("Estimator", [CountVectorizer, TfidfVectorizer])
def test_rows_alone_and_live_rows_give_the_bits_of_rows_in_bulk(Estimator):
    texts = documents()
    model = Estimator()
    live = model.fit_transform(texts).toarray()
    np.testing.assert_array_equal(live, model.transform(texts).toarray())
    alone = np.vstack([model.transform([text]).toarray() for text in texts])
    np.testing.assert_array_equal(live, alone)


@pytest.mark.parametrize(
    "params", [{"binary": True}, {"dtype": np.float64}, {"lowercase": False}, {"vocabulary": ["a", "b"]}]
)
def test_another_transform_has_another_digest(params):
    texts = ["Aa bb", "bb cc"]
    assert CountVectorizer().fit(texts).transform_digest() != CountVectorizer(**params).fit(texts).transform_digest()
    assert CountVectorizer().fit(texts).transform_digest() == CountVectorizer().fit(texts[::-1]).transform_digest()


def traces_of(model):
    """Return all text in which a model could give a word away."""
    errors = []
    for attempt in (lambda: model.partial_forget([999]), lambda: model.partial_fit([None], sample_ids=[77])):
        try:
            attempt()
        except Exception as error:
            errors.append(f"{error!r} {getattr(error, '__notes__', '')}")
    shown = [repr(model), str(getattr(model, "vocabulary_", "")), str(model.get_feature_names_out())]
    saved = pickle.dumps(model).decode("latin-1")
    released = pickle.dumps(model.release()).decode("latin-1")
    return " ".join([*shown, *errors, saved, released]).lower()


@pytest.mark.parametrize(
    "make",
    [
        CountVectorizer,
        TfidfVectorizer,
        lambda: ColumnTransformer([("w", CountVectorizer(), "text"), ("s", StandardScaler(), ["x"])]),
    ],
)
def test_a_word_is_nowhere_once_its_last_document_is_forgotten(make):
    pd = pytest.importorskip("pandas")
    texts = [f"from {CANARY}", "red wine", f"to {CANARY}", "white wine"]
    X = pd.DataFrame({"text": pd.Series(texts, dtype=object), "x": np.arange(4.0)})
    model = make()
    given = X if isinstance(model, ColumnTransformer) else texts
    model.fit(given, sample_ids=[0, 1, 2, 3])
    assert "holand" in traces_of(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.partial_forget([0, 2])
    assert not any("holand" in str(w.message).lower() for w in caught)
    model.partial_fit(given[:1].assign(text="ink") if isinstance(given, pd.DataFrame) else ["ink"], sample_ids=[8])
    assert "holand" not in traces_of(model)
    core = model._live.core
    words = (core.parts[0].core if isinstance(model, ColumnTransformer) else core)._words
    assert "holand" not in repr(vars(words)).lower()


def test_a_model_without_rows_holds_no_document():
    texts = ["red secret wine", "white wine"]
    model = TfidfVectorizer(min_df=2).fit(texts, forgettable=False)
    assert b"secret" not in pickle.dumps(model)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.transform(texts).toarray(), model.transform(texts).toarray())
    with pytest.raises(Exception, match="forgettable=False"):
        model.partial_forget([0])


def test_documents_are_read_from_files_and_bytes_once(tmp_path):
    paths = []
    for i, text in enumerate(["red wine", "ink"]):
        (tmp_path / str(i)).write_text(text)
        paths.append(str(tmp_path / str(i)))
    expected = CountVectorizer().fit_transform(["red wine", "ink"]).toarray()
    np.testing.assert_array_equal(CountVectorizer(input="filename").fit_transform(paths).toarray(), expected)
    files = [io.StringIO("red wine"), io.StringIO("ink")]
    np.testing.assert_array_equal(CountVectorizer(input="file").fit_transform(files).toarray(), expected)
    np.testing.assert_array_equal(CountVectorizer().fit_transform([b"red wine", b"ink"]).toarray(), expected)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", "Iterable over raw text documents expected"),
        (["a text", None], "1 of 2 documents are no text"),
        (["a text", np.nan, ["secret"]], "2 of 3 documents are no text"),
        ([b"\xff secret"], "1 of 1 documents are not encoded as 'utf-8'"),
        ([["secret"]], "1 of 1 documents are no text"),
        (np.array([["secret"]]), "X has 2"),
        ([], "no documents"),
        (["the and"], "empty vocabulary"),
    ],
)
def test_what_is_no_text_is_refused_and_not_quoted(texts, message):
    model = CountVectorizer(stop_words="english").fit(["red wine"])
    before = state_digest(model)
    with pytest.raises(ValueError, match=message) as caught:
        model.fit(texts)
    assert "secret" not in str(caught.value)
    assert state_digest(model) == before


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"ngram_range": (2, 1)}, "lower boundary"),
        ({"vocabulary": ["a", "a"]}, "duplicate term"),
        ({"vocabulary": {"a": 0, "b": 2}}, "0 to 1"),
        ({"vocabulary": []}, "empty vocabulary"),
        ({"max_df": 1, "min_df": 2}, "max_df corresponds to < documents than min_df"),
        ({"min_df": 2}, "After pruning, no terms remain"),
        ({"analyzer": lambda text: [1]}, "no str"),
    ],
)
def test_parameters_that_leave_no_words_are_refused(params, message):
    with pytest.raises((ValueError, TypeError), match=message):
        CountVectorizer(**params).fit(["aa bb", "cc"])


def test_nothing_left_is_an_error_of_reading_and_can_be_revived():
    model = CountVectorizer().fit(["red", "wine"], sample_ids=[1, 2])
    model.partial_forget([1, 2])
    with pytest.raises(DegenerateRowsError, match="no document left"):
        model.transform(["red"])
    assert model.partial_fit(["ink"], sample_ids=[1]).vocabulary_ == {"ink": 0}


# --- TfidfTransformer -------------------------------------------------------------------------------------------------


def counts(n=60, seed=0):
    return np.random.default_rng(seed).poisson(0.7, (n, 8)).astype(float)


@pytest.mark.parametrize(
    "params", [{}, {"norm": "l1", "sublinear_tf": True}, {"norm": None, "smooth_idf": False}, {"use_idf": False}]
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_weights_are_those_of_scikit_learn(params, dtype):
    X = sp.csr_array(counts().astype(dtype))
    model, own = TfidfTransformer(**params).fit(X), OWN.TfidfTransformer(**params).fit(X)
    assert_same_rows(model.transform(X), own.transform(X), 1e-6 if dtype == np.float32 else 1e-14)
    np.testing.assert_array_equal(model.transform(X.toarray()).toarray(), model.transform(X).toarray())
    if params.get("use_idf", True):
        np.testing.assert_allclose(model.idf_, own.idf_, rtol=1e-7 if dtype == np.float32 else 1e-15)
        np.testing.assert_array_equal(model.release().idf_, model.idf_)
        assert model.release().idf_.dtype == own.idf_.dtype


def test_weights_on_the_lattice_are_near_and_rarely_move():
    X = counts(2000)
    model = TfidfTransformer(exact_statistics=False, random_state=1).fit(X, sample_ids=np.arange(2000))
    exact = TfidfTransformer().fit(X)
    assert np.abs(model.idf_ - exact.idf_).max() <= np.log(2)  # half an octave each of n and df
    assert (model.idf_ != exact.idf_).any()
    digests = {model.partial_forget([i]).transform_digest() for i in range(50)}
    assert len(digests) < 10
    other = TfidfTransformer(exact_statistics=False, random_state=2).fit(X)
    assert (other.idf_ != model.idf_).any()
    assert state_digest(model) == state_digest(reference_fit(model))


def test_a_word_that_goes_moves_no_phase_of_others():
    texts = documents()
    model = TfidfVectorizer(exact_statistics=False, random_state=1).fit(texts, sample_ids=np.arange(40))
    before = dict(zip(model.get_feature_names_out(), model.idf_, strict=True))
    model.partial_forget([0])  # "only0"
    after = dict(zip(model.get_feature_names_out(), model.idf_, strict=True))
    assert "only0" in before
    assert "only0" not in after
    assert sum(before[word] == weight for word, weight in after.items()) >= len(after) - 3


# --- quality ----------------------------------------------------------------------------------------------------------


def test_spam_is_found_as_well_with_weights_on_the_lattice():
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    folder = Path(os.environ.get("SKUNLEARN_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
    if not (folder / "sms_spam.parquet").exists():
        pytest.skip("sms_spam.parquet is not in the data folder (SKUNLEARN_DATA, else ../shared/data)")
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score
    from sklearn.model_selection import StratifiedKFold

    table = pd.read_parquet(folder / "sms_spam.parquet")
    target = next(c for c in table if table[c].nunique() == 2)
    text = next(c for c in table if c != target)
    texts, y = table[text].tolist(), (table[target] == table[target].value_counts().index[1]).to_numpy()
    found = {"own": [], "exact": [], "lattice": []}
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(texts, y):
        for name, vectorizer in (
            ("own", OWN.TfidfVectorizer()),
            ("exact", TfidfVectorizer()),
            ("lattice", TfidfVectorizer(exact_statistics=False, random_state=0)),
        ):
            X = vectorizer.fit_transform([texts[i] for i in train])
            learner = LogisticRegression(C=10, solver="liblinear", random_state=0).fit(X, y[train])
            score = learner.decision_function(vectorizer.transform([texts[i] for i in test]))
            found[name].append(average_precision_score(y[test], score))
    mean = {name: np.mean(values) for name, values in found.items()}
    assert mean["exact"] == pytest.approx(mean["own"], abs=1e-6)
    assert mean["lattice"] == pytest.approx(mean["exact"], abs=1e-3), mean
