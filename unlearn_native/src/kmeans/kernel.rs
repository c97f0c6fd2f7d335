//! Distances of rows and centres: the same bits for one row and for a million, at any SIMD width.
//!
//! The lanes run over rows, eight to a group, and a few centres go abreast; each distance is summed over features in
//! order, by separate multiplications and additions.

use std::sync::{Arc, OnceLock};

use zeroize::Zeroizing;

use super::table::{Row, Rows, Scalar};

/// Numbers of as many rows, one a lane: what a register of AVX2 holds.
pub type Quad = [f64; 4];

/// Rows of a group: two registers of lanes. The last few rows may fit in one.
const GROUP: usize = 8;

/// Centres whose sums go abreast: with the lanes of a group they fill half of the registers of AVX2.
const ABREAST: usize = 4;

/// One value in so many columns, at most, makes a row thin: it pays to go by its values and not by its columns.
const THIN: usize = 4;

/// Columns for one that centres use, at least, where it pays to leave the others out.
const SPARSE: usize = 16;

/// Columns of a group that are held at a time, so that they stay in the first cache.
const COLUMNS: usize = 64;

/// Unit roundoff of f64.
const ROUNDOFF: f64 = f64::EPSILON / 2.0;

/// Added to every bound, so that squares which underflow cannot make it too small.
const TINY: f64 = 1e-150;

/// Points, one after the other. A centre may be a row, so they are zeroised when dropped.
pub type Points = Zeroizing<Vec<f64>>;

/// Centres of clusters.
#[derive(Clone, Debug)]
pub struct Centres {
    n_features: usize,
    /// Centre by centre.
    rows: Arc<Points>,
    /// Whether an earlier centre is the same: then it is never the nearest, and no neighbour to keep a distance from.
    is_copy: Vec<bool>,
    n_distinct: usize,
    /// Squared norms, where somebody asked for them.
    squares: OnceLock<Vec<f64>>,
}

impl Centres {
    /// From centres of `n_features` coordinates, one after the other.
    #[must_use]
    pub fn new(rows: impl Into<Points>, n_features: usize) -> Self {
        let rows = rows.into();
        let is_copy = copies(&rows, n_features);
        let n_distinct = is_copy.iter().filter(|&&is_copy| !is_copy).count();
        Self {
            n_features,
            rows: Arc::new(rows),
            is_copy,
            n_distinct,
            squares: OnceLock::new(),
        }
    }

    /// Squared norms of the centres.
    fn squares(&self) -> &[f64] {
        self.squares.get_or_init(|| {
            let rows = self.rows.chunks_exact(self.n_features);
            rows.map(|row| row.iter().map(|coordinate| coordinate * coordinate).sum())
                .collect()
        })
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
        self.rows.len() * size_of::<f64>() + self.is_copy.len()
    }
}

/// Equal bits are the same centres.
impl PartialEq for Centres {
    fn eq(&self, other: &Self) -> bool {
        bits(&self.rows) == bits(&other.rows)
    }
}

fn bits(numbers: &[f64]) -> &[u64] {
    bytemuck::cast_slice(numbers)
}

