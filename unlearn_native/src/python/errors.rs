//! Which Python exception an error becomes.

use pyo3::PyErr;
use pyo3::exceptions::{PyIndexError, PyMemoryError, PyTypeError, PyValueError};

use crate::chunked::OutOfMemory;
use crate::identity::IdentityError;
use crate::keys::KeyTooLong;
use crate::rows::RowsError;
use crate::values::CsrError;
use crate::wire::WireError;

impl From<OutOfMemory> for PyErr {
    fn from(error: OutOfMemory) -> Self {
        PyMemoryError::new_err(error.to_string())
    }
}

impl From<IdentityError> for PyErr {
    fn from(error: IdentityError) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

impl From<KeyTooLong> for PyErr {
    fn from(error: KeyTooLong) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

impl From<CsrError> for PyErr {
    fn from(error: CsrError) -> Self {
        match error {
            CsrError::Storage(error) => PyMemoryError::new_err(error.to_string()),
            CsrError::Indptr | CsrError::Indices { .. } => PyValueError::new_err(error.to_string()),
        }
    }
}

impl From<RowsError> for PyErr {
    fn from(error: RowsError) -> Self {
        let message = error.to_string();
        match error {
            RowsError::Storage(_) => PyMemoryError::new_err(message),
            RowsError::Kind { .. } | RowsError::Format => PyTypeError::new_err(message),
            RowsError::Slots { .. } | RowsError::ChunkBounds { .. } => {
                PyIndexError::new_err(message)
            }
            _ => PyValueError::new_err(message),
        }
    }
}

impl From<WireError> for PyErr {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Rows(RowsError::Storage(error)) => PyMemoryError::new_err(error.to_string()),
            _ => PyValueError::new_err(error.to_string()),
        }
    }
}
