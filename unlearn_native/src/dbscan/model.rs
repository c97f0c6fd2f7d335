//! The model: crowds and components, and how they follow rows that come and go.

use std::collections::{HashMap, VecDeque};

use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use super::grid::Grid;
use super::metric::{Ball, Metric};
use crate::kmeans::parts::{concat, in_parts};
use crate::kmeans::slots::Erasure;
use crate::kmeans::table::{Scalar, Table};

/// Bits of a mass below 1.
const UNIT_BITS: u32 = 64;

/// Units of a mass of 1.
const UNITS: f64 = 18_446_744_073_709_551_616.0; // 2^64

/// Largest `min_samples`: crowds of all rows that a store can hold fit 128 bits.
pub const MOST_SAMPLES: u64 = 1 << 30;

/// No component: not a core.
const NONE: u32 = u32::MAX;

/// Rows that say which columns tell rows apart, and columns that are looked at for that.
const SAMPLE: usize = 1000;
const SAMPLED_COLUMNS: usize = 1000;

/// Why a call was refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs)] // The messages say it.
pub enum DbscanError {
    #[error("eps must be finite and above 0, and min_samples lie in 1..={MOST_SAMPLES}")]
    Params,
    #[error("the store holds {got} rows, but {expected} are expected of it. Rebuild")]
    OutOfStep { got: usize, expected: usize },
    #[error("slots must ascend strictly and be below the {n_before} rows there were. Rebuild")]
    Slots { n_before: usize },
}

/// Parameters that the value of a model depends on.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// Largest distance of rows that are near.
    pub eps: f64,
    /// Least crowd of a core.
    pub min_samples: u64,
    /// What a distance is.
    pub metric: Metric,
}

/// What the last change cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Rows around which others were looked for.
    pub n_searched: u64,
    /// Rows that became, or ceased to be, core.
    pub n_turned: u64,
    /// Components that a deletion has split off.
    pub n_split: u64,
}

/// Rows that left the table, promoted to f64.
#[derive(Clone, Copy, Debug)]
pub struct Gone<'g> {
    /// Row by row.
    pub values: &'g [f64],
    /// Weights; None: all 1.
    pub weights: Option<&'g [f64]>,
}

/// DBSCAN on the rows of a table that is kept elsewhere.
#[derive(Clone, Debug)]
pub struct Model {
    params: Params,
    grid: Grid,
    crowds: Vec<u128>,
    /// By slot; `NONE` of a row that is no core.
    component_of: Vec<u32>,
    /// Where a core stands among the members of its component.
    place_of: Vec<u32>,
    /// By component; the numbers of empty ones are in `free`.
    members: Vec<Vec<u32>>,
    free: Vec<u32>,
    report: Report,
}

impl Model {
    /// Without rows.
    ///
    /// # Errors
    /// If parameters are out of range.
    pub fn new(params: Params) -> Result<Self, DbscanError> {
        let is_eps = params.eps > 0.0 && params.eps.is_finite();
        if !is_eps || !(1..=MOST_SAMPLES).contains(&params.min_samples) {
            return Err(DbscanError::Params);
        }
        Ok(Self::without_rows(params, Grid::default()))
    }

    fn without_rows(params: Params, grid: Grid) -> Self {
        Self {
            params,
            grid,
            crowds: Vec::new(),
            component_of: Vec::new(),
            place_of: Vec::new(),
            members: Vec::new(),
            free: Vec::new(),
            report: Report::default(),
        }
    }

    /// Derive everything from the rows of a table.
    pub fn rebuild<T: Table>(&mut self, table: &T) {
        *self = Self::without_rows(self.params, Grid::new(self.params.eps, &sample(table)));
        self.append(table, 0);
        self.crowds = concat(in_parts(table.n_slots(), table.n_threads(), |part| {
            let mut search = Search::default();
            part.map(|slot| self.crowd(table, search.near(self, table, slot)))
                .collect()
        }));
        self.report.n_searched += table.n_slots() as u64;
        let new: Vec<_> = (0..table.n_slots()).collect();
        self.join(table, &new);
    }

