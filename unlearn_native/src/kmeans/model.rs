//! The model as a whole: which rows determine it, what follows from them, and how it follows them.

use thiserror::Error;
use zeroize::Zeroizing;

use super::coreset::{Coreset, CoresetParams, Reach};
use super::grid::Grid;
use super::kernel::{Centres, Search, argmin};
use super::parts::{concat, in_parts};
use super::replay::{Replay, StopRule, Work};
use super::runs::{Runs, Setup};
use super::seed::Init;
use super::slots::Erasure;
use super::table::{Rows, Table};
use crate::identity::PrfKey;
use crate::values::{DType, Value};

/// Most clusters: labels are u16.
pub const MAX_CLUSTERS: usize = u16::MAX as usize;

/// Why a call was refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs)] // The messages say it.
pub enum KMeansError {
    #[error(
        "{n_rows} rows of a weight above 0 are fewer than {n_clusters} clusters. Learn {} more",
        n_clusters - n_rows
    )]
    TooFewRows { n_rows: usize, n_clusters: usize },
    #[error("n_clusters must lie in 1..={MAX_CLUSTERS}")]
    ClusterCount,
    #[error("init holds {got} numbers, but {expected} are needed for {n_clusters} centers")]
    InitShape {
        got: usize,
        expected: usize,
        n_clusters: usize,
    },
    #[error("the store holds {got} rows, but {expected} are expected of it. Rebuild")]
    OutOfStep { got: usize, expected: usize },
    #[error("slots must ascend strictly and be below the {n_before} rows there were. Rebuild")]
    Slots { n_before: usize },
}

/// How the centres are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Lloyd's iterations over all rows.
    Lloyd,
    /// The same over a sample, and then a few passes over all rows.
    Coreset {
        /// Expected number of rows in the sample, about.
        size: usize,
        /// M-steps over all rows.
        full_passes: usize,
    },
}

/// Parameters that the value of a model depends on.
#[derive(Clone, Debug)]
pub struct Params {
    /// Number of clusters.
    pub n_clusters: usize,
    /// How runs start.
    pub init: Init,
    /// Number of runs.
    pub n_init: u32,
    /// Most iterations of a run.
    pub max_iter: usize,
    /// Tolerance, relative to the mean variance of the columns.
    pub tol: f64,
    /// On which rows.
    pub algorithm: Algorithm,
}

impl Params {
    fn setup<'p>(&'p self, key: &'p PrfKey) -> Setup<'p> {
        Setup {
            n_clusters: self.n_clusters,
            init: &self.init,
            n_init: self.n_init,
            key,
        }
    }

    fn stop_rule(&self, grid: &Grid) -> StopRule {
        StopRule {
            max_iter: self.max_iter.max(1),
            tolerance: self.tol * grid.mean_variance(),
        }
    }
}

/// How the last change was followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Path {
    /// There are fewer rows than clusters, so nothing was to be followed.
    #[default]
    Sums,
    /// All was derived from the rows anew.
    Rebuild,
    /// A start changed, and its run was repeated.
    Reseed,
    /// Rows of the sample came or went, and the change went through its runs and the passes over all rows.
    Coreset,
    /// The change went through the stored iterations.
    Propagate,
}

impl Path {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sums => "sums",
            Self::Rebuild => "rebuild",
            Self::Reseed => "reseed",
            Self::Coreset => "coreset",
            Self::Propagate => "propagate",
        }
    }
}

impl From<Reach> for Path {
    fn from(reach: Reach) -> Self {
        match reach {
            Reach::Outside => Self::Propagate,
            Reach::Members => Self::Coreset,
            Reach::Start => Self::Reseed,
        }
    }
}

/// What the last change cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How it was followed.
    pub path: Path,
    /// How much was looked at.
    pub work: Work,
}

/// All that follows from the rows.
#[derive(Clone, Debug)]
enum Fitted {
    Lloyd(Box<Runs>),
    Coreset(Box<Coreset>),
}

