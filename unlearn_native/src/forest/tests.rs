//! Random histories end where a fit on what is left starts.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the numbers are small"
)]

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::balance::Balance;
use super::digest::Depth;
use super::model::{Forest, ForestError, MOST_LEAVING, Output};
use super::params::{Criterion, Params, Sampling, Splitter};
use super::rows::{Batch, RowsError};

const N_FEATURES: usize = 5;
const N_CLASSES: usize = 3;
const SLOTS: [usize; N_CLASSES] = [2, 0, 1];

/// Numbers that are good enough to make tables from.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = super::mix::h(self.0, 17).wrapping_add(1);
        self.0 % sides
    }
}

#[derive(Clone, Debug)]
struct Row {
    tag: [u64; 2],
    x: [f32; N_FEATURES],
    target: f64,
    weight: f64,
}

/// What tables are like.
#[derive(Clone, Copy, Debug)]
struct Kind {
    has_missing: bool,
    has_weights: bool,
    is_classifier: bool,
}

/// Ties, a constant, complements, a few distinct values, and perhaps missing ones.
fn row(dice: &mut Dice, kind: Kind, number: u64) -> Row {
    let flag = dice.roll(2) as f32;
    let mut x = [
        dice.roll(1000) as f32 / 7.0 - 30.0,
        flag,
        1.0 - flag,
        if dice.roll(40) == 0 { -0.0 } else { 0.0 },
        dice.roll(4) as f32,
    ];
    if kind.has_missing {
        for value in &mut x {
            if dice.roll(6) == 0 {
                *value = f32::NAN;
            }
        }
    }
    let noise = dice.roll(4);
    let target = if kind.is_classifier {
        (if noise == 0 {
            dice.roll(3)
        } else {
            u64::from(x[0] > 40.0) + u64::from(x[4] > 1.0)
        }) as f64
    } else {
        f64::from(x[0].max(-5.0)) * 3.0 + noise as f64
    };
    let weight = if kind.has_weights {
        [0.0, 0.5, 1.0, 3.7][dice.roll(4) as usize]
    } else {
        1.0
    };
    Row {
        tag: [super::mix::h(number / 2, 5), number], // pairs have the same priorities
        x,
        target,
        weight,
    }
}

fn learn(forest: &mut Forest, rows: &[Row]) {
    let flat = |part: fn(&Row) -> Vec<u64>| rows.iter().flat_map(part).collect::<Vec<u64>>();
    let x: Vec<f32> = rows.iter().flat_map(|row| row.x).collect();
    let targets: Vec<f64> = rows.iter().map(|row| row.target).collect();
    let weights: Vec<f64> = rows.iter().map(|row| row.weight).collect();
    let batch = Batch {
        tags: &flat(|row| row.tag.to_vec()),
        x: &x,
        targets: &targets,
        weights: Some(&weights),
    };
    forest.learn(batch).expect("a valid batch");
}

fn forget(forest: &mut Forest, rows: &[Row]) {
    let tags: Vec<u64> = rows.iter().flat_map(|row| row.tag).collect();
    forest.forget(&tags).expect("live rows");
}

fn new(params: &Params) -> Forest {
    let params = params.clone().checked().expect("valid parameters");
    Forest::new(params, &Zeroizing::new([9; 32])).expect("memory")
}

fn output(forest: &Forest) -> Output<'static> {
    if forest.params().is_classifier() {
        Output::Classes(&SLOTS)
    } else {
        Output::Mean
    }
}

fn deep_digest(forest: &mut Forest, n_threads: usize) -> [u8; 32] {
    forest.flush(n_threads).expect("memory");
    forest.validate();
    forest.digest(output(forest), Depth::Statistics)
}

fn refit(params: &Params, rows: &[Row]) -> Forest {
    let mut forest = new(params);
    let rows: Vec<Row> = rows.iter().rev().cloned().collect();
    learn(&mut forest, &rows);
    forest
}

/// Predictions with repairs on the way, which must be those without.
fn predict(forest: &mut Forest, x: &[f32]) -> Vec<u64> {
    forest.settle_for(x, 1).expect("memory");
    let output = output(forest);
    let alone = forest.predict(x, output, 1).expect("repaired");
    let shared = forest.predict(x, output, 3).expect("repaired");
    let bits = |out: Vec<f64>| out.into_iter().map(f64::to_bits).collect::<Vec<_>>();
    assert_eq!(bits(alone.clone()), bits(shared));
    bits(alone)
}

