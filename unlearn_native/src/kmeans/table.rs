//! Where the engine reads rows: it keeps none of them.

use crate::chunked::Chunked;
use crate::rows::RowStore;
use crate::values::{Csr, Value};

/// Type of a value of X.
pub trait Scalar: Value + Into<f64> {
    /// The nearest number of this type, promoted again.
    fn rounded(number: f64) -> f64;
}

impl Scalar for f64 {
    #[inline]
    fn rounded(number: f64) -> f64 {
        number
    }
}

impl Scalar for f32 {
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // rounding is what is asked for
    fn rounded(number: f64) -> f64 {
        f64::from(number as Self)
    }
}

/// Values of one row: all of them, or those that are not 0.
#[derive(Clone, Copy, Debug)]
pub enum Row<'r, S> {
    /// By column.
    Dense(&'r [S]),
    /// The others are 0.
    Sparse {
        /// Ascending.
        columns: &'r [u32],
        /// As many.
        values: &'r [S],
    },
}

impl<'r, S: Scalar> Row<'r, S> {
    /// Give `visit` each value with what is kept of its column; values of 0 may be left out.
    #[inline]
    pub fn each<A>(self, kept: &mut [A], mut visit: impl FnMut(&mut A, f64)) {
        match self {
            Self::Dense(row) => kept
                .iter_mut()
                .zip(row)
                .for_each(|(kept, &value)| visit(kept, value.into())),
            Self::Sparse { .. } => self
                .entries()
                .for_each(|(column, value)| visit(&mut kept[column], value)),
        }
    }

    /// The same, and a number of the column.
    #[inline]
    pub fn each_with<A>(
        self,
        kept: &mut [A],
        numbers: &[f64],
        mut visit: impl FnMut(&mut A, f64, f64),
    ) {
        match self {
            Self::Dense(row) => {
                for ((kept, &number), &value) in kept.iter_mut().zip(numbers).zip(row) {
                    visit(kept, number, value.into());
                }
            }
            Self::Sparse { .. } => {
                for (column, value) in self.entries() {
                    visit(&mut kept[column], numbers[column], value);
                }
            }
        }
    }

    /// The same with the number of the column alone.
    #[inline]
    pub fn each_column(self, mut visit: impl FnMut(usize, f64)) {
        match self {
            Self::Dense(row) => (0..)
                .zip(row)
                .for_each(|(column, &value)| visit(column, value.into())),
            Self::Sparse { .. } => self
                .entries()
                .for_each(|(column, value)| visit(column, value)),
        }
    }

    /// Columns and values of a sparse row; nothing of another one.
    #[inline]
    pub fn entries(self) -> impl Iterator<Item = (usize, f64)> + 'r {
        let (columns, values) = match self {
            Self::Dense(_) => (&[][..], &[][..]),
            Self::Sparse { columns, values } => (columns, values),
        };
        columns
            .iter()
            .zip(values)
            .map(|(&column, &value)| (column as usize, value.into()))
    }
}

/// Values of rows by slot.
pub trait Rows: Sync {
    /// Type of a value.
    type Scalar: Scalar;

    /// Whether rows are sparse.
    const IS_SPARSE: bool = false;

    /// Number of columns.
    fn n_features(&self) -> usize;

    /// A row as it is stored.
    fn stored(&self, slot: usize) -> Row<'_, Self::Scalar>;

    /// All values of a row: in place or, of a sparse one, in `scratch`. So sparse rows get the bits of dense ones.
    fn row<'a>(&'a self, slot: usize, scratch: &'a mut Vec<Self::Scalar>) -> &'a [Self::Scalar];
}

/// Rows with weights and tags, as the engine sees them.
pub trait Table: Rows {
    /// Number of rows, those of weight 0 included.
    fn n_slots(&self) -> usize;

    /// Weight of a row. One of weight 0 enters nothing.
    fn weight(&self, slot: usize) -> f64;

    /// Tag of a row.
    fn tag(&self, slot: usize) -> u128;

    /// Threads that may read it at the same time.
    fn n_threads(&self) -> usize {
        1
    }

    /// Whether a row enters anything.
    #[inline]
    fn is_effective(&self, slot: usize) -> bool {
        self.weight(slot) > 0.0
    }

    /// Slots of the rows that enter something.
    fn effective(&self) -> impl Iterator<Item = usize> {
        (0..self.n_slots()).filter(|&slot| self.is_effective(slot))
    }
}

impl<S: Scalar> Rows for &Chunked<S> {
    type Scalar = S;

    fn n_features(&self) -> usize {
        self.width()
    }

