//! Native half of scikit-unlearn. This file only wires.

#[cfg(feature = "python")]
mod python;
