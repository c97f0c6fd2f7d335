//! Splits, and the candidates among which a node chooses its own.

use super::balance::Multipliers;
use super::params::{Params, Splitter};
use super::rows::RowTable;
use super::score::Scorer;
use super::statistics::{Feature, Features, Shape};

/// Where a missing value goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// No row of the node misses a value: to the side with more rows, to the right if there is none.
    #[default]
    Unseen,
    /// To the right.
    Right,
    /// To the left.
    Left,
}

/// A feature and what sends a row to the left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    /// Which feature.
    pub feature: u32,
    /// Values up to this go left; infinity: all that are present.
    pub threshold: f32,
    /// Only this value goes left: the feature is categorical.
    pub is_level: bool,
    /// Where missing ones go.
    pub missing: Missing,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// Not to be split. `pivot_limit` is 0 unless the node is *stuck*: no feature is usable.
    Leaf {
        /// See [`super::evaluate::Evaluator`].
        pivot_limit: u64,
    },
    /// To be split.
    Split {
        /// How.
        split: Split,
        /// See [`super::evaluate::Evaluator`].
        pivot_limit: u64,
    },
}

/// What all nodes of a forest have in common.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Parameters.
    pub params: &'a Params,
    /// Rows.
    pub rows: &'a RowTable,
    /// Features of this tree, ascending.
    pub features: &'a [u32],
    /// What the weights of classes are multiplied with, in this tree.
    pub multipliers: &'a Multipliers,
}

impl Context<'_> {
    /// Sizes of statistics.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape {
            n_thresholds: self.params.n_thresholds,
            n_pivots: if self.has_ranges() {
                0
            } else {
                self.params.n_thresholds
            },
            channels: self.rows.channels(),
        }
    }

    /// Whether features keep the ends of their range.
    #[must_use]
    pub fn has_ranges(&self) -> bool {
        self.params.splitter == Splitter::Uniform
    }

    /// Whether a node of these rows is a leaf whatever its features are.
    #[must_use]
    pub fn stops(&self, n: u32, depth: u32, totals: &[i64]) -> bool {
        n < self.params.min_samples_split
            || depth >= self.params.max_depth
            || self.rows.channels().all_equal(totals, n)
    }
}

/// The best candidate so far.
#[derive(Default)]
pub struct Best {
    /// Its split.
    pub split: Option<Split>,
    score: f64,
}

/// A node's counts against which its candidates are held.
#[derive(Clone, Copy)]
pub struct Counts<'a> {
    n: u32,
    min_samples_leaf: u32,
    totals: &'a [i64],
    scorer: Scorer<'a>,
}

/// A candidate: where its counts are, and where missing values go.
#[derive(Clone, Copy)]
enum Candidate {
    /// Up to the threshold.
    Threshold(usize, Missing),
    /// All values that are present.
    Present,
}

impl<'a> Counts<'a> {
    /// Of a node with `n` rows and these sums.
    #[must_use]
    pub fn new(context: Context<'a>, n: u32, totals: &'a [i64]) -> Self {
        let channels = context.rows.channels();
        Self {
            n,
            min_samples_leaf: context.params.min_samples_leaf,
            totals: &totals[..channels.n_sums()],
            scorer: Scorer::new(
                context.params.criterion,
                channels,
                totals,
                context.multipliers.of_slots(),
            ),
        }
    }

    /// All candidates of a feature that leave enough rows on each side, in the order that breaks ties.
    fn candidates(self, part: &Feature<'_>) -> impl Iterator<Item = Candidate> {
        let n_missing = part.n_left[part.missing()];
        let n_left: &[u32] = &part.n_left[..];
        let enough = move |left: u32| {
            left >= self.min_samples_leaf && self.n - left >= self.min_samples_leaf
        };
        let thresholds = (0..usize::from(part.head.n_thresholds)).flat_map(move |at| {
            let right = if n_missing == 0 {
                Missing::Unseen
            } else {
                Missing::Right
            };
            [
                (right, enough(n_left[at])),
                (
                    Missing::Left,
                    n_missing > 0 && enough(n_left[at] + n_missing),
                ),
            ]
            .into_iter()
            .filter_map(move |(missing, valid)| valid.then_some(Candidate::Threshold(at, missing)))
        });
        let present =
            part.head.may_part_missing != 0 && n_missing > 0 && enough(self.n - n_missing);
        thresholds.chain(present.then_some(Candidate::Present))
    }

    /// Whether a feature has a candidate that leaves enough rows on each side.
    #[must_use]
    pub fn is_usable(self, part: &Feature<'_>) -> bool {
        self.candidates(part).next().is_some()
    }

    /// The best candidate of a walk; `None` if a feature came into use or fell out of it, for then the walk is another.
    #[must_use]
    pub fn best_of(self, features: Features<'_>) -> Option<Split> {
        let mut best = Best::default();
        let mut left = Vec::new();
        for part in features {
            let is_usable = if part.head.is_usable == 0 {
                self.is_usable(&part)
            } else {
                self.compare(&part, &mut left, &mut best)
            };
            if is_usable != (part.head.is_usable != 0) {
                return None;
            }
        }
        best.split
    }

    /// Compares the best candidate so far with those of a feature; whether it had any.
    pub fn compare(self, part: &Feature<'_>, left: &mut Vec<i64>, best: &mut Best) -> bool {
        let width = self.totals.len();
        let sums = |at: usize| &part.sums[at * width..(at + 1) * width];
        let missing_sums = sums(part.missing());
        let mut is_usable = false;
        for candidate in self.candidates(part) {
            is_usable = true;
            let score = match candidate {
                Candidate::Threshold(at, Missing::Unseen | Missing::Right) => {
                    self.scorer.score(sums(at))
                }
                Candidate::Threshold(at, Missing::Left) => {
                    left.clear();
                    left.extend(
                        sums(at)
                            .iter()
                            .zip(missing_sums)
                            .map(|(left, missing)| left + missing),
                    );
                    self.scorer.score(left)
                }
                Candidate::Present => {
                    left.clear();
                    left.extend(
                        self.totals
                            .iter()
                            .zip(missing_sums)
                            .map(|(total, missing)| total - missing),
                    );
                    self.scorer.score(left)
                }
            };
            if best.split.is_none() || score > best.score {
                let (threshold, is_level, missing) = match candidate {
                    Candidate::Threshold(at, missing) => {
                        (part.thresholds[at], part.head.is_categorical != 0, missing)
                    }
                    Candidate::Present => (f32::INFINITY, false, Missing::Right),
                };
                *best = Best {
                    split: Some(Split {
                        feature: part.head.feature,
                        threshold,
                        is_level,
                        missing,
                    }),
                    score,
                };
            }
        }
        is_usable
    }
}
