"""Encoding by the mean target of a category, whose sums are exact and whose folds are those of the rows' ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import sklearn.preprocessing
from _unlearn_native._native import exp2, log2, prf
from sklearn.utils.multiclass import type_of_target

from skunlearn._count_core import as_rows, category_of, dtypes_of
from skunlearn.base import fitted_attribute
from skunlearn.class_codes import ClassCodes
from skunlearn.columns import to_json
from skunlearn.digest import canonical
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.key import Key
from skunlearn.live import IncomingRows, LiveModel, Owner
from skunlearn.preprocessing._encoder import CategoryCore, Encoder, EncoderMap
from skunlearn.rows import RowBlock, RowStore
from skunlearn.targets import Labels, Targets, Values
from skunlearn.utils._sklearn_compat import Interval, StrOptions, check_feature_names_in, check_targets, fit_context

__all__ = ["TargetEncoder"]

#: Sums of targets are integers times 2**-_SHIFT, sums of their squares times 2**(-2 * _SHIFT): no float64 is smaller.
_SHIFT = 1074
#: Beyond this a square is none that can be read.
_LARGEST_TARGET = 1e150
#: Steps of the lattice of encodings: of a share of a class, and of numbers in terms of their deviation.
_SHARE_STEP = 1 / 64
_DEVIATION_STEP = 1 / 16


class TargetEncoder(Encoder):
    """Encode a category by the mean target of its rows, shrunk towards the mean of all, forgetting rows exactly.

    What is kept of the rows are counts and exact sums of targets by category and fold, so `partial_forget` is their
    subtraction: afterwards the encoder equals, bit for bit, one fitted with the same key on the rows that are left. The
    rows that it is fitted on are encoded by the other folds, in `fit_transform` and before later steps of a pipeline.

    Parameters
    ----------
    categories : "auto" or list of array-like, default="auto"
        Categories of each column: those that rows bear, or these. Numbers must ascend, and NaN be last.
    target_type : {"auto", "continuous", "binary", "multiclass"}, default="auto"
        What targets are. "auto" finds out at `fit`, and whether they are numbers or labels then stays so, whatever rows
        are left; in a pipeline they are what they are to the last step.
    smooth : "auto" or float, default="auto"
        How many rows of the mean target each category is given; "auto" estimates it for each, by its variance.
    cv : int or None, default=5
        Number of folds; None is 5. A row's fold is a keyed hash of its id, so no deletion moves others between folds.
    shuffle : True, default=True
        There for the interface: folds do not go by position.
    random_state : int, RandomState instance, Key or None, default=None
        Source of the folds and of the lattice.
    exact_statistics : bool, default=False
        Publish encodings as they are, which nearly all deletions change, and not the nearest point of a lattice.

    Attributes
    ----------
    categories_ : list of ndarray
        Categories of each column, ascending, missing values last.
    encodings_ : list of ndarray
        Encodings of the categories of each column, from all rows; for more than two classes of each column and class.
    target_mean_ : float or ndarray of shape (n_classes,)
        What values are encoded as that are no category.
    target_type_ : str
        What targets are.
    classes_ : ndarray of shape (n_classes,) or None
        Classes, where targets are labels.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has string names.
    guarantee_ : Guarantee
        ``kind="exact"``.
    n_live_ : int
        Number of rows that the model holds.

    See Also
    --------
    sklearn.preprocessing.TargetEncoder : What `release` returns.

    Notes
    -----
    With n rows of a category whose targets have the sum s and the variance v, and all targets having mean m and
    variance V, the encoding is (s + smooth m) / (n + smooth), or with "auto" b s / n + (1 - b) m where
    b = V n / (V n + v): equations 7 and 5 of [1]_. The lattice has a step of 1/64 for classes; for numbers, of 1/16 of
    their deviation, which itself is rounded to a power of two. It is placed by the key, for each fold and category.

    A row of a fold beside which no other has rows is encoded by the mean of all. With one class every encoding is that
    of a share of 0. `cv` objects are refused: they know rows by position, and every deletion moves positions.

    References
    ----------
    .. [1] D. Micci-Barreca, "A preprocessing scheme for high-cardinality categorical attributes in classification and
       prediction problems", SIGKDD Explorations 3 (1), 2001.

    Examples
    --------
    >>> from skunlearn.preprocessing import TargetEncoder
    >>> X, y = [["a"], ["b"], ["a"], ["b"], ["b"]], [1.5, 2.0, 2.5, 3.0, 90.0]
    >>> model = TargetEncoder(smooth=0.0, exact_statistics=True).fit(X, y, sample_ids=[3, 4, 5, 6, 7])
    >>> model.partial_forget([7]).encodings_
    [array([2. , 2.5])]
    """

    _parameter_constraints: dict[str, Any] = {
        "categories": [StrOptions({"auto"}), list],
        "target_type": [StrOptions({"auto", "continuous", "binary", "multiclass"})],
        "smooth": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "cv": "no_validation",
        "shuffle": "no_validation",
        "random_state": "no_validation",
        "exact_statistics": ["boolean"],
    }

    #: Folds go by tags.
    _tags_rows = True

    infrequent_categories_ = None
    encodings_ = fitted_attribute()
    target_mean_ = fitted_attribute()
    target_type_ = fitted_attribute()
    classes_ = fitted_attribute()

    def __init__(
        self,
        categories: Any = "auto",
        target_type: str = "auto",
        smooth: Any = "auto",
        cv: Any = 5,
        shuffle: Any = True,
        random_state: Any = None,
        *,
        exact_statistics: bool = False,
    ) -> None:
        self.categories = categories
        self.target_type = target_type
        self.smooth = smooth
        self.cv = cv
        self.shuffle = shuffle
        self.random_state = random_state
        self.exact_statistics = exact_statistics

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: Any, y: Any = None, *, sample_ids: Any = None, subject_ids: Any = None, forgettable: bool = True
    ) -> Self:
        """Fit to rows, forgetting all that were there before.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Rows: numbers, str, bytes, bool, None or NaN.
        y : array-like of shape (n_samples,)
            Targets.
        sample_ids : array-like of shape (n_samples,), int64 or str, default=None
            A unique id for every row; 0 to n_samples - 1 by default.
        subject_ids : array-like of shape (n_samples,), int64 or str, default=None
            Whose row it is.
        forgettable : bool, default=True
            Keep the rows. If False the model can neither forget nor learn, and holds no row.

        Returns
        -------
        self : object
            The fitted model.

        Raises
        ------
        ValueError, TypeError
            If the input is not acceptable; a model fitted earlier is then unchanged.
        """
        return self._fit_rows(X, self._required(y), None, sample_ids, subject_ids, forgettable=forgettable)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None, *, sample_ids: Any = None, subject_ids: Any = None) -> Self:
        """Learn rows: the inverse of `partial_forget`.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Rows, of the kinds that the model was fitted on.
        y : array-like of shape (n_samples,)
            Targets.
        sample_ids : array-like of shape (n_samples,), int64 or str, default=None
            Ids that are not live; required once the model is fitted. A forgotten id may come back.
        subject_ids : array-like of shape (n_samples,), int64 or str, default=None
            Whose row it is.

        Returns
        -------
        self : object
            The model, changed.

        Raises
        ------
        DuplicateSampleError
            If ids are live already; its attribute `ids` holds them. The model is unchanged.
        MissingSampleIdsError
            If the model is fitted and there are no `sample_ids`. The model is unchanged.
        ValueError, TypeError
            If values are of another kind than those of their column. The model is unchanged.
        """
        return self._learn_rows(X, self._required(y), None, sample_ids, subject_ids)

    def fit_transform(self, X: Any, y: Any = None, **params: Any) -> np.ndarray:
        """Fit to rows, and encode each by the rows of the other folds.

        Parameters
        ----------
        X, y, **params
            As in `fit`.

        Returns
        -------
        X_trans : ndarray of shape (n_samples, n_features) or (n_samples, n_features * n_classes)
            Encoded rows.
        """
        forgettable = params.pop("forgettable", True)
        self.fit(X, y, **params)
        live: Any = self._require_live()
        with live.lock:
            slots = np.arange(live.n_rows, dtype=np.uint32)
            state: TargetState = live.publish()
            table = self._check_X(self, X, reset=False)
            encoded = state.apply_to_live(RowBlock(slots, table, tags=live.rows.native.tags(slots)))
            if not forgettable:
                live.drop_rows()
        return encoded

    def transform(self, X: Any) -> np.ndarray:
        """Encode rows by all rows that were learned.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Rows; a value that is no category is encoded as the mean target.

        Returns
        -------
        X_trans : ndarray of shape (n_samples, n_features) or (n_samples, n_features * n_classes)
            Encoded rows.
        """
        state: TargetState = self._published()
        return state.apply(self._check_X(self, X, reset=False))

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Encodings do not tell categories."""
        raise AttributeError("TargetEncoder has no inverse_transform: categories may share an encoding.")

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return names of the encoded columns.

        Parameters
        ----------
        input_features : array-like of str of shape (n_features,), default=None
            Names of the features, where they were not given at `fit`.

        Returns
        -------
        feature_names_out : ndarray of str
            Names; for more than two classes with the class behind them.
        """
        state: TargetState = self._published()
        names = check_feature_names_in(self, input_features)
        if state.target_type_ != "multiclass" or state.classes_ is None:
            return names
        return np.asarray([f"{name}_{label}" for name in names for label in state.classes_], dtype=object)

    # --- the contract ------------------------------------------------------------------------------------------------

    def _targets_type(self, params: Any) -> type[Targets]:
        return Values if params["target_type"] == "continuous" else Labels

    def _required(self, y: Any) -> Any:
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y is None. Nothing was "
                "changed."
            )
        return y

    def _is_continuous(self, y: Any) -> bool:
        """Whether targets are numbers and no labels, by the parameter or by what they look like."""
        if self.target_type != "auto":
            return self.target_type == "continuous"
        found = type_of_target(y, input_name="y")
        if found not in ("binary", "multiclass", "continuous"):
            raise ValueError(
                "Unknown label type: Target type was inferred to be "
                f"{found!r}. Only ('binary', 'multiclass', 'continuous') are supported. Nothing was changed."
            )
        return found == "continuous"

    def _checked_targets(self, y: Any) -> Any:
        if isinstance(self._live, LiveModel) and isinstance(self._live.targets, Values):
            return np.ascontiguousarray(y, dtype=np.float64) if _are_numbers(y) else y
        return np.ascontiguousarray(y, dtype=np.float64) if self._is_continuous(y) else y

    def _targets_like(self, y: Any, classes: Any) -> Targets:
        return Values.like(y) if self._is_continuous(y) else Labels(ClassCodes(classes))

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        y = options.get("y")
        checked = super()._check_X(estimator, X, **options)
        if y is None:  # nothing to be learned, or a composite asks for the rows alone
            return checked
        table = checked[0]
        y = check_targets(y, table, self)
        if options["reset"]:
            estimator.__dict__["_is_of_numbers"] = estimator._is_continuous(y)
        elif isinstance(getattr(estimator._live, "targets", None), Values) and not _are_numbers(y):
            raise ValueError("y holds values that are no numbers. Nothing was changed. Convert it to float.")
        return table, y

    def _frozen_params(self, schema: Any) -> dict[str, Any]:
        params = super()._frozen_params(schema)
        if vars(schema).get("_is_of_numbers"):
            params["target_type"] = "continuous"
        return params

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_TargetCore":
        return _TargetCore(type(self).__name__, params, dtypes_of(rows))

    def _native_twin(self, state: "TargetState", params: dict[str, Any]) -> Any:
        given = {name: params[name] for name in ("categories", "target_type", "smooth", "cv")}
        twin = sklearn.preprocessing.TargetEncoder(**given)
        self._set_categories(twin, state)
        twin.encodings_ = [encoding.copy() for encoding in state.encodings_]
        twin.target_mean_ = state.target_mean_
        twin.target_type_ = state.target_type_
        twin.classes_ = None if state.classes_ is None else state.classes_.copy()
        return twin

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def _are_numbers(y: Any) -> bool:
    return np.asarray(y).dtype.kind in "biuf"


@dataclass(frozen=True, slots=True, eq=False)
class TargetState(EncoderMap):
    """The published state of one version.

    Parameters
    ----------
    tables : tuple of ndarray of shape (n_folds + 1, n_categories + 1)
        For each column that is given: encodings from all folds but one, and last from all; of a value that is no
        category last.
    classes_, target_type_
        As in the encoder.
    """

    tables: tuple[np.ndarray, ...]
    classes_: np.ndarray | None
    target_type_: str

    @property
    def encodings_(self) -> list[np.ndarray]:
        """Encodings from all rows."""
        return [table[-1, :-1] for table in self.tables]

    @property
    def target_mean_(self) -> Any:
        """Encoding of what is no category."""
        n_outputs = len(self.tables) // len(self.columns)
        means = np.array([table[-1, -1] for table in self.tables[:n_outputs]])
        return means if self.target_type_ == "multiclass" else means[0]

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return len(self.tables[0]) - 1

    def apply(self, X: Any) -> np.ndarray:
        """Return rows encoded by all rows."""
        return self._encoded(X, np.full(X.shape[0], self.n_folds))

    def apply_to_live(self, block: RowBlock) -> np.ndarray:
        """Return live rows encoded by those of other folds; rows that are on their way in have none yet."""
        if block.tags is None:
            return self.apply(block.X)
        return self._encoded(block.X, folds_of(block, self.n_folds))

    def _encoded(self, X: Any, folds: np.ndarray) -> np.ndarray:
        codes = [np.arange(len(column.values)) for column in self.columns]
        places, _ = self.encoded(X, codes, [-1] * len(codes))
        n_outputs = len(self.tables) // len(self.columns)
        encoded = np.empty((len(places), len(self.tables)))
        for e, table in enumerate(self.tables):
            encoded[:, e] = table[folds, places[:, e // n_outputs]]
        return encoded

    def parts(self) -> list[bytes | np.ndarray]:
        """Return the categories, and their encodings by folds."""
        return [*EncoderMap.parts(self), str(self.n_folds).encode(), self.target_type_.encode(), *self.tables]


def folds_of(block: RowBlock, n_folds: int) -> np.ndarray:
    """Return the fold of each row, a keyed hash of its id."""
    assert block.tags is not None
    folds: np.ndarray = ((block.tags[:, 0] >> np.uint64(32)) * np.uint64(n_folds) >> np.uint64(32)).astype(np.intp)
    return folds


class _TargetCore(CategoryCore):
    """Exact sums of targets by column, category and fold.

    Parameters
    ----------
    model_name : str
        Named in errors.
    params : dict
        Parameters of the encoder.
    dtypes : sequence of str
        Dtypes of the columns.
    """

    def __init__(self, model_name: str, params: dict[str, Any], dtypes: Sequence[str]) -> None:
        grouping = {"handle_unknown": "ignore", "min_frequency": None, "max_categories": None}
        super().__init__(model_name, {**params, **grouping}, dtypes)
        self._n_folds = _checked_folds(params["cv"])
        if params["shuffle"] not in (True, "deprecated"):
            raise ValueError(
                "TargetEncoder offers no folds by position, as shuffle=False asks for: every deletion would move the "
                "rows behind. Nothing was changed. Leave it out."
            )
        self._is_of_numbers: bool = params["target_type"] == "continuous"

    def _clear(self) -> None:
        super()._clear()
        #: For each column, and last for all rows: (category, fold, class code or 0) to the number of rows, and for
        #: numbers the sums of targets and of their squares.
        self.cells: list[dict[tuple[Any, int, int], list[int]]] = [{} for _ in range(len(self._dtypes) + 1)]

    def check(self, incoming: IncomingRows) -> None:
        """Refuse what is no category or no target."""
        super().check(incoming)
        if self._is_of_numbers and incoming.y is not None:
            n_large = int(np.count_nonzero(np.abs(incoming.y) > _LARGEST_TARGET))
            if n_large:
                raise ValueError(
                    f"{n_large} of {len(incoming.y)} targets are beyond {_LARGEST_TARGET}. Nothing was changed. Scale "
                    "them."
                )

    def _learn(self, block: RowBlock) -> None:
        super()._learn(block)
        self._add(block, +1)

    def _forget(self, block: RowBlock) -> None:
        super()._forget(block)
        self._add(block, -1)

    def _rebuild(self, owner: Owner) -> None:
        is_of_numbers = isinstance(owner.targets, Values)
        if self._params["target_type"] != "auto" and is_of_numbers != (self._params["target_type"] == "continuous"):
            raise ValueError(
                f"target_type is {self._params['target_type']!r}, and targets are "
                f"{'numbers' if is_of_numbers else 'labels'} to the last step. Set target_type='auto'."
            )
        self._is_of_numbers = is_of_numbers
        super()._rebuild(owner)

    def _add(self, block: RowBlock, sign: int) -> None:
        table, folds = as_rows(block.X, self._dtypes), folds_of(block, self._n_folds)
        assert block.y is not None
        y = block.y[:, 0]
        codes = np.zeros(len(y), dtype=np.intp) if self._is_of_numbers else y.astype(np.intp)
        amounts = _Amounts(y) if self._is_of_numbers else None
        for j in range(table.shape[1]):
            values, places = table.distinct(j)
            self._add_to(self.cells[j], [category_of(v) for v in values], places, folds, codes, amounts, sign)
        self._add_to(self.cells[-1], [None], np.zeros(len(y), dtype=np.intp), folds, codes, amounts, sign)

    def _add_to(
        self,
        cells: dict[tuple[Any, int, int], list[int]],
        names: list[Any],
        places: np.ndarray,
        folds: np.ndarray,
        codes: np.ndarray,
        amounts: "_Amounts | None",
        sign: int,
    ) -> None:
        """Add rows to the cells of one column, or take them away."""
        n_codes = int(codes.max()) + 1
        numbers = (places * self._n_folds + folds) * n_codes + codes
        order = np.argsort(numbers, kind="stable")
        distinct, starts, counts = np.unique(numbers[order], return_index=True, return_counts=True)
        sums = [counts.tolist()]
        if amounts is not None:
            sums += amounts.sums(order, starts)
        for number, *added in zip(distinct.tolist(), *sums, strict=True):
            rest, code = divmod(number, n_codes)
            place, fold = divmod(rest, self._n_folds)
            name = (names[place], fold, code)
            cell = [old + sign * new for old, new in zip(cells.get(name, [0] * len(added)), added, strict=True)]
            if cell[0]:
                cells[name] = cell
            else:
                del cells[name]

    # --- publishing --------------------------------------------------------------------------------------------------

    def publish(self, owner: Owner) -> TargetState:
        """Return the encodings."""
        columns = self._columns(ignores_missing=False)
        codes, classes = owner.codes.classes()
        kind = "continuous" if self._is_of_numbers else self._params["target_type"]
        if kind == "auto":
            kind = "multiclass" if len(classes) > 2 else "binary"
        if kind == "binary" and len(classes) > 2:
            raise DegenerateRowsError(
                f"target_type is 'binary', and the rows that are left have {len(classes)} classes. Forget the rows of "
                "others, or fit with target_type='multiclass'."
            )
        chosen = (
            [0] if kind == "continuous" else codes.tolist() if kind == "multiclass" else codes[1:2].tolist() or [-1]
        )
        labels = list(range(len(chosen))) if kind == "continuous" else classes[-len(chosen) :].tolist()
        tables = []
        for j, column in enumerate(columns):
            names = [category_of(value) for value in column.values.tolist()]
            for code, label in zip(chosen, labels, strict=True):
                table = self._table(j, names, code, owner.key, canonical([j, kind == "continuous", label]))
                table.flags.writeable = False
                tables.append(table)
        return TargetState(
            columns=columns,
            places=tuple(column.place_of() for column in columns),
            dtypes=self._dtypes,
            groups_infrequent=False,
            dtype=np.dtype(np.float64),
            tables=tuple(tables),
            classes_=None if kind == "continuous" else classes,
            target_type_=kind,
        )

    def _table(self, j: int, names: list[Any], code: int, key: Key, purpose: bytes) -> np.ndarray:
        """Return the encodings of one column, without each fold and with all."""
        everything = _by_fold(self.cells[-1], code)
        of_name: dict[Any, dict[int, list[int]]] = {name: {} for name in names}
        for (name, fold, cell_code), cell in self.cells[j].items():
            if name in of_name:
                _add_cell(of_name[name].setdefault(fold, [0, 0, 0]), cell, cell_code == code)
        table = np.empty((self._n_folds + 1, len(names) + 1))
        totals = {name: _total(folds) for name, folds in of_name.items()}
        total = _total(everything)
        for fold in range(self._n_folds + 1):
            rest = _less(total, everything.get(fold))
            if rest[0] == 0:  # every row is in this fold
                rest = total
            mean, variance = _mean(rest), _variance(rest)
            for place, name in enumerate(names):
                table[fold, place] = self._encoding(_less(totals[name], of_name[name].get(fold)), mean, variance)
            table[fold, -1] = mean
        if not self._params["exact_statistics"]:
            self._snap(table, names, _variance(total), key, purpose)
        return table

    def _encoding(self, sums: tuple[int, int, int], mean: float, variance: float) -> float:
        n, smooth = sums[0], self._params["smooth"]
        if n == 0:
            return mean
        if smooth == 0:
            return _mean(sums)
        if smooth != "auto":
            return (sums[1] / (1 << _SHIFT) + smooth * mean) / (n + smooth)
        explained = variance * n
        if explained == 0:
            return mean
        share = explained / (explained + _variance(sums))
        return share * _mean(sums) + (1 - share) * mean

    def _snap(self, table: np.ndarray, names: list[Any], variance: float, key: Key, purpose: bytes) -> None:
        """Move encodings to the nearest points of their lattices."""
        step = _SHARE_STEP
        if self._is_of_numbers:
            if variance == 0:
                return
            (phase,) = _phases(key, [purpose])
            octave = np.rint(log2(np.array([variance])) / 2 - phase) + phase
            step = float(exp2(octave)[0]) * _DEVIATION_STEP
        of_names = [canonical(to_json([name])) for name in names] + [b""]
        for fold, row in enumerate(table):
            phases = _phases(key, [purpose + fold.to_bytes(4, "little") + name for name in of_names])
            row[:] = (np.rint(row / step - phases) + phases) * step

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the counts and sums in the order of categories, folds and classes."""
        ranks = owner.codes.sorted_ranks()[1].astype(np.int64).tolist() or [0]
        parts = super().digest_parts(owner)
        for cells in self.cells:
            parts.append(
                canonical(
                    sorted(
                        [canonical([to_json([name]), fold, ranks[code]]).hex(), [str(n) for n in cell]]
                        for (name, fold, code), cell in cells.items()
                    )
                )
            )
        return parts

    def nbytes(self) -> int:
        """Return the size of counts and sums in bytes."""
        return super().nbytes() + sum(map(len, self.cells)) * (900 if self._is_of_numbers else 250)


