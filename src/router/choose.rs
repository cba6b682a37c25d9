//! The decision: (request, view) -> route. Pure: no clock, no lock, no I/O.

#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    domain::{
        Error, Need, Position, Resource, Result, Role, TableName,
        view::{ConnectionState, Detour, Policy, Route},
    },
    pool::{Ask, Picked, Rank, Seat, fail_safe, pick},
};

/// One connection, as the router sees it for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionView {
    pub name: Arc<str>,
    pub role: Role,
    pub state: ConnectionState,
    /// Where it has the asked table; `None` if it has none.
    pub position: Option<Position>,
    /// Until when everything that was committed is in that, where the request
    /// needs to know.
    pub as_of: Option<SystemTime>,
    /// How it stands among the others; says nothing of the primary.
    pub seat: Seat,
}

/// What matters of a read for its route.
#[derive(Debug, Clone, Copy)]
pub struct ReadRequest<'a> {
    pub table: &'a TableName,
    /// Which read this is, and how one of several is chosen.
    pub ask: Ask,
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
    /// Some are fresh enough and none of those is in rotation: the primary if it may
    /// take more of such reads, else the least bad of them.
    Resort {
        primary: Option<Route>,
        replica: Option<Route>,
    },
}

/// Whether a connection is up and has the table.
fn is_usable(c: &ConnectionView) -> bool {
    c.state == ConnectionState::Up && c.position.is_some()
}

/// Whether what a connection has of the table is fresh enough.
fn is_fresh(c: &ConnectionView, need: &Need) -> bool {
    c.position.is_some_and(|p| need.is_met_by(&p, c.as_of))
}

/// The replicas that may answer: up, fresh enough, and none of `tried`.
fn candidates<'a>(
    request: &'a ReadRequest<'_>,
    view: &'a [ConnectionView],
    tried: &'a [usize],
) -> impl Iterator<Item = (usize, Seat)> + Clone {
    let view = view.iter().enumerate();
    let candidates = view.filter(move |(index, c)| {
        c.role == Role::Replica
            && is_usable(c)
            && is_fresh(c, &request.need)
            && !tried.contains(index)
    });
    candidates.map(|(index, c)| (index, c.seat))
}

/// Chooses the connection for a read: the next usable replica in turn that is
/// fresh enough, the primary if no replica is usable at all. A replica is usable
/// if it is up and serves the table. `view[0]` is the primary.
pub fn choose(request: ReadRequest<'_>, view: &[ConnectionView]) -> Result<Decision> {
    let seats = candidates(&request, view, &[]);
    if let Some(picked) = pick(seats.clone(), request.ask) {
        return Ok(Decision::Go(picked_route(view, picked)));
    }
    if let Some(picked) = fail_safe(seats, request.ask.turn) {
        return Ok(Decision::Resort {
            primary: on_primary(request, view, Policy::NoHealthyReplica).ok(),
            replica: Some(picked_route(view, picked)),
        });
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

/// Chooses another connection for a read that failed on those of `tried`: as fresh
/// as was asked, and not one of them. It waits for nobody.
pub fn choose_again(
    request: ReadRequest<'_>,
    view: &[ConnectionView],
    tried: &[usize],
) -> Decision {
    let ask = Ask {
        may_try: false,
        ..request.ask
    };
    let seats = candidates(&request, view, tried);
    if let Some(picked) = pick(seats.clone(), ask) {
        return Decision::Go(picked_route(view, picked));
    }
    let primary = match tried.contains(&0) {
        true => None,
        false => on_primary(request, view, Policy::NoHealthyReplica).ok(),
    };
    let replica = fail_safe(seats, ask.turn).map(|picked| picked_route(view, picked));
    Decision::Resort { primary, replica }
}

/// Chooses a second connection for a read that takes long: in rotation, and at the
/// very same position.
pub fn choose_beside(
    request: ReadRequest<'_>,
    view: &[ConnectionView],
    tried: &[usize],
    position: &Position,
) -> Option<Route> {
    let seats = candidates(&request, view, tried);
    let same = seats.filter(|(index, seat)| {
        seat.rank == Rank::In && view.get(*index).and_then(|c| c.position) == Some(*position)
    });
    pick(same, request.ask).map(|picked| picked_route(view, picked))
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

/// The route to a picked connection. Picks are made among the view.
fn picked_route(view: &[ConnectionView], picked: Picked) -> Route {
    let route = route(picked.index, &view[picked.index], picked.policy);
    Route {
        detour: Detour {
            other_zone: picked.other_zone,
            ..Detour::default()
        },
        ..route
    }
}

fn nobody(message: String) -> Error {
    Error::Unavailable {
        reason: "NO_USABLE_CONNECTION",
        message,
        retry_after: Duration::from_secs(1),
    }
}
