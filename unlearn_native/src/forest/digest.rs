//! What a forest is, as bytes that do not depend on how it came to be, and a check of it node by node.

use super::balance::Multipliers;
use super::evaluate::{Evaluator, NodeRows};
use super::grow::Tree;
use super::model::{Forest, Output};
use super::node::{Kind, NodeId, ROOT};
use super::split::{Context, Outcome};
use super::statistics::Feature;
use super::subset::Subset;

/// How much of a node is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What a reader of the trees sees.
    Trees,
    /// What repairs rely on, too.
    Statistics,
}

/// Class slots in the order that the caller gives them, so that their numbers do not matter.
struct Writer<'a> {
    hasher: blake3::Hasher,
    output: Output<'a>,
}

impl Writer<'_> {
    fn number(&mut self, number: u64) {
        self.hasher.update(&number.to_le_bytes());
    }

    fn sums(&mut self, sums: &[i64]) {
        match self.output {
            Output::Mean | Output::PathLength => {
                for sum in sums {
                    self.number(sum.cast_unsigned());
                }
            }
            Output::Classes(slots) => {
                for &slot in slots {
                    self.number(sums.get(slot).copied().unwrap_or(0).cast_unsigned());
                }
            }
        }
    }

    fn feature(&mut self, part: &Feature<'_>) {
        let head = &*part.head;
        let words = [
            head.feature,
            head.is_usable.into(),
            head.may_part_missing,
            head.low.to_bits(),
            head.high.to_bits(),
            head.n_low,
            head.n_high,
            head.n_thresholds.into(),
            part.n_left[part.missing()],
        ];
        for word in words {
            self.number(word.into());
        }
        let width = part.sums.len() / (part.missing() + 1);
        for (at, threshold) in part.in_use().iter().enumerate() {
            self.number(threshold.to_bits().into());
            self.number(part.n_left[at].into());
            if width > 0 {
                self.sums(&part.sums[at * width..(at + 1) * width]);
            }
        }
    }
}

impl Forest {
    /// Hash of all trees in preorder: counts, splits by value, rows of leaves by tag. The forest must be settled.
    #[must_use]
    pub fn digest(&self, output: Output<'_>, depth: Depth) -> [u8; 32] {
        let mut writer = Writer {
            hasher: blake3::Hasher::new(),
            output,
        };
        writer.number(self.rows().len() as u64);
        self.write_multipliers(&mut writer, self.balanced().of_all());
        for (number, tree) in self.trees().iter().enumerate() {
            self.write_multipliers(&mut writer, self.balanced().of_tree(number));
            for id in tree.preorder() {
                self.write_node(&mut writer, tree, id, depth);
            }
        }
        writer.hasher.finalize().into()
    }

    /// Writes the multipliers of classes, where there are any.
    fn write_multipliers(&self, writer: &mut Writer<'_>, multipliers: &Multipliers) {
        if self.balanced().is_on() {
            writer.number(multipliers.unit().cast_unsigned());
            writer.sums(multipliers.of_slots());
        }
    }

    fn write_node(&self, writer: &mut Writer<'_>, tree: &Tree, id: NodeId, depth: Depth) {
        let node = tree.memory.node(id);
        writer.number(node.n.into());
        writer.number(u64::from(node.kind == Kind::Internal));
        if depth == Depth::Statistics {
            writer.number(node.tag);
            writer.number(node.pivot_limit);
        }
        if node.is_list() {
            writer.sums(tree.memory.list_totals(id));
            let mut tags: Vec<u128> = tree
                .memory
                .list(id)
                .iter()
                .map(|&row| self.rows().tag(row))
                .collect();
            tags.sort_unstable();
            for tag in tags {
                writer.hasher.update(&tag.to_le_bytes());
            }
            return;
        }
        writer.number(node.feature.into());
        writer.number(node.threshold.to_bits().into());
        writer.number(node.missing as u64);
        let mut block = tree.memory.statistics(id).to_vec();
        if depth == Depth::Statistics && !block.is_empty() {
            for &row in self.context(0).shape().pivots(&block) {
                writer.hasher.update(&self.rows().tag(row).to_le_bytes());
            }
            let (totals, features) = self.context(0).shape().parts(&mut block);
            writer.sums(totals);
            features.for_each(|part| writer.feature(&part));
        }
    }

