//! Rows of four-dimensional arrays by batch, head and token, whatever the strides.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;

use ndarray::{ArrayView3, ArrayView4, CowArray, Ix4, ShapeBuilder};

use crate::layout::{self, Solid};
use crate::simd::{FAR, line, prefetch};
use crate::threads::Shared;

/// Rows from one that is worked on to one that is asked for: the processor foresees few of those that
/// are apart in memory.
const AHEAD: usize = 8;

/// `view` itself where its rows are contiguous, else a copy.
pub(super) fn contiguous<T: Solid>(view: ArrayView4<'_, T>) -> CowArray<'_, T, Ix4> {
    if has_rows(&view) { view.into() } else { layout::copied(&view).into() }
}

fn has_rows<T>(view: &ArrayView4<'_, T>) -> bool {
    view.strides()[3] == 1 || view.dim().3 == 1 || view.is_empty()
}

/// `part` with its last axis cut into heads: a view of the given shape and strides.
pub(super) fn heads<T>(
    part: ArrayView3<'_, T>,
    shape: [usize; 4],
    strides: [isize; 4],
) -> ArrayView4<'_, T> {
    assert_eq!(part.len(), shape.iter().product::<usize>());
    if strides.iter().all(|&stride| stride >= 0) {
        let strides = strides.map(|stride| stride as usize);
        // SAFETY: the four axes name the same elements as the three of `part`.
        return unsafe { ArrayView4::from_shape_ptr(shape.strides(strides), part.as_ptr()) };
    }
    // A view built from a pointer cannot run backwards, but it can be turned afterwards.
    let mut start = part.as_ptr();
    for (&length, &stride) in shape.iter().zip(&strides) {
        if stride < 0 {
            // SAFETY: the last element of the axis belongs to `part`.
            start = unsafe { start.offset(stride * (length as isize - 1).max(0)) };
        }
    }
    let forward = strides.map(isize::unsigned_abs);
    // SAFETY: the same elements again, from the lowest address on.
    let mut view = unsafe { ArrayView4::from_shape_ptr(shape.strides(forward), start) };
    for (axis, &stride) in strides.iter().enumerate() {
        if stride < 0 {
            view.invert_axis(ndarray::Axis(axis));
        }
    }
    view
}

/// Rows to read. An axis of length one serves every index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a, T> {
    start: *const T,
    lengths: [usize; 3],
    strides: [isize; 3],
    width: usize,
    /// Whether rows are worth asking for.
    far: bool,
    array: PhantomData<&'a T>,
}

// SAFETY: read only, like the view it was made of.
unsafe impl<T: Sync> Send for Rows<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Rows<'_, T> {}

/// Rows of numbers, `ld` apart.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a, T> {
    pub(super) data: &'a [T],
    pub(super) ld: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// Rows from `row` on.
    pub(super) fn from(self, row: usize) -> Self {
        Self { data: &self.data[row * self.ld..], ..self }
    }
}

impl<'a, T> Rows<'a, T> {
    /// Rows of `view`, which must be contiguous.
    pub(super) fn new(view: ArrayView4<'a, T>) -> Self {
        assert!(has_rows(&view), "rows must be contiguous");
        let mut rows = Self {
            start: view.as_ptr(),
            lengths: [0; 3],
            strides: [0; 3],
            width: view.dim().3,
            far: size_of::<T>().saturating_mul(view.len()) >= FAR,
            array: PhantomData,
        };
        for axis in 0..3 {
            rows.lengths[axis] = view.shape()[axis];
            rows.strides[axis] = if rows.lengths[axis] == 1 { 0 } else { view.strides()[axis] };
        }
        rows
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Whether the first `tokens` of a head are better read where they are than copied: they are whole
    /// vectors, and stay in the first cache together, in which rows a power of two apart share few
    /// places.
    pub(super) fn serve_in_place(&self, tokens: usize) -> bool {
        /// Lines that a first cache holds, of which some are left for other things.
        const LINES: usize = 512 + 256;
        let line = line::<T>();
        let Ok(ld) = usize::try_from(self.strides[2]) else { return false };
        let whole = self.width.is_multiple_of(line) && ld.is_multiple_of(line);
        let shared = 1 << (ld / line).trailing_zeros().min(6);
        whole && tokens.saturating_mul(shared) <= LINES
    }

    /// The rows of some tokens of one head where they are, which [must
    /// do](Self::serve_in_place).
    pub(super) fn in_place(&self, b: usize, h: usize, tokens: Range<usize>) -> Matrix<'a, T> {
        let Some(last) = tokens.clone().last() else {
            return Matrix { data: &[], ld: 0 };
        };
        let ld = usize::try_from(self.strides[2]).expect("rows of later tokens behind");
        let (first, last) = (self.row(b, h, tokens.start), self.row(b, h, last));
        let len = (tokens.len() - 1) * ld + last.len();
        // SAFETY: the numbers from the first row to the last, and those between, which belong to
        // the array.
        Matrix { data: unsafe { std::slice::from_raw_parts(first.as_ptr(), len) }, ld }
    }

