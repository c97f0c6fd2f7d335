//! Trees as arrays in preorder: what a released forest, `apply` and the importances of features are made of.

use super::model::{Forest, Output};
use super::node::{Kind, NodeId};
use super::numbers::{nearest, nearest_signed, nearest_wide, signed};
use super::params::Criterion;
use super::score::x_ln_x;
use super::split::Missing;
use super::sums::{Channels, Member};

/// Of leaves: there is no child.
const NO_CHILD: i64 = -1;
/// Of leaves: there is no feature and no threshold.
const UNDEFINED: i64 = -2;

/// A tree as scikit-learn has it, one entry a node, in preorder.
#[derive(Debug, Default)]
pub struct Arrays {
    /// Number of the left child.
    pub children_left: Vec<i64>,
    /// Number of the right child.
    pub children_right: Vec<i64>,
    /// Feature of the split.
    pub feature: Vec<i64>,
    /// Threshold of the split.
    pub threshold: Vec<f64>,
    /// Whether missing values go left.
    pub missing_go_to_left: Vec<u8>,
    /// Impurity.
    pub impurity: Vec<f64>,
    /// Rows.
    pub n_node_samples: Vec<i64>,
    /// Weight of the rows.
    pub weighted_n_node_samples: Vec<f64>,
    /// Shares of the classes or mean, as many a node as the output has.
    pub value: Vec<f64>,
}

/// Sums of a node, and the weighted squares of its targets.
#[derive(Clone, Default)]
struct Moments {
    totals: Vec<i64>,
    squares: i128,
}

impl Forest {
    /// Sums of the nodes of a tree in preorder: from the leaves up.
    fn moments(&self, tree: usize, nodes: &[NodeId], right: &[usize]) -> Vec<Moments> {
        let tree = &self.trees()[tree];
        let mut moments = vec![Moments::default(); nodes.len()];
        for at in (0..nodes.len()).rev() {
            moments[at] = if tree.memory.node(nodes[at]).is_list() {
                self.leaf_moments(tree, nodes[at])
            } else {
                let [left, right] = [&moments[at + 1], &moments[right[at]]];
                Moments {
                    totals: left
                        .totals
                        .iter()
                        .zip(&right.totals)
                        .map(|(left, right)| left + right)
                        .collect(),
                    squares: left.squares + right.squares,
                }
            };
        }
        moments
    }

    fn leaf_moments(&self, tree: &super::grow::Tree, id: NodeId) -> Moments {
        let rows = tree.memory.list(id).iter();
        let square = |&row| {
            let Member { row, copies } = tree.member(self.context(), row);
            let amount = self.rows().amount(Member { row, copies });
            i128::from(amount.product) * i128::from(amount.target)
        };
        let squares = if self.params().is_classifier() {
            0
        } else {
            rows.map(square).sum()
        };
        Moments {
            totals: tree.memory.list_totals(id).to_vec(),
            squares,
        }
    }

    fn impurity(&self, moments: &Moments) -> f64 {
        let channels = self.rows().channels();
        let units = channels.weight(&moments.totals);
        if units == 0 {
            return 0.0;
        }
        let weight = nearest(units);
        match self.params().criterion {
            Criterion::Gini => {
                let squares: u128 = moments
                    .totals
                    .iter()
                    .map(|&sum| u128::from(sum.unsigned_abs()).pow(2))
                    .sum();
                1.0 - nearest_wide(squares) / weight / weight
            }
            Criterion::Entropy => {
                let terms: i128 = moments.totals.iter().map(|&sum| x_ln_x(sum)).sum();
                nearest_signed(x_ln_x(units) - terms)
                    / f64::from(1 << 20)
                    / weight
                    / std::f64::consts::LN_2
            }
            Criterion::SquaredError => self.rows().variance(&moments.totals, moments.squares),
        }
    }

