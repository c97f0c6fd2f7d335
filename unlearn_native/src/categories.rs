//! Category counts per feature and class, exact under learning and forgetting: the core of `CategoricalNB`.
//!
//! Rows of weight one are counted; other weights are summed in the integers of [`crate::exact`]. Both are functions
//! of the set of rows alone, so forgetting is subtraction and leaves nothing behind.

mod likelihood;
mod table;

use std::collections::TryReserveError;

use thiserror::Error;

pub use self::likelihood::{OutOfRange, joint_log_likelihood};
use self::table::{Block, Table, Weighted};

use crate::exact;

/// Categories are integers below this: exact in float32, too.
pub const CATEGORY_LIMIT: f64 = 16_777_216.0;

/// Rows that are taken through all features before the next ones, so that they stay in the first-level cache.
const ROWS_AT_ONCE: usize = 64;

/// Why a batch, a slot or a feature was refused. Nothing was changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CategoryError {
    /// Some values of X are no categories.
    #[error(
        "{wrong} of {total} values of X are not integers from 0 to 16777215. Nothing was changed. \
         Encode categories with an OrdinalEncoder, missing values as a category of their own."
    )]
    NotCategories {
        /// How many values.
        wrong: usize,
        /// Of how many.
        total: usize,
    },
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
    /// A negative class slot.
    #[error(
        "{wrong} of {total} class slots are negative. Nothing was changed. Number the slots from 0."
    )]
    NegativeSlots {
        /// How many.
        wrong: usize,
        /// Of how many.
        total: usize,
    },
    /// Rows with weight 0 enter nothing and are not to be passed.
    #[error(
        "{wrong} of {total} weights are not positive and finite. Nothing was changed. Leave out rows of weight 0."
    )]
    BadWeights {
        /// How many.
        wrong: usize,
        /// Of how many.
        total: usize,
    },
    /// More would be forgotten than was learned.
    #[error(
        "These {rows} rows were not all learned with these values, classes and weights. Nothing was changed."
    )]
    BelowZero {
        /// Rows of the batch.
        rows: usize,
    },
    /// A feature past the last.
    #[error("There are {n_features} features: feature {feature} does not exist.")]
    NoSuchFeature {
        /// The index asked for.
        feature: usize,
        /// How many there are.
        n_features: usize,
    },
    /// A table too narrow for the live categories.
    #[error(
        "{found} categories are live, but room for {asked} was asked. Ask for n_categories() or more."
    )]
    TooFewCategories {
        /// Live ones.
        found: usize,
        /// Asked for.
        asked: usize,
    },
    /// A slot that still has rows.
    #[error("The class slot still has {rows} rows. Forget them before dropping it.")]
    SlotInUse {
        /// Its rows.
        rows: i64,
    },
    /// No memory for larger tables.
    #[error(
        "There is no memory for tables of this many categories and classes. Nothing was changed."
    )]
    OutOfMemory,
}

impl From<TryReserveError> for CategoryError {
    fn from(_: TryReserveError) -> Self {
        Self::OutOfMemory
    }
}

/// Adding 2^52 to an integer 0 <= v < 2^32 leaves it in the low bits: conversion and check without a branch.
const INTEGER_BITS: f64 = 4_503_599_627_370_496.0;

#[expect(clippy::float_cmp, reason = "integers are told by equality")]
#[expect(
    clippy::needless_bitwise_bool,
    clippy::manual_range_contains,
    reason = "branches would hide SIMD"
)]
fn is_category(value: f64) -> bool {
    (value >= 0.0) & (value < CATEGORY_LIMIT) & ((value + INTEGER_BITS) - INTEGER_BITS == value)
}

/// The category of a value that passed [`is_category`].
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low bits are the integer"
)]
fn category(value: f64) -> usize {
    (value + INTEGER_BITS).to_bits() as u32 as usize
}

/// A class slot that was checked not to be negative.
fn index(slot: i32) -> usize {
    slot.cast_unsigned() as usize
}

