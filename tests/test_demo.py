"""The demo: it says yes only to models that are what they must be, and says the same with rich and without."""

import io
import re
import sys

import numpy as np
import pytest

import skunlearn.demo
from skunlearn.demo import Exhibit, Result, run
from skunlearn.demo.measure import measure, n_steps
from skunlearn.demo.screen import PlainScreen, RichScreen, duration, make_screen
from skunlearn.naive_bayes import BernoulliNB, CategoricalNB
from skunlearn.preprocessing import OneHotEncoder


class ForgetsNothing(BernoulliNB):
    """Drops the rows and keeps what it counted from them."""

    def _make_core(self, params, rows):
        core = super()._make_core(params, rows)
        core._forget = lambda block: None
        return core


class KeepsATrace(BernoulliNB):
    """Predicts what it must, from a state that tells how many rows went."""

    def _make_core(self, params, rows):
        core = super()._make_core(params, rows)
        honest_forget, honest_parts, trace = core._forget, core.digest_parts, []
        core._forget = lambda block: (trace.append(b"gone"), honest_forget(block))
        core.digest_parts = lambda owner: [*honest_parts(owner), *trace]
        return core


class RemembersHowOften(BernoulliNB):
    """Predicts something else after a deletion, from a state whose digest is right."""

    n_calls = 0

    def partial_forget(self, *args, **kwargs):
        self.n_calls += 1
        return super().partial_forget(*args, **kwargs)

    def predict_proba(self, X):
        return super().predict_proba(X) + self.n_calls


def table():
    rng = np.random.default_rng(0)
    return rng.integers(0, 3, (400, 5)).astype(np.float64), rng.integers(0, 2, 400)


def exhibit(model):
    return Exhibit(model, "table", table, n_refits=1)


HONEST = (exhibit(BernoulliNB()), exhibit(CategoricalNB(min_categories=3)))


def test_equal_models_exit_with_zero():
    """The exit code is 0 where every model equals its refits, on any build of the native half."""
    out = io.StringIO()

    assert run(HONEST, PlainScreen(out)) == 0
    assert "All 2 models are, bit for bit, models that never saw the rows they forgot." in out.getvalue()


def test_sparse_answers_are_compared_by_value():
    """A transformer whose answers are sparse matrices equals its refits, as objects of their own."""
    assert measure(exhibit(OneHotEncoder(handle_unknown="ignore")), lambda what: None).is_identical


@pytest.mark.parametrize("liar", [ForgetsNothing, KeepsATrace, RemembersHowOften])
@pytest.mark.parametrize("screen", [PlainScreen, RichScreen])
def test_one_liar_among_honest_models_exits_with_one(liar, screen):
    """A state or a prediction that differs from a refit makes the exit code 1, and is named."""
    out = io.StringIO()

    assert run((*HONEST, exhibit(liar())), screen(out)) == 1
    assert re.search(rf"1\s+of\s+3\s+models\s+are\s+NOT.*{liar.__name__}\s+on\s+table", out.getvalue(), re.DOTALL)


def test_what_is_forgotten_is_a_tenth_and_one_subject():
    """A tenth of the rows goes one by one, then the 40 rows of a person, and every step is announced."""
    announced = []

    result = measure(HONEST[0], announced.append)

    assert len(result.forget_ns) == 40
    assert result.n_forgotten == 40 + 40
    assert all(ready >= forget for forget, ready in zip(result.forget_ns, result.ready_ns, strict=True))
    assert len(announced) == n_steps(HONEST[0])


def test_output_without_rich_says_all_that_rich_shows(monkeypatch):
    """Without the extra `report`, the same words appear as plain text."""
    with_rich, without = io.StringIO(), io.StringIO()
    assert isinstance(make_screen(with_rich), RichScreen)
    run(HONEST, make_screen(with_rich))
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)

    screen = make_screen(without)
    run(HONEST, screen)

    assert isinstance(screen, PlainScreen)
    assert words(with_rich) - words(without) == set()
    assert 'pip install "scikit-unlearn[report]"' in without.getvalue()


@pytest.mark.parametrize("screen", [PlainScreen, RichScreen])
def test_output_fits_80_columns(screen):
    """With the widest cells there are, no line is wider than 80 columns and no cell is cut off."""
    widest = Result(
        estimator="CategoricalNB",
        data="generated",
        guarantee="exact",
        n_rows=200_000,
        n_features=30,
        n_forgotten=1040,
        forget_ns=[12_340] * 3,
        ready_ns=[12_340] * 3,
        subject_ns=12_340_000,
        sklearn_refit_ns=123_400_000.0,
        our_refit_ns=12_340_000.0,
        differs_from=(),
    )
    out = io.StringIO()

    screen(out).introduce()
    screen(out).show([widest, widest])

    assert max(map(len, out.getvalue().splitlines())) <= 80
    for cell in ("CategoricalNB", "200,000 x 30", "12.3 ms", "10,000x", "Identical"):
        assert cell in out.getvalue()


def test_plain_output_survives_a_terminal_without_greek():
    """µs becomes us, so that no encoding stops the demo."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii", errors="strict")

    assert run(HONEST[:1], PlainScreen(out)) == 0
    assert b" us" in raw.getvalue()


def test_dev_build_is_refused(monkeypatch, capsys):
    """On a dev build nothing is measured, and the message says what to run."""
    monkeypatch.setattr(skunlearn.demo, "build_profile", lambda: "dev")
    monkeypatch.setattr(skunlearn.demo, "run", None)

    assert skunlearn.demo.main() == 2
    assert "make demo" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ns", "text"),
    [(999, "999 ns"), (999.6, "1.00 µs"), (12_345, "12.3 µs"), (99_960, "100 µs"), (1.5e9, "1.50 s"), (2e11, "200 s")],
)
def test_durations_have_three_digits(ns, text):
    """A time is shown to three digits, whatever its size."""
    assert duration(ns) == text


def words(out):
    """Return the words that are neither times nor rules."""
    return {word for word in re.findall(r"[^\s─-]+", out.getvalue()) if not re.match(r"[\d.,]+x?$|[mnµu]?s$", word)}
