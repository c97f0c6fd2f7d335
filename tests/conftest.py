"""Refuse to test native code that was built before the last edit: a plain ``pytest`` builds nothing.

Profiles of Hypothesis: by default a run repeats the one before it; ``--hypothesis-profile=deep`` is for the night.
"""

from pathlib import Path

import _unlearn_native._native
import pytest
from hypothesis import Phase, settings

import skunlearn

settings.register_profile("ci", max_examples=20, derandomize=True, deadline=None, database=None)
settings.register_profile("unshrunk", settings.get_profile("ci"), phases=[Phase.generate])
settings.register_profile("deep", max_examples=3000, deadline=None)
settings.load_profile("ci")

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Compare the newest native source with the built libraries; installed wheels are left alone."""
    if ROOT not in Path(skunlearn.__file__).resolve().parents:
        return
    crate = ROOT / "unlearn_native"
    _check_fresh([Path(_unlearn_native._native.__file__)], [*crate.glob("src/**/*.rs"), *crate.glob("Cargo.*")])
    package = ROOT / "python" / "skunlearn"
    for source in package.rglob("*.pyx"):
        text = source.read_text()
        shared = [path for path in source.parent.glob("*.pxd") if path.stem in text]
        _check_fresh(list(source.parent.glob(f"{source.stem}.*.so")), [source, *shared])


def _check_fresh(libraries: list[Path], sources: list[Path]) -> None:
    newest = max(sources, key=lambda path: path.stat().st_mtime)
    if not libraries or min(path.stat().st_mtime for path in libraries) < newest.stat().st_mtime:
        raise pytest.UsageError(f"Native code was built before the last edit of {newest.name}; run `make build`.")
