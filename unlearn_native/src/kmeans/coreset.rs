//! k-means on a sample that deletions seldom touch, and a few exact passes over all rows from what it finds.
//!
//! # Definition
//!
//! * The *reference* is the mean of the 16 rows of the smallest tags (of all, where they are fewer): values summed in the
//!   order of tags, divided by their number. It moves with 16 rows in n, where a rounded mean of all would move with
//!   every one that crosses an edge.
//! * *Spread* is the weighted sum of squared distances of all rows to the reference, the inertia of one cluster with that
//!   centre; *mass* is the sum of weights. Both enter rounded: `exp((floor(s + phase) - phase + 1/2) * h)`, `s = ln(v) / h`,
//!   `h = ln(2) / 2`, under the phases of their names; 0 stays 0.
//! * A row of weight w at squared distance D from the reference is a *member* with chance
//!   `p = m * (w / (2 mass) + w * D / (2 spread))`, at most 1, the second term 0 where the spread is: if its uniform number
//!   under `RowDraw::coreset` is below p. Then it has weight `w / p`. (The lightweight coreset of Bachem, Lucic and Krause,
//!   KDD 2018, with independent draws.) If fewer rows than clusters are drawn, all rows are members, with their weights.
//! * The members are seeded and run like all rows would be, with at most 100 iterations and `tol * spread / (mass * d)` as
//!   tolerance. The centres that are chosen start a run on all rows that ends after `full_passes` M-steps, or when no
//!   label changes. That run is the model; its iterations are the model's.

use std::collections::HashMap;

use zeroize::Zeroizing;

use super::draw::{self, RowDraw};
use super::grid::{Change, Grid, Sums};
use super::inertia::inertia;
use super::kernel::{Centres, Points, Search};
use super::parts::{concat, in_parts};
use super::replay::{Replay, StopRule, Work};
use super::runs::{Runs, Setup};
use super::slots::Erasure;
use super::table::{Row, Rows, Table};
use crate::identity::PrfKey;
use crate::math::{exp, ln};

/// Rows of the reference.
const N_REFERENCE: usize = 16;

/// Most iterations of a run on members.
const MAX_ITER: usize = 100;

/// Natural logarithm of half an octave.
const HALF_OCTAVE: f64 = std::f64::consts::LN_2 / 2.0;

/// How large, how often, how far.
#[derive(Clone, Copy, Debug)]
pub struct CoresetParams {
    /// Expected number of members, about.
    pub size: usize,
    /// M-steps over all rows.
    pub full_passes: usize,
    /// Most iterations of a run.
    pub max_iter: usize,
    /// Tolerance, relative to the mean variance of the columns.
    pub tol: f64,
}

/// What the chances of all rows depend on.
#[derive(Clone, Debug, PartialEq)]
struct Scales {
    reference: Points,
    spread: f64,
    mass: f64,
}

/// Phases of the roundings of spread and mass.
#[derive(Clone, Copy, Debug)]
struct Phases {
    spread: f64,
    mass: f64,
}

impl Phases {
    fn new(key: &PrfKey) -> Self {
        Self {
            spread: draw::phase(key, "spread"),
            mass: draw::phase(key, "mass"),
        }
    }
}

impl Scales {
    fn new(reference: Points, grid: &Grid, total: &Sums, phases: Phases) -> Self {
        let centre = Centres::new(reference.clone(), reference.len());
        Self {
            spread: coarse(inertia(grid, &centre, total), phases.spread),
            mass: coarse(grid.weight(total.weight_of(0)), phases.mass),
            reference,
        }
    }

    /// Chance of a row, times its weight over its weight: p.
    fn chance(&self, size: usize, weight: f64, squared: f64) -> f64 {
        let by_spread = if self.spread > 0.0 {
            weight * squared / (2.0 * self.spread)
        } else {
            0.0
        };
        #[allow(clippy::cast_precision_loss)] // below 2^32
        let chance = size as f64 * (weight / (2.0 * self.mass) + by_spread);
        chance.min(1.0)
    }
}