/// Checks that X holds only categories, and returns one more than the largest of each feature (0 without rows).
fn n_categories_in<T: Copy + Into<f64>>(
    x: &[T],
    n_features: usize,
) -> Result<Vec<usize>, CategoryError> {
    let mut largest = vec![-1.0_f64; n_features];
    let mut wrong = 0;
    if n_features > 0 {
        for row in x.chunks_exact(n_features) {
            for (largest, &value) in largest.iter_mut().zip(row) {
                let value = value.into();
                wrong += usize::from(!is_category(value));
                *largest = if value > *largest { value } else { *largest };
            }
        }
    }
    if wrong > 0 {
        return Err(CategoryError::NotCategories {
            wrong,
            total: x.len(),
        });
    }
    Ok(largest
        .into_iter()
        .map(|largest| category(largest + 1.0))
        .collect())
}

/// Checks that X holds only categories.
///
/// # Errors
/// [`CategoryError::NotCategories`] with the number of values that are none.
pub fn check<T: Copy + Into<f64>>(x: &[T], n_features: usize) -> Result<(), CategoryError> {
    n_categories_in(x, n_features).map(drop)
}

/// Rows to learn or forget: X row-major, a class slot a row, and weights unless all are one.
#[derive(Clone, Copy)]
pub struct Batch<'a, T> {
    /// Row-major values, one category a feature.
    pub x: &'a [T],
    /// Class slot of each row.
    pub slots: &'a [i32],
    /// Positive weight of each row; `None`: all are one.
    pub weights: Option<&'a [f64]>,
}

/// What validation learns about a batch: the sizes of tables that can hold it, and the blocks of its weights.
struct Extent {
    /// For every table, that of the classes included.
    n_categories: Vec<usize>,
    n_slots: usize,
    /// Ascending and unique; no block for weights of one.
    blocks: Vec<u8>,
}

impl<T: Copy + Into<f64>> Batch<'_, T> {
    fn validate(&self, n_features: usize) -> Result<Extent, CategoryError> {
        let total = self.slots.len();
        check_length("X", self.x.len(), total * n_features)?;
        let wrong = self.slots.iter().filter(|&&slot| slot < 0).count();
        if wrong > 0 {
            return Err(CategoryError::NegativeSlots { wrong, total });
        }
        let mut n_categories = n_categories_in(self.x, n_features)?;
        n_categories.push(1);
        Ok(Extent {
            n_categories,
            n_slots: self.slots.iter().max().map_or(0, |&slot| index(slot) + 1),
            blocks: self
                .weights
                .map_or(Ok(Vec::new()), |weights| weight_blocks(weights, total))?,
        })
    }
}

/// The blocks of all weights other than one.
fn weight_blocks(weights: &[f64], n_rows: usize) -> Result<Vec<u8>, CategoryError> {
    check_length("weight", weights.len(), n_rows)?;
    let mut seen = [false; exact::N_BLOCKS as usize];
    let mut wrong = 0;
    for &weight in weights {
        match exact::split(weight) {
            Some(part) if part.integer > 0 => seen[usize::from(part.block)] |= not_one(weight),
            _ => wrong += 1,
        }
    }
    if wrong > 0 {
        return Err(CategoryError::BadWeights {
            wrong,
            total: n_rows,
        });
    }
    Ok((0..exact::N_BLOCKS)
        .filter(|&block| seen[usize::from(block)])
        .collect())
}

fn not_one(weight: f64) -> bool {
    weight.to_bits() != 1.0_f64.to_bits()
}

fn check_length(what: &'static str, found: usize, expected: usize) -> Result<(), CategoryError> {
    if found == expected {
        Ok(())
    } else {
        Err(CategoryError::Length {
            what,
            found,
            expected,
        })
    }
}

/// Category counts per feature and class slot, exact and reversible.
///
/// Class slots are small integers that the caller chooses; a slot that was never learned has sums of zero.
pub struct CategoryCounts {
    /// One table for each feature, then one of a single category: the classes.
    tables: Vec<Table>,
    n_features: usize,
    /// Blocks that have rows of a weight other than one, ascending. Every table has a plane for each.
    blocks: Vec<Block>,
}

