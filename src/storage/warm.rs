//! Reading the indexes of a version into the cache before anybody searches it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, PoisonError},
};

use lance::index::DatasetIndexExt;
use lance_index::is_system_index;
use uuid::Uuid;

use super::{Snapshot, error};
use crate::domain::Result;

/// The parts of indexes that were warmed, for a version and those before it.
/// Their files never change, so each is read once, and an append that touches no
/// index costs nothing.
#[derive(Debug, Default)]
pub(super) struct Warmed(Mutex<HashSet<Uuid>>);

impl Warmed {
    fn add(&self, parts: impl IntoIterator<Item = Uuid>) {
        let mut warmed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        warmed.extend(parts);
    }

    fn parts(&self) -> HashSet<Uuid> {
        let warmed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        warmed.clone()
    }
}

impl Snapshot {
    /// Reads the indexes into the cache, but for what was read for `before`, a
    /// snapshot of the same table at the same location. Answers how many parts of
    /// indexes were read.
    ///
    /// # Errors
    /// The first part that could not be read. The others were, and it is not
    /// tried again: a search will say better what is wrong with it.
    pub async fn warm(&self, before: Option<&Snapshot>) -> Result<usize> {
        let dataset = error::dataset(&self.table).await?;
        let in_table = |e: lance::Error| error::in_table(&self.name, e.into());
        let indexes = dataset.load_indices().await.map_err(in_table)?;
        let warm = before.map(|b| b.warmed.parts()).unwrap_or_default();
        let mut cold: BTreeMap<&str, Vec<Uuid>> = BTreeMap::new();
        for index in indexes.iter().filter(|index| !is_system_index(index)) {
            if warm.contains(&index.uuid) {
                self.warmed.add([index.uuid]);
            } else {
                cold.entry(&index.name).or_default().push(index.uuid);
            }
        }
        let (mut read, mut first_error) = (0, None);
        for (name, parts) in cold {
            match dataset.prewarm_index_segments(name, &parts).await {
                Ok(()) => read += parts.len(),
                Err(e) => first_error = first_error.or(Some(e)),
            }
            self.warmed.add(parts);
        }
        match first_error {
            Some(e) => Err(in_table(e)),
            None => Ok(read),
        }
    }
}
