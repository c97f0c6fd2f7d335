//! Distances of rows and centres: the same bits for one row and for a million, at any SIMD width.
//!
//! The lanes run over centres, eight to a tile, and over a few rows at a time; each distance is summed over features in
//! order, by separate multiplications and additions.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::table::{Rows, Scalar};

/// Centres of a tile.
const LANES: usize = 8;

/// Rows whose distances are computed together: their sums fill the registers of AVX2.
const GROUP: usize = 4;

/// Unit roundoff of f64.
const ROUNDOFF: f64 = f64::EPSILON / 2.0;

/// Added to every bound, so that squares which underflow cannot make it too small.
const TINY: f64 = 1e-150;

/// Points, one after the other. A centre may be a row, so they are zeroised when dropped.
pub type Points = Zeroizing<Vec<f64>>;

/// Centres in the orders that are read.
#[derive(Clone, Debug)]
pub struct Centres {
    n_features: usize,
    /// Centre by centre.
    rows: Arc<Points>,
    /// Tile by tile, feature by feature, lane by lane; lanes without a centre are 0.
    tiles: Zeroizing<Vec<[f64; LANES]>>,
    /// Whether an earlier centre is the same: then it is never the nearest, and no neighbour to keep a distance from.
    is_copy: Vec<bool>,
    n_distinct: usize,
}

impl Centres {
    /// From centres of `n_features` coordinates, one after the other.
    #[must_use]
    pub fn new(rows: impl Into<Points>, n_features: usize) -> Self {
        let rows = rows.into();
        let n_clusters = rows.len() / n_features;
        let mut tiles = vec![[0.0; LANES]; n_clusters.div_ceil(LANES) * n_features];
        for (cluster, row) in rows.chunks_exact(n_features).enumerate() {
            let tile = &mut tiles[cluster / LANES * n_features..][..n_features];
            for (lanes, &coordinate) in tile.iter_mut().zip(row) {
                lanes[cluster % LANES] = coordinate;
            }
        }
        let is_copy = copies(&rows, n_features);
        let n_distinct = is_copy.iter().filter(|&&is_copy| !is_copy).count();
        Self {
            n_features,
            rows: Arc::new(rows),
            tiles: tiles.into(),
            is_copy,
            n_distinct,
        }
    }

    /// Number of centres.
    #[must_use]
    pub fn len(&self) -> usize {
        self.is_copy.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.is_copy.is_empty()
    }

    /// All centres, one after the other.
    #[must_use]
    pub fn rows(&self) -> &[f64] {
        &self.rows
    }

    /// All centres, one after the other, to be kept.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Points> {
        Arc::clone(&self.rows)
    }

    /// One centre.
    #[must_use]
    pub fn row(&self, cluster: usize) -> &[f64] {
        &self.rows[cluster * self.n_features..(cluster + 1) * self.n_features]
    }

    /// Number of coordinates.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// Whether the same centres are copies of earlier ones.
    #[must_use]
    pub fn has_copies_of(&self, other: &Self) -> bool {
        self.is_copy == other.is_copy
    }

    /// Bytes allocated.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        (self.rows.len() + self.tiles.len() * LANES) * size_of::<f64>() + self.is_copy.len()
    }
}

/// Equal bits are the same centres.
impl PartialEq for Centres {
    fn eq(&self, other: &Self) -> bool {
        self.rows.len() == other.rows.len()
            && self
                .rows
                .iter()
                .zip(other.rows.iter())
                .all(|(left, right)| left.to_bits() == right.to_bits())
    }
}

fn copies(rows: &[f64], n_features: usize) -> Vec<bool> {
    let bits = |cluster: usize| {
        rows[cluster * n_features..][..n_features]
            .iter()
            .map(|x| x.to_bits())
    };
    let mut order: Vec<_> = (0..rows.len() / n_features).collect();
    order.sort_by(|&left, &right| bits(left).cmp(bits(right))); // stable: the first of equals stays the first
    let mut is_copy = vec![false; order.len()];
    for pair in order.windows(2) {
        is_copy[pair[1]] = bits(pair[0]).eq(bits(pair[1]));
    }
    is_copy
}

/// The nearest centre of a row, and how far it is from being another one.
#[derive(Clone, Copy, Debug)]
pub struct Nearest {
    /// The nearest centre.
    pub label: u16,
    /// The second nearest.
    pub second: u16,
    /// How much farther the second is, less all roundings; infinite if there is none.
    pub margin: f64,
    /// The same of the third.
    pub third_margin: f64,
}

