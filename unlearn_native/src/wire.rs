//! Canonical bytes of a `RowStore`, and back with everything checked.
//!
//! Rows stand in id order, so equal content is equal bytes, whatever the history. All numbers are little-endian, and
//! each section is padded with zeros to a multiple of 8 bytes:
//!
//! | section  | content |
//! |----------|---------|
//! | header   | magic, version `u16`, kinds of ids and subjects, layout, type, flags, a zero; `n_features` and `n_targets` `u32`, `n_rows` `u64` |
//! | ids      | strictly ascending; int64, or `u16` lengths and then UTF-8 |
//! | ranks    | `u32` insertion ranks; absent if they are 0, 1, ... |
//! | subjects | only with a kind of subjects: their number `u64`, names as ids, `u32` position per row or `u32::MAX` |
//! | targets  | float64, finite, row-major |
//! | weights  | float64, finite, not negative; absent if all are 1 |
//! | values   | row-major; or `i64` indptr, `u32` indices, values |
//! | end      | CRC-32 of all before, not padded |

use std::ops::Range;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::chunked::OutOfMemory;
use crate::identity::PrfKey;
use crate::keys::{Key, KeyBatch, KeyKind, Strings};
use crate::rows::{IdKind, RowBatch, RowStore, RowsError, Schema, is_one};
use crate::subjects::{NONE, SubjectBatch, Subjects};
use crate::table::narrow;
use crate::values::{Batch, Csr, DType, Layout, Matrix, Value, ValueBatch, Values, vector};

const MAGIC: &[u8; 8] = b"SKUNROWS";
const VERSION: u16 = 1;
const HEADER: usize = 32;
const TRAILER: usize = 4;
const HAS_RANKS: u8 = 1;
const HAS_WEIGHTS: u8 = 2;

/// Why bytes were refused. No message holds an id or a value.
#[derive(Debug, Error)]
pub enum WireError {
    /// It is something else.
    #[error(
        "these are no saved rows: the first bytes are not {:?}",
        String::from_utf8_lossy(MAGIC)
    )]
    Magic,
    /// From the future.
    #[error(
        "saved rows have format {found}, and this release reads up to {VERSION}. Use a newer release"
    )]
    Version {
        /// Version found.
        found: u16,
    },
    /// Damaged: what is wrong, as a full clause.
    #[error("saved rows are damaged: {0}")]
    Damaged(&'static str),
    /// Whole, but no store can hold it.
    #[error(transparent)]
    Rows(#[from] RowsError),
}

impl From<OutOfMemory> for WireError {
    fn from(error: OutOfMemory) -> Self {
        Self::Rows(error.into())
    }
}

type Result<T, E = WireError> = std::result::Result<T, E>;

fn require(holds: bool, damage: &'static str) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(WireError::Damaged(damage))
    }
}

/// The bytes with their last four replaced by the CRC-32 of the others, so that fuzzers get past it.
///
/// # Errors
/// If there are fewer than four.
pub fn seal(data: &[u8]) -> Result<Vec<u8>> {
    let (body, _) = data
        .split_last_chunk::<TRAILER>()
        .ok_or(WireError::Damaged("they are too short"))?;
    let mut sealed = body.to_vec();
    sealed.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    Ok(sealed)
}

