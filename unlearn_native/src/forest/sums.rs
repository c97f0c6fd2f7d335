//! Rows as integers that are added up: what a node and each of its candidates count.
//!
//! | channel | classes | numbers |
//! |---|---|---|
//! | 0, 1, ... | weight of each class slot | weight, weight times target |
//! | of nodes only | | target, high and low part of its square, over distinct rows |
//!
//! Sums of integers do not depend on an order, and subtraction takes back exactly what was added. Fixed-point targets are
//! below 2^40 and rows at most 2^22 (beyond, targets lose a bit each time rows double), so 64 bits hold every sum.

use super::numbers::{low, slot};

/// Bits of a fixed-point target, its sign aside.
pub const TARGET_BITS: i32 = 40;
/// Bits of the largest fixed-point weight.
pub const WEIGHT_BITS: i32 = 24;

const LOW_BITS: i64 = (1 << TARGET_BITS) - 1;

/// What is done with rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They are added.
    Learn,
    /// They are taken out.
    Forget,
}

/// A row of a tree, and how often it is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Handle of the row.
    pub row: u32,
    /// At least 1.
    pub copies: u32,
}

/// What a row adds to sums.
#[derive(Clone, Copy, Debug, Default)]
pub struct Amount {
    /// Class slot, or the fixed-point target.
    pub target: i64,
    /// Fixed-point weight of all copies.
    pub weight: i64,
    /// Weight times target of all copies, in units of the target.
    pub product: i64,
}

/// Which sums are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// One of each class slot.
    Classes(usize),
    /// Weight and weighted target.
    Moments,
}

impl Channels {
    /// Sums of each candidate.
    #[must_use]
    pub fn n_sums(self) -> usize {
        match self {
            Self::Classes(n) => n,
            Self::Moments => 2,
        }
    }

    /// Sums of a node, those of a candidate first.
    #[must_use]
    pub fn n_totals(self) -> usize {
        match self {
            Self::Classes(n) => n,
            Self::Moments => 5,
        }
    }

    /// Adds a row to the sums of a candidate.
    #[inline]
    pub fn add(self, sums: &mut [i64], amount: Amount) {
        match self {
            Self::Classes(_) => sums[slot(amount.target)] += amount.weight,
            Self::Moments => {
                sums[0] += amount.weight;
                sums[1] += amount.product;
            }
        }
    }

    /// Takes a row out of the sums of a candidate.
    #[inline]
    pub fn subtract(self, sums: &mut [i64], amount: Amount) {
        match self {
            Self::Classes(_) => sums[slot(amount.target)] -= amount.weight,
            Self::Moments => {
                sums[0] -= amount.weight;
                sums[1] -= amount.product;
            }
        }
    }

    /// Adds a row to the sums of a node.
    #[inline]
    pub fn add_total(self, totals: &mut [i64], amount: Amount) {
        self.add(totals, amount);
        if self == Self::Moments {
            let [high, low] = square(amount.target);
            totals[2] += amount.target;
            totals[3] += high;
            totals[4] += low;
        }
    }

    /// Takes a row out of the sums of a node.
    #[inline]
    pub fn subtract_total(self, totals: &mut [i64], amount: Amount) {
        self.subtract(totals, amount);
        if self == Self::Moments {
            let [high, low] = square(amount.target);
            totals[2] -= amount.target;
            totals[3] -= high;
            totals[4] -= low;
        }
    }

    /// Total weight.
    #[must_use]
    pub fn weight(self, sums: &[i64]) -> i64 {
        match self {
            Self::Classes(n) => sums[..n].iter().sum(),
            Self::Moments => sums[0],
        }
    }

    /// Whether the targets of `n` rows are all equal: for numbers, if the Cauchy-Schwarz inequality is an equality.
    #[must_use]
    pub fn all_equal(self, totals: &[i64], n: u32) -> bool {
        match self {
            Self::Classes(_) => totals.iter().filter(|&&weight| weight != 0).count() <= 1,
            Self::Moments => {
                let sum = i128::from(totals[2]);
                let squares = (i128::from(totals[3]) << TARGET_BITS) + i128::from(totals[4]);
                i128::from(n) * squares == sum * sum
            }
        }
    }
}

fn square(target: i64) -> [i64; 2] {
    let square = i128::from(target) * i128::from(target);
    [low(square >> TARGET_BITS), low(square) & LOW_BITS]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(target: i64) -> Amount {
        Amount {
            target,
            weight: 3,
            product: 3 * target,
        }
    }

    #[test]
    fn equal_numbers_are_told_from_almost_equal_ones() {
        let large = 1_i64 << TARGET_BITS;
        for (targets, equal) in [
            (vec![large; 5], true),
            (vec![-large, -large], true),
            (vec![large, large - 1, large], false),
            (vec![1, -1], false),
            (vec![], true),
        ] {
            let mut totals = [0; 5];
            for &target in &targets {
                Channels::Moments.add_total(&mut totals, number(target));
            }
            let n = u32::try_from(targets.len()).expect("few");
            assert_eq!(Channels::Moments.all_equal(&totals, n), equal);

            for &target in &targets {
                Channels::Moments.subtract_total(&mut totals, number(target));
            }
            assert_eq!(totals, [0; 5]);
        }
    }

    #[test]
    fn one_class_is_told_from_two() {
        let channels = Channels::Classes(3);
        let mut totals = [0; 3];
        assert!(channels.all_equal(&totals, 0));
        channels.add_total(
            &mut totals,
            Amount {
                target: 2,
                weight: 1,
                product: 0,
            },
        );
        assert!(channels.all_equal(&totals, 1));
        channels.add_total(
            &mut totals,
            Amount {
                target: 0,
                weight: 1,
                product: 0,
            },
        );
        assert!(!channels.all_equal(&totals, 2));
        assert_eq!(channels.weight(&totals), 2);
    }
}
