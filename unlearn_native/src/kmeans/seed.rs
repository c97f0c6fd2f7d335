//! Where a run starts: rows drawn by exponential races, which a deletion touches only where the row took part.
//!
//! No random number is normalised by a sum over rows, so the races of other rows stay as they are. Each step keeps its
//! candidates and their potentials, exact integer sums: forgetting a row that was no candidate subtracts a term from each,
//! and the seeding stands if the same candidates win.

use std::cmp::Ordering;

use zeroize::Zeroizing;

use super::draw::{RowDraw, race};
use super::grid::{Change, Grid};
use super::kernel::{Centres, Points, Search, squared_distance};
use super::parts::{concat, in_parts};
use super::slots::Erasure;
use super::table::Table;
use crate::identity::PrfKey;
use crate::math::ln;

/// How a run starts.
#[derive(Clone, Debug, PartialEq)]
pub enum Init {
    /// Greedy k-means++.
    PlusPlus,
    /// Rows drawn with chances proportional to their weights.
    Random,
    /// These centres, one after the other.
    Given(Vec<f64>),
}

/// `1 - u <= -ln u` with room for the rounding of both sides and of the logarithm.
const LOGARITHM_SLACK: f64 = 1.0 - 1e-9;

/// A row that took part in a race and was among the first.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    race: f64,
    tag: u128,
    slot: u32,
    potential: i128,
}

impl Candidate {
    fn order(&self, other: &Self) -> Ordering {
        self.race
            .total_cmp(&other.race)
            .then(self.tag.cmp(&other.tag))
    }

    fn is_before(&self, other: &Self) -> bool {
        self.order(other).is_lt()
    }
}

/// The first few of a race.
#[derive(Debug)]
struct Race {
    places: usize,
    first: Vec<Candidate>,
}

impl Race {
    fn new(places: usize) -> Self {
        Self {
            places,
            first: Vec::with_capacity(places + 1),
        }
    }

    #[inline]
    fn enter(&mut self, draw: RowDraw, mass: f64, tag: u128, slot: u32) {
        let uniform = draw.uniform(tag);
        if let Some(last) = self.first.get(self.places - 1)
            && last.race < f64::MAX // the cap of all races: there the tag decides
            && (1.0 - uniform) * LOGARITHM_SLACK > last.race * mass
        {
            return;
        }
        let candidate = Candidate {
            race: race(uniform, mass),
            tag,
            slot,
            potential: 0,
        };
        if candidate.race == f64::INFINITY {
            return;
        }
        let place = self
            .first
            .partition_point(|other| other.is_before(&candidate));
        if place < self.places {
            self.first.insert(place, candidate);
            self.first.truncate(self.places);
        }
    }
}

/// The integers that potentials are sums of.
#[derive(Clone, Copy, Debug)]
struct Terms {
    weight_scale: f64,
    distance_scale: f64,
}

impl Terms {
    fn new(grid: &Grid) -> Self {
        let (values, weights) = grid.exponents();
        let columns = grid
            .n_features()
            .next_power_of_two()
            .trailing_zeros()
            .cast_signed();
        let distance = 2 + 2 * values + columns;
        let power = |exponent: i32| libm::ldexp(1.0, exponent.clamp(-1000, 1000));
        Self {
            weight_scale: power(-weights),
            distance_scale: power(-distance),
        }
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // rounded down; below 2^60
    fn of(self, weight: f64, squared: f64) -> i64 {
        const UNIT: f64 = 1_152_921_504_606_846_976.0; // 2^60
        ((weight * self.weight_scale) * (squared * self.distance_scale) * UNIT) as i64
    }
}

/// A step of k-means++.
#[derive(Clone, Debug)]
struct Step {
    draw: RowDraw,
    /// The most candidates.
    places: usize,
    /// In the order of their races.
    candidates: Vec<Candidate>,
    winner: usize,
    /// Whether no row was apart from all centres so far, so that one of those that are no centres was drawn.
    is_fallback: bool,
    /// Whether it is to be run (again).
    is_stale: bool,
}

impl Step {
    fn elect(&mut self) {
        let potentials = self.candidates.iter().enumerate();
        self.winner = potentials
            .min_by_key(|(place, candidate)| (candidate.potential, *place))
            .map_or(0, |best| best.0);
    }

