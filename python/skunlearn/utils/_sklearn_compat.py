"""The private names of scikit-learn that this library leans on, in one place for all supported versions."""

import re
from inspect import signature
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import _fit_context as fit_context
from sklearn.cluster._bisect_k_means import _BisectingTree as BisectingTree
from sklearn.tree._tree import Tree
from sklearn.utils import get_tags, validation
from sklearn.utils._indexing import _get_column_indices as column_indices
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads as effective_n_threads
from sklearn.utils._param_validation import HasMethods, Interval, RealNotInt, StrOptions
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import _check_feature_names as check_feature_names
from sklearn.utils.validation import _check_feature_names_in as check_feature_names_in

try:
    from sklearn.utils._sparse import _align_api_if_sparse as in_sparse_interface
except ImportError:  # before it could be configured

    def in_sparse_interface(X: Any) -> Any:
        """Return a sparse array as a sparse matrix."""
        return sp.csr_matrix(X)


__all__ = [
    "BisectingTree",
    "HasMethods",
    "Interval",
    "RealNotInt",
    "StrOptions",
    "Tree",
    "check_array",
    "check_feature_names",
    "check_feature_names_in",
    "check_sample_weight",
    "check_targets",
    "column_indices",
    "effective_n_threads",
    "fit_context",
    "gives_frames",
    "in_sparse_interface",
    "make_tree",
    "sum_of_trees",
    "validate_data",
]

_REFUSES_ZEROS = "allow_all_zero_weights" in signature(validation._check_sample_weight).parameters

_TEXT = "holds text that is no number. Nothing was changed. Encode it first, for instance with OrdinalEncoder."
#: Messages of scikit-learn and NumPy that quote values, and what is said instead.
_QUOTING = (
    (re.compile(r"(?:could not convert string to float|invalid literal for int\(\) with base 10): .*", re.S), _TEXT),
    (re.compile(r"(instead:\n)array=.*\.\n(Reshape your data)", re.S), r"\1\2"),
    (re.compile(r"(Complex data not supported)\n.*", re.S), r"\1"),
)


def gives_frames(transformer: Any) -> bool:
    """Whether `set_output` or scikit-learn's configuration makes frames of what a transformer gives."""
    return bool(_get_output_config("transform", transformer)["dense"] != "default")


def validate_data(estimator: Any, X: Any, **options: Any) -> Any:
    """As scikit-learn's, but repeated entries of a sparse X are one value, and no value of a row stands in an error."""
    try:
        return validation.validate_data(estimator, _without_repeats(X), **options)
    except ValueError as error:
        raise _without_values(error, "X") from None


def _without_repeats(X: Any) -> Any:
    """Sum repeated entries before anything is checked: what is checked is then what is stored."""
    if not sp.issparse(X) or X.format not in ("csr", "csc", "bsr") or X.has_canonical_format:
        return X  # the other formats cannot repeat an entry, or sum it when they become CSR
    X = X.copy()
    X.sum_duplicates()
    return X


def check_array(X: Any, **options: Any) -> Any:
    """As scikit-learn's, but no value stands in an error."""
    try:
        return validation.check_array(X, **options)
    except ValueError as error:
        raise _without_values(error, options.get("input_name", "X")) from None


def check_sample_weight(sample_weight: Any, X: Any, **options: Any) -> Any:
    """As scikit-learn's, but weights may all be zero, and none stands in an error."""
    if _REFUSES_ZEROS:
        options["allow_all_zero_weights"] = True
    try:
        return validation._check_sample_weight(sample_weight, X, **options)
    except ValueError as error:
        raise _without_values(error, "sample_weight") from None


def check_targets(y: Any, X: Any, estimator: Any) -> Any:
    """Check y beside rows that were checked, as scikit-learn does for `estimator`."""
    tags = get_tags(estimator)
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} requires y to be passed, but the target y is None. Nothing was changed."
        )
    y = validation._check_y(
        y,
        multi_output=tags.target_tags.multi_output,
        y_numeric=tags.estimator_type == "regressor",
        estimator=estimator,
    )
    validation.check_consistent_length(X, y)
    return y


def _without_values(error: ValueError, name: str) -> ValueError:
    message = str(error)
    for quoting, replacement in _QUOTING:
        message = quoting.sub(replacement, message)
    return type(error)(f"{name} {message}" if message == _TEXT else message)


def make_tree(arrays: dict[str, np.ndarray], n_features: int, n_classes: int | None) -> Tree:
    """Return scikit-learn's own tree of these nodes.

    Parameters
    ----------
    arrays : dict of ndarray of shape (n_nodes,)
        The columns of its table of nodes, in preorder, by the names that scikit-learn has for them as attributes of a
        tree; `value` is (n_nodes, n_classes) or (n_nodes, 1).
    n_features : int
        Width of the rows.
    n_classes : int or None
        Number of classes; None in regression.
    """
    n_outputs = 1
    tree = Tree(n_features, np.array([n_classes or 1], dtype=np.intp), n_outputs)
    nodes = np.zeros(len(arrays["feature"]), dtype=tree.__getstate__()["nodes"].dtype)
    for column in nodes.dtype.names:
        nodes[column] = arrays[_NODE_COLUMNS.get(column, column)]
    tree.__setstate__(
        {
            "max_depth": _depth(arrays["children_left"], arrays["children_right"]),
            "node_count": len(nodes),
            "nodes": nodes,
            "values": np.ascontiguousarray(arrays["value"]).reshape(len(nodes), n_outputs, -1),
        }
    )
    return tree


#: Columns of the table whose attribute has another name.
_NODE_COLUMNS = {"left_child": "children_left", "right_child": "children_right"}


def _depth(left: np.ndarray, right: np.ndarray) -> int:
    """Return the depth of the deepest leaf, the root's being 0."""
    depth, level = 0, np.array([0])
    while True:
        level = np.concatenate([left[level], right[level]])
        level = level[level > 0]
        if len(level) == 0:
            return depth
        depth += 1


def sum_of_trees(trees: list[Tree], X: np.ndarray) -> np.ndarray:
    """Add up what trees predict for float32 rows, as a forest of scikit-learn's on one thread does.

    Returns
    -------
    total : ndarray of shape (n_samples, n_classes), or (n_samples, 1) in regression
    """
    total = np.zeros(trees[0].predict(X).shape)
    for tree in trees:
        total += tree.predict(X)
    return total
