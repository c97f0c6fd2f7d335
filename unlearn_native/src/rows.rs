//! `RowStore`: the rows of a model, found by sample id or subject, and erased without a trace.
//!
//! A row lives in a slot; slots are 0..n without holes, so the last row moves into a slot that is vacated. All columns
//! change together or not at all: batches are checked first, then appended column by column, and cut off again if one
//! of them fails.

use std::sync::Arc;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::chunked::{Buffer, Chunked, OutOfMemory, rows_per_chunk};
use crate::identity::{PrfKey, int64_tag, str_tag};
use crate::ids::IdIndex;
use crate::keys::{Key, KeyBatch, KeyKind, KeyTooLong, Strings};
use crate::pool::PoolError;
use crate::subjects::{SubjectBatch, Subjects};
use crate::table::narrow;
use crate::values::{DType, Layout, ValueBatch, ValueBlock, Values, vector};

/// Most features: column numbers are int32.
pub const MAX_FEATURES: usize = i32::MAX as usize;

/// Rows of sparse stores that `RowStore::chunk` hands out at a time.
const SPARSE_ROWS_PER_CHUNK: usize = 4096;

/// Why a call was refused. Nothing was changed.
#[derive(Debug, Error)]
#[allow(missing_docs)] // The messages say it.
pub enum RowsError {
    #[error(transparent)]
    Storage(#[from] PoolError),
    #[error(transparent)]
    KeyTooLong(#[from] KeyTooLong),
    #[error("{total} rows are more than the {limit} that a store can hold. Nothing was changed")]
    TooManyRows { total: u64, limit: u64 },
    #[error("n_features must lie in 1..={MAX_FEATURES}, and n_targets in 0..={MAX_FEATURES}")]
    Width,
    #[error(
        "{what} has {got} entries, but {expected} are needed for this batch. Nothing was changed"
    )]
    Length {
        what: &'static str,
        got: usize,
        expected: usize,
    },
    #[error("{what} are {got}, but this store holds {expected}. Nothing was changed. Convert them")]
    Kind {
        what: &'static str,
        got: &'static str,
        expected: &'static str,
    },
    #[error("X does not have the layout and type of this store. Nothing was changed. Convert it")]
    Format,
    #[error("X has {got} columns, but this store has {expected}. Nothing was changed")]
    Features { got: usize, expected: usize },
    #[error(
        "rows without ids can be added only while ids are 0..n-1 and no row was erased. Nothing was changed. Pass ids"
    )]
    IdsNeeded,
    #[error("this store was created without subjects")]
    NoSubjects,
    #[error("this store was created without tag_key, so it keeps no tags")]
    NoTags,
    #[error(
        "{bad} of {total} entries of {what} are not finite. Nothing was changed. Remove these rows or replace the entries"
    )]
    NotFinite {
        what: &'static str,
        bad: usize,
        total: usize,
    },
    #[error(
        "{bad} of {total} weights are negative or not finite. Nothing was changed. Use weights of at least 0"
    )]
    Weights { bad: usize, total: usize },
    #[error(
        "{bad} of {total} slots are not below the {n_live} rows of this store. Nothing was changed"
    )]
    Slots {
        bad: usize,
        total: usize,
        n_live: usize,
    },
    #[error("slots to erase must ascend strictly. Nothing was changed. Sort them and drop repeats")]
    SlotOrder,
    #[error(
        "start..stop must lie in one chunk of {rows_per_chunk} rows and within the {n_live} rows of this store"
    )]
    ChunkBounds {
        rows_per_chunk: usize,
        n_live: usize,
    },
    #[error(
        "{bad} of {total} targets in column 0 are no position in target_map, which has {codes} entries"
    )]
    TargetMap {
        bad: usize,
        total: usize,
        codes: usize,
    },
}

impl From<OutOfMemory> for RowsError {
    fn from(error: OutOfMemory) -> Self {
        Self::Storage(error.into())
    }
}

/// Kind of the sample ids of a new store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdKind {
    /// 0..n-1, implicit; int64 to the outside.
    Range,
    /// Given with the rows.
    Explicit(KeyKind),
}