/// Lower bound of the difference of two distances from their computed squares.
///
/// With u = 2^-53 a squared distance has relative error (d + 2) u at most, so the order of the computed ones and the
/// computed margin together err by less than (1.5 d + 6) u (near + far).
#[inline]
#[must_use]
pub fn margin(near_squared: f64, far_squared: f64, n_features: usize) -> f64 {
    let (near, far) = (near_squared.sqrt(), far_squared.sqrt());
    far - near - slack(n_features) * (near + far) - TINY
}

#[inline]
#[allow(clippy::cast_precision_loss)] // below 2^32
fn slack(n_features: usize) -> f64 {
    8.0 * (n_features + 4) as f64 * ROUNDOFF
}

/// Upper bound of the distance of two centres.
#[must_use]
pub fn step(from: &[f64], to: &[f64]) -> f64 {
    if from
        .iter()
        .zip(to)
        .all(|(from, to)| from.to_bits() == to.to_bits())
    {
        return 0.0;
    }
    squared_distance(from, to).sqrt() * (1.0 + slack(from.len())) + TINY
}

/// Squared distance of a row and one centre: the bits of `distances`.
#[inline]
#[must_use]
pub fn squared_distance<S: Scalar>(row: &[S], centre: &[f64]) -> f64 {
    let mut sum = 0.0;
    for (&value, &coordinate) in row.iter().zip(centre) {
        let gap = value.into() - coordinate;
        sum += gap * gap; // not mul_add: with FMA the bits would depend on the CPU (docs/decisions/0004)
    }
    sum
}

