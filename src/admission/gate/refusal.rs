//! Why a request is refused, and when it may come again.

use std::time::Duration;

/// Why a request does not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// As many wait as may.
    QueueFull,
    /// It would wait for longer than anybody may.
    TooLong,
    /// It has waited for as long as anybody may.
    Waited,
    /// Its deadline has passed, or will have before its turn comes.
    Deadline,
    /// Answers take all the memory that they may.
    AnswerBytes,
    /// Too many requests are open whose messages have not come.
    Arriving,
}

impl Why {
    /// All of them.
    pub const ALL: [Why; 6] = [
        Why::QueueFull,
        Why::TooLong,
        Why::Waited,
        Why::Deadline,
        Why::AnswerBytes,
        Why::Arriving,
    ];

    /// The word used in metric labels and in `google.rpc.ErrorInfo`.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::QueueFull => "queue_full",
            Why::TooLong => "too_long",
            Why::Waited => "waited",
            Why::Deadline => "deadline",
            Why::AnswerBytes => "answer_bytes",
            Why::Arriving => "arriving",
        }
    }
}

/// A request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub why: Why,
    /// When it may come again; without meaning after a deadline.
    pub retry_after: Duration,
}

/// Where nothing is known of the load.
const DEFAULT: Duration = Duration::from_secs(1);
/// Sooner makes no sense, and later is no answer.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// Spreads the pauses of those who are refused together, so that they do not
/// come again together.
#[derive(Debug)]
pub(super) struct Pause(u64);

impl Pause {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Between a half and one and a half of this time, within reason.
    pub(super) fn spread(&mut self, time: Option<Duration>) -> Duration {
        // A Weyl sequence with the golden ratio: even, and free of patterns that
        // would matter here.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let part = (self.0 >> 11) as f64 / (1u64 << 53) as f64;
        let time = time.unwrap_or(DEFAULT).clamp(SHORTEST, LONGEST);
        // Whole milliseconds: gRPC's pushback has no finer ones.
        let millis = time.as_millis() as f64 * (0.5 + part);
        Duration::from_millis(millis as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_spread_around_the_time() {
        let mut pause = Pause::new(7);
        let time = Duration::from_secs(2);
        let mut all: Vec<_> = (0..1_000).map(|_| pause.spread(Some(time))).collect();
        all.sort_unstable();
        assert!(all[0] < Duration::from_millis(1_010) && all[0] >= time / 2);
        assert!(all[999] > Duration::from_millis(2_990) && all[999] <= time * 3 / 2);
        assert!(pause.spread(Some(Duration::MAX)) <= LONGEST * 3 / 2);
        assert!(pause.spread(Some(Duration::ZERO)) >= SHORTEST / 2);
    }
}
