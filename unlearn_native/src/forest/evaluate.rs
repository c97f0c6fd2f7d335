//! The function of a node: its rows, tag and depth in; a leaf, or a split and its statistics out.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use zeroize::Zeroize;

use super::cells::Thresholds;
use super::mix;
use super::numbers::{few, slot};
use super::params::Splitter;
use super::split::{Best, Context, Counts, Outcome, Split};
use super::statistics::{Feature, Shape, is_same_level, level_at};
use super::subset::Subset;
use super::sums::{Amount, Channels};
use crate::table::narrow;

/// Rows that are compared with a threshold at once, in registers.
const LANES: usize = 8;

/// A row among the first by priority.
#[derive(Clone, Copy, Debug)]
struct Pivot {
    priority: u64,
    place: u32,
}

/// The rows of a node.
#[derive(Clone, Copy)]
pub struct NodeRows<'a> {
    subset: &'a Subset,
    places: &'a [u32],
}

impl<'a> NodeRows<'a> {
    /// Those in a range of the order of a subset.
    #[must_use]
    pub fn new(subset: &'a Subset, start: usize, stop: usize) -> Self {
        Self {
            subset,
            places: subset.places(start, stop),
        }
    }

    fn values(self, feature: u32) -> impl Iterator<Item = f32> {
        let column = self.subset.column(feature);
        self.places.iter().map(move |&place| column[place as usize])
    }
}

/// Evaluates nodes in buffers that it keeps.
#[derive(Default)]
pub struct Evaluator {
    /// Of the node's rows, in their order: read once for each feature.
    amounts: Amounts,
    pivots: Vec<Pivot>,
    walk: BinaryHeap<Reverse<(u64, u32)>>,
    draw: Thresholds,
    histogram: Histogram,
    left: Vec<i64>,
    /// Statistics of the node evaluated last.
    block: Vec<u64>,
}

impl Drop for Evaluator {
    fn drop(&mut self) {
        self.block.zeroize();
    }
}

impl Evaluator {
    /// Statistics of the node evaluated last, if it was split: totals and all features of the walk.
    #[must_use]
    pub fn block(&self) -> &[u64] {
        &self.block
    }

    /// Sums of the node evaluated last.
    #[must_use]
    pub fn totals(&self, context: Context<'_>) -> &[i64] {
        context.shape().totals(&self.block)
    }

    /// Evaluates a node.
    pub fn evaluate(
        &mut self,
        context: Context<'_>,
        tag: u64,
        depth: u32,
        rows: NodeRows<'_>,
    ) -> Outcome {
        self.add_up(context.shape(), rows);
        if context.stops(narrow(rows.places.len()), depth, self.totals(context)) {
            return Outcome::Leaf { pivot_limit: 0 };
        }
        let pivot_limit = match context.params.splitter {
            Splitter::Pivot => self.choose_pivots(context, tag, rows),
            Splitter::Uniform => 0,
        };
        match self.walk(context, tag, rows) {
            Some(split) => Outcome::Split { split, pivot_limit },
            None => Outcome::Leaf { pivot_limit },
        }
    }

    /// Starts a block: the sums of the node.
    fn add_up(&mut self, shape: Shape, rows: NodeRows<'_>) {
        self.block.clear();
        self.block.resize(shape.start(), 0);
        let amounts = rows.places.iter().map(|&place| rows.subset.amount(place));
        let totals = shape.totals_mut(&mut self.block);
        self.amounts.fill(shape.channels, amounts, totals);
    }