    #[inline]
    fn stored(&self, slot: usize) -> Row<'_, S> {
        Row::Dense(Chunked::row(self, slot))
    }

    #[inline]
    fn row<'a>(&'a self, slot: usize, _: &'a mut Vec<S>) -> &'a [S] {
        Chunked::row(self, slot)
    }
}

/// Row-major values.
#[derive(Clone, Copy, Debug)]
pub struct DenseRows<'v, S> {
    /// Row by row.
    pub values: &'v [S],
    /// Number of columns.
    pub n_features: usize,
}

impl<S: Scalar> Rows for DenseRows<'_, S> {
    type Scalar = S;

    fn n_features(&self) -> usize {
        self.n_features
    }

    #[inline]
    fn stored(&self, slot: usize) -> Row<'_, S> {
        Row::Dense(&self.values[slot * self.n_features..(slot + 1) * self.n_features])
    }

    #[inline]
    fn row<'a>(&'a self, slot: usize, _: &'a mut Vec<S>) -> &'a [S] {
        &self.values[slot * self.n_features..(slot + 1) * self.n_features]
    }
}

/// Sparse rows.
#[derive(Clone, Copy, Debug)]
pub struct SparseRows<'v, S: Scalar> {
    /// The entries.
    pub entries: &'v Csr<S>,
    /// Number of columns.
    pub n_features: usize,
}

impl<S: Scalar> Rows for SparseRows<'_, S> {
    type Scalar = S;

    const IS_SPARSE: bool = true;

    fn n_features(&self) -> usize {
        self.n_features
    }

    #[inline]
    fn stored(&self, slot: usize) -> Row<'_, S> {
        let (columns, values) = self.entries.row(slot);
        Row::Sparse { columns, values }
    }

    fn row<'a>(&'a self, slot: usize, scratch: &'a mut Vec<S>) -> &'a [S] {
        let (columns, values) = self.entries.row(slot);
        scratch.clear();
        scratch.resize(self.n_features, S::default());
        for (&column, &value) in columns.iter().zip(values) {
            scratch[column as usize] = value;
        }
        scratch
    }
}

/// The rows of a store.
#[derive(Clone, Copy, Debug)]
pub struct StoreTable<'s, R> {
    /// Its values.
    pub rows: R,
    /// The store.
    pub store: &'s RowStore,
    /// Threads that may read it at the same time.
    pub n_threads: usize,
}

impl<R: Rows> Rows for StoreTable<'_, R> {
    type Scalar = R::Scalar;

    const IS_SPARSE: bool = R::IS_SPARSE;

    fn n_features(&self) -> usize {
        self.rows.n_features()
    }

    #[inline]
    fn stored(&self, slot: usize) -> Row<'_, R::Scalar> {
        self.rows.stored(slot)
    }

    #[inline]
    fn row<'a>(&'a self, slot: usize, scratch: &'a mut Vec<R::Scalar>) -> &'a [R::Scalar] {
        self.rows.row(slot, scratch)
    }
}

impl<R: Rows> Table for StoreTable<'_, R> {
    fn n_slots(&self) -> usize {
        self.store.n_live()
    }

    fn n_threads(&self) -> usize {
        self.n_threads
    }

    #[inline]
    fn weight(&self, slot: usize) -> f64 {
        self.store.weight_at(slot)
    }

    #[inline]
    fn tag(&self, slot: usize) -> u128 {
        self.store.tag_at(slot)
    }
}

/// Rows that have left the store.
#[derive(Clone, Copy, Debug)]
pub struct GoneTable<'g, R> {
    /// Their values.
    pub rows: R,
    /// Their weights; None: all 1.
    pub weights: Option<&'g [f64]>,
    /// Their tags.
    pub tags: &'g [u128],
}

impl<R: Rows> Rows for GoneTable<'_, R> {
    type Scalar = R::Scalar;

    const IS_SPARSE: bool = R::IS_SPARSE;

    fn n_features(&self) -> usize {
        self.rows.n_features()
    }

    #[inline]
    fn stored(&self, slot: usize) -> Row<'_, R::Scalar> {
        self.rows.stored(slot)
    }

    #[inline]
    fn row<'a>(&'a self, slot: usize, scratch: &'a mut Vec<R::Scalar>) -> &'a [R::Scalar] {
        self.rows.row(slot, scratch)
    }
}

impl<R: Rows> Table for GoneTable<'_, R> {
    fn n_slots(&self) -> usize {
        self.tags.len()
    }

    #[inline]
    fn weight(&self, slot: usize) -> f64 {
        self.weights.map_or(1.0, |weights| weights[slot])
    }

    #[inline]
    fn tag(&self, slot: usize) -> u128 {
        self.tags[slot]
    }
}