impl CategoryCounts {
    /// Counts of no rows.
    ///
    /// # Errors
    /// [`CategoryError::OutOfMemory`]: a damaged file may ask for any number of features.
    pub fn new(n_features: usize) -> Result<Self, CategoryError> {
        let n_tables = n_features.saturating_add(1);
        let mut tables = Vec::new();
        tables.try_reserve_exact(n_tables)?;
        tables.resize_with(n_tables, Table::default);
        Ok(Self {
            tables,
            n_features,
            blocks: Vec::new(),
        })
    }

    /// Number of features.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// One more than the largest class slot that the tables have room for.
    #[must_use]
    pub fn n_slots(&self) -> usize {
        self.classes().n_slots
    }

    fn classes(&self) -> &Table {
        &self.tables[self.n_features]
    }

    /// Learns rows.
    ///
    /// # Errors
    /// If the batch is not valid or memory is short; nothing is changed then.
    pub fn learn<T: Copy + Into<f64>>(&mut self, batch: Batch<'_, T>) -> Result<(), CategoryError> {
        let extent = batch.validate(self.n_features)?;
        if batch.slots.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.grow(&extent) {
            self.tidy();
            return Err(error);
        }
        self.apply(batch, 1);
        Ok(())
    }

    /// Forgets rows that were learned with these values, class slots and weights.
    ///
    /// # Errors
    /// If the batch is not valid or a count would fall below zero; nothing is changed then.
    pub fn forget<T: Copy + Into<f64>>(
        &mut self,
        batch: Batch<'_, T>,
    ) -> Result<(), CategoryError> {
        let extent = batch.validate(self.n_features)?;
        if batch.slots.is_empty() {
            return Ok(());
        }
        let below_zero = CategoryError::BelowZero {
            rows: batch.slots.len(),
        };
        if !self.holds(&extent) {
            return Err(below_zero);
        }
        let fell_below = self.apply(batch, -1);
        if fell_below || self.has_orphans() {
            // Integers: adding the batch back restores every cell.
            self.apply(batch, 1);
            return Err(below_zero);
        }
        self.tidy();
        Ok(())
    }

    /// Whether the tables reach as far as a batch does.
    fn holds(&self, extent: &Extent) -> bool {
        let live = self.tables.iter().map(Table::n_categories);
        extent.n_slots <= self.n_slots()
            && extent
                .n_categories
                .iter()
                .zip(live)
                .all(|(&needed, live)| needed <= live)
            && extent
                .blocks
                .iter()
                .all(|&block| self.plane_of(block).is_ok())
    }

    fn plane_of(&self, block: u8) -> Result<usize, usize> {
        self.blocks.binary_search_by_key(&block, |of| of.block)
    }

    /// Whether a block without rows has sums left: rows were forgotten with other weights than they were learned.
    fn has_orphans(&self) -> bool {
        let is_orphan = |plane: usize| {
            self.tables
                .iter()
                .any(|table| table.planes[plane].iter().any(|&sum| sum != 0))
        };
        self.blocks
            .iter()
            .enumerate()
            .any(|(plane, of)| of.rows == 0 && is_orphan(plane))
    }

    fn grow(&mut self, extent: &Extent) -> Result<(), CategoryError> {
        for (table, &n_categories) in self.tables.iter_mut().zip(&extent.n_categories) {
            table.grow(n_categories, extent.n_slots)?;
        }
        for &block in &extent.blocks {
            if let Err(plane) = self.plane_of(block) {
                self.insert_plane(plane, block)?;
            }
        }
        Ok(())
    }

    fn insert_plane(&mut self, plane: usize, block: u8) -> Result<(), CategoryError> {
        let mut fresh = Vec::with_capacity(self.tables.len());
        for table in &self.tables {
            let mut sums = Vec::new();
            sums.try_reserve_exact(table.units.len())?;
            sums.resize(table.units.len(), 0);
            fresh.push(sums);
        }
        for (table, sums) in self.tables.iter_mut().zip(fresh) {
            table.planes.insert(plane, sums);
        }
        self.blocks.insert(plane, Block { block, rows: 0 });
        Ok(())
    }

