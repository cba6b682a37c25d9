//! Walks over members that do what a test says.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    clock::{now, run, sleep},
    members::pool_of,
};
use crate::{
    config,
    domain::view::Detour,
    pool::{Course, Member, Outcome, Pool, Standing, Verdict, Why, walk},
};

/// What a member does with a read.
#[derive(Clone, Copy)]
enum Does {
    Answer(u64),
    Fail(u64),
    /// Refuses, and wants to be left alone for so long.
    Push(u64),
    /// The request is at fault.
    Blame,
}

#[derive(Debug, PartialEq)]
enum Failed {
    Fault,
    Pushed(Duration),
    Request,
}

struct Script<'a> {
    pool: &'a Pool,
    does: Vec<Does>,
    same_again: bool,
    /// Where it may go without a budget.
    resort: Option<usize>,
    ran: Mutex<Vec<(usize, Detour)>>,
    /// How many attempts came to their end.
    ended: Mutex<Vec<usize>>,
    members: Vec<Arc<Member>>,
}

impl<'a> Script<'a> {
    fn new(pool: &'a Pool, does: &[Does]) -> Self {
        Self {
            pool,
            does: does.to_vec(),
            same_again: false,
            resort: None,
            ran: Mutex::default(),
            ended: Mutex::default(),
            members: pool.members().iter().cloned().collect(),
        }
    }

    fn places(&self) -> Vec<usize> {
        self.ran.lock().unwrap().iter().map(|(i, _)| *i).collect()
    }

    fn next(&self, before: &[usize], last: usize) -> Option<usize> {
        (0..self.does.len()).find(|i| *i != last && !before.contains(i))
    }

    async fn walk(&self, deadline: Option<Instant>) -> (Result<usize, Failed>, u32) {
        let walked = walk(self.pool, self, 0, deadline).await;
        (walked.outcome, walked.attempts)
    }
}

impl Course for Script<'_> {
    type Place = usize;
    type Answer = usize;
    type Error = Failed;

    fn member<'b>(&'b self, place: &'b usize) -> Option<&'b Arc<Member>> {
        self.members.get(*place)
    }

    async fn run(&self, place: &usize, detour: Detour) -> Result<usize, Failed> {
        self.ran.lock().unwrap().push((*place, detour));
        let (after, outcome) = match self.does[*place] {
            Does::Answer(ms) => (ms, Ok(*place)),
            Does::Fail(ms) => (ms, Err(Failed::Fault)),
            Does::Push(ms) => (0, Err(Failed::Pushed(Duration::from_millis(ms)))),
            Does::Blame => (0, Err(Failed::Request)),
        };
        sleep(Duration::from_millis(after)).await;
        self.ended.lock().unwrap().push(*place);
        outcome
    }

    fn verdict(&self, error: &Failed) -> Verdict {
        match error {
            Failed::Fault => Verdict::FAULT,
            Failed::Request => Verdict::FINAL,
            Failed::Pushed(pushback) => Verdict {
                outcome: Outcome::Shed,
                retry: true,
                pushback: *pushback,
            },
        }
    }

    async fn retry(&self, before: &[usize], last: &usize) -> Option<usize> {
        self.next(before, *last)
    }

    fn again(&self, _: &[usize], last: &usize) -> Option<usize> {
        self.same_again.then_some(*last)
    }

    fn last_resort(&self, before: &[usize], last: &usize) -> Option<usize> {
        let resort = self.resort?;
        (resort != *last && !before.contains(&resort)).then_some(resort)
    }

    fn hedge(&self, before: &[usize], running: &usize) -> Option<usize> {
        self.next(before, *running)
    }
}

fn settings(change: impl FnOnce(&mut config::Pool)) -> config::Pool {
    let mut settings = config::Pool::default();
    change(&mut settings);
    settings
}

use Does::{Answer, Blame, Fail, Push};

#[test]
fn a_fault_is_hidden_by_another_member() {
    run(async {
        let pool = pool_of(&[1, 1, 1], settings(|_| {}));
        let script = Script::new(&pool, &[Fail(1), Fail(1), Answer(1)]);
        assert_eq!(script.walk(None).await, (Ok(2), 3));
        assert_eq!(script.places(), [0, 1, 2]);
        let facts = pool.facts(now());
        let faults: Vec<_> = facts.iter().map(|f| (f.attempts, f.faults)).collect();
        assert_eq!(faults, [(1, 1), (1, 1), (1, 0)]);
        assert!(facts.iter().all(|f| f.in_flight == 0));
    });
}

