//! Finding a snapshot that is as fresh as a read asks: at once where a replica
//! has it, else by waiting for a copy, else from the primary. Never a staler one.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, timeout_at};

use super::{
    Router,
    choose::{Decision, ReadRequest, on_primary, primary_only, stale},
    spills::Spill,
};
use crate::{
    config::failpoint,
    connection::Connection,
    domain::{
        Bounds, Error, Need, Position, Resource, Result, TableName,
        view::{ConnectionState, Detour, Policy, Route},
    },
    pool::Ask,
    storage::Snapshot,
    telemetry::metrics,
};

/// Where a read goes, and on what.
pub(super) struct Chosen<'a> {
    pub route: Route,
    pub connection: &'a Arc<Connection>,
    pub snapshot: Arc<Snapshot>,
    /// Held while the primary answers for replicas that are behind.
    pub spill: Option<Spill<'a>>,
}

/// Where a read goes, and what another attempt would have to fulfil.
pub(super) struct Found<'a> {
    pub chosen: Chosen<'a>,
    pub need: Need,
}

impl Router {
    /// A snapshot within these bounds. No I/O and no waiting where a replica in
    /// turn has one.
    pub(super) async fn bounded(
        &self,
        table: &TableName,
        bounds: &Bounds,
        wait: Duration,
        ask: Ask,
    ) -> Result<Found<'_>> {
        let request = |need| ReadRequest { table, ask, need };
        let need = self.need(table, bounds);
        let first = self.decide(request(need));
        match first {
            Ok(Some(chosen)) => return Ok(Found { chosen, need }),
            // Nothing more to learn: nobody has it, or nobody is up.
            Err(e) if need == Need::NOTHING => return Err(e),
            Ok(None) | Err(_) => {}
        }
        let began = Instant::now();
        // Before the look: what it finds must not be slept through.
        let mut versions = self.versions();
        self.learn(table, bounds).await?;
        // What was learnt may have made the bounds stricter.
        let need = self.need(table, bounds);
        let outcome = loop {
            versions.mark_unchanged();
            match self.decide(request(need)) {
                Ok(Some(chosen)) => break Ok(chosen),
                Ok(None) => {}
                Err(e) => break Err(e),
            }
            let news = timeout_at(began + wait, versions.changed()).await;
            if !matches!(news, Ok(Ok(()))) {
                break self.spill(request(need));
            }
        };
        let word = match &outcome {
            Ok(chosen) if chosen.spill.is_some() => "spilled",
            Ok(_) => "fresh",
            Err(_) => "failed",
        };
        metrics::freshness_waited(word, began.elapsed());
        outcome.map(|chosen| Found { chosen, need })
    }

    /// The newest committed version, of the primary.
    pub(super) async fn strong(&self, table: &TableName) -> Result<Chosen<'_>> {
        let began = SystemTime::now();
        let connection = self.primary().connection();
        primary_only(&self.look_at(connection, table, None))?;
        self.primary().look_after(table, began).await?;
        let snapshot = connection
            .catalog()
            .get(table)
            .ok_or_else(|| Error::not_found(Resource::Table, table.as_str()))?;
        let route = Route {
            connection: 0,
            name: Arc::clone(connection.name()),
            role: connection.role(),
            policy: Policy::Strong,
            detour: Detour::default(),
        };
        Ok(Chosen {
            route,
            connection,
            snapshot,
            spill: None,
        })
    }

    /// One decision, with the snapshot it is about. `None`: wait.
    fn decide(&self, request: ReadRequest<'_>) -> Result<Option<Chosen<'_>>> {
        let decision = self.route(request)?;
        self.taken(request, decision)
    }

    /// What a decision is about. `None`: there is nothing to go to now.
    pub(super) fn taken(
        &self,
        request: ReadRequest<'_>,
        decision: Decision,
    ) -> Result<Option<Chosen<'_>>> {
        match decision {
            Decision::Wait => Ok(None),
            Decision::Go(route) => Ok(self.at(request, route, None)),
            Decision::Resort { primary, replica } => {
                let config = self.config();
                let freshness = &config.freshness;
                if let Some(route) = primary.filter(|_| freshness.spill_to_primary)
                    && let Some(permit) = self.spills().take(freshness.max_spilled_reads)
                    && let Some(chosen) = self.at(request, route, Some(permit))
                {
                    return Ok(Some(chosen));
                }
                Ok(replica.and_then(|route| self.at(request, route, None)))
            }
        }
    }

    /// The snapshot at the end of a route. `None`: there is none that fits any more.
    fn at<'a>(
        &'a self,
        request: ReadRequest<'_>,
        route: Route,
        spill: Option<Spill<'a>>,
    ) -> Option<Chosen<'a>> {
        let connection = self.connection(&route);
        let snapshot = connection.catalog().get(request.table)?;
        // Swapped since the decision: only ever for a newer one, unless the table
        // was re-created.
        let needed = request.need.position;
        let fits = needed.is_none_or(|n| snapshot.position().reaches(&n));
        fits.then_some(Chosen {
            route,
            connection,
            snapshot,
            spill,
        })
    }

    /// The primary, for a read that no replica could answer in time.
    fn spill(&self, request: ReadRequest<'_>) -> Result<Chosen<'_>> {
        let table = request.table;
        let config = self.config();
        if !config.freshness.spill_to_primary {
            return Err(stale(table));
        }
        let view = self.view(table, &request.need);
        let route = on_primary(request, &view, Policy::Spilled)?;
        let Some(permit) = self.spills().take(config.freshness.max_spilled_reads) else {
            return Err(Error::Unavailable {
                reason: "SPILL_LIMIT",
                message: format!(
                    "no replica is as fresh for table '{table}' as asked, and the primary answers as many such reads as it may"
                ),
                retry_after: Duration::from_millis(500),
            });
        };
        self.at(request, route, Some(permit))
            .ok_or_else(|| Error::not_found(Resource::Table, table.as_str()))
    }

    /// What the bounds mean for what is known of the table now.
    fn need(&self, table: &TableName, bounds: &Bounds) -> Need {
        if *bounds == Bounds::NONE || failpoint::breaks("ignore-tokens") {
            return Need::NOTHING;
        }
        let newest = self.newest(table);
        let behind = bounds
            .versions_behind
            .and_then(|n| newest.map(|at| at.version.saturating_sub(n)));
        let least = bounds.version.max(behind);
        let counted = newest.zip(least).map(|(at, version)| Position {
            incarnation: at.incarnation,
            version,
        });
        let position = match (bounds.position, counted) {
            (Some(token), Some(counted)) if counted.reaches(&token) => Some(counted),
            (Some(token), _) => Some(token),
            (None, counted) => counted,
        };
        Need {
            position,
            as_of: bounds.as_of,
        }
    }

    /// The newest known position: the primary's or, where that was never up, the
    /// first replica's that has the table.
    fn newest(&self, table: &TableName) -> Option<Position> {
        self.connections().find_map(|c| c.catalog().position(table))
    }

    /// Looks at the primary where the bounds are beyond what is known of it, and
    /// refuses a token that it can never reach.
    async fn learn(&self, table: &TableName, bounds: &Bounds) -> Result<()> {
        let primary = self.primary();
        if primary.connection().state() != ConnectionState::Up {
            return Ok(());
        }
        let known = || primary.connection().catalog().position(table);
        let token_is_ahead = || {
            bounds
                .position
                .is_some_and(|t| known().is_none_or(|k| !k.reaches(&t)))
        };
        let number_is_ahead = bounds.version > known().map(|known| known.version);
        let asked = SystemTime::now();
        if token_is_ahead() || number_is_ahead {
            primary.look_after(table, asked).await?;
        } else if let Some(time) = bounds.as_of {
            primary.look_after(table, time.min(asked)).await?;
        }
        let (Some(token), Some(known)) = (bounds.position, known()) else {
            return Ok(());
        };
        if known.incarnation != token.incarnation {
            return Err(Error::Precondition {
                reason: "TABLE_RECREATED",
                message: format!(
                    "the token is of an earlier table '{table}', which was dropped and created again"
                ),
            });
        }
        if known.version < token.version {
            return Err(Error::Precondition {
                reason: "TOKEN_AHEAD",
                message: format!(
                    "the token is of version {} of table '{table}'; the primary has only {}",
                    token.version, known.version
                ),
            });
        }
        Ok(())
    }
}
