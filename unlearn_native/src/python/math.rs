//! `ln`, `exp`, `log2`, `exp2` and `log_normalize`.

use numpy::PyUntypedArrayMethods;
use numpy::{
    IntoPyArray, PyArray2, PyArrayDyn, PyArrayMethods, PyReadonlyArray2, PyReadonlyArrayDyn,
};
use pyo3::prelude::*;

use super::matrices::in_c_order;
use crate::math;

/// Natural logarithm, the same bits on every machine.
#[pyfunction]
pub fn ln<'py>(
    py: Python<'py>,
    x: PyReadonlyArrayDyn<'py, f64>,
) -> PyResult<Bound<'py, PyArrayDyn<f64>>> {
    map(py, x, math::ln)
}

/// e**x, the same bits on every machine.
#[pyfunction]
pub fn exp<'py>(
    py: Python<'py>,
    x: PyReadonlyArrayDyn<'py, f64>,
) -> PyResult<Bound<'py, PyArrayDyn<f64>>> {
    map(py, x, math::exp)
}

/// Logarithm to base 2, the same bits on every machine.
#[pyfunction]
pub fn log2<'py>(
    py: Python<'py>,
    x: PyReadonlyArrayDyn<'py, f64>,
) -> PyResult<Bound<'py, PyArrayDyn<f64>>> {
    map(py, x, math::log2)
}

/// 2**x, the same bits on every machine.
#[pyfunction]
pub fn exp2<'py>(
    py: Python<'py>,
    x: PyReadonlyArrayDyn<'py, f64>,
) -> PyResult<Bound<'py, PyArrayDyn<f64>>> {
    map(py, x, math::exp2)
}

fn map<'py>(
    py: Python<'py>,
    x: PyReadonlyArrayDyn<'py, f64>,
    function: fn(f64) -> f64,
) -> PyResult<Bound<'py, PyArrayDyn<f64>>> {
    let x = in_c_order(x)?;
    let slice = x.as_slice()?;
    let values: Vec<f64> = py.detach(|| slice.iter().map(|&value| function(value)).collect());
    values.into_pyarray(py).reshape(x.shape().to_vec())
}

/// Joint log likelihoods (n, k) less their log-sum-exp of each row, in order of the classes.
#[pyfunction]
pub fn log_normalize<'py>(
    py: Python<'py>,
    jll: PyReadonlyArray2<'py, f64>,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let jll = in_c_order(jll)?;
    let [n, k] = [jll.shape()[0], jll.shape()[1]];
    let mut rows = jll.as_slice()?.to_vec();
    py.detach(|| math::log_normalize(&mut rows, k));
    rows.into_pyarray(py).reshape([n, k])
}
