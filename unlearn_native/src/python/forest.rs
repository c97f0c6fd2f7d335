//! `Forest`.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use numpy::{
    IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyIndexError, PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::arrays;
use super::matrices::in_c_order;
use crate::forest::digest::Depth;
use crate::forest::export::Arrays;
use crate::forest::model::{self, ForestError, Output};
use crate::forest::params::{self, Params, ParamsError};
use crate::forest::rows::{Batch, RowsError};

impl From<ParamsError> for PyErr {
    fn from(error: ParamsError) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

impl From<ForestError> for PyErr {
    fn from(error: ForestError) -> Self {
        let message = error.to_string();
        match error {
            ForestError::Pool(_) | ForestError::Rows(RowsError::OutOfMemory(_)) => {
                PyMemoryError::new_err(message)
            }
            _ => PyValueError::new_err(message),
        }
    }
}

/// A forest of trees: a function of the live rows, the parameters and the key.
#[pyclass(frozen, module = "_unlearn_native._native")]
pub struct Forest {
    model: RwLock<model::Forest>,
    n_features: usize,
    n_trees: usize,
}

/// Row starts, columns and edges of trees.
type Indices<'py> = (
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<i64>>,
);

/// What a prediction consists of, owned.
enum Answer {
    Mean,
    Classes(Vec<usize>),
}

impl Answer {
    fn new(class_slots: Option<PyReadonlyArray1<'_, i32>>) -> PyResult<Self> {
        let Some(slots) = class_slots else {
            return Ok(Self::Mean);
        };
        let slots = slots.as_array();
        let indices: Vec<usize> = slots
            .iter()
            .filter_map(|&slot| usize::try_from(slot).ok())
            .collect();
        if indices.len() < slots.len() {
            let message = format!(
                "{} of {} class slots are negative.",
                slots.len() - indices.len(),
                slots.len()
            );
            return Err(PyValueError::new_err(message));
        }
        Ok(Self::Classes(indices))
    }

    fn output(&self) -> Output<'_> {
        match self {
            Self::Mean => Output::Mean,
            Self::Classes(slots) => Output::Classes(slots),
        }
    }
}

impl Forest {
    // After a panic the trees it left unfinished are grown again from the rows, so a poisoned lock is taken all the same.
    fn read(&self) -> RwLockReadGuard<'_, model::Forest> {
        self.model.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, model::Forest> {
        self.model.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn rows_of<'py>(&self, x: PyReadonlyArray2<'py, f32>) -> PyResult<PyReadonlyArray2<'py, f32>> {
        let width = x.shape()[1];
        if width == self.n_features {
            return in_c_order(x);
        }
        let message = format!(
            "X has {width} features, but {} are expected. Nothing was changed.",
            self.n_features
        );
        Err(PyValueError::new_err(message))
    }

    fn answer(
        &self,
        py: Python<'_>,
        class_slots: Option<PyReadonlyArray1<'_, i32>>,
    ) -> PyResult<Answer> {
        let is_classifier = py.detach(|| self.read().params().is_classifier());
        if is_classifier != class_slots.is_some() {
            let message = "Class slots must be given for classes, and only for these.";
            return Err(PyValueError::new_err(message));
        }
        Answer::new(class_slots)
    }

    /// Reads from a forest without stale nodes.
    fn settled<T>(&self, read: impl Fn(&model::Forest) -> T) -> Result<T, ForestError> {
        {
            let forest = self.read();
            if forest.is_settled() {
                return Ok(read(&forest));
            }
        }
        let mut forest = self.write();
        forest.flush(1)?;
        Ok(read(&forest))
    }

    fn hash<'py>(
        &self,
        py: Python<'py>,
        class_slots: Option<PyReadonlyArray1<'py, i32>>,
        depth: Depth,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let answer = self.answer(py, class_slots)?;
        let hash = py.detach(|| self.settled(|forest| forest.digest(answer.output(), depth)))?;
        Ok(PyBytes::new(py, &hash))
    }
}