    /// Finds the k rows with the smallest priorities; rows beyond the limit that it returns are none and could not be.
    fn choose_pivots(&mut self, context: Context<'_>, tag: u64, rows: NodeRows<'_>) -> u64 {
        let k = context.params.n_thresholds;
        self.pivots.clear();
        let mut limit = u64::MAX;
        for &place in rows.places {
            let priority = mix::h(tag, rows.subset.tag_low(place));
            if priority > limit {
                continue;
            }
            // Equal priorities are ordered by tag.
            let tag_at = |place| context.rows.tag(rows.subset.row(place));
            let at = self.pivots.partition_point(|other| {
                other.priority < priority
                    || other.priority == priority && tag_at(other.place) < tag_at(place)
            });
            self.pivots.insert(at, Pivot { priority, place });
            self.pivots.truncate(k);
            if let (true, Some(last)) = (self.pivots.len() == k, self.pivots.last()) {
                limit = last.priority;
            }
        }
        let handles = self.pivots.iter().map(|pivot| rows.subset.row(pivot.place));
        context.shape().set_pivots(&mut self.block, handles);
        limit
    }

    /// Takes features by priority until enough are usable; the best candidate of those.
    fn walk(&mut self, context: Context<'_>, tag: u64, rows: NodeRows<'_>) -> Option<Split> {
        self.order_features(tag, context.features);
        let shape = context.shape();
        let mut best = Best::default();
        let mut n_usable = 0;
        while n_usable < context.params.max_features {
            let Some(Reverse((_, feature))) = self.walk.pop() else {
                break;
            };
            let start = self.block.len();
            self.block.resize(start + shape.feature_words(true), 0);
            let (fixed, words) = self.block.split_at_mut(start);
            let mut part = shape.feature(words);
            part.head.feature = feature;
            part.head.is_usable = 1;
            part.head.is_categorical = context.params.is_categorical(feature).into();
            self.histogram.gather(rows, feature);
            match context.params.splitter {
                Splitter::Pivot => pivot_values(rows.subset, &self.pivots, &mut part),
                Splitter::Uniform if part.head.is_categorical != 0 => {
                    first_levels(tag, &self.histogram.values, &mut part);
                }
                Splitter::Uniform => {
                    uniform_values(&mut self.draw, tag, &self.histogram.values, &mut part);
                }
            }
            self.histogram
                .count(shape.channels, &self.amounts, &mut part);
            let counts = Counts::new(context, narrow(rows.places.len()), shape.totals(fixed));
            if counts.compare(&part, &mut self.left, &mut best) {
                n_usable += 1;
            } else {
                part.head.is_usable = 0;
                part.sums.zeroize();
                self.block.truncate(start + shape.feature_words(false));
            }
            self.block[0] += 1;
        }
        best.split
    }

    /// Fills the heap of features. It is rarely emptied, so it is not sorted.
    fn order_features(&mut self, tag: u64, of_tree: &[u32]) {
        let mut features = std::mem::take(&mut self.walk).into_vec();
        features.clear();
        let priority = |&feature| Reverse((mix::feature_priority(tag, feature), feature));
        features.extend(of_tree.iter().map(priority));
        self.walk = BinaryHeap::from(features);
    }
}

/// Takes the thresholds of a feature from pivots.
fn pivot_values(subset: &Subset, pivots: &[Pivot], part: &mut Feature<'_>) {
    let column = subset.column(part.head.feature);
    let mut n = 0;
    for pivot in pivots {
        let x = column[pivot.place as usize];
        if x.is_nan() {
            part.head.may_part_missing = 1;
        } else {
            n = insert_distinct(part.thresholds, n, x);
        }
    }
    part.head.n_thresholds = few(n);
}

/// Takes the first levels by priority, where a random forest takes those of pivots.
fn first_levels(tag: u64, values: &[f32], part: &mut Feature<'_>) {
    part.head.may_part_missing = 1;
    let feature = part.head.feature;
    let rank = |level: f32| (mix::level_priority(tag, feature, level), level);
    let k = part.thresholds.len();
    let mut first: Vec<f32> = Vec::with_capacity(k + 1);
    for &x in values.iter().filter(|x| !x.is_nan()) {
        let at = first.partition_point(|&other| rank(other) < rank(x));
        if at < k && first.get(at).is_none_or(|&other| !is_same_level(other, x)) {
            first.insert(at, x);
            first.truncate(k);
        }
    }
    let n = (first.iter()).fold(0, |n, &level| insert_distinct(part.thresholds, n, level));
    first.zeroize();
    part.head.n_thresholds = few(n);
}

