"""States that training can resume from: kept where they can be destroyed for good."""

import os
import shutil
import tempfile
import weakref
from abc import ABC, abstractmethod
from pathlib import Path

__all__ = ["Checkpoint", "Checkpoints"]


class Checkpoint(ABC):
    """The pickled state of an estimator in training."""

    @abstractmethod
    def read(self) -> bytes:
        """Return the state."""

    @abstractmethod
    def destroy(self) -> None:
        """Overwrite the state with zeros, and let go of it."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes of memory that it takes."""


class _InMemory(Checkpoint):
    def __init__(self, state: bytes) -> None:
        self._state = bytearray(state)

    def read(self) -> bytes:
        return bytes(self._state)

    def destroy(self) -> None:
        self._state[:] = bytes(len(self._state))

    @property
    def nbytes(self) -> int:
        return len(self._state)


class _OnDisk(Checkpoint):
    def __init__(self, state: bytes, folder: str) -> None:
        handle, name = tempfile.mkstemp(dir=folder, suffix=".state")
        self._path = Path(name)
        # However the checkpoint goes, its file goes first.
        self._finalizer = weakref.finalize(self, _overwrite_and_unlink, self._path)
        with os.fdopen(handle, "wb") as file:
            file.write(state)

    def read(self) -> bytes:
        return self._path.read_bytes()

    def destroy(self) -> None:
        self._finalizer()

    @property
    def nbytes(self) -> int:
        return 0


class Checkpoints:
    """Makes checkpoints.

    Parameters
    ----------
    where : {"memory", "disk"}
        Where they are kept: in the process, or in files of a private temporary folder.
    """

    def __init__(self, where: str) -> None:
        self._folder = tempfile.mkdtemp(prefix="skunlearn-") if where == "disk" else None
        if self._folder is not None:
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def make(self, state: bytes) -> Checkpoint:
        """Keep a state."""
        return _InMemory(state) if self._folder is None else _OnDisk(state, self._folder)


def _overwrite_and_unlink(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