#[test]
fn attempts_are_bounded_and_never_twice_of_one_member() {
    run(async {
        let pool = pool_of(&[1, 1, 1, 1], settings(|_| {}));
        let script = Script::new(&pool, &[Fail(1), Fail(1), Fail(1), Answer(1)]);
        assert_eq!(script.walk(None).await, (Err(Failed::Fault), 3));
        let script = Script::new(&pool, &[Fail(1), Fail(1)]);
        assert_eq!(script.walk(None).await, (Err(Failed::Fault), 2));
        assert_eq!(script.places(), [0, 1]);
    });
}

#[test]
fn a_fault_of_the_request_is_told_at_once() {
    run(async {
        let pool = pool_of(&[1, 1], settings(|_| {}));
        let script = Script::new(&pool, &[Blame, Answer(1)]);
        assert_eq!(script.walk(None).await, (Err(Failed::Request), 1));
        assert_eq!(pool.facts(now())[0].faults, 0);
    });
}

#[test]
fn without_budget_there_is_no_retry() {
    run(async {
        let pool = pool_of(
            &[1, 1],
            settings(|s| (s.retries.budget_percent, s.retries.min_per_second) = (20, 0)),
        );
        let mut attempts = 0;
        for _ in 0..100 {
            let script = Script::new(&pool, &[Fail(0), Answer(0)]);
            attempts += script.walk(None).await.1;
        }
        assert_eq!(attempts, 120, "a fifth of the reads is retried");
    });
}

#[test]
fn what_bounds_itself_is_asked_without_a_budget_but_not_more_often_or_later() {
    run(async {
        let broke = |most| {
            settings(move |s| {
                (s.retries.budget_percent, s.retries.min_per_second) = (0, 0);
                s.retries.max_attempts = most;
            })
        };
        let does = [Fail(10), Answer(1), Answer(1)];
        for (most, resort, expected, places) in [
            (3, Some(2), (Ok(2), 2), &[0, 2][..]),
            (3, None, (Err(Failed::Fault), 1), &[0]),
            (1, Some(2), (Err(Failed::Fault), 1), &[0]),
        ] {
            let pool = pool_of(&[1, 1, 1], broke(most));
            let script = Script {
                resort,
                ..Script::new(&pool, &does)
            };
            assert_eq!(script.walk(None).await, expected);
            assert_eq!(script.places(), places);
        }
        let pool = pool_of(&[1, 1, 1], broke(3));
        let script = Script {
            resort: Some(2),
            ..Script::new(&pool, &does)
        };
        let deadline = now() + Duration::from_millis(10);
        assert_eq!(script.walk(Some(deadline)).await, (Err(Failed::Fault), 1));
        // A resort that fails is the end.
        let pool = pool_of(&[1, 1, 1], broke(9));
        let script = Script {
            resort: Some(2),
            ..Script::new(&pool, &[Fail(1), Fail(1), Fail(1)])
        };
        assert_eq!(script.walk(None).await, (Err(Failed::Fault), 2));
    });
}

#[test]
fn after_the_deadline_there_is_no_retry() {
    run(async {
        let pool = pool_of(&[1, 1], settings(|_| {}));
        let script = Script::new(&pool, &[Fail(50), Answer(1)]);
        let deadline = now() + Duration::from_millis(50);
        assert_eq!(script.walk(Some(deadline)).await, (Err(Failed::Fault), 1));
    });
}

