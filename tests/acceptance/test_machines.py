"""The same bits on every machine: threads of BLAS, and the kernels that it has for other processors."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

#: OpenBLAS keeps one table of kernels for Katmai to Prescott, and reports the first name.
CORES = {"Haswell": "Haswell", "SkylakeX": "SkylakeX", "Prescott": "Katmai"}
#: Threads of BLAS that wait go to sleep, instead of counting in a circle on a core that another one needs.
ASLEEP = {"OPENBLAS_THREAD_TIMEOUT": "4"}


@functools.cache
def run(**environment):
    """Return what a process under this environment publishes; None where the processor lacks the instructions."""
    child = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("published_bits.py"))],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", **ASLEEP, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,  # more threads than cores wait for each other
    )
    if child.returncode < 0:
        return None
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


def on_core(core):
    there = run(OPENBLAS_CORETYPE=core)
    if there is None or not {core, CORES[core]} & set(there["cores"]):
        pytest.skip(f"this processor cannot run OpenBLAS's {core} kernels")
    return there


def with_threads(threads):
    there = run() if threads == 1 else run(BLAS_THREADS=str(threads))
    if threads not in there["threads"]:
        pytest.skip(f"BLAS does not take {threads} threads here")
    return there


def differing(there):
    """Return the names of the estimators that publish other bits there than here."""
    here = run()["bits"]
    assert here.keys() == there["bits"].keys()
    return [name for name in here if name != "mutant" and there["bits"][name] != here[name]]


@pytest.mark.parametrize("threads", [2, 4])
def test_bits_do_not_depend_on_blas_threads(threads):
    """Digest, attributes and predictions of every portable estimator are those of a process with one thread."""
    assert with_threads(1)["threads"] == [1]

    assert differing(with_threads(threads)) == []


@pytest.mark.parametrize("core", CORES)
def test_bits_do_not_depend_on_the_processor(core):
    """They are the same under the kernels of another processor, which `threadpool_info` says are in use."""
    assert differing(on_core(core)) == []


def test_a_mutant_that_uses_blas_on_floats_is_caught():
    """The control: sums and solutions of BLAS have other bits on another processor, so the tests above can fail."""
    runs = [there for there in (run(OPENBLAS_CORETYPE=core) for core in CORES) if there is not None]
    if len({tuple(there["cores"]) for there in runs}) < 2:
        pytest.skip("this machine has no OpenBLAS with two kernels to compare")

    assert len({there["bits"]["mutant"] for there in runs}) > 1
