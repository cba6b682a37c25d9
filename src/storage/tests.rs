//! A location for the tests of whatever needs one.

use tempfile::TempDir;

use super::{Sessions, Store};
use crate::config::{self, Sources};

/// The primary of the embedded default in a temporary folder, which goes with the
/// folder's handle.
pub(crate) async fn local() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let config = config::load(Sources {
        data_dir: Some(folder.path().to_owned()),
        ..Sources::default()
    })
    .unwrap();
    let sessions = Sessions::new(config.cache);
    let store = Store::connect(config.primary.location().unwrap(), &sessions)
        .await
        .unwrap();
    (folder, store)
}
