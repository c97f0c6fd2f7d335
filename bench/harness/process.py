"""The process that a case runs in: how it is kept quiet, and what a record says about it."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["check_release", "commit", "environment_for_case", "is_prepared", "machine", "pin_to_core", "software"]

ROOT = Path(__file__).resolve().parents[2]
#: One thread everywhere: two arms on different numbers of threads compare schedulers.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
#: They choose slower kernels than the machine has, for NumPy and so for every peer.
UNSET_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
#: Tells a case what was unset for it.
_UNSET_FOR_CASE = "SKUNLEARN_BENCH_UNSET"
#: The last is a peer that need not be there.
_LIBRARIES = ("scikit-unlearn", "unlearn-native", "scikit-learn", "numpy", "scipy", "threadpoolctl", "lightgbm")


def environment_for_case(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that a case is started in, before it imports anything."""
    unset = [name for name in UNSET_VARIABLES if name in environ]
    kept = {name: value for name, value in environ.items() if name not in UNSET_VARIABLES}
    return {**kept, **dict.fromkeys(THREAD_VARIABLES, "1"), "PYTHONHASHSEED": "0", _UNSET_FOR_CASE: ",".join(unset)}


def is_prepared(environ: Mapping[str, str]) -> bool:
    """Whether this process was started in the environment of a case."""
    return all(environ.get(name) == "1" for name in THREAD_VARIABLES) and not any(n in environ for n in UNSET_VARIABLES)


def pin_to_core(core: int | None) -> list[int] | None:
    """Stay on one core, the last one by default; return which, or None where the system has no such call."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0)) if core is None else core})
    return sorted(os.sched_getaffinity(0))


def check_release(profile: str) -> None:
    """Refuse a native half with checks in it.

    Raises
    ------
    SystemExit
        If `profile` is not "release".
    """
    if profile != "release":
        raise SystemExit(
            f"The native half is a {profile} build: its checks make every time meaningless. Nothing was measured. Run "
            "`make build-release` first, or `make bench`."
        )


def machine() -> dict[str, Any]:
    """Return what the times depend on, without a name of the machine."""
    return {
        "cpu": _cpu_model(),
        "n_cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def software() -> dict[str, Any]:
    """Return versions, thread pools and the settings that the case was started with."""
    from threadpoolctl import threadpool_info

    pools = [{**pool, "filepath": Path(pool["filepath"]).name} for pool in threadpool_info()]
    unset = os.environ.get(_UNSET_FOR_CASE, "")
    return {
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _LIBRARIES if _is_installed(name)},
        "threadpool_info": pools,
        "environment": {name: os.environ.get(name) for name in THREAD_VARIABLES},
        "unset_for_the_run": unset.split(",") if unset else [],
    }


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def commit() -> dict[str, Any]:
    """Return the commit and whether anything but results differs from it; unknown outside a repository."""
    try:
        head = _git("rev-parse", "HEAD")
        changes = _git("status", "--porcelain", "--", ".", ":!bench/results")
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
    return {"commit": head, "dirty": bool(changes)}


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()
