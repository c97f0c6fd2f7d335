//! Forgetting put off: rows that are gone wait at the topmost node that has not been looked at since.
//!
//! A deletion only leaves its row at the root of each tree that holds it. A read takes what waits at the nodes on its way
//! one step down, and no further; [`Tree::drain`] takes all of it to the lists. So of two reads that part at a node the
//! first does not pay for the side of the second, and deletions that come down together are one visit of each node.
//!
//! What a node is depends on its rows alone, so nothing depends on when it is looked at. Two things make that easy to see:
//!
//! * a node is looked at only when nothing waits above it. Then the rows of its lists that are live are its rows, and what
//!   waits at it is what its statistics count and its rows are not;
//! * a row leaves the table of live rows when it is forgotten, and its values when no tree needs them to take it down.

use std::collections::BTreeMap;

use super::grow::{Bench, Tree, partition};
use super::node::{Kind, NodeId, ROOT};
use super::split::Context;
use super::sums::{Change, Member};
use crate::pool::PoolError;
use crate::table::narrow;

/// Forgotten rows by the pending node at which they wait, nodes near the root first. Handles only: no value is kept here.
#[derive(Default)]
pub struct Pending(BTreeMap<(u32, NodeId), Vec<Member>>);

impl Pending {
    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of pending nodes.
    #[must_use]
    pub fn n_nodes(&self) -> usize {
        self.0.len()
    }

    /// A pending node above which nothing waits.
    fn top(&self) -> Option<NodeId> {
        self.0.first_key_value().map(|(&(_, id), _)| id)
    }

    /// Takes the rows that wait at a node.
    pub fn take(&mut self, depth: u32, id: NodeId) -> Vec<Member> {
        self.0.remove(&(depth, id)).unwrap_or_default()
    }

    fn add(&mut self, depth: u32, id: NodeId, members: &[Member]) {
        self.0
            .entry((depth, id))
            .or_default()
            .extend_from_slice(members);
    }

    /// Bytes of the rows that wait.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        let lists = self.0.values().map(Vec::capacity);
        lists
            .map(|n| size_of::<((u32, NodeId), Vec<Member>)>() + n * size_of::<Member>())
            .sum()
    }
}

impl Tree {
    /// Forgets rows of this tree, later. They are unlinked already, and keep their values until nothing waits any more.
    ///
    /// # Errors
    /// If there is no memory; then the tree is not whole and has to be started over.
    pub fn forget(
        &mut self,
        context: Context<'_>,
        members: &mut [Member],
    ) -> Result<(), PoolError> {
        self.is_whole = false;
        self.put_off(context, ROOT, members)?;
        self.is_whole = true;
        Ok(())
    }

    /// Lets rows wait at a node above which none waits; a list loses them at once.
    fn put_off(
        &mut self,
        context: Context<'_>,
        id: NodeId,
        members: &mut [Member],
    ) -> Result<(), PoolError> {
        if members.is_empty() {
            return Ok(());
        }
        let node = self.memory.node_mut(id);
        if node.is_list() {
            return self.change_list(context, Change::Forget, id, members);
        }
        node.n -= narrow(members.len());
        node.kind = Kind::Pending;
        let depth = node.depth;
        self.pending.add(depth, id, members);
        Ok(())
    }

    /// Looks at a pending node above which nothing waits. If it keeps its split its rows wait at its children.
    pub(super) fn push_down(
        &mut self,
        context: Context<'_>,
        bench: &mut Bench,
        id: NodeId,
    ) -> Result<(), PoolError> {
        self.is_whole = false;
        let node = self.memory.node_mut(id);
        node.kind = Kind::Internal;
        let node = *node;
        let mut members = self.pending.take(node.depth, id);
        self.visit(context, bench, Change::Forget, id, &members, &members)?;
        if self.memory.node(id).kind == Kind::Internal {
            // Along the split under which they came: with the last missing value the side of those changes.
            let majority_left = self.majority_left(id);
            let n_left = partition(context.rows, node.split(), majority_left, &mut members);
            let (left, right) = members.split_at_mut(n_left);
            self.put_off(context, node.left, left)?;
            self.put_off(context, node.right(), right)?;
        }
        self.is_whole = true;
        Ok(())
    }

    /// Looks at all pending nodes: nothing waits afterwards. What became stale stays so.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn drain(&mut self, context: Context<'_>, bench: &mut Bench) -> Result<(), PoolError> {
        while let Some(top) = self.pending.top() {
            self.push_down(context, bench, top)?;
        }
        Ok(())
    }
}
