//! Blocks of numbers: outputs that Python will own, and scratch of one kernel call.
//!
//! Recycling is the allocator's: the extension installs one that keeps freed blocks, so that a
//! training step in steady state takes no fresh pages.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc};
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::NonNull;
use std::sync::OnceLock;

use ndarray::{Array, Dimension, IntoDimension, ShapeBuilder};
use num_traits::Zero;

use crate::simd::MAX_LANES;
use crate::{Element, Error, Result};

/// Bytes from which a block is held against the memory of the machine: the system promises any
/// number and takes the promise back by ending the process.
const LARGE: usize = 1 << 30;

/// What unwinds through a kernel whose memory is refused, up to [`guarded`].
struct Refused(usize);

/// Leaves the kernel: `bytes` cannot be had.
#[cold]
fn refuse(bytes: usize) -> ! {
    resume_unwind(Box::new(Refused(bytes)))
}

/// Runs a kernel; memory that is refused anywhere inside becomes [`Error::Memory`].
pub fn guarded<R>(kernel: impl FnOnce() -> Result<R>) -> Result<R> {
    // Arrays of a kernel that was left are dropped on the way, and inputs are only read.
    catch_unwind(AssertUnwindSafe(kernel)).unwrap_or_else(|panic| match panic.downcast() {
        Ok(refused) => {
            let Refused(bytes) = *refused;
            Err(Error::Memory(bytes))
        }
        Err(panic) => resume_unwind(panic),
    })
}

/// Room for `len` values, none of them there yet.
fn room<T>(len: usize) -> Vec<T> {
    let bytes = len.saturating_mul(size_of::<T>());
    let mut block = Vec::new();
    if (bytes >= LARGE && bytes > physical()) || block.try_reserve_exact(len).is_err() {
        refuse(bytes);
    }
    block
}

/// Numbers that have no other bits.
///
/// # Safety
/// Every bit pattern is a value.
pub unsafe trait Plain: Copy {}

// SAFETY: so it is for numbers.
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for f64 {}
// SAFETY: as above.
unsafe impl Plain for i32 {}
// SAFETY: as above.
unsafe impl Plain for i64 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl Plain for u128 {}
// SAFETY: as above.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// `len` numbers of unspecified value, for a kernel that writes all of them.
pub fn unfilled<T: Plain>(len: usize) -> Vec<T> {
    let mut block = room::<T>(len);
    // SAFETY: capacity is `len`; every bit pattern is a number; `freeze` makes the content defined.
    unsafe {
        freeze(block.as_mut_ptr().cast());
        block.set_len(len);
    }
    block
}

/// Bytes of an array of `shape` if there were one of each length that is zero; none where they
/// are more than can be counted.
fn bytes<T>(shape: &[usize]) -> Option<usize> {
    let count = |bytes: usize, &n: &usize| bytes.checked_mul(n.max(1));
    let bytes = shape.iter().try_fold(size_of::<T>(), count)?;
    (bytes <= isize::MAX as usize).then_some(bytes)
}

/// Whether an array of `shape` is no larger than the memory of the machine.
pub fn fits<T>(shape: &[usize]) -> bool {
    let empty = shape.contains(&0);
    bytes::<T>(shape).is_some_and(|bytes| empty || bytes <= physical())
}

/// Bytes of memory of the machine; no bound where the system does not say.
fn physical() -> usize {
    const NO_BOUND: usize = isize::MAX as usize;
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| {
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
    })
}

/// Numbers in an array of `dim`.
fn len_of<T>(dim: &impl Dimension) -> usize {
    if bytes::<T>(dim.slice()).is_none() {
        refuse(usize::MAX);
    }
    dim.size()
}

/// An array of unspecified value in C order, for a kernel that writes all of it.
pub fn unfilled_array<T, Sh, D>(shape: Sh) -> Array<T, D>
where
    T: Plain,
    D: Dimension,
    Sh: ShapeBuilder<Dim = D>,
{
    let shape = shape.into_shape_with_order();
    let len = len_of::<T>(shape.raw_dim());
    Array::from_shape_vec(shape, unfilled(len)).expect("length follows from the shape")
}

/// An array of zeros in C order.
pub fn zeros<T, D>(shape: D) -> Array<T, D::Dim>
where
    T: Zero + Clone,
    D: IntoDimension,
{
    let dim = shape.into_dimension();
    let mut values = room(len_of::<T>(&dim));
    values.resize(dim.size(), T::zero());
    Array::from_shape_vec(dim, values).expect("length follows from the shape")
}