def _checked_folds(cv: Any) -> int:
    if cv is None:
        return 5
    if isinstance(cv, Integral) and not isinstance(cv, bool) and int(cv) >= 2:
        return int(cv)
    raise ValueError(
        "TargetEncoder takes cv as a number of folds, at least 2: a splitter knows rows by position, and every "
        "deletion moves positions. Nothing was changed. Pass an int; a row's fold is a keyed hash of its id."
    )


class _Amounts:
    """Numbers and their squares as integers, in units of 2**(base - _SHIFT) and of its square.

    The unit is that of these numbers, so that integers are short while they are added up.
    """

    def __init__(self, y: np.ndarray) -> None:
        mantissas, exponents = np.frexp(y)
        whole = (mantissas * 2.0**53).astype(np.int64)
        shifts = exponents.astype(np.int64) - 53 + _SHIFT
        self.base = max(int(shifts[whole != 0].min()), 0) if whole.any() else 0
        pairs = zip(whole.tolist(), (shifts - self.base).tolist(), strict=True)
        numbers = np.empty(len(y), dtype=object)
        numbers[:] = [m and (m << s if s >= 0 else m >> -s) for m, s in pairs]
        self.powers = numbers, numbers * numbers

    def sums(self, order: np.ndarray, starts: np.ndarray) -> list[list[int]]:
        """Return the sums of numbers and of squares over runs of rows."""
        of_runs = (np.add.reduceat(numbers[order], starts).tolist() for numbers in self.powers)
        return [[n << power * self.base for n in sums] for power, sums in enumerate(of_runs, start=1)]


