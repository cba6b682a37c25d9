//! How many bytes a second may be copied.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A bound on bytes a second, shared by all that take from it. Nobody saves up:
/// after a pause the first to come goes on at once, the next waits until the
/// first one's bytes have had their time.
#[derive(Debug)]
pub struct Pace {
    /// `None`: no bound.
    bytes_per_second: Option<u64>,
    free_at: Mutex<Instant>,
}

impl Pace {
    /// At most this many bytes a second; 0: as many as there can be.
    pub fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: (bytes_per_second > 0).then_some(bytes_per_second),
            free_at: Mutex::new(Instant::now()),
        }
    }

    /// Waits until `bytes` more may go. Callers go in the order in which they
    /// came; one that gives up leaves its time unused.
    pub async fn take(&self, bytes: u64) {
        if let Some(begin) = self.reserve(bytes, Instant::now()) {
            tokio::time::sleep_until(begin).await;
        }
    }

    /// When `bytes` more may go, for one who asks `now`.
    fn reserve(&self, bytes: u64, now: Instant) -> Option<Instant> {
        let rate = self.bytes_per_second?;
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = (*free_at).max(now);
        *free_at = begin + Duration::from_secs_f64(bytes as f64 / rate as f64);
        Some(begin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_takers_together_keep_the_pace() {
        let pace = Pace::new(1_000);
        let now = Instant::now();
        // Ten times 500 bytes, all asked for at once.
        let begins: Vec<_> = (0..10).filter_map(|_| pace.reserve(500, now)).collect();
        let waits: Vec<_> = begins.iter().map(|at| (*at - now).as_millis()).collect();
        let expected: Vec<_> = (0..10).map(|i| i * 500).collect();
        assert_eq!(waits, expected);
    }

    #[test]
    fn a_pause_saves_nothing_up() {
        let pace = Pace::new(1_000);
        pace.reserve(1, Instant::now());
        let later = Instant::now() + Duration::from_secs(60);
        assert_eq!(pace.reserve(1_000, later), Some(later));
        let next = later + Duration::from_secs(1);
        assert_eq!(pace.reserve(1, later), Some(next));
    }

    #[test]
    fn without_a_bound_nobody_waits() {
        let pace = Pace::new(0);
        assert_eq!(pace.reserve(u64::MAX, Instant::now()), None);
    }
}