fn copies(rows: &[f64], n_features: usize) -> Vec<bool> {
    let n_clusters = rows.len() / n_features;
    let mut is_copy = vec![false; n_clusters];
    let mut firsts: Vec<_> = rows
        .iter()
        .step_by(n_features)
        .map(|x| x.to_bits())
        .collect();
    firsts.sort_unstable();
    if firsts.is_sorted_by(|left, right| left < right) {
        return is_copy; // as nearly always
    }
    let row = |cluster: usize| bits(&rows[cluster * n_features..][..n_features]);
    let mut order: Vec<_> = (0..n_clusters).collect();
    order.sort_by_key(|&cluster| row(cluster)); // stable: the first of equals stays the first
    for pair in order.windows(2) {
        is_copy[pair[1]] = row(pair[0]) == row(pair[1]);
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

/// Upper bound of the distance of two centres. It is no number of the model, so that its sums may run in any order.
#[must_use]
pub fn step(from: &[f64], to: &[f64]) -> f64 {
    if bits(from) == bits(to) {
        return 0.0;
    }
    let ((from, from_rest), (to, to_rest)) = (from.as_chunks::<8>(), to.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (from, to) in from.iter().zip(to) {
        for (sum, (from, to)) in sums.iter_mut().zip(from.iter().zip(to)) {
            *sum += (from - to) * (from - to);
        }
    }
    let squared = sums
        .iter()
        .fold(squared_distance(from_rest, to_rest), |total, sum| {
            total + sum
        });
    squared.sqrt() * (1.0 + slack(8 * from.len() + from_rest.len())) + TINY
}

/// Sum over centres of the squared ways from one to the other: each in the order of features, and then those of centres.
#[must_use]
pub fn shift(from: &Centres, to: &Centres) -> f64 {
    let d = from.n_features;
    let rows = |centres: &Centres, first: usize| -> [usize; ABREAST] {
        std::array::from_fn(|place| (first + place).min(centres.len() - 1) * d)
    };
    let mut total = 0.0;
    for first in (0..from.len()).step_by(ABREAST) {
        // Alone, each addition would wait for the one before.
        let starts = rows(from, first);
        let from_rows = starts.map(|start| &from.rows[start..start + d]);
        let to_rows = starts.map(|start| &to.rows[start..start + d]);
        let mut sums = [0.0; ABREAST];
        for feature in 0..d {
            for (place, sum) in sums.iter_mut().enumerate() {
                let gap = from_rows[place][feature] - to_rows[place][feature];
                *sum += gap * gap; // see `squared_distance`
            }
        }
        let n = ABREAST.min(from.len() - first);
        total = sums[..n].iter().fold(total, |total, sum| total + sum);
    }
    total
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

/// Add what some columns contribute to the squared distances of the rows in the lanes to `N` centres.
fn abreast_plain<const V: usize, const N: usize>(
    columns: &[[Quad; V]],
    centres: [&[f64]; N],
    mut sums: [[Quad; V]; N],
) -> [[Quad; V]; N] {
    for (feature, values) in columns.iter().enumerate() {
        for (sums, centre) in sums.iter_mut().zip(centres) {
            for (sum, value) in sums
                .as_flattened_mut()
                .iter_mut()
                .zip(values.as_flattened())
            {
                let gap = value - centre[feature];
                *sum += gap * gap; // see `squared_distance`
            }
        }
    }
    sums
}

/// The three nearest centres of the rows in the lanes, from their distances.
fn rank_plain<const V: usize>(squared: &[[Quad; V]], is_copy: &[bool]) -> [Ranks; V] {
    let mut ranks = [Ranks::NONE; V];
    for ((number, quads), _) in (0_u16..)
        .zip(squared)
        .zip(is_copy)
        .filter(|(_, is_copy)| !**is_copy)
    {
        for (ranks, quad) in ranks.iter_mut().zip(quads) {
            for (lane, &distance) in quad.iter().enumerate() {
                ranks.enter(lane, distance, f64::from(number));
            }
        }
    }
    ranks
}

/// The three smallest squared distances in each lane, and where the first two are from.
#[derive(Clone, Copy, Debug)]
struct Ranks {
    squared: [Quad; 3],
    numbers: [Quad; 2],
}

impl Ranks {
    const NONE: Self = Self {
        squared: [[f64::INFINITY; 4]; 3],
        numbers: [[0.0; 4]; 2],
    };

    fn enter(&mut self, lane: usize, distance: f64, number: f64) {
        let [first, second, third] = &mut self.squared;
        let [label, runner_up] = &mut self.numbers;
        if distance < first[lane] {
            (third[lane], second[lane], first[lane]) = (second[lane], first[lane], distance);
            (runner_up[lane], label[lane]) = (label[lane], number);
        } else if distance < second[lane] {
            (third[lane], second[lane], runner_up[lane]) = (second[lane], distance, number);
        } else if distance < third[lane] {
            third[lane] = distance;
        }
    }

    /// Of a row.
    #[inline]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // numbers of clusters
    fn nearest(&self, lane: usize, centres: &Centres) -> Nearest {
        // Distances that overflowed give margins that are no numbers, so such rows are looked at again every time.
        let margin_to = |rank: usize| {
            if centres.n_distinct <= rank {
                f64::INFINITY
            } else {
                margin(
                    self.squared[0][lane],
                    self.squared[rank][lane],
                    centres.n_features,
                )
            }
        };
        Nearest {
            label: self.numbers[0][lane] as u16,
            second: self.numbers[1][lane] as u16,
            margin: margin_to(1),
            third_margin: margin_to(2),
        }
    }
}

/// The same by hand: left alone, the compiler scatters the lanes.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256d, _CMP_LT_OQ, _mm256_add_pd, _mm256_blendv_pd, _mm256_cmp_pd, _mm256_mul_pd,
        _mm256_set1_pd, _mm256_setzero_pd, _mm256_sub_pd,
    };

    use super::{Quad, Ranks};

    /// See `abreast_plain`.
    #[target_feature(enable = "avx2")]
    pub fn abreast<const V: usize, const N: usize>(
        columns: &[[Quad; V]],
        centres: [&[f64]; N],
        before: [[Quad; V]; N],
    ) -> [[Quad; V]; N] {
        let centres = centres.map(|centre| &centre[..columns.len()]);
        let mut sums = [[_mm256_setzero_pd(); V]; N];
        for place in 0..N {
            for lanes in 0..V {
                sums[place][lanes] = bytemuck::cast(before[place][lanes]);
            }
        }
        for (feature, values) in columns.iter().enumerate() {
            let values: [__m256d; V] = std::array::from_fn(|place| bytemuck::cast(values[place]));
            for place in 0..N {
                let coordinate = _mm256_set1_pd(centres[place][feature]);
                for lanes in 0..V {
                    let gap = _mm256_sub_pd(values[lanes], coordinate);
                    sums[place][lanes] = _mm256_add_pd(sums[place][lanes], _mm256_mul_pd(gap, gap));
                }
            }
        }
        let mut after = before;
        for place in 0..N {
            for lanes in 0..V {
                after[place][lanes] = bytemuck::cast(sums[place][lanes]);
            }
        }
        after
    }

    /// See `rank_plain`.
    #[target_feature(enable = "avx2")]
    pub fn rank<const V: usize>(squared: &[[Quad; V]], is_copy: &[bool]) -> [Ranks; V] {
        let mut ranks = [Ranks::NONE; V];
        for lanes in 0..V {
            let [mut first, mut second, mut third] = [_mm256_set1_pd(f64::INFINITY); 3];
            let [mut label, mut runner_up] = [_mm256_setzero_pd(); 2];
            for ((number, quads), _) in (0_u16..)
                .zip(squared)
                .zip(is_copy)
                .filter(|(_, is_copy)| !**is_copy)
            {
                let distance: __m256d = bytemuck::cast(quads[lanes]);
                let number = _mm256_set1_pd(f64::from(number));
                let is_first = _mm256_cmp_pd::<_CMP_LT_OQ>(distance, first);
                let is_second = _mm256_cmp_pd::<_CMP_LT_OQ>(distance, second);
                let is_third = _mm256_cmp_pd::<_CMP_LT_OQ>(distance, third);
                third = _mm256_blendv_pd(
                    third,
                    _mm256_blendv_pd(distance, second, is_second),
                    is_third,
                );
                second = _mm256_blendv_pd(
                    second,
                    _mm256_blendv_pd(distance, first, is_first),
                    is_second,
                );
                runner_up = _mm256_blendv_pd(
                    runner_up,
                    _mm256_blendv_pd(number, label, is_first),
                    is_second,
                );
                first = _mm256_blendv_pd(first, distance, is_first);
                label = _mm256_blendv_pd(label, number, is_first);
            }
            ranks[lanes] = Ranks {
                squared: [first, second, third].map(bytemuck::cast),
                numbers: [label, runner_up].map(bytemuck::cast),
            };
        }
        ranks
    }
}

fn abreast<const V: usize, const N: usize>(
    columns: &[[Quad; V]],
    centres: [&[f64]; N],
    sums: &mut [[Quad; V]; N],
) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has the instructions that the function was compiled for.
        *sums = unsafe { avx2::abreast(columns, centres, *sums) };
        return;
    }
    *sums = abreast_plain(columns, centres, *sums);
}

