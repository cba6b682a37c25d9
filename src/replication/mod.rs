//! Replication: each new version of each table of the primary is copied to each
//! replica, verbatim, files first and manifest last. Nothing here knows gRPC.
//!
//! A replica's folder carries the identity of the primary that it is a copy of.
//! Only a folder that does is ever changed, and only while the primary's own
//! identity can be read: so neither a wrong configuration nor a primary whose
//! disk is missing can empty a replica.

mod context;
mod copy;
mod drop;
mod error;
mod lease;
mod marker;
mod memory;
mod once;
mod plan;
mod prune;
mod rebuild;
mod replica;
mod run;
mod serve;
mod table;
mod tags;
pub mod verify;
mod withheld;

use crate::config::failpoint;
pub use error::ReplicationError;
pub use once::replicate_once;
pub use run::Copier;