    /// Learn the rows that were appended to the table, from slot `first` on.
    ///
    /// # Errors
    /// If these are not all that this model does not know; nothing was changed.
    pub fn learn<T: Table>(&mut self, table: &T, first: usize) -> Result<(), DbscanError> {
        self.check_rows(first)?;
        if first == 0 || table.n_slots() / 2 >= first {
            self.rebuild(table); // the grid suits the rows there were
            return Ok(());
        }
        self.report = Report::default();
        let mut search = Search::default();
        let mut changed = Vec::new();
        self.append(table, first);
        for slot in first..table.n_slots() {
            let mass = self.mass(table.weight(slot));
            let near = search.near(self, table, slot);
            self.crowds[slot] = self.crowd(table, near);
            changed.push(slot);
            for other in near.iter().map(|&other| other as usize) {
                if other < first {
                    self.crowds[other] += mass;
                    changed.push(other);
                }
            }
            self.report.n_searched += 1;
        }
        changed.sort_unstable();
        changed.dedup();
        self.join(table, &changed);
        Ok(())
    }

    /// Forget rows that were erased from the table: the slots that they had, ascending, and what was there.
    ///
    /// # Errors
    /// If the table is not what is left; nothing was changed.
    pub fn forget<T: Table>(
        &mut self,
        table: &T,
        slots: Vec<u32>,
        gone: Gone<'_>,
    ) -> Result<(), DbscanError> {
        let n_before = self.grid.len();
        let ascend = slots.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascend || slots.last().is_some_and(|&slot| slot as usize >= n_before) {
            return Err(DbscanError::Slots { n_before });
        }
        self.check_left(table.n_slots(), slots.len())?;
        self.report = Report::default();
        let components: Vec<_> = slots
            .iter()
            .map(|&slot| self.component_of[slot as usize])
            .collect();
        self.erase(slots);

        let mut search = Search::default();
        let mut fronts = HashMap::<u32, Vec<u32>>::new();
        let mut weakened = Vec::new();
        let n_features = table.n_features();
        for (row, &component) in components.iter().enumerate() {
            let point = &gone.values[row * n_features..][..n_features];
            let mass = self.mass(gone.weights.map_or(1.0, |weights| weights[row]));
            for &near in search.near_point(self, table, point) {
                self.crowds[near as usize] -= mass;
                if self.component_of[near as usize] != NONE {
                    if !self.is_crowded(near as usize) {
                        weakened.push(near);
                    }
                    if component != NONE {
                        fronts.entry(component).or_default().push(near);
                    }
                }
            }
            self.report.n_searched += 1;
            self.report.n_turned += u64::from(component != NONE);
        }
        weakened.sort_unstable();
        weakened.dedup();
        for &slot in &weakened {
            let component = self.leave(slot);
            for &near in search.near(self, table, slot as usize) {
                if self.component_of[near as usize] == component {
                    fronts.entry(component).or_default().push(near);
                }
            }
            self.report.n_searched += 1;
            self.report.n_turned += 1;
        }
        for (component, front) in fronts {
            self.separate(table, component, front, &mut search);
        }
        Ok(())
    }

    // --- rows ---------------------------------------------------------------------------------------------------------

