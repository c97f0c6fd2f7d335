//! Thin Python shells: convert, detach, map errors. Nothing else in the crate knows Python.

use pyo3::prelude::*;

/// Integer that `skunlearn` compares at import: raised whenever a signature, a dtype or the meaning of an array changes.
const ABI: u32 = 1;

/// Private extension module of scikit-unlearn.
#[pymodule(gil_used = false)]
mod _native {
    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("ABI", ABI)
    }

    /// "dev" or "release": benchmarks and the demo refuse the first.
    #[pyfunction]
    fn build_profile() -> &'static str {
        if cfg!(debug_assertions) { "dev" } else { "release" }
    }
}
