//! Portable `ln`, `exp`, their twins to base 2, and log-sum-exp: the same bits on every machine, for a row alone and in bulk.
//!
//! Other versions of these functions change with the CPU's vector level; the libm crate is plain arithmetic.

/// Natural logarithm.
#[must_use]
pub fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// e to the power of `x`.
#[must_use]
pub fn exp(x: f64) -> f64 {
    libm::exp(x)
}

/// Logarithm to base 2.
#[must_use]
pub fn log2(x: f64) -> f64 {
    libm::log2(x)
}

/// 2 to the power of `x`.
#[must_use]
pub fn exp2(x: f64) -> f64 {
    libm::exp2(x)
}

/// Subtracts from every row of `k` log likelihoods the logarithm of its summed exponentials, in place.
///
/// Shifted by the row's maximum and summed in order of the classes. A row of nothing but -inf becomes NaN.
pub fn log_normalize(rows: &mut [f64], k: usize) {
    if k == 0 {
        return;
    }
    for row in rows.chunks_exact_mut(k) {
        let maximum = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // An infinite maximum cannot be subtracted: inf - inf is NaN for every class, not just for those at it.
        let shift = if maximum.is_finite() { maximum } else { 0.0 };
        let mut total = 0.0;
        for value in &mut *row {
            *value -= shift;
            total += exp(*value);
        }
        let log_total = ln(total);
        for value in row {
            *value -= log_total;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The neighbours in the order of the real numbers are at most one step apart.
    fn within_one_ulp(found: f64, expected: f64) -> bool {
        found.to_bits().abs_diff(expected.to_bits()) <= 1
    }

    #[test]
    fn known_values() {
        assert_eq!(ln(1.0).to_bits(), 0.0_f64.to_bits());
        assert_eq!(exp(0.0).to_bits(), 1.0_f64.to_bits());
        assert!(within_one_ulp(exp(1.0), std::f64::consts::E));
        assert!(within_one_ulp(ln(2.0), std::f64::consts::LN_2));
        assert!(within_one_ulp(ln(10.0), std::f64::consts::LN_10));
        assert!(ln(0.0) == f64::NEG_INFINITY && exp(f64::NEG_INFINITY) == 0.0);
        for power in [-1074, -1022, -1, 0, 1, 52, 1023] {
            let exponent = f64::from(power);
            assert_eq!(log2(exp2(exponent)).to_bits(), exponent.to_bits());
        }
        assert!(within_one_ulp(exp2(0.5), std::f64::consts::SQRT_2));
        assert!(within_one_ulp(log2(10.0), std::f64::consts::LOG2_10));
    }

    #[test]
    fn degenerate_rows() {
        let mut rows = [
            f64::NEG_INFINITY,
            f64::NEG_INFINITY,
            -1e300,
            f64::NEG_INFINITY,
        ];
        log_normalize(&mut rows, 2);
        assert!(rows[0].is_nan() && rows[1].is_nan());
        assert_eq!(rows[2..], [0.0, f64::NEG_INFINITY]);

        let mut certain = [f64::INFINITY, 0.0];
        log_normalize(&mut certain, 2);
        assert!(certain[0].is_nan() && certain[1] == f64::NEG_INFINITY);

        let mut alone = [-745.0, 3.5];
        log_normalize(&mut alone, 1);
        assert_eq!(alone.map(f64::to_bits), [0, 0]);

        log_normalize(&mut [], 0);
    }

    #[test]
    fn equal_classes_share_equally() {
        let mut row = [-700.0; 4];
        log_normalize(&mut row, 4);
        assert!(
            row.iter()
                .all(|&value| within_one_ulp(value, -(4.0_f64.ln())))
        );
    }

    proptest! {
        /// A row alone has the bits it has in bulk, and its probabilities sum to one: k roundings of exp, k of the sum.
        #[test]
        fn rows_are_independent(rows in prop::collection::vec(-800.0..800.0, 1..5), k in 1_u8..4) {
            let tolerance = 8.0 * f64::EPSILON * (f64::from(k) + 1.0);
            let k = usize::from(k);
            let rows = rows.repeat(k);
            let mut bulk = rows.clone();
            log_normalize(&mut bulk, k);
            for (mut row, normalized) in rows.chunks(k).map(<[f64]>::to_vec).zip(bulk.chunks(k)) {
                log_normalize(&mut row, k);
                prop_assert_eq!(&row, normalized);
                let total: f64 = row.iter().map(|&value| exp(value)).sum();
                prop_assert!((total - 1.0).abs() < tolerance);
            }
        }
    }
}
