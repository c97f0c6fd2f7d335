"""Extremely randomised classification trees that forget exactly."""

from typing import Any

import sklearn.ensemble
import sklearn.tree

from skunlearn.ensemble._forest import ForestClassifier
from skunlearn.ensemble._parameters import CLASSIFIER_CONSTRAINTS

__all__ = ["ExtraTreesClassifier"]


class ExtraTreesClassifier(ForestClassifier):
    """A classifier of extremely randomised trees that forgets rows exactly.

    After `partial_forget` the forest equals, bit for bit, one fitted with the same key on the rows that are left. Nodes
    whose split changes are marked, and split again when a row to predict reaches them.

    Parameters
    ----------
    n_estimators : int, default=100
        Number of trees.
    criterion : {"gini", "entropy", "log_loss"}, default="gini"
        What a split is to lower: Gini impurity, or Shannon entropy under either of its names.
    max_depth : int, default=None
        Depth of the deepest leaf; without it, leaves are split as long as they can be.
    min_samples_split : int, default=2
        Nodes of fewer rows are leaves. A share of the rows (float) is refused, as it changes with every deletion.
    min_samples_leaf : int, default=1
        Least number of rows on each side of a split. A share (float) is refused.
    min_weight_fraction_leaf : float, default=0.0
        Must be 0.0: it compares every node with all rows.
    max_features : {"sqrt", "log2", None}, int or float, default="sqrt"
        How many features are compared at a node: a root, a logarithm, all, a number, or a share of them. Features at
        which no split is possible do not count.
    max_leaf_nodes : int, default=None
        Must be None: it puts all nodes of a tree into one order.
    min_impurity_decrease : float, default=0.0
        Must be 0.0: it compares every node with all rows.
    bootstrap : bool, default=False
        Whether each tree holds each row a number of times that is drawn from Poisson(1), and not once. The bootstrap of
        scikit-learn draws n of n rows, which would be another draw after every deletion.
    oob_score : bool or callable, default=False
        Whether to offer the attributes `oob_*`; a callable is the score, called with targets and predictions.
    n_jobs : int, default=None
        Threads. No result depends on it.
    random_state : int, RandomState instance, Key or None, default=None
        Source of the model's key; see `skunlearn.Key`. None draws it from the operating system.
    verbose : int, default=0
        Without effect.
    warm_start : bool, default=False
        Whether `fit` keeps the key of the last fit: the same rows then make the same trees, and a larger `n_estimators`
        adds to them.
    class_weight : {"balanced", "balanced_subsample"} or dict, default=None
        Factors of the weights of rows, by class label; 1 for labels that a dict leaves out. "balanced" makes classes
        weigh about alike: see Notes. "balanced_subsample" does so with the rows of each tree.
    ccp_alpha : float, default=0.0
        Must be 0.0: it puts all nodes of a tree into one order.
    max_samples : float, default=None
        Each row is in this share of the trees, once, whatever `bootstrap` is. Forgetting then takes a share of the
        time. A number of rows (int) is refused: it is another share after every deletion.
    monotonic_cst : array-like of int of shape (n_features,), default=None
        Must be None.
    n_thresholds : int, default=1
        How many thresholds are compared for a feature, drawn uniformly between its least and largest value at the node.
    categorical_features : array-like of {bool, int, str}, default=None
        Features whose values are levels without an order: a mask, indices, or names. A split parts one level from all
        others; compared are the first of the node's levels, by a keyed order. Unseen levels are others.
        Where splits ask for levels, `release` returns a subclass of scikit-learn's forest that needs skunlearn.
    classes : array-like of shape (n_classes,), default=None
        Labels that are classes whether or not a row bears them; without rows they have probability 0. Recommended in
        production: it keeps the shape of every output when a class loses its last row.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    n_classes_ : int
        Number of classes.
    estimators_ : list of sklearn trees
        The trees that hold rows; made when read.
    feature_importances_ : ndarray of shape (n_features,)
        How much each feature lowers the impurity; made when read.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has string names.
    n_outputs_ : int
        Number of targets, always 1.
    oob_decision_function_ : ndarray of shape (n_rows, n_classes)
        Probabilities by the trees without the row, with `oob_score`; made when read.
    oob_score_ : float
        Their accuracy, or what the callable makes of them.
    guarantee_ : Guarantee
        ``kind="exact"``.
    n_live_ : int
        Number of rows that the model holds.
    forget_report_ : ForgetReport
        What the last `partial_forget` did.

    See Also
    --------
    RandomForestClassifier : Thresholds at values of rows.
    sklearn.ensemble.ExtraTreesClassifier : The estimator that `release` returns.

    Notes
    -----
    The forest is a function of the set of rows, the parameters and the key. A node draws, for each feature, thresholds
    uniformly between the least and the largest value of its rows, and takes the best split [1]_. They are drawn from a
    keyed Poisson process of values in time, of which a smaller range keeps what lies in it.

    With class weights L_c on the left, N_c at the node and L, R the weights of both sides, the score of a split is
    sum_c D_c^2 / (L R) with the integers D_c = L_c (L + R) - N_c L: the Gini gain up to a factor of the node. Equal
    scores go to the feature first by priority, then to the smaller threshold.

    Which rows a tree holds does not depend on the other rows either [2]_. Weight k is not k copies: copies are drawn
    for each row alone. Values are compared as float32, as in scikit-learn, and missing ones (NaN) go to the side that
    scores best. Thresholds of a release are values of rows or lie between them. The model keeps its rows; `release`
    does not.

    Balanced weights are scikit-learn's n / (k n_c), for n_c of n rows in one of k classes, taken to one of six values
    an octave; the key says where these lie. They are within 1/11 of scikit-learn's, and the same until a ratio
    has moved by some percent. Then all trees are grown again when they are next read; a random deletion makes that
    necessary with probability 17 (k - 1) / n, about.

    References
    ----------
    .. [1] P. Geurts, D. Ernst, L. Wehenkel, "Extremely randomized trees", Machine Learning 63, 2006.
    .. [2] N. C. Oza, S. Russell, "Online Bagging and Boosting", AISTATS 2001.

    Examples
    --------
    >>> from skunlearn.ensemble import ExtraTreesClassifier
    >>> X, y = [[0.0], [1.0], [2.0], [9.0]], [0, 0, 1, 0]
    >>> model = ExtraTreesClassifier(random_state=0).fit(X, y, sample_ids=["a", "b", "c", "d"])
    >>> model.partial_forget(["d"]).predict([[9.0]])
    array([1])
    """

    _parameter_constraints = CLASSIFIER_CONSTRAINTS
    _splitter = "uniform"
    _twin_class = sklearn.ensemble.ExtraTreesClassifier
    _tree_class = sklearn.tree.ExtraTreeClassifier

    def __init__(
        self,
        n_estimators: int = 100,
        *,
        criterion: str = "gini",
        max_depth: int | None = None,
        min_samples_split: int = 2,
        min_samples_leaf: int = 1,
        min_weight_fraction_leaf: float = 0.0,
        max_features: Any = "sqrt",
        max_leaf_nodes: int | None = None,
        min_impurity_decrease: float = 0.0,
        bootstrap: bool = False,
        oob_score: Any = False,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
        warm_start: bool = False,
        class_weight: Any = None,
        ccp_alpha: float = 0.0,
        max_samples: float | None = None,
        monotonic_cst: Any = None,
        n_thresholds: int = 1,
        categorical_features: Any = None,
        classes: Any = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.criterion = criterion
        self.max_depth = max_depth
        self.min_samples_split = min_samples_split
        self.min_samples_leaf = min_samples_leaf
        self.min_weight_fraction_leaf = min_weight_fraction_leaf
        self.max_features = max_features
        self.max_leaf_nodes = max_leaf_nodes
        self.min_impurity_decrease = min_impurity_decrease
        self.bootstrap = bootstrap
        self.oob_score = oob_score
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start
        self.class_weight = class_weight
        self.ccp_alpha = ccp_alpha
        self.max_samples = max_samples
        self.monotonic_cst = monotonic_cst
        self.n_thresholds = n_thresholds
        self.categorical_features = categorical_features
        self.classes = classes