    fn winner(&self) -> Option<&Candidate> {
        self.candidates.get(self.winner)
    }

    /// Whether a new row of this mass is a candidate.
    fn would_admit(&self, mass: f64, weight: f64, tag: u128) -> bool {
        let race = race(
            self.draw.uniform(tag),
            if self.is_fallback { weight } else { mass },
        );
        let newcomer = Candidate {
            race,
            tag,
            slot: 0,
            potential: 0,
        };
        match self.candidates.last() {
            _ if self.is_fallback && mass > 0.0 => true,
            Some(last) if self.candidates.len() == self.places || self.is_fallback => {
                newcomer.is_before(last)
            }
            _ => race < f64::INFINITY,
        }
    }
}

/// The start of one run.
#[derive(Clone, Debug)]
pub enum Seeding {
    /// Greedy k-means++.
    PlusPlus(PlusPlus),
    /// The first k of one race.
    Random(Draws),
    /// Given from outside.
    Given(Vec<f64>),
}

impl Seeding {
    /// Seed a restart.
    pub fn new<T: Table>(
        init: &Init,
        n_clusters: usize,
        key: &PrfKey,
        restart: u32,
        table: &T,
        grid: &Grid,
    ) -> Self {
        match init {
            Init::PlusPlus => Self::PlusPlus(PlusPlus::new(n_clusters, key, restart, table, grid)),
            Init::Random => Self::Random(Draws::new(n_clusters, key, restart, table)),
            Init::Given(centres) => Self::Given(centres.clone()),
        }
    }

    /// Forget rows that have left the table, `gone` holding them in the order of the erasure's slots.
    pub fn forget<G: Table, T: Table<Scalar = G::Scalar>>(
        &mut self,
        erasure: &Erasure,
        gone: &G,
        table: &T,
        grid: &Grid,
    ) {
        match self {
            Self::PlusPlus(steps) => {
                steps.rename(erasure);
                steps.update(&mut Changed::new(gone, 0, Change::Forget), table, grid);
            }
            Self::Random(draws) => draws.forget(erasure, table),
            Self::Given(_) => {}
        }
    }

    /// Learn the rows of the table from this slot on.
    pub fn learn<T: Table>(&mut self, first: usize, table: &T, grid: &Grid) {
        match self {
            Self::PlusPlus(steps) => {
                steps.update(&mut Changed::new(table, first, Change::Learn), table, grid);
            }
            Self::Random(draws) => draws.learn(first, table),
            Self::Given(_) => {}
        }
    }

    /// The centres to start from.
    pub fn start<T: Table>(&self, table: &T) -> Points {
        match self {
            Self::PlusPlus(steps) => rows_of(steps.steps.iter().filter_map(Step::winner), table),
            Self::Random(draws) => rows_of(draws.first.iter(), table),
            Self::Given(centres) => centres.clone().into(),
        }
    }

    pub(super) fn digest_into(&self, out: &mut Vec<u8>) {
        let mut write = |candidate: &Candidate| {
            out.extend(candidate.tag.to_le_bytes());
            out.extend(candidate.race.to_bits().to_le_bytes());
            out.extend(candidate.potential.to_le_bytes());
        };
        match self {
            Self::PlusPlus(steps) => {
                steps.steps.iter().for_each(|step| {
                    step.winner().into_iter().for_each(&mut write);
                    step.candidates.iter().for_each(&mut write);
                });
            }
            Self::Random(draws) => draws.first.iter().for_each(write),
            Self::Given(centres) => {
                out.extend(
                    centres
                        .iter()
                        .flat_map(|coordinate| coordinate.to_bits().to_le_bytes()),
                );
            }
        }
    }

