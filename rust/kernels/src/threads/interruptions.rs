//! What other processes do to the threads of the pool.
//!
//! Where there are more threads that want to run than processors, the system gives each a few
//! milliseconds at a time. A region of microseconds that ends while one of its threads waits for its
//! turn then takes milliseconds.

use std::time::{Duration, Instant};

/// Whoever had a thread's processor for longer than this held the thread up.
const HELD_UP: Duration = Duration::from_micros(200);

/// Being held up twice within this time is no accident.
const AGAIN: Duration = Duration::from_millis(20);

/// How long a worker then stays away from work: its next stretch of the processor may again end
/// inside a task, for which all others would wait.
const AWAY: Duration = Duration::from_millis(100);

/// What a thread knows of the time that other processes took from it.
pub(super) struct Interruptions {
    looked: Instant,
    /// When it last asked for its usage, and what that was.
    asked: Instant,
    usage: Option<Usage>,
    /// Until when being held up counts as the second time.
    again_until: Instant,
}

impl Interruptions {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { looked: now, asked: now, usage: usage(), again_until: now }
    }

    /// Time asleep is no one's fault.
    pub(super) fn slept(&mut self) {
        self.looked = Instant::now();
        (self.asked, self.usage) = (self.looked, usage());
    }

    /// Until when the thread had better not share its processor, where it was held up twice.
    pub(super) fn look(&mut self, now: Instant) -> Option<Instant> {
        let gap = now - self.looked;
        self.looked = now;
        if gap < HELD_UP {
            return None;
        }
        let (before, usage) = (self.usage?, usage()?);
        let lost = (now - self.asked).saturating_sub(usage.time.saturating_sub(before.time));
        (self.asked, self.usage) = (now, Some(usage));
        if lost.min(gap) >= HELD_UP && usage.was_taken_since(before) {
            return self.held_up(now);
        }
        None
    }

    fn held_up(&mut self, now: Instant) -> Option<Instant> {
        let away_until = (now < self.again_until).then(|| now + AWAY);
        self.again_until = away_until.unwrap_or(now) + AGAIN;
        away_until
    }
}

/// What a thread has used of a processor.
#[derive(Clone, Copy)]
struct Usage {
    time: Duration,
    /// How often it gave the processor up to wait, and how often that was taken from it.
    given_up: libc::c_long,
    taken: libc::c_long,
}

impl Usage {
    /// Whether the processor was taken from the thread, and whatever it lost was lost by that: it
    /// waited for nothing of its own accord.
    fn was_taken_since(self, before: Self) -> bool {
        self.taken > before.taken && self.given_up == before.given_up
    }
}

/// Usage of this thread, where the system says it.
fn usage() -> Option<Usage> {
    #[cfg(target_os = "linux")]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // The time in `rusage` is as old as the last tick, which may be milliseconds.
        // SAFETY: the system fills two structures, for which all zeros is a value too.
        let (known, usage) = unsafe {
            let timed = libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time);
            let used = libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
            (timed == 0 && used == 0, usage.assume_init())
        };
        let time = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
        known.then_some(Usage { time, given_up: usage.ru_nvcsw, taken: usage.ru_nivcsw })
    }
    #[cfg(not(target_os = "linux"))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_held_up_twice_stays_away_and_once_more_after_that() {
        let mut interruptions = Interruptions::new();
        let first = Instant::now() + AGAIN;
        assert_eq!(interruptions.held_up(first), None);
        let second = first + AGAIN / 2;
        assert_eq!(interruptions.held_up(second), Some(second + AWAY));
        let third = second + AWAY + AGAIN / 2;
        assert_eq!(interruptions.held_up(third), Some(third + AWAY));
        let later = third + AWAY + 2 * AGAIN;
        assert_eq!(interruptions.held_up(later), None);
    }

    #[test]
    fn who_waits_is_not_held_up() {
        let usage = |given_up, taken| Usage { time: Duration::ZERO, given_up, taken };
        assert!(usage(3, 8).was_taken_since(usage(3, 7)));
        assert!(!usage(3, 7).was_taken_since(usage(3, 7)));
        assert!(!usage(4, 8).was_taken_since(usage(3, 7)));
        let mut interruptions = Interruptions::new();
        for _ in 0..3 {
            std::thread::sleep(2 * HELD_UP);
            assert_eq!(interruptions.look(Instant::now()), None);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn time_used_is_as_of_now() {
        let (start, before) = (Instant::now(), usage().unwrap());
        while start.elapsed() < Duration::from_millis(2) {}
        let used = usage().unwrap().time - before.time;
        assert!(used > Duration::ZERO && used <= start.elapsed());
    }

    #[test]
    fn time_asleep_is_not_time_held_up() {
        let mut interruptions = Interruptions::new();
        for _ in 0..3 {
            std::thread::sleep(2 * HELD_UP);
            interruptions.slept();
            assert_eq!(interruptions.look(Instant::now()), None);
        }
    }
}