/// Canonical bytes. With a map, targets of column 0 are positions in it and are written as what is there.
///
/// # Errors
/// If a target is no position in the map, or memory does not suffice.
pub fn to_bytes(
    store: &RowStore,
    target_map: Option<&[f64]>,
) -> Result<Zeroizing<Vec<u8>>, RowsError> {
    if let Some(map) = target_map {
        check_targets(store, map)?;
    }
    let order = store.id_order()?;
    let ranks = ranks(store, &order)?;
    let subjects = store
        .subject_index()
        .map(|subjects| SavedSubjects::new(subjects, &order))
        .transpose()?;
    let has_weights = order.iter().any(|&slot| !is_one(store.weight(slot)));

    let nbytes = encoded_len(
        store,
        &order,
        ranks.is_some(),
        subjects.as_ref(),
        has_weights,
    );
    let mut out = Zeroizing::new(vector(nbytes)?);
    write_header(
        store.schema(),
        order.len(),
        ranks.is_some(),
        has_weights,
        &mut out,
    );
    write_keys(
        order.iter().map(|&slot| store.id(slot)),
        store.schema().id_kind(),
        &mut out,
    );
    if let Some(ranks) = &ranks {
        write_u32s(ranks, &mut out);
    }
    if let Some(subjects) = &subjects {
        out.extend_from_slice(&(subjects.names.len() as u64).to_le_bytes());
        write_keys(subjects.names.iter().copied(), subjects.kind, &mut out);
        write_u32s(&subjects.of_rows, &mut out);
    }
    for &slot in &order {
        write_targets(store.targets(slot), target_map, &mut out);
    }
    if has_weights {
        for &slot in &order {
            store.weight(slot).write(&mut out);
        }
    }
    match store.values() {
        Values::F32(matrix) => write_values(matrix, &order, &mut out),
        Values::F64(matrix) => write_values(matrix, &order, &mut out),
    }
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    debug_assert_eq!(
        out.len(),
        nbytes,
        "a buffer that grows leaves copies of rows behind"
    );
    Ok(out)
}

/// A store of saved rows: slots are 0..n in insertion order.
///
/// # Errors
/// If anything about the bytes is not as `to_bytes` writes it, or memory does not suffice.
pub fn from_bytes(data: &[u8], tag_key: Option<Zeroizing<PrfKey>>) -> Result<RowStore> {
    let body = check_envelope(data)?;
    let mut reader = Reader { rest: body };
    let header = Header::read(&mut reader)?;
    let n_rows = header.n_rows;
    let ids = SavedKeys::read(
        &mut reader,
        header.schema.id_kind(),
        n_rows,
        "ids do not ascend strictly",
    )?;
    let order = header.read_order(&mut reader)?;
    let subjects = header
        .schema
        .subjects
        .map(|kind| read_subjects(&mut reader, kind, &order))
        .transpose()?;
    let y = read_targets(&mut reader, header.schema.n_targets, &order)?;
    let weights = if header.has_weights {
        Some(read_weights(&mut reader, &order)?)
    } else {
        None
    };
    let values = read_values(&mut reader, &header.schema, &order)?;
    require(reader.rest.is_empty(), "there are bytes after the values")?;

    let mut schema = header.schema;
    let is_range = (0_i64..)
        .zip(&order)
        .all(|(number, &row)| ids.get(row as usize) == Key::Int64(number));
    let ids = if is_range && schema.id_kind() == KeyKind::Int64 {
        schema.ids = IdKind::Range;
        None
    } else {
        Some(ids.reorder(&order)?)
    };
    let mut store = RowStore::new(schema, tag_key)?;
    let clashes = store.insert(RowBatch {
        ids,
        values,
        y,
        weights,
        subjects,
    })?;
    require(clashes.is_empty(), "ids repeat")?;
    Ok(store)
}

fn check_targets(store: &RowStore, map: &[f64]) -> Result<(), RowsError> {
    let infinite = map.iter().filter(|value| !value.is_finite()).count();
    if infinite > 0 {
        return Err(RowsError::NotFinite {
            what: "target_map",
            bad: infinite,
            total: map.len(),
        });
    }
    let total = if store.schema().n_targets == 0 {
        0
    } else {
        store.n_live()
    };
    let bad = (0..narrow(total))
        .filter(|&slot| target_code(store.targets(slot)[0], map.len()).is_none())
        .count();
    if bad > 0 {
        Err(RowsError::TargetMap {
            bad,
            total,
            codes: map.len(),
        })
    } else {
        Ok(())
    }
}

/// A target as a position in a map of `codes` entries.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    clippy::float_cmp
)]
fn target_code(target: f64, codes: usize) -> Option<usize> {
    let code = target as usize; // saturates
    (code < codes && code as f64 == target).then_some(code)
}

