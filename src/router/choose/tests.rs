//! Decisions, one by one.

use super::*;
use crate::{config::Method, domain::Incarnation};

fn ask(turn: u64) -> Ask {
    Ask {
        method: Method::RoundRobin,
        turn,
        roll: 0,
        may_try: true,
    }
}

fn at(version: u64) -> Position {
    Position {
        incarnation: Incarnation::UNKNOWN,
        version,
    }
}

fn connection(name: &str, role: Role, state: ConnectionState, version: u64) -> ConnectionView {
    ConnectionView {
        name: name.into(),
        role,
        state,
        position: (version > 0).then_some(at(version)),
        as_of: None,
        seat: Seat::READY,
    }
}

fn view(replicas: &[(ConnectionState, u64)]) -> Vec<ConnectionView> {
    let mut view = vec![connection("p", Role::Primary, ConnectionState::Up, 9)];
    for (i, (state, version)) in replicas.iter().enumerate() {
        view.push(connection(
            &format!("r{i}"),
            Role::Replica,
            *state,
            *version,
        ));
    }
    view
}

fn chosen(view: &[ConnectionView], turn: u64) -> Result<String> {
    chosen_with(view, turn, Need::NOTHING)
}

fn chosen_with(view: &[ConnectionView], turn: u64, need: Need) -> Result<String> {
    let table = TableName::parse("t").unwrap();
    let request = ReadRequest {
        table: &table,
        ask: ask(turn),
        need,
    };
    choose(request, view).map(told)
}

fn told(decision: Decision) -> String {
    let name = |route: Option<Route>| route.map_or("nobody".into(), |r| r.to_string());
    match decision {
        Decision::Go(route) => route.to_string(),
        Decision::Wait => "wait".to_owned(),
        Decision::Resort { primary, replica } => {
            format!("{} or {}", name(primary), name(replica))
        }
    }
}

/// Where a read goes next that failed on these.
fn chosen_again(view: &[ConnectionView], need: Need, tried: &[usize]) -> String {
    let table = TableName::parse("t").unwrap();
    let request = ReadRequest {
        table: &table,
        ask: ask(0),
        need,
    };
    told(choose_again(request, view, tried))
}

fn at_least(version: u64) -> Need {
    Need {
        position: Some(at(version)),
        as_of: None,
    }
}

const UP: ConnectionState = ConnectionState::Up;
const DOWN: ConnectionState = ConnectionState::Down;

#[test]
fn three_replicas_are_read_in_turn() {
    let view = view(&[(UP, 9), (UP, 8), (UP, 9)]);
    let mut count = [0; 3];
    for turn in 0..3000 {
        let chosen = chosen(&view, turn).unwrap();
        count[(0..3).find(|i| chosen.contains(&format!("r{i} "))).unwrap()] += 1;
    }
    assert_eq!(count, [1000, 1000, 1000]);
    assert_eq!(chosen(&view, 4).unwrap(), "round_robin(r1 2/3)");
}

#[test]
fn replicas_that_are_down_or_lack_the_table_are_passed_over() {
    let view = view(&[(DOWN, 9), (UP, 0), (UP, 9)]);
    for turn in 0..4 {
        assert_eq!(chosen(&view, turn).unwrap(), "round_robin(r2 1/1)");
    }
}

#[test]
fn the_primary_answers_where_no_replica_can() {
    assert_eq!(chosen(&view(&[]), 0).unwrap(), "no_replicas(p)");
    assert_eq!(
        chosen(&view(&[(DOWN, 9), (UP, 0)]), 0).unwrap(),
        "no_usable_replica(p)"
    );
}

#[test]
fn with_the_primary_gone_replicas_answer_and_unknown_tables_are_unavailable() {
    let mut both = view(&[(UP, 9)]);
    both[0].state = DOWN;
    assert_eq!(chosen(&both, 7).unwrap(), "round_robin(r0 1/1)");
    both[1].position = None;
    assert!(matches!(chosen(&both, 0), Err(Error::Unavailable { .. })));
    both[0].state = UP;
    both[0].position = None;
    assert!(matches!(chosen(&both, 0), Err(Error::NotFound { .. })));
}

