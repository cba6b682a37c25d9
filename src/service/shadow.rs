//! Shadow reads: a share of the searches is also run on a chosen connection, once
//! the client has been answered and while nobody waits to be, and the two answers
//! are compared. Nobody is ever sent the second one.

mod compare;
mod journal;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use self::{compare::compare, journal::Journal};
use super::stack::Door;
use crate::{
    config,
    connection::Connection,
    domain::{
        Position, Result, TableName, Verdict,
        search::Search,
        view::{ConnectionState, Served},
    },
    storage::Rows,
    telemetry::metrics,
};

/// Runs searches a second time.
pub struct Shadow {
    settings: config::Shadow,
    target: Arc<Connection>,
    door: Arc<Door>,
    /// Searches so far.
    turns: AtomicU64,
    slots: Arc<Semaphore>,
    journal: Journal,
    counts: [AtomicU64; OUTCOMES.len()],
    /// Bytes of an answer at most, as for clients.
    most: usize,
    depth: usize,
}

/// A search that will be run again, if it is answered.
pub(super) struct Chosen {
    shadow: Arc<Shadow>,
    slot: OwnedSemaphorePermit,
}

/// A search as it was answered.
pub(super) struct Answered {
    pub table: TableName,
    pub search: Search,
    pub rows: Rows,
    pub served: Served,
    pub took: Duration,
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
    pub fn new(
        settings: config::Shadow,
        target: Arc<Connection>,
        door: Arc<Door>,
        limits: &config::Limits,
    ) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(settings.max_in_flight)),
            settings,
            target,
            door,
            turns: AtomicU64::new(0),
            journal: Journal::default(),
            counts: Default::default(),
            most: limits.max_response_bytes,
            depth: limits.max_filter_depth,
        }
    }

    /// Whether this search is to be run again.
    pub(super) fn choose(self: &Arc<Self>) -> Option<Chosen> {
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
        let began = Instant::now();
        let outcome = match timeout(self.settings.timeout, self.outcome(&answered)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Failed("no answer in time"),
        };
        if matches!(outcome, Outcome::Compared(_)) {
            metrics::shadow_took(began.elapsed(), answered.took);
        }
        self.count(&outcome);
        self.journal.note(&answered, self.target.name(), &outcome);
    }

    async fn outcome(&self, answered: &Answered) -> Outcome {
        if self.door.facts().waiting > 0 {
            return Outcome::Skipped("requests wait");
        }
        if self.target.state() != ConnectionState::Up {
            return Outcome::Skipped("the connection is not up");
        }
        let Some(position) = self.position_of(answered) else {
            return Outcome::Skipped("the connection has another creation of the table");
        };
        let snapshot = match self
            .target
            .snapshot_at(&answered.table, position.version)
            .await
        {
            Ok(snapshot) if snapshot.position() == position => snapshot,
            _ => return Outcome::Skipped("the connection has not this version"),
        };
        if config::failpoint::breaks("shadow-hangs") {
            std::future::pending::<()>().await;
        }
        let again = async {
            let found = snapshot.search(&answered.search, self.depth).await?;
            found.collect(self.most).await
        };
        match again.await {
            Ok(rows) => self.compared(answered, &rows),
            Err(_) => Outcome::Failed("the search failed"),
        }
    }

    fn compared(&self, answered: &Answered, rows: &Rows) -> Outcome {
        let limit = answered.search.limit;
        let verdict: Result<Option<Verdict>> =
            compare(&answered.rows, rows, limit, self.settings.tolerance);
        match verdict {
            Ok(Some(verdict)) => Outcome::Compared(verdict),
            Ok(None) => Outcome::Skipped("rows of this kind are not compared"),
            Err(_) => Outcome::Failed("the answer cannot be compared"),
        }
    }

    /// Which version of which table answered.
    fn position_of(&self, answered: &Answered) -> Option<Position> {
        let origin = answered.served.origin.as_ref()?;
        let here = self.target.catalog().position(&answered.table)?;
        (here.incarnation == origin.incarnation).then_some(Position {
            incarnation: origin.incarnation,
            version: answered.served.version,
        })
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
    pub(super) fn after(self, answered: Answered) -> impl FnOnce() + Send + 'static {
        move || {
            tokio::spawn(async move {
                self.shadow.run(answered).await;
                drop(self.slot);
            });
        }
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
