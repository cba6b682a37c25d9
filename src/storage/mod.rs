//! LanceDB, behind plain values. The only folder that names `lancedb` or `lance`:
//! what changes when a version of them changes is here.

mod blobs;
mod complete;
mod distance;
mod error;
mod evolve;
mod explain;
mod filter;
mod floors;
mod full_text;
mod handle;
mod incarnation;
mod index;
mod inventory;
mod objects;
mod pace;
pub mod pins;
mod prune;
mod query;
mod scan;
mod session;
mod sides;
mod snapshot;
mod store;
mod transfer;
mod versions;
mod warm;
mod write;

pub use handle::Handle;
pub use incarnation::MARKER as INCARNATION_MARKER;
pub use inventory::{Checksum, Published};
pub use objects::{ObjectError, Objects};
pub use pace::Pace;
pub use pins::Pin;
pub use prune::{Below, Removed};
pub use session::{CacheUse, Sessions};
pub use sides::Needed;
pub use snapshot::{Batches, Rows, Snapshot};
pub use store::Store;
pub use transfer::{FileCopy, Transfer};
pub use versions::{Commit, VersionFiles};
pub use write::{UpsertCounts, Written};
