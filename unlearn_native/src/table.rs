//! Hash table of positions. What is at a position lives in a column elsewhere, so the table holds no content to erase.
//!
//! Hashes are std's `SipHash` with a key of the process: whoever chooses ids cannot make them collide, and the layout,
//! which depends on that key, is never a part of any state.

use std::hash::{BuildHasher, RandomState};

use hashbrown::{HashTable, hash_table::Entry};

use crate::chunked::OutOfMemory;

/// Five bytes a bucket.
#[derive(Debug, Default)]
pub struct PositionTable {
    table: HashTable<u32>,
    hasher: RandomState,
}

/// A row count or position as `u32`.
///
/// # Panics
/// Never: `RowStore` refuses rows beyond 2^32 - 1 before they get here.
#[inline]
#[must_use]
pub fn narrow(position: usize) -> u32 {
    u32::try_from(position).expect("row stores hold fewer than 2^32 rows")
}

impl PositionTable {
    /// Keyed hash of a number.
    #[inline]
    #[must_use]
    pub fn hash_number(&self, number: u64) -> u64 {
        self.hasher.hash_one(number)
    }

    /// Keyed hash of a string.
    #[inline]
    #[must_use]
    pub fn hash_bytes(&self, bytes: &[u8]) -> u64 {
        self.hasher.hash_one(bytes)
    }

    /// Number of positions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no position.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Make room for `additional` positions; `rehash` gives the hash of one that is there.
    ///
    /// # Errors
    /// If the allocator refuses; nothing is changed.
    pub fn reserve(
        &mut self,
        additional: usize,
        rehash: impl Fn(&Self, u32) -> u64,
    ) -> Result<(), OutOfMemory> {
        if self.table.capacity() - self.table.len() >= additional {
            return Ok(());
        }
        let mut table = std::mem::take(&mut self.table);
        let reserved = table.try_reserve(additional, |&position| rehash(self, position));
        self.table = table;
        reserved.map_err(|_| OutOfMemory)
    }

    /// The position with this hash that `is_it`.
    #[inline]
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        self.table.find(hash, |&position| is_it(position)).copied()
    }

    /// Insert a position unless one with this hash that `is_it` is there; whether it was inserted. Room must be reserved.
    #[inline]
    pub fn insert(&mut self, hash: u64, position: u32, mut is_it: impl FnMut(u32) -> bool) -> bool {
        let full = |_: &u32| unreachable!("room is reserved before anything is inserted");
        match self.table.entry(hash, |&position| is_it(position), full) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(position);
                true
            }
        }
    }

    /// Remove a position, if it is there.
    #[inline]
    pub fn remove(&mut self, hash: u64, position: u32) {
        if let Ok(entry) = self.table.find_entry(hash, |&other| other == position) {
            entry.remove();
        }
    }

    /// What was at position `from` is now at `to`.
    #[inline]
    pub fn repoint(&mut self, hash: u64, from: u32, to: u32) {
        if let Some(position) = self.table.find_mut(hash, |&other| other == from) {
            *position = to;
        }
    }

    /// Bytes allocated.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        self.table.allocation_size()
    }
}
