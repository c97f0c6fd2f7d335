//! Index of sample ids: which slot a row is in.
//!
//! A store whose ids are 0, 1, 2, ... keeps none of them: id and slot are equal but for rows that an erasure moved.

use crate::chunked::{Buffer, Chunked, OutOfMemory};
use crate::keys::{Key, KeyBatch, KeyIndex, KeyKind};
use crate::pool::PoolError;
use crate::table::{PositionTable, narrow};
use crate::values::vector;

/// Ids of the rows in slots 0, 1, ...
#[derive(Debug)]
pub enum IdIndex {
    /// 0..n, minus what was erased.
    Range(RangeIds),
    /// Any distinct int64 or str ids.
    Explicit(KeyIndex),
}

/// Implicit ids: slot and id are equal unless `moved` knows better.
#[derive(Debug)]
pub struct RangeIds {
    n_live: u32,
    /// Once a row is gone, the next free number is no longer the number of rows, and new rows need ids.
    is_pristine: bool,
    moved: Moved,
}

impl IdIndex {
    /// Ids 0, 1, 2, ... without rows.
    #[must_use]
    pub fn range() -> Self {
        Self::Range(RangeIds {
            n_live: 0,
            is_pristine: true,
            moved: Moved::default(),
        })
    }

    /// Explicit ids, none yet.
    #[must_use]
    pub fn explicit(kind: KeyKind) -> Self {
        Self::Explicit(KeyIndex::new(kind))
    }

    /// Number of ids.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Range(ids) => ids.n_live as usize,
            Self::Explicit(ids) => ids.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether rows without ids can be appended, to be numbered on from `len`.
    #[must_use]
    pub fn can_continue(&self) -> bool {
        matches!(self, Self::Range(ids) if ids.is_pristine)
    }

    /// Number `n_rows` more rows. `can_continue` must hold.
    pub fn extend_range(&mut self, n_rows: usize) {
        if let Self::Range(ids) = self {
            ids.n_live += narrow(n_rows);
        }
    }

    /// Append ids; the positions in the batch of those that are live already or repeat an earlier one.
    /// If there are any, nothing was changed.
    ///
    /// # Errors
    /// If the allocator refuses; nothing was changed.
    pub fn extend(&mut self, batch: &KeyBatch) -> Result<Vec<u32>, PoolError> {
        match self {
            Self::Explicit(ids) => ids.extend(batch),
            Self::Range(range) => {
                let mut ids = range.to_explicit()?;
                let clashes = ids.extend(batch)?;
                if clashes.is_empty() {
                    *self = Self::Explicit(ids);
                }
                Ok(clashes)
            }
        }
    }

    /// Remove the ids of all slots from `len` on.
    pub fn truncate(&mut self, len: usize) {
        match self {
            // Only a roll-back of rows that were just numbered comes here, and moved rows are below it.
            Self::Range(ids) => ids.n_live = narrow(len),
            Self::Explicit(ids) => ids.truncate(len),
        }
    }

    /// Slot of an id of this index's kind.
    #[inline]
    #[must_use]
    pub fn find(&self, id: Key<'_>) -> Option<u32> {
        match (self, id) {
            (Self::Explicit(ids), id) => ids.find(id),
            (Self::Range(ids), Key::Int64(id)) => ids.find(u32::try_from(id).ok()?),
            (Self::Range(_), Key::Str(_)) => None,
        }
    }

    /// Slots of ids of this index's kind, in the order of the batch.
    pub fn find_all(&self, batch: &KeyBatch, mut found: impl FnMut(Option<u32>)) {
        match self {
            Self::Explicit(ids) => ids.find_all(batch, found),
            Self::Range(_) => batch.iter().for_each(|id| found(self.find(id))),
        }
    }

    /// Id of the row in a slot.
    #[inline]
    #[must_use]
    pub fn get(&self, slot: u32) -> Key<'_> {
        match self {
            Self::Range(ids) => Key::Int64(i64::from(ids.get(slot))),
            Self::Explicit(ids) => ids.get(slot),
        }
    }

    /// Make sure that `n_rows` rows can be erased without asking for memory.
    ///
    /// # Errors
    /// If the allocator refuses; nothing was changed.
    pub fn reserve_moves(&mut self, n_rows: usize) -> Result<(), OutOfMemory> {
        match self {
            Self::Range(ids) => ids.moved.reserve(n_rows),
            Self::Explicit(_) => Ok(()),
        }
    }

    /// Remove the id of a slot; the last slot's id takes its place. Moves must be reserved.
    pub fn swap_remove(&mut self, slot: u32) {
        match self {
            Self::Range(ids) => ids.swap_remove(slot),
            Self::Explicit(ids) => ids.swap_remove(slot),
        }
    }

    /// Free chunks that are not needed.
    pub fn release_spare(&mut self) {
        match self {
            Self::Range(ids) => ids.moved.release_spare(),
            Self::Explicit(ids) => ids.release_spare(),
        }
    }

    /// Whether ids and slots are the same: id order is slot order.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        matches!(self, Self::Range(ids) if ids.moved.ids.is_empty())
    }

    /// Bytes of tables and spans, and bytes of the ids themselves.
    #[must_use]
    pub fn nbytes(&self) -> (usize, usize) {
        match self {
            Self::Range(ids) => (ids.moved.nbytes(), 0),
            Self::Explicit(ids) => ids.nbytes(),
        }
    }

    /// Add every buffer that holds ids.
    pub fn buffers(&self, out: &mut Vec<Buffer>) {
        match self {
            Self::Range(ids) => {
                out.extend(ids.moved.ids.buffers().chain(ids.moved.slots.buffers()));
            }
            Self::Explicit(ids) => ids.buffers(out),
        }
    }

    /// Whether all bytes beyond the ids are zero, as they must be.
    #[must_use]
    pub fn spare_is_zero(&self) -> bool {
        match self {
            Self::Range(ids) => ids.moved.ids.spare_is_zero() && ids.moved.slots.spare_is_zero(),
            Self::Explicit(ids) => ids.spare_is_zero(),
        }
    }
}

