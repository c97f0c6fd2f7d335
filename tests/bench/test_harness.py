"""The harness: when it believes its clocks, what it writes down, and what it refuses."""

import copy
import gc
import json

import numpy as np
import pytest
import scipy.sparse as sp

import run
import table
from harness import cadences, gram, process
from harness.cadences import BOOSTED, measure_cadences
from harness.cases import CASES, chosen
from harness.datasets import Table, missing_file
from harness.forgetting import Sizes, assert_exact, measure_forgetting
from harness.gram import measure_gram
from harness.overhead import measure_overhead
from harness.records import append, latest, measurement, read, record, thinned, validate
from harness.sampling import Samples, interleaved, loud_share, quiet
from skunlearn._linalg.moments import Moments, Rows
from skunlearn.ensemble import RandomForestClassifier
from skunlearn.linear_model import LinearRegression
from skunlearn.naive_bayes import BernoulliNB, CategoricalNB

HEADER = ("commit", "dirty", "machine", "software", "affinity", "profile")
TINY = Sizes(n_rounds=2, n_singles=4, batches=(5,), n_reads=3)


# --- clocks ----------------------------------------------------------------------------------------------------------


def test_a_sample_is_loud_above_five_percent_of_waiting():
    """Loud is more than 1.05 times as long by the wall as by the processor; 1.05 itself is not."""
    assert loud_share([105, 106, 100, 200], [100, 100, 100, 100]) == 0.5
    assert loud_share([], []) == 0.0


@pytest.mark.parametrize(("n_loud", "is_loud"), [(1, False), (2, True)])
def test_a_run_is_loud_if_more_than_a_tenth_of_its_samples_is(n_loud, is_loud):
    """One loud sample of ten is a quiet run, two are a loud one."""
    assert fixture(n_loud=n_loud)["is_loud"] is is_loud


def test_one_loud_operation_among_quiet_ones_makes_a_run_loud():
    """What waited for the core is not hidden by a hundred quiet samples of something else."""
    entries = [measurement("skunlearn", "fit", samples(0, n=100)), measurement("skunlearn", "find", samples(2))]

    made = record({}, {"measurements": entries})

    assert made["loud_share"] < 0.1
    assert made["is_loud"]


def test_arms_take_turns_at_going_first():
    """The order is A B, B A, A B: drift falls on both arms alike."""
    assert list(interleaved("AB", 3)) == [(0, "A"), (0, "B"), (1, "B"), (1, "A"), (2, "A"), (2, "B")]


def test_every_call_has_a_wall_time_and_every_block_a_processor_time():
    """A block of three calls gives three wall times, one processor time, and a wall time of the block."""
    samples = Samples()

    samples.time_block([int] * 3)
    result = samples.time(lambda: 7)

    assert result == 7
    assert len(samples.wall_ns) == 4
    assert samples.block_calls == [3, 1]
    assert len(samples.cpu_ns) == len(samples.block_wall_ns) == 2
    assert samples.block_wall_ns[0] >= sum(samples.wall_ns[:3])


def test_no_garbage_is_collected_while_it_is_quiet():
    """The collector is off inside and as before outside, also after an error."""
    assert gc.isenabled()
    with quiet():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(KeyError), quiet():
        raise KeyError
    assert gc.isenabled()


# --- records ---------------------------------------------------------------------------------------------------------


def samples(n_loud, n=10, wall=100_000):
    """Return samples of which `n_loud` are loud."""
    walls = [2 * wall] * n_loud + [wall] * (n - n_loud)
    return Samples(wall_ns=walls, block_calls=[1] * n, block_wall_ns=walls, cpu_ns=[wall] * n)


def fixture(*, n_loud=0, name="bernoulli_nb/digits"):
    """Return a record with times that are known: a forget takes 0.1 ms, a refit 2 ms, what is put off 1 ms."""
    header = {
        "commit": "0123456789abcdef",
        "dirty": False,
        "machine": {"cpu": "a processor", "n_cores": 2, "memory_bytes": 2**34, "system": "Linux x86_64"},
        "software": {"python": "3.11.7", "versions": {"scikit-learn": "1.9.1", "numpy": "2.4.6", "scipy": "1.17.1"}},
        "affinity": [1],
        "profile": "release",
    }
    entries = [
        measurement(
            "skunlearn",
            "forget_one",
            samples(n_loud),
            variant={"order": "random"},
            deferred=samples(0, n=1, wall=1_000_000),
            counts={"rows_removed": 10, "path": "update"},
        ),
        measurement("skunlearn", "first_predict", samples(n_loud, wall=300_000)),
        measurement("skunlearn", "next_predict", samples(n_loud, wall=200_000)),
        *(
            measurement(arm, op, samples(n_loud, wall=2_000_000))
            for arm in ("skunlearn", "scikit-learn")
            for op in ("fit", "refit")
        ),
        measurement("skunlearn", "forget_batch", samples(n_loud), rows_per_call=1000, variant={"batch": 1000}),
    ]
    scores = {"accuracy": 0.5, "auc": 0.75}
    body = {
        "case": {"name": name, "data": "digits", "sha256": "0" * 64, "n": 1438, "d": 64, "parameters": {}, "seed": 0},
        "measurements": entries,
        "memory": dict.fromkeys(
            ("X_bytes", "rows_and_index_bytes", "index_bytes", "core_bytes", "estimated_bytes"), 2**20
        ),
        "quality": {"n_held_out": 359, "before": scores, "after": scores, "refit": scores},
    }
    return record(header, body)


