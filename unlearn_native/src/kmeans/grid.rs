//! Rows as integers: the grids of columns and weights, and the exact moments on them.

use zeroize::Zeroizing;

use super::draw;
use super::kernel::Centres;
use super::table::{Row, Scalar, Table};
use crate::identity::PrfKey;

/// Integers of a column have this many bits.
const BITS: i32 = 40;

/// Least exponent of a grid, so that its step and the inverse of it are normal numbers.
const MIN_EXPONENT: i32 = -900;

/// 1.5 * 2^52: a number below 2^51 added to it is rounded to an integer, to even at a tie.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// The nearest integer of a number below 2^51, ties to even.
#[inline]
fn nearest_integer(number: f64) -> i64 {
    let bits = (number + ROUNDER).to_bits().cast_signed();
    bits.wrapping_sub(ROUNDER.to_bits().cast_signed()) // within 2^52: it does not wrap
}

/// `2^exponent` for exponents of normal numbers.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(u64::from((exponent + 1023).unsigned_abs()) << 52)
}

/// An integer as the nearest f64. Most fit in 64 bits, whose conversion is an instruction.
#[inline]
#[must_use]
#[allow(clippy::cast_precision_loss)] // rounded once
pub fn to_f64(sum: i128) -> f64 {
    match i64::try_from(sum) {
        Ok(sum) => sum as f64,
        Err(_) => wide_to_f64(sum),
    }
}

/// Out of line, or it would be computed in either case and then chosen from.
#[cold]
#[inline(never)]
#[allow(clippy::cast_precision_loss)] // rounded once
fn wide_to_f64(sum: i128) -> f64 {
    sum as f64
}

/// The largest exponent over rows, and how many rows have it: enough to see when the last of them goes.
#[derive(Clone, Copy, Debug)]
struct Peak {
    threshold: u64,
    exponent: i32,
    n_rows: u64,
    /// The smallest magnitude of that exponent.
    floor: f64,
}

impl Peak {
    fn new(threshold: u64) -> Self {
        let mut peak = Self {
            threshold,
            exponent: MIN_EXPONENT,
            n_rows: 0,
            floor: 0.0,
        };
        peak.set_floor();
        peak
    }

    fn set_floor(&mut self) {
        self.floor = f64::from_bits(power_of_two(self.exponent - 2).to_bits() | self.threshold);
    }

    /// The exponent of a value, if it is not below the largest.
    #[inline]
    fn exponent_at_peak(&self, value: f64) -> Option<i32> {
        if value.abs() < self.floor {
            return None;
        }
        draw::exponent(value, self.threshold).filter(|&exponent| exponent >= self.exponent)
    }

    /// Take the exponent of the largest magnitude; rows that have it are to be counted.
    fn rise_to(&mut self, magnitude: f64) {
        if let Some(exponent) = self.exponent_at_peak(magnitude) {
            self.exponent = exponent;
            self.set_floor();
        }
    }

    /// Count a value under the final exponent.
    #[inline]
    fn count(&mut self, value: f64) {
        self.n_rows += u64::from(value.abs() >= self.floor);
    }

    /// Learn a value; whether the grid holds it.
    fn learn(&mut self, value: f64) -> bool {
        match self.exponent_at_peak(value) {
            Some(exponent) if exponent > self.exponent => return false,
            Some(_) => self.n_rows += 1,
            None => {}
        }
        true
    }

    /// Forget a value; whether another one keeps the grid.
    fn forget(&mut self, value: f64) -> bool {
        if self.exponent_at_peak(value).is_none() {
            return true;
        }
        self.n_rows -= 1;
        self.n_rows > 0 || self.exponent == MIN_EXPONENT
    }

    fn step(&self) -> f64 {
        power_of_two(self.exponent - BITS)
    }

    fn inverse(&self) -> f64 {
        power_of_two(BITS - self.exponent)
    }
}

