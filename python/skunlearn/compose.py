"""Transformers side by side that forget: one owner of ids and rows, each transformer for columns of its own."""

from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import sklearn.compose
from sklearn.compose import make_column_selector
from sklearn.utils import get_tags

from skunlearn._columns_core import ColumnsCore, ColumnsState, as_rows
from skunlearn._composite import CompositeMixin, adopted, check_steps, frozen_step
from skunlearn._foreign import POLICIES, OnForeign, as_step
from skunlearn.base import ForgetMixin
from skunlearn.rows import RowStore
from skunlearn.transforms import ForgettingTransformerMixin
from skunlearn.utils._sklearn_compat import StrOptions, check_feature_names, column_indices, fit_context

__all__ = ["ColumnTransformer", "make_column_selector", "make_column_transformer"]


class ColumnTransformer(ForgettingTransformerMixin, CompositeMixin, sklearn.compose.ColumnTransformer):
    """Transformers for columns of their own, whose outputs stand side by side, and which forget rows exactly.

    The composite owns the ids and the rows, once; its transformers keep none. Afterwards it equals, bit for bit, one
    fitted with the same key on the rows that are left. In a `Pipeline` the rows are the pipeline's.

    Parameters
    ----------
    transformers : list of (str, transformer, columns) tuples
        Transformers, of this library or any other, by their names, "drop" or "passthrough"; and columns, by position,
        name, slice, mask, or a function of X, which are resolved once, at `fit`.
    remainder : {"drop", "passthrough"} or transformer, default="drop"
        What becomes of columns that are named nowhere.
    sparse_threshold : float, default=0.3
        Where some output is sparse, all of it is if a smaller share of its entries than this is stored.
    n_jobs : None
        There for the interface.
    transformer_weights : None
        Not offered: scale with a transformer.
    verbose : bool, default=False
        There for the interface.
    verbose_feature_names_out : bool, str or function, default=True
        How `get_feature_names_out` names columns.
    on_foreign : {"refit", "keep", "raise"}, default="refit"
        What becomes of transformers that cannot forget, as in `Pipeline`.

    Attributes
    ----------
    transformers_ : list of (str, transformer, columns) tuples
        Fitted transformers; the remainder last.
    named_transformers_ : Bunch
        The same by name.
    sparse_output_ : bool
        Whether the output is sparse.
    output_indices_ : dict of {str: slice}
        Which columns of the output a transformer makes.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has string names.
    guarantee_ : Guarantee
        That of the weakest transformer.
    n_live_ : int
        Number of rows that the composite holds.

    See Also
    --------
    sklearn.compose.ColumnTransformer : The class that this one extends, and that `release` returns.

    Notes
    -----
    The transform is what it was if that of every transformer is, and if the output is sparse where it was. The share of
    stored entries is counted in integers, so it is a function of the rows alone.

    Examples
    --------
    >>> from skunlearn.compose import ColumnTransformer
    >>> from skunlearn.preprocessing import StandardScaler
    >>> X = [[1.0, 0.5], [3.0, 0.7], [90.0, 0.1]]
    >>> scaled = ("scaled", StandardScaler(exact_statistics=True), [0])
    >>> model = ColumnTransformer([scaled], remainder="passthrough").fit(X, sample_ids=["a", "b", "c"])
    >>> model.partial_forget(["c"]).transform(X[:2])
    array([[-1. ,  0.5],
           [ 1. ,  0.7]])
    """

    transformers: Any
    remainder: Any

    _parameter_constraints: dict[str, Any] = {
        **sklearn.compose.ColumnTransformer._parameter_constraints,
        "on_foreign": [StrOptions(set(POLICIES))],
    }

    def __init__(
        self,
        transformers: Any,
        *,
        remainder: Any = "drop",
        sparse_threshold: float = 0.3,
        n_jobs: Any = None,
        transformer_weights: Any = None,
        verbose: bool = False,
        verbose_feature_names_out: Any = True,
        on_foreign: OnForeign = "refit",
    ) -> None:
        super().__init__(
            transformers,
            remainder=remainder,
            sparse_threshold=sparse_threshold,
            n_jobs=n_jobs,
            transformer_weights=transformer_weights,
            verbose=verbose,
            verbose_feature_names_out=verbose_feature_names_out,
        )
        self.on_foreign = on_foreign

    # --- learning ----------------------------------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        sample_ids: Any = None,
        subject_ids: Any = None,
        forgettable: bool = True,
    ) -> Self:
        """Fit all transformers to rows, forgetting all that were there before.

        Parameters
        ----------
        X : {array-like, data frame, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,), default=None
            Targets, for transformers that read them.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights for all transformers, at least 0.
        sample_ids : array-like of shape (n_samples,), int64 or str, default=None
            A unique id for every row; 0 to n_samples - 1 by default.
        subject_ids : array-like of shape (n_samples,), int64 or str, default=None
            Whose row it is.
        forgettable : bool, default=True
            Keep the rows. If False the composite can neither forget nor learn, and holds no row.

        Returns
        -------
        self : object
            The fitted composite.

        Raises
        ------
        ValueError
            If the input is not acceptable; a composite fitted earlier is then unchanged.
        ForeignStepError
            If ``on_foreign="raise"`` and a transformer is no estimator of this library.
        """
        self._check_offered()
        return self._fit_rows(X, y, sample_weight, sample_ids, subject_ids, forgettable=forgettable)

    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        sample_ids: Any = None,
        subject_ids: Any = None,
    ) -> Self:
        """Learn rows in all transformers: the inverse of `partial_forget`.

        Parameters
        ----------
        X : {array-like, data frame, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,), default=None
            Targets, for transformers that read them.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, at least 0.
        sample_ids : array-like of shape (n_samples,), int64 or str, default=None
            Ids that are not live; required once the composite is fitted. A forgotten id may come back.
        subject_ids : array-like of shape (n_samples,), int64 or str, default=None
            Whose row it is.

        Returns
        -------
        self : object
            The composite, changed.

        Raises
        ------
        DuplicateSampleError
            If ids are live already; its attribute `ids` holds them. The composite is unchanged.
        MissingSampleIdsError
            If the composite is fitted and there are no `sample_ids`. It is unchanged.
        """
        self._check_offered()
        return self._learn_rows(X, y, sample_weight, sample_ids, subject_ids)

    def fit_transform(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Fit all transformers to rows and transform these.

        Parameters
        ----------
        X, y, **params
            As in `fit`.

        Returns
        -------
        X_new : {ndarray, sparse matrix} of shape (n_samples, n_transformed_features)
            Transformed rows.
        """
        fitted = self.fit(X, y, **params)
        return fitted._published().apply(fitted._check_X(fitted, X, reset=False))

    # --- reading -----------------------------------------------------------------------------------------------------

    def transform(self, X: Any) -> Any:
        """Transform the columns of rows, and put the results side by side.

        Parameters
        ----------
        X : {array-like, data frame, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        X_new : {ndarray, sparse matrix} of shape (n_samples, n_transformed_features)
            Transformed rows.
        """
        state: ColumnsState = self._published()
        return state.apply(self._check_X(self, X, reset=False))

    @property
    def n_features_in_(self) -> int:
        """Number of features."""
        return int(self._require_live().n_features)

    @property
    def sparse_output_(self) -> bool:
        """Whether the output is sparse."""
        return bool(self._published().is_sparse)

    @property
    def output_indices_(self) -> dict[str, slice]:
        """Which columns of the output a transformer makes."""
        state: ColumnsState = self._published()
        edges = list(accumulate(state.widths, initial=0))
        made = {name: slice(*edge) for name, edge in zip(state.names, pairwise(edges), strict=True)}
        return {name: made.get(name, slice(0, 0)) for name in [t[0] for t in self.transformers] + ["remainder"]}

    @property
    def transformers_(self) -> list[tuple[str, Any, Any]]:
        """Fitted transformers with their columns; the remainder last."""
        live = self._require_live()
        core: Any = live.core
        fitted = dict(zip([part.name for part in core.parts], self._fitted_steps(), strict=True))
        specs = [*live.params["transformers"], ("remainder", live.params["remainder"], core.remainder)]
        return [
            (name, fitted.get(name, step), columns)
            for name, step, columns in specs
            if name != "remainder" or len(columns)
        ]

    @property
    def _transformer_to_input_indices(self) -> dict[str, Any]:
        return {name: np.atleast_1d(columns).tolist() for name, _, columns in self.transformers_}

    def release(self) -> Any:
        """Return what to deploy: scikit-learn's own ColumnTransformer of released transformers.

        Returns
        -------
        transformer : sklearn.compose.ColumnTransformer
            Attributes of its transformers are bitwise those of this composite's.

        Raises
        ------
        NotFittedError
            If the rows that are left do not determine a transform.
        """
        live = self._require_live()
        core: Any = live.core
        with live.lock:
            live.publish()
            params = {name: value for name, value in live.params.items() if name != "on_foreign"}
            twin = sklearn.compose.ColumnTransformer(**params)
            twin.transformers_ = [
                (name, step.release() if isinstance(step, ForgetMixin) else step, columns)
                for name, step, columns in self.transformers_
            ]
            twin.transformers = [(n, step, c) for n, step, c in twin.transformers_ if n != "remainder"]
            twin._columns = [columns for _, _, columns in live.params["transformers"]]
            twin._transformer_to_input_indices = {
                **self._transformer_to_input_indices,
                "remainder": list(core.remainder),
            }
            twin._remainder = ("remainder", twin.remainder, list(core.remainder))
            twin.sparse_output_, twin.output_indices_ = self.sparse_output_, self.output_indices_
            twin.n_features_in_ = live.n_features
            if live.feature_names is not None:
                twin.feature_names_in_ = live.feature_names.copy()
            self._hand_on_output(twin)
        return twin

    # --- the contract ------------------------------------------------------------------------------------------------

    def _steps(self) -> list[Any]:
        given = [*(step for _, step, _ in self.transformers), self.remainder]
        return [as_step(step, self.on_foreign) for step in given if not isinstance(step, str)]

    def _map_steps(self, function: Callable[[Any], Any]) -> None:
        self.transformers = [(name, function(step), columns) for name, step, columns in self.transformers]
        self.remainder = function(self.remainder)

    def _check_offered(self) -> None:
        self._validate_transformers()
        if self.transformer_weights is not None:
            raise ValueError(
                f"{type(self).__name__} does not offer transformer_weights. Nothing was changed. Put a step that "
                "scales behind the transformer."
            )
        named = [(name, step) for name, step, _ in self.transformers] + [("remainder", self.remainder)]
        check_steps(type(self).__name__, [(n, s) for n, s in named if not isinstance(s, str)], self.on_foreign)

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        """Read X as a table, and resolve the columns of transformers where the schema is new."""
        has_y, y = "y" in options, options.pop("y", None)
        if not options["reset"]:
            X = _in_order_of(getattr(estimator, "feature_names_in_", None), X)
        check_feature_names(estimator, X, reset=options["reset"])
        given = X if hasattr(X, "shape") else np.asarray(X)
        columns = None if options["reset"] else estimator._live.rows.columns
        X = as_rows(X, is_table=columns is not None)
        if columns is not None and X.shape[1] == len(columns.dtypes):
            X = columns.with_numbers(X)
        if options["reset"]:
            estimator.__dict__["n_features_in_"] = X.shape[1]
            estimator.__dict__["_resolved"] = [
                (name, step, _resolved(given, name, step, chosen)) for name, step, chosen in estimator.transformers
            ]
        elif X.shape[1] != estimator.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__} is expecting {estimator.n_features_in_} "
                "features as input."
            )
        return (X, None if self._targets_step() is None else y) if has_y else X

    def _frozen_params(self, schema: Any) -> dict[str, Any]:
        params = super()._frozen_params(schema)
        resolved = vars(schema).get("_resolved", self.transformers)
        params["transformers"] = [
            (name, step if isinstance(step, str) else frozen_step(step, on_foreign=self.on_foreign), columns)
            for name, step, columns in resolved
        ]
        if not isinstance(self.remainder, str):
            params["remainder"] = frozen_step(self.remainder, on_foreign=self.on_foreign)
        return params

    def _resolved_params(self, params: dict[str, Any], names: np.ndarray | None) -> dict[str, Any]:
        if names is None:
            return params
        resolved = [
            (name, step, _positions_of(columns, names, alone=_takes_documents(step)))
            for name, step, columns in params["transformers"]
        ]
        return {**params, "transformers": resolved}

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "ColumnsCore":
        self._check_offered()
        return ColumnsCore(type(self).__name__, params, int(rows.native.n_features))

    def _adopt(self, live: Any) -> None:
        super()._adopt(live)
        self.__dict__.pop("_read_steps", None)

    def _fitted_steps(self) -> list[Any]:
        """Return the transformers that have columns, each reading its share of this composite's state."""
        live = self._require_live()
        core: Any = live.core
        live.publish()
        if "_read_steps" not in vars(self):
            self.__dict__["_read_steps"] = [
                adopted(part.step, self.on_foreign, live, position) for position, part in enumerate(core.parts)
            ]
        fitted: list[Any] = self.__dict__["_read_steps"]
        return fitted

    def _cost_of_forgetting(self) -> str:
        return "that of the transformers"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True  # each transformer says for itself what it takes
        return tags

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_read_steps"}


def _resolved(X: Any, name: str, step: Any, chosen: Any) -> Any:
    """Return the positions of columns; that of a column of documents alone, which goes on in one dimension."""
    if callable(chosen):
        chosen = chosen(X)
    positions = column_indices(X, chosen)
    if not _takes_documents(step):
        return positions
    if not isinstance(chosen, (str, int, np.integer)):
        raise ValueError(
            f"Transformer {name!r} takes documents, and its columns are given as a list. Nothing was changed. Name the "
            "one column of text by a scalar, as in 'text' instead of ['text']."
        )
    return positions[0]


def _takes_documents(step: Any) -> bool:
    """Whether a step takes rows in one dimension."""
    if isinstance(step, str):
        return False
    first = step._first() if hasattr(step, "_first") else step
    return first is not None and not isinstance(first, str) and not get_tags(first).input_tags.two_d_array


def _in_order_of(names: np.ndarray | None, X: Any) -> Any:
    """Return the columns of a frame that have the names, in that order; X itself where it has not all of them."""
    given = [] if sp.issparse(X) else list(getattr(X, "columns", ()))
    if names is None or given == (wanted := names.tolist()) or len(set(given)) < len(given) or set(wanted) - set(given):
        return X
    return X[wanted]


def _positions_of(columns: Any, names: np.ndarray, *, alone: bool) -> Any:
    """Return columns that are chosen by their names as positions, and others as they are."""
    place_of = {name: place for place, name in enumerate(names.tolist())}
    if isinstance(columns, slice) and (isinstance(columns.start, str) or isinstance(columns.stop, str)):
        start, stop = columns.start, columns.stop
        return slice(place_of.get(start, start), place_of[stop] + 1 if stop in place_of else stop, columns.step)
    chosen = [columns] if isinstance(columns, str) else columns
    if (
        callable(columns)
        or isinstance(columns, (slice, int, np.integer))
        or not all(isinstance(column, str) for column in chosen)
    ):
        return columns
    n_unknown = sum(column not in place_of for column in chosen)
    if n_unknown:
        raise ValueError(
            f"{n_unknown} of {len(chosen)} columns that a ColumnTransformer chooses by name are not among those that "
            "reach it. Nothing was changed. Choose them by the names that the step before gives them."
        )
    places = [place_of[column] for column in chosen]
    return places[0] if alone and isinstance(columns, str) else places


def make_column_transformer(*transformers: Any, **params: Any) -> ColumnTransformer:
    """Return a `ColumnTransformer` of transformers that are named after their classes.

    Parameters
    ----------
    *transformers : (transformer, columns) tuples
        The transformers.
    **params : dict
        Other parameters of `ColumnTransformer`.

    Returns
    -------
    transformer : ColumnTransformer

    Examples
    --------
    >>> from skunlearn.preprocessing import StandardScaler
    >>> [name for name, _, _ in make_column_transformer((StandardScaler(), [0])).transformers]
    ['standardscaler']
    """
    named = sklearn.compose.make_column_transformer(*transformers).transformers
    return ColumnTransformer(named, **params)
