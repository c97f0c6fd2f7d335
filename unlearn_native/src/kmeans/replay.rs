//! Lloyd's algorithm with all its E-steps kept, so that learning and forgetting are pushed through them.
//!
//! The pure state of an [`Entry`] (centres, integer sums, labels, how many labels changed, the shift) is what a fit on the
//! live rows would hold, by induction: if entry t is, the next centres are the same function of the same integers, and
//! moving entry t + 1 to them looks again at every row whose label may change. [`super::watch`] says which these are.

use zeroize::Zeroizing;

use super::grid::{Batch, Change, Grid, Sums};
use super::inertia::inertia;
use super::kernel::{Centres, Nearest, Search, pair_margins, shift, squared_distance};
use super::parts::{concat, in_parts};
use super::slots::{Erasure, Labels};
use super::table::Table;
use super::watch::{Due, Steps, Watch};

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StopRule {
    /// Most M-steps.
    pub max_iter: usize,
    /// Shift at which it has converged.
    pub tolerance: f64,
}

/// What was done, for reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Rows whose nearest centre was searched, once an entry.
    pub n_examined: u64,
    /// Rows whose two nearest centres were compared, once an entry.
    pub n_compared: u64,
    /// Labels that changed, once an entry.
    pub n_relabelled: u64,
}

impl std::ops::Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            n_examined: self.n_examined + other.n_examined,
            n_compared: self.n_compared + other.n_compared,
            n_relabelled: self.n_relabelled + other.n_relabelled,
        }
    }
}

/// A label that changed.
struct Relabel {
    slot: usize,
    from: u16,
    to: u16,
}

/// Labels that changed.
enum Relabelled {
    /// One by one.
    These(Vec<Relabel>),
    /// So many that only their number is known.
    Many(u64),
}

/// What an entry knows of the rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Nothing.
    Fresh,
    /// Their labels at other centres.
    Known,
}

/// How much shorter a squared way is that is worth a copy; above 1, for a fit copies already.
const NEARER: f64 = 2.0;

/// One row in so many may change its cluster before sums are made anew.
const FEW_PER_ROW: usize = 8;

/// One E-step.
#[derive(Clone, Debug)]
struct Entry {
    centres: Centres,
    sums: Sums,
    labels: Labels,
    /// Rows whose label differs from that of the entry before.
    n_changed: u64,
    /// Squared way from these centres to the next.
    shift: f64,
    watch: Watch,
}

impl Entry {
    /// The E-step of these centres on all rows.
    fn new<T: Table>(centres: Centres, table: &T, grid: &Grid, work: &mut Work) -> Self {
        let n_slots = table.n_slots();
        let mut entry = Self {
            sums: Sums::zero(centres.len(), table.n_features()),
            labels: Labels::zero(centres.len(), n_slots),
            n_changed: 0,
            shift: f64::NAN,
            watch: Watch::absent(n_slots),
            centres,
        };
        entry.examine_all(Scope::Fresh, table, grid, work);
        entry
    }

    /// The same rows, one iteration later: a copy, to be moved to the next centres.
    fn successor(&self) -> Self {
        let mut successor = Self {
            n_changed: 0,
            shift: f64::NAN,
            ..self.clone()
        };
        successor.sums.mark_stale(); // whatever centres come next, they are none of the copy's
        successor
    }

    /// Make this the E-step of other centres, on the rows that it knows. Returns the labels that changed.
    fn move_to<T: Table>(
        &mut self,
        centres: Centres,
        steps: &Steps,
        table: &T,
        grid: &Grid,
        work: &mut Work,
    ) -> Relabelled {
        let due = self.watch.advance(steps, &self.centres, &centres);
        self.centres = centres;
        match due {
            Due::All => self.examine_all(Scope::Known, table, grid, work),
            Due::Tiers(due) => self.examine_due(due, table, grid, work),
        }
    }

