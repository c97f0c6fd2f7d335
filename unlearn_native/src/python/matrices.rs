//! Float matrices and vectors as slices, borrowed.

use numpy::ndarray::Dimension;
use numpy::{
    Element, PyArray2, PyArrayMethods, PyReadonlyArray, PyReadonlyArray2, PyUntypedArrayMethods,
};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// A float matrix of either width.
pub enum Matrix<'py> {
    /// Of float64.
    Double(PyReadonlyArray2<'py, f64>),
    /// Of float32.
    Single(PyReadonlyArray2<'py, f32>),
}

// Derived, this would write an error about the first width whenever it meets the second: longer than counting a row.
impl<'py> FromPyObject<'_, 'py> for Matrix<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(array) = object.cast::<PyArray2<f64>>() {
            return Ok(Self::Double(array.try_readonly()?));
        }
        match object.cast::<PyArray2<f32>>() {
            Ok(array) => Ok(Self::Single(array.try_readonly()?)),
            Err(_) => Err(PyTypeError::new_err(
                "X must be a 2-d numpy array of dtype float32 or float64. Convert it.",
            )),
        }
    }
}

/// The array itself if it is aligned and in C order, else a copy that is: then `as_slice` holds its rows one by one.
pub fn in_c_order<'py, T: Element, D: Dimension + 'py>(
    array: PyReadonlyArray<'py, T, D>,
) -> PyResult<PyReadonlyArray<'py, T, D>> {
    if array.is_c_contiguous() && array.is_aligned() {
        Ok(array)
    } else {
        Ok(array.call_method1("copy", ("C",))?.extract()?)
    }
}
