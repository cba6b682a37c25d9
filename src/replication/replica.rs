//! Bringing one replica up to date with the primary.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{ReplicationError, copy::Present, drop::Dropper, marker::claim, table::Context};
use crate::{
    config::Replication,
    connection::{Connection, Primary, follow},
    domain::{TableName, view::ConnectionState},
};

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
    pub dropper: Dropper,
    claimed: bool,
    loaded: bool,
    swept: bool,
    present: HashMap<TableName, Present>,
}

impl Replica {
    pub(super) fn new(
        primary: Arc<Primary>,
        connection: Arc<Connection>,
        options: Replication,
        dropper: Dropper,
    ) -> Self {
        Self {
            primary,
            connection,
            options,
            dropper,
            claimed: false,
            loaded: false,
            swept: false,
            present: HashMap::new(),
        }
    }

    /// One round: every table of the primary, then those that are gone there.
    /// Answers whether everything is up to date.
    pub(super) async fn round(&mut self) -> Result<bool, ReplicationError> {
        must_be_up(&self.connection)?;
        if !self.loaded {
            // What was published before the start is whole: it is served at
            // once, and also while the primary is down.
            for (table, error) in follow(&self.connection).await? {
                tracing::warn!(connection = %self.connection.name(), %table, %error, "table not opened");
            }
            self.loaded = true;
        }
        must_be_up(self.primary.connection())?;
        let source = self.primary.connection().store()?;
        let target = self.connection.store()?;
        if !self.claimed {
            let claimed = claim(self.primary.connection(), &self.connection, &target).await;
            if let Err(ReplicationError::NotOurs(_)) = &claimed {
                self.serve_nothing();
            }
            claimed?;
            self.claimed = true;
        }
        let tables: Vec<TableName> = {
            let all = self.primary.connection().catalog().all();
            all.keys().cloned().collect()
        };
        let mut complete = true;
        for table in &tables {
            let context = Context {
                primary: &self.primary,
                source: &source,
                replica: &self.connection,
                target: &target,
                options: self.options,
                dropper: &self.dropper,
            };
            let present = self.present.entry(table.clone()).or_default();
            let outcome = context.sync_table(table, present).await;
            complete &= outcome.is_ok();
            self.note(table, outcome);
        }
        self.connection.keep_table_errors(|t| tables.contains(t));
        self.drop_gone(&tables).await?;
        Ok(complete)
    }

    /// The location holds something else than a copy of the primary.
    fn serve_nothing(&self) {
        for table in self.connection.catalog().all().keys() {
            self.connection.catalog().remove(table);
        }
    }

    fn note(&mut self, table: &TableName, outcome: Result<(), ReplicationError>) {
        match outcome {
            Ok(()) => self.connection.set_table_error(table, None),
            Err(error) => {
                // What is on the replica is looked at again the next time.
                self.present.remove(table);
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
        let still_there: HashSet<TableName> = source.table_names().await?.into_iter().collect();
        self.primary.connection().probe().await?;
        for table in gone.difference(&still_there) {
            self.dropper
                .drop_table(&self.connection, &target, table)
                .await?;
            self.present.remove(table);
        }
        Ok(())
    }
}
