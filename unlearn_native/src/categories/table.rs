//! One feature's exact sums: the cells of its categories and class slots.

use super::CategoryError;
use crate::exact::{self, Part, UNIT_BLOCK, UNIT_SHIFT};

/// A block of weights, and how many rows have theirs in it.
pub(super) struct Block {
    pub(super) block: u8,
    pub(super) rows: i64,
}

/// A row of weight other than one, as the tables take it.
#[derive(Clone, Copy)]
pub(super) struct Weighted {
    /// Position of the weight's block among the blocks that have rows.
    pub(super) plane: usize,
    pub(super) integer: i128,
}

/// Exact sums of one feature; cell `category * n_slots + slot` of every vector belongs to a category and a class slot.
#[derive(Default)]
pub(super) struct Table {
    pub(super) n_slots: usize,
    /// Rows of weight one. Signed, so that a batch which forgets too much is seen, and undone.
    pub(super) units: Vec<i64>,
    /// Rows of other weights.
    weighted_rows: Vec<i64>,
    /// Their summed integers, one plane for each of `CategoryCounts::blocks`.
    pub(super) planes: Vec<Vec<i128>>,
}

impl Table {
    pub(super) fn n_categories(&self) -> usize {
        self.units.len().checked_div(self.n_slots).unwrap_or(0)
    }

    /// Rows of any weight in a cell; zero outside of the table.
    pub(super) fn rows(&self, cell: usize) -> i64 {
        self.units[cell] + self.weighted_rows[cell]
    }

    pub(super) fn nbytes(&self) -> usize {
        let sums: usize = self.planes.iter().map(Vec::capacity).sum();
        size_of::<i64>() * (self.units.capacity() + self.weighted_rows.capacity())
            + size_of::<i128>() * sums
    }

    pub(super) fn cell(&self, category: usize, slot: usize) -> Option<usize> {
        (category < self.n_categories() && slot < self.n_slots)
            .then_some(category * self.n_slots + slot)
    }

    /// Makes room for at least these categories and class slots. On failure some vectors may be longer, by zeros.
    pub(super) fn grow(
        &mut self,
        n_categories: usize,
        n_slots: usize,
    ) -> Result<(), CategoryError> {
        let n_categories = n_categories.max(self.n_categories());
        let n_slots = n_slots.max(self.n_slots);
        let n_cells = n_categories
            .checked_mul(n_slots)
            .ok_or(CategoryError::OutOfMemory)?;
        self.units
            .try_reserve(n_cells.saturating_sub(self.units.len()))?;
        self.weighted_rows
            .try_reserve(n_cells.saturating_sub(self.weighted_rows.len()))?;
        for plane in &mut self.planes {
            plane.try_reserve(n_cells.saturating_sub(plane.len()))?;
        }
        self.reshape(n_categories, n_slots);
        Ok(())
    }

    /// Moves the cells to a table of other sizes; what falls away must be zero. Allocates only beyond the capacity.
    pub(super) fn reshape(&mut self, n_categories: usize, n_slots: usize) {
        let (from, to) = (self.n_slots, n_slots);
        reshape(&mut self.units, from, n_categories, to);
        reshape(&mut self.weighted_rows, from, n_categories, to);
        for plane in &mut self.planes {
            reshape(plane, from, n_categories, to);
        }
        self.n_slots = n_slots;
    }

    /// Drops trailing categories without rows.
    pub(super) fn trim(&mut self) {
        let last = (0..self.units.len())
            .rev()
            .find(|&cell| self.rows(cell) != 0);
        let n_categories = last.map_or(0, |cell| cell / self.n_slots + 1);
        if n_categories < self.n_categories() {
            self.reshape(n_categories, self.n_slots);
        }
    }

    /// Adds `sign` rows of weight one, one a cell; returns whether a cell fell below zero.
    pub(super) fn add_units(&mut self, cells: &[usize], sign: i64) -> bool {
        let mut signs = 0;
        for &cell in cells {
            self.units[cell] += sign;
            signs |= self.units[cell];
        }
        signs < 0
    }

    /// Adds `sign` times a row; returns whether the cell is no longer what rows can sum to.
    pub(super) fn add_row(&mut self, cell: usize, row: Option<Weighted>, sign: i64) -> bool {
        let Some(Weighted { plane, integer }) = row else {
            self.units[cell] += sign;
            return self.units[cell] < 0;
        };
        self.weighted_rows[cell] += sign;
        self.planes[plane][cell] += integer * i128::from(sign);
        self.planes[plane][cell] < 0
            || self.weighted_rows[cell] == 0 && self.planes.iter().any(|plane| plane[cell] != 0)
    }

    /// The exact sum in a block.
    pub(super) fn integer(&self, cell: usize, block: u8, plane: Option<usize>) -> i128 {
        let units = if block == UNIT_BLOCK {
            i128::from(self.units[cell]) << UNIT_SHIFT
        } else {
            0
        };
        units + plane.map_or(0, |plane| self.planes[plane][cell])
    }

    /// The summed weight of a cell, rounded once; zero outside of the table.
    pub(super) fn sum(
        &self,
        category: usize,
        slot: usize,
        blocks: &[Block],
        parts: &mut Vec<Part>,
    ) -> f64 {
        let Some(cell) = self.cell(category, slot) else {
            return 0.0;
        };
        parts.clear();
        parts.push(Part {
            block: UNIT_BLOCK,
            integer: i128::from(self.units[cell]) << UNIT_SHIFT,
        });
        parts.extend(blocks.iter().zip(&self.planes).map(|(of, plane)| Part {
            block: of.block,
            integer: plane[cell],
        }));
        exact::round_sum(parts)
    }
}

/// Moves a category-major vector from `from` to `to` class slots a category.
fn reshape<N: Copy + Default>(cells: &mut Vec<N>, from: usize, n_categories: usize, to: usize) {
    let zero = N::default();
    let kept = cells.len().checked_div(from).unwrap_or(0).min(n_categories);
    if to > from {
        cells.resize(n_categories * to, zero);
        for category in (0..kept).rev() {
            cells.copy_within(category * from..(category + 1) * from, category * to);
            cells[category * to + from..(category + 1) * to].fill(zero);
        }
    } else if to < from {
        for category in 0..kept {
            cells.copy_within(category * from..category * from + to, category * to);
        }
        cells.truncate(kept * to);
    }
    cells.resize(n_categories * to, zero);
    // A category number may be huge, and forgotten.
    if cells.len() < cells.capacity() / 4 {
        cells.shrink_to(2 * cells.len());
    }
}
