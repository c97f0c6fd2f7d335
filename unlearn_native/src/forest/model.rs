//! All trees of a forest, and the rows that they are a function of.

use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use zeroize::Zeroizing;

use super::balance::Balanced;
use super::first::FirstRows;
use super::grow::{Bench, Counters, Tree};
use super::mix;
use super::numbers::slot;
use super::params::{Params, Sampling};
use super::rows::{Batch, RowTable, RowsError};
use super::split::Context;
use super::sums::{Change, Member};
use crate::identity::{IdentityError, PrfKey};
use crate::pool::PoolError;
use crate::table::narrow;

/// Trees are started over if more than 1 / this of the rows change. Costs differ, not results.
const LARGE_SHARE: usize = 3;
/// No more forgotten rows than these wait until somebody reads.
pub const MOST_LEAVING: usize = 1024;

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
    /// How many splits part a row from all others, summed over trees: see [`Forest::predict`].
    PathLength,
    /// The shares of these class slots.
    Classes(&'a [usize]),
}

impl Output<'_> {
    /// Whether it is a mean over trees, and not a sum.
    #[must_use]
    pub fn is_mean(&self) -> bool {
        !matches!(self, Self::PathLength)
    }

    /// Numbers a row.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Mean | Self::PathLength => 1,
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
    balanced: Balanced,
    /// Rows of each tree, where each has so many.
    first: Vec<FirstRows>,
    draws: Vec<u64>,
    /// Unlinked rows whose values are not erased yet, since they wait in some tree, or something went wrong.
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
        let width = narrow(params.n_features);
        let all: Arc<[u32]> = (0..width).collect();
        let features = |draw| {
            if params.features_of_tree == params.n_features {
                Arc::clone(&all)
            } else {
                mix::features_of_tree(draw, params.features_of_tree, width).into()
            }
        };
        let mut forest = Self {
            rows: RowTable::new(&params),
            balanced: Balanced::new(params.balance, params.n_trees, key)?,
            first: match params.sampling {
                Sampling::First(n) => tags.iter().map(|t| FirstRows::new(n, t.draw)).collect(),
                _ => Vec::new(),
            },
            draws: tags.iter().map(|tags| tags.draw).collect(),
            trees: tags
                .into_iter()
                .map(|tags| Tree::new(tags, features(tags.draw)))
                .collect(),
            params,
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

    /// Trees that hold a row, with their numbers: the others say nothing.
    pub fn trees_with_rows(&self) -> impl Iterator<Item = (usize, &Tree)> {
        let trees = self.trees.iter().enumerate();
        trees.filter(|(_, tree)| tree.n_rows() > 0)
    }

    /// For each tree the features that it chooses from, ascending.
    #[must_use]
    pub fn features_of_trees(&self) -> Vec<u32> {
        let trees = self.trees.iter();
        trees
            .flat_map(|tree| tree.features.iter().copied())
            .collect()
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

    /// Forgotten rows that wait in some tree until it is read, and keep their values so long.
    #[must_use]
    pub fn n_leaving(&self) -> usize {
        self.leaving.len()
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

    /// What the weights of classes are multiplied with.
    #[must_use]
    pub fn balanced(&self) -> &Balanced {
        &self.balanced
    }

    /// What all nodes of a tree have in common.
    #[must_use]
    pub fn context(&self, tree: usize) -> Context<'_> {
        Context {
            params: &self.params,
            rows: &self.rows,
            features: &self.trees[tree].features,
            multipliers: self.balanced.of_tree(tree),
        }
    }

    /// Learns rows.
    ///
    /// # Errors
    /// If the batch is refused; nothing is changed then. If memory is short; then the rows are learned all the same, and
    /// the trees are grown later.
    pub fn learn(&mut self, batch: Batch<'_>) -> Result<(), ForestError> {
        self.drain()?;
        let n_before = self.rows.len();
        let channels = self.rows.channels();
        let rows = self.rows.insert(batch)?;
        if rows.is_empty() {
            return Ok(());
        }
        self.version += 1;
        let is_new_scale = self.rows.rescale() || self.rows.channels() != channels;
        self.balance(Change::Learn, &rows);
        if is_new_scale || rows.len() > n_before / LARGE_SHARE {
            return self.restart();
        }
        self.change(Change::Learn, &rows)?;
        self.recover()
    }

    /// Forgets rows. What follows from it for the trees is done when they are read.
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
        self.leaving.extend_from_slice(&rows);
        self.rows.unlink(&rows);
        self.version += 1;
        let is_new_scale = self.rows.rescale();
        self.balance(Change::Forget, &rows);
        if is_new_scale || rows.len() > n_before / LARGE_SHARE {
            return self.restart();
        }
        self.change(Change::Forget, &rows)?;
        self.recover()?;
        if self.leaving.len() > MOST_LEAVING {
            return self.drain();
        }
        self.erase();
        Ok(())
    }

    /// Takes rows through all trees, but those that start over anyway.
    fn change(&mut self, change: Change, rows: &[u32]) -> Result<(), ForestError> {
        let chosen = self.chosen(rows.iter().copied());
        let has_weight = |row: &u32| self.rows.copies(*row, Sampling::All, 0) > 0;
        let of_weight: Vec<u32> = rows.iter().copied().filter(has_weight).collect();
        let mut bench = Bench::default();
        let mut members = Vec::new();
        for (number, tree) in self.trees.iter_mut().enumerate() {
            if !tree.is_whole {
                continue;
            }
            let features = Arc::clone(&tree.features);
            let context = Context {
                params: &self.params,
                rows: &self.rows,
                features: &features,
                multipliers: self.balanced.of_tree(number),
            };
            if let Some(first) = self.first.get_mut(number) {
                tree.is_whole = false;
                let exchange =
                    first.exchange(&self.rows, change, &of_weight, || weighted(&self.rows));
                tree.exchange(context, &mut bench, &exchange)?;
                continue;
            }
            let rows = chosen.as_ref().map_or(rows, |chosen| &chosen[number]);
            members_in(context, tree, rows, &mut members);
            match change {
                Change::Learn => tree.learn(context, &mut bench, &mut members)?,
                Change::Forget => tree.forget(context, &mut members)?,
            }
        }
        self.check();
        Ok(())
    }

    /// Counts rows by class that come or go. Trees in which classes weigh otherwise now are to start over.
    fn balance(&mut self, change: Change, rows: &[u32]) {
        if !self.balanced.is_on() {
            return;
        }
        let is_counted = std::mem::take(&mut self.balanced.is_counted);
        let sign = if change == Change::Learn { 1 } else { -1 };
        if is_counted {
            self.count_classes(rows, sign);
        } else {
            let live: Vec<u32> = self.rows.live().collect();
            self.balanced.clear();
            self.count_classes(&live, 1);
        }
        let [n_slots, weight_bits] = [self.rows.channels().n_sums(), self.rows.weight_bits()];
        let weight_bits = narrow(weight_bits);
        let is_new = self.balanced.settle(None, n_slots, weight_bits);
        let by_tree = self.balanced.is_by_tree();
        for (number, tree) in self.trees.iter_mut().enumerate() {
            let is_new = if by_tree {
                self.balanced.settle(Some(number), n_slots, weight_bits)
            } else {
                is_new
            };
            tree.is_whole &= !is_new;
        }
        self.balanced.is_counted = true;
    }

    fn count_classes(&mut self, rows: &[u32], sign: i64) {
        let n_slots = self.rows.channels().n_sums();
        let table = &self.rows;
        let class = |member: Member| {
            let copies = sign * i64::from(member.copies);
            (slot(table.amount(member).target), copies)
        };
        let once = rows.iter().map(|&row| {
            let copies = table.copies(row, Sampling::All, 0);
            class(Member { row, copies })
        });
        self.balanced.count(None, n_slots, once);
        if self.balanced.is_by_tree() {
            let chosen = self.chosen(rows.iter().copied());
            let mut members = Vec::new();
            for (number, tree) in self.trees.iter().enumerate() {
                let rows = chosen.as_ref().map_or(rows, |chosen| &chosen[number]);
                members_in(self.context(number), tree, rows, &mut members);
                let classes = members.iter().map(|&member| class(member));
                self.balanced.count(Some(number), n_slots, classes);
            }
        }
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

    /// Erases the rows that are leaving, unless some tree still has to take them down.
    fn erase(&mut self) {
        let are_awaited = |tree: &Tree| tree.is_whole && !tree.pending.is_empty();
        if !self.leaving.is_empty() && !self.trees.iter().any(are_awaited) {
            self.rows.erase(&std::mem::take(&mut self.leaving));
        }
    }

    /// Takes all rows that are leaving out of all trees, and erases them. What becomes stale stays so.
    ///
    /// # Errors
    /// If memory is short.
    pub fn drain(&mut self) -> Result<(), ForestError> {
        self.recover()?;
        if self.leaving.is_empty() {
            return Ok(());
        }
        self.repair(1, Tree::drain)?;
        self.erase();
        Ok(())
    }

    /// Finishes what was cut short: trees that are not whole start over.
    ///
    /// # Errors
    /// If memory is short.
    pub fn recover(&mut self) -> Result<(), ForestError> {
        if !self.balanced.is_counted {
            self.balance(Change::Learn, &[]);
        }
        if self.is_whole() {
            return Ok(());
        }
        let rows: Vec<u32> = self.rows.live().collect();
        let of_weight: Vec<u32> = weighted(&self.rows).collect();
        let chosen = self.chosen(rows.iter().copied());
        let mut members = Vec::new();
        for (number, tree) in self.trees.iter_mut().enumerate() {
            if !tree.is_whole {
                let features = Arc::clone(&tree.features);
                let context = Context {
                    params: &self.params,
                    rows: &self.rows,
                    features: &features,
                    multipliers: self.balanced.of_tree(number),
                };
                if let Some(first) = self.first.get_mut(number) {
                    first.find(&self.rows, &of_weight);
                    members.clear();
                    members.extend(first.handles().map(|row| tree.member(context, row)));
                    tree.restart(context, &members)?;
                    continue;
                }
                let rows = chosen.as_ref().map_or(&rows, |chosen| &chosen[number]);
                members_in(context, tree, rows, &mut members);
                tree.restart(context, &members)?;
            }
        }
        self.erase();
        Ok(())
    }

    /// Splits all stale nodes; forgotten rows are erased.
    ///
    /// # Errors
    /// If memory is short.
    pub fn flush(&mut self, n_threads: usize) -> Result<(), ForestError> {
        self.recover()?;
        self.repair(n_threads, Tree::flush)?;
        self.erase();
        Ok(())
    }

    /// Splits the stale nodes that rows of X reach.
    ///
    /// # Errors
    /// If memory is short.
    pub fn settle_for(&mut self, x: &[f32], n_threads: usize) -> Result<(), ForestError> {
        self.recover()?;
        self.repair(n_threads, |tree, context, bench| {
            tree.settle_for(context, bench, x)
        })?;
        self.erase();
        Ok(())
    }

    /// Works on all trees that have something stale, each in one thread.
    fn repair(
        &mut self,
        n_threads: usize,
        work: impl Fn(&mut Tree, Context<'_>, &mut Bench) -> Result<(), PoolError> + Sync,
    ) -> Result<(), ForestError> {
        let trees: Vec<(usize, &mut Tree)> = self
            .trees
            .iter_mut()
            .enumerate()
            .filter(|(_, tree)| !tree.is_settled())
            .collect();
        let n_threads = n_threads.min(trees.len());
        let queue = Mutex::new(trees);
        let run = || {
            let mut bench = Bench::default();
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some((number, tree)) = next else {
                    return Ok(());
                };
                let features = Arc::clone(&tree.features);
                let context = Context {
                    params: &self.params,
                    rows: &self.rows,
                    features: &features,
                    multipliers: self.balanced.of_tree(number),
                };
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
                .map(|tree| tree.memory.nbytes() + tree.pending.nbytes())
                .sum::<usize>()
            + self.first.iter().map(FirstRows::nbytes).sum::<usize>()
    }

    /// Does of [`Self::forget`] what a panic in the middle would leave behind.
    #[cfg(test)]
    pub fn interrupt(&mut self, tags: &[u64]) {
        self.leaving = self.rows.find_all(tags).unwrap_or_default();
        self.rows.unlink(&self.leaving);
        self.balanced.is_counted = !self.balanced.is_on();
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
        if cfg!(debug_assertions) && self.is_whole() && self.rows.len() <= FEW_ROWS {
            self.validate();
        }
    }
}

/// Rows that may be in a tree: live, and of a weight above 0.
fn weighted(rows: &RowTable) -> impl Iterator<Item = u32> {
    rows.live()
        .filter(|&row| rows.copies(row, Sampling::All, 0) > 0)
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