#[test]
fn a_pushback_is_for_the_member_that_sent_it() {
    run(async {
        let pool = pool_of(&[1, 1], settings(|_| {}));
        let began = now();
        let script = Script::new(&pool, &[Push(500), Answer(0)]);
        assert_eq!(script.walk(None).await, (Ok(1), 2));
        assert!((now() - began) < Duration::from_millis(100), "at once");

        // The only one: asked again, but not before.
        let mut script = Script::new(&pool, &[Push(500)]);
        script.same_again = true;
        let began = now();
        let pushed = Err(Failed::Pushed(Duration::from_millis(500)));
        assert_eq!(script.walk(None).await, (pushed, 3));
        assert_eq!((now() - began), Duration::from_millis(1_000));
        let soon = now() + Duration::from_millis(400);
        let (_, attempts) = script.walk(Some(soon)).await;
        assert_eq!(attempts, 1, "there is no time to wait for it");
        assert_eq!(pool.facts(now())[0].faults, 0);
    });
}

#[test]
fn a_read_leaves_a_member_that_is_ejected_or_goes_down() {
    run(async {
        for down in [true, false] {
            let pool = pool_of(&[1, 1], settings(|_| {}));
            let script = Script::new(&pool, &[Answer(30_000), Answer(1)]);
            let member = Arc::clone(&pool.members()[0]);
            let began = now();
            let trouble = async {
                sleep(Duration::from_millis(500)).await;
                match down {
                    true => member.set_up(false, now()),
                    false => member.eject(Duration::from_secs(9), Why::Operator, now()),
                }
            };
            let (outcome, ()) = tokio::join!(script.walk(None), trouble);
            assert_eq!(outcome, (Ok(1), 2));
            assert!((now() - began) < Duration::from_secs(1));
            assert_eq!(*script.ended.lock().unwrap(), [1], "the first was dropped");
        }
    });
}

#[test]
fn where_there_is_nobody_else_a_read_stays() {
    run(async {
        let pool = pool_of(&[1], settings(|_| {}));
        let script = Script::new(&pool, &[Answer(3_000)]);
        let member = Arc::clone(&pool.members()[0]);
        let trouble = async {
            sleep(Duration::from_millis(500)).await;
            member.set_up(false, now());
        };
        let (outcome, ()) = tokio::join!(script.walk(None), trouble);
        assert_eq!(outcome, (Ok(0), 1));
    });
}

fn hedging(budget: u32) -> config::Pool {
    settings(|s| {
        s.hedging.enabled = true;
        s.hedging.budget_percent = budget;
        s.hedging.delay = Duration::from_millis(100);
    })
}

#[test]
fn a_hedge_that_is_faster_wins_and_the_loser_is_dropped() {
    run(async {
        let pool = pool_of(&[1, 1], hedging(100));
        let script = Script::new(&pool, &[Answer(9_000), Answer(50)]);
        let began = now();
        let walked = walk(&pool, &script, 0, None).await;
        assert_eq!((walked.place, walked.outcome), (1, Ok(1)));
        assert!(walked.detour.hedge);
        assert_eq!(walked.attempts, 2);
        assert_eq!((now() - began), Duration::from_millis(150));
        assert_eq!(*script.ended.lock().unwrap(), [1]);
        let facts = pool.facts(now());
        assert!(facts.iter().all(|f| f.in_flight == 0 && f.faults == 0));
    });
}

#[test]
fn a_hedge_that_fails_does_no_harm() {
    run(async {
        let pool = pool_of(&[1, 1], hedging(100));
        let script = Script::new(&pool, &[Answer(500), Fail(50)]);
        assert_eq!(script.walk(None).await, (Ok(0), 2));
        // Both fail: a third one is the retry.
        let pool = pool_of(&[1, 1, 1], hedging(100));
        let script = Script::new(&pool, &[Fail(500), Fail(50), Answer(1)]);
        assert_eq!(script.walk(None).await, (Ok(2), 3));
    });
}

#[test]
fn fast_reads_are_not_hedged_and_slow_ones_within_a_budget() {
    run(async {
        let pool = pool_of(&[1, 1], hedging(5));
        let script = Script::new(&pool, &[Answer(10), Answer(1)]);
        for _ in 0..40 {
            assert_eq!(script.walk(None).await.1, 1);
        }
        let script = Script::new(&pool, &[Answer(200), Answer(1)]);
        let mut hedges = 0;
        for _ in 0..60 {
            hedges += script.walk(None).await.1 - 1;
        }
        assert_eq!(hedges, 5, "a twentieth of a hundred reads");
        let standing = pool.facts(now())[0].standing;
        assert_eq!(standing, Standing::Ready);
    });
}
