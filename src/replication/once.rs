//! Bringing one replica up to date, once.

use std::sync::Arc;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{ReplicationError, drop::Dropper, lease::Turn, replica::Replica};
use crate::{
    config::{Replication, Retention},
    connection::{Connection, Primary},
    domain::TableName,
    storage::Pace,
};

/// Copies to one replica what it lacks of the tables in the primary's catalog.
/// Answers the tables that were not copied, and why. Files that are to be deleted
/// after the grace are deleted by `tasks`, unless `stop` comes first.
///
/// # Errors
/// The replica, or the primary, is not up, or is another one than it should be.
pub async fn replicate_once(
    primary: Arc<Primary>,
    connection: Arc<Connection>,
    options: Replication,
    tasks: TaskTracker,
    stop: CancellationToken,
) -> Result<Vec<(TableName, String)>, ReplicationError> {
    let dropper = Dropper::new(options.delete_grace, tasks, stop);
    let pace = Arc::new(Pace::new(options.max_bytes_per_second));
    let mut replica = Replica::new(
        primary,
        Arc::clone(&connection),
        options,
        Arc::new(Retention::disabled()),
        pace,
        Turn::Always,
        dropper,
    );
    replica.round().await?;
    let mut failed: Vec<_> = connection.table_errors().into_iter().collect();
    failed.sort_unstable();
    Ok(failed)
}