    /// Mass of a row in units: at most `min_samples` of them whole.
    #[inline]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    fn mass(&self, weight: f64) -> u128 {
        let most = self.params.min_samples;
        if weight >= most as f64 {
            return u128::from(most) << UNIT_BITS;
        }
        (weight * UNITS) as u128 // a power of two: exact, and then rounded down
    }

    fn crowd<T: Table>(&self, table: &T, near: &[u32]) -> u128 {
        near.iter()
            .map(|&other| self.mass(table.weight(other as usize)))
            .sum()
    }

    fn is_crowded(&self, slot: usize) -> bool {
        self.crowds[slot] >> UNIT_BITS >= u128::from(self.params.min_samples)
    }

    fn append<T: Table>(&mut self, table: &T, first: usize) {
        let mut search = Search::default();
        for slot in first..table.n_slots() {
            self.grid.push(search.point(table, slot));
        }
        self.crowds.resize(table.n_slots(), 0);
        self.component_of.resize(table.n_slots(), NONE);
        self.place_of.resize(table.n_slots(), 0);
    }

    fn erase(&mut self, slots: Vec<u32>) {
        for &slot in &slots {
            if self.component_of[slot as usize] != NONE {
                self.leave(slot);
            }
        }
        let erasure = Erasure::new(slots, self.grid.len());
        for (from, to) in erasure.moves() {
            let component = self.component_of[from];
            if component != NONE {
                let place = self.place_of[from] as usize;
                #[allow(clippy::cast_possible_truncation)] // a slot
                let to = to as u32;
                self.members[component as usize][place] = to;
            }
        }
        self.grid.erase(&erasure);
        erasure.apply(&mut self.crowds);
        erasure.apply(&mut self.component_of);
        erasure.apply(&mut self.place_of);
    }

    // --- components ---------------------------------------------------------------------------------------------------

    /// Put a core into a component.
    #[allow(clippy::cast_possible_truncation)] // slots are u32
    fn enter(&mut self, slot: u32, component: u32) {
        let members = &mut self.members[component as usize];
        self.component_of[slot as usize] = component;
        self.place_of[slot as usize] = members.len() as u32;
        members.push(slot);
    }

    /// Take a core out of its component, and return that.
    fn leave(&mut self, slot: u32) -> u32 {
        let component = self.component_of[slot as usize];
        let place = self.place_of[slot as usize];
        let members = &mut self.members[component as usize];
        members.swap_remove(place as usize);
        if let Some(&moved) = members.get(place as usize) {
            self.place_of[moved as usize] = place;
        }
        if members.is_empty() {
            self.free.push(component);
        }
        self.component_of[slot as usize] = NONE;
        component
    }

    #[allow(clippy::cast_possible_truncation)] // there are no more components than slots
    fn new_component(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.members.push(Vec::new());
            self.members.len() as u32 - 1
        })
    }

    /// Make the rows that are core now, and were not, members of the components near them, which become one.
    #[allow(clippy::cast_possible_truncation)] // slots are u32
    fn join<T: Table>(&mut self, table: &T, slots: &[usize]) {
        let mut search = Search::default();
        for &slot in slots {
            let is_new = self.component_of[slot] == NONE && table.is_effective(slot);
            if !is_new || !self.is_crowded(slot) {
                continue;
            }
            let mut own = NONE;
            for &near in search.near(self, table, slot) {
                let other = self.component_of[near as usize];
                if other != NONE && other != own {
                    own = if own == NONE {
                        other
                    } else {
                        self.merged(own, other)
                    };
                }
            }
            let own = if own == NONE {
                self.new_component()
            } else {
                own
            };
            self.enter(slot as u32, own);
            self.report.n_searched += 1;
            self.report.n_turned += 1;
        }
    }

    /// Make two components one: the smaller goes into the larger.
    fn merged(&mut self, left: u32, right: u32) -> u32 {
        let sizes = [left, right].map(|component| self.members[component as usize].len());
        let (into, from) = if sizes[0] < sizes[1] {
            (right, left)
        } else {
            (left, right)
        };
        let members = std::mem::take(&mut self.members[from as usize]);
        for slot in members {
            self.enter(slot, into);
        }
        self.free.push(from);
        into
    }

    /// Find out whether a component still hangs together, and split off what does not.
    ///
    /// Each of its parts has a row in `front`. Searches start from all of them and take turns; where two meet they are
    /// one. What is exhausted is a part of its own, and when one search is left, so is what it has not seen yet.
    fn separate<T: Table>(
        &mut self,
        table: &T,
        component: u32,
        mut front: Vec<u32>,
        search: &mut Search<T::Scalar>,
    ) {
        front.retain(|&slot| self.component_of[slot as usize] == component);
        front.sort_unstable();
        front.dedup();
        let mut parts = Parts::new(&front);
        while let Some((part, slot)) = parts.next() {
            let Some(slot) = slot else {
                let number = self.new_component();
                for slot in parts.take(part) {
                    self.leave(slot);
                    self.enter(slot, number);
                }
                self.report.n_split += 1;
                continue;
            };
            self.report.n_searched += 1;
            for &near in search.near(self, table, slot as usize) {
                if self.component_of[near as usize] == component {
                    parts.reach(part, near);
                }
            }
        }
    }

    // --- reading ------------------------------------------------------------------------------------------------------

    /// Labels of the rows in the given order, which numbers the clusters; -1 of a row that is in none.
    ///
    /// # Errors
    /// If the table is not the one that this model knows.
    pub fn labels<T: Table>(&self, table: &T, order: &[u32]) -> Result<Vec<i64>, DbscanError> {
        self.check_rows(table.n_slots())?;
        let numbers = self.numbered(order);
        let label = |slot: u32| numbers.get(&self.component_of[slot as usize]).copied();
        Ok(concat(in_parts(order.len(), table.n_threads(), |part| {
            let mut search = Search::default();
            order[part]
                .iter()
                .map(|&slot| {
                    let own = label(slot).or_else(|| {
                        let near = search.near(self, table, slot as usize);
                        near.iter().filter_map(|&near| label(near)).min()
                    });
                    own.map_or(-1, i64::from)
                })
                .collect()
        })))
    }

    /// Components by the first core in this order.
    #[allow(clippy::cast_possible_truncation)] // there are no more components than slots
    fn numbered(&self, order: &[u32]) -> HashMap<u32, u32> {
        let mut numbers = HashMap::new();
        for &slot in order {
            let component = self.component_of[slot as usize];
            if component != NONE {
                let next = numbers.len() as u32;
                numbers.entry(component).or_insert(next);
            }
        }
        numbers
    }

    /// Positions, in the given order, of the cores.
    ///
    /// # Errors
    /// If there are more rows than this model knows, or fewer.
    pub fn cores(&self, order: &[u32]) -> Result<Vec<i64>, DbscanError> {
        self.check_rows(order.len())?;
        let cores = (0..)
            .zip(order)
            .filter(|(_, slot)| self.component_of[**slot as usize] != NONE);
        Ok(cores.map(|(position, _)| position).collect())
    }

    /// The pure state in canonical form, rows in the given order of their slots: equal models have equal bytes, whatever
    /// their histories.
    ///
    /// # Errors
    /// If there are more rows than this model knows, or fewer.
    pub fn digest(&self, order: &[u32]) -> Result<[u8; 32], DbscanError> {
        self.check_rows(order.len())?;
        let numbers = self.numbered(order);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(order.len() as u64).to_le_bytes());
        for &slot in order {
            let number = numbers.get(&self.component_of[slot as usize]).copied();
            hasher.update(&self.crowds[slot as usize].to_le_bytes());
            hasher.update(&number.unwrap_or(NONE).to_le_bytes());
        }
        Ok(hasher.finalize().into())
    }

    /// What the last change cost.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report
    }

    /// Bytes allocated, about.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        let members: usize = self.members.iter().map(Vec::capacity).sum();
        self.grid.nbytes()
            + self.crowds.capacity() * size_of::<u128>()
            + 4 * (self.component_of.capacity() + self.place_of.capacity() + members)
            + self.members.capacity() * size_of::<Vec<u32>>()
    }

    fn check_rows(&self, got: usize) -> Result<(), DbscanError> {
        let expected = self.grid.len();
        if got == expected {
            return Ok(());
        }
        Err(DbscanError::OutOfStep { got, expected })
    }

    fn check_left(&self, got: usize, n_gone: usize) -> Result<(), DbscanError> {
        let expected = self.grid.len().saturating_sub(n_gone);
        if got == expected {
            return Ok(());
        }
        Err(DbscanError::OutOfStep { got, expected })
    }
}

