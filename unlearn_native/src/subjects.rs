//! Index of subjects: whose rows are where.
//!
//! Each live subject has a code; the rows of one form a doubly linked list through their slots, so that a row leaves
//! in constant time. A subject without rows is removed, its name zeroised and its code used again.

use crate::chunked::{Buffer, Chunked, OutOfMemory};
use crate::keys::{Key, KeyBatch, KeyIndex, KeyKind};
use crate::pool::PoolError;

/// No slot, or no subject.
pub const NONE: u32 = u32::MAX;

/// Subjects of appended rows.
#[derive(Debug)]
pub struct SubjectBatch {
    /// Subjects.
    pub names: KeyBatch,
    /// Per row a position in `names`, or `NONE`; without codes, row i is of subject i.
    pub codes: Option<Vec<u32>>,
}

impl SubjectBatch {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.codes.as_ref().map_or(self.names.len(), Vec::len)
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn get(&self, row: usize) -> Option<Key<'_>> {
        match &self.codes {
            None => Some(self.names.get(row)),
            Some(codes) => (codes[row] != NONE).then(|| self.names.get(codes[row] as usize)),
        }
    }
}

/// Code of each row's subject, neighbours of a row in its subject's list, first row of each subject.
#[derive(Debug)]
pub struct Subjects {
    kind: KeyKind,
    names: KeyIndex,
    heads: Chunked<u32>,
    free_codes: Vec<u32>,
    codes: Chunked<u32>,
    previous: Chunked<u32>,
    next: Chunked<u32>,
}

impl Subjects {
    /// Without rows.
    #[must_use]
    pub fn new(kind: KeyKind) -> Self {
        Self {
            kind,
            names: KeyIndex::new(kind),
            heads: Chunked::column(),
            free_codes: Vec::new(),
            codes: Chunked::column(),
            previous: Chunked::column(),
            next: Chunked::column(),
        }
    }

    /// int64 or str.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Number of subjects that have rows.
    #[must_use]
    pub fn n_subjects(&self) -> usize {
        self.names.n_keys()
    }

