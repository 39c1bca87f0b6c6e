//! What the standard library of Python lacks to replace a folder in one step.

use std::path::PathBuf;

use pyo3::prelude::*;

/// Exchanges two paths of one folder so that at no moment either is missing; `False` where the
/// system or the file system cannot do that.
#[pyfunction]
#[pyo3(signature = (a, b, /))]
pub(crate) fn files_exchange(py: Python<'_>, a: PathBuf, b: PathBuf) -> PyResult<bool> {
    py.detach(|| exchange(&a, &b)).map_err(PyErr::from)
}

#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn exchange(a: &std::path::Path, b: &std::path::Path) -> std::io::Result<bool> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn exchange(_a: &std::path::Path, _b: &std::path::Path) -> std::io::Result<bool> {
    Ok(false)
}