/// Mean of the rows in these slots.
fn mean_of<T: Table>(reference: &[(u128, u32)], table: &T) -> Points {
    let mut mean = Points::new(vec![0.0; table.n_features()]);
    let mut scratch = Zeroizing::new(Vec::new());
    for &(_, slot) in reference {
        for (sum, &value) in mean.iter_mut().zip(table.row(slot as usize, &mut scratch)) {
            *sum += value.into();
        }
    }
    #[allow(clippy::cast_precision_loss)] // at most 16
    let n = reference.len() as f64;
    mean.iter_mut().for_each(|sum| *sum /= n);
    mean
}

/// Rounded to half octaves.
fn coarse(value: f64, phase: f64) -> f64 {
    if value > 0.0 {
        exp(((ln(value) / HALF_OCTAVE + phase).floor() - phase + 0.5) * HALF_OCTAVE)
    } else {
        0.0
    }
}

/// A row of the sample.
#[derive(Clone, Copy, Debug)]
struct Member {
    slot: u32,
    weight: f64,
}

/// The rows of some slots of a table, with weights of their own.
struct MemberTable<'a, T> {
    table: &'a T,
    members: &'a [Member],
}

impl<T: Table> Rows for MemberTable<'_, T> {
    type Scalar = T::Scalar;

    const IS_SPARSE: bool = T::IS_SPARSE;

    fn n_features(&self) -> usize {
        self.table.n_features()
    }

    #[inline]
    fn stored(&self, slot: usize) -> Row<'_, T::Scalar> {
        self.table.stored(self.members[slot].slot as usize)
    }

    #[inline]
    fn row<'a>(&'a self, slot: usize, scratch: &'a mut Vec<T::Scalar>) -> &'a [T::Scalar] {
        self.table.row(self.members[slot].slot as usize, scratch)
    }
}

impl<T: Table> Table for MemberTable<'_, T> {
    fn n_slots(&self) -> usize {
        self.members.len()
    }

    fn n_threads(&self) -> usize {
        self.table.n_threads()
    }

    #[inline]
    fn weight(&self, slot: usize) -> f64 {
        self.members[slot].weight
    }

    #[inline]
    fn tag(&self, slot: usize) -> u128 {
        self.table.tag(self.members[slot].slot as usize)
    }
}

/// How far a change went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// No member came or went.
    Outside,
    /// Members did, and their runs followed.
    Members,
    /// A run on members started elsewhere.
    Start,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Coreset {
    params: CoresetParams,
    phases: Phases,
    grid: Grid,
    /// All rows as one cluster.
    total: Sums,
    /// Tags and slots of the rows of the smallest tags.
    reference: Vec<(u128, u32)>,
    scales: Scales,
    members: Vec<Member>,
    /// Place among the members by slot.
    places: HashMap<u32, u32>,
    /// Whether all rows are members because too few were drawn.
    is_whole: bool,
    runs: Runs,
    full: Replay,
}

impl Coreset {
    /// Derive everything from the rows of a table.
    pub fn new<T: Table>(params: CoresetParams, setup: Setup<'_>, table: &T) -> Self {
        let grid = Grid::new(table, setup.key);
        let total = total_of(&grid, table);
        let reference = smallest_tags(table);
        let phases = Phases::new(setup.key);
        let scales = Scales::new(mean_of(&reference, table), &grid, &total, phases);
        let (members, is_whole) = draw_members(&scales, params.size, setup, table);
        let mut coreset = Self {
            runs: Runs::new(
                setup,
                &MemberTable {
                    table,
                    members: &members,
                },
            ),
            full: Replay::default(),
            places: places_of(&members),
            params,
            phases,
            grid,
            total,
            reference,
            scales,
            members,
            is_whole,
        };
        coreset.follow_members(setup, table);
        coreset.follow_all(table);
        coreset
    }

