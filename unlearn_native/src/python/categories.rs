//! `CategoryCounts` and `categorical_joint_log_likelihood`.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use numpy::PyUntypedArrayMethods;
use numpy::{
    Element, IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2,
};
use pyo3::exceptions::{PyIndexError, PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::matrices::{Matrix, in_c_order};
use crate::categories::{self, Batch, CategoryError, OutOfRange};

impl From<CategoryError> for PyErr {
    fn from(error: CategoryError) -> Self {
        let message = error.to_string();
        match error {
            CategoryError::OutOfMemory => PyMemoryError::new_err(message),
            CategoryError::NoSuchFeature { .. } => PyIndexError::new_err(message),
            _ => PyValueError::new_err(message),
        }
    }
}

impl From<OutOfRange> for PyErr {
    fn from(error: OutOfRange) -> Self {
        PyIndexError::new_err(error.to_string())
    }
}

/// Category counts per feature and class slot, exact under learning and forgetting.
#[pyclass(frozen, module = "_unlearn_native._native")]
pub struct CategoryCounts {
    counts: RwLock<categories::CategoryCounts>,
    n_features: usize,
}

/// What is done with a batch.
#[derive(Clone, Copy)]
enum Change {
    Learn,
    Forget,
}

impl CategoryCounts {
    // A panic is a bug, but then the counts are rebuilt from the rows by their owner: a poisoned lock is taken all the same.
    fn read(&self) -> RwLockReadGuard<'_, categories::CategoryCounts> {
        self.counts.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, categories::CategoryCounts> {
        self.counts.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(
        &self,
        py: Python<'_>,
        x: Matrix<'_>,
        slots: PyReadonlyArray1<'_, i32>,
        weights: Option<PyReadonlyArray1<'_, f64>>,
        change: Change,
    ) -> PyResult<()> {
        let slots = in_c_order(slots)?;
        let weights = weights.map(in_c_order).transpose()?;
        let weights = weights
            .as_ref()
            .map(|weights| weights.as_slice())
            .transpose()?;
        match x {
            Matrix::Double(x) => self.change_rows(py, x, slots.as_slice()?, weights, change),
            Matrix::Single(x) => self.change_rows(py, x, slots.as_slice()?, weights, change),
        }
    }

    fn shrinking<T: Element + Copy + Into<f64>>(
        &self,
        py: Python<'_>,
        x: PyReadonlyArray2<'_, T>,
        least: &[usize],
    ) -> PyResult<usize> {
        let x = rows_of(x, self.n_features)?;
        let values = x.as_slice()?;
        Ok(py.detach(|| self.read().n_shrinking(values, least)))
    }

    fn change_rows<T: Element + Copy + Into<f64>>(
        &self,
        py: Python<'_>,
        x: PyReadonlyArray2<'_, T>,
        slots: &[i32],
        weights: Option<&[f64]>,
        change: Change,
    ) -> PyResult<()> {
        let x = rows_of(x, self.n_features)?;
        let batch = Batch {
            x: x.as_slice()?,
            slots,
            weights,
        };
        py.detach(|| match change {
            Change::Learn => self.write().learn(batch),
            Change::Forget => self.write().forget(batch),
        })?;
        Ok(())
    }
}

/// X in C order, of the right width.
fn rows_of<T: Element>(
    x: PyReadonlyArray2<'_, T>,
    n_features: usize,
) -> PyResult<PyReadonlyArray2<'_, T>> {
    let width = x.shape()[1];
    if width == n_features {
        in_c_order(x)
    } else {
        let message =
            format!("X has {width} features, but {n_features} are expected. Nothing was changed.");
        Err(PyValueError::new_err(message))
    }
}

fn slot_indices(slots: &PyReadonlyArray1<'_, i32>) -> PyResult<Vec<usize>> {
    let indices: Vec<usize> = slots
        .as_array()
        .iter()
        .filter_map(|&slot| usize::try_from(slot).ok())
        .collect();
    match slots.len() - indices.len() {
        0 => Ok(indices),
        wrong => Err(CategoryError::NegativeSlots {
            wrong,
            total: slots.len(),
        }
        .into()),
    }
}

#[pymethods]
impl CategoryCounts {
    #[new]
    fn new(n_features: usize) -> PyResult<Self> {
        Ok(Self {
            counts: RwLock::new(categories::CategoryCounts::new(n_features)?),
            n_features,
        })
    }

    /// Number of features.
    #[getter]
    fn n_features(&self) -> usize {
        self.n_features
    }

    /// One more than the largest class slot that there is room for.
    #[getter]
    fn n_slots(&self, py: Python<'_>) -> usize {
        py.detach(|| self.read().n_slots())
    }

    /// Raise ValueError unless X holds only integers from 0 to 2**24 - 1.
    fn check(&self, py: Python<'_>, x: Matrix<'_>) -> PyResult<()> {
        match x {
            Matrix::Double(x) => check(py, x, self.n_features),
            Matrix::Single(x) => check(py, x, self.n_features),
        }
    }

    /// Learn rows; on a ValueError nothing has changed.
    #[pyo3(signature = (x, codes, weight=None))]
    fn learn(
        &self,
        py: Python<'_>,
        x: Matrix<'_>,
        codes: PyReadonlyArray1<'_, i32>,
        weight: Option<PyReadonlyArray1<'_, f64>>,
    ) -> PyResult<()> {
        self.change(py, x, codes, weight, Change::Learn)
    }

    /// Forget rows that were learned with these values, class slots and weights; on a ValueError nothing has changed.
    #[pyo3(signature = (x, codes, weight=None))]
    fn forget(
        &self,
        py: Python<'_>,
        x: Matrix<'_>,
        codes: PyReadonlyArray1<'_, i32>,
        weight: Option<PyReadonlyArray1<'_, f64>>,
    ) -> PyResult<()> {
        self.change(py, x, codes, weight, Change::Forget)
    }

    /// One more than the largest live category of each feature; 0 without rows.
    fn n_categories<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let sizes = py.detach(|| self.read().n_categories());
        let sizes = sizes
            .into_iter()
            .map(i64::try_from)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(sizes.into_pyarray(py))
    }

    /// How many features would lose their largest category with these rows, those with at most `least` categories aside.
    fn n_shrinking(
        &self,
        py: Python<'_>,
        x: Matrix<'_>,
        least: PyReadonlyArray1<'_, i64>,
    ) -> PyResult<usize> {
        let least = least
            .as_array()
            .iter()
            .map(|&least| usize::try_from(least))
            .collect::<Result<Vec<_>, _>>()?;
        if least.len() != self.n_features {
            let message = format!(
                "least has {} entries for {} features.",
                least.len(),
                self.n_features
            );
            return Err(PyValueError::new_err(message));
        }
        match x {
            Matrix::Double(x) => self.shrinking(py, x, &least),
            Matrix::Single(x) => self.shrinking(py, x, &least),
        }
    }

    /// Size of the tables in bytes.
    #[getter]
    fn nbytes(&self, py: Python<'_>) -> usize {
        py.detach(|| self.read().nbytes())
    }

    /// Total weight of class slots, each rounded once.
    fn class_sums<'py>(
        &self,
        py: Python<'py>,
        slots: PyReadonlyArray1<'py, i32>,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let slots = slot_indices(&slots)?;
        Ok(py
            .detach(|| self.read().class_sums(&slots))
            .into_pyarray(py))
    }

    /// Rows of class slots.
    fn class_rows<'py>(
        &self,
        py: Python<'py>,
        slots: PyReadonlyArray1<'py, i32>,
    ) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let slots = slot_indices(&slots)?;
        Ok(py
            .detach(|| self.read().class_rows(&slots))
            .into_pyarray(py))
    }

    /// Summed weights of a feature, of shape (n_slots asked for, n_categories), padded by zeros.
    fn category_sums<'py>(
        &self,
        py: Python<'py>,
        feature: usize,
        slots: PyReadonlyArray1<'py, i32>,
        n_categories: usize,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let slots = slot_indices(&slots)?;
        let sums = py.detach(|| self.read().category_sums(feature, &slots, n_categories))?;
        sums.into_pyarray(py).reshape([slots.len(), n_categories])
    }

    /// Canonical bytes of the exact sums: a function of the rows, whatever the history and the numbers of the slots.
    fn sums_digest_parts<'py>(
        &self,
        py: Python<'py>,
        slots: PyReadonlyArray1<'py, i32>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let slots = slot_indices(&slots)?;
        Ok(PyBytes::new(
            py,
            &py.detach(|| self.read().sums_digest_parts(&slots)),
        ))
    }

    /// Give back the room of a slot whose rows are all gone; ValueError if some are left.
    fn drop_slot(&self, py: Python<'_>, slot: usize) -> PyResult<()> {
        Ok(py.detach(|| self.write().drop_slot(slot))?)
    }
}

