//! Sample ids and subjects: int64 or str, one kind a column, and an index from one to its position.

use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::chunked::{Buffer, Chunked, OutOfMemory};
use crate::pool::{Pool, PoolError};
use crate::table::{PositionTable, narrow};

/// Keys hashed at once in bulk.
const HASH_BLOCK: usize = 64;

/// Longest str id or subject in bytes of UTF-8.
pub const MAX_STR_BYTES: usize = u16::MAX as usize;

/// What ids or subjects are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// 64-bit integers.
    Int64,
    /// UTF-8 strings.
    Str,
}

impl KeyKind {
    /// Its name in Python.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Int64 => "int64",
            Self::Str => "str",
        }
    }
}

/// A string that is too long.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "a str id or subject is longer than {MAX_STR_BYTES} bytes in UTF-8. Nothing was changed. Use shorter ones"
)]
pub struct KeyTooLong;

/// One id or subject. The order is id order: numeric, or bytewise UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key<'a> {
    /// A 64-bit integer.
    Int64(i64),
    /// UTF-8 bytes.
    Str(&'a [u8]),
}

impl<'a> Key<'a> {
    /// The number; 0 of a string.
    pub(crate) fn number(self) -> i64 {
        match self {
            Self::Int64(key) => key,
            Self::Str(_) => 0,
        }
    }

    /// The string; empty of a number.
    pub(crate) fn text(self) -> &'a [u8] {
        match self {
            Self::Int64(_) => b"",
            Self::Str(key) => key,
        }
    }
}

/// Owned strings, one after the other; zeroised when dropped.
#[derive(Clone, Debug, Default)]
pub struct Strings {
    blob: Vec<u8>,
    ends: Vec<usize>,
}

impl Strings {
    /// Without strings, with room for `n` of `nbytes` bytes in all, so that adding them leaves no copies behind.
    ///
    /// # Errors
    /// If the allocator refuses.
    pub fn with_capacity(n: usize, nbytes: usize) -> Result<Self, OutOfMemory> {
        let mut strings = Self::default();
        strings.ends.try_reserve_exact(n).map_err(|_| OutOfMemory)?;
        strings
            .blob
            .try_reserve_exact(nbytes)
            .map_err(|_| OutOfMemory)?;
        Ok(strings)
    }

    /// Make room for `nbytes` more bytes; strings that have to move for it leave zeros behind.
    ///
    /// # Errors
    /// If the allocator refuses.
    pub fn reserve(&mut self, nbytes: usize) -> Result<(), OutOfMemory> {
        let needed = self.blob.len().checked_add(nbytes).ok_or(OutOfMemory)?;
        if needed > self.blob.capacity() {
            let mut larger = Vec::new();
            let room = needed.max(2 * self.blob.capacity());
            larger.try_reserve_exact(room).map_err(|_| OutOfMemory)?;
            larger.extend_from_slice(&self.blob);
            std::mem::swap(&mut larger, &mut self.blob);
            larger.zeroize();
        }
        Ok(())
    }

    /// Append a string.
    ///
    /// # Errors
    /// If it is longer than `MAX_STR_BYTES`.
    pub fn push(&mut self, string: &str) -> Result<(), KeyTooLong> {
        if string.len() > MAX_STR_BYTES {
            return Err(KeyTooLong);
        }
        self.blob.extend_from_slice(string.as_bytes());
        self.ends.push(self.blob.len());
        Ok(())
    }

    /// Copies of strings that are in an index, so short enough and UTF-8.
    ///
    /// # Errors
    /// If the allocator refuses.
    pub(crate) fn from_index<'a>(
        keys: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    ) -> Result<Self, OutOfMemory> {
        let mut strings = Self::with_capacity(keys.len(), keys.clone().map(<[u8]>::len).sum())?;
        for key in keys {
            strings.blob.extend_from_slice(key);
            strings.ends.push(strings.blob.len());
        }
        Ok(strings)
    }

    fn get(&self, position: usize) -> &[u8] {
        let start = position
            .checked_sub(1)
            .map_or(0, |previous| self.ends[previous]);
        &self.blob[start..self.ends[position]]
    }
}

impl Drop for Strings {
    fn drop(&mut self) {
        self.blob.zeroize();
    }
}

/// Ids or subjects on their way in or out; zeroised when dropped.
#[derive(Clone, Debug)]
pub enum KeyBatch {
    /// 64-bit integers.
    Int64(Zeroizing<Vec<i64>>),
    /// Strings.
    Str(Strings),
}

