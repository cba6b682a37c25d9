//! Which member is next.

use super::members::pool_of;
use crate::{
    config::{self, Method},
    domain::view::Policy,
    pool::{Ask, Rank, Seat, fail_safe, pick},
};

fn ask(method: Method, turn: u64) -> Ask {
    Ask {
        method,
        turn,
        roll: turn.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        may_try: true,
    }
}

fn seats(seats: &[Seat]) -> impl Iterator<Item = (usize, Seat)> + Clone {
    seats.iter().copied().enumerate()
}

fn weighing(weight: u32) -> Seat {
    Seat {
        weight: weight * 100,
        ..Seat::READY
    }
}

#[test]
fn equal_weights_are_taken_in_turn() {
    let field = [weighing(2), weighing(2), weighing(2)];
    let mut counts = [0; 3];
    for turn in 0..3_000 {
        counts[pick(seats(&field), ask(Method::RoundRobin, turn))
            .unwrap()
            .index] += 1;
    }
    assert_eq!(counts, [1_000; 3]);
    let picked = pick(seats(&field), ask(Method::RoundRobin, 4)).unwrap();
    assert_eq!(picked.policy, Policy::RoundRobin { position: 2, of: 3 });
}

#[test]
fn weights_are_exact_and_smooth() {
    let weights: [&[u32]; 5] = [&[5, 1, 1], &[3, 2], &[1, 7, 3, 10], &[1, 1000], &[2, 2, 1]];
    for weights in weights {
        let field: Vec<Seat> = weights.iter().map(|w| weighing(*w)).collect();
        let all: u32 = weights.iter().sum();
        let mut counts = vec![0_u32; weights.len()];
        for turn in 0..u64::from(all) {
            let picked = pick(seats(&field), ask(Method::RoundRobin, turn)).unwrap();
            counts[picked.index] += 1;
            // At any time nobody is more than one turn from its share.
            for (count, weight) in counts.iter().zip(weights) {
                let share = f64::from(*weight) * (turn + 1) as f64 / f64::from(all);
                assert!(
                    (f64::from(*count) - share).abs() <= 1.0,
                    "{weights:?} {turn} {counts:?}"
                );
            }
        }
        assert_eq!(counts, weights, "after one round");
    }
    let field = [weighing(2), weighing(3)];
    let picked = pick(seats(&field), ask(Method::RoundRobin, 0)).unwrap();
    assert_eq!(picked.policy, Policy::Weighted { weight: 3, of: 5 });
}

#[test]
fn the_nearest_tier_answers_alone_while_it_has_anybody() {
    let far = Seat {
        tier: 1,
        ..Seat::READY
    };
    let out = Seat {
        rank: Rank::Out,
        ..Seat::READY
    };
    for turn in 0..9 {
        let near = pick(
            seats(&[far, Seat::READY, far]),
            ask(Method::RoundRobin, turn),
        )
        .unwrap();
        assert_eq!((near.index, near.other_zone), (1, false));
        let other = pick(seats(&[far, out, out]), ask(Method::RoundRobin, turn)).unwrap();
        assert_eq!((other.index, other.other_zone), (0, true));
    }
}

#[test]
fn who_is_out_of_rotation_is_not_picked_and_a_trial_is_one_read() {
    let with = |rank| Seat {
        rank,
        ..Seat::READY
    };
    for rank in [Rank::Out, Rank::Draining, Rank::Down] {
        for method in [
            Method::RoundRobin,
            Method::LeastRequest,
            Method::P2cPeakEwma,
        ] {
            for turn in 0..20 {
                let picked = pick(seats(&[with(rank), Seat::READY]), ask(method, turn)).unwrap();
                assert_eq!(picked.index, 1, "{rank:?} {method:?}");
            }
            assert_eq!(pick(seats(&[with(rank)]), ask(method, 0)), None);
        }
    }
    let field = [Seat::READY, with(Rank::Trial)];
    let first = pick(seats(&field), ask(Method::RoundRobin, 0)).unwrap();
    assert_eq!((first.index, first.policy), (1, Policy::Trial));
    let retry = Ask {
        may_try: false,
        ..ask(Method::RoundRobin, 1)
    };
    assert_eq!(pick(seats(&field), retry).unwrap().index, 0);
}

#[test]
fn the_least_bad_is_tried_rather_than_nobody() {
    let with = |rank| Seat {
        rank,
        ..Seat::READY
    };
    let field = [
        with(Rank::Down),
        with(Rank::Out),
        with(Rank::Draining),
        with(Rank::Trial),
    ];
    let picked: Vec<_> = (0..4)
        .map(|turn| fail_safe(seats(&field), turn).unwrap().index)
        .collect();
    assert_eq!(picked, [1, 3, 1, 3]);
    assert_eq!(fail_safe(seats(&field[..1]), 0).unwrap().index, 0);
    assert_eq!(fail_safe(seats(&[]), 0), None);
}

#[test]
fn least_request_goes_by_what_runs_and_weights() {
    let with = |in_flight, weight| Seat {
        in_flight,
        ..weighing(weight)
    };
    let chosen = |field: &[Seat], turn| {
        let picked = pick(seats(field), ask(Method::LeastRequest, turn)).unwrap();
        assert_eq!(picked.policy, Policy::LeastRequest);
        picked.index
    };
    assert_eq!(chosen(&[with(3, 1), with(2, 1), with(4, 1)], 0), 1);
    assert_eq!(chosen(&[with(3, 4), with(2, 1)], 0), 0);
    let even = [with(1, 1); 3];
    let turns: Vec<_> = (0..3).map(|turn| chosen(&even, turn)).collect();
    assert_eq!(turns, [0, 1, 2], "ties are broken in turn");
}

#[test]
fn of_two_the_one_that_answers_sooner() {
    let with = |latency, in_flight| Seat {
        latency,
        in_flight,
        ..Seat::READY
    };
    let share = |field: &[Seat], of: usize| {
        let picked = (0..1_000).map(|turn| {
            let picked = pick(seats(field), ask(Method::P2cPeakEwma, turn)).unwrap();
            usize::from(picked.index == of)
        });
        picked.sum::<usize>()
    };
    // Of two the slow one is never better; of three it is never among the best.
    assert_eq!(share(&[with(9, 0), with(1, 0)], 0), 0);
    assert_eq!(share(&[with(9, 0), with(1, 0), with(1, 0)], 0), 0);
    assert_eq!(share(&[with(2, 9), with(9, 0), with(9, 0)], 0), 0);
    // One of whom nothing is known gets its part.
    let unknown = share(&[with(0, 0), with(5, 0), with(5, 0)], 0);
    assert!((200..800).contains(&unknown), "{unknown}");
}

#[test]
fn a_pool_picks_among_those_that_are_eligible() {
    let pool = pool_of(&[1, 1, 1], config::Pool::default());
    let now = tokio::time::Instant::now();
    let mut counts = [0; 3];
    for _ in 0..300 {
        let pick = pool.pick(pool.ask(), now, |m| &**m.name() != "m1").unwrap();
        counts[pick.picked.index] += 1;
    }
    assert_eq!(counts, [150, 0, 150]);
    assert!(pool.pick(pool.ask(), now, |_| false).is_none());
}