/// Draws the thresholds of a feature between the ends of its range, and counts the rows at each end.
fn uniform_values(draw: &mut Thresholds, tag: u64, values: &[f32], part: &mut Feature<'_>) {
    let head = &mut *part.head;
    // Present against missing is always a candidate, for no pivot says whether it is.
    head.may_part_missing = 1;
    [head.low, head.high] = ends(values);
    head.n_low = count(values, |x| x <= head.low);
    head.n_high = count(values, |x| x >= head.high);
    let mut n = 0;
    if head.low < head.high {
        for &threshold in draw.draw(
            tag,
            head.feature,
            head.low,
            head.high,
            part.thresholds.len(),
        ) {
            n = insert_distinct(part.thresholds, n, threshold);
        }
    }
    head.n_thresholds = few(n);
}

/// How many of some values are of a kind; a sum that looked for an overflow would not be done in SIMD instructions.
fn count(values: &[f32], is_of_kind: impl Fn(f32) -> bool) -> u32 {
    let add = |n: u32, &x: &f32| n.wrapping_add(is_of_kind(x).into());
    values.iter().fold(0, add)
}

/// Least and largest of some values, a multiple of the lanes; NaN is neither.
fn ends(values: &[f32]) -> [f32; 2] {
    let least = |a: f32, b: f32| if b < a { b } else { a };
    let largest = |a: f32, b: f32| if b > a { b } else { a };
    let mut low = [f32::INFINITY; LANES];
    let mut high = [f32::NEG_INFINITY; LANES];
    for values in values.as_chunks::<LANES>().0 {
        for (lane, &x) in values.iter().enumerate() {
            low[lane] = least(low[lane], x);
            high[lane] = largest(high[lane], x);
        }
    }
    [
        low.into_iter().fold(f32::INFINITY, least),
        high.into_iter().fold(f32::NEG_INFINITY, largest),
    ]
}

/// Inserts a value into the first `n` of some, ascending and distinct, and returns how many there are now.
pub(super) fn insert_distinct(values: &mut [f32], n: usize, x: f32) -> usize {
    let place = count(&values[..n], |value| value < x) as usize;
    if place < n && values[place] <= x {
        return n;
    }
    values.copy_within(place..n, place + 1);
    values[place] = x;
    n + 1
}

/// What the rows of a node add to sums.
#[derive(Default)]
struct Amounts {
    /// Class slot and weight, if all weights together fit: then a bin counts rows and weight in one number.
    narrow: Vec<[u32; 2]>,
    /// Otherwise.
    wide: Vec<Amount>,
}

impl Amounts {
    /// Takes the rows of a node, and adds them to its sums.
    fn fill(
        &mut self,
        channels: Channels,
        amounts: impl Iterator<Item = Amount> + Clone,
        totals: &mut [i64],
    ) {
        self.narrow.clear();
        self.wide.clear();
        for amount in amounts.clone() {
            channels.add_total(totals, amount);
        }
        let weight = u32::try_from(channels.weight(totals));
        match (channels, weight) {
            (Channels::Classes(_), Ok(_)) => {
                let halves =
                    |amount: Amount| [slot(amount.target), slot(amount.weight)].map(narrow);
                self.narrow.extend(amounts.map(halves));
            }
            _ => self.wide.extend(amounts),
        }
    }
}

/// Counts rows by the first candidate that sends them to the left.
///
/// Bins: one a threshold, one for rows right of all, and one for rows without a value.
#[derive(Default)]
struct Histogram {
    values: Vec<f32>,
    bins: Vec<u32>,
    n: Vec<u32>,
    sums: Vec<i64>,
    /// Rows in the high half, weight in the low one, by bin and class.
    both: Vec<u64>,
}