    pub(super) fn nbytes(&self) -> usize {
        let n_candidates = match self {
            Self::PlusPlus(steps) => steps.steps.iter().map(|step| step.candidates.len()).sum(),
            Self::Random(draws) => draws.first.len(),
            Self::Given(centres) => centres.len() / 8,
        };
        n_candidates * size_of::<Candidate>()
    }
}

fn rows_of<'a, T: Table>(candidates: impl Iterator<Item = &'a Candidate>, table: &T) -> Points {
    let candidates: Vec<_> = candidates.collect();
    let mut scratch = Zeroizing::new(Vec::new());
    // With room for all of them, for growing would leave copies behind.
    let mut rows = Points::new(Vec::with_capacity(candidates.len() * table.n_features()));
    for candidate in candidates {
        let row = table.row(candidate.slot as usize, &mut scratch);
        rows.extend(row.iter().map(|&value| -> f64 { value.into() }));
    }
    rows
}

/// The first k rows of a race.
#[derive(Clone, Debug)]
pub struct Draws {
    n_clusters: usize,
    draw: RowDraw,
    first: Vec<Candidate>,
}

impl Draws {
    fn new<T: Table>(n_clusters: usize, key: &PrfKey, restart: u32, table: &T) -> Self {
        let mut draws = Self {
            n_clusters,
            draw: RowDraw::seeding(key, restart, 0),
            first: Vec::new(),
        };
        draws.draw_again(table);
        draws
    }

    fn draw_again<T: Table>(&mut self, table: &T) {
        self.first.clear();
        self.learn(0, table);
    }

    fn learn<T: Table>(&mut self, first: usize, table: &T) {
        let mut race = Race {
            places: self.n_clusters,
            first: std::mem::take(&mut self.first),
        };
        for slot in first..table.n_slots() {
            race.enter(self.draw, table.weight(slot), table.tag(slot), narrow(slot));
        }
        self.first = race.first;
    }

    fn forget<T: Table>(&mut self, erasure: &Erasure, table: &T) {
        let mut lost = false;
        for candidate in &mut self.first {
            let target = erasure.target(candidate.slot);
            lost |= target.is_none();
            candidate.slot = target.unwrap_or(0);
        }
        if lost {
            self.draw_again(table);
        }
    }
}

/// Rows that have come or gone, with their squared distances to the centres so far.
struct Changed<'a, C> {
    rows: &'a C,
    slots: Vec<usize>,
    nearest: Vec<f64>,
    change: Change,
}

impl<'a, C: Table> Changed<'a, C> {
    fn new(rows: &'a C, first: usize, change: Change) -> Self {
        let slots: Vec<_> = (first..rows.n_slots())
            .filter(|&slot| rows.is_effective(slot))
            .collect();
        Self {
            rows,
            nearest: vec![f64::INFINITY; slots.len()],
            slots,
            change,
        }
    }

    /// Whether one of them is a candidate of this step.
    fn would_enter(&self, step: &Step) -> bool {
        self.change == Change::Learn
            && self
                .slots
                .iter()
                .zip(&self.nearest)
                .any(|(&slot, &nearest)| {
                    let weight = self.rows.weight(slot);
                    step.would_admit(mass(weight, nearest), weight, self.rows.tag(slot))
                })
    }

