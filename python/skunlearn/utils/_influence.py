"""Which rows to forget first: what forgetting each would do, by the derivatives of a linear model."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import check_is_fitted

from skunlearn._objective import Fitted, InverseHessian, LinearObjective, Rows, fitted_objective

if TYPE_CHECKING:
    from skunlearn.live import Owner

__all__ = ["InfluenceRanking", "rank_by_influence"]

_CRITERIA = ("validation", "self", "loss")


class InfluenceRanking(NamedTuple):
    """Rows in the order in which to look at them: first the one most worth forgetting.

    Parameters
    ----------
    sample_ids : ndarray of shape (n_rows,), int64, or list of str
        Ids of the live rows of a weight above 0; equal ranks by id.
    values : ndarray of shape (n_rows,)
        For ``by="validation"`` the change that forgetting the row makes, ascending: negative where it helps. Else the
        self-influence, or the loss of the row, descending.
    """

    sample_ids: Any
    values: np.ndarray


def rank_by_influence(
    model: Any,
    X_val: Any = None,
    y_val: Any = None,
    *,
    by: str = "validation",
    sample_weight: Any = None,
    score_gradient: Any = None,
) -> InfluenceRanking:
    """Rank the live rows of a linear model by what forgetting each would change.

    One step of Newton's method on the rows without the row, from the fitted parameters. For least squares that is
    where a refit arrives; for other losses it is near, and a model with several classes is ranked by the step under the
    Hessian of all rows. What a refit would choose anew (``class_weight="balanced"``, the alpha of RidgeCV, the maps
    before the last step of a Pipeline) stays. It says what to look at: forget some rows, look at the validation loss,
    and learn back what was better there.

    Parameters
    ----------
    model : estimator
        A fitted LogisticRegression, LinearRegression, Ridge, RidgeCV, RidgeClassifier or regressor with a log link of
        this library, or a Pipeline that ends in one. Nothing of it changes.
    X_val : {array-like, sparse matrix} of shape (n_val, n_features), default=None
        Rows that the model has not been fitted on; for ``by="validation"``.
    y_val : array-like of shape (n_val,) or (n_val, n_targets), default=None
        Their targets. What is ranked by is then the mean loss of these rows: the log loss of a classifier, half of the
        squared error of least squares, half of the deviance of a regressor with a log link.
    by : {"validation", "self", "loss"}, default="validation"
        "self": how much the loss of the row itself would grow; "loss": how large it is. Both need no other rows; large
        values are suspect.
    sample_weight : array-like of shape (n_val,), default=None
        Weights of the validation rows.
    score_gradient : array-like of shape (n_val,) or (n_val, n_scores), default=None
        Instead of `y_val`: derivatives of what is to become less, by the `decision_function` of a classifier, the
        prediction of least squares, or the logarithm of that under a log link, of every row of `X_val`. So whatever is
        a smooth function of scores can be ranked by, a gap between groups for instance.

    Returns
    -------
    ranking : InfluenceRanking
        A pair of ids and values.

    Raises
    ------
    TypeError
        If the objective of the model is not known here.
    ValueError
        If the validation rows are missing or do not match, or the model has too many parameters.
    ForgettingDisabledError
        If the model keeps no rows.
    NotFittedError
        If it is not fitted.

    References
    ----------
    .. [1] P. W. Koh, P. Liang, "Understanding Black-box Predictions via Influence Functions", ICML 2017, equation 2.
    .. [2] D. Pregibon, "Logistic Regression Diagnostics", Annals of Statistics 9, 1981 (one step with leverages).

    Examples
    --------
    >>> from skunlearn.linear_model import Ridge
    >>> from skunlearn.utils import rank_by_influence
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 2.0, -9.0]
    >>> model = Ridge().fit(X, y, sample_ids=["a", "b", "c", "wrong"])
    >>> rank_by_influence(model, [[0.5], [2.5]], [0.5, 2.5]).sample_ids[0]
    'wrong'
    """
    if by not in _CRITERIA:
        raise ValueError(f"by must be one of {_CRITERIA}. Got {by!r} instead.")
    if not hasattr(model, "partial_forget"):
        raise TypeError(
            f"A {type(model).__name__} holds no rows to rank. Fit the class of the same name of skunlearn instead."
        )
    check_is_fitted(model)
    live = model._require_live()
    if not live.forgettable:
        model._check_forgettable(live)
    last = model[-1] if isinstance(model, Pipeline) else model
    with live.lock:
        live.settle()
        fitted = fitted_objective(last)
        rows, slots = zip(*_blocks(last._live, fitted), strict=True)
        ids = live.rows.native.ids(np.concatenate(slots))
        objective = fitted.objective(rows, float(sum(r.weight.sum() for r in rows)))
        if by == "loss":
            values = [objective.loss.loss(r.scores(fitted.W), r.targets) for r in rows]
        else:
            inverse = objective.inverse_hessian(fitted.W)
            if by == "self":
                values = [_self_influence(objective, inverse, fitted.W, r) for r in rows]
            else:
                direction = inverse @ _validation_gradient(model, fitted, X_val, y_val, sample_weight, score_gradient)
                values = [_effect(objective, inverse, direction, fitted.W, r) for r in rows]
    return _ranked(ids, np.concatenate(values), is_ascending=by == "validation")


def _blocks(owner: "Owner", fitted: Fitted) -> Iterator[tuple[Rows, np.ndarray]]:
    """Yield live rows under their final weights, and their slots."""
    factors, classes = None, fitted.classes
    if classes is not None and fitted.class_weight is not None:
        totals = np.zeros(len(classes))
        for block in owner.effective_blocks():
            labels = np.searchsorted(classes, owner.targets.decode(block.y))
            totals += np.bincount(labels, block.weight, minlength=len(totals))
        factors = fitted.class_factors(totals)
    for block in owner.effective_blocks():
        y = owner.targets.decode(block.y)
        rows = fitted.rows(_as_matrix(block.X, fitted.W.shape[1] - 1), y, block.weight)
        if classes is not None and factors is not None:
            rows = Rows(rows.X, rows.targets, rows.weight * factors[np.searchsorted(classes, y)])
        yield rows, block.slots.copy()


def _as_matrix(X: Any, n_features: int) -> Any:
    """Return a copy of values that outlives the pass over rows."""
    if isinstance(X, tuple):  # CsrRows
        indptr, indices, data = X
        matrix = sp.csr_array((data, indices, indptr), shape=(len(indptr) - 1, n_features), copy=True)
        return matrix.astype(np.float64)
    return np.array(X, dtype=np.float64)


def _validation_gradient(
    model: Any, fitted: Fitted, X_val: Any, y_val: Any, sample_weight: Any, score_gradient: Any
) -> np.ndarray:
    """Return the gradient, by the parameters, of what is to become less."""
    if X_val is None or (y_val is None) == (score_gradient is None):
        raise ValueError(
            "by='validation' takes X_val, and one of y_val and score_gradient. Pass rows that the model was not "
            "fitted on, or by='self'."
        )
    X = model[:-1].transform(X_val) if isinstance(model, Pipeline) else model._check_X(model, X_val, reset=False)
    X = check_array(X, accept_sparse="csr", dtype=np.float64)
    if X.shape[1] != fitted.W.shape[1] - 1:
        raise ValueError(f"X_val has {X.shape[1]} features, and the model {fitted.W.shape[1] - 1}.")
    check_consistent_length(X, y_val, sample_weight, score_gradient)
    weight = np.ones(X.shape[0]) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.any()):
        raise ValueError("sample_weight must be finite and at least 0, and not all 0.")
    if score_gradient is None:
        if fitted.classes is not None:
            n_unknown = int(np.count_nonzero(~np.isin(y_val, fitted.classes)))
            if n_unknown:
                raise ValueError(f"{n_unknown} of {len(y_val)} labels in y_val are no classes of the model.")
        elif not np.isfinite(np.asarray(y_val, dtype=np.float64)).all():
            raise ValueError("y_val holds NaN or infinity.")
        rows = fitted.rows(X, y_val, weight / weight.sum())
        if rows.targets.shape[1] != len(fitted.W):
            raise ValueError(f"y_val has {rows.targets.shape[1]} columns, and the model {len(fitted.W)} targets.")
        slope = fitted.loss.slope(rows.scores(fitted.W), rows.targets) * rows.weight[:, None]
    else:
        slope = np.asarray(score_gradient, dtype=np.float64).reshape(X.shape[0], -1) * weight[:, None]
        if slope.shape[1] != len(fitted.W):
            raise ValueError(f"score_gradient has {slope.shape[1]} columns, and the model {len(fitted.W)} scores.")
    gradient = np.zeros_like(fitted.W)
    gradient[:, :-1] = np.asarray(X.T @ slope).T
    gradient[:, -1] = slope.sum(axis=0) * fitted.has_intercept
    return gradient


def _effect(
    objective: LinearObjective, inverse: InverseHessian, direction: np.ndarray, W: np.ndarray, rows: Rows
) -> np.ndarray:
    """Return what forgetting each row alone adds, to first order in the step that it makes."""
    slope = _steps_of_scores(objective, inverse, W, rows)
    return (rows.scores(direction) * slope).sum(axis=1)


def _self_influence(objective: LinearObjective, inverse: InverseHessian, W: np.ndarray, rows: Rows) -> np.ndarray:
    slope = objective.loss.slope(rows.scores(W), rows.targets)
    step = _steps_of_scores(objective, inverse, W, rows)
    leverage = inverse.leverage(rows)
    if inverse.is_separable:
        return (slope * leverage * step).sum(axis=1)
    return np.einsum("ia,iab,ib->i", slope, leverage, step)


def _steps_of_scores(objective: LinearObjective, inverse: InverseHessian, W: np.ndarray, rows: Rows) -> np.ndarray:
    """Return s with H^-1 x s the step that forgetting a row makes, of shape (n_rows, k)."""
    scores = rows.scores(W)
    slope = objective.loss.slope(scores, rows.targets) * rows.weight[:, None]
    if not inverse.is_separable:
        return slope
    curvature = objective.loss.curvature(scores, rows.targets) * rows.weight[:, None]
    # At leverage 1 the row alone determines a parameter, and no step is near where a refit arrives.
    return slope / np.maximum(1.0 - curvature * inverse.leverage(rows), 2.0**-20)


def _ranked(ids: Any, values: np.ndarray, *, is_ascending: bool) -> InfluenceRanking:
    names = np.asarray(ids)
    order = np.lexsort((names, values if is_ascending else -values))
    return InfluenceRanking([ids[i] for i in order.tolist()] if isinstance(ids, list) else names[order], values[order])
