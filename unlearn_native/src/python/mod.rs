//! Thin Python shells: convert, detach, map errors. Nothing else in the crate knows Python.

#![allow(
    clippy::doc_markdown,
    reason = "doc comments of exported items are Python docstrings"
)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "PyO3 hands arguments over by value"
)]

mod arrays;
mod categories;
mod dbscan;
mod errors;
mod exact;
mod forest;
mod identity;
mod kmeans;
mod math;
mod matrices;
mod mix;
mod noise;
mod rows;

use pyo3::pymodule;

/// Integer that `skunlearn` compares at import: raised whenever a signature, a dtype or the meaning of an array changes.
const ABI: u32 = 3;

/// Private extension module of scikit-unlearn.
#[pymodule(gil_used = false)]
mod _native {
    use pyo3::prelude::*;

    use super::ABI;

    #[pymodule_export]
    use super::categories::CategoryCounts;
    #[pymodule_export]
    use super::categories::categorical_joint_log_likelihood;
    #[pymodule_export]
    use super::dbscan::PyDbscan;
    #[pymodule_export]
    use super::exact::round_sums;
    #[pymodule_export]
    use super::exact::split_weights;
    #[pymodule_export]
    use super::forest::Forest;
    #[pymodule_export]
    use super::identity::prf;
    #[pymodule_export]
    use super::identity::row_tags;
    #[pymodule_export]
    use super::kmeans::PyKMeans;
    #[pymodule_export]
    use super::kmeans::kmeans_predict;
    #[pymodule_export]
    use super::kmeans::kmeans_transform;
    #[pymodule_export]
    use super::math::exp;
    #[pymodule_export]
    use super::math::exp2;
    #[pymodule_export]
    use super::math::ln;
    #[pymodule_export]
    use super::math::log_normalize;
    #[pymodule_export]
    use super::math::log2;
    #[pymodule_export]
    use super::mix::forest_copies;
    #[pymodule_export]
    use super::noise::discrete_gaussian;
    #[pymodule_export]
    use super::rows::PyRowStore;
    #[pymodule_export]
    use super::rows::seal;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("ABI", ABI)
    }

    /// "dev" or "release": benchmarks and the demo refuse the first.
    #[pyfunction]
    fn build_profile() -> &'static str {
        if cfg!(debug_assertions) {
            "dev"
        } else {
            "release"
        }
    }
}
