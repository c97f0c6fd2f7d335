//! Forests that forget: decision trees as a pure function of the live rows, the parameters and the key.
//!
//! # Rationale
//! A node is a function of the *set* of its rows, of its tag and of the parameters. Nothing reads the order of arrival,
//! the place of a row in memory or an earlier state of the tree. So any procedure that leaves each node at the value of
//! that function gives what a fit on the live rows gives, bit for bit: batches, laziness and threads drop out, and
//! learning is the inverse of forgetting.
//!
//! * [`mix`] and [`cells`]: all randomness, from secret tags.
//! * [`params`], [`rows`], [`sums`]: what is given, as integers.
//! * [`balance`]: weights of classes.
//! * [`score`], [`statistics`], [`split`], [`evaluate`]: the function of a node.
//! * [`first`]: which rows a tree of an isolation forest holds.
//! * [`node`]: memory. [`subset`], [`grow`]: whole subtrees. [`repair`], [`pivots`], [`pending`]: forgetting and learning.
//! * [`model`]: all trees together. [`predict`], [`digest`], [`export`]: what is read off them.
//!
//! # Limitations
//! A node whose split changes becomes a *stale* list of its rows at once, and is split again when it is read. No
//! header of a stale node outlives it, so no threshold is the value of a forgotten row.

pub mod balance;
pub mod cells;
pub mod digest;
pub mod evaluate;
pub mod export;
pub mod first;
pub mod grow;
pub mod mix;
pub mod model;
pub mod node;
pub mod numbers;
pub mod params;
pub mod pending;
pub mod pivots;
pub mod predict;
pub mod repair;
pub mod rows;
pub mod score;
pub mod split;
pub mod statistics;
pub mod subset;
pub mod sums;

#[cfg(test)]
mod tests;
