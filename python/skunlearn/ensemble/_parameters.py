"""What a forest is asked to be: scikit-learn's parameters checked, and in the terms of the native forest."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from skunlearn.utils._sklearn_compat import Interval, StrOptions

__all__ = [
    "CLASSIFIER_CONSTRAINTS",
    "REGRESSOR_CONSTRAINTS",
    "check_offered",
    "n_features_compared",
    "native_parameters",
]

#: What every forest accepts in form; `check_offered` says which of it is not offered.
_CONSTRAINTS: dict[str, Any] = {
    "n_estimators": [Interval(Integral, 1, None, closed="left")],
    "max_depth": [Interval(Integral, 1, None, closed="left"), None],
    "min_samples_split": [
        Interval(Integral, 2, None, closed="left"),
        Interval(Real, 0, 1, closed="right"),
    ],
    "min_samples_leaf": [
        Interval(Integral, 1, None, closed="left"),
        Interval(Real, 0, 1, closed="neither"),
    ],
    "min_weight_fraction_leaf": [Interval(Real, 0, 0.5, closed="both")],
    "max_features": [
        Interval(Integral, 1, None, closed="left"),
        Interval(Real, 0, 1, closed="right"),
        StrOptions({"sqrt", "log2"}),
        None,
    ],
    "max_leaf_nodes": [Interval(Integral, 2, None, closed="left"), None],
    "min_impurity_decrease": [Interval(Real, 0, None, closed="left")],
    "bootstrap": ["boolean"],
    "oob_score": ["boolean", callable],
    "n_jobs": [Integral, None],
    "random_state": "no_validation",
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "ccp_alpha": [Interval(Real, 0, None, closed="left")],
    "max_samples": [None, Interval(Real, 0, 1, closed="right"), Interval(Integral, 1, None, closed="left")],
    "monotonic_cst": ["array-like", None],
    "n_thresholds": [Interval(Integral, 1, 4096, closed="both")],
    "categorical_features": ["array-like", None],
}
CLASSIFIER_CONSTRAINTS: dict[str, Any] = {
    **_CONSTRAINTS,
    "criterion": [StrOptions({"gini", "entropy", "log_loss"})],
    "class_weight": [StrOptions({"balanced", "balanced_subsample"}), dict, list, None],
    "classes": ["array-like", None],
}
REGRESSOR_CONSTRAINTS: dict[str, Any] = {
    **_CONSTRAINTS,
    "criterion": [StrOptions({"squared_error", "friedman_mse", "absolute_error", "poisson"})],
}

#: The native forest counts depth in 32 bits, and no table is deeper.
_NO_LIMIT = 2**32 - 1


class _Refusal(NamedTuple):
    """A parameter that is not offered at every value, and what to do instead."""

    name: str
    is_offered: Callable[[Any], bool]
    reason: str


_SHARE_OF_ROWS = "A share of the rows is another number after every deletion; pass an integer."
_ROOT_WEIGHT = (
    "It compares every node with the weight of all rows, so every deletion would touch every node; use "
    "min_samples_leaf or max_depth."
)
_ORDER_OF_NODES = (
    "It puts all nodes of a tree into one order, so a deletion anywhere may change nodes everywhere; use "
    "min_samples_leaf or max_depth."
)
_REFUSALS = (
    _Refusal("min_samples_split", lambda value: isinstance(value, Integral), _SHARE_OF_ROWS),
    _Refusal("min_samples_leaf", lambda value: isinstance(value, Integral), _SHARE_OF_ROWS),
    _Refusal("min_weight_fraction_leaf", lambda value: value == 0, _ROOT_WEIGHT),
    _Refusal("min_impurity_decrease", lambda value: value == 0, _ROOT_WEIGHT),
    _Refusal("max_leaf_nodes", lambda value: value is None, _ORDER_OF_NODES),
    _Refusal("ccp_alpha", lambda value: value == 0, _ORDER_OF_NODES),
    _Refusal(
        "max_samples",
        lambda value: value is None or not isinstance(value, Integral),
        "A number of rows is another share of them after every deletion; pass the share, a float.",
    ),
    _Refusal("monotonic_cst", lambda value: value is None, "Leave it at None."),
    _Refusal(
        "criterion",
        lambda value: value not in ("absolute_error", "poisson"),
        "Its sums over rows are no integers, which alone can be taken back exactly; use 'squared_error'.",
    ),
    _Refusal(
        "class_weight",
        lambda value: not isinstance(value, list),
        "There is one target, so pass one dict.",
    ),
)


def check_offered(model_name: str, params: dict[str, Any]) -> None:
    """Refuse what no forest that forgets exactly can offer, before anything changes."""
    for name, is_offered, reason in _REFUSALS:
        if name in params and not is_offered(params[name]):
            value = params[name]
            shown = f"{name}={value!r}" if isinstance(value, (str, int, float)) else name
            raise ValueError(f"{model_name} does not offer {shown}. Nothing was changed. {reason}")
    if params["oob_score"] and not params["bootstrap"] and params["max_samples"] is None:
        raise ValueError(
            f"{model_name} has every row in every tree, so there is no out-of-bag score. Nothing was changed. Set "
            "bootstrap=True or max_samples, or oob_score=False."
        )
    if params["warm_start"] and params["max_samples"] is not None:
        raise ValueError(
            f"{model_name} does not offer warm_start with max_samples: with more trees, rows would leave the trees "
            "that they are in. Nothing was changed. Set max_samples=None."
        )
    _check_class_weight(params.get("class_weight"))


def _check_class_weight(class_weight: Any) -> None:
    if class_weight is None or isinstance(class_weight, str):
        return
    weights = list(class_weight.values())
    n_wrong = sum(not (isinstance(w, Real) and 0 < float(w) < np.inf) for w in weights)
    if n_wrong:
        raise ValueError(
            f"{n_wrong} of {len(weights)} class weights are not positive and finite. Nothing was changed. Give the "
            "rows of a class that is to have no influence a sample_weight of 0."
        )


def native_parameters(params: dict[str, Any], n_features: int, *, splitter: str) -> dict[str, Any]:
    """Return the parameters of the native forest, but its key."""
    criterion = {"log_loss": "entropy", "friedman_mse": "squared_error"}.get(params["criterion"], params["criterion"])
    max_depth, class_weight = params["max_depth"], params.get("class_weight")
    return {
        "task": "regression" if criterion == "squared_error" else "classification",
        "splitter": splitter,
        "criterion": criterion,
        "n_estimators": int(params["n_estimators"]),
        "max_depth": None if max_depth is None else min(int(max_depth), _NO_LIMIT),
        "min_samples_split": min(int(params["min_samples_split"]), _NO_LIMIT),
        "min_samples_leaf": min(int(params["min_samples_leaf"]), _NO_LIMIT),
        "max_features": n_features_compared(params["max_features"], n_features),
        "n_thresholds": int(params["n_thresholds"]),
        "bootstrap": bool(params["bootstrap"]),
        "share": None if params["max_samples"] is None else float(params["max_samples"]),
        "n_features": n_features,
        "class_weight": class_weight if isinstance(class_weight, str) else None,
    }


def n_features_compared(max_features: Any, n_features: int) -> int:
    """Return how many features are compared at a node, as scikit-learn counts them."""
    if max_features is None:
        return n_features
    if max_features == "sqrt":
        return max(1, int(np.sqrt(n_features)))
    if max_features == "log2":
        return max(1, int(np.log2(n_features)))
    if isinstance(max_features, Integral):
        return min(int(max_features), n_features)
    return max(1, int(max_features * n_features))