/// Whether rows come or go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They come.
    Learn,
    /// They go.
    Forget,
}

impl Change {
    #[inline]
    fn sign(self) -> i128 {
        match self {
            Self::Learn => 1,
            Self::Forget => -1,
        }
    }

    fn apply(self, peak: &mut Peak, value: f64) -> bool {
        match self {
            Self::Learn => peak.learn(value),
            Self::Forget => peak.forget(value),
        }
    }
}

/// Grids of weighted columns, where a weight is not 1.
#[derive(Clone, Debug)]
struct Weighted {
    peaks: Vec<Peak>,
    steps: Vec<f64>,
    inverses: Vec<f64>,
}

/// Sums of one column over rows, on its grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Moments {
    /// Of the values.
    values: i128,
    /// Of their squares.
    squares: i128,
    /// Of values times weighted values.
    products: i128,
}

/// Grids and moments of the live rows.
#[derive(Clone, Debug)]
pub struct Grid {
    n_rows: u64,
    peaks: Vec<Peak>,
    steps: Vec<f64>,
    inverses: Vec<f64>,
    /// None while all weights are 1: then it would be the same as the unweighted.
    weighted: Option<Weighted>,
    weights: Peak,
    moments: Vec<Moments>,
}

/// `w * x`, within the finite range.
#[inline]
fn weigh(weight: f64, value: f64) -> f64 {
    (weight * value).clamp(-f64::MAX, f64::MAX)
}

/// The larger of two magnitudes.
#[inline]
fn larger(left: f64, right: f64) -> f64 {
    if right > left { right } else { left }
}

#[inline]
fn is_unit(weight: f64) -> bool {
    crate::rows::is_one(weight)
}

impl Grid {
    /// The grids of the rows of a table, and their moments.
    pub fn new<T: Table>(table: &T, key: &PrfKey) -> Self {
        let n_features = table.n_features();
        let columns = 0..u32::try_from(n_features).unwrap_or(u32::MAX); // at most 2^31
        let peaks: Vec<_> = columns
            .map(|column| Peak::new(draw::threshold(key, column)))
            .collect();
        let has_weights = table.effective().any(|slot| !is_unit(table.weight(slot)));
        let mut grid = Self {
            n_rows: 0,
            steps: Vec::new(),
            inverses: Vec::new(),
            weighted: has_weights.then(|| Weighted {
                peaks: peaks.clone(),
                steps: Vec::new(),
                inverses: Vec::new(),
            }),
            peaks,
            weights: Peak::new(draw::weight_threshold(key)),
            moments: vec![Moments::default(); n_features],
        };
        grid.find_peaks(table);
        for slot in table.effective() {
            let (row, weight) = (table.stored(slot), table.weight(slot));
            grid.count_peaks(row, weight);
            grid.add(row, weight, Change::Learn);
        }
        grid
    }

    fn find_peaks<T: Table>(&mut self, table: &T) {
        let mut largest = vec![0.0; self.peaks.len()];
        let mut largest_weighted = self.weighted.as_ref().map(|_| largest.clone());
        let mut largest_weight = 0.0;
        for slot in table.effective() {
            let (row, weight) = (table.stored(slot), table.weight(slot));
            row.each(&mut largest, |largest, value| {
                *largest = larger(*largest, value.abs());
            });
            if let Some(kept) = &mut largest_weighted {
                row.each(kept, |largest, value| {
                    *largest = larger(*largest, weigh(weight, value).abs());
                });
            }
            largest_weight = larger(largest_weight, weight);
        }
        for (peak, largest) in self.peaks.iter_mut().zip(largest) {
            peak.rise_to(largest);
        }
        if let Some(weighted) = &mut self.weighted {
            for (peak, largest) in weighted
                .peaks
                .iter_mut()
                .zip(largest_weighted.into_iter().flatten())
            {
                peak.rise_to(largest);
            }
        }
        self.weights.rise_to(largest_weight);
        self.set_steps();
    }

