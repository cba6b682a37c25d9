//! The decision: (request, view) -> route. Pure: no clock, no lock, no I/O.

use std::{sync::Arc, time::Duration};

use crate::domain::{
    Error, Need, Resource, Result, Role, TableName,
    view::{ConnectionState, ConnectionView, Detour, Policy, Route},
};

/// What matters of a read for its route.
#[derive(Debug, Clone, Copy)]
pub struct ReadRequest<'a> {
    pub table: &'a TableName,
    /// Which read this is: each takes the next number.
    pub turn: u64,
    /// How fresh the answer must be.
    pub need: Need,
}

/// What to do with a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Send it there.
    Go(Route),
    /// There are replicas with the table, and none of them is fresh enough yet.
    Wait,
}

/// Whether a connection is up and has the table.
fn is_usable(c: &ConnectionView) -> bool {
    c.state == ConnectionState::Up && c.position.is_some()
}

/// Whether what a connection has of the table is fresh enough.
fn is_fresh(c: &ConnectionView, need: &Need) -> bool {
    c.position.is_some_and(|p| need.is_met_by(&p, c.as_of))
}

/// Chooses the connection for a read: the next usable replica in turn that is
/// fresh enough, the primary if no replica is usable at all. A replica is usable
/// if it is up and serves the table. `view[0]` is the primary.
pub fn choose(request: ReadRequest<'_>, view: &[ConnectionView]) -> Result<Decision> {
    let is_candidate =
        |c: &ConnectionView| c.role == Role::Replica && is_usable(c) && is_fresh(c, &request.need);
    let of = view.iter().filter(|c| is_candidate(c)).count();
    if of > 0 {
        // `of` fits: it is at most the number of connections.
        let position = (request.turn % of as u64) as usize;
        let mut candidates = view.iter().enumerate().filter(|(_, c)| is_candidate(c));
        if let Some((index, connection)) = candidates.nth(position) {
            let policy = Policy::RoundRobin {
                position: position + 1,
                of,
            };
            return Ok(Decision::Go(route(index, connection, policy)));
        }
    }
    if view.iter().any(|c| c.role == Role::Replica && is_usable(c)) {
        return Ok(Decision::Wait);
    }
    let policy = match view.iter().any(|c| c.role == Role::Replica) {
        true => Policy::NoUsableReplica,
        false => Policy::NoReplicas,
    };
    on_primary(request, view, policy).map(Decision::Go)
}

/// The primary, for a read that no replica may or can answer.
pub fn on_primary(
    request: ReadRequest<'_>,
    view: &[ConnectionView],
    policy: Policy,
) -> Result<Route> {
    let mut connections = view.iter().enumerate();
    match connections.find(|(_, c)| c.role == Role::Primary) {
        Some((index, primary)) if is_usable(primary) => {
            if is_fresh(primary, &request.need) {
                Ok(route(index, primary, policy))
            } else {
                Err(stale(request.table))
            }
        }
        Some((_, primary)) if primary.state == ConnectionState::Up => {
            Err(Error::not_found(Resource::Table, request.table.as_str()))
        }
        _ => Err(nobody(format!(
            "no connection that is up serves table '{}' as fresh as asked",
            request.table
        ))),
    }
}

/// What a read is told that nobody can answer fresh enough.
pub fn stale(table: &TableName) -> Error {
    Error::Unavailable {
        reason: "NOT_FRESH_ENOUGH",
        message: format!("no connection is as fresh for table '{table}' as asked"),
        retry_after: Duration::from_millis(200),
    }
}

/// The route of writes and table changes.
pub fn primary_only(view: &ConnectionView) -> Result<Route> {
    match view.state {
        ConnectionState::Up => Ok(route(0, view, Policy::PrimaryOnly)),
        ConnectionState::Connecting | ConnectionState::Down => Err(nobody(format!(
            "the primary connection '{}' is {}",
            view.name,
            view.state.as_str()
        ))),
    }
}

fn route(connection: usize, view: &ConnectionView, policy: Policy) -> Route {
    Route {
        connection,
        name: Arc::clone(&view.name),
        role: view.role,
        policy,
        detour: Detour::default(),
    }
}

fn nobody(message: String) -> Error {
    Error::Unavailable {
        reason: "NO_USABLE_CONNECTION",
        message,
        retry_after: Duration::from_secs(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Incarnation, Position};

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
            turn,
            need,
        };
        choose(request, view).map(|decision| match decision {
            Decision::Go(route) => route.to_string(),
            Decision::Wait => "wait".to_owned(),
        })
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
        let at_least = |version| Need {
            position: Some(at(version)),
            as_of: None,
        };
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
}