/// What a store holds. Never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Kind of the sample ids.
    pub ids: IdKind,
    /// Kind of the subjects, if rows have any.
    pub subjects: Option<KeyKind>,
    /// Layout of X.
    pub layout: Layout,
    /// Type of X.
    pub dtype: DType,
    /// Columns of X.
    pub n_features: usize,
    /// Columns of y.
    pub n_targets: usize,
}

impl Schema {
    /// Kind of the sample ids as seen from outside.
    #[must_use]
    pub fn id_kind(&self) -> KeyKind {
        match self.ids {
            IdKind::Range => KeyKind::Int64,
            IdKind::Explicit(kind) => kind,
        }
    }

    /// Rows of a chunk; y and weights share it with X.
    #[must_use]
    pub fn rows_per_chunk(&self) -> usize {
        let target_bytes = self.n_targets.saturating_mul(size_of::<f64>());
        match self.layout {
            Layout::Dense => {
                let value_bytes = self.n_features.saturating_mul(self.dtype.size());
                rows_per_chunk(value_bytes.max(target_bytes))
            }
            Layout::Csr => rows_per_chunk(target_bytes).min(SPARSE_ROWS_PER_CHUNK),
        }
    }

    /// Check the widths.
    ///
    /// # Errors
    /// If there is no feature, or too many features or targets.
    pub fn check(&self) -> Result<(), RowsError> {
        let is_possible =
            (1..=MAX_FEATURES).contains(&self.n_features) && self.n_targets <= MAX_FEATURES;
        if is_possible {
            Ok(())
        } else {
            Err(RowsError::Width)
        }
    }
}

/// Rows to be appended, all columns of one length.
#[derive(Debug)]
pub struct RowBatch {
    /// None: number on. Only while the ids are 0..n-1.
    pub ids: Option<KeyBatch>,
    /// Canonical values.
    pub values: ValueBatch,
    /// Row-major targets.
    pub y: Zeroizing<Vec<f64>>,
    /// None: all 1.
    pub weights: Option<Zeroizing<Vec<f64>>>,
    /// None: the rows are nobody's.
    pub subjects: Option<SubjectBatch>,
}

/// Copies of rows: values, targets (row-major), weights (None: all are 1).
pub type RowBlock = (ValueBlock, Vec<f64>, Option<Vec<f64>>);

/// Largest numbers that fit, injectable so that tests reach them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows that a store can hold.
    pub rows: u64,
    /// Numbers of insertion order that can be given out before they are renumbered; not below `rows`.
    pub sequence: u64,
}

/// Slot and sequence numbers are u32, and `u32::MAX` stands for none.
const LIMITS: Limits = Limits {
    rows: u32::MAX as u64,
    sequence: u32::MAX as u64 + 1,
};

/// See the module.
#[derive(Debug)]
pub struct RowStore {
    schema: Schema,
    limits: Limits,
    ids: IdIndex,
    subjects: Option<Subjects>,
    tag_key: Option<Zeroizing<PrfKey>>,
    tags: Chunked<u64>,
    values: Values,
    y: Chunked<f64>,
    /// There is no column until the first weight other than 1 arrives.
    weights: Option<Chunked<f64>>,
    sequence: Chunked<u32>,
    next_sequence: u64,
    lease: Arc<()>,
}

impl RowStore {
    /// Without rows. Without a key no tags are kept.
    ///
    /// # Errors
    /// If there is no feature, or too many.
    pub fn new(schema: Schema, tag_key: Option<Zeroizing<PrfKey>>) -> Result<Self, RowsError> {
        schema.check()?;
        let ids = match schema.ids {
            IdKind::Range => IdIndex::range(),
            IdKind::Explicit(kind) => IdIndex::explicit(kind),
        };
        Ok(Self {
            schema,
            limits: LIMITS,
            ids,
            subjects: schema.subjects.map(Subjects::new),
            tag_key,
            tags: Chunked::new(2, rows_per_chunk(16)),
            values: Values::new(
                schema.layout,
                schema.dtype,
                schema.n_features,
                schema.rows_per_chunk(),
            ),
            y: Chunked::new(schema.n_targets, schema.rows_per_chunk()),
            weights: None,
            sequence: Chunked::column(),
            next_sequence: 0,
            lease: Arc::new(()),
        })
    }

    /// Replace the limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What this store holds.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Number of rows.
    #[must_use]
    pub fn n_live(&self) -> usize {
        self.sequence.len()
    }

