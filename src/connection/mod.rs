//! The connections: places that answer reads or take writes.
//!
//! Requests read what a connection knows and never write it: its catalog is
//! written by the task that follows it (or by the primary after a commit), its
//! state by the task that watches it.

mod arrive;
mod ask;
mod caller;
mod catalog;
mod embedded;
mod events;
mod external;
mod follow;
mod history;
mod identity;
mod opened;
mod orders;
mod primary;
mod watch;

pub use arrive::Follows;
pub use caller::Caller;
pub use catalog::{Catalog, Entry};
pub use embedded::{Connection, Status};
pub use events::Events;
pub use external::{External, Whole};
pub use follow::{Follow, follow, keep_following};
pub use identity::REPLICA_OF;
pub use orders::{Orders, Waiting};
pub use primary::{Head, Lane, Past, Primary, Pruned, Unwanted};
pub use watch::watch;
