//! Which rows may have another nearest centre after centres have moved, and which cannot.
//!
//! A row whose second nearest centre is farther than the nearest by a *margin* keeps its label until two centres have
//! moved that far, together. Most rows have a wide margin and share one of a few *tiers*, each with a width, a snapshot
//! of the centres and a budget: the least that is left of the width. Rows of small margin are *hot*: each has two keys,
//! compared with the *clocks* of its centres. All bounds are rounded to the safe side, and equality means: look again.
//!
//! What is here depends on the history of a model. It decides where to look, never what is found there, so it is
//! neither saved nor a part of any state.

use std::sync::Arc;

use super::kernel::{Centres, Nearest, Pair, Points, step};
use super::slots::Erasure;

/// A row with keys of its own.
const HOT: u8 = 0;

/// A row of weight 0, which is in no cluster.
const ABSENT: u8 = u8::MAX;

/// Most tiers; their due ones are bits of a u32.
const MAX_TIERS: usize = 20;

/// Margins that are drawn on to choose widths.
const SAMPLE: usize = 8192;

/// Rows that are as safe as each other.
#[derive(Clone, Debug)]
struct Tier {
    width: f64,
    /// Lower bound of the width less the way of the two centres that are farthest from the snapshot.
    budget: f64,
    /// Least margin, now, of a row that is safe for as long as there is a budget.
    entry: f64,
    snapshot: Arc<Points>,
}

impl Tier {
    fn new(width: f64, snapshot: Arc<Points>) -> Self {
        let mut tier = Self {
            width,
            budget: width,
            entry: width,
            snapshot,
        };
        tier.set_budget(width);
        tier
    }

    /// Rows that come are charged for the way that the centres have gone already.
    fn set_budget(&mut self, budget: f64) {
        let spent = (self.width - budget).next_up();
        (self.budget, self.entry) = (budget, add_up(self.width, spent));
    }
}

/// A row of small margin.
#[derive(Clone, Copy, Debug)]
struct Hot {
    slot: u32,
    label: u16,
    second: u16,
    /// Beyond the clocks of both centres: the second is not the nearest.
    key: f32,
    /// Beyond the clocks of the label and of the others: neither is any other one.
    third_key: f32,
}

impl Hot {
    fn pair(&self) -> Pair {
        Pair {
            slot: self.slot as usize,
            label: self.label,
            second: self.second,
        }
    }
}

/// What moves of centres leave to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// All rows.
    All,
    /// Hot rows, and the tiers of these bits.
    Tiers(u32),
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// From narrow to wide; tier i + 1 of `tier_of` is at i.
    tiers: Vec<Tier>,
    tier_of: Vec<u8>,
    hot: Vec<Hot>,
    /// How far each centre has moved.
    clocks: Vec<f64>,
    /// How far the fastest of the others has moved: sums of maxima, for a maximum of sums is no bound.
    others: Vec<f64>,
}

/// Upper bounds of the ways of all centres from one place to another.
#[derive(Debug)]
pub struct Steps {
    bounds: Vec<f64>,
}

impl Steps {
    /// From one place to another.
    #[must_use]
    pub fn between(from: &Centres, to: &Centres) -> Self {
        Self::from_rows(from.rows(), to)
    }

    fn from_rows(from: &[f64], to: &Centres) -> Self {
        let pairs = from
            .chunks_exact(to.n_features())
            .zip(to.rows().chunks_exact(to.n_features()));
        let bounds = pairs.map(|(from, to)| {
            let step = step(from, to);
            if step.is_nan() { f64::INFINITY } else { step }
        });
        Self {
            bounds: bounds.collect(),
        }
    }

    /// Sum of their squares.
    #[must_use]
    pub fn sum_of_squares(&self) -> f64 {
        self.bounds.iter().map(|step| step * step).sum()
    }
}

/// The two longest of some steps.
struct Longest {
    first: f64,
    second: f64,
    cluster: usize,
}

impl Longest {
    fn of(steps: &Steps) -> Self {
        let mut longest = Self {
            first: 0.0,
            second: 0.0,
            cluster: 0,
        };
        for (cluster, &step) in steps.bounds.iter().enumerate() {
            if step > longest.first {
                longest.second = longest.first;
                (longest.first, longest.cluster) = (step, cluster);
            } else if step > longest.second {
                longest.second = step;
            }
        }
        longest
    }

