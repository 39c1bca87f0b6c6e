//! The one pool of threads, made for regions of a few microseconds.
//!
//! Tasks are numbered; which thread runs a task never changes what the task does, so results do
//! not depend on the number of threads as long as tasks follow from the shape alone. Each thread
//! starts on its own stretch of the numbers and then takes from the others', so a thread that
//! another process holds up delays at most the task it is in, and a worker that is still asleep
//! delays nothing. A worker that is held up again and again stays [away](interruptions) for a while.
#![allow(unsafe_code)]

mod interruptions;
mod processor;
mod shared;

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use interruptions::Interruptions;
use processor::{NOWHERE, keep_off, processor};
pub use shared::Shared;

/// Most threads the pool will ever run.
pub const MAX_THREADS: usize = 256;

/// Work below this many simple operations (about a nanosecond each) stays on the calling thread.
const WORTHWHILE: usize = 10_000;

/// How long a worker without work looks for more before it sleeps: about as long as Python takes
/// from one operation of a training step to the next.
const SPIN: Duration = Duration::from_micros(300);

/// How long a caller that was held up sleeps: whoever wakes is put on a processor that is free, as
/// those of the workers, who had nothing to do meanwhile, now are.
const NAP: Duration = Duration::from_micros(50);

/// Work of this many simple operations gains by a worker that stays away too, however long it is
/// held up.
const WORTH_HOLDING_UP: usize = 10_000_000;

/// A stretch of task numbers, on a cache line of its own.
#[repr(align(64))]
struct Stretch {
    next: AtomicUsize,
    end: usize,
}

/// One parallel region, on the stack of the thread that opened it, which goes on writing beside it.
#[repr(align(64))]
struct Region<'a> {
    run: &'a (dyn Fn(usize) + Sync),
    cost: usize,
    stretches: Vec<Stretch>,
    panic: Mutex<Option<Box<dyn std::any::Any + Send>>>,
}

impl Region<'_> {
    /// Runs tasks until none is left, beginning with the stretch of thread `first`.
    fn work(&self, first: usize) {
        let count = self.stretches.len();
        for i in 0..count {
            let stretch = &self.stretches[(first + i) % count];
            loop {
                let task = stretch.next.fetch_add(1, Ordering::Relaxed);
                if task >= stretch.end {
                    break;
                }
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.run)(task))) {
                    lock(&self.panic).get_or_insert(panic);
                }
            }
        }
    }
}

/// What a worker says of itself, on a cache line that others only read while a worker is awake.
#[repr(align(64))]
struct Worker {
    asleep: AtomicBool,
    /// Microseconds after the pool was made until which it stays away from work.
    away_until: AtomicU64,
    /// The processor it was last seen on.
    processor: AtomicI32,
    thread: Mutex<Option<Thread>>,
}

/// What the caller and the workers share. Never freed: a forked child leaves its parent's behind.
///
/// What one thread waits for while another works is on a cache line of its own, wherever the pool
/// lies: a region of a microsecond would take twice as long.
struct Pool {
    opened: Opened,
    inside: Inside,
    workers: Mutex<Vec<Arc<Worker>>>,
    /// Workers asked for; the system may have refused some.
    wanted: AtomicUsize,
    /// Workers that belong to the pool at the present number of threads.
    active: AtomicUsize,
    /// Workers that sleep.
    asleep: AtomicUsize,
    /// Workers that there are processors for beside the caller's; to wake more helps nobody.
    room: AtomicUsize,
    made: Instant,
    /// Held by the thread whose region is open; others run their tasks themselves.
    owner: Mutex<()>,
}

/// What workers watch.
#[repr(align(64))]
struct Opened {
    /// Changes with each region.
    epoch: AtomicU32,
    /// The open region or null.
    region: AtomicPtr<Region<'static>>,
    /// The processor that the last region was opened on.
    processor: AtomicI32,
}

/// Workers that may hold a reference to the region, which is what its owner watches.
#[repr(align(64))]
struct Inside(AtomicUsize);