/// Add what some columns contribute to the squared distances of the rows in the lanes to centres, given in these columns.
fn add_distances<'c, const V: usize>(
    columns: &[[Quad; V]],
    mut centres: impl Iterator<Item = &'c [f64]>,
    sums: &mut [[Quad; V]],
) {
    let rest = add_blocks::<V, ABREAST>(columns, &mut centres, sums);
    let rest = add_blocks::<V, 2>(columns, &mut centres, rest);
    add_blocks::<V, 1>(columns, &mut centres, rest);
}

/// The same for as many blocks of `N` centres as there are; the sums that are left.
fn add_blocks<'c, 's, const V: usize, const N: usize>(
    columns: &[[Quad; V]],
    centres: &mut impl Iterator<Item = &'c [f64]>,
    sums: &'s mut [[Quad; V]],
) -> &'s mut [[Quad; V]] {
    let (blocks, rest) = sums.as_chunks_mut::<N>();
    for sums in blocks {
        let centres = std::array::from_fn(|_| centres.next().unwrap_or_default());
        abreast(columns, centres, sums);
    }
    rest
}

fn rank<const V: usize>(squared: &[[Quad; V]], is_copy: &[bool]) -> [Ranks; V] {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has the instructions that the function was compiled for.
        return unsafe { avx2::rank(squared, is_copy) };
    }
    rank_plain(squared, is_copy)
}