    /// Drops what has no rows left: blocks and trailing categories.
    fn tidy(&mut self) {
        for plane in (0..self.blocks.len()).rev() {
            if self.blocks[plane].rows == 0 {
                self.blocks.remove(plane);
                for table in &mut self.tables {
                    table.planes.remove(plane);
                }
            }
        }
        self.tables.iter_mut().for_each(Table::trim);
    }

    /// Adds `sign` times every row of a validated batch; returns whether some cell is below zero.
    fn apply<T: Copy + Into<f64>>(&mut self, batch: Batch<'_, T>, sign: i64) -> bool {
        let mut fell_below = false;
        for (group, slots) in batch.slots.chunks(ROWS_AT_ONCE).enumerate() {
            let first = group * ROWS_AT_ONCE;
            let x = &batch.x[first * self.n_features..(first + slots.len()) * self.n_features];
            match batch.weights {
                None => self.each_table(x, slots, |table, cells| {
                    fell_below |= table.add_units(cells, sign);
                }),
                Some(weights) => {
                    let rows = self.weigh(&weights[first..first + slots.len()], sign);
                    self.each_table(x, slots, |table, cells| {
                        for (&cell, &row) in cells.iter().zip(&rows) {
                            fell_below |= table.add_row(cell, row, sign);
                        }
                    });
                }
            }
        }
        fell_below || self.blocks.iter().any(|of| of.rows < 0)
    }

    /// Calls `add` for every table with the cells of these rows, in order.
    fn each_table<T: Copy + Into<f64>>(
        &mut self,
        x: &[T],
        slots: &[i32],
        mut add: impl FnMut(&mut Table, &[usize]),
    ) {
        let mut buffer = [0; ROWS_AT_ONCE];
        let cells = &mut buffer[..slots.len()];
        for (feature, table) in self.tables[..self.n_features].iter_mut().enumerate() {
            let column = x[feature..].iter().step_by(self.n_features);
            for ((cell, &value), &slot) in cells.iter_mut().zip(column).zip(slots) {
                *cell = category(value.into()) * table.n_slots + index(slot);
            }
            add(table, cells);
        }
        for (cell, &slot) in cells.iter_mut().zip(slots) {
            *cell = index(slot);
        }
        add(&mut self.tables[self.n_features], cells);
    }

    /// Finds the plane and integer of each weight other than one, and counts the rows of the blocks.
    fn weigh(&mut self, weights: &[f64], sign: i64) -> Vec<Option<Weighted>> {
        let weigh_one = |&weight: &f64| {
            let part = exact::split(weight).filter(|_| not_one(weight))?;
            let plane = self
                .plane_of(part.block)
                .expect("a validated batch has planes for its blocks");
            self.blocks[plane].rows += sign;
            Some(Weighted {
                plane,
                integer: part.integer,
            })
        };
        weights.iter().map(weigh_one).collect()
    }

    /// One more than the largest live category of each feature; 0 without rows.
    #[must_use]
    pub fn n_categories(&self) -> Vec<usize> {
        self.tables[..self.n_features]
            .iter()
            .map(Table::n_categories)
            .collect()
    }

    /// How many features would lose their largest category with these rows, those with at most `least` categories aside.
    #[must_use]
    pub fn n_shrinking<T: Copy + Into<f64>>(&self, x: &[T], least: &[usize]) -> usize {
        let shrinks = |(feature, &least): (usize, &usize)| {
            let table = &self.tables[feature];
            let Some(largest) = table.n_categories().checked_sub(1) else {
                return false;
            };
            if largest < least {
                return false;
            }
            let column = x.iter().skip(feature).step_by(self.n_features);
            let leaving = column.filter(|&&value| category(value.into()) == largest);
            let first = largest * table.n_slots;
            let n_live: i64 = (first..first + table.n_slots)
                .map(|cell| table.rows(cell))
                .sum();
            usize::try_from(n_live) == Ok(leaving.count())
        };
        least.iter().enumerate().filter(|&of| shrinks(of)).count()
    }

