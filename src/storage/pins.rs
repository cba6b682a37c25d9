//! Pins: versions that somebody reads for a while, each an object in the primary's
//! location with the time at which it expires. What is pinned is not pruned.
//!
//! `super::floors` says how a pin and a deletion at the same time agree.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{ObjectError, Store, incarnation::unavailable};
use crate::domain::{Error, Incarnation, Result, TableName};

const FOLDER: &str = "_lancegate/pins";

/// For how long an expired pin still holds: the clocks of who wrote it and of who
/// prunes differ by less.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

/// For how long an expired pin is left where it is, so that an error about it can
/// say that it expired.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 60);

/// One version of a table that must stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    pub incarnation: Incarnation,
    pub version: u64,
    pub expires_at: SystemTime,
}

/// A pin as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    incarnation: String,
    version: u64,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    expires_at_ms: u64,
}

fn path(table: &TableName, id: &str) -> String {
    format!("{FOLDER}/{table}/{id}")
}

impl Pin {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(bytes).ok()?;
        let since_1970 = Duration::from_millis(stored.expires_at_ms);
        Some(Self {
            incarnation: Incarnation::parse(&stored.incarnation)?,
            version: stored.version,
            expires_at: SystemTime::UNIX_EPOCH.checked_add(since_1970)?,
        })
    }
}

/// The pins of a table that hold now. Those that expired long ago are deleted.
///
/// # Errors
/// The location did not do what was asked, or a pin cannot be read: it may hold
/// anything.
pub async fn held(store: &Store, table: &TableName) -> Result<Vec<Pin>> {
    let objects = store.objects();
    let paths = objects.list(&format!("{FOLDER}/{table}")).await;
    let mut pins = Vec::new();
    for path in paths.map_err(|e| unavailable(&e))?.into_keys() {
        let bytes = match objects.get(&path).await {
            Ok(bytes) => bytes,
            // Released since it was listed.
            Err(ObjectError::NotFound(_)) => continue,
            Err(e) => return Err(unavailable(&e)),
        };
        let pin = Pin::parse(&bytes)
            .ok_or_else(|| Error::Corrupt(format!("a pin of table '{table}'")))?;
        let expired_for = SystemTime::now().duration_since(pin.expires_at);
        match expired_for.unwrap_or_default() {
            age if age < CLOCKS_DIFFER => pins.push(pin),
            age if age >= FORGOTTEN_AFTER => {
                objects.delete(&path).await.map_err(|e| unavailable(&e))?;
            }
            _ => {}
        }
    }
    Ok(pins)
}

/// Pins a version. On success it is not pruned before the pin expires.
///
/// # Errors
/// [`Error::pruned`] where the version may be deleted already, and what the
/// location answers.
pub async fn pin(store: &Store, table: &TableName, id: &str, pin: &Pin) -> Result<()> {
    place(store, table, id, pin).await?;
    // After the pin was written: see `super::floors`.
    if store.read_floor(table, pin.incarnation).await? <= pin.version {
        return Ok(());
    }
    // Below the floor only tags hold versions.
    let tags = store.open(table).await?.tags().await?;
    if tags.iter().any(|(_, version)| *version == pin.version) {
        return Ok(());
    }
    release(store, table, id).await?;
    Err(Error::pruned(pin.version))
}

/// Pins a version for longer, before its pin expires. The floor may be above it:
/// the pin that is there has held it.
///
/// # Errors
/// The pin was released, and what the location answers.
pub async fn renew(store: &Store, table: &TableName, id: &str, pin: &Pin) -> Result<()> {
    match store.objects().size(&path(table, id)).await {
        Ok(Some(_)) => place(store, table, id, pin).await,
        Ok(None) => Err(Error::Precondition {
            reason: "SESSION_CLOSED",
            message: "the session was closed".into(),
        }),
        Err(e) => Err(unavailable(&e)),
    }
}

/// How many pins of a table there are, expired ones included until they are
/// cleared away.
///
/// # Errors
/// The location did not do what was asked.
pub async fn count(store: &Store, table: &TableName) -> Result<usize> {
    let paths = store.objects().list(&format!("{FOLDER}/{table}")).await;
    Ok(paths.map_err(|e| unavailable(&e))?.len())
}

/// Writes a pin. It holds only if the floor that is read after is not above it.
///
/// # Errors
/// The location did not do what was asked.
pub async fn place(store: &Store, table: &TableName, id: &str, pin: &Pin) -> Result<()> {
    let since_1970 = pin.expires_at.duration_since(SystemTime::UNIX_EPOCH);
    let stored = Stored {
        incarnation: pin.incarnation.to_string(),
        version: pin.version,
        expires_at_ms: u64::try_from(since_1970.unwrap_or_default().as_millis())
            .unwrap_or(u64::MAX),
    };
    let bytes = serde_json::to_vec(&stored).map_err(|e| Error::Internal(e.to_string()))?;
    let path = path(table, id);
    let written = store.objects().put(&path, Bytes::from(bytes)).await;
    written.map_err(|e| unavailable(&e))
}

/// Releases a pin. One that is not there is no error.
///
/// # Errors
/// The location did not do what was asked.
pub async fn release(store: &Store, table: &TableName, id: &str) -> Result<()> {
    let deleted = store.objects().delete(&path(table, id)).await;
    deleted.map_err(|e| unavailable(&e))
}
