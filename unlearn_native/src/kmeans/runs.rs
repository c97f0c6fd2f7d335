//! Several runs on the same rows, and the choice among them.

use super::draw;
use super::grid::{Change, Grid};
use super::kernel::{Centres, Points};
use super::replay::{Replay, StopRule, Work};
use super::seed::{Init, Seeding};
use super::slots::Erasure;
use super::table::Table;
use crate::identity::PrfKey;
use crate::math::ln;

/// Inertias closer than this, relatively, count as equal when a run is chosen.
const CHOICE_STEP: f64 = 0.001;

/// What runs depend on beside the rows.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'p> {
    /// Number of clusters.
    pub n_clusters: usize,
    /// How runs start.
    pub init: &'p Init,
    /// Number of runs.
    pub n_init: u32,
    /// Source of randomness.
    pub key: &'p PrfKey,
}

/// One run and its start.
#[derive(Clone, Debug)]
struct Run {
    seeding: Seeding,
    start: Points,
    replay: Replay,
}

impl Run {
    /// Follow rows that came or went; whether the start is another one.
    fn follow<T: Table>(&mut self, rule: StopRule, table: &T, grid: &Grid) -> bool {
        let start = self.seeding.start(table);
        let has_moved = !bits(&start).eq(bits(&self.start));
        // Runs from two starts may soon meet; as long as they do not, each entry follows from the one before.
        self.replay.run(&start, rule, table, grid);
        self.start = start;
        has_moved
    }
}

fn bits(numbers: &[f64]) -> impl Iterator<Item = u64> {
    numbers.iter().map(|number| number.to_bits())
}

/// Runs on the rows of one table.
#[derive(Clone, Debug)]
pub struct Runs {
    grid: Grid,
    each: Vec<Run>,
    chosen: usize,
}

impl Runs {
    /// Seed all runs; [`Self::follow`] is to come.
    pub fn new<T: Table>(setup: Setup<'_>, table: &T) -> Self {
        let Setup {
            n_clusters,
            init,
            n_init,
            key,
        } = setup;
        let grid = Grid::new(table, key);
        let runs = (0..n_init.max(1)).map(|number| Run {
            seeding: Seeding::new(init, n_clusters, key, number, table, &grid),
            start: Points::default(),
            replay: Replay::default(),
        });
        Self {
            each: runs.collect(),
            chosen: 0,
            grid,
        }
    }

    /// Learn the rows of a table from this slot on; false if the grid is another one now, so that all is to be done anew.
    pub fn learn<T: Table>(&mut self, first: usize, table: &T) -> bool {
        if !self
            .grid
            .change(table, first..table.n_slots(), Change::Learn)
        {
            return false;
        }
        for run in &mut self.each {
            run.seeding.learn(first, table, &self.grid);
        }
        true
    }

    /// Forget rows that left the table; false as for `learn`.
    pub fn forget<G: Table, T: Table<Scalar = G::Scalar>>(
        &mut self,
        erasure: &Erasure,
        gone: &G,
        table: &T,
    ) -> bool {
        if !self.grid.change(gone, 0..gone.n_slots(), Change::Forget) {
            return false;
        }
        for run in &mut self.each {
            run.replay.remove(erasure, gone, &self.grid);
            run.seeding.forget(erasure, gone, table, &self.grid);
        }
        true
    }

    /// Bring all runs up to date and choose one; whether any of them starts elsewhere than before.
    pub fn follow<T: Table>(&mut self, key: &PrfKey, rule: StopRule, table: &T) -> bool {
        let mut has_moved = false;
        for run in &mut self.each {
            has_moved |= run.follow(rule, table, &self.grid);
        }
        if self.each.len() > 1 {
            let inertias: Vec<_> = self
                .each
                .iter()
                .map(|run| run.replay.inertia(&self.grid))
                .collect();
            self.chosen = choose(&inertias, draw::phase(key, "choice"));
        }
        has_moved
    }

    /// Grid of the rows.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The run that was chosen.
    #[must_use]
    pub fn chosen(&self) -> &Replay {
        &self.each[self.chosen].replay
    }

    /// Centres of the run that was chosen.
    #[must_use]
    pub fn centres(&self) -> &Centres {
        self.chosen().centres()
    }

    /// What was done since the last call.
    pub fn take_work(&mut self) -> Work {
        self.each
            .iter_mut()
            .fold(Work::default(), |work, run| work + run.replay.take_work())
    }

    /// Bytes allocated.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        let runs = self
            .each
            .iter()
            .map(|run| run.replay.nbytes() + run.seeding.nbytes());
        self.grid.nbytes() + runs.sum::<usize>()
    }

    /// The pure state, rows in the given order of their slots.
    pub(super) fn digest_into(&self, order: &[u32], out: &mut Vec<u8>) {
        self.grid.digest_into(out);
        for run in &self.each {
            run.seeding.digest_into(out);
            run.replay.digest_into(order, out);
        }
        out.extend((self.chosen as u64).to_le_bytes());
        out.extend(self.chosen().inertia(&self.grid).to_bits().to_le_bytes());
    }
}

/// The run of the smallest inertia, in steps: else two that reach the same optimum would swap with every row.
fn choose(inertias: &[f64], phase: f64) -> usize {
    let step = |inertia: f64| {
        if inertia > 0.0 {
            (ln(inertia) / CHOICE_STEP + phase).floor()
        } else {
            f64::NEG_INFINITY
        }
    };
    let mut best = (0, f64::INFINITY);
    for (number, &inertia) in inertias.iter().enumerate() {
        if step(inertia) < best.1 {
            best = (number, step(inertia));
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_inertias_are_one_choice() {
        assert_eq!(choose(&[5.0, 4.000_001, 4.0], 0.25), 1);
        assert_eq!(choose(&[5.0, 4.0, 3.9], 0.25), 2);
        assert_eq!(choose(&[5.0, 0.0, -1.0], 0.25), 1);
        assert_eq!(choose(&[f64::NAN, f64::INFINITY], 0.25), 0);
    }
}
