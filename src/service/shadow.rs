//! Shadow reads: a share of the searches is also run on a chosen connection, once
//! the client has been answered and while nobody waits to be, and the two answers
//! are compared. Nobody is ever sent the second one.

mod compare;
mod journal;
mod seen;
mod target;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use self::{compare::compare, journal::Journal, seen::Seen};
pub use self::{
    seen::{Answer, Answered, Credentials},
    target::Target,
};
use super::stack::Door;
use crate::{
    config::{self, Live},
    domain::Verdict,
    storage::{Rows, Rules},
    telemetry::metrics,
};

/// Runs searches a second time.
pub struct Shadow {
    settings: config::Shadow,
    target: Target,
    door: Arc<Door>,
    /// What an answer may cost, as for clients.
    live: Live,
    /// Searches so far.
    turns: AtomicU64,
    slots: Arc<Semaphore>,
    journal: Journal,
    counts: [AtomicU64; OUTCOMES.len()],
}

/// A search that will be run again, if it is answered.
pub struct Chosen {
    shadow: Arc<Shadow>,
    slot: OwnedSemaphorePermit,
}

/// What came of a shadow read.
#[derive(Debug, PartialEq)]
enum Outcome {
    Compared(Verdict),
    /// It could not be compared, and why.
    Skipped(&'static str),
    Failed(&'static str),
}

/// The words for what can come of a shadow read.
const OUTCOMES: [&str; 6] = ["same", "order", "rows", "distance", "error", "skipped"];

/// Whether the read of this number, from 0, is one of the share: as evenly spread
/// as can be, and the same in every run.
fn is_chosen(turn: u64, share: f64) -> bool {
    let until = |turn: u64| (turn as f64 * share).floor();
    until(turn.wrapping_add(1)) > until(turn)
}

impl Shadow {
    /// Shadow reads on `target`.
    pub fn new(settings: config::Shadow, target: Target, door: Arc<Door>, live: Live) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(settings.max_in_flight)),
            settings,
            target,
            door,
            live,
            turns: AtomicU64::new(0),
            journal: Journal::default(),
            counts: Default::default(),
        }
    }

    /// Whether this search is to be run again.
    pub fn choose(self: &Arc<Self>) -> Option<Chosen> {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        if !is_chosen(turn, self.settings.share) {
            return None;
        }
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            self.count(&Outcome::Skipped("as many as may run"));
            return None;
        };
        Some(Chosen {
            shadow: Arc::clone(self),
            slot,
        })
    }

    async fn run(&self, answered: Answered) {
        // Before it is even looked into: that takes time, too.
        if self.door.facts().waiting > 0 {
            return self.count(&Outcome::Skipped("requests wait"));
        }
        let seen = match answered.open() {
            Ok(seen) => seen,
            Err(why) => return self.count(&Outcome::Skipped(why)),
        };
        let began = Instant::now();
        let outcome = match timeout(self.settings.timeout, self.outcome(&seen)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Failed("no answer in time"),
        };
        if matches!(outcome, Outcome::Compared(_)) {
            metrics::shadow_took(began.elapsed(), seen.took);
        }
        self.count(&outcome);
        self.journal
            .note(&seen, &self.settings.connection, &outcome);
    }

    async fn outcome(&self, seen: &Seen) -> Outcome {
        let (limits, rules) = {
            let config = self.live.load();
            (config.limits, Rules::of(&config))
        };
        let config::Shadow {
            connection,
            timeout,
            ..
        } = &self.settings;
        let asked = self
            .target
            .ask(connection, seen, (&limits, &rules), *timeout);
        match asked.await {
            Ok(rows) => self.compared(seen, &rows),
            Err(outcome) => outcome,
        }
    }

    fn compared(&self, seen: &Seen, rows: &Rows) -> Outcome {
        let query = seen.request.query.as_ref();
        let limit = query.map_or(0, |query| query.limit as usize);
        match compare(&seen.rows, rows, limit, self.settings.tolerance) {
            Ok(Some(verdict)) => Outcome::Compared(verdict),
            Ok(None) => Outcome::Skipped("rows of this kind are not compared"),
            Err(_) => Outcome::Failed("the answer cannot be compared"),
        }
    }

    /// What came of the shadow reads so far, by the words of the metric.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let counts = OUTCOMES.into_iter().zip(&self.counts);
        counts
            .map(|(word, count)| (word, count.load(Ordering::Relaxed)))
            .collect()
    }

    fn count(&self, outcome: &Outcome) {
        let word = outcome.as_str();
        metrics::shadow_read(word);
        let place = OUTCOMES.iter().position(|w| *w == word);
        if let Some(count) = place.and_then(|i| self.counts.get(i)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Outcome {
    /// The word used in metric labels.
    fn as_str(&self) -> &'static str {
        match self {
            Self::Compared(Verdict::Same | Verdict::Ties) => "same",
            Self::Compared(Verdict::Different(difference)) => difference.kind.as_str(),
            Self::Skipped(_) => "skipped",
            Self::Failed(_) => "error",
        }
    }
}

impl Chosen {
    /// What is to be done once the client has been sent its answer: a task of its
    /// own, which holds nobody up.
    pub fn after(self, answered: Answered) -> impl FnOnce() + Send + 'static {
        move || {
            tokio::spawn(async move {
                self.shadow.run(answered).await;
                drop(self.slot);
            });
        }
    }

    /// It cannot be run again.
    pub fn skip(self, why: &'static str) {
        self.shadow.count(&Outcome::Skipped(why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_spread_evenly() {
        for (share, of_a_hundred) in [(0.0, 0), (0.01, 1), (0.25, 25), (0.5, 50), (1.0, 100)] {
            let chosen = (0..100).filter(|turn| is_chosen(*turn, share)).count();
            assert_eq!(chosen, of_a_hundred, "{share}");
        }
        let chosen: Vec<u64> = (0..12).filter(|turn| is_chosen(*turn, 0.25)).collect();
        assert_eq!(chosen, [3, 7, 11]);
    }
}