#[test]
fn only_replicas_that_are_fresh_enough_are_in_turn() {
    let view = view(&[(UP, 9), (UP, 7), (UP, 8)]);
    let turns = |need| -> Vec<String> {
        (0..3)
            .map(|turn| chosen_with(&view, turn, need).unwrap())
            .collect()
    };
    let two = ["r0 1/2", "r2 2/2", "r0 1/2"].map(|r| format!("round_robin({r})"));
    assert_eq!(turns(at_least(8)), two);
    assert_eq!(turns(at_least(9)), ["round_robin(r0 1/1)"; 3]);
    assert_eq!(turns(at_least(10)), ["wait"; 3]);
    let other = Need {
        position: Some(Position {
            incarnation: Incarnation::fresh(),
            version: 1,
        }),
        as_of: None,
    };
    assert_eq!(turns(other), ["wait"; 3], "another table of the same name");
}

#[test]
fn the_primary_is_never_read_staler_than_asked() {
    let need = Need {
        position: Some(at(10)),
        as_of: None,
    };
    let outcome = chosen_with(&view(&[]), 0, need);
    assert!(matches!(outcome, Err(Error::Unavailable { .. })));
    assert!(chosen_with(&view(&[(DOWN, 9)]), 0, need).is_err());
}

#[test]
fn writes_need_the_primary() {
    let mut view = view(&[(UP, 9)]);
    assert_eq!(
        primary_only(&view[0]).unwrap().to_string(),
        "primary_only(p)"
    );
    view[0].state = DOWN;
    assert!(primary_only(&view[0]).is_err());
}
#[test]
fn who_is_out_of_rotation_is_the_last_resort_but_never_too_stale() {
    let mut view = view(&[(UP, 9), (UP, 8)]);
    view[1].seat.rank = Rank::Out;
    assert_eq!(chosen(&view, 0).unwrap(), "round_robin(r1 1/1)");
    let need = at_least(9);
    assert_eq!(
        chosen_with(&view, 0, need).unwrap(),
        "no_healthy_replica(p) or fail_safe(r0)"
    );
    view[0].state = DOWN;
    assert_eq!(
        chosen_with(&view, 0, need).unwrap(),
        "nobody or fail_safe(r0)"
    );
    assert_eq!(chosen_with(&view, 0, at_least(10)).unwrap(), "wait");
}

#[test]
fn a_retry_goes_elsewhere_and_is_as_fresh() {
    let view = view(&[(UP, 9), (UP, 7), (UP, 9)]);
    assert_eq!(
        chosen_again(&view, at_least(8), &[1]),
        "round_robin(r2 1/1)"
    );
    assert_eq!(
        chosen_again(&view, at_least(8), &[1, 3]),
        "no_healthy_replica(p) or nobody"
    );
    assert_eq!(
        chosen_again(&view, at_least(8), &[1, 3, 0]),
        "nobody or nobody"
    );
}

#[test]
fn a_hedge_is_of_the_very_same_version() {
    let mut view = view(&[(UP, 9), (UP, 8), (UP, 9), (UP, 9)]);
    view[4].seat.rank = Rank::Out;
    let table = TableName::parse("t").unwrap();
    let request = ReadRequest {
        table: &table,
        ask: ask(5),
        need: Need::NOTHING,
    };
    let beside = |tried: &[usize]| {
        choose_beside(request, &view, tried, &at(9)).map(|route| route.to_string())
    };
    assert_eq!(beside(&[1]).as_deref(), Some("round_robin(r2 1/1)"));
    assert_eq!(beside(&[1, 3]), None);
}

#[test]
fn the_route_says_weights_and_zones() {
    let mut view = view(&[(UP, 9), (UP, 9)]);
    view[1].seat.weight = 300;
    assert_eq!(chosen(&view, 0).unwrap(), "round_robin(r0 weight 3/4)");
    view[1].seat.rank = Rank::Out;
    view[2].seat.tier = 1;
    assert_eq!(chosen(&view, 0).unwrap(), "round_robin(r1 1/1 other_zone)");
}
