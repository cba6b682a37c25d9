//! Peak EWMA: a latency that jumps to every new peak and comes down slowly.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// How long a peak takes to come down to 1/e of it: Finagle's default.
const DECAY: Duration = Duration::from_secs(10);

/// The same as a half-life, in milliseconds.
const HALF_LIFE: u64 = 6_931;

/// A moving average that is sensitive to peaks, after Finagle's `PeakEwma`. Written
/// under the member's lock, read without.
#[derive(Debug, Default)]
pub(super) struct PeakEwma {
    nanos: AtomicU64,
    /// Milliseconds of the member's clock.
    at: AtomicU64,
}

impl PeakEwma {
    /// The average now; 0 where nothing was observed.
    pub(super) fn nanos(&self, now: u64) -> u64 {
        let nanos = self.nanos.load(Ordering::Relaxed);
        let age = now.saturating_sub(self.at.load(Ordering::Relaxed));
        if nanos == 0 {
            return 0;
        }
        // Half of it for each half-life, and in a straight line between: every
        // decision asks each member, and this needs no exponential.
        let halves = age.saturating_mul(1_024) / HALF_LIFE;
        let shifted = nanos.checked_shr(u32::try_from(halves >> 10).unwrap_or(u32::MAX));
        let shifted = shifted.unwrap_or(0);
        let between = u128::from(shifted) * u128::from(halves & 1_023) / 2_048;
        // At least 1: it was observed.
        (shifted - between as u64).max(1)
    }

    /// Takes in how long an answer took.
    pub(super) fn observe(&self, took: Duration, now: u64) {
        let sample = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let age = now.saturating_sub(self.at.load(Ordering::Relaxed));
        let old = self.nanos.load(Ordering::Relaxed);
        let decayed = (old as f64 * weight(age)) as u64;
        let new = if sample >= decayed {
            sample
        } else {
            decayed + (sample as f64 * (1.0 - weight(age))) as u64
        };
        self.nanos.store(new, Ordering::Relaxed);
        self.at.store(now, Ordering::Relaxed);
    }

    /// Takes in that an answer was not there after so long.
    pub(super) fn at_least(&self, took: Duration, now: u64) {
        if took.as_nanos() > u128::from(self.nanos(now)) {
            self.observe(took, now);
        }
    }
}

/// What is left of an observation after so many milliseconds.
fn weight(age: u64) -> f64 {
    (-(age as f64) / DECAY.as_millis() as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_are_taken_at_once_and_forgotten_slowly() {
        let ewma = PeakEwma::default();
        assert_eq!(ewma.nanos(5), 0);
        ewma.observe(Duration::from_micros(100), 0);
        ewma.observe(Duration::from_micros(900), 1);
        assert_eq!(ewma.nanos(1), 900_000);
        ewma.observe(Duration::from_micros(100), 1_000);
        let after = ewma.nanos(1_000);
        assert!((800_000..900_000).contains(&after), "{after}");
        assert!(ewma.nanos(30_000) < 100_000);
        let half = ewma.nanos(1_000 + HALF_LIFE);
        assert!(half.abs_diff(after / 2) < after / 100, "{half} of {after}");
        assert_eq!(ewma.nanos(u64::MAX), 1);
        ewma.at_least(Duration::from_micros(1), 1_000);
        assert_eq!(ewma.nanos(1_000), after);
        ewma.at_least(Duration::from_secs(1), 1_000);
        assert_eq!(ewma.nanos(1_000), 1_000_000_000);
    }
}
