//! From rows of X to leaves, and to what they say.

use std::panic::resume_unwind;

use super::balance::{Multipliers, NONE};
use super::grow::{Tree, goes_left};
use super::model::{Forest, Output};
use super::node::{Kind, Node, NodeId, ROOT};
use super::numbers::{nearest, nearest_count};
use crate::math;

/// Rows taken through all trees before the next ones, so that their outputs stay in the cache.
const ROWS_AT_ONCE: usize = 256;
/// Rows taken down a tree side by side, so that they wait for memory together.
const ROWS_ABREAST: usize = 16;

impl Tree {
    /// The child that a row goes to, unless the node is a list.
    #[inline]
    pub(super) fn step(&self, id: NodeId, row: &[f32]) -> Option<NodeId> {
        let node = self.memory.node(id);
        if node.kind != Kind::Internal {
            return None;
        }
        let x = row[node.feature as usize];
        let is_left = if x.is_nan() || node.is_level {
            goes_left(node.split(), self.majority_left(id), x)
        } else {
            x <= node.threshold
        };
        Some(if is_left { node.left } else { node.right() })
    }

    /// Finds the leaves that rows come to; false if one meets a node that is stale or pending.
    pub(super) fn find_leaves(&self, x: &[f32], width: usize, leaves: &mut Vec<NodeId>) -> bool {
        let n_rows = x.len() / width;
        leaves.clear();
        leaves.resize(n_rows, ROOT);
        let mut abreast = std::array::from_fn::<_, ROWS_ABREAST, _>(|row| (row, ROOT));
        let mut n_abreast = n_rows.min(ROWS_ABREAST);
        let mut n_begun = n_abreast;
        let mut are_leaves = true;
        while n_abreast > 0 {
            let mut at = 0;
            while at < n_abreast {
                let (row, id) = abreast[at];
                let node = self.memory.node(id);
                if node.kind == Kind::Internal {
                    // Which side is a coin toss: an addition instead of a branch.
                    let x = x[row * width + node.feature as usize];
                    let is_right = if x.is_nan() || node.is_level {
                        !goes_left(node.split(), self.majority_left(id), x)
                    } else {
                        x > node.threshold
                    };
                    abreast[at].1 = node.left.wrapping_add(is_right.into());
                    at += 1;
                    continue;
                }
                are_leaves &= node.kind == Kind::Leaf;
                leaves[row] = id;
                if n_begun < n_rows {
                    abreast[at] = (n_begun, ROOT);
                    n_begun += 1;
                } else {
                    n_abreast -= 1;
                    abreast[at] = abreast[n_abreast];
                }
            }
        }
        are_leaves
    }
}

/// Splits on the way to a leaf, and those that its rows would need on average to be parted (Liu, Ting and Zhou 2008,
/// equation 1): in the order of scikit-learn's additions, which a release repeats.
fn path_length(leaf: &Node) -> f64 {
    f64::from(leaf.depth + 1) + average_path_length(leaf.n) - 1.0
}

/// Average depth of a row in a tree of `n`.
#[must_use]
pub fn average_path_length(n: u32) -> f64 {
    /// Euler's constant.
    const GAMMA: f64 = 0.577_215_664_901_532_9;
    match n {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => {
            let [n, below] = [n, n - 1].map(f64::from);
            2.0 * (math::ln(below) + GAMMA) - 2.0 * below / n
        }
    }
}

impl Forest {
    /// What the sums of some rows say, added to `out`: the shares of the classes, or the mean.
    pub(super) fn add_value(
        &self,
        output: Output<'_>,
        multipliers: &Multipliers,
        totals: &[i64],
        out: &mut [f64],
    ) {
        match output {
            Output::Mean | Output::PathLength => out[0] += self.rows().mean(totals),
            Output::Classes(slots) => {
                if !multipliers.of_slots().is_empty() {
                    let totals = multipliers.times_all(totals);
                    return self.add_value(output, &NONE, &totals, out);
                }
                let weight = nearest(self.rows().channels().weight(totals));
                for (out, &slot) in out.iter_mut().zip(slots) {
                    *out += nearest(totals.get(slot).copied().unwrap_or(0)) / weight;
                }
            }
        }
    }

    /// Means over trees that have rows, row by row of X; `None` if some row meets a stale node.
    ///
    /// Trees are summed in their order for each row and divided once, so no number of threads matters. If no tree has a
    /// row it is what all live rows say.
    #[must_use]
    pub fn predict(&self, x: &[f32], output: Output<'_>, n_threads: usize) -> Option<Vec<f64>> {
        if !self.is_whole() {
            return None;
        }
        let [width, depth] = [self.params().n_features, output.len()];
        let mut out = vec![0.0; x.len() / width * depth];
        let n_rows = out.len() / depth.max(1);
        let share = n_rows.div_ceil(n_threads.max(1)).max(1);
        let parts = x.chunks(share * width).zip(out.chunks_mut(share * depth));
        let mut done = true;
        if n_threads <= 1 {
            for (x, out) in parts {
                done &= self.predict_into(x, output, out);
            }
        } else {
            std::thread::scope(|scope| {
                let threads: Vec<_> = parts
                    .map(|(x, out)| scope.spawn(move || self.predict_into(x, output, out)))
                    .collect();
                for thread in threads {
                    done &= thread.join().unwrap_or_else(|panic| resume_unwind(panic));
                }
            });
        }
        done.then_some(out)
    }

    /// Whether no row met a stale node.
    fn predict_into(&self, x: &[f32], output: Output<'_>, out: &mut [f64]) -> bool {
        let width = self.params().n_features;
        let depth = output.len();
        let n_trees = self.trees_with_rows().count();
        if n_trees == 0 {
            let totals = self.rows().totals();
            out.chunks_exact_mut(depth.max(1))
                .for_each(|out| self.add_value(output, self.balanced().of_all(), &totals, out));
            return true;
        }
        let mut leaves = Vec::with_capacity(ROWS_AT_ONCE);
        for (x, out) in x
            .chunks(ROWS_AT_ONCE * width)
            .zip(out.chunks_mut(ROWS_AT_ONCE * depth))
        {
            for (number, tree) in self.trees_with_rows() {
                if !tree.find_leaves(x, width, &mut leaves) {
                    return false;
                }
                let multipliers = self.balanced().of_tree(number);
                for (&leaf, out) in leaves.iter().zip(out.chunks_exact_mut(depth)) {
                    if output.is_mean() {
                        self.add_value(output, multipliers, tree.memory.list_totals(leaf), out);
                    } else {
                        out[0] += path_length(tree.memory.node(leaf));
                    }
                }
            }
            for out in out.iter_mut().filter(|_| output.is_mean()) {
                *out /= nearest_count(n_trees);
            }
        }
        true
    }
}
