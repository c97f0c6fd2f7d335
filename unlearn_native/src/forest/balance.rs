//! Weights that make classes weigh alike, and seldom change: `class_weight="balanced"`.
//!
//! scikit-learn weighs the rows of a class by `n / (k n_c)`, for `n_c` rows of it among `n` of `k` classes: other numbers
//! after every deletion. Here `r = n / n_c` is taken to the middle of a keyed interval, and is the same until a count has
//! left that. With the piecewise linear logarithm `l(2^a (1 + s)) = a + s`, `0 <= s < 1`, the intervals are those in which
//! `6 l(r) + phase` has one integer part: each is a sixth of an octave, so no weight is more than 1 / 11 off. As all
//! of this is rational, the multipliers are integers without a rounding that could differ between machines.
//!
//! Multipliers are not part of any count of a node: they enter when splits are scored and when leaves answer.

use super::mix;
use super::numbers::narrowed;
use crate::identity::{IdentityError, PrfKey};

/// Intervals an octave.
const STEPS: u128 = 6;
/// Bits of a phase, and of places on the line of intervals.
const PHASE_BITS: u32 = 32;
/// Bits of the multiplier of a class that has all rows, where there is room.
const UNIT_BITS: u32 = 16;
/// Bits that the sum of all weights of a tree may have, a bootstrap of many copies aside.
const SUM_BITS: u32 = 57;

/// Over which rows classes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// All of them.
    Forest,
    /// Those of each tree, with their copies.
    Trees,
}

/// What the weights of classes are multiplied with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multipliers {
    /// By class slot; without any, all are one.
    of_slots: Vec<i64>,
    /// What a weight of one has become.
    unit: i64,
}

/// All weights stay what they are.
pub static NONE: Multipliers = Multipliers {
    of_slots: Vec::new(),
    unit: 1,
};

impl Multipliers {
    /// Those of classes with these counts; with weights in fixed point of so many bits beside them.
    #[must_use]
    pub fn of(counts: &[u64], phase: u32, weight_bits: u32) -> Self {
        let n: u64 = counts.iter().sum();
        let k = counts.iter().filter(|&&count| count > 0).count() as u64;
        let bits = |x: u64| u64::BITS - x.leading_zeros();
        let unit_bits = SUM_BITS
            .saturating_sub(weight_bits + bits(n) + bits(k))
            .clamp(1, UNIT_BITS);
        let of_slots = counts.iter().map(|&count| {
            if count == 0 {
                0
            } else {
                multiplier(n.into(), count.into(), phase, unit_bits)
            }
        });
        Self {
            of_slots: of_slots.collect(),
            unit: narrowed(u128::from(k.max(1)) << unit_bits),
        }
    }

    /// By class slot; empty if all are one.
    #[must_use]
    pub fn of_slots(&self) -> &[i64] {
        &self.of_slots
    }

    /// What a weight of one has become.
    #[must_use]
    pub fn unit(&self) -> i64 {
        self.unit
    }

    /// The weight of a class slot, multiplied.
    #[must_use]
    pub fn times(&self, slot: usize, weight: i64) -> i64 {
        weight * self.of_slots.get(slot).copied().unwrap_or(1)
    }

    /// All class weights of a node, multiplied.
    #[must_use]
    pub fn times_all(&self, sums: &[i64]) -> Vec<i64> {
        (0..)
            .zip(sums)
            .map(|(slot, &sum)| self.times(slot, sum))
            .collect()
    }
}

/// The middle of the interval of `n / n_c`, in units of `2^-unit_bits`.
fn multiplier(n: u128, n_c: u128, phase: u32, unit_bits: u32) -> i64 {
    let octave = (n / n_c).ilog2();
    let base = n_c << octave;
    let turn = STEPS << PHASE_BITS;
    let place = u128::from(octave) * turn + ((n - base) * turn) / base + u128::from(phase);
    // The middle may lie below r = 1, by less than the octave that is added here and taken off below.
    let middle =
        ((place >> PHASE_BITS) << PHASE_BITS) + (1 << (PHASE_BITS - 1)) + turn - u128::from(phase);
    let [octave, rest] = [middle / turn, middle % turn];
    narrowed((((turn + rest) << unit_bits) << octave) / turn / 2).max(1)
}

/// The counts of classes over the rows of a forest, or of each tree, and the multipliers that follow from them.
pub struct Balanced {
    scopes: Vec<Scope>,
    /// Whether the counts are those of the live rows.
    pub(super) is_counted: bool,
}