/// Halves of 128-bit tags, two a row.
fn tags_of(tags: PyReadonlyArray2<'_, u64>) -> PyResult<PyReadonlyArray2<'_, u64>> {
    if tags.shape()[1] == 2 {
        return in_c_order(tags);
    }
    let message = format!(
        "tags have {} columns, but 2 are expected. Nothing was changed.",
        tags.shape()[1]
    );
    Err(PyValueError::new_err(message))
}

#[pymethods]
impl Forest {
    #[new]
    #[pyo3(signature = (
        *, task, splitter, criterion, n_estimators, max_depth, min_samples_split, min_samples_leaf, max_features,
        n_thresholds, bootstrap, share, n_features, key, class_weight=None, categorical=None,
        rows_of_tree=None, features_of_tree=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "all by name")]
    fn new(
        task: &str,
        splitter: &str,
        criterion: &str,
        n_estimators: u32,
        max_depth: Option<u32>,
        min_samples_split: u32,
        min_samples_leaf: u32,
        max_features: usize,
        n_thresholds: usize,
        bootstrap: bool,
        share: Option<f64>,
        n_features: usize,
        key: &[u8],
        class_weight: Option<&str>,
        categorical: Option<Vec<bool>>,
        rows_of_tree: Option<u32>,
        features_of_tree: Option<usize>,
    ) -> PyResult<Self> {
        let key = arrays::key(key, "key")?;
        let (splitter, criterion) = params::named(task, splitter, criterion)?;
        let sampling = params::sampling(bootstrap, share, rows_of_tree, n_estimators)?;
        let params = Params {
            criterion,
            splitter,
            sampling,
            balance: params::balance(class_weight, sampling)?,
            n_trees: n_estimators,
            max_depth: max_depth.unwrap_or(u32::MAX),
            min_samples_split,
            min_samples_leaf,
            max_features,
            features_of_tree: features_of_tree.unwrap_or(n_features),
            n_thresholds,
            n_features,
            categorical: categorical.unwrap_or_default(),
        };
        Ok(Self {
            model: RwLock::new(model::Forest::new(params.checked()?, &key)?),
            n_features,
            n_trees: n_estimators as usize,
        })
    }

    /// How often the set of rows changed.
    #[getter]
    fn version(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.read().version())
    }

    /// Live rows.
    #[getter]
    fn n_rows(&self, py: Python<'_>) -> usize {
        py.detach(|| self.read().rows().len())
    }

    /// Number of trees.
    #[getter]
    fn n_trees(&self) -> usize {
        self.n_trees
    }

    /// Number of features.
    #[getter]
    fn n_features(&self) -> usize {
        self.n_features
    }

    /// Size of rows and trees in bytes.
    #[getter]
    fn nbytes(&self, py: Python<'_>) -> usize {
        py.detach(|| self.read().nbytes())
    }

    /// Learn rows; on a ValueError nothing has changed.
    #[pyo3(signature = (tags, x, targets, weight=None))]
    fn learn(
        &self,
        py: Python<'_>,
        tags: PyReadonlyArray2<'_, u64>,
        x: PyReadonlyArray2<'_, f32>,
        targets: PyReadonlyArray1<'_, f64>,
        weight: Option<PyReadonlyArray1<'_, f64>>,
    ) -> PyResult<()> {
        let tags = tags_of(tags)?;
        let x = self.rows_of(x)?;
        let targets = in_c_order(targets)?;
        let weight = weight.map(in_c_order).transpose()?;
        let batch = Batch {
            tags: tags.as_slice()?,
            x: x.as_slice()?,
            targets: targets.as_slice()?,
            weights: weight
                .as_ref()
                .map(|weight| weight.as_slice())
                .transpose()?,
        };
        Ok(py.detach(|| self.write().learn(batch))?)
    }

    /// Forget rows by their tags; on a ValueError nothing has changed.
    fn forget(&self, py: Python<'_>, tags: PyReadonlyArray2<'_, u64>) -> PyResult<()> {
        let tags = tags_of(tags)?;
        let tags = tags.as_slice()?;
        Ok(py.detach(|| self.write().forget(tags))?)
    }

    /// Do all pending repairs.
    #[pyo3(signature = (n_threads=1))]
    fn flush(&self, py: Python<'_>, n_threads: usize) -> PyResult<()> {
        Ok(py.detach(|| {
            let is_settled = self.read().is_settled();
            if is_settled {
                Ok(())
            } else {
                self.write().flush(n_threads)
            }
        })?)
    }

    /// Take forgotten rows out of all trees, so that nothing of them is kept; nodes that become stale stay so.
    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        Ok(py.detach(|| self.write().drain())?)
    }

    /// Probabilities (n, k) of the classes in these slots, or means (n,); None if the rows are no longer those of `version`.
    #[pyo3(signature = (x, version, class_slots=None, n_threads=1))]
    fn predict<'py>(
        &self,
        py: Python<'py>,
        x: PyReadonlyArray2<'py, f32>,
        version: u64,
        class_slots: Option<PyReadonlyArray1<'py, i32>>,
        n_threads: usize,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let x = self.rows_of(x)?;
        let values = x.as_slice()?;
        let answer = self.answer(py, class_slots)?;
        let out =
            py.detach(|| self.predict_version(values, version, answer.output(), n_threads))?;
        let Some(out) = out else { return Ok(None) };
        Ok(Some(match answer {
            Answer::Mean => out.into_pyarray(py).into_any(),
            Answer::Classes(slots) => arrays::matrix(py, out, slots.len())?.into_any(),
        }))
    }

    /// Path lengths (n,) to what parts each row from all others, summed over trees; None as for `predict`.
    #[pyo3(signature = (x, version, n_threads=1))]
    fn path_lengths<'py>(
        &self,
        py: Python<'py>,
        x: PyReadonlyArray2<'py, f32>,
        version: u64,
        n_threads: usize,
    ) -> PyResult<Option<Bound<'py, PyArray1<f64>>>> {
        let x = self.rows_of(x)?;
        let values = x.as_slice()?;
        let out =
            py.detach(|| self.predict_version(values, version, Output::PathLength, n_threads))?;
        Ok(out.map(|out| out.into_pyarray(py)))
    }

    /// For each tree (n_trees, k) the features that it chooses from, ascending.
    fn features_of_trees<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<u32>>> {
        let features = py.detach(|| self.read().features_of_trees());
        let width = features.len() / self.n_trees;
        arrays::matrix(py, features, width)
    }

    /// For each row (n, trees that hold rows, at least 1) the number in preorder of its leaf.
    fn apply<'py>(
        &self,
        py: Python<'py>,
        x: PyReadonlyArray2<'py, f32>,
    ) -> PyResult<Bound<'py, PyArray2<i64>>> {
        let x = self.rows_of(x)?;
        let values = x.as_slice()?;
        let (leaves, n_trees) = py.detach(|| {
            self.settled(|forest| (forest.apply(values), forest.trees_with_rows().count()))
        })?;
        arrays::matrix(py, leaves, n_trees.max(1))
    }

    /// Nodes that rows pass: where those of each row begin, the nodes, and where those of each tree begin.
    fn decision_path<'py>(
        &self,
        py: Python<'py>,
        x: PyReadonlyArray2<'py, f32>,
    ) -> PyResult<Indices<'py>> {
        let x = self.rows_of(x)?;
        let values = x.as_slice()?;
        let paths = py.detach(|| self.settled(|forest| forest.decision_path(values)))?;
        Ok((
            paths.starts.into_pyarray(py),
            paths.nodes.into_pyarray(py),
            paths.edges.into_pyarray(py),
        ))
    }

    /// A tree as arrays in preorder, as scikit-learn has them.
    #[pyo3(signature = (t, class_slots=None))]
    fn tree<'py>(
        &self,
        py: Python<'py>,
        t: usize,
        class_slots: Option<PyReadonlyArray1<'py, i32>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        if t >= self.n_trees {
            let message = format!("There are {} trees: tree {t} does not exist.", self.n_trees);
            return Err(PyIndexError::new_err(message));
        }
        let answer = self.answer(py, class_slots)?;
        let arrays = py.detach(|| self.settled(|forest| forest.arrays(t, answer.output())))?;
        to_dict(py, arrays, answer.output().len())
    }

    /// Of each tree with a split (n, n_features + 1): impurity, times weight, that each feature takes away; last, its weight.
    fn impurity_decreases<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let trees = py.detach(|| self.settled(model::Forest::impurity_decreases))?;
        arrays::matrix(py, trees.concat(), self.n_features + 1)
    }

    /// Hash of the trees: a function of the rows, whatever the history and the numbers of the slots.
    #[pyo3(signature = (class_slots=None))]
    fn digest<'py>(
        &self,
        py: Python<'py>,
        class_slots: Option<PyReadonlyArray1<'py, i32>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.hash(py, class_slots, Depth::Trees)
    }

    /// Hash of the trees and of the statistics that repairs rely on.
    #[pyo3(signature = (class_slots=None))]
    fn deep_digest<'py>(
        &self,
        py: Python<'py>,
        class_slots: Option<PyReadonlyArray1<'py, i32>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.hash(py, class_slots, Depth::Statistics)
    }

    /// Counts of what was done so far, and of the forgotten rows whose values are kept until they are no longer needed.
    fn report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (counters, waiting) = py.detach(|| {
            let forest = self.read();
            (forest.counters(), forest.n_leaving())
        });
        let report = PyDict::new(py);
        report.set_item("waiting", waiting)?;
        report.set_item("visited", counters.visited)?;
        report.set_item("recounted", counters.recounted)?;
        report.set_item("became_stale", counters.became_stale)?;
        report.set_item("rows_grown", counters.rows_grown)?;
        Ok(report)
    }
}