def test_a_record_survives_its_file(tmp_path):
    """What is appended is what is read, and the newest line of a case is the one that counts."""
    old, new = {**fixture(), "time": "2026-01-01T00:00:00+00:00"}, {**fixture(), "time": "2026-01-02T00:00:00+00:00"}
    path = tmp_path / "results" / "bernoulli_nb.jsonl"

    assert [append(path, new), append(path, old)] == [1, 1]

    assert read([path]) == [new, old]
    assert latest(read([path])) == {"bernoulli_nb/digits": new}


@pytest.mark.parametrize("field", sorted(fixture()))
def test_a_record_without_a_field_is_refused(field):
    """Every field of the schema is required, and named when it is missing."""
    damaged = fixture()
    del damaged[field]

    with pytest.raises(ValueError, match=f"no field '{field}'"):
        validate(damaged)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: r.update(schema=2), "schema 2"),
        (lambda r: r["case"].update(n="many"), "'n' is a str"),
        (lambda r: r["measurements"][1].update(cpu_ns=[]), "measurement 1, there is no sample"),
        (lambda r: r["measurements"][2]["cpu_ns"].pop(), "measurement 2, the clocks were read 10 and 9 times"),
        (lambda r: r["measurements"].append("fast"), "measurement 8 is a str"),
    ],
)
def test_a_damaged_record_is_refused(damage, message):
    """Types, the version and the two clocks are checked, and the message says where."""
    damaged = copy.deepcopy(fixture())
    damage(damaged)

    with pytest.raises(ValueError, match=message):
        validate(damaged)


def test_long_series_are_thinned_and_sums_are_not():
    """Thinning keeps every k-th call, says k, and leaves the blocks, from which means are taken, whole."""
    full = fixture()
    long = Samples(list(range(10_000)), [5000, 5000], [10**7, 10**7], [10**7, 10**7])
    full["measurements"].append(measurement("skunlearn", "forget_one", long, variant={"order": "oldest first"}))

    thin = thinned(full, max_bytes=20_000)

    assert len(json.dumps(thin)) < 22_000
    assert thin["thinned"] > 1
    assert thin["measurements"][-1]["wall_ns"] == list(range(10_000))[:: thin["thinned"]]
    assert table.amortised(thin["measurements"][-1], is_loud=False) == 2000
    validate(thin)


# --- tables ----------------------------------------------------------------------------------------------------------


def test_a_quiet_run_is_rendered_by_the_wall_with_its_tail():
    """Ten forgets of 0.1 ms and 1 ms put off are 0.2 ms a row; a refit of 2 ms is ten times that."""
    tables = table.render([fixture()])

    assert "| `BernoulliNB` | digits | 1,438 x 64 | 200 µs | 400 µs | 2.00 ms | 10x | 5.0x |" in tables["summary"]
    assert "| random | 100 µs | 100 µs | 100 µs | 100 µs | 200 µs | 300 µs | 200 µs |" in tables["single"]
    assert "| - | - | 100 µs | 100 ns |" in tables["batch"]
    assert "| 359 | 0.5000 / 0.7500 |" in tables["quality"]
    assert "a processor, one of 2 cores, 16 GiB" in tables["conditions"]
    assert "commit 0123456789;" in tables["conditions"]


def test_a_loud_run_is_rendered_by_the_processor_without_a_tail():
    """Where half of the samples waited for the core, their wall times appear nowhere, and the table says why."""
    text = table.render([fixture(n_loud=5)])["single"]

    assert "| `BernoulliNB` | digits \\* | random | 100 µs | 100 µs | - | - | 200 µs | 300 µs | 200 µs |" in text
    assert "Processor time, and no p99" in text


def test_a_batch_is_charged_to_its_rows():
    """Ten calls of 0.1 ms for 1,000 rows each cost 100 ns a row; what they put off is shared by all of them, too."""
    deferred = samples(0, n=1, wall=10_000_000)
    entry = measurement("skunlearn", "forget_batch", samples(0), rows_per_call=1000, deferred=deferred)

    assert table.amortised(entry, is_loud=False) == 100 + 1000
    assert table.amortised({**entry, "deferred": None}, is_loud=True) == 100


