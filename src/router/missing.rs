//! Why a version or one of its files is missing: the table was dropped, the
//! version was pruned, or something is wrong.

use crate::{
    connection::Connection,
    domain::{Error, Incarnation, Position, Resource, TableName},
};

/// What an error of a read at `position` is: where the table is gone or another
/// one of the same name, or where the version has been pruned, that. Otherwise,
/// and where nobody can tell, the error as it was.
pub(super) async fn unless_gone(
    connection: &Connection,
    table: &TableName,
    position: &Position,
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
            Error::pruned(position.version)
        }
        _ => error,
    }
}

fn dropped(table: &TableName) -> Error {
    Error::Conflict(format!("table '{table}' was dropped while it was read"))
}
