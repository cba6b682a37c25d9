//! Budgets: how many attempts there may be besides the first ones.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::config;

/// What one attempt costs, in the budget's own small coin.
const ATTEMPT: u64 = 1_000;

/// Most attempts that are saved up: a long quiet time allows no storm.
const MOST_SAVED: u64 = 100;

/// A budget that grows with every request and, slowly, by itself: Finagle's
/// `RetryBudget`, with a bound on what is saved instead of a time to live.
#[derive(Debug)]
pub struct Budget {
    /// Saved by requests.
    saved: AtomicU64,
    /// Per request, in thousandths of an attempt.
    per_request: AtomicU64,
    floor: Mutex<Floor>,
}

/// What is there without any requests: so many attempts each second.
#[derive(Debug)]
struct Floor {
    per_second: u32,
    left: f64,
    since: Option<Instant>,
}

impl Budget {
    /// `percent` of the requests and `per_second` besides.
    pub fn new(percent: u32, per_second: u32) -> Self {
        Self {
            saved: AtomicU64::new(0),
            per_request: AtomicU64::new(u64::from(percent) * ATTEMPT / 100),
            floor: Mutex::new(Floor {
                per_second,
                left: f64::from(per_second),
                since: None,
            }),
        }
    }

    /// Changes what is allowed; what was saved stays.
    pub fn set(&self, percent: u32, per_second: u32) {
        let per_request = u64::from(percent) * ATTEMPT / 100;
        self.per_request.store(per_request, Ordering::Relaxed);
        let mut floor = self.floor.lock().unwrap_or_else(PoisonError::into_inner);
        floor.per_second = per_second;
        floor.left = floor.left.min(f64::from(per_second));
    }

    /// Notes a request.
    pub fn deposit(&self) {
        let more = self.per_request.load(Ordering::Relaxed);
        if self.saved.load(Ordering::Relaxed) < MOST_SAVED * ATTEMPT {
            // Others may add at the same time: a little over the bound, no more.
            self.saved.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// Takes one attempt. `false`: there is none left.
    pub fn withdraw(&self, now: Instant) -> bool {
        let taken = self
            .saved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| {
                saved.checked_sub(ATTEMPT)
            });
        taken.is_ok() || self.withdraw_from_floor(now)
    }

    fn withdraw_from_floor(&self, now: Instant) -> bool {
        let mut floor = self.floor.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = floor
            .since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let most = f64::from(floor.per_second);
        floor.since = Some(now);
        floor.left = (floor.left + passed.as_secs_f64() * most).min(most);
        if floor.left < 1.0 {
            return false;
        }
        floor.left -= 1.0;
        true
    }
}

/// The budgets of a process: everything in it that retries or hedges shares them.
#[derive(Debug)]
pub struct Budgets {
    pub retries: Budget,
    pub hedges: Budget,
}

impl Budgets {
    /// Those of the configuration.
    pub fn new(pool: &config::Pool) -> Self {
        let (retries, hedging) = (pool.retries, pool.hedging);
        Self {
            retries: Budget::new(retries.budget_percent, retries.min_per_second),
            hedges: Budget::new(hedging.budget_percent, 0),
        }
    }

    /// Goes by another configuration.
    pub fn set(&self, pool: &config::Pool) {
        let (retries, hedging) = (pool.retries, pool.hedging);
        self.retries
            .set(retries.budget_percent, retries.min_per_second);
        self.hedges.set(hedging.budget_percent, 0);
    }

    /// Notes a request.
    pub(super) fn deposit(&self) {
        self.retries.deposit();
        self.hedges.deposit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_share_of_the_requests_and_a_floor() {
        let now = Instant::now();
        let budget = Budget::new(20, 2);
        let take = |budget: &Budget, now| (0..1_000).filter(|_| budget.withdraw(now)).count();
        assert_eq!(take(&budget, now), 2, "the floor");
        (0..50).for_each(|_| budget.deposit());
        assert_eq!(take(&budget, now), 10, "a fifth of 50");
        let later = now + Duration::from_millis(500);
        assert_eq!(take(&budget, later), 1);
        let much_later = now + Duration::from_secs(3_600);
        assert_eq!(take(&budget, much_later), 2, "the floor saves one second");
        (0..1_000_000).for_each(|_| budget.deposit());
        assert_eq!(take(&budget, much_later), 100, "what is saved is bounded");
    }

    #[test]
    fn without_a_floor_and_requests_there_is_nothing() {
        let budget = Budget::new(5, 0);
        assert!(!budget.withdraw(Instant::now()));
        (0..20).for_each(|_| budget.deposit());
        assert!(budget.withdraw(Instant::now()));
        assert!(!budget.withdraw(Instant::now()));
    }
}
