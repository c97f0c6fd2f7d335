//! What a node counts about its candidates, in one block of 64-bit words.
//!
//! | words | content |
//! |---|---|
//! | 1 | features of the walk, in the low half; pivots, in the high half |
//! | `n_totals` | sums of the node |
//! | pivots | handles by priority, `u32` |
//! | each feature | [`Head`] (4 words); thresholds, ascending, float32; rows left of each, then rows without a value, `u32`; if usable the same as sums, `i64`, candidate by candidate |
//!
//! Of the skipped features of the walk only rows are counted: enough to see when one becomes usable.

use super::mix;
use super::sums::{Amount, Change, Channels};

/// Sizes of a block.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Most thresholds of a feature.
    pub n_thresholds: usize,
    /// Most pivots.
    pub n_pivots: usize,
    /// Which sums.
    pub channels: Channels,
}

const HEAD_WORDS: usize = 4;
/// Bits of the first word that count the features.
const N_WALKED: u64 = u32::MAX as u64;

/// A feature of a walk.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Head {
    /// Which.
    pub feature: u32,
    /// Thresholds in use.
    pub n_thresholds: u16,
    /// Some candidate leaves enough rows on each side.
    pub is_usable: u16,
    /// Present against missing is a candidate: a pivot misses the value, or thresholds are uniform.
    pub may_part_missing: u32,
    /// Uniform thresholds: the ends of the range, and the rows at each.
    pub low: f32,
    /// Upper end.
    pub high: f32,
    /// Rows at the lower end.
    pub n_low: u32,
    /// Rows at the upper end.
    pub n_high: u32,
    /// Thresholds are levels, each of which alone goes left.
    pub is_categorical: u32,
}

impl Head {
    /// Takes a value into or out of the range; whether its ends are still those of the rows.
    pub fn move_ends(&mut self, change: Change, x: f32) -> bool {
        let [at_low, at_high] = [x <= self.low, x >= self.high].map(u32::from);
        match change {
            Change::Learn => {
                self.n_low += at_low;
                self.n_high += at_high;
                !(x < self.low || x > self.high)
            }
            Change::Forget => {
                self.n_low -= at_low;
                self.n_high -= at_high;
                x.is_nan() || (self.n_low > 0 && self.n_high > 0)
            }
        }
    }
}

// SAFETY: all fields are plain numbers, repr(C) lays them out without padding, and all-zero bytes are valid.
unsafe impl bytemuck::Zeroable for Head {}
// SAFETY: as above; it is Copy and holds no pointer.
unsafe impl bytemuck::Pod for Head {}

/// A feature's part of a block.
pub struct Feature<'a> {
    /// Which, and how it is used.
    pub head: &'a mut Head,
    /// As many as the shape has; those in use first.
    pub thresholds: &'a mut [f32],
    /// Rows left of each threshold; last, rows without a value.
    pub n_left: &'a mut [u32],
    /// Sums of the same; empty if the feature is not usable.
    pub sums: &'a mut [i64],
}

impl Shape {
    /// Words of a feature.
    #[must_use]
    pub fn feature_words(self, is_usable: bool) -> usize {
        let n = self.n_thresholds;
        let sums = if is_usable {
            (n + 1) * self.channels.n_sums()
        } else {
            0
        };
        HEAD_WORDS + n.div_ceil(2) + (n + 1).div_ceil(2) + sums
    }

    /// Words before the features.
    #[must_use]
    pub fn start(self) -> usize {
        1 + self.channels.n_totals() + self.n_pivots.div_ceil(2)
    }

    /// Sums of the node.
    #[must_use]
    pub fn totals(self, block: &[u64]) -> &[i64] {
        bytemuck::cast_slice(&block[1..=self.channels.n_totals()])
    }

    /// Sums of the node, to be changed.
    #[must_use]
    pub fn totals_mut(self, block: &mut [u64]) -> &mut [i64] {
        bytemuck::cast_slice_mut(&mut block[1..=self.channels.n_totals()])
    }

    /// Writes the pivots.
    pub fn set_pivots(self, block: &mut [u64], pivots: impl ExactSizeIterator<Item = u32>) {
        block[0] = (block[0] & N_WALKED) | (pivots.len() as u64) << 32;
        let words = &mut block[1 + self.channels.n_totals()..self.start()];
        let rows: &mut [u32] = bytemuck::cast_slice_mut(words);
        rows.fill(0);
        for (row, pivot) in rows.iter_mut().zip(pivots) {
            *row = pivot;
        }
    }

    /// Handles of the pivots, by priority.
    #[must_use]
    pub fn pivots(self, block: &[u64]) -> &[u32] {
        let n = (block[0] >> 32) as usize;
        &bytemuck::cast_slice(&block[1 + self.channels.n_totals()..self.start()])[..n]
    }

