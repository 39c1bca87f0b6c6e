//! Files that appear under their name when they are complete.
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Has `write` fill a hidden file beside `path`, which takes that name once it is on the disk.
///
/// Where that fails nothing is left behind and a file that was there stays as it was.
pub(crate) fn replace<R>(path: &Path, write: impl FnOnce(&mut File) -> Result<R>) -> Result<R> {
    let failed = |error: io::Error| Error::io(path, &error);
    let name = path.file_name().ok_or_else(|| {
        let kind = match path.as_os_str().is_empty() {
            true => io::ErrorKind::NotFound,
            false => io::ErrorKind::IsADirectory,
        };
        Error::io(path, &io::Error::new(kind, "expected the name of a file"))
    })?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.tmp", std::process::id()));
    let temporary = folder.join(hidden);
    let written = File::create(&temporary).map_err(failed).and_then(|mut file| {
        let result = write(&mut file)?;
        file.sync_all().map_err(failed)?;
        fs::rename(&temporary, path).map_err(failed)?;
        Ok(result)
    });
    if written.is_err() {
        // The error that is reported is the first one.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    #[cfg(unix)]
    File::open(&folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    written
}

/// Has the system begin to write `file` to the disk, so that less is left when all must be there.
pub(crate) fn start_writing(file: &File) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let whole = libc::SYNC_FILE_RANGE_WRITE;
        // SAFETY: the descriptor is open; a hint, whose failure does not matter.
        unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, whole) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}