impl Forest {
    /// Repairs what the rows reach, unless it is whole, and reads: both only as long as the rows are those of `version`.
    fn predict_version(
        &self,
        x: &[f32],
        version: u64,
        output: Output<'_>,
        n_threads: usize,
    ) -> Result<Option<Vec<f64>>, ForestError> {
        loop {
            {
                let forest = self.read();
                if forest.version() != version {
                    return Ok(None);
                }
                if let Some(out) = forest.predict(x, output, n_threads) {
                    return Ok(Some(out));
                }
            }
            let mut forest = self.write();
            if forest.version() == version {
                forest.settle_for(x, n_threads)?;
            }
        }
    }
}

fn to_dict(py: Python<'_>, arrays: Arrays, n_outputs: usize) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    let flags = arrays.missing_go_to_left.into_pyarray(py);
    dict.set_item("children_left", arrays.children_left.into_pyarray(py))?;
    dict.set_item("children_right", arrays.children_right.into_pyarray(py))?;
    dict.set_item("feature", arrays.feature.into_pyarray(py))?;
    dict.set_item("threshold", arrays.threshold.into_pyarray(py))?;
    dict.set_item("missing_go_to_left", flags)?;
    dict.set_item("impurity", arrays.impurity.into_pyarray(py))?;
    dict.set_item("n_node_samples", arrays.n_node_samples.into_pyarray(py))?;
    dict.set_item(
        "weighted_n_node_samples",
        arrays.weighted_n_node_samples.into_pyarray(py),
    )?;
    dict.set_item("value", arrays::matrix(py, arrays.value, n_outputs)?)?;
    Ok(dict)
}
