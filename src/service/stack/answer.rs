//! The memory that one answer takes of the budget of all.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tonic::Extensions;

use crate::{
    admission::{AnswerBudget, Share, Why},
    domain::{Error, Result},
    telemetry::metrics,
};

/// What every read takes before it begins, in bytes. Answers up to this are never
/// refused when they are there: to have done the work for nothing would cost more.
const FIRST: usize = 64 << 10;

/// The memory of one answer, from its rows until its client has been sent it. The
/// stack puts one into the extensions of each request, and takes it back when
/// the answer has been read or dropped.
#[derive(Debug, Clone, Default)]
pub struct AnswerHold(Option<Arc<Held>>);

#[derive(Debug)]
struct Held {
    budget: AnswerBudget,
    share: Mutex<Option<Share>>,
}

impl Held {
    fn share(&self) -> MutexGuard<'_, Option<Share>> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has this much now.
    fn resize(&self, bytes: impl FnOnce(usize) -> usize) -> bool {
        let mut share = self.share();
        let bytes = bytes(share.as_ref().map_or(0, Share::bytes));
        let fits = match &mut *share {
            Some(share) => share.resize(bytes),
            None => {
                *share = self.budget.try_take(bytes);
                share.is_some()
            }
        };
        metrics::answer_bytes(self.budget.held());
        fits
    }
}

impl AnswerHold {
    /// Why there is no room, for the client.
    pub(super) const FULL: &str = "answers take all the memory that they may";

    /// When there may be some again.
    pub(super) const RETRY: Duration = Duration::from_secs(1);

    pub(super) fn new(budget: &AnswerBudget) -> Self {
        Self(Some(Arc::new(Held {
            budget: budget.clone(),
            share: Mutex::new(None),
        })))
    }

    /// That of a request. Without the stack nothing is counted.
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// Whether there is room to begin.
    pub(super) fn begin(&self) -> bool {
        self.0.as_ref().is_none_or(|held| held.resize(|_| FIRST))
    }

    /// So many bytes of rows more. They are counted twice: they are encoded to
    /// about as many before they go.
    ///
    /// # Errors
    /// There is no room for them.
    pub fn add_rows(&self, bytes: usize) -> Result<()> {
        let more = bytes.saturating_mul(2);
        self.resized(|has| has.saturating_add(more))
    }

    /// The answer is there, and has so many bytes.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn is(&self, bytes: usize) -> Result<()> {
        let outcome = self.resized(|_| bytes);
        if bytes <= FIRST { Ok(()) } else { outcome }
    }

    fn resized(&self, bytes: impl FnOnce(usize) -> usize) -> Result<()> {
        match &self.0 {
            Some(held) if !held.resize(bytes) => {
                metrics::request_shed(Why::AnswerBytes.as_str());
                Err(Error::Shed {
                    cause: Why::AnswerBytes.as_str(),
                    message: Self::FULL,
                    retry_after: Self::RETRY,
                })
            }
            _ => Ok(()),
        }
    }

    /// For the next part of a stream: gives back what the last one took, which
    /// the client has read, and waits for this much.
    pub async fn next_part(&self, bytes: usize) {
        let Some(held) = &self.0 else { return };
        self.release();
        let share = held.budget.take(bytes).await;
        *held.share() = Some(share);
        metrics::answer_bytes(held.budget.held());
    }

    /// Gives everything back.
    pub(super) fn release(&self) {
        if let Some(held) = &self.0 {
            let share = held.share().take();
            if share.is_some() {
                drop(share);
                metrics::answer_bytes(held.budget.held());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_grows_shrinks_and_is_given_back() {
        let budget = AnswerBudget::new(1 << 20);
        let hold = AnswerHold::new(&budget);
        assert!(hold.begin());
        hold.add_rows(300 << 10).unwrap();
        assert_eq!(budget.held(), (64 + 600) << 10);
        // A second answer of that size does not fit.
        let other = AnswerHold::new(&budget);
        assert!(other.begin());
        let refused = other.add_rows(300 << 10).unwrap_err();
        assert!(matches!(
            refused,
            Error::Shed {
                cause: "answer_bytes",
                ..
            }
        ));
        hold.is(310 << 10).unwrap();
        other.add_rows(300 << 10).unwrap();
        // Small ones are not refused when they are there.
        let small = AnswerHold::new(&budget);
        assert!(!small.begin());
        small.is(FIRST).unwrap();
        assert!(small.is(FIRST + 1).is_err());
        hold.release();
        hold.release();
        other.release();
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test]
    async fn a_stream_waits_where_an_answer_is_refused() {
        let budget = AnswerBudget::new(1 << 20);
        let (one, two) = (AnswerHold::new(&budget), AnswerHold::new(&budget));
        one.next_part(600 << 10).await;
        let mut waiting = std::pin::pin!(two.next_part(600 << 10));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        one.next_part(300 << 10).await;
        waiting.await;
        assert_eq!(budget.held(), 900 << 10);
        two.release();
        one.release();
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn without_the_stack_nothing_is_counted() {
        let hold = AnswerHold::of(&Extensions::new());
        assert!(hold.begin());
        hold.add_rows(usize::MAX).unwrap();
        hold.is(usize::MAX).unwrap();
        hold.release();
    }
}
