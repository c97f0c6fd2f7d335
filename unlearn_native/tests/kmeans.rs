//! k-means under random histories: after every step the model equals a fresh one, and that equals plain Lloyd.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use _native::identity::{PrfKey, int64_tag};
use _native::kmeans::grid::{Change, Grid, Sums};
use _native::kmeans::kernel::{Centres, squared_distance};
use _native::kmeans::model::{Algorithm, KMeansError, Model, Params, Path};
use _native::kmeans::seed::{Init, Seeding};
use _native::kmeans::table::{GoneTable, Row, Rows, Scalar, SparseRows, Table};
use _native::values::Csr;

const KEY: PrfKey = *b"0123456789abcdef0123456789abcdef";

/// Rows that fill gaps from the end, as those of a store.
#[derive(Clone, Debug, Default)]
struct Memory<S> {
    n_features: usize,
    values: Vec<S>,
    weights: Vec<f64>,
    ids: Vec<i64>,
    n_threads: usize,
}

impl<S: Scalar> Rows for Memory<S> {
    type Scalar = S;

    fn n_features(&self) -> usize {
        self.n_features
    }

    fn stored(&self, slot: usize) -> Row<'_, S> {
        Row::Dense(&self.values[slot * self.n_features..(slot + 1) * self.n_features])
    }

    fn row<'a>(&'a self, slot: usize, _: &'a mut Vec<S>) -> &'a [S] {
        &self.values[slot * self.n_features..(slot + 1) * self.n_features]
    }
}

impl<S: Scalar> Table for Memory<S> {
    fn n_slots(&self) -> usize {
        self.ids.len()
    }

    fn n_threads(&self) -> usize {
        self.n_threads
    }

    fn weight(&self, slot: usize) -> f64 {
        self.weights[slot]
    }

    fn tag(&self, slot: usize) -> u128 {
        int64_tag(&KEY, self.ids[slot])
    }
}

impl<S: Scalar> Memory<S> {
    fn like(&self) -> Self {
        Self {
            n_features: self.n_features,
            values: Vec::new(),
            weights: Vec::new(),
            ids: Vec::new(),
            n_threads: 1,
        }
    }

    fn push(&mut self, other: &Self, slot: usize) {
        self.values
            .extend_from_slice(other.row(slot, &mut Vec::new()));
        self.weights.push(other.weights[slot]);
        self.ids.push(other.ids[slot]);
    }

    fn swap_remove(&mut self, slot: usize) {
        let (d, last) = (self.n_features, self.ids.len() - 1);
        self.values.copy_within(last * d..(last + 1) * d, slot * d);
        self.values.truncate(last * d);
        self.weights.swap_remove(slot);
        self.ids.swap_remove(slot);
    }

    /// Erase rows, the last first; what was there.
    fn erase(&mut self, slots: &[u32]) -> Self {
        let mut gone = self.like();
        for &slot in slots {
            gone.push(self, slot as usize);
        }
        for &slot in slots.iter().rev() {
            self.swap_remove(slot as usize);
        }
        gone
    }

    fn id_order(&self) -> Vec<u32> {
        let mut order: Vec<_> = (0..u32::try_from(self.ids.len()).unwrap()).collect();
        order.sort_by_key(|&slot| self.ids[slot as usize]);
        order
    }
}

/// Numbers without a dependency.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn uniform(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap()) / f64::from(u32::MAX)
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// Tables of one kind of data each.
#[derive(Clone, Copy, Debug)]
enum Data {
    Blobs,
    /// Points of a 4 x 4 grid: duplicates, ties, coincident and empty clusters.
    Lattice,
    Cube,
    HeavyTails,
    Weighted,
    Shifted,
}

const ALL_DATA: [Data; 6] = [
    Data::Blobs,
    Data::Lattice,
    Data::Cube,
    Data::HeavyTails,
    Data::Weighted,
    Data::Shifted,
];