    /// Learn the rows of a table from this slot on; None if the grid is another one now, so that all is to be done anew.
    pub fn learn<T: Table>(&mut self, first: usize, setup: Setup<'_>, table: &T) -> Option<Reach> {
        if !self
            .grid
            .change(table, first..table.n_slots(), Change::Learn)
        {
            return None;
        }
        change_total(&mut self.total, &self.grid, table, first, Change::Learn);
        let has_moved = self.extend_reference(first, table);
        let reach = if self.rescale(has_moved, setup, table) {
            Reach::Start
        } else {
            self.admit(first, setup, table)
        };
        self.follow_all(table);
        Some(reach)
    }

    /// Forget rows that left the table; None as for `learn`.
    pub fn forget<G: Table, T: Table<Scalar = G::Scalar>>(
        &mut self,
        erasure: &Erasure,
        gone: &G,
        setup: Setup<'_>,
        table: &T,
    ) -> Option<Reach> {
        if !self.grid.change(gone, 0..gone.n_slots(), Change::Forget) {
            return None;
        }
        change_total(&mut self.total, &self.grid, gone, 0, Change::Forget);
        self.full.remove(erasure, gone, &self.grid);
        let has_moved = self.rename_reference(erasure, table);
        let (members, lost) = self.rename_members(erasure);
        let reach = if self.rescale(has_moved, setup, table) {
            Reach::Start
        } else {
            self.dismiss(&members, &lost, gone, setup, table)
        };
        self.follow_all(table);
        Some(reach)
    }

    /// Bring the scales up to date. If they are other ones, all members are drawn anew.
    fn rescale<T: Table>(&mut self, has_moved: bool, setup: Setup<'_>, table: &T) -> bool {
        let reference = if has_moved {
            mean_of(&self.reference, table)
        } else {
            self.scales.reference.clone()
        };
        let scales = Scales::new(reference, &self.grid, &self.total, self.phases);
        let has_changed = scales != self.scales;
        if has_changed {
            self.scales = scales;
            self.draw(setup, table);
        }
        has_changed
    }

    fn draw<T: Table>(&mut self, setup: Setup<'_>, table: &T) {
        (self.members, self.is_whole) = draw_members(&self.scales, self.params.size, setup, table);
        self.places = places_of(&self.members);
        self.solve(setup, table);
    }

    fn solve<T: Table>(&mut self, setup: Setup<'_>, table: &T) {
        self.runs = Runs::new(
            setup,
            &MemberTable {
                table,
                members: &self.members,
            },
        );
        self.follow_members(setup, table);
    }

    /// Let arrivals from this slot on be members.
    fn admit<T: Table>(&mut self, first: usize, setup: Setup<'_>, table: &T) -> Reach {
        if self.is_whole {
            self.draw(setup, table);
            return Reach::Start;
        }
        let before = self.members.len();
        self.members.extend(drawn(
            &self.scales,
            self.params.size,
            setup.key,
            first,
            table,
        ));
        for place in before..self.members.len() {
            self.places.insert(self.members[place].slot, narrow(place));
        }
        if self.members.len() == before {
            return Reach::Outside;
        }
        if !self.runs.learn(
            before,
            &MemberTable {
                table,
                members: &self.members,
            },
        ) {
            self.solve(setup, table);
            return Reach::Start;
        }
        self.follow_members(setup, table)
    }

    /// Let members go: their places, ascending, and their slots among `gone`.
    fn dismiss<G: Table, T: Table<Scalar = G::Scalar>>(
        &mut self,
        erasure: &Erasure,
        lost: &[Member],
        gone: &G,
        setup: Setup<'_>,
        table: &T,
    ) -> Reach {
        if self.is_whole || self.members.len() < setup.n_clusters {
            self.draw(setup, table);
            return Reach::Start;
        }
        if lost.is_empty() {
            return Reach::Outside;
        }
        let gone = MemberTable {
            table: gone,
            members: lost,
        };
        if !self.runs.forget(
            erasure,
            &gone,
            &MemberTable {
                table,
                members: &self.members,
            },
        ) {
            self.solve(setup, table);
            return Reach::Start;
        }
        self.follow_members(setup, table)
    }