    /// Examine all rows that this entry knows, block by block.
    fn examine_all<T: Table>(
        &mut self,
        scope: Scope,
        table: &T,
        grid: &Grid,
        work: &mut Work,
    ) -> Relabelled {
        let n_features = table.n_features();
        let Self {
            centres,
            sums,
            labels,
            watch,
            ..
        } = self;
        let n_slots = labels.len();
        let sample = sample_of(table, n_slots, centres);
        let n_moving = sample
            .iter()
            .filter(|(slot, nearest)| labels.get(*slot) != nearest.label);
        // Where many rows change their clusters, new sums are cheaper.
        let is_fresh = scope == Scope::Fresh || n_moving.count() * FEW_PER_ROW > sample.len();
        let mut margins: Vec<_> = sample.iter().map(|(_, nearest)| nearest.margin).collect();
        watch.restart(n_slots, &mut margins, centres);
        if is_fresh {
            *sums = Sums::zero(centres.len(), n_features);
        }
        let mut batch = Batch::zero(centres.len(), n_features);
        let mut relabelled = Vec::new();
        let mut n_relabelled = 0;
        for first in (0..n_slots).step_by(Batch::ROWS) {
            let slots: Vec<_> = (first..n_slots.min(first + Batch::ROWS))
                .filter(|&slot| table.is_effective(slot))
                .map(narrow)
                .collect();
            let found = nearest_of_all(table, &slots, centres);
            work.n_examined += found.len() as u64;
            for (slot, nearest) in found {
                let slot = slot as usize;
                watch.place(slot, &nearest);
                let (from, to) = (labels.get(slot), nearest.label);
                if is_fresh {
                    batch.add(grid, to.into(), table.stored(slot), table.weight(slot));
                    n_relabelled += u64::from(from != to);
                    labels.set(slot, to);
                } else if from != to {
                    relabelled.push(Relabel { slot, from, to });
                }
            }
            if is_fresh {
                sums.absorb(&mut batch);
            }
        }
        if is_fresh {
            return Relabelled::Many(if scope == Scope::Fresh {
                0
            } else {
                n_relabelled
            });
        }
        let mut mover = Mover {
            table,
            grid,
            sums,
            labels,
            scratch: Zeroizing::new(Vec::new()),
        };
        for relabel in &relabelled {
            mover.relabel(relabel.slot, relabel.to);
        }
        Relabelled::These(relabelled)
    }

    fn examine_due<T: Table>(
        &mut self,
        due: u32,
        table: &T,
        grid: &Grid,
        work: &mut Work,
    ) -> Relabelled {
        let Self {
            centres,
            sums,
            labels,
            watch,
            ..
        } = self;
        let mut slots = Vec::new();
        watch.take_hot(&mut slots, |pairs| {
            work.n_compared += pairs.len() as u64;
            pair_margins(table, pairs, centres)
        });
        watch.take_tiers(due, centres, &mut slots);
        work.n_examined += slots.len() as u64;
        let mut relabelled = Vec::new();
        let mut mover = Mover {
            table,
            grid,
            sums,
            labels,
            scratch: Zeroizing::new(Vec::new()),
        };
        // Rows are placed now that every due tier has its new snapshot.
        Search::default().nearest(table, slots, centres, |slot, nearest| {
            relabelled.extend(mover.relabel(slot, nearest.label));
            watch.place(slot, &nearest);
        });
        Relabelled::These(relabelled)
    }

    /// Learn the rows that the table has and this entry has not. Returns the first of their slots.
    fn admit<T: Table>(&mut self, table: &T, grid: &Grid, work: &mut Work) -> usize {
        let first = self.labels.len();
        let mut found: Vec<Option<Nearest>> = vec![None; table.n_slots() - first];
        let arrivals = (first..table.n_slots()).filter(|&slot| table.is_effective(slot));
        Search::default().nearest(table, arrivals, &self.centres, |slot, nearest| {
            found[slot - first] = Some(nearest);
        });
        let mut scratch = Zeroizing::new(Vec::new());
        for (slot, nearest) in (first..).zip(&found) {
            self.labels.push(nearest.map_or(0, |nearest| nearest.label));
            self.watch.push(nearest.as_ref());
            if let Some(nearest) = nearest {
                let (row, weight) = (table.row(slot, &mut scratch), table.weight(slot));
                self.sums
                    .change(grid, nearest.label.into(), row, weight, Change::Learn);
                work.n_examined += 1;
            }
        }
        first
    }

