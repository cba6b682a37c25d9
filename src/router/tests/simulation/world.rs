//! Connections that are made up, what happens to them, and what must hold.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

use crate::{
    config,
    domain::{
        Incarnation, Need, Position, Role, TableName,
        view::{ConnectionState, Detour, Policy, Route},
    },
    pool::{
        Ask, Budgets, Course, Member, Pool, Seat, Standing, Verdict,
        tests::clock::{self, now, sleep},
        walk,
    },
    router::choose::{
        ConnectionView, Decision, ReadRequest, choose, choose_again, choose_beside, on_primary,
    },
};

/// A way in which the router is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    Nothing,
    /// A retry takes whatever another replica has.
    StaleRetries,
    /// Who is ejected is picked like everybody else.
    BlindToEjection,
    /// The budget of retries has no end.
    Spendthrift,
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }
}

/// How a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    Fails { percent: u64 },
    Slow { ms: u64 },
    Hangs,
}

#[derive(Debug, Clone, Copy)]
struct Fake {
    version: u64,
    state: ConnectionState,
    mood: Mood,
    failed_probes: u32,
}

/// A run.
struct World {
    broken: Broken,
    /// One replica at a time has trouble, and there are retries enough: then no read
    /// may fail.
    gentle: bool,
    table: TableName,
    names: Vec<Arc<str>>,
    members: Vec<Arc<Member>>,
    pool: Pool,
    settings: config::Pool,
    spilled: Semaphore,
    spills: usize,
    state: Mutex<State>,
    began: Instant,
}

struct State {
    dice: Dice,
    /// The primary, then the replicas.
    fakes: Vec<Fake>,
    requests: u64,
    retries: u64,
    hedges: u64,
    faults: Vec<String>,
}

/// Where an attempt goes.
struct Place<'a> {
    route: Route,
    version: u64,
    _permit: Option<SemaphorePermit<'a>>,
}

/// One read.
struct Read<'a> {
    world: &'a World,
    ask: Ask,
    need: Need,
    seen: Mutex<Vec<usize>>,
}

const CLIENTS: usize = 6;
const READS: usize = 12;
const PATIENCE: Duration = Duration::from_secs(8);

/// Runs one seed. Answers what went wrong.
pub fn run(seed: u64, broken: Broken) -> Vec<String> {
    clock::run(async {
        let world = World::new(seed, broken);
        let clients = futures::future::join_all((0..CLIENTS).map(|_| world.client()));
        tokio::select! {
            biased;
            _ = clients => {}
            () = world.nature() => {}
            () = world.probes() => {}
            () = world.judge() => {}
        }
        for facts in world.pool.facts(now()) {
            if facts.in_flight != 0 {
                world.fault(format!("{} has attempts left: {facts:?}", facts.name));
            }
        }
        if world.spilled.available_permits() != world.spills {
            world.fault("a permit was lost".into());
        }
        std::mem::take(&mut world.state().faults)
    })
}

