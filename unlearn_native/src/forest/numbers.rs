//! Conversions between numbers, each with what makes it right. To float64 they round to nearest, ties to even.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "this is where it is meant"
)]

/// The float nearest to an integer.
#[inline]
#[must_use]
pub fn nearest(integer: i64) -> f64 {
    integer as f64
}

/// The float nearest to a count.
#[inline]
#[must_use]
pub fn nearest_count(count: usize) -> f64 {
    count as f64
}

/// The float nearest to a wide integer: the narrow conversion is one instruction.
#[inline]
#[must_use]
pub fn nearest_wide(integer: u128) -> f64 {
    match u64::try_from(integer) {
        Ok(integer) => integer as f64,
        Err(_) => integer as f64,
    }
}

/// The float nearest to a wide integer.
#[inline]
#[must_use]
pub fn nearest_signed(integer: i128) -> f64 {
    let size = nearest_wide(integer.unsigned_abs());
    if integer < 0 { -size } else { size }
}

/// The integer nearest to a float, which is below 2^63 in size; else the closest there is.
#[inline]
#[must_use]
pub fn rint(x: f64) -> i64 {
    libm::rint(x) as i64
}

/// The same for floats below 2^127.
#[inline]
#[must_use]
pub fn rint_wide(x: f64) -> i128 {
    libm::rint(x) as i128
}

/// A product that is known to fit.
#[inline]
#[must_use]
pub fn narrowed(wide: u128) -> i64 {
    wide as i64
}

/// The low 64 bits.
#[inline]
#[must_use]
pub fn low(wide: i128) -> i64 {
    wide as i64
}

/// A number of nodes, features or rows, as Python has them.
#[inline]
#[must_use]
pub fn signed(count: usize) -> i64 {
    count as i64
}

/// A class slot, which was checked when its row came.
#[inline]
#[must_use]
pub fn slot(target: i64) -> usize {
    target as usize
}

/// Thresholds of a feature: `n_thresholds` is checked to be small.
#[inline]
#[must_use]
pub fn few(thresholds: usize) -> u16 {
    thresholds as u16
}