/// Rows of a group, and their distances.
#[derive(Debug)]
struct Group<const V: usize> {
    /// Values by feature.
    columns: Zeroizing<Vec<[Quad; V]>>,
    /// Squared distances by centre.
    squared: Vec<[Quad; V]>,
}

impl<const V: usize> Default for Group<V> {
    fn default() -> Self {
        Self {
            columns: Zeroizing::default(),
            squared: Vec::new(),
        }
    }
}

impl<const V: usize> Group<V> {
    /// Measure these rows; the last one fills the lanes that are left.
    fn measure<R: Rows>(&mut self, rows: &R, slots: &[usize], centres: &Centres) {
        let width = centres.n_features;
        self.columns.resize(width.min(COLUMNS), [[0.0; 4]; V]);
        self.squared.clear();
        self.squared.resize(centres.len(), [[0.0; 4]; V]);
        let mut scratch: [[Zeroizing<Vec<R::Scalar>>; 4]; V] =
            std::array::from_fn(|_| Default::default());
        let mut lane = 0;
        let rows = scratch.each_mut().map(|scratch| {
            scratch.each_mut().map(|scratch| {
                lane += 1;
                rows.row(slots[lane.min(slots.len()) - 1], scratch)
            })
        });
        for first in (0..width).step_by(COLUMNS) {
            let n_columns = COLUMNS.min(width - first);
            for (lanes, rows) in rows.iter().enumerate() {
                let [a, b, c, d] = rows.map(|row| &row[first..first + n_columns]);
                let values = a.iter().zip(b).zip(c).zip(d);
                for (quads, (((&a, &b), &c), &d)) in self.columns.iter_mut().zip(values) {
                    quads[lanes] = [a.into(), b.into(), c.into(), d.into()];
                }
            }
            let centres = centres.rows.chunks_exact(width);
            let parts = centres.map(|centre| &centre[first..first + n_columns]);
            add_distances(&self.columns[..n_columns], parts, &mut self.squared);
        }
    }