    /// Checks that every node which is neither stale nor pending, nor below a pending one, is what its function says,
    /// statistics included.
    ///
    /// # Panics
    /// If one is not.
    pub fn validate(&self) {
        let mut evaluator = Evaluator::default();
        for (number, tree) in self.trees().iter().enumerate() {
            assert!(tree.is_whole);
            let count = |kind| {
                tree.preorder()
                    .filter(|&id| tree.memory.node(id).kind == kind)
                    .count()
            };
            assert_eq!(tree.n_stale(), count(Kind::Stale));
            assert_eq!(tree.pending.n_nodes(), count(Kind::Pending));
            tree.validate(self.context(number), &mut evaluator);
        }
    }
}

impl Tree {
    /// Nodes, parents before left before right children.
    pub(super) fn preorder(&self) -> impl Iterator<Item = NodeId> {
        let mut stack = vec![ROOT];
        std::iter::from_fn(move || {
            let id = stack.pop()?;
            let node = self.memory.node(id);
            if !node.is_list() {
                stack.extend([node.right(), node.left]);
            }
            Some(id)
        })
    }

    fn validate(&self, context: Context<'_>, evaluator: &mut Evaluator) {
        let mut stack = vec![ROOT];
        while let Some(id) = stack.pop() {
            self.validate_node(context, evaluator, id);
            let node = self.memory.node(id);
            if node.kind == Kind::Internal {
                stack.extend([node.right(), node.left]);
            }
        }
    }

    fn validate_node(&self, context: Context<'_>, evaluator: &mut Evaluator, id: NodeId) {
        let mut rows = Vec::new();
        let mut subset = Subset::default();
        self.rows_below(context, id, &mut rows);
        self.fill(context, &mut subset, &rows);
        let node = *self.memory.node(id);
        assert_eq!(rows.len(), node.n as usize, "rows of a node");
        assert!(
            rows.iter().all(|&row| self.member(context, row).copies > 0),
            "a row of weight zero or of another tree"
        );
        let outcome = evaluator.evaluate(
            context,
            node.tag,
            node.depth,
            NodeRows::new(&subset, 0, rows.len()),
        );
        if node.is_list() {
            assert_eq!(
                self.memory.list_totals(id),
                evaluator.totals(context),
                "sums of a list"
            );
        }
        match (node.kind, outcome) {
            (Kind::Stale | Kind::Pending, _) => {}
            (Kind::Leaf, Outcome::Leaf { pivot_limit }) => {
                assert_eq!(pivot_limit, node.pivot_limit);
            }
            (Kind::Internal, Outcome::Split { split, pivot_limit }) => {
                assert_eq!(
                    (split, pivot_limit),
                    (node.split(), node.pivot_limit),
                    "split of a node"
                );
                self.validate_statistics(evaluator, id);
            }
            (kind, outcome) => panic!("a node is {kind:?}, but should be {outcome:?}"),
        }
    }

    fn validate_statistics(&self, evaluator: &Evaluator, id: NodeId) {
        let kept = self.memory.statistics(id);
        let has_any = self.memory.node(id).n >= super::node::MIN_ROWS_FOR_STATISTICS;
        assert_eq!(has_any, !kept.is_empty(), "whether a node keeps statistics");
        if has_any {
            let (block, spare) = kept.split_at(evaluator.block().len());
            assert_eq!(block, evaluator.block(), "statistics of a node");
            assert!(
                spare.iter().all(|&word| word == 0),
                "room behind statistics"
            );
        }
    }
}
