//! From `NumPy` arrays and sequences of str to owned buffers, and back.
//!
//! Everything is copied while attached: another thread may write to a borrowed array.

use numpy::ndarray::{Array2, ArrayView1, Dimension};
use numpy::{
    Element, IntoPyArray, PyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray,
    PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};
use zeroize::Zeroizing;

use crate::identity::PrfKey;
use crate::keys::{Key, KeyBatch, Strings};
use crate::values::vector;

/// Borrow an array of exactly this type and number of dimensions, or a copy of it if its elements are not aligned.
pub fn borrow<'py, T: Element, D: Dimension>(
    object: &Bound<'py, PyAny>,
    what: &str,
) -> PyResult<PyReadonlyArray<'py, T, D>> {
    let wrong = || {
        let dtype = numpy::dtype::<T>(object.py());
        let dimensions = D::NDIM.unwrap_or_default();
        PyTypeError::new_err(format!(
            "{what} must be a {dimensions}-d numpy array of dtype {dtype}. Convert it"
        ))
    };
    let array = object.cast::<PyArray<T, D>>().map_err(|_| wrong())?;
    let item = size_of::<T>();
    let is_regular = (0..array.ndim())
        .all(|axis| array.shape()[axis] < 2 || array.strides()[axis] % item.cast_signed() == 0);
    if is_regular && array.data().addr().is_multiple_of(align_of::<T>()) {
        return Ok(array.try_readonly()?);
    }
    Ok(array
        .call_method0("copy")?
        .cast_into::<PyArray<T, D>>()
        .map_err(|_| wrong())?
        .try_readonly()?)
}

/// Borrow a 1-d array, or a copy of it if it has gaps.
pub fn contiguous<'py, T: Element>(
    object: &Bound<'py, PyAny>,
    what: &str,
) -> PyResult<PyReadonlyArray<'py, T, numpy::Ix1>> {
    let array = borrow::<T, numpy::Ix1>(object, what)?;
    if array.is_c_contiguous() {
        return Ok(array);
    }
    borrow(&array.call_method0("copy")?, what)
}

/// Copy of a 1-d array with any stride.
pub fn copy_1d<T: Element + Copy>(object: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<T>> {
    let array = borrow::<T, numpy::Ix1>(object, what)?;
    let view: ArrayView1<'_, T> = array.as_array();
    let mut out = vector(view.len())?;
    match view.as_slice() {
        Some(slice) => out.extend_from_slice(slice),
        None => out.extend(view.iter().copied()),
    }
    Ok(out)
}

/// Ids or subjects: a 1-d int64 array, or any sequence of str.
pub fn keys(object: &Bound<'_, PyAny>, what: &str) -> PyResult<KeyBatch> {
    if object.cast::<PyArray1<i64>>().is_ok() {
        return Ok(KeyBatch::Int64(copy_1d(object, what)?.into()));
    }
    let wrong = || {
        PyTypeError::new_err(format!(
            "{what} must be a 1-d int64 numpy array or a sequence of str"
        ))
    };
    if object.is_instance_of::<PyString>() || object.is_instance_of::<PyBytes>() {
        return Err(wrong());
    }
    if let Ok(list) = object.cast::<PyList>() {
        return strings(|| list.iter(), list.len(), what);
    }
    if let Ok(tuple) = object.cast::<PyTuple>() {
        return strings(|| tuple.iter(), tuple.len(), what);
    }
    let list = object
        .py()
        .get_type::<PyList>()
        .call1((object,))
        .map_err(|_| wrong())?;
    let list = list.cast::<PyList>()?;
    strings(|| list.iter(), list.len(), what)
}

/// How many strings are measured before they are copied: few enough to be in the cache the second time.
const STRINGS_AT_ONCE: usize = 1024;

/// Copy strings, block by block, into a buffer that has room for each block beforehand.
fn strings<'py, I: Iterator<Item = Bound<'py, PyAny>>>(
    items: impl Fn() -> I,
    n: usize,
    what: &str,
) -> PyResult<KeyBatch> {
    let mut strings = Strings::with_capacity(n, 0)?;
    let (mut measured, mut copied) = (items(), items());
    for _ in (0..n).step_by(STRINGS_AT_ONCE) {
        let mut nbytes = 0;
        for item in measured.by_ref().take(STRINGS_AT_ONCE) {
            nbytes += utf8(&item, what)?.len();
        }
        strings.reserve(nbytes)?;
        for item in copied.by_ref().take(STRINGS_AT_ONCE) {
            strings.push(utf8(&item, what)?)?;
        }
    }
    Ok(KeyBatch::Str(strings))
}

fn utf8<'a>(item: &'a Bound<'_, PyAny>, what: &str) -> PyResult<&'a str> {
    let text = item
        .cast::<PyString>()
        .map_err(|_| PyTypeError::new_err(format!("{what} must all be str")))?;
    text.to_str().map_err(|_| {
        PyValueError::new_err(format!(
            "a str in {what} has surrogates, so it has no UTF-8. Nothing was changed. Replace it"
        ))
    })
}

/// int64 array, or list of str.
pub fn keys_to_python(py: Python<'_>, mut keys: KeyBatch) -> PyResult<Bound<'_, PyAny>> {
    if let KeyBatch::Int64(keys) = &mut keys {
        return Ok(std::mem::take(&mut **keys).into_pyarray(py).into_any());
    }
    let texts = keys
        .iter()
        .map(|key| text(py, key))
        .collect::<PyResult<Vec<_>>>()?;
    Ok(PyList::new(py, texts)?.into_any())
}

/// A str of an index.
pub fn text<'py>(py: Python<'py>, key: Key<'_>) -> PyResult<Bound<'py, PyString>> {
    PyString::from_bytes(py, key.text())
}

/// Row-major matrix from its elements.
pub fn matrix<T: Element>(
    py: Python<'_>,
    elements: Vec<T>,
    columns: usize,
) -> PyResult<Bound<'_, PyArray2<T>>> {
    let rows = elements.len() / columns.max(1);
    let array = Array2::from_shape_vec((rows, columns), elements);
    Ok(array
        .map_err(|error| PyValueError::new_err(error.to_string()))?
        .into_pyarray(py))
}

/// A 256-bit key.
pub fn key(bytes: &[u8], what: &str) -> PyResult<Zeroizing<PrfKey>> {
    let key: Option<&PrfKey> = bytes.try_into().ok();
    key.map(|key| Zeroizing::new(*key)).ok_or_else(|| {
        PyValueError::new_err(format!(
            "{what} has {} bytes, but must have 32",
            bytes.len()
        ))
    })
}