fn table(data: Data, n: usize, random: &mut Random) -> Memory<f64> {
    let n_features = match data {
        Data::Lattice => 2,
        Data::Cube => 6,
        _ => 3,
    };
    let mut table = Memory {
        n_features,
        ..Memory::default()
    };
    for id in 0..i64::try_from(n).unwrap() {
        let blob = random.below(5);
        for column in 0..n_features {
            table.values.push(match data {
                Data::Blobs | Data::Weighted => {
                    (blob * (column + 1) % 5) as f64 * 3.0 + random.normal()
                }
                Data::Lattice => random.below(4) as f64,
                Data::Cube => random.below(3) as f64,
                Data::HeavyTails => random.normal() / (random.uniform() + 1e-3),
                Data::Shifted => 1000.0 + (blob % 3) as f64 + 0.1 * random.normal(),
            });
        }
        table.weights.push(match data {
            Data::Weighted => [0.0, 1.0, 0.3, 2.5, 17.0][random.below(5)],
            _ => 1.0,
        });
        table.ids.push(id * 7 % 1_000_003);
    }
    table
}

fn params(n_clusters: usize, init: Init, n_init: u32) -> Params {
    Params {
        n_clusters,
        init,
        n_init,
        max_iter: 30,
        tol: 1e-4,
        algorithm: Algorithm::Lloyd,
    }
}

fn coreset(n_clusters: usize, size: usize, n_init: u32) -> Params {
    Params {
        algorithm: Algorithm::Coreset {
            size,
            full_passes: 2,
        },
        ..params(n_clusters, Init::PlusPlus, n_init)
    }
}

fn fitted<S: Scalar>(table: &Memory<S>, params: &Params) -> Model {
    let mut model = Model::new(params.clone(), KEY.into()).unwrap();
    model.rebuild(table).unwrap();
    model
}

/// Plain Lloyd from the definitions: every E-step looks at every row.
fn plain_lloyd<S: Scalar>(table: &Memory<S>, params: &Params) -> (Vec<f64>, Vec<usize>, usize) {
    let grid = Grid::new(table, &KEY);
    let d = table.n_features;
    let mut scratch = Vec::new();
    let mut centres = Seeding::new(&params.init, params.n_clusters, &KEY, 0, table, &grid)
        .start(table)
        .to_vec();
    let tolerance = params.tol * grid.mean_variance();
    let (mut before, mut shift): (Vec<usize>, f64) = (Vec::new(), f64::INFINITY);
    for t in 0.. {
        let own = Centres::new(centres.clone(), d);
        let mut sums = Sums::zero(params.n_clusters, d);
        let labels: Vec<usize> = (0..table.n_slots())
            .map(|slot| {
                let row = table.row(slot, &mut scratch);
                let distance = |j: &usize| squared_distance(row, own.row(*j));
                let label = (0..params.n_clusters)
                    .min_by(|a, b| distance(a).total_cmp(&distance(b)))
                    .unwrap();
                if table.is_effective(slot) {
                    sums.change(&grid, label, row, table.weight(slot), Change::Learn);
                }
                label
            })
            .collect();
        let is_effective = |slot: &usize| table.is_effective(*slot);
        let is_same = t > 0
            && (0..labels.len())
                .filter(is_effective)
                .all(|slot| labels[slot] == before[slot]);
        if t > 0 && (shift <= tolerance || t == params.max_iter) {
            return (centres, labels, t);
        }
        if is_same {
            return (centres, labels, t + 1);
        }
        let empty: Vec<_> = sums.empty().collect();
        let mut far: Vec<_> = (0..labels.len())
            .filter(is_effective)
            .map(|slot| {
                (
                    squared_distance(table.row(slot, &mut scratch), own.row(labels[slot])),
                    slot,
                )
            })
            .filter(|pair| pair.0 > 0.0)
            .collect();
        far.sort_by(|a, b| {
            b.0.total_cmp(&a.0)
                .then(table.tag(a.1).cmp(&table.tag(b.1)))
        });
        for (&cluster, &(_, slot)) in empty.iter().zip(&far) {
            let row = table.row(slot, &mut scratch);
            sums.change(&grid, labels[slot], row, table.weight(slot), Change::Forget);
            sums.change(&grid, cluster, row, table.weight(slot), Change::Learn);
        }
        let next = sums.means::<S>(&grid, &own);
        shift = centres
            .chunks(d)
            .zip(next.chunks(d))
            .fold(0.0, |sum, (a, b)| sum + squared_distance(b, a));
        (centres, before) = (next, labels);
    }
    unreachable!()
}

