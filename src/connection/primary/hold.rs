//! Work that needs an old version to stay while it lasts.

use std::time::{Duration, SystemTime};

use super::Primary;
use crate::{
    domain::{Incarnation, Result, TableName},
    storage::{Pin, pins},
};

/// The longest that such work takes. What is left of it by a process that ended is
/// held so long.
const LONGEST: Duration = Duration::from_secs(10 * 60);

impl Primary {
    /// Does something with an old version of a table, which no process prunes
    /// meanwhile: it is pinned.
    ///
    /// # Errors
    /// [`crate::domain::Error::pruned`] for a version that may be gone at any
    /// moment, and those of `work`.
    pub async fn holding<T, F>(
        &self,
        name: &TableName,
        version: u64,
        work: impl FnOnce() -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let head = self.head(name).await?;
        let incarnation = head.handle().incarnation();
        if incarnation == Incarnation::UNKNOWN {
            return work().await;
        }
        let store = self.connection.store()?;
        let id = uuid::Uuid::new_v4().to_string();
        let pin = Pin {
            incarnation,
            version,
            expires_at: SystemTime::now() + LONGEST,
        };
        pins::pin(&store, name, &id, &pin).await?;
        let done = work().await;
        if let Err(error) = pins::release(&store, name, &id).await {
            tracing::debug!(table = %name, version, %error, "a pin was left to expire by itself");
        }
        done
    }
}
