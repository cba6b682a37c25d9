//! Sessions: reads of exactly the version that a client keeps for a while.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::{ReadOptions, Router, fresh::Chosen};
use crate::{
    config::Sessions,
    domain::{
        Error, Freshness, Position, Resource, Result, Session, TableName,
        view::{ConnectionState, Served},
    },
    pool::Ask,
    storage::pins::{self, Pin},
};

/// How often another version is tried where the one that was read is pruned just
/// then.
const MAX_TRIES: usize = 3;

impl Router {
    /// Keeps the version that a read of this freshness would see, for `ttl`. A table
    /// has at most so many sessions, and an owner, where one is known, so many of them.
    ///
    /// # Errors
    /// Those of the read; the primary is down, takes no writes, or the table or the
    /// owner has too many sessions.
    pub async fn open_session(
        &self,
        table: &TableName,
        mut options: ReadOptions,
        ttl: Duration,
        owner: Option<Arc<str>>,
        bounds: Sessions,
    ) -> Result<(Session, Served)> {
        self.write_route()?;
        let store = self.primary().connection().store()?;
        let max_open = bounds.max_open;
        if pins::count(&store, table).await? >= max_open {
            let text = format!("table '{table}' has {max_open} sessions, as many as it may");
            return Err(Error::Overloaded(text));
        }
        let mut tries = 1;
        loop {
            let read = self.read(table, &options, |s| async move { Ok(s.position()) });
            let (position, served) = read.await?;
            let session = Session::new(Uuid::new_v4(), position, ttl);
            // Before its pin is written: where the caller goes away meanwhile it counts,
            // for the pin may be there.
            if let Some(owner) = &owner {
                let most = bounds.max_per_principal;
                self.leases().open(table, owner, &session, most)?;
            }
            let kept = self.keep(table, &session).await;
            if kept.is_err() {
                self.leases().close(table, &session);
            }
            match kept {
                Ok(()) => return Ok((session, served)),
                // A replica was behind what is being pruned.
                Err(Error::Precondition {
                    reason: Error::PRUNED,
                    ..
                }) if tries < MAX_TRIES && is_free(&options) => {
                    options.freshness = Freshness::Strong;
                    tries += 1;
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Keeps the version of a session that has not ended for `ttl` from now, and
    /// never for less long than before.
    ///
    /// # Errors
    /// The primary is down, the session was closed, or its table was dropped.
    pub async fn renew_session(
        &self,
        table: &TableName,
        session: &Session,
        ttl: Duration,
        owner: Option<Arc<str>>,
    ) -> Result<(Session, Served)> {
        let route = self.write_route()?;
        self.known_as(table, &session.position)?;
        let longer = Session::new(session.id, session.position, ttl);
        let renewed = Session {
            expires: longer.expires.max(session.expires),
            ..longer
        };
        let store = self.primary().connection().store()?;
        let id = renewed.id.to_string();
        pins::renew(&store, table, &id, &pin_of(&renewed)).await?;
        if let Some(owner) = &owner {
            self.leases().renew(table, owner, &renewed);
        }
        Ok((renewed, self.served(route, table, &session.position)))
    }

    /// Lets the version of a session go.
    ///
    /// # Errors
    /// The primary is down.
    pub async fn close_session(&self, table: &TableName, session: &Session) -> Result<Served> {
        let route = self.write_route()?;
        let store = self.primary().connection().store()?;
        pins::release(&store, table, &session.id.to_string()).await?;
        self.leases().close(table, session);
        Ok(self.served(route, table, &session.position))
    }

    /// The version of a session, on the next connection in turn that has it.
    pub(super) async fn in_session(
        &self,
        table: &TableName,
        position: &Position,
        ask: Ask,
    ) -> Result<Chosen<'_>> {
        self.known_as(table, position)?;
        match self.exact(table, position.version, ask, &[]).await {
            Ok(chosen) if chosen.snapshot.position() == *position => Ok(chosen),
            Ok(_) => Err(recreated(table)),
            Err(Error::NotFound {
                kind: Resource::Version,
                ..
            }) => Err(Error::pruned(position.version)),
            Err(e) => Err(e),
        }
    }

    async fn keep(&self, table: &TableName, session: &Session) -> Result<()> {
        let primary = self.primary().connection();
        let (store, id) = (primary.store()?, session.id.to_string());
        let version = session.position.version;
        pins::pin(&store, table, &id, &pin_of(session)).await?;
        // Something else than this server may have deleted it.
        if let Err(error) = primary.snapshot_at(table, version).await {
            pins::release(&store, table, &id).await?;
            return Err(match error {
                Error::NotFound { .. } => Error::pruned(version),
                other => other,
            });
        }
        Ok(())
    }

    /// Refuses a position of an earlier table of the same name, as far as the
    /// connections that are up know.
    fn known_as(&self, table: &TableName, position: &Position) -> Result<()> {
        let mut up = self
            .connections()
            .filter(|c| c.state() == ConnectionState::Up);
        match up.find_map(|c| c.catalog().position(table)) {
            Some(known) if known.incarnation != position.incarnation => Err(recreated(table)),
            _ => Ok(()),
        }
    }
}

/// Whether another version than the one that was read would do as well.
fn is_free(options: &ReadOptions) -> bool {
    matches!(options.freshness, Freshness::Bounded(_))
}

fn pin_of(session: &Session) -> Pin {
    Pin {
        incarnation: session.position.incarnation,
        version: session.position.version,
        expires_at: session.expires,
    }
}

fn recreated(table: &TableName) -> Error {
    Error::Precondition {
        reason: "TABLE_RECREATED",
        message: format!(
            "the session is of an earlier table '{table}', which was dropped and created again"
        ),
    }
}
