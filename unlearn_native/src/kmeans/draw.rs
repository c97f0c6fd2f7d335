//! Every random choice of k-means, and the seeded thresholds of its grids: pure functions of the key and of row tags.
//!
//! # Definition
//!
//! `words(purpose, data)` are the first 16 bytes of the PRF of [`crate::identity`], as two little-endian u64 `(a, b)`.
//!
//! * A **row draw** (one number a row, for one use) has two words: of `"kmeans seeding"` and the restart and the step,
//!   two little-endian u32; or of `"kmeans coreset"` and nothing. Its word for a row of tag `high * 2^64 + low` is
//!   `finish(upper ^ lower)`, `upper` and `lower` the halves of the 128-bit product `(low ^ a) * (high ^ b)`, and
//!   `finish` the finaliser of `SplitMix64`.
//! * The **uniform number** of a word is `((word >> 12) + 1/2) / 2^52`, inside (0, 1) and exact, as is its complement.
//! * The **race** value of a row is `-ln(uniform) / mass`, at most `f64::MAX`, but infinite where the mass is 0: the
//!   smallest of them are rows drawn without replacement with chances proportional to their mass. Ties go by tag, as a 128-bit number.
//! * The **threshold** of a column is `a >> 12`, `a` the first word of `"kmeans threshold"` and the column, a
//!   little-endian u32; that of the weights is the same of `"kmeans weight threshold"` and nothing. It is the fraction
//!   of a number in [1, 2).
//! * The **exponent** of a value `±m 2^p`, m in [1, 2), is `p + 1`, and one more where m reaches the threshold: so
//!   `|value| < 2^exponent`, and values that many rows share (1, after scaling) do not sit on the edge of an octave.
//! * A **phase** is the uniform number of `a`, the first word of `"kmeans phase"` and the name of its use.
//!
//! # Rationale
//!
//! A keyed hash a row and step would cost more than the distances of the step. The tag is such a hash already, and the
//! two words are secret, too: a multiplication and a finaliser make of both a number that nobody can steer or foresee
//! without the key.

use crate::identity::{PrfKey, prf};
use crate::math::ln;

/// Bits of the fraction of an f64.
const FRACTION_BITS: u32 = 52;

/// Words of a purpose; those of this module hold no NUL.
fn words(key: &PrfKey, purpose: &str, data: &[u8]) -> [u64; 2] {
    let hash = prf(key, purpose, data).expect("no purpose of this module holds a NUL");
    let (low, rest) = hash.split_first_chunk::<8>().unwrap_or((&[0; 8], &[])); // 32 bytes have two parts of 8
    let (high, _) = rest.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    [u64::from_le_bytes(*low), u64::from_le_bytes(*high)]
}

/// One pseudo-random number a row, for one use.
#[derive(Clone, Copy, Debug)]
pub struct RowDraw {
    words: [u64; 2],
}

impl RowDraw {
    /// The numbers that choose the candidates of a step of the seeding.
    #[must_use]
    pub fn seeding(key: &PrfKey, restart: u32, step: u32) -> Self {
        let mut data = [0; 8];
        data[..4].copy_from_slice(&restart.to_le_bytes());
        data[4..].copy_from_slice(&step.to_le_bytes());
        Self {
            words: words(key, "kmeans seeding", &data),
        }
    }

    /// The numbers that decide which rows are in the coreset.
    #[must_use]
    pub fn coreset(key: &PrfKey) -> Self {
        Self {
            words: words(key, "kmeans coreset", &[]),
        }
    }

    /// 64 pseudo-random bits of a row.
    #[inline]
    #[must_use]
    pub fn word(self, tag: u128) -> u64 {
        let [low, high] = halves(tag);
        let [low, high] =
            halves(u128::from(low ^ self.words[0]) * u128::from(high ^ self.words[1]));
        finish(low ^ high)
    }

    /// A number of a row, uniform in (0, 1).
    #[inline]
    #[must_use]
    pub fn uniform(self, tag: u128) -> f64 {
        uniform(self.word(tag))
    }
}

#[inline]
#[allow(
    clippy::cast_possible_truncation,
    reason = "the halves of a u128 are what is wanted"
)]
fn halves(wide: u128) -> [u64; 2] {
    [wide as u64, (wide >> 64) as u64]
}

/// Finaliser of `SplitMix64`.
#[inline]
fn finish(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[inline]
#[allow(
    clippy::cast_precision_loss,
    reason = "52 bits and a half are exact in an f64"
)]
fn uniform(word: u64) -> f64 {
    ((word >> (64 - FRACTION_BITS)) as f64 + 0.5) / (1_u64 << FRACTION_BITS) as f64
}