    fn count_peaks<S: Scalar>(&mut self, row: Row<'_, S>, weight: f64) {
        row.each(&mut self.peaks, Peak::count);
        if let Some(weighted) = &mut self.weighted {
            row.each(&mut weighted.peaks, |peak, value| {
                peak.count(weigh(weight, value));
            });
        }
        self.weights.count(weight);
    }

    fn set_steps(&mut self) {
        self.steps = self.peaks.iter().map(Peak::step).collect();
        self.inverses = self.peaks.iter().map(Peak::inverse).collect();
        if let Some(weighted) = &mut self.weighted {
            weighted.steps = weighted.peaks.iter().map(Peak::step).collect();
            weighted.inverses = weighted.peaks.iter().map(Peak::inverse).collect();
        }
    }

    /// Learn or forget rows; whether the grids are still those of the live rows. If not, this one is of no more use.
    pub fn change<T: Table>(
        &mut self,
        table: &T,
        slots: impl Iterator<Item = usize>,
        change: Change,
    ) -> bool {
        for slot in slots.filter(|&slot| table.is_effective(slot)) {
            let (row, weight) = (table.stored(slot), table.weight(slot));
            if !self.shift_peaks(row, weight, change) {
                return false;
            }
            self.add(row, weight, change);
        }
        true
    }

    fn shift_peaks<S: Scalar>(&mut self, row: Row<'_, S>, weight: f64, change: Change) -> bool {
        let mut holds = self.weighted.is_some() || is_unit(weight);
        row.each(&mut self.peaks, |peak, value| {
            holds &= change.apply(peak, value);
        });
        if let Some(weighted) = &mut self.weighted {
            row.each(&mut weighted.peaks, |peak, value| {
                holds &= change.apply(peak, weigh(weight, value));
            });
        }
        holds & change.apply(&mut self.weights, weight)
    }

    fn add<S: Scalar>(&mut self, row: Row<'_, S>, weight: f64, change: Change) {
        let sign = change.sign();
        self.n_rows = match change {
            Change::Learn => self.n_rows + 1,
            Change::Forget => self.n_rows - 1,
        };
        let is_unweighted = self.weighted.is_none();
        row.each_with(
            &mut self.moments,
            &self.inverses,
            |moments, inverse, value| {
                let integer = i128::from(nearest_integer(value * inverse));
                let square = sign * integer * integer;
                moments.values += sign * integer;
                moments.squares += square;
                if is_unweighted {
                    moments.products += square;
                }
            },
        );
        if let Some(weighted) = &self.weighted {
            row.each_column(|column, value| {
                let integer = i128::from(nearest_integer(value * self.inverses[column]));
                let product = nearest_integer(weigh(weight, value) * weighted.inverses[column]);
                self.moments[column].products += sign * integer * i128::from(product);
            });
        }
    }

