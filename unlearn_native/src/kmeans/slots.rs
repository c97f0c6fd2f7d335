//! Columns of bytes by slot, which mirror what a row store does when rows are erased: the last ones fill the gaps.

use zeroize::Zeroize;

/// Rows that left the store, and where the ones that filled their places came from.
#[derive(Clone, Debug)]
pub struct Erasure {
    /// Slots that were erased, ascending.
    slots: Vec<u32>,
    /// Slots that are left.
    n_left: usize,
    /// Where the row in slot `n_left + i` went; None: it was erased.
    targets: Vec<Option<u32>>,
}

impl Erasure {
    /// Of ascending slots out of `n_before`.
    ///
    /// # Panics
    /// If there are more slots than rows.
    #[must_use]
    pub fn new(slots: Vec<u32>, n_before: usize) -> Self {
        let n_left = n_before - slots.len();
        let tail = |slot: u32| (slot as usize).checked_sub(n_left);
        let mut targets = vec![None; slots.len()];
        // The rows in the tail, as they move towards the front: the store erases the last slot first.
        let mut occupants: Vec<usize> = (0..slots.len()).collect();
        for (last, &slot) in (0..slots.len()).rev().zip(slots.iter().rev()) {
            let moved = occupants[last];
            match tail(slot) {
                Some(place) => occupants[place] = moved,
                None => targets[moved] = Some(slot),
            }
        }
        Self {
            slots,
            n_left,
            targets,
        }
    }

    /// Slots that were erased, ascending.
    #[must_use]
    pub fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// Number of slots that are left.
    #[must_use]
    pub fn n_left(&self) -> usize {
        self.n_left
    }

    /// Where a row is now; None: it was erased.
    #[must_use]
    pub fn target(&self, slot: u32) -> Option<u32> {
        match (slot as usize).checked_sub(self.n_left) {
            Some(place) => self.targets[place],
            None => self.slots.binary_search(&slot).is_err().then_some(slot),
        }
    }

    /// Moves (from, to) of rows.
    pub fn moves(&self) -> impl Iterator<Item = (usize, usize)> {
        let tail = self.targets.iter().enumerate();
        tail.filter_map(|(place, target)| {
            target.map(|target| (self.n_left + place, target as usize))
        })
    }

    /// Do to a column what the store did to its rows. Places that are given up are zeroised.
    pub fn apply<T: Copy + Zeroize>(&self, column: &mut Vec<T>) {
        for (from, to) in self.moves() {
            column[to] = column[from];
        }
        column[self.n_left..].iter_mut().for_each(Zeroize::zeroize);
        column.truncate(self.n_left);
    }
}

/// Cluster numbers by slot: a byte each, and another one only where there are more than 256 clusters.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    low: Vec<u8>,
    high: Option<Vec<u8>>,
}

impl Labels {
    /// Of `n_slots` rows, all 0.
    #[must_use]
    pub fn zero(n_clusters: usize, n_slots: usize) -> Self {
        Self {
            low: vec![0; n_slots],
            high: (n_clusters > 256).then(|| vec![0; n_slots]),
        }
    }

    /// Number of slots.
    #[must_use]
    pub fn len(&self) -> usize {
        self.low.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.low.is_empty()
    }

    /// Label of a row.
    #[inline]
    #[must_use]
    pub fn get(&self, slot: usize) -> u16 {
        let high = self.high.as_ref().map_or(0, |high| high[slot]);
        u16::from_le_bytes([self.low[slot], high])
    }

    /// Give a row a label.
    #[inline]
    pub fn set(&mut self, slot: usize, label: u16) {
        let [low, high] = label.to_le_bytes();
        self.low[slot] = low;
        if let Some(column) = &mut self.high {
            column[slot] = high;
        }
    }

    /// Append a label.
    pub fn push(&mut self, label: u16) {
        let [low, high] = label.to_le_bytes();
        self.low.push(low);
        if let Some(column) = &mut self.high {
            column.push(high);
        }
    }

    /// Number of rows, of those that both have, whose labels differ.
    #[must_use]
    pub fn n_different(&self, other: &Self) -> u64 {
        match (&self.high, &other.high) {
            (Some(high), Some(other_high)) => {
                let rows = self
                    .low
                    .iter()
                    .zip(high)
                    .zip(other.low.iter().zip(other_high));
                rows.filter(|(left, right)| left != right).count() as u64
            }
            _ => n_different(&self.low, &other.low),
        }
    }

    /// Mirror an erasure.
    pub fn erase(&mut self, erasure: &Erasure) {
        erasure.apply(&mut self.low);
        if let Some(column) = &mut self.high {
            erasure.apply(column);
        }
    }

    /// Bytes allocated.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        self.low.capacity() + self.high.as_ref().map_or(0, Vec::capacity)
    }
}

/// Number of places where bytes differ, counted in bytes first, so that many go at once.
fn n_different(left: &[u8], right: &[u8]) -> u64 {
    let n = left.len().min(right.len());
    let blocks = left[..n].chunks(128).zip(right[..n].chunks(128));
    blocks
        .map(|(left, right)| {
            let differing = left
                .iter()
                .zip(right)
                .map(|(left, right)| u8::from(left != right));
            u64::from(differing.fold(0_u8, u8::wrapping_add)) // at most 128
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The moves are those of erasing one slot after the other, the last first.
        #[test]
        fn an_erasure_is_a_sequence_of_swap_removes(n in 1_u32..40, mask: u64) {
            let slots: Vec<u32> = (0..n).filter(|slot| mask >> slot & 1 == 1).collect();
            let mut one_by_one: Vec<u32> = (0..n).collect();
            for &slot in slots.iter().rev() {
                one_by_one.swap_remove(slot as usize);
            }

            let erasure = Erasure::new(slots.clone(), n as usize);
            let mut at_once: Vec<u32> = (0..n).collect();
            erasure.apply(&mut at_once);

            prop_assert_eq!(&at_once, &one_by_one);
            for slot in 0..n {
                let found = one_by_one.iter().position(|&row| row == slot);
                prop_assert_eq!(erasure.target(slot).map(|target| target as usize), found);
            }
        }
    }
}
