//! Opening a location, and knowing it again: whether what answers there is still the
//! same one.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::Connection;
use crate::{
    domain::{Error, Result, Role, view::ConnectionState},
    storage::{ObjectError, Sessions, Store, redacted},
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
        let store = Store::connect(&self.location, sessions).await;
        let store = Arc::new(store.map_err(|e| self.told(e.for_clients(), &e))?);
        let objects = store.objects();
        let fresh = uuid::Uuid::new_v4().to_string();
        let identity = match objects.get(IDENTITY).await {
            Ok(bytes) => Some(bytes),
            Err(ObjectError::NotFound(_)) => {
                match objects.put_if_absent(IDENTITY, Bytes::from(fresh)).await {
                    Ok(_) => Some(
                        objects
                            .get(IDENTITY)
                            .await
                            .map_err(|e| self.unavailable(&e))?,
                    ),
                    // On a store only what it says in words: whatever else went wrong
                    // may be right a moment later.
                    Err(e) if self.location.is_local() || e.is_refusal() => {
                        let error = self.redacted(&e.to_string());
                        tracing::warn!(connection = %self.name, error, "the location takes no writes");
                        None
                    }
                    Err(e) => return Err(self.unavailable(&e)),
                }
            }
            Err(e) => return Err(self.unavailable(&e)),
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
                Err(e) => return Err(self.unavailable(&e)),
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
            Err(e) => Err(self.unavailable(&e)),
        }
    }

    /// A text of the store without the secrets of the location's options.
    pub fn redacted(&self, text: &str) -> String {
        redacted(text, &self.location)
    }

    fn unavailable(&self, error: &ObjectError) -> Error {
        let told = Error::Unavailable {
            reason: "STORAGE_UNAVAILABLE",
            message: error.for_clients().into(),
            retry_after: Duration::from_secs(1),
        };
        self.told(told, error)
    }

    /// What clients are told of an error. What the store said is for the log, and not
    /// again and again while the connection is down for it.
    fn told(&self, told: Error, detail: &dyn std::fmt::Display) -> Error {
        let status = self.status();
        let last = status.last_error.as_ref().map(|(text, _)| text);
        if status.state != ConnectionState::Down || last != Some(&told.to_string()) {
            let detail = self.redacted(&detail.to_string());
            tracing::warn!(connection = %self.name, detail, "object store error");
        }
        told
    }
}

fn gone(message: &str) -> Error {
    Error::Unavailable {
        reason: "LOCATION_GONE",
        message: message.to_owned(),
        retry_after: Duration::from_secs(5),
    }
}
