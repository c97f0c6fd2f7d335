//! A tree, and how its stale nodes are split: one at a time for the rows that a read reaches, or all the way down.

use std::sync::Arc;

use super::evaluate::{Evaluator, NodeRows};
use super::mix::{self, TreeTags};
use super::node::{Kind, Memory, Node, NodeId, ROOT};
use super::pending::Pending;
use super::rows::RowTable;
use super::split::{Context, Missing, Outcome, Split};
use super::statistics::is_same_level;
use super::subset::Subset;
use super::sums::{Amount, Member};
use crate::pool::PoolError;
use crate::table::narrow;

/// What was done, since the tree was made. No state: only reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Internal nodes whose statistics or rows were looked at by forgetting and learning.
    pub visited: u64,
    /// Of those, how many were counted again from their rows.
    pub recounted: u64,
    /// Nodes that became stale.
    pub became_stale: u64,
    /// Rows of nodes that were evaluated to grow subtrees, summed over nodes.
    pub rows_grown: u64,
}

impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.visited += other.visited;
        self.recounted += other.recounted;
        self.became_stale += other.became_stale;
        self.rows_grown += other.rows_grown;
    }
}

/// Buffers for work on trees, one set a thread.
#[derive(Default)]
pub struct Bench {
    pub(super) evaluator: Evaluator,
    pub(super) subset: Subset,
    pub(super) rows: Vec<u32>,
    pub(super) amounts: Vec<Amount>,
    work: Vec<(NodeId, usize, usize)>,
}

/// How far down a stale node is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Its children stay stale.
    OneLevel,
    /// Nothing below stays stale.
    Leaves,
}

/// A tree.
pub struct Tree {
    pub(super) memory: Memory,
    pub(super) tags: TreeTags,
    /// Features that its nodes choose from, ascending.
    pub(super) features: Arc<[u32]>,
    /// All stale nodes, and some that are no longer.
    stale: Vec<NodeId>,
    n_stale: usize,
    /// What pending nodes have not taken into account yet.
    pub(super) pending: Pending,
    /// Whether no change was cut short. If not, the tree is grown from the rows again.
    pub(super) is_whole: bool,
    pub(super) counters: Counters,
}

impl Tree {
    /// A tree without rows; its root is stale.
    #[must_use]
    pub fn new(tags: TreeTags, features: Arc<[u32]>) -> Self {
        Self {
            features,
            memory: Memory::new(0),
            tags,
            stale: Vec::new(),
            n_stale: 0,
            pending: Pending::default(),
            is_whole: false,
            counters: Counters::default(),
        }
    }

