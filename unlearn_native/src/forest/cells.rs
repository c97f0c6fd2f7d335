//! Uniform thresholds that move as rarely as possible when the range of a feature does.
//!
//! Wanted are k independent uniform thresholds on [lo, hi), as a function of a node's tag, the feature and the range.
//! `lo + u (hi - lo)` would move with every change of an end. Instead each (node, feature) has a Poisson process of rate
//! 1 on value x time, and the thresholds are *the k earliest arrivals whose value lies in the range*: uniform and
//! independent, and when the range shrinks only those outside of it drop out, which is the least that can change.
//!
//! The process is made cell by cell. Cell (b, j) has the values from j 2^b to (j + 1) 2^b and the times from 2^-b to
//! 2^(1 - b), so its area is 1; its number of arrivals and their places come from one hash of (b, j). The bands are read
//! in order of time, from one where the range is a small part of a cell. That the earliest arrivals are left out costs
//! nothing: the process after any fixed time is such a process, too. Where to start depends on the length of the range
//! alone; when its power of two changes, so may the thresholds.
//!
//! Thresholds are float32, as the values that are compared with them: a value is at most t where it is at most t rounded
//! down.

use super::mix::{cells_tag, h, poisson};

/// Bands above that of the range. At 0 every sixth shrink by a tenth would move the threshold of k = 1, not every tenth.
const BANDS_ABOVE: i32 = 4;
/// Bands below it, for k = 0: afterwards 100 k arrivals are expected, and fewer than k are as good as impossible.
const BANDS_BELOW: i32 = 7;

/// One arrival of the process: by time within its band, then by cell, then by number in the cell.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
struct Arrival {
    time: u64,
    cell: i64,
    number: u64,
    value: f32,
}

/// Draws thresholds; owns the space that this takes.
#[derive(Debug, Default)]
pub struct Thresholds {
    band: Vec<Arrival>,
    drawn: Vec<f32>,
}

impl Thresholds {
    /// The `k` thresholds of `feature` at the node of `tag`, for the range from `lo` to `hi` (finite, `lo < hi`).
    ///
    /// All are at least `lo` and below `hi`; they come in no order, and some may be equal where floats are few. There is
    /// at least one.
    pub fn draw(&mut self, tag: u64, feature: u32, lo: f32, hi: f32, k: usize) -> &[f32] {
        debug_assert!(lo < hi && lo.is_finite() && hi.is_finite());
        let cells = cells_tag(tag, feature);
        let (low, high) = (f64::from(lo), f64::from(hi));
        let range_exponent = exponent(high - low);
        let lowest = range_exponent - BANDS_BELOW - bit_length(k);
        self.drawn.clear();
        for b in (lowest..=range_exponent + BANDS_ABOVE).rev() {
            self.collect_band(cells, b, low, high);
            self.drawn
                .extend(self.band.iter().map(|arrival| arrival.value));
            if self.drawn.len() >= k {
                break;
            }
        }
        self.drawn.truncate(k);
        if self.drawn.is_empty() {
            self.drawn.push(lo);
        }
        &self.drawn
    }

    /// Finds the arrivals of band `b` in the range, in order of time.
    fn collect_band(&mut self, cells: u64, b: i32, low: f64, high: f64) {
        self.band.clear();
        for cell in cell_of(low, b)..=cell_of(high, b) {
            let content = h(cells, place(b, cell));
            for number in 0..u64::from(poisson(content)) {
                let value = value_in(cell, b, h(content, 2 * number + 1) >> 11);
                if low <= value && value < high {
                    self.band.push(Arrival {
                        time: h(content, 2 * number + 2) >> 11,
                        cell,
                        number,
                        value: rounded_down(value),
                    });
                }
            }
        }
        self.band
            .sort_unstable_by_key(|arrival| (arrival.time, arrival.cell, arrival.number));
    }
}

/// The least e with `x < 2^e`, for x above 0 and no subnormal: differences of float32 numbers are none as float64.
fn exponent(x: f64) -> i32 {
    let biased = (x.to_bits() >> 52) & 0x7ff;
    i32::try_from(biased).map_or(0, |biased| biased - 1022) // eleven bits fit
}

