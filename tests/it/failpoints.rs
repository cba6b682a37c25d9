//! The real binary, killed at every step of a copy, while somebody reads the
//! replica's folder: no file that a version needs is ever missing, and the next
//! process goes on from there.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arrow::{array::AsArray, datatypes::Int64Type};
use futures::StreamExt;
use lance::dataset::Dataset;
use lancegate::proto::v1::{
    cluster_service_client::ClusterServiceClient, table_service_client::TableServiceClient,
    write_service_client::WriteServiceClient, *,
};
use tempfile::TempDir;
use tonic::transport::Channel;

use super::{
    data::{ipc, small, url},
    place,
    process::{Server, until_some},
};

/// What is done until the process ends at the failpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cause {
    Insert,
    Tag,
    Rebuild,
    Recreate,
}

/// The places in `src/replication`, and what gets there.
const FAILPOINTS: [(&str, Cause); 16] = [
    ("claim:begins", Cause::Insert),
    ("claim:done", Cause::Insert),
    ("copy:file-begins", Cause::Insert),
    ("copy:file", Cause::Insert),
    ("copy:files", Cause::Insert),
    ("copy:manifest", Cause::Insert),
    ("copy:published", Cause::Insert),
    ("copy:served", Cause::Insert),
    ("tag:begins", Cause::Tag),
    ("tag:written", Cause::Tag),
    ("rebuild:ordered", Cause::Rebuild),
    ("drop:unpublishing", Cause::Rebuild),
    ("drop:unpublished", Cause::Rebuild),
    ("rebuild:withheld", Cause::Recreate),
    ("drop:unpublished", Cause::Recreate),
    ("drop:deleting", Cause::Recreate),
];

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_step_it_converges_and_no_reader_misses_a_file() {
    let runs = futures::stream::iter(FAILPOINTS).map(|(place, cause)| killed_at(place, cause));
    let reads: Vec<usize> = runs.buffer_unordered(3).collect().await;
    println!("{} reads of the folder", reads.iter().sum::<usize>());
}

