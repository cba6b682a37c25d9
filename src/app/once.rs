//! Bringing all replicas up to date, once.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    AppError,
    replicator::{connections, options},
    shutdown::Signals,
    tasks::Tasks,
};
use crate::{
    config::{Config, Health, Live},
    connection::{Connection, Events, follow},
    domain::view::ConnectionState,
    replication,
    storage::Sessions,
    telemetry::logs,
};

/// Copies what the replicas lack, and ends. Files of dropped tables are deleted
/// after `replication.delete_grace`; where there are some, that is waited for.
///
/// # Errors
/// A connection that does not come up, and each table of each replica that could
/// not be copied.
pub async fn replicate_once(config: Config) -> Result<(), AppError> {
    let _logs = logs::init(&config.logging)?;
    let mut signals = Signals::listen().map_err(AppError::Signals)?;
    let tasks = Tasks::new();
    let outcome = tokio::select! {
        outcome = bring_up_to_date(config, &tasks) => outcome,
        name = signals.next() => Err(AppError::NotReplicated(format!("stopped by {name}"))),
    };
    tasks.finish().await;
    outcome
}

async fn bring_up_to_date(config: Config, tasks: &Tasks) -> Result<(), AppError> {
    let live = Live::new(config.clone());
    let sessions = Arc::new(Sessions::new(config.cache));
    let events = Events::default();
    let (primary, replicas) = connections(&config, &events)?;
    let all = std::iter::once(primary.connection()).chain(&replicas);
    for connection in all.clone() {
        tasks.watch(connection, &sessions, &live);
    }
    let up = join_all(all.map(|c| comes_up(c, &events, config.health))).await;
    let mut problems: Vec<String> = up.into_iter().filter_map(Result::err).collect();
    if primary.connection().state() == ConnectionState::Up {
        match follow(&primary).await {
            Ok(failures) => problems.extend(failures.into_iter().map(|(table, error)| {
                format!("{}: table {table}: {error}", primary.connection().name())
            })),
            Err(error) => problems.push(format!("{}: {error}", primary.connection().name())),
        }
        // Of its own, so that it can be waited for.
        let deletions = TaskTracker::new();
        let copies = replicas
            .iter()
            .filter(|replica| replica.state() == ConnectionState::Up)
            .map(|replica| {
                let (primary, options) = (Arc::clone(&primary), options(&config));
                copy(primary, replica, options, deletions.clone(), tasks.stop())
            });
        problems.extend(join_all(copies).await.into_iter().flatten());
        deletions.close();
        if !deletions.is_empty() {
            let grace = humantime::format_duration(config.replication.delete_grace);
            tracing::info!(%grace, "waiting to delete the files of tables that are gone");
        }
        deletions.wait().await;
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(AppError::NotReplicated(problems.join("\nerror: "))),
    }
}

/// Waits for a connection, as long as a server would before it is out.
async fn comes_up(connection: &Connection, events: &Events, health: Health) -> Result<(), String> {
    let pause = Duration::from_secs(1);
    let patience = (health.probe_timeout + pause) * health.failure_threshold;
    let patience = patience.max(connection.opening(health));
    let mut events = events.subscribe();
    let waiting = async {
        while connection.state() != ConnectionState::Up && events.changed().await.is_ok() {}
    };
    if tokio::time::timeout(patience, waiting).await.is_ok() {
        return Ok(());
    }
    let error = connection.status().last_error.clone();
    let error = error.map_or_else(|| "does not answer".into(), |(text, _)| text);
    Err(format!("{}: {error}", connection.name()))
}

/// Copies to one replica. Answers what went wrong, a line each.
async fn copy(
    primary: Arc<crate::connection::Primary>,
    replica: &Arc<Connection>,
    options: crate::config::Replication,
    deletions: TaskTracker,
    stop: CancellationToken,
) -> Vec<String> {
    let name = replica.name();
    let done =
        replication::replicate_once(primary, Arc::clone(replica), options, deletions, stop).await;
    match done {
        Ok(failed) if failed.is_empty() => {
            tracing::info!(connection = %name, "up to date");
            Vec::new()
        }
        Ok(failed) => failed
            .into_iter()
            .map(|(table, why)| format!("{name}: table {table}: {why}"))
            .collect(),
        Err(error) => vec![format!("{name}: {error}")],
    }
}
