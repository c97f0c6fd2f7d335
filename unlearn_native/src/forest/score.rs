//! How good a split is: one integer, divided once.
//!
//! With `L` and `R` the weights left and right, `W = L + R`, `N_c` the node's class weights and `L_c` those on the left,
//! `sum_c (L_c^2 / L + R_c^2 / R - N_c^2 / W) = sum_c D_c^2 / (W L R)`, where `D_c = L_c W - N_c L`. So
//!
//! * Gini: `sum_c D_c^2 / (L R)`; squared error: the same with the one `D = S_L W - S L` of the weighted targets S;
//! * entropy: `sum_c (t(L_c) + t(R_c)) - t(L) - t(R)` with `t(x) = rint(2^20 x ln x)`.
//!
//! The sums are exact integers, rounded once to float64, and so is `L R`. No order of the classes enters, hence no
//! numbering of class slots; swapping the sides changes nothing; a class without rows adds nothing. Complementary
//! columns tie exactly.

use super::numbers::{nearest, nearest_signed, nearest_wide, rint_wide};
use super::params::Criterion;
use super::sums::Channels;
use crate::math;

/// Weight of a node up to which `sum_c D_c^2 <= W^4 / 8` fits in 64 bits.
const NARROW: i64 = 1 << 16;
/// Weight of a node up to which it fits in 128 bits, and each `D_c` in 64.
const MEDIUM: i64 = 1 << 31;

/// Scores the candidates of one node.
#[derive(Clone, Copy, Debug)]
pub struct Scorer<'a> {
    criterion: Criterion,
    totals: &'a [i64],
    /// Of class weights; empty if all are one.
    multipliers: &'a [i64],
    weight: i64,
}

impl<'a> Scorer<'a> {
    /// A scorer of a node with these sums, class by class to be multiplied, unless there are no multipliers.
    #[must_use]
    pub fn new(
        criterion: Criterion,
        channels: Channels,
        totals: &'a [i64],
        multipliers: &'a [i64],
    ) -> Self {
        let totals = &totals[..channels.n_sums()];
        let weight = if multipliers.is_empty() {
            channels.weight(totals)
        } else {
            totals.iter().zip(multipliers).map(|(sum, m)| sum * m).sum()
        };
        Self {
            criterion,
            totals,
            multipliers,
            weight,
        }
    }

    /// Score of the split that sends these sums to the left. Neither side may be empty.
    #[must_use]
    pub fn score(&self, left: &[i64]) -> f64 {
        let classes = left.iter().zip(self.totals);
        if self.criterion == Criterion::SquaredError {
            self.squared_error(left)
        } else if self.multipliers.is_empty() {
            self.of_classes(classes.map(|(&left, &total)| (left, total)))
        } else {
            let multiplied = classes.zip(self.multipliers);
            self.of_classes(multiplied.map(|((&left, &total), &m)| (left * m, total * m)))
        }
    }

    /// Score by the weight of each class, on the left and in all.
    #[inline]
    fn of_classes(&self, classes: impl Iterator<Item = (i64, i64)> + Clone) -> f64 {
        if self.criterion == Criterion::Gini {
            self.gini(classes)
        } else {
            self.entropy(classes)
        }
    }

    #[inline]
    fn gini(&self, classes: impl Iterator<Item = (i64, i64)> + Clone) -> f64 {
        let weight_left: i64 = classes.clone().map(|(left, _)| left).sum();
        let weight_right = self.weight - weight_left;
        if self.weight <= MEDIUM {
            let deviations = classes
                .map(|(left, total)| (left * self.weight - total * weight_left).unsigned_abs());
            let denominator = nearest(weight_left * weight_right);
            if self.weight <= NARROW {
                return nearest_wide(deviations.map(|d| d * d).sum::<u64>().into()) / denominator;
            }
            return nearest_wide(deviations.map(|d| u128::from(d) * u128::from(d)).sum())
                / denominator;
        }
        let [weight, weight_left] = [self.weight, weight_left].map(i128::from);
        let mut sum = Wide::default();
        for (left, total) in classes {
            sum.add_square(
                (i128::from(left) * weight - i128::from(total) * weight_left).unsigned_abs(),
            );
        }
        sum.to_f64() / nearest_wide((weight_left * i128::from(weight_right)).unsigned_abs())
    }

    fn squared_error(&self, left: &[i64]) -> f64 {
        let [weight, weight_left] = [self.weight, left[0]].map(i128::from);
        let deviation = i128::from(left[1]) * weight - i128::from(self.totals[1]) * weight_left;
        let mut square = Wide::default();
        square.add_square(deviation.unsigned_abs());
        square.to_f64() / nearest_wide((weight_left * (weight - weight_left)).unsigned_abs())
    }

    fn entropy(&self, classes: impl Iterator<Item = (i64, i64)> + Clone) -> f64 {
        let weight_left: i64 = classes.clone().map(|(left, _)| left).sum();
        let sides = classes.map(|(left, total)| x_ln_x(left) + x_ln_x(total - left));
        nearest_signed(
            sides.sum::<i128>() - x_ln_x(weight_left) - x_ln_x(self.weight - weight_left),
        )
    }
}