static POOL: AtomicPtr<Pool> = AtomicPtr::new(std::ptr::null_mut());
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    static CALLER: RefCell<Option<Interruptions>> = const { RefCell::new(None) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Threads that kernels use: what `set_num_threads` said, else `LAMINA_NUM_THREADS`, else the
/// processors this process may run on.
pub fn num_threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => {
            let n = from_environment().unwrap_or_else(|_| processors());
            THREADS.store(n, Ordering::Relaxed);
            n
        }
        n => n,
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)
}

/// The number of threads that the environment asks for.
pub fn from_environment() -> Result<usize, String> {
    match std::env::var("LAMINA_NUM_THREADS") {
        Err(_) => Ok(processors()),
        Ok(text) => match text.trim().parse() {
            Ok(n) if (1..=MAX_THREADS).contains(&n) => Ok(n),
            _ => Err(format!("LAMINA_NUM_THREADS: expected 1 to {MAX_THREADS}, got {text:?}")),
        },
    }
}

/// Sets the number of threads, 1 to [`MAX_THREADS`]; others are taken as the nearer end.
pub fn set_num_threads(n: usize) {
    THREADS.store(n.clamp(1, MAX_THREADS), Ordering::Relaxed);
}

/// The child of a fork has none of its parent's workers, so it starts a pool of its own.
#[cfg(unix)]
extern "C" fn forget_pool() {
    POOL.store(std::ptr::null_mut(), Ordering::SeqCst);
    INSIDE.with(|inside| inside.set(false));
}

fn pool() -> &'static Pool {
    static MAKING: Mutex<()> = Mutex::new(());
    let known = POOL.load(Ordering::Acquire);
    if !known.is_null() {
        // SAFETY: a pool is leaked when it is made and so lives for ever.
        return unsafe { &*known };
    }
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if POOL.load(Ordering::Acquire).is_null() {
        #[cfg(unix)]
        {
            static ONCE: std::sync::Once = std::sync::Once::new();
            // SAFETY: the handler stores one pointer and clears one flag.
            ONCE.call_once(|| unsafe {
                libc::pthread_atfork(None, None, Some(forget_pool));
            });
        }
        let made = Box::leak(Box::new(Pool {
            opened: Opened {
                epoch: AtomicU32::new(0),
                region: AtomicPtr::new(std::ptr::null_mut()),
                processor: AtomicI32::new(NOWHERE),
            },
            inside: Inside(AtomicUsize::new(0)),
            workers: Mutex::new(Vec::new()),
            wanted: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            asleep: AtomicUsize::new(0),
            room: AtomicUsize::new(0),
            made: Instant::now(),
            owner: Mutex::new(()),
        }));
        POOL.store(made, Ordering::Release);
    }
    // SAFETY: as above.
    unsafe { &*POOL.load(Ordering::Acquire) }
}

impl Pool {
    /// Starts workers until there are `wanted`; fewer where the system refuses.
    fn grow(&'static self, wanted: usize) {
        let mut workers = lock(&self.workers);
        while workers.len() < wanted {
            let index = workers.len() + 1;
            let worker = Arc::new(Worker {
                asleep: AtomicBool::new(false),
                away_until: AtomicU64::new(0),
                processor: AtomicI32::new(NOWHERE),
                thread: Mutex::new(None),
            });
            let own = Arc::clone(&worker);
            let body = move || self.serve(&own, index);
            match std::thread::Builder::new().name(format!("lamina-{index}")).spawn(body) {
                Ok(handle) => *lock(&worker.thread) = Some(handle.thread().clone()),
                Err(_) => break,
            }
            workers.push(worker);
        }
        self.room.store(processors().max(2) - 1, Ordering::Relaxed);
        self.wanted.store(wanted, Ordering::Relaxed);
        self.active.store(wanted.min(workers.len()), Ordering::Relaxed);
    }

