//! Feature values of rows: dense in chunks or sparse in a pool, float32 or float64, in canonical form.
//!
//! Canonical: no negative zero, one NaN, and in sparse rows no stored zero; so equal rows are equal bytes.

use thiserror::Error;
use zeroize::Zeroizing;

use crate::chunked::{Buffer, Chunked, Element, OutOfMemory};
use crate::pool::{Pool, PoolError};
use crate::table::narrow;

/// How rows are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// All values.
    Dense,
    /// Column numbers and values of what is not zero.
    Csr,
}

/// Precision of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DType {
    /// 4 bytes.
    Float32,
    /// 8 bytes.
    Float64,
}

impl DType {
    /// Bytes a value.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::Float32 => size_of::<f32>(),
            Self::Float64 => size_of::<f64>(),
        }
    }
}

/// A value's canonical form and bytes.
pub trait Value: Element + PartialEq {
    /// Which type it is.
    const DTYPE: DType;
    /// Positive zero for both zeros, one quiet NaN for all; else itself.
    #[must_use]
    fn canonical(self) -> Self;
    /// Whether the bits are those of the canonical form.
    fn is_canonical(self) -> bool {
        bytemuck::bytes_of(&self) == bytemuck::bytes_of(&self.canonical())
    }
    /// Append it, little-endian.
    fn write(self, out: &mut Vec<u8>);
    /// Read it from the first bytes, little-endian.
    fn read(bytes: &[u8]) -> Self;
    /// A matrix of this type among `Values`.
    fn wrap_batch(batch: Batch<Self>) -> ValueBatch;
}

macro_rules! value {
    ($float:ident, $dtype:ident, $variant:ident, $nan:literal) => {
        impl Value for $float {
            const DTYPE: DType = DType::$dtype;

            #[inline]
            fn canonical(self) -> Self {
                if self.is_nan() {
                    Self::from_bits($nan)
                } else {
                    self + 0.0
                }
            }

            #[inline]
            fn write(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            #[inline]
            fn read(bytes: &[u8]) -> Self {
                bytes
                    .first_chunk()
                    .map_or(0.0, |bytes| Self::from_le_bytes(*bytes))
            }

            fn wrap_batch(batch: Batch<Self>) -> ValueBatch {
                ValueBatch::$variant(batch)
            }
        }
    };
}
value!(f32, Float32, F32, 0x7fc0_0000);
value!(f64, Float64, F64, 0x7ff8_0000_0000_0000);

/// Why a CSR matrix was refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CsrError {
    /// Bad row bounds.
    #[error(
        "indptr of the CSR matrix must start at 0, never fall, and end at the number of indices and of values"
    )]
    Indptr,
    /// Bad column numbers.
    #[error(
        "{bad} of {rows} rows of the CSR matrix have indices that do not ascend strictly within 0..{n_features}. \
             Call sum_duplicates() and sort_indices() first"
    )]
    Indices {
        /// Rows with bad indices.
        bad: usize,
        /// All rows.
        rows: usize,
        /// Number of columns.
        n_features: usize,
    },
    /// No room for the rows.
    #[error(transparent)]
    Storage(#[from] PoolError),
}

/// Sparse rows on their way out: `indptr[i]..indptr[i + 1]` are the entries of row i. Zeroised when dropped.
#[derive(Clone, Debug, Default)]
pub struct CsrRows<T: Element> {
    /// Row bounds, one more than rows.
    pub indptr: Vec<i64>,
    /// Column numbers, ascending within a row.
    pub indices: Zeroizing<Vec<i32>>,
    /// Values, none of them zero.
    pub values: Zeroizing<Vec<T>>,
}