    /// The same for sparse rows and centres of a few columns: where all of them are 0, nothing is added.
    fn measure_sparse<R: Rows>(&mut self, rows: &R, slots: &[usize], support: &mut Support<'_>) {
        support.widen(slots.iter().map(|&slot| rows.stored(slot)));
        self.columns.clear();
        self.columns.resize(support.columns.len(), [[0.0; 4]; V]);
        self.squared.clear();
        self.squared.resize(support.centres.len(), [[0.0; 4]; V]);
        for (lane, &slot) in slots.iter().enumerate() {
            let mut places = (0..).zip(&support.columns);
            for (column, value) in rows.stored(slot).entries() {
                if let Some((place, _)) = places.find(|&(_, &other)| other == column) {
                    self.columns[place].as_flattened_mut()[lane] = value;
                }
            }
        }
        let centres = support
            .coordinates
            .chunks_exact(support.columns.len().max(1));
        add_distances(&self.columns, centres, &mut self.squared);
    }

    fn each_nearest(
        &self,
        slots: &[usize],
        centres: &Centres,
        visit: &mut impl FnMut(usize, Nearest),
    ) {
        let ranks = rank(&self.squared, &centres.is_copy);
        for (lane, &slot) in slots.iter().enumerate() {
            visit(slot, ranks[lane / 4].nearest(lane % 4, centres));
        }
    }

    fn each_distances(
        &self,
        slots: &[usize],
        row: &mut Vec<f64>,
        visit: &mut impl FnMut(usize, &[f64]),
    ) {
        for (lane, &slot) in slots.iter().enumerate() {
            row.clear();
            row.extend(self.squared.iter().map(|quads| quads[lane / 4][lane % 4]));
            visit(slot, row);
        }
    }
}

/// The columns that centres, or rows beside them, are not 0 in.
struct Support<'c> {
    centres: &'c Centres,
    /// Of the centres, ascending.
    own: Vec<usize>,
    /// With those of the rows, ascending.
    columns: Vec<usize>,
    /// Of the centres in these columns.
    coordinates: Zeroizing<Vec<f64>>,
}

impl<'c> Support<'c> {
    /// Of centres that are sparse, for sparse rows; None if columns are better not chosen.
    fn of<R: Rows>(centres: &'c Centres) -> Option<Self> {
        if !R::IS_SPARSE {
            return None;
        }
        let is_used = |&column: &usize| {
            let coordinates = centres.rows.iter().skip(column).step_by(centres.n_features);
            coordinates.into_iter().any(|&coordinate| coordinate != 0.0)
        };
        let own: Vec<_> = (0..centres.n_features).filter(is_used).collect();
        (own.len() * SPARSE < centres.n_features).then(|| Self {
            centres,
            own,
            columns: Vec::new(),
            coordinates: Zeroizing::default(),
        })
    }

    /// Take the columns of some rows in, and leave those of other rows out.
    fn widen<'r, S: Scalar + 'r>(&mut self, rows: impl Iterator<Item = Row<'r, S>>) {
        self.columns.clone_from(&self.own);
        self.columns
            .extend(rows.flat_map(|row| row.entries().map(|(column, _)| column)));
        self.columns.sort_unstable();
        self.columns.dedup();
        self.coordinates.clear();
        for cluster in 0..self.centres.len() {
            let centre = self.centres.row(cluster);
            self.coordinates
                .extend(self.columns.iter().map(|&column| centre[column]));
        }
    }
}

/// Squared distances of a sparse row to centres from inner products, with a bound of their error.
#[derive(Debug, Default)]
struct Products {
    squared: Vec<f64>,
}