fn assert_is_fresh<S: Scalar>(model: &Model, table: &Memory<S>, params: &Params, context: &str) {
    let fresh = fitted(table, params);
    let order = table.id_order();
    assert_eq!(model.n_rows(), fresh.n_rows(), "{context}");
    let states = (model.state(), fresh.state());
    if let (Ok(state), Ok(fresh_state)) = states {
        assert_eq!(state.n_iter, fresh_state.n_iter, "{context}: n_iter");
        assert!(state.centres == fresh_state.centres, "{context}: centres");
        assert_eq!(
            model.labels(table, &order).unwrap(),
            fresh.labels(table, &order).unwrap(),
            "{context}: labels"
        );
    }
    assert_eq!(
        model.digest(&order),
        fresh.digest(&order),
        "{context}: digest"
    );
}

/// Learn and forget random batches, and compare with a fresh model after each.
fn run_history<S: Scalar>(
    all: &Memory<S>,
    params: &Params,
    n_steps: usize,
    random: &mut Random,
    context: &str,
) {
    let mut table = all.like();
    let mut outside = all.clone();
    for _ in 0..all.ids.len() * 2 / 3 {
        table.push(&outside, 0);
        outside.swap_remove(0);
    }
    let mut model = fitted(&table, params);
    for step in 0..n_steps {
        let batch = [1, 1, 1, 2, 7][random.below(5)];
        if random.below(2) == 0 && !outside.ids.is_empty() {
            let first = table.n_slots();
            for _ in 0..batch.min(outside.ids.len()) {
                let slot = random.below(outside.ids.len());
                table.push(&outside, slot);
                outside.swap_remove(slot);
            }
            model.learn(&table, first).unwrap();
        } else {
            let mut slots: Vec<u32> = (0..batch.min(table.n_slots()))
                .map(|_| u32::try_from(random.below(table.n_slots())).unwrap())
                .collect();
            slots.sort_unstable();
            slots.dedup();
            let gone = table.erase(&slots);
            model.forget(&table, slots, &gone).unwrap();
            (0..gone.n_slots()).for_each(|slot| outside.push(&gone, slot));
        }
        assert_is_fresh(&model, &table, params, &format!("{context}, step {step}"));
    }
}

#[test]
fn a_fit_is_plain_lloyd() {
    let mut random = Random(1);
    for data in ALL_DATA {
        for (n_clusters, init) in [
            (1, Init::PlusPlus),
            (4, Init::PlusPlus),
            (15, Init::PlusPlus),
            (7, Init::Random),
        ] {
            let table = table(data, 200, &mut random);
            let params = params(n_clusters, init, 1);
            let (centres, labels, n_iter) = plain_lloyd(&table, &params);

            let model = fitted(&table, &params);

            let state = model.state().unwrap();
            let order: Vec<_> = (0..200).collect();
            let labels: Vec<_> = labels
                .iter()
                .map(|&label| i32::try_from(label).unwrap())
                .collect();
            assert_eq!(state.centres.rows(), centres, "{data:?}, k = {n_clusters}");
            assert_eq!(
                model.labels(&table, &order).unwrap(),
                labels,
                "{data:?}, k = {n_clusters}"
            );
            assert_eq!(state.n_iter, n_iter, "{data:?}, k = {n_clusters}");
        }
    }
}