/// Squared distances of `N` rows to all centres, row by row with the lanes of whole tiles.
#[inline(always)]
#[allow(clippy::inline_always)] // else the callers' vector instructions would not reach it
fn distances_here<S: Scalar, const N: usize>(rows: [&[S]; N], centres: &Centres, out: &mut [f64]) {
    let width = out.len() / N;
    for (number, tile) in centres.tiles.chunks_exact(centres.n_features).enumerate() {
        let mut sums = [[0.0; LANES]; N];
        for (feature, lanes) in tile.iter().enumerate() {
            for (sums, row) in sums.iter_mut().zip(rows) {
                let value: f64 = row[feature].into();
                for (sum, coordinate) in sums.iter_mut().zip(lanes) {
                    let gap = value - coordinate;
                    *sum += gap * gap; // see `squared_distance`
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            out[row * width + number * LANES..][..LANES].copy_from_slice(sums);
        }
    }
}

/// The three nearest centres of `N` rows, from their `distances_here`. The lanes run over the rows, and nothing branches.
#[inline(always)]
#[allow(clippy::inline_always)] // see `distances_here`
#[allow(clippy::cast_possible_truncation)] // at most u16::MAX clusters
fn rank_here<const N: usize>(squared: &[f64], centres: &Centres) -> [Nearest; N] {
    let width = squared.len() / N;
    let [mut first, mut second, mut third] = [[f64::INFINITY; N]; 3];
    let [mut label, mut runner_up] = [[0_u64; N]; 2];
    for (number, &is_copy) in centres.is_copy.iter().enumerate() {
        if is_copy {
            continue;
        }
        let distance: [f64; N] = std::array::from_fn(|row| squared[row * width + number]);
        let number = number as u64;
        for row in 0..N {
            let loser = if distance[row] < second[row] {
                second[row]
            } else {
                distance[row]
            };
            third[row] = if loser < third[row] {
                loser
            } else {
                third[row]
            };
        }
        for row in 0..N {
            let is_first = distance[row] < first[row];
            let is_second = distance[row] < second[row];
            let (other, other_number) = if is_first {
                (first[row], label[row])
            } else {
                (distance[row], number)
            };
            second[row] = if is_second { other } else { second[row] };
            runner_up[row] = if is_second {
                other_number
            } else {
                runner_up[row]
            };
            first[row] = if is_first { distance[row] } else { first[row] };
            label[row] = if is_first { number } else { label[row] };
        }
    }
    std::array::from_fn(|row| {
        // Distances that overflowed give margins that are no numbers, so such rows are looked at again every time.
        let margin_to = |other: f64, rank: usize| {
            if centres.n_distinct < rank {
                f64::INFINITY
            } else {
                margin(first[row], other, centres.n_features)
            }
        };
        Nearest {
            label: label[row] as u16,
            second: runner_up[row] as u16,
            margin: margin_to(second[row], 2),
            third_margin: margin_to(third[row], 3),
        }
    })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn distances_avx2<S: Scalar, const N: usize>(rows: [&[S]; N], centres: &Centres, out: &mut [f64]) {
    distances_here(rows, centres, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn rank_avx2<const N: usize>(squared: &[f64], centres: &Centres) -> [Nearest; N] {
    rank_here(squared, centres)
}

fn distances<S: Scalar, const N: usize>(rows: [&[S]; N], centres: &Centres, out: &mut [f64]) {
    // Slices of one length: what is indexed in the loop is checked here.
    let rows = rows.map(|row| &row[..centres.n_features]);
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has the instructions that the function was compiled for.
        unsafe { distances_avx2(rows, centres, out) };
        return;
    }
    distances_here(rows, centres, out);
}

fn rank<const N: usize>(squared: &[f64], centres: &Centres) -> [Nearest; N] {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has the instructions that the function was compiled for.
        return unsafe { rank_avx2(squared, centres) };
    }
    rank_here(squared, centres)
}

/// Distances of rows to centres, with the memory that they need.
#[derive(Debug)]
pub struct Search<S: Scalar> {
    distances: Vec<f64>,
    scratch: [Zeroizing<Vec<S>>; GROUP],
}

impl<S: Scalar> Default for Search<S> {
    fn default() -> Self {
        Self {
            distances: Vec::new(),
            scratch: Default::default(),
        }
    }
}

impl<S: Scalar> Search<S> {
    /// Give `visit` each slot with its squared distances to all centres, in order.
    pub fn distances<R: Rows<Scalar = S>>(
        &mut self,
        rows: &R,
        slots: impl IntoIterator<Item = usize>,
        centres: &Centres,
        mut visit: impl FnMut(usize, &[f64]),
    ) {
        self.in_groups(rows, slots, centres, |slots, distances| {
            let width = distances.len() / slots.len();
            for (&slot, squared) in slots.iter().zip(distances.chunks_exact(width)) {
                visit(slot, &squared[..centres.len()]);
            }
        });
    }

    /// Give `visit` each slot with its nearest centres, in order.
    pub fn nearest<R: Rows<Scalar = S>>(
        &mut self,
        rows: &R,
        slots: impl IntoIterator<Item = usize>,
        centres: &Centres,
        mut visit: impl FnMut(usize, Nearest),
    ) {
        self.in_groups(rows, slots, centres, |slots, distances| {
            if slots.len() == GROUP {
                let found = rank::<GROUP>(distances, centres);
                slots
                    .iter()
                    .zip(found)
                    .for_each(|(&slot, nearest)| visit(slot, nearest));
            } else {
                let [nearest] = rank(distances, centres);
                visit(slots[0], nearest);
            }
        });
    }

    /// Give `visit` a group of slots, or one of those that are left over, and the lanes of their squared distances.
    fn in_groups<R: Rows<Scalar = S>>(
        &mut self,
        rows: &R,
        slots: impl IntoIterator<Item = usize>,
        centres: &Centres,
        mut visit: impl FnMut(&[usize], &[f64]),
    ) {
        let width = centres.len().div_ceil(LANES) * LANES;
        self.distances.resize(GROUP * width, 0.0);
        let mut slots = slots.into_iter();
        let mut group = [0; GROUP];
        loop {
            let mut filled = 0;
            for (place, slot) in group.iter_mut().zip(slots.by_ref()) {
                *place = slot;
                filled += 1;
            }
            let [a, b, c, d] = &mut self.scratch;
            if filled < GROUP {
                for slot in &group[..filled] {
                    let out = &mut self.distances[..width];
                    distances([rows.row(*slot, a)], centres, out);
                    visit(&[*slot], out);
                }
                return;
            }
            let rows = [
                rows.row(group[0], a),
                rows.row(group[1], b),
                rows.row(group[2], c),
                rows.row(group[3], d),
            ];
            distances(rows, centres, &mut self.distances);
            visit(&group, &self.distances);
        }
    }
}

/// A row with two centres, to be compared.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// Slot of the row.
    pub slot: usize,
    /// The nearer centre, as far as is known.
    pub label: u16,
    /// The other one.
    pub second: u16,
}

/// Margins of rows between two centres each. A few rows go abreast: alone, each addition would wait for the one before.
pub fn pair_margins<R: Rows>(rows: &R, pairs: &[Pair], centres: &Centres) -> Vec<f64> {
    let [mut a, mut b, mut c, mut d]: [Zeroizing<Vec<R::Scalar>>; GROUP] = Default::default();
    let mut margins = Vec::with_capacity(pairs.len());
    let (groups, rest) = pairs.as_chunks::<GROUP>();
    for group in groups {
        let rows = [
            rows.row(group[0].slot, &mut a),
            rows.row(group[1].slot, &mut b),
            rows.row(group[2].slot, &mut c),
            rows.row(group[3].slot, &mut d),
        ];
        margins.extend(margins_abreast(rows, group, centres));
    }
    for pair in rest {
        margins.extend(margins_abreast(
            [rows.row(pair.slot, &mut a)],
            &[*pair],
            centres,
        ));
    }
    margins
}

fn margins_abreast<S: Scalar, const N: usize>(
    rows: [&[S]; N],
    pairs: &[Pair; N],
    centres: &Centres,
) -> [f64; N] {
    let n_features = centres.n_features;
    let rows = rows.map(|row| &row[..n_features]);
    let near = pairs.map(|pair| centres.row(pair.label.into()));
    let far = pairs.map(|pair| centres.row(pair.second.into()));
    let mut sums = [[0.0; 2]; N];
    for feature in 0..n_features {
        for (place, sums) in sums.iter_mut().enumerate() {
            let value: f64 = rows[place][feature].into();
            let gaps = [value - near[place][feature], value - far[place][feature]];
            sums[0] += gaps[0] * gaps[0]; // see `squared_distance`
            sums[1] += gaps[1] * gaps[1];
        }
    }
    sums.map(|[near, far]| margin(near, far, n_features))
}

/// The first of the smallest distances; 0 if none is a number.
#[must_use]
pub fn argmin(squared: &[f64]) -> usize {
    let (mut label, mut least) = (0, f64::INFINITY);
    for (cluster, &distance) in squared.iter().enumerate() {
        if distance < least {
            (label, least) = (cluster, distance);
        }
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kmeans::table::DenseRows;

    fn numbers(n: usize, mut state: u64) -> Vec<f64> {
        (0..n)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                f64::from(u32::try_from(state >> 33).unwrap_or(0)) / 1e9 - 1.0
            })
            .collect()
    }

    /// In groups and alone, with vector instructions and without, in f32 and f64: the same bits as one by one.
    #[test]
    fn all_paths_give_the_same_bits() {
        for (n_clusters, d) in [(1, 1), (3, 7), (8, 16), (26, 5), (9, 33)] {
            let centres = Centres::new(numbers(n_clusters * d, 1), d);
            let values = numbers(11 * d, 2);
            let rows = DenseRows {
                values: &values[..],
                n_features: d,
            };
            let mut seen = 0;
            Search::default().distances(&rows, 0..11, &centres, |slot, squared| {
                let row = &values[slot * d..(slot + 1) * d];
                let mut plain = vec![0.0; n_clusters.div_ceil(LANES) * LANES];
                distances_here([row], &centres, &mut plain);
                for (cluster, distance) in squared.iter().enumerate() {
                    let want = squared_distance(row, centres.row(cluster)).to_bits();
                    assert_eq!(distance.to_bits(), want);
                    assert_eq!(plain[cluster].to_bits(), want);
                }
                seen += 1;
            });
            assert_eq!(seen, 11);
        }
    }

    #[test]
    fn ties_and_copies() {
        let centres = Centres::new(vec![1.0, -1.0, 1.0, 3.0, -1.0], 1);
        assert_eq!(centres.is_copy, [false, false, true, false, true]);

        let values = [0.0, 2.0, 1.0];
        let rows = DenseRows {
            values: &values[..],
            n_features: 1,
        };
        let mut found = Vec::new();
        Search::default().nearest(&rows, 0..3, &centres, |_, nearest| found.push(nearest));

        assert_eq!(
            found
                .iter()
                .map(|n| (n.label, n.second))
                .collect::<Vec<_>>(),
            [(0, 1), (0, 3), (0, 1)]
        );
        assert!(found[0].margin < 0.0 && found[1].margin < 0.0);
        assert!(found[2].margin > 1.999 && found[2].margin < 2.0);
    }

    #[test]
    fn one_centre_and_overflow() {
        let rows = DenseRows {
            values: &[1e300_f64, 0.0][..],
            n_features: 1,
        };
        let mut found = Vec::new();
        for centres in [vec![0.0], vec![0.0, 1.0]] {
            let centres = Centres::new(centres, 1);
            Search::default().nearest(&rows, 0..2, &centres, |_, nearest| found.push(nearest));
        }

        assert!(found[0].margin == f64::INFINITY && found[1].margin == f64::INFINITY);
        assert!(found[2].margin.is_nan() && found[2].label == 0);
    }
}
