//! A growing table in fixed-size boxed chunks which never move.
//!
//! A growing `Vec` leaves copies of rows behind in freed memory; here growth only adds a chunk. Everything beyond the
//! live rows is zero at all times: rows are zeroised when they leave, and everything when the table is dropped.

use bytemuck::{Pod, allocation::try_zeroed_slice_box};
use thiserror::Error;
use zeroize::{DefaultIsZeroes, Zeroize};

/// About this many bytes a chunk.
pub const CHUNK_BYTES: usize = 1 << 20;

/// The allocator refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not enough memory. Nothing was changed")]
pub struct OutOfMemory;

/// Address and length in bytes of a buffer that holds rows.
pub type Buffer = (usize, usize);

/// What a table can hold.
pub trait Element: Pod + DefaultIsZeroes + Send + Sync {}
impl<T: Pod + DefaultIsZeroes + Send + Sync> Element for T {}

/// Rows of `width` elements; `rows_per_chunk` (a power of two) of them are contiguous.
#[derive(Debug)]
pub struct Chunked<T: Element> {
    chunks: Vec<Box<[T]>>,
    width: usize,
    rows_per_chunk: usize,
    len: usize,
}

/// Largest power of two of rows that fit in a chunk, and at least 1.
#[must_use]
pub fn rows_per_chunk(row_bytes: usize) -> usize {
    let rows = (CHUNK_BYTES / row_bytes.max(1)).max(1);
    1 << rows.ilog2()
}

impl<T: Element> Chunked<T> {
    /// An empty table. `rows_per_chunk` must be a power of two.
    #[must_use]
    pub fn new(width: usize, rows_per_chunk: usize) -> Self {
        debug_assert!(rows_per_chunk.is_power_of_two());
        Self {
            chunks: Vec::new(),
            width,
            rows_per_chunk,
            len: 0,
        }
    }

    /// An empty table of one element a row.
    #[must_use]
    pub fn column() -> Self {
        Self::new(1, rows_per_chunk(size_of::<T>()))
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Elements of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows that are contiguous.
    #[must_use]
    pub fn rows_per_chunk(&self) -> usize {
        self.rows_per_chunk
    }

    /// One row.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    #[must_use]
    pub fn row(&self, position: usize) -> &[T] {
        self.rows(position, position + 1)
    }

    /// One row, to be overwritten.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    pub fn row_mut(&mut self, position: usize) -> &mut [T] {
        assert!(position < self.len);
        let (chunk, start) = self.locate(position);
        &mut self.chunks[chunk][start..start + self.width]
    }

    /// Consecutive rows of one chunk.
    ///
    /// # Panics
    /// If they are not all there, or in more than one chunk.
    #[inline]
    #[must_use]
    pub fn rows(&self, start: usize, stop: usize) -> &[T] {
        assert!(start <= stop && stop <= self.len);
        if start == stop {
            return &[];
        }
        let (chunk, offset) = self.locate(start);
        &self.chunks[chunk][offset..offset + (stop - start) * self.width]
    }

    /// First element of a row: all of it in a column.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    #[must_use]
    pub fn get(&self, position: usize) -> T {
        assert!(position < self.len);
        let (chunk, offset) = self.locate(position);
        self.chunks[chunk][offset]
    }

    /// Overwrite the first element of a row.
    #[inline]
    pub fn set(&mut self, position: usize, value: T) {
        self.row_mut(position)[0] = value;
    }

    /// Elements of all rows, chunk by chunk.
    pub fn slices(&self) -> impl Iterator<Item = &[T]> {
        (0..self.len)
            .step_by(self.rows_per_chunk)
            .map(|start| self.rows(start, self.chunk_end(start).min(self.len)))
    }

    /// Make room for `additional` rows.
    ///
    /// # Errors
    /// If the allocator refuses; the rows are unchanged.
    pub fn reserve(&mut self, additional: usize) -> Result<(), OutOfMemory> {
        let chunks = self
            .len
            .checked_add(additional)
            .ok_or(OutOfMemory)?
            .div_ceil(self.rows_per_chunk);
        self.chunks
            .try_reserve(chunks.saturating_sub(self.chunks.len()))
            .map_err(|_| OutOfMemory)?;
        let elements = self
            .rows_per_chunk
            .checked_mul(self.width)
            .ok_or(OutOfMemory)?;
        while self.chunks.len() < chunks {
            // Zeroed by the allocator, so that pages of a small table which are never touched cost nothing.
            self.chunks
                .push(try_zeroed_slice_box(elements).map_err(|()| OutOfMemory)?);
        }
        Ok(())
    }

    /// Append one row of zeros and return it.
    ///
    /// # Errors
    /// If the allocator refuses; so do all methods that append, and the rows are unchanged.
    #[inline]
    pub fn push_zeros(&mut self) -> Result<&mut [T], OutOfMemory> {
        if self.chunks.len() * self.rows_per_chunk == self.len {
            self.reserve(1)?;
        }
        self.len += 1;
        Ok(self.row_mut(self.len - 1))
    }