impl Fitted {
    fn new<T: Table>(params: &Params, key: &PrfKey, table: &T) -> Self {
        match params.algorithm {
            Algorithm::Lloyd => {
                let mut runs = Runs::new(params.setup(key), table);
                runs.follow(key, params.stop_rule(runs.grid()), table);
                Self::Lloyd(Box::new(runs))
            }
            Algorithm::Coreset { size, full_passes } => {
                let sample = CoresetParams {
                    size,
                    full_passes,
                    max_iter: params.max_iter,
                    tol: params.tol,
                };
                Self::Coreset(Box::new(Coreset::new(sample, params.setup(key), table)))
            }
        }
    }

    /// Learn the rows of a table from this slot on; None if all is to be done anew.
    fn learn<T: Table>(
        &mut self,
        first: usize,
        params: &Params,
        key: &PrfKey,
        table: &T,
    ) -> Option<Path> {
        match self {
            Self::Lloyd(runs) => {
                let holds = runs.learn(first, table);
                holds.then(|| follow(runs, params, key, table))
            }
            Self::Coreset(coreset) => {
                let reach = coreset.learn(first, params.setup(key), table);
                reach.map(Path::from)
            }
        }
    }

    /// Forget rows that left the table; None if all is to be done anew.
    fn forget<G: Table, T: Table<Scalar = G::Scalar>>(
        &mut self,
        erasure: &Erasure,
        gone: &G,
        params: &Params,
        key: &PrfKey,
        table: &T,
    ) -> Option<Path> {
        match self {
            Self::Lloyd(runs) => {
                let holds = runs.forget(erasure, gone, table);
                holds.then(|| follow(runs, params, key, table))
            }
            Self::Coreset(coreset) => {
                let reach = coreset.forget(erasure, gone, params.setup(key), table);
                reach.map(Path::from)
            }
        }
    }

    /// The run that readers see, and the grid of its rows.
    fn result(&self) -> (&Replay, &Grid) {
        match self {
            Self::Lloyd(runs) => (runs.chosen(), runs.grid()),
            Self::Coreset(coreset) => (coreset.full(), coreset.grid()),
        }
    }

    fn take_work(&mut self) -> Work {
        match self {
            Self::Lloyd(runs) => runs.take_work(),
            Self::Coreset(coreset) => coreset.take_work(),
        }
    }
}

fn follow<T: Table>(runs: &mut Runs, params: &Params, key: &PrfKey, table: &T) -> Path {
    let rule = params.stop_rule(runs.grid());
    if runs.follow(key, rule, table) {
        Path::Reseed
    } else {
        Path::Propagate
    }
}

/// Result of a model.
#[derive(Clone, Copy, Debug)]
pub struct State<'m> {
    /// Centres, of numbers of the type of X.
    pub centres: &'m Centres,
    /// That type.
    pub dtype: DType,
    /// Iterations, as scikit-learn counts them.
    pub n_iter: usize,
    /// Sum of squared distances to the nearest centres, weighted.
    pub inertia: f64,
    /// "lloyd" or "coreset".
    pub algorithm: &'static str,
    /// Clusters that rows have a weight in.
    pub n_found: usize,
}

/// k-means on the rows of a table that is kept elsewhere.
///
/// What follows from the rows is taken out while it changes: after a panic there is nothing instead of a half of it.
#[derive(Debug)]
pub struct Model {
    params: Params,
    key: Zeroizing<PrfKey>,
    n_slots: usize,
    n_rows: usize,
    dtype: DType,
    fitted: Option<Fitted>,
    report: Report,
}

impl Model {
    /// Without rows.
    ///
    /// # Errors
    /// If there are no clusters, or too many.
    pub fn new(params: Params, key: Zeroizing<PrfKey>) -> Result<Self, KMeansError> {
        if !(1..=MAX_CLUSTERS).contains(&params.n_clusters) {
            return Err(KMeansError::ClusterCount);
        }
        Ok(Self {
            params,
            key,
            n_slots: 0,
            n_rows: 0,
            dtype: DType::Float64,
            fitted: None,
            report: Report::default(),
        })
    }