    /// Number of subjects that have rows.
    #[must_use]
    pub fn n_subjects(&self) -> usize {
        self.subjects.as_ref().map_or(0, Subjects::n_subjects)
    }

    /// Whether a weight other than 1 ever arrived.
    #[must_use]
    pub fn has_weights(&self) -> bool {
        self.weights.is_some()
    }

    /// Append rows; the positions in the batch of ids that are live already or repeat an earlier one. If there are any,
    /// nothing was changed.
    ///
    /// # Errors
    /// If the batch does not fit this store, or memory does not suffice; nothing was changed.
    pub fn insert(&mut self, batch: RowBatch) -> Result<Vec<u32>, RowsError> {
        self.check(&batch)?;
        let before = self.n_live();
        let n_rows = batch.values.len();
        if let Some(ids) = &batch.ids {
            let clashes = self.ids.extend(ids)?;
            if !clashes.is_empty() {
                return Ok(clashes);
            }
        } else {
            self.ids.extend_range(n_rows);
        }
        if let Err(error) = self.append(batch, n_rows) {
            self.truncate(before);
            return Err(error);
        }
        Ok(Vec::new())
    }

    /// Slots, ascending and unique, of the ids that are live, and positions of the others.
    ///
    /// # Errors
    /// If the ids are of another kind.
    pub fn find(&self, ids: &KeyBatch) -> Result<(Vec<u32>, Vec<u32>), RowsError> {
        check_kind("sample_ids", ids, self.schema.id_kind())?;
        check_batch(ids)?;
        let mut slots = vector(ids.len())?;
        let mut unknown = Vec::new();
        let mut position = 0;
        self.ids.find_all(ids, |slot| {
            match slot {
                Some(slot) => slots.push(slot),
                None => unknown.push(position),
            }
            position += 1;
        });
        Ok((ascending(slots), unknown))
    }

    /// Slots, ascending and unique, of all rows of these subjects, and positions of subjects without rows.
    ///
    /// # Errors
    /// If the store has no subjects, or of another kind.
    pub fn find_subjects(&self, subjects: &KeyBatch) -> Result<(Vec<u32>, Vec<u32>), RowsError> {
        let index = self.subjects.as_ref().ok_or(RowsError::NoSubjects)?;
        check_kind("subject_ids", subjects, index.kind())?;
        check_batch(subjects)?;
        let (mut slots, mut unknown) = (Vec::new(), Vec::new());
        for (position, subject) in subjects.iter().enumerate() {
            if !index.rows_of(subject, &mut slots) {
                unknown.push(narrow(position));
            }
        }
        Ok((ascending(slots), unknown))
    }

    /// Erase rows, the last first. Returns the moves (from, to) of other rows, in the order in which they were done.
    ///
    /// # Errors
    /// If the slots do not ascend strictly, or are out of range; nothing was changed.
    pub fn erase(&mut self, slots: &[u32]) -> Result<Vec<[u32; 2]>, RowsError> {
        self.check_slots(slots)?;
        if !slots.is_sorted_by(|left, right| left < right) {
            return Err(RowsError::SlotOrder);
        }
        let mut moves = vector(slots.len())?;
        self.ids.reserve_moves(slots.len())?;
        for &slot in slots.iter().rev() {
            let last = narrow(self.n_live() - 1);
            self.swap_remove(slot);
            if slot != last {
                moves.push([last, slot]);
            }
        }
        self.release_spare();
        Ok(moves)
    }

    /// Copies of rows, in the order given.
    ///
    /// # Errors
    /// If a slot is out of range, or memory does not suffice.
    pub fn block(&self, slots: &[u32]) -> Result<RowBlock, RowsError> {
        self.check_slots(slots)?;
        Ok(self.gather(slots.iter().copied())?)
    }

    /// Copies of consecutive rows.
    ///
    /// # Errors
    /// If start..stop is out of range, or memory does not suffice.
    pub fn range(&self, start: usize, stop: usize) -> Result<RowBlock, RowsError> {
        self.check_range(start, stop)?;
        Ok(self.gather(narrow(start)..narrow(stop))?)
    }