impl<T: Value> CsrRows<T> {
    /// Without rows, with room for some.
    ///
    /// # Errors
    /// If the allocator refuses.
    pub fn with_capacity(rows: usize, entries: usize) -> Result<Self, OutOfMemory> {
        let mut csr = Self {
            indptr: vector(rows + 1)?,
            indices: vector(entries)?.into(),
            values: vector(entries)?.into(),
        };
        csr.indptr.push(0);
        Ok(csr)
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.indptr.len() - 1
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Append a row of checked entries in canonical form.
    pub(crate) fn push_row(
        &mut self,
        indices: impl Iterator<Item = i32>,
        values: impl Iterator<Item = T>,
    ) {
        self.indices.extend(indices);
        self.values.extend(values);
        let end = i64::try_from(self.indices.len());
        self.indptr.push(end.unwrap_or(i64::MAX)); // a Vec holds fewer than 2^63
    }

    /// Column numbers and values of a row.
    #[must_use]
    pub fn row(&self, row: usize) -> (&[i32], &[T]) {
        let bound = |row: usize| usize::try_from(self.indptr[row]).unwrap_or(0); // never negative
        let entries = bound(row)..bound(row + 1);
        (&self.indices[entries.clone()], &self.values[entries])
    }
}

fn are_row_bounds(indptr: &[i64], n_indices: usize, n_values: usize) -> bool {
    indptr.first() == Some(&0)
        && indptr.is_sorted()
        && n_indices == n_values
        && indptr.last().copied() == i64::try_from(n_indices).ok()
}

/// A row bound, which is never negative.
fn bound(bound: i64) -> usize {
    usize::try_from(bound).unwrap_or(0)
}

fn keep_nonzero<T: Value>(
    indices: &[i32],
    values: &[T],
    kept: &mut (Zeroizing<Vec<i32>>, Zeroizing<Vec<T>>),
) {
    kept.0.clear();
    kept.1.clear();
    let entries = indices.iter().zip(values);
    for (&index, &value) in entries.filter(|&(_, &value)| value != T::default()) {
        kept.0.push(index);
        kept.1.push(value);
    }
}

/// Column numbers are never negative.
fn index(column: i32) -> u32 {
    column.cast_unsigned()
}

/// An empty vector with room for `n` elements.
///
/// # Errors
/// If the allocator refuses.
pub fn vector<T>(n: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut vector = Vec::new();
    vector.try_reserve_exact(n).map_err(|_| OutOfMemory)?;
    Ok(vector)
}

/// Canonical rows on their way in, of one type.
#[derive(Debug)]
pub enum Batch<T: Element> {
    /// In chunks, which a store takes over if they fit.
    Dense(Chunked<T>),
    /// In a pool, which an empty store takes over.
    Csr(Csr<T>),
}

/// Canonical rows on their way in.
#[derive(Debug)]
pub enum ValueBatch {
    /// float32.
    F32(Batch<f32>),
    /// float64.
    F64(Batch<f64>),
}

/// Gathered rows on their way out, of one type.
#[derive(Clone, Debug)]
pub enum Block<T: Element> {
    /// Row-major.
    Dense(Vec<T>),
    /// Sparse.
    Csr(CsrRows<T>),
}

/// Gathered rows on their way out.
#[derive(Clone, Debug)]
pub enum ValueBlock {
    /// float32.
    F32(Block<f32>),
    /// float64.
    F64(Block<f64>),
}

impl<T: Value> Batch<T> {
    /// Copy dense rows, `read` filling one after the other, to canonical form. With the store's `rows_per_chunk` it can
    /// take the chunks over.
    ///
    /// # Errors
    /// If the allocator refuses.
    pub fn dense(
        n_rows: usize,
        n_features: usize,
        rows_per_chunk: usize,
        mut read: impl FnMut(usize, &mut [T]),
    ) -> Result<Self, OutOfMemory> {
        let mut rows = Chunked::new(
            n_features,
            rows_per_chunk.min(n_rows.max(1).next_power_of_two()),
        );
        rows.reserve(n_rows)?;
        for row in 0..n_rows {
            let target = rows.push_zeros()?;
            read(row, target);
            for value in target {
                *value = value.canonical();
            }
        }
        Ok(Self::Dense(rows))
    }

    fn len(&self) -> usize {
        match self {
            Self::Dense(rows) => rows.len(),
            Self::Csr(rows) => rows.len(),
        }
    }

    fn width(&self) -> Option<usize> {
        match self {
            Self::Dense(rows) => Some(rows.width()),
            Self::Csr(_) => None,
        }
    }

    fn layout(&self) -> Layout {
        match self {
            Self::Dense(_) => Layout::Dense,
            Self::Csr(_) => Layout::Csr,
        }
    }
}

impl ValueBatch {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(batch) => batch.len(),
            Self::F64(batch) => batch.len(),
        }
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of columns of dense rows. Sparse ones were checked against it when they were made.
    #[must_use]
    pub fn width(&self) -> Option<usize> {
        match self {
            Self::F32(batch) => batch.width(),
            Self::F64(batch) => batch.width(),
        }
    }

