//! One member: what decisions read of it, and what its attempts write.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{Notify, futures::Notified},
    time::Instant,
};

use super::{
    Attempt, Outcome, Why,
    health::{Health, Signs},
    latency::PeakEwma,
};
use crate::config::Outlier;

/// What a member remembers an attempt by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub began: Instant,
    /// Its place among those that run.
    pub place: usize,
    pub is_trial: bool,
}

/// A place that answers reads. Decisions read it without a lock; attempts, probes
/// and operators write it.
#[derive(Debug)]
pub struct Member {
    pub(super) name: Arc<str>,
    /// What it is counted under: several members may share it.
    label: Arc<str>,
    pub(super) zone: ArcSwap<Option<Arc<str>>>,
    pub(super) weight: AtomicU32,
    /// The zero of this member's clock, in milliseconds.
    epoch: Instant,
    pub(super) up: AtomicBool,
    pub(super) draining: AtomicBool,
    /// Until when it is ejected; 0: it is not. Past: half-open.
    pub(super) out_until: AtomicU64,
    /// Since when it starts slowly; 0: it does not.
    pub(super) slow_since: AtomicU64,
    /// Since when it is being tried with one request; 0: it is not.
    pub(super) on_trial: AtomicU64,
    pub(super) in_flight: AtomicU32,
    pub(super) latency: PeakEwma,
    health: Mutex<Health>,
    /// Wakes who runs on it when it is ejected or goes down.
    left: Notify,
    pub(super) attempts: AtomicU64,
    pub(super) faults: AtomicU64,
    pub(super) ejections: AtomicU64,
}

impl Member {
    /// A member that is up and gets its full share.
    pub fn new(name: Arc<str>, zone: Option<Arc<str>>, weight: u32, now: Instant) -> Self {
        Self {
            label: Arc::clone(&name),
            name,
            zone: ArcSwap::from_pointee(zone),
            weight: AtomicU32::new(weight.max(1)),
            epoch: now,
            up: AtomicBool::new(true),
            draining: AtomicBool::new(false),
            out_until: AtomicU64::new(0),
            slow_since: AtomicU64::new(0),
            on_trial: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            latency: PeakEwma::default(),
            health: Mutex::new(Health::new(now)),
            left: Notify::new(),
            attempts: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
        }
    }

    /// A member that joins others which serve already: it is down until
    /// [`Member::set_up`], and starts slowly then.
    pub fn joining(name: Arc<str>, zone: Option<Arc<str>>, weight: u32, now: Instant) -> Self {
        let member = Self::new(name, zone, weight, now);
        member.up.store(false, Relaxed);
        member
    }

