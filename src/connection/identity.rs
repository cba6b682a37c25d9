//! Opening a location, and knowing it again: whether what answers there is still the
//! same one.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::Connection;
use crate::{
    domain::{Error, Result, Role},
    storage::{ObjectError, Sessions, Store},
};

/// The object that says which location this is. It is how a probe tells a
/// location from an empty folder where its disk was.
const IDENTITY: &str = "_lancegate/id";

/// The object in a replica's location that holds the identity of the primary
/// that it is a copy of.
pub const REPLICA_OF: &str = "_lancegate/replica-of";

impl Connection {
    /// Opens the location if it is not open, and learns its identity. A location
    /// that cannot be written to has none, and is known by answering alone.
    pub async fn open(&self, sessions: &Sessions) -> Result<Arc<Store>> {
        if let Some(store) = self.store.load_full() {
            return Ok(store);
        }
        let store = Arc::new(Store::connect(&self.location, sessions).await?);
        let objects = store.objects();
        let fresh = uuid::Uuid::new_v4().to_string();
        let identity = match objects.get(IDENTITY).await {
            Ok(bytes) => Some(bytes),
            Err(ObjectError::NotFound(_)) => {
                match objects.put_if_absent(IDENTITY, Bytes::from(fresh)).await {
                    Ok(_) => Some(objects.get(IDENTITY).await.map_err(unavailable)?),
                    // On a store only what it says in words: whatever else went wrong
                    // may be right a moment later.
                    Err(e) if self.location.is_local() || e.is_refusal() => {
                        tracing::warn!(connection = %self.name, error = %e, "the location takes no writes");
                        None
                    }
                    Err(e) => return Err(unavailable(e)),
                }
            }
            Err(e) => return Err(unavailable(e)),
        };
        let identity = identity.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let commits = self.role == Role::Primary && !self.location.commits_elsewhere();
        if commits && identity.is_some() {
            store.must_know_conditions(&self.location).await?;
        }
        let origin = match self.role {
            Role::Primary => identity.clone(),
            Role::Replica | Role::Shadow => match objects.get(REPLICA_OF).await {
                Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
                // An empty location, which replication is about to claim.
                Err(ObjectError::NotFound(_)) => None,
                Err(e) => return Err(unavailable(e)),
            },
        };
        self.identity.store(identity.map(Arc::new));
        self.origin.store(origin.map(Arc::new));
        self.store.store(Some(Arc::clone(&store)));
        Ok(store)
    }

    /// Asks the location something cheap: whether it is still the same one.
    pub async fn probe(&self) -> Result<()> {
        let store = self.store()?;
        let Some(identity) = self.identity() else {
            return store.table_names().await.map(drop);
        };
        match store.objects().get(IDENTITY).await {
            Ok(bytes) if bytes == identity.as_bytes() => Ok(()),
            Ok(_) => Err(gone("the location is another one than at the start")),
            Err(ObjectError::NotFound(_)) => Err(gone("the location's folder or prefix is gone")),
            Err(e) => Err(unavailable(e)),
        }
    }
}

fn gone(message: &str) -> Error {
    Error::Unavailable {
        reason: "LOCATION_GONE",
        message: message.to_owned(),
        retry_after: Duration::from_secs(5),
    }
}

fn unavailable(error: ObjectError) -> Error {
    tracing::warn!(detail = %error, "object store error");
    Error::Unavailable {
        reason: "STORAGE_UNAVAILABLE",
        message: "the location did not answer as it should".into(),
        retry_after: Duration::from_secs(1),
    }
}
