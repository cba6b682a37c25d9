//! LanceDB, behind plain values. The only folder that names `lancedb` or `lance`:
//! what changes when a version of them changes is here.

mod distance;
mod error;
mod evolve;
mod explain;
mod filter;
mod full_text;
mod handle;
mod index;
mod inventory;
mod objects;
mod query;
mod scan;
mod session;
mod snapshot;
mod store;
mod versions;
mod write;

pub use handle::Handle;
pub use inventory::{Checksum, Published};
pub use objects::{FileCopy, ObjectError, Objects};
pub use session::{CacheUse, Sessions};
pub use snapshot::{Batches, Rows, Snapshot};
pub use store::Store;
pub use versions::{Commit, VersionFiles};
pub use write::{UpsertCounts, Written};
