//! Exact sums of non-negative float64 weights.
//!
//! A weight `w` is `integer * 2^(32 block - 1126)`, where `block = (e + 1074) / 32` rounded down and `2^e <= w < 2^(e+1)`:
//! the block depends on the weight alone, never on the other rows, and `integer` stays below 2^85. A sum keeps one
//! i128 for each block that has rows, so 2^42 rows fit. Integers add and subtract exactly and in any order: taking a
//! weight out again leaves no trace. What is read is the exact total, rounded once.

use thiserror::Error;

/// Number of blocks: the largest float64 lies in block 65.
pub const N_BLOCKS: u8 = 66;
/// The block of weight 1.0.
pub const UNIT_BLOCK: u8 = 33;
/// Weight 1.0 is the integer `1 << UNIT_SHIFT` in its block.
pub const UNIT_SHIFT: u32 = 70;

/// The smallest subnormal, 2^-1074, is 2 to this power of units of block 0.
const SUBNORMAL_POSITION: usize = 52;
const HIDDEN_BIT: u64 = 1 << 52;

/// Part of a sum: `integer * 2^(32 block - 1126)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which power of 2^32 the integer counts.
    pub block: u8,
    /// Below 2^85 for one weight.
    pub integer: i128,
}

/// Why weights or sums were refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ExactError {
    /// Weights must be finite and not negative.
    #[error(
        "{wrong} of {total} weights are negative, infinite or NaN. Nothing was changed. Give finite weights >= 0."
    )]
    BadWeights {
        /// How many are wrong.
        wrong: usize,
        /// Of how many.
        total: usize,
    },
    /// A block index past the last.
    #[error(
        "{wrong} of {total} blocks are not below {N_BLOCKS}. Give the blocks that split_weights returned."
    )]
    BadBlocks {
        /// How many are wrong.
        wrong: usize,
        /// Of how many.
        total: usize,
    },
}

/// Splits a weight into its block and integer; `None` if it is negative, infinite or NaN.
///
/// Zero is integer 0 of block 0.
#[must_use]
pub fn split(weight: f64) -> Option<Part> {
    if !(0.0..f64::INFINITY).contains(&weight) {
        return None;
    }
    let biased = (weight.to_bits() >> 52) & 0x7ff;
    let fraction = weight.to_bits() & (HIDDEN_BIT - 1);
    // weight = mantissa * 2^(shift - 1126)
    let (mantissa, shift) = if biased == 0 {
        (fraction, 52)
    } else {
        (fraction | HIDDEN_BIT, biased + 51)
    };
    let Some(leading_bit) = mantissa.checked_ilog2() else {
        return Some(Part {
            block: 0,
            integer: 0,
        });
    };
    let block = (u64::from(leading_bit) + shift - 52) / 32;
    let integer = i128::from(mantissa) << (shift - 32 * block);
    Some(Part {
        block: u8::try_from(block).ok()?,
        integer,
    })
}

/// Splits every weight.
///
/// # Errors
/// If a weight is negative, infinite or NaN.
pub fn split_all(weights: &[f64]) -> Result<Vec<Part>, ExactError> {
    let parts: Vec<Part> = weights.iter().filter_map(|&weight| split(weight)).collect();
    match weights.len() - parts.len() {
        0 => Ok(parts),
        wrong => Err(ExactError::BadWeights {
            wrong,
            total: weights.len(),
        }),
    }
}

/// Checks blocks that come from outside.
///
/// # Errors
/// If a block is not below [`N_BLOCKS`].
pub fn check_blocks(blocks: &[u8]) -> Result<(), ExactError> {
    match blocks.iter().filter(|&&block| block >= N_BLOCKS).count() {
        0 => Ok(()),
        wrong => Err(ExactError::BadBlocks {
            wrong,
            total: blocks.len(),
        }),
    }
}

/// The exact total of `parts`, rounded once to the nearest float64, ties to even; infinite past the largest.
///
/// Blocks may repeat and integers may be negative, as long as every block is below [`N_BLOCKS`].
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "rounds to nearest, ties to even: that is what is asked for"
)]
pub fn round_sum(parts: &[Part]) -> f64 {
    match parts {
        [] => 0.0,
        // From block 4 on the result is zero or normal, so scaling by a power of two does not round again.
        [
            Part {
                block: block @ 4..,
                integer,
            },
        ] => *integer as f64 * block_unit(*block),
        _ => {
            let mut digits = [0_i64; N_DIGITS];
            add_digits(&mut digits, parts);
            let negative = settle_carries(&mut digits) < 0;
            if negative {
                digits = digits.map(|digit| -digit);
                settle_carries(&mut digits);
            }
            let magnitude = round_digits(&digits);
            if negative { -magnitude } else { magnitude }
        }
    }
}