    /// The row of batch `b`, head `h`, token `t`.
    #[inline(always)]
    pub(super) fn row(&self, b: usize, h: usize, t: usize) -> &'a [T] {
        let index = [b, h, t];
        let mut offset = 0;
        for axis in 0..3 {
            assert!(index[axis] < self.lengths[axis] || self.lengths[axis] == 1, "no such row");
            offset += index[axis] as isize * self.strides[axis];
        }
        // SAFETY: the indices are inside the view, where rows are contiguous.
        unsafe { std::slice::from_raw_parts(self.start.offset(offset), self.width) }
    }

    /// Asks for the row [`AHEAD`] behind one of a head, if there is any.
    #[inline(always)]
    pub(super) fn ask_behind(&self, row: &[T]) {
        if self.far {
            ask(row, AHEAD as isize * self.strides[2]);
        }
    }

    /// Asks for the rows of some tokens of one head.
    #[inline(always)]
    pub(super) fn ask(&self, b: usize, h: usize, tokens: Range<usize>) {
        if self.far {
            let first = self.row(b, h, tokens.start);
            for i in 0..tokens.len() as isize {
                ask(first, i * self.strides[2]);
            }
        }
    }
}

/// Asks for all lines of the row `apart` from another, which need not be there.
#[inline(always)]
fn ask<T>(row: &[T], apart: isize) {
    let start = row.as_ptr().wrapping_offset(apart);
    for at in (0..row.len()).step_by(line::<T>()) {
        prefetch::<true>(start.wrapping_add(at).cast());
    }
}

impl<'a> Rows<'a, u8> {
    /// Rows of truth values as bytes: an array that Python made may hold others than 0 and 1.
    pub(super) fn of_bool(view: ArrayView4<'a, bool>) -> Self {
        let rows = Rows::new(view);
        Self {
            start: rows.start.cast(),
            lengths: rows.lengths,
            strides: rows.strides,
            width: rows.width,
            far: rows.far,
            array: PhantomData,
        }
    }
}

/// Rows that tasks write, each its own, into one array in C order.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowsMut<T> {
    whole: Shared<T>,
    offset: usize,
    strides: [usize; 3],
    width: usize,
    /// Whether rows are worth asking for.
    far: bool,
}

impl<T> RowsMut<T> {
    /// Rows of an array `[B, T, H, D]`, of which `lengths` has the last three, from `offset` on.
    pub(super) fn by_query(whole: Shared<T>, offset: usize, lengths: [usize; 3]) -> Self {
        let [tokens, heads, width] = lengths;
        Self::new(whole, offset, [tokens * heads * width, width, heads * width], width)
    }

    /// Rows of an array `[B, H, T, D]`, of which `lengths` has the last three, from `offset` on.
    pub(super) fn by_head(whole: Shared<T>, offset: usize, lengths: [usize; 3]) -> Self {
        let [heads, tokens, width] = lengths;
        Self::new(whole, offset, [tokens * heads * width, tokens * width, width], width)
    }

    fn new(whole: Shared<T>, offset: usize, strides: [usize; 3], width: usize) -> Self {
        let far = whole.bytes() >= FAR;
        Self { whole, offset, strides, width, far }
    }

    /// The row of batch `b`, head `h`, token `t`.
    ///
    /// # Safety
    /// The array is still borrowed, and no other use of this row is alive.
    #[allow(clippy::mut_from_ref)]
    #[inline(always)]
    pub(super) unsafe fn row(&self, b: usize, h: usize, t: usize) -> &mut [T] {
        let [batch, head, token] = self.strides;
        let start = self.offset + b * batch + h * head + t * token;
        // SAFETY: as the caller promises.
        unsafe { self.whole.slice(start..start + self.width) }
    }

    /// Asks for the row [`AHEAD`] behind one of a head, if there is any.
    #[inline(always)]
    pub(super) fn ask_behind(&self, row: &[T]) {
        if self.far {
            ask(row, (AHEAD * self.strides[2]) as isize);
        }
    }
}
