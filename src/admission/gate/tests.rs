//! The gate, one rule at a time.

mod simulation;

use std::collections::BTreeMap;

use super::*;
pub(super) use simulation::Broken;

/// A queue of 10, 1 s of waiting, and no limit but the hard one.
fn settings() -> Admission {
    Admission {
        adaptive: false,
        min_concurrent_requests: 1,
        initial_concurrent_requests: 1,
        latency_tolerance: 2.0,
        max_queued: 10,
        max_wait: Duration::from_secs(1),
        newest_first_after: Duration::from_millis(500),
        max_answer_bytes: 1 << 30,
    }
}

fn client(n: u8) -> Client {
    Client::of(Some([10, 0, 0, n].into()))
}

fn ask(lane: Lane, who: u8) -> Ask {
    Ask {
        lane,
        client: client(who),
        deadline: None,
    }
}

/// A gate with what has come of it.
struct Scene {
    gate: Gate<&'static str>,
    told: Told<&'static str>,
    now: Instant,
}

impl Scene {
    fn new(settings: Admission, max: usize) -> Self {
        let now = Instant::now();
        Self {
            gate: Gate::new(settings, max, 1, now),
            told: Vec::new(),
            now,
        }
    }

    fn arrive(&mut self, name: &'static str, ask: Ask) -> Arrival {
        self.gate.arrive(ask, || name, self.now, &mut self.told)
    }

    /// One that is worked on ends.
    fn leave(&mut self, kind: Kind, took: Duration) {
        let left = Left {
            kind,
            took: Some(took),
            signal: None,
        };
        self.gate.leave(left, self.now, &mut self.told);
    }

    /// Who was told to go since the last time.
    fn gone(&mut self) -> Vec<&'static str> {
        let told = self.told.drain(..);
        told.filter(|(_, word)| word.is_ok())
            .map(|(who, _)| who)
            .collect()
    }

    fn refused(&mut self) -> Vec<(&'static str, Why)> {
        let told = self.told.drain(..);
        told.filter_map(|(who, word)| Some((who, word.err()?.why)))
            .collect()
    }
}

