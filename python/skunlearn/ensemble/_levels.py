"""Categorical features: which they are, and forests of thresholds that split levels from others."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import sklearn.ensemble

from skunlearn.utils._sklearn_compat import Tree, make_tree

__all__ = ["GrownTrees", "Levels", "categorical_mask", "grown_trees", "mean_share", "with_levels"]


def categorical_mask(spec: Any, n_features: int, names: np.ndarray | None) -> list[bool] | None:
    """Return which features are categorical, None if none is; `spec` is spelled as in HistGradientBoosting.

    Raises
    ------
    ValueError
        If it is none of a mask, indices and names of the features.
    """
    given = np.asarray([] if spec is None else spec)
    if given.size == 0:
        return None
    is_named = given.dtype.kind in "UO" and all(isinstance(name, str) for name in given.tolist())
    if given.ndim != 1 or not (is_named or given.dtype.kind in "biu"):
        raise ValueError(
            "categorical_features must be a mask, or indices or names of features. Nothing was changed. "
            f"Found an array of {given.ndim} dimensions and dtype {given.dtype}."
        )
    if given.dtype.kind == "b":
        if len(given) != n_features:
            raise ValueError(
                f"categorical_features is a mask of {len(given)} features, but X has {n_features}. Nothing was changed."
            )
        return given.tolist() if given.any() else None
    if is_named and names is None:
        raise ValueError(
            "categorical_features names features, but X has no names. Nothing was changed. Pass indices or a mask."
        )
    features = names.tolist() if is_named and names is not None else range(n_features)
    known = {feature: at for at, feature in enumerate(features)}
    n_wrong = sum(feature not in known for feature in given.tolist())
    if n_wrong:
        raise ValueError(
            f"{n_wrong} of {len(given)} categorical_features are no {'names' if is_named else 'indices'} of features. "
            "Nothing was changed."
        )
    chosen = {known[name] for name in given.tolist()}
    return [feature in chosen for feature in range(n_features)]


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """The levels that the splits of a forest ask for, in its order of features and values.

    Parameters
    ----------
    features : ndarray of shape (n_levels,)
        Where each level is looked for.
    values : ndarray of shape (n_levels,), float32
        The level.
    """

    features: np.ndarray
    values: np.ndarray

    def columns(self, X: np.ndarray) -> np.ndarray:
        """Append a column for each level to float32 rows: 0 where it is there, 1 where another is, NaN where none."""
        if len(self.features) == 0:
            return X
        found = X[:, self.features]
        return np.hstack([X, np.where(np.isnan(found), found, found != self.values)])

    def importances(self, of_columns: np.ndarray, n_features: int) -> np.ndarray:
        """Return the importances of features: their columns' and their levels' together."""
        folded: np.ndarray = of_columns[:n_features].copy()
        np.add.at(folded, self.features[: len(of_columns) - n_features], of_columns[n_features:])
        return folded


@dataclass(frozen=True, slots=True, eq=False)
class GrownTrees:
    """Trees of scikit-learn's, of thresholds alone.

    Parameters
    ----------
    trees : list of sklearn.tree._tree.Tree
        Their features are the columns of `levels`.
    levels : Levels
        What categorical features are asked for.
    """

    trees: list[Tree]
    levels: Levels

    def importances(self) -> np.ndarray:
        """Return the mean share of every feature in the impurity that a tree with a split takes away."""
        n_columns = self.trees[0].n_features
        with np.errstate(all="ignore"):
            shares = [tree.compute_feature_importances() for tree in self.trees if tree.node_count > 1]
        of_columns = mean_share(np.array(shares).reshape(len(shares), n_columns))
        return self.levels.importances(of_columns, n_columns - len(self.levels.features))


def mean_share(shares: np.ndarray) -> np.ndarray:
    """Return the mean over trees of shares in the impurity taken away, again as shares; 0 where they are no numbers."""
    if len(shares) == 0:
        return np.zeros(shares.shape[1])
    with np.errstate(all="ignore"):
        mean: np.ndarray = shares.mean(axis=0)
        mean /= mean.sum()
    return np.where(np.isnan(mean), 0.0, mean)


def grown_trees(
    arrays: list[dict[str, np.ndarray]], n_features: int, n_classes: int | None, categorical: list[bool] | None
) -> GrownTrees:
    """Return trees; a split of a level from the others becomes one at 0.5 of the column of that level."""
    mask = np.zeros(n_features, dtype=bool) if categorical is None else np.array(categorical)
    asks = [(a["feature"] >= 0) & mask[np.maximum(a["feature"], 0)] & np.isfinite(a["threshold"]) for a in arrays]
    pairs = [np.column_stack([a["feature"][ask], a["threshold"][ask]]) for a, ask in zip(arrays, asks, strict=True)]
    levels, places = np.unique(np.vstack(pairs), axis=0, return_inverse=True)
    by_tree = np.split(places.ravel(), np.cumsum([len(pair) for pair in pairs])[:-1])
    for tree, ask, place in zip(arrays, asks, by_tree, strict=True):
        tree["feature"][ask], tree["threshold"][ask] = n_features + place, 0.5
    trees = [make_tree(tree, n_features + len(levels), n_classes) for tree in arrays]
    return GrownTrees(trees, Levels(levels[:, 0].astype(np.intp), levels[:, 1].astype(np.float32)))


class _WithLevels:
    """What a release of a forest with categorical features does beyond scikit-learn's forest: it asks for levels.

    It is never fitted again: its `fit` says so.
    """

    levels_: Levels
    n_features_in_: int

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Refuse to fit: scikit-learn has no categorical splits.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError(
            f"A released {type(self).__name__} cannot be fitted. Nothing was changed. Fit the estimator of "
            "skunlearn.ensemble that it was released from."
        )

    def _validate_X_predict(self, X: Any) -> np.ndarray:
        checked = super()._validate_X_predict(X)  # type: ignore[misc]
        return self.levels_.columns(checked.toarray() if sp.issparse(checked) else checked)

    @property
    def feature_importances_(self) -> np.ndarray:
        """How much each feature lowers the impurity."""
        return self.levels_.importances(super().feature_importances_, self.n_features_in_)  # type: ignore[misc]


class RandomForestClassifier(_WithLevels, sklearn.ensemble.RandomForestClassifier):
    """A released random forest of categorical features."""


class RandomForestRegressor(_WithLevels, sklearn.ensemble.RandomForestRegressor):
    """A released random forest of categorical features."""


class ExtraTreesClassifier(_WithLevels, sklearn.ensemble.ExtraTreesClassifier):
    """Released extremely randomised trees of categorical features."""


class ExtraTreesRegressor(_WithLevels, sklearn.ensemble.ExtraTreesRegressor):
    """Released extremely randomised trees of categorical features."""


#: By scikit-learn's class, what is released where levels are asked for.
_RELEASES = {
    cls.__bases__[1]: cls
    for cls in (RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor)
}


def with_levels(twin_class: type) -> type:
    """Return the class of a release whose trees ask for levels, in place of scikit-learn's."""
    return _RELEASES[twin_class]