impl World {
    fn new(seed: u64, broken: Broken) -> Self {
        let mut dice = Dice(seed);
        let gentle = dice.below(3) == 0;
        let replicas = 3 + dice.below(3) as usize;
        let mut settings = config::Pool::default();
        settings.retries.min_per_second = if gentle { 1_000 } else { 2 };
        settings.hedging.enabled = dice.below(2) == 0;
        settings.balance.method = match dice.below(3) {
            0 => config::Method::LeastRequest,
            1 => config::Method::P2cPeakEwma,
            _ => config::Method::RoundRobin,
        };
        settings.balance.zone = (dice.below(2) == 0).then(|| "a".to_owned());
        let now = now();
        let members: Vec<_> = (0..replicas)
            .map(|i| {
                let zone = if dice.below(3) == 0 { "b" } else { "a" };
                let weight = 1 + dice.below(3) as u32;
                Arc::new(Member::new(
                    format!("r{i}").into(),
                    Some(zone.into()),
                    weight,
                    now,
                ))
            })
            .collect();
        let mut spent = settings.clone();
        if broken == Broken::Spendthrift {
            spent.retries.min_per_second = 1_000_000;
        }
        let budgets = Arc::new(Budgets::new(&spent));
        let spills = if gentle { CLIENTS * 4 } else { 2 };
        let names = std::iter::once("p".into());
        let names = names.chain(members.iter().map(|m| Arc::clone(m.name())));
        let fake = Fake {
            version: 10,
            state: ConnectionState::Up,
            mood: Mood::Well,
            failed_probes: 0,
        };
        World {
            broken,
            gentle,
            table: TableName::parse("t").unwrap(),
            names: names.collect(),
            pool: Pool::new(members.clone(), settings.clone(), budgets, dice.roll(), now),
            members,
            settings,
            spilled: Semaphore::new(spills),
            spills,
            state: Mutex::new(State {
                dice,
                fakes: vec![fake; replicas + 1],
                requests: 0,
                retries: 0,
                hedges: 0,
                faults: Vec::new(),
            }),
            began: now,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn fault(&self, text: String) {
        self.state().faults.push(text);
    }

    fn below(&self, end: u64) -> u64 {
        self.state().dice.below(end)
    }

    /// What the router would know.
    fn view(&self) -> Vec<ConnectionView> {
        let now = now();
        let (slow_start, zone) = (
            self.settings.outlier.slow_start,
            self.settings.balance.zone.as_deref(),
        );
        let fakes = self.state().fakes.clone();
        let view = |(i, fake): (usize, &Fake)| ConnectionView {
            name: Arc::clone(&self.names[i]),
            role: if i == 0 { Role::Primary } else { Role::Replica },
            state: fake.state,
            position: Some(at(fake.version)),
            as_of: None,
            seat: match i.checked_sub(1) {
                Some(i) if self.broken != Broken::BlindToEjection => {
                    self.members[i].seat(now, slow_start, zone)
                }
                _ => Seat::READY,
            },
        };
        fakes.iter().enumerate().map(view).collect()
    }

    async fn client(&self) {
        for _ in 0..READS {
            sleep(Duration::from_millis(self.below(150))).await;
            self.state().requests += 1;
            let behind = self.below(4);
            let newest = self.state().fakes[0].version;
            let need = Need {
                position: (behind > 0).then(|| at(newest - behind)),
                as_of: None,
            };
            let read = Read {
                world: self,
                ask: self.pool.ask(),
                need,
                seen: Mutex::default(),
            };
            let deadline = now() + PATIENCE;
            let answer = async {
                let first = read.first().await?;
                let walked = walk(&self.pool, &read, first, Some(deadline)).await;
                walked.outcome.ok()
            };
            // What takes longer is dropped, as a client's deadline does it.
            let answer = tokio::select! {
                biased;
                answer = answer => answer,
                () = sleep(PATIENCE) => None,
            };
            match answer {
                Some(version) if need.position.is_some_and(|p| version < p.version) => {
                    self.fault(format!("{version} is staler than {need:?}"));
                }
                Some(_) => {}
                None if self.gentle => {
                    let seen = read.seen.lock().unwrap().clone();
                    self.fault(format!("a read failed at {seen:?} by {:?}", self.view()));
                }
                None => {}
            }
        }
    }

    /// Things happen to the connections.
    async fn nature(&self) {
        loop {
            sleep(Duration::from_millis(20 + self.below(200))).await;
            let mut state = self.state();
            let replica = 1 + state.dice.below(self.members.len() as u64) as usize;
            match state.dice.below(10) {
                0..4 => state.fakes[0].version += 1,
                4..7 => {
                    // A copy arrives.
                    let newest = state.fakes[0].version;
                    state.fakes[replica].version = newest;
                }
                7 if !self.gentle => self.order(&mut state, replica),
                _ => {
                    if self.gentle {
                        state.fakes.iter_mut().for_each(|f| f.mood = Mood::Well);
                    }
                    // The primary, too, where it may.
                    let first = u64::from(self.gentle);
                    let who = first + state.dice.below(self.members.len() as u64 + 1 - first);
                    state.fakes[who as usize].mood = match state.dice.below(5) {
                        0 => Mood::Hangs,
                        1 => Mood::Slow {
                            ms: 10 + state.dice.below(3_000),
                        },
                        2 => Mood::Fails { percent: 100 },
                        3 => Mood::Fails {
                            percent: state.dice.below(100),
                        },
                        _ => Mood::Well,
                    };
                }
            }
        }
    }

    /// An operator does something.
    fn order(&self, state: &mut State, replica: usize) {
        let member = &self.members[replica - 1];
        match state.dice.below(3) {
            0 => member.drain(),
            1 => member.undrain(now()),
            _ => member.set_weight(1 + state.dice.below(5) as u32),
        }
    }

    /// The task that watches the connections.
    async fn probes(&self) {
        loop {
            sleep(Duration::from_millis(500)).await;
            let (mut state, now) = (self.state(), now());
            for (i, fake) in state.fakes.iter_mut().enumerate() {
                let bad = matches!(fake.mood, Mood::Hangs | Mood::Fails { percent: 100 });
                fake.failed_probes = if bad { fake.failed_probes + 1 } else { 0 };
                fake.state = match fake.failed_probes {
                    0..2 => ConnectionState::Up,
                    _ => ConnectionState::Down,
                };
                let Some(member) = i.checked_sub(1).map(|i| &self.members[i]) else {
                    continue;
                };
                member.set_up(fake.state == ConnectionState::Up, now);
                if !bad {
                    member.probed(now);
                }
            }
        }
    }

    /// The task that compares the members, and what must hold at any time.
    async fn judge(&self) {
        loop {
            sleep(Duration::from_millis(250)).await;
            self.pool.judge(now());
            let facts = self.pool.facts(now());
            let out = |s: &Standing| matches!(s, Standing::Ejected { .. });
            let ejected = facts.iter().filter(|f| out(&f.standing)).count();
            if ejected > (self.members.len() / 2).max(1) {
                self.fault(format!("{ejected} are ejected: {facts:?}"));
            }
            let running: u32 = facts.iter().map(|f| f.in_flight).sum();
            if running as usize > 2 * CLIENTS {
                self.fault(format!("{running} attempts of {CLIENTS} reads"));
            }
        }
    }

    /// Retries and hedges so far are within what so many requests and so much time
    /// allow.
    fn check_budgets(&self, state: &mut State) {
        let (retries, hedging) = (self.settings.retries, self.settings.hedging);
        let percent = |p: u32| state.requests as f64 * f64::from(p) / 100.0;
        let seconds = (now() - self.began).as_secs_f64() + 1.0;
        let floor = f64::from(retries.min_per_second) * seconds;
        let (may_retry, may_hedge) = (
            percent(retries.budget_percent) + floor,
            percent(hedging.budget_percent),
        );
        if state.retries as f64 > may_retry + 1e-6 {
            let text = format!("{} retries, {may_retry} may be", state.retries);
            state.faults.push(text);
        }
        if state.hedges as f64 > may_hedge + 1e-6 {
            let text = format!("{} hedges, {may_hedge} may be", state.hedges);
            state.faults.push(text);
        }
    }
}

fn at(version: u64) -> Position {
    Position {
        incarnation: Incarnation::UNKNOWN,
        version,
    }
}

impl<'a> Read<'a> {
    fn request(&self) -> ReadRequest<'a> {
        ReadRequest {
            table: &self.world.table,
            ask: self.ask,
            need: self.need,
        }
    }

    fn place(&self, route: Route, permit: Option<SemaphorePermit<'a>>) -> Place<'a> {
        Place {
            version: self.world.state().fakes[route.connection].version,
            route,
            _permit: permit,
        }
    }

    fn taken(&self, decision: Decision) -> Option<Place<'a>> {
        match decision {
            Decision::Wait => None,
            Decision::Go(route) => Some(self.place(route, None)),
            Decision::Resort { primary, replica } => {
                if let Some(route) = primary
                    && let Ok(permit) = self.world.spilled.try_acquire()
                {
                    return Some(self.place(route, Some(permit)));
                }
                replica.map(|route| self.place(route, None))
            }
        }
    }

    /// As the router does it: at once, or after waiting for a copy, or the primary.
    async fn first(&self) -> Option<Place<'a>> {
        let until = now() + Duration::from_millis(300);
        loop {
            let view = self.world.view();
            let decision = choose(self.request(), &view).ok()?;
            if let Some(place) = self.taken(decision) {
                self.check_first(&place.route);
                return Some(place);
            }
            if now() >= until {
                let route = on_primary(self.request(), &view, Policy::Spilled).ok()?;
                let permit = self.world.spilled.try_acquire().ok()?;
                return Some(self.place(route, Some(permit)));
            }
            sleep(Duration::from_millis(25)).await;
        }
    }