/// Insertion ranks in id order, unless they are 0, 1, ...
fn ranks(store: &RowStore, order: &[u32]) -> Result<Option<Vec<u32>>, OutOfMemory> {
    let mut rank_of_slot = vector(order.len())?;
    rank_of_slot.resize(order.len(), 0);
    for (rank, slot) in store.insertion_order()?.into_iter().enumerate() {
        rank_of_slot[slot as usize] = narrow(rank);
    }
    let mut ranks = vector(order.len())?;
    ranks.extend(order.iter().map(|&slot| rank_of_slot[slot as usize]));
    Ok((!ranks.is_sorted()).then_some(ranks))
}

/// Names in id order, and which of them each row has.
struct SavedSubjects<'a> {
    kind: KeyKind,
    names: Vec<Key<'a>>,
    of_rows: Vec<u32>,
}

impl<'a> SavedSubjects<'a> {
    fn new(subjects: &'a Subjects, order: &[u32]) -> Result<Self, OutOfMemory> {
        let mut codes = vector(order.len())?;
        codes.extend(
            order
                .iter()
                .map(|&slot| subjects.code(slot))
                .filter(|&code| code != NONE),
        );
        codes.sort_unstable();
        codes.dedup();
        codes.sort_unstable_by_key(|&code| subjects.name(code));
        let mut position_of_code = vector(subjects.n_codes())?;
        position_of_code.resize(subjects.n_codes(), NONE);
        for (position, &code) in codes.iter().enumerate() {
            position_of_code[code as usize] = narrow(position);
        }
        let mut of_rows = vector(order.len())?;
        let codes_of_rows = order.iter().map(|&slot| subjects.code(slot));
        of_rows.extend(codes_of_rows.map(|code| {
            if code == NONE {
                NONE
            } else {
                position_of_code[code as usize]
            }
        }));
        Ok(Self {
            kind: subjects.kind(),
            names: codes.iter().map(|&code| subjects.name(code)).collect(),
            of_rows,
        })
    }
}

/// Bytes that `to_bytes` will write: a buffer that grows would leave copies of rows behind.
fn encoded_len(
    store: &RowStore,
    order: &[u32],
    has_ranks: bool,
    subjects: Option<&SavedSubjects<'_>>,
    has_weights: bool,
) -> usize {
    let Schema {
        layout,
        dtype,
        n_features,
        n_targets,
        ..
    } = *store.schema();
    let n_rows = order.len();
    let values = match layout {
        Layout::Dense => padded(n_rows * n_features * dtype.size()),
        Layout::Csr => {
            let entries = store.values().n_entries();
            8 * (n_rows + 1) + padded(4 * entries) + padded(entries * dtype.size())
        }
    };
    let subjects = subjects.map_or(0, |subjects| {
        8 + keys_len(subjects.names.iter().copied(), subjects.kind) + padded(4 * n_rows)
    });
    HEADER
        + keys_len(
            order.iter().map(|&slot| store.id(slot)),
            store.schema().id_kind(),
        )
        + if has_ranks { padded(4 * n_rows) } else { 0 }
        + subjects
        + 8 * n_rows * (n_targets + usize::from(has_weights))
        + values
        + TRAILER
}

fn keys_len<'a>(keys: impl ExactSizeIterator<Item = Key<'a>>, kind: KeyKind) -> usize {
    match kind {
        KeyKind::Int64 => 8 * keys.len(),
        KeyKind::Str => padded(2 * keys.len()) + padded(keys.map(|key| key.text().len()).sum()),
    }
}

fn padded(nbytes: usize) -> usize {
    nbytes.next_multiple_of(8)
}

fn pad(out: &mut Vec<u8>) {
    out.resize(padded(out.len()), 0);
}

fn write_header(
    schema: &Schema,
    n_rows: usize,
    has_ranks: bool,
    has_weights: bool,
    out: &mut Vec<u8>,
) {
    let kind = |kind| match kind {
        KeyKind::Int64 => 1,
        KeyKind::Str => 2,
    };
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.push(kind(schema.id_kind()));
    out.push(schema.subjects.map_or(0, kind));
    out.push(u8::from(schema.layout == Layout::Csr));
    out.push(u8::from(schema.dtype == DType::Float64));
    out.push(if has_ranks { HAS_RANKS } else { 0 } | if has_weights { HAS_WEIGHTS } else { 0 });
    out.push(0);
    out.extend_from_slice(&narrow(schema.n_features).to_le_bytes()); // widths are below 2^31
    out.extend_from_slice(&narrow(schema.n_targets).to_le_bytes());
    out.extend_from_slice(&(n_rows as u64).to_le_bytes());
}

