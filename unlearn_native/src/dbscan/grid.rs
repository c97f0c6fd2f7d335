//! Where to look for rows that are near: cells over a few columns. It depends on history, and decides nothing.

use std::collections::HashMap;

use zeroize::Zeroize;

use crate::kmeans::slots::Erasure;

/// Columns that cells are made of: a search looks at the 3^3 cells around a row, whatever the number of columns.
const MOST_COLUMNS: usize = 3;

/// Cells are wider than `eps`, so that no rounding puts two near rows more than one cell apart.
const WIDENING: f64 = 1.0 + 1.0 / 65536.0;

/// Widths do not fall below this: the squares of smaller gaps underflow, and then they are no gaps.
const LEAST_WIDTH: f64 = f64::from_bits((1023 - 500) << 52);

/// Largest number of a cell. Up to here a number errs by less than what cells are wider than `eps`; what is farther out
/// shares the last cell.
const FARTHEST: f64 = 1_073_741_824.0; // 2^30

/// Cells between two places from which they may be counted.
const COARSENESS: f64 = 1_048_576.0; // 2^20

type CellKey = [i32; MOST_COLUMNS];

#[derive(Clone, Debug)]
struct Cell {
    key: CellKey,
    slots: Vec<u32>,
}

/// Slots by cell.
#[derive(Clone, Debug, Default)]
pub struct Grid {
    columns: Vec<usize>,
    origin: Vec<f64>,
    width: f64,
    numbers: HashMap<CellKey, u32>,
    /// None is empty.
    cells: Vec<Cell>,
    cell_of: Vec<u32>,
    /// Where a slot stands in its cell.
    place_of: Vec<u32>,
}

impl Grid {
    /// Without rows; cells are made of the columns that tell the rows of a sample apart best, column after column of it.
    #[must_use]
    pub fn new(eps: f64, sample: &[Vec<f64>]) -> Self {
        let width = eps.max(LEAST_WIDTH) * WIDENING;
        let origins: Vec<f64> = sample.iter().map(|column| origin(column, width)).collect();
        let pairs = |column: usize| pairs_in_cells(&sample[column], origins[column], width);
        let mut columns: Vec<usize> = (0..sample.len()).collect();
        columns.sort_by_cached_key(|&column| pairs(column));
        columns.truncate(MOST_COLUMNS);
        Self {
            origin: columns.iter().map(|&column| origins[column]).collect(),
            columns,
            width,
            ..Self::default()
        }
    }

    fn key(&self, point: &[f64]) -> CellKey {
        let mut key = [0; MOST_COLUMNS];
        for ((number, &column), origin) in key.iter_mut().zip(&self.columns).zip(&self.origin) {
            *number = cell_number(point[column], *origin, self.width);
        }
        key
    }

    /// Number of slots.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cell_of.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cell_of.is_empty()
    }

    /// Append a row.
    #[allow(clippy::cast_possible_truncation)] // slots are u32, and there are no more cells than slots
    pub fn push(&mut self, point: &[f64]) {
        let key = self.key(point);
        let next = self.cells.len() as u32;
        let number = *self.numbers.entry(key).or_insert(next);
        if number == next {
            let slots = Vec::new();
            self.cells.push(Cell { key, slots });
        }
        let cell = &mut self.cells[number as usize].slots;
        self.place_of.push(cell.len() as u32);
        cell.push(self.cell_of.len() as u32);
        self.cell_of.push(number);
    }

    /// Visit the slots of all rows that may be near a point, and others.
    pub fn around(&self, point: &[f64], mut visit: impl FnMut(u32)) {
        let centre = self.key(point);
        let mut offsets = [-1; MOST_COLUMNS];
        offsets[self.columns.len()..].fill(0);
        loop {
            let mut key = centre;
            for (number, offset) in key.iter_mut().zip(offsets) {
                *number += offset;
            }
            if let Some(&number) = self.numbers.get(&key) {
                let slots = &self.cells[number as usize].slots;
                for &slot in slots {
                    visit(slot);
                }
            }
            let Some(column) = (0..self.columns.len()).find(|&column| offsets[column] < 1) else {
                return;
            };
            offsets[column] += 1;
            offsets[..column].fill(-1);
        }
    }

    /// Mirror an erasure.
    #[allow(clippy::cast_possible_truncation)] // slots are u32
    pub fn erase(&mut self, erasure: &Erasure) {
        for &slot in erasure.slots() {
            self.take_out(slot);
        }
        for (from, to) in erasure.moves() {
            let [cell, place] = [&self.cell_of, &self.place_of].map(|column| column[from] as usize);
            self.cells[cell].slots[place] = to as u32;
        }
        erasure.apply(&mut self.cell_of);
        erasure.apply(&mut self.place_of);
    }

    fn take_out(&mut self, slot: u32) {
        let [number, place] = [&self.cell_of, &self.place_of].map(|column| column[slot as usize]);
        let slots = &mut self.cells[number as usize].slots;
        slots.swap_remove(place as usize);
        if let Some(&moved) = slots.get(place as usize) {
            self.place_of[moved as usize] = place;
        }
        if slots.is_empty() {
            self.drop_cell(number);
        }
    }

    /// Drop an empty cell; the last one takes its number.
    fn drop_cell(&mut self, number: u32) {
        let mut gone = self.cells.swap_remove(number as usize);
        self.numbers.remove(&gone.key);
        gone.key.zeroize();
        if let Some(moved) = self.cells.get(number as usize) {
            self.numbers.insert(moved.key, number);
            for &slot in &moved.slots {
                self.cell_of[slot as usize] = number;
            }
        }
    }

    /// Bytes allocated, about.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        let slots: usize = self.cells.iter().map(|cell| cell.slots.capacity()).sum();
        4 * (slots + self.cell_of.capacity() + self.place_of.capacity())
            + self.cells.capacity() * size_of::<Cell>()
            + self.numbers.capacity() * (size_of::<(CellKey, u32)>() + 1)
    }
}

