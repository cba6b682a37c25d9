//! The members together: who is next, and who is worse than the others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use tokio::time::Instant;

use super::{
    Ask, Attempt, Budgets, Member, MemberFacts, Outcome, Picked, Seat, Why, fail_safe, outlier,
    pick,
};
use crate::{config, telemetry::metrics};

/// The shortest time between two comparisons that no fault asks for.
const PAUSE: Duration = Duration::from_millis(100);

/// Members, and what they are treated by.
#[derive(Debug)]
pub struct Pool {
    members: ArcSwap<Vec<Arc<Member>>>,
    settings: ArcSwap<config::Pool>,
    budgets: Arc<Budgets>,
    turn: AtomicU64,
    seed: u64,
    epoch: Instant,
    /// When the members are compared again, in milliseconds since `epoch`.
    judged_again: AtomicU64,
}

/// The member that is next.
#[derive(Debug, Clone)]
pub struct Pick {
    pub member: Arc<Member>,
    pub picked: Picked,
}

impl Pool {
    /// A pool of these members. `budgets` are shared by the process; `seed` is for
    /// the dice.
    pub fn new(
        members: Vec<Arc<Member>>,
        settings: config::Pool,
        budgets: Arc<Budgets>,
        seed: u64,
        now: Instant,
    ) -> Self {
        Self {
            members: ArcSwap::from_pointee(members),
            settings: ArcSwap::from_pointee(settings),
            budgets,
            turn: AtomicU64::new(0),
            seed,
            epoch: now,
            judged_again: AtomicU64::new(0),
        }
    }

    /// The members.
    pub fn members(&self) -> Guard<Arc<Vec<Arc<Member>>>> {
        self.members.load()
    }

    /// Replaces the members. Those that stay are to be the same values: they know
    /// how they are. Attempts on those that go are finished.
    pub fn set_members(&self, members: Vec<Arc<Member>>) {
        self.members.store(Arc::new(members));
    }

    /// The member of that name.
    pub fn member(&self, name: &str) -> Option<Arc<Member>> {
        let members = self.members();
        members.iter().find(|m| &**m.name() == name).cloned()
    }

    /// What the pool goes by.
    pub fn settings(&self) -> Guard<Arc<config::Pool>> {
        self.settings.load()
    }

    /// Goes by other settings, and so do the budgets.
    pub fn set_settings(&self, settings: config::Pool) {
        self.budgets.set(&settings);
        self.settings.store(Arc::new(settings));
    }

    /// The budgets of the process.
    pub fn budgets(&self) -> &Arc<Budgets> {
        &self.budgets
    }

    /// Takes the next turn, for the first attempt of a read.
    pub fn ask(&self) -> Ask {
        let turn = self.turn.fetch_add(1, Relaxed);
        Ask {
            method: self.settings().balance.method,
            turn,
            roll: mixed(self.seed ^ turn),
            may_try: true,
        }
    }

    /// The next member in rotation of those that are eligible. `None`: none is.
    pub fn pick(
        &self,
        ask: Ask,
        now: Instant,
        eligible: impl Fn(&Arc<Member>) -> bool,
    ) -> Option<Pick> {
        let (members, settings) = (self.members(), self.settings());
        let picked = pick(seats(&members, &settings, now, &eligible), ask)?;
        taken(&members, picked)
    }

    /// The least bad of those that are eligible, when none is in rotation.
    pub fn fail_safe(
        &self,
        ask: Ask,
        now: Instant,
        eligible: impl Fn(&Arc<Member>) -> bool,
    ) -> Option<Pick> {
        let (members, settings) = (self.members(), self.settings());
        let picked = fail_safe(seats(&members, &settings, now, &eligible), ask.turn)?;
        taken(&members, picked)
    }

    /// Ends an attempt, and compares the members where that is due.
    pub fn finish(&self, attempt: Attempt, outcome: Outcome, now: Instant) {
        let settings = self.settings();
        let member = Arc::clone(attempt.member());
        if let Some(lasts) = attempt.finish(outcome, &settings.outlier, now) {
            ejected(&member, Why::Trial, lasts);
        }
        match outcome {
            Outcome::Fault => self.judge_now(now),
            _ => self.judge(now),
        }
    }

    /// Compares the members, if that was not done just before, and ejects those that
    /// are worse than the others. To be called from time to time as well: when all
    /// requests hang, none of them ends.
    pub fn judge(&self, now: Instant) {
        let clock = self.clock(now);
        let due = self.judged_again.load(Relaxed);
        if clock >= due {
            self.judge_now(now);
        }
    }

    fn judge_now(&self, now: Instant) {
        let settings = self.settings();
        let settings = &settings.outlier;
        let next = self.clock(now + PAUSE);
        self.judged_again.store(next, Relaxed);
        let members = self.members();
        if !settings.enabled {
            return;
        }
        let signs: Vec<_> = members
            .iter()
            .filter(|m| m.is_in_rotation())
            .map(|member| (member, member.signs(now, settings.interval)))
            .collect();
        let known = signs.iter().map(|(_, s)| s.usual).filter(|u| *u > 0.0);
        let usual = outlier::Sorted::of(known.collect());
        let counted = signs.iter().filter(|(_, s)| s.requests > 0);
        let failing = outlier::Sorted::of(counted.map(|(_, s)| s.failing).collect());
        let limit = outlier::limit(usual.median_without(None), settings);
        for member in members.iter().filter(|m| m.is_trial_overdue(limit, now)) {
            let lasts = member.eject_in_turn(Why::Trial, settings, now);
            ejected(member, Why::Trial, lasts);
        }
        let mut out = members.iter().filter(|m| m.is_out()).count();
        for (member, own) in &signs {
            let known = (own.usual > 0.0).then_some(own.usual);
            member.set_limit(outlier::limit(usual.median_without(known), settings));
            let counted = (own.requests > 0).then_some(own.failing);
            let others = failing.median_without(counted).unwrap_or_default();
            let Some(why) = outlier::fault(own, others, settings) else {
                continue;
            };
            if out < outlier::most_ejected(members.len(), settings) {
                out += 1;
                let lasts = member.eject_in_turn(why, settings, now);
                ejected(member, why, lasts);
            }
        }
    }

    /// What operators see of the members.
    pub fn facts(&self, now: Instant) -> Vec<MemberFacts> {
        let slow_start = self.settings().outlier.slow_start;
        let members = self.members();
        members.iter().map(|m| m.facts(now, slow_start)).collect()
    }

    fn clock(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.epoch);
        u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
    }
}

fn seats<'a>(
    members: &'a [Arc<Member>],
    settings: &'a config::Pool,
    now: Instant,
    eligible: &'a impl Fn(&Arc<Member>) -> bool,
) -> impl Iterator<Item = (usize, Seat)> + Clone {
    let (slow_start, zone) = (
        settings.outlier.slow_start,
        settings.balance.zone.as_deref(),
    );
    let members = members.iter().enumerate().filter(|(_, m)| eligible(m));
    members.map(move |(index, member)| (index, member.seat(now, slow_start, zone)))
}

fn taken(members: &[Arc<Member>], picked: Picked) -> Option<Pick> {
    let member = Arc::clone(members.get(picked.index)?);
    Some(Pick { member, picked })
}

fn ejected(member: &Member, why: Why, lasts: Duration) {
    metrics::ejected(member.label(), why.as_str());
    tracing::warn!(connection = %member.name(), why = why.as_str(), ?lasts, "ejected");
}

/// SplitMix64: from one number in a row to one that looks random.
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