/// Values of some rows in the first columns, column by column.
fn sample<T: Table>(table: &T) -> Zeroizing<Vec<Vec<f64>>> {
    let stride = table.n_slots().div_ceil(SAMPLE).max(1);
    let mut columns: Vec<_> = (0..table.n_features().min(SAMPLED_COLUMNS))
        .map(|_| Vec::with_capacity(SAMPLE))
        .collect();
    let mut search = Search::default();
    for slot in (0..table.n_slots()).step_by(stride) {
        for (column, &x) in columns.iter_mut().zip(search.point(table, slot)) {
            column.push(x);
        }
    }
    Zeroizing::new(columns)
}

/// Searches of one component that take turns.
struct Parts {
    /// The part that reached a row first; its present name is found through `joined`.
    reached_by: HashMap<u32, u32>,
    joined: Vec<u32>,
    /// Rows of a part around which nobody has looked yet, and all of its rows.
    ahead: Vec<VecDeque<u32>>,
    seen: Vec<Vec<u32>>,
    /// Parts whose turn comes, some of which are joined to others by now.
    turns: VecDeque<u32>,
    n_left: usize,
}

impl Parts {
    #[allow(clippy::cast_possible_truncation)] // there are no more parts than slots
    fn new(front: &[u32]) -> Self {
        let names = 0..front.len() as u32;
        Self {
            reached_by: front.iter().copied().zip(names.clone()).collect(),
            joined: names.clone().collect(),
            ahead: front.iter().map(|&slot| VecDeque::from([slot])).collect(),
            seen: front.iter().map(|&slot| vec![slot]).collect(),
            turns: names.collect(),
            n_left: front.len(),
        }
    }