/// An array in C order that `write` fills.
///
/// # Safety
/// `write` writes every value.
pub(crate) unsafe fn filled_by<T, D: Dimension>(
    dim: D,
    write: impl FnOnce(&mut [MaybeUninit<T>]),
) -> Array<T, D> {
    let len = len_of::<T>(&dim);
    let mut values = room(len);
    write(&mut values.spare_capacity_mut()[..len]);
    values.set_len(len);
    Array::from_shape_vec(dim, values).expect("length follows from the shape")
}

/// Tells the compiler that the memory behind `block` may have been written, so that it holds some
/// value and not the "undefined" that a fresh allocation is to the optimiser.
fn freeze(block: *mut u8) {
    // SAFETY: no instruction is emitted.
    unsafe { std::arch::asm!("/* {0} */", in(reg) block, options(nostack, preserves_flags)) }
}

/// `len`, or more, that fill vectors of every instruction set.
fn whole_vectors(len: usize) -> usize {
    len.div_ceil(MAX_LANES).saturating_mul(MAX_LANES)
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
        let bytes = len.saturating_mul(size_of::<T>());
        if bytes >= LARGE && bytes > physical() {
            refuse(bytes);
        }
        let layout = Self::layout(len);
        // SAFETY: the layout has a size above zero.
        let block = unsafe { alloc(layout) };
        let Some(block) = NonNull::new(block) else { refuse(bytes) };
        freeze(block.as_ptr());
        Self { block: block.cast(), len }
    }

    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let mut scratch = Self::new(len);
        scratch.fill(T::zero());
        scratch
    }

    /// Room for the parts that [`split`](Self::split) gives.
    pub fn for_parts<const N: usize>(lens: [usize; N]) -> Self {
        Self::new(lens.into_iter().map(whole_vectors).fold(0, usize::saturating_add))
    }

    /// Parts of so many numbers, each on a boundary of its own.
    pub fn split<const N: usize>(&mut self, lens: [usize; N]) -> [&mut [T]; N] {
        let mut rest = &mut **self;
        lens.map(|len| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(whole_vectors(len));
            rest = after;
            &mut part[..len]
        })
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
        assert!(fits::<f32>(&[1000, 1000]) && fits::<f64>(&[0, 1 << 40]));
        assert!(!fits::<f64>(&[1 << 20, 1 << 20, 1 << 10]));
        assert!(!fits::<f32>(&[usize::MAX, 2]) && !fits::<f64>(&[0, usize::MAX]));
    }

    #[test]
    fn memory_that_is_refused_is_an_error_of_the_kernel() {
        let huge = 1 << 45;
        let refused = Err(Error::Memory(huge * 4));
        assert_eq!(guarded(|| Ok(unfilled::<f32>(huge))).map(|_| ()), refused);
        assert_eq!(guarded(|| Ok(Scratch::<f32>::new(huge))).map(|_| ()), refused);
        assert_eq!(guarded(|| Ok(zeros::<i32, _>((1, huge)))).map(|_| ()), refused);
        let beyond = Err(Error::Memory(usize::MAX));
        let shape = ndarray::IxDyn(&[0, 1 << 40, 1 << 40]);
        assert_eq!(guarded(|| Ok(unfilled_array::<f64, _, _>(shape))).map(|_| ()), beyond);
        // Also from a task of the pool, which goes on working.
        let tasks = guarded(|| {
            crate::threads::for_each(64, 1 << 30, |task| drop(unfilled::<f32>(huge * (task % 2))));
            Ok(())
        });
        assert_eq!(tasks, refused);
        assert_eq!(guarded(|| Ok(unfilled::<f32>(3).len())), Ok(3));
    }

    #[test]
    fn parts_of_scratch_are_aligned_and_apart() {
        let lens = [3, 0, 17, 16];
        let mut scratch = Scratch::<f32>::for_parts(lens);
        for (i, part) in scratch.split(lens).into_iter().enumerate() {
            assert!(part.len() == lens[i] && (part.as_ptr() as usize).is_multiple_of(64));
            part.fill(i as f32);
        }
        for (i, part) in scratch.split(lens).into_iter().enumerate() {
            assert!(part.iter().all(|&x| x == i as f32));
        }
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
