//! What can stop a copy.

use crate::{domain::Error, storage::ObjectError};

/// Why a table, or a whole replica, is not brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum ReplicationError {
    /// The primary or the replica did not do what was asked.
    #[error("{0}")]
    Storage(#[from] Error),
    /// An object of the primary or the replica. The text is not for clients.
    #[error("{0}")]
    Object(#[from] ObjectError),
    /// A file to copy is gone: the primary was pruned meanwhile. Planning again
    /// from a newer version mends it.
    #[error("the primary's file '{0}' is gone: planning again")]
    SourceGone(String),
    /// The replica has other bytes than the primary at a version, or a version
    /// that the primary never had.
    #[error(
        "the replica's version {version} is not the primary's: its copy diverged, and is served no more until it is rebuilt"
    )]
    Diverged { version: u64 },
    /// The table refers to what is not in its folder.
    #[error("not replicated: {0}")]
    NotCopyable(&'static str),
    /// The folder is a copy of another primary, or was not made by replication.
    #[error("{0}")]
    NotOurs(String),
    /// Another process copies, and deletes, by now.
    #[error("another process has the lease by now")]
    NotOurTurn,
    /// The primary or the replica is not up.
    #[error("connection '{0}' is not up")]
    NotUp(String),
}