fn write_keys<'a>(
    keys: impl ExactSizeIterator<Item = Key<'a>> + Clone,
    kind: KeyKind,
    out: &mut Vec<u8>,
) {
    match kind {
        KeyKind::Int64 => keys.for_each(|key| out.extend_from_slice(&key.number().to_le_bytes())),
        KeyKind::Str => {
            keys.clone()
                .for_each(|key| out.extend_from_slice(&str_length(key).to_le_bytes()));
            pad(out);
            keys.for_each(|key| out.extend_from_slice(key.text()));
            pad(out);
        }
    }
}

/// Strings of an index are short enough for it.
#[allow(clippy::cast_possible_truncation)]
fn str_length(key: Key<'_>) -> u16 {
    key.text().len() as u16
}

fn write_u32s(numbers: &[u32], out: &mut Vec<u8>) {
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
    pad(out);
}

fn write_targets(targets: &[f64], map: Option<&[f64]>, out: &mut Vec<u8>) {
    for (column, &target) in targets.iter().enumerate() {
        let mapped = map
            .filter(|_| column == 0)
            .and_then(|map| map.get(target_code(target, map.len())?));
        mapped
            .map_or(target, |&mapped| mapped.canonical())
            .write(out);
    }
}

fn write_values<T: Value>(matrix: &Matrix<T>, order: &[u32], out: &mut Vec<u8>) {
    match matrix {
        Matrix::Dense(rows) => {
            for &slot in order {
                rows.row(slot as usize)
                    .iter()
                    .for_each(|value| value.write(out));
            }
        }
        Matrix::Csr(rows) => {
            let mut end = 0_u64;
            out.extend_from_slice(&end.to_le_bytes());
            for &slot in order {
                end += rows.row(slot as usize).0.len() as u64;
                out.extend_from_slice(&end.to_le_bytes());
            }
            for &slot in order {
                rows.row(slot as usize)
                    .0
                    .iter()
                    .for_each(|index| out.extend_from_slice(&index.to_le_bytes()));
            }
            pad(out);
            for &slot in order {
                rows.row(slot as usize)
                    .1
                    .iter()
                    .for_each(|value| value.write(out));
            }
        }
    }
    pad(out);
}

/// Check magic, version and CRC; all between header and trailer inclusive of the header.
fn check_envelope(data: &[u8]) -> Result<&[u8]> {
    if !data.starts_with(MAGIC) {
        return Err(WireError::Magic);
    }
    let too_short = WireError::Damaged("they end within the header");
    let (body, crc) = match data.split_last_chunk::<TRAILER>() {
        Some(parts) if parts.0.len() >= HEADER => parts,
        _ => return Err(too_short),
    };
    let found = u16::from_le_bytes([body[MAGIC.len()], body[MAGIC.len() + 1]]);
    if found != VERSION {
        return Err(WireError::Version { found });
    }
    require(
        crc32fast::hash(body) == u32::from_le_bytes(*crc),
        "the checksum does not match",
    )?;
    Ok(body)
}

