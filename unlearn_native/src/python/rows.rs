//! Shell of `RowStore`.

use std::sync::{Arc, PoisonError, RwLock};

use numpy::ndarray::{ArrayView, Dimension, ShapeBuilder};
use numpy::{Element, IntoPyArray, Ix1, Ix2, PyArray, PyArray1, PyArray2, PyArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use zeroize::Zeroizing;

use super::arrays::{self, copy_1d};
use crate::chunked::{Buffer, Chunked};
use crate::keys::KeyKind;
use crate::rows::{IdKind, RowBatch, RowBlock, RowStore, RowsError, Schema};
use crate::subjects::SubjectBatch;
use crate::values::{
    Batch, Block, Csr, CsrRows, DType, Layout, Matrix, Value, ValueBatch, ValueBlock, Values,
};
use crate::wire;

/// The rows of a model: found by sample id or subject, and erased without a trace.
///
/// A row lives in a slot; slots are 0..n_live-1. Erasing moves the last row into a slot that is vacated.
#[pyclass(frozen, name = "RowStore", module = "_unlearn_native._native")]
pub struct PyRowStore {
    schema: Schema,
    store: RwLock<RowStore>,
}

/// Base object of views into a chunk: it keeps the store alive, and the store from freeing chunks.
#[pyclass(frozen, name = "ChunkLease", module = "_unlearn_native._native")]
struct ChunkLease {
    _store: Py<PyRowStore>,
    _lease: Arc<()>,
}

type Object<'py> = Bound<'py, PyAny>;
type Slots<'py> = Bound<'py, PyArray1<u32>>;

#[pymethods]
impl PyRowStore {
    #[new]
    #[pyo3(signature = (*, id_kind, subject_kind, layout, dtype, n_features, n_targets, tag_key))]
    fn new(
        id_kind: &str,
        subject_kind: Option<&str>,
        layout: &str,
        dtype: &str,
        n_features: i64,
        n_targets: i64,
        tag_key: Option<&[u8]>,
    ) -> PyResult<Self> {
        let schema = Schema {
            ids: if id_kind == "range" {
                IdKind::Range
            } else {
                IdKind::Explicit(key_kind("id_kind", id_kind)?)
            },
            subjects: subject_kind
                .map(|kind| key_kind("subject_kind", kind))
                .transpose()?,
            layout: choose(
                "layout",
                layout,
                &[("dense", Layout::Dense), ("csr", Layout::Csr)],
            )?,
            dtype: choose(
                "dtype",
                dtype,
                &[("float32", DType::Float32), ("float64", DType::Float64)],
            )?,
            n_features: usize::try_from(n_features).map_err(|_| RowsError::Width)?,
            n_targets: usize::try_from(n_targets).map_err(|_| RowsError::Width)?,
        };
        let tag_key = tag_key.map(|key| arrays::key(key, "tag_key")).transpose()?;
        Ok(Self {
            schema,
            store: RwLock::new(RowStore::new(schema, tag_key)?),
        })
    }

    /// Number of rows.
    #[getter]
    fn n_live(&self, py: Python<'_>) -> usize {
        self.read(py, RowStore::n_live)
    }

    /// Number of subjects that have rows.
    #[getter]
    fn n_subjects(&self, py: Python<'_>) -> usize {
        self.read(py, RowStore::n_subjects)
    }

    /// "int64" or "str".
    #[getter]
    fn id_kind(&self) -> &'static str {
        self.schema.id_kind().name()
    }

    /// "int64", "str", or None.
    #[getter]
    fn subject_kind(&self) -> Option<&'static str> {
        self.schema.subjects.map(KeyKind::name)
    }

    /// "dense" or "csr".
    #[getter]
    fn layout(&self) -> &'static str {
        match self.schema.layout {
            Layout::Dense => "dense",
            Layout::Csr => "csr",
        }
    }

    /// "float32" or "float64".
    #[getter]
    fn dtype(&self) -> &'static str {
        match self.schema.dtype {
            DType::Float32 => "float32",
            DType::Float64 => "float64",
        }
    }

    /// Columns of X.
    #[getter]
    fn n_features(&self) -> usize {
        self.schema.n_features
    }

    /// Columns of y.
    #[getter]
    fn n_targets(&self) -> usize {
        self.schema.n_targets
    }

    /// Most rows that `chunk` gives at a time: those of a multiple of this number and the ones after it.
    #[getter]
    fn rows_per_chunk(&self) -> usize {
        self.schema.rows_per_chunk()
    }

    /// Whether a weight other than 1.0 ever arrived.
    #[getter]
    fn has_weights(&self, py: Python<'_>) -> bool {
        self.read(py, RowStore::has_weights)
    }

    /// Bytes allocated.
    #[getter]
    fn nbytes(&self, py: Python<'_>) -> usize {
        self.read(py, RowStore::nbytes)
    }

    /// Bytes of hash tables, sequence numbers, spans, moved rows and links.
    #[getter]
    fn index_nbytes(&self, py: Python<'_>) -> usize {
        self.read(py, RowStore::index_nbytes)
    }

    /// Append rows; return the positions of ids that are live already or repeat an earlier one (then nothing was changed).
    #[pyo3(signature = (ids, X, y, weight, subjects))]
    #[allow(non_snake_case)]
    fn insert<'py>(
        &self,
        py: Python<'py>,
        ids: Option<&Object<'py>>,
        X: &Object<'py>,
        y: Option<&Object<'py>>,
        weight: Option<&Object<'py>>,
        subjects: Option<&Object<'py>>,
    ) -> PyResult<Slots<'py>> {
        let values = self.batch(X)?;
        let names = subjects
            .map(|names| arrays::keys(names, "subjects"))
            .transpose()?;
        let batch = RowBatch {
            ids: ids.map(|ids| arrays::keys(ids, "ids")).transpose()?,
            y: self.targets(y, values.len())?,
            values,
            weights: weight
                .map(|weight| copy_1d(weight, "weight"))
                .transpose()?
                .map(Zeroizing::new),
            subjects: names.map(|names| SubjectBatch { names, codes: None }),
        };
        Ok(self
            .write(py, |store| store.insert(batch))?
            .into_pyarray(py))
    }

    /// Slots of ids, ascending and unique, and the positions of ids that are not live.
    fn find<'py>(&self, py: Python<'py>, ids: &Object<'py>) -> PyResult<(Slots<'py>, Slots<'py>)> {
        let ids = arrays::keys(ids, "ids")?;
        let (slots, unknown) = self.read(py, |store| store.find(&ids))?;
        Ok((slots.into_pyarray(py), unknown.into_pyarray(py)))
    }

    /// Slots of all rows of subjects, ascending and unique, and the positions of subjects without rows.
    fn find_subjects<'py>(
        &self,
        py: Python<'py>,
        subjects: &Object<'py>,
    ) -> PyResult<(Slots<'py>, Slots<'py>)> {
        let subjects = arrays::keys(subjects, "subjects")?;
        let (slots, unknown) = self.read(py, |store| store.find_subjects(&subjects))?;
        Ok((slots.into_pyarray(py), unknown.into_pyarray(py)))
    }

    /// Erase rows (slots ascending and unique); return the moves (from, to) of other rows in the order done.
    fn erase<'py>(
        &self,
        py: Python<'py>,
        slots: &Object<'py>,
    ) -> PyResult<Bound<'py, PyArray2<u32>>> {
        let slots = copy_1d::<u32>(slots, "slots")?;
        let moves = self.write(py, |store| store.erase(&slots))?;
        arrays::matrix(py, moves.into_flattened(), 2)
    }

    /// Copies of rows in the order given: X or (indptr, indices, data), y or None, weight or None.
    fn block<'py>(&self, py: Python<'py>, slots: &Object<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let slots = copy_1d::<u32>(slots, "slots")?;
        let block = self.read(py, |store| store.block(&slots))?;
        self.block_to_python(py, block)
    }

    /// Consecutive rows of one chunk, as `block`; dense ones as read-only views, which show later changes of these slots.
    fn chunk<'py>(slf: &Bound<'py, Self>, start: i64, stop: i64) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let shell = slf.get();
        let position = |number| usize::try_from(number).unwrap_or(usize::MAX); // out of range, like any too large one
        let (start, stop) = (position(start), position(stop));
        if shell.schema.layout == Layout::Csr {
            let block = shell.read(py, |store| {
                store
                    .chunk(start, stop)
                    .and_then(|_| store.range(start, stop))
            })?;
            return shell.block_to_python(py, block);
        }
        let (values, y, weights, lease) = shell.read(py, |store| {
            let view = store.chunk(start, stop)?;
            let rows = stop - start;
            let values = DenseSpan::new(view.values, start, stop);
            let y = (shell.schema.n_targets > 0)
                .then(|| Span::new(view.y, (rows, shell.schema.n_targets)));
            Ok::<_, RowsError>((
                values,
                y,
                view.weights.map(|weights| Span::new(weights, rows)),
                view.lease,
            ))
        })?;
        let base = Bound::new(
            py,
            ChunkLease {
                _store: slf.clone().unbind(),
                _lease: lease,
            },
        )?
        .into_any();
        let values = match values {
            DenseSpan::F32(span) => span.view::<Ix2>(&base)?.into_any(),
            DenseSpan::F64(span) => span.view::<Ix2>(&base)?.into_any(),
        };
        let y = y.map(|span| span.view::<Ix2>(&base)).transpose()?;
        let weights = weights.map(|span| span.view::<Ix1>(&base)).transpose()?;
        (values, y, weights).into_pyobject(py)
    }

    /// Ids of rows: int64 array, or list of str.
    fn ids<'py>(&self, py: Python<'py>, slots: &Object<'py>) -> PyResult<Object<'py>> {
        let slots = copy_1d::<u32>(slots, "slots")?;
        let ids = self.read(py, |store| store.ids(&slots))?;
        arrays::keys_to_python(py, ids)
    }

    /// Subjects of rows: a list of str or None; or an int64 array and a mask of the rows that have one.
    fn subjects<'py>(&self, py: Python<'py>, slots: &Object<'py>) -> PyResult<Object<'py>> {
        let slots = copy_1d::<u32>(slots, "slots")?;
        let (names, mask) = self.read(py, |store| store.subjects(&slots))?;
        if self.schema.subjects == Some(KeyKind::Int64) {
            return Ok((arrays::keys_to_python(py, names)?, mask.into_pyarray(py))
                .into_pyobject(py)?
                .into_any());
        }
        let names = names
            .iter()
            .zip(mask)
            .map(|(name, has_one)| has_one.then(|| arrays::text(py, name)).transpose());
        Ok(PyList::new(py, names.collect::<PyResult<Vec<_>>>()?)?.into_any())
    }

    /// Tags of rows, [low, high] 64 bits.
    fn tags<'py>(
        &self,
        py: Python<'py>,
        slots: &Object<'py>,
    ) -> PyResult<Bound<'py, PyArray2<u64>>> {
        let slots = copy_1d::<u32>(slots, "slots")?;
        arrays::matrix(py, self.read(py, |store| store.tags(&slots))?, 2)
    }

    /// All slots in the order of their rows' ids or insertion.
    fn order<'py>(&self, py: Python<'py>, by: &str) -> PyResult<Slots<'py>> {
        let is_by_id = choose("by", by, &[("id", true), ("insertion", false)])?;
        let order = self.read(py, |store| {
            if is_by_id {
                store.id_order()
            } else {
                store.insertion_order()
            }
        })?;
        Ok(order.into_pyarray(py))
    }

    /// Compute all tags again under another key.
    fn retag(&self, py: Python<'_>, tag_key: &[u8]) -> PyResult<()> {
        let tag_key = arrays::key(tag_key, "tag_key")?;
        Ok(self.write(py, |store| store.retag(tag_key))?)
    }

    /// Canonical bytes: rows in id order, so equal content is equal bytes. With a map, targets of column 0 are positions in
    /// it and are written as what is there.
    #[pyo3(signature = (target_map))]
    fn to_bytes<'py>(
        &self,
        py: Python<'py>,
        target_map: Option<&Object<'py>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let map = target_map
            .map(|map| copy_1d::<f64>(map, "target_map"))
            .transpose()?;
        let bytes = self.read(py, |store| wire::to_bytes(store, map.as_deref()))?;
        // Not PyBytes::new, which panics where there is no memory for so large a copy.
        PyBytes::new_with(py, bytes.len(), |target| {
            target.copy_from_slice(&bytes);
            Ok(())
        })
    }

    /// A store of saved rows: slots are 0..n in insertion order.
    #[staticmethod]
    #[pyo3(signature = (data, *, tag_key))]
    fn from_bytes(py: Python<'_>, data: &[u8], tag_key: Option<&[u8]>) -> PyResult<Self> {
        let tag_key = tag_key.map(|key| arrays::key(key, "tag_key")).transpose()?;
        let store = py.detach(|| wire::from_bytes(data, tag_key))?;
        Ok(Self {
            schema: *store.schema(),
            store: RwLock::new(store),
        })
    }

    /// (address, bytes) of every buffer that holds rows, ids, subjects or tags, for erasure audits.
    fn buffers(&self, py: Python<'_>) -> Vec<Buffer> {
        self.read(py, RowStore::buffers)
    }
}