    /// Centres that follow from this E-step. `last` are those that did so the last time, where they are known.
    fn next_centres<T: Table>(
        &mut self,
        last: Option<&Centres>,
        table: &T,
        grid: &Grid,
    ) -> Vec<f64> {
        let empty: Vec<_> = self.sums.empty().collect();
        if empty.is_empty() {
            let mut means = last.unwrap_or(&self.centres).rows().to_vec();
            if last.is_none() {
                self.sums.mark_stale();
            }
            self.sums.refresh::<T::Scalar>(grid, &mut means);
            return means;
        }
        self.sums.mark_stale();
        let mut sums = self.sums.clone();
        let mut scratch = Zeroizing::new(Vec::new());
        for (cluster, slot) in empty.iter().zip(self.farthest(empty.len(), table)) {
            let row = table.row(slot, &mut scratch);
            let label = self.labels.get(slot).into();
            sums.change(grid, label, row, table.weight(slot), Change::Forget);
            sums.change(grid, *cluster, row, table.weight(slot), Change::Learn);
        }
        sums.means::<T::Scalar>(grid, &self.centres)
    }

    /// The rows farthest from their own centres, and not on them: by distance, then tag.
    fn farthest<T: Table>(&self, n: usize, table: &T) -> Vec<usize> {
        let mut scratch = Zeroizing::new(Vec::new());
        let mut rows: Vec<_> = self
            .watch
            .present()
            .map(|slot| {
                let centre = self.centres.row(self.labels.get(slot).into());
                (
                    squared_distance(table.row(slot, &mut scratch), centre),
                    table.tag(slot),
                    slot,
                )
            })
            .filter(|&(distance, ..)| distance > 0.0)
            .collect();
        rows.sort_unstable_by(|left, right| right.0.total_cmp(&left.0).then(left.1.cmp(&right.1)));
        rows.iter().take(n).map(|&(.., slot)| slot).collect()
    }

    fn nbytes(&self) -> usize {
        // A snapshot may be shared by the tiers of many entries: it counts once for each entry, as the centres.
        self.centres.nbytes() + self.sums.nbytes() + self.labels.nbytes() + self.watch.nbytes()
    }
}

/// Nearest centres of every so manieth row.
fn sample_of<T: Table>(table: &T, n_slots: usize, centres: &Centres) -> Vec<(usize, Nearest)> {
    let slots = (0..n_slots)
        .step_by(Watch::stride(n_slots))
        .filter(|&slot| table.is_effective(slot));
    let mut sample = Vec::new();
    Search::default().nearest(table, slots, centres, |slot, nearest| {
        sample.push((slot, nearest));
    });
    sample
}

/// Nearest centres of many rows, in the order of their slots here.
fn nearest_of_all<T: Table>(table: &T, slots: &[u32], centres: &Centres) -> Vec<(u32, Nearest)> {
    let parts = in_parts(slots.len(), table.n_threads(), |part| {
        let mut found = Vec::with_capacity(part.len());
        let part = slots[part].iter().map(|&slot| slot as usize);
        Search::default().nearest(table, part, centres, |slot, nearest| {
            found.push((narrow(slot), nearest));
        });
        found
    });
    concat(parts)
}

/// Moves rows between clusters.
struct Mover<'a, T: Table> {
    table: &'a T,
    grid: &'a Grid,
    sums: &'a mut Sums,
    labels: &'a mut Labels,
    scratch: Zeroizing<Vec<T::Scalar>>,
}

impl<T: Table> Mover<'_, T> {
    fn relabel(&mut self, slot: usize, to: u16) -> Option<Relabel> {
        let from = self.labels.get(slot);
        if from == to {
            return None;
        }
        let (row, weight) = (
            self.table.row(slot, &mut self.scratch),
            self.table.weight(slot),
        );
        self.sums
            .change(self.grid, from.into(), row, weight, Change::Forget);
        self.sums
            .change(self.grid, to.into(), row, weight, Change::Learn);
        self.labels.set(slot, to);
        Some(Relabel { slot, from, to })
    }
}

/// Slots of a store are u32.
#[allow(clippy::cast_possible_truncation)]
fn narrow(slot: usize) -> u32 {
    slot as u32
}

