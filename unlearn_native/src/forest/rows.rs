//! The forest's rows: float32 values, targets and weights in fixed point, found by tag.

use std::collections::BTreeMap;

use thiserror::Error;
use zeroize::Zeroize;

use super::mix;
use super::numbers::{low, nearest, nearest_signed, rint, slot};
use super::params::{Params, Sampling};
use super::sums::{Amount, Channels, Member, TARGET_BITS, WEIGHT_BITS};
use crate::chunked::{Chunked, OutOfMemory, rows_per_chunk};
use crate::table::{PositionTable, narrow};

/// Words of a row's head: low and high half of its tag, target, weight.
const HEAD: usize = 4;
/// Set in the weight of a row that is live.
const LIVE: u64 = 1 << 63;
/// Rows from which on targets lose a bit each time they double.
const ROW_BITS: u32 = 22;
/// More class slots than any classifier has, and few enough that sums of them fit in memory.
const MAX_SLOTS: u32 = 1 << 16;

/// Why rows were refused. Nothing was changed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RowsError {
    /// Lengths that do not fit.
    #[error("{what} has length {found}, but {expected} is needed. Nothing was changed.")]
    Length {
        /// Which argument.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length that fits.
        expected: usize,
    },
    /// Tags that are live already, or come twice.
    #[error("{wrong} of {total} tags are live already. Nothing was changed. Forget them first.")]
    Live {
        /// How many.
        wrong: usize,
        /// Of how many.
        total: usize,
    },
    /// Tags that are not live.
    #[error("{wrong} of {total} tags are not live. Nothing was changed.")]
    Unknown {
        /// How many.
        wrong: usize,
        /// Of how many.
        total: usize,
    },
    /// Targets that are none.
    #[error("{wrong} of {total} targets are not {what}. Nothing was changed.")]
    Targets {
        /// How many.
        wrong: usize,
        /// Of how many.
        total: usize,
        /// What they must be.
        what: &'static str,
    },
    /// Values that are infinite.
    #[error("{wrong} of {total} values of X are infinite. Nothing was changed.")]
    Values {
        /// How many.
        wrong: usize,
        /// Of how many.
        total: usize,
    },
    /// Weights that are none.
    #[error("{wrong} of {total} weights are negative or not finite. Nothing was changed.")]
    Weights {
        /// How many.
        wrong: usize,
        /// Of how many.
        total: usize,
    },
    /// Handles are 32 bits wide.
    #[error("A forest holds fewer than 2^32 rows. Nothing was changed.")]
    TooMany,
    /// The allocator refused.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
}

/// Rows to learn.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    /// Tags, low and high half.
    pub tags: &'a [u64],
    /// Row-major values; NaN is missing.
    pub x: &'a [f32],
    /// Class slots or numbers.
    pub targets: &'a [f64],
    /// Weights; `None`: all are one.
    pub weights: Option<&'a [f64]>,
}

/// Numbers by the exponent e of the smallest power 2^e above them: the largest one is a function of the set.
#[derive(Debug, Default)]
struct Exponents(BTreeMap<i32, u32>);

impl Exponents {
    fn of(x: f64) -> Option<i32> {
        (x != 0.0).then(|| libm::frexp(x).1)
    }

    fn add(&mut self, x: f64) {
        if let Some(exponent) = Self::of(x) {
            *self.0.entry(exponent).or_default() += 1;
        }
    }

    fn remove(&mut self, x: f64) {
        let Some(exponent) = Self::of(x) else { return };
        if let Some(count) = self.0.get_mut(&exponent) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&exponent);
            }
        }
    }

    fn largest(&self) -> i32 {
        self.0.last_key_value().map_or(0, |(&exponent, _)| exponent)
    }
}

/// Powers of two of the fixed point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Scale {
    /// Units of 1 in a target.
    target: i32,
    /// Units of 1 in a weight; `None` if all weights are one.
    weight: Option<i32>,
}

/// Rows by handle. Handles are reused; nothing depends on them.
pub struct RowTable {
    heads: Chunked<u64>,
    values: Chunked<f32>,
    /// Target and weight as given.
    given: Chunked<f64>,
    vacant: Vec<u32>,
    index: PositionTable,
    n_live: usize,
    is_classifier: bool,
    n_slots: usize,
    target_exponents: Exponents,
    weight_exponents: Exponents,
    /// Live rows with a weight other than zero or one.
    n_weighted: usize,
    scale: Scale,
}

/// Whether a weight needs fixed point. Rows of weight 0 enter nothing, the choice of scales included.
fn is_fraction(weight: f64) -> bool {
    weight != 0.0 && weight.to_bits() != 1.0_f64.to_bits()
}

