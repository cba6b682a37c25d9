//! The memory of all answers together: what is not sent yet takes its share, and
//! gives it back when it is.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// So many bytes for the answers of the whole process.
#[derive(Debug, Clone)]
pub struct AnswerBudget(Arc<Bytes>);

#[derive(Debug)]
struct Bytes {
    total: usize,
    held: AtomicUsize,
    /// Wakes when something was given back.
    given_back: Notify,
}

impl Bytes {
    fn take(&self, bytes: usize) -> bool {
        let fits = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= self.total);
        let taken = self
            .held
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits);
        taken.is_ok()
    }

    fn give_back(&self, bytes: usize) {
        if bytes > 0 {
            self.held.fetch_sub(bytes, Ordering::AcqRel);
            self.given_back.notify_waiters();
        }
    }
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: AnswerBudget,
    bytes: usize,
}

impl AnswerBudget {
    /// A budget of so many bytes.
    pub fn new(total: usize) -> Self {
        Self(Arc::new(Bytes {
            total,
            held: AtomicUsize::new(0),
            given_back: Notify::new(),
        }))
    }

    /// Bytes that are taken.
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Acquire)
    }

    /// So many bytes, if they are free.
    pub fn try_take(&self, bytes: usize) -> Option<Share> {
        self.0.take(bytes).then(|| Share {
            budget: self.clone(),
            bytes,
        })
    }

    /// So many bytes, as soon as they are free; all of them, where more are asked.
    /// Who waits keeps nothing from those who ask for less: a stream whose client
    /// is slow must not stop small answers.
    pub async fn take(&self, bytes: usize) -> Share {
        let bytes = bytes.min(self.0.total);
        loop {
            // Before the look, so that what is given back after it is heard of.
            let mut given_back = std::pin::pin!(self.0.given_back.notified());
            given_back.as_mut().enable();
            if let Some(share) = self.try_take(bytes) {
                return share;
            }
            given_back.await;
        }
    }
}

impl Share {
    /// Bytes that it has.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes it this large. `false`, and it stays as it is, where so much is not
    /// free.
    pub fn resize(&mut self, bytes: usize) -> bool {
        let fits = match bytes.checked_sub(self.bytes) {
            Some(more) => self.budget.0.take(more),
            None => {
                self.budget.0.give_back(self.bytes - bytes);
                true
            }
        };
        if fits {
            self.bytes = bytes;
        }
        fits
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_given_back_whatever_became_of_them() {
        let budget = AnswerBudget::new(100);
        let mut one = budget.try_take(1).unwrap();
        assert_eq!((budget.held(), one.bytes()), (1, 1));
        assert!(one.resize(60));
        assert!(budget.try_take(41).is_none());
        assert!(budget.try_take(usize::MAX).is_none());
        let two = budget.try_take(40).unwrap();
        assert!(!one.resize(61));
        assert_eq!(budget.held(), 100);
        drop(two);
        assert!(one.resize(10));
        assert_eq!(budget.held(), 10);
        drop(one);
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test]
    async fn who_can_wait_gets_it_when_it_is_free_and_keeps_nobody_from_less() {
        let budget = AnswerBudget::new(10);
        let mut most = budget.take(usize::MAX).await;
        let mut waiting = std::pin::pin!(budget.take(5));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        assert!(most.resize(6));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        drop(budget.try_take(4).expect("less"));
        assert!(most.resize(5));
        assert_eq!(waiting.await.bytes(), 5);
    }
}