/// A run: its E-steps, the last one its result.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    entries: Vec<Entry>,
    rule: Option<StopRule>,
    work: Work,
}

impl Replay {
    /// Run, or bring a run up to date: with this start and rule, on the rows of the table. Rows that it does not know are
    /// learned; rows that left were taken out by [`Self::remove`] before.
    pub fn run<T: Table>(&mut self, start: &[f64], rule: StopRule, table: &T, grid: &Grid) {
        self.rule = Some(rule);
        let n_old = self.entries.len();
        let mut centres = Centres::new(start.to_vec(), table.n_features());
        for number in 0.. {
            if number < n_old {
                self.move_entry(number, centres, table, grid);
                self.admit(number, table, grid);
            } else if number == 0 {
                self.entries
                    .push(Entry::new(centres, table, grid, &mut self.work));
            } else {
                self.entries.push(self.entries[number - 1].successor());
                self.move_entry(number, centres, table, grid);
            }
            if self.is_last(number, rule) {
                self.entries.truncate(number + 1);
                self.entries[number].shift = f64::NAN; // there are no next centres
                return;
            }
            let (entries, rest) = self.entries.split_at_mut(number + 1);
            let entry = &mut entries[number];
            let last = rest.first().map(|next| &next.centres);
            centres = Centres::new(entry.next_centres(last, table, grid), table.n_features());
            entry.shift = shift(&entry.centres, &centres);
        }
    }

    /// Take rows out that have left the store. `gone` holds them in the order of the erasure's slots.
    pub fn remove<G: Table>(&mut self, erasure: &Erasure, gone: &G, grid: &Grid) {
        let mut before: Vec<u16> = Vec::new();
        let mut scratch = Zeroizing::new(Vec::new());
        for (number, entry) in self.entries.iter_mut().enumerate() {
            let labels: Vec<_> = erasure
                .slots()
                .iter()
                .map(|&slot| entry.labels.get(slot as usize))
                .collect();
            for (place, &label) in labels
                .iter()
                .enumerate()
                .filter(|&(place, _)| gone.is_effective(place))
            {
                let (row, weight) = (gone.row(place, &mut scratch), gone.weight(place));
                entry
                    .sums
                    .change(grid, label.into(), row, weight, Change::Forget);
                entry.n_changed -= u64::from(number > 0 && before[place] != label);
            }
            entry.labels.erase(erasure);
            entry.watch.erase(erasure);
            before = labels;
        }
    }

    fn move_entry<T: Table>(&mut self, number: usize, centres: Centres, table: &T, grid: &Grid) {
        if self.entries[number].centres == centres {
            return;
        }
        let mut steps = Steps::between(&self.entries[number].centres, &centres);
        let is_copied = self.is_nearer_before(number, &steps);
        if is_copied {
            self.entries[number] = self.entries[number - 1].successor();
            steps = Steps::between(&self.entries[number].centres, &centres);
        }
        let relabelled = self.entries[number].move_to(centres, &steps, table, grid, &mut self.work);
        match relabelled {
            Relabelled::These(relabelled) => {
                self.work.n_relabelled += relabelled.len() as u64;
                for relabel in relabelled {
                    self.count_change(number, &relabel, is_copied);
                }
            }
            Relabelled::Many(n_relabelled) => {
                self.work.n_relabelled += n_relabelled;
                self.recount(number);
            }
        }
        if is_copied {
            self.recount(number + 1);
        }
    }

    /// Whether these steps from an entry to its new centres are much longer than the way there from the entry before.
    /// Then a copy of that one is the better start, and following a change never costs much more than a fit.
    fn is_nearer_before(&self, number: usize, steps: &Steps) -> bool {
        number > 0 && NEARER * self.entries[number - 1].shift < steps.sum_of_squares()
    }

    /// Account for a label that changed in an entry; the next one may be of rows before the change of the entry's.
    fn count_change(&mut self, number: usize, relabel: &Relabel, is_copied: bool) {
        let &Relabel { slot, from, to } = relabel;
        if let Some(before) = number.checked_sub(1) {
            let before = self.entries[before].labels.get(slot);
            self.entries[number].count_change(before, from, to);
        }
        if let Some(after) = self.entries.get_mut(number + 1).filter(|_| !is_copied) {
            let label = after.labels.get(slot);
            after.count_change(label, from, to);
        }
    }

