"""What the two source distributions hold: sources, and nothing that was generated."""

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def python_sdist(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names in the sdist of scikit-unlearn."""
    return _build(tmp_path_factory.mktemp("python"), "setup.py", "-q", "sdist", "--dist-dir")


@pytest.fixture(scope="module")
def native_sdist(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names in the sdist of unlearn-native."""
    arguments = ("-m", "maturin", "sdist", "-m", "unlearn_native/Cargo.toml", "--out")
    return _build(tmp_path_factory.mktemp("native"), *arguments)


def _build(folder: Path, *arguments: str) -> list[str]:
    subprocess.run([sys.executable, *arguments, str(folder)], cwd=ROOT, check=True, capture_output=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        return [name.partition("/")[2] for name in tar.getnames()]


def test_sdist_holds_every_cython_source(python_sdist: list[str]) -> None:
    """cythonize rewrites the sources of extensions to .c: without MANIFEST.in the .pyx files would be missing."""
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "python").rglob("*.pyx")}
    assert sources
    assert sources <= set(python_sdist)
    assert {"pyproject.toml", "setup.py", "LICENSE", "README.md"} <= set(python_sdist)


def test_sdist_holds_nothing_generated(python_sdist: list[str]) -> None:
    """Generated C would be compiled in place of the source it no longer fits."""
    assert not [name for name in python_sdist if name.endswith((".c", ".so", ".pxi"))]


def test_native_sdist_holds_the_crate(native_sdist: list[str]) -> None:
    """The lock file goes along, so that a build from source uses the versions that were tested."""
    names = set(native_sdist)
    sources = {path.name for path in (ROOT / "unlearn_native" / "src").rglob("*.rs")}
    assert sources <= {name.rpartition("/")[2] for name in names}
    assert [name for name in names if name.endswith("Cargo.lock")]
    assert not [name for name in names if name.endswith((".so", ".rlib"))]
