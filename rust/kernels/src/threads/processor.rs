//! Which processor a thread runs on.

/// The processor of a thread that is not known.
pub(super) const NOWHERE: i32 = -1;

/// Number of the processor that this thread runs on, where the system says so.
pub(super) fn processor() -> i32 {
    #[cfg(target_os = "linux")]
    // SAFETY: asks for a number.
    return unsafe { libc::sched_getcpu() };
    #[cfg(not(target_os = "linux"))]
    NOWHERE
}

/// While it lives, this thread runs on no processor but those left.
pub(super) struct Elsewhere {
    #[cfg(target_os = "linux")]
    all: libc::cpu_set_t,
    #[cfg(target_os = "linux")]
    left: libc::cpu_set_t,
}

/// Keeps this thread off `processor`, if there is another that it may run on and the system lets it.
pub(super) fn keep_off(processor: i32) -> Option<Elsewhere> {
    #[cfg(target_os = "linux")]
    if (0..libc::CPU_SETSIZE).contains(&processor) {
        let all = allowed()?;
        let mut left = all;
        // SAFETY: the number is one of the set's.
        let count = unsafe {
            libc::CPU_CLR(processor as usize, &mut left);
            libc::CPU_COUNT(&left)
        };
        return (count > 0 && allow(&left)).then_some(Elsewhere { all, left });
    }
    let _ = processor;
    None
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // Whoever chose other processors meanwhile has the last word.
        #[cfg(target_os = "linux")]
        if allowed().is_some_and(|now| same(&now, &self.left)) {
            allow(&self.all);
        }
    }
}

/// The processors that this thread may run on.
#[cfg(target_os = "linux")]
fn allowed() -> Option<libc::cpu_set_t> {
    // SAFETY: a set of all zeros is one, and the system fills it.
    unsafe {
        let mut set = std::mem::zeroed();
        (libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) == 0).then_some(set)
    }
}

#[cfg(target_os = "linux")]
fn same(one: &libc::cpu_set_t, other: &libc::cpu_set_t) -> bool {
    // SAFETY: compares two sets.
    unsafe { libc::CPU_EQUAL(one, other) }
}

/// Lets this thread run on these processors alone; whether the system agreed.
#[cfg(target_os = "linux")]
fn allow(set: &libc::cpu_set_t) -> bool {
    // SAFETY: the system reads a set of the size that is said.
    unsafe { libc::sched_setaffinity(0, size_of_val(set), set) == 0 }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn whoever_keeps_off_a_processor_may_come_back() {
        let before = allowed().unwrap();
        let here = processor();
        if let Some(elsewhere) = keep_off(here) {
            assert_ne!(processor(), here);
            assert!(!same(&allowed().unwrap(), &before));
            drop(elsewhere);
        }
        assert!(keep_off(NOWHERE).is_none() && keep_off(i32::MAX).is_none());
        assert!(same(&allowed().unwrap(), &before));
    }
}