    /// Check that start..stop lie in one chunk, and return it with a lease: as long as that lives, no chunk is freed,
    /// so that views into the chunk stay valid.
    ///
    /// # Errors
    /// If they do not.
    pub fn chunk(&self, start: usize, stop: usize) -> Result<ChunkView<'_>, RowsError> {
        self.check_range(start, stop)?;
        let rows_per_chunk = self.schema.rows_per_chunk();
        if start < stop && start / rows_per_chunk != (stop - 1) / rows_per_chunk {
            return Err(RowsError::ChunkBounds {
                rows_per_chunk,
                n_live: self.n_live(),
            });
        }
        Ok(ChunkView {
            values: &self.values,
            y: if self.schema.n_targets == 0 {
                &[]
            } else {
                self.y.rows(start, stop)
            },
            weights: self
                .weights
                .as_ref()
                .map(|weights| weights.rows(start, stop)),
            lease: Arc::clone(&self.lease),
        })
    }

    /// Ids of rows.
    ///
    /// # Errors
    /// If a slot is out of range.
    pub fn ids(&self, slots: &[u32]) -> Result<KeyBatch, RowsError> {
        self.check_slots(slots)?;
        Ok(collect_keys(
            self.schema.id_kind(),
            slots.iter().map(|&slot| self.ids.get(slot)),
        )?)
    }

    /// Subjects of rows, and which rows have one (the others stand as 0 or "").
    ///
    /// # Errors
    /// If a slot is out of range, or the store has no subjects.
    pub fn subjects(&self, slots: &[u32]) -> Result<(KeyBatch, Vec<bool>), RowsError> {
        let subjects = self.subjects.as_ref().ok_or(RowsError::NoSubjects)?;
        self.check_slots(slots)?;
        let nobody = match subjects.kind() {
            KeyKind::Int64 => Key::Int64(0),
            KeyKind::Str => Key::Str(b""),
        };
        let mask = slots
            .iter()
            .map(|&slot| subjects.get(slot).is_some())
            .collect();
        let keys = slots
            .iter()
            .map(|&slot| subjects.get(slot).unwrap_or(nobody));
        Ok((collect_keys(subjects.kind(), keys)?, mask))
    }

    /// Tags of rows: low and high 64 bits, alternating.
    ///
    /// # Errors
    /// If a slot is out of range, or the store keeps no tags.
    pub fn tags(&self, slots: &[u32]) -> Result<Vec<u64>, RowsError> {
        if self.tag_key.is_none() {
            return Err(RowsError::NoTags);
        }
        self.check_slots(slots)?;
        Ok(slots
            .iter()
            .flat_map(|&slot| self.tags.row(slot as usize))
            .copied()
            .collect())
    }

    /// All slots in id order: numeric, or bytewise UTF-8.
    ///
    /// # Errors
    /// If memory does not suffice.
    pub fn id_order(&self) -> Result<Vec<u32>, OutOfMemory> {
        let mut slots = self.all_slots()?;
        if !self.ids.is_identity() {
            slots.sort_unstable_by_key(|&slot| self.ids.get(slot));
        }
        Ok(slots)
    }

    /// All slots in insertion order.
    ///
    /// # Errors
    /// If memory does not suffice.
    pub fn insertion_order(&self) -> Result<Vec<u32>, OutOfMemory> {
        let mut slots = self.all_slots()?;
        slots.sort_unstable_by_key(|&slot| self.sequence.get(slot as usize));
        Ok(slots)
    }

    /// Compute all tags again under another key.
    ///
    /// # Errors
    /// If memory does not suffice; nothing was changed.
    pub fn retag(&mut self, tag_key: Zeroizing<PrfKey>) -> Result<(), RowsError> {
        let missing = self.n_live() - self.tags.len();
        self.tags.reserve(missing)?;
        for slot in 0..self.n_live() {
            let tag = halves(tag(&tag_key, self.ids.get(narrow(slot))));
            if slot < self.tags.len() {
                self.tags.row_mut(slot).copy_from_slice(&tag);
            } else {
                self.tags.push_zeros()?.copy_from_slice(&tag);
            }
        }
        self.tag_key = Some(tag_key);
        Ok(())
    }

    /// Bytes of the hash tables, sequence numbers, spans, moved rows and links: all but ids, subjects, tags and values.
    #[must_use]
    pub fn index_nbytes(&self) -> usize {
        let subjects = self
            .subjects
            .as_ref()
            .map_or(0, |subjects| subjects.nbytes().0);
        self.ids.nbytes().0 + subjects + self.sequence.nbytes()
    }

    /// Bytes allocated in all.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        let names = self
            .subjects
            .as_ref()
            .map_or(0, |subjects| subjects.nbytes().1);
        let columns =
            self.tags.nbytes() + self.y.nbytes() + self.weights.as_ref().map_or(0, Chunked::nbytes);
        self.index_nbytes() + self.ids.nbytes().1 + names + columns + self.values.nbytes()
    }

    /// Every buffer that holds rows, ids, subjects or tags, spare parts included.
    #[must_use]
    pub fn buffers(&self) -> Vec<Buffer> {
        let mut out = Vec::new();
        self.ids.buffers(&mut out);
        if let Some(subjects) = &self.subjects {
            subjects.buffers(&mut out);
        }
        self.values.buffers(&mut out);
        out.extend(
            self.tags
                .buffers()
                .chain(self.y.buffers())
                .chain(self.sequence.buffers()),
        );
        out.extend(self.weights.iter().flat_map(Chunked::buffers));
        out
    }

    /// Whether all bytes of the buffers beyond the live rows are zero, as they must be.
    #[must_use]
    pub fn spare_is_zero(&self) -> bool {
        self.ids.spare_is_zero()
            && self.subjects.as_ref().is_none_or(Subjects::spare_is_zero)
            && self.values.spare_is_zero()
            && self.tags.spare_is_zero()
            && self.y.spare_is_zero()
            && self.sequence.spare_is_zero()
            && self.weights.as_ref().is_none_or(Chunked::spare_is_zero)
    }

    /// Subjects for saving.
    pub(crate) fn subject_index(&self) -> Option<&Subjects> {
        self.subjects.as_ref()
    }

    /// Id of the row in a slot.
    pub(crate) fn id(&self, slot: u32) -> Key<'_> {
        self.ids.get(slot)
    }

    /// Values for saving.
    pub(crate) fn values(&self) -> &Values {
        &self.values
    }

    /// Targets of the row in a slot.
    pub(crate) fn targets(&self, slot: u32) -> &[f64] {
        if self.schema.n_targets == 0 {
            &[]
        } else {
            self.y.row(slot as usize)
        }
    }

    /// Weight of the row in a slot.
    pub(crate) fn weight(&self, slot: u32) -> f64 {
        self.weights
            .as_ref()
            .map_or(1.0, |weights| weights.get(slot as usize))
    }

    /// Weight of the row at a position.
    pub(crate) fn weight_at(&self, position: usize) -> f64 {
        self.weights
            .as_ref()
            .map_or(1.0, |weights| weights.get(position))
    }

    /// Tag of the row at a position; 0 if this store keeps none.
    pub(crate) fn tag_at(&self, position: usize) -> u128 {
        if self.tags.is_empty() {
            return 0;
        }
        let [low, high] = [0, 1].map(|half| u128::from(self.tags.row(position)[half]));
        low | high << 64
    }

    fn check(&self, batch: &RowBatch) -> Result<(), RowsError> {
        let Schema {
            layout,
            dtype,
            n_features,
            n_targets,
            ..
        } = self.schema;
        if batch.values.format() != (layout, dtype) {
            return Err(RowsError::Format);
        }
        if let Some(got) = batch.values.width()
            && got != n_features
        {
            return Err(RowsError::Features {
                got,
                expected: n_features,
            });
        }
        let n_rows = batch.values.len();
        self.check_count(self.n_live().saturating_add(n_rows))?;
        match &batch.ids {
            Some(ids) => {
                check_kind("sample_ids", ids, self.schema.id_kind())?;
                check_length("sample_ids", ids.len(), n_rows)?;
            }
            None if self.ids.can_continue() => {}
            None => return Err(RowsError::IdsNeeded),
        }
        check_length("y", batch.y.len(), n_rows.saturating_mul(n_targets))?;
        check_finite("y", &batch.y)?;
        if let Some(weights) = &batch.weights {
            check_length("weight", weights.len(), n_rows)?;
            check_weights(weights)?;
        }
        if let Some(subjects) = &batch.subjects {
            check_kind(
                "subject_ids",
                &subjects.names,
                self.schema.subjects.ok_or(RowsError::NoSubjects)?,
            )?;
            check_length("subject_ids", subjects.len(), n_rows)?;
        }
        Ok(())
    }

    /// Append to all columns but the ids; the caller cuts off what was appended before an error.
    fn append(&mut self, batch: RowBatch, n_rows: usize) -> Result<(), RowsError> {
        if let Some(subjects) = &mut self.subjects {
            subjects.extend(n_rows, batch.subjects.as_ref())?;
        }
        self.append_tags(n_rows)?;
        self.values.extend(batch.values)?;
        self.append_targets(&batch.y)?;
        self.append_weights(
            n_rows,
            batch.weights.as_ref().map(|weights| weights.as_slice()),
        )?;
        Ok(self.append_sequence(n_rows)?)
    }

    fn append_tags(&mut self, n_rows: usize) -> Result<(), OutOfMemory> {
        let Some(key) = &self.tag_key else {
            return Ok(());
        };
        self.tags.reserve(n_rows)?;
        for _ in 0..n_rows {
            let id = self.ids.get(narrow(self.tags.len()));
            self.tags
                .push_zeros()?
                .copy_from_slice(&halves(tag(key, id)));
        }
        Ok(())
    }

    fn append_targets(&mut self, y: &[f64]) -> Result<(), OutOfMemory> {
        if self.schema.n_targets == 0 {
            return Ok(());
        }
        self.y.reserve(y.len() / self.schema.n_targets)?;
        for row in y.chunks_exact(self.schema.n_targets) {
            self.y
                .push_zeros()?
                .iter_mut()
                .zip(row)
                .for_each(|(target, value)| *target = value + 0.0); // no -0
        }
        Ok(())
    }

    fn append_weights(
        &mut self,
        n_rows: usize,
        weights: Option<&[f64]>,
    ) -> Result<(), OutOfMemory> {
        let is_unit = weights.is_none_or(|weights| weights.iter().all(|&weight| is_one(weight)));
        if self.weights.is_none() && !is_unit {
            let mut column = Chunked::new(1, self.schema.rows_per_chunk());
            column.reserve(self.n_live() + n_rows)?;
            (0..self.n_live()).try_for_each(|_| column.push(1.0))?;
            self.weights = Some(column);
        }
        let Some(column) = &mut self.weights else {
            return Ok(());
        };
        column.reserve(n_rows)?;
        (0..n_rows)
            .try_for_each(|row| column.push(weights.map_or(1.0, |weights| weights[row] + 0.0)))
    }

    fn append_sequence(&mut self, n_rows: usize) -> Result<(), OutOfMemory> {
        self.sequence.reserve(n_rows)?;
        if self.next_sequence + n_rows as u64 > self.limits.sequence {
            self.renumber()?;
        }
        for _ in 0..n_rows {
            self.sequence.push(number(self.next_sequence))?;
            self.next_sequence += 1;
        }
        Ok(())
    }

    /// Give the live rows the numbers 0, 1, ... in their order.
    fn renumber(&mut self) -> Result<(), OutOfMemory> {
        for (rank, slot) in self.insertion_order()?.into_iter().enumerate() {
            self.sequence.set(slot as usize, narrow(rank));
        }
        self.next_sequence = self.n_live() as u64;
        Ok(())
    }

    fn swap_remove(&mut self, slot: u32) {
        let position = slot as usize;
        self.ids.swap_remove(slot);
        if let Some(subjects) = &mut self.subjects {
            subjects.swap_remove(slot);
        }
        if self.tag_key.is_some() {
            self.tags.swap_remove(position);
        }
        self.values.swap_remove(slot);
        if self.schema.n_targets > 0 {
            self.y.swap_remove(position);
        }
        if let Some(weights) = &mut self.weights {
            weights.swap_remove(position);
        }
        self.sequence.swap_remove(position);
    }

    fn truncate(&mut self, len: usize) {
        self.ids.truncate(len);
        if let Some(subjects) = &mut self.subjects {
            subjects.truncate(len);
        }
        self.tags.truncate(len);
        self.values.truncate(len);
        self.y.truncate(len);
        if let Some(weights) = &mut self.weights {
            weights.truncate(len);
        }
        self.sequence.truncate(len);
    }

    fn release_spare(&mut self) {
        self.ids.release_spare();
        if let Some(subjects) = &mut self.subjects {
            subjects.release_spare();
        }
        self.tags.release_spare();
        self.sequence.release_spare();
        // Views are handed out under a lock that excludes this call, so nobody can take one between check and release.
        if Arc::strong_count(&self.lease) == 1 {
            self.values.release_spare();
            self.y.release_spare();
            self.weights.iter_mut().for_each(Chunked::release_spare);
        }
    }

    fn gather(
        &self,
        slots: impl ExactSizeIterator<Item = u32> + Clone,
    ) -> Result<RowBlock, OutOfMemory> {
        let mut y = vector(
            slots
                .len()
                .checked_mul(self.schema.n_targets)
                .ok_or(OutOfMemory)?,
        )?;
        slots
            .clone()
            .for_each(|slot| y.extend_from_slice(self.targets(slot)));
        let weights = self.weights.as_ref().map(|weights| {
            slots
                .clone()
                .map(|slot| weights.get(slot as usize))
                .collect()
        });
        Ok((self.values.gather(slots)?, y, weights))
    }

    fn all_slots(&self) -> Result<Vec<u32>, OutOfMemory> {
        let mut slots = vector(self.n_live())?;
        slots.extend(0..narrow(self.n_live()));
        Ok(slots)
    }

    fn check_count(&self, rows: usize) -> Result<(), RowsError> {
        let (total, limit) = (rows as u64, self.limits.rows);
        if total <= limit {
            Ok(())
        } else {
            Err(RowsError::TooManyRows { total, limit })
        }
    }

    fn check_slots(&self, slots: &[u32]) -> Result<(), RowsError> {
        let n_live = self.n_live();
        match slots
            .iter()
            .filter(|&&slot| slot as usize >= n_live)
            .count()
        {
            0 => Ok(()),
            bad => Err(RowsError::Slots {
                bad,
                total: slots.len(),
                n_live,
            }),
        }
    }

    fn check_range(&self, start: usize, stop: usize) -> Result<(), RowsError> {
        if start <= stop && stop <= self.n_live() {
            return Ok(());
        }
        Err(RowsError::ChunkBounds {
            rows_per_chunk: self.schema.rows_per_chunk(),
            n_live: self.n_live(),
        })
    }
}