impl RangeIds {
    fn find(&self, id: u32) -> Option<u32> {
        if let Some(slot) = self.moved.slot_of(id) {
            return Some(slot);
        }
        // A slot below n_live holds its own number unless a moved row is in it.
        (id < self.n_live && self.moved.id_in(id).is_none()).then_some(id)
    }

    fn get(&self, slot: u32) -> u32 {
        self.moved.id_in(slot).unwrap_or(slot)
    }

    fn swap_remove(&mut self, slot: u32) {
        let last = self.n_live - 1;
        self.moved.remove(slot);
        if slot != last {
            let id = self.get(last);
            self.moved.remove(last);
            self.moved.insert(id, slot);
        }
        self.n_live = last;
        self.is_pristine = false;
    }

    fn to_explicit(&self) -> Result<KeyIndex, PoolError> {
        let mut keys = vector(self.n_live as usize)?;
        keys.extend((0..self.n_live).map(|slot| i64::from(self.get(slot))));
        let mut ids = KeyIndex::new(KeyKind::Int64);
        let clashes = ids.extend(&KeyBatch::Int64(keys.into()))?;
        debug_assert!(clashes.is_empty());
        Ok(ids)
    }
}

/// Rows that are not in the slot of their number: (id, slot) pairs, found by either.
#[derive(Debug)]
struct Moved {
    ids: Chunked<u32>,
    slots: Chunked<u32>,
    by_id: PositionTable,
    by_slot: PositionTable,
}

impl Default for Moved {
    fn default() -> Self {
        let (by_id, by_slot) = Default::default();
        Self {
            ids: Chunked::column(),
            slots: Chunked::column(),
            by_id,
            by_slot,
        }
    }
}

impl Moved {
    fn slot_of(&self, id: u32) -> Option<u32> {
        lookup(&self.by_id, &self.ids, id).map(|pair| self.slots.get(pair as usize))
    }

    fn id_in(&self, slot: u32) -> Option<u32> {
        lookup(&self.by_slot, &self.slots, slot).map(|pair| self.ids.get(pair as usize))
    }

    fn reserve(&mut self, additional: usize) -> Result<(), OutOfMemory> {
        let Self {
            ids,
            slots,
            by_id,
            by_slot,
        } = self;
        ids.reserve(additional)?;
        slots.reserve(additional)?;
        by_id.reserve(additional, |table, pair| {
            table.hash_number(ids.get(pair as usize).into())
        })?;
        by_slot.reserve(additional, |table, pair| {
            table.hash_number(slots.get(pair as usize).into())
        })
    }

    fn insert(&mut self, id: u32, slot: u32) {
        let pair = narrow(self.ids.len());
        let reserved = self.ids.push(id).and_then(|()| self.slots.push(slot));
        debug_assert!(reserved.is_ok(), "moves are reserved before the first one");
        self.by_id
            .insert(self.by_id.hash_number(id.into()), pair, |_| false);
        self.by_slot
            .insert(self.by_slot.hash_number(slot.into()), pair, |_| false);
    }

    /// Forget about the row in a slot, if it is a moved one.
    fn remove(&mut self, slot: u32) {
        let Some(pair) = lookup(&self.by_slot, &self.slots, slot) else {
            return;
        };
        let last = narrow(self.ids.len() - 1);
        for (table, numbers) in [
            (&mut self.by_id, &mut self.ids),
            (&mut self.by_slot, &mut self.slots),
        ] {
            table.remove(table.hash_number(numbers.get(pair as usize).into()), pair);
            table.repoint(
                table.hash_number(numbers.get(last as usize).into()),
                last,
                pair,
            );
            numbers.swap_remove(pair as usize);
        }
    }

    fn release_spare(&mut self) {
        self.ids.release_spare();
        self.slots.release_spare();
    }

    fn nbytes(&self) -> usize {
        self.ids.nbytes() + self.slots.nbytes() + self.by_id.nbytes() + self.by_slot.nbytes()
    }
}

fn lookup(table: &PositionTable, numbers: &Chunked<u32>, number: u32) -> Option<u32> {
    if table.is_empty() {
        return None;
    }
    table.find(table.hash_number(number.into()), |pair| {
        numbers.get(pair as usize) == number
    })
}