    /// Subject of the row in a slot.
    #[must_use]
    pub fn get(&self, slot: u32) -> Option<Key<'_>> {
        let code = self.code(slot);
        (code != NONE).then(|| self.names.get(code))
    }

    /// Code of the subject of the row in a slot, or `NONE`. Codes say nothing beyond which rows share a subject.
    #[must_use]
    pub fn code(&self, slot: u32) -> u32 {
        self.codes.get(slot as usize)
    }

    /// Codes in use or free: all are below it.
    #[must_use]
    pub fn n_codes(&self) -> usize {
        self.heads.len()
    }

    /// Name of a live code.
    #[must_use]
    pub fn name(&self, code: u32) -> Key<'_> {
        self.names.get(code)
    }

    /// Append the slots of a subject to `out`, in no particular order; whether the subject has any.
    pub fn rows_of(&self, subject: Key<'_>, out: &mut Vec<u32>) -> bool {
        let Some(code) = self.names.find(subject) else {
            return false;
        };
        let mut slot = self.heads.get(code as usize);
        while slot != NONE {
            out.push(slot);
            slot = self.next.get(slot as usize);
        }
        true
    }

    /// Append `n_rows` rows; without a batch they are nobody's.
    ///
    /// # Errors
    /// If the allocator refuses; the caller truncates.
    pub fn extend(&mut self, n_rows: usize, batch: Option<&SubjectBatch>) -> Result<(), PoolError> {
        for column in [&mut self.codes, &mut self.previous, &mut self.next] {
            column.reserve(n_rows)?;
        }
        for row in 0..n_rows {
            let code = match batch.and_then(|batch| batch.get(row)) {
                Some(name) => self.code_for(name)?,
                None => NONE,
            };
            self.push(code)?;
        }
        Ok(())
    }

    /// Remove all rows from `len` on.
    pub fn truncate(&mut self, len: usize) {
        while self.codes.len() > len {
            self.swap_remove(crate::table::narrow(self.codes.len() - 1));
        }
    }

    /// Remove a row; the last one takes its slot.
    pub fn swap_remove(&mut self, slot: u32) {
        let last = crate::table::narrow(self.codes.len() - 1);
        self.unlink(slot);
        for column in [&mut self.codes, &mut self.previous, &mut self.next] {
            column.swap_remove(slot as usize);
        }
        if slot != last {
            self.relink(slot);
        }
    }

    /// Free chunks that are not needed.
    pub fn release_spare(&mut self) {
        self.names.release_spare();
        for column in [
            &mut self.heads,
            &mut self.codes,
            &mut self.previous,
            &mut self.next,
        ] {
            column.release_spare();
        }
    }

    /// Bytes of table, spans and links, and bytes of the names themselves.
    #[must_use]
    pub fn nbytes(&self) -> (usize, usize) {
        let (index, names) = self.names.nbytes();
        let links: usize = self.columns().iter().map(|column| column.nbytes()).sum();
        (
            index + links + self.free_codes.capacity() * size_of::<u32>(),
            names,
        )
    }

    /// Add every buffer that holds names or links.
    pub fn buffers(&self, out: &mut Vec<Buffer>) {
        self.names.buffers(out);
        out.extend(self.columns().iter().flat_map(|column| column.buffers()));
    }

    /// Whether all bytes beyond the rows and names are zero, as they must be.
    #[must_use]
    pub fn spare_is_zero(&self) -> bool {
        self.names.spare_is_zero() && self.columns().iter().all(|column| column.spare_is_zero())
    }

    fn columns(&self) -> [&Chunked<u32>; 4] {
        [&self.heads, &self.codes, &self.previous, &self.next]
    }

    /// Code of a subject, a new one if it has no rows yet.
    fn code_for(&mut self, name: Key<'_>) -> Result<u32, PoolError> {
        if let Some(code) = self.names.find(name) {
            return Ok(code);
        }
        let code = self.free_code()?;
        if let Err(error) = self.names.set(code, name) {
            self.free_codes.push(code);
            return Err(error);
        }
        self.heads.set(code as usize, NONE);
        Ok(code)
    }

    fn free_code(&mut self) -> Result<u32, OutOfMemory> {
        if let Some(code) = self.free_codes.pop() {
            return Ok(code);
        }
        self.heads.reserve(1)?;
        let code = self.names.push_empty()?;
        self.heads.push(0)?;
        Ok(code)
    }

    fn push(&mut self, code: u32) -> Result<(), OutOfMemory> {
        let slot = self.codes.len();
        let head = if code == NONE {
            NONE
        } else {
            self.heads.get(code as usize)
        };
        self.codes.push(code)?;
        self.previous.push(NONE)?;
        self.next.push(head)?;
        if code != NONE {
            self.relink(crate::table::narrow(slot));
        }
        Ok(())
    }

    /// Take a row out of its subject's list, and the subject out of the index if that was its last.
    fn unlink(&mut self, slot: u32) {
        let code = self.code(slot);
        if code == NONE {
            return;
        }
        let (previous, next) = (
            self.previous.get(slot as usize),
            self.next.get(slot as usize),
        );
        if next != NONE {
            self.previous.set(next as usize, previous);
        }
        if previous != NONE {
            self.next.set(previous as usize, next);
        } else if next != NONE {
            self.heads.set(code as usize, next);
        } else {
            self.names.clear(code);
            self.heads.set(code as usize, 0);
            self.free_codes.push(code);
        }
    }

    /// Make the neighbours of a row (or its subject's head) point at the slot it is in now.
    fn relink(&mut self, slot: u32) {
        let code = self.code(slot);
        if code == NONE {
            return;
        }
        match self.previous.get(slot as usize) {
            NONE => self.heads.set(code as usize, slot),
            previous => self.next.set(previous as usize, slot),
        }
        match self.next.get(slot as usize) {
            NONE => {}
            next => self.previous.set(next as usize, slot),
        }
    }
}