    /// Take them into the potentials of a step or out of them, and let the best candidate win.
    fn apply<T: Table<Scalar = C::Scalar>>(&mut self, step: &mut Step, table: &T, terms: Terms) {
        let mut scratch = Zeroizing::new(Vec::new());
        let mut distances = vec![Vec::new(); step.candidates.len()];
        for (candidate, distances) in step.candidates.iter_mut().zip(&mut distances) {
            let centre = rows_of([*candidate].iter(), table);
            for (&slot, &nearest) in self.slots.iter().zip(&self.nearest) {
                let distance =
                    squared_distance(self.rows.row(slot, &mut scratch), &centre).min(nearest);
                distances.push(distance);
                let term = i128::from(terms.of(self.rows.weight(slot), distance));
                match self.change {
                    Change::Learn => candidate.potential += term,
                    Change::Forget => candidate.potential -= term,
                }
            }
        }
        step.elect();
        if let Some(distances) = distances.get_mut(step.winner) {
            std::mem::swap(&mut self.nearest, distances);
        }
    }

    /// Account for a centre that was chosen anew.
    fn approach(&mut self, centre: &[f64]) {
        let mut scratch = Zeroizing::new(Vec::new());
        for (&slot, nearest) in self.slots.iter().zip(&mut self.nearest) {
            *nearest = squared_distance(self.rows.row(slot, &mut scratch), centre).min(*nearest);
        }
    }
}

/// Mass of a row in a race: before there is a centre its weight, then that times the squared distance.
#[inline]
fn mass(weight: f64, nearest: f64) -> f64 {
    if nearest == f64::INFINITY {
        weight
    } else {
        weight * nearest
    }
}

/// Squared distances of all rows to the nearest of the first few centres.
struct Nearest {
    squared: Vec<f64>,
    n_centres: usize,
}

impl Nearest {
    /// Account for the centres of these steps.
    fn catch_up<T: Table>(&mut self, steps: &[Step], table: &T) {
        let missing: Vec<_> = steps[self.n_centres..]
            .iter()
            .filter_map(Step::winner)
            .copied()
            .collect();
        self.n_centres = steps.len();
        if missing.is_empty() {
            return;
        }
        let centres = Centres::new(rows_of(missing.iter(), table), table.n_features());
        let squared = &mut self.squared;
        Search::default().distances(table, table.effective(), &centres, |slot, distances| {
            squared[slot] = distances.iter().copied().fold(squared[slot], f64::min);
        });
    }
}

/// Steps of greedy k-means++, one a centre.
#[derive(Clone, Debug)]
pub struct PlusPlus {
    steps: Vec<Step>,
}

impl PlusPlus {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )] // small numbers
    fn new<T: Table>(
        n_clusters: usize,
        key: &PrfKey,
        restart: u32,
        table: &T,
        grid: &Grid,
    ) -> Self {
        let n_candidates = 2 + ln(n_clusters as f64) as usize;
        let stale = |step| Step {
            draw: RowDraw::seeding(key, restart, step),
            places: if step == 0 { 1 } else { n_candidates },
            candidates: Vec::new(),
            winner: 0,
            is_fallback: false,
            is_stale: true,
        };
        let mut seeding = Self {
            steps: (0..n_clusters as u32).map(stale).collect(),
        };
        seeding.update(
            &mut Changed::new(table, table.n_slots(), Change::Learn),
            table,
            grid,
        );
        seeding
    }

    /// Follow rows that moved to other slots; steps whose candidates left are stale.
    fn rename(&mut self, erasure: &Erasure) {
        for step in &mut self.steps {
            for candidate in &mut step.candidates {
                let target = erasure.target(candidate.slot);
                step.is_stale |= target.is_none();
                candidate.slot = target.unwrap_or(0);
            }
        }
    }

    /// Bring all steps up to date with rows that came or went. As long as the same candidates win, a step only adds and
    /// subtracts terms; a stale one is run again; and after another winner, all are.
    fn update<C: Table, T: Table<Scalar = C::Scalar>>(
        &mut self,
        changed: &mut Changed<'_, C>,
        table: &T,
        grid: &Grid,
    ) {
        let terms = Terms::new(grid);
        let mut nearest = Nearest {
            squared: Vec::new(),
            n_centres: 0,
        };
        let mut has_diverged = false;
        for number in 0..self.steps.len() {
            let (before, rest) = self.steps.split_at_mut(number);
            let step = &mut rest[0];
            let winner = step.winner().map(|winner| winner.tag);
            if has_diverged || step.is_stale || changed.would_enter(step) {
                nearest.squared.resize(table.n_slots(), f64::INFINITY);
                nearest.catch_up(before, table);
                step.run(before, &mut nearest, table, terms);
                let centre = rows_of(step.winner().into_iter(), table);
                changed.approach(&centre);
            } else {
                changed.apply(step, table, terms);
            }
            has_diverged |= step.winner().map(|winner| winner.tag) != winner;
        }
    }
}

