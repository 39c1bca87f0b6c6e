//! Arrays in temporary files, for work beyond a budget of memory.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use memmap2::{MmapMut, MmapOptions};

use crate::buffer::{Buffer, Plain, bytes_of};
use crate::{Error, Result};

/// Where arrays go: memory, if there is no scratch.
pub type Storage<'a> = Option<&'a Scratch>;

/// A folder for arrays in files that have no name, so that nothing is left however a run ends.
#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
    /// Bytes of memory; pages are given back from half of it on, for more is used until the next look.
    budget: usize,
    maps: Mutex<Vec<Weak<MmapMut>>>,
}

impl Scratch {
    /// Arrays in `folder`, of which about `budget` bytes are in memory at once.
    pub fn new(folder: &Path, budget: usize) -> Self {
        Self { folder: folder.to_path_buf(), budget, maps: Mutex::default() }
    }

    /// `len` zeros.
    fn zeros<T: Plain>(&self, len: usize) -> Result<Buffer<T>> {
        let file = self.file()?;
        let bytes = (len * size_of::<T>()).max(1);
        self.reserve(&file, bytes)?;
        self.map(&file, bytes, len)
    }

    fn map<T: Plain>(&self, file: &File, bytes: usize, len: usize) -> Result<Buffer<T>> {
        // SAFETY: the file has no name, so that nobody else changes it.
        let map = unsafe { MmapOptions::new().len(bytes).map_mut(file) };
        let map = Arc::new(map.map_err(|error| Error::io(&self.folder, &error))?);
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        maps.retain(|map| map.strong_count() > 0);
        maps.push(Arc::downgrade(&map));
        Buffer::own(map, len).ok_or(Error::Memory(bytes))
    }

    /// A new file without a name.
    fn file(&self) -> Result<File> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!(".lamina-{}-{number}.tmp", std::process::id());
        let path = self.folder.join(name);
        let failed = |error: io::Error| Error::io(&self.folder, &error);
        let new = File::options().read(true).write(true).create_new(true).open(&path);
        let file = new.map_err(failed)?;
        fs::remove_file(&path).map_err(failed)?;
        Ok(file)
    }

    /// Makes sure that there is room on the disk: a map cannot say that there is none.
    fn reserve(&self, file: &File, bytes: usize) -> Result<()> {
        #[cfg(target_os = "linux")]
        {
            use std::os::fd::AsRawFd;
            // SAFETY: the descriptor is open.
            let code = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, bytes as libc::off_t) };
            if code == libc::ENOSPC || code == libc::EFBIG {
                return Err(Error::io(&self.folder, &io::Error::from_raw_os_error(code)));
            }
        }
        file.set_len(bytes as u64).map_err(|error| Error::io(&self.folder, &error))
    }

    /// Gives memory back to the system if more than half the budget is in use; what was in it is
    /// read again from the files.
    pub fn relieve(&self) {
        if resident().is_some_and(|bytes| bytes < self.budget / 2) {
            return;
        }
        #[cfg(unix)]
        for map in self.maps.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(map) = map.upgrade() {
                // SAFETY: the map is shared with its file, from which dropped pages come back.
                let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
            }
        }
    }
}

/// Bytes of memory that this process uses, where the system says so.
fn resident() -> Option<usize> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

/// Bytes from which on an array gets pages of its own, which go back to the system at once.
const LARGE: usize = 1 << 22;

/// `len` zeros in pages of their own.
fn pages<T: Plain>(len: usize) -> Result<Buffer<T>> {
    let bytes = len.checked_mul(size_of::<T>()).ok_or(Error::Memory(usize::MAX))?;
    let map = MmapMut::map_anon(bytes).map_err(|_| Error::Memory(bytes))?;
    // A hint: fewer and larger pages are sooner there.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    Buffer::own(Arc::new(map), len).ok_or(Error::Memory(bytes))
}

/// `len` times `value`.
pub(crate) fn filled<T: Plain + PartialEq + Default>(
    storage: Storage<'_>,
    len: usize,
    value: T,
) -> Result<Buffer<T>> {
    let mut values = match storage {
        Some(scratch) => scratch.zeros(len)?,
        None if len * size_of::<T>() < LARGE => return Ok(vec![value; len].into()),
        None => pages(len)?,
    };
    if value != T::default() {
        values.to_mut().fill(value);
    }
    Ok(values)
}

/// An array that grows at its end, beyond memory where there is a scratch.
pub struct Growing<T: Plain> {
    scratch: Option<Arc<Scratch>>,
    /// What was added last, or everything where there is no scratch.
    pub values: Vec<T>,
    file: Option<(File, usize)>,
}

impl<T: Plain> Growing<T> {
    /// An empty one.
    pub fn new(scratch: Option<Arc<Scratch>>) -> Self {
        Self { scratch, values: Vec::new(), file: None }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.values.len() + self.file.as_ref().map_or(0, |(_, len)| *len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the values go to a file.
    pub fn spills(&self) -> bool {
        self.scratch.is_some()
    }

    /// Moves the values to the file, if there is one.
    pub fn settle(&mut self) -> Result<()> {
        let Some(scratch) = &self.scratch else { return Ok(()) };
        if self.file.is_none() {
            self.file = Some((scratch.file()?, 0));
        }
        if let Some((file, len)) = &mut self.file {
            let written = file.write_all(bytes_of(&self.values));
            written.map_err(|error| Error::io(&scratch.folder, &error))?;
            *len += self.values.len();
            self.values.clear();
        }
        scratch.relieve();
        Ok(())
    }

    /// All values.
    pub fn finish(mut self) -> Result<Buffer<T>> {
        self.settle()?;
        match (&self.scratch, &self.file) {
            (Some(scratch), Some((file, len))) if *len > 0 => {
                scratch.map(file, len * size_of::<T>(), *len)
            }
            _ => Ok(self.values.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_outlive_relief_and_leave_no_file() {
        let folder = std::env::temp_dir().join(format!("lamina-scratch-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let scratch = Arc::new(Scratch::new(&folder, 0));
        let mut values = filled(Some(&scratch), 100_000, 7u32).unwrap();
        values.to_mut()[5] = 3;
        let mut growing = Growing::new(Some(Arc::clone(&scratch)));
        for number in 0..5u64 {
            growing.values.extend([number; 1000]);
            growing.settle().unwrap();
        }
        let grown = growing.finish().unwrap();
        scratch.relieve();
        assert_eq!((values[4], values[5], values[99_999]), (7, 3, 7));
        assert_eq!((grown.len(), grown[0], grown[4_999]), (5000, 0, 4));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        assert!(filled(Some(&scratch), 0, 1u8).unwrap().is_empty());
        fs::remove_dir_all(&folder).unwrap();
        assert!(filled(Some(&scratch), 1, 1u8).is_err());
    }
}
