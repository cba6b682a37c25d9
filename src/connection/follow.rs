//! Following a location that others may write to: the primary, and replicas that
//! something else copies to.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{Connection, Events, Head, Primary};
use crate::{
    domain::{Error, Incarnation, Result, TableName, view::ConnectionState},
    storage::Store,
};

/// Tables looked at concurrently: each look is a request or two to the store.
const PARALLEL_LOOKS: usize = 8;

/// The shortest time from one look to another that a failing read asks for.
const LEAST_PAUSE: Duration = Duration::from_millis(50);

/// Looks once at every table of a location and serves the newest versions.
/// Answers the tables that could not be looked at; they keep what they had.
pub async fn follow(target: &impl Follow) -> Result<Vec<(TableName, Error)>> {
    let store = target.connection().store()?;
    let names = store.table_names().await?;
    let present: HashSet<TableName> = names.iter().cloned().collect();
    let mut gone: Vec<TableName> = Vec::new();
    for table in target.connection().catalog().all().keys() {
        if !present.contains(table) {
            gone.push(table.clone());
        }
    }
    let mut failures = Vec::new();
    // Those that are gone are looked at under the table's lock as well: one of
    // them may just have been created.
    let mut looks = stream::iter(names.into_iter().chain(gone))
        .map(|table| async move {
            let outcome = target.look(&table).await;
            (table, outcome)
        })
        .buffer_unordered(PARALLEL_LOOKS);
    while let Some((table, outcome)) = looks.next().await {
        if let Err(error) = outcome {
            failures.push((table, error));
        }
    }
    drop(looks);
    target.connection().set_loaded();
    Ok(failures)
}

/// Follows a location until `stop`: every `interval`, as soon as it is up, and when
/// a read had trouble with it: a version that others have removed meanwhile is not
/// served until the next look is due.
pub async fn keep_following(
    target: impl Follow,
    events: Events,
    interval: Duration,
    stop: CancellationToken,
) {
    let mut events = events.subscribe();
    let connection = target.connection();
    let mut troubles = connection.troubles();
    loop {
        events.mark_unchanged();
        troubles.mark_unchanged();
        let up = connection.state() == ConnectionState::Up;
        if up {
            match follow(&target).await {
                Ok(failures) => {
                    for (table, error) in failures {
                        tracing::warn!(connection = %connection.name(), %table, %error, "table not opened");
                    }
                }
                Err(error) => {
                    connection.note_error(&error);
                    // Its own trouble is no reason to look again.
                    troubles.mark_unchanged();
                }
            }
        }
        let looked = Instant::now();
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            // While it is up there is nothing to hear of but others.
            Ok(()) = events.changed(), if !up => {}
            () = trouble(&mut troubles, looked), if up => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Waits for trouble, and for some time to have passed since the last look: many
/// reads may fail at once.
async fn trouble(troubles: &mut watch::Receiver<u64>, looked: Instant) {
    if troubles.changed().await.is_err() {
        // Nobody is left who could have any.
        return std::future::pending().await;
    }
    sleep_until(looked + LEAST_PAUSE).await;
}

/// What can be followed.
pub trait Follow: Send + Sync {
    /// The connection whose catalog is kept.
    fn connection(&self) -> &Connection;
    /// Brings one table up to date.
    fn look(&self, table: &TableName) -> impl Future<Output = Result<()>> + Send;
}

impl Follow for Arc<Primary> {
    fn connection(&self) -> &Connection {
        Primary::connection(self)
    }

    async fn look(&self, table: &TableName) -> Result<()> {
        self.refresh(table).await
    }
}

/// Whether a head still follows the table at its location.
pub(super) async fn is_current(store: &Store, table: &TableName, head: &Head) -> Result<bool> {
    let there = store.incarnation(table).await?;
    if there.unwrap_or(Incarnation::UNKNOWN) != head.handle().incarnation() {
        return Ok(false);
    }
    match head.handle().is_behind().await {
        Ok(behind) => Ok(!behind),
        Err(Error::NotFound { .. } | Error::Corrupt(_)) => Ok(false),
        Err(e) => Err(e),
    }
}
