//! Shell of `forest::mix`.

use numpy::{Ix2, PyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::arrays;
use crate::forest::mix;

/// How often rows are in each tree of a forest, as uint8 of shape (n_rows, n_trees).
///
/// With a share, each row is once in that share of the trees; without, Poisson(1) times in each.
#[pyfunction]
#[pyo3(signature = (key, tags, *, n_trees, share))]
pub fn forest_copies<'py>(
    py: Python<'py>,
    key: &[u8],
    tags: &Bound<'py, PyAny>,
    n_trees: u32,
    share: Option<f64>,
) -> PyResult<Bound<'py, PyArray2<u8>>> {
    let key = arrays::key(key, "key")?;
    let tags = arrays::borrow::<u64, Ix2>(tags, "tags")?;
    let tags = tags.as_array();
    if tags.ncols() != 2 {
        let found = tags.ncols();
        return Err(PyValueError::new_err(format!(
            "tags has {found} columns, but must have 2"
        )));
    }
    let rows: Vec<u128> = tags
        .rows()
        .into_iter()
        .map(|tag| u128::from(tag[1]) << 64 | u128::from(tag[0]))
        .collect();
    let copies = py.detach(|| mix::copies(&key, rows.into_iter(), n_trees, share))?;
    arrays::matrix(py, copies, n_trees as usize)
}