#[test]
fn random_histories_equal_fresh_models() {
    let mut random = Random(2);
    for data in ALL_DATA {
        for (n_clusters, init, n_init) in [
            (5, Init::PlusPlus, 1),
            (15, Init::PlusPlus, 1),
            (3, Init::Random, 3),
            (1, Init::PlusPlus, 1),
        ] {
            let all = table(data, 150, &mut random);
            let context = format!("{data:?}, k = {n_clusters}, {init:?}");
            run_history(
                &all,
                &params(n_clusters, init, n_init),
                60,
                &mut random,
                &context,
            );
        }
    }
}

/// A start that never moves, so that runs are propagated and not repeated.
#[test]
fn given_starts_are_propagated() {
    let mut random = Random(3);
    for data in ALL_DATA {
        let all = table(data, 300, &mut random);
        let start = all.values[..8 * all.n_features].to_vec();
        run_history(
            &all,
            &params(8, Init::Given(start), 1),
            100,
            &mut random,
            &format!("{data:?}"),
        );
    }
}

/// Samples from hardly any rows to all of them, so that they are whole, hit and missed.
#[test]
fn coresets_follow_their_rows() {
    let mut random = Random(8);
    for data in ALL_DATA {
        for (n_clusters, size, n_init) in [(4, 40, 3), (4, 5, 2), (3, 1000, 2), (1, 20, 1)] {
            let all = table(data, 300, &mut random);
            let context = format!("{data:?}, k = {n_clusters}, {size} members");
            run_history(
                &all,
                &coreset(n_clusters, size, n_init),
                60,
                &mut random,
                &context,
            );
        }
    }
}

#[test]
fn results_do_not_depend_on_threads() {
    let mut random = Random(9);
    let alone = table(Data::Blobs, 20_000, &mut random);
    let together = Memory {
        n_threads: 3,
        ..alone.clone()
    };
    for params in [
        params(6, Init::PlusPlus, 1),
        params(6, Init::Random, 1),
        coreset(6, 500, 2),
    ] {
        let order = alone.id_order();
        assert_eq!(
            fitted(&alone, &params).digest(&order),
            fitted(&together, &params).digest(&order)
        );
    }
}

