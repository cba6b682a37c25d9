//! One member's life: faults, ejection, trial, return.

use std::{sync::Arc, time::Duration};

use super::clock::{now, run, sleep};
use crate::{
    config,
    pool::{Budgets, Member, Outcome, Pool, Rank, Standing, Why},
    telemetry::metrics,
};

const SLOW_START: Duration = Duration::from_secs(10);

/// A pool of members m0, m1, ... with these weights.
pub(super) fn pool_of(weights: &[u32], settings: config::Pool) -> Pool {
    let now = now();
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
    member(pool, i).standing(now(), SLOW_START).to_string()
}

async fn answered(pool: &Pool, i: usize, outcome: Outcome, took: Duration) {
    let attempt = member(pool, i).start(now());
    sleep(took).await;
    pool.finish(attempt, outcome, now());
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn an_ejection_is_counted_under_the_label_and_not_under_the_name() {
    run(async {
        let recorder = metrics::install(4).unwrap();
        let now = now();
        let member = |name: &str| {
            let member = Member::new(name.into(), None, 1, now);
            Arc::new(member.measured_as("members-label".into()))
        };
        let settings = config::Pool::default();
        let budgets = Arc::new(Budgets::new(&settings));
        let members = vec![
            member("members-label@10.0.0.1:1"),
            member("members-label@b:2"),
        ];
        let pool = Pool::new(members, settings, budgets, 7, now);
        for _ in 0..5 {
            answered(&pool, 0, Outcome::Fault, MS).await;
        }
        assert!(standing(&pool, 0).starts_with("ejected"));
        let text = recorder.render();
        let labels = "{connection=\"members-label\",reason=\"consecutive_failures\"} 1";
        assert!(text.contains(labels), "{text}");
        assert!(!text.contains("members-label@"), "{text}");
    });
}

#[test]
fn faults_in_a_row_eject_for_longer_each_time() {
    run(async {
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
        sleep(Duration::from_secs(5)).await;
        assert_eq!(standing(&pool, 0), "half_open");
        // The trial: one request, and no second one meanwhile.
        let trial = member(&pool, 0).start(now());
        let seat = member(&pool, 0).seat(now(), SLOW_START, None);
        assert_eq!(seat.rank, Rank::Out);
        pool.finish(trial, Outcome::Fault, now());
        assert_eq!(standing(&pool, 0), "ejected for another 10.0s (trial)");
        sleep(Duration::from_secs(10)).await;
        answered(&pool, 0, Outcome::Ok, MS).await;
        assert_eq!(standing(&pool, 0), "slow_start 10%");
        sleep(Duration::from_secs(5)).await;
        assert_eq!(standing(&pool, 0), "slow_start 50%");
        sleep(Duration::from_secs(5)).await;
        assert_eq!(standing(&pool, 0), "ready");
        // It was well for longer than the last ejection: the row begins anew.
        sleep(Duration::from_secs(1)).await;
        for _ in 0..5 {
            answered(&pool, 0, Outcome::Fault, MS).await;
        }
        assert!(standing(&pool, 0).starts_with("ejected for another 5.0s"));
        assert_eq!(pool.facts(now())[0].ejections, 3);
    });
}

#[test]
fn the_length_of_an_ejection_is_bounded() {
    run(async {
        let pool = pool_of(&[1, 1], config::Pool::default());
        let member = member(&pool, 0);
        let outlier = pool.settings().outlier;
        let mut last = Duration::ZERO;
        for _ in 0..40 {
            last = member.eject_in_turn(Why::Trial, &outlier, now());
        }
        assert_eq!(last, outlier.max_ejection);
    });
}

#[test]
fn no_more_than_a_share_is_ejected_and_one_always_may() {
    run(async {
        let mut settings = config::Pool::default();
        settings.outlier.max_ejected_percent = 50;
        let out = |pool: &Pool| {
            let facts = pool.facts(now());
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
    });
}

#[test]
fn who_fails_more_than_the_others_is_ejected_and_not_when_all_do() {
    run(async {
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
    });
}

#[test]
fn who_hangs_is_ejected_within_two_seconds_and_before_it_answers() {
    run(async {
        let pool = pool_of(&[1, 1, 1], config::Pool::default());
        for _ in 0..20 {
            for i in 0..3 {
                answered(&pool, i, Outcome::Ok, MS).await;
            }
        }
        let hanging: Vec<_> = (0..3).map(|_| member(&pool, 0).start(now())).collect();
        for _ in 0..10 {
            sleep(Duration::from_millis(110)).await;
            pool.judge(now());
        }
        assert!(
            standing(&pool, 0).ends_with("(latency)"),
            "{}",
            standing(&pool, 0)
        );
        drop(hanging);
        assert_eq!(pool.facts(now())[0].in_flight, 0);
    });
}

#[test]
fn a_trial_that_hangs_has_failed() {
    run(async {
        let pool = pool_of(&[1, 1], config::Pool::default());
        answered(&pool, 1, Outcome::Ok, MS).await;
        member(&pool, 0).eject(Duration::from_secs(1), Why::Latency, now());
        sleep(Duration::from_secs(2)).await;
        let trial = member(&pool, 0).start(now());
        sleep(Duration::from_millis(900)).await;
        pool.judge(now());
        assert_eq!(standing(&pool, 0), "half_open");
        sleep(Duration::from_millis(200)).await;
        pool.judge(now());
        assert_eq!(standing(&pool, 0), "ejected for another 5.0s (trial)");
        drop(trial);
        assert!(standing(&pool, 0).starts_with("ejected"));
    });
}

#[test]
fn one_large_request_ejects_nobody() {
    run(async {
        let pool = pool_of(&[1, 1, 1], config::Pool::default());
        for _ in 0..20 {
            for i in 0..3 {
                answered(&pool, i, Outcome::Ok, MS).await;
            }
        }
        let large = member(&pool, 0).start(now());
        for _ in 0..60 {
            sleep(Duration::from_secs(1)).await;
            pool.judge(now());
        }
        assert_eq!(standing(&pool, 0), "ready");
        pool.finish(large, Outcome::Ok, now());
        assert_eq!(standing(&pool, 0), "ready");
    });
}

#[test]
fn answers_that_take_several_times_as_long_eject() {
    run(async {
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
    });
}

#[test]
fn drains_downs_and_orders_of_an_operator() {
    run(async {
        let pool = pool_of(&[1, 1], config::Pool::default());
        let member = member(&pool, 0);
        member.drain();
        assert_eq!(standing(&pool, 0), "draining");
        member.undrain(now());
        assert_eq!(standing(&pool, 0), "slow_start 10%");
        member.set_up(false, now());
        assert_eq!(standing(&pool, 0), "down");
        sleep(SLOW_START).await;
        member.set_up(true, now());
        assert_eq!(standing(&pool, 0), "slow_start 10%");
        member.eject(Duration::from_secs(60), Why::Operator, now());
        assert_eq!(standing(&pool, 0), "ejected for another 60.0s (operator)");
        member.probed(now());
        assert!(
            standing(&pool, 0).starts_with("ejected"),
            "a probe ends none"
        );
        sleep(Duration::from_secs(61)).await;
        member.probed(now());
        assert_eq!(
            standing(&pool, 0),
            "slow_start 10%",
            "the probe was the trial"
        );
        member.eject(Duration::from_secs(60), Why::Operator, now());
        member.readmit(now());
        assert_eq!(standing(&pool, 0), "slow_start 10%");
    });
}
