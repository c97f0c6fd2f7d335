//! The sum of squared distances of rows to their centres from integer sums, in double-double arithmetic.
//!
//! The large terms cancel, so single precision of the result takes about twice the precision on the way.

use super::grid::{Grid, Sums, to_f64};
use super::kernel::Centres;

/// An unevaluated sum of two f64, the second below half a unit in the last place of the first.
#[derive(Clone, Copy, Debug)]
struct DoubleDouble {
    high: f64,
    low: f64,
}

/// Sum and its rounding error (Knuth).
fn two_sum(a: f64, b: f64) -> DoubleDouble {
    let high = a + b;
    let b_part = high - a;
    DoubleDouble {
        high,
        low: (a - (high - b_part)) + (b - b_part),
    }
}

/// Product and its rounding error (Dekker), without a fused multiply-add.
fn two_product(a: f64, b: f64) -> DoubleDouble {
    let split = |x: f64| {
        let scaled = 134_217_729.0 * x; // 2^27 + 1
        let high = scaled - (scaled - x);
        (high, x - high)
    };
    let high = a * b;
    let ((a_high, a_low), (b_high, b_low)) = (split(a), split(b));
    let low = ((a_high * b_high - high) + a_high * b_low + a_low * b_high) + a_low * b_low;
    DoubleDouble { high, low }
}

impl DoubleDouble {
    const ZERO: Self = Self {
        high: 0.0,
        low: 0.0,
    };

    /// An integer of at most 106 bits exactly, else its first 106 bits or so.
    #[allow(clippy::cast_possible_truncation)] // sums stay far below 2^127
    fn from_integer(integer: i128) -> Self {
        let high = to_f64(integer);
        Self {
            high,
            low: to_f64(integer - high as i128),
        }
    }

    fn plus(self, other: Self) -> Self {
        let sum = two_sum(self.high, other.high);
        let rest = two_sum(sum.high, sum.low + (self.low + other.low));
        Self {
            high: rest.high,
            low: rest.low,
        }
    }

    fn times(self, factor: f64) -> Self {
        let product = two_product(self.high, factor);
        two_sum(product.high, product.low + self.low * factor)
    }

    /// Times a power of two.
    fn scaled(self, power: f64) -> Self {
        Self {
            high: self.high * power,
            low: self.low * power,
        }
    }
}

/// See the definition in [`crate::kmeans`].
#[must_use]
pub fn inertia(grid: &Grid, centres: &Centres, sums: &Sums) -> f64 {
    let (steps, weight_step) = grid.steps();
    let weights: Vec<_> = (0..centres.len())
        .map(|cluster| DoubleDouble::from_integer(sums.weight_of(cluster)).scaled(weight_step))
        .collect();
    let mut total = DoubleDouble::ZERO;
    for (column, (products, value_step, weighted_step)) in grid.products().enumerate() {
        total = total.plus(
            DoubleDouble::from_integer(products)
                .scaled(value_step)
                .scaled(weighted_step),
        );
        for (cluster, weight) in weights.iter().enumerate() {
            let coordinate = centres.row(cluster)[column];
            let sum = DoubleDouble::from_integer(sums.values_of(cluster, steps.len())[column])
                .scaled(steps[column]);
            total = total.plus(sum.times(coordinate).scaled(-2.0));
            total = total.plus(weight.times(coordinate).times(coordinate));
        }
    }
    (total.high + total.low).max(0.0)
}