/// A random history: what it does is drawn from `seed`.
fn check_history(params: &Params, kind: Kind, seed: u64, n_start: u64, n_steps: usize) {
    let mut dice = Dice(seed);
    let mut forest = new(params);
    let mut number = n_start;
    let mut live: Vec<Row> = (0..n_start)
        .map(|number| row(&mut dice, kind, number))
        .collect();
    let mut gone: Vec<Row> = Vec::new();
    learn(&mut forest, &live);
    for _ in 0..n_steps {
        let batch = 1 + dice.roll(3) * dice.roll(4);
        match dice.roll(8) {
            0..4 => {
                let mut rows = Vec::new();
                for _ in 0..batch.min(live.len() as u64) {
                    rows.push(live.swap_remove(dice.roll(live.len() as u64) as usize));
                }
                forget(&mut forest, &rows);
                gone.extend(rows);
            }
            4 => {
                let back: Vec<Row> = gone.drain(..gone.len().min(2)).collect();
                learn(&mut forest, &back);
                live.extend(back);
            }
            5 => {
                let rows: Vec<Row> = (number..number + batch)
                    .map(|number| row(&mut dice, kind, number))
                    .collect();
                number += batch;
                learn(&mut forest, &rows);
                live.extend(rows);
            }
            6 => forest.flush(2).expect("memory"),
            _ => {
                let x = row(&mut dice, kind, 0).x;
                let mut fresh = refit(params, &live);
                assert_eq!(predict(&mut forest, &x), predict(&mut fresh, &x));
            }
        }
        forest.validate();
    }
    let mut fresh = refit(params, &live);
    assert_eq!(deep_digest(&mut forest, 1), deep_digest(&mut fresh, 3));
    assert_eq!(forest.impurity_decreases(), fresh.impurity_decreases());
    forget(&mut forest, &live);
    assert_eq!(
        deep_digest(&mut forest, 1),
        deep_digest(&mut new(params), 1)
    );
    assert!(
        forest
            .trees()
            .iter()
            .all(|tree| tree.memory.spare_is_zero())
    );
    assert!(forest.rows().spare_is_zero());
}

fn params(criterion: Criterion, splitter: Splitter, sampling: Sampling) -> Params {
    Params {
        criterion,
        splitter,
        sampling,
        balance: None,
        features_of_tree: N_FEATURES,
        n_trees: 4,
        max_depth: u32::MAX,
        min_samples_split: 2,
        min_samples_leaf: 1,
        max_features: 2,
        n_thresholds: 4,
        n_features: N_FEATURES,
        categorical: Vec::new(),
    }
}