    /// Nobody who is out of rotation is the first choice while somebody in rotation
    /// qualifies, and nobody far away while somebody near does.
    fn check_first(&self, route: &Route) {
        let (world, now) = (self.world, now());
        let slow_start = world.settings.outlier.slow_start;
        let fakes = world.state().fakes.clone();
        let here = world.settings.balance.zone.as_deref();
        let is_near = |i: usize| here.is_none() || world.members[i].zone().as_deref() == here;
        let qualifies = |i: &usize| {
            let fake = fakes[i + 1];
            let standing = world.members[*i].standing(now, slow_start);
            fake.state == ConnectionState::Up
                && self.need.is_met_by(&at(fake.version), None)
                && matches!(standing, Standing::Ready | Standing::SlowStart { .. })
        };
        let healthy: Vec<usize> = (0..world.members.len()).filter(qualifies).collect();
        let Some(chosen) = route.connection.checked_sub(1) else {
            if !healthy.is_empty() {
                world.fault(format!(
                    "{route} is an unhealthy first choice of {healthy:?}"
                ));
            }
            return;
        };
        let standing = world.members[chosen].standing(now, slow_start);
        if standing == Standing::HalfOpen && route.policy == Policy::Trial {
            return;
        }
        if !healthy.is_empty() && !healthy.contains(&chosen) {
            world.fault(format!(
                "{route} ({standing}) is an unhealthy first choice of {healthy:?}"
            ));
        }
        if healthy.iter().any(|i| is_near(*i)) && !is_near(chosen) {
            world.fault(format!("{route} is far away"));
        }
    }
}