def test_tables_go_between_their_markers_and_nowhere_else():
    """Filling twice is filling once; what stands outside of the markers stays."""
    text = "before\n<!-- bench:single -->\nold\n<!-- /bench:single -->\nafter\n"
    tables = table.render([fixture()])

    filled = table.fill(text, tables)

    assert filled == f"before\n<!-- bench:single -->\n{tables['single']}<!-- /bench:single -->\nafter\n"
    assert table.fill(filled, tables) == filled
    with pytest.raises(ValueError, match="names the table 'speed'"):
        table.fill("<!-- bench:speed -->\n<!-- /bench:speed -->", tables)


def test_check_says_what_is_out_of_date_and_changes_nothing(tmp_path, monkeypatch, capsys):
    """--check exits with 1 until the tables are written, and with 0 afterwards."""
    append(tmp_path / "results" / "bernoulli_nb.jsonl", fixture())
    append(tmp_path / "results" / "bernoulli_nb.local.jsonl", {**fixture(), "time": "2100-01-01T00:00:00+00:00"})
    readme = tmp_path / "README.md"
    readme.write_text("<!-- bench:summary -->\n<!-- /bench:summary -->\n", encoding="utf-8")
    monkeypatch.setattr(table, "ROOT", tmp_path)
    arguments = ["--results", str(tmp_path / "results")]

    assert table.main([*arguments, "--check"]) == 1
    assert "README.md is out of date" in capsys.readouterr().err
    assert "digits" not in readme.read_text(encoding="utf-8")
    assert table.main(arguments) == 0
    assert table.main([*arguments, "--check"]) == 0
    assert "2100" not in readme.read_text(encoding="utf-8")


def test_documents_name_only_tables_that_exist():
    """Every marker of README.md and docs/benchmarks.md is one that `render` fills."""
    for name in table.DOCUMENTS:
        table.fill((table.ROOT / name).read_text(encoding="utf-8"), table.render([]))


# --- processes and cases ---------------------------------------------------------------------------------------------


def test_a_dev_build_is_refused(monkeypatch):
    """On a dev build nothing is measured, and the message says what to run; a release build passes."""
    monkeypatch.setattr(run, "build_profile", lambda: "dev")
    monkeypatch.setattr(run, "run_all", None)

    with pytest.raises(SystemExit, match="make build-release"):
        run.main(["ids"])
    process.check_release("release")


def test_a_case_runs_on_one_thread_with_the_kernels_the_machine_has():
    """Threads are 1, settings that slow BLAS are unset and remembered, and only such a process is accepted."""
    given = {"PATH": "x", "OMP_NUM_THREADS": "8", "OPENBLAS_CORETYPE": "Nehalem"}

    environment = process.environment_for_case(given)

    assert environment["OMP_NUM_THREADS"] == environment["OPENBLAS_NUM_THREADS"] == "1"
    assert "OPENBLAS_CORETYPE" not in environment
    assert environment["SKUNLEARN_BENCH_UNSET"] == "OPENBLAS_CORETYPE"
    assert process.is_prepared(environment)
    assert not process.is_prepared({**environment, "OPENBLAS_CORETYPE": "Nehalem"})
    assert not process.is_prepared({**environment, "RAYON_NUM_THREADS": "2"})


def test_cases_are_chosen_by_name_or_family():
    """No name means all; a family means its cases; a name that is none is refused before anything runs."""
    assert chosen([], quick=False) == list(CASES)
    assert {case.name for case in chosen(["ids"], quick=False)} == {"ids/range", "ids/int64", "ids/str"}
    assert [case.name for case in chosen(["categorical_nb/adult"], quick=False)] == ["categorical_nb/adult"]
    assert all(case.is_quick for case in chosen([], quick=True))
    with pytest.raises(SystemExit, match="No case k_means"):
        chosen(["k_means"], quick=False)


def test_a_case_without_its_table_is_skipped_with_the_reason(monkeypatch, tmp_path, capsys):
    """A missing file is no failure: the exit code is 0 and the line says what is missing."""
    monkeypatch.setenv("SKUNLEARN_DATA", str(tmp_path))
    monkeypatch.setattr(run, "build_profile", lambda: "release")

    assert missing_file("digits") is None
    assert run.main(["bernoulli_nb/adult"]) == 0
    assert "skipped, adult.parquet is not in the data folder" in capsys.readouterr().err


def test_a_failing_case_makes_the_run_fail_and_not_stop(monkeypatch, capsys):
    """The other cases still run, and the exit code is 1."""
    ran = []
    monkeypatch.setattr(run, "build_profile", lambda: "release")
    monkeypatch.setattr(run, "_run_process", lambda case, options: ran.append(case.name) or case.name != "ids/int64")

    assert run.main(["ids"]) == 1
    assert ran == ["ids/range", "ids/int64", "ids/str"]
    assert "2 cases measured, 0 skipped, 1 failed" in capsys.readouterr().err