impl PyRowStore {
    /// Run under the read lock. It is taken while detached: a thread that holds it must never wait to be attached.
    /// A panic cannot leave a store in pieces that matter, so a poisoned lock is simply taken.
    pub(super) fn read<R: Send>(
        &self,
        py: Python<'_>,
        run: impl FnOnce(&RowStore) -> R + Send,
    ) -> R {
        py.detach(|| run(&self.store.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Run under the write lock; see `read`.
    fn write<R: Send>(&self, py: Python<'_>, run: impl FnOnce(&mut RowStore) -> R + Send) -> R {
        py.detach(|| run(&mut self.store.write().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Rows in the layout and type of this store.
    pub(super) fn batch(&self, object: &Object<'_>) -> PyResult<ValueBatch> {
        match self.schema.dtype {
            DType::Float32 => self.values::<f32>(object),
            DType::Float64 => self.values::<f64>(object),
        }
    }

    fn values<T: Value + Element>(&self, object: &Object<'_>) -> PyResult<ValueBatch> {
        let batch = match self.schema.layout {
            Layout::Dense => self.dense::<T>(object)?,
            Layout::Csr => Batch::Csr(csr(object, self.schema.n_features)?),
        };
        Ok(T::wrap_batch(batch))
    }

    fn dense<T: Value + Element>(&self, object: &Object<'_>) -> PyResult<Batch<T>> {
        let array = arrays::borrow::<T, Ix2>(object, "X")?;
        let view = array.as_array();
        let (got, expected) = (view.ncols(), self.schema.n_features);
        if got != expected {
            return Err(RowsError::Features { got, expected }.into());
        }
        Ok(Batch::dense(
            view.nrows(),
            expected,
            self.schema.rows_per_chunk(),
            |row, target: &mut [T]| {
                let source = view.row(row);
                match source.as_slice() {
                    Some(source) => target.copy_from_slice(source),
                    None => target
                        .iter_mut()
                        .zip(&source)
                        .for_each(|(target, &value)| *target = value),
                }
            },
        )?)
    }

    fn targets(&self, y: Option<&Object<'_>>, n_rows: usize) -> PyResult<Zeroizing<Vec<f64>>> {
        let n_targets = self.schema.n_targets;
        let Some(y) = y else {
            return Ok(Zeroizing::default());
        }; // the store refuses if it needs some
        let array = arrays::borrow::<f64, Ix2>(y, "y")?;
        let view = array.as_array();
        if view.dim() != (n_rows, n_targets) {
            return Err(PyValueError::new_err(format!(
                "y has shape {:?}, but must have {:?} for this batch. Nothing was changed",
                view.dim(),
                (n_rows, n_targets)
            )));
        }
        let mut out = crate::values::vector(view.len())?;
        out.extend(view.iter().copied());
        Ok(out.into())
    }

    fn block_to_python<'py>(
        &self,
        py: Python<'py>,
        (values, y, weights): RowBlock,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let values = match values {
            ValueBlock::F32(block) => self.values_to_python(py, block)?,
            ValueBlock::F64(block) => self.values_to_python(py, block)?,
        };
        let n_targets = self.schema.n_targets;
        let y = (n_targets > 0)
            .then(|| arrays::matrix(py, y, n_targets))
            .transpose()?;
        (values, y, weights.map(|weights| weights.into_pyarray(py))).into_pyobject(py)
    }

    fn values_to_python<'py, T: Value + Element>(
        &self,
        py: Python<'py>,
        block: Block<T>,
    ) -> PyResult<Object<'py>> {
        match block {
            Block::Dense(values) => {
                Ok(arrays::matrix(py, values, self.schema.n_features)?.into_any())
            }
            Block::Csr(CsrRows {
                indptr,
                mut indices,
                mut values,
            }) => {
                let indices = std::mem::take(&mut *indices).into_pyarray(py);
                let values = std::mem::take(&mut *values).into_pyarray(py);
                Ok((indptr.into_pyarray(py), indices, values)
                    .into_pyobject(py)?
                    .into_any())
            }
        }
    }
}

/// Checked sparse rows of `n_features` columns from a tuple (indptr, indices, data).
pub(super) fn csr<T: Value + Element>(object: &Object<'_>, n_features: usize) -> PyResult<Csr<T>> {
    let (indptr, indices, data): (Object<'_>, Object<'_>, Object<'_>) =
        object.extract().map_err(|_| {
            PyTypeError::new_err(
                "X must be a tuple (indptr, indices, data), for this store holds CSR rows",
            )
        })?;
    let indptr = arrays::contiguous::<i64>(&indptr, "indptr")?;
    let data = arrays::contiguous::<T>(&data, "data")?;
    let narrow = arrays::contiguous::<i32>(&indices, "indices");
    let csr = if let Ok(indices) = &narrow {
        Csr::from_arrays(
            n_features,
            indptr.as_slice()?,
            indices.as_slice()?,
            data.as_slice()?,
        )
    } else {
        // Too large for i32 is too large for any store, as a negative index is.
        let indices: Zeroizing<Vec<i32>> = copy_1d::<i64>(&indices, "indices")?
            .into_iter()
            .map(|index| i32::try_from(index).unwrap_or(-1))
            .collect::<Vec<_>>()
            .into();
        Csr::from_arrays(n_features, indptr.as_slice()?, &indices, data.as_slice()?)
    };
    Ok(csr?)
}

/// Part of a chunk that leaves the lock; its lease keeps it valid.
struct Span<T, S> {
    start: *const T,
    shape: S,
}

// SAFETY: the pointer is only carried to the thread that is attached, and used there under the lease.
unsafe impl<T: Sync, S: Send> Send for Span<T, S> {}

impl<T: Element, S> Span<T, S> {
    fn new(slice: &[T], shape: S) -> Self {
        Self {
            start: slice.as_ptr(),
            shape,
        }
    }

    /// A read-only array on the span, which keeps `base` alive.
    fn view<'py, D>(self, base: &Object<'py>) -> PyResult<Bound<'py, PyArray<T, D>>>
    where
        D: Dimension,
        S: ShapeBuilder<Dim = D>,
    {
        // SAFETY: `start` and `shape` come from a slice of just that many elements, whose chunk neither moves nor is freed
        // while `base` holds a lease of its store.
        let view =
            unsafe { ArrayView::from_shape_ptr(self.shape.into_shape_with_order(), self.start) };
        // SAFETY: `base` is the array's base object, so it lives as long as any view does.
        let array = unsafe { PyArray::borrow_from_array(&view, base.clone()) };
        drop(array.try_readwrite()?.make_nonwriteable());
        Ok(array)
    }
}

enum DenseSpan {
    F32(Span<f32, (usize, usize)>),
    F64(Span<f64, (usize, usize)>),
}

impl DenseSpan {
    fn new(values: &Values, start: usize, stop: usize) -> Self {
        fn span<T: Value + Element>(
            matrix: &Matrix<T>,
            start: usize,
            stop: usize,
        ) -> Span<T, (usize, usize)> {
            match matrix {
                Matrix::Dense(rows) => {
                    Span::new(rows.rows(start, stop), (stop - start, Chunked::width(rows)))
                }
                Matrix::Csr(_) => Span::new(&[], (0, 0)), // sparse rows are copied
            }
        }
        match values {
            Values::F32(matrix) => Self::F32(span(matrix, start, stop)),
            Values::F64(matrix) => Self::F64(span(matrix, start, stop)),
        }
    }
}

fn key_kind(parameter: &str, name: &str) -> PyResult<KeyKind> {
    choose(
        parameter,
        name,
        &[("int64", KeyKind::Int64), ("str", KeyKind::Str)],
    )
}

fn choose<T: Copy>(parameter: &str, name: &str, choices: &[(&str, T)]) -> PyResult<T> {
    let chosen = choices
        .iter()
        .find(|(choice, _)| *choice == name)
        .map(|&(_, value)| value);
    chosen.ok_or_else(|| {
        let names: Vec<_> = choices
            .iter()
            .map(|(choice, _)| format!("{choice:?}"))
            .collect();
        PyValueError::new_err(format!(
            "{parameter} must be one of {}, got {name:?}",
            names.join(", ")
        ))
    })
}

/// The bytes with their CRC-32 trailer recomputed, so that fuzzers get past it.
#[pyfunction]
pub fn seal<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &wire::seal(data)?))
}