impl KeyBatch {
    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Int64(keys) => keys.len(),
            Self::Str(keys) => keys.ends.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// int64 or str.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Int64(_) => KeyKind::Int64,
            Self::Str(_) => KeyKind::Str,
        }
    }

    /// One key.
    ///
    /// # Panics
    /// If there is no such position.
    #[inline]
    #[must_use]
    pub fn get(&self, position: usize) -> Key<'_> {
        match self {
            Self::Int64(keys) => Key::Int64(keys[position]),
            Self::Str(keys) => Key::Str(keys.get(position)),
        }
    }

    /// All keys.
    pub fn iter(&self) -> impl Iterator<Item = Key<'_>> {
        (0..self.len()).map(|position| self.get(position))
    }
}

/// Keys by position, each stored once.
#[derive(Debug)]
enum KeyColumn {
    Int64(Chunked<i64>),
    Str(StrColumn),
}

/// Strings in a pool; 6 bytes each beside their own.
#[derive(Debug)]
struct StrColumn {
    pool: Pool,
    addresses: Chunked<u32>,
    lengths: Chunked<u16>,
}

impl StrColumn {
    fn span(&self, position: usize) -> (u32, usize) {
        (
            self.addresses.get(position),
            words(usize::from(self.lengths.get(position))),
        )
    }

    #[inline]
    fn get(&self, position: usize) -> &[u8] {
        let (address, words) = self.span(position);
        if words == 0 {
            return &[];
        }
        &bytemuck::cast_slice(self.pool.get(address, words))
            [..usize::from(self.lengths.get(position))]
    }

    fn allocate(&mut self, key: &[u8]) -> Result<u32, PoolError> {
        let words = words(key.len());
        if words == 0 {
            return Ok(0);
        }
        let address = self.pool.allocate(words)?;
        bytemuck::cast_slice_mut::<u64, u8>(self.pool.get_mut(address, words))[..key.len()]
            .copy_from_slice(key);
        Ok(address)
    }

    fn push(&mut self, key: &[u8]) -> Result<(), PoolError> {
        self.addresses.reserve(1)?;
        self.lengths.reserve(1)?;
        let address = self.allocate(key)?;
        self.addresses.push(address)?;
        Ok(self.lengths.push(str_length(key))?)
    }

    fn set(&mut self, position: usize, key: &[u8]) -> Result<(), PoolError> {
        let address = self.allocate(key)?;
        self.release(position);
        self.addresses.set(position, address);
        self.lengths.set(position, str_length(key));
        Ok(())
    }

    fn release(&mut self, position: usize) {
        let (address, words) = self.span(position);
        if words > 0 {
            self.pool.release(address, words);
        }
        self.addresses.set(position, 0);
        self.lengths.set(position, 0);
    }

    fn spare_is_zero(&self) -> bool {
        let spans = (0..self.addresses.len())
            .map(|position| self.span(position))
            .filter(|span| span.1 > 0);
        let padding_is_zero = (0..self.addresses.len()).all(|position| {
            let (address, words) = self.span(position);
            let length = usize::from(self.lengths.get(position));
            words == 0
                || bytemuck::cast_slice::<u64, u8>(self.pool.get(address, words))[length..]
                    .iter()
                    .all(|&b| b == 0)
        });
        padding_is_zero
            && self.pool.spare_is_zero(spans)
            && self.addresses.spare_is_zero()
            && self.lengths.spare_is_zero()
    }
}

fn words(bytes: usize) -> usize {
    bytes.div_ceil(size_of::<u64>())
}

/// `Strings::push` is the only way in, and refuses longer ones.
#[allow(clippy::cast_possible_truncation)]
fn str_length(key: &[u8]) -> u16 {
    debug_assert!(key.len() <= MAX_STR_BYTES);
    key.len() as u16
}

impl KeyColumn {
    fn len(&self) -> usize {
        match self {
            Self::Int64(keys) => keys.len(),
            Self::Str(keys) => keys.addresses.len(),
        }
    }

