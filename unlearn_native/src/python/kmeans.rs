//! `KMeans`, `kmeans_predict` and `kmeans_transform`.

use std::sync::{PoisonError, RwLock};

use numpy::{Element, IntoPyArray, Ix2, PyArray1, PyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use super::arrays::{self, copy_1d};
use super::matrices::in_c_order;
use super::rows::{PyRowStore, csr};
use crate::kmeans::kernel::Centres;
use crate::kmeans::model::{Algorithm, KMeansError, Model, Params, predict, transform};
use crate::kmeans::seed::Init;
use crate::kmeans::table::{DenseRows, GoneTable, Rows, Scalar, SparseRows, StoreTable};
use crate::rows::{RowStore, RowsError};
use crate::values::{Batch, DType, Matrix, ValueBatch, Values};

type Object<'py> = Bound<'py, PyAny>;

impl From<KMeansError> for PyErr {
    fn from(error: KMeansError) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

/// Evaluate `$body` with `$table` standing for the rows of a store, whatever their layout and type.
macro_rules! with_table {
    ($store:expr, $n_threads:expr, $table:ident => $body:expr) => {{
        let (store, n_threads) = ($store, $n_threads);
        let n_features = store.schema().n_features;
        match store.values() {
            Values::F32(Matrix::Dense(rows)) => {
                let $table = &StoreTable {
                    rows,
                    store,
                    n_threads,
                };
                $body
            }
            Values::F64(Matrix::Dense(rows)) => {
                let $table = &StoreTable {
                    rows,
                    store,
                    n_threads,
                };
                $body
            }
            Values::F32(Matrix::Csr(entries)) => {
                let rows = SparseRows {
                    entries,
                    n_features,
                };
                let $table = &StoreTable {
                    rows,
                    store,
                    n_threads,
                };
                $body
            }
            Values::F64(Matrix::Csr(entries)) => {
                let rows = SparseRows {
                    entries,
                    n_features,
                };
                let $table = &StoreTable {
                    rows,
                    store,
                    n_threads,
                };
                $body
            }
        }
    }};
}

pub(super) use with_table;

/// k-means over the rows of a store, which it mirrors slot by slot: it holds none of them.
///
/// A call that says that the store is out of step, or that fails otherwise, is to be followed by `rebuild`.
#[pyclass(frozen, name = "KMeans", module = "_unlearn_native._native")]
pub struct PyKMeans {
    model: RwLock<Model>,
}

impl PyKMeans {
    // Locks are taken in the order store, model, and while detached. A panic is a bug, but then the owner rebuilds.
    fn read<R: Send>(&self, py: Python<'_>, run: impl FnOnce(&Model) -> R + Send) -> R {
        py.detach(|| run(&self.model.read().unwrap_or_else(PoisonError::into_inner)))
    }

    fn write<R>(&self, run: impl FnOnce(&mut Model) -> R) -> R {
        run(&mut self.model.write().unwrap_or_else(PoisonError::into_inner))
    }
}

#[pymethods]
impl PyKMeans {
    #[new]
    #[pyo3(signature = (*, n_clusters, init, n_init, max_iter, tol, algorithm, coreset_size, full_passes, key))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        n_clusters: usize,
        init: &Object<'_>,
        n_init: u32,
        max_iter: usize,
        tol: f64,
        algorithm: &str,
        coreset_size: Option<usize>,
        full_passes: usize,
        key: &[u8],
    ) -> PyResult<Self> {
        let params = Params {
            n_clusters,
            init: start_of(init)?,
            n_init,
            max_iter,
            tol,
            algorithm: algorithm_of(algorithm, coreset_size, full_passes)?,
        };
        Ok(Self {
            model: RwLock::new(Model::new(params, arrays::key(key, "key")?)?),
        })
    }

    /// Derive everything from all rows of a store.
    fn rebuild(&self, py: Python<'_>, store: &PyRowStore, n_threads: usize) -> PyResult<()> {
        Ok(store.read(py, |store| {
            self.write(|model| with_table!(store, n_threads, table => model.rebuild(table)))
        })?)
    }

    /// Learn the rows that were appended to the store, from this slot on.
    fn learn(
        &self,
        py: Python<'_>,
        store: &PyRowStore,
        first_slot: usize,
        n_threads: usize,
    ) -> PyResult<()> {
        Ok(store.read(py, |store| {
            self.write(
                |model| with_table!(store, n_threads, table => model.learn(table, first_slot)),
            )
        })?)
    }

    /// Forget rows that were erased from the store: the slots they had, ascending, and what was there.
    #[pyo3(signature = (store, slots, X, weight, tags, n_threads))]
    #[allow(non_snake_case, clippy::too_many_arguments)]
    fn forget(
        &self,
        py: Python<'_>,
        store: &PyRowStore,
        slots: &Object<'_>,
        X: &Object<'_>,
        weight: Option<&Object<'_>>,
        tags: &Object<'_>,
        n_threads: usize,
    ) -> PyResult<()> {
        let gone = Gone {
            slots: copy_1d::<u32>(slots, "slots")?,
            values: store.batch(X)?,
            weights: weight
                .map(|weight| copy_1d::<f64>(weight, "weight"))
                .transpose()?,
            tags: tags_of(tags)?,
            n_threads,
        };
        gone.check()?;
        store.read(py, |store| self.write(|model| gone.leave(model, store)))
    }

    /// Number of rows of a weight above 0.
    #[getter]
    fn n_rows(&self, py: Python<'_>) -> usize {
        self.read(py, Model::n_rows)
    }

    /// Bytes allocated.
    #[getter]
    fn nbytes(&self, py: Python<'_>) -> usize {
        self.read(py, Model::nbytes)
    }

    /// "centers" of the type of X, "n_iter", "inertia", "algorithm", and how many clusters have rows, "n_found"; ValueError if rows are fewer than clusters.
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (centers, dtype, n_features, n_iter, inertia, algorithm, n_found) =
            self.read(py, |model| {
                let state = model.state()?;
                let centres = state.centres;
                Ok::<_, KMeansError>((
                    centres.rows().to_vec(),
                    state.dtype,
                    centres.n_features(),
                    state.n_iter,
                    state.inertia,
                    state.algorithm,
                    state.n_found,
                ))
            })?;
        let out = PyDict::new(py);
        match dtype {
            DType::Float64 => out.set_item("centers", arrays::matrix(py, centers, n_features)?)?,
            DType::Float32 => {
                #[allow(clippy::cast_possible_truncation)] // they are rounded to float32 already
                let centers = centers
                    .iter()
                    .map(|&coordinate| coordinate as f32)
                    .collect();
                out.set_item("centers", arrays::matrix(py, centers, n_features)?)?;
            }
        }
        out.set_item("n_iter", n_iter)?;
        out.set_item("inertia", inertia)?;
        out.set_item("algorithm", algorithm)?;
        out.set_item("n_found", n_found)?;
        Ok(out)
    }

    /// Labels of all rows in the order of their insertion.
    fn labels<'py>(
        &self,
        py: Python<'py>,
        store: &PyRowStore,
    ) -> PyResult<Bound<'py, PyArray1<i32>>> {
        let labels = store.read(py, |store| {
            let order = store.insertion_order()?;
            let model = self.model.read().unwrap_or_else(PoisonError::into_inner);
            Ok::<_, PyErr>(with_table!(store, 1, table => model.labels(table, &order))?)
        })?;
        Ok(labels.into_pyarray(py))
    }

    /// Hash of the pure state: a function of rows, parameters and key, free of slots and history.
    fn digest<'py>(&self, py: Python<'py>, store: &PyRowStore) -> PyResult<Bound<'py, PyBytes>> {
        let digest = store.read(py, |store| {
            let order = store.id_order()?;
            let model = self.model.read().unwrap_or_else(PoisonError::into_inner);
            model.check_rows(store.n_live())?;
            Ok::<_, PyErr>(model.digest(&order))
        })?;
        Ok(PyBytes::new(py, &digest))
    }

    /// How the last change was followed: "path", and the counts "rows_examined" and "labels_changed", each once an iteration.
    fn report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let report = self.read(py, Model::report);
        let out = PyDict::new(py);
        out.set_item("path", report.path.name())?;
        out.set_item("rows_examined", report.work.n_examined)?;
        out.set_item("labels_changed", report.work.n_relabelled)?;
        Ok(out)
    }
}

