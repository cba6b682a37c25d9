//! One member's life: faults, ejection, trial, return.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, advance};

use crate::{
    config,
    pool::{Budgets, Member, Outcome, Pool, Rank, Standing, Why},
};

const SLOW_START: Duration = Duration::from_secs(10);

/// A pool of members m0, m1, ... with these weights.
pub(super) fn pool_of(weights: &[u32], settings: config::Pool) -> Pool {
    let now = Instant::now();
    let member = |(i, weight): (usize, &u32)| {
        Arc::new(Member::new(format!("m{i}").into(), None, *weight, now))
    };
    let members = weights.iter().enumerate().map(member).collect();
    let budgets = Arc::new(Budgets::new(&settings));
    Pool::new(members, settings, budgets, 7, now)
}

fn member(pool: &Pool, i: usize) -> Arc<Member> {
    Arc::clone(&pool.members()[i])
}

fn standing(pool: &Pool, i: usize) -> String {
    member(pool, i)
        .standing(Instant::now(), SLOW_START)
        .to_string()
}

async fn answered(pool: &Pool, i: usize, outcome: Outcome, took: Duration) {
    let attempt = member(pool, i).start(Instant::now());
    advance(took).await;
    pool.finish(attempt, outcome, Instant::now());
}

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn faults_in_a_row_eject_for_longer_each_time() {
    let pool = pool_of(&[1, 1, 1], config::Pool::default());
    for _ in 0..4 {
        answered(&pool, 0, Outcome::Fault, MS).await;
    }
    answered(&pool, 0, Outcome::Ok, MS).await;
    for _ in 0..4 {
        answered(&pool, 0, Outcome::Fault, MS).await;
    }
    assert_eq!(standing(&pool, 0), "ready");
    answered(&pool, 0, Outcome::Fault, MS).await;
    assert_eq!(
        standing(&pool, 0),
        "ejected for another 5.0s (consecutive_failures)"
    );
    advance(Duration::from_secs(5)).await;
    assert_eq!(standing(&pool, 0), "half_open");
    // The trial: one request, and no second one meanwhile.
    let trial = member(&pool, 0).start(Instant::now());
    let seat = member(&pool, 0).seat(Instant::now(), SLOW_START, None);
    assert_eq!(seat.rank, Rank::Out);
    pool.finish(trial, Outcome::Fault, Instant::now());
    assert_eq!(standing(&pool, 0), "ejected for another 10.0s (trial)");
    advance(Duration::from_secs(10)).await;
    answered(&pool, 0, Outcome::Ok, MS).await;
    assert_eq!(standing(&pool, 0), "slow_start 10%");
    advance(Duration::from_secs(5)).await;
    assert_eq!(standing(&pool, 0), "slow_start 50%");
    advance(Duration::from_secs(5)).await;
    assert_eq!(standing(&pool, 0), "ready");
    // It was well for longer than the last ejection: the row begins anew.
    advance(Duration::from_secs(1)).await;
    for _ in 0..5 {
        answered(&pool, 0, Outcome::Fault, MS).await;
    }
    assert!(standing(&pool, 0).starts_with("ejected for another 5.0s"));
    assert_eq!(pool.facts(Instant::now())[0].ejections, 3);
}