    fn name(&mut self, part: u32) -> u32 {
        let mut name = part;
        while self.joined[name as usize] != name {
            let next = self.joined[name as usize];
            self.joined[name as usize] = self.joined[next as usize];
            name = next;
        }
        name
    }

    /// The part whose turn it is, and a row around which to look: None if it is exhausted. While there are two.
    fn next(&mut self) -> Option<(u32, Option<u32>)> {
        while self.n_left > 1 {
            let part = self.turns.pop_front()?;
            if self.joined[part as usize] != part {
                continue;
            }
            let slot = self.ahead[part as usize].pop_front();
            if slot.is_some() {
                self.turns.push_back(part);
            } else {
                self.n_left -= 1;
            }
            return Some((part, slot));
        }
        None
    }

    /// A search has come from a row of a part to another row.
    fn reach(&mut self, part: u32, slot: u32) {
        let part = self.name(part);
        if let Some(&other) = self.reached_by.get(&slot) {
            let other = self.name(other);
            if other != part {
                self.join(part, other);
            }
            return;
        }
        self.reached_by.insert(slot, part);
        self.ahead[part as usize].push_back(slot);
        self.seen[part as usize].push(slot);
    }

    fn join(&mut self, left: u32, right: u32) {
        let sizes = [left, right].map(|part| self.seen[part as usize].len());
        let (into, from) = if sizes[0] < sizes[1] {
            (right, left)
        } else {
            (left, right)
        };
        self.joined[from as usize] = into;
        let (mut ahead, mut seen) = (
            std::mem::take(&mut self.ahead[from as usize]),
            std::mem::take(&mut self.seen[from as usize]),
        );
        self.ahead[into as usize].append(&mut ahead);
        self.seen[into as usize].append(&mut seen);
        self.n_left -= 1;
    }

    /// All rows of a part that is exhausted.
    fn take(&mut self, part: u32) -> Vec<u32> {
        std::mem::take(&mut self.seen[part as usize])
    }
}

/// Room for a search; zeroised afterwards, for it holds what rows were.
#[derive(Debug)]
struct Search<S: Zeroize> {
    scratch: Vec<S>,
    point: Vec<f64>,
    near: Vec<u32>,
}

impl<S: Zeroize> Default for Search<S> {
    fn default() -> Self {
        Self {
            scratch: Vec::new(),
            point: Vec::new(),
            near: Vec::new(),
        }
    }
}

impl<S: Zeroize> Drop for Search<S> {
    fn drop(&mut self) {
        self.scratch.zeroize();
        self.point.zeroize();
    }
}

impl<S: Scalar + Zeroize> Search<S> {
    /// Values of a row.
    fn point<T: Table<Scalar = S>>(&mut self, table: &T, slot: usize) -> &[f64] {
        self.point.clear();
        let row = table.row(slot, &mut self.scratch);
        self.point.extend(row.iter().map(|&x| x.into()));
        &self.point
    }

    /// Slots of the rows near one, its own among them.
    fn near<'s, T: Table<Scalar = S>>(
        &'s mut self,
        model: &Model,
        table: &T,
        slot: usize,
    ) -> &'s [u32] {
        self.point(table, slot);
        let point = std::mem::take(&mut self.point);
        self.look_around(model, table, &point);
        self.point = point;
        &self.near
    }

    /// Slots of the rows near a point.
    fn near_point<'s, T: Table<Scalar = S>>(
        &'s mut self,
        model: &Model,
        table: &T,
        point: &[f64],
    ) -> &'s [u32] {
        self.look_around(model, table, point);
        &self.near
    }

    fn look_around<T: Table<Scalar = S>>(&mut self, model: &Model, table: &T, point: &[f64]) {
        let ball = Ball::new(model.params.metric, model.params.eps, point);
        let Self { scratch, near, .. } = self;
        near.clear();
        model.grid.around(point, |slot| {
            if ball.contains(table.row(slot as usize, scratch)) {
                near.push(slot);
            }
        });
    }
}