/// The entries of rows that are not 0.
fn entries_of(table: &Memory<f64>) -> Csr<f64> {
    let d = table.n_features;
    let (mut indptr, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
    for row in table.values.chunks(d) {
        for (column, &value) in (0..).zip(row).filter(|&(_, &value)| value != 0.0) {
            indices.push(column);
            values.push(value);
        }
        indptr.push(i64::try_from(values.len()).unwrap());
    }
    Csr::from_arrays(d, &indptr, &indices, &values).unwrap()
}

/// Evaluate `$body` with `$sparse` standing for the rows of a table without their zeros.
macro_rules! with_sparse {
    ($table:expr, $sparse:ident => $body:expr) => {{
        let table = $table;
        let (entries, n_features) = (&entries_of(table), table.n_features);
        let tags: Vec<_> = (0..table.n_slots()).map(|slot| table.tag(slot)).collect();
        let $sparse = &GoneTable {
            rows: SparseRows {
                entries,
                n_features,
            },
            weights: Some(&table.weights),
            tags: &tags,
        };
        $body
    }};
}

/// Rows of a few small integers each in many columns, with ties and copies; some are far from the origin, where inner
/// products tell the least.
fn thin_rows(n_rows: usize, random: &mut Random) -> Memory<f64> {
    let n_features = 160;
    let mut table = Memory {
        n_features,
        values: vec![0.0; n_rows * n_features],
        weights: vec![1.0; n_rows],
        ids: (0..).take(n_rows).collect(),
        n_threads: 1,
    };
    for (slot, row) in table.values.chunks_mut(n_features).enumerate() {
        let far = if slot % 3 == 0 { 1e9 } else { 0.0 };
        for _ in 0..4 {
            row[8 * (slot % 5) + random.below(6)] = far + 1.0 + random.below(3) as f64;
        }
    }
    table
}

/// Sparse rows have the bits of dense ones, whether they are compared by values or by columns, now and after deletions.
#[test]
fn sparse_rows_equal_dense_rows() {
    let mut random = Random(10);
    for mut table in [
        table(Data::Lattice, 120, &mut random),
        thin_rows(150, &mut random),
    ] {
        for params in [params(5, Init::PlusPlus, 2), coreset(3, 40, 2)] {
            let mut model = Model::new(params.clone(), KEY.into()).unwrap();
            with_sparse!(&table, sparse => model.rebuild(sparse).unwrap());
            for step in 0..30 {
                let order = table.id_order();
                assert_eq!(
                    model.digest(&order),
                    fitted(&table, &params).digest(&order),
                    "after {step} deletions"
                );
                let slot = u32::try_from(random.below(table.n_slots())).unwrap();
                let gone = table.erase(&[slot]);
                with_sparse!(&table, left => with_sparse!(&gone, gone => model.forget(left, vec![slot], gone).unwrap()));
            }
        }
    }
}

#[test]
fn float32_rows_have_float32_centres() {
    let mut random = Random(4);
    for data in [Data::Blobs, Data::Lattice, Data::Weighted] {
        let wide = table(data, 150, &mut random);
        #[allow(clippy::cast_possible_truncation)]
        let all = Memory {
            n_features: wide.n_features,
            values: wide
                .values
                .iter()
                .map(|&value| value as f32)
                .collect::<Vec<_>>(),
            weights: wide.weights,
            ids: wide.ids,
            n_threads: 1,
        };
        run_history(
            &all,
            &params(6, Init::PlusPlus, 1),
            60,
            &mut random,
            &format!("{data:?}"),
        );
        let model = fitted(&all, &params(6, Init::PlusPlus, 1));
        assert!(
            model
                .state()
                .unwrap()
                .centres
                .rows()
                .iter()
                .all(|&x| f32::rounded(x).to_bits() == x.to_bits())
        );
    }
}

/// More than 256 clusters need labels of two bytes.
#[test]
fn many_clusters() {
    let mut random = Random(5);
    let all = table(Data::HeavyTails, 600, &mut random);
    run_history(
        &all,
        &params(300, Init::PlusPlus, 1),
        8,
        &mut random,
        "300 clusters",
    );
}

#[test]
fn rows_come_back_after_too_many_went() {
    let mut random = Random(6);
    let mut table = table(Data::Blobs, 5, &mut random);
    let params = params(4, Init::PlusPlus, 1);
    let mut model = fitted(&table, &params);

    let gone = table.erase(&[0, 3]);
    model.forget(&table, vec![0, 3], &gone).unwrap();
    assert_eq!(
        model.state().unwrap_err(),
        KMeansError::TooFewRows {
            n_rows: 3,
            n_clusters: 4
        }
    );
    let rest = table.erase(&[0, 1, 2]);
    model.forget(&table, vec![0, 1, 2], &rest).unwrap();
    assert_eq!((model.n_rows(), model.report().path), (0, Path::Sums));

    (0..3).for_each(|slot| table.push(&rest, slot));
    (0..2).for_each(|slot| table.push(&gone, slot));
    model.learn(&table, 0).unwrap();
    assert_is_fresh(&model, &table, &params, "all back");
}

#[test]
fn a_table_out_of_step_is_refused() {
    let mut random = Random(7);
    let mut table = table(Data::Blobs, 20, &mut random);
    let params = params(2, Init::PlusPlus, 1);
    let mut model = fitted(&table, &params);

    let gone = table.erase(&[3]);
    assert!(matches!(
        model.learn(&table, 19),
        Err(KMeansError::OutOfStep { .. })
    ));
    assert!(matches!(
        model.forget(&table, vec![3, 4], &gone),
        Err(KMeansError::OutOfStep { .. })
    ));
    assert!(matches!(
        model.forget(&table, vec![20], &gone),
        Err(KMeansError::Slots { .. })
    ));
    // Nothing was changed: the call that fits still works.
    model.forget(&table, vec![3], &gone).unwrap();
    assert_is_fresh(&model, &table, &params, "after refusals");
}
