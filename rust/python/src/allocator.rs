//! The allocator: mimalloc, which keeps the blocks of one training step for the next.
//!
//! mimalloc's own purge gives back whatever happens to be free when a delay ends, so that a step
//! finds its pages gone. Here it never runs; a watcher gives back what nobody used for a while.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lamina_kernels::watcher::Watcher;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes from which a block counts; smaller ones are a small part of what arrays take.
const LARGE: usize = 1 << 16;
/// A process whose blocks never took more has no watcher and keeps them.
const WORTH_WATCHING: usize = 64 << 20;
/// Time after which memory counts as unused.
const PERIOD: Duration = Duration::from_secs(5);

static LIVE: AtomicUsize = AtomicUsize::new(0);
/// Most bytes live at once since the watcher last looked.
static PEAK: AtomicUsize = AtomicUsize::new(0);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static WATCHED: AtomicBool = AtomicBool::new(false);

struct Counting;

#[inline]
fn count(size: usize) {
    if size >= LARGE {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        let live = LIVE.fetch_add(size, Ordering::Relaxed) + size;
        if live > PEAK.load(Ordering::Relaxed) {
            PEAK.fetch_max(live, Ordering::Relaxed);
        }
    }
}

#[inline]
fn uncount(size: usize) {
    if size >= LARGE {
        LIVE.fetch_sub(size, Ordering::Relaxed);
    }
}

// SAFETY: every call is mimalloc's; only numbers are counted beside it.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = MiMalloc.alloc(layout);
        if !block.is_null() {
            count(layout.size());
        }
        block
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let block = MiMalloc.alloc_zeroed(layout);
        if !block.is_null() {
            count(layout.size());
        }
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        MiMalloc.dealloc(block, layout);
        uncount(layout.size());
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let moved = MiMalloc.realloc(block, layout, size);
        if !moved.is_null() {
            count(size);
            uncount(layout.size());
        }
        moved
    }
}

/// Turns mimalloc's purge off, once at the start.
pub(crate) fn keep_freed_blocks() {
    // `mi_option_purge_delay`, which the binding does not name. -1 would also turn off the purge
    // that is asked for.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    const NEVER: std::ffi::c_long = i32::MAX as std::ffi::c_long;
    // SAFETY: sets a number inside the allocator.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, NEVER) }
}

/// Starts the watcher where there is enough to watch and none yet.
#[inline]
pub(crate) fn watch() {
    if PEAK.load(Ordering::Relaxed) >= WORTH_WATCHING && !WATCHED.load(Ordering::Relaxed) {
        start_watcher();
    }
}

#[cold]
fn start_watcher() {
    if WATCHED.swap(true, Ordering::Relaxed) {
        return;
    }
    #[cfg(unix)]
    {
        // The child of a fork has no watcher.
        extern "C" fn forget_watcher() {
            WATCHED.store(false, Ordering::Relaxed);
        }
        static ONCE: std::sync::Once = std::sync::Once::new();
        // SAFETY: the handler stores one flag.
        ONCE.call_once(|| unsafe {
            libc::pthread_atfork(None, None, Some(forget_watcher));
        });
    }
    // Where the system refuses a thread, freed memory stays for the next block.
    let _ = std::thread::Builder::new().name("lamina-memory".into()).spawn(|| {
        // mimalloc collects for nobody in a thread that has not allocated.
        // SAFETY: sets up what the first allocation would.
        unsafe { libmimalloc_sys::mi_thread_init() }
        let mut watcher = Watcher::default();
        loop {
            std::thread::sleep(PERIOD);
            let live = LIVE.load(Ordering::Relaxed);
            let peak = PEAK.swap(live, Ordering::Relaxed).max(live);
            if watcher.look(live, peak, ALLOCATIONS.load(Ordering::Relaxed)) {
                // SAFETY: takes only blocks that are free.
                unsafe { libmimalloc_sys::mi_collect(true) }
            }
        }
    });
}
