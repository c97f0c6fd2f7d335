//! Memory of a tree: nodes in an arena, what belongs to them in a pool. Nothing here depends on a node's place.
//!
//! Children are allocated in pairs, right after left. Freed nodes and spans are zeroed before they are free.

use zeroize::{DefaultIsZeroes, Zeroize};

use super::split::{Missing, Split};
use super::sums::{Amount, Channels, Member};
use crate::pool::{Pool, PoolError, room};
use crate::table::narrow;

/// Index of a node in its tree.
pub type NodeId = u32;

/// The root's.
pub const ROOT: NodeId = 0;

/// Nodes a chunk.
const CHUNK: usize = 256;
/// Log2 of the pool's words a chunk: a forest of small trees stays small.
const POOL_SHIFT: u32 = 12;

/// Nodes of fewer rows keep no statistics: counting their rows again costs less.
pub const MIN_ROWS_FOR_STATISTICS: u32 = 32;

/// What a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Not in use.
    #[default]
    Free,
    /// A list of rows whose split is not known.
    Stale,
    /// A list of rows.
    Leaf,
    /// Has children, and statistics if it has enough rows.
    Internal,
    /// An internal node of which rows were forgotten since it was looked at; `n` does not count them any more.
    Pending,
}

/// Words of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    address: u32,
    words: u32,
}

/// A node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Node {
    /// What its randomness hangs on: of the path to it.
    pub tag: u64,
    /// Rows of at most this priority are or would be pivots. Of a leaf: 0 unless it is stuck.
    pub pivot_limit: u64,
    /// Of a list: sums, then rows. Of an internal node: statistics.
    pub span: Span,
    /// Left child.
    pub left: NodeId,
    /// Number of rows, not counting copies.
    pub n: u32,
    /// Edges to the root.
    pub depth: u32,
    /// Feature of the split.
    pub feature: u32,
    /// Threshold of the split.
    pub threshold: f32,
    /// What it is.
    pub kind: Kind,
    /// Only the threshold goes left.
    pub is_level: bool,
    /// Where missing values go.
    pub missing: Missing,
}

impl DefaultIsZeroes for Node {}

impl Node {
    /// The right child.
    #[must_use]
    pub fn right(&self) -> NodeId {
        self.left + 1
    }

    /// How its rows are split.
    #[must_use]
    pub fn split(&self) -> Split {
        Split {
            feature: self.feature,
            threshold: self.threshold,
            is_level: self.is_level,
            missing: self.missing,
        }
    }

    /// Takes on a split.
    pub fn set_split(&mut self, split: Split) {
        self.feature = split.feature;
        self.threshold = split.threshold;
        self.is_level = split.is_level;
        self.missing = split.missing;
    }

    /// Forgets a split.
    pub fn clear_split(&mut self) {
        self.left = 0;
        self.feature = 0;
        self.threshold = 0.0;
        self.is_level = false;
        self.missing = Missing::Unseen;
    }

    /// Whether it holds a list of rows.
    #[must_use]
    pub fn is_list(&self) -> bool {
        matches!(self.kind, Kind::Stale | Kind::Leaf)
    }
}

/// Nodes and spans of a tree.
pub struct Memory {
    chunks: Vec<Box<[Node; CHUNK]>>,
    n_used: usize,
    /// Left nodes of freed pairs.
    free: Vec<NodeId>,
    pool: Pool<POOL_SHIFT>,
    n_totals: usize,
}

impl Drop for Memory {
    fn drop(&mut self) {
        for chunk in &mut self.chunks {
            chunk.as_mut_slice().zeroize();
        }
    }
}

impl Memory {
    /// A tree of one node, in which lists begin with this many sums.
    #[must_use]
    pub fn new(n_totals: usize) -> Self {
        let mut memory = Self {
            chunks: Vec::new(),
            n_used: 0,
            free: Vec::new(),
            pool: Pool::default(),
            n_totals,
        };
        memory.allocate_pair(); // the root, and no sibling
        memory
    }

    /// More than the index of any node.
    #[must_use]
    pub fn n_nodes(&self) -> usize {
        self.n_used
    }

    /// Sums at the beginning of a list.
    #[must_use]
    pub fn n_totals(&self) -> usize {
        self.n_totals
    }

    /// A node.
    #[inline]
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    /// A node, to be changed.
    #[inline]
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    /// Two free nodes in a row; the first one.
    pub fn allocate_pair(&mut self) -> NodeId {
        if let Some(id) = self.free.pop() {
            return id;
        }
        if self.n_used == self.chunks.len() * CHUNK {
            self.chunks.push(Box::new([Node::default(); CHUNK]));
        }
        self.n_used += 2;
        narrow(self.n_used - 2)
    }