fn start_of(init: &Object<'_>) -> PyResult<Init> {
    match init.extract::<&str>() {
        Ok("k-means++") => Ok(Init::PlusPlus),
        Ok("random") => Ok(Init::Random),
        Ok(other) => Err(PyValueError::new_err(format!(
            "init must be \"k-means++\", \"random\" or an array, got {other:?}"
        ))),
        Err(_) => Ok(Init::Given(
            arrays::borrow::<f64, Ix2>(init, "init")?
                .as_array()
                .iter()
                .copied()
                .collect(),
        )),
    }
}

fn algorithm_of(
    name: &str,
    coreset_size: Option<usize>,
    full_passes: usize,
) -> PyResult<Algorithm> {
    match (name, coreset_size) {
        ("lloyd", _) => Ok(Algorithm::Lloyd),
        ("coreset", Some(size)) => Ok(Algorithm::Coreset { size, full_passes }),
        ("coreset", None) => Err(PyValueError::new_err(
            "algorithm \"coreset\" needs coreset_size",
        )),
        _ => Err(PyValueError::new_err(format!(
            "algorithm must be \"lloyd\" or \"coreset\", got {name:?}"
        ))),
    }
}

fn tags_of(tags: &Object<'_>) -> PyResult<Vec<u128>> {
    let tags = arrays::borrow::<u64, Ix2>(tags, "tags")?;
    let tags = tags.as_array();
    if tags.ncols() != 2 {
        return Err(PyValueError::new_err(format!(
            "tags have {} columns, but must have 2",
            tags.ncols()
        )));
    }
    Ok(tags
        .rows()
        .into_iter()
        .map(|tag| u128::from(tag[0]) | u128::from(tag[1]) << 64)
        .collect())
}

