//! Commits of two processes, and commits whose answer is lost.

use std::sync::atomic::{AtomicBool, Ordering};

use arrow::{array::Int64Array, datatypes::Schema};
use lance_io::object_store::ObjectStore;
use lance_table::{
    format::{IndexMetadata, Manifest},
    io::commit::{CommitError, ManifestLocation, ManifestNamingScheme, ManifestWriter},
};
use object_store::path::Path;

use super::*;
use crate::{
    config::{self, Location, Sources},
    domain::{
        RequestId, TableName,
        request::{Digest, WriteKind},
    },
    storage::Sessions,
};

fn rows() -> RecordBatch {
    let ids = Arc::new(Int64Array::from_iter_values(0..3));
    RecordBatch::try_from_iter([("id", ids as _)]).unwrap()
}

fn request(id: &str) -> WriteRequest {
    WriteRequest {
        id: RequestId::parse(id).unwrap().unwrap(),
        kind: WriteKind::Insert,
        digest: Digest::of(blake3::Hasher::new().update(id.as_bytes())),
    }
}

fn name() -> TableName {
    TableName::parse("t").unwrap()
}

fn location(folder: &std::path::Path) -> (Location, Sessions) {
    let config = config::load(Sources {
        data_dir: Some(folder.to_owned()),
        ..Sources::default()
    })
    .unwrap();
    (
        config.primary.location().unwrap().clone(),
        Sessions::new(config.cache),
    )
}

/// A store as a process of its own has it.
async fn store(folder: &std::path::Path) -> Store {
    let (location, sessions) = location(folder);
    Store::connect(&location, &sessions).await.unwrap()
}

async fn created(store: &Store) -> Handle {
    let schema: Arc<Schema> = rows().schema();
    store.create(&name(), schema, vec![rows()]).await.unwrap()
}

async fn all_recorded(handle: &Handle) -> Vec<Recorded> {
    handle.refresh().await.unwrap();
    let newest = handle.version().await.unwrap();
    let since = std::time::SystemTime::UNIX_EPOCH;
    let entries = handle.recorded(0, newest, since, 100).await.unwrap();
    entries.into_iter().map(|(_, recorded)| recorded).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_one_commits() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (store(folder.path()).await, store(folder.path()).await);
    let at_a = created(&a).await;
    let at_b = b.open(&name()).await.unwrap();
    // Both have looked, and neither has found anything.
    let by_a = a.stage_insert(&at_a, vec![rows()], false).await.unwrap();
    let by_b = b.stage_insert(&at_b, vec![rows()], false).await.unwrap();
    let request = request("the one");
    let done = at_a.commit_once(&a, by_a, &request, 1).await.unwrap();
    let Attempt::Done(first) = done else {
        panic!("{done:?}")
    };
    assert_eq!((first.version, first.counts.inserted), (2, 3));
    let found = at_b.commit_once(&b, by_b, &request, 1).await.unwrap();
    assert!(
        matches!(found, Attempt::Found(found) if found == first),
        "{found:?}"
    );
    assert_eq!(all_recorded(&at_b).await, [first]);
    assert_eq!(at_b.version().await.unwrap(), 2);
    let floor = at_b.first_recorded(&[1, 2], std::time::SystemTime::UNIX_EPOCH);
    assert_eq!(floor.await.unwrap(), Some(2));
}

/// Commits, or does not, and then answers nothing any more.
#[derive(Debug)]
struct Lost {
    inner: Arc<dyn CommitHandler>,
    lands: bool,
    lost: AtomicBool,
}

#[async_trait::async_trait]
impl CommitHandler for Lost {
    async fn commit(
        &self,
        manifest: &mut Manifest,
        indices: Option<Vec<IndexMetadata>>,
        base_path: &Path,
        object_store: &ObjectStore,
        manifest_writer: ManifestWriter,
        naming_scheme: ManifestNamingScheme,
        transaction: Option<lance_table::format::Transaction>,
    ) -> std::result::Result<ManifestLocation, CommitError> {
        self.lost.store(true, Ordering::SeqCst);
        if self.lands {
            let inner = self.inner.commit(
                manifest,
                indices,
                base_path,
                object_store,
                manifest_writer,
                naming_scheme,
                transaction,
            );
            inner.await?;
        }
        Err(lance::Error::internal("the connection was lost").into())
    }

    async fn resolve_version_location(
        &self,
        base_path: &Path,
        version: u64,
        object_store: &dyn object_store::ObjectStore,
    ) -> lance::Result<ManifestLocation> {
        if self.lost.load(Ordering::SeqCst) {
            return Err(lance::Error::internal("there is no connection"));
        }
        let inner = &self.inner;
        inner
            .resolve_version_location(base_path, version, object_store)
            .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_nobody_knows_is_said_to_be_unknown() {
    for lands in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(folder.path()).await;
        let handle = created(&store).await;
        let staged = store.stage_insert(&handle, vec![rows()], false).await;
        let staged = staged.unwrap();
        store.commits = Arc::new(Lost {
            inner: Arc::clone(&store.commits),
            lands,
            lost: AtomicBool::new(false),
        });
        let outcome = handle.commit_once(&store, staged, &request("a"), 1).await;
        assert_eq!(outcome.err(), Some(Error::OutcomeUnknown), "{lands}");
        // Whoever can look again finds out.
        assert_eq!(all_recorded(&handle).await.len(), usize::from(lands));
    }
}