    /// Zeroises a pair of nodes without spans, and takes it back.
    fn free_pair(&mut self, left: NodeId) {
        self.node_mut(left).zeroize();
        self.node_mut(left + 1).zeroize();
        self.free.push(left);
    }

    fn words(&self, span: Span) -> &[u64] {
        if span.words == 0 {
            return &[];
        }
        self.pool.get(span.address, span.words as usize)
    }

    fn words_mut(&mut self, span: Span) -> &mut [u64] {
        if span.words == 0 {
            return &mut [];
        }
        self.pool.get_mut(span.address, span.words as usize)
    }

    fn allocate(&mut self, words: usize) -> Result<Span, PoolError> {
        let words = room(words);
        let address = self.pool.allocate(words)?;
        Ok(Span {
            address,
            words: narrow(words),
        })
    }

    /// Zeroises the span of a node and takes it back.
    pub fn release(&mut self, id: NodeId) {
        let span = std::mem::take(&mut self.node_mut(id).span);
        if span.words > 0 {
            self.pool.release(span.address, span.words as usize);
        }
    }

    /// Statistics of an internal node; empty if it keeps none.
    #[must_use]
    pub fn statistics(&self, id: NodeId) -> &[u64] {
        self.words(self.node(id).span)
    }

    /// Statistics of an internal node, to be changed.
    pub fn statistics_mut(&mut self, id: NodeId) -> &mut [u64] {
        self.words_mut(self.node(id).span)
    }