    #[inline]
    fn get(&self, position: usize) -> Key<'_> {
        match self {
            Self::Int64(keys) => Key::Int64(keys.get(position)),
            Self::Str(keys) => Key::Str(keys.get(position)),
        }
    }

    fn reserve(&mut self, additional: usize) -> Result<(), OutOfMemory> {
        match self {
            Self::Int64(keys) => keys.reserve(additional),
            Self::Str(keys) => keys
                .addresses
                .reserve(additional)
                .and_then(|()| keys.lengths.reserve(additional)),
        }
    }

    fn push(&mut self, key: Key<'_>) -> Result<(), PoolError> {
        match (self, key) {
            (Self::Int64(keys), Key::Int64(key)) => keys.push(key)?,
            (Self::Str(keys), Key::Str(key)) => keys.push(key)?,
            _ => unreachable!("RowStore checks the kind of every batch"),
        }
        Ok(())
    }

    /// Append the zero or the empty string.
    fn push_empty(&mut self) -> Result<(), OutOfMemory> {
        match self {
            Self::Int64(keys) => keys.push(0),
            Self::Str(keys) => {
                keys.addresses.reserve(1)?;
                keys.lengths.push(0)?;
                keys.addresses.push(0)
            }
        }
    }

    fn set(&mut self, position: usize, key: Key<'_>) -> Result<(), PoolError> {
        match (self, key) {
            (Self::Int64(keys), Key::Int64(key)) => keys.set(position, key),
            (Self::Str(keys), Key::Str(key)) => keys.set(position, key)?,
            _ => unreachable!("RowStore checks the kind of every batch"),
        }
        Ok(())
    }

    /// Back to zero or the empty string.
    fn clear(&mut self, position: usize) {
        match self {
            Self::Int64(keys) => keys.row_mut(position).zeroize(),
            Self::Str(keys) => keys.release(position),
        }
    }

    fn swap_remove(&mut self, position: usize) {
        self.clear(position);
        match self {
            Self::Int64(keys) => keys.swap_remove(position),
            Self::Str(keys) => {
                keys.addresses.swap_remove(position);
                keys.lengths.swap_remove(position);
            }
        }
    }

    fn truncate(&mut self, len: usize) {
        match self {
            Self::Int64(keys) => keys.truncate(len),
            Self::Str(keys) => {
                for position in len..keys.addresses.len() {
                    keys.release(position);
                }
                keys.addresses.truncate(len);
                keys.lengths.truncate(len);
            }
        }
    }

    fn release_spare(&mut self) {
        match self {
            Self::Int64(keys) => keys.release_spare(),
            Self::Str(keys) => {
                keys.addresses.release_spare();
                keys.lengths.release_spare();
            }
        }
    }

    /// Bytes of spans, and bytes of the keys themselves.
    fn nbytes(&self) -> (usize, usize) {
        match self {
            Self::Int64(keys) => (0, keys.nbytes()),
            Self::Str(keys) => (
                keys.addresses.nbytes() + keys.lengths.nbytes(),
                keys.pool.nbytes(),
            ),
        }
    }

    fn buffers(&self, out: &mut Vec<Buffer>) {
        match self {
            Self::Int64(keys) => out.extend(keys.buffers()),
            Self::Str(keys) => {
                out.extend(keys.pool.buffers());
                out.extend(keys.addresses.buffers());
                out.extend(keys.lengths.buffers());
            }
        }
    }
}

/// Keys by position and positions by key.
#[derive(Debug)]
pub struct KeyIndex {
    keys: KeyColumn,
    table: PositionTable,
}

impl KeyIndex {
    /// Without keys.
    #[must_use]
    pub fn new(kind: KeyKind) -> Self {
        let keys = match kind {
            KeyKind::Int64 => KeyColumn::Int64(Chunked::column()),
            KeyKind::Str => KeyColumn::Str(StrColumn {
                pool: Pool::default(),
                addresses: Chunked::column(),
                lengths: Chunked::column(),
            }),
        };
        Self {
            keys,
            table: PositionTable::default(),
        }
    }

    /// Number of positions, cleared ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no position.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of keys.
    #[must_use]
    pub fn n_keys(&self) -> usize {
        self.table.len()
    }

