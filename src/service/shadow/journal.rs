//! What the log says of shadow reads: that there are differences and where, and
//! not more often than can be read.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{Outcome, Seen};
use crate::domain::Verdict;

/// Between two lines.
const PAUSE: Duration = Duration::from_secs(1);

/// Writes at most a line a second.
#[derive(Debug, Default)]
pub(super) struct Journal(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    /// Since then.
    left_out: u64,
}

impl State {
    /// How many were left out, if there may be a line now.
    fn may_write(&mut self, now: Instant) -> Option<u64> {
        if self
            .last
            .is_some_and(|last| now.duration_since(last) < PAUSE)
        {
            self.left_out += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

impl Journal {
    /// Writes down what is worth it: no vector, no filter, no value of a row.
    pub(super) fn note(&self, seen: &Seen, shadow: &str, outcome: &Outcome) {
        let what = match outcome {
            Outcome::Compared(Verdict::Same | Verdict::Ties) => return,
            Outcome::Compared(Verdict::Different(difference)) => difference.to_string(),
            Outcome::Failed(why) => (*why).to_owned(),
            Outcome::Skipped(why) => {
                tracing::debug!(table = %seen.table, shadow, why, "a shadow read was skipped");
                return;
            }
        };
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(left_out) = state.may_write(Instant::now()) else {
            return;
        };
        drop(state);
        tracing::warn!(
            table = %seen.table,
            version = seen.version,
            connection = %seen.by,
            shadow,
            outcome = outcome.as_str(),
            what,
            left_out,
            "a shadow read was answered otherwise"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_line_a_second_and_it_counts_the_others() {
        let mut state = State::default();
        let now = Instant::now();
        assert_eq!(state.may_write(now), Some(0));
        assert_eq!(state.may_write(now), None);
        assert_eq!(state.may_write(now + PAUSE / 2), None);
        assert_eq!(state.may_write(now + PAUSE), Some(2));
        assert_eq!(state.may_write(now + PAUSE * 2), Some(0));
    }
}
