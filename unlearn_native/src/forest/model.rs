//! All trees of a forest, and the rows that they are a function of.

use std::sync::{Mutex, PoisonError};

use thiserror::Error;
use zeroize::Zeroizing;

use super::grow::{Bench, Counters, Tree};
use super::mix;
use super::params::{Params, Sampling};
use super::rows::{Batch, RowTable, RowsError};
use super::split::Context;
use super::sums::{Change, Member};
use crate::identity::{IdentityError, PrfKey};
use crate::pool::PoolError;

/// Trees are started over if more than 1 / this of the rows change. Costs differ, not results.
const LARGE_SHARE: usize = 3;

/// Why something was not done.
#[derive(Debug, Error)]
pub enum ForestError {
    /// The rows are at fault.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// Memory is short: trees that are not whole are grown again later.
    #[error("Not enough memory for the trees. They are grown again at the next call.")]
    Pool(#[from] PoolError),
    /// The key's fault.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// What a prediction consists of.
#[derive(Clone, Copy, Debug)]
pub enum Output<'a> {
    /// The mean of the targets.
    Mean,
    /// The shares of these class slots.
    Classes(&'a [usize]),
}

impl Output<'_> {
    /// Numbers a row.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Mean => 1,
            Self::Classes(slots) => slots.len(),
        }
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A forest: a function of the live rows, the parameters and the key.
pub struct Forest {
    params: Params,
    rows: RowTable,
    trees: Vec<Tree>,
    draws: Vec<u64>,
    /// Unlinked rows whose values are not erased yet: something went wrong in between.
    leaving: Vec<u32>,
    version: u64,
}

impl Forest {
    /// A forest without rows.
    ///
    /// # Errors
    /// None in fact: see [`mix::tree_tags`].
    pub fn new(params: Params, key: &Zeroizing<PrfKey>) -> Result<Self, ForestError> {
        let tags = (0..params.n_trees)
            .map(|tree| mix::tree_tags(key, tree))
            .collect::<Result<Vec<_>, _>>()?;
        let mut forest = Self {
            rows: RowTable::new(&params),
            params,
            draws: tags.iter().map(|tags| tags.draw).collect(),
            trees: tags.into_iter().map(Tree::new).collect(),
            leaving: Vec::new(),
            version: 0,
        };
        forest.restart()?;
        Ok(forest)
    }

    /// Parameters.
    #[must_use]
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> &RowTable {
        &self.rows
    }

    /// Trees.
    #[must_use]
    pub fn trees(&self) -> &[Tree] {
        &self.trees
    }

