//! The gate: a request goes, waits, or is refused, and whoever leaves lets in
//! others. Everything that happens is one call with its time, and the same calls
//! give the same answers.
//!
//! What is bounded by what:
//!
//! - all requests together by the hard limit, `limits.max_concurrent_requests`;
//! - reads, besides, by the adaptive limit ([`super::gradient`]);
//! - what lasts, besides, by three quarters of the hard limit, so that streams
//!   and imports never take the place of all reads;
//! - those who wait, of each kind, by `admission.max_queued`, and the time that
//!   each of them waits by `admission.max_wait` and its deadline.

mod refusal;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Client, Kind, Lane, Signal,
    gradient::{Gradient, Range, Step},
    queue::{FairQueue, Waiter},
};
use crate::config::Admission;
use refusal::Pause;
pub use refusal::{Refusal, Why};

/// How fast the estimate of a read's time follows.
const PACE: f64 = 0.1;

/// A request that comes.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    pub lane: Lane,
    pub client: Client,
    pub deadline: Option<Instant>,
}

/// What becomes of it at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arrival {
    /// It begins. Whoever was told so must call [`Gate::leave`] once.
    Go,
    /// It waits there until it is told, for at most until then.
    Wait(Place, Instant),
    Refused(Refusal),
}

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    lane: Lane,
    client: Client,
    ticket: u64,
}

/// What those who waited are told: that they go, or why not. The caller passes
/// it on to each.
pub type Told<W> = Vec<(W, Result<(), Refusal>)>;

/// A request that is over.
#[derive(Debug, Clone, Copy)]
pub struct Left {
    pub kind: Kind,
    /// From when it began until its answer was there; `None` where that says
    /// nothing, as for errors.
    pub took: Option<Duration>,
    /// What it is compared with.
    pub signal: Option<Signal>,
}

/// What is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Reads that may be worked on at once.
    pub limit: usize,
    pub in_flight: usize,
    pub waiting: usize,
}

/// The gate. `W` is how one who waits is told.
#[derive(Debug)]
pub struct Gate<W> {
    settings: Admission,
    max: usize,
    gradient: Gradient,
    in_flight: [usize; Kind::ALL.len()],
    queues: [FairQueue<W>; Lane::IN_ORDER.len()],
    next_ticket: u64,
    /// Seconds that a read takes from its beginning; `None` until one is over.
    read_seconds: Option<f64>,
    pause: Pause,
    /// How a test has broken it, to see that it finds out.
    #[cfg(test)]
    broken: Option<tests::Broken>,
}

impl<W> Gate<W> {
    /// A gate for `max` requests at once. `seed` spreads the pauses that those
    /// who are refused are told.
    pub fn new(settings: Admission, max: usize, seed: u64, now: Instant) -> Self {
        Self {
            gradient: Gradient::new(Range::of(&settings, max), now),
            settings,
            max,
            in_flight: [0; Kind::ALL.len()],
            queues: std::array::from_fn(|_| FairQueue::default()),
            next_ticket: 0,
            read_seconds: None,
            pause: Pause::new(seed),
            #[cfg(test)]
            broken: None,
        }
    }

    /// Other settings, for those who come from now on and those who wait.
    pub fn set(&mut self, settings: Admission, max: usize, now: Instant, told: &mut Told<W>) {
        (self.settings, self.max) = (settings, max);
        self.gradient.set_range(Range::of(&settings, max));
        self.let_in(now, told);
    }

    /// What is going on.
    pub fn facts(&self) -> Facts {
        Facts {
            limit: self.limit(),
            in_flight: self.in_flight.iter().sum(),
            waiting: self.queues.iter().map(FairQueue::len).sum(),
        }
    }

