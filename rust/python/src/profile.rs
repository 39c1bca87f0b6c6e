//! Time spent in each kernel, counted where Python enters it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use pyo3::prelude::*;

static ON: AtomicBool = AtomicBool::new(false);
static SPENT: Mutex<BTreeMap<&'static str, (u64, f64)>> = Mutex::new(BTreeMap::new());

/// Runs `work`, adding its time to `kernel` while a profile is being taken.
#[inline]
pub(crate) fn timed<R>(kernel: &'static str, work: impl FnOnce() -> R) -> R {
    if !ON.load(Ordering::Relaxed) {
        return work();
    }
    let start = Instant::now();
    let result = work();
    let seconds = start.elapsed().as_secs_f64();
    let mut spent = SPENT.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = spent.entry(kernel).or_default();
    entry.0 += 1;
    entry.1 += seconds;
    result
}

/// Begins a profile, forgetting an earlier one.
#[pyfunction]
pub(crate) fn profile_start() {
    SPENT.lock().unwrap_or_else(PoisonError::into_inner).clear();
    ON.store(true, Ordering::Relaxed);
}

/// Ends the profile: for each kernel the number of calls and the seconds inside.
#[pyfunction]
pub(crate) fn profile_stop() -> BTreeMap<&'static str, (u64, f64)> {
    ON.store(false, Ordering::Relaxed);
    std::mem::take(&mut *SPENT.lock().unwrap_or_else(PoisonError::into_inner))
}
