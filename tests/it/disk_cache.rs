//! The cache on the local disk in front of a store that is far away. Without a store
//! it is tested beside its code; what it is worth is found out here.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::{
    array::{FixedSizeListArray, Float32Array, Int64Array, RecordBatch},
    datatypes::{DataType, Field},
};
use lancegate::proto::v1::{search_service_client::SearchServiceClient, *};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;

use super::{
    data::{batch, floats, ids, ipc},
    faulty::{
        endpoint,
        proxy::{Faults, Proxy},
        through,
    },
    place,
    process::{Server, until_some},
    server::{TestServer, http_get},
};

const ROWS: usize = 20_000;
const WIDTH: i32 = 64;
const LATENCY: Duration = Duration::from_millis(20);
const SEARCHES: usize = 11;

fn rows(rng: &mut StdRng) -> RecordBatch {
    let values: Vec<f32> = (0..ROWS * WIDTH as usize).map(|_| rng.random()).collect();
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let values = Arc::new(Float32Array::from(values));
    let vectors = FixedSizeListArray::try_new(item, WIDTH, values, None).unwrap();
    let ids = Int64Array::from_iter_values(0..ROWS as i64);
    RecordBatch::try_from_iter([
        ("id", Arc::new(ids) as _),
        ("vector", Arc::new(vectors) as _),
    ])
    .unwrap()
}

/// What one server found, and how long it took.
struct Run {
    first: Duration,
    /// The median of those after the first.
    later: Duration,
    /// Of the first search, to the store.
    requests: u64,
    answers: Vec<Vec<i64>>,
    metrics: String,
}

/// Waits until all connections have the table.
async fn has_the_table(server: &Server) {
    let mut cluster = cluster_service_client::ClusterServiceClient::new(server.channel.clone());
    until_some(async || {
        let topology = cluster.get_topology(GetTopologyRequest {}).await.ok()?;
        let mut connections = topology.into_inner().connections.into_iter();
        // One that lacks it is behind by all of it.
        let has = |c: &ConnectionStatus| c.tables.len() == 1 && c.tables[0].version > 0;
        connections.all(|c| has(&c)).then_some(())
    })
    .await;
}

/// Waits until the start of a server is over, which asks the store for much.
async fn quiet(proxy: &Proxy) {
    let mut before = u64::MAX;
    while before != proxy.requests() {
        before = proxy.requests();
        tokio::time::sleep(20 * LATENCY).await;
    }
}