    /// The parts of a feature whose words these are.
    #[must_use]
    pub fn feature(self, words: &mut [u64]) -> Feature<'_> {
        let n = self.n_thresholds;
        let (head, rest) = words.split_at_mut(HEAD_WORDS);
        let (thresholds, rest) = rest.split_at_mut(n.div_ceil(2));
        let (n_left, sums) = rest.split_at_mut((n + 1).div_ceil(2));
        Feature {
            head: &mut bytemuck::cast_slice_mut(head)[0],
            thresholds: &mut bytemuck::cast_slice_mut(thresholds)[..n],
            n_left: &mut bytemuck::cast_slice_mut(n_left)[..=n],
            sums: bytemuck::cast_slice_mut(sums),
        }
    }

    /// The totals and the features of the walk, in its order.
    pub fn parts(self, block: &mut [u64]) -> (&mut [i64], Features<'_>) {
        let (start, rest) = block.split_at_mut(self.start());
        let (counts, sums) = start.split_at_mut(1);
        let features = Features {
            shape: self,
            n_left: counts[0] & N_WALKED,
            rest,
        };
        let totals = &mut sums[..self.channels.n_totals()];
        (bytemuck::cast_slice_mut(totals), features)
    }
}

/// Iterator of the features of a block.
pub struct Features<'a> {
    shape: Shape,
    n_left: u64,
    rest: &'a mut [u64],
}

impl<'a> Iterator for Features<'a> {
    type Item = Feature<'a>;

    fn next(&mut self) -> Option<Feature<'a>> {
        if self.n_left == 0 {
            return None;
        }
        self.n_left -= 1;
        let rest = std::mem::take(&mut self.rest);
        let head: &[Head] = bytemuck::cast_slice(&rest[..HEAD_WORDS]);
        let words = self.shape.feature_words(head[0].is_usable != 0);
        let (words, rest) = rest.split_at_mut(words);
        self.rest = rest;
        Some(self.shape.feature(words))
    }
}

/// Candidates that send a row to the left are those from here on; past the last for a missing value, too.
#[inline]
#[must_use]
pub fn first_left(thresholds: &[f32], x: f32) -> usize {
    // Not a binary search: a few comparisons without a branch are faster. NaN is not at most anything.
    #[expect(
        clippy::neg_cmp_op_on_partial_ord,
        reason = "NaN is not at most anything"
    )]
    thresholds.iter().fold(0, |n: usize, &threshold| {
        n.wrapping_add(usize::from(!(x <= threshold)))
    })
}

/// Whether two values are one level: both zeros are, a missing value is none.
#[inline]
#[must_use]
#[expect(clippy::float_cmp, reason = "levels are what was given, not computed")]
pub fn is_same_level(a: f32, b: f32) -> bool {
    a == b
}

/// Which of some levels a value is.
#[must_use]
pub fn level_at(levels: &[f32], x: f32) -> Option<usize> {
    levels.iter().position(|&level| is_same_level(level, x))
}

impl Feature<'_> {
    /// Position of what counts rows without a value.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.thresholds.len()
    }

    /// Thresholds in use.
    #[must_use]
    pub fn in_use(&self) -> &[f32] {
        &self.thresholds[..usize::from(self.head.n_thresholds)]
    }

    /// Takes a value, counted already, into or out of the range; whether thresholds drawn anew would be the same.
    pub fn keeps_range(&mut self, change: Change, tag: u64, x: f32) -> bool {
        if self.head.is_categorical == 0 {
            return self.head.move_ends(change, x);
        }
        if x.is_nan() {
            return true;
        }
        if let Some(at) = level_at(self.in_use(), x) {
            return change == Change::Learn || self.n_left[at] > 0;
        }
        // Another level: one that other levels come before, or a new one.
        let rank = |level: f32| (mix::level_priority(tag, self.head.feature, level), level);
        let is_full = self.in_use().len() == self.thresholds.len();
        change == Change::Forget
            || (is_full && self.in_use().iter().all(|&other| rank(other) < rank(x)))
    }

    /// Positions that count a row with this value.
    #[inline]
    fn counting(&self, x: f32) -> std::ops::Range<usize> {
        if x.is_nan() {
            return self.missing()..self.missing() + 1;
        }
        if self.head.is_categorical != 0 {
            return level_at(self.in_use(), x).map_or(0..0, |at| at..at + 1);
        }
        first_left(self.in_use(), x)..usize::from(self.head.n_thresholds)
    }

    /// Adds a row with this value.
    pub fn add(&mut self, channels: Channels, x: f32, amount: Amount) {
        let width = channels.n_sums();
        for at in self.counting(x) {
            self.n_left[at] += 1;
            if self.head.is_usable != 0 {
                channels.add(&mut self.sums[at * width..(at + 1) * width], amount);
            }
        }
    }

    /// Takes a row with this value out.
    pub fn subtract(&mut self, channels: Channels, x: f32, amount: Amount) {
        let width = channels.n_sums();
        for at in self.counting(x) {
            self.n_left[at] -= 1;
            if self.head.is_usable != 0 {
                channels.subtract(&mut self.sums[at * width..(at + 1) * width], amount);
            }
        }
    }

    /// Turns counts of the rows that one candidate is the first to send left into counts of all that it sends left.
    ///
    /// Levels have no order, so there is nothing to do for them.
    pub fn accumulate(&mut self, n_sums: usize) {
        if self.head.is_categorical != 0 {
            return;
        }
        for at in 1..usize::from(self.head.n_thresholds) {
            self.n_left[at] += self.n_left[at - 1];
            let (before, here) = self.sums.split_at_mut(at * n_sums);
            for (here, before) in here[..n_sums].iter_mut().zip(&before[(at - 1) * n_sums..]) {
                *here += before;
            }
        }
    }
}
