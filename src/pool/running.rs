//! Since when the attempts on a member are running.

use std::time::Duration;

use tokio::time::Instant;

/// The starts of running attempts. As long as there were ever attempts at once,
/// which is bounded by the requests that are let in.
#[derive(Debug, Default)]
pub(super) struct Running {
    starts: Vec<Option<Instant>>,
    free: Vec<usize>,
}

impl Running {
    /// Notes a start. Answers its place.
    pub(super) fn add(&mut self, now: Instant) -> usize {
        match self.free.pop() {
            Some(place) => {
                self.starts[place] = Some(now);
                place
            }
            None => {
                self.starts.push(Some(now));
                self.starts.len() - 1
            }
        }
    }

    /// Frees a place.
    pub(super) fn remove(&mut self, place: usize) {
        if let Some(start) = self.starts.get_mut(place)
            && start.take().is_some()
        {
            self.free.push(place);
        }
    }

    /// How many attempts that began after the last sign of life, at `alive`, have
    /// been running for longer than `limit`. Each counts once for every `limit` that
    /// it took, twice at most: one large request alone is no proof.
    pub(super) fn overdue(&self, now: Instant, limit: Duration, alive: Instant) -> u32 {
        let nanos = limit.as_nanos().max(1);
        let starts = self.starts.iter().flatten();
        let silent = starts.filter(|start| **start >= alive);
        silent
            .map(|start| (now.saturating_duration_since(*start).as_nanos() / nanos).min(2) as u32)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_counted_until_there_is_a_sign_of_life() {
        let (limit, begin) = (Duration::from_secs(1), Instant::now());
        let mut running = Running::default();
        let first = running.add(begin);
        running.add(begin);
        let after = |seconds: u64| begin + Duration::from_millis(seconds * 1000 + 1);
        assert_eq!(running.overdue(begin, limit, begin), 0);
        assert_eq!(running.overdue(after(1), limit, begin), 2);
        assert_eq!(running.overdue(after(9), limit, begin), 4);
        let alive = begin + Duration::from_millis(1);
        assert_eq!(running.overdue(after(9), limit, alive), 0);
        running.remove(first);
        running.remove(first);
        assert_eq!(running.overdue(after(9), limit, begin), 2);
        assert_eq!(running.add(begin), first, "places are used again");
    }
}
