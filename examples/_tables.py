"""Where the examples find their tables: the folder named by SKUNLEARN_DATA, else ../shared/data beside the project."""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import numpy as np

FOLDER = Path(os.environ.get("SKUNLEARN_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def loader() -> ModuleType:
    """Return the module that loads the tables, or say what is missing."""
    if not (FOLDER / "load.py").exists():
        raise SystemExit(f"This example needs the tables: set SKUNLEARN_DATA. There is no load.py in {FOLDER.name}.")
    spec = importlib.util.spec_from_file_location("_load", FOLDER / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def size(default: int) -> int:
    """Return how many rows to use: SKUNLEARN_EXAMPLE_ROWS, else what the example asks for."""
    return int(os.environ.get("SKUNLEARN_EXAMPLE_ROWS", default))


def table(name: str, n_rows: int) -> tuple:
    """Return random rows of a table, the same every time: frame without dtype category, targets, subjects or None."""
    X, y, subjects = loader().load(name)
    rows = np.random.default_rng(0).permutation(len(y))[:n_rows]
    X = X.iloc[rows].reset_index(drop=True)
    X = X.astype(dict.fromkeys(X.select_dtypes("category").columns, object))
    return X, np.asarray(y)[rows], None if subjects is None else np.asarray(subjects)[rows]