/// Consecutive rows of one chunk.
#[derive(Debug)]
pub struct ChunkView<'a> {
    /// All values; the caller picks the rows of its type.
    pub values: &'a Values,
    /// Targets, row-major.
    pub y: &'a [f64],
    /// None: all are 1.
    pub weights: Option<&'a [f64]>,
    /// Keeps chunks from being freed.
    pub lease: Arc<()>,
}

fn check_kind(what: &'static str, keys: &KeyBatch, expected: KeyKind) -> Result<(), RowsError> {
    if keys.kind() == expected {
        return Ok(());
    }
    Err(RowsError::Kind {
        what,
        got: keys.kind().name(),
        expected: expected.name(),
    })
}

/// Positions in a batch are u32, as slots are.
fn check_batch(keys: &KeyBatch) -> Result<(), RowsError> {
    let total = keys.len() as u64;
    if total <= LIMITS.rows {
        Ok(())
    } else {
        Err(RowsError::TooManyRows {
            total,
            limit: LIMITS.rows,
        })
    }
}

fn check_length(what: &'static str, got: usize, expected: usize) -> Result<(), RowsError> {
    if got == expected {
        Ok(())
    } else {
        Err(RowsError::Length {
            what,
            got,
            expected,
        })
    }
}

fn check_finite(what: &'static str, entries: &[f64]) -> Result<(), RowsError> {
    match entries.iter().filter(|entry| !entry.is_finite()).count() {
        0 => Ok(()),
        bad => Err(RowsError::NotFinite {
            what,
            bad,
            total: entries.len(),
        }),
    }
}