    /// Layout and type.
    #[must_use]
    pub fn format(&self) -> (Layout, DType) {
        match self {
            Self::F32(batch) => (batch.layout(), DType::Float32),
            Self::F64(batch) => (batch.layout(), DType::Float64),
        }
    }
}

/// Sparse rows in a pool: values, then column numbers.
#[derive(Debug)]
pub struct Csr<T: Element> {
    pool: Pool,
    addresses: Chunked<u32>,
    lengths: Chunked<u32>,
    values: std::marker::PhantomData<T>,
}

impl<T: Value> Default for Csr<T> {
    fn default() -> Self {
        Self {
            pool: Pool::default(),
            addresses: Chunked::column(),
            lengths: Chunked::column(),
            values: std::marker::PhantomData,
        }
    }
}

impl<T: Value> Csr<T> {
    /// A checked copy of three arrays in canonical form: without zeros.
    ///
    /// # Errors
    /// If they are no CSR matrix of `n_features` columns with sorted, unique indices, or there is no room.
    pub fn from_arrays(
        n_features: usize,
        indptr: &[i64],
        indices: &[i32],
        values: &[T],
    ) -> Result<Self, CsrError> {
        if !are_row_bounds(indptr, indices.len(), values.len()) {
            return Err(CsrError::Indptr);
        }
        let entries = |bounds: &[i64]| bound(bounds[0])..bound(bounds[1]);
        let ascends = |row: &[i32]| {
            row.windows(2).all(|pair| pair[0] < pair[1])
                && row.first().is_none_or(|&first| first >= 0)
                && row
                    .last()
                    .is_none_or(|&last| usize::try_from(last).is_ok_and(|last| last < n_features))
        };
        let rows = || indptr.windows(2).map(entries);
        let bad = rows().filter(|row| !ascends(&indices[row.clone()])).count();
        if bad > 0 {
            return Err(CsrError::Indices {
                bad,
                rows: indptr.len() - 1,
                n_features,
            });
        }
        let mut csr = Self::default();
        csr.reserve(indptr.len() - 1).map_err(PoolError::from)?;
        let mut kept = (Zeroizing::new(Vec::new()), Zeroizing::new(Vec::new()));
        for row in rows() {
            let (indices, values) = (&indices[row.clone()], &values[row]);
            if values.contains(&T::default()) {
                keep_nonzero(indices, values, &mut kept);
                csr.push(&kept.0, &kept.1)?;
            } else {
                csr.push(indices, values)?;
            }
        }
        Ok(csr)
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Make room for the places of `rows` more rows.
    ///
    /// # Errors
    /// If the allocator refuses.
    pub fn reserve(&mut self, rows: usize) -> Result<(), OutOfMemory> {
        self.addresses.reserve(rows)?;
        self.lengths.reserve(rows)
    }

    /// Quarter-words (4 bytes) that the values of a row take.
    const fn quads(entries: usize) -> usize {
        entries * (size_of::<T>() / size_of::<u32>())
    }

    fn words(entries: usize) -> usize {
        (Self::quads(entries) + entries).div_ceil(2)
    }

    fn span(&self, slot: usize) -> (u32, usize) {
        (
            self.addresses.get(slot),
            Self::words(self.lengths.get(slot) as usize),
        )
    }

    /// Column numbers and values of a row.
    pub(crate) fn row(&self, slot: usize) -> (&[u32], &[T]) {
        let entries = self.lengths.get(slot) as usize;
        if entries == 0 {
            return (&[], &[]);
        }
        let (address, words) = self.span(slot);
        let quads: &[u32] = bytemuck::cast_slice(self.pool.get(address, words));
        let (values, indices) = quads.split_at(Self::quads(entries));
        (&indices[..entries], bytemuck::cast_slice(values))
    }

    /// Append a row of checked entries, none of them zero.
    ///
    /// # Errors
    /// If there is no room.
    pub(crate) fn push(&mut self, indices: &[i32], values: &[T]) -> Result<(), PoolError> {
        let entries = indices.len();
        self.reserve(1)?;
        let mut address = 0;
        if entries > 0 {
            let words = Self::words(entries);
            address = self.pool.allocate(words)?;
            let quads: &mut [u32] = bytemuck::cast_slice_mut(self.pool.get_mut(address, words));
            let (head, tail) = quads.split_at_mut(Self::quads(entries));
            bytemuck::cast_slice_mut(head)
                .iter_mut()
                .zip(values)
                .for_each(|(target, value)| *target = value.canonical());
            tail.iter_mut()
                .zip(indices)
                .for_each(|(quad, &column)| *quad = index(column));
        }
        self.addresses.push(address)?;
        self.lengths.push(narrow(entries))?;
        Ok(())
    }

    fn release(&mut self, slot: usize) {
        let (address, words) = self.span(slot);
        if words > 0 {
            self.pool.release(address, words);
        }
    }

    fn spare_is_zero(&self) -> bool {
        let spans = (0..self.addresses.len())
            .map(|slot| self.span(slot))
            .filter(|span| span.1 > 0);
        let padding_is_zero = (0..self.addresses.len()).all(|slot| {
            let (address, words) = self.span(slot);
            let used =
                Self::quads(self.lengths.get(slot) as usize) + self.lengths.get(slot) as usize;
            let is_zero = |quads: &[u32]| quads.iter().all(|&quad| quad == 0);
            words == 0 || is_zero(&bytemuck::cast_slice(self.pool.get(address, words))[used..])
        });
        padding_is_zero
            && self.pool.spare_is_zero(spans)
            && self.addresses.spare_is_zero()
            && self.lengths.spare_is_zero()
    }
}

/// Rows of one type by slot.
#[derive(Debug)]
pub enum Matrix<T: Element> {
    /// In chunks.
    Dense(Chunked<T>),
    /// In a pool.
    Csr(Csr<T>),
}

impl<T: Value> Matrix<T> {
    fn new(layout: Layout, n_features: usize, rows_per_chunk: usize) -> Self {
        match layout {
            Layout::Dense => Self::Dense(Chunked::new(n_features, rows_per_chunk)),
            Layout::Csr => Self::Csr(Csr::default()),
        }
    }