    fn follow_members<T: Table>(&mut self, setup: Setup<'_>, table: &T) -> Reach {
        #[allow(clippy::cast_precision_loss)] // defined so
        let variance = self.scales.spread / (self.scales.mass * table.n_features() as f64);
        let rule = StopRule {
            max_iter: self.params.max_iter.min(MAX_ITER),
            tolerance: self.params.tol * variance,
        };
        let table = MemberTable {
            table,
            members: &self.members,
        };
        if self.runs.follow(setup.key, rule, &table) {
            Reach::Start
        } else {
            Reach::Members
        }
    }

    fn follow_all<T: Table>(&mut self, table: &T) {
        let rule = StopRule {
            max_iter: self.params.full_passes,
            tolerance: f64::NEG_INFINITY,
        };
        self.full
            .run(self.runs.centres().rows(), rule, table, &self.grid);
    }

    /// Let arrivals from this slot on be of the reference; whether any is.
    fn extend_reference<T: Table>(&mut self, first: usize, table: &T) -> bool {
        let arrivals = (first..table.n_slots()).filter(|&slot| table.is_effective(slot));
        let before = self.reference.clone();
        self.reference
            .extend(arrivals.map(|slot| (table.tag(slot), narrow(slot))));
        keep_smallest(&mut self.reference);
        self.reference != before
    }

    /// Follow rows of the reference that moved, and find others for those that are gone; whether any is.
    fn rename_reference<T: Table>(&mut self, erasure: &Erasure, table: &T) -> bool {
        let n_before = self.reference.len();
        self.reference.retain_mut(|(_, slot)| {
            let target = erasure.target(*slot);
            *slot = target.unwrap_or(0);
            target.is_some()
        });
        let has_lost = self.reference.len() < n_before;
        if has_lost {
            self.reference = smallest_tags(table);
        }
        has_lost
    }

    /// Follow rows that moved and take out those that are gone: where they were among the members, and among the gone.
    fn rename_members(&mut self, erasure: &Erasure) -> (Erasure, Vec<Member>) {
        let mut lost: Vec<(u32, Member)> = Vec::new();
        for (gone, slot) in (0..).zip(erasure.slots()) {
            if let Some(place) = self.places.remove(slot) {
                lost.push((
                    place,
                    Member {
                        slot: gone,
                        ..self.members[place as usize]
                    },
                ));
            }
        }
        for (from, to) in erasure.moves() {
            if let Some(place) = self.places.remove(&narrow(from)) {
                self.members[place as usize].slot = narrow(to);
                self.places.insert(narrow(to), place);
            }
        }
        lost.sort_unstable_by_key(|&(place, _)| place);
        let members = Erasure::new(
            lost.iter().map(|&(place, _)| place).collect(),
            self.members.len(),
        );
        for (from, to) in members.moves() {
            self.members[to] = self.members[from];
            self.places.insert(self.members[to].slot, narrow(to));
        }
        self.members.truncate(members.n_left());
        (
            members,
            lost.into_iter().map(|(_, member)| member).collect(),
        )
    }

    /// Grid of all rows.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The run on all rows.
    #[must_use]
    pub fn full(&self) -> &Replay {
        &self.full
    }

    /// What was done since the last call.
    pub fn take_work(&mut self) -> Work {
        self.runs.take_work() + self.full.take_work()
    }