impl Step {
    /// Hold the race, and account for the winner in `nearest`, which holds the distances to the centres before.
    fn run<T: Table>(&mut self, before: &[Self], nearest: &mut Nearest, table: &T, terms: Terms) {
        let squared = &nearest.squared;
        let apart = |slot: usize| Some(mass(table.weight(slot), squared[slot]));
        self.candidates = hold_race(self.places, self.draw, apart, table);
        self.is_fallback = self.candidates.is_empty();
        if self.is_fallback {
            let is_centre = |tag| {
                before
                    .iter()
                    .filter_map(Self::winner)
                    .any(|winner| winner.tag == tag)
            };
            let other = |slot: usize| (!is_centre(table.tag(slot))).then(|| table.weight(slot));
            self.candidates = hold_race(1, self.draw, other, table);
        }
        self.is_stale = false;
        self.compare(nearest, table, terms);
    }

    /// Sum the potentials of all candidates, and let the best one win.
    fn compare<T: Table>(&mut self, nearest: &mut Nearest, table: &T, terms: Terms) {
        let n_candidates = self.candidates.len();
        let centres = Centres::new(rows_of(self.candidates.iter(), table), table.n_features());
        let slots: Vec<_> = table.effective().collect();
        let squared = &nearest.squared;
        let parts = in_parts(slots.len(), table.n_threads(), |part| {
            let mut potentials = vec![0; n_candidates];
            let mut kept = Vec::with_capacity(n_candidates * part.len());
            let part = slots[part].iter().copied();
            Search::default().distances(table, part, &centres, |slot, distances| {
                let weight = table.weight(slot);
                for (potential, distance) in potentials.iter_mut().zip(distances) {
                    let distance = distance.min(squared[slot]);
                    *potential += i128::from(terms.of(weight, distance));
                    kept.push(distance);
                }
            });
            (potentials, kept)
        });
        for (potentials, _) in &parts {
            for (candidate, potential) in self.candidates.iter_mut().zip(potentials) {
                candidate.potential += potential;
            }
        }
        self.elect();
        let kept = parts
            .iter()
            .flat_map(|(_, kept)| kept.chunks_exact(n_candidates.max(1)));
        for (&slot, kept) in slots.iter().zip(kept) {
            nearest.squared[slot] = kept[self.winner];
        }
        nearest.n_centres += 1;
    }
}

/// The first of a race of all rows that have a mass.
fn hold_race<T: Table>(
    places: usize,
    draw: RowDraw,
    mass: impl Fn(usize) -> Option<f64> + Sync,
    table: &T,
) -> Vec<Candidate> {
    let parts = in_parts(table.n_slots(), table.n_threads(), |part| {
        let mut race = Race::new(places);
        for slot in part.filter(|&slot| table.is_effective(slot)) {
            if let Some(mass) = mass(slot) {
                race.enter(draw, mass, table.tag(slot), narrow(slot));
            }
        }
        race.first
    });
    let mut first = concat(parts);
    first.sort_by(Candidate::order);
    first.truncate(places);
    first
}

/// Slots of a store are u32.
#[allow(clippy::cast_possible_truncation)]
fn narrow(slot: usize) -> u32 {
    slot as u32
}
