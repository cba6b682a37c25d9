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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{Int64Array, RecordBatch},
        datatypes::{DataType, Field, Schema},
    };
    use lancedb::index::Index;

    use crate::{
        domain::TableName,
        storage::{Handle, tests::local},
    };

    fn rows(first: i64) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("id", DataType::Int64, false)]);
        let ids = Int64Array::from_iter_values(first..first + 100);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids)]).unwrap()
    }

    async fn index(handle: &Handle) {
        let index = handle.table.create_index(&["id"], Index::Auto);
        index.replace(true).execute().await.unwrap();
    }

    #[tokio::test]
    async fn each_part_of_an_index_is_read_once() {
        let (_folder, store) = local().await;
        let name = TableName::parse("t").unwrap();
        let batch = rows(0);
        let handle = store
            .create(&name, batch.schema(), vec![batch])
            .await
            .unwrap();
        let bare = handle.snapshot().await.unwrap();
        assert_eq!(bare.warm(None).await, Ok(0));
        index(&handle).await;
        let indexed = handle.snapshot().await.unwrap();
        assert_eq!(indexed.warm(Some(&bare)).await, Ok(1));
        // An append touches no index.
        handle.table.add(rows(100)).execute().await.unwrap();
        let appended = handle.snapshot().await.unwrap();
        assert_eq!(appended.warm(Some(&indexed)).await, Ok(0));
        index(&handle).await;
        let again = handle.snapshot().await.unwrap();
        assert_eq!(again.warm(Some(&appended)).await, Ok(1));
    }
}
