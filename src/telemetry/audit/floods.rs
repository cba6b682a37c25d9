//! Refusals of who asks again and again: so many a second are told, and the others
//! counted. Whoever floods a port fills no disk with it, and pushes out no line of what
//! others changed.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Lines of refusals within a second.
pub(super) const LINES: usize = 100;

pub(super) struct Floods(Mutex<Second>);

struct Second {
    since: Instant,
    lines: usize,
    /// Refusals that no line has told of.
    left_out: u64,
}

impl Floods {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Second {
            since: Instant::now(),
            lines: 0,
            left_out: 0,
        }))
    }

    /// Whether there is room for another line in this second: how many had none since
    /// the last one that had.
    pub(super) fn admit(&self) -> Option<u64> {
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if second.since.elapsed() >= Duration::from_secs(1) {
            (second.since, second.lines) = (Instant::now(), 0);
        }
        second.lines += 1;
        if second.lines > LINES {
            second.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut second.left_out))
    }

    /// How many no line has told of.
    pub(super) fn rest(&self) -> u64 {
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut second.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_of_in_part_and_counted_whole() {
        let floods = Floods::new();
        let (mut told, mut counted) = (0, 0);
        for _ in 0..3 * LINES {
            if let Some(left_out) = floods.admit() {
                (told, counted) = (told + 1, counted + 1 + left_out);
            }
        }
        // Two seconds at most, whatever the machine does.
        assert!((LINES..=2 * LINES).contains(&told), "{told}");
        floods.0.lock().unwrap().since =
            Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        counted += 1 + floods.admit().unwrap();
        assert_eq!(counted, 3 * LINES as u64 + 1);
    }
}