    fn sum(&self) -> f64 {
        add_up(self.first, self.second)
    }
}

#[inline]
fn add_up(left: f64, right: f64) -> f64 {
    (left + right).next_up()
}

/// `margin + left + right` as an f32 that is not above it.
#[inline]
#[allow(clippy::cast_possible_truncation)] // rounded down
fn key(margin: f64, left: f64, right: f64) -> f32 {
    let sum = ((margin + left).next_down() + right).next_down();
    let key = sum as f32;
    if f64::from(key) > sum {
        key.next_down()
    } else {
        key
    }
}

/// Share of the rows that are to be hot.
fn hot_share(n_rows: usize, n_features: usize) -> f64 {
    match (n_rows, n_features) {
        (_, 256..) => 0.1, // margins say little in many dimensions: the bound overshoots by about their square root
        (50_000.., _) => 0.001,
        _ => 0.02,
    }
}

impl Watch {
    /// Of `n_slots` rows, all absent.
    #[must_use]
    pub fn absent(n_slots: usize) -> Self {
        Self {
            tier_of: vec![ABSENT; n_slots],
            ..Self::default()
        }
    }

    /// Whether a row is in a cluster.
    #[inline]
    #[must_use]
    pub fn is_present(&self, slot: usize) -> bool {
        self.tier_of[slot] != ABSENT
    }

    /// Slots of the rows that are in clusters.
    pub fn present(&self) -> impl Iterator<Item = usize> {
        let slots = self.tier_of.iter().enumerate();
        slots
            .filter(|&(_, &tier)| tier != ABSENT)
            .map(|(slot, _)| slot)
    }

    /// Start anew at these centres, with widths for rows of margins like those of a sample. All rows are to be placed.
    pub fn restart(&mut self, n_rows: usize, margins: &mut [f64], centres: &Centres) {
        self.tiers = widths(n_rows, margins, centres.n_features())
            .map(|width| Tier::new(width, centres.snapshot()))
            .collect();
        self.hot.clear();
        self.clocks = vec![0.0; centres.len()];
        self.others = vec![0.0; centres.len()];
    }

    /// Every how many rows one is drawn for a sample of margins.
    #[must_use]
    pub fn stride(n_rows: usize) -> usize {
        n_rows.div_ceil(SAMPLE).max(1)
    }

    /// Append a row.
    pub fn push(&mut self, nearest: Option<&Nearest>) {
        self.tier_of.push(ABSENT);
        if let Some(nearest) = nearest {
            self.place(self.tier_of.len() - 1, nearest);
        }
    }

    /// Put a row where its margin, now, allows. It must not be hot.
    #[allow(clippy::cast_possible_truncation)] // slots are u32, tiers at most MAX_TIERS
    pub fn place(&mut self, slot: usize, nearest: &Nearest) {
        if let Some(tier) = self
            .tiers
            .iter()
            .rposition(|tier| nearest.margin >= tier.entry)
        {
            self.tier_of[slot] = tier as u8 + 1;
            return;
        }
        let [label, second] = [nearest.label, nearest.second].map(usize::from);
        self.tier_of[slot] = HOT;
        self.hot.push(Hot {
            slot: slot as u32,
            label: nearest.label,
            second: nearest.second,
            key: key(nearest.margin, self.clocks[label], self.clocks[second]),
            third_key: key(nearest.third_margin, self.clocks[label], self.others[label]),
        });
    }

    /// Account for centres that move by these steps, and say what is due.
    #[must_use]
    pub fn advance(&mut self, steps: &Steps, from: &Centres, to: &Centres) -> Due {
        let longest = Longest::of(steps);
        for (cluster, (clock, others)) in self.clocks.iter_mut().zip(&mut self.others).enumerate() {
            let other = if cluster == longest.cluster {
                longest.second
            } else {
                longest.first
            };
            *others = add_up(*others, other);
            *clock = add_up(*clock, steps.bounds[cluster]);
        }
        let mut due = 0;
        let mut seen: Option<(Arc<Points>, f64)> = None;
        for (number, tier) in self.tiers.iter_mut().enumerate() {
            tier.set_budget((tier.budget - longest.sum()).next_down());
            if tier.budget <= 0.0 {
                let net = match &seen {
                    Some((snapshot, net)) if Arc::ptr_eq(snapshot, &tier.snapshot) => *net, // neighbours often share one
                    _ => Longest::of(&Steps::from_rows(&tier.snapshot, to)).sum(),
                };
                seen = Some((Arc::clone(&tier.snapshot), net));
                tier.set_budget((tier.width - net).next_down());
            }
            if tier.budget <= 0.0 {
                due |= 1 << number;
            }
        }
        if due >> (self.tiers.len() - 1) & 1 == 1 || !from.has_copies_of(to) {
            Due::All
        } else {
            Due::Tiers(due)
        }
    }