/// What has not been read yet.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, nbytes: usize) -> Result<&'a [u8]> {
        let (head, tail) = self
            .rest
            .split_at_checked(nbytes)
            .ok_or(WireError::Damaged("they end too early"))?;
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, tail) = self
            .rest
            .split_first_chunk()
            .ok_or(WireError::Damaged("they end too early"))?;
        self.rest = tail;
        Ok(*head)
    }

    fn count(&mut self) -> Result<usize> {
        let count = u64::from_le_bytes(self.array()?);
        usize::try_from(count).map_err(|_| WireError::Damaged("a count does not fit in memory"))
    }

    /// `count` items of `size` bytes, and the padding after them.
    fn section(&mut self, count: usize, size: usize) -> Result<&'a [u8]> {
        let nbytes = count
            .checked_mul(size)
            .ok_or(WireError::Damaged("a count does not fit in memory"))?;
        let section = self.take(nbytes)?;
        let padding = self.take(nbytes.wrapping_neg() % 8)?;
        require(padding.iter().all(|&byte| byte == 0), "padding is not zero")?;
        Ok(section)
    }

    fn u32s(&mut self, count: usize) -> Result<Vec<u32>> {
        let section = self.section(count, 4)?;
        let mut numbers = vector(count)?;
        numbers.extend(
            section
                .as_chunks::<4>()
                .0
                .iter()
                .map(|bytes| u32::from_le_bytes(*bytes)),
        );
        Ok(numbers)
    }

    fn f64s(&mut self, count: usize) -> Result<Zeroizing<Vec<f64>>> {
        let section = self.section(count, 8)?;
        let mut numbers = Zeroizing::new(vector(count)?);
        numbers.extend(
            section
                .as_chunks::<8>()
                .0
                .iter()
                .map(|bytes| f64::from_le_bytes(*bytes)),
        );
        require(
            numbers.iter().all(|number| number.is_finite()),
            "a target or weight is not finite",
        )?;
        require(
            numbers.iter().all(|number| number.is_canonical()),
            "a target or weight is a negative zero",
        )?;
        Ok(numbers)
    }
}

struct Header {
    schema: Schema,
    n_rows: usize,
    has_ranks: bool,
    has_weights: bool,
}

impl Header {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        reader.take(MAGIC.len() + size_of_val(&VERSION))?;
        let [ids, subjects, layout, dtype, flags, zero] = reader.array()?;
        require(
            zero == 0 && flags & !(HAS_RANKS | HAS_WEIGHTS) == 0,
            "a reserved bit is set",
        )?;
        let kind = |byte| match byte {
            1 => Ok(Some(KeyKind::Int64)),
            2 => Ok(Some(KeyKind::Str)),
            0 => Ok(None),
            _ => Err(WireError::Damaged("the kind of ids or subjects is unknown")),
        };
        let choose = |byte| match byte {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Damaged("layout or type is unknown")),
        };
        let schema = Schema {
            ids: IdKind::Explicit(
                kind(ids)?.ok_or(WireError::Damaged("the kind of ids is missing"))?,
            ),
            subjects: kind(subjects)?,
            layout: if choose(layout)? {
                Layout::Csr
            } else {
                Layout::Dense
            },
            dtype: if choose(dtype)? {
                DType::Float64
            } else {
                DType::Float32
            },
            n_features: u32::from_le_bytes(reader.array()?) as usize,
            n_targets: u32::from_le_bytes(reader.array()?) as usize,
        };
        schema.check()?;
        let n_rows = reader.count()?;
        require(n_rows < NONE as usize, "a store cannot hold as many rows")?;
        Ok(Self {
            schema,
            n_rows,
            has_ranks: flags & HAS_RANKS != 0,
            has_weights: flags & HAS_WEIGHTS != 0,
        })
    }

    /// Rows (positions in id order) in insertion order: the inverse of the ranks.
    fn read_order(&self, reader: &mut Reader<'_>) -> Result<Vec<u32>> {
        let mut order = vector(self.n_rows)?;
        if !self.has_ranks {
            order.extend(0..narrow(self.n_rows));
            return Ok(order);
        }
        let ranks = reader.u32s(self.n_rows)?;
        order.resize(self.n_rows, NONE);
        for (row, &rank) in ranks.iter().enumerate() {
            let entry = order.get_mut(rank as usize).filter(|entry| **entry == NONE);
            *entry.ok_or(WireError::Damaged("insertion ranks are no permutation"))? = narrow(row);
        }
        require(!ranks.is_sorted(), "insertion ranks are superfluous")?;
        Ok(order)
    }
}

