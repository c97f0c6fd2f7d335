//! Forgetting and learning: every node is left at the value of its function, or stale.
//!
//! New rows enter the lists first, so that whoever counts a node again sees them; of forgotten ones, which leave the lists
//! last (see [`super::pending`]), it sees that they are not live. Then the internal nodes on their way are visited, parents
//! before children:
//!
//! * the stop rule holds now: a leaf;
//! * an end of a uniform range has moved, a feature came into use or fell out of it, or there are no statistics: the node
//!   is counted again from its rows;
//! * else the rows are added to its statistics, or taken out; if one is or was a pivot, the thresholds that others bring
//!   are counted (see [`super::pivots`]); and the candidates are compared again.
//!
//! Where that gives another split the node becomes stale and what is below it is freed, else its children are next.

use super::evaluate::NodeRows;
use super::first::Exchange;
use super::grow::{Bench, Reach, Tree, partition};
use super::mix;
use super::node::{Kind, MIN_ROWS_FOR_STATISTICS, NodeId, ROOT};
use super::split::{Context, Counts, Missing, Outcome, Split};
use super::sums::{Amount, Change, Member};
use crate::pool::PoolError;
use crate::table::narrow;

/// A node is not looked at any more if more than 1 / this of its rows change: it is stale at once. Costs differ, not results.
const LARGE_SHARE: usize = 3;

/// An internal node, and which of the changed rows are its own.
#[derive(Clone, Copy)]
struct Visit {
    id: NodeId,
    start: usize,
    stop: usize,
}

impl Tree {
    /// Learns rows of this tree, which are in the table. No node may be pending.
    ///
    /// # Errors
    /// If there is no memory; then the tree is not whole and has to be started over.
    pub fn learn(
        &mut self,
        context: Context<'_>,
        bench: &mut Bench,
        members: &mut [Member],
    ) -> Result<(), PoolError> {
        self.change_at_once(context, bench, Change::Learn, members)
    }

    /// Takes rows out of this tree and others into it. No node may be pending.
    ///
    /// Those that go may still be live, and rows that wait are told by not being so: hence they leave the lists at once.
    ///
    /// # Errors
    /// As [`Self::learn`].
    pub fn exchange(
        &mut self,
        context: Context<'_>,
        bench: &mut Bench,
        exchange: &Exchange,
    ) -> Result<(), PoolError> {
        for (change, rows) in [
            (Change::Forget, &exchange.going),
            (Change::Learn, &exchange.coming),
        ] {
            let once = |&row| Member { row, copies: 1 };
            let mut members: Vec<Member> = rows.iter().map(once).collect();
            self.change_at_once(context, bench, change, &mut members)?;
        }
        self.is_whole = true;
        Ok(())
    }

    /// Takes rows to their lists or out of them, and visits the nodes on the way.
    fn change_at_once(
        &mut self,
        context: Context<'_>,
        bench: &mut Bench,
        change: Change,
        members: &mut [Member],
    ) -> Result<(), PoolError> {
        debug_assert!(self.pending.is_empty(), "rows wait in a tree that changes");
        if members.is_empty() {
            return Ok(());
        }
        self.is_whole = false;
        let visits = self.change_lists(context, change, members)?;
        for Visit { id, start, stop } in visits {
            if self.memory.node(id).kind == Kind::Internal {
                self.visit(context, bench, change, id, &members[start..stop], &[])?;
            }
        }
        self.is_whole = true;
        Ok(())
    }

    /// Takes rows through the splits to the lists they belong to; the internal nodes on the way, parents first.
    fn change_lists(
        &mut self,
        context: Context<'_>,
        change: Change,
        members: &mut [Member],
    ) -> Result<Vec<Visit>, PoolError> {
        let mut visits = Vec::new();
        let mut stack = vec![Visit {
            id: ROOT,
            start: 0,
            stop: members.len(),
        }];
        while let Some(visit) = stack.pop() {
            let Visit { id, start, stop } = visit;
            if start == stop {
                continue;
            }
            let node = *self.memory.node(id);
            if node.is_list() {
                self.change_list(context, change, id, &mut members[start..stop])?;
                continue;
            }
            let n = &mut self.memory.node_mut(id).n;
            match change {
                Change::Learn => *n += narrow(stop - start),
                Change::Forget => *n -= narrow(stop - start),
            }
            visits.push(visit);
            let [left, right] = [node.left, node.right()];
            let majority_left = self.majority_left(id);
            let middle = start
                + partition(
                    context.rows,
                    node.split(),
                    majority_left,
                    &mut members[start..stop],
                );
            stack.extend(
                [(right, middle, stop), (left, start, middle)].map(|(id, start, stop)| Visit {
                    id,
                    start,
                    stop,
                }),
            );
        }
        Ok(visits)
    }