#[tokio::test(start_paused = true)]
async fn the_length_of_an_ejection_is_bounded() {
    let pool = pool_of(&[1, 1], config::Pool::default());
    let member = member(&pool, 0);
    let outlier = pool.settings().outlier;
    let mut last = Duration::ZERO;
    for _ in 0..40 {
        last = member.eject_in_turn(Why::Trial, &outlier, Instant::now());
    }
    assert_eq!(last, outlier.max_ejection);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_a_share_is_ejected_and_one_always_may() {
    let mut settings = config::Pool::default();
    settings.outlier.max_ejected_percent = 50;
    let out = |pool: &Pool| {
        let facts = pool.facts(Instant::now());
        let is_out = |s: &Standing| matches!(s, Standing::Ejected { .. });
        facts.iter().filter(|f| is_out(&f.standing)).count()
    };
    for (members, most) in [(1, 1), (2, 1), (3, 1), (4, 2), (7, 3)] {
        let pool = pool_of(&vec![1; members], settings.clone());
        for i in 0..members {
            for _ in 0..9 {
                answered(&pool, i, Outcome::Fault, MS).await;
            }
        }
        assert_eq!(out(&pool), most, "of {members}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_fails_more_than_the_others_is_ejected_and_not_when_all_do() {
    for (others_fail, ejected) in [(false, true), (true, false)] {
        let pool = pool_of(&[1, 1, 1], config::Pool::default());
        for round in 0..40 {
            let bad = match round % 4 {
                0 => Outcome::Fault,
                _ => Outcome::Ok,
            };
            answered(&pool, 0, bad, MS).await;
            for i in 1..3 {
                let outcome = if others_fail { bad } else { Outcome::Ok };
                answered(&pool, i, outcome, MS).await;
            }
        }
        let is_out = standing(&pool, 0) != "ready";
        assert_eq!(is_out, ejected, "others fail: {others_fail}");
        assert_eq!(standing(&pool, 1), "ready");
    }
}

#[tokio::test(start_paused = true)]
async fn who_hangs_is_ejected_within_two_seconds_and_before_it_answers() {
    let pool = pool_of(&[1, 1, 1], config::Pool::default());
    for _ in 0..20 {
        for i in 0..3 {
            answered(&pool, i, Outcome::Ok, MS).await;
        }
    }
    let hanging: Vec<_> = (0..3)
        .map(|_| member(&pool, 0).start(Instant::now()))
        .collect();
    for _ in 0..10 {
        advance(Duration::from_millis(110)).await;
        pool.judge(Instant::now());
    }
    assert!(
        standing(&pool, 0).ends_with("(latency)"),
        "{}",
        standing(&pool, 0)
    );
    drop(hanging);
    assert_eq!(pool.facts(Instant::now())[0].in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn one_large_request_ejects_nobody() {
    let pool = pool_of(&[1, 1, 1], config::Pool::default());
    for _ in 0..20 {
        for i in 0..3 {
            answered(&pool, i, Outcome::Ok, MS).await;
        }
    }
    let large = member(&pool, 0).start(Instant::now());
    for _ in 0..60 {
        advance(Duration::from_secs(1)).await;
        pool.judge(Instant::now());
    }
    assert_eq!(standing(&pool, 0), "ready");
    pool.finish(large, Outcome::Ok, Instant::now());
    assert_eq!(standing(&pool, 0), "ready");
}

#[tokio::test(start_paused = true)]
async fn answers_that_take_several_times_as_long_eject() {
    let pool = pool_of(&[1, 1, 1], config::Pool::default());
    for round in 0..30 {
        for i in 1..3 {
            answered(&pool, i, Outcome::Ok, MS).await;
        }
        if round > 9 && standing(&pool, 0) == "ready" {
            answered(&pool, 0, Outcome::Ok, Duration::from_millis(1_500)).await;
        }
    }
    assert!(standing(&pool, 0).ends_with("(latency)"));
    assert_eq!(standing(&pool, 1), "ready");
}

#[tokio::test(start_paused = true)]
async fn drains_downs_and_orders_of_an_operator() {
    let pool = pool_of(&[1, 1], config::Pool::default());
    let member = member(&pool, 0);
    member.drain();
    assert_eq!(standing(&pool, 0), "draining");
    member.undrain(Instant::now());
    assert_eq!(standing(&pool, 0), "slow_start 10%");
    member.set_up(false, Instant::now());
    assert_eq!(standing(&pool, 0), "down");
    advance(SLOW_START).await;
    member.set_up(true, Instant::now());
    assert_eq!(standing(&pool, 0), "slow_start 10%");
    member.eject(Duration::from_secs(60), Why::Operator, Instant::now());
    assert_eq!(standing(&pool, 0), "ejected for another 60.0s (operator)");
    member.probed(Instant::now());
    assert!(
        standing(&pool, 0).starts_with("ejected"),
        "a probe ends none"
    );
    advance(Duration::from_secs(61)).await;
    member.probed(Instant::now());
    assert_eq!(
        standing(&pool, 0),
        "slow_start 10%",
        "the probe was the trial"
    );
    member.eject(Duration::from_secs(60), Why::Operator, Instant::now());
    member.readmit(Instant::now());
    assert_eq!(standing(&pool, 0), "slow_start 10%");
}