    fn extend(&mut self, batch: Batch<T>) -> Result<(), PoolError> {
        match (self, batch) {
            (Self::Dense(rows), Batch::Dense(batch)) => rows.append(batch)?,
            (Self::Csr(rows), Batch::Csr(batch)) if rows.is_empty() => *rows = batch,
            (Self::Csr(rows), Batch::Csr(batch)) => {
                rows.reserve(batch.len())?;
                for row in 0..batch.len() {
                    let (indices, values) = batch.row(row);
                    rows.push(bytemuck::cast_slice(indices), values)?;
                }
            }
            _ => unreachable!("RowStore checks the layout of every batch"),
        }
        Ok(())
    }

    fn gather(
        &self,
        slots: impl ExactSizeIterator<Item = u32> + Clone,
    ) -> Result<Block<T>, OutOfMemory> {
        match self {
            Self::Dense(rows) => {
                let mut out = vector(slots.len().checked_mul(rows.width()).ok_or(OutOfMemory)?)?;
                slots.for_each(|slot| out.extend_from_slice(rows.row(slot as usize)));
                Ok(Block::Dense(out))
            }
            Self::Csr(rows) => {
                let entries = slots
                    .clone()
                    .map(|slot| rows.lengths.get(slot as usize) as usize)
                    .sum();
                let mut out = CsrRows::with_capacity(slots.len(), entries)?;
                for slot in slots {
                    let (indices, values) = rows.row(slot as usize);
                    let indices = indices.iter().map(|&index| index.cast_signed());
                    out.push_row(indices, values.iter().copied());
                }
                Ok(Block::Csr(out))
            }
        }
    }

    fn swap_remove(&mut self, slot: usize) {
        match self {
            Self::Dense(rows) => rows.swap_remove(slot),
            Self::Csr(rows) => {
                rows.release(slot);
                rows.addresses.swap_remove(slot);
                rows.lengths.swap_remove(slot);
            }
        }
    }