impl RowTable {
    /// No rows.
    #[must_use]
    pub fn new(params: &Params) -> Self {
        let mut table = Self {
            heads: Chunked::new(HEAD, rows_per_chunk(HEAD * size_of::<u64>())),
            values: Chunked::new(
                params.n_features,
                rows_per_chunk(params.n_features * size_of::<f32>()),
            ),
            given: Chunked::new(2, rows_per_chunk(2 * size_of::<f64>())),
            vacant: Vec::new(),
            index: PositionTable::default(),
            n_live: 0,
            is_classifier: params.is_classifier(),
            n_slots: 0,
            target_exponents: Exponents::default(),
            weight_exponents: Exponents::default(),
            n_weighted: 0,
            scale: Scale::default(),
        };
        table.scale = table.current_scale();
        table
    }

    /// Live rows, those of weight 0 included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.n_live
    }

    /// Whether no row is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.n_live == 0
    }

    /// Sums of nodes and candidates.
    #[must_use]
    pub fn channels(&self) -> Channels {
        if self.is_classifier {
            Channels::Classes(self.n_slots)
        } else {
            Channels::Moments
        }
    }

    /// Values of a row.
    #[inline]
    #[must_use]
    pub fn values(&self, row: u32) -> &[f32] {
        self.values.row(row as usize)
    }

    /// Low half of the tag of a row.
    #[inline]
    #[must_use]
    pub fn tag_low(&self, row: u32) -> u64 {
        self.heads.row(row as usize)[0]
    }

    /// Tag of a row.
    #[inline]
    #[must_use]
    pub fn tag(&self, row: u32) -> u128 {
        let head = self.heads.row(row as usize);
        u128::from(head[1]) << 64 | u128::from(head[0])
    }

    /// Fixed-point weight of a row.
    #[inline]
    #[must_use]
    fn weight(&self, row: u32) -> i64 {
        (self.heads.row(row as usize)[3] & !LIVE).cast_signed()
    }

    /// Bits of the largest weight.
    #[must_use]
    pub fn weight_bits(&self) -> usize {
        self.scale
            .weight
            .map_or(0, |_| WEIGHT_BITS.unsigned_abs() as usize)
    }

    /// What a member adds to sums.
    #[inline]
    #[must_use]
    pub fn amount(&self, member: Member) -> Amount {
        let head = self.heads.row(member.row as usize);
        let target = head[2].cast_signed();
        let weight = (head[3] & !LIVE).cast_signed();
        let copies = i64::from(member.copies);
        let product = match (self.is_classifier, self.scale.weight) {
            (true, _) => 0,
            (false, None) => copies * target,
            (false, Some(_)) => copies * weighted(target, weight),
        };
        Amount {
            target,
            weight: copies * weight,
            product,
        }
    }

    /// A mean of targets from the sums of a node.
    #[must_use]
    pub fn mean(&self, totals: &[i64]) -> f64 {
        let units = if self.scale.weight.is_some() {
            WEIGHT_BITS
        } else {
            0
        };
        libm::scalbn(
            nearest(totals[1]) / nearest(totals[0]),
            units - self.scale.target,
        )
    }

    /// Variance of targets from the sums of a node and the sum of weighted squares.
    #[must_use]
    pub fn variance(&self, totals: &[i64], squares: i128) -> f64 {
        let units = if self.scale.weight.is_some() {
            WEIGHT_BITS
        } else {
            0
        };
        let [weight, sum] = [totals[0], totals[1]].map(nearest);
        let [square, mean] =
            [nearest_signed(squares) / weight, sum / weight].map(|mean| libm::scalbn(mean, units));
        libm::scalbn((square - mean * mean).max(0.0), -2 * self.scale.target)
    }

    /// Weight in units of one.
    #[must_use]
    pub fn weight_of(&self, units: i64) -> f64 {
        self.scale
            .weight
            .map_or(nearest(units), |shift| libm::scalbn(nearest(units), -shift))
    }

    /// How often a row is in a tree that may hold it; 0 if its weight is.
    #[inline]
    #[must_use]
    pub fn copies(&self, row: u32, sampling: Sampling, draw: u64) -> u32 {
        if self.weight(row) == 0 {
            return 0;
        }
        match sampling {
            Sampling::Bootstrap => mix::multiplicity(draw, self.tag(row)).into(),
            Sampling::All | Sampling::Trees(_) | Sampling::First(_) => 1,
        }
    }

    /// Whether a row is live: not unlinked.
    #[inline]
    #[must_use]
    pub fn is_live(&self, row: u32) -> bool {
        self.heads.row(row as usize)[3] & LIVE != 0
    }

    /// Handles of live rows.
    pub fn live(&self) -> impl Iterator<Item = u32> {
        (0..narrow(self.heads.len())).filter(|&row| self.is_live(row))
    }

    fn find(&self, low: u64, high: u64) -> Option<u32> {
        self.index.find(self.index.hash_number(low), |row| {
            self.heads.row(row as usize)[..2] == [low, high]
        })
    }

    /// Handles of live rows by tag, in ascending order and once each.
    ///
    /// # Errors
    /// [`RowsError::Unknown`] with the number of tags that are not live.
    pub fn find_all(&self, tags: &[u64]) -> Result<Vec<u32>, RowsError> {
        let total = tags.len() / 2;
        let mut rows: Vec<u32> = tags
            .chunks_exact(2)
            .filter_map(|tag| self.find(tag[0], tag[1]))
            .collect();
        if rows.len() < total {
            return Err(RowsError::Unknown {
                wrong: total - rows.len(),
                total,
            });
        }
        rows.sort_unstable();
        rows.dedup();
        Ok(rows)
    }

    fn check(&self, batch: Batch<'_>) -> Result<(), RowsError> {
        let total = batch.targets.len();
        for (what, found, expected) in [
            ("tags", batch.tags.len(), 2 * total),
            ("X", batch.x.len(), total * self.values.width()),
            ("weight", batch.weights.map_or(total, <[f64]>::len), total),
        ] {
            if found != expected {
                return Err(RowsError::Length {
                    what,
                    found,
                    expected,
                });
            }
        }
        if self.n_live.saturating_add(total) >= u32::MAX as usize {
            return Err(RowsError::TooMany);
        }
        let is_target = |&&target: &&f64| {
            if self.is_classifier {
                target >= 0.0
                    && target < f64::from(MAX_SLOTS)
                    && libm::trunc(target).to_bits() == (target + 0.0).to_bits()
            } else {
                target.is_finite()
            }
        };
        let wrong = total - batch.targets.iter().filter(is_target).count();
        if wrong > 0 {
            let what = if self.is_classifier {
                "class slots from 0 to 65535"
            } else {
                "finite"
            };
            return Err(RowsError::Targets { wrong, total, what });
        }
        let wrong = batch.x.iter().filter(|x| x.is_infinite()).count();
        if wrong > 0 {
            let total = batch.x.len();
            return Err(RowsError::Values { wrong, total });
        }
        let weights = batch.weights.unwrap_or_default();
        let wrong = weights
            .iter()
            .filter(|&&weight| !(weight >= 0.0 && weight.is_finite()))
            .count();
        if wrong > 0 {
            return Err(RowsError::Weights { wrong, total });
        }
        Ok(())
    }

    /// Inserts rows and returns their handles.
    ///
    /// # Errors
    /// If the batch is not valid, a tag is live, or memory is short; nothing is changed then.
    pub fn insert(&mut self, batch: Batch<'_>) -> Result<Vec<u32>, RowsError> {
        self.check(batch)?;
        let total = batch.targets.len();
        self.heads.reserve(total)?;
        self.values.reserve(total)?;
        self.given.reserve(total)?;
        let heads = &self.heads;
        self.index.reserve(total, |index, row| {
            index.hash_number(heads.row(row as usize)[0])
        })?;
        let mut rows = Vec::with_capacity(total);
        let mut wrong = 0;
        for (i, tag) in batch.tags.chunks_exact(2).enumerate() {
            if self.find(tag[0], tag[1]).is_some() {
                wrong += 1;
                continue;
            }
            let width = self.values.width();
            let weight = batch.weights.map_or(1.0, |weights| weights[i]);
            let x = &batch.x[i * width..(i + 1) * width];
            rows.push(self.insert_row(tag, x, batch.targets[i], weight)?);
        }
        if wrong > 0 {
            self.unlink(&rows);
            self.erase(&rows);
            return Err(RowsError::Live { wrong, total });
        }
        if self.is_classifier {
            let slots = batch.targets.iter().map(|&target| slot(rint(target)) + 1);
            self.n_slots = slots.max().unwrap_or(0).max(self.n_slots);
        }
        Ok(rows)
    }

    fn insert_row(
        &mut self,
        tag: &[u64],
        x: &[f32],
        target: f64,
        weight: f64,
    ) -> Result<u32, OutOfMemory> {
        let row = if let Some(row) = self.vacant.pop() {
            row
        } else {
            self.heads.push_zeros()?;
            self.values.push_zeros()?;
            self.given.push_zeros()?;
            narrow(self.heads.len() - 1)
        };
        // Adding +0.0 makes -0.0 positive, so that equal values have equal bits.
        let values = self.values.row_mut(row as usize);
        for (value, &x) in values.iter_mut().zip(x) {
            *value = if x.is_nan() { f32::NAN } else { x + 0.0 };
        }
        self.given
            .row_mut(row as usize)
            .copy_from_slice(&[target + 0.0, weight]);
        let quantised = self.quantised(row);
        self.heads.row_mut(row as usize).copy_from_slice(&[
            tag[0],
            tag[1],
            quantised[0],
            quantised[1] | LIVE,
        ]);
        self.index
            .insert(self.index.hash_number(tag[0]), row, |_| false);
        self.n_live += 1;
        if weight != 0.0 {
            self.target_exponents.add(target);
        }
        self.weight_exponents.add(weight);
        self.n_weighted += usize::from(is_fraction(weight));
        Ok(row)
    }

    /// Rows are no longer live; their values stay until [`Self::erase`].
    pub fn unlink(&mut self, rows: &[u32]) {
        for &row in rows {
            let head = self.heads.row_mut(row as usize);
            head[3] &= !LIVE;
            let hash = self.index.hash_number(head[0]);
            self.index.remove(hash, row);
            let &[target, weight] = self.given.row(row as usize) else {
                continue;
            };
            self.n_live -= 1;
            if weight != 0.0 {
                self.target_exponents.remove(target);
            }
            self.weight_exponents.remove(weight);
            self.n_weighted -= usize::from(is_fraction(weight));
        }
    }

    /// Zeroises unlinked rows and frees their handles.
    pub fn erase(&mut self, rows: &[u32]) {
        for &row in rows {
            self.heads.row_mut(row as usize).zeroize();
            self.values.row_mut(row as usize).zeroize();
            self.given.row_mut(row as usize).zeroize();
        }
        self.vacant.extend_from_slice(rows);
    }

    fn current_scale(&self) -> Scale {
        let rows = u64::BITS - (self.n_live as u64).leading_zeros();
        let spare = rows.saturating_sub(ROW_BITS).cast_signed();
        Scale {
            target: if self.is_classifier {
                0
            } else {
                TARGET_BITS - spare - self.target_exponents.largest()
            },
            weight: (self.n_weighted > 0).then(|| WEIGHT_BITS - self.weight_exponents.largest()),
        }
    }

    /// Target and weight of a row in fixed point.
    fn quantised(&self, row: u32) -> [u64; 2] {
        let given = self.given.row(row as usize);
        let fixed = |x: f64, shift: i32| rint(libm::scalbn(x, shift));
        let weight = match self.scale.weight {
            _ if given[1] == 0.0 => 0,
            None => 1,
            Some(shift) => fixed(given[1], shift).max(1),
        };
        [fixed(given[0], self.scale.target), weight].map(i64::cast_unsigned)
    }

    /// Takes on the scale of the live rows; whether that changed the fixed point of all rows.
    pub fn rescale(&mut self) -> bool {
        let scale = self.current_scale();
        if scale == self.scale {
            return false;
        }
        self.scale = scale;
        for row in 0..narrow(self.heads.len()) {
            if self.heads.row(row as usize)[3] & LIVE != 0 {
                let [target, weight] = self.quantised(row);
                self.heads.row_mut(row as usize)[2..].copy_from_slice(&[target, weight | LIVE]);
            }
        }
        true
    }

    /// Sums over all live rows of positive weight, once each.
    #[must_use]
    pub fn totals(&self) -> Vec<i64> {
        let channels = self.channels();
        let mut totals = vec![0; channels.n_totals()];
        for row in self.live().filter(|&row| self.weight(row) > 0) {
            channels.add_total(&mut totals, self.amount(Member { row, copies: 1 }));
        }
        totals
    }

    /// Checks that rows which are not live are zero.
    #[cfg(test)]
    #[must_use]
    pub fn spare_is_zero(&self) -> bool {
        (0..narrow(self.heads.len()))
            .filter(|&row| !self.is_live(row))
            .all(|row| {
                let [heads, values, given] = [
                    bytemuck::cast_slice(self.heads.row(row as usize)),
                    bytemuck::cast_slice(self.values.row(row as usize)),
                    bytemuck::cast_slice::<_, u8>(self.given.row(row as usize)),
                ];
                [heads, values, given]
                    .concat()
                    .iter()
                    .all(|&byte| byte == 0)
            })
    }

    /// Bytes allocated.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        self.heads.nbytes()
            + self.values.nbytes()
            + self.given.nbytes()
            + self.index.nbytes()
            + 4 * self.vacant.capacity()
    }
}

/// Weight times target in units of the target, rounded once.
fn weighted(target: i64, weight: i64) -> i64 {
    let product = i128::from(target) * i128::from(weight);
    low((product + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS)
}
