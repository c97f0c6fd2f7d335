//! Native half of scikit-unlearn. This file only wires.

pub mod categories;
pub mod chunked;
pub mod dbscan;
pub mod exact;
pub mod forest;
pub mod identity;
pub mod ids;
pub mod keys;
pub mod kmeans;
pub mod math;
pub mod noise;
pub mod pool;
pub mod rows;
pub mod subjects;
pub mod table;
pub mod values;
pub mod wire;

#[cfg(feature = "python")]
mod python;
