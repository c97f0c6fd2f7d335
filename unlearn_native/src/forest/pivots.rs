//! When a pivot comes or goes, only the thresholds that it brings or takes are counted or dropped.
//!
//! The statistics of all others hold. Without this a node of n rows would be counted again with probability k / n for each
//! row that passes, at the price of all its thresholds; so it costs one comparison a row and feature.

use zeroize::Zeroizing;

use super::evaluate::insert_distinct;
use super::grow::{Bench, Tree};
use super::mix;
use super::node::NodeId;
use super::numbers::few;
use super::split::Context;
use super::statistics::Feature;
use super::sums::{Change, Member};

/// Priority, tag and handle: the order of pivots.
type Ranked = (u64, u128, u32);

/// A threshold to be counted.
struct Added {
    /// Position of the feature in the walk.
    part: usize,
    feature: usize,
    at: usize,
    threshold: f32,
}

impl Tree {
    /// Brings pivots and thresholds of a node up to date after some rows, counted already, came or went.
    ///
    /// False if all rows are pivots: then the node is to be counted again.
    pub(super) fn exchange_pivots(
        &mut self,
        context: Context<'_>,
        bench: &mut Bench,
        change: Change,
        id: NodeId,
        members: &[Member],
    ) -> bool {
        let node = *self.memory.node(id);
        let k = context.params.n_thresholds;
        let rank = |row: u32| {
            let tag = context.rows.tag(row);
            (mix::row_priority(node.tag, tag), tag, row)
        };
        let shape = context.shape();
        let old = shape.pivots(self.memory.statistics(id));
        if old.len() < k || (node.n as usize) < k {
            return false;
        }
        let mut pivots: Vec<Ranked> = old.iter().map(|&row| rank(row)).collect();
        self.rows_below(context, id, &mut bench.rows);
        match change {
            Change::Learn => pivots.extend(members.iter().map(|member| rank(member.row))),
            Change::Forget => {
                let limit = node.pivot_limit;
                let has_gone = |pivot: &Ranked| members.iter().any(|member| member.row == pivot.2);
                pivots.retain(|pivot| !has_gone(pivot));
                let n_kept = pivots.len();
                append_next(
                    &mut pivots,
                    k,
                    bench
                        .rows
                        .iter()
                        .map(|&row| rank(row))
                        .filter(|next| next.0 >= limit),
                );
                debug_assert!(n_kept <= pivots.len());
            }
        }
        pivots.sort_unstable();
        pivots.truncate(k);
        if let Some(last) = pivots.last() {
            self.memory.node_mut(id).pivot_limit = last.0;
        }
        let draw = self.tags.draw;
        let block = self.memory.statistics_mut(id);
        shape.set_pivots(block, pivots.iter().map(|pivot| pivot.2));
        let (_, features) = shape.parts(block);
        let mut parts: Vec<Feature<'_>> = features.collect();
        let mut added = Vec::new();
        for (at, part) in parts.iter_mut().enumerate() {
            take_thresholds(context, &pivots, at, part, &mut added);
        }
        if !added.is_empty() {
            let members = bench.rows.iter().map(|&row| Member {
                row,
                copies: context.rows.copies(row, context.params.sampling, draw),
            });
            count_added(context, members, &added, &mut parts);
        }
        true
    }
}

/// Appends the first of some ranked rows, so that there are `k`, or all; those that are there already are skipped.
fn append_next(pivots: &mut Vec<Ranked>, k: usize, rows: impl Iterator<Item = Ranked>) {
    let n_kept = pivots.len();
    for next in rows {
        let (kept, chosen) = pivots.split_at(n_kept);
        let at = n_kept + chosen.partition_point(|other| *other < next);
        if at < k && !kept.contains(&next) {
            pivots.insert(at, next);
            pivots.truncate(k);
        }
    }
}

/// Replaces the thresholds of a feature by those of the pivots. Counts of old ones are kept, new ones have zeros.
fn take_thresholds(
    context: Context<'_>,
    pivots: &[Ranked],
    place: usize,
    part: &mut Feature<'_>,
    added: &mut Vec<Added>,
) {
    let feature = part.head.feature as usize;
    let mut thresholds = Zeroizing::new(vec![0.0; part.thresholds.len()]);
    let mut n = 0;
    part.head.may_part_missing = 0;
    for pivot in pivots {
        let x = context.rows.values(pivot.2)[feature];
        if x.is_nan() {
            part.head.may_part_missing = 1;
        } else {
            n = insert_distinct(&mut thresholds, n, x);
        }
    }
    if thresholds[..n] == *part.in_use() {
        return;
    }
    let old = Zeroizing::new(part.in_use().to_vec());
    let n_left = part.n_left.to_vec();
    let sums = part.sums.to_vec();
    let width = if sums.is_empty() {
        0
    } else {
        context.rows.channels().n_sums()
    };
    let missing = part.missing();
    part.n_left[..missing].fill(0);
    part.sums[..missing * width].fill(0);
    for (at, &threshold) in thresholds[..n].iter().enumerate() {
        if let Ok(from) = old.binary_search_by(|other| other.total_cmp(&threshold)) {
            part.n_left[at] = n_left[from];
            part.sums[at * width..(at + 1) * width]
                .copy_from_slice(&sums[from * width..(from + 1) * width]);
        } else {
            added.push(Added {
                part: place,
                feature,
                at,
                threshold,
            });
        }
    }
    part.thresholds.copy_from_slice(&thresholds);
    part.head.n_thresholds = few(n);
}

/// Counts what is left of new thresholds.
fn count_added(
    context: Context<'_>,
    members: impl Iterator<Item = Member>,
    added: &[Added],
    parts: &mut [Feature<'_>],
) {
    let channels = context.rows.channels();
    let width = channels.n_sums();
    for member in members {
        let values = context.rows.values(member.row);
        let amount = context.rows.amount(member);
        for new in added {
            let part = &mut parts[new.part];
            let x = values[new.feature];
            let is_left =
                x <= new.threshold && (part.head.is_categorical == 0 || x >= new.threshold);
            if is_left {
                part.n_left[new.at] += 1;
                if part.head.is_usable != 0 {
                    channels.add(&mut part.sums[new.at * width..(new.at + 1) * width], amount);
                }
            }
        }
    }
}