    /// Number of rows.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Number of columns.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.peaks.len()
    }

    /// Largest exponent of any column, and that of the weights.
    #[must_use]
    pub fn exponents(&self) -> (i32, i32) {
        let largest = self.peaks.iter().map(|peak| peak.exponent).max();
        (largest.unwrap_or(MIN_EXPONENT), self.weights.exponent)
    }

    fn weighted_steps(&self) -> &[f64] {
        self.weighted
            .as_ref()
            .map_or(&self.steps, |weighted| &weighted.steps)
    }

    /// Mean variance of the columns, unweighted.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // defined so
    pub fn mean_variance(&self) -> f64 {
        let (n, rows) = (i128::from(self.n_rows.max(1)), self.n_rows.max(1) as f64);
        let variance = |(moments, &step): (&Moments, &f64)| {
            let mean = moments.values.div_euclid(n);
            let rest = moments.values - mean * n;
            let spread = moments.squares - 2 * mean * moments.values + n * mean * mean;
            (to_f64(spread) - to_f64(rest * rest) / rows) / rows * (step * step)
        };
        let total = self
            .moments
            .iter()
            .zip(&self.steps)
            .map(variance)
            .fold(0.0, |sum, term| sum + term);
        total / self.moments.len() as f64
    }

    /// Sum over columns of the exact products of values and weighted values.
    pub(super) fn products(&self) -> impl Iterator<Item = (i128, f64, f64)> {
        let steps = self.steps.iter().zip(self.weighted_steps());
        self.moments
            .iter()
            .zip(steps)
            .map(|(moments, (&step, &weighted))| (moments.products, step, weighted))
    }

    /// Steps of the weighted columns and of the weights.
    pub(super) fn steps(&self) -> (&[f64], f64) {
        (self.weighted_steps(), self.weights.step())
    }

    /// All rows as one cluster, from the moments; None if any has a weight other than 1.
    pub(super) fn unweighted_total(&self) -> Option<Sums> {
        let n_rows = i128::from(self.n_rows);
        self.weighted.is_none().then(|| Sums {
            values: self
                .moments
                .iter()
                .map(|moments| moments.values)
                .collect::<Vec<_>>()
                .into(),
            weights: vec![n_rows * i128::from(self.weight_integer(1.0))],
            is_stale: vec![true],
        })
    }

    /// The integers of a row, times its weight, one a column.
    #[inline]
    fn integers<'a, S: Scalar>(
        &'a self,
        row: &'a [S],
        weight: f64,
    ) -> impl Iterator<Item = i128> + 'a {
        let inverses = self
            .weighted
            .as_ref()
            .map_or(&self.inverses, |weighted| &weighted.inverses);
        row.iter().zip(inverses).map(move |(&value, inverse)| {
            i128::from(nearest_integer(weigh(weight, value.into()) * inverse))
        })
    }

    #[inline]
    fn weight_integer(&self, weight: f64) -> i64 {
        nearest_integer(weight * self.weights.inverse())
    }

    /// A sum of weights.
    #[must_use]
    pub fn weight(&self, sum: i128) -> f64 {
        to_f64(sum) * self.weights.step()
    }

    /// Exponents and moments in canonical form.
    pub(super) fn digest_into(&self, out: &mut Vec<u8>) {
        out.extend(self.n_rows.to_le_bytes());
        out.extend(self.weights.exponent.to_le_bytes());
        let weighted = self
            .weighted
            .as_ref()
            .map_or(&self.peaks, |weighted| &weighted.peaks);
        for ((peak, weighted), moments) in self.peaks.iter().zip(weighted).zip(&self.moments) {
            out.extend(peak.exponent.to_le_bytes());
            out.extend(weighted.exponent.to_le_bytes());
            for sum in [moments.values, moments.squares, moments.products] {
                out.extend(sum.to_le_bytes());
            }
        }
    }

    pub(super) fn nbytes(&self) -> usize {
        let weighted = self
            .weighted
            .as_ref()
            .map_or(0, |weighted| weighted.peaks.len());
        let column = size_of::<Peak>() + 2 * size_of::<f64>();
        (self.peaks.len() + weighted) * column + self.moments.len() * size_of::<Moments>()
    }
}

/// Integer sums of the rows of clusters.
#[derive(Clone, Debug)]
pub struct Sums {
    /// Of weighted values, cluster by cluster.
    values: Zeroizing<Vec<i128>>,
    /// Of weights.
    weights: Vec<i128>,
    /// Clusters that changed since their means were read.
    is_stale: Vec<bool>,
}

/// Sums of a block of at most `Batch::ROWS` rows, in lanes of 64 bits.
#[derive(Debug)]
pub struct Batch {
    values: Zeroizing<Vec<i64>>,
    weights: Vec<i64>,
}

impl Batch {
    /// Integers have 40 bits, so these do not overflow; nor do they leave the cache.
    pub const ROWS: usize = 1 << 14;