    fn truncate(&mut self, len: usize) {
        match self {
            Self::Dense(rows) => rows.truncate(len),
            Self::Csr(rows) => {
                for slot in len..rows.lengths.len() {
                    rows.release(slot);
                }
                rows.addresses.truncate(len);
                rows.lengths.truncate(len);
            }
        }
    }

    fn release_spare(&mut self) {
        match self {
            Self::Dense(rows) => rows.release_spare(),
            Self::Csr(rows) => {
                rows.addresses.release_spare();
                rows.lengths.release_spare();
            }
        }
    }

    fn nbytes(&self) -> usize {
        match self {
            Self::Dense(rows) => rows.nbytes(),
            Self::Csr(rows) => rows.pool.nbytes() + rows.addresses.nbytes() + rows.lengths.nbytes(),
        }
    }

    fn buffers(&self, out: &mut Vec<Buffer>) {
        match self {
            Self::Dense(rows) => out.extend(rows.buffers()),
            Self::Csr(rows) => {
                out.extend(rows.pool.buffers());
                out.extend(rows.addresses.buffers().chain(rows.lengths.buffers()));
            }
        }
    }

    fn spare_is_zero(&self) -> bool {
        match self {
            Self::Dense(rows) => rows.spare_is_zero(),
            Self::Csr(rows) => rows.spare_is_zero(),
        }
    }
}

/// Rows by slot.
#[derive(Debug)]
pub enum Values {
    /// float32.
    F32(Matrix<f32>),
    /// float64.
    F64(Matrix<f64>),
}

macro_rules! each {
    ($values:expr, $matrix:ident => $result:expr) => {
        match $values {
            Values::F32($matrix) => $result,
            Values::F64($matrix) => $result,
        }
    };
}

impl Values {
    /// Without rows.
    #[must_use]
    pub fn new(layout: Layout, dtype: DType, n_features: usize, rows_per_chunk: usize) -> Self {
        match dtype {
            DType::Float32 => Self::F32(Matrix::new(layout, n_features, rows_per_chunk)),
            DType::Float64 => Self::F64(Matrix::new(layout, n_features, rows_per_chunk)),
        }
    }

    /// Entries of sparse rows.
    pub(crate) fn n_entries(&self) -> usize {
        each!(self, matrix => match matrix {
            Matrix::Dense(_) => 0,
            Matrix::Csr(rows) => rows.lengths.slices().flatten().map(|&entries| entries as usize).sum(),
        })
    }

    /// Append rows of this layout and type.
    ///
    /// # Errors
    /// If the allocator refuses; the caller truncates.
    pub fn extend(&mut self, batch: ValueBatch) -> Result<(), PoolError> {
        match (self, batch) {
            (Self::F32(matrix), ValueBatch::F32(batch)) => matrix.extend(batch),
            (Self::F64(matrix), ValueBatch::F64(batch)) => matrix.extend(batch),
            _ => unreachable!("RowStore checks the type of every batch"),
        }
    }

    /// Copies of rows, in the order given.
    ///
    /// # Errors
    /// If the allocator refuses.
    pub fn gather(
        &self,
        slots: impl ExactSizeIterator<Item = u32> + Clone,
    ) -> Result<ValueBlock, OutOfMemory> {
        Ok(match self {
            Self::F32(matrix) => ValueBlock::F32(matrix.gather(slots)?),
            Self::F64(matrix) => ValueBlock::F64(matrix.gather(slots)?),
        })
    }

    /// Remove a row; the last one takes its slot.
    pub fn swap_remove(&mut self, slot: u32) {
        each!(self, matrix => matrix.swap_remove(slot as usize));
    }

    /// Remove all rows from `len` on.
    pub fn truncate(&mut self, len: usize) {
        each!(self, matrix => matrix.truncate(len));
    }

    /// Free chunks that are not needed.
    pub fn release_spare(&mut self) {
        each!(self, matrix => matrix.release_spare());
    }

    /// Bytes allocated.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        each!(self, matrix => matrix.nbytes())
    }

    /// Add every buffer that holds values.
    pub fn buffers(&self, out: &mut Vec<Buffer>) {
        each!(self, matrix => matrix.buffers(out));
    }

    /// Whether all bytes beyond the rows are zero, as they must be.
    #[must_use]
    pub fn spare_is_zero(&self) -> bool {
        each!(self, matrix => matrix.spare_is_zero())
    }
}