fn check_weights(weights: &[f64]) -> Result<(), RowsError> {
    match weights
        .iter()
        .filter(|weight| !(weight.is_finite() && **weight >= 0.0))
        .count()
    {
        0 => Ok(()),
        bad => Err(RowsError::Weights {
            bad,
            total: weights.len(),
        }),
    }
}

/// Exactly 1: the weight that needs no column.
#[allow(clippy::float_cmp)]
pub(crate) fn is_one(weight: f64) -> bool {
    weight == 1.0
}

fn tag(key: &PrfKey, id: Key<'_>) -> u128 {
    match id {
        Key::Int64(id) => int64_tag(key, id),
        Key::Str(id) => str_tag(key, id),
    }
}

/// Tags of ids: low and high 64 bits, alternating.
#[must_use]
pub fn row_tags(key: &PrfKey, ids: &KeyBatch) -> Vec<u64> {
    ids.iter().flat_map(|id| halves(tag(key, id))).collect()
}

/// Low and high 64 bits.
#[allow(clippy::cast_possible_truncation)]
fn halves(tag: u128) -> [u64; 2] {
    [tag as u64, (tag >> 64) as u64]
}

/// Sequence numbers stay below the limit, which is at most 2^32.
#[allow(clippy::cast_possible_truncation)]
fn number(sequence: u64) -> u32 {
    sequence as u32
}

