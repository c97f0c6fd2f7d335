//! Trees as arrays in preorder: what a released forest, `apply` and the importances of features are made of.

use super::balance::{Multipliers, NONE};
use super::grow::Tree;
use super::model::{Forest, Output};
use super::node::{Kind, NodeId, ROOT};
use super::numbers::{nearest, nearest_signed, nearest_wide, signed};
use super::params::Criterion;
use super::score::x_ln_x;
use super::split::Missing;
use super::sums::Member;

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

/// Which nodes rows pass.
#[derive(Debug, Default)]
pub struct Paths {
    /// Where the nodes of each row begin, and the end.
    pub starts: Vec<i64>,
    /// Nodes, row after row.
    pub nodes: Vec<i64>,
    /// Where the nodes of each tree begin, and the end.
    pub edges: Vec<i64>,
}

/// Sums of a node, those of classes multiplied, and the weighted squares of its targets.
#[derive(Clone, Default)]
struct Moments {
    totals: Vec<i64>,
    squares: i128,
}

impl Forest {
    /// Sums of the nodes of a tree in preorder: from the leaves up.
    fn moments(&self, tree: usize, nodes: &[NodeId], right: &[usize]) -> Vec<Moments> {
        let multipliers = self.balanced().of_tree(tree);
        let tree = &self.trees()[tree];
        let mut moments = vec![Moments::default(); nodes.len()];
        for at in (0..nodes.len()).rev() {
            moments[at] = if tree.memory.node(nodes[at]).is_list() {
                self.leaf_moments(tree, multipliers, nodes[at])
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

    fn leaf_moments(&self, tree: &Tree, multipliers: &Multipliers, id: NodeId) -> Moments {
        let rows = tree.memory.list(id).iter();
        let square = |&row| {
            let Member { row, copies } = tree.member(self.context(0), row);
            let amount = self.rows().amount(Member { row, copies });
            i128::from(amount.product) * i128::from(amount.target)
        };
        let squares = if self.params().is_classifier() {
            0
        } else {
            rows.map(square).sum()
        };
        Moments {
            totals: multipliers.times_all(tree.memory.list_totals(id)),
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
        let multipliers = self.balanced().of_tree(tree);
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
                .push(self.rows().weight_of(units) / nearest(multipliers.unit()));
            let value = &mut arrays.value[at * output.len()..(at + 1) * output.len()];
            if units > 0 {
                self.add_value(output, &NONE, &moments.totals, value);
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

    /// Of each tree that has a split, how much impurity, times the weight of its rows, the splits on each feature take away;
    /// then the weight of its rows. The forest must be settled.
    #[must_use]
    pub fn impurity_decreases(&self) -> Vec<Vec<f64>> {
        let has_split = |tree: &usize| self.trees()[*tree].memory.node(ROOT).kind == Kind::Internal;
        (0..self.trees().len())
            .filter(has_split)
            .map(|tree| self.impurity_decreases_of(tree))
            .collect()
    }

    fn impurity_decreases_of(&self, tree: usize) -> Vec<f64> {
        let nodes: Vec<NodeId> = self.trees()[tree].preorder().collect();
        let right = self.right_children(tree, &nodes);
        let moments = self.moments(tree, &nodes, &right);
        let unit = nearest(self.balanced().of_tree(tree).unit());
        let weight = |at: usize| {
            let units = self.rows().channels().weight(&moments[at].totals);
            self.rows().weight_of(units) / unit
        };
        let impurity = |at: usize| weight(at) * self.impurity(&moments[at]);
        let mut decreases = vec![0.0; self.params().n_features + 1];
        for (at, &id) in nodes.iter().enumerate() {
            let node = self.trees()[tree].memory.node(id);
            if node.kind == Kind::Internal {
                // Added up in scikit-learn's order, so that a released forest says the same.
                decreases[node.feature as usize] +=
                    impurity(at) - impurity(at + 1) - impurity(right[at]);
            }
        }
        decreases[self.params().n_features] = weight(0);
        decreases
    }

    /// Numbers in preorder of the nodes of a tree, by index.
    fn numbers(tree: &Tree) -> Vec<i64> {
        let mut numbers = vec![0; tree.memory.n_nodes()];
        for (number, id) in tree.preorder().enumerate() {
            numbers[id as usize] = signed(number);
        }
        numbers
    }

    /// For each row and tree that has rows the number in preorder of the leaf that it comes to. If no tree has rows, as if
    /// one leaf held them all. The forest must be settled.
    #[must_use]
    pub fn apply(&self, x: &[f32]) -> Vec<i64> {
        let width = self.params().n_features;
        let n_trees = self.trees_with_rows().count().max(1);
        let mut out = vec![0; x.len() / width * n_trees];
        let mut leaves = Vec::new();
        for (at, (_, tree)) in self.trees_with_rows().enumerate() {
            let numbers = Self::numbers(tree);
            tree.find_leaves(x, width, &mut leaves);
            for (out, &leaf) in out.chunks_exact_mut(n_trees).zip(&leaves) {
                out[at] = numbers[leaf as usize];
            }
        }
        out
    }

    /// The nodes that rows pass, as a sparse matrix of ones: all nodes of all trees that have rows side by side, each tree in
    /// preorder. If no tree has rows, as if one leaf held them all. The forest must be settled.
    #[must_use]
    pub fn decision_path(&self, x: &[f32]) -> Paths {
        let rows = x.chunks_exact(self.params().n_features);
        let trees: Vec<(&Tree, Vec<i64>)> = self
            .trees_with_rows()
            .map(|(_, tree)| (tree, Self::numbers(tree)))
            .collect();
        let mut paths = Paths {
            starts: vec![0],
            nodes: Vec::new(),
            edges: vec![0],
        };
        let mut edge = 0;
        for (tree, _) in &trees {
            edge += signed(tree.preorder().count());
            paths.edges.push(edge);
        }
        if trees.is_empty() {
            paths.edges.push(1);
        }
        for row in rows {
            for ((tree, numbers), &edge) in trees.iter().zip(&paths.edges) {
                let mut next = Some(ROOT);
                while let Some(id) = next {
                    paths.nodes.push(edge + numbers[id as usize]);
                    next = tree.step(id, row);
                }
            }
            if trees.is_empty() {
                paths.nodes.push(0);
            }
            paths.starts.push(signed(paths.nodes.len()));
        }
        paths
    }
}