/// Ids or names in place.
enum SavedKeys<'a> {
    Int64(&'a [[u8; 8]]),
    Str(Vec<&'a [u8]>),
}

impl<'a> SavedKeys<'a> {
    fn read(
        reader: &mut Reader<'a>,
        kind: KeyKind,
        count: usize,
        unsorted: &'static str,
    ) -> Result<Self> {
        let keys = match kind {
            KeyKind::Int64 => Self::Int64(reader.section(count, 8)?.as_chunks().0),
            KeyKind::Str => Self::Str(read_strings(reader, count)?),
        };
        require(
            (1..count).all(|position| keys.get(position - 1) < keys.get(position)),
            unsorted,
        )?;
        Ok(keys)
    }

    fn get(&self, position: usize) -> Key<'a> {
        match self {
            Self::Int64(keys) => Key::Int64(i64::from_le_bytes(keys[position])),
            Self::Str(keys) => Key::Str(keys[position]),
        }
    }

    fn reorder(&self, order: &[u32]) -> Result<KeyBatch> {
        let keys = order.iter().map(|&position| self.get(position as usize));
        Ok(match self {
            Self::Int64(_) => {
                let mut out = vector(order.len())?;
                out.extend(keys.map(Key::number));
                KeyBatch::Int64(out.into())
            }
            Self::Str(_) => KeyBatch::Str(Strings::from_index(keys.map(Key::text))?),
        })
    }
}

fn read_strings<'a>(reader: &mut Reader<'a>, count: usize) -> Result<Vec<&'a [u8]>> {
    let lengths = reader.section(count, 2)?.as_chunks::<2>().0;
    let length = |bytes: &[u8; 2]| usize::from(u16::from_le_bytes(*bytes));
    let mut rest = reader.section(lengths.iter().map(length).sum(), 1)?;
    let mut strings = vector(count)?;
    for bytes in lengths {
        let (string, tail) = rest.split_at(length(bytes));
        require(
            std::str::from_utf8(string).is_ok(),
            "an id or subject is no UTF-8",
        )?;
        strings.push(string);
        rest = tail;
    }
    Ok(strings)
}

fn read_subjects(reader: &mut Reader<'_>, kind: KeyKind, order: &[u32]) -> Result<SubjectBatch> {
    let count = reader.count()?;
    require(count <= order.len(), "there are more subjects than rows")?;
    let names = SavedKeys::read(reader, kind, count, "subjects do not ascend strictly")?;
    let codes = reader.u32s(order.len())?;
    let mut has_rows = vector(count)?;
    has_rows.resize(count, false);
    for &code in codes.iter().filter(|&&code| code != NONE) {
        *has_rows
            .get_mut(code as usize)
            .ok_or(WireError::Damaged("a row has a subject out of range"))? = true;
    }
    require(
        has_rows.iter().all(|&has_rows| has_rows),
        "a subject has no rows",
    )?;
    let all: Vec<u32> = (0..narrow(count)).collect();
    let codes = order.iter().map(|&row| codes[row as usize]).collect();
    Ok(SubjectBatch {
        names: names.reorder(&all)?,
        codes: Some(codes),
    })
}

fn read_targets(
    reader: &mut Reader<'_>,
    n_targets: usize,
    order: &[u32],
) -> Result<Zeroizing<Vec<f64>>> {
    let count = order
        .len()
        .checked_mul(n_targets)
        .ok_or(WireError::Damaged("a count does not fit in memory"))?;
    let saved = reader.f64s(count)?;
    let mut targets = Zeroizing::new(vector(count)?);
    for &row in order {
        targets.extend_from_slice(&saved[row as usize * n_targets..][..n_targets]);
    }
    Ok(targets)
}

fn read_weights(reader: &mut Reader<'_>, order: &[u32]) -> Result<Zeroizing<Vec<f64>>> {
    let saved = reader.f64s(order.len())?;
    require(
        saved.iter().all(|&weight| weight >= 0.0),
        "a weight is negative",
    )?;
    require(
        !saved.iter().all(|&weight| is_one(weight)),
        "weights are superfluous",
    )?;
    let mut weights = Zeroizing::new(vector(order.len())?);
    weights.extend(order.iter().map(|&row| saved[row as usize]));
    Ok(weights)
}

fn read_values(reader: &mut Reader<'_>, schema: &Schema, order: &[u32]) -> Result<ValueBatch> {
    match schema.dtype {
        DType::Float32 => Ok(ValueBatch::F32(read_batch(reader, schema, order)?)),
        DType::Float64 => Ok(ValueBatch::F64(read_batch(reader, schema, order)?)),
    }
}

