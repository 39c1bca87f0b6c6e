//! The memory of arrays that kernels use at the moment.
//!
//! Python may hand the same memory to two arguments, or to two threads while a kernel has released
//! the GIL. Uses of it may overlap only where all of them read. Unlike the table of the `numpy`
//! crate this one knows memory by its addresses, whoever owns it, and takes a few nanoseconds.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::slice;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ndarray::{ArrayView, Dim, Dimension};
use numpy::npyffi::{_PyArray_GET_ITEM_DATA, NPY_ARRAY_WRITEABLE};
use numpy::{Element, PyArray, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;

static USES: Mutex<Uses> = Mutex::new(Uses { read: Vec::new(), written: BTreeMap::new() });

struct Uses {
    read: Vec<Range<usize>>,
    /// Where each ends, by where it begins; they do not overlap.
    written: BTreeMap<usize, usize>,
}

impl Uses {
    fn lock() -> MutexGuard<'static, Self> {
        USES.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_written(&self, memory: &Range<usize>) -> bool {
        let before = || self.written.range(..memory.end).next_back();
        !self.written.is_empty() && before().is_some_and(|(_, &end)| end > memory.start)
    }

    fn is_read(&self, memory: &Range<usize>) -> bool {
        self.read.iter().any(|other| other.start < memory.end && memory.start < other.end)
    }

    /// Begins a read, unless the memory is written.
    fn read(&mut self, memory: &Range<usize>) -> bool {
        let free = !self.is_written(memory);
        if free && !memory.is_empty() {
            self.read.push(memory.clone());
        }
        free
    }

    /// Begins a write, unless the memory is in use.
    fn write(&mut self, memory: &Range<usize>) -> bool {
        let free = !self.is_written(memory) && !self.is_read(memory);
        if free && !memory.is_empty() {
            self.written.insert(memory.start, memory.end);
        }
        free
    }

    fn end_read(&mut self, memory: &Range<usize>) {
        // What began last mostly ends first.
        if let Some(place) = self.read.iter().rposition(|other| other == memory) {
            self.read.swap_remove(place);
        }
    }

    fn end_write(&mut self, memory: &Range<usize>) {
        if !memory.is_empty() {
            self.written.remove(&memory.start);
        }
    }
}

/// An array that is read, and that nobody writes meanwhile.
pub(crate) struct Reading<'py, T: Element, D: Dimension> {
    array: Bound<'py, PyArray<T, D>>,
    memory: Range<usize>,
    contiguous: bool,
}

impl<'py, T: Element, D: Dimension> Reading<'py, T, D> {
    /// Of an array whose numbers lie as Rust reads them; `None` where its memory is written.
    pub(crate) fn new(array: Bound<'py, PyArray<T, D>>) -> Option<Self> {
        let contiguous = array.is_c_contiguous();
        let memory = if contiguous { whole(&array) } else { reach(&array) };
        let free = Uses::lock().read(&memory);
        free.then(|| Self { array, memory, contiguous })
    }

    /// The numbers in C order, if they lie so.
    pub(crate) fn c_order(&self) -> Option<ArrayView<'_, T, D>> {
        if !self.contiguous {
            return None;
        }
        let shape = D::from_dimension(&Dim(self.array.shape())).expect("of this rank");
        // SAFETY: the array is contiguous and lives as long as this, and nobody writes it.
        Some(unsafe { ArrayView::from_shape_ptr(shape, self.array.data().cast_const()) })
    }

    /// The numbers where they lie.
    pub(crate) fn strided(&self) -> ArrayView<'_, T, D> {
        // SAFETY: nobody writes the array while this lives.
        self.c_order().unwrap_or_else(|| unsafe { self.array.as_array() })
    }
}

impl<T: Element, D: Dimension> Drop for Reading<'_, T, D> {
    fn drop(&mut self) {
        Uses::lock().end_read(&self.memory);
    }
}

/// An array that is changed, and that nobody else uses meanwhile.
pub(crate) struct Writing<'py, T: Element, D: Dimension> {
    array: Bound<'py, PyArray<T, D>>,
    memory: Range<usize>,
}

impl<'py, T: Element, D: Dimension> Writing<'py, T, D> {
    /// Of a writeable array in C order; `None` where its memory is in use.
    pub(crate) fn new(array: Bound<'py, PyArray<T, D>>) -> Option<Self> {
        let memory = whole(&array);
        let free = Uses::lock().write(&memory);
        free.then(|| Self { array, memory })
    }

    /// Lengths of the axes.
    pub(crate) fn shape(&self) -> &[usize] {
        self.array.shape()
    }

    /// The numbers in C order.
    pub(crate) fn numbers(&mut self) -> &mut [T] {
        // SAFETY: the array is contiguous and lives as long as this, which alone uses it.
        unsafe { slice::from_raw_parts_mut(self.array.data(), self.array.len()) }
    }
}

impl<T: Element, D: Dimension> Drop for Writing<'_, T, D> {
    fn drop(&mut self) {
        Uses::lock().end_write(&self.memory);
    }
}

/// Whether Python may change the array.
pub(crate) fn is_writeable<T: Element, D: Dimension>(array: &Bound<'_, PyArray<T, D>>) -> bool {
    // SAFETY: the object is an array.
    let flags = unsafe { (*_PyArray_GET_ITEM_DATA(array.as_array_ptr())).flags };
    flags & NPY_ARRAY_WRITEABLE != 0
}

/// The addresses of a contiguous array.
fn whole<T: Element, D: Dimension>(array: &Bound<'_, PyArray<T, D>>) -> Range<usize> {
    let start = array.data() as usize;
    start..start + array.len() * size_of::<T>()
}

/// The addresses from the first number of an array to the end of the last.
fn reach<T: Element, D: Dimension>(array: &Bound<'_, PyArray<T, D>>) -> Range<usize> {
    let first = array.data() as usize;
    if array.is_empty() {
        return first..first;
    }
    let (mut start, mut end) = (first, first + size_of::<T>());
    for (&len, &stride) in array.shape().iter().zip(array.strides()) {
        let distance = (len - 1) * stride.unsigned_abs();
        if stride < 0 {
            start -= distance;
        } else {
            end += distance;
        }
    }
    start..end
}