    /// How often the set of rows changed.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for tree in &self.trees {
            sum += tree.counters;
        }
        sum
    }

    /// Whether no change of a tree was cut short.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.trees.iter().all(|tree| tree.is_whole)
    }

    /// Whether no node is stale.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.trees.iter().all(Tree::is_settled)
    }

    /// What all nodes have in common.
    #[must_use]
    pub fn context(&self) -> Context<'_> {
        Context {
            params: &self.params,
            rows: &self.rows,
        }
    }

    /// Learns rows.
    ///
    /// # Errors
    /// If the batch is refused; nothing is changed then. If memory is short; then the rows are learned all the same, and
    /// the trees are grown later.
    pub fn learn(&mut self, batch: Batch<'_>) -> Result<(), ForestError> {
        self.recover()?;
        let n_before = self.rows.len();
        let channels = self.rows.channels();
        let rows = self.rows.insert(batch)?;
        if rows.is_empty() {
            return Ok(());
        }
        self.version += 1;
        let is_new_scale = self.rows.rescale() || self.rows.channels() != channels;
        if is_new_scale || rows.len() > n_before / LARGE_SHARE {
            return self.restart();
        }
        self.change(Change::Learn, &rows)
    }

    /// Forgets rows.
    ///
    /// # Errors
    /// If a tag is not live; nothing is changed then. If memory is short; then the rows are forgotten all the same, and
    /// the trees are grown later.
    pub fn forget(&mut self, tags: &[u64]) -> Result<(), ForestError> {
        self.recover()?;
        let rows = self.rows.find_all(tags)?;
        if rows.is_empty() {
            return Ok(());
        }
        let n_before = self.rows.len();
        self.leaving.clone_from(&rows);
        self.rows.unlink(&rows);
        self.version += 1;
        if self.rows.rescale() || rows.len() > n_before / LARGE_SHARE {
            self.trees.iter_mut().for_each(|tree| tree.is_whole = false);
        } else {
            self.change(Change::Forget, &rows)?;
        }
        self.recover()
    }

    /// Takes rows through all trees.
    fn change(&mut self, change: Change, rows: &[u32]) -> Result<(), ForestError> {
        let chosen = self.chosen(rows.iter().copied());
        let context = Context {
            params: &self.params,
            rows: &self.rows,
        };
        let mut bench = Bench::default();
        let mut members = Vec::new();
        for (number, tree) in self.trees.iter_mut().enumerate() {
            let rows = chosen.as_ref().map_or(rows, |chosen| &chosen[number]);
            members_in(context, tree, rows, &mut members);
            tree.change(context, &mut bench, change, &mut members)?;
        }
        self.check();
        Ok(())
    }

    /// For each tree the rows that chose it, if rows choose trees.
    fn chosen(&self, rows: impl Iterator<Item = u32>) -> Option<Vec<Vec<u32>>> {
        let Sampling::Trees(n) = self.params.sampling else {
            return None;
        };
        let mut chosen = vec![Vec::new(); self.trees.len()];
        let mut trees = Vec::new();
        for row in rows {
            mix::chosen_trees(&self.draws, self.rows.tag(row), n, &mut trees);
            for &tree in &trees {
                chosen[tree as usize].push(row);
            }
        }
        Some(chosen)
    }

    /// Starts all trees over.
    fn restart(&mut self) -> Result<(), ForestError> {
        self.trees.iter_mut().for_each(|tree| tree.is_whole = false);
        self.recover()
    }

    /// Finishes what was cut short: rows that are leaving are erased, trees that are not whole start over.
    ///
    /// # Errors
    /// If memory is short.
    pub fn recover(&mut self) -> Result<(), ForestError> {
        self.rows.erase(&std::mem::take(&mut self.leaving));
        if self.is_whole() {
            return Ok(());
        }
        let rows: Vec<u32> = self.rows.live().collect();
        let chosen = self.chosen(rows.iter().copied());
        let context = Context {
            params: &self.params,
            rows: &self.rows,
        };
        let mut members = Vec::new();
        for (number, tree) in self.trees.iter_mut().enumerate() {
            if !tree.is_whole {
                let rows = chosen.as_ref().map_or(&rows, |chosen| &chosen[number]);
                members_in(context, tree, rows, &mut members);
                tree.restart(context, &members)?;
            }
        }
        Ok(())
    }

    /// Splits all stale nodes.
    ///
    /// # Errors
    /// If memory is short.
    pub fn flush(&mut self, n_threads: usize) -> Result<(), ForestError> {
        self.recover()?;
        self.repair(n_threads, Tree::flush)
    }

    /// Splits the stale nodes that rows of X reach.
    ///
    /// # Errors
    /// If memory is short.
    pub fn settle_for(&mut self, x: &[f32], n_threads: usize) -> Result<(), ForestError> {
        self.recover()?;
        self.repair(n_threads, |tree, context, bench| {
            tree.settle_for(context, bench, x)
        })
    }

    /// Works on all trees that have something stale, each in one thread.
    fn repair(
        &mut self,
        n_threads: usize,
        work: impl Fn(&mut Tree, Context<'_>, &mut Bench) -> Result<(), PoolError> + Sync,
    ) -> Result<(), ForestError> {
        let context = Context {
            params: &self.params,
            rows: &self.rows,
        };
        let trees: Vec<&mut Tree> = self
            .trees
            .iter_mut()
            .filter(|tree| !tree.is_settled())
            .collect();
        let n_threads = n_threads.min(trees.len());
        let queue = Mutex::new(trees);
        let run = || {
            let mut bench = Bench::default();
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some(tree) = next else { return Ok(()) };
                work(tree, context, &mut bench)?;
            }
        };
        // Threads of their own, as many as asked for: those of a pool would not survive a fork.
        let done: Result<(), PoolError> = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..n_threads).map(|_| scope.spawn(run)).collect();
            let mine = run();
            threads
                .into_iter()
                .map(|thread| {
                    thread
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .fold(mine, Result::and)
        });
        done?;
        self.check();
        Ok(())
    }

    /// Bytes allocated.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        self.rows.nbytes()
            + self
                .trees
                .iter()
                .map(|tree| tree.memory.nbytes())
                .sum::<usize>()
    }

    /// Does of [`Self::forget`] what a panic in the middle would leave behind.
    #[cfg(test)]
    pub fn interrupt(&mut self, tags: &[u64]) {
        self.leaving = self.rows.find_all(tags).unwrap_or_default();
        self.rows.unlink(&self.leaving);
        let n_half = self.trees.len() / 2;
        for tree in &mut self.trees[..n_half] {
            tree.is_whole = false;
        }
        for tree in &mut self.trees[n_half..] {
            tree.is_whole = false;
            tree.memory = super::node::Memory::new(0);
        }
    }

    /// In debug builds of small forests: every node that is not stale is what its function says.
    fn check(&self) {
        const FEW_ROWS: usize = 64;
        if cfg!(debug_assertions) && self.rows.len() <= FEW_ROWS {
            self.validate();
        }
    }
}

/// Members of a tree among rows that may be in it.
fn members_in(context: Context<'_>, tree: &Tree, rows: &[u32], members: &mut Vec<Member>) {
    members.clear();
    members.extend(
        rows.iter()
            .map(|&row| tree.member(context, row))
            .filter(|member| member.copies > 0),
    );
}