    /// A request comes. `who` is made only where it has to wait; who has to make
    /// room for it in the queue is in `told`.
    pub fn arrive(
        &mut self,
        ask: Ask,
        who: impl FnOnce() -> W,
        now: Instant,
        told: &mut Told<W>,
    ) -> Arrival {
        let kind = ask.lane.kind();
        if ask.deadline.is_some_and(|deadline| deadline <= now) {
            return self.refuse(Why::Deadline, kind);
        }
        // Who waits has no room either: whenever there is some it is given away.
        if self.has_room(kind) {
            self.begin(kind, now);
            return Arrival::Go;
        }
        let until = now + self.settings.max_wait;
        if let Some(wait) = self.expected_wait(ask) {
            if wait > self.settings.max_wait {
                return self.refuse(Why::TooLong, kind);
            }
            // Half: an estimate is not sure, and this must be.
            if ask.deadline.is_some_and(|d| d < now + wait / 2) {
                return self.refuse(Why::Deadline, kind);
            }
        }
        if !self.make_room(ask, told) {
            return self.refuse(Why::QueueFull, kind);
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let until = ask.deadline.map_or(until, |deadline| deadline.min(until));
        self.queues[ask.lane.index()].push(Waiter {
            ticket,
            client: ask.client,
            since: now,
            until,
            deadline: ask.deadline,
            who: who(),
        });
        let place = Place {
            lane: ask.lane,
            client: ask.client,
            ticket,
        };
        Arrival::Wait(place, until)
    }

    /// A request that had begun is over. The change of the limit, if there was one.
    pub fn leave(&mut self, left: Left, now: Instant, told: &mut Told<W>) -> Option<Step> {
        let in_flight = &mut self.in_flight[left.kind.index()];
        *in_flight = in_flight.saturating_sub(1);
        let took = left.took.filter(|_| left.kind == Kind::Read);
        let step = took.and_then(|took| self.learn(took, left.signal, now));
        self.let_in(now, told);
        step
    }

    /// Somebody who waits gives up. `false` if it was told already, so that what
    /// it was told counts.
    pub fn give_up(&mut self, place: Place) -> bool {
        let queue = &mut self.queues[place.lane.index()];
        queue.remove(place.client, place.ticket).is_some()
    }

    /// The time of somebody who waits is over. `None` if it was told already.
    pub fn time_out(&mut self, place: Place, now: Instant) -> Option<Refusal> {
        let queue = &mut self.queues[place.lane.index()];
        let waiter = queue.remove(place.client, place.ticket)?;
        let late = waiter.deadline.is_some_and(|deadline| deadline <= now);
        let why = if late { Why::Deadline } else { Why::Waited };
        Some(self.refusal(why, place.lane.kind()))
    }

    fn learn(&mut self, took: Duration, signal: Option<Signal>, now: Instant) -> Option<Step> {
        let seconds = took.as_secs_f64();
        let usual = self.read_seconds.get_or_insert(seconds);
        *usual += PACE * (seconds - *usual);
        match signal {
            Some(signal) if self.settings.adaptive => self.gradient.answered(signal, took, now),
            _ => None,
        }
    }

    fn limit(&self) -> usize {
        match self.settings.adaptive {
            true => self.gradient.limit().min(self.max),
            false => self.max,
        }
    }

    fn has_room(&self, kind: Kind) -> bool {
        #[cfg(test)]
        if self.broken == Some(tests::Broken::IgnoresTheBound) {
            return true;
        }
        let of_kind = self.in_flight[kind.index()];
        let all: usize = self.in_flight.iter().sum();
        let bound = match kind {
            Kind::Admin => self.max,
            Kind::Read => self.limit(),
            Kind::Lasting => self.max - self.max / 4,
        };
        all < self.max && of_kind < bound
    }

    fn begin(&mut self, kind: Kind, now: Instant) {
        let in_flight = &mut self.in_flight[kind.index()];
        *in_flight += 1;
        if kind == Kind::Read {
            self.gradient.arrived(*in_flight, now);
        }
    }

    /// Lets in those who wait, as long as there is room.
    fn let_in(&mut self, now: Instant, told: &mut Told<W>) {
        #[cfg(test)]
        if self.broken == Some(tests::Broken::WakesNobody) {
            return;
        }
        for lane in Lane::IN_ORDER {
            while self.has_room(lane.kind()) {
                let queue = &mut self.queues[lane.index()];
                let Some(waiter) = queue.pop(self.settings.newest_first_after, now) else {
                    break;
                };
                if waiter.until > now {
                    self.begin(lane.kind(), now);
                    told.push((waiter.who, Ok(())));
                    continue;
                }
                let late = waiter.deadline.is_some_and(|deadline| deadline <= now);
                let why = if late { Why::Deadline } else { Why::Waited };
                told.push((waiter.who, Err(self.refusal(why, lane.kind()))));
            }
        }
    }

    /// Whether there is a place in the queue, if need be that of another: of a
    /// less important request, or of a client that has more waiting.
    fn make_room(&mut self, ask: Ask, told: &mut Told<W>) -> bool {
        let kind = ask.lane.kind();
        let of_kind = Lane::IN_ORDER.into_iter().filter(|l| l.kind() == kind);
        let waiting: usize = of_kind.clone().map(|l| self.queues[l.index()].len()).sum();
        if waiting < self.settings.max_queued {
            return true;
        }
        let less_important = of_kind
            .filter(|lane| lane.index() > ask.lane.index())
            .find_map(|lane| Some((lane, self.queues[lane.index()].longest()?.0)));
        let victim = less_important.or_else(|| {
            let queue = &self.queues[ask.lane.index()];
            let (client, length) = queue.longest()?;
            (length > queue.of(ask.client) + 1).then_some((ask.lane, client))
        });
        let waiter =
            victim.and_then(|(lane, client)| self.queues[lane.index()].remove_newest(client));
        let Some(waiter) = waiter else { return false };
        told.push((waiter.who, Err(self.refusal(Why::QueueFull, kind))));
        true
    }

    /// How long a read would wait: those before it, at the pace of the reads that
    /// are over (Little's law). `None` where nothing is known.
    fn expected_wait(&self, ask: Ask) -> Option<Duration> {
        if ask.lane.kind() != Kind::Read {
            return None;
        }
        let queue = &self.queues[ask.lane.index()];
        let own = queue.of(ask.client);
        let clients = queue.clients() + usize::from(own == 0);
        // Each turn of its client's is one of every client's.
        let in_lane = ((own + 1) * clients).min(queue.len() + 1);
        let more_important = match ask.lane {
            Lane::BatchRead => self.queues[Lane::Read.index()].len(),
            _ => 0,
        };
        self.time_for(in_lane + more_important)
    }

    /// How long it takes to begin so many reads.
    fn time_for(&self, reads: usize) -> Option<Duration> {
        let seconds = self.read_seconds? * reads as f64 / self.limit() as f64;
        Duration::try_from_secs_f64(seconds).ok()
    }

    fn refuse(&mut self, why: Why, kind: Kind) -> Arrival {
        Arrival::Refused(self.refusal(why, kind))
    }

    /// A refusal with the time that it takes until those who wait have begun.
    fn refusal(&mut self, why: Why, kind: Kind) -> Refusal {
        let waiting: usize = self.queues.iter().map(FairQueue::len).sum();
        let busy_for = match kind {
            Kind::Read => self.time_for(waiting + 1),
            Kind::Admin | Kind::Lasting => None,
        };
        Refusal {
            why,
            retry_after: self.pause.spread(busy_for),
        }
    }
}
