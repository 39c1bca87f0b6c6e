//! What tasks write at the same time.
#![allow(unsafe_code)]

use std::ops::Range;

/// A slice of which several tasks write parts that do not overlap.
#[derive(Debug, Clone, Copy)]
pub struct Shared<T> {
    start: *mut T,
    len: usize,
}

// SAFETY: whoever calls `slice` promises that parts do not overlap.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Shares `whole`, which must outlive every part taken.
    pub fn new(whole: &mut [T]) -> Self {
        Self { start: whole.as_mut_ptr(), len: whole.len() }
    }

    /// Bytes of the whole slice.
    pub fn bytes(&self) -> usize {
        self.len * size_of::<T>()
    }

    /// The part `range`.
    ///
    /// # Safety
    /// The slice given to `new` is still borrowed, and no other part in use overlaps this one.
    ///
    /// # Panics
    /// Where the range leaves the slice.
    #[allow(clippy::mut_from_ref)]
    #[inline]
    pub unsafe fn slice(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "part outside the slice");
        // SAFETY: the range is inside, and the caller promises that it is not shared.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// Address of the number `index`, for parts that are not contiguous.
    ///
    /// # Panics
    /// Where the index is past the end.
    #[inline]
    pub fn at(&self, index: usize) -> *mut T {
        assert!(index <= self.len, "part outside the slice");
        // SAFETY: inside the slice or one past its end.
        unsafe { self.start.add(index) }
    }
}
