//! Why a version or one of its files is missing: the table was dropped, the
//! version was pruned, or something is wrong.

use std::time::Duration;

use crate::{
    connection::Connection,
    domain::{Error, Incarnation, Position, Resource, TableName, view::Policy},
};

/// What an error of a read at `position` is: where the table is gone or another
/// one of the same name, or where the version has been pruned, that. Otherwise,
/// and where nobody can tell, the error as it was. `policy` tells whether it was
/// this version that was asked for.
pub(super) async fn unless_gone(
    connection: &Connection,
    table: &TableName,
    position: &Position,
    policy: Policy,
    error: Error,
) -> Error {
    let is_missing = matches!(
        error,
        Error::Corrupt(_)
            | Error::NotFound {
                kind: Resource::Version,
                ..
            }
    );
    if !is_missing {
        return error;
    }
    let Ok(store) = connection.store() else {
        return error;
    };
    let Ok(there) = store.objects().published(table).await else {
        return error;
    };
    // Of a table that is dropped the manifests go first.
    let Some((newest, _)) = there.last_key_value() else {
        return dropped(table);
    };
    match store.incarnation(table).await {
        Ok(found) if found.unwrap_or(Incarnation::UNKNOWN) != position.incarnation => {
            dropped(table)
        }
        // Numbers are given one after the other.
        Ok(_) if position.version < *newest && !there.contains_key(&position.version) => {
            match policy {
                Policy::Exact => Error::pruned(position.version),
                _ => Error::Unavailable {
                    reason: "VERSION_REMOVED",
                    message: format!("version {} was removed while it was read", position.version),
                    retry_after: Duration::from_millis(100),
                },
            }
        }
        _ => error,
    }
}

fn dropped(table: &TableName) -> Error {
    Error::Conflict(format!("table '{table}' was dropped while it was read"))
}
