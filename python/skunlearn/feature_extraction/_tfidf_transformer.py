"""Weights of columns of counts that forget rows."""

from typing import Any

import numpy as np
import scipy.sparse as sp
import sklearn.feature_extraction.text
from sklearn.base import OneToOneFeatureMixin

from skunlearn.base import fitted_attribute
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.feature_extraction._idf import TfidfState, freeze, idf_on_lattice, inverse_document_frequency
from skunlearn.live import Core, Owner
from skunlearn.preprocessing._unweighted import UnweightedTransformer
from skunlearn.rows import CsrRows, RowBlock, RowStore
from skunlearn.utils._sklearn_compat import StrOptions, in_sparse_interface, validate_data

__all__ = ["TfidfTransformer", "native_twin"]


class TfidfTransformer(OneToOneFeatureMixin, UnweightedTransformer):
    """Weight the columns of a matrix of counts by how few rows have them, forgetting rows exactly.

    What is kept of the rows is how many have an entry in each column, so `partial_forget` is a subtraction of integers:
    afterwards the transformer equals, bit for bit, one fitted on the rows that are left.

    Parameters
    ----------
    norm : {"l1", "l2"} or None, default="l2"
        Norm of the rows that are given.
    use_idf : bool, default=True
        Whether to weight columns at all.
    smooth_idf : bool, default=True
        Count one row more, which has every column.
    sublinear_tf : bool, default=False
        Replace a count by 1 + ln(count).
    exact_statistics : bool, default=True
        Weight by the exact counts, which every deletion changes; otherwise by counts rounded to powers of two, of which
        a deletion changes few or none.
    random_state : int, RandomState instance, Key or None, default=None
        Where the powers of two lie, for each column; not read with ``exact_statistics=True``.

    Attributes
    ----------
    idf_ : ndarray of shape (n_features_in_,)
        Weights of the columns.
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
    sklearn.feature_extraction.text.TfidfTransformer : What `release` returns.

    Notes
    -----
    With n rows of which df have a column, its weight is ln((n + s) / (df + s)) + 1, where s is 1 with `smooth_idf` and
    0 without [1]_; a column without rows is then weighted infinitely. An entry that is stored and 0 is no entry. The
    number of rows is in all weights, so with exact statistics every deletion moves them, and steps of a pipeline behind
    this one are fitted again at the next read. With ``exact_statistics=False`` n and df are 2^(rint(log2(df) - u) + u)
    each, the phase u in [0, 1) being a function of the key and the column, and df at most n.

    References
    ----------
    .. [1] C. D. Manning, P. Raghavan and H. Schuetze, "Introduction to Information Retrieval", section 6.2, 2008.

    Examples
    --------
    >>> from skunlearn.feature_extraction.text import TfidfTransformer
    >>> model = TfidfTransformer(norm=None).fit([[3.0, 0.0], [1.0, 1.0], [0.0, 2.0]], sample_ids=[7, 8, 9])
    >>> model.partial_forget([9]).idf_.round(3).tolist()
    [1.0, 1.405]
    """

    _parameter_constraints: dict[str, Any] = {
        "norm": [StrOptions({"l1", "l2"}), None],
        "use_idf": ["boolean"],
        "smooth_idf": ["boolean"],
        "sublinear_tf": ["boolean"],
        "exact_statistics": ["boolean"],
        "random_state": "no_validation",
    }

    idf_ = fitted_attribute()

    def __init__(
        self,
        *,
        norm: str | None = "l2",
        use_idf: bool = True,
        smooth_idf: bool = True,
        sublinear_tf: bool = False,
        exact_statistics: bool = True,
        random_state: Any = None,
    ) -> None:
        self.norm = norm
        self.use_idf = use_idf
        self.smooth_idf = smooth_idf
        self.sublinear_tf = sublinear_tf
        self.exact_statistics = exact_statistics
        self.random_state = random_state

    def transform(self, X: Any, copy: bool = True) -> Any:
        """Weight and normalize rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts.
        copy : bool, default=True
            There for the interface: X is left as it is.

        Returns
        -------
        vectors : sparse matrix of shape (n_samples, n_features)
            Weighted rows. A row alone gives the bits that it gives in bulk, dense or sparse.
        """
        state: TfidfState = self._published()
        return in_sparse_interface(state.apply(self._check_X(self, X, reset=False)))

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        has_y = "y" in options
        options.pop("y", None)
        X = validate_data(estimator, X, accept_sparse="csr", dtype=(np.float64, np.float32), **options)
        return (X, None) if has_y else X

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_BearingCore":
        return _BearingCore(type(self).__name__, params, rows)

    def _native_twin(self, state: TfidfState, params: dict[str, Any]) -> Any:
        return native_twin(state, params)

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        return 8 * X.shape[1]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def native_twin(state: Any, params: dict[str, Any]) -> Any:
    """Return scikit-learn's own transformer with the weights of a state."""
    own = sklearn.feature_extraction.text.TfidfTransformer
    twin = own(**{name: params[name] for name in own().get_params(deep=False)})
    twin.n_features_in_ = state.width
    if state.idf is not None:
        twin.idf_ = state.idf.copy()
    return twin


class _BearingCore(Core):
    """How many rows have an entry in each column."""

    def __init__(self, model_name: str, params: dict[str, Any], rows: RowStore) -> None:
        self._model_name = model_name
        self._params = params
        self._dtype = np.dtype(rows.native.dtype)
        self._clear(rows.native.n_features)

    def _clear(self, n_features: int) -> None:
        self.n_rows = 0
        self.n_bearing = np.zeros(n_features, dtype=np.int64)

    def _count(self, block: RowBlock, sign: int) -> None:
        self.n_rows += sign * len(block)
        width = len(self.n_bearing)
        if isinstance(block.X, CsrRows):
            self.n_bearing += sign * np.bincount(block.X.indices, minlength=width)
        else:
            X = block.X.toarray() if sp.issparse(block.X) else block.X
            self.n_bearing += sign * np.count_nonzero(X, axis=0)

    def _learn(self, block: RowBlock) -> None:
        self._count(block, +1)

    def _forget(self, block: RowBlock) -> None:
        self._count(block, -1)

    def _rebuild(self, owner: Owner) -> None:
        self._clear(len(self.n_bearing))
        for block in owner.effective_blocks():
            self._learn(block)

    def publish(self, owner: Owner) -> TfidfState:
        """Return the weights of columns."""
        if self.n_rows == 0:
            raise DegenerateRowsError(
                f"This {self._model_name} has no row left, so there are no weights. Call partial_fit or fit."
            )
        params, idf = self._params, None
        if params["use_idf"]:
            n_bearing, n_rows = self.n_bearing, float(self.n_rows)
            if not params["exact_statistics"]:
                names = [b"c" + column.to_bytes(8, "little") for column in range(len(n_bearing))]
                n_bearing, n_rows = idf_on_lattice(n_bearing, self.n_rows, owner.key, names)
            idf = inverse_document_frequency(n_bearing, n_rows, smooth=params["smooth_idf"], dtype=self._dtype)
            freeze(idf)
        return TfidfState(idf, len(self.n_bearing), params["norm"], params["sublinear_tf"])

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the counts."""
        return [str(self.n_rows).encode(), self.n_bearing.astype("<i8").tobytes()]

    def nbytes(self) -> int:
        """Return the size of the counts in bytes."""
        return int(self.n_bearing.nbytes)