/// 2^b, for the exponents that ranges of float32 numbers lead to.
fn power_of_two(b: i32) -> f64 {
    f64::from_bits(u64::from((b + 1023).cast_unsigned()) << 52)
}

/// How many bits k takes; more than 2^24 thresholds would be more than there are floats in an octave.
fn bit_length(k: usize) -> i32 {
    i32::try_from((usize::BITS - k.leading_zeros()).min(24)).unwrap_or(24)
}

/// Which cell of band `b` a value lies in. Below 2^50 in size: a range is at least 2^-25 of the values at its ends.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "far below 2^53, see above"
)]
fn cell_of(value: f64, b: i32) -> i64 {
    let scaled = value * power_of_two(-b);
    // The floor, without a call where the CPU has no instruction for it.
    let truncated = scaled as i64;
    truncated - i64::from(truncated as f64 > scaled)
}

/// The number under which a cell is hashed.
fn place(b: i32, cell: i64) -> u64 {
    const CELL_BITS: u32 = 48;
    let band = u64::from(b.cast_unsigned()) << CELL_BITS;
    band ^ (cell.cast_unsigned() & ((1 << CELL_BITS) - 1))
}

/// The value at place `u` of 2^53 in a cell.
#[expect(clippy::cast_precision_loss, reason = "both are integers below 2^53")]
fn value_in(cell: i64, b: i32, u: u64) -> f64 {
    cell as f64 * power_of_two(b) + u as f64 * power_of_two(b - 53)
}