    /// The same, counted by metrics under this: its own name may have an address in
    /// it, of which there is no end.
    #[must_use]
    pub fn measured_as(self, label: Arc<str>) -> Self {
        Self { label, ..self }
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What metrics count it under: its name, if nothing else was said.
    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// Where it is.
    pub fn zone(&self) -> Option<Arc<str>> {
        (**self.zone.load()).clone()
    }

    /// Notes that it is elsewhere.
    pub fn set_zone(&self, zone: Option<Arc<str>>) {
        self.zone.store(Arc::new(zone));
    }

    /// Its share of the reads, against the others'.
    pub fn weight(&self) -> u32 {
        self.weight.load(Relaxed)
    }

    /// Gives it another share; at least 1.
    pub fn set_weight(&self, weight: u32) {
        self.weight.store(weight.max(1), Relaxed);
    }

    /// Sends it nothing more, until [`Member::undrain`]. What runs is finished.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Ends a drain; it starts slowly.
    pub fn undrain(&self, now: Instant) {
        if self.draining.swap(false, Relaxed) {
            self.begin_slowly(now);
        }
    }

    /// Ejects it for so long, whatever the others are like.
    pub fn eject(&self, lasts: Duration, why: Why, now: Instant) {
        self.health().ejections.note(why, lasts);
        self.out_for(lasts, now);
    }

    /// Ejects it for as long as it is its turn: longer each time in a row. Answers
    /// for how long.
    pub(super) fn eject_in_turn(&self, why: Why, settings: &Outlier, now: Instant) -> Duration {
        let lasts = self.health().ejections.next(why, settings, now);
        self.out_for(lasts, now);
        lasts
    }

    fn out_for(&self, lasts: Duration, now: Instant) {
        let until = self.clock(now).saturating_add(millis(lasts));
        self.out_until.store(until.max(1), Relaxed);
        self.on_trial.store(0, Relaxed);
        self.ejections.fetch_add(1, Relaxed);
        self.left.notify_waiters();
    }

    /// Ends an ejection; it starts slowly.
    pub fn readmit(&self, now: Instant) {
        if self.out_until.swap(0, Relaxed) == 0 {
            return;
        }
        self.on_trial.store(0, Relaxed);
        let mut health = self.health();
        health.ejections.readmitted(now);
        health.begin_anew(now);
        drop(health);
        self.begin_slowly(now);
    }

    /// Notes whether it can be used at all. A return is a slow start.
    pub fn set_up(&self, up: bool, now: Instant) {
        if self.up.swap(up, Relaxed) == up {
            return;
        }
        if up {
            self.health().begin_anew(now);
            self.begin_slowly(now);
            // It was a probe that found it up.
            self.probed(now);
        } else {
            self.left.notify_waiters();
        }
    }

    /// Notes that a probe was answered: a member whose ejection is over is let in.
    pub fn probed(&self, now: Instant) {
        self.health().probed(now);
        if self.is_half_open(self.clock(now)) {
            self.readmit(now);
        }
    }

    fn begin_slowly(&self, now: Instant) {
        // Not 0, which means that it does not.
        self.slow_since.store(self.clock(now).max(1), Relaxed);
    }

    fn is_half_open(&self, clock: u64) -> bool {
        let until = self.out_until.load(Relaxed);
        until != 0 && until <= clock
    }

    /// Begins an attempt. On a member that is half-open it is the trial.
    pub fn start(self: &Arc<Self>, now: Instant) -> Attempt {
        self.in_flight.fetch_add(1, Relaxed);
        self.attempts.fetch_add(1, Relaxed);
        let clock = self.clock(now);
        let begins = || {
            let trial = &self.on_trial;
            let begun = trial.compare_exchange(0, clock.max(1), Relaxed, Relaxed);
            begun.is_ok()
        };
        let is_trial = self.is_half_open(clock) && begins();
        let place = self.health().running.add(now);
        Attempt::new(
            Arc::clone(self),
            Ended {
                began: now,
                place,
                is_trial,
            },
        )
    }

    /// Takes in how an attempt ended. A trial that was answered lets it in again;
    /// one that failed ejects it for longer: `Some` says for how long.
    pub(super) fn ended(
        &self,
        ended: Ended,
        outcome: Outcome,
        settings: &Outlier,
        now: Instant,
    ) -> Option<Duration> {
        let half_open = self.is_half_open(self.clock(now));
        self.leave(&ended, outcome, now);
        match outcome {
            Outcome::Fault => {
                self.faults.fetch_add(1, Relaxed);
                let failed = ended.is_trial && half_open;
                failed.then(|| self.eject_in_turn(Why::Trial, settings, now))
            }
            Outcome::Ok => {
                if half_open {
                    self.readmit(now);
                }
                None
            }
            Outcome::Shed | Outcome::Blameless => None,
        }
    }

    /// Takes in that an attempt runs no more.
    pub(super) fn leave(&self, ended: &Ended, outcome: Outcome, now: Instant) {
        self.in_flight.fetch_sub(1, Relaxed);
        if ended.is_trial {
            self.on_trial.store(0, Relaxed);
        }
        let took = now.saturating_duration_since(ended.began);
        let clock = self.clock(now);
        let mut health = self.health();
        health.running.remove(ended.place);
        health.ended(outcome, took, now);
        match outcome {
            Outcome::Ok => self.latency.observe(took, clock),
            // How long it would have taken nobody knows.
            _ => self.latency.at_least(took, clock),
        }
    }

    /// Wakes when it is ejected or goes down.
    pub(super) fn left(&self) -> Notified<'_> {
        self.left.notified()
    }

    pub(super) fn signs(&self, now: Instant, interval: Duration) -> Signs {
        self.health().signs(now, interval)
    }

    pub(super) fn set_limit(&self, limit: Duration) {
        self.health().limit = limit;
    }

    /// Whether the one request that tries it has been running for too long.
    pub(super) fn is_trial_overdue(&self, limit: Duration, now: Instant) -> bool {
        let (since, clock) = (self.on_trial.load(Relaxed), self.clock(now));
        since != 0 && self.is_half_open(clock) && clock - since.min(clock) > millis(limit)
    }

    /// Whether it is ejected or half-open.
    pub(super) fn is_out(&self) -> bool {
        self.out_until.load(Relaxed) != 0
    }

    /// Whether it gets reads, if it is eligible.
    pub fn is_in_rotation(&self) -> bool {
        self.up.load(Relaxed) && !self.draining.load(Relaxed) && !self.is_out()
    }

    pub(super) fn clock(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.epoch))
    }

    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