#[allow(clippy::cast_possible_truncation)] // at most 2^30
fn cell_number(x: f64, origin: f64, width: f64) -> i32 {
    ((x - origin) / width).clamp(-FARTHEST, FARTHEST).floor() as i32
}

/// Where cells are counted from: below all values, and so coarse that it is no value of a row.
fn origin(column: &[f64], width: f64) -> f64 {
    let least = column.iter().copied().fold(f64::INFINITY, f64::min);
    let step = width * COARSENESS;
    let origin = (least / step).floor() * step;
    if origin.is_finite() { origin } else { 0.0 }
}

/// How many pairs of values share a cell: the fewer, the more rows a search leaves out.
fn pairs_in_cells(column: &[f64], origin: f64, width: f64) -> usize {
    let mut cells: Vec<i32> = column
        .iter()
        .map(|&x| cell_number(x, origin, width))
        .collect();
    cells.sort_unstable();
    let runs = cells.chunk_by(|left, right| left == right);
    runs.map(|run| run.len() * run.len()).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn narrow(slot: usize) -> u32 {
        u32::try_from(slot).unwrap_or(u32::MAX)
    }

    fn found(grid: &Grid, point: &[f64]) -> Vec<u32> {
        let mut slots = Vec::new();
        grid.around(point, |slot| slots.push(slot));
        slots.sort_unstable();
        slots
    }

    proptest! {
        /// Whatever came and went, all rows within `eps` are among those found, each once.
        #[test]
        fn no_near_row_is_missed(
            points in prop::collection::vec(prop::array::uniform2(-4_i32..4), 1..30),
            mask: u32,
            scale in 0_usize..4,
        ) {
            let scale = [1.0, 1e-170, 1e90, 0.1][scale];
            let points: Vec<_> = points.iter().map(|point| point.map(|x| f64::from(x) * scale)).collect();
            let sample = [0, 1].map(|column| points[..1].iter().map(|point| point[column]).collect());
            let mut grid = Grid::new(scale, &sample);
            for point in &points {
                grid.push(point);
            }
            let slots: Vec<u32> = (0..32).filter(|&slot| slot < points.len() && mask >> slot & 1 == 1).map(narrow).collect();
            let erasure = Erasure::new(slots, grid.len());
            grid.erase(&erasure);

            let mut left = points.clone();
            for &slot in erasure.slots().iter().rev() {
                left.swap_remove(slot as usize);
            }
            prop_assert_eq!(grid.len(), left.len());
            for point in &points {
                let slots = found(&grid, point);
                prop_assert!(slots.windows(2).all(|pair| pair[0] < pair[1]));
                for (slot, other) in left.iter().enumerate() {
                    let is_near = point.iter().zip(other).all(|(x, y)| (x - y).abs() <= scale);
                    prop_assert!(!is_near || slots.contains(&narrow(slot)));
                }
            }
        }
    }
}
