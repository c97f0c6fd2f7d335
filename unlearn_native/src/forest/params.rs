//! What a forest is asked to be, checked once.

use thiserror::Error;

use super::balance::Balance;
use super::mix;

/// Where candidate thresholds come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Splitter {
    /// The values of the node's pivots: random forests.
    Pivot,
    /// Uniform on the node's range: extremely randomised trees.
    Uniform,
}

/// What is predicted, and what makes a split good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Criterion {
    /// Classes; Gini impurity.
    Gini,
    /// Classes; Shannon entropy.
    Entropy,
    /// Numbers; variance.
    SquaredError,
}

/// Which rows are in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// All of them.
    All,
    /// Each a number of times drawn from Poisson(1).
    Bootstrap,
    /// Each in this many trees.
    Trees(u32),
    /// So many in each tree, once.
    First(u32),
}

/// Checked parameters.
#[derive(Clone, Debug)]
pub struct Params {
    /// Criterion of splits.
    pub criterion: Criterion,
    /// Source of thresholds.
    pub splitter: Splitter,
    /// Rows of trees.
    pub sampling: Sampling,
    /// Over which rows classes are made to weigh alike, if they are.
    pub balance: Option<Balance>,
    /// Number of trees.
    pub n_trees: u32,
    /// Depth of the deepest leaf, the root's being 0.
    pub max_depth: u32,
    /// Nodes of fewer rows are leaves.
    pub min_samples_split: u32,
    /// Each side of a split has at least this many rows.
    pub min_samples_leaf: u32,
    /// Usable features that are compared at a node.
    pub max_features: usize,
    /// Features of each tree, of which those of a node are chosen.
    pub features_of_tree: usize,
    /// Thresholds that are compared for a feature.
    pub n_thresholds: usize,
    /// Width of the rows.
    pub n_features: usize,
    /// Whether the values of a feature are levels without an order; empty if those of none are.
    pub categorical: Vec<bool>,
}

/// Why parameters were refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ParamsError {
    /// A number that makes no sense.
    #[error("{name} is {found}, but must be from {least} to {most}.")]
    Range {
        /// Which parameter.
        name: &'static str,
        /// Its value.
        found: u64,
        /// Smallest that makes sense.
        least: u64,
        /// Largest that there is room for.
        most: u64,
    },
    /// A share that is none.
    #[error("The share of trees that hold a row must be above 0 and at most 1.")]
    Share,
    /// A name that is none.
    #[error("There is no class weight {0:?}.")]
    ClassWeight(String),
    /// Names that do not go together.
    #[error(
        "There is no forest of task {task:?}, splitter {splitter:?} and criterion {criterion:?}."
    )]
    Names {
        /// Task.
        task: String,
        /// Splitter.
        splitter: String,
        /// Criterion.
        criterion: String,
    },
}

impl Params {
    /// Whether the values of a feature are levels without an order.
    #[must_use]
    pub fn is_categorical(&self, feature: u32) -> bool {
        self.categorical
            .get(feature as usize)
            .copied()
            .unwrap_or(false)
    }

    /// Whether classes are predicted.
    #[must_use]
    pub fn is_classifier(&self) -> bool {
        self.criterion != Criterion::SquaredError
    }

    /// The parameters, if all are in range.
    ///
    /// # Errors
    /// [`ParamsError::Range`] with the first that is not.
    pub fn checked(self) -> Result<Self, ParamsError> {
        // Trees, candidates and features are numbered in 32 bits; a node's candidates are compared in 16.
        let most = u64::from(u32::MAX);
        let ranges = [
            ("n_estimators", u64::from(self.n_trees), 1, 1 << 20),
            (
                "min_samples_split",
                u64::from(self.min_samples_split),
                2,
                most,
            ),
            (
                "min_samples_leaf",
                u64::from(self.min_samples_leaf),
                1,
                most,
            ),
            ("max_features", self.max_features as u64, 1, most),
            (
                "features_of_tree",
                self.features_of_tree as u64,
                1,
                self.n_features as u64,
            ),
            ("n_thresholds", self.n_thresholds as u64, 1, 1 << 12),
            ("n_features", self.n_features as u64, 1, most),
        ];
        for (name, found, least, most) in ranges {
            if !(least..=most).contains(&found) {
                return Err(ParamsError::Range {
                    name,
                    found,
                    least,
                    most,
                });
            }
        }
        Ok(self)
    }
}

/// Rows of trees as scikit-learn's parameters name them: a number wins over a share of trees, this over the bootstrap.
///
/// # Errors
/// If the share is none.
pub fn sampling(
    bootstrap: bool,
    share: Option<f64>,
    rows_of_tree: Option<u32>,
    n_trees: u32,
) -> Result<Sampling, ParamsError> {
    if let Some(n) = rows_of_tree {
        return Ok(Sampling::First(n));
    }
    match share {
        Some(share) if share > 0.0 && share <= 1.0 => {
            Ok(Sampling::Trees(mix::n_chosen(share, n_trees)))
        }
        Some(_) => Err(ParamsError::Share),
        None if bootstrap => Ok(Sampling::Bootstrap),
        None => Ok(Sampling::All),
    }
}

/// How classes are weighted, by scikit-learn's name. Where no draw of a row makes it one of a tree's,
/// the rows of a tree are all rows.
///
/// # Errors
/// If there is no such name.
pub fn balance(
    class_weight: Option<&str>,
    sampling: Sampling,
) -> Result<Option<Balance>, ParamsError> {
    match class_weight {
        None => Ok(None),
        Some("balanced") => Ok(Some(Balance::Forest)),
        Some("balanced_subsample") => Ok(Some(match sampling {
            Sampling::Bootstrap | Sampling::Trees(_) => Balance::Trees,
            Sampling::All | Sampling::First(_) => Balance::Forest,
        })),
        Some(other) => Err(ParamsError::ClassWeight(other.to_owned())),
    }
}

/// Splitter and criterion by name.
///
/// # Errors
/// If there is no such combination.
pub fn named(
    task: &str,
    splitter: &str,
    criterion: &str,
) -> Result<(Splitter, Criterion), ParamsError> {
    let of = match splitter {
        "pivot" => Some(Splitter::Pivot),
        "uniform" => Some(Splitter::Uniform),
        _ => None,
    };
    let by = match (task, criterion) {
        ("classification", "gini") => Some(Criterion::Gini),
        ("classification", "entropy") => Some(Criterion::Entropy),
        ("regression", "squared_error") => Some(Criterion::SquaredError),
        _ => None,
    };
    of.zip(by).ok_or_else(|| ParamsError::Names {
        task: task.to_owned(),
        splitter: splitter.to_owned(),
        criterion: criterion.to_owned(),
    })
}
