//! `DBSCAN`.

use std::sync::{PoisonError, RwLock};

use numpy::{IntoPyArray, Ix2, PyArray1, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::arrays::{self, copy_1d};
use super::kmeans::with_table;
use super::matrices::in_c_order;
use super::rows::PyRowStore;
use crate::dbscan::metric::Metric;
use crate::dbscan::model::{DbscanError, Gone, Model, Params};
use crate::kmeans::table::{SparseRows, StoreTable};
use crate::rows::RowsError;
use crate::values::{Matrix, Values};

type Object<'py> = Bound<'py, PyAny>;

impl From<DbscanError> for PyErr {
    fn from(error: DbscanError) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

/// DBSCAN over the rows of a store, which it mirrors slot by slot: it holds none of them.
///
/// A call that says that the store is out of step, or that fails otherwise, is to be followed by `rebuild`.
#[pyclass(frozen, name = "DBSCAN", module = "_unlearn_native._native")]
pub struct PyDbscan {
    model: RwLock<Model>,
}

impl PyDbscan {
    // Locks are taken in the order store, model, and while detached. A panic is a bug, but then the owner rebuilds.
    fn read<R: Send>(&self, py: Python<'_>, run: impl FnOnce(&Model) -> R + Send) -> R {
        py.detach(|| run(&self.model.read().unwrap_or_else(PoisonError::into_inner)))
    }

    fn write<R>(&self, run: impl FnOnce(&mut Model) -> R) -> R {
        run(&mut self.model.write().unwrap_or_else(PoisonError::into_inner))
    }
}

#[pymethods]
impl PyDbscan {
    #[new]
    #[pyo3(signature = (*, eps, min_samples, metric))]
    fn new(eps: f64, min_samples: u64, metric: &str) -> PyResult<Self> {
        let metric = Metric::named(metric).ok_or_else(|| {
            PyValueError::new_err(format!(
                "metric must be \"euclidean\", \"manhattan\" or \"chebyshev\", got {metric:?}"
            ))
        })?;
        let params = Params {
            eps,
            min_samples,
            metric,
        };
        Ok(Self {
            model: RwLock::new(Model::new(params)?),
        })
    }

    /// Derive everything from all rows of a store.
    fn rebuild(&self, py: Python<'_>, store: &PyRowStore, n_threads: usize) {
        store.read(py, |store| {
            self.write(|model| with_table!(store, n_threads, table => model.rebuild(table)));
        });
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

    /// Forget rows that were erased from the store: the slots they had, ascending, and what was there, dense.
    #[pyo3(signature = (store, slots, X, weight, n_threads))]
    #[allow(non_snake_case)]
    fn forget(
        &self,
        py: Python<'_>,
        store: &PyRowStore,
        slots: &Object<'_>,
        X: &Object<'_>,
        weight: Option<&Object<'_>>,
        n_threads: usize,
    ) -> PyResult<()> {
        let slots = copy_1d::<u32>(slots, "slots")?;
        let values = in_c_order(arrays::borrow::<f64, Ix2>(X, "X")?)?;
        let [n_rows, n_features] = [values.shape()[0], values.shape()[1]];
        let values = values.as_slice()?;
        let weights = weight
            .map(|weight| copy_1d::<f64>(weight, "weight"))
            .transpose()?;
        check_length("X", n_rows, slots.len())?;
        check_length("weight", weights.as_ref().map_or(n_rows, Vec::len), n_rows)?;
        let gone = Gone {
            values,
            weights: weights.as_deref(),
        };
        store.read(py, |store| {
            let expected = store.schema().n_features;
            if n_features != expected {
                let got = n_features;
                return Err(RowsError::Features { got, expected }.into());
            }
            Ok(self.write(
                |model| with_table!(store, n_threads, table => model.forget(table, slots, gone)),
            )?)
        })
    }

    /// Bytes allocated.
    #[getter]
    fn nbytes(&self, py: Python<'_>) -> usize {
        self.read(py, Model::nbytes)
    }

    /// Labels of all rows in the order of their insertion, -1 of those in no cluster.
    fn labels<'py>(
        &self,
        py: Python<'py>,
        store: &PyRowStore,
        n_threads: usize,
    ) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let labels = store.read(py, |store| {
            let order = store.insertion_order()?;
            let model = self.model.read().unwrap_or_else(PoisonError::into_inner);
            Ok::<_, PyErr>(with_table!(store, n_threads, table => model.labels(table, &order))?)
        })?;
        Ok(labels.into_pyarray(py))
    }

    /// Positions of the cores in the order of insertion.
    fn cores<'py>(
        &self,
        py: Python<'py>,
        store: &PyRowStore,
    ) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let cores = store.read(py, |store| {
            let order = store.insertion_order()?;
            let model = self.model.read().unwrap_or_else(PoisonError::into_inner);
            Ok::<_, PyErr>(model.cores(&order)?)
        })?;
        Ok(cores.into_pyarray(py))
    }

    /// Hash of the pure state: a function of rows and parameters, free of slots and history.
    fn digest<'py>(&self, py: Python<'py>, store: &PyRowStore) -> PyResult<Bound<'py, PyBytes>> {
        let digest = store.read(py, |store| {
            let order = store.id_order()?;
            let model = self.model.read().unwrap_or_else(PoisonError::into_inner);
            Ok::<_, PyErr>(model.digest(&order)?)
        })?;
        Ok(PyBytes::new(py, &digest))
    }

    /// What the last change cost: "rows_searched" around, "cores_turned", and "clusters_split" off by a deletion.
    fn report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let report = self.read(py, Model::report);
        let out = PyDict::new(py);
        out.set_item("rows_searched", report.n_searched)?;
        out.set_item("cores_turned", report.n_turned)?;
        out.set_item("clusters_split", report.n_split)?;
        Ok(out)
    }
}

fn check_length(what: &'static str, got: usize, expected: usize) -> PyResult<()> {
    if got == expected {
        return Ok(());
    }
    Err(RowsError::Length {
        what,
        got,
        expected,
    }
    .into())
}