    /// Replaces the statistics of an internal node; none if it has few rows.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn set_statistics(&mut self, id: NodeId, block: &[u64]) -> Result<(), PoolError> {
        self.release(id);
        if self.node(id).n >= MIN_ROWS_FOR_STATISTICS {
            let span = self.allocate(block.len())?;
            self.words_mut(span)[..block.len()].copy_from_slice(block);
            self.node_mut(id).span = span;
        }
        Ok(())
    }

    fn list_words(&self, n: usize) -> usize {
        self.n_totals + n.div_ceil(2)
    }

    /// Rows of a list.
    #[must_use]
    pub fn list(&self, id: NodeId) -> &[u32] {
        let node = self.node(id);
        let words = self.words(node.span);
        match words.get(self.n_totals..) {
            Some(rows) => &bytemuck::cast_slice(rows)[..node.n as usize],
            None => &[],
        }
    }

    /// Sums of a list.
    #[must_use]
    pub fn list_totals(&self, id: NodeId) -> &[i64] {
        let words = self.words(self.node(id).span);
        bytemuck::cast_slice(&words[..self.n_totals.min(words.len())])
    }

    /// Sums and rows of a list, spare room included.
    fn list_mut(&mut self, id: NodeId) -> (&mut [i64], &mut [u32]) {
        let n_totals = self.n_totals;
        let words = self.words_mut(self.node(id).span);
        let (totals, rows) = words.split_at_mut(n_totals.min(words.len()));
        (
            bytemuck::cast_slice_mut(totals),
            bytemuck::cast_slice_mut(rows),
        )
    }

    /// Makes the span of a list fit `n` rows; those beyond are zeroised.
    fn resize_list(&mut self, id: NodeId, n: usize) -> Result<(), PoolError> {
        let old = self.node(id).span;
        let needed = self.list_words(n);
        if room(needed) != old.words as usize {
            let new = if needed == 0 {
                Span::default()
            } else {
                self.allocate(needed)?
            };
            let kept = needed.min(old.words as usize);
            for at in 0..kept {
                let word = self.words(old)[at];
                self.words_mut(new)[at] = word;
            }
            self.release(id);
            self.node_mut(id).span = new;
        }
        self.node_mut(id).n = narrow(n);
        let (_, rows) = self.list_mut(id);
        if let Some(spare) = rows.get_mut(n..) {
            spare.fill(0);
        }
        Ok(())
    }

    /// Makes a node a list of these rows.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn set_list(
        &mut self,
        id: NodeId,
        kind: Kind,
        totals: &[i64],
        rows: impl ExactSizeIterator<Item = u32>,
    ) -> Result<(), PoolError> {
        self.release(id);
        self.node_mut(id).kind = kind;
        self.resize_list(id, rows.len())?;
        let (sums, list) = self.list_mut(id);
        sums.copy_from_slice(totals);
        for (entry, row) in list.iter_mut().zip(rows) {
            *entry = row;
        }
        Ok(())
    }

    /// Appends rows to a list.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn push_rows(
        &mut self,
        id: NodeId,
        channels: Channels,
        members: &[Member],
        amount: impl Fn(Member) -> Amount,
    ) -> Result<(), PoolError> {
        let n = self.node(id).n as usize;
        self.resize_list(id, n + members.len())?;
        let (totals, rows) = self.list_mut(id);
        for (entry, &member) in rows[n..].iter_mut().zip(members) {
            *entry = member.row;
            channels.add_total(totals, amount(member));
        }
        Ok(())
    }

    /// Takes rows out of a list that holds them.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn remove_rows(
        &mut self,
        id: NodeId,
        channels: Channels,
        members: &mut [Member],
        amount: impl Fn(Member) -> Amount,
    ) -> Result<(), PoolError> {
        let n = self.node(id).n as usize;
        let (totals, rows) = self.list_mut(id);
        for &member in &*members {
            channels.subtract_total(totals, amount(member));
        }
        let kept = take_out(&mut rows[..n], members);
        debug_assert_eq!(kept + members.len(), n);
        self.resize_list(id, kept)
    }

    /// Frees all that is below a node and the span of the node itself; appends the rows to `rows`, adds their sums to
    /// `totals`, and returns how many of the lists were stale, and depths and indices of pending nodes.
    pub fn take_below(
        &mut self,
        id: NodeId,
        rows: &mut Vec<u32>,
        totals: &mut [i64],
    ) -> (usize, Vec<(u32, NodeId)>) {
        let mut n_stale = 0;
        let mut pending = Vec::new();
        let mut pairs = Vec::new();
        let mut stack = vec![id];
        while let Some(at) = stack.pop() {
            let node = *self.node(at);
            if node.is_list() {
                rows.extend_from_slice(self.list(at));
                for (total, &sum) in totals.iter_mut().zip(self.list_totals(at)) {
                    *total += sum;
                }
                n_stale += usize::from(node.kind == Kind::Stale);
            } else {
                pairs.push(node.left);
                stack.extend([node.right(), node.left]);
                if node.kind == Kind::Pending {
                    pending.push((node.depth, at));
                }
            }
            self.release(at);
        }
        for left in pairs {
            self.free_pair(left);
        }
        (n_stale, pending)
    }

    /// Appends the rows below a node.
    pub fn rows_below(&self, id: NodeId, rows: &mut Vec<u32>) {
        let mut stack = vec![id];
        while let Some(at) = stack.pop() {
            let node = self.node(at);
            if node.is_list() {
                rows.extend_from_slice(self.list(at));
            } else {
                stack.extend([node.right(), node.left]);
            }
        }
    }

    /// Bytes allocated.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<Node>()
            + 4 * self.free.capacity()
            + self.pool.nbytes()
    }

    /// Checks that all that is not in use is zero.
    #[cfg(test)]
    #[must_use]
    pub fn spare_is_zero(&self) -> bool {
        let spans = self
            .chunks
            .iter()
            .flat_map(|chunk| chunk.iter())
            .filter(|node| node.span.words > 0);
        self.pool
            .spare_is_zero(spans.map(|node| (node.span.address, node.span.words as usize)))
    }
}

/// Where a row is in a list.
fn find(rows: &[u32], row: u32) -> Option<usize> {
    // Whole pieces are compared without a branch, in SIMD instructions: stale lists are long.
    const PIECE: usize = 32;
    let holds = |piece: &[u32]| {
        piece
            .iter()
            .fold(0, |found, &other| found | u32::from(other == row))
            > 0
    };
    let start = rows.chunks(PIECE).position(holds)? * PIECE;
    Some(start + rows[start..].iter().position(|&other| other == row)?)
}

/// Rows looked for one by one; more are sorted.
const FEW: usize = 8;

/// Moves entries that are no members to the front and returns how many they are.
fn take_out(rows: &mut [u32], members: &mut [Member]) -> usize {
    let mut kept = rows.len();
    if members.len() <= FEW {
        for member in members {
            if let Some(at) = find(&rows[..kept], member.row) {
                kept -= 1;
                rows.swap(at, kept);
            }
        }
        return kept;
    }
    members.sort_unstable_by_key(|member| member.row);
    kept = 0;
    for at in 0..rows.len() {
        if members
            .binary_search_by_key(&rows[at], |member| member.row)
            .is_err()
        {
            rows.swap(kept, at);
            kept += 1;
        }
    }
    kept
}
