//! What decisions and operators read of a member.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use super::{Member, MemberFacts, Rank, Seat, Standing, member::millis};

/// The share in percent with which a slow start begins, and its steps.
const FIRST_STEP: u32 = 10;

impl Member {
    /// How it stands.
    pub fn standing(&self, now: Instant, slow_start: Duration) -> Standing {
        let clock = self.clock(now);
        let until = self.out_until.load(Relaxed);
        if !self.up.load(Relaxed) {
            Standing::Down
        } else if self.draining.load(Relaxed) {
            Standing::Draining
        } else if until > clock {
            Standing::Ejected {
                for_another: Duration::from_millis(until - clock),
                why: self.health().ejections.why(),
            }
        } else if until != 0 {
            Standing::HalfOpen
        } else {
            match self.percent(clock, slow_start) {
                100 => Standing::Ready,
                percent => Standing::SlowStart { percent },
            }
        }
    }

    /// How much of its share it gets, in steps.
    fn percent(&self, clock: u64, slow_start: Duration) -> u32 {
        let (since, lasts) = (self.slow_since.load(Relaxed), millis(slow_start));
        let passed = clock.saturating_sub(since);
        if since == 0 || passed >= lasts {
            return 100;
        }
        // Below 10: `passed` is below `lasts`.
        let steps = (passed * 9 / lasts) as u32;
        FIRST_STEP + steps * 10
    }

    /// What a decision needs to know of it. No lock is taken.
    pub fn seat(&self, now: Instant, slow_start: Duration, zone: Option<&str>) -> Seat {
        let clock = self.clock(now);
        let until = self.out_until.load(Relaxed);
        let rank = if !self.up.load(Relaxed) {
            Rank::Down
        } else if self.draining.load(Relaxed) {
            Rank::Draining
        } else if until == 0 {
            Rank::In
        } else if until <= clock && self.on_trial.load(Relaxed) == 0 {
            Rank::Trial
        } else {
            Rank::Out
        };
        let elsewhere = zone.is_some_and(|here| {
            let there = self.zone.load();
            there.as_deref().is_some_and(|there| there != here)
        });
        Seat {
            rank,
            tier: u8::from(elsewhere),
            weight: self
                .weight()
                .saturating_mul(self.percent(clock, slow_start)),
            in_flight: self.in_flight.load(Relaxed),
            latency: self.latency.nanos(clock),
        }
    }

    /// What operators see of it.
    pub fn facts(&self, now: Instant, slow_start: Duration) -> MemberFacts {
        MemberFacts {
            name: Arc::clone(&self.name),
            zone: self.zone(),
            weight: self.weight(),
            standing: self.standing(now, slow_start),
            drained: self.draining.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            latency: Duration::from_nanos(self.latency.nanos(self.clock(now))),
            attempts: self.attempts.load(Relaxed),
            faults: self.faults.load(Relaxed),
            ejections: self.ejections.load(Relaxed),
        }
    }
}