fn ascending(mut slots: Vec<u32>) -> Vec<u32> {
    if !slots.is_sorted_by(|left, right| left < right) {
        slots.sort_unstable();
        slots.dedup();
    }
    slots
}

fn collect_keys<'a>(
    kind: KeyKind,
    keys: impl ExactSizeIterator<Item = Key<'a>> + Clone,
) -> Result<KeyBatch, OutOfMemory> {
    match kind {
        KeyKind::Int64 => {
            let mut out = vector(keys.len())?;
            out.extend(keys.map(Key::number));
            Ok(KeyBatch::Int64(out.into()))
        }
        KeyKind::Str => Strings::from_index(keys.map(Key::text)).map(KeyBatch::Str),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::values::{Batch, Csr};

    fn batch(ids: &[i64]) -> RowBatch {
        let n_rows = i64::try_from(ids.len()).unwrap();
        let indptr: Vec<_> = (0..=n_rows).collect();
        let csr =
            Csr::from_arrays(1, &indptr, &vec![0; ids.len()], &vec![1.5_f64; ids.len()]).unwrap();
        RowBatch {
            ids: Some(KeyBatch::Int64(ids.to_vec().into())),
            values: ValueBatch::F64(Batch::Csr(csr)),
            y: vec![2.5; ids.len()].into(),
            weights: Some(vec![3.5; ids.len()].into()),
            subjects: Some(SubjectBatch {
                names: KeyBatch::Int64(vec![7; ids.len()].into()),
                codes: None,
            }),
        }
    }

    /// Wherever an append stops for want of memory, cutting off restores the store, and leaves zeros.
    #[test]
    fn a_half_appended_batch_is_cut_off() {
        let schema = Schema {
            ids: IdKind::Explicit(KeyKind::Int64),
            subjects: Some(KeyKind::Int64),
            layout: Layout::Csr,
            dtype: DType::Float64,
            n_features: 1,
            n_targets: 1,
        };
        for columns in 0..6 {
            let mut store = RowStore::new(schema, Some(Zeroizing::new([1; 32]))).unwrap();
            store.insert(batch(&[1, 2])).unwrap();
            let more = batch(&[3, 4, 5]);

            store.ids.extend(more.ids.as_ref().unwrap()).unwrap();
            if columns > 0 {
                store
                    .subjects
                    .as_mut()
                    .unwrap()
                    .extend(3, more.subjects.as_ref())
                    .unwrap();
            }
            if columns > 1 {
                store.append_tags(3).unwrap();
            }
            if columns > 2 {
                store.values.extend(more.values).unwrap();
            }
            if columns > 3 {
                store.append_targets(&more.y).unwrap();
            }
            if columns > 4 {
                store.append_weights(3, Some(&[3.5; 3])).unwrap();
            }
            store.truncate(2);

            assert!(store.spare_is_zero());
            assert_eq!(
                store
                    .find(&KeyBatch::Int64(vec![1, 3, 4, 5].into()))
                    .unwrap(),
                (vec![0], vec![1, 2, 3])
            );
            assert!(store.insert(batch(&[3, 4, 5])).unwrap().is_empty());
            assert_eq!(
                store
                    .find_subjects(&KeyBatch::Int64(vec![7].into()))
                    .unwrap()
                    .0,
                [0, 1, 2, 3, 4]
            );
        }
    }
}