struct Scope {
    phase: u32,
    counts: Vec<u64>,
    multipliers: Multipliers,
}

impl Balanced {
    /// No rows yet. Classes are counted over all rows, and perhaps over those of so many trees.
    ///
    /// # Errors
    /// None in fact: see [`mix::class_weight_phase`].
    pub fn new(
        balance: Option<Balance>,
        n_trees: u32,
        key: &PrfKey,
    ) -> Result<Self, IdentityError> {
        let n_scopes = match balance {
            None => 0,
            Some(Balance::Forest) => 1,
            Some(Balance::Trees) => 1 + n_trees,
        };
        let scope = |number| {
            Ok(Scope {
                phase: mix::class_weight_phase(key, number)?,
                counts: Vec::new(),
                multipliers: Multipliers::of(&[], 0, 0),
            })
        };
        Ok(Self {
            scopes: (0..n_scopes).map(scope).collect::<Result<_, _>>()?,
            is_counted: true,
        })
    }

    /// Whether classes are to be balanced.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.scopes.is_empty()
    }

    /// Whether each tree has multipliers of its own.
    #[must_use]
    pub fn is_by_tree(&self) -> bool {
        self.scopes.len() > 1
    }

    /// Multipliers over all rows.
    #[must_use]
    pub fn of_all(&self) -> &Multipliers {
        self.scopes
            .first()
            .map_or(&NONE, |scope| &scope.multipliers)
    }

    /// Multipliers of a tree.
    #[must_use]
    pub fn of_tree(&self, tree: usize) -> &Multipliers {
        self.scopes
            .get(1 + tree)
            .map_or(self.of_all(), |scope| &scope.multipliers)
    }

    /// Counts from here on start at zero.
    pub fn clear(&mut self) {
        self.scopes
            .iter_mut()
            .for_each(|scope| scope.counts.clear());
    }

    /// Adds copies of rows of a class, or takes them out: over all rows (`None`) or in a tree.
    pub fn count(
        &mut self,
        tree: Option<usize>,
        n_slots: usize,
        changes: impl Iterator<Item = (usize, i64)>,
    ) {
        let counts = &mut self.scopes[tree.map_or(0, |tree| 1 + tree)].counts;
        counts.resize(n_slots, 0);
        for (slot, copies) in changes {
            counts[slot] = counts[slot].wrapping_add_signed(copies);
        }
    }

    /// Takes on the multipliers that follow from the counts; whether those over all rows or of a tree are others now.
    pub fn settle(&mut self, tree: Option<usize>, n_slots: usize, weight_bits: u32) -> bool {
        let scope = &mut self.scopes[tree.map_or(0, |tree| 1 + tree)];
        scope.counts.resize(n_slots, 0);
        let new = Multipliers::of(&scope.counts, scope.phase, weight_bits);
        let is_new = new != scope.multipliers;
        scope.multipliers = new;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every weight is within 1 / 11 of scikit-learn's, whatever the counts and the phase are.
    #[test]
    fn weights_are_about_those_of_scikit_learn() {
        for phase in [0, 1 << 30, 1 << 31, u32::MAX] {
            for n_c in [1_u32, 2, 3, 5, 17, 1000, 65_535, 99_999] {
                let n = 100_000;
                let found =
                    f64::from(u32::try_from(multiplier(n, n_c.into(), phase, 8)).expect("small"));
                let ratio = found / 256.0 * f64::from(n_c) / 1e5;
                assert!(
                    (10.0 / 11.0 - 0.01..=12.0 / 11.0 + 0.01).contains(&ratio),
                    "{ratio}"
                );
            }
        }
    }

    /// Multipliers move in steps: six while a class loses half of its rows, and few while the ratio of the others changes.
    #[test]
    fn multipliers_seldom_change() {
        let at = |n: u64| Multipliers::of(&[n, 100_000], 123_456_789, 0);
        let n_changes = (5_000..10_000).filter(|&n| at(n) != at(n + 1)).count();
        assert!((5..=8).contains(&n_changes), "{n_changes}");
    }

    #[test]
    fn sums_have_room() {
        let counts = [u64::from(u32::MAX); 4];
        for weight_bits in [0, 24] {
            let multipliers = Multipliers::of(&counts, 7, weight_bits);
            let total: i128 = multipliers
                .of_slots()
                .iter()
                .map(|&m| (i128::from(m) * i128::from(u32::MAX)) << weight_bits)
                .sum();
            assert!(total < i128::from(i64::MAX));
        }
    }
}