    /// Starts over: a stale root with these rows.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn restart(&mut self, context: Context<'_>, members: &[Member]) -> Result<(), PoolError> {
        self.is_whole = false;
        self.stale.clear();
        self.n_stale = 0;
        self.pending = Pending::default();
        let n_totals = context.rows.channels().n_totals();
        self.memory = Memory::new(n_totals);
        self.memory.node_mut(ROOT).tag = self.tags.root;
        let channels = context.rows.channels();
        let none = vec![0; n_totals];
        self.memory
            .set_list(ROOT, Kind::Stale, &none, std::iter::empty())?;
        self.memory.push_rows(ROOT, channels, members, |member| {
            context.rows.amount(member)
        })?;
        self.note_stale(ROOT);
        self.is_whole = true;
        Ok(())
    }

    /// Rows in the tree, copies aside.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.memory.node(ROOT).n as usize
    }

    /// Whether the tree can be read: it is whole, and no node is stale or pending.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_whole && self.n_stale == 0 && self.pending.is_empty()
    }

    /// Number of stale nodes.
    #[must_use]
    pub fn n_stale(&self) -> usize {
        self.n_stale
    }

    /// Notes that a node became stale.
    pub(super) fn note_stale(&mut self, id: NodeId) {
        self.n_stale += 1;
        self.counters.became_stale += 1;
        if self.stale.len() > 64 + 2 * self.n_stale {
            let memory = &self.memory;
            self.stale.sort_unstable();
            self.stale.dedup();
            self.stale.retain(|&id| memory.node(id).kind == Kind::Stale);
        }
        self.stale.push(id);
    }

    /// Notes that so many stale nodes are gone.
    pub(super) fn note_gone(&mut self, n_stale: usize) {
        self.n_stale -= n_stale;
    }

    /// Looks at all pending nodes and splits everything that is stale, all the way down.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn flush(&mut self, context: Context<'_>, bench: &mut Bench) -> Result<(), PoolError> {
        self.drain(context, bench)?;
        while let Some(id) = self.stale.pop() {
            if self.memory.node(id).kind == Kind::Stale {
                self.settle(context, bench, id, Reach::Leaves)?;
            }
        }
        Ok(())
    }

    /// Splits a stale node.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn settle(
        &mut self,
        context: Context<'_>,
        bench: &mut Bench,
        id: NodeId,
        reach: Reach,
    ) -> Result<(), PoolError> {
        self.is_whole = false;
        self.fill(context, &mut bench.subset, self.memory.list(id));
        self.n_stale -= 1;
        bench.work.clear();
        bench.work.push((id, 0, bench.subset.len()));
        while let Some((id, start, stop)) = bench.work.pop() {
            self.counters.rows_grown += (stop - start) as u64;
            let Some(n_left) = self.grow_node(context, bench, id, start, stop)? else {
                continue;
            };
            let node = *self.memory.node(id);
            let children = [
                (node.right(), start + n_left, stop),
                (node.left, start, start + n_left),
            ];
            if reach == Reach::Leaves {
                bench.work.extend(children);
            } else {
                for (child, start, stop) in children {
                    self.leave_stale(context, &bench.subset, child, start, stop)?;
                }
            }
        }
        bench.subset.erase();
        self.is_whole = true;
        Ok(())
    }

    /// Copies rows of this tree.
    pub(super) fn fill(&self, context: Context<'_>, subset: &mut Subset, rows: &[u32]) {
        let members = rows.iter().map(|&row| self.member(context, row));
        subset.fill(context.rows, context.params.n_features, members);
    }

    /// Makes a new node a stale list.
    fn leave_stale(
        &mut self,
        context: Context<'_>,
        subset: &Subset,
        id: NodeId,
        start: usize,
        stop: usize,
    ) -> Result<(), PoolError> {
        let channels = context.rows.channels();
        let mut totals = vec![0; channels.n_totals()];
        for &place in subset.places(start, stop) {
            channels.add_total(&mut totals, subset.amount(place));
        }
        self.memory
            .set_list(id, Kind::Stale, &totals, subset.handles(start, stop))?;
        self.note_stale(id);
        Ok(())
    }

    pub(super) fn member(&self, context: Context<'_>, row: u32) -> Member {
        Member {
            row,
            copies: context
                .rows
                .copies(row, context.params.sampling, self.tags.draw),
        }
    }

    /// Makes a node what it is; if it has children, orders its rows by them and returns how many are in the left one.
    fn grow_node(
        &mut self,
        context: Context<'_>,
        bench: &mut Bench,
        id: NodeId,
        start: usize,
        stop: usize,
    ) -> Result<Option<usize>, PoolError> {
        let Node { tag, depth, .. } = *self.memory.node(id);
        let Bench {
            evaluator, subset, ..
        } = bench;
        match evaluator.evaluate(context, tag, depth, NodeRows::new(subset, start, stop)) {
            Outcome::Leaf { pivot_limit } => {
                let totals = evaluator.totals(context);
                self.memory
                    .set_list(id, Kind::Leaf, totals, subset.handles(start, stop))?;
                self.memory.node_mut(id).pivot_limit = pivot_limit;
                Ok(None)
            }
            Outcome::Split { split, pivot_limit } => {
                self.add_children(id, stop - start, split, pivot_limit);
                self.memory.set_statistics(id, evaluator.block())?;
                Ok(Some(subset.part(start, stop, split)))
            }
        }
    }

    fn add_children(&mut self, id: NodeId, n: usize, split: Split, pivot_limit: u64) {
        self.memory.release(id);
        let left = self.memory.allocate_pair();
        let node = self.memory.node_mut(id);
        node.kind = Kind::Internal;
        node.left = left;
        node.n = narrow(n);
        node.pivot_limit = pivot_limit;
        node.set_split(split);
        let (tag, depth) = (node.tag, node.depth + 1);
        for (child, tag) in [(left, mix::left(tag)), (left + 1, mix::right(tag))] {
            let child = self.memory.node_mut(child);
            child.tag = tag;
            child.depth = depth;
        }
    }
}

/// Whether a split sends a value to the left; `majority_left`: where to, if the node's rows do not say.
#[inline]
#[must_use]
pub fn goes_left(split: Split, majority_left: bool, x: f32) -> bool {
    if x.is_nan() {
        match split.missing {
            Missing::Unseen => majority_left,
            Missing::Right => false,
            Missing::Left => true,
        }
    } else if split.is_level {
        is_same_level(x, split.threshold)
    } else {
        x <= split.threshold
    }
}

/// Moves the members that go left to the front and returns how many they are.
pub fn partition(
    rows: &RowTable,
    split: Split,
    majority_left: bool,
    members: &mut [Member],
) -> usize {
    let mut n_left = 0;
    for at in 0..members.len() {
        let x = rows.values(members[at].row)[split.feature as usize];
        if goes_left(split, majority_left, x) {
            members.swap(at, n_left);
            n_left += 1;
        }
    }
    n_left
}
