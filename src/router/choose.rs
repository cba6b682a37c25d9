//! The decision: (request, view) -> route. Pure: no clock, no lock, no I/O.

use std::{sync::Arc, time::Duration};

use crate::domain::{
    Error, Resource, Result, Role, TableName,
    view::{ConnectionState, ConnectionView, Policy, Route},
};

/// What matters of a read for its route.
#[derive(Debug, Clone, Copy)]
pub struct ReadRequest<'a> {
    pub table: &'a TableName,
    /// Which read this is: each takes the next number.
    pub turn: u64,
}

/// Chooses the connection for a read: the next usable replica in turn, the
/// primary if there is none. A replica is usable if it is up and serves the
/// table. `view[0]` is the primary.
pub fn choose(request: ReadRequest<'_>, view: &[ConnectionView]) -> Result<Route> {
    let usable = |c: &ConnectionView| c.state == ConnectionState::Up && c.version.is_some();
    let of = view
        .iter()
        .filter(|c| c.role == Role::Replica && usable(c))
        .count();
    if of > 0 {
        // `of` fits: it is at most the number of connections.
        let position = (request.turn % of as u64) as usize;
        let chosen = view
            .iter()
            .enumerate()
            .filter(|(_, c)| c.role == Role::Replica && usable(c))
            .nth(position);
        if let Some((index, connection)) = chosen {
            let policy = Policy::RoundRobin {
                position: position + 1,
                of,
            };
            return Ok(route(index, connection, policy));
        }
    }
    let policy = match view.iter().any(|c| c.role == Role::Replica) {
        true => Policy::NoUsableReplica,
        false => Policy::NoReplicas,
    };
    match view
        .iter()
        .enumerate()
        .find(|(_, c)| c.role == Role::Primary)
    {
        Some((index, primary)) if usable(primary) => Ok(route(index, primary, policy)),
        Some((_, primary)) if primary.state == ConnectionState::Up => {
            Err(Error::not_found(Resource::Table, request.table.as_str()))
        }
        _ => Err(nobody(format!(
            "no connection that is up serves table '{}'",
            request.table
        ))),
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

    fn connection(name: &str, role: Role, state: ConnectionState, version: u64) -> ConnectionView {
        ConnectionView {
            name: name.into(),
            role,
            state,
            version: (version > 0).then_some(version),
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
        let table = TableName::parse("t").unwrap();
        let request = ReadRequest {
            table: &table,
            turn,
        };
        choose(request, view).map(|route| route.to_string())
    }

    const UP: ConnectionState = ConnectionState::Up;
    const DOWN: ConnectionState = ConnectionState::Down;

    #[test]
    fn three_replicas_are_read_in_turn() {
        let view = view(&[(UP, 9), (UP, 8), (UP, 9)]);
        let mut count = [0; 4];
        for turn in 0..3000 {
            let table = TableName::parse("t").unwrap();
            let request = ReadRequest {
                table: &table,
                turn,
            };
            count[choose(request, &view).unwrap().connection] += 1;
        }
        assert_eq!(count, [0, 1000, 1000, 1000]);
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
        both[1].version = None;
        assert!(matches!(chosen(&both, 0), Err(Error::Unavailable { .. })));
        both[0].state = UP;
        both[0].version = None;
        assert!(matches!(chosen(&both, 0), Err(Error::NotFound { .. })));
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
