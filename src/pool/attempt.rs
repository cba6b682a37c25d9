//! One attempt on a member.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Member, Outcome, clock::now, member::Ended};
use crate::config::Outlier;

/// A running attempt on a member. One that is dropped unfinished was cancelled:
/// nobody is to blame.
#[derive(Debug)]
pub struct Attempt {
    member: Arc<Member>,
    /// `None` once it has ended.
    running: Option<Ended>,
}

impl Attempt {
    pub(super) fn new(member: Arc<Member>, running: Ended) -> Self {
        Self {
            member,
            running: Some(running),
        }
    }

    /// Where it runs.
    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Ends it. Users call [`super::Pool::finish`]. `Some`: that ejected the member,
    /// for so long.
    pub(super) fn finish(
        mut self,
        outcome: Outcome,
        settings: &Outlier,
        now: Instant,
    ) -> Option<Duration> {
        let running = self.running.take()?;
        self.member.ended(running, outcome, settings, now)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.member.leave(&running, Outcome::Blameless, now());
        }
    }
}