/// Rows that have left a store.
struct Gone {
    slots: Vec<u32>,
    values: ValueBatch,
    weights: Option<Vec<f64>>,
    tags: Vec<u128>,
    n_threads: usize,
}

impl Gone {
    fn check(&self) -> PyResult<()> {
        let n_rows = self.slots.len();
        let n_weights = self.weights.as_ref().map_or(n_rows, Vec::len);
        for (what, got) in [
            ("X", self.values.len()),
            ("weight", n_weights),
            ("tags", self.tags.len()),
        ] {
            if got != n_rows {
                let expected = n_rows;
                return Err(RowsError::Length {
                    what,
                    got,
                    expected,
                }
                .into());
            }
        }
        Ok(())
    }

    fn leave(self, model: &mut Model, store: &RowStore) -> PyResult<()> {
        let n_features = store.schema().n_features;
        match (store.values(), &self.values) {
            (Values::F32(Matrix::Dense(rows)), ValueBatch::F32(Batch::Dense(gone))) => {
                self.forget(model, store, rows, gone)
            }
            (Values::F64(Matrix::Dense(rows)), ValueBatch::F64(Batch::Dense(gone))) => {
                self.forget(model, store, rows, gone)
            }
            (Values::F32(Matrix::Csr(rows)), ValueBatch::F32(Batch::Csr(gone))) => {
                let [rows, gone] = [rows, gone].map(|entries| SparseRows {
                    entries,
                    n_features,
                });
                self.forget(model, store, rows, gone)
            }
            (Values::F64(Matrix::Csr(rows)), ValueBatch::F64(Batch::Csr(gone))) => {
                let [rows, gone] = [rows, gone].map(|entries| SparseRows {
                    entries,
                    n_features,
                });
                self.forget(model, store, rows, gone)
            }
            _ => Err(RowsError::Format.into()),
        }
    }