def small_table():
    rng = np.random.default_rng(0)
    return Table("small", rng.integers(0, 2, (120, 3)).astype(np.float64), rng.integers(0, 2, 120))


def test_the_protocol_yields_a_valid_record():
    """Every operation of both arms is there, with as many samples as the protocol says."""
    body = measure_forgetting(BernoulliNB(), small_table(), TINY, lambda what: None)
    body["case"]["name"] = "bernoulli_nb/small"
    header = {
        k: v for k, v in fixture().items() if k in ("commit", "dirty", "machine", "software", "affinity", "profile")
    }
    validate(record(header, body))

    n_samples = {(m["arm"], m["operation"], *m["variant"].values()): len(m["wall_ns"]) for m in body["measurements"]}
    assert n_samples == {
        ("skunlearn", "fit"): 2,
        ("scikit-learn", "fit"): 2,
        ("skunlearn", "forget_one", "random"): 4,
        ("scikit-learn", "refit"): 2,
        ("skunlearn", "refit"): 2,
        ("skunlearn", "forget_one", "oldest first"): 4,
        ("skunlearn", "first_predict"): 3,
        ("skunlearn", "next_predict"): 3,
        ("skunlearn", "forget_batch", 5, "random"): 2,
    }
    assert len(body["checks"]) == 2


def test_a_model_that_forgets_nothing_is_no_result():
    """Equality with reference_fit is asserted inside: a fast wrong model raises."""
    small = small_table()
    model = BernoulliNB().fit(small.X, small.y)
    assert "equals" in assert_exact(model, "nothing")
    model._live.core._forget = lambda block: None

    model.partial_forget([0])

    with pytest.raises(AssertionError, match="differs from its reference_fit"):
        assert_exact(model, "a deletion")


@pytest.mark.parametrize("peers", [["scikit-learn"], ["scikit-learn", BOOSTED]])
def test_cadences_are_timed_with_the_work_that_they_put_off(peers, monkeypatch):
    """A read and a flush a deletion, refits of all arms that are installed; without LightGBM a line says so."""
    said, find_spec = [], cadences.importlib.util.find_spec
    if BOOSTED in peers:
        pytest.importorskip("lightgbm", reason="LightGBM is not installed")
    else:
        monkeypatch.setattr(
            cadences.importlib.util, "find_spec", lambda name: None if name == "lightgbm" else find_spec(name)
        )

    body = measure_cadences(RandomForestClassifier(3, random_state=0), small_table(), TINY, said.append)

    arms = ["skunlearn", *peers]
    n_samples = {(m["arm"], m["operation"], *m["variant"].values()): len(m["wall_ns"]) for m in body["measurements"]}
    assert n_samples == {
        ("skunlearn", "forget_and_flush", 1, "random"): 3,
        ("skunlearn", "forget_and_read", 1, "random"): 3,
        **{(arm, operation): 2 for arm in arms for operation in ("refit", "predict")},
    }
    assert len(body["checks"]) == 2
    assert any("LightGBM is not installed" in line for line in said) == (BOOSTED not in peers)
    body["case"]["name"] = "forest_cadence/defaults-small"
    rendered = table.render([record({k: fixture()[k] for k in HEADER}, body)])["cadence"]
    assert rendered.count("| `defaults` | small") == 1


def test_overhead_leaves_the_model_exact():
    """Both orders of the two arms leave core and rows in step, and every row is timed once in each."""
    body = measure_overhead(CategoricalNB(min_categories=2), small_table(), TINY, lambda what: None)

    assert [len(m["wall_ns"]) for m in body["measurements"]] == [4, 4]
    assert body["checks"] == ["both arms: state_digest equals that of reference_fit"]


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
def test_both_gram_matrices_are_of_the_same_rows(layout):
    """Four arms are timed in turns, on sums that agree; sums of other rows are found out."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 3, (60, 4)) * 1.0
    body = measure_gram(LinearRegression(), Table("small", layout(X), X @ np.arange(4.0)), TINY, lambda what: None)

    arms = {(m["arm"], m["operation"]): len(m["wall_ns"]) for m in body["measurements"]}
    assert arms == dict.fromkeys(
        [("skunlearn", "gram"), ("BLAS", "gram"), ("skunlearn", "fit"), ("scikit-learn", "fit")], TINY.n_rounds
    )
    assert body["checks"] == ["the Gram matrices of both arms agree to rounding"]
    others = Moments(4)
    others.rebuild(lambda: [Rows(X[1:])])
    with pytest.raises(AssertionError, match="differ by more than rounding"):
        list(gram._checks(others, X.T))
