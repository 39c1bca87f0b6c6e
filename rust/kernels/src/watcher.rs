//! When memory that nobody uses goes back to the system: at once where a period passed without an
//! allocation, else what is far more than was in use.

/// More than this beyond twice what was in use is given back also while kernels run.
const SPARE: usize = 256 << 20;

/// Decides, once a period, whether freed memory goes back to the system.
#[derive(Default)]
pub struct Watcher {
    /// About the bytes that the allocator holds: the most that were live since the last return.
    held: usize,
    allocations: usize,
}

impl Watcher {
    /// Whether to give back now, when `live` bytes are in use, at most `peak` were since the last
    /// look, and `allocations` were made since the start.
    pub fn look(&mut self, live: usize, peak: usize, allocations: usize) -> bool {
        let idle = allocations == self.allocations;
        self.allocations = allocations;
        self.held = self.held.max(peak);
        let give_back = idle && self.held > live || self.held > 2 * peak + SPARE;
        if give_back {
            self.held = live;
        }
        give_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_keep_what_they_use() {
        let mut watcher = Watcher::default();
        for step in 1..100 {
            assert!(!watcher.look((step % 7) << 20, 1 << 30, step));
        }
    }

    #[test]
    fn idle_memory_goes_back_once() {
        let mut watcher = Watcher::default();
        assert!(!watcher.look(1 << 20, 1 << 30, 10));
        assert!(watcher.look(1 << 20, 1 << 20, 10));
        assert!(!watcher.look(1 << 20, 1 << 20, 10));
        assert!(!watcher.look(1 << 20, 1 << 30, 11));
        assert!(watcher.look(1 << 20, 1 << 20, 11));
    }

    #[test]
    fn the_memory_of_a_larger_job_goes_back_during_a_smaller_one() {
        let mut watcher = Watcher::default();
        assert!(!watcher.look(1 << 28, 4 << 28, 10));
        assert!(watcher.look(1 << 20, 1 << 28, 20));
        assert!(!watcher.look(1 << 20, 1 << 28, 30));
    }
}