fn check<T: Element + Copy + Into<f64>>(
    py: Python<'_>,
    x: PyReadonlyArray2<'_, T>,
    n_features: usize,
) -> PyResult<()> {
    let x = rows_of(x, n_features)?;
    let values = x.as_slice()?;
    Ok(py.detach(|| categories::check(values, n_features))?)
}

/// Joint log likelihoods (n, k): over features in order, the row of `tables[f]` that X names, and then `bias`.
#[pyfunction]
pub fn categorical_joint_log_likelihood<'py>(
    py: Python<'py>,
    x: Matrix<'py>,
    tables: Vec<PyReadonlyArray2<'py, f64>>,
    bias: PyReadonlyArray1<'py, f64>,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    match x {
        Matrix::Double(x) => joint_log_likelihood(py, x, tables, bias),
        Matrix::Single(x) => joint_log_likelihood(py, x, tables, bias),
    }
}

fn joint_log_likelihood<'py, T: Element + Copy + Into<f64>>(
    py: Python<'py>,
    x: PyReadonlyArray2<'py, T>,
    tables: Vec<PyReadonlyArray2<'py, f64>>,
    bias: PyReadonlyArray1<'py, f64>,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let [n, k] = [x.shape()[0], bias.len()];
    let wrong = tables.iter().filter(|table| table.shape()[1] != k).count();
    if wrong > 0 {
        let message = format!(
            "{wrong} of {} tables do not have a column for each of {k} classes.",
            tables.len()
        );
        return Err(PyValueError::new_err(message));
    }
    let x = rows_of(x, tables.len())?;
    let bias = in_c_order(bias)?;
    let tables = tables
        .into_iter()
        .map(in_c_order)
        .collect::<PyResult<Vec<_>>>()?;
    let entries = tables
        .iter()
        .map(|table| table.as_slice())
        .collect::<Result<Vec<_>, _>>()?;
    let (values, bias) = (x.as_slice()?, bias.as_slice()?);
    let out = py.detach(|| categories::joint_log_likelihood(values, &entries, bias, n))?;
    out.into_pyarray(py).reshape([n, k])
}