fn indexes(before: &[Place<'_>], last: &Place<'_>) -> Vec<usize> {
    let all = before.iter().chain([last]);
    all.map(|place| place.route.connection).collect()
}

impl<'a> Course for Read<'a> {
    type Place = Place<'a>;
    type Answer = u64;
    type Error = ();

    fn member<'b>(&'b self, place: &'b Place<'a>) -> Option<&'b Arc<Member>> {
        let replica = place.route.connection.checked_sub(1)?;
        self.world.members.get(replica)
    }

    async fn run(&self, place: &Place<'a>, detour: Detour) -> Result<u64, ()> {
        let (world, index) = (self.world, place.route.connection);
        {
            let mut seen = self.seen.lock().unwrap();
            if seen.contains(&index) {
                world.fault(format!("{index} was tried twice: {seen:?}"));
            }
            seen.push(index);
            if seen.len() > world.settings.retries.max_attempts as usize {
                world.fault(format!("too many attempts: {seen:?}"));
            }
            let mut state = world.state();
            match detour.hedge {
                true => state.hedges += 1,
                false => state.retries += u64::from(detour.retry > 0),
            }
            world.check_budgets(&mut state);
        }
        sleep(Duration::from_millis(1 + world.below(5))).await;
        loop {
            let (mood, roll) = {
                let mut state = world.state();
                (state.fakes[index].mood, state.dice.below(100))
            };
            match mood {
                Mood::Well => return Ok(place.version),
                Mood::Fails { percent } if roll < percent => return Err(()),
                Mood::Fails { .. } => return Ok(place.version),
                Mood::Slow { ms } => {
                    sleep(Duration::from_millis(ms)).await;
                    return Ok(place.version);
                }
                Mood::Hangs => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn verdict(&self, (): &()) -> Verdict {
        Verdict::FAULT
    }

    async fn retry(&self, before: &[Place<'a>], last: &Place<'a>) -> Option<Place<'a>> {
        let mut request = self.request();
        if self.world.broken == Broken::StaleRetries {
            request.need = Need::NOTHING;
        }
        let view = self.world.view();
        self.taken(choose_again(request, &view, &indexes(before, last)))
    }

    fn hedge(&self, before: &[Place<'a>], running: &Place<'a>) -> Option<Place<'a>> {
        let tried = indexes(before, running);
        let view = self.world.view();
        let route = choose_beside(self.request(), &view, &tried, &at(running.version))?;
        Some(self.place(route, None))
    }
}