/// Race value of a row: the smallest ones win.
#[inline]
#[must_use]
pub fn race(uniform: f64, mass: f64) -> f64 {
    if mass > 0.0 {
        (-ln(uniform) / mass).min(f64::MAX)
    } else {
        f64::INFINITY
    }
}

/// Threshold of the exponents of a column.
#[must_use]
pub fn threshold(key: &PrfKey, column: u32) -> u64 {
    words(key, "kmeans threshold", &column.to_le_bytes())[0] >> (64 - FRACTION_BITS)
}

/// Threshold of the exponents of weights.
#[must_use]
pub fn weight_threshold(key: &PrfKey) -> u64 {
    words(key, "kmeans weight threshold", &[])[0] >> (64 - FRACTION_BITS)
}

/// The least e with `|value| < 2^e`, or one more where the fraction of the value reaches `threshold`; None for 0.
#[inline]
#[must_use]
pub fn exponent(value: f64, threshold: u64) -> Option<i32> {
    const NORMAL: f64 = 4_503_599_627_370_496.0; // 2^52
    let magnitude = value.abs();
    if magnitude == 0.0 {
        return None;
    }
    let (bits, lifted) = if magnitude < f64::MIN_POSITIVE {
        ((magnitude * NORMAL).to_bits(), 52)
    } else {
        (magnitude.to_bits(), 0)
    };
    let power = i32::try_from(bits >> FRACTION_BITS).unwrap_or(0) - 1023 - lifted;
    let fraction = bits & ((1 << FRACTION_BITS) - 1);
    Some(power + 1 + i32::from(fraction >= threshold))
}

/// Phase of a rounding, in (0, 1); `use_name` says of which: "choice", "spread" or "mass".
#[must_use]
pub fn phase(key: &PrfKey, use_name: &str) -> f64 {
    uniform(words(key, "kmeans phase", use_name.as_bytes())[0])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: PrfKey = *b"0123456789abcdef0123456789abcdef";
    const TAG: u128 = 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210;

    /// Frozen: the oracle of the Python tests holds the same numbers.
    #[test]
    fn known_draws() {
        assert_eq!(
            RowDraw::seeding(&KEY, 0, 0).word(TAG),
            0x5ec4_2919_bb54_f29e
        );
        assert_eq!(
            RowDraw::seeding(&KEY, 3, 7).word(TAG),
            0x2fea_763d_9bc5_2138
        );
        assert_eq!(RowDraw::coreset(&KEY).word(TAG), 0x69a5_a57b_8ffa_fdf5);
        assert_eq!(threshold(&KEY, 0), 0x1793_6dc3_dcca);
        assert_eq!(threshold(&KEY, 5), 0x5_6cd6_1876_21e1);
        assert_eq!(weight_threshold(&KEY), 0x8_711e_231e_7cde);
        assert_eq!(phase(&KEY, "choice").to_bits(), 0x3fde_36e3_5197_852a);
    }

    #[test]
    fn exponents_at_the_edges() {
        let half = 1 << (FRACTION_BITS - 1);
        for (value, want) in [
            (0.0, None),
            (-0.0, None),
            (1.0, Some(1)),
            (1.5, Some(2)),
            (-1.499_999, Some(1)),
            (2.0, Some(2)),
            (0.75, Some(1)),
            (f64::MAX, Some(1025)),
            (f64::MIN_POSITIVE, Some(-1021)),
            (5e-324, Some(-1073)),
            (1.5e-323, Some(-1071)),
        ] {
            assert_eq!(exponent(value, half), want, "{value:e}");
        }
    }

    #[test]
    fn a_mass_of_zero_never_wins() {
        assert!(race(0.5, 0.0) == f64::INFINITY);
        assert!(race(0.5, 2.0) < race(0.5, 1.0));
    }

    proptest! {
        /// A uniform number and its complement are exact, so `1 - u <= -ln u` needs no slack but that of the logarithm.
        #[test]
        fn uniform_numbers_are_inside(word: u64) {
            let u = uniform(word);
            prop_assert!(0.0 < u && u < 1.0);
            prop_assert_eq!((1.0 - (1.0 - u)).to_bits(), u.to_bits());
        }

        #[test]
        fn values_stay_below_their_exponent(value in any::<f64>().prop_filter("finite", |v| v.is_finite()), fraction: u64) {
            if let Some(e) = exponent(value, fraction >> 12) {
                prop_assert!(libm::ldexp(value.abs(), -e) < 1.0);
                prop_assert!(libm::ldexp(value.abs(), 2 - e) >= 1.0);
            }
        }
    }
}