def _add_cell(sums: list[int], cell: list[int], is_of_class: bool) -> None:
    """Add a cell to the number of rows, the sum of targets and that of squares; a label is a target of 0 or 1."""
    n, first, second = cell if len(cell) == 3 else (cell[0], *2 * [cell[0] * is_of_class])
    if len(cell) == 1:
        first, second = first << _SHIFT, second << 2 * _SHIFT
    sums[0] += n
    sums[1] += first
    sums[2] += second


def _by_fold(cells: dict[tuple[Any, int, int], list[int]], code: int) -> dict[int, list[int]]:
    folds: dict[int, list[int]] = {}
    for (_, fold, cell_code), cell in cells.items():
        _add_cell(folds.setdefault(fold, [0, 0, 0]), cell, cell_code == code)
    return folds


def _total(folds: dict[int, list[int]]) -> tuple[int, int, int]:
    n, first, second = (sum(sums[i] for sums in folds.values()) for i in range(3))
    return n, first, second


def _less(total: tuple[int, int, int], part: list[int] | None) -> tuple[int, int, int]:
    if part is None:
        return total
    return total[0] - part[0], total[1] - part[1], total[2] - part[2]


def _mean(sums: tuple[int, int, int]) -> float:
    """Return the float64 nearest to the mean."""
    return sums[1] / (sums[0] << _SHIFT)


def _variance(sums: tuple[int, int, int]) -> float:
    """Return the float64 nearest to the variance, that of no degrees of freedom."""
    n, first, second = sums
    return (n * second - first * first) / (n * n << 2 * _SHIFT)


def _phases(key: Key, names: list[bytes]) -> np.ndarray:
    words = b"".join(prf(key._secret, "target encoding", name)[:8] for name in names)
    return (np.frombuffer(words, dtype="<u8") >> np.uint64(11)).astype(np.float64) * 2.0**-53
