//! `split_weights` and `round_sums`.

use numpy::{
    IntoPyArray, PyArray1, PyArray2, PyArrayDyn, PyArrayMethods, PyReadonlyArray1,
    PyReadonlyArrayDyn,
};
use numpy::{PyArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::matrices::in_c_order;
use crate::exact::{self, ExactError, Part};

impl From<ExactError> for PyErr {
    fn from(error: ExactError) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

/// Blocks (m,) and integers (m, 2).
type Split<'py> = (Bound<'py, PyArray1<u8>>, Bound<'py, PyArray2<i64>>);

/// Blocks and integers of finite weights >= 0: each weight is integer * 2**(32 block - 1126).
///
/// An integer is a row [low, high] of a little-endian 128-bit integer.
#[pyfunction]
pub fn split_weights<'py>(
    py: Python<'py>,
    weights: PyReadonlyArray1<'py, f64>,
) -> PyResult<Split<'py>> {
    let weights = in_c_order(weights)?;
    let slice = weights.as_slice()?;
    let parts = py.detach(|| exact::split_all(slice))?;
    let blocks: Vec<u8> = parts.iter().map(|part| part.block).collect();
    let halves: Vec<i64> = parts.iter().flat_map(|part| halves(part.integer)).collect();
    Ok((
        blocks.into_pyarray(py),
        halves.into_pyarray(py).reshape([parts.len(), 2])?,
    ))
}

/// Exact totals over blocks, each rounded once to float64; of the shape of each of `sums` without its last axis.
#[pyfunction]
pub fn round_sums<'py>(
    py: Python<'py>,
    blocks: Vec<u8>,
    sums: Vec<PyReadonlyArrayDyn<'py, i64>>,
) -> PyResult<Bound<'py, PyArrayDyn<f64>>> {
    exact::check_blocks(&blocks)?;
    let Some(shape) = common_shape(&sums).filter(|_| blocks.len() == sums.len()) else {
        return Err(PyValueError::new_err(
            "Give at least one block, and for each an int64 array of one shape (..., 2).",
        ));
    };
    let sums = sums
        .into_iter()
        .map(in_c_order)
        .collect::<PyResult<Vec<_>>>()?;
    let slices = sums
        .iter()
        .map(|sum| sum.as_slice())
        .collect::<Result<Vec<_>, _>>()?;
    let rounded = py.detach(|| round_each(&blocks, &slices));
    PyArray::from_vec(py, rounded).reshape(shape)
}

fn round_each(blocks: &[u8], sums: &[&[i64]]) -> Vec<f64> {
    let mut parts = Vec::with_capacity(blocks.len());
    (0..sums[0].len() / 2)
        .map(|cell| {
            parts.clear();
            parts.extend(blocks.iter().zip(sums).map(|(&block, sum)| {
                let integer =
                    i128::from(sum[2 * cell + 1]) << 64 | i128::from(sum[2 * cell].cast_unsigned());
                Part { block, integer }
            }));
            exact::round_sum(&parts)
        })
        .collect()
}

/// The shape of all arrays without their last axis, which must be 2; `None` if they differ or there are none.
fn common_shape(sums: &[PyReadonlyArrayDyn<'_, i64>]) -> Option<Vec<usize>> {
    let (first, others) = sums.split_first()?;
    let (&last, shape) = first.shape().split_last()?;
    (last == 2 && others.iter().all(|other| other.shape() == first.shape())).then(|| shape.to_vec())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "takes one half after the other"
)]
fn halves(integer: i128) -> [i64; 2] {
    [integer as i64, (integer >> 64) as i64]
}
