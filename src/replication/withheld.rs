//! Tables of a replica that reads must see nothing of: their copies diverged, or
//! are being replaced. An object in the replica says so, for other processes and
//! for the time after a restart.

use std::collections::HashMap;

use bytes::Bytes;

use super::ReplicationError;
use crate::{
    domain::TableName,
    storage::{ObjectError, Objects},
};

/// The folder of those objects.
const FOLDER: &str = "_lancegate/withheld";

/// Why a table is withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Its copy is not the primary's.
    Diverged,
    /// Its copy is being replaced: old and new may both be there.
    Rebuilding,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Reason::Diverged => "diverged",
            Reason::Rebuilding => "rebuilding",
        }
    }
}

fn path(table: &TableName) -> String {
    format!("{FOLDER}/{table}")
}

/// Withholds a table.
pub(super) async fn withhold(
    objects: &Objects,
    table: &TableName,
    reason: Reason,
) -> Result<(), ReplicationError> {
    let bytes = Bytes::from_static(reason.as_str().as_bytes());
    objects.put(&path(table), bytes).await?;
    Ok(())
}

/// Withholds a table no more.
pub(super) async fn release(objects: &Objects, table: &TableName) -> Result<(), ReplicationError> {
    objects.delete(&path(table)).await?;
    Ok(())
}

/// The tables that are withheld.
pub(super) async fn withheld(
    objects: &Objects,
) -> Result<HashMap<TableName, Reason>, ReplicationError> {
    let mut found = HashMap::new();
    for path in objects.list(FOLDER).await?.into_keys() {
        let name = path.rsplit('/').next().unwrap_or_default();
        let Ok(table) = TableName::parse(name) else {
            continue;
        };
        let reason = match objects.get(&path).await {
            Ok(bytes) if bytes == Reason::Diverged.as_str().as_bytes() => Reason::Diverged,
            Ok(_) => Reason::Rebuilding,
            Err(ObjectError::NotFound(_)) => continue,
            Err(e) => return Err(e.into()),
        };
        found.insert(table, reason);
    }
    Ok(found)
}