    /// Size of the tables in bytes.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        self.tables.iter().map(Table::nbytes).sum()
    }

    /// Total weight of class slots, rounded once.
    #[must_use]
    pub fn class_sums(&self, slots: &[usize]) -> Vec<f64> {
        let mut parts = Vec::new();
        slots
            .iter()
            .map(|&slot| self.classes().sum(0, slot, &self.blocks, &mut parts))
            .collect()
    }

    /// Rows of class slots.
    #[must_use]
    pub fn class_rows(&self, slots: &[usize]) -> Vec<i64> {
        let classes = self.classes();
        slots
            .iter()
            .map(|&slot| classes.cell(0, slot).map_or(0, |cell| classes.rows(cell)))
            .collect()
    }

    /// Summed weights of a feature, a row of `n_categories` for each slot, each rounded once; padded by zeros.
    ///
    /// # Errors
    /// If there is no such feature, or it has more live categories than asked for.
    pub fn category_sums(
        &self,
        feature: usize,
        slots: &[usize],
        n_categories: usize,
    ) -> Result<Vec<f64>, CategoryError> {
        let n_features = self.n_features;
        let table = self.tables[..n_features].get(feature);
        let table = table.ok_or(CategoryError::NoSuchFeature {
            feature,
            n_features,
        })?;
        if table.n_categories() > n_categories {
            return Err(CategoryError::TooFewCategories {
                found: table.n_categories(),
                asked: n_categories,
            });
        }
        let mut parts = Vec::new();
        let mut sums = Vec::with_capacity(slots.len() * n_categories);
        for &slot in slots {
            sums.extend(
                (0..n_categories)
                    .map(|category| table.sum(category, slot, &self.blocks, &mut parts)),
            );
        }
        Ok(sums)
    }

    /// Canonical bytes of every exact sum, a function of the rows alone.
    ///
    /// Little-endian: u64 number of features and of slots; u64 live categories of each feature; then for each block with
    /// rows in these slots, ascending: its number (u8) and, for features, categories and slots in order, then for the classes,
    /// the i128 sum.
    #[must_use]
    pub fn sums_digest_parts(&self, slots: &[usize]) -> Vec<u8> {
        let sizes = [self.n_features, slots.len()]
            .into_iter()
            .chain(self.n_categories());
        let mut bytes: Vec<u8> = sizes.flat_map(|size| (size as u64).to_le_bytes()).collect();
        for block in 0..exact::N_BLOCKS {
            let plane = self.plane_of(block).ok();
            let sum_of = |table: &Table, category, slot| {
                table
                    .cell(category, slot)
                    .map_or(0, |cell| table.integer(cell, block, plane))
            };
            if slots
                .iter()
                .all(|&slot| sum_of(self.classes(), 0, slot) == 0)
            {
                continue;
            }
            bytes.push(block);
            for table in &self.tables {
                for category in 0..table.n_categories() {
                    bytes.extend(
                        slots
                            .iter()
                            .flat_map(|&slot| sum_of(table, category, slot).to_le_bytes()),
                    );
                }
            }
        }
        bytes
    }

    /// Gives back the room of a class slot whose rows are all gone.
    ///
    /// # Errors
    /// If the slot still has rows.
    pub fn drop_slot(&mut self, slot: usize) -> Result<(), CategoryError> {
        let rows = self.class_rows(&[slot])[0];
        if rows != 0 {
            return Err(CategoryError::SlotInUse { rows });
        }
        let classes = self.classes();
        let n_slots = (0..classes.units.len())
            .rev()
            .find(|&cell| classes.rows(cell) != 0)
            .map_or(0, |last| last + 1);
        for table in &mut self.tables {
            table.reshape(table.n_categories(), n_slots);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const N_FEATURES: usize = 3;
    const N_CLASSES: usize = 4;

    #[derive(Clone, Debug)]
    struct Row {
        x: [f64; N_FEATURES],
        class: usize,
        weight: f64,
    }

    fn category_value() -> impl Strategy<Value = f64> {
        prop_oneof![4 => 0_u16..3, 1 => 0_u16..40].prop_map(f64::from)
    }

    fn row() -> impl Strategy<Value = Row> {
        let x = [category_value(), category_value(), category_value()];
        let weight = prop_oneof![
            3 => Just(1.0),
            3 => prop::sample::select(vec![0.5, 3.0, 1e-300, 1e300, 5e-324, 1.0 + f64::EPSILON, 1e10])
        ];
        (x, 0..N_CLASSES, weight).prop_map(|(x, class, weight)| Row { x, class, weight })
    }

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        prop::collection::vec(row(), 0..20)
    }

    /// What a batch borrows; class `c` has slot `slots[c]`.
    struct Columns {
        x: Vec<f64>,
        slots: Vec<i32>,
        weights: Vec<f64>,
    }

    impl Columns {
        fn of(rows: &[Row], slots: &[i32]) -> Self {
            Self {
                x: rows.iter().flat_map(|row| row.x).collect(),
                slots: rows.iter().map(|row| slots[row.class]).collect(),
                weights: rows.iter().map(|row| row.weight).collect(),
            }
        }

        /// Weights of one may be said or not.
        fn batch(&self) -> Batch<'_, f64> {
            let weights = self
                .weights
                .iter()
                .any(|&weight| not_one(weight))
                .then_some(&self.weights[..]);
            Batch {
                x: &self.x,
                slots: &self.slots,
                weights,
            }
        }
    }

    const IN_ORDER: [i32; N_CLASSES] = [0, 1, 2, 3];

    fn learned(rows: &[Row], slots: &[i32]) -> CategoryCounts {
        let mut counts = CategoryCounts::new(N_FEATURES).expect("room");
        counts
            .learn(Columns::of(rows, slots).batch())
            .expect("the rows are valid");
        counts
    }

    fn digest(counts: &CategoryCounts, slots: &[i32]) -> Vec<u8> {
        counts.sums_digest_parts(&slots.iter().map(|&slot| index(slot)).collect::<Vec<_>>())
    }

    /// Slow twin: the sum of the weights of the rows that `is_in` picks.
    fn naive_sum(rows: &[Row], is_in: impl Fn(&Row) -> bool) -> f64 {
        let weights = rows.iter().filter(|row| is_in(row)).map(|row| row.weight);
        exact::round_sum(
            &exact::split_all(&weights.collect::<Vec<_>>()).expect("weights are valid"),
        )
    }

    fn assert_counts_are_of(counts: &CategoryCounts, rows: &[Row]) {
        let classes: Vec<usize> = (0..N_CLASSES).collect();
        let n_categories = counts.n_categories();
        for (feature, &n_categories) in n_categories.iter().enumerate() {
            let largest = rows.iter().map(|row| category(row.x[feature]) + 1).max();
            assert_eq!(n_categories, largest.unwrap_or(0));
            let sums = counts
                .category_sums(feature, &classes, n_categories + 2)
                .expect("wide enough");
            for (cell, &sum) in sums.iter().enumerate() {
                let (class, wanted) = (cell / (n_categories + 2), cell % (n_categories + 2));
                let expected = naive_sum(rows, |row| {
                    row.class == class && category(row.x[feature]) == wanted
                });
                assert_eq!(sum.to_bits(), expected.to_bits());
            }
        }
        for (class, &sum) in counts.class_sums(&classes).iter().enumerate() {
            assert_eq!(
                sum.to_bits(),
                naive_sum(rows, |row| row.class == class).to_bits()
            );
            let n_rows = rows.iter().filter(|row| row.class == class).count();
            assert_eq!(
                counts.class_rows(&[class]),
                [i64::try_from(n_rows).expect("few rows")]
            );
        }
        assert_eq!(
            digest(counts, &IN_ORDER),
            digest(&learned(rows, &IN_ORDER), &IN_ORDER)
        );
        assert_eq!(
            counts.blocks.len(),
            learned(rows, &IN_ORDER).blocks.len(),
            "a block without rows is dropped"
        );
    }

    proptest! {
        /// Learning in any batches gives the sums that a search through the rows gives.
        #[test]
        fn counts_are_those_of_the_rows(rows in rows(), cut in 0_usize..20) {
            let (first, second) = rows.split_at(cut.min(rows.len()));
            let mut counts = learned(first, &IN_ORDER);
            counts.learn(Columns::of(second, &IN_ORDER).batch()).expect("the rows are valid");
            assert_counts_are_of(&counts, &rows);
        }

        /// Forgetting leaves the counts of the rows that are left, whatever came in between.
        #[test]
        fn forgetting_equals_never_learning(kept in rows(), gone in rows()) {
            let mut counts = learned(&gone, &IN_ORDER);
            counts.learn(Columns::of(&kept, &IN_ORDER).batch()).expect("the rows are valid");
            counts.forget(Columns::of(&gone, &IN_ORDER).batch()).expect("the rows are live");
            assert_counts_are_of(&counts, &kept);
        }

        /// The digest depends on rows and classes, not on the numbers of their slots or on slots that were dropped.
        #[test]
        fn digest_ignores_slot_numbers(rows in rows(), other in rows(), slots in Just([0, 2, 5, 7]).prop_shuffle()) {
            let mut counts = learned(&rows, &slots);
            let other = Columns::of(&other, &[9; N_CLASSES]);
            counts.learn(other.batch()).expect("the rows are valid");
            counts.forget(other.batch()).expect("the rows are live");
            counts.drop_slot(9).expect("its rows are gone");
            prop_assert!(counts.n_slots() <= 8);
            prop_assert_eq!(digest(&counts, &slots), digest(&learned(&rows, &IN_ORDER), &IN_ORDER));
        }

        /// A batch with one row that is not live changes nothing, wherever the row stands in it.
        #[test]
        fn a_refused_batch_changes_nothing(rows in rows(), stranger in row(), place in 0_usize..20) {
            let mut counts = learned(&rows, &IN_ORDER);
            let mut batch = rows.clone();
            batch.insert(place.min(rows.len()), stranger);
            let refused = counts.forget(Columns::of(&batch, &IN_ORDER).batch());
            prop_assert_eq!(refused, Err(CategoryError::BelowZero { rows: batch.len() }));
            assert_counts_are_of(&counts, &rows);
        }

    }

    fn batch<'a>(x: &'a [f64], slots: &'a [i32], weights: Option<&'a [f64]>) -> Batch<'a, f64> {
        Batch { x, slots, weights }
    }

    #[test]
    fn only_small_integers_are_categories() {
        assert_eq!(check(&[0.0, -0.0, 1.0, 16_777_215.0], 2), Ok(()));
        let wrong = [
            -1.0,
            0.5,
            16_777_216.0,
            f64::NAN,
            f64::INFINITY,
            1e300,
            -0.25,
            5e-324,
        ];
        for value in wrong {
            assert_eq!(
                check(&[2.0, value], 1),
                Err(CategoryError::NotCategories { wrong: 1, total: 2 })
            );
        }
        assert_eq!(
            check(&[f32::NAN, 0.5, 3.0, -1.0], 2),
            Err(CategoryError::NotCategories { wrong: 3, total: 4 })
        );
    }

    #[test]
    fn invalid_batches_are_refused() {
        let mut counts = CategoryCounts::new(1).expect("room");
        let length = |what, found, expected| {
            Err(CategoryError::Length {
                what,
                found,
                expected,
            })
        };
        assert_eq!(
            counts.learn(batch(&[1.0], &[0, 0], None)),
            length("X", 1, 2)
        );
        assert_eq!(
            counts.learn(batch(&[1.0], &[0], Some(&[]))),
            length("weight", 0, 1)
        );
        let negative = counts.learn(batch(&[1.0, 2.0], &[0, -1], None));
        assert_eq!(
            negative,
            Err(CategoryError::NegativeSlots { wrong: 1, total: 2 })
        );
        for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let refused = counts.learn(batch(&[1.0, 2.0], &[0, 0], Some(&[weight, 1.0])));
            assert_eq!(
                refused,
                Err(CategoryError::BadWeights { wrong: 1, total: 2 })
            );
        }
        assert_eq!((counts.n_categories(), counts.n_slots()), (vec![0], 0));
    }

    /// The class sums fit here: only the cells of the feature tell that these are other rows.
    #[test]
    fn rows_are_told_apart_by_their_cells() {
        let mut counts = CategoryCounts::new(1).expect("room");
        counts
            .learn(batch(&[0.0, 1.0], &[0, 0], Some(&[2.0, 3.0])))
            .expect("valid");
        let swapped = counts.forget(batch(&[0.0, 1.0], &[0, 0], Some(&[3.0, 2.0])));
        assert_eq!(swapped, Err(CategoryError::BelowZero { rows: 2 }));
        let lighter = counts.forget(batch(&[1.0], &[0], Some(&[2.0])));
        assert_eq!(lighter, Err(CategoryError::BelowZero { rows: 1 }));
        assert_eq!(counts.category_sums(0, &[0], 2), Ok(vec![2.0, 3.0]));
    }

    /// With other weights than those learned: too heavy, a block left without rows but not without a sum, a block that
    /// had fewer rows.
    #[test]
    fn weights_are_told_apart_by_their_blocks() {
        let cases = [
            (vec![2.0, 2.0, 2.0], vec![7.0]),
            (vec![2.0, 3.0, 1e300], vec![2.0, 2.0]),
            (vec![8.0, 1e300, 1e300], vec![2.0, 3.0]),
        ];
        for (learned, forgotten) in cases {
            let mut counts = CategoryCounts::new(0).expect("room");
            counts
                .learn(batch(&[], &[0, 0, 0], Some(&learned)))
                .expect("valid");
            let refused = counts.forget(batch(&[], &[0, 0][..forgotten.len()], Some(&forgotten)));
            assert_eq!(
                refused,
                Err(CategoryError::BelowZero {
                    rows: forgotten.len()
                }),
                "{learned:?}"
            );
            counts
                .forget(batch(&[], &[0, 0, 0], Some(&learned)))
                .expect("nothing was changed");
            assert_eq!(counts.class_rows(&[0]), [0]);
        }
    }

    #[test]
    fn without_features_classes_are_counted() {
        let mut counts = CategoryCounts::new(0).expect("room");
        counts.learn(batch(&[], &[1, 1, 0], None)).expect("valid");
        assert_eq!(counts.class_sums(&[0, 1, 8]), [1.0, 2.0, 0.0]);
        counts.forget(batch(&[], &[1, 0, 1], None)).expect("live");
        assert_eq!(
            counts.forget(batch(&[], &[0], None)),
            Err(CategoryError::BelowZero { rows: 1 })
        );
        assert_eq!(counts.class_rows(&[0, 1]), [0, 0]);
    }

    #[test]
    fn a_huge_category_gives_its_memory_back() {
        let mut counts = CategoryCounts::new(1).expect("room");
        counts
            .learn(batch(&[3.0, 9_999_999.0], &[0, 1], None))
            .expect("valid");
        assert_eq!(counts.n_categories(), [10_000_000]);
        counts
            .forget(batch(&[9_999_999.0], &[1], None))
            .expect("live");
        assert_eq!(counts.n_categories(), [4]);
        assert!(counts.tables[0].units.capacity() < 100);
    }

    #[test]
    fn used_slots_and_narrow_tables_are_refused() {
        let mut counts = CategoryCounts::new(1).expect("room");
        counts
            .learn(batch(&[3.0, 4.0], &[0, 2], None))
            .expect("valid");
        assert_eq!(
            counts.drop_slot(2),
            Err(CategoryError::SlotInUse { rows: 1 })
        );
        assert_eq!(
            counts.category_sums(0, &[0], 4),
            Err(CategoryError::TooFewCategories { found: 5, asked: 4 })
        );
        assert_eq!(
            counts.category_sums(1, &[0], 9),
            Err(CategoryError::NoSuchFeature {
                feature: 1,
                n_features: 1
            })
        );
    }
}