fn any_params() -> impl Strategy<Value = Params> {
    let criteria = prop::sample::select(vec![
        Criterion::Gini,
        Criterion::Entropy,
        Criterion::SquaredError,
    ]);
    let splitters = prop::sample::select(vec![Splitter::Pivot, Splitter::Uniform]);
    let samplings = prop::sample::select(vec![
        Sampling::All,
        Sampling::Bootstrap,
        Sampling::Trees(2),
        Sampling::First(9),
        Sampling::First(80),
    ]);
    (
        criteria,
        splitters,
        samplings,
        1_u32..6,
        2_u32..6,
        1_usize..6,
        1_usize..10,
        prop::option::of(0_u32..5),
        prop::option::of(prop::sample::select(vec![Balance::Forest, Balance::Trees])),
        prop::sample::select(vec![
            vec![],
            vec![false, true, false, false, true],
            vec![true; 5],
        ]),
    )
        .prop_map(
            |(
                criterion,
                splitter,
                sampling,
                leaf,
                split,
                features,
                thresholds,
                depth,
                balance,
                categorical,
            )| Params {
                categorical,
                features_of_tree: N_FEATURES - usize::from(leaf == 2),
                balance: balance.filter(|_| criterion != Criterion::SquaredError),
                min_samples_leaf: leaf,
                min_samples_split: split,
                max_features: features,
                n_thresholds: thresholds,
                max_depth: depth.unwrap_or(u32::MAX),
                ..params(criterion, splitter, sampling)
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Any order and batching of learning, forgetting, learning back and reading ends in the trees of a fit.
    #[test]
    fn histories_end_where_a_fit_starts(
        params in any_params(),
        has_missing: bool,
        has_weights: bool,
        seed: u64,
        n_start in 0_u64..150,
    ) {
        let kind = Kind { has_missing, has_weights, is_classifier: params.is_classifier() };
        check_history(&params, kind, seed, n_start, 25);
    }
}

/// Enough rows that most nodes keep statistics.
#[test]
fn long_histories_of_larger_tables_end_where_a_fit_starts() {
    for (seed, criterion) in [Criterion::Gini, Criterion::Entropy, Criterion::SquaredError]
        .into_iter()
        .enumerate()
    {
        for splitter in [Splitter::Pivot, Splitter::Uniform] {
            let params = params(criterion, splitter, Sampling::Bootstrap);
            let kind = Kind {
                has_missing: seed == 0,
                has_weights: false,
                is_classifier: params.is_classifier(),
            };
            check_history(&params, kind, seed as u64, 600, 150);
        }
    }
}

/// Leaves that no candidate of one threshold splits are frequent here, and with uniform thresholds a row less, which
/// narrows the range, may bring a candidate that does.
#[test]
fn stuck_leaves_are_split_when_they_can_be() {
    for seed in 0..300 {
        for splitter in [Splitter::Pivot, Splitter::Uniform] {
            let params = Params {
                min_samples_leaf: 3,
                n_thresholds: 1,
                max_features: 1,
                ..params(Criterion::Gini, splitter, Sampling::All)
            };
            let kind = Kind {
                has_missing: false,
                has_weights: false,
                is_classifier: true,
            };
            check_history(&params, kind, seed, 12, 6);
        }
    }
}

fn table(n: u64) -> Vec<Row> {
    let kind = Kind {
        has_missing: true,
        has_weights: false,
        is_classifier: true,
    };
    let mut dice = Dice(3);
    (0..n).map(|number| row(&mut dice, kind, number)).collect()
}

/// A deletion looks at no node, a read at those on its way; when nothing waits any more, the values are gone.
#[test]
fn forgotten_rows_wait_until_somebody_reads() {
    for splitter in [Splitter::Pivot, Splitter::Uniform] {
        let params = params(Criterion::Gini, splitter, Sampling::All);
        let rows = table(500);
        let mut forest = refit(&params, &rows);
        forest.flush(1).expect("memory");
        let visited = |forest: &Forest| forest.counters().visited;
        let at_first = visited(&forest);

        forget(&mut forest, &rows[..3]);
        assert_eq!(visited(&forest), at_first);
        assert_eq!(forest.n_leaving(), 3);
        assert!(forest.predict(&rows[9].x, output(&forest), 1).is_none());

        let mut fresh = refit(&params, &rows[3..]);
        let answers = |forest: &mut Forest| predict(forest, &rows[9].x);
        assert_eq!(answers(&mut forest), answers(&mut fresh));
        let at_read = visited(&forest);
        assert!(at_read > at_first);
        assert_eq!(forest.n_leaving(), 3);

        forest.flush(2).expect("memory");
        assert!(visited(&forest) > at_read);
        assert_eq!(forest.n_leaving(), 0);
        assert!(forest.rows().spare_is_zero());
        assert_eq!(deep_digest(&mut forest, 1), deep_digest(&mut fresh, 1));
    }
}

/// If nobody reads, not more than so many rows keep their values; learning takes down what waits.
#[test]
fn few_forgotten_rows_wait() {
    let params = params(Criterion::Gini, Splitter::Pivot, Sampling::Trees(2));
    let rows = table(4000);
    let mut forest = refit(&params, &rows);
    forest.flush(1).expect("memory");
    let (gone, left) = rows.split_at(MOST_LEAVING + 200);
    for row in gone {
        forget(&mut forest, std::slice::from_ref(row));
        assert!(forest.n_leaving() <= MOST_LEAVING);
    }
    assert!(forest.n_leaving() > 0);

    learn(&mut forest, &gone[..1]);
    assert_eq!(forest.n_leaving(), 0);
    assert!(forest.rows().spare_is_zero());
    let rows = [&gone[..1], left].concat();
    let mut fresh = refit(&params, &rows);
    assert_eq!(deep_digest(&mut forest, 1), deep_digest(&mut fresh, 1));
}

/// What a panic leaves behind: rows that are no longer live but not erased, trees in any state, classes not counted.
#[test]
fn what_was_cut_short_is_grown_from_the_rows_that_are_left() {
    let params = Params {
        balance: Some(Balance::Trees),
        ..params(Criterion::Gini, Splitter::Pivot, Sampling::Bootstrap)
    };
    let rows = table(200);
    let mut forest = refit(&params, &rows);
    forest.flush(1).expect("memory");

    forest.interrupt(
        &rows[..20]
            .iter()
            .flat_map(|row| row.tag)
            .collect::<Vec<_>>(),
    );

    assert!(forest.predict(&rows[0].x, output(&forest), 1).is_none());
    let mut fresh = refit(&params, &rows[20..]);
    assert_eq!(deep_digest(&mut forest, 2), deep_digest(&mut fresh, 1));
}

#[test]
fn refused_batches_change_nothing() {
    let params = params(Criterion::Gini, Splitter::Pivot, Sampling::All);
    let rows = table(50);
    let mut forest = refit(&params, &rows[..40]);
    let before = deep_digest(&mut forest, 1);
    let mut batch = |x: f32, target: f64, weight: f64, tag: [u64; 2]| {
        let fresh = [1, 999];
        forest.learn(Batch {
            tags: &[fresh, tag].concat(),
            x: &[[0.0; N_FEATURES], [x; N_FEATURES]].concat(),
            targets: &[0.0, target],
            weights: Some(&[1.0, weight]),
        })
    };
    let refused = |result: Result<(), ForestError>| match result {
        Err(ForestError::Rows(error)) => error,
        _ => panic!("not refused"),
    };

    assert_eq!(
        refused(batch(0.0, 0.5, 1.0, [2, 2])),
        RowsError::Targets {
            wrong: 1,
            total: 2,
            what: "class slots from 0 to 65535",
        }
    );
    assert_eq!(
        refused(batch(f32::INFINITY, 0.0, 1.0, [2, 2])),
        RowsError::Values {
            wrong: 5,
            total: 10
        }
    );
    assert_eq!(
        refused(batch(0.0, 0.0, -1.0, [2, 2])),
        RowsError::Weights { wrong: 1, total: 2 }
    );
    assert_eq!(
        refused(batch(0.0, 0.0, 1.0, rows[3].tag)),
        RowsError::Live { wrong: 1, total: 2 }
    );
    assert_eq!(
        refused(batch(0.0, 0.0, 1.0, [1, 999])),
        RowsError::Live { wrong: 1, total: 2 }
    );
    let tags = [rows[0].tag, rows[45].tag].concat();
    assert_eq!(
        refused(forest.forget(&tags)),
        RowsError::Unknown { wrong: 1, total: 2 }
    );
    assert_eq!(deep_digest(&mut forest, 1), before);
}

/// A class that comes after the fit gets room, and slots are numbers only: what a forest is depends on their order.
#[test]
fn numbers_of_class_slots_do_not_matter() {
    let params = params(Criterion::Gini, Splitter::Uniform, Sampling::Bootstrap);
    let rows = table(150);
    let (early, late): (Vec<Row>, Vec<Row>) =
        rows.iter().cloned().partition(|row| row.target < 2.0);
    let mut forest = refit(&params, &early);
    forest.flush(1).expect("memory");
    learn(&mut forest, &late);
    let renumbered: Vec<Row> = rows
        .iter()
        .map(|row| Row {
            target: [5.0, 0.0, 3.0][row.target as usize],
            ..row.clone()
        })
        .collect();
    let mut other = refit(&params, &renumbered);

    for forest in [&mut forest, &mut other] {
        forest.flush(1).expect("memory");
        forest.validate();
    }
    let digest =
        |forest: &Forest, slots: &[usize]| forest.digest(Output::Classes(slots), Depth::Statistics);
    assert_eq!(digest(&forest, &[0, 1, 2]), digest(&other, &[5, 0, 3]));
    assert_eq!(forest.impurity_decreases(), other.impurity_decreases());
}