    /// Derive everything from the rows of a table.
    ///
    /// # Errors
    /// If given centres have another width.
    pub fn rebuild<T: Table>(&mut self, table: &T) -> Result<(), KMeansError> {
        self.check_width(table)?;
        self.fitted = None;
        self.n_slots = table.n_slots();
        self.n_rows = table.effective().count();
        self.dtype = T::Scalar::DTYPE;
        self.report = Report::default();
        if self.n_rows >= self.params.n_clusters {
            let fitted = Fitted::new(&self.params, &self.key, table);
            self.keep(fitted, Path::Rebuild);
        }
        Ok(())
    }

    /// Learn the rows that were appended to the table, from slot `first` on.
    ///
    /// # Errors
    /// If these are not all that this model does not know; nothing was changed.
    pub fn learn<T: Table>(&mut self, table: &T, first: usize) -> Result<(), KMeansError> {
        self.check_rows(first)?;
        if table.n_slots() < first {
            return self.check_rows(table.n_slots());
        }
        let Some(mut fitted) = self.fitted.take() else {
            return self.rebuild(table);
        };
        let Some(path) = fitted.learn(first, &self.params, &self.key, table) else {
            return self.rebuild(table);
        };
        let arrivals = first..table.n_slots();
        self.n_rows += arrivals.filter(|&slot| table.is_effective(slot)).count();
        self.n_slots = table.n_slots();
        self.keep(fitted, path);
        Ok(())
    }

    /// Forget rows that were erased from the table: the slots that they had, ascending, and what was there.
    ///
    /// # Errors
    /// If the table is not what is left; nothing was changed.
    pub fn forget<G: Table, T: Table<Scalar = G::Scalar>>(
        &mut self,
        table: &T,
        slots: Vec<u32>,
        gone: &G,
    ) -> Result<(), KMeansError> {
        let n_before = self.n_slots;
        self.check_rows(table.n_slots() + slots.len())?;
        let ascends = slots.is_sorted_by(|left, right| left < right);
        let is_inside = slots.last().is_none_or(|&last| (last as usize) < n_before);
        if !ascends || !is_inside || gone.n_slots() != slots.len() {
            return Err(KMeansError::Slots { n_before });
        }
        let n_gone = gone.effective().count();
        if self.n_rows - n_gone < self.params.n_clusters {
            return self.rebuild(table);
        }
        let Some(mut fitted) = self.fitted.take() else {
            return self.rebuild(table);
        };
        let erasure = Erasure::new(slots, n_before);
        let Some(path) = fitted.forget(&erasure, gone, &self.params, &self.key, table) else {
            return self.rebuild(table);
        };
        (self.n_slots, self.n_rows) = (table.n_slots(), self.n_rows - n_gone);
        self.keep(fitted, path);
        Ok(())
    }

    fn keep(&mut self, mut fitted: Fitted, path: Path) {
        let work = fitted.take_work();
        self.report = Report { path, work };
        self.fitted = Some(fitted);
    }

    fn check_width<T: Table>(&self, table: &T) -> Result<(), KMeansError> {
        let Init::Given(centres) = &self.params.init else {
            return Ok(());
        };
        let n_clusters = self.params.n_clusters;
        let (got, expected) = (centres.len(), n_clusters * table.n_features());
        if got == expected {
            return Ok(());
        }
        Err(KMeansError::InitShape {
            got,
            expected,
            n_clusters,
        })
    }

    /// Refuse a table that is not that of this model, by its number of rows.
    ///
    /// # Errors
    /// If it has more or fewer.
    pub fn check_rows(&self, got: usize) -> Result<(), KMeansError> {
        let expected = self.n_slots;
        if got == expected {
            return Ok(());
        }
        Err(KMeansError::OutOfStep { got, expected })
    }