impl Products {
    /// The nearest centres of a row, if rounding leaves no doubt of them.
    ///
    /// With `s = |x|^2 - 2 x.c + |c|^2` and u = 2^-53, products and sums err by less than (d + 4) u (|x| + |c|)^2, so
    /// twice that is a bound E, which the squares are taken to be off by in the worse direction. What then is left of a
    /// margin holds for the distances that define a label, too: `margin` accounts for their roundings.
    #[allow(clippy::cast_possible_truncation)] // at most u16::MAX clusters
    fn nearest<S: Scalar>(&mut self, row: Row<'_, S>, centres: &Centres) -> Option<Nearest> {
        let row_square: f64 = row.entries().map(|(_, value)| value * value).sum();
        let centre_squares = centres.squares();
        self.squared.clear();
        self.squared
            .extend(centre_squares.iter().map(|square| row_square + square));
        for (cluster, squared) in self.squared.iter_mut().enumerate() {
            *squared -= 2.0 * product(row, centres.row(cluster));
        }
        let mut order = [(f64::INFINITY, 0); 3];
        for (cluster, &squared) in self.squared.iter().enumerate() {
            if !centres.is_copy[cluster] && squared < order[2].0 {
                let place = order.partition_point(|&(other, _)| other <= squared);
                order[place..].rotate_right(1);
                order[place] = (squared, cluster);
            }
        }
        let error = product_error(row_square, centre_squares, centres.n_features);
        let margin_to = |rank: usize| {
            if centres.n_distinct <= rank {
                f64::INFINITY
            } else {
                doubtful_margin(order[0].0, order[rank].0, error, centres.n_features)
            }
        };
        let found = Nearest {
            label: order[0].1 as u16,
            second: order[1].1 as u16,
            margin: margin_to(1),
            third_margin: margin_to(2),
        };
        (found.margin > 0.0).then_some(found)
    }
}

/// Whether a row has so few values that inner products with it are cheaper than distances.
#[inline]
fn is_thin<S: Scalar>(row: Row<'_, S>, centres: &Centres) -> bool {
    matches!(row, Row::Sparse { columns, .. } if columns.len() * THIN < centres.n_features)
}

#[inline]
fn product<S: Scalar>(row: Row<'_, S>, centre: &[f64]) -> f64 {
    row.entries()
        .fold(0.0, |sum, (column, value)| sum + value * centre[column])
}

/// Bound of the error of squared distances from inner products.
#[allow(clippy::cast_precision_loss)] // below 2^32
fn product_error(row_square: f64, centre_squares: &[f64], n_features: usize) -> f64 {
    let largest = centre_squares.iter().copied().fold(0.0, f64::max);
    let reach = row_square.sqrt() + largest.sqrt();
    (n_features + 4) as f64 * f64::EPSILON * (reach * reach) + TINY
}

/// `margin` of squares that are known to within an error.
fn doubtful_margin(near_squared: f64, far_squared: f64, error: f64, n_features: usize) -> f64 {
    let near = (near_squared + error).max(0.0).sqrt();
    let far = (far_squared - error).max(0.0).sqrt();
    let farthest = (far_squared + error).max(0.0).sqrt();
    far - near - slack(n_features) * (near + farthest) - TINY
}

/// Distances of rows to centres, with the memory that they need.
#[derive(Debug, Default)]
pub struct Search {
    group: Group<2>,
    small_group: Group<1>,
    products: Products,
}

impl Search {
    /// Give `visit` each slot with its squared distances to all centres, in order.
    pub fn distances<R: Rows>(
        &mut self,
        rows: &R,
        slots: impl IntoIterator<Item = usize>,
        centres: &Centres,
        mut visit: impl FnMut(usize, &[f64]),
    ) {
        let mut row = Vec::with_capacity(centres.len());
        let mut support = Support::of::<R>(centres);
        in_groups(slots, |slots| {
            if let Some(support) = &mut support {
                self.group.measure_sparse(rows, slots, support);
                self.group.each_distances(slots, &mut row, &mut visit);
            } else if slots.len() <= GROUP / 2 {
                self.small_group.measure(rows, slots, centres);
                self.small_group.each_distances(slots, &mut row, &mut visit);
            } else {
                self.group.measure(rows, slots, centres);
                self.group.each_distances(slots, &mut row, &mut visit);
            }
        });
    }