    /// Whether the left child of a node has strictly more rows.
    #[must_use]
    pub(super) fn majority_left(&self, id: NodeId) -> bool {
        let node = self.memory.node(id);
        self.memory.node(node.left).n > self.memory.node(node.right()).n
    }

    /// Takes rows into a list or out of it.
    pub(super) fn change_list(
        &mut self,
        context: Context<'_>,
        change: Change,
        id: NodeId,
        members: &mut [Member],
    ) -> Result<(), PoolError> {
        let channels = context.rows.channels();
        let amount = |member| context.rows.amount(member);
        match change {
            Change::Learn => self.memory.push_rows(id, channels, members, amount)?,
            Change::Forget => self.memory.remove_rows(id, channels, members, amount)?,
        }
        let node = *self.memory.node(id);
        if node.kind == Kind::Stale {
            return Ok(());
        }
        if context.stops(node.n, node.depth, self.memory.list_totals(id)) {
            self.memory.node_mut(id).pivot_limit = 0;
            return Ok(());
        }
        // Of the leaves that lose rows only stuck ones come here. Fewer rows make no candidate of the same pivots usable,
        // but a range that shrank has others.
        let may_split = change == Change::Learn || context.has_ranges();
        if may_split || touches(context, node.tag, node.pivot_limit, members) {
            let node = self.memory.node_mut(id);
            node.kind = Kind::Stale;
            node.pivot_limit = 0;
            self.note_stale(id);
        }
        Ok(())
    }

    /// Brings a node to the value of its function, or makes it stale. Its `n` is that of its rows already; `gone`: those of
    /// the changed rows that are forgotten, but still in its lists.
    pub(super) fn visit(
        &mut self,
        context: Context<'_>,
        bench: &mut Bench,
        change: Change,
        id: NodeId,
        members: &[Member],
        gone: &[Member],
    ) -> Result<(), PoolError> {
        self.counters.visited += 1;
        let node = *self.memory.node(id);
        let n_most = match change {
            Change::Learn => node.n as usize,
            Change::Forget => node.n as usize + members.len(),
        };
        if node.n < context.params.min_samples_split {
            return self.fold(context, bench, id, Kind::Leaf, gone);
        }
        if members.len() > n_most / LARGE_SHARE {
            return self.fold(context, bench, id, Kind::Stale, gone);
        }
        let has_statistics = !self.memory.statistics(id).is_empty();
        if !has_statistics || node.n < MIN_ROWS_FOR_STATISTICS {
            return self.recount(context, bench, id, gone);
        }
        match self.update(context, bench, change, id, members) {
            Update::Leaf => self.fold(context, bench, id, Kind::Leaf, gone),
            Update::Recount => self.recount(context, bench, id, gone),
            Update::Split(split) => self.take_on(context, bench, id, split, gone),
        }
    }

    /// Adds rows to the statistics of a node, or takes them out, and compares its candidates.
    fn update(
        &mut self,
        context: Context<'_>,
        bench: &mut Bench,
        change: Change,
        id: NodeId,
        members: &[Member],
    ) -> Update {
        let shape = context.shape();
        let node = *self.memory.node(id);
        bench.amounts.clear();
        let amounts = members.iter().map(|&member| context.rows.amount(member));
        bench.amounts.extend(amounts);
        let changed = Changed {
            change,
            members,
            amounts: &bench.amounts,
        };
        if !changed.count_in(context, node.tag, self.memory.statistics_mut(id)) {
            return Update::Recount;
        }
        if context.stops(node.n, node.depth, shape.totals(self.memory.statistics(id))) {
            return Update::Leaf;
        }
        if touches(context, node.tag, node.pivot_limit, members)
            && !self.exchange_pivots(context, bench, change, id, members)
        {
            return Update::Recount;
        }
        let (totals, features) = shape.parts(self.memory.statistics_mut(id));
        match Counts::new(context, node.n, totals).best_of(features) {
            Some(split) => Update::Split(split),
            None => Update::Recount,
        }
    }

    /// Counts a node again from the rows below it.
    fn recount(
        &mut self,
        context: Context<'_>,
        bench: &mut Bench,
        id: NodeId,
        gone: &[Member],
    ) -> Result<(), PoolError> {
        self.counters.recounted += 1;
        self.rows_below(context, id, &mut bench.rows);
        self.fill(context, &mut bench.subset, &bench.rows);
        let node = *self.memory.node(id);
        let rows = NodeRows::new(&bench.subset, 0, bench.subset.len());
        let outcome = bench
            .evaluator
            .evaluate(context, node.tag, node.depth, rows);
        match outcome {
            Outcome::Leaf { pivot_limit } => {
                self.fold(context, bench, id, Kind::Leaf, gone)?;
                self.memory.node_mut(id).pivot_limit = pivot_limit;
                Ok(())
            }
            Outcome::Split { split, pivot_limit } => {
                self.memory.node_mut(id).pivot_limit = pivot_limit;
                self.memory.set_statistics(id, bench.evaluator.block())?;
                self.take_on(context, bench, id, split, gone)
            }
        }
    }

