//! The first rows by a tree's own priority, for trees of so many rows each: isolation forests.
//!
//! A row is in a tree if fewer than `n` live rows come before it, so one that goes lets the next one in, and one that
//! comes may push the last one out. Priorities are those that decide every draw of rows, see [`super::mix`].

use super::mix;
use super::rows::RowTable;
use super::sums::Change;

/// Priority, tag and handle.
type Ranked = (u64, u128, u32);

/// The rows of a tree.
pub struct FirstRows {
    n: usize,
    draw: u64,
    /// By priority.
    rows: Vec<Ranked>,
}

/// Handles of rows that go into a tree, and of those that leave it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// Into it.
    pub coming: Vec<u32>,
    /// Out of it.
    pub going: Vec<u32>,
}

impl FirstRows {
    /// The first `n` rows of a tree, of none.
    #[must_use]
    pub fn new(n: u32, draw: u64) -> Self {
        Self {
            n: n as usize,
            draw,
            rows: Vec::new(),
        }
    }

    /// Handles of the rows.
    pub fn handles(&self) -> impl Iterator<Item = u32> {
        self.rows.iter().map(|row| row.2)
    }

    /// Bytes allocated.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        self.rows.capacity() * size_of::<Ranked>()
    }

    fn rank(&self, table: &RowTable, row: u32) -> Ranked {
        let tag = table.tag(row);
        (mix::row_priority(self.draw, tag), tag, row)
    }

    /// Finds the rows among these, which are all that may be in a tree.
    pub fn find(&mut self, table: &RowTable, rows: &[u32]) {
        let mut ranked: Vec<Ranked> = rows.iter().map(|&row| self.rank(table, row)).collect();
        if self.n < ranked.len() {
            ranked.select_nth_unstable(self.n);
            ranked.truncate(self.n);
        }
        ranked.sort_unstable();
        ranked.shrink_to_fit();
        self.rows = ranked;
    }

    /// Takes on rows that come or go; `live` are all that may be in a tree, read only if others have to move up.
    pub fn exchange<I: Iterator<Item = u32>>(
        &mut self,
        table: &RowTable,
        change: Change,
        rows: &[u32],
        live: impl Fn() -> I,
    ) -> Exchange {
        let changed: Vec<Ranked> = rows.iter().map(|&row| self.rank(table, row)).collect();
        match change {
            Change::Learn => self.let_in(&changed),
            Change::Forget => {
                let mut exchange = self.let_out(&changed);
                if !exchange.going.is_empty() {
                    exchange.coming = self.move_up(table, live());
                }
                exchange
            }
        }
    }

    fn let_in(&mut self, changed: &[Ranked]) -> Exchange {
        let is_last = |row: &Ranked| self.rows.len() == self.n && self.rows.last() < Some(row);
        let mut coming: Vec<Ranked> = changed
            .iter()
            .filter(|row| !is_last(row))
            .copied()
            .collect();
        if coming.is_empty() {
            return Exchange::default();
        }
        coming.sort_unstable();
        self.rows.extend_from_slice(&coming);
        self.rows.sort_unstable();
        let out = self.rows.split_off(self.n.min(self.rows.len()));
        // Rows that came last of many may be out again at once.
        let (never_in, going): (Vec<Ranked>, Vec<Ranked>) = out
            .into_iter()
            .partition(|row| coming.binary_search(row).is_ok());
        coming.retain(|row| !never_in.contains(row));
        Exchange {
            coming: handles(&coming),
            going: handles(&going),
        }
    }

    fn let_out(&mut self, changed: &[Ranked]) -> Exchange {
        let mut going = Vec::new();
        for row in changed {
            if let Ok(at) = self.rows.binary_search(row) {
                self.rows.remove(at);
                going.push(row.2);
            }
        }
        Exchange {
            coming: Vec::new(),
            going,
        }
    }

    /// Lets in the next rows after the last one, as many as there is room for.
    fn move_up(&mut self, table: &RowTable, live: impl Iterator<Item = u32>) -> Vec<u32> {
        let n_kept = self.rows.len();
        let room = self.n - n_kept;
        let mut next: Vec<Ranked> = Vec::new();
        for row in live {
            let ranked = self.rank(table, row);
            let at = next.partition_point(|other| *other < ranked);
            if at < room && self.rows.binary_search(&ranked).is_err() {
                next.insert(at, ranked);
                next.truncate(room);
            }
        }
        self.rows.extend_from_slice(&next);
        self.rows.sort_unstable();
        handles(&next)
    }
}

fn handles(rows: &[Ranked]) -> Vec<u32> {
    rows.iter().map(|row| row.2).collect()
}