    /// Of no rows.
    #[must_use]
    pub fn zero(n_clusters: usize, n_features: usize) -> Self {
        Self {
            values: vec![0; n_clusters * n_features].into(),
            weights: vec![0; n_clusters],
        }
    }

    /// Add a row to a cluster.
    #[inline]
    pub fn add<S: Scalar>(&mut self, grid: &Grid, cluster: usize, row: Row<'_, S>, weight: f64) {
        let d = grid.n_features();
        let sums = &mut self.values[cluster * d..(cluster + 1) * d];
        match &grid.weighted {
            None => row.each_with(sums, &grid.inverses, |sum, inverse, value| {
                *sum = sum.wrapping_add(nearest_integer(value * inverse));
            }),
            Some(weighted) => row.each_with(sums, &weighted.inverses, |sum, inverse, value| {
                *sum = sum.wrapping_add(nearest_integer(weigh(weight, value) * inverse));
            }),
        }
        self.weights[cluster] += grid.weight_integer(weight);
    }
}

impl Sums {
    /// Of no rows.
    #[must_use]
    pub fn zero(n_clusters: usize, n_features: usize) -> Self {
        Self {
            values: vec![0; n_clusters * n_features].into(),
            weights: vec![0; n_clusters],
            is_stale: vec![true; n_clusters],
        }
    }

    /// Add a batch, which is empty afterwards.
    pub fn absorb(&mut self, batch: &mut Batch) {
        for (sum, term) in self.values.iter_mut().zip(batch.values.iter_mut()) {
            *sum += i128::from(std::mem::take(term));
        }
        for (sum, term) in self.weights.iter_mut().zip(&mut batch.weights) {
            *sum += i128::from(std::mem::take(term));
        }
        self.mark_stale();
    }

    /// Take the means of all clusters to have changed.
    pub fn mark_stale(&mut self) {
        self.is_stale.fill(true);
    }

    /// Add a row to a cluster, or take it out.
    #[inline]
    pub fn change<S: Scalar>(
        &mut self,
        grid: &Grid,
        cluster: usize,
        row: &[S],
        weight: f64,
        change: Change,
    ) {
        let sums = &mut self.values[cluster * row.len()..(cluster + 1) * row.len()];
        let sign = change.sign();
        for (sum, integer) in sums.iter_mut().zip(grid.integers(row, weight)) {
            *sum += sign * integer;
        }
        self.weights[cluster] += sign * i128::from(grid.weight_integer(weight));
        self.is_stale[cluster] = true;
    }

    /// Clusters without weight.
    pub fn empty(&self) -> impl Iterator<Item = usize> {
        let weights = self.weights.iter().enumerate();
        weights
            .filter(|&(_, &weight)| weight == 0)
            .map(|(cluster, _)| cluster)
    }

    /// Centres of the clusters, row by row; a cluster without weight keeps the one it had.
    #[must_use]
    pub fn means<S: Scalar>(&self, grid: &Grid, before: &Centres) -> Vec<f64> {
        let mut means = before.rows().to_vec();
        for cluster in 0..self.weights.len() {
            self.write_mean::<S>(cluster, grid, &mut means);
        }
        means
    }

    /// Bring means up to date that were read before, where no cluster is or was without weight.
    pub fn refresh<S: Scalar>(&mut self, grid: &Grid, means: &mut [f64]) {
        for cluster in 0..self.weights.len() {
            if std::mem::take(&mut self.is_stale[cluster]) {
                self.write_mean::<S>(cluster, grid, means);
            }
        }
    }

    fn write_mean<S: Scalar>(&self, cluster: usize, grid: &Grid, means: &mut [f64]) {
        let (steps, weight_step) = grid.steps();
        let weight = self.weights[cluster];
        if weight == 0 {
            return;
        }
        let total = to_f64(weight) * weight_step;
        let mean = &mut means[cluster * steps.len()..(cluster + 1) * steps.len()];
        let sums = self.values_of(cluster, steps.len());
        for ((mean, &sum), step) in mean.iter_mut().zip(sums).zip(steps) {
            *mean = S::rounded(to_f64(sum) * step / total);
        }
    }