    /// Append one element to a column.
    ///
    /// # Errors
    /// See [`Self::push_zeros`].
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), OutOfMemory> {
        self.push_zeros()?[0] = value;
        Ok(())
    }

    /// Append whole rows.
    ///
    /// # Errors
    /// See [`Self::push_zeros`].
    pub fn extend(&mut self, mut elements: &[T]) -> Result<(), OutOfMemory> {
        debug_assert!(elements.is_empty() || elements.len().is_multiple_of(self.width));
        self.reserve(elements.len() / self.width.max(1))?;
        while !elements.is_empty() {
            let (chunk, offset) = self.locate(self.len);
            let fits = (self.chunks[chunk].len() - offset).min(elements.len());
            let (head, tail) = elements.split_at(fits);
            self.chunks[chunk][offset..offset + fits].copy_from_slice(head);
            self.len += fits / self.width;
            elements = tail;
        }
        Ok(())
    }

    /// Append the rows of another table of the same width. Its chunks are taken over where they fit, else copied.
    ///
    /// # Errors
    /// See [`Self::push_zeros`].
    pub fn append(&mut self, mut other: Self) -> Result<(), OutOfMemory> {
        debug_assert_eq!(self.width, other.width);
        let is_full = self.chunks.len() * self.rows_per_chunk == self.len;
        if !is_full || self.rows_per_chunk != other.rows_per_chunk {
            self.reserve(other.len)?;
            return other.slices().try_for_each(|slice| self.extend(slice));
        }
        self.chunks
            .try_reserve(other.chunks.len())
            .map_err(|_| OutOfMemory)?;
        self.chunks.append(&mut other.chunks);
        self.len += std::mem::take(&mut other.len);
        Ok(())
    }

    /// Remove and zeroise all rows from `len` on. Chunks stay, for views into them may exist.
    pub fn truncate(&mut self, len: usize) {
        let mut start = len;
        while start < self.len {
            let stop = self.chunk_end(start).min(self.len);
            let (chunk, offset) = self.locate(start);
            self.chunks[chunk][offset..offset + (stop - start) * self.width].zeroize();
            start = stop;
        }
        self.len = self.len.min(len);
    }

    /// Remove a row: the last one takes its place, and the place of that is zeroised.
    #[inline]
    pub fn swap_remove(&mut self, position: usize) {
        let last = self.len - 1;
        if position != last {
            let (from, source) = self.locate(last);
            let (to, target) = self.locate(position);
            if from == to {
                self.chunks[to].copy_within(source..source + self.width, target);
            } else {
                let (head, tail) = self.chunks.split_at_mut(from);
                head[to][target..target + self.width]
                    .copy_from_slice(&tail[0][source..source + self.width]);
            }
        }
        self.truncate(last);
    }

    /// Free chunks that hold no row, except one, so that a table at a chunk's edge does not allocate with each row.
    pub fn release_spare(&mut self) {
        self.chunks
            .truncate(self.len.div_ceil(self.rows_per_chunk) + 1);
    }

    /// Bytes allocated.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        self.chunks.len() * self.rows_per_chunk * self.width * size_of::<T>()
    }

    /// Every chunk, spare ones included.
    pub fn buffers(&self) -> impl Iterator<Item = Buffer> {
        self.chunks
            .iter()
            .map(|chunk| (chunk.as_ptr().addr(), size_of_val(&**chunk)))
    }

    /// Whether all bytes beyond the rows are zero, as they must be.
    #[must_use]
    pub fn spare_is_zero(&self) -> bool {
        let mut live = self.len * self.width;
        self.chunks.iter().all(|chunk| {
            let spare = &chunk[live.min(chunk.len())..];
            live = live.saturating_sub(chunk.len());
            let bytes: &[u8] = bytemuck::cast_slice(spare);
            bytes.iter().fold(0, |all, &byte| all | byte) == 0
        })
    }

    #[inline]
    fn locate(&self, position: usize) -> (usize, usize) {
        let shift = self.rows_per_chunk.trailing_zeros();
        (
            position >> shift,
            (position & (self.rows_per_chunk - 1)) * self.width,
        )
    }

    fn chunk_end(&self, position: usize) -> usize {
        (position | (self.rows_per_chunk - 1)) + 1
    }
}

impl<T: Element> Drop for Chunked<T> {
    fn drop(&mut self) {
        self.truncate(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(rows: usize) -> Chunked<u32> {
        let mut table = Chunked::new(3, 4);
        for row in 0..rows {
            table
                .push_zeros()
                .expect("memory")
                .fill(u32::try_from(row).expect("small") + 1);
        }
        table
    }

    #[test]
    fn chunks_never_move() {
        let mut table = counted(1);
        let first = table.row(0).as_ptr();

        table.extend(&vec![9; 3 * 1000]).expect("memory");

        assert_eq!(table.row(0).as_ptr(), first);
        assert_eq!((table.len(), table.row(1000)), (1001, [9; 3].as_slice()));
    }

    #[test]
    fn removed_rows_leave_zeros() {
        let mut table = counted(11);

        table.swap_remove(2);
        table.swap_remove(9);
        table.truncate(8);

        assert_eq!(table.row(2), [11; 3]);
        assert_eq!(table.len(), 8);
        assert!(table.spare_is_zero());
        table.release_spare();
        assert_eq!(table.buffers().count(), 3);
    }

    #[test]
    fn append_takes_chunks_over_or_copies() {
        for before in [0, 3, 4] {
            let mut table = counted(before);
            let other = counted(6);
            let moved = other.row(0).as_ptr();

            table.append(other).expect("memory");

            assert_eq!(table.row(before).as_ptr() == moved, before % 4 == 0);
            assert_eq!(table.row(before + 5), [6; 3]);
            assert!(table.spare_is_zero());
        }
    }

    #[test]
    fn an_impossible_reservation_changes_nothing() {
        let mut table = counted(2);

        assert_eq!(table.reserve(usize::MAX / 2), Err(OutOfMemory));
        assert_eq!((table.len(), table.row(1)), (2, [2; 3].as_slice()));
    }
}