/// The float64 2^(32 block - 1126), for a block from 4 on.
fn block_unit(block: u8) -> f64 {
    f64::from_bits((32 * u64::from(block) - 103) << 52)
}

/// 32 bits a digit: four of an i128 in the last block, and two for carries.
const N_DIGITS: usize = N_BLOCKS as usize + 5;

/// Adds every part to base-2^32 digits whose carries are settled later; an i64 digit has room for 2^31 parts.
#[expect(
    clippy::cast_possible_truncation,
    reason = "takes the low digit of what is left"
)]
fn add_digits(digits: &mut [i64; N_DIGITS], parts: &[Part]) {
    for &Part { block, integer } in parts {
        for (place, digit) in digits[usize::from(block)..].iter_mut().take(3).enumerate() {
            *digit += (integer >> (32 * place)) as i64 & 0xffff_ffff;
        }
        digits[usize::from(block) + 3] += (integer >> 96) as i64;
    }
}

/// Brings every digit into 0..2^32 and returns the last carry: -1 if the number is negative, else 0.
fn settle_carries(digits: &mut [i64; N_DIGITS]) -> i64 {
    let mut carry = 0;
    for digit in digits {
        let settled = *digit + carry;
        carry = settled >> 32;
        *digit = settled & 0xffff_ffff;
    }
    carry
}