    /// Bytes allocated, about.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        let members = self.members.capacity() * size_of::<Member>() + self.places.capacity() * 9;
        self.grid.nbytes() + self.total.nbytes() + members + self.runs.nbytes() + self.full.nbytes()
    }

    /// The pure state, rows in the given order of their slots.
    pub(super) fn digest_into(&self, order: &[u32], out: &mut Vec<u8>) {
        self.grid.digest_into(out);
        self.total.digest_into(out);
        out.extend(self.reference.iter().flat_map(|(tag, _)| tag.to_le_bytes()));
        for number in self
            .scales
            .reference
            .iter()
            .chain([&self.scales.spread, &self.scales.mass])
        {
            out.extend(number.to_bits().to_le_bytes());
        }
        let members: Vec<u32> = order
            .iter()
            .filter_map(|slot| self.places.get(slot))
            .copied()
            .collect();
        for slot in order {
            let weight = self
                .places
                .get(slot)
                .map_or(0.0, |&place| self.members[place as usize].weight);
            out.extend(weight.to_bits().to_le_bytes());
        }
        self.runs.digest_into(&members, out);
        self.full.digest_into(order, out);
        out.extend(self.full.inertia(&self.grid).to_bits().to_le_bytes());
    }
}

/// Rows from this slot on that are drawn.
fn drawn<T: Table>(
    scales: &Scales,
    size: usize,
    key: &PrfKey,
    first: usize,
    table: &T,
) -> Vec<Member> {
    let draw = RowDraw::coreset(key);
    let reference = Centres::new(scales.reference.clone(), table.n_features());
    concat(in_parts(
        table.n_slots() - first,
        table.n_threads(),
        |part| {
            let mut members = Vec::new();
            let slots = part
                .map(|place| first + place)
                .filter(|&slot| table.is_effective(slot));
            Search::default().distances(table, slots, &reference, |slot, squared| {
                let weight = table.weight(slot);
                let chance = scales.chance(size, weight, squared[0]);
                if draw.uniform(table.tag(slot)) < chance {
                    members.push(Member {
                        slot: narrow(slot),
                        weight: weight / chance,
                    });
                }
            });
            members
        },
    ))
}

/// Members of all rows, and whether they are all rows for want of draws.
fn draw_members<T: Table>(
    scales: &Scales,
    size: usize,
    setup: Setup<'_>,
    table: &T,
) -> (Vec<Member>, bool) {
    let members = drawn(scales, size, setup.key, 0, table);
    if members.len() >= setup.n_clusters {
        return (members, false);
    }
    let all = table.effective().map(|slot| Member {
        slot: narrow(slot),
        weight: table.weight(slot),
    });
    (all.collect(), true)
}

fn places_of(members: &[Member]) -> HashMap<u32, u32> {
    (0..)
        .zip(members)
        .map(|(place, member)| (member.slot, place))
        .collect()
}

fn change_total<T: Table>(total: &mut Sums, grid: &Grid, table: &T, first: usize, change: Change) {
    let mut scratch = Zeroizing::new(Vec::new());
    for slot in (first..table.n_slots()).filter(|&slot| table.is_effective(slot)) {
        total.change(
            grid,
            0,
            table.row(slot, &mut scratch),
            table.weight(slot),
            change,
        );
    }
}

/// All rows of a table as one cluster.
fn total_of<T: Table>(grid: &Grid, table: &T) -> Sums {
    grid.unweighted_total().unwrap_or_else(|| {
        let mut total = Sums::zero(1, table.n_features());
        change_total(&mut total, grid, table, 0, Change::Learn);
        total
    })
}

fn smallest_tags<T: Table>(table: &T) -> Vec<(u128, u32)> {
    let mut smallest = Vec::with_capacity(2 * N_REFERENCE);
    let mut largest = u128::MAX;
    for slot in table.effective() {
        let tag = table.tag(slot);
        if tag <= largest {
            smallest.push((tag, narrow(slot)));
        }
        if smallest.len() == 2 * N_REFERENCE {
            keep_smallest(&mut smallest);
            largest = smallest[N_REFERENCE - 1].0;
        }
    }
    keep_smallest(&mut smallest);
    smallest
}

fn keep_smallest(tags: &mut Vec<(u128, u32)>) {
    tags.sort_unstable();
    tags.truncate(N_REFERENCE);
}

/// Slots of a store are u32.
#[allow(clippy::cast_possible_truncation)]
fn narrow(slot: usize) -> u32 {
    slot as u32
}
