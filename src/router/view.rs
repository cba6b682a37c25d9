//! What the router knows of its connections, for one read.

use std::sync::Arc;

use tokio::time::Instant;

use super::{ReadRequest, Router, choose::ConnectionView};
use crate::{
    connection::{Connection, Past},
    domain::{
        Incarnation, Need, Result, TableName,
        view::{ConnectionState, Route},
    },
    pool::{Member, Seat},
    router::{Decision, choose::choose},
};

/// What is known of a table on the primary.
pub(super) struct Known {
    incarnation: Incarnation,
    past: Past,
}

impl Router {
    /// What is known of every connection, for a read of this table.
    pub(super) fn view(&self, table: &TableName, need: &Need) -> Vec<ConnectionView> {
        // Only where it is asked for, and once for all: it takes locks.
        let known = need.as_of.and_then(|_| self.known(table));
        let now = Instant::now();
        let settings = self.pool().settings();
        let (slow_start, zone) = (
            settings.outlier.slow_start,
            settings.balance.zone.as_deref(),
        );
        let primary = self.primary().connection();
        let primary = self.look_at(primary, table, known.as_ref());
        let replicas = self.replicas().iter().zip(self.members());
        let replicas = replicas.map(|(replica, member)| {
            let view = self.look_at(replica, table, known.as_ref());
            follow_state(member, view.state, now);
            ConnectionView {
                seat: member.seat(now, slow_start, zone),
                ..view
            }
        });
        std::iter::once(primary).chain(replicas).collect()
    }

    /// What is known of a connection; how complete it is only where `known` says
    /// what there is.
    pub(super) fn look_at(
        &self,
        connection: &Connection,
        table: &TableName,
        known: Option<&Known>,
    ) -> ConnectionView {
        let position = connection.catalog().position(table);
        let as_of = known.zip(position).and_then(|(known, at)| {
            // Of another creation of the table nothing is known.
            (known.incarnation == at.incarnation).then(|| known.past.complete_until(at.version))
        });
        ConnectionView {
            name: Arc::clone(connection.name()),
            role: connection.role(),
            state: connection.state(),
            position,
            as_of,
            seat: Seat::READY,
        }
    }

    fn known(&self, table: &TableName) -> Option<Known> {
        Some(Known {
            incarnation: self
                .primary()
                .connection()
                .catalog()
                .position(table)?
                .incarnation,
            past: self.primary().past(table)?,
        })
    }

    /// Decides where a read goes now. No I/O: what is known decides.
    pub fn route(&self, request: ReadRequest<'_>) -> Result<Decision> {
        choose(request, &self.view(request.table, &request.need))
    }

    pub(super) fn connection(&self, route: &Route) -> &Arc<Connection> {
        match route.connection.checked_sub(1) {
            Some(replica) => &self.replicas()[replica],
            None => self.primary().connection(),
        }
    }
}

/// A member is up as its connection is. Whoever looks first notes it; one that has
/// not been heard from yet is no return.
pub(super) fn follow_state(member: &Member, state: ConnectionState, now: Instant) {
    match state {
        ConnectionState::Connecting => {}
        ConnectionState::Up => member.set_up(true, now),
        ConnectionState::Down => member.set_up(false, now),
    }
}