    /// Take out the hot rows whose keys are used up; `compare` gives the margins between rows' labels and seconds.
    pub fn take_hot(&mut self, slots: &mut Vec<usize>, compare: impl FnOnce(&[Pair]) -> Vec<f64>) {
        let Self {
            tiers,
            hot,
            clocks,
            others,
            ..
        } = self;
        let (mut places, mut pairs, mut taken) = (Vec::new(), Vec::new(), Vec::new());
        for (place, row) in hot.iter().enumerate() {
            let [label, second] = [row.label, row.second].map(usize::from);
            let third_is_far = f64::from(row.third_key) > add_up(clocks[label], others[label]);
            let second_is_far = f64::from(row.key) > add_up(clocks[label], clocks[second]);
            if third_is_far && !second_is_far {
                places.push(place);
                pairs.push(row.pair());
            } else if !third_is_far {
                taken.push(place);
            }
        }
        let promoted = tiers.first().map_or(0.0, |tier| 2.0 * tier.width);
        for (&place, margin) in places.iter().zip(compare(&pairs)) {
            let row = &mut hot[place];
            if margin > 0.0 && margin < promoted {
                row.key = key(
                    margin,
                    clocks[row.label as usize],
                    clocks[row.second as usize],
                );
            } else {
                taken.push(place);
            }
        }
        slots.extend(taken.iter().map(|&place| hot[place].slot as usize));
        taken.sort_unstable();
        for place in taken.into_iter().rev() {
            hot.swap_remove(place);
        }
    }

    /// Take out the rows of due tiers, which start anew at these centres.
    pub fn take_tiers(&mut self, due: u32, centres: &Centres, slots: &mut Vec<usize>) {
        if due == 0 {
            return;
        }
        for (number, tier) in self.tiers.iter_mut().enumerate() {
            if due >> number & 1 == 1 {
                *tier = Tier::new(tier.width, centres.snapshot());
            }
        }
        #[allow(clippy::cast_possible_truncation)] // at most MAX_TIERS
        let n_tiers = self.tiers.len() as u8;
        let is_due = |tier: u8| u64::from(due) << 1 >> tier & 1 == 1;
        for (number, chunk) in self.tier_of.chunks(SCANNED).enumerate() {
            let mut found = 0;
            for tier in 1..=n_tiers {
                if is_due(tier) {
                    found |= chunk
                        .iter()
                        .fold(0, |found, &byte| found | u8::from(byte == tier));
                }
            }
            if found != 0 {
                let rows = chunk
                    .iter()
                    .enumerate()
                    .filter(|&(_, &tier)| tier < 64 && is_due(tier));
                slots.extend(rows.map(|(place, _)| number * SCANNED + place));
            }
        }
    }

    /// Mirror an erasure.
    pub fn erase(&mut self, erasure: &Erasure) {
        let dead = erasure.slots().iter().map(|&slot| slot as usize);
        let touches_hot = dead
            .chain(erasure.moves().map(|(from, _)| from))
            .any(|slot| self.tier_of[slot] == HOT);
        if touches_hot {
            self.hot.retain_mut(|row| {
                let target = erasure.target(row.slot);
                row.slot = target.unwrap_or(0);
                target.is_some()
            });
        }
        erasure.apply(&mut self.tier_of);
    }

    /// Number of hot rows.
    #[must_use]
    pub fn n_hot(&self) -> usize {
        self.hot.len()
    }

    /// Bytes allocated; snapshots count where they are taken.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        self.tier_of.capacity()
            + self.hot.capacity() * size_of::<Hot>()
            + self.tiers.capacity() * size_of::<Tier>()
            + (self.clocks.len() + self.others.len()) * size_of::<f64>()
    }
}

/// Tier bytes that are compared at once.
const SCANNED: usize = 64;

