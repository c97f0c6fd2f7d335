"""Print, as JSON, what every portable estimator publishes, hashed, and the BLAS kernels and threads in use.

"mutant" is a Ridge that leaves sums and solution to BLAS and LAPACK: bits of its depend on the machine.
"""

import copy
import hashlib
import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import scipy.linalg
from sklearn.utils import get_tags
from threadpoolctl import threadpool_info, threadpool_limits

from skunlearn import reference_fit, state_digest
from skunlearn.linear_model import Ridge
from skunlearn.linear_model._least_squares import LeastSquaresCore, LeastSquaresState


class BlasRidge(Ridge):
    """Its sums are floats that BLAS adds, and LAPACK solves."""

    def _make_core(self, params, rows):
        core = super()._make_core(params, rows)
        core.__class__ = _BlasCore
        return core


class _BlasCore(LeastSquaresCore):
    def publish(self, owner):
        blocks = [(np.array(block.X), np.array(block.y)) for block in owner.effective_blocks()]
        X, y = (np.concatenate(part) for part in zip(*blocks, strict=True))
        X, y = X - X.mean(axis=0), y - y.mean(axis=0)
        coef = scipy.linalg.solve(X.T @ X + 0.1 * np.eye(X.shape[1]), X.T @ y, assume_a="pos").T
        return LeastSquaresState(np.ascontiguousarray(coef), np.zeros(len(coef)), X.shape[1])


def estimators():
    spec = importlib.util.spec_from_file_location("estimators", Path(__file__).with_name("estimators.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PORTABLE_ESTIMATORS | {"mutant": BlasRidge()}


def hashed(estimator, X, numbers, labels):
    """Fit, forget and learn, and hash all that can be seen, and the digest."""
    y = labels if get_tags(estimator).estimator_type == "classifier" else numbers
    model = copy.deepcopy(estimator).fit(X, y).partial_forget(np.arange(100, 300))
    model.partial_fit(X[100:150] * 3, y[100:150], sample_ids=np.arange(10_000, 10_050))
    said = hashlib.sha256(state_digest(model) + state_digest(reference_fit(model)))
    for name in sorted(n for n in dir(type(model)) if n.endswith("_") and not n.startswith("_")):
        value = getattr(model, name, None)
        if isinstance(value, (np.ndarray, float)):
            said.update(name.encode() + np.ascontiguousarray(value).tobytes())
    for method in ("predict", "decision_function", "predict_proba", "predict_log_proba", "transform"):
        if hasattr(model, method):
            said.update(np.ascontiguousarray(getattr(model, method)(X[:50])).tobytes())
    return said.hexdigest()


def main():
    threadpool_limits(int(os.environ.get("BLAS_THREADS", "1")))  # also more than there are cores
    rng = np.random.default_rng(0)
    n, d = 1200, 120
    X = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-3, 4, d)
    X[:, 100:110] = rng.integers(0, 2, (n, 10))
    X[:, 110:] = rng.integers(-999, 999, (n, 10))
    numbers, labels = rng.normal(size=(n, 2)), rng.integers(0, 3, n)
    bits = {name: hashed(estimator, X, numbers, labels) for name, estimator in estimators().items()}
    pools = [pool for pool in threadpool_info() if pool["internal_api"] == "openblas"]
    said = {
        "bits": bits,
        "cores": sorted({str(pool["architecture"]) for pool in pools}),
        "threads": sorted({pool["num_threads"] for pool in pools}),
    }
    print(json.dumps(said))  # noqa: T201


if __name__ == "__main__":
    main()
