//! Arrays that lie in memory of their own or in a mapped file.
#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, align_of, size_of};
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

use memmap2::{Mmap, MmapMut};

/// Numbers of which every pattern of bits is one.
///
/// # Safety
/// The type has no padding, no pointer and no invalid value.
pub unsafe trait Plain: Copy + Send + Sync + 'static {}

// SAFETY: plain numbers.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl Plain for u128 {}
// SAFETY: as above.
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for f64 {}

/// The bytes of `values`.
pub fn bytes_of<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: plain numbers are bytes without gaps.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// `bytes` as numbers, where they lie and how many they are allows it.
pub fn cast<T: Plain>(bytes: &[u8]) -> Option<&[T]> {
    let fits = bytes.len().is_multiple_of(size_of::<T>());
    if !fits || !bytes.as_ptr().cast::<T>().is_aligned() {
        return None;
    }
    // SAFETY: aligned, inside the bytes, and any pattern of bits is a number.
    Some(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) })
}

/// What keeps the values of a buffer where they are.
enum Keep {
    /// A vector of this capacity.
    Vector(usize),
    /// A file that others may read too.
    Shared(#[allow(dead_code, reason = "it is there to be dropped")] Arc<Mmap>),
    /// A file of this buffer's own.
    Own(#[allow(dead_code, reason = "it is there to be dropped")] Arc<MmapMut>),
}

/// An array read like a slice.
pub struct Buffer<T: Plain> {
    start: *mut T,
    len: usize,
    keep: Keep,
    values: PhantomData<T>,
}

// SAFETY: a buffer owns its values, or shares those that nobody changes.
unsafe impl<T: Plain> Send for Buffer<T> {}
// SAFETY: as above.
unsafe impl<T: Plain> Sync for Buffer<T> {}

impl<T: Plain> Buffer<T> {
    /// The part `range`, in bytes, of a file; nothing where it leaves the file, is not aligned or
    /// holds no whole number of values.
    pub fn mapped(map: &Arc<Mmap>, range: Range<usize>) -> Option<Self> {
        let values = cast::<T>(map.get(range)?)?;
        let (start, len) = (values.as_ptr().cast_mut(), values.len());
        Some(Self { start, len, keep: Keep::Shared(Arc::clone(map)), values: PhantomData })
    }

    /// The first `len` values of a file whose map nobody else reads or writes; nothing where there
    /// are fewer.
    pub(crate) fn own(map: Arc<MmapMut>, len: usize) -> Option<Self> {
        let start = map.as_ptr().cast_mut().cast::<T>();
        if map.len() / size_of::<T>() < len || align_of::<T>() > 4096 {
            return None;
        }
        Some(Self { start, len, keep: Keep::Own(map), values: PhantomData })
    }

    /// The values to be changed; those of a shared file are copied first.
    pub fn to_mut(&mut self) -> &mut [T] {
        if matches!(self.keep, Keep::Shared(_)) {
            *self = self.to_vec().into();
        }
        // SAFETY: the values are this buffer's own.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl<T: Plain> From<Vec<T>> for Buffer<T> {
    fn from(values: Vec<T>) -> Self {
        let mut values = ManuallyDrop::new(values);
        let keep = Keep::Vector(values.capacity());
        Self { start: values.as_mut_ptr(), len: values.len(), keep, values: PhantomData }
    }
}

impl<T: Plain> Drop for Buffer<T> {
    fn drop(&mut self) {
        if let Keep::Vector(capacity) = self.keep {
            // SAFETY: these are the parts of a vector that nobody else drops.
            drop(unsafe { Vec::from_raw_parts(self.start, self.len, capacity) });
        }
    }
}

impl<T: Plain> Deref for Buffer<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: the vector or the map that `keep` holds is there as long as the buffer.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl<T: Plain> AsRef<[T]> for Buffer<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: Plain> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.to_mut()
    }
}

impl<T: Plain> Default for Buffer<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T: Plain> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        match &self.keep {
            Keep::Shared(map) => {
                let keep = Keep::Shared(Arc::clone(map));
                Self { start: self.start, len: self.len, keep, values: PhantomData }
            }
            _ => self.to_vec().into(),
        }
    }
}

impl<T: Plain + PartialEq> PartialEq for Buffer<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<'a, T: Plain> IntoIterator for &'a Buffer<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Plain> FromIterator<T> for Buffer<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        values.into_iter().collect::<Vec<T>>().into()
    }
}
