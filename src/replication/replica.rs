//! Bringing one replica up to date with the primary.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    ReplicationError,
    context::Context,
    drop::Dropper,
    failpoint,
    lease::Turn,
    marker::claim,
    memory::{Doomed, Memory},
    withheld::{self, Reason},
};
use crate::{
    config::{Replication, Retention},
    connection::{Connection, Primary, Waiting},
    domain::{Error, Resource, TableName, view::ConnectionState},
    storage::{Pace, Store},
    telemetry::metrics,
};

/// When a client may ask again.
const RETRY: Duration = Duration::from_secs(1);

fn must_be_up(connection: &Connection) -> Result<(), ReplicationError> {
    match connection.state() {
        ConnectionState::Up => Ok(()),
        ConnectionState::Connecting | ConnectionState::Down => {
            Err(ReplicationError::NotUp(connection.name().to_string()))
        }
    }
}

/// What is remembered of a replica between rounds.
pub(super) struct Replica {
    pub primary: Arc<Primary>,
    pub connection: Arc<Connection>,
    pub options: Replication,
    pub retention: Arc<Retention>,
    pub memory: HashMap<TableName, Memory>,
    pace: Arc<Pace>,
    turn: Turn,
    /// Since when it was this process's turn when it copied last.
    turn_since: Option<Instant>,
    dropper: Dropper,
    claimed: bool,
    loaded: bool,
    swept: bool,
}

impl Replica {
    pub(super) fn new(
        primary: Arc<Primary>,
        connection: Arc<Connection>,
        options: Replication,
        retention: Arc<Retention>,
        pace: Arc<Pace>,
        turn: Turn,
        dropper: Dropper,
    ) -> Self {
        Self {
            primary,
            connection,
            options,
            retention,
            memory: HashMap::new(),
            pace,
            turn,
            turn_since: None,
            dropper,
            claimed: false,
            loaded: false,
            swept: false,
        }
    }

    /// One round: every table of the primary, then those that are gone there.
    /// Answers whether everything is up to date.
    ///
    /// # Errors
    /// Such as clients may be told of.
    pub(super) async fn round(&mut self) -> Result<bool, ReplicationError> {
        let outcome = self.bring_up_to_date().await;
        outcome.map_err(|error| {
            let status = self.connection.status();
            let last = status.last_error.as_ref().map(|(text, _)| text.as_str());
            self.for_clients(error, last)
        })
    }

    async fn bring_up_to_date(&mut self) -> Result<bool, ReplicationError> {
        must_be_up(&self.connection)?;
        let target = self.connection.store()?;
        if !self.loaded {
            // At once, and so not warmed before.
            self.serve_what_is_there(&target, Duration::ZERO).await?;
            self.loaded = true;
        }
        must_be_up(self.primary.connection())?;
        if !self.turn.is_ours() {
            self.follow_round().await?;
            return Ok(true);
        }
        self.begin_turn();
        let source = self.primary.connection().store()?;
        if !self.claimed {
            self.connection.must_know_conditions().await?;
            let claimed = claim(self.primary.connection(), &self.connection, &target).await;
            if let Err(ReplicationError::NotOurs(_)) = &claimed {
                self.serve_nothing();
            }
            claimed?;
            self.claimed = true;
        }
        let mut tables: Vec<TableName> = {
            let all = self.primary.connection().catalog().all();
            all.keys().cloned().collect()
        };
        let mut orders = self.take_orders(&tables, &target).await?;
        // What somebody waits for goes first.
        tables.sort_by_key(|table| !orders.contains_key(table));
        let mut complete = true;
        for table in &tables {
            if !self.turn.is_ours() {
                return Ok(false);
            }
            let outcome = self.sync_table(table, &source, &target).await;
            if outcome.is_ok() && self.retention.enabled {
                self.prune_table(table, &source, &target).await;
            }
            complete &= outcome.is_ok();
            let outcome = outcome.map_err(|error| {
                let last = self.connection.table_errors().remove(table);
                self.for_clients(error, last.as_deref())
            });
            let answer = outcome.as_ref().err().map(ToString::to_string);
            self.note(table, outcome);
            for waiter in orders.remove(table).into_iter().flatten() {
                let version = self.connection.catalog().version(table);
                let rebuilt = match (&answer, version) {
                    (None, Some(version)) => Ok(version),
                    (text, _) => Err(Error::Precondition {
                        reason: "NOT_REBUILT",
                        message: text.clone().unwrap_or_else(|| "the table is gone".into()),
                    }),
                };
                // Nobody may be waiting any more.
                let _ = waiter.send(rebuilt);
            }
        }
        self.connection.keep_table_errors(|t| tables.contains(t));
        self.drop_gone(&tables).await?;
        self.count_diverged();
        Ok(complete)
    }

    async fn sync_table(
        &mut self,
        table: &TableName,
        source: &Store,
        target: &Arc<Store>,
    ) -> Result<(), ReplicationError> {
        let mut memory = self.memory.remove(table).unwrap_or_default();
        let context = self.context(source, target);
        let outcome = context.sync_table(table, &mut memory).await;
        self.memory.insert(table.clone(), memory);
        outcome
    }

    /// Deletes what the primary has deleted. What goes wrong with that keeps no
    /// version from being copied.
    async fn prune_table(&mut self, table: &TableName, source: &Store, target: &Arc<Store>) {
        let mut memory = self.memory.remove(table).unwrap_or_default();
        let context = self.context(source, target);
        let outcome = context
            .prune_copy(table, &mut memory, &self.retention)
            .await;
        self.memory.insert(table.clone(), memory);
        if let Err(error) = outcome {
            let connection = self.connection.name();
            metrics::prune_failed(connection);
            tracing::warn!(%connection, %table, %error, "old versions were not deleted");
        }
    }