    /// Key at a position.
    #[inline]
    #[must_use]
    pub fn get(&self, position: u32) -> Key<'_> {
        self.keys.get(position as usize)
    }

    /// Position of a key.
    #[inline]
    #[must_use]
    pub fn find(&self, key: Key<'_>) -> Option<u32> {
        let hash = hash(&self.table, key);
        self.table.find(hash, |position| self.get(position) == key)
    }

    /// Make room for `additional` keys (of a str, the span).
    ///
    /// # Errors
    /// If the allocator refuses; no key is changed.
    pub fn reserve(&mut self, additional: usize) -> Result<(), OutOfMemory> {
        self.keys.reserve(additional)?;
        self.reserve_entries(additional)
    }

    /// Append keys; the positions in the batch of those that were there already, or earlier in the batch. If there are
    /// any, or on an error, nothing was changed.
    ///
    /// # Errors
    /// If the allocator refuses.
    pub fn extend(&mut self, batch: &KeyBatch) -> Result<Vec<u32>, PoolError> {
        let before = self.keys.len();
        let clashes = self.push_all(batch);
        if !clashes.as_ref().is_ok_and(Vec::is_empty) {
            self.truncate(before);
        }
        clashes
    }

    /// Positions of keys, in the order of the batch.
    pub fn find_all(&self, batch: &KeyBatch, mut found: impl FnMut(Option<u32>)) {
        let mut hashes = [0; HASH_BLOCK];
        for start in (0..batch.len()).step_by(HASH_BLOCK) {
            for (key, hash) in self.hash_block(batch, start, &mut hashes) {
                found(self.table.find(hash, |position| self.get(position) == key));
            }
        }
    }

    fn push_all(&mut self, batch: &KeyBatch) -> Result<Vec<u32>, PoolError> {
        let mut clashes = Vec::new();
        let before = self.keys.len();
        self.reserve(batch.len())?;
        let mut hashes = [0; HASH_BLOCK];
        for start in (0..batch.len()).step_by(HASH_BLOCK) {
            for (key, hash) in self.hash_block(batch, start, &mut hashes) {
                let position = narrow(self.keys.len());
                self.keys.push(key)?;
                if !self
                    .table
                    .insert(hash, position, |other| self.keys.get(other as usize) == key)
                {
                    clashes.push(position - narrow(before));
                }
            }
        }
        Ok(clashes)
    }

    /// Hash the next keys at once: then the table's cache misses, which take most of the time, overlap.
    fn hash_block<'a>(
        &self,
        batch: &'a KeyBatch,
        start: usize,
        hashes: &'a mut [u64; HASH_BLOCK],
    ) -> impl Iterator<Item = (Key<'a>, u64)> + use<'a> {
        let stop = (start + HASH_BLOCK).min(batch.len());
        for (hash_of_key, position) in hashes.iter_mut().zip(start..stop) {
            *hash_of_key = hash(&self.table, batch.get(position));
        }
        (start..stop).map(move |position| (batch.get(position), hashes[position - start]))
    }

    /// Put a key at an empty position; whether it was new, and else the position stays empty.
    ///
    /// # Errors
    /// If the allocator refuses.
    #[inline]
    pub fn set(&mut self, position: u32, key: Key<'_>) -> Result<bool, PoolError> {
        self.reserve_entries(1)?;
        let hash = hash(&self.table, key);
        let is_new = self
            .table
            .insert(hash, position, |other| self.keys.get(other as usize) == key);
        if is_new && let Err(error) = self.keys.set(position as usize, key) {
            self.table.remove(hash, position);
            return Err(error);
        }
        Ok(is_new)
    }

    /// Append an empty position.
    ///
    /// # Errors
    /// If the allocator refuses.
    pub fn push_empty(&mut self) -> Result<u32, OutOfMemory> {
        self.keys.push_empty()?;
        Ok(narrow(self.keys.len() - 1))
    }

    /// Remove the key at a position and zeroise it; the position stays, empty.
    pub fn clear(&mut self, position: u32) {
        self.table
            .remove(hash(&self.table, self.get(position)), position);
        self.keys.clear(position as usize);
    }

    /// Remove a position; the last one takes its place.
    pub fn swap_remove(&mut self, position: u32) {
        let last = narrow(self.keys.len() - 1);
        self.table
            .remove(hash(&self.table, self.get(position)), position);
        self.table
            .repoint(hash(&self.table, self.get(last)), last, position);
        self.keys.swap_remove(position as usize);
    }

    /// Remove all positions from `len` on.
    pub fn truncate(&mut self, len: usize) {
        for position in len..self.keys.len() {
            let hash = hash(&self.table, self.keys.get(position));
            self.table.remove(hash, narrow(position));
        }
        self.keys.truncate(len);
    }

    /// Free chunks that are not needed.
    pub fn release_spare(&mut self) {
        self.keys.release_spare();
    }

    /// Bytes of table and spans, and bytes of the keys themselves.
    #[must_use]
    pub fn nbytes(&self) -> (usize, usize) {
        let (spans, keys) = self.keys.nbytes();
        (spans + self.table.nbytes(), keys)
    }

    /// Add every buffer that holds keys.
    pub fn buffers(&self, out: &mut Vec<Buffer>) {
        self.keys.buffers(out);
    }

    /// Whether all bytes beyond the keys are zero, as they must be.
    #[must_use]
    pub fn spare_is_zero(&self) -> bool {
        match &self.keys {
            KeyColumn::Int64(keys) => keys.spare_is_zero(),
            KeyColumn::Str(keys) => keys.spare_is_zero(),
        }
    }

    #[inline]
    fn reserve_entries(&mut self, additional: usize) -> Result<(), OutOfMemory> {
        let keys = &self.keys;
        self.table.reserve(additional, |table, position| {
            hash(table, keys.get(position as usize))
        })
    }
}

#[inline]
fn hash(table: &PositionTable, key: Key<'_>) -> u64 {
    match key {
        Key::Int64(key) => table.hash_number(key.cast_unsigned()),
        Key::Str(key) => table.hash_bytes(key),
    }
}