fn read_batch<T: Value>(
    reader: &mut Reader<'_>,
    schema: &Schema,
    order: &[u32],
) -> Result<Batch<T>> {
    match schema.layout {
        Layout::Dense => read_dense(reader, schema, order),
        Layout::Csr => read_csr(reader, schema.n_features, order),
    }
}

fn read_dense<T: Value>(
    reader: &mut Reader<'_>,
    schema: &Schema,
    order: &[u32],
) -> Result<Batch<T>> {
    let n_features = schema.n_features;
    let count = order
        .len()
        .checked_mul(n_features)
        .ok_or(WireError::Damaged("a count does not fit in memory"))?;
    let saved = reader.section(count, size_of::<T>())?;
    let is_canonical = saved
        .chunks_exact(size_of::<T>())
        .all(|bytes| T::read(bytes).is_canonical());
    require(is_canonical, "a value of X is not in canonical form")?;
    let row_bytes = n_features * size_of::<T>();
    Ok(Batch::dense(
        order.len(),
        n_features,
        schema.rows_per_chunk(),
        |row, target| {
            let source = &saved[order[row] as usize * row_bytes..][..row_bytes];
            for (value, bytes) in target.iter_mut().zip(source.chunks_exact(size_of::<T>())) {
                *value = T::read(bytes);
            }
        },
    )?)
}

