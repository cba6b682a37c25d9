//! Time travel: a read of exactly one version, by whoever has it.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Router, choose::primary_only, fresh::Chosen, missing::unless_gone};
use crate::{
    connection::Connection,
    domain::{
        Error, Position, Resource, Result, Role, TableName,
        table::VersionRef,
        view::{ConnectionState, Detour, Policy, Route},
    },
    pool::Ask,
    storage::Snapshot,
};

impl Router {
    /// A version of the table's present incarnation, on the next connection in
    /// turn that has it and is not among those that were tried. The primary is the
    /// last one to be asked.
    pub(super) async fn exact(
        &self,
        table: &TableName,
        version: u64,
        ask: Ask,
        tried: &[usize],
    ) -> Result<Chosen<'_>> {
        for index in self.in_turn(ask) {
            let replica = &self.replicas()[index];
            // Out of rotation are those that only shadow reads go to.
            if replica.role() == Role::Replica
                && !tried.contains(&(index + 1))
                && let Some(snapshot) = self.of_replica(replica, table, version).await
            {
                return Ok(chosen(index + 1, replica, snapshot));
            }
        }
        if tried.contains(&0) {
            return Err(Error::not_found(Resource::Version, version.to_string()));
        }
        let primary = self.primary().connection();
        let view = self.look_at(primary, table, None);
        primary_only(&view)?;
        let Some(Position { incarnation, .. }) = view.position else {
            return Err(Error::not_found(Resource::Table, table.as_str()));
        };
        match primary.snapshot_at(table, version).await {
            Ok(snapshot) => Ok(chosen(0, primary, snapshot)),
            Err(error) => {
                let position = Position {
                    incarnation,
                    version,
                };
                Err(unless_gone(primary, table, &position, Policy::Exact, error).await)
            }
        }
    }

    /// The replicas from the one on whose turn it is; those in rotation first.
    fn in_turn(&self, ask: Ask) -> Vec<usize> {
        let (now, count) = (Instant::now(), self.replicas().len());
        let settings = self.pool().settings();
        let zone = settings.balance.zone.as_deref();
        // Fits: the rest is below the number of replicas.
        let first = (ask.turn % count.max(1) as u64) as usize;
        let mut order: Vec<usize> = (0..count).map(|i| (first + i) % count).collect();
        order.sort_by_key(|i| {
            let seat = self.members()[*i].seat(now, settings.outlier.slow_start, zone);
            (seat.rank, seat.tier)
        });
        order
    }

    /// The version that a replica has, if it has it of the same table as the
    /// primary.
    async fn of_replica(
        &self,
        replica: &Connection,
        table: &TableName,
        version: u64,
    ) -> Option<Arc<Snapshot>> {
        let served = replica.catalog().position(table)?;
        if replica.state() != ConnectionState::Up || served.version < version {
            return None;
        }
        let known = self.primary().connection().catalog().position(table);
        if known.is_some_and(|known| known.incarnation != served.incarnation) {
            return None;
        }
        let snapshot = replica.snapshot_at(table, version).await.ok()?;
        (snapshot.position().incarnation == served.incarnation).then_some(snapshot)
    }

    /// The number of a version that a request names. Tags are the primary's or,
    /// while it is down, those that a replica has.
    pub(super) async fn number_of(&self, table: &TableName, version: &VersionRef) -> Result<u64> {
        let tag = match version {
            VersionRef::Number(number) => return Ok(*number),
            VersionRef::Tag(tag) => tag,
        };
        let mut last = None;
        for connection in self.connections() {
            if connection.state() != ConnectionState::Up
                || connection.catalog().position(table).is_none()
            {
                continue;
            }
            let handle = connection.store()?.open(table).await?;
            match handle.tags().await {
                Ok(tags) => {
                    let found = tags.into_iter().find(|(name, _)| name == tag);
                    return found
                        .map(|(_, version)| version)
                        .ok_or_else(|| Error::not_found(Resource::Tag, tag.as_str()));
                }
                Err(e) => last = Some(e),
            }
        }
        Err(last.unwrap_or_else(|| Error::not_found(Resource::Table, table.as_str())))
    }
}

fn chosen(index: usize, connection: &Arc<Connection>, snapshot: Arc<Snapshot>) -> Chosen<'_> {
    Chosen {
        route: Route {
            connection: index,
            name: Arc::clone(connection.name()),
            role: connection.role(),
            policy: Policy::Exact,
            detour: Detour::default(),
        },
        connection,
        snapshot,
        spill: None,
    }
}
