//! What a walk is about: where attempts may go, what they do, what failures mean.

use std::{sync::Arc, time::Duration};

use super::{Member, Outcome};
use crate::domain::view::Detour;

/// What one walk is about.
pub trait Course: Sync {
    /// Where an attempt goes, and whatever it needs there.
    type Place: Send + Sync;
    type Answer: Send;
    type Error: Send;

    /// The member behind a place; `None` for a place that is not judged.
    fn member<'a>(&'a self, place: &'a Self::Place) -> Option<&'a Arc<Member>>;

    /// One attempt. Dropped when it is not wanted any more. It is over when the
    /// first byte could be sent: nothing can be taken back after that.
    fn run(
        &self,
        place: &Self::Place,
        detour: Detour,
    ) -> impl Future<Output = Result<Self::Answer, Self::Error>> + Send;

    /// What a failure means.
    fn verdict(&self, error: &Self::Error) -> Verdict;

    /// Somewhere else than `last` and the places before it, that fulfils all that
    /// was asked of the first place.
    fn retry(
        &self,
        before: &[Self::Place],
        last: &Self::Place,
    ) -> impl Future<Output = Option<Self::Place>> + Send;

    /// One of those that were tried, when nobody else is left.
    fn again(&self, before: &[Self::Place], last: &Self::Place) -> Option<Self::Place> {
        let _ = (before, last);
        None
    }

    /// Where an attempt may go that the budget of retries has nothing left for: a
    /// place that bounds what it takes itself, where `last` is gone. One that is there
    /// and has too much to do is what the budget is for.
    fn last_resort(&self, before: &[Self::Place], last: &Self::Place) -> Option<Self::Place> {
        let _ = (before, last);
        None
    }

    /// Somewhere else that would give the very same answer as this place, while that
    /// is still at it.
    fn hedge(&self, before: &[Self::Place], running: &Self::Place) -> Option<Self::Place>;
}

/// What a failure of an attempt means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What it says of the member.
    pub outcome: Outcome,
    /// Whether another attempt may help.
    pub retry: bool,
    /// How long the member wants to be left alone by this request
    /// (`grpc-retry-pushback-ms`, RetryInfo). Another one is asked at once.
    pub pushback: Duration,
}

impl Verdict {
    /// Another member may do better.
    pub const FAULT: Verdict = Verdict {
        outcome: Outcome::Fault,
        retry: true,
        pushback: Duration::ZERO,
    };

    /// Nobody can answer this.
    pub const FINAL: Verdict = Verdict {
        outcome: Outcome::Blameless,
        retry: false,
        pushback: Duration::ZERO,
    };
}