fn read_csr<T: Value>(
    reader: &mut Reader<'_>,
    n_features: usize,
    order: &[u32],
) -> Result<Batch<T>> {
    let bounds = reader.section(order.len() + 1, 8)?.as_chunks::<8>().0;
    let bound = |row: usize| usize::try_from(u64::from_le_bytes(bounds[row])).unwrap_or(usize::MAX);
    let is_rising = bound(0) == 0 && (0..order.len()).all(|row| bound(row) <= bound(row + 1));
    require(is_rising, "indptr does not rise from 0")?;
    let entries = bound(order.len());
    let indices = reader.section(entries, 4)?.as_chunks::<4>().0;
    let values = reader.section(entries, size_of::<T>())?;
    let index = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes);
    let value = |entry: usize| T::read(&values[entry * size_of::<T>()..]);
    let is_canonical = |entry: usize| value(entry).is_canonical() && value(entry) != T::default();
    require(
        (0..entries).all(is_canonical),
        "a value of X is zero or not in canonical form",
    )?;

    let mut sorted = Csr::default();
    sorted.reserve(order.len())?;
    let mut row_indices = Zeroizing::new(Vec::new());
    let mut row_values = Zeroizing::new(Vec::new());
    for row in order.iter().map(|&row| row as usize) {
        let range: Range<usize> = bound(row)..bound(row + 1);
        let columns = &indices[range.clone()];
        let ascends = columns
            .windows(2)
            .all(|pair| index(&pair[0]) < index(&pair[1]))
            && columns
                .last()
                .is_none_or(|last| (index(last) as usize) < n_features);
        require(ascends, "indices of a row do not ascend below n_features")?;
        row_indices.clear();
        row_indices.extend(columns.iter().map(|bytes| index(bytes).cast_signed()));
        row_values.clear();
        row_values.extend(range.map(value));
        sorted
            .push(&row_indices, &row_values)
            .map_err(RowsError::from)?;
    }
    Ok(Batch::Csr(sorted))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Two rows of str ids "b" and "a", subjects 5 and nobody, a target, a weight, and CSR or dense float32 values.
    /// Sections (offsets): header 0, lengths 32, strings 40, ranks 48, number of subjects 56, names 64, codes 72,
    /// targets 80, weights 96, values 112.
    fn saved(layout: Layout) -> Vec<u8> {
        let ids = IdKind::Explicit(KeyKind::Str);
        let subjects = Some(KeyKind::Int64);
        let schema = Schema {
            ids,
            subjects,
            layout,
            dtype: DType::Float32,
            n_features: 3,
            n_targets: 1,
        };
        let mut store = RowStore::new(schema, None).unwrap();
        let mut ids = Strings::default();
        ids.push("b").unwrap();
        ids.push("a").unwrap();
        let row = [1.0, 0.0, 2.0];
        let values = match layout {
            Layout::Dense => Batch::dense(2, 3, 1, |_, target: &mut [f32]| {
                target.copy_from_slice(&row);
            })
            .unwrap(),
            Layout::Csr => Batch::Csr(
                Csr::from_arrays(3, &[0, 2, 4], &[0, 2, 0, 2], &[1.0, 2.0, 1.0, 2.0]).unwrap(),
            ),
        };
        let names = KeyBatch::Int64(vec![5].into());
        let batch = RowBatch {
            ids: Some(KeyBatch::Str(ids)),
            values: ValueBatch::F32(values),
            y: vec![3.0, 4.0].into(),
            weights: Some(vec![1.0, 2.0].into()),
            subjects: Some(SubjectBatch {
                names,
                codes: Some(vec![0, NONE]),
            }),
        };
        assert!(store.insert(batch).unwrap().is_empty());
        to_bytes(&store, None).unwrap().to_vec()
    }

    /// Message after the bytes at `offset` are replaced.
    fn message(layout: Layout, offset: usize, patch: &[u8]) -> String {
        let mut bytes = saved(layout);
        bytes[offset..offset + patch.len()].copy_from_slice(patch);
        from_bytes(&seal(&bytes).unwrap(), None)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn whole_bytes_load() {
        for layout in [Layout::Dense, Layout::Csr] {
            let bytes = saved(layout);
            let store = from_bytes(&bytes, None).unwrap();
            assert_eq!(*to_bytes(&store, None).unwrap(), bytes);
        }
    }

    #[test]
    fn each_damage_has_its_message() {
        let minus_zero = (-0.0_f64).to_le_bytes();
        let damages: [(usize, &[u8], &str); 24] = [
            (10, &[0], "the kind of ids is missing"),
            (10, &[3], "the kind of ids or subjects is unknown"),
            (12, &[2], "layout or type is unknown"),
            (14, &[7], "a reserved bit is set"),
            (15, &[1], "a reserved bit is set"),
            (16, &[0], "n_features must lie in"),
            (24, &[255; 4], "as many rows"),
            (24, &[255; 8], "as many rows"),
            (24, &[200], "they end too early"),
            (36, &[1], "padding is not zero"),
            (40, b"b", "ids do not ascend strictly"),
            (40, b"\xff", "no UTF-8"),
            (48, &[0], "no permutation"),
            (48, &[2], "no permutation"),
            (48, &[0, 0, 0, 0, 1], "superfluous"),
            (56, &[3], "more subjects than rows"),
            (72, &[1], "subject out of range"),
            (72, &[255; 8], "a subject has no rows"),
            (80, &f64::NAN.to_le_bytes(), "not finite"),
            (80, &minus_zero, "negative zero"),
            (96, &(-1.0_f64).to_le_bytes(), "a weight is negative"),
            (96, &1.0_f64.to_le_bytes(), "weights are superfluous"),
            (112, &(-0.0_f32).to_le_bytes(), "not in canonical form"),
            (112, &[1, 0, 0xc0, 0x7f], "not in canonical form"),
        ];
        for (offset, patch, expected) in damages {
            let message = message(Layout::Dense, offset, patch);
            assert!(message.contains(expected), "{offset}: {message}");
        }
    }

    #[test]
    fn each_damage_of_sparse_rows_has_its_message() {
        // Values: indptr 112, indices 136, values 152.
        let damages: [(usize, &[u8], &str); 8] = [
            (112, &[1], "indptr does not rise"),
            (120, &[5], "indptr does not rise"),
            (128, &[255; 8], "does not fit in memory"),
            (128, &[9], "they end too early"),
            (136, &[2], "do not ascend"),
            (140, &[3], "do not ascend"),
            (152, &[0; 4], "zero or not in canonical form"),
            (156, &[255; 4], "zero or not in canonical form"),
        ];
        for (offset, patch, expected) in damages {
            let message = message(Layout::Csr, offset, patch);
            assert!(message.contains(expected), "{offset}: {message}");
        }
    }
}