    fn forget<R: Rows, G: Rows<Scalar = R::Scalar>>(
        &self,
        model: &mut Model,
        store: &RowStore,
        rows: R,
        gone: G,
    ) -> PyResult<()> {
        let gone = GoneTable {
            rows: gone,
            weights: self.weights.as_deref(),
            tags: &self.tags,
        };
        let table = StoreTable {
            rows,
            store,
            n_threads: self.n_threads,
        };
        Ok(model.forget(&table, self.slots.clone(), &gone)?)
    }
}

/// Nearest center of rows: the first of the nearest.
#[pyfunction]
#[allow(non_snake_case)]
pub fn kmeans_predict<'py>(
    py: Python<'py>,
    X: &Object<'py>,
    centers: &Object<'py>,
    n_threads: usize,
) -> PyResult<Bound<'py, PyArray1<i32>>> {
    let labels = match centers_of::<f64>(centers) {
        Ok(centers) => read_rows::<f64, _>(py, X, &centers, Labels { n_threads })?,
        Err(_) => read_rows::<f32, _>(py, X, &centers_of::<f32>(centers)?, Labels { n_threads })?,
    };
    Ok(labels.into_pyarray(py))
}

/// Distances of rows to centers, (n, k).
#[pyfunction]
#[allow(non_snake_case)]
pub fn kmeans_transform<'py>(
    py: Python<'py>,
    X: &Object<'py>,
    centers: &Object<'py>,
    n_threads: usize,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let (distances, n_clusters) = if let Ok(centers) = centers_of::<f64>(centers) {
        (
            read_rows::<f64, _>(py, X, &centers, Distances { n_threads })?,
            centers.len(),
        )
    } else {
        let centers = centers_of::<f32>(centers)?;
        (
            read_rows::<f32, _>(py, X, &centers, Distances { n_threads })?,
            centers.len(),
        )
    };
    arrays::matrix(py, distances, n_clusters)
}

/// What is asked about rows.
trait Question: Send {
    type Answer: Send;
    fn ask<R: Rows>(self, rows: &R, n_rows: usize, centres: &Centres) -> Self::Answer;
}

struct Labels {
    n_threads: usize,
}

impl Question for Labels {
    type Answer = Vec<i32>;
    fn ask<R: Rows>(self, rows: &R, n_rows: usize, centres: &Centres) -> Vec<i32> {
        predict(rows, n_rows, centres, self.n_threads)
    }
}

struct Distances {
    n_threads: usize,
}

impl Question for Distances {
    type Answer = Vec<f64>;
    fn ask<R: Rows>(self, rows: &R, n_rows: usize, centres: &Centres) -> Vec<f64> {
        transform(rows, n_rows, centres, self.n_threads)
    }
}

fn centers_of<S: Scalar + Element>(centers: &Object<'_>) -> PyResult<Centres> {
    let centers = arrays::borrow::<S, Ix2>(centers, "centers")?;
    let centers = centers.as_array();
    if centers.is_empty() {
        return Err(PyValueError::new_err("centers is empty"));
    }
    let rows: Vec<f64> = centers
        .iter()
        .map(|&coordinate| coordinate.into())
        .collect();
    Ok(Centres::new(rows, centers.ncols()))
}

/// Ask about rows of the type of the centres: a matrix, or a tuple (indptr, indices, data).
fn read_rows<S: Scalar + Element, Q: Question>(
    py: Python<'_>,
    object: &Object<'_>,
    centres: &Centres,
    question: Q,
) -> PyResult<Q::Answer> {
    let n_features = centres.n_features();
    if object.is_instance_of::<PyTuple>() {
        let entries = csr::<S>(object, n_features)?;
        let n_rows = entries.len();
        let rows = SparseRows {
            entries: &entries,
            n_features,
        };
        return Ok(py.detach(|| question.ask(&rows, n_rows, centres)));
    }
    let array = in_c_order(arrays::borrow::<S, Ix2>(object, "X")?)?;
    let [n_rows, got] = [array.shape()[0], array.shape()[1]];
    if got != n_features {
        return Err(RowsError::Features {
            got,
            expected: n_features,
        }
        .into());
    }
    let rows = DenseRows {
        values: array.as_slice()?,
        n_features,
    };
    Ok(py.detach(|| question.ask(&rows, n_rows, centres)))
}
