//! Quotas: how many requests each of those who ask may begin, and have under way.
//! Pure but for a clock that is given.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use governor::{
    RateLimiter,
    clock::{Clock, DefaultClock, Reference},
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};

use super::Client;
use crate::{
    config::{self, Quota, failpoint},
    domain::Principal,
};

/// Whom a quota is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// Somebody who was authenticated. Those of one name who prove it in different ways
    /// have the same quota, and each their own: who may choose the names of tokens does
    /// not use up what a key may have.
    Principal(Arc<Principal>),
    /// Somebody who showed nothing.
    Address(Client),
    /// All for whom there is no room.
    Others,
}

/// The name by which the configuration knows those who showed nothing.
const ANONYMOUS: &str = "anonymous";

impl Identity {
    fn name(&self) -> &str {
        match self {
            Identity::Principal(principal) => &principal.name,
            Identity::Address(_) | Identity::Others => ANONYMOUS,
        }
    }
}

/// Why a request may not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The next one may begin after this time.
    Rate(Duration),
    /// As many as this are under way.
    Concurrency(u32),
}

/// How often those who are idle are forgotten, at least, and at most.
const SWEEP: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(1)];

/// Who has asked for what.
pub struct Quotas<C: Clock + Clone = DefaultClock> {
    clock: C,
    /// Whether nothing is bounded: then nobody is looked up.
    off: AtomicBool,
    state: Mutex<State<C>>,
}

struct State<C: Clock + Clone> {
    settings: config::Quotas,
    /// Grows with each change of the settings.
    generation: u64,
    known: HashMap<Identity, Entry<C>>,
    swept: C::Instant,
}

type Limiter<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

struct Entry<C: Clock + Clone> {
    generation: u64,
    quota: Quota,
    limiter: Option<Limiter<C>>,
    running: u32,
    seen: C::Instant,
}

impl<C: Clock + Clone> Entry<C> {
    fn new(quota: Quota, generation: u64, clock: &C) -> Self {
        Self {
            generation,
            quota,
            limiter: limiter(&quota, clock),
            running: 0,
            seen: clock.now(),
        }
    }

    /// Whether nothing is lost by forgetting it.
    fn is_idle(&self, now: C::Instant) -> bool {
        let rate = self.quota.requests_per_second;
        let refilled = match rate > 0.0 {
            true => Duration::try_from_secs_f64(f64::from(self.quota.burst) / rate),
            false => Ok(Duration::ZERO),
        };
        let idle: Duration = now.duration_since(self.seen).into();
        self.running == 0 && idle > refilled.unwrap_or(Duration::MAX)
    }
}

fn limiter<C: Clock + Clone>(quota: &Quota, clock: &C) -> Option<Limiter<C>> {
    if quota.requests_per_second <= 0.0 {
        return None;
    }
    let period = Duration::try_from_secs_f64(1.0 / quota.requests_per_second).ok()?;
    let rate = governor::Quota::with_period(period.max(Duration::from_nanos(1)))?;
    let burst = NonZeroU32::new(quota.burst).unwrap_or(NonZeroU32::MIN);
    Some(RateLimiter::direct_with_clock(
        rate.allow_burst(burst),
        clock.clone(),
    ))
}

/// A request that has begun; dropped when it is over.
pub struct Begun<C: Clock + Clone = DefaultClock> {
    quotas: Arc<Quotas<C>>,
    who: Identity,
    quota: Quota,
}

impl<C: Clock + Clone> Begun<C> {
    /// What it may have.
    pub fn quota(&self) -> Quota {
        self.quota
    }
}

impl<C: Clock + Clone> Drop for Begun<C> {
    fn drop(&mut self) {
        let now = self.quotas.clock.now();
        // Who has something under way is not forgotten.
        if let Some(entry) = self.quotas.lock().known.get_mut(&self.who) {
            entry.running = entry.running.saturating_sub(1);
            entry.seen = now;
        }
    }
}

impl Quotas {
    /// Nobody has asked for anything yet.
    pub fn new(settings: config::Quotas) -> Arc<Self> {
        Self::with_clock(settings, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Quotas<C> {
    /// The same, by another clock.
    pub fn with_clock(settings: config::Quotas, clock: C) -> Arc<Self> {
        Arc::new(Self {
            off: AtomicBool::new(settings.is_off()),
            state: Mutex::new(State {
                settings,
                generation: 0,
                known: HashMap::new(),
                swept: clock.now(),
            }),
            clock,
        })
    }

    /// Other settings from now on. What is under way counts on, and everybody has a
    /// whole burst again.
    pub fn set(&self, settings: config::Quotas) {
        let mut state = self.lock();
        if state.settings == settings {
            return;
        }
        self.off.store(settings.is_off(), Ordering::Relaxed);
        state.settings = settings;
        state.generation += 1;
    }

    /// Begins a request; `None` where nothing is bounded.
    ///
    /// # Errors
    /// It may not begin, and took nothing from the quota.
    pub fn begin(self: &Arc<Self>, who: Identity) -> Result<Option<Begun<C>>, Over> {
        if self.off.load(Ordering::Relaxed) || failpoint::breaks("quota:none") {
            return Ok(None);
        }
        let now = self.clock.now();
        let mut state = self.lock();
        let who = state.room_for(who, now);
        let entry = state.entry(&who, &self.clock);
        let most = entry.quota.max_concurrent_requests;
        if most > 0 && entry.running >= most {
            return Err(Over::Concurrency(most));
        }
        entry.seen = now;
        if let Some(Err(until)) = entry.limiter.as_ref().map(RateLimiter::check) {
            return Err(Over::Rate(until.wait_time_from(now)));
        }
        entry.running += 1;
        let quota = entry.quota;
        drop(state);
        Ok(Some(Begun {
            quotas: Arc::clone(self),
            who,
            quota,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Clock + Clone> State<C> {
    /// By whom a request is counted.
    fn room_for(&mut self, who: Identity, now: C::Instant) -> Identity {
        let [at_least, at_most] = SWEEP;
        let full = self.known.len() >= self.settings.max_identities;
        let since: Duration = now.duration_since(self.swept).into();
        if since >= at_least || full && since >= at_most && !self.known.contains_key(&who) {
            self.swept = now;
            self.known.retain(|_, entry| !entry.is_idle(now));
        }
        let full = self.known.len() >= self.settings.max_identities;
        match full && !self.known.contains_key(&who) {
            true => Identity::Others,
            false => who,
        }
    }

    fn entry(&mut self, who: &Identity, clock: &C) -> &mut Entry<C> {
        let (settings, generation) = (&self.settings, self.generation);
        let quota = || match who {
            // Who they are is not known any more.
            Identity::Others => settings.default,
            _ => settings.of(who.name()),
        };
        let entry = self
            .known
            .entry(who.clone())
            .or_insert_with(|| Entry::new(quota(), generation, clock));
        if entry.generation != generation {
            let running = entry.running;
            *entry = Entry::new(quota(), generation, clock);
            entry.running = running;
        }
        entry
    }
}

#[cfg(test)]
mod tests;