    /// Sums of weighted values of a cluster.
    #[must_use]
    pub fn values_of(&self, cluster: usize, n_features: usize) -> &[i128] {
        &self.values[cluster * n_features..(cluster + 1) * n_features]
    }

    /// Sum of the weights of a cluster.
    #[must_use]
    pub fn weight_of(&self, cluster: usize) -> i128 {
        self.weights[cluster]
    }

    pub(super) fn digest_into(&self, out: &mut Vec<u8>) {
        out.extend(
            self.values
                .iter()
                .chain(&self.weights)
                .flat_map(|sum| sum.to_le_bytes()),
        );
    }

    pub(super) fn nbytes(&self) -> usize {
        (self.values.len() + self.weights.len()) * size_of::<i128>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kmeans::table::{DenseRows, GoneTable, Rows};

    const KEY: PrfKey = [7; 32];

    fn table<'a>(
        values: &'a [f64],
        weights: Option<&'a [f64]>,
        tags: &'a [u128],
    ) -> GoneTable<'a, DenseRows<'a, f64>> {
        GoneTable {
            rows: DenseRows {
                values,
                n_features: 2,
            },
            weights,
            tags,
        }
    }

    #[test]
    fn rounding_is_to_even() {
        for (number, want) in [
            (0.5, 0),
            (1.5, 2),
            (-0.5, 0),
            (-2.5, -2),
            (1e12 + 0.25, 1_000_000_000_000),
        ] {
            assert_eq!(nearest_integer(number), want, "{number}");
        }
    }

    /// Unit weights on the grid of weights give the bits of no weights at all.
    #[test]
    fn weights_of_one_are_no_weights() {
        let (values, tags) = ([1.5, -2.0, 0.1, 7.0, 3.0, 1e-9], [1, 2, 3]);
        let centres = Centres::new(vec![0.0; 4], 2);
        let means = |weights: Option<&[f64]>| {
            let table = table(&values, weights, &tags);
            let grid = Grid::new(&table, &KEY);
            let mut sums = Sums::zero(2, 2);
            let mut scratch = Vec::new();
            for slot in 0..3 {
                sums.change(
                    &grid,
                    slot % 2,
                    table.row(slot, &mut scratch),
                    table.weight(slot),
                    Change::Learn,
                );
            }
            sums.means::<f64>(&grid, &centres)
        };

        assert_eq!(means(None), means(Some(&[1.0; 3])));
    }

    #[test]
    fn a_grid_changes_with_the_last_row_at_its_peak() {
        let (values, tags) = ([1.0, 1.0, 64.0, 1.0, 64.0, 1.0], [1, 2, 3]);
        let all = table(&values, None, &tags);
        let mut grid = Grid::new(&all, &KEY);

        assert!(grid.change(&all, 1..2, Change::Forget));
        assert!(!grid.clone().change(&all, 2..3, Change::Forget));
        assert!(grid.change(&all, 0..1, Change::Forget));

        let rest = table(&values[4..], None, &tags[2..]);
        let fresh = Grid::new(&rest, &KEY);
        let bytes = |grid: &Grid| {
            let mut out = Vec::new();
            grid.digest_into(&mut out);
            out
        };
        assert_eq!(bytes(&grid), bytes(&fresh));
    }

    #[test]
    fn variance_of_shifted_columns() {
        let (values, tags) = ([1e6 + 1.0, 5.0, 1e6 + 3.0, 5.0, 1e6 + 5.0, 5.0], [1, 2, 3]);
        let grid = Grid::new(&table(&values, None, &tags), &KEY);

        assert!((grid.mean_variance() - 8.0 / 6.0).abs() < 1e-5);
    }
}
