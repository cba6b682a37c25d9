//! A thousand seeded days at the gate: requests of all kinds come, go, give up and
//! run out of time, and what must always hold is looked at after each event.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;

const SEEDS: u64 = 1_000;
const EVENTS: usize = 300;

/// Ways in which a gate can be broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::admission::gate) enum Broken {
    WakesNobody,
    IgnoresTheBound,
}

/// What one who waits is, as the world outside of the gate sees it.
struct Outside {
    ask: Ask,
    place: Place,
    since: Instant,
    until: Instant,
}

struct World {
    seed: u64,
    rng: StdRng,
    gate: Gate<u64>,
    now: Instant,
    max: usize,
    next: u64,
    waiting: BTreeMap<u64, Outside>,
    /// Kinds of the requests being worked on, and since when.
    working: Vec<(Kind, Instant)>,
    settled: BTreeSet<u64>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let max = rng.random_range(1..12);
        let settings = Admission {
            adaptive: rng.random_bool(0.7),
            min_concurrent_requests: 1,
            initial_concurrent_requests: rng.random_range(1..12),
            max_queued: rng.random_range(0..20),
            max_wait: Duration::from_millis(rng.random_range(1..400)),
            newest_first_after: Duration::from_millis(rng.random_range(0..200)),
            ..settings()
        };
        let now = Instant::now();
        Self {
            seed,
            rng,
            gate: Gate::new(settings, max, seed, now),
            now,
            max,
            next: 0,
            waiting: BTreeMap::new(),
            working: Vec::new(),
            settled: BTreeSet::new(),
        }
    }

    fn event(&mut self) {
        match self.rng.random_range(0..10) {
            0..5 => self.arrive(),
            5..8 => self.leave(),
            8 => self.give_up(),
            _ => self.pass_time(),
        }
        self.check();
    }

    fn arrive(&mut self) {
        let (now, id) = (self.now, self.next);
        self.next += 1;
        let lane = Lane::IN_ORDER[self.rng.random_range(0..Lane::IN_ORDER.len())];
        // One client sends most of it.
        let host = if self.rng.random_bool(0.7) {
            1
        } else {
            self.rng.random_range(2..6)
        };
        let millis = self.rng.random_range(0..500);
        let deadline = self
            .rng
            .random_bool(0.5)
            .then(|| now + Duration::from_millis(millis));
        let ask = Ask {
            lane,
            client: Client::of(Some([10, 0, 0, host].into())),
            deadline,
        };
        let mut told = Vec::new();
        let arrival = self.gate.arrive(ask, || id, now, &mut told);
        self.settle(told);
        match arrival {
            Arrival::Go => self.begin(lane),
            Arrival::Wait(place, until) => {
                let since = now;
                let waiter = Outside {
                    ask,
                    place,
                    since,
                    until,
                };
                self.waiting.insert(id, waiter);
            }
            Arrival::Refused(refusal) => {
                let late = deadline.is_some_and(|d| d <= now);
                assert!(!late || refusal.why == Why::Deadline, "seed {}", self.seed);
                assert!(refusal.retry_after > Duration::ZERO);
            }
        }
    }

    fn begin(&mut self, lane: Lane) {
        self.working.push((lane.kind(), self.now));
        let kind = lane.kind();
        let facts = self.gate.facts();
        let reads = self.working(Kind::Read);
        assert!(
            self.working.len() <= self.max,
            "seed {}: {facts:?}",
            self.seed
        );
        assert!(
            kind != Kind::Read || reads <= facts.limit,
            "seed {}",
            self.seed
        );
    }

    fn working(&self, kind: Kind) -> usize {
        self.working.iter().filter(|(k, _)| *k == kind).count()
    }

    fn leave(&mut self) {
        if self.working.is_empty() {
            return;
        }
        let i = self.rng.random_range(0..self.working.len());
        let (kind, began) = self.working.swap_remove(i);
        let is_signal = kind == Kind::Read && self.rng.random_bool(0.8);
        let left = Left {
            kind,
            took: self.rng.random_bool(0.9).then(|| self.now - began),
            signal: is_signal.then(|| Signal::new(0).unwrap()),
        };
        let mut told = Vec::new();
        self.gate.leave(left, self.now, &mut told);
        self.settle(told);
    }

    fn give_up(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let i = self.rng.random_range(0..self.waiting.len());
        let id = *self.waiting.keys().nth(i).unwrap();
        let waiter = self.waiting.remove(&id).unwrap();
        assert!(self.gate.give_up(waiter.place), "seed {}", self.seed);
        assert!(!self.gate.give_up(waiter.place), "seed {}", self.seed);
    }

    /// Time passes; those whose time is over find out.
    fn pass_time(&mut self) {
        self.now += Duration::from_millis(self.rng.random_range(0..100));
        let over = self.waiting.extract_if(.., |_, w| w.until <= self.now);
        for (id, waiter) in over.collect::<Vec<_>>() {
            let refusal = self.gate.time_out(waiter.place, self.now);
            let refusal = refusal.expect("it was not told");
            let late = waiter.ask.deadline.is_some_and(|d| d <= self.now);
            assert_eq!(refusal.why == Why::Deadline, late, "seed {}", self.seed);
            assert!(self.settled.insert(id));
        }
    }

    fn settle(&mut self, told: Told<u64>) {
        for (id, word) in told {
            assert!(self.settled.insert(id), "seed {}: {id} twice", self.seed);
            let waiter = self.waiting.remove(&id).expect("it waits");
            if word.is_err() {
                continue;
            }
            let lane = waiter.ask.lane;
            assert!(waiter.until > self.now, "seed {}: too late", self.seed);
            // Nobody who is more important is left behind.
            let before = self.waiting.values().filter(|w| {
                let same_bound = lane.kind() == w.ask.lane.kind() || w.ask.lane == Lane::Admin;
                same_bound && w.ask.lane.index() < lane.index() && w.until > self.now
            });
            assert_eq!(before.count(), 0, "seed {}: {lane:?}", self.seed);
            self.begin(lane);
        }
    }

    fn check(&self) {
        let facts = self.gate.facts();
        assert_eq!(facts.in_flight, self.working.len(), "seed {}", self.seed);
        assert_eq!(facts.waiting, self.waiting.len(), "seed {}", self.seed);
        for kind in Kind::ALL {
            let waiting = self.waiting.values().filter(|w| w.ask.lane.kind() == kind);
            let waiting = waiting.count();
            assert!(
                waiting <= self.gate.settings.max_queued,
                "seed {}",
                self.seed
            );
            // Nobody waits where there is room.
            let bound = match kind {
                Kind::Admin => self.max,
                Kind::Read => facts.limit,
                Kind::Lasting => self.max - self.max / 4,
            };
            let room = self.working.len() < self.max && self.working(kind) < bound;
            assert!(
                !room || waiting == 0,
                "seed {}: {kind:?} could go",
                self.seed
            );
        }
    }

    /// Everything ends, and then nothing is left.
    fn end(&mut self) {
        let most = self.waiting.len() + self.working.len();
        for _ in 0..=most {
            self.leave();
            self.check();
        }
        assert_eq!(
            self.waiting.len(),
            0,
            "seed {}: nobody woke them",
            self.seed
        );
        assert_eq!(self.gate.facts().in_flight, 0, "seed {}", self.seed);
        for waiter in self.waiting.values() {
            assert!(waiter.since <= self.now);
        }
    }
}

#[test]
fn a_thousand_seeds() {
    let only = std::env::var("ADMISSION_SEED").ok();
    let seeds = match only.and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..SEEDS,
    };
    println!("seeds {seeds:?}; one of them alone: ADMISSION_SEED=n");
    for seed in seeds {
        let mut world = World::new(seed);
        for _ in 0..EVENTS {
            world.event();
        }
        world.end();
    }
}

/// Each of these is found, or the simulation would show nothing.
#[test]
fn a_broken_gate_is_found() {
    for broken in [Broken::WakesNobody, Broken::IgnoresTheBound] {
        let run = |seed| {
            let mut world = World::new(seed);
            world.gate.broken = Some(broken);
            (0..EVENTS).for_each(|_| world.event());
            world.end();
        };
        let found = (0..20).filter(|seed| std::panic::catch_unwind(|| run(*seed)).is_err());
        assert!(found.count() >= 15, "{broken:?}");
    }
}

/// The same calls give the same answers.
#[test]
fn a_seed_is_a_run() {
    let run = |seed| {
        let mut world = World::new(seed);
        (0..EVENTS).for_each(|_| world.event());
        (world.settled, world.gate.facts())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).0, run(8).0);
}
