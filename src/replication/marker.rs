//! Whose copy a replica is.

use bytes::Bytes;

use super::{ReplicationError, failpoint};
use crate::{
    connection::{Connection, REPLICA_OF},
    storage::{ObjectError, Store},
};

/// Makes sure that `replica` is a copy of `primary`, or empty and so may become
/// one.
pub(super) async fn claim(
    primary: &Connection,
    replica: &Connection,
    store: &Store,
) -> Result<(), ReplicationError> {
    let not_ours = |text: String| Err(ReplicationError::NotOurs(text));
    let Some(identity) = primary.identity() else {
        return not_ours(format!(
            "connection '{}' has no identity (its location takes no writes)",
            primary.name()
        ));
    };
    match store.objects().get(REPLICA_OF).await {
        Ok(bytes) if bytes == identity.as_bytes() => return Ok(()),
        Ok(_) => {
            return not_ours(format!(
                "the location of '{}' is a copy of another primary; empty it to make it a copy of '{}'",
                replica.name(),
                primary.name()
            ));
        }
        Err(ObjectError::NotFound(_)) => {}
        Err(e) => return Err(e.into()),
    }
    if !store.table_names().await?.is_empty() {
        return not_ours(format!(
            "the location of '{}' has tables that replication did not put there; empty it first",
            replica.name()
        ));
    }
    let bytes = Bytes::copy_from_slice(identity.as_bytes());
    failpoint::reached("claim:begins");
    let claimed = store.objects().put_if_absent(REPLICA_OF, bytes).await?;
    failpoint::reached("claim:done");
    if !claimed && !is_copy_of(primary, store).await? {
        return not_ours(format!(
            "the location of '{}' has just become a copy of another primary",
            replica.name()
        ));
    }
    Ok(())
}

/// Whether a location is a copy of `primary`.
pub(super) async fn is_copy_of(
    primary: &Connection,
    store: &Store,
) -> Result<bool, ReplicationError> {
    let Some(identity) = primary.identity() else {
        return Ok(false);
    };
    match store.objects().get(REPLICA_OF).await {
        Ok(bytes) => Ok(bytes == identity.as_bytes()),
        Err(ObjectError::NotFound(_)) => Ok(false),
        Err(e) => Err(e.into()),
    }
}