    fn serve(&self, worker: &Worker, index: usize) {
        INSIDE.with(|inside| inside.set(true));
        let mut interruptions = Interruptions::new();
        let mut seen = 0;
        loop {
            seen = self.wait_for_region(worker, seen, &mut interruptions);
            if index > self.active.load(Ordering::Relaxed) {
                continue;
            }
            self.inside.0.fetch_add(1, Ordering::SeqCst);
            let region = self.opened.region.load(Ordering::SeqCst);
            if !region.is_null() {
                // SAFETY: the owner frees the region only after it took the pointer back and then
                // saw `inside` at zero; both orders are sequentially consistent.
                let region = unsafe { &*region };
                if self.wants(worker, region.cost) {
                    region.work(index);
                }
            }
            self.inside.0.fetch_sub(1, Ordering::Release);
        }
    }

    /// The epoch after `seen`.
    fn wait_for_region(
        &self,
        worker: &Worker,
        seen: u32,
        interruptions: &mut Interruptions,
    ) -> u32 {
        let start = Instant::now();
        let mut now = start;
        loop {
            let here = processor();
            // The caller reads beside it at each region.
            if worker.processor.load(Ordering::Relaxed) != here {
                worker.processor.store(here, Ordering::Relaxed);
            }
            if let Some(until) = interruptions.look(now) {
                worker.away_until.store(self.micros(until), Ordering::Relaxed);
            }
            if now - start > SPIN || self.is_away(worker) {
                self.asleep.fetch_add(1, Ordering::SeqCst);
                worker.asleep.store(true, Ordering::SeqCst);
                let epoch = self.opened.epoch.load(Ordering::SeqCst);
                if epoch == seen {
                    // The system may wake it where the caller runs, and not let it run for
                    // milliseconds, though another processor is free.
                    let elsewhere = keep_off(self.opened.processor.load(Ordering::Relaxed));
                    std::thread::park();
                    drop(elsewhere);
                }
                self.awakens(worker);
                interruptions.slept();
                let epoch = self.opened.epoch.load(Ordering::Acquire);
                if epoch != seen {
                    return epoch;
                }
            }
            for _ in 0..64 {
                let epoch = self.opened.epoch.load(Ordering::Acquire);
                if epoch != seen {
                    return epoch;
                }
                std::hint::spin_loop();
            }
            now = Instant::now();
        }
    }