/// `rint(2^20 x ln x)`: in integers, sums of it do not depend on an order.
#[must_use]
pub fn x_ln_x(x: i64) -> i128 {
    if x <= 1 {
        return 0;
    }
    let x = nearest(x);
    rint_wide(x * math::ln(x) * f64::from(1 << 20))
}

/// An unsigned integer of 256 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wide {
    high: u128,
    low: u128,
}

impl Wide {
    fn add_square(&mut self, x: u128) {
        let half = |x: u128| x & u128::from(u64::MAX);
        let [upper, lower] = [x >> 64, half(x)];
        let cross = upper * lower; // counts twice, at bit 64
        self.add(upper * upper + (cross >> 63), lower * lower);
        self.add(0, half(cross << 1) << 64);
    }

    fn add(&mut self, high: u128, low: u128) {
        let (sum, carry) = self.low.overflowing_add(low);
        self.low = sum;
        self.high += high + u128::from(carry);
    }

    /// Rounded to nearest, ties to even.
    fn to_f64(self) -> f64 {
        if self.high == 0 {
            return nearest_wide(self.low);
        }
        let shift = 128 - self.high.leading_zeros();
        let top = self.high.checked_shl(128 - shift).unwrap_or(0)
            | self.low.checked_shr(shift).unwrap_or(0);
        let lost = self.low & (u128::MAX >> (128 - shift));
        // One bit stands for all that were lost: it breaks a tie of the 75 bits below the mantissa.
        libm::scalbn(
            nearest_wide(top | u128::from(lost != 0)),
            shift.cast_signed(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits of the score of a split of classes whose weights are all `unit` times these.
    fn gini(left: &[i64], total: &[i64], unit: i64) -> f64 {
        let scaled = |sums: &[i64]| sums.iter().map(|sum| sum * unit).collect::<Vec<_>>();
        let totals = scaled(total);
        Scorer::new(
            Criterion::Gini,
            Channels::Classes(total.len()),
            &totals,
            &[],
        )
        .score(&scaled(left))
    }

    /// A power of two scales the score exactly, and takes it through all three widths of integers.
    #[test]
    fn all_widths_give_the_same_score() {
        for (left, total) in [
            ([3, 0, 5], [7, 1, 9]),
            ([1, 1, 1], [2, 2, 2]),
            ([1000, 3, 17], [1001, 900, 8000]),
        ] {
            let narrow = gini(&left, &total, 1);
            for shift in [2, 16, 20, 36] {
                let wide = gini(&left, &total, 1 << shift);
                assert_eq!(wide.to_bits(), libm::scalbn(narrow, 2 * shift).to_bits());
            }
        }
    }

    #[test]
    fn sides_and_numbers_of_classes_do_not_matter() {
        for criterion in [Criterion::Gini, Criterion::Entropy] {
            let score = |left: [i64; 3], total: [i64; 3]| {
                Scorer::new(criterion, Channels::Classes(3), &total, &[])
                    .score(&left)
                    .to_bits()
            };
            assert_eq!(score([3, 0, 5], [7, 1, 9]), score([4, 1, 4], [7, 1, 9]));
            assert_eq!(score([3, 0, 5], [7, 1, 9]), score([5, 3, 0], [9, 7, 1]));
        }
    }

    /// A split that parts the classes is better than one that does not, whatever the criterion.
    #[test]
    fn better_splits_score_higher() {
        for criterion in [Criterion::Gini, Criterion::Entropy] {
            let scorer = Scorer::new(criterion, Channels::Classes(2), &[10, 10], &[]);
            assert!(scorer.score(&[10, 0]) > scorer.score(&[8, 2]));
            assert!(scorer.score(&[8, 2]) > scorer.score(&[5, 5]));
        }
        let scorer = Scorer::new(Criterion::SquaredError, Channels::Moments, &[4, 40], &[]);
        assert!(scorer.score(&[2, 0]) > scorer.score(&[2, 20]));
        assert_eq!(scorer.score(&[2, 20]).to_bits(), 0);
    }

    #[test]
    fn wide_integers_round_to_nearest_even() {
        let mut wide = Wide::default();
        wide.add_square(u128::MAX);
        assert_eq!(
            wide,
            Wide {
                high: u128::MAX - 1,
                low: 1
            }
        );
        assert_eq!(wide.to_f64().to_bits(), libm::scalbn(1.0, 256).to_bits());

        let tie = Wide {
            high: (1 << 53) + 1,
            low: 0,
        }; // between 2^53 and 2^53 + 2, in units of 2^128
        assert_eq!(tie.to_f64().to_bits(), libm::scalbn(1.0, 181).to_bits());
        let above = Wide {
            high: (1 << 53) + 1,
            low: 1,
        };
        assert_eq!(
            above.to_f64().to_bits(),
            libm::scalbn(9_007_199_254_740_994.0, 128).to_bits()
        );
    }
}
