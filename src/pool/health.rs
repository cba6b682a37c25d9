//! What a member's attempts say of it: counts, and nothing that judges them.

use std::time::Duration;

use tokio::time::Instant;

use super::{Outcome, Why, running::Running};
use crate::config::Outlier;

/// Weight of the newest answer in the usual latency.
const ALPHA: f64 = 0.1;

/// What is remembered of a member's attempts. Guarded by the member's lock.
#[derive(Debug)]
pub(super) struct Health {
    pub(super) running: Running,
    shares: Shares,
    /// Faults in a row.
    faults_in_row: u32,
    /// Answers in a row that took longer than the limit.
    slow_in_row: u32,
    /// The usual latency in nanoseconds; 0: not known.
    usual: f64,
    /// The last sign of life: an answer, or a probe.
    alive: Instant,
    /// What is too slow, as it was last judged.
    pub(super) limit: Duration,
    pub(super) ejections: Ejections,
}

/// What one member looks like beside the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signs {
    pub faults_in_row: u32,
    pub slow: u32,
    pub requests: u32,
    /// Failing reads, in percent.
    pub failing: f64,
    /// Nanoseconds; 0: not known.
    pub usual: f64,
}

impl Health {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            running: Running::default(),
            shares: Shares::new(now),
            faults_in_row: 0,
            slow_in_row: 0,
            usual: 0.0,
            alive: now,
            limit: Duration::MAX,
            ejections: Ejections::default(),
        }
    }

    /// Takes in how an attempt ended.
    pub(super) fn ended(&mut self, outcome: Outcome, took: Duration, now: Instant) {
        match outcome {
            Outcome::Ok => {
                self.alive = now;
                self.faults_in_row = 0;
                self.shares.count(false);
                self.slow_in_row = match took > self.limit {
                    true => self.slow_in_row.saturating_add(1),
                    false => 0,
                };
                let nanos = took.as_nanos() as f64;
                self.usual = match self.usual == 0.0 {
                    true => nanos.max(1.0),
                    false => self.usual + ALPHA * (nanos - self.usual),
                };
            }
            Outcome::Fault => {
                self.faults_in_row = self.faults_in_row.saturating_add(1);
                self.shares.count(true);
            }
            // It answered, if only to say no.
            Outcome::Shed => {
                self.alive = now;
                self.faults_in_row = 0;
            }
            Outcome::Blameless => {}
        }
    }

    /// Notes that a probe was answered.
    pub(super) fn probed(&mut self, now: Instant) {
        self.alive = now;
    }

    /// Forgets what was counted: what follows is judged by itself.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        self.shares = Shares::new(now);
        self.faults_in_row = 0;
        self.slow_in_row = 0;
        self.usual = 0.0;
        self.alive = now;
    }

    pub(super) fn signs(&mut self, now: Instant, interval: Duration) -> Signs {
        self.shares.turn(now, interval);
        let (requests, faults) = self.shares.sum();
        let overdue = self.running.overdue(now, self.limit, self.alive);
        Signs {
            faults_in_row: self.faults_in_row,
            slow: self.slow_in_row.saturating_add(overdue),
            requests,
            failing: 100.0 * f64::from(faults) / f64::from(requests.max(1)),
            usual: self.usual,
        }
    }
}

/// Requests and faults of this interval and of the one before.
#[derive(Debug)]
struct Shares {
    since: Instant,
    this: (u32, u32),
    before: (u32, u32),
}

impl Shares {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            this: (0, 0),
            before: (0, 0),
        }
    }

    fn count(&mut self, fault: bool) {
        self.this.0 = self.this.0.saturating_add(1);
        self.this.1 = self.this.1.saturating_add(u32::from(fault));
    }

    fn turn(&mut self, now: Instant, interval: Duration) {
        let passed = now.saturating_duration_since(self.since);
        if passed < interval {
            return;
        }
        self.before = match passed < interval * 2 {
            true => self.this,
            false => (0, 0),
        };
        self.this = (0, 0);
        self.since = now;
    }

    fn sum(&self) -> (u32, u32) {
        (
            self.this.0.saturating_add(self.before.0),
            self.this.1.saturating_add(self.before.1),
        )
    }
}

/// How often in a row a member was ejected.
#[derive(Debug, Default)]
pub(super) struct Ejections {
    in_row: u32,
    last: Option<(Why, Duration)>,
    /// When it was let in again.
    back: Option<Instant>,
}

impl Ejections {
    /// How long the next ejection lasts: twice as long as the one before, unless the
    /// member has been back for longer than that lasted.
    pub(super) fn next(&mut self, why: Why, settings: &Outlier, now: Instant) -> Duration {
        if let (Some((_, last)), Some(back)) = (self.last, self.back)
            && now.saturating_duration_since(back) > last
        {
            self.in_row = 0;
        }
        let doubled = 2_u32.checked_pow(self.in_row).unwrap_or(u32::MAX);
        let lasts = settings
            .ejection
            .saturating_mul(doubled)
            .min(settings.max_ejection);
        self.in_row = self.in_row.saturating_add(1);
        self.note(why, lasts);
        lasts
    }

    /// Notes an ejection of this length.
    pub(super) fn note(&mut self, why: Why, lasts: Duration) {
        self.last = Some((why, lasts));
        self.back = None;
    }

    pub(super) fn readmitted(&mut self, now: Instant) {
        self.back = Some(now);
    }

    /// Why it was ejected last.
    pub(super) fn why(&self) -> Why {
        self.last.map_or(Why::Operator, |(why, _)| why)
    }
}
