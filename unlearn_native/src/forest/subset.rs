//! Rows of a subtree, copied side by side: growing reads them many times, from wherever they are in the table.
//!
//! Nodes own ranges of an order of these rows. Splitting a node reorders its range, its left child's rows first.

use zeroize::Zeroize;

use super::grow::goes_left;
use super::rows::RowTable;
use super::split::Split;
use super::sums::{Amount, Member};

/// Copies of rows, and the order that their nodes are in.
#[derive(Default)]
pub struct Subset {
    /// Column after column: a node reads few of them, and each at many places.
    values: Vec<f32>,
    amounts: Vec<Amount>,
    /// Low halves of the tags.
    tags: Vec<u64>,
    rows: Vec<u32>,
    order: Vec<u32>,
    /// Room for the rows of a right child.
    right: Vec<u32>,
}

impl Drop for Subset {
    fn drop(&mut self) {
        self.erase();
    }
}

impl Subset {
    /// Zeroises the rows. What lies behind them is zero already.
    pub fn erase(&mut self) {
        self.values.as_mut_slice().zeroize();
        self.tags.as_mut_slice().zeroize();
        self.amounts.fill(Amount::default());
        self.values.clear();
        self.tags.clear();
        self.amounts.clear();
        self.rows.clear();
        self.order.clear();
    }

    /// Takes copies of these rows instead of those before.
    pub fn fill(
        &mut self,
        table: &RowTable,
        width: usize,
        members: impl ExactSizeIterator<Item = Member>,
    ) {
        self.erase();
        // Growing would leave copies behind.
        self.values.reserve_exact(members.len() * width);
        self.values.resize(members.len() * width, 0.0);
        self.tags.reserve_exact(members.len());
        self.amounts.reserve_exact(members.len());
        let n = members.len();
        for (place, member) in (0..).zip(members) {
            let cells = self.values.iter_mut().skip(place as usize).step_by(n);
            for (cell, &x) in cells.zip(table.values(member.row)) {
                *cell = x;
            }
            self.amounts.push(table.amount(member));
            self.tags.push(table.tag_low(member.row));
            self.rows.push(member.row);
            self.order.push(place);
        }
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Places of the rows of a node.
    #[must_use]
    pub fn places(&self, start: usize, stop: usize) -> &[u32] {
        &self.order[start..stop]
    }

    /// Handles of the rows of a node.
    #[must_use]
    pub fn handles(&self, start: usize, stop: usize) -> impl ExactSizeIterator<Item = u32> {
        self.order[start..stop]
            .iter()
            .map(|&place| self.rows[place as usize])
    }

    /// Values of a feature, by place.
    #[inline]
    #[must_use]
    pub fn column(&self, feature: u32) -> &[f32] {
        let n = self.order.len();
        &self.values[feature as usize * n..(feature as usize + 1) * n]
    }

    /// What a row adds to sums.
    #[inline]
    #[must_use]
    pub fn amount(&self, place: u32) -> Amount {
        self.amounts[place as usize]
    }

    /// Low half of the tag.
    #[inline]
    #[must_use]
    pub fn tag_low(&self, place: u32) -> u64 {
        self.tags[place as usize]
    }

    /// Handle of a row.
    #[inline]
    #[must_use]
    pub fn row(&self, place: u32) -> u32 {
        self.rows[place as usize]
    }

    /// Reorders the rows of a node by a split, those that go left first, and returns how many they are.
    pub fn part(&mut self, start: usize, stop: usize, split: Split) -> usize {
        let n = self.order.len();
        let column = &self.values[split.feature as usize * n..(split.feature as usize + 1) * n];
        let order = &mut self.order[start..stop];
        self.right.resize(order.len(), 0);
        let [mut n_left, mut n_right] = [0, 0];
        // Each row is written to both sides, which takes no branch: that would be a coin toss. Rows stay in order on both,
        // so that columns are read from one end to the other.
        for at in 0..order.len() {
            let place = order[at];
            let is_left = goes_left(split, false, column[place as usize]);
            order[n_left] = place;
            self.right[n_right] = place;
            n_left += usize::from(is_left);
            n_right += usize::from(!is_left);
        }
        order[n_left..].copy_from_slice(&self.right[..n_right]);
        n_left
    }
}
