//! The clock of attempts and walks. In unit tests it can be one that jumps from one
//! event to the next, so that hours pass at once and each run is the same.

#[cfg(not(test))]
pub(super) use real::{now, sleep_until};

#[cfg(test)]
pub(super) use super::tests::clock::{now, sleep_until};

/// What the clock is where nothing is tested.
pub(super) mod real {
    use tokio::time::Instant;

    /// The time.
    pub(in crate::pool) fn now() -> Instant {
        Instant::now()
    }

    /// Waits for a time.
    pub(in crate::pool) async fn sleep_until(at: Instant) {
        tokio::time::sleep_until(at).await;
    }
}