    /// The rows of a node above which nothing waits.
    pub(super) fn rows_below(&self, context: Context<'_>, id: NodeId, rows: &mut Vec<u32>) {
        rows.clear();
        self.memory.rows_below(id, rows);
        if rows.len() > self.memory.node(id).n as usize {
            rows.retain(|&row| context.rows.is_live(row));
        }
    }

    /// Leaves a node with a split: the one it has, or it becomes stale.
    fn take_on(
        &mut self,
        context: Context<'_>,
        bench: &mut Bench,
        id: NodeId,
        split: Split,
        gone: &[Member],
    ) -> Result<(), PoolError> {
        let old = self.memory.node(id).split();
        // Without a row whose value is missing, where missing ones would go makes no difference to its rows.
        let keeps = split.missing == old.missing || split.missing == Missing::Unseen;
        if split.feature == old.feature
            && split.threshold.to_bits() == old.threshold.to_bits()
            && split.is_level == old.is_level
            && keeps
        {
            self.memory.node_mut(id).missing = split.missing;
            return Ok(());
        }
        self.fold(context, bench, id, Kind::Stale, gone)
    }

    /// Frees what is below a node and makes it a list of its rows; `gone`: those that its lists still hold.
    fn fold(
        &mut self,
        context: Context<'_>,
        bench: &mut Bench,
        id: NodeId,
        kind: Kind,
        gone: &[Member],
    ) -> Result<(), PoolError> {
        let channels = context.rows.channels();
        bench.rows.clear();
        let mut totals = vec![0; self.memory.n_totals()];
        let (n_stale, pending) = self.memory.take_below(id, &mut bench.rows, &mut totals);
        self.note_gone(n_stale);
        for &member in gone {
            channels.subtract_total(&mut totals, context.rows.amount(member));
        }
        for &(depth, below) in &pending {
            for member in self.pending.take(depth, below) {
                channels.subtract_total(&mut totals, context.rows.amount(member));
            }
        }
        if !(gone.is_empty() && pending.is_empty()) {
            bench.rows.retain(|&row| context.rows.is_live(row));
        }
        self.memory
            .set_list(id, kind, &totals, bench.rows.iter().copied())?;
        let node = self.memory.node_mut(id);
        node.pivot_limit = 0;
        node.clear_split();
        if kind == Kind::Stale {
            self.note_stale(id);
        }
        Ok(())
    }

    /// Looks at the pending nodes and splits the stale ones that rows of X reach, as far down as they reach.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn settle_for(
        &mut self,
        context: Context<'_>,
        bench: &mut Bench,
        x: &[f32],
    ) -> Result<(), PoolError> {
        for row in x.chunks_exact(context.params.n_features) {
            let mut id = ROOT;
            loop {
                // Of a pending node a stale one may become.
                if self.memory.node(id).kind == Kind::Pending {
                    self.push_down(context, bench, id)?;
                }
                if self.memory.node(id).kind == Kind::Stale {
                    self.settle(context, bench, id, Reach::OneLevel)?;
                }
                match self.step(id, row) {
                    Some(child) => id = child,
                    None => break,
                }
            }
            if self.is_settled() {
                break;
            }
        }
        Ok(())
    }
}

/// What became of a node's statistics.
enum Update {
    Leaf,
    Recount,
    Split(Split),
}

/// Rows that come to a node or leave it.
struct Changed<'a> {
    change: Change,
    members: &'a [Member],
    amounts: &'a [Amount],
}

impl Changed<'_> {
    /// Adds the rows to a block of statistics, or takes them out. False if a range has other ends or levels now.
    fn count_in(&self, context: Context<'_>, tag: u64, block: &mut [u64]) -> bool {
        let shape = context.shape();
        let channels = shape.channels;
        let (totals, features) = shape.parts(block);
        for &amount in self.amounts {
            match self.change {
                Change::Learn => channels.add_total(totals, amount),
                Change::Forget => channels.subtract_total(totals, amount),
            }
        }
        for mut part in features {
            let feature = part.head.feature as usize;
            for (member, &amount) in self.members.iter().zip(self.amounts) {
                let x = context.rows.values(member.row)[feature];
                match self.change {
                    Change::Learn => part.add(channels, x, amount),
                    Change::Forget => part.subtract(channels, x, amount),
                }
                if context.has_ranges() && !part.keeps_range(self.change, tag, x) {
                    return false;
                }
            }
        }
        true
    }
}

/// Whether a row is or would be among the pivots of a node.
pub(super) fn touches(
    context: Context<'_>,
    tag: u64,
    pivot_limit: u64,
    members: &[Member],
) -> bool {
    members
        .iter()
        .any(|member| mix::row_priority(tag, context.rows.tag(member.row)) <= pivot_limit)
}
