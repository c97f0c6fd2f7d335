"""The examples run, on few rows, and show what they say they show."""

import importlib.util
import sys
from pathlib import Path

import pytest

pytest.importorskip("pandas")
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.fixture
def run(monkeypatch):
    """Return a function that runs an example and returns what its `main` does."""

    def run(name, n_rows):
        monkeypatch.setenv("SKUNLEARN_EXAMPLE_ROWS", str(n_rows))
        monkeypatch.syspath_prepend(str(EXAMPLES))
        monkeypatch.delitem(sys.modules, "_tables", raising=False)
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        try:
            return module.main()
        except SystemExit as missing:
            pytest.skip(str(missing))
        finally:
            sys.modules.pop("_tables", None)

    return run


def test_cleaning_by_influence_lowers_the_loss_and_ends_in_a_refit(run, capsys):
    results = run("clean_labels", 1200)
    assert results["is_refit"]
    assert results["n_found"] > 0.4 * results["n_removed"] > 0  # one in ten by chance
    assert results["forgotten by influence"] < results["as it is"] - 0.01
    assert results["and wrongly removed rows learned back"] == results["refit on the same rows"]
    assert "refit on the same rows" in capsys.readouterr().out


def test_a_window_that_slid_is_a_fit_of_its_last_days(run, monkeypatch):
    monkeypatch.setenv("SKUNLEARN_EXAMPLE_DAYS", "64")
    results = run("sliding_window", 4000)
    assert results["n_equal"] == results["n_compared"] == 3
    assert results["is_fit_of_window"]


def test_forgetting_by_group_narrows_the_gap_and_all_metrics_are_there(run, capsys):
    results = run("group_gaps", 1500)
    columns = results["columns"]
    assert results["is_refit"]
    assert columns["-5%"] == columns["refit"]
    assert columns["-5%"]["gap: selected"] < columns["-0%"]["gap: selected"] - 0.03
    assert abs(columns["random"]["gap: selected"] - columns["-0%"]["gap: selected"]) < 0.03
    printed = capsys.readouterr().out
    assert all(metric in printed for metric in columns["refit"])


def test_a_patient_leaves_every_step(run):
    results = run("erase_patient", 1500)
    assert results["n_stays"] >= 1
    assert results["is_fit_without"]
    assert results["is_refit"]
    assert results["columns"] == [1, 0]
    assert results["was_there"]
    assert not results["is_there"]
    assert results["matches"]
