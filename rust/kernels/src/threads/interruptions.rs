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

/// The processor of a thread that is not known.
pub(super) const NOWHERE: i32 = -1;

/// What a thread knows of the time that other processes took from it.
pub(super) struct Interruptions {
    looked: Instant,
    /// When it last asked for its usage, and what that was.
    asked: Instant,
    usage: Option<(Duration, libc::c_long)>,
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
        let ((used_before, switches_before), (used, switches)) = (self.usage?, usage()?);
        let lost = (now - self.asked).saturating_sub(used.saturating_sub(used_before));
        (self.asked, self.usage) = (now, Some((used, switches)));
        let held_up = lost.min(gap) >= HELD_UP && switches > switches_before;
        if held_up { self.held_up(now) } else { None }
    }

    fn held_up(&mut self, now: Instant) -> Option<Instant> {
        let away_until = (now < self.again_until).then(|| now + AWAY);
        self.again_until = away_until.unwrap_or(now) + AGAIN;
        away_until
    }
}

/// Time that this thread has had a processor for, and how often it had to give it up, where the
/// system says so of a thread.
fn usage() -> Option<(Duration, libc::c_long)> {
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
        known.then_some((time, usage.ru_nivcsw))
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// Number of the processor that this thread runs on, where the system says so.
pub(super) fn processor() -> i32 {
    #[cfg(target_os = "linux")]
    // SAFETY: asks for a number.
    return unsafe { libc::sched_getcpu() };
    #[cfg(not(target_os = "linux"))]
    NOWHERE
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
    fn time_asleep_is_not_time_held_up() {
        let mut interruptions = Interruptions::new();
        for _ in 0..3 {
            std::thread::sleep(2 * HELD_UP);
            interruptions.slept();
            assert_eq!(interruptions.look(Instant::now()), None);
        }
    }
}