fn why(arrival: Arrival) -> Option<Why> {
    match arrival {
        Arrival::Refused(refusal) => Some(refusal.why),
        _ => None,
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_operator_goes_first_then_who_waits_for_it_then_batches() {
    let mut scene = Scene::new(settings(), 1);
    assert_eq!(scene.arrive("first", ask(Lane::Read, 1)), Arrival::Go);
    for (name, lane) in [
        ("batch", Lane::BatchRead),
        ("import", Lane::Lasting),
        ("read", Lane::Read),
        ("batch import", Lane::BatchLasting),
        ("admin", Lane::Admin),
    ] {
        assert!(matches!(
            scene.arrive(name, ask(lane, 1)),
            Arrival::Wait(..)
        ));
    }
    let mut order = Vec::new();
    let mut kind = Kind::Read;
    for _ in 0..5 {
        scene.leave(kind, Duration::ZERO);
        let gone = scene.gone();
        kind = match gone[..] {
            ["admin"] => Kind::Admin,
            ["import" | "batch import"] => Kind::Lasting,
            _ => Kind::Read,
        };
        order.extend(gone);
    }
    assert_eq!(order, ["admin", "read", "import", "batch", "batch import"]);
}

#[test]
fn a_steady_client_is_served_beside_one_that_floods() {
    let mut scene = Scene::new(settings(), 1);
    scene.arrive("first", ask(Lane::Read, 1));
    for _ in 0..9 {
        scene.arrive("flood", ask(Lane::Read, 1));
    }
    let (mut served, mut steady) = (Vec::new(), 0);
    for _ in 0..20 {
        // The steady one has one request at a time, and the flood fills the queue.
        if steady == 0 {
            assert!(matches!(
                scene.arrive("steady", ask(Lane::Read, 2)),
                Arrival::Wait(..)
            ));
            steady = 1;
        }
        scene.arrive("flood", ask(Lane::Read, 1));
        scene.leave(Kind::Read, Duration::ZERO);
        for name in scene.gone() {
            steady -= usize::from(name == "steady");
            served.push(name);
        }
    }
    let of_steady = served.iter().filter(|name| **name == "steady").count();
    assert_eq!((served.len(), of_steady), (20, 10), "{served:?}");
}

#[test]
fn a_full_queue_has_room_for_whoever_has_less_in_it() {
    let mut scene = Scene::new(
        Admission {
            max_queued: 3,
            ..settings()
        },
        1,
    );
    scene.arrive("first", ask(Lane::Read, 1));
    for name in ["flood 1", "flood 2", "flood 3"] {
        scene.arrive(name, ask(Lane::Read, 1));
    }
    assert_eq!(
        why(scene.arrive("flood 4", ask(Lane::Read, 1))),
        Some(Why::QueueFull)
    );
    assert!(matches!(
        scene.arrive("steady", ask(Lane::Read, 2)),
        Arrival::Wait(..)
    ));
    assert_eq!(scene.refused(), [("flood 3", Why::QueueFull)]);
    // Two and one: nobody has more than its part.
    assert_eq!(
        why(scene.arrive("steady 2", ask(Lane::Read, 2))),
        Some(Why::QueueFull)
    );
    assert_eq!(
        why(scene.arrive("batch", ask(Lane::BatchRead, 3))),
        Some(Why::QueueFull)
    );
    // What is not bounded together waits apart.
    assert!(matches!(
        scene.arrive("admin", ask(Lane::Admin, 1)),
        Arrival::Wait(..)
    ));
    assert!(matches!(
        scene.arrive("import", ask(Lane::Lasting, 1)),
        Arrival::Wait(..)
    ));
    assert_eq!(scene.gate.facts().waiting, 5);
}

#[test]
fn a_batch_makes_room_for_who_waits_for_an_answer() {
    let mut scene = Scene::new(
        Admission {
            max_queued: 1,
            ..settings()
        },
        1,
    );
    scene.arrive("first", ask(Lane::Read, 1));
    scene.arrive("batch", ask(Lane::BatchRead, 1));
    assert!(matches!(
        scene.arrive("read", ask(Lane::Read, 1)),
        Arrival::Wait(..)
    ));
    assert_eq!(scene.refused(), [("batch", Why::QueueFull)]);
}

#[test]
fn what_lasts_leaves_room_for_reads() {
    let mut scene = Scene::new(settings(), 8);
    for _ in 0..6 {
        assert_eq!(scene.arrive("stream", ask(Lane::Lasting, 1)), Arrival::Go);
    }
    assert!(matches!(
        scene.arrive("stream", ask(Lane::Lasting, 1)),
        Arrival::Wait(..)
    ));
    assert_eq!(scene.arrive("read", ask(Lane::Read, 1)), Arrival::Go);
    assert_eq!(scene.arrive("admin", ask(Lane::Admin, 1)), Arrival::Go);
    // The hard limit holds for everybody.
    assert!(matches!(
        scene.arrive("admin 2", ask(Lane::Admin, 1)),
        Arrival::Wait(..)
    ));
}

#[test]
fn what_would_wait_for_too_long_is_refused_at_once() {
    let mut scene = Scene::new(settings(), 1);
    // Reads take 400 ms, as far as is known.
    scene.arrive("first", ask(Lane::Read, 1));
    scene.leave(Kind::Read, Duration::from_millis(400));
    scene.arrive("second", ask(Lane::Read, 1));
    for _ in 0..2 {
        assert!(matches!(
            scene.arrive("read", ask(Lane::Read, 1)),
            Arrival::Wait(..)
        ));
    }
    let refused = scene.arrive("third in line", ask(Lane::Read, 1));
    assert_eq!(why(refused), Some(Why::TooLong));
    // Told when those who wait will have begun: 1.2 s, give or take a half.
    let Arrival::Refused(refusal) = refused else {
        unreachable!()
    };
    let pause = refusal.retry_after.as_millis();
    assert!((600..=1_800).contains(&pause), "{pause}");
    // Others have their own line, and go in between.
    assert!(matches!(
        scene.arrive("another", ask(Lane::Read, 2)),
        Arrival::Wait(..)
    ));
}

#[test]
fn what_comes_too_late_is_not_begun() {
    let mut scene = Scene::new(settings(), 1);
    let by = |scene: &Scene, millis| Ask {
        deadline: Some(scene.now + Duration::from_millis(millis)),
        ..ask(Lane::Read, 1)
    };
    let asked = by(&scene, 0);
    assert_eq!(why(scene.arrive("passed", asked)), Some(Why::Deadline));
    scene.arrive("first", ask(Lane::Read, 1));
    scene.leave(Kind::Read, Duration::from_millis(400));
    scene.arrive("second", ask(Lane::Read, 1));
    // Its turn comes in about 400 ms.
    let (sure, perhaps) = (by(&scene, 100), by(&scene, 300));
    assert_eq!(
        why(scene.arrive("surely too late", sure)),
        Some(Why::Deadline)
    );
    assert!(matches!(
        scene.arrive("perhaps", perhaps),
        Arrival::Wait(..)
    ));
    // The turn comes after that deadline: another one goes.
    scene.arrive("next", ask(Lane::Read, 1));
    scene.now += Duration::from_millis(450);
    scene.leave(Kind::Read, Duration::from_millis(450));
    let told: Vec<_> = scene
        .told
        .drain(..)
        .map(|(who, w)| (who, w.is_ok()))
        .collect();
    assert_eq!(told, [("perhaps", false), ("next", true)]);
}

#[test]
fn a_wait_ends_with_the_longest_time_or_the_deadline() {
    let mut scene = Scene::new(settings(), 1);
    scene.arrive("first", ask(Lane::Read, 1));
    let soon = Ask {
        deadline: Some(scene.now + SECOND / 2),
        ..ask(Lane::Read, 1)
    };
    let Arrival::Wait(one, until) = scene.arrive("read", ask(Lane::Read, 1)) else {
        panic!()
    };
    assert_eq!(until, scene.now + SECOND);
    let Arrival::Wait(two, sooner) = scene.arrive("soon", soon) else {
        panic!()
    };
    assert_eq!(sooner, scene.now + SECOND / 2);
    scene.now += SECOND;
    let why = |refusal: Option<Refusal>| refusal.map(|r| r.why);
    assert_eq!(why(scene.gate.time_out(one, scene.now)), Some(Why::Waited));
    assert_eq!(
        why(scene.gate.time_out(two, scene.now)),
        Some(Why::Deadline)
    );
    assert_eq!(why(scene.gate.time_out(two, scene.now)), None);
}

#[test]
fn higher_limits_let_in_those_who_wait() {
    let mut scene = Scene::new(settings(), 1);
    scene.arrive("first", ask(Lane::Read, 1));
    scene.arrive("second", ask(Lane::Read, 1));
    scene.arrive("third", ask(Lane::Read, 1));
    scene.gate.set(settings(), 2, scene.now, &mut scene.told);
    assert_eq!(scene.gone(), ["second"]);
    scene.gate.set(settings(), 9, scene.now, &mut scene.told);
    assert_eq!(scene.gone(), ["third"]);
}

/// Machines of which each read takes the time of two cores: twice as many reads
/// take twice as long. The load comes from many callers that do not wait for one
/// another, at three times what can be done, and then at seven tenths of it.
#[test]
fn under_overload_the_work_goes_on_and_afterwards_everything_is_answered() {
    let adaptive = Admission {
        adaptive: true,
        min_concurrent_requests: 4,
        initial_concurrent_requests: 16,
        max_queued: 200,
        ..settings()
    };
    let mut machine = Machine::new(adaptive, 256);
    let usual = machine.run(10, 0.7);
    assert_eq!(usual.refused, 0, "{usual:?}");
    let over = machine.run(30, 3.0);
    assert!(over.done >= usual.done * 3, "{over:?} beside {usual:?}");
    assert!(over.refused > over.done, "{over:?}");
    assert!(over.most <= 40, "{over:?}");
    machine.run(5, 0.7);
    let after = machine.run(10, 0.7);
    assert_eq!(after.refused, 0, "{after:?}");
    assert!(
        after.done * 100 >= usual.done * 95,
        "{after:?} beside {usual:?}"
    );
}

/// What happened in a while.
#[derive(Debug, Default)]
struct Tally {
    done: usize,
    refused: usize,
    /// Most reads at once.
    most: usize,
}

/// Reads of 10 ms on two cores that share themselves among all that run.
struct Machine {
    gate: Gate<u64>,
    now: Instant,
    /// Work left of each read, and when it began.
    running: Vec<(Duration, Instant)>,
    waiting: BTreeMap<Instant, Vec<Place>>,
    owed: f64,
    next: u64,
}

const CORES: f64 = 2.0;
const READ: Duration = Duration::from_millis(10);
const TICK: Duration = Duration::from_millis(1);

impl Machine {
    fn new(settings: Admission, max: usize) -> Self {
        let now = Instant::now();
        Self {
            gate: Gate::new(settings, max, 3, now),
            now,
            running: Vec::new(),
            waiting: BTreeMap::new(),
            owed: 0.0,
            next: 0,
        }
    }

    fn run(&mut self, seconds: u64, load: f64) -> Tally {
        let mut tally = Tally::default();
        for _ in 0..seconds * 1_000 {
            self.now += TICK;
            self.owed += load * CORES * TICK.as_secs_f64() / READ.as_secs_f64();
            while self.owed >= 1.0 {
                self.owed -= 1.0;
                self.arrive(&mut tally);
            }
            self.time_out(&mut tally);
            self.work(&mut tally);
            tally.most = tally.most.max(self.running.len());
        }
        tally
    }

    fn arrive(&mut self, tally: &mut Tally) {
        self.next += 1;
        let (mut told, id) = (Vec::new(), self.next);
        let asked = ask(Lane::Read, (id % 7) as u8);
        match self.gate.arrive(asked, || id, self.now, &mut told) {
            Arrival::Go => self.running.push((READ, self.now)),
            Arrival::Wait(place, until) => self.waiting.entry(until).or_default().push(place),
            Arrival::Refused(_) => tally.refused += 1,
        }
        self.tell(told, tally);
    }

    fn tell(&mut self, told: Told<u64>, tally: &mut Tally) {
        for (_, word) in told {
            match word {
                Ok(()) => self.running.push((READ, self.now)),
                Err(_) => tally.refused += 1,
            }
        }
    }

    fn time_out(&mut self, tally: &mut Tally) {
        while let Some(entry) = self.waiting.first_entry()
            && *entry.key() <= self.now
        {
            for place in entry.remove() {
                let late = self.gate.time_out(place, self.now);
                tally.refused += usize::from(late.is_some());
            }
        }
    }

    fn work(&mut self, tally: &mut Tally) {
        let part = (CORES / self.running.len().max(1) as f64).min(1.0);
        for (left, _) in &mut self.running {
            *left = left.saturating_sub(TICK.mul_f64(part));
        }
        let over: Vec<_> = self
            .running
            .extract_if(.., |(left, _)| left.is_zero())
            .collect();
        for (_, began) in over {
            tally.done += 1;
            let left = Left {
                kind: Kind::Read,
                took: Some(self.now - began),
                signal: Signal::new(0),
            };
            let mut told = Vec::new();
            self.gate.leave(left, self.now, &mut told);
            self.tell(told, tally);
        }
    }
}