/// The largest float32 that is at most `value`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "this is where it is rounded"
)]
fn rounded_down(value: f64) -> f32 {
    let nearest = value as f32;
    if f64::from(nearest) > value {
        nearest.next_down()
    } else {
        nearest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Secret tags, well apart.
    fn tag(i: u64) -> u64 {
        h(0x5eed, i)
    }

    fn draw(tag: u64, lo: f32, hi: f32, k: usize) -> Vec<f32> {
        Thresholds::default().draw(tag, 3, lo, hi, k).to_vec()
    }

    /// Largest distance between the empirical distribution of `places` and the uniform one, times the root of n.
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    fn kolmogorov_smirnov(mut places: Vec<f64>) -> f64 {
        places.sort_unstable_by(f64::total_cmp);
        let n = places.len() as f64;
        let distance =
            |(i, u): (usize, &f64)| (u - i as f64 / n).abs().max(((i + 1) as f64 / n - u).abs());
        places.iter().enumerate().map(distance).fold(0.0, f64::max) * n.sqrt()
    }

    const RANGES: [(f32, f32); 6] = [
        (0.0, 1.0),
        (-3.7, 12.9),
        (1e9, 1.000_02e9),
        (1e-38, 7e-38),
        (-3e38, 3.4e38),
        (5.0, 5.75),
    ];

    /// The first and the last of k thresholds are uniform on the range: 99.9 % quantile of Kolmogorov's distribution.
    #[test]
    fn thresholds_are_uniform() {
        for (lo, hi) in RANGES {
            for k in [1, 5] {
                for which in [0, k - 1] {
                    let places = (0..4_000)
                        .map(|i| {
                            (f64::from(draw(tag(i), lo, hi, k)[which]) - f64::from(lo))
                                / (f64::from(hi) - f64::from(lo))
                        })
                        .collect();
                    let distance = kolmogorov_smirnov(places);
                    assert!(
                        distance < 1.95,
                        "{distance} on [{lo}, {hi}), {which} of {k}"
                    );
                }
            }
        }
    }

    /// Thresholds of a node, and those of one feature and the next, are uncorrelated: 4 standard deviations.
    #[test]
    fn thresholds_are_independent() {
        let (mut within, mut across) = (0.0, 0.0);
        for i in 0..10_000 {
            let centred = |t: f32| f64::from(t) - 0.5;
            let here = draw(tag(i), 0.0, 1.0, 5);
            let next = Thresholds::default().draw(tag(i), 4, 0.0, 1.0, 1)[0];
            within += centred(here[0]) * centred(here[4]);
            across += centred(here[0]) * centred(next);
        }
        let bound = 4.0 * 100.0 / 12.0; // a product has the variance 1/144
        assert!(
            within.abs() < bound && across.abs() < bound,
            "{within} {across}"
        );
    }

    /// A range that loses the share s changes some threshold with probability 1 - (1 - s)^k or hardly more.
    #[test]
    fn a_shrunken_range_changes_as_little_as_it_can() {
        for (k, share, optimum) in [
            (1, 0.1, 0.1),
            (5, 0.1, 0.409_51),
            (1, 0.4, 0.4),
            (5, 0.01, 0.049_01),
        ] {
            let changed = (0_u16..8_000)
                .filter(|&i| {
                    // lengths over an octave and places over 200, so that powers of two are met as they come
                    let lo = -100.0 + 0.025 * f32::from(i);
                    let length = 10.0 * 2.0_f32.powf(f32::from(i % 97) / 97.0);
                    let t = tag(u64::from(i));
                    draw(t, lo, lo + length, k) != draw(t, lo, lo + length * (1.0 - share), k)
                })
                .count();
            let frequency = f64::from(u32::try_from(changed).expect("few")) / 8_000.0;
            assert!(
                frequency < 1.1 * optimum + 0.01,
                "{frequency} for {optimum}, k = {k}"
            );
        }
    }

    #[test]
    fn frozen_vectors() {
        assert_eq!(
            draw(tag(1), 0.0, 1.0, 3),
            [0.800_429_17, 0.075_285_3, 0.597_040_4]
        );
        assert_eq!(draw(tag(2), -3.7, 12.9, 2), [-1.573_216_4, 8.367_311]);
        assert_eq!(draw(tag(3), 1.0, 1.0 + f32::EPSILON, 2), [1.0, 1.0]);
        assert_eq!(draw(tag(4), -3e38, 3.4e38, 1), [1.862_717_2e38]);
        assert_eq!(draw(tag(5), 0.0, f32::from_bits(1), 1), [0.0]);
    }

    #[test]
    fn extreme_ranges() {
        let tiny = f32::from_bits(1);
        for (lo, hi) in [
            (0.0, tiny),
            (-tiny, 0.0),
            (-tiny, tiny),
            (1.0, 1.0 + f32::EPSILON),
            (f32::MAX.next_down(), f32::MAX),
            (f32::MIN, f32::MAX),
            (-f32::MIN_POSITIVE, f32::MAX),
        ] {
            for k in [1, 2, 64] {
                let drawn = draw(tag(7), lo, hi, k);
                assert_eq!(drawn.len(), k);
                assert!(
                    drawn.iter().all(|&t| lo <= t && t < hi),
                    "[{lo}, {hi}): {drawn:?}"
                );
            }
        }
    }

    proptest! {
        /// Fewer thresholds are the first of more.
        #[test]
        fn more_thresholds_begin_with_fewer(i: u64, lo in -1e6_f32..1e6, length in 1.0_f32..1e6, k in 1_usize..=64) {
            let all = draw(tag(i), lo, lo + length, 64);
            prop_assert_eq!(all.len(), 64);
            prop_assert_eq!(&draw(tag(i), lo, lo + length, k)[..], &all[..k]);
        }

        /// If the power of two of the length stays, those thresholds that lie in a smaller range come first there.
        #[test]
        fn thresholds_survive_in_a_smaller_range(
            i: u64, lo in -50.0_f32..50.0, from in 0.0_f32..0.4, to in 0.6_f32..1.0, k in 1_usize..=64
        ) {
            let (hi, inner_lo, inner_hi) = (lo + 1.9, lo + 1.9 * from, lo + 1.9 * to);
            prop_assume!(exponent(f64::from(hi) - f64::from(lo)) == exponent(f64::from(inner_hi) - f64::from(inner_lo)));
            let mut surviving = draw(tag(i), lo, hi, k);
            surviving.retain(|&t| inner_lo <= t && t < inner_hi);
            let inner = draw(tag(i), inner_lo, inner_hi, k);
            prop_assert_eq!(&inner[..surviving.len()], &surviving[..]);
        }

        #[test]
        fn rounding_down_is_the_largest_float_below(value in -1e30_f64..1e30) {
            let rounded = rounded_down(value);
            prop_assert!(f64::from(rounded) <= value && f64::from(rounded.next_up()) > value);
        }
    }
}