    fn result(&self) -> Result<(&Replay, &Grid), KMeansError> {
        let fitted = self.fitted.as_ref().ok_or(KMeansError::TooFewRows {
            n_rows: self.n_rows.min(self.params.n_clusters),
            n_clusters: self.params.n_clusters,
        })?;
        Ok(fitted.result())
    }

    /// What readers see.
    ///
    /// # Errors
    /// If there are fewer rows than clusters.
    pub fn state(&self) -> Result<State<'_>, KMeansError> {
        let (replay, grid) = self.result()?;
        Ok(State {
            centres: replay.centres(),
            dtype: self.dtype,
            n_iter: replay.n_iter(),
            inertia: replay.inertia(grid),
            algorithm: match self.params.algorithm {
                Algorithm::Lloyd => "lloyd",
                Algorithm::Coreset { .. } => "coreset",
            },
            n_found: replay.n_found(),
        })
    }

    /// Labels of the rows in these slots.
    ///
    /// # Errors
    /// If there are fewer rows than clusters, or the table is not that of this model.
    pub fn labels<T: Table>(&self, table: &T, slots: &[u32]) -> Result<Vec<i32>, KMeansError> {
        let (replay, _) = self.result()?;
        self.check_rows(table.n_slots())?;
        let mut labels: Vec<_> = slots
            .iter()
            .map(|&slot| i32::from(replay.labels().get(slot as usize)))
            .collect();
        // Rows of weight 0 are in no cluster, but have a nearest centre.
        let absent: Vec<_> = (0..slots.len())
            .filter(|&place| !table.is_effective(slots[place] as usize))
            .collect();
        let mut places = absent.iter();
        let absent_slots = absent.iter().map(|&place| slots[place] as usize);
        Search::default().distances(table, absent_slots, replay.centres(), |_, squared| {
            if let Some(&place) = places.next() {
                labels[place] = number(argmin(squared));
            }
        });
        Ok(labels)
    }

    /// The pure state in canonical form, rows in the given order of their slots: equal models have equal bytes, whatever
    /// their histories.
    #[must_use]
    pub fn digest(&self, order: &[u32]) -> [u8; 32] {
        let mut bytes = Vec::new();
        bytes.extend((self.n_rows as u64).to_le_bytes());
        match &self.fitted {
            None => {}
            Some(Fitted::Lloyd(runs)) => runs.digest_into(order, &mut bytes),
            Some(Fitted::Coreset(coreset)) => coreset.digest_into(order, &mut bytes),
        }
        blake3::hash(&bytes).into()
    }

    /// Number of rows of a weight above 0.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// What the last change cost.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report
    }

    /// Bytes allocated, about.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        match &self.fitted {
            None => 0,
            Some(Fitted::Lloyd(runs)) => runs.nbytes(),
            Some(Fitted::Coreset(coreset)) => coreset.nbytes(),
        }
    }
}

/// Cluster numbers are u16.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
fn number(cluster: usize) -> i32 {
    cluster as i32
}

/// Labels of rows, by these centres.
pub fn predict<R: Rows>(rows: &R, n_rows: usize, centres: &Centres, n_threads: usize) -> Vec<i32> {
    concat(in_parts(n_rows, n_threads, |part| {
        let first = part.start;
        let mut labels = vec![0; part.len()];
        Search::default().nearest(rows, part, centres, |row, nearest| {
            labels[row - first] = i32::from(nearest.label);
        });
        labels
    }))
}

/// Distances of rows to these centres, row by row.
pub fn transform<R: Rows>(
    rows: &R,
    n_rows: usize,
    centres: &Centres,
    n_threads: usize,
) -> Vec<f64> {
    concat(in_parts(n_rows, n_threads, |part| {
        let mut distances = Vec::with_capacity(part.len() * centres.len());
        Search::default().distances(rows, part, centres, |_, squared| {
            distances.extend(squared.iter().map(|squared| squared.sqrt()));
        });
        distances
    }))
}