    /// Count anew in how many rows the labels of an entry, where there is one, and those of its neighbours differ.
    fn recount(&mut self, number: usize) {
        for number in [number, number + 1] {
            if number > 0 && number < self.entries.len() {
                let n_changed = self.entries[number]
                    .labels
                    .n_different(&self.entries[number - 1].labels);
                self.entries[number].n_changed = n_changed;
            }
        }
    }

    fn admit<T: Table>(&mut self, number: usize, table: &T, grid: &Grid) {
        let first = self.entries[number].admit(table, grid, &mut self.work);
        let (before, rest) = self.entries.split_at_mut(number);
        let (entry, before) = (&mut rest[0], before.last());
        let changed = |slot: &usize| {
            before.is_some_and(|before| before.labels.get(*slot) != entry.labels.get(*slot))
        };
        let arrivals = (first..table.n_slots()).filter(|&slot| entry.watch.is_present(slot));
        entry.n_changed += arrivals.filter(changed).count() as u64;
    }

    fn is_last(&self, number: usize, rule: StopRule) -> bool {
        number == rule.max_iter
            || number > 0 && (self.ends_early(number, rule) || self.entries[number].n_changed == 0)
    }

    fn ends_early(&self, number: usize, rule: StopRule) -> bool {
        self.entries[number - 1].shift <= rule.tolerance || number == rule.max_iter
    }

    /// The result.
    ///
    /// # Panics
    /// If it was not run.
    fn last(&self) -> &Entry {
        self.entries
            .last()
            .expect("whoever asks for a result has run it")
    }

    /// Centres of the last E-step.
    #[must_use]
    pub fn centres(&self) -> &Centres {
        &self.last().centres
    }

    /// Labels of the last E-step, by slot.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.last().labels
    }

    /// Number of clusters that rows have a weight in.
    #[must_use]
    pub fn n_found(&self) -> usize {
        (0..self.centres().len())
            .filter(|&cluster| self.last().sums.weight_of(cluster) != 0)
            .count()
    }

    /// Inertia of the last E-step.
    #[must_use]
    pub fn inertia(&self, grid: &Grid) -> f64 {
        inertia(grid, self.centres(), &self.last().sums)
    }

    /// Number of iterations, as scikit-learn counts them.
    #[must_use]
    pub fn n_iter(&self) -> usize {
        match (self.entries.len().checked_sub(1), self.rule) {
            (Some(last @ 1..), Some(rule)) if !self.ends_early(last, rule) => last + 1,
            (last, _) => last.unwrap_or(0),
        }
    }

    /// What was done since the last call.
    pub fn take_work(&mut self) -> Work {
        std::mem::take(&mut self.work)
    }

    /// Bytes allocated.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        self.entries.iter().map(Entry::nbytes).sum()
    }

    /// All entries in canonical form, labels in this order of slots.
    pub(super) fn digest_into(&self, order: &[u32], out: &mut Vec<u8>) {
        out.extend((self.n_iter() as u64).to_le_bytes());
        out.extend((self.entries.len() as u64).to_le_bytes());
        for entry in &self.entries {
            out.extend(
                entry
                    .centres
                    .rows()
                    .iter()
                    .flat_map(|coordinate| coordinate.to_bits().to_le_bytes()),
            );
            entry.sums.digest_into(out);
            out.extend(entry.n_changed.to_le_bytes());
            out.extend(entry.shift.to_bits().to_le_bytes());
            for slot in order
                .iter()
                .map(|&slot| slot as usize)
                .filter(|&slot| entry.watch.is_present(slot))
            {
                out.extend(entry.labels.get(slot).to_le_bytes());
            }
        }
    }
}

impl Entry {
    /// A row's label moved, here or in the neighbouring entry, while it stays `other` in the other of the two.
    fn count_change(&mut self, other: u16, from: u16, to: u16) {
        self.n_changed += u64::from(other != to);
        self.n_changed -= u64::from(other != from);
    }
}
