//! Blocks of numbers: outputs that Python will own, and scratch of one kernel call.
//!
//! Recycling is the allocator's: the extension installs one that keeps freed blocks, so that a
//! training step in steady state takes no fresh pages.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use ndarray::{Array, Dimension, ShapeBuilder};

use crate::Element;

/// `len` numbers of unspecified value, for a kernel that writes all of them.
pub fn unfilled<T: Element>(len: usize) -> Vec<T> {
    let mut block = Vec::<T>::with_capacity(len);
    // SAFETY: capacity is `len`; every bit pattern is a number; `freeze` makes the content defined.
    unsafe {
        freeze(block.as_mut_ptr().cast());
        block.set_len(len);
    }
    block
}

/// Whether an array of `shape` is no larger than the memory of the machine.
pub fn fits<T: Element>(shape: &[usize]) -> bool {
    let bytes = shape.iter().try_fold(size_of::<T>(), |bytes, &n| bytes.checked_mul(n));
    bytes.is_some_and(|bytes| bytes <= physical())
}

/// Bytes of memory of the machine; no bound where the system does not say.
fn physical() -> usize {
    const NO_BOUND: usize = isize::MAX as usize;
    #[cfg(unix)]
    {
        // SAFETY: asks for two numbers.
        let (pages, page) =
            unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
        if let (Ok(pages @ 1..), Ok(page)) = (usize::try_from(pages), usize::try_from(page)) {
            return pages.saturating_mul(page).min(NO_BOUND);
        }
    }
    NO_BOUND
}

/// An array of unspecified value in C order, for a kernel that writes all of it.
pub fn unfilled_array<T, Sh, D>(shape: Sh) -> Array<T, D>
where
    T: Element,
    D: Dimension,
    Sh: ShapeBuilder<Dim = D>,
{
    let shape = shape.into_shape_with_order();
    let len = shape.raw_dim().size();
    Array::from_shape_vec(shape, unfilled(len)).expect("length follows from the shape")
}

/// Tells the compiler that the memory behind `block` may have been written, so that it holds some
/// value and not the "undefined" that a fresh allocation is to the optimiser.
fn freeze(block: *mut u8) {
    // SAFETY: no instruction is emitted.
    unsafe { std::arch::asm!("/* {0} */", in(reg) block, options(nostack, preserves_flags)) }
}

/// Scratch numbers on a 64-byte boundary, which full-width vector loads want.
#[derive(Debug)]
pub struct Scratch<T: Element> {
    block: NonNull<T>,
    len: usize,
}

impl<T: Element> Scratch<T> {
    /// `len` numbers of unspecified value.
    pub fn new(len: usize) -> Self {
        if len == 0 {
            return Self { block: NonNull::dangling(), len };
        }
        let layout = Self::layout(len);
        // SAFETY: the layout has a size above zero.
        let block = unsafe { alloc(layout) };
        let Some(block) = NonNull::new(block) else { handle_alloc_error(layout) };
        freeze(block.as_ptr());
        Self { block: block.cast(), len }
    }

    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let mut scratch = Self::new(len);
        scratch.fill(T::zero());
        scratch
    }

    fn layout(len: usize) -> Layout {
        Layout::array::<T>(len)
            .and_then(|layout| layout.align_to(64))
            .expect("scratch of a kernel whose operands fit in memory")
    }
}

impl<T: Element> Deref for Scratch<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `block` holds `len` numbers, frozen when they were allocated.
        unsafe { std::slice::from_raw_parts(self.block.as_ptr(), self.len) }
    }
}

impl<T: Element> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.block.as_ptr(), self.len) }
    }
}

impl<T: Element> Drop for Scratch<T> {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: allocated in `new` with the same layout.
            unsafe { dealloc(self.block.as_ptr().cast(), Self::layout(self.len)) }
        }
    }
}

// SAFETY: plain numbers, owned.
unsafe impl<T: Element> Send for Scratch<T> {}
// SAFETY: shared access is read-only.
unsafe impl<T: Element> Sync for Scratch<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_machine_holds_fits() {
        assert!(fits::<f32>(&[1000, 1000]) && fits::<f64>(&[0, usize::MAX]));
        assert!(!fits::<f64>(&[1 << 20, 1 << 20, 1 << 10]));
        assert!(!fits::<f32>(&[usize::MAX, 2]));
    }

    #[test]
    fn scratch_is_aligned_and_as_long_as_asked() {
        for len in [0, 1, 17, 5000] {
            let mut scratch = Scratch::<f32>::zeros(len);
            assert_eq!(scratch.len(), len);
            assert!(len == 0 || (scratch.as_ptr() as usize).is_multiple_of(64));
            scratch.fill(1.0);
            assert_eq!(scratch.iter().sum::<f32>(), len as f32);
        }
    }
}
