"""Child of `test_canaries`: fit marked rows, forget some, and look for them in all memory of this process.

Each model has patterns of its own, so one scan looks for those of all.

The patterns exist here only under a mask, but for the arrays that are handed to the model and then overwritten, and but
for one buffer of the scanner, which the scan leaves out.
"""

import contextlib
import ctypes
import gc
import io
import mmap
import sys
import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp

from skunlearn import ensemble, naive_bayes

MASK = 0x5A5A_A5A5_3C3C_C3C3
N_ROWS, N_FEATURES = 64, 8
GONE = np.arange(8, 24)
#: Of which model, and what.
Pattern = tuple[str, str]
PIECE = 1 << 20


def masked(seed: int, shape: Any, low: int, high: int) -> np.ndarray:
    """Random bits between two 64-bit patterns, under the mask."""
    return np.random.default_rng(seed).integers(low, high, shape, dtype=np.uint64) ^ np.uint64(MASK)


def reveal(hidden: np.ndarray, dtype: str) -> np.ndarray:
    return (hidden ^ np.uint64(MASK)).view(dtype)


ONE, TWO = 0x3FF0_0000_0000_0000, 0x4000_0000_0000_0000


def hidden_rows(seed: int) -> dict[str, np.ndarray]:
    """Return rows of one model and all that stands beside them, masked."""
    return {
        "values": masked(4 * seed, (N_ROWS, N_FEATURES), ONE, TWO),
        "ids": masked(4 * seed + 1, N_ROWS, 1 << 61, 1 << 62),
        "subjects": masked(4 * seed + 2, N_ROWS, 1 << 61, 1 << 62),
        "weights": masked(4 * seed + 3, N_ROWS, ONE, TWO),
    }


def fit(estimator: str, layout: str, hidden: dict[str, np.ndarray]) -> Any:
    """Fit, and overwrite all that was handed over."""
    X = reveal(hidden["values"], "f8")
    if estimator == "CategoricalNB":  # 23 random bits: a row of eight is a pattern of its own
        X = np.floor((X - 1) * 2**14)
    ids, subjects, weight = (
        reveal(hidden["ids"], "i8"),
        reveal(hidden["subjects"], "i8"),
        reveal(hidden["weights"], "f8"),
    )
    rows = sp.csr_array(X) if layout == "csr" else X
    model = getattr(naive_bayes if hasattr(naive_bayes, estimator) else ensemble, estimator)(classes=[0, 1])
    if estimator == "CategoricalNB":
        model.set_params(min_categories=2**14)
    model.fit(rows, np.arange(N_ROWS) % 2, weight, sample_ids=ids, subject_ids=subjects)
    for array in (X, ids, subjects, weight, *((rows.data,) if layout == "csr" else ())):
        array.fill(0)
    return model


def needles(estimator: str, hidden: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Eight bytes of every row that goes, still masked: of values the first two categories, or the first double."""
    if estimator == "CategoricalNB":
        categories = np.floor((reveal(hidden["values"], "f8")[:, :2] - 1) * 2**14).astype(np.float32)
        values = np.ascontiguousarray(categories).view(np.uint64)[:, 0] ^ np.uint64(MASK)
        categories.fill(0)
    else:
        values = hidden["values"][:, 0]
    parts = {
        "values": values,
        **single_values(estimator, hidden),
        **{name: hidden[name] for name in ("ids", "subjects", "weights")},
    }
    return {name: np.sort(array[GONE]) for name, array in parts.items()}


def single_values(estimator: str, hidden: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return two neighbours of a row as the float32 numbers that forests compare, still masked."""
    if not hasattr(ensemble, estimator):
        return {}
    pairs = reveal(hidden["values"], "f8")[:, :2].astype(np.float32)
    masked_pairs = np.ascontiguousarray(pairs).view(np.uint64)[:, 0] ^ np.uint64(MASK)
    pairs.fill(0)
    return {"float32": masked_pairs}


BUFFER = ctypes.create_string_buffer(PIECE + 8)  # the only place where memory is looked at
WORDS = np.empty(PIECE // 8 + 1, dtype=np.uint64)
TOP = np.uint64(48)


def read(memory: io.FileIO, at: int, size: int) -> int:
    """Read memory into the buffer; a page that went away since the mappings were listed reads as zeros."""
    buffer = memoryview(BUFFER)
    try:
        memory.seek(at)
        return memory.readinto(buffer[:size]) or 0
    except OSError:
        ctypes.memset(BUFFER, 0, size)
        for offset in range(0, size, mmap.PAGESIZE):
            with contextlib.suppress(OSError):
                memory.seek(at + offset)
                memory.readinto(buffer[offset : min(offset + mmap.PAGESIZE, size)])
        return size


def scan(wanted: dict[Pattern, np.ndarray]) -> dict[Pattern, int]:
    """Count hits in every writable mapping, at all offsets, but for the scanner's own two buffers."""
    own = [(ctypes.addressof(BUFFER), len(BUFFER)), (WORDS.ctypes.data, WORDS.nbytes)]
    hits = dict.fromkeys(wanted, 0)
    likely = np.zeros(1 << 16, dtype=bool)  # by the first 16 bits: few words need a closer look
    for sought in wanted.values():
        likely[(sought >> TOP).astype(np.intp)] = True
    with open("/proc/self/maps") as listing, open("/proc/self/mem", "rb", buffering=0) as memory:
        ranges = [line.split()[:2] for line in listing if "[v" not in line]
        for addresses, rights in ranges:
            if not rights.startswith("rw"):
                continue
            start, stop = (int(edge, 16) for edge in addresses.split("-"))
            for at in range(start, stop, PIECE):
                size = read(memory, at, min(PIECE + 7, stop - at))
                for first, length in own:  # blank them out
                    a, b = max(first, at) - at, min(first + length, at + size) - at
                    if a < b:
                        ctypes.memset(ctypes.addressof(BUFFER) + a, 0, b - a)
                for offset in range(8):
                    n_words = (min(size - offset, PIECE + 7)) // 8
                    if n_words <= 0:
                        continue
                    words = WORDS[:n_words]
                    words[:] = np.frombuffer(BUFFER, dtype=np.uint64, count=n_words, offset=offset)
                    words ^= np.uint64(MASK)
                    candidates = words[likely[(words >> TOP).astype(np.intp)]]
                    for name, sought in wanted.items():
                        hits[name] += int(np.count_nonzero(np.isin(candidates, sought)))
    ctypes.memset(BUFFER, 0, len(BUFFER))
    WORDS.fill(0)
    return hits


def report(hits: dict[Pattern, int]) -> None:
    """Write a line a model."""
    models = {
        model: " ".join(f"{name}={hits[other, name]}" for other, name in hits if other == model) for model, _ in hits
    }
    sys.stdout.write("".join(f"{model} {counts}\n" for model, counts in models.items()))


def main(cases: list[str]) -> None:
    warnings.simplefilter("ignore")
    hidden = {case: hidden_rows(seed) for seed, case in enumerate(cases, start=1)}
    wanted = {(case, name): of for case in cases for name, of in needles(case.split("-")[0], hidden[case]).items()}
    models = {case: fit(*case.split("-"), hidden[case]) for case in cases}
    gc.collect()
    report(scan(wanted))
    for case, model in models.items():
        ids = reveal(hidden[case]["ids"][GONE], "i8")
        model.partial_forget(ids)
        ids.fill(0)
        del ids
        model.classes_, model.flush()
        getattr(model, "class_count_", None)
    gc.collect()
    report(scan(wanted))


if __name__ == "__main__":
    main(sys.argv[1:])