    /// Give `visit` each slot with its nearest centres; in order, but for sparse rows.
    ///
    /// A sparse row has the label of a dense one: where inner products leave a doubt, it is made dense.
    pub fn nearest<R: Rows>(
        &mut self,
        rows: &R,
        slots: impl IntoIterator<Item = usize>,
        centres: &Centres,
        mut visit: impl FnMut(usize, Nearest),
    ) {
        if !R::IS_SPARSE {
            return self.nearest_dense(rows, slots, centres, &mut visit);
        }
        let mut doubtful = Vec::new();
        for slot in slots {
            let row = rows.stored(slot);
            let found = is_thin(row, centres).then(|| self.products.nearest(row, centres));
            match found.flatten() {
                Some(nearest) => visit(slot, nearest),
                None => doubtful.push(slot),
            }
        }
        self.nearest_dense(rows, doubtful, centres, &mut visit);
    }

    fn nearest_dense<R: Rows>(
        &mut self,
        rows: &R,
        slots: impl IntoIterator<Item = usize>,
        centres: &Centres,
        visit: &mut impl FnMut(usize, Nearest),
    ) {
        in_groups(slots, |slots| {
            if slots.len() <= GROUP / 2 {
                self.small_group.measure(rows, slots, centres);
                self.small_group.each_nearest(slots, centres, visit);
            } else {
                self.group.measure(rows, slots, centres);
                self.group.each_nearest(slots, centres, visit);
            }
        });
    }
}