/// Rounds a non-negative number of settled digits.
fn round_digits(digits: &[i64; N_DIGITS]) -> f64 {
    let Some(top) = digits.iter().rposition(|&digit| digit != 0) else {
        return 0.0;
    };
    // The leading 97 bits or more, flush left, and whether anything follows them.
    let (low, window) = digits.split_at((top + 1).saturating_sub(4));
    let leading = window[..=top - low.len()]
        .iter()
        .rev()
        .fold(0_u128, |bits, &digit| {
            bits << 32 | u128::from(digit.cast_unsigned())
        });
    let has_tail = low.iter().any(|&digit| digit != 0);
    let n_unused = leading.leading_zeros();
    let n_bits = 32 * low.len() + 128 - n_unused as usize;
    let leading = leading << n_unused;

    // Bits below `quantum` are rounded away: 53 are kept, fewer where the result is subnormal.
    let quantum = n_bits.saturating_sub(53).max(SUBNORMAL_POSITION);
    let Some(n_kept) = n_bits
        .checked_sub(quantum)
        .and_then(|kept| u32::try_from(kept).ok())
    else {
        return 0.0; // below half of the smallest subnormal
    };
    let mantissa = leading.unbounded_shr(128 - n_kept);
    let rest = leading << n_kept;
    let half = 1_u128 << 127;
    let rounds_up = rest > half || rest == half && (has_tail || mantissa % 2 == 1);

    // The hidden bit adds one to the exponent field, and a mantissa that rounds up to 2^53 adds one more.
    let exponent = (quantum - SUBNORMAL_POSITION) as u128;
    match u64::try_from((exponent << 52) + mantissa + u128::from(rounds_up)) {
        Ok(bits) if bits < f64::INFINITY.to_bits() => f64::from_bits(bits),
        _ => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    /// Slow twin: an unsigned number of base-2^32 limbs, in units of 2^-1126.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Big([u64; 80]);

    impl Big {
        fn zero() -> Self {
            Self([0; 80])
        }

        fn add_shifted(&mut self, magnitude: u128, shift: usize) {
            let (mut limb, mut carry) = (shift / 32, 0);
            let pieces = [
                magnitude & 0xffff_ffff,
                magnitude >> 32 & 0xffff_ffff,
                magnitude >> 64,
            ];
            assert!(pieces[2] < 1 << 32, "the tests use integers below 2^96");
            for piece in pieces.into_iter().chain([0; 8]) {
                let settled = u128::from(self.0[limb]) + (piece << (shift % 32)) + carry;
                self.0[limb] = (settled & 0xffff_ffff) as u64;
                carry = settled >> 32;
                limb += 1;
            }
            assert_eq!(carry, 0);
        }

        /// The value that the bits of a float64 stand for; those of infinity stand for 2^1024.
        fn of_bits(bits: u64) -> Self {
            let (biased, fraction) = ((bits >> 52) as usize, bits & (HIDDEN_BIT - 1));
            let mut big = Self::zero();
            match biased {
                0 => big.add_shifted(fraction.into(), 52),
                _ => big.add_shifted((fraction | HIDDEN_BIT).into(), biased + 51),
            }
            big
        }

        fn of_parts(parts: &[Part]) -> Self {
            let mut big = Self::zero();
            for part in parts {
                big.add_shifted(part.integer.unsigned_abs(), 32 * usize::from(part.block));
            }
            big
        }

        fn plus(&self, other: &Self) -> Self {
            let mut sum = self.clone();
            for (limb, &value) in other.0.iter().enumerate() {
                if value > 0 {
                    sum.add_shifted(value.into(), 32 * limb);
                }
            }
            sum
        }

        fn compare(&self, other: &Self) -> Ordering {
            self.0.iter().rev().cmp(other.0.iter().rev())
        }

        /// Bisects the float64s for the last that is not above, then takes the nearer of it and the next.
        fn round(&self) -> f64 {
            let (mut below, mut above) = (0, f64::INFINITY.to_bits());
            while above - below > 1 {
                let middle = u64::midpoint(below, above);
                match Self::of_bits(middle).compare(self) {
                    Ordering::Greater => above = middle,
                    _ => below = middle,
                }
            }
            let midpoint_twice = Self::of_bits(below).plus(&Self::of_bits(above));
            let nearer = match self.plus(self).compare(&midpoint_twice) {
                Ordering::Less => below,
                Ordering::Greater => above,
                Ordering::Equal => [below, above][(below % 2) as usize],
            };
            f64::from_bits(nearer)
        }
    }

    /// One part for each block, as a model keeps a sum.
    fn merged(parts: impl IntoIterator<Item = Part>) -> Vec<Part> {
        let mut sums = std::collections::BTreeMap::new();
        for Part { block, integer } in parts {
            *sums.entry(block).or_insert(0) += integer;
        }
        sums.into_iter()
            .map(|(block, integer)| Part { block, integer })
            .collect()
    }

    fn parts_of(weights: &[f64]) -> Vec<Part> {
        split_all(weights).expect("the tests give weights >= 0")
    }

    fn total(weights: &[f64]) -> f64 {
        round_sum(&merged(parts_of(weights)))
    }

    fn weight() -> impl Strategy<Value = f64> {
        prop_oneof![
            (0..f64::INFINITY.to_bits()).prop_map(f64::from_bits),
            (0..HIDDEN_BIT << 2).prop_map(f64::from_bits),
            0.0..8.0,
            (0_u8..20).prop_map(f64::from),
            (-1074..1024_i32).prop_map(|exponent| 2.0_f64.powi(exponent)),
        ]
    }

    #[test]
    fn one_is_the_unit() {
        assert_eq!(
            split(1.0),
            Some(Part {
                block: UNIT_BLOCK,
                integer: 1 << UNIT_SHIFT
            })
        );
    }

    #[test]
    fn extremes_fit_the_blocks() {
        assert_eq!(
            split(0.0),
            Some(Part {
                block: 0,
                integer: 0
            })
        );
        assert_eq!(
            split(-0.0),
            Some(Part {
                block: 0,
                integer: 0
            })
        );
        assert_eq!(
            split(f64::from_bits(1)),
            Some(Part {
                block: 0,
                integer: 1 << 52
            })
        );
        assert_eq!(split(f64::MAX).map(|part| part.block), Some(N_BLOCKS - 1));
        for refused in [
            -1.0,
            -f64::from_bits(1),
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
        ] {
            assert_eq!(split(refused), None);
        }
        assert_eq!(
            split_all(&[1.0, -1.0, f64::NAN]),
            Err(ExactError::BadWeights { wrong: 2, total: 3 })
        );
    }

    #[test]
    fn blocks_past_the_last_are_refused() {
        assert_eq!(check_blocks(&[0, 65]), Ok(()));
        assert_eq!(
            check_blocks(&[66, 0, 255]),
            Err(ExactError::BadBlocks { wrong: 2, total: 3 })
        );
    }

    /// Every rounding case: ties to even both ways, broken by a bit far below, into the next power of two, to infinity.
    #[test]
    fn halfway_cases_round_to_even() {
        let half_ulp = f64::EPSILON / 2.0;
        let cases: [(&[f64], f64); 9] = [
            (&[1.0, half_ulp], 1.0),
            (&[1.0 + f64::EPSILON, half_ulp], 1.0 + 2.0 * f64::EPSILON),
            (&[1.0, half_ulp, f64::from_bits(1)], 1.0 + f64::EPSILON),
            (&[2.0 - f64::EPSILON, half_ulp], 2.0),
            (&[f64::MAX, f64::MAX], f64::INFINITY),
            (&[f64::MAX, 2.0_f64.powi(970)], f64::INFINITY),
            (&[f64::MAX, 2.0_f64.powi(969)], f64::MAX),
            (
                &[f64::MIN_POSITIVE, f64::from_bits(1)],
                f64::from_bits(HIDDEN_BIT + 1),
            ),
            (&[], 0.0),
        ];
        for (weights, expected) in cases {
            assert_eq!(total(weights).to_bits(), expected.to_bits(), "{weights:?}");
        }
    }

    proptest! {
        /// A weight is its integer times the unit of its block, in its only block, and reads back as itself.
        #[test]
        fn split_is_lossless(weight in weight()) {
            let part = split(weight).expect("a weight >= 0");
            prop_assert!((0..1 << 85).contains(&part.integer));
            prop_assert_eq!(Big::of_parts(&[part]), Big::of_bits(weight.to_bits()));
            prop_assert_eq!(round_sum(&[part]).to_bits(), weight.to_bits());
            let block = (Big::of_bits(weight.to_bits()).n_bits().max(53) - 53) / 32;
            prop_assert_eq!(usize::from(part.block), block);
        }

        /// The total is that of rational arithmetic, rounded once.
        #[test]
        fn totals_are_correctly_rounded(weights in prop::collection::vec(weight(), 0..12)) {
            let big = Big::of_parts(&parts_of(&weights));
            prop_assert_eq!(total(&weights).to_bits(), big.round().to_bits());
        }

        /// Any integers in any blocks, down to fractions of the smallest subnormal; the sign is only a sign.
        #[test]
        fn any_integers_are_correctly_rounded(parts in prop::collection::vec((0_u8..N_BLOCKS, 0_i128..1 << 95), 0..4)) {
            let parts: Vec<Part> = parts.into_iter().map(|(block, integer)| Part { block, integer }).collect();
            let negated: Vec<Part> = parts.iter().map(|part| Part { integer: -part.integer, ..*part }).collect();
            let expected = Big::of_parts(&parts).round();
            prop_assert_eq!(round_sum(&parts).to_bits(), expected.to_bits());
            prop_assert_eq!(round_sum(&negated).abs().to_bits(), expected.to_bits());
            prop_assert!(round_sum(&negated) <= 0.0);
        }

        /// Low blocks, where results are subnormal, and numbers close to halfway.
        #[test]
        fn subnormal_results_are_correctly_rounded(parts in prop::collection::vec((0_u8..5, 0_u32..60, -1_i128..=1), 1..5)) {
            let parts: Vec<Part> = parts
                .into_iter()
                .map(|(block, bit, delta)| Part { block, integer: (1 << bit) + (1 << 7) + delta })
                .collect();
            prop_assert_eq!(round_sum(&parts).to_bits(), Big::of_parts(&parts).round().to_bits());
        }

        /// Taking weights out again leaves exactly the sums of the others.
        #[test]
        fn removal_is_exact(kept in prop::collection::vec(weight(), 0..8), gone in prop::collection::vec(weight(), 0..8)) {
            let added = parts_of(&kept).into_iter().chain(parts_of(&gone));
            let removed = parts_of(&gone).into_iter().map(|part| Part { integer: -part.integer, ..part });
            let left = merged(added.chain(removed));
            prop_assert_eq!(round_sum(&left).to_bits(), total(&kept).to_bits());
            let live = left.into_iter().filter(|part| part.integer != 0).collect::<Vec<_>>();
            prop_assert_eq!(live, merged(parts_of(&kept)).into_iter().filter(|part| part.integer != 0).collect::<Vec<_>>());
        }
    }

    impl Big {
        fn n_bits(&self) -> usize {
            let top = self.0.iter().rposition(|&limb| limb != 0);
            top.map_or(0, |top| 32 * top + self.0[top].ilog2() as usize + 1)
        }
    }
}