/// Widths of tiers: from just below a quantile of the margins, which many rows may share, doubling up to the median.
fn widths(
    n_rows: usize,
    margins: &mut [f64],
    n_features: usize,
) -> impl Iterator<Item = f64> + use<> {
    let n_drawn = margins.len();
    let mut at = |rank: usize| {
        if rank < n_drawn {
            *margins.select_nth_unstable_by(rank, f64::total_cmp).1
        } else {
            1.0
        }
    };
    let median = at(n_drawn / 2);
    let (first, last) = if median > 0.0 && median.is_finite() {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss
        )] // a rank
        let rank = (n_drawn as f64 * hot_share(n_rows, n_features)) as usize;
        (
            (0.99 * at(rank)).max(median / f64::from(1_u32 << (MAX_TIERS - 2))),
            median,
        )
    } else {
        (f64::MAX / 4.0, 0.0) // one cluster, or hardly a row with a margin
    };
    (0..MAX_TIERS)
        .map(move |doublings| (doublings, first * f64::from(1_u32 << doublings)))
        .take_while(move |&(doublings, width)| doublings == 0 || width < last)
        .map(|(_, width)| width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nearest(margin: f64) -> Nearest {
        Nearest {
            label: 0,
            second: 1,
            margin,
            third_margin: 2.0 * margin,
        }
    }

    fn reset(watch: &mut Watch, found: &[(u32, Nearest)], centres: &Centres) {
        let mut margins: Vec<_> = found.iter().map(|(_, nearest)| nearest.margin).collect();
        watch.restart(found.len(), &mut margins, centres);
        for (slot, nearest) in found {
            watch.place(*slot as usize, nearest);
        }
    }

    fn advance(watch: &mut Watch, from: &Centres, to: &Centres) -> Due {
        watch.advance(&Steps::between(from, to), from, to)
    }

    /// A row placed after the centres have moved is charged for the way that the tier has gone already.
    #[test]
    fn a_tier_charges_late_rows() {
        let mut tier = Tier::new(1.0, Arc::default());
        tier.set_budget(0.25);

        assert!(tier.entry > 1.75 && tier.entry < 1.750_001);
    }

    /// The maximum of sums would stay at 5 where a slower centre moves by 4.
    #[test]
    fn the_clock_of_the_others_sums_maxima() {
        let found: Vec<_> = (0..100).map(|slot| (slot, nearest(100.0))).collect();
        let at = |first: f64, second: f64, third: f64| Centres::new(vec![first, second, third], 1);
        let mut watch = Watch::absent(100);
        let start = at(0.0, 100.0, 200.0);
        reset(&mut watch, &found, &start);

        let middle = at(5.0, 100.0, 200.0);
        let end = at(5.0, 104.0, 200.0);
        assert_eq!(advance(&mut watch, &start, &middle), Due::Tiers(0));
        assert_eq!(advance(&mut watch, &middle, &end), Due::Tiers(0));

        assert!(watch.others[2] >= 9.0);
        assert!(watch.clocks[0] >= 5.0 && watch.clocks[1] >= 4.0);
    }

    /// While centres coincide, no margin says how far a row is from the later one: however little it moves away then.
    #[test]
    fn coinciding_centres_that_part_make_all_rows_due() {
        let found: Vec<_> = (0..100).map(|slot| (slot, nearest(10.0))).collect();
        let [together, parted] = [0.0, 1e-9].map(|x| Centres::new(vec![0.0, x, 50.0], 1));
        let mut watch = Watch::absent(100);
        reset(&mut watch, &found, &together);

        assert_eq!(advance(&mut watch, &together, &together), Due::Tiers(0));
        assert_eq!(advance(&mut watch, &together, &parted), Due::All);
    }

    /// Hot rows die with their rows and are renamed with those that move.
    #[test]
    fn erasing_keeps_hot_rows_in_step() {
        let mut found: Vec<_> = (0..100).map(|slot| (slot, nearest(10.0))).collect();
        found[3].1.margin = 1e-6;
        found[99].1.margin = 1e-6;
        let mut watch = Watch::absent(100);
        reset(&mut watch, &found, &Centres::new(vec![0.0, 50.0], 1));
        assert_eq!(watch.n_hot(), 2);

        watch.erase(&Erasure::new(vec![3], 100));
        assert_eq!(
            watch.hot.iter().map(|row| row.slot).collect::<Vec<_>>(),
            [3]
        );
        watch.erase(&Erasure::new(vec![3], 99));
        assert_eq!(watch.n_hot(), 0);
    }
}
