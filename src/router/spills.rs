//! How many reads the primary answers for replicas that are behind.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts them. The bound may change while they run: a smaller one lets no new
/// read in until enough of the running ones have ended.
#[derive(Default)]
pub(super) struct Spills(AtomicUsize);

/// One of them, until it is dropped.
pub(super) struct Spill<'a>(&'a AtomicUsize);

impl Spills {
    /// One more, if that is at most `most`.
    pub(super) fn take(&self, most: usize) -> Option<Spill<'_>> {
        let one_more = |running| (running < most).then_some(running + 1);
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more)
            .ok()
            .map(|_| Spill(&self.0))
    }
}

impl Drop for Spill<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_and_may_change() {
        let spills = Spills::default();
        let first = spills.take(2);
        let second = spills.take(2);
        assert!(first.is_some() && second.is_some() && spills.take(2).is_none());
        assert!(spills.take(3).is_some(), "a larger bound counts at once");
        drop(first);
        assert!(spills.take(1).is_none(), "a smaller one waits for the rest");
        drop(second);
        assert!(spills.take(1).is_some());
    }
}