    fn context<'a>(&'a self, source: &'a Store, target: &'a Arc<Store>) -> Context<'a> {
        Context {
            primary: &self.primary,
            source,
            replica: &self.connection,
            target,
            options: self.options,
            pace: &self.pace,
            dropper: &self.dropper,
            turn: &self.turn,
        }
    }

    /// Forgets what is on the replica if another process copied, and may have
    /// deleted, since this one did.
    fn begin_turn(&mut self) {
        let since = self.turn.since();
        if self.turn_since != since {
            self.turn_since = since;
            for memory in self.memory.values_mut() {
                memory.doubt();
                memory.doomed = Doomed::default();
            }
        }
    }

    /// Takes what an operator ordered: those tables are withheld until they are
    /// rebuilt, also if this process ends before.
    async fn take_orders(
        &mut self,
        tables: &[TableName],
        target: &Store,
    ) -> Result<HashMap<TableName, Waiting>, ReplicationError> {
        let mut orders = self.connection.orders().take();
        let unknown: Vec<TableName> = orders
            .keys()
            .filter(|table| !tables.contains(table))
            .cloned()
            .collect();
        for table in unknown {
            for waiter in orders.remove(&table).into_iter().flatten() {
                let _ = waiter.send(Err(Error::not_found(Resource::Table, table.as_str())));
            }
        }
        for table in orders.keys() {
            tracing::info!(connection = %self.connection.name(), %table, "a rebuild was ordered");
            withheld::withhold(target.objects(), table, Reason::Rebuilding).await?;
            failpoint::reached("rebuild:ordered");
            self.connection.catalog().remove(table);
            self.memory.entry(table.clone()).or_default().withheld = Some(Reason::Rebuilding);
        }
        Ok(orders)
    }

    /// The location holds something else than a copy of the primary.
    pub(super) fn serve_nothing(&self) {
        for table in self.connection.catalog().all().keys() {
            self.connection.catalog().remove(table);
        }
    }

    pub(super) fn count_diverged(&self) {
        let withheld = self.memory.values().filter_map(|memory| memory.withheld);
        let diverged = withheld.filter(|reason| *reason == Reason::Diverged);
        metrics::replica_diverged(self.connection.name(), diverged.count());
    }

    /// The error that clients are told of: not what a store said, which goes to the
    /// log, unless that is what was `told` last.
    fn for_clients(&self, error: ReplicationError, told: Option<&str>) -> ReplicationError {
        let (error, detail) = match error {
            ReplicationError::Object(error) => {
                let kind = Error::Unavailable {
                    reason: "STORAGE_UNAVAILABLE",
                    message: error.for_clients().into(),
                    retry_after: RETRY,
                };
                (kind, error.to_string())
            }
            ReplicationError::Storage(Error::Internal(detail)) => {
                (Error::Internal("the log has more".into()), detail)
            }
            other => return other,
        };
        if told != Some(error.to_string().as_str()) {
            // It may be an object of either.
            let detail = self.primary.connection().redacted(&detail);
            let detail = self.connection.redacted(&detail);
            tracing::warn!(connection = %self.connection.name(), detail, "not replicated");
        }
        ReplicationError::Storage(error)
    }

    fn note(&mut self, table: &TableName, outcome: Result<(), ReplicationError>) {
        match outcome {
            Ok(()) => self.connection.set_table_error(table, None),
            Err(error) => {
                if let Some(memory) = self.memory.get_mut(table) {
                    memory.doubt();
                }
                let text = error.to_string();
                if self.connection.table_errors().get(table) != Some(&text) {
                    tracing::warn!(connection = %self.connection.name(), %table, %error, "table not replicated");
                }
                self.connection.set_table_error(table, Some(text));
            }
        }
    }

    /// Drops the tables that the primary has no more. Its catalog alone is not
    /// enough to say so: the location is asked again, and must be the same one.
    async fn drop_gone(&mut self, tables: &[TableName]) -> Result<(), ReplicationError> {
        let known: HashSet<&TableName> = tables.iter().collect();
        let target = self.connection.store()?;
        let mut gone: HashSet<TableName> = {
            let all = self.connection.catalog().all();
            all.keys().filter(|t| !known.contains(t)).cloned().collect()
        };
        let withheld = self.memory.iter().filter(|(_, m)| m.withheld.is_some());
        gone.extend(
            withheld
                .map(|(t, _)| t)
                .filter(|t| !known.contains(t))
                .cloned(),
        );
        if !self.swept {
            // What an earlier process left half dropped is not in the catalog.
            let names = target.table_names().await?;
            gone.extend(names.into_iter().filter(|t| !known.contains(t)));
            self.swept = true;
        }
        if gone.is_empty() {
            return Ok(());
        }
        let source = self.primary.connection().store()?;
        let listed: HashSet<TableName> = source.table_names().await?.into_iter().collect();
        self.primary.connection().probe().await?;
        for table in &gone {
            // Some stores list a folder for a while after its last file has gone.
            if listed.contains(table) && !source.objects().published(table).await?.is_empty() {
                continue;
            }
            self.dropper
                .drop_table(&self.connection, &target, table)
                .await?;
            withheld::release(target.objects(), table).await?;
            self.memory.remove(table);
        }
        Ok(())
    }
}
