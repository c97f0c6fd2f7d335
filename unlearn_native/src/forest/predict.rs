//! From rows of X to leaves, and to what they say.

use std::panic::resume_unwind;

use super::grow::{Tree, goes_left};
use super::model::{Forest, Output};
use super::node::{Kind, NodeId, ROOT};
use super::numbers::{nearest, nearest_count};

/// Rows taken through all trees before the next ones, so that their outputs stay in the cache.
const ROWS_AT_ONCE: usize = 256;

impl Tree {
    /// The child that a row goes to, unless the node is a list.
    #[inline]
    pub(super) fn step(&self, id: NodeId, row: &[f32]) -> Option<NodeId> {
        let node = self.memory.node(id);
        if node.kind != Kind::Internal {
            return None;
        }
        let x = row[node.feature as usize];
        let is_left = if x.is_nan() {
            goes_left(node.split(), self.majority_left(id), x)
        } else {
            x <= node.threshold
        };
        Some(if is_left { node.left } else { node.right() })
    }

    /// The list that a row comes to; `None` if it is stale.
    #[inline]
    pub(super) fn leaf_of(&self, row: &[f32]) -> Option<NodeId> {
        let mut id = ROOT;
        while let Some(child) = self.step(id, row) {
            id = child;
        }
        (self.memory.node(id).kind == Kind::Leaf).then_some(id)
    }
}

impl Forest {
    /// What the sums of some rows say, added to `out`: the shares of the classes, or the mean.
    pub(super) fn add_value(&self, output: Output<'_>, totals: &[i64], out: &mut [f64]) {
        match output {
            Output::Mean => out[0] += self.rows().mean(totals),
            Output::Classes(slots) => {
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
        let n_trees = self.trees().iter().filter(|tree| tree.n_rows() > 0).count();
        if n_trees == 0 {
            let totals = self.rows().totals();
            out.chunks_exact_mut(depth.max(1))
                .for_each(|out| self.add_value(output, &totals, out));
            return true;
        }
        for (x, out) in x
            .chunks(ROWS_AT_ONCE * width)
            .zip(out.chunks_mut(ROWS_AT_ONCE * depth))
        {
            for tree in self.trees().iter().filter(|tree| tree.n_rows() > 0) {
                for (row, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(depth)) {
                    let Some(leaf) = tree.leaf_of(row) else {
                        return false;
                    };
                    self.add_value(output, tree.memory.list_totals(leaf), out);
                }
            }
            for out in out {
                *out /= nearest_count(n_trees);
            }
        }
        true
    }
}