    /// Frees the processor of the calling thread of workers, or else has it moved to a free one.
    fn make_room(&self, until: Instant) {
        let (here, mut found) = (processor(), false);
        for worker in lock(&self.workers).iter() {
            if here != NOWHERE && worker.processor.load(Ordering::Relaxed) == here {
                worker.away_until.store(self.micros(until), Ordering::Relaxed);
                found = true;
            }
        }
        if !found {
            std::thread::sleep(NAP);
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        (at - self.made).as_micros() as u64
    }

    fn is_away(&self, worker: &Worker) -> bool {
        let until = worker.away_until.load(Ordering::Relaxed);
        until > 0 && self.micros(Instant::now()) < until
    }

    /// Whether work of this cost gains by the worker.
    fn wants(&self, worker: &Worker, cost: usize) -> bool {
        cost >= WORTH_HOLDING_UP || !self.is_away(worker)
    }

    /// Whether there is anyone to share work of this cost with.
    fn is_ready(&self, cost: usize) -> bool {
        self.asleep.load(Ordering::Relaxed) == 0
            || lock(&self.workers)
                .iter()
                .any(|worker| !worker.asleep.load(Ordering::Relaxed) || self.wants(worker, cost))
    }

    /// Counts a worker as awake; whether it slept.
    fn awakens(&self, worker: &Worker) -> bool {
        let slept = worker.asleep.swap(false, Ordering::SeqCst);
        if slept {
            self.asleep.fetch_sub(1, Ordering::SeqCst);
        }
        slept
    }

    /// Wakes those of the first `count` workers that sleep, that there is room for and that work of
    /// this cost gains by.
    fn wake(&self, count: usize, cost: usize) {
        let workers = lock(&self.workers);
        let awake = workers.len() - self.asleep.load(Ordering::SeqCst).min(workers.len());
        let mut free = self.room.load(Ordering::Relaxed).saturating_sub(awake);
        for worker in workers.iter().take(count) {
            if free > 0
                && worker.asleep.load(Ordering::SeqCst)
                && self.wants(worker, cost)
                && self.awakens(worker)
                && let Some(thread) = &*lock(&worker.thread)
            {
                thread.unpark();
                free -= 1;
            }
        }
    }

    fn run(&'static self, threads: usize, tasks: usize, cost: usize, run: &(dyn Fn(usize) + Sync)) {
        if self.wanted.load(Ordering::Relaxed) != threads - 1 {
            self.grow(threads - 1);
        }
        let stretches = (0..threads)
            .map(|thread| {
                let Range { start, end } = stretch(tasks, threads, thread);
                Stretch { next: AtomicUsize::new(start), end }
            })
            .collect();
        CALLER.with_borrow_mut(|caller| {
            let caller = caller.get_or_insert_with(Interruptions::new);
            if let Some(until) = caller.look(Instant::now()) {
                self.make_room(until);
                caller.slept();
            }
        });
        let region = Region { run, cost, stretches, panic: Mutex::new(None) };
        self.opened.processor.store(processor(), Ordering::Relaxed);
        self.opened.region.store((&raw const region).cast_mut().cast(), Ordering::SeqCst);
        self.opened.epoch.fetch_add(1, Ordering::SeqCst);
        self.wake(threads - 1, cost);
        INSIDE.with(|inside| inside.set(true));
        region.work(0);
        INSIDE.with(|inside| inside.set(false));
        self.opened.region.store(std::ptr::null_mut(), Ordering::SeqCst);
        let mut turns = 0u32;
        while self.inside.0.load(Ordering::SeqCst) != 0 {
            turns += 1;
            if turns < 2_000 {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        if let Some(panic) = lock(&region.panic).take() {
            resume_unwind(panic);
        }
    }
}

/// Threads that work of this cost, as in [`for_each`], is shared by when it is begun here.
pub fn useful(cost: usize) -> usize {
    if cost < WORTHWHILE || INSIDE.with(Cell::get) { 1 } else { num_threads() }
}

/// Runs `run(0)` to `run(tasks - 1)`, on all threads where `cost`, the simple operations of the
/// whole (about a nanosecond each), makes that worthwhile.
///
/// Calls from inside a task, or while another thread's region is open, run on the calling thread.
pub fn for_each(tasks: usize, cost: usize, run: impl Fn(usize) + Sync) {
    if tasks > 1 && useful(cost) > 1 && is_shared_out(tasks, cost, &run) {
        return;
    }
    for task in 0..tasks {
        run(task);
    }
}

/// Runs the tasks on all threads, unless others are busy. Not compiled for each `run` anew.
fn is_shared_out(tasks: usize, cost: usize, run: &(dyn Fn(usize) + Sync)) -> bool {
    let pool = pool();
    if !pool.is_ready(cost) {
        return false;
    }
    // A panic in a task, which its caller got, says nothing against the pool.
    let _owner = match pool.owner.try_lock() {
        Err(TryLockError::WouldBlock) => return false,
        Err(TryLockError::Poisoned(owner)) => owner.into_inner(),
        Ok(owner) => owner,
    };
    pool.run(num_threads(), tasks, cost, run);
    true
}

/// The numbers of `tasks` on which one of `threads` threads starts.
fn stretch(tasks: usize, threads: usize, thread: usize) -> Range<usize> {
    let share = tasks.div_ceil(threads);
    (thread * share).min(tasks)..((thread + 1) * share).min(tasks)
}

/// Which task to run as which number of round `round`, where every round has the same `tasks`: in
/// every other one each thread goes through its stretch from the end, where what it read last is
/// still near.
pub fn to_and_fro(tasks: usize, round: usize) -> impl Fn(usize) -> usize + Sync {
    // Asked once: the number may change while the round runs.
    let threads = num_threads();
    move |number| {
        if round.is_multiple_of(2) {
            return number;
        }
        let Range { start, end } = stretch(tasks, threads, number / tasks.div_ceil(threads));
        start + end - 1 - number
    }
}

/// The results of `run(0)` to `run(tasks - 1)` in that order, for sums that must not depend on
/// the number of threads.
pub fn map<R: Send>(tasks: usize, cost: usize, run: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let mut results: Vec<Option<R>> = (0..tasks).map(|_| None).collect();
    let slots = Shared::new(&mut results);
    for_each(tasks, cost, |task| {
        // SAFETY: each task has the slot of its number.
        unsafe { slots.slice(task..task + 1)[0] = Some(run(task)) };
    });
    results.into_iter().map(|result| result.expect("every task ran")).collect()
}

/// Cuts `out` into pieces of `piece` numbers (the last may be shorter) and runs `run(index, piece)`
/// for each.
pub fn for_each_piece<T: Send>(
    out: &mut [T],
    piece: usize,
    cost: usize,
    run: impl Fn(usize, &mut [T]) + Sync,
) {
    let len = out.len();
    let piece = piece.max(1);
    let out = Shared::new(out);
    for_each(len.div_ceil(piece), cost, |task| {
        // SAFETY: pieces of different tasks do not overlap.
        run(task, unsafe { out.slice(task * piece..((task + 1) * piece).min(len)) });
    });
}

/// Part `index` of `whole` things cut into `parts` nearly equal ones.
pub const fn part_of(whole: usize, parts: usize, index: usize) -> Range<usize> {
    index * whole / parts..(index + 1) * whole / parts
}

/// Pieces into which `items` are cut so that each is worth a task: a function of the sizes alone.
pub fn piece_len(items: usize, cost_per_item: usize) -> usize {
    const PIECE_COST: usize = 16_384;
    (PIECE_COST / cost_per_item.max(1)).clamp(1, items.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_and_fro_leaves_no_task_out() {
        for tasks in [1, 2, 3, 7, 16, 41] {
            for round in 0..4 {
                let mut order: Vec<_> = (0..tasks).map(to_and_fro(tasks, round)).collect();
                order.sort_unstable();
                assert_eq!(order, (0..tasks).collect::<Vec<_>>(), "{tasks} tasks, round {round}");
            }
        }
    }

    #[test]
    fn every_task_runs_once_for_any_number_of_threads() {
        for threads in [1, 2, 3, 8] {
            set_num_threads(threads);
            for tasks in [0, 1, 2, 7, 1000] {
                let ran: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                for_each(tasks, usize::MAX, |task| {
                    ran[task].fetch_add(1, Ordering::Relaxed);
                });
                assert!(ran.iter().all(|n| n.load(Ordering::Relaxed) == 1));
                assert_eq!(map(tasks, usize::MAX, |task| task * 2).len(), tasks);
            }
        }
    }

    #[test]
    fn a_region_inside_a_region_runs_on_its_own_thread() {
        set_num_threads(2);
        let sum = AtomicUsize::new(0);
        for_each(8, usize::MAX, |_| {
            for_each(8, usize::MAX, |task| {
                sum.fetch_add(task, Ordering::Relaxed);
            });
        });
        assert_eq!(sum.load(Ordering::Relaxed), 8 * 28);
    }

    #[test]
    fn many_callers_at_once() {
        set_num_threads(3);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let total: usize = map(16, usize::MAX, |task| task).into_iter().sum();
                        assert_eq!(total, 120);
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_survives() {
        set_num_threads(2);
        let caught = catch_unwind(|| {
            for_each(64, usize::MAX, |task| assert!(task != 63, "task 63"));
        });
        assert!(caught.is_err());
        assert_eq!(map(4, usize::MAX, |task| task), [0, 1, 2, 3]);
        // Other tests may have the pool for a while.
        let shared = (0..500).any(|_| {
            set_num_threads(2);
            let threads = map(8, usize::MAX, |_| {
                std::thread::sleep(Duration::from_millis(1));
                std::thread::current().id()
            });
            threads.iter().any(|&id| id != threads[0])
        });
        assert!(shared);
    }

    #[test]
    fn pieces_cover_the_slice() {
        let mut out = vec![0usize; 103];
        for_each_piece(&mut out, 10, usize::MAX, |index, piece| piece.fill(index));
        assert_eq!(out[102], 10);
        assert_eq!(out[99], 9);
    }
}