    /// A tree in preorder. The forest must be settled.
    #[must_use]
    pub fn arrays(&self, tree: usize, output: Output<'_>) -> Arrays {
        let nodes: Vec<NodeId> = self.trees()[tree].preorder().collect();
        let right = self.right_children(tree, &nodes);
        let moments = self.moments(tree, &nodes, &right);
        let memory = &self.trees()[tree].memory;
        let mut arrays = Arrays {
            value: vec![0.0; nodes.len() * output.len()],
            ..Arrays::default()
        };
        for (at, (&id, moments)) in nodes.iter().zip(&moments).enumerate() {
            let node = memory.node(id);
            let is_split = node.kind == Kind::Internal;
            let or = |number: i64, other| if is_split { number } else { other };
            arrays.children_left.push(or(signed(at + 1), NO_CHILD));
            arrays.children_right.push(or(signed(right[at]), NO_CHILD));
            arrays.feature.push(or(node.feature.into(), UNDEFINED));
            arrays.threshold.push(if is_split {
                node.threshold.into()
            } else {
                nearest(UNDEFINED)
            });
            let missing_left = match node.missing {
                Missing::Unseen => is_split && self.trees()[tree].majority_left(id),
                missing => missing == Missing::Left,
            };
            arrays.missing_go_to_left.push(missing_left.into());
            arrays.impurity.push(self.impurity(moments));
            arrays.n_node_samples.push(node.n.into());
            let units = self.rows().channels().weight(&moments.totals);
            arrays
                .weighted_n_node_samples
                .push(self.rows().weight_of(units));
            let value = &mut arrays.value[at * output.len()..(at + 1) * output.len()];
            if units > 0 {
                self.add_value(output, &moments.totals, value);
            }
        }
        arrays
    }

    /// Numbers of the right children in preorder; 0 of leaves.
    fn right_children(&self, tree: usize, nodes: &[NodeId]) -> Vec<usize> {
        let memory = &self.trees()[tree].memory;
        let mut sizes = vec![1; nodes.len()];
        let mut right = vec![0; nodes.len()];
        for at in (0..nodes.len()).rev() {
            if memory.node(nodes[at]).kind == Kind::Internal {
                right[at] = at + 1 + sizes[at + 1];
                sizes[at] += sizes[at + 1] + sizes[right[at]];
            }
        }
        right
    }

    /// For each tree the share of each feature in what impurity its splits take away; zeros without a split.
    #[must_use]
    pub fn importances(&self) -> Vec<f64> {
        let width = self.params().n_features;
        let mut all = vec![0.0; self.trees().len() * width];
        for (tree, shares) in all.chunks_exact_mut(width).enumerate() {
            let nodes: Vec<NodeId> = self.trees()[tree].preorder().collect();
            let right = self.right_children(tree, &nodes);
            let moments = self.moments(tree, &nodes, &right);
            let weighted = |at: usize| {
                let channels: Channels = self.rows().channels();
                nearest(channels.weight(&moments[at].totals)) * self.impurity(&moments[at])
            };
            for (at, &id) in nodes.iter().enumerate() {
                let node = self.trees()[tree].memory.node(id);
                if node.kind == Kind::Internal {
                    shares[node.feature as usize] +=
                        weighted(at) - weighted(at + 1) - weighted(right[at]);
                }
            }
            let total: f64 = shares.iter().sum();
            if total > 0.0 {
                for share in shares {
                    *share /= total;
                }
            }
        }
        all
    }

    /// For each row and tree the number in preorder of the leaf that it comes to. The forest must be settled.
    #[must_use]
    pub fn apply(&self, x: &[f32]) -> Vec<i64> {
        let n_trees = self.trees().len();
        let width = self.params().n_features;
        let mut leaves = vec![0; x.len() / width * n_trees];
        for (number, tree) in self.trees().iter().enumerate() {
            let mut place = vec![0; tree.memory.n_nodes()];
            for (at, id) in tree.preorder().enumerate() {
                place[id as usize] = signed(at);
            }
            for (row, leaves) in x.chunks_exact(width).zip(leaves.chunks_exact_mut(n_trees)) {
                leaves[number] = tree
                    .leaf_of(row)
                    .map_or(UNDEFINED, |leaf| place[leaf as usize]);
            }
        }
        leaves
    }
}