async fn killed_at(place: &'static str, cause: Cause) -> usize {
    let folder = TempDir::new().unwrap();
    let grace = ("LANCEGATE_REPLICATION__DELETE_GRACE", "1s");
    // Claiming is done once: there the replica is new to the process that dies.
    let replicas = usize::from(!place.starts_with("claim"));
    let server = Server::start(folder.path(), replicas, &[grace]).await;
    create(&server.channel).await;
    for i in 1..4 {
        insert(&server.channel, i).await.expect("a commit");
    }
    if replicas > 0 {
        settled(&server.channel).await;
    }
    server.process.kill();
    if cause == Cause::Recreate {
        recreate_behind_its_back(folder.path()).await;
    }

    let reader = Reader::start(folder.path().join("replica-1"), place, cause);
    let env = [grace, ("LANCEGATE_FAILPOINT", place)];
    // It may end before it listens.
    if let Ok(mut server) = Server::try_start(folder.path(), 1, &env).await {
        for attempt in 0.. {
            act(&server.channel, cause, attempt).await;
            if server.process.has_ended() {
                break;
            }
            assert!(
                attempt < 300,
                "{place} was not reached:\n{}",
                server.process.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let server = Server::start(folder.path(), 1, &[grace]).await;
    // Something to copy, so that what is there is compared with the primary.
    until_some(async || insert(&server.channel, 50).await).await;
    settled(&server.channel).await;
    let reads = reader.finish().await;
    let log = server.process.log();
    assert!(!log.contains("diverged"), "{place}:\n{log}");
    // All that the primary's newest version needs is there, byte for byte.
    let newest = rows_of(&folder.path().join("replica-1"))
        .await
        .expect("a table");
    let expected = rows_of(&folder.path().join("primary")).await.unwrap();
    assert_eq!(newest, expected, "{place}");
    let withheld = folder.path().join("replica-1/_lancegate/withheld/t");
    assert!(!place::exists(&withheld));
    if cause == Cause::Tag {
        let table = open(&folder.path().join("replica-1")).await.unwrap();
        assert_eq!(table.tags().list().await.unwrap().len(), 1, "{place}");
    }
    reads
}

async fn create(channel: &Channel) {
    let mut table = TableServiceClient::new(channel.clone());
    until_some(async || {
        let create = CreateTableRequest {
            table: "t".into(),
            source: Some(create_table_request::Source::Rows(ipc(&small(0, 10)))),
            exist_ok: true,
        };
        table.create_table(create).await.ok()
    })
    .await;
}

/// While the replica is off the table is dropped and created again, with as many
/// versions as it had.
async fn recreate_behind_its_back(folder: &Path) {
    let server = Server::start(folder, 0, &[]).await;
    let mut table = TableServiceClient::new(server.channel.clone());
    until_some(async || {
        let drop = DropTableRequest {
            table: "t".into(),
            ignore_missing: false,
        };
        table.drop_table(drop).await.ok()
    })
    .await;
    create(&server.channel).await;
    for i in 1..4 {
        insert(&server.channel, i).await.expect("a commit");
    }
    server.process.kill();
}

async fn insert(channel: &Channel, i: i64) -> Option<()> {
    let insert = InsertRequest {
        request_id: String::new(),
        table: "t".into(),
        rows: Some(ipc(&small(i * 10, 10))),
        mode: 0,
    };
    let mut write = WriteServiceClient::new(channel.clone());
    write.insert(insert).await.ok().map(drop)
}

async fn act(channel: &Channel, cause: Cause, attempt: i64) {
    match cause {
        Cause::Insert => drop(insert(channel, 4 + attempt).await),
        Cause::Tag => {
            let create = CreateTagRequest {
                table: "t".into(),
                tag: Some(Tag {
                    name: "first".into(),
                    version: 2,
                }),
            };
            let mut table = TableServiceClient::new(channel.clone());
            let _ = table.create_tag(create).await;
        }
        // It was done before the process began.
        Cause::Recreate => {}
        Cause::Rebuild => {
            let rebuild = RebuildReplicaRequest {
                replica: "replica-1".into(),
                table: "t".into(),
            };
            let mut cluster = ClusterServiceClient::new(channel.clone());
            let rebuild = cluster.rebuild_replica(rebuild);
            let _ = tokio::time::timeout(Duration::from_secs(3), rebuild).await;
        }
    }
}

/// Waits until the replica serves what the primary does.
async fn settled(channel: &Channel) {
    let mut cluster = ClusterServiceClient::new(channel.clone());
    until_some(async || {
        let topology = cluster.get_topology(GetTopologyRequest {}).await.ok()?;
        let topology = topology.into_inner();
        let position = |i: usize| topology.connections.get(i)?.tables.first();
        let (primary, replica) = (position(0)?, position(1)?);
        (primary.version == replica.version && replica.last_error.is_empty()).then_some(())
    })
    .await;
}

async fn open(folder: &Path) -> lance::Result<Dataset> {
    Dataset::open(&url(&folder.join("t.lance"))).await
}

/// The ids of the newest version, ascending.
async fn rows_of(folder: &Path) -> lance::Result<Vec<i64>> {
    let table = open(folder).await?;
    let batch = table
        .scan()
        .project(&["id", "vector"])?
        .try_into_batch()
        .await?;
    let ids = batch.column_by_name("id").expect("ids");
    let mut ids = ids.as_primitive::<Int64Type>().values().to_vec();
    ids.sort_unstable();
    Ok(ids)
}

/// Reads the replica's folder over and over, as another program would.
struct Reader {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<usize>,
}

impl Reader {
    fn start(folder: PathBuf, place: &'static str, cause: Cause) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut reads = 0;
            while !stopped.load(Ordering::Relaxed) {
                match rows_of(&folder).await {
                    Ok(ids) => {
                        assert!(ids.len() % 10 == 0 && !ids.is_empty(), "{place}: {ids:?}");
                        reads += 1;
                    }
                    Err(e) if reads == 0 && is_no_table(&e) => {}
                    // Between the old copy and the new one there is no table.
                    Err(e) if cause == Cause::Rebuild && is_no_table(&e) => {}
                    Err(e) if cause == Cause::Recreate && is_no_table(&e) => {}
                    Err(e) => panic!("{place}: {e}"),
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            reads
        });
        Self { stop, task }
    }

    async fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("no read failed")
    }
}

/// Whether there is no manifest, or the one that was listed is gone. A missing
/// data file is another thing.
fn is_no_table(error: &lance::Error) -> bool {
    let text = error.to_string();
    matches!(error, lance::Error::DatasetNotFound { .. })
        || (text.contains("ot found") && text.contains("/_versions"))
}
