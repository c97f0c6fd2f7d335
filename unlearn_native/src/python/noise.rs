//! Shell of `noise`.

use numpy::{IntoPyArray, PyArray1};
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;

use super::arrays;
use crate::noise::{self, NoiseError};

impl From<NoiseError> for PyErr {
    fn from(error: NoiseError) -> Self {
        match error {
            NoiseError::Memory => PyMemoryError::new_err(error.to_string()),
            NoiseError::Scale => PyValueError::new_err(error.to_string()),
        }
    }
}

/// `n` independent integers from the discrete Gaussian of an integer scale, exactly; a function of 32 bytes.
#[pyfunction]
pub fn discrete_gaussian<'py>(
    py: Python<'py>,
    n: usize,
    scale: u64,
    seed: &[u8],
) -> PyResult<Bound<'py, PyArray1<i64>>> {
    let seed = arrays::key(seed, "seed")?;
    let samples = py.detach(|| noise::discrete_gaussian(n, scale, &seed))?;
    Ok(samples.into_pyarray(py))
}