async fn run(proxy: &Proxy, folder: &Path, cache: Option<&Path>) -> Run {
    let mut settings = through(proxy, folder);
    if let Some(cache) = cache {
        let cache = cache.display().to_string();
        settings.push(("LANCEGATE_CACHE__DISK_FOLDER".into(), cache));
    }
    // Only reads: nothing else asks the store meanwhile.
    for key in ["REPLICATION__POLL_INTERVAL", "HEALTH__PROBE_INTERVAL"] {
        settings.push((format!("LANCEGATE_{key}"), "1h".into()));
    }
    let env: Vec<_> = settings.iter().map(|(k, v)| (&**k, &**v)).collect();
    let server = Server::start(folder, 1, &env).await;
    has_the_table(&server).await;
    quiet(proxy).await;
    let mut search = SearchServiceClient::new(server.channel.clone());
    let mut rng = StdRng::seed_from_u64(5);
    let (mut times, mut answers, before) = (Vec::new(), Vec::new(), proxy.requests());
    let mut requests = 0;
    for _ in 0..SEARCHES {
        let vector: Vec<f32> = (0..WIDTH).map(|_| rng.random()).collect();
        let request = SearchRequest {
            table: "t".into(),
            query: Some(Query {
                vectors: vec![floats(&vector)],
                limit: 10,
                columns: vec!["id".into()],
                ..Default::default()
            }),
            ..Default::default()
        };
        let began = Instant::now();
        let answer = search.search(request).await.expect("an answer");
        times.push(began.elapsed());
        let answer = answer.into_inner();
        assert!(answer.served.unwrap().connection.starts_with("replica"));
        answers.push(ids(&batch(answer.rows)));
        if answers.len() == 1 {
            requests = proxy.requests() - before;
        }
    }
    let (_, metrics) = http_get(server.process.address("http"), "/metrics").await;
    // Stopped, not killed: what waits to be written is.
    assert!(server.process.terminate().await.success());
    let first = times.remove(0);
    times.sort();
    Run {
        first,
        later: times[times.len() / 2],
        requests,
        answers,
        metrics,
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a store: tests/external/checks/stores.sh has one"]
async fn what_was_read_once_needs_no_store() {
    let folder = TempDir::new().unwrap();
    let cache = TempDir::new().unwrap();
    let proxy = Proxy::start(&endpoint(), Faults::far(LATENCY)).await;
    let settings = through(&proxy, folder.path());
    let env: Vec<_> = settings.iter().map(|(k, v)| (&**k, &**v)).collect();
    let server = Server::start(folder.path(), 1, &env).await;
    let mut table = table_service_client::TableServiceClient::new(server.channel.clone());
    let rows = ipc(&rows(&mut StdRng::seed_from_u64(4)));
    until_some(async || {
        let create = CreateTableRequest {
            table: "t".into(),
            source: Some(create_table_request::Source::Rows(rows.clone())),
            exist_ok: true,
        };
        table.create_table(create).await.ok()
    })
    .await;
    has_the_table(&server).await;
    assert!(server.process.terminate().await.success());

    let without = run(&proxy, folder.path(), None).await;
    let cold = run(&proxy, folder.path(), Some(cache.path())).await;
    let warm = run(&proxy, folder.path(), Some(cache.path())).await;
    for (name, run) in [
        ("no cache", &without),
        ("an empty one", &cold),
        ("a warm one", &warm),
    ] {
        println!(
            "{ROWS} x {WIDTH}, a store {LATENCY:?} away, {name}: first search {:.1?} and {} requests, later ones {:.1?}",
            run.first, run.requests, run.later
        );
    }
    assert_eq!(without.answers, cold.answers);
    assert_eq!(without.answers, warm.answers);
    assert!(cold.requests > 0);
    assert_eq!(warm.requests, 0, "what was read is on the disk");
    assert!(
        !without
            .metrics
            .contains("lancegate_disk_cache_pages_total{")
    );
    let hits = "lancegate_disk_cache_pages_total{result=\"hit\"}";
    assert!(warm.metrics.contains(hits), "{}", warm.metrics);
}

/// The ids that one read finds.
async fn scanned(server: &mut TestServer) -> Result<Vec<i64>, tonic::Status> {
    let scan = ScanRequest {
        table: "t".into(),
        query: Some(ScanQuery {
            columns: vec!["id".into()],
            ..Default::default()
        }),
        page_size: 1000,
        ..Default::default()
    };
    let answer = server.search.scan(scan).await?.into_inner();
    assert_eq!(answer.served.unwrap().connection, "replica-1");
    Ok(ids(&batch(answer.rows)))
}

/// What rotted is read, and kept, like anything else.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a store: tests/external/checks/stores.sh has one"]
async fn a_rebuild_is_read_and_not_what_was_kept_of_before() {
    let mut server = TestServer::start(1).await;
    // Small files are read whole, and past the cache.
    let rows = rows(&mut StdRng::seed_from_u64(6));
    server.table_of("t", ipc(&rows)).await;
    let data = server.folder.path().join("replica-1/t.lance/data");
    let file = data.join(place::files(&data).keys().next().unwrap());
    let good = place::read(&file).unwrap();
    place::write(&file, &vec![0; good.len()]);
    let cache = TempDir::new().unwrap();
    let disk = cache.path().display().to_string();
    let settings = [("LANCEGATE_CACHE__DISK_FOLDER", disk.as_str())];
    let mut server = server.restart_with(1, &settings).await;
    server.settled().await;
    scanned(&mut server).await.unwrap_err();
    place::write(&file, &good);
    scanned(&mut server).await.expect_err("it is kept");
    let request = RebuildReplicaRequest {
        replica: "replica-1".into(),
        table: "t".into(),
    };
    server.cluster.rebuild_replica(request).await.unwrap();
    let found = scanned(&mut server).await.unwrap();
    assert!(found.into_iter().eq(0..1000));
    let mut server = server.restart_with(1, &settings).await;
    server.settled().await;
    let found = scanned(&mut server).await.unwrap();
    assert!(found.into_iter().eq(0..1000));
}