/// Give `visit` the slots in groups, of which the last one may not be full.
fn in_groups(slots: impl IntoIterator<Item = usize>, mut visit: impl FnMut(&[usize])) {
    let mut slots = slots.into_iter();
    let mut group = [0; GROUP];
    loop {
        let mut filled = 0;
        for (place, slot) in group.iter_mut().zip(slots.by_ref()) {
            *place = slot;
            filled += 1;
        }
        if filled > 0 {
            visit(&group[..filled]);
        }
        if filled < GROUP {
            return;
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
    if R::IS_SPARSE {
        return pairs
            .iter()
            .map(|pair| sparse_margin(rows, pair, centres))
            .collect();
    }
    let [mut a, mut b, mut c, mut d]: [Zeroizing<Vec<R::Scalar>>; ABREAST] = Default::default();
    let mut margins = Vec::with_capacity(pairs.len());
    let (groups, rest) = pairs.as_chunks::<ABREAST>();
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

fn sparse_margin<R: Rows>(rows: &R, pair: &Pair, centres: &Centres) -> f64 {
    let row = rows.stored(pair.slot);
    let row_square: f64 = row.entries().map(|(_, value)| value * value).sum();
    let squares = centres.squares();
    let error = product_error(row_square, squares, centres.n_features);
    let [near, far] = [pair.label, pair.second]
        .map(usize::from)
        .map(|cluster| row_square + squares[cluster] - 2.0 * product(row, centres.row(cluster)));
    doubtful_margin(near, far, error, centres.n_features)
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
    use crate::kmeans::table::{DenseRows, SparseRows};
    use crate::values::Csr;

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

    /// In groups and alone, with vector instructions and without: the same bits as one by one.
    #[test]
    fn all_paths_give_the_same_bits() {
        for (n_clusters, d) in [(1, 1), (3, 7), (8, 16), (26, 5), (9, 33)] {
            let centres = Centres::new(numbers(n_clusters * d, 1), d);
            let values = numbers(11 * d, 2); // a group and a small one
            let rows = DenseRows {
                values: &values[..],
                n_features: d,
            };
            let mut seen = 0;
            Search::default().distances(&rows, 0..11, &centres, |slot, squared| {
                let row = &values[slot * d..(slot + 1) * d];
                let columns: Vec<_> = row.iter().map(|&value| [[value; 4]]).collect();
                for (cluster, distance) in squared.iter().enumerate() {
                    let want = squared_distance(row, centres.row(cluster)).to_bits();
                    assert_eq!(distance.to_bits(), want);
                    let [[[plain, ..]]] =
                        abreast_plain(&columns, [centres.row(cluster)], [[[0.0; 4]]]);
                    assert_eq!(plain.to_bits(), want);
                }
                seen += 1;
            });
            assert_eq!(seen, 11);
        }
    }

    fn sparse(values: &[f64], d: usize) -> Csr<f64> {
        let (mut indptr, mut indices, mut entries) = (vec![0], Vec::new(), Vec::new());
        for row in values.chunks_exact(d) {
            for (column, &value) in (0..).zip(row).filter(|&(_, &value)| value != 0.0) {
                indices.push(column);
                entries.push(value);
            }
            indptr.push(i64::try_from(entries.len()).unwrap_or(0));
        }
        Csr::from_arrays(d, &indptr, &indices, &entries).expect("rows in order")
    }

    /// Centres a few roundings apart: inner products would often name the wrong one, were it not for their slack.
    #[test]
    fn sparse_rows_have_the_labels_of_dense_ones() {
        let (n, d) = (400, 40);
        let mut values = vec![0.0; n * d];
        for (place, number) in numbers(4 * n, 3).into_iter().enumerate() {
            values[place / 4 * d + (7 * place + place / 40) % d] = 1e6 * number;
        }
        let mut coordinates = numbers(d, 4).iter().map(|x| 1e5 * x).collect::<Vec<_>>();
        for copy in 1..6 {
            let changes = numbers(d, 10 + copy);
            let nudged = coordinates[..d]
                .iter()
                .zip(changes)
                .map(|(x, change)| x * (1.0 + 4e-15 * change));
            coordinates.extend(nudged.collect::<Vec<_>>());
        }
        let centres = Centres::new(coordinates, d);
        let dense = DenseRows {
            values: &values[..],
            n_features: d,
        };
        let entries = &sparse(&values, d);
        let rows = SparseRows {
            entries,
            n_features: d,
        };

        let (mut want, mut got) = (vec![0; n], vec![0; n]);
        Search::default().nearest(&dense, 0..n, &centres, |slot, nearest| {
            want[slot] = nearest.label;
        });
        Search::default().nearest(&rows, 0..n, &centres, |slot, nearest| {
            got[slot] = nearest.label;
        });

        assert_eq!(got, want);
        assert!((0..6).filter(|label| want.contains(label)).count() > 2);
    }

    /// Margins of sparse rows are never wider than those of dense ones, but for what the latter leave to rounding.
    #[test]
    fn sparse_margins_are_lower_bounds() {
        let (n, d) = (100, 60);
        let mut values = vec![0.0; n * d];
        for (place, number) in numbers(5 * n, 5).into_iter().enumerate() {
            values[place / 5 * d + (11 * place) % d] = number;
        }
        let centres = Centres::new(numbers(7 * d, 6), d);
        let dense = DenseRows {
            values: &values[..],
            n_features: d,
        };
        let entries = &sparse(&values, d);
        let rows = SparseRows {
            entries,
            n_features: d,
        };

        let mut margins = vec![0.0; n];
        Search::default().nearest(&dense, 0..n, &centres, |slot, nearest| {
            margins[slot] = nearest.margin;
        });
        Search::default().nearest(&rows, 0..n, &centres, |slot, nearest| {
            assert!(
                nearest.margin <= margins[slot] + 1e-12 && nearest.margin >= margins[slot] - 1e-9
            );
        });
    }

    /// Where rows are centres, columns that nobody uses are left out without a trace.
    #[test]
    fn distances_among_sparse_rows_have_the_bits_of_dense_ones() {
        let (n, d) = (30, 300);
        let mut values = vec![0.0; n * d];
        for (place, number) in numbers(4 * n, 7).into_iter().enumerate() {
            values[place / 4 * d + (13 * place) % d] = number;
        }
        let centres = Centres::new(values[..3 * d].to_vec(), d);
        let entries = &sparse(&values, d);
        let rows = SparseRows {
            entries,
            n_features: d,
        };
        assert!(Support::of::<SparseRows<'_, f64>>(&centres).is_some());

        Search::default().distances(&rows, 0..n, &centres, |slot, squared| {
            let row = &values[slot * d..(slot + 1) * d];
            for (cluster, distance) in squared.iter().enumerate() {
                let want = squared_distance(row, centres.row(cluster));
                assert_eq!(distance.to_bits(), want.to_bits());
            }
        });
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