impl Drop for Histogram {
    fn drop(&mut self) {
        self.values.zeroize();
    }
}

impl Histogram {
    /// Reads the values of a feature, filled up with missing ones to a multiple of the lanes.
    fn gather(&mut self, rows: NodeRows<'_>, feature: u32) {
        self.values.clear();
        self.values.extend(rows.values(feature));
        let padded = self.values.len().next_multiple_of(LANES);
        self.values.resize(padded, f32::NAN);
    }

    /// Counts the rows and sums left of each candidate of the feature whose values were read.
    fn count(&mut self, channels: Channels, amounts: &Amounts, part: &mut Feature<'_>) {
        let n_bins = part.in_use().len() + 2;
        let width = channels.n_sums();
        self.n.clear();
        self.n.resize(n_bins, 0);
        self.sums.clear();
        self.sums.resize(n_bins * width, 0);
        if part.head.is_categorical == 0 {
            self.find_bins(part.in_use());
        } else {
            self.find_levels(part.in_use());
        }
        if amounts.wide.is_empty() {
            self.add_narrow(width, &amounts.narrow);
        } else {
            self.add_wide(channels, &amounts.wide);
        }
        self.write(width, part);
    }

    /// Finds the bins of rows.
    fn find_bins(&mut self, thresholds: &[f32]) {
        self.bins.clear();
        let missing = narrow(thresholds.len() + 1);
        for values in self.values.as_chunks::<LANES>().0 {
            let mut bins = [0; LANES];
            for &threshold in thresholds {
                for (bin, &x) in bins.iter_mut().zip(values) {
                    *bin = u32::wrapping_add(*bin, (x > threshold).into());
                }
            }
            for (bin, &x) in bins.iter_mut().zip(values) {
                *bin = if x.is_nan() { missing } else { *bin };
            }
            self.bins.extend_from_slice(&bins);
        }
    }

    /// Finds the bins of rows whose values are levels.
    fn find_levels(&mut self, levels: &[f32]) {
        self.bins.clear();
        let other = narrow(levels.len());
        let bin = |&x: &f32| {
            if x.is_nan() {
                other + 1
            } else {
                level_at(levels, x).map_or(other, narrow)
            }
        };
        self.bins.extend(self.values.iter().map(bin));
    }

    fn add_narrow(&mut self, width: usize, amounts: &[[u32; 2]]) {
        self.both.clear();
        self.both.resize(self.n.len() * width, 0);
        let both = self.both.as_mut_slice();
        for (&bin, &[class, weight]) in self.bins.iter().zip(amounts) {
            both[bin as usize * width + class as usize] += 1 << 32 | u64::from(weight);
        }
        let bins = both.chunks_exact(width).zip(&mut self.n);
        for ((both, n), sums) in bins.zip(self.sums.chunks_exact_mut(width)) {
            for (&both, sum) in both.iter().zip(sums) {
                *n += narrow((both >> 32) as usize);
                *sum = (both & u64::from(u32::MAX)).cast_signed();
            }
        }
    }

    fn add_wide(&mut self, channels: Channels, amounts: &[Amount]) {
        let width = channels.n_sums();
        for (&bin, &amount) in self.bins.iter().zip(amounts) {
            let bin = bin as usize;
            self.n[bin] += 1;
            channels.add(&mut self.sums[bin * width..(bin + 1) * width], amount);
        }
    }

    /// Sums up over the bins left of each candidate.
    fn write(&self, width: usize, part: &mut Feature<'_>) {
        let n_thresholds = part.in_use().len();
        let missing = part.missing();
        for at in 0..n_thresholds {
            part.n_left[at] = self.n[at];
            part.sums[at * width..(at + 1) * width]
                .copy_from_slice(&self.sums[at * width..(at + 1) * width]);
        }
        part.accumulate(width);
        part.n_left[missing] = self.n[n_thresholds + 1];
        part.sums[missing * width..].copy_from_slice(&self.sums[(n_thresholds + 1) * width..]);
    }
}
