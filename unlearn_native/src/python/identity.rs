//! Shell of `identity`.

use numpy::PyArray2;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::arrays;
use crate::rows;

/// Keyed BLAKE3 hash of `purpose`, a NUL, and `data`: 32 bytes.
#[pyfunction]
pub fn prf<'py>(
    py: Python<'py>,
    key: &[u8],
    purpose: &str,
    data: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let key = arrays::key(key, "key")?;
    Ok(PyBytes::new(
        py,
        &crate::identity::prf(&key, purpose, data)?,
    ))
}

/// Tags of sample ids, `[low, high]` 64 bits a row: the first 128 bits of `prf(key, "row", kind + id)`.
#[pyfunction]
pub fn row_tags<'py>(
    py: Python<'py>,
    key: &[u8],
    ids: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray2<u64>>> {
    let key = arrays::key(key, "key")?;
    let ids = arrays::keys(ids, "ids")?;
    arrays::matrix(py, py.detach(|| rows::row_tags(&key, &ids)), 2)
}
