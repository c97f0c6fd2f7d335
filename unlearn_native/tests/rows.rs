//! Random histories of a row store against a naive model: a `Vec` of rows in insertion order.

#![allow(
    clippy::unwrap_used,
    clippy::float_cmp,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    missing_docs
)]

use _native::keys::{Key, KeyBatch, KeyKind, Strings};
use _native::rows::{IdKind, Limits, RowBatch, RowStore, RowsError, Schema};
use _native::subjects::{NONE, SubjectBatch};
use _native::values::{Batch, Block, Csr, DType, Layout, Value, ValueBatch, ValueBlock};
use _native::wire;
use proptest::prelude::*;
use zeroize::Zeroizing;

const KEY: [u8; 32] = [7; 32];
/// Small enough to be reached: rows are refused, and sequence numbers renumbered, in many histories.
const LIMITS: Limits = Limits {
    rows: 13,
    sequence: 16,
};
const N_KEYS: usize = 40;

/// Key number k: extremes, both signs; empty, shared prefixes, several words, non-ASCII.
fn key(kind: KeyKind, k: usize) -> OwnedKey {
    let number = i64::try_from(k).unwrap();
    match (kind, k) {
        (KeyKind::Int64, 0) => OwnedKey::Int64(i64::MIN),
        (KeyKind::Int64, 1) => OwnedKey::Int64(i64::MAX),
        (KeyKind::Int64, _) => OwnedKey::Int64(number - 10),
        (KeyKind::Str, _) => OwnedKey::Str(format!("{}{}", "é-".repeat(k % 7), "x".repeat(k / 7))),
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum OwnedKey {
    Int64(i64),
    Str(String),
}

fn owned(key: Key<'_>) -> OwnedKey {
    match key {
        Key::Int64(key) => OwnedKey::Int64(key),
        Key::Str(key) => OwnedKey::Str(std::str::from_utf8(key).unwrap().to_owned()),
    }
}

fn batch(kind: KeyKind, keys: &[OwnedKey]) -> KeyBatch {
    let numbers = keys.iter().filter_map(|key| {
        if let OwnedKey::Int64(key) = key {
            Some(*key)
        } else {
            None
        }
    });
    if kind == KeyKind::Int64 {
        return KeyBatch::Int64(numbers.collect::<Vec<_>>().into());
    }
    let mut strings = Strings::default();
    for key in keys {
        if let OwnedKey::Str(key) = key {
            strings.push(key).unwrap();
        }
    }
    KeyBatch::Str(strings)
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    id: OwnedKey,
    subject: Option<OwnedKey>,
    x: Vec<f64>,
    y: Vec<f64>,
    weight: f64,
}

#[derive(Clone, Debug)]
enum Step {
    /// Keys of ids, subject of the first row (the others follow), whether weights are given.
    Insert {
        ids: Vec<usize>,
        subject: Option<usize>,
        is_weighted: bool,
    },
    /// Rows without ids.
    Continue {
        n_rows: usize,
    },
    /// Ranks of rows in insertion order, modulo their number.
    Erase {
        ranks: Vec<usize>,
    },
    EraseSubject {
        subject: usize,
    },
    Retag,
    Reload,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Mostly distinct ids: else almost every batch would clash with itself.
    let distinct = prop::collection::btree_set(0..N_KEYS, 0..8)
        .prop_map(|ids| ids.into_iter().rev().collect());
    let ids = prop_oneof![3 => distinct, 1 => prop::collection::vec(0..N_KEYS, 0..8)];
    let insert = (ids, prop::option::of(0..6_usize), any::<bool>());
    let step = prop_oneof![
        4 => insert.prop_map(|(ids, subject, is_weighted)| Step::Insert { ids, subject, is_weighted }),
        2 => (0..7_usize).prop_map(|n_rows| Step::Continue { n_rows }),
        4 => prop::collection::vec(0..30_usize, 0..6).prop_map(|ranks| Step::Erase { ranks }),
        1 => (0..8_usize).prop_map(|subject| Step::EraseSubject { subject }),
        1 => Just(Step::Retag),
        1 => Just(Step::Reload),
    ];
    prop::collection::vec(step, 1..20)
}

fn schemas() -> impl Strategy<Value = Schema> {
    let kind = prop_oneof![Just(KeyKind::Int64), Just(KeyKind::Str)];
    let ids = prop_oneof![1 => Just(IdKind::Range), 2 => kind.clone().prop_map(IdKind::Explicit)];
    let layout = prop_oneof![Just(Layout::Dense), Just(Layout::Csr)];
    let dtype = prop_oneof![Just(DType::Float32), Just(DType::Float64)];
    (
        ids,
        prop::option::of(kind),
        layout,
        dtype,
        1..5_usize,
        0..3_usize,
    )
        .prop_map(
            |(ids, subjects, layout, dtype, n_features, n_targets)| Schema {
                ids,
                subjects,
                layout,
                dtype,
                n_features,
                n_targets,
            },
        )
}

/// The store and what it should hold.
struct Pair {
    schema: Schema,
    key: [u8; 32],
    store: RowStore,
    rows: Vec<Row>,
    /// Rows without ids are still possible.
    is_pristine: bool,
    /// Makes every row's values its own.
    n_made: u32,
}

impl Pair {
    fn new(schema: Schema) -> Self {
        let store = RowStore::new(schema, Some(Zeroizing::new(KEY)))
            .unwrap()
            .with_limits(LIMITS);
        Self {
            schema,
            key: KEY,
            store,
            rows: Vec::new(),
            is_pristine: schema.ids == IdKind::Range,
            n_made: 0,
        }
    }

    /// A row nobody had before; about a third of its values are zero.
    fn make(&mut self, id: OwnedKey, subject: Option<OwnedKey>, is_weighted: bool) -> Row {
        self.n_made += 1;
        let number = self.n_made;
        let value = |column: u32| {
            if (number + column).is_multiple_of(3) {
                0.0
            } else {
                f64::from(number * 8 + column)
            }
        };
        let columns = |n: usize| (0..u32::try_from(n).unwrap()).map(value).collect();
        let weight = if is_weighted {
            f64::from(number % 4)
        } else {
            1.0
        };
        Row {
            id,
            subject,
            x: columns(self.schema.n_features),
            y: columns(self.schema.n_targets),
            weight,
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Insert {
                ids,
                subject,
                is_weighted,
            } => {
                let keys: Vec<_> = ids.iter().map(|&k| key(self.schema.id_kind(), k)).collect();
                self.insert(Some(&keys), keys.len(), *subject, *is_weighted);
            }
            Step::Continue { n_rows } => self.insert(None, *n_rows, Some(1), false),
            Step::Erase { ranks } => {
                let mut gone: Vec<_> = ranks
                    .iter()
                    .filter_map(|rank| rank.checked_rem(self.rows.len()))
                    .collect();
                gone.sort_unstable();
                gone.dedup();
                let ids: Vec<_> = gone
                    .iter()
                    .map(|&rank| self.rows[rank].id.clone())
                    .collect();
                let (slots, unknown) = self
                    .store
                    .find(&batch(self.schema.id_kind(), &ids))
                    .unwrap();
                assert!(unknown.is_empty());
                self.erase(&slots, |row| ids.contains(&row.id));
            }
            Step::EraseSubject { subject } => {
                let Some(kind) = self.schema.subjects else {
                    return;
                };
                let name = key(kind, *subject);
                let (slots, _) = self
                    .store
                    .find_subjects(&batch(kind, std::slice::from_ref(&name)))
                    .unwrap();
                self.erase(&slots, |row| row.subject.as_ref() == Some(&name));
            }
            Step::Retag => {
                self.key[0] ^= 0xff;
                self.store.retag(Zeroizing::new(self.key)).unwrap();
            }
            Step::Reload => {
                let bytes = wire::to_bytes(&self.store, None).unwrap();
                let store = wire::from_bytes(&bytes, Some(Zeroizing::new(self.key))).unwrap();
                assert_eq!(
                    store.insertion_order().unwrap(),
                    (0..store.n_live() as u32).collect::<Vec<_>>()
                );
                let is_range = (0..)
                    .zip(&self.rows)
                    .all(|(number, row)| row.id == OwnedKey::Int64(number));
                self.is_pristine = is_range && self.schema.id_kind() == KeyKind::Int64;
                self.store = store.with_limits(LIMITS);
            }
        }
    }

    fn insert(
        &mut self,
        ids: Option<&[OwnedKey]>,
        n_rows: usize,
        subject: Option<usize>,
        is_weighted: bool,
    ) {
        let kind = self.schema.subjects;
        // Rows of one batch belong to subjects s, s + 1, s, s + 1, ...; every fifth row is nobody's.
        let subject_of = |row: usize| Some(key(kind?, subject? + row % 2)).filter(|_| row % 5 != 4);
        let new: Vec<_> = (0..n_rows)
            .map(|row| {
                let id = ids.map_or(OwnedKey::Int64((self.rows.len() + row) as i64), |ids| {
                    ids[row].clone()
                });
                self.make(id, subject_of(row), is_weighted)
            })
            .collect();
        let clashes: Vec<u32> = (0..n_rows)
            .filter(|&row| {
                self.rows
                    .iter()
                    .chain(&new[..row])
                    .any(|other| other.id == new[row].id)
            })
            .map(|row| row as u32)
            .collect();

        let result = self
            .store
            .insert(row_batch(&self.schema, &new, ids.is_some(), is_weighted));

        if self.rows.len() + n_rows > LIMITS.rows as usize {
            assert!(matches!(result, Err(RowsError::TooManyRows { .. })));
        } else if ids.is_none() && !self.is_pristine {
            assert!(matches!(result, Err(RowsError::IdsNeeded)));
        } else {
            assert_eq!(result.unwrap(), clashes);
            if clashes.is_empty() {
                self.is_pristine &= ids.is_none();
                self.rows.extend(new);
            }
        }
    }

    fn erase(&mut self, slots: &[u32], is_gone: impl Fn(&Row) -> bool) {
        let mut ids: Vec<_> = (0..self.store.n_live() as u32)
            .map(|slot| self.id_in(slot))
            .collect();
        let moves = self.store.erase(slots).unwrap();

        // The moves tell a follower (per-row state of an estimator) exactly what happened.
        for [from, to] in &moves {
            ids[*to as usize] = ids[*from as usize].clone();
        }
        self.is_pristine &= slots.is_empty();
        self.rows.retain(|row| !is_gone(row));
        ids.truncate(self.rows.len());
        let now: Vec<_> = (0..self.store.n_live() as u32)
            .map(|slot| self.id_in(slot))
            .collect();
        assert_eq!(now, ids);
    }

    fn id_in(&self, slot: u32) -> OwnedKey {
        owned(self.store.ids(&[slot]).unwrap().get(0))
    }

    /// Everything the store says is what the model says.
    fn check(&self) {
        assert_eq!(self.store.n_live(), self.rows.len());
        assert!(
            self.store.spare_is_zero(),
            "bytes beyond the live rows are not zero"
        );
        let order = self.store.insertion_order().unwrap();
        assert_eq!(read_rows(&self.store, &order), self.rows);
        self.check_find();
        self.check_subjects();
        let mut ids: Vec<_> = self.rows.iter().map(|row| row.id.clone()).collect();
        ids.sort();
        let by_id = self.store.id_order().unwrap();
        assert_eq!(
            by_id
                .iter()
                .map(|&slot| self.id_in(slot))
                .collect::<Vec<_>>(),
            ids
        );
        let tags = _native::rows::row_tags(&self.key, &self.store.ids(&order).unwrap());
        assert_eq!(self.store.tags(&order).unwrap(), tags);
    }

    /// Each id that ever was, and some more: live ones are found, all others are unknown.
    fn check_find(&self) {
        let kind = self.schema.id_kind();
        let mut ids: Vec<_> = (0..N_KEYS).map(|k| key(kind, k)).collect();
        if kind == KeyKind::Int64 {
            ids.extend((N_KEYS..90).map(|number| OwnedKey::Int64(number as i64)));
        }
        for id in &ids {
            let (slots, unknown) = self
                .store
                .find(&batch(kind, &[id.clone(), id.clone()]))
                .unwrap();
            let is_live = self.rows.iter().any(|row| row.id == *id);
            assert_eq!(unknown, if is_live { vec![] } else { vec![0, 1] });
            assert_eq!(slots.len(), usize::from(is_live));
            assert!(slots.iter().all(|&slot| self.id_in(slot) == *id));
        }
        let (slots, unknown) = self.store.find(&batch(kind, &ids)).unwrap();
        assert_eq!(slots, (0..self.rows.len() as u32).collect::<Vec<_>>());
        assert_eq!(unknown.len(), ids.len() - slots.len());
    }

    fn check_subjects(&self) {
        let Some(kind) = self.schema.subjects else {
            return;
        };
        let mut n_subjects = 0;
        for k in 0..10 {
            let name = key(kind, k);
            let mut expected: Vec<_> = self
                .rows
                .iter()
                .filter(|row| row.subject.as_ref() == Some(&name))
                .map(|row| row.id.clone())
                .collect();
            let (slots, unknown) = self
                .store
                .find_subjects(&batch(kind, std::slice::from_ref(&name)))
                .unwrap();
            let mut found: Vec<_> = slots.iter().map(|&slot| self.id_in(slot)).collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected);
            assert_eq!(unknown.is_empty(), !expected.is_empty());
            n_subjects += usize::from(!expected.is_empty());
        }
        assert_eq!(self.store.n_subjects(), n_subjects);
    }
}

fn row_batch(schema: &Schema, rows: &[Row], has_ids: bool, is_weighted: bool) -> RowBatch {
    let ids: Vec<_> = rows.iter().map(|row| row.id.clone()).collect();
    let values = match schema.dtype {
        #[allow(clippy::cast_possible_truncation)]
        DType::Float32 => ValueBatch::F32(values(schema, rows, |value| value as f32)),
        DType::Float64 => ValueBatch::F64(values(schema, rows, |value| value)),
    };
    let subjects = schema
        .subjects
        .filter(|_| rows.iter().any(|row| row.subject.is_some()))
        .map(|kind| {
            let names: Vec<_> = rows.iter().filter_map(|row| row.subject.clone()).collect();
            let mut next = 0..;
            let codes = rows.iter().map(|row| {
                if row.subject.is_some() {
                    next.next().unwrap()
                } else {
                    NONE
                }
            });
            SubjectBatch {
                codes: Some(codes.collect()),
                names: batch(kind, &names),
            }
        });
    RowBatch {
        ids: has_ids.then(|| batch(schema.id_kind(), &ids)),
        values,
        y: rows
            .iter()
            .flat_map(|row| row.y.clone())
            .collect::<Vec<_>>()
            .into(),
        weights: is_weighted.then(|| rows.iter().map(|row| row.weight).collect::<Vec<_>>().into()),
        subjects,
    }
}

fn values<T: Value>(schema: &Schema, rows: &[Row], convert: impl Fn(f64) -> T) -> Batch<T> {
    let n_features = schema.n_features;
    if schema.layout == Layout::Dense {
        let read = |row: usize, target: &mut [T]| {
            target
                .iter_mut()
                .zip(&rows[row].x)
                .for_each(|(target, &value)| *target = convert(value));
        };
        return Batch::dense(rows.len(), n_features, schema.rows_per_chunk(), read).unwrap();
    }
    // Zeros are given explicitly: the store drops them.
    let indptr: Vec<_> = (0..=rows.len())
        .map(|row| (row * n_features) as i64)
        .collect();
    let indices: Vec<_> = rows.iter().flat_map(|_| 0..n_features as i32).collect();
    let data: Vec<_> = rows
        .iter()
        .flat_map(|row| row.x.iter().map(|&value| convert(value)))
        .collect();
    Batch::Csr(Csr::from_arrays(n_features, &indptr, &indices, &data).unwrap())
}

fn read_rows(store: &RowStore, slots: &[u32]) -> Vec<Row> {
    let Schema {
        n_features,
        n_targets,
        subjects,
        ..
    } = *store.schema();
    let (values, y, weights) = store.block(slots).unwrap();
    let x = match values {
        ValueBlock::F32(block) => dense(block, n_features, f64::from),
        ValueBlock::F64(block) => dense(block, n_features, |value| value),
    };
    let ids = store.ids(slots).unwrap();
    let subjects = subjects.map(|_| store.subjects(slots).unwrap());
    (0..slots.len())
        .map(|row| Row {
            id: owned(ids.get(row)),
            subject: subjects
                .as_ref()
                .filter(|(_, mask)| mask[row])
                .map(|(names, _)| owned(names.get(row))),
            x: x[row * n_features..][..n_features].to_vec(),
            y: y[row * n_targets..][..n_targets].to_vec(),
            weight: weights.as_ref().map_or(1.0, |weights| weights[row]),
        })
        .collect()
}

fn dense<T: Value>(block: Block<T>, n_features: usize, convert: impl Fn(T) -> f64) -> Vec<f64> {
    match block {
        Block::Dense(values) => values.into_iter().map(convert).collect(),
        Block::Csr(rows) => {
            let mut out = vec![0.0; rows.len() * n_features];
            for row in 0..rows.len() {
                let (indices, values) = rows.row(row);
                for (&index, &value) in indices.iter().zip(values) {
                    out[row * n_features + usize::try_from(index).unwrap()] = convert(value);
                }
            }
            out
        }
    }
}

/// A store that only ever saw these rows.
fn fresh(schema: &Schema, rows: &[Row]) -> RowStore {
    let ids = IdKind::Explicit(schema.id_kind());
    let mut store = RowStore::new(Schema { ids, ..*schema }, None).unwrap();
    assert!(
        store
            .insert(row_batch(schema, rows, true, true))
            .unwrap()
            .is_empty()
    );
    store
}

/// Sequence numbers run out every few rows; the order of insertion never suffers from it.
#[test]
fn renumbering_keeps_the_order() {
    let schema = Schema {
        ids: IdKind::Explicit(KeyKind::Int64),
        subjects: None,
        layout: Layout::Dense,
        dtype: DType::Float64,
        n_features: 1,
        n_targets: 0,
    };
    let mut pair = Pair::new(schema);
    for k in 0..N_KEYS {
        pair.apply(&Step::Insert {
            ids: vec![k],
            subject: None,
            is_weighted: false,
        });
        pair.check();
        if pair.rows.len() == 5 {
            pair.apply(&Step::Erase { ranks: vec![1, 3] });
            pair.check();
        }
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(160))]

    /// After any history the store holds what the naive model holds, and nothing else, spare bytes included.
    #[test]
    fn any_history_equals_the_model(schema in schemas(), steps in steps()) {
        let mut pair = Pair::new(schema);
        for step in &steps {
            pair.apply(step);
            pair.check();
        }
    }

    /// Saved bytes are a function of the rows and their order: no history shows, and loading restores everything.
    #[test]
    fn bytes_are_a_function_of_the_rows(schema in schemas(), steps in steps()) {
        let mut pair = Pair::new(schema);
        for step in &steps {
            pair.apply(step);
        }

        let bytes = wire::to_bytes(&pair.store, None).unwrap();

        prop_assert_eq!(&bytes, &wire::to_bytes(&fresh(&schema, &pair.rows), None).unwrap());
        pair.store = wire::from_bytes(&bytes, Some(Zeroizing::new(pair.key))).unwrap();
        pair.check();
        prop_assert_eq!(&bytes, &wire::to_bytes(&pair.store, None).unwrap());
    }

    /// Damaged bytes with a right checksum are refused, or are the canonical bytes of the store that they load as.
    #[test]
    fn damaged_bytes_never_panic(
        schema in schemas(),
        steps in steps(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        tail in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let mut pair = Pair::new(schema);
        for step in &steps {
            pair.apply(step);
        }
        let whole = wire::to_bytes(&pair.store, None).unwrap();
        let mut bytes = whole.to_vec();
        for (position, byte) in changes {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        bytes.extend(tail);
        let Ok(bytes) = wire::seal(&bytes) else { return Ok(()) };

        if let Ok(store) = wire::from_bytes(&bytes, None) {
            prop_assert_eq!(&bytes, &*wire::to_bytes(&store, None).unwrap());
            prop_assert!(store.spare_is_zero());
        }
    }

    /// Bytes from nowhere are refused.
    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), is_magic in any::<bool>()) {
        if is_magic && bytes.len() > 10 {
            bytes[..10].copy_from_slice(b"SKUNROWS\x01\x00");
        }
        let sealed = wire::seal(&bytes).unwrap_or_default();

        prop_assert!(wire::from_bytes(&bytes, None).is_err());
        if let Ok(store) = wire::from_bytes(&sealed, None) {
            prop_assert_eq!(&sealed, &*wire::to_bytes(&store, None).unwrap());
        }
    }
}
