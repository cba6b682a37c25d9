//! Old versions are deleted by the server, and none that somebody still needs.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use lance::dataset::Dataset;
use lancegate::proto::v1::{freshness::Kind, *};
use tempfile::TempDir;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{
    data::{ipc, small, url},
    place::{files, looks, pause, read, write},
    process::{Server, until_some},
    server::{TestServer, http_get, reason, settings_with},
};

/// Everything is old after 100 ms, and the newest two versions are kept. The first
/// two settings are not of retention.
const SOON: [(&str, &str); 6] = [
    ("LANCEGATE_REPLICATION__LEASE", "true"),
    ("LANCEGATE_REPLICATION__LEASE_TTL", "1s"),
    ("LANCEGATE_RETENTION__ENABLED", "true"),
    ("LANCEGATE_RETENTION__MAX_AGE", "0s"),
    ("LANCEGATE_RETENTION__MIN_VERSIONS", "2"),
    ("LANCEGATE_RETENTION__INTERVAL", "100ms"),
];

async fn start(replicas: usize, env: &[(&str, &str)]) -> TestServer {
    let folder = TempDir::new().unwrap();
    let config = settings_with(folder.path(), replicas, env);
    TestServer::start_with(folder, config).await
}

/// Writes until the table has this version.
async fn commits(server: &mut TestServer, versions: std::ops::RangeInclusive<u64>) {
    for version in versions {
        let rows = ipc(&small(version as i64 * 10, 10));
        if version == 1 {
            server.table_of("t", rows).await;
            continue;
        }
        let insert = InsertRequest {
            request_id: String::new(),
            table: "t".into(),
            rows: Some(rows),
            mode: 0,
        };
        let written = server.write.insert(insert).await.unwrap().into_inner();
        assert_eq!(written.version, version);
    }
}

/// The versions whose manifests a place has.
fn versions(place: &Path) -> Vec<u64> {
    let names = files(&place.join("t.lance/_versions")).into_keys();
    let mut found: Vec<u64> = names
        .filter_map(|name| {
            let number: u64 = name.strip_suffix(".manifest")?.parse().ok()?;
            Some(u64::MAX - number)
        })
        .collect();
    found.sort_unstable();
    found
}

fn incarnation(place: &Path) -> String {
    let bytes = read(&place.join("t.lance/_lancegate/incarnation"));
    String::from_utf8(bytes.expect("a mark")).unwrap()
}

async fn until(place: &Path, expected: &[u64]) {
    for _ in 0..looks(1500) {
        if versions(place) == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let name = place.file_name().unwrap().display();
    panic!("{name} has {:?}, not {expected:?}", versions(place));
}

/// Long enough for several looks at what may go.
async fn several_looks() {
    tokio::time::sleep(Duration::from_millis(1_000)).await;
}

fn place(server: &TestServer, name: &str) -> std::path::PathBuf {
    server.folder.path().join(name)
}

async fn count(server: &mut TestServer, kind: Option<Kind>) -> Result<CountResponse, Status> {
    let request = CountRequest {
        table: "t".into(),
        filter: None,
        freshness: kind.map(|kind| Freshness { kind: Some(kind) }),
    };
    server.search.count(request).await.map(|a| a.into_inner())
}

fn exactly(version: u64) -> Option<Kind> {
    Some(Kind::Exact(ExactVersion {
        version: Some(exact_version::Version::Number(version)),
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_are_kept_by_age_and_by_count_on_the_primary_and_on_replicas() {
    let mut server = start(2, &SOON[..2]).await;
    commits(&mut server, 1..=6).await;
    server.settled().await;
    let all: Vec<u64> = (1..=6).collect();
    let with = |age: &'static str, table: &'static str| {
        let mut env = SOON.to_vec();
        env.extend([
            ("LANCEGATE_RETENTION__MAX_AGE", age),
            ("LANCEGATE_RETENTION__TABLES__T__MIN_VERSIONS", table),
        ]);
        env
    };
    // Young enough, however many there are.
    let mut server = server.restart_with(2, &with("1h", "2")).await;
    server.settled().await;
    several_looks().await;
    assert_eq!(versions(&place(&server, "primary")), all);
    // Few enough, however old they are.
    let mut server = server.restart_with(2, &with("0s", "6")).await;
    server.settled().await;
    several_looks().await;
    assert_eq!(versions(&place(&server, "primary")), all);
    // Neither.
    let mut server = server.restart_with(2, &with("0s", "3")).await;
    for name in ["primary", "replica-1", "replica-2"] {
        until(&place(&server, name), &[4, 5, 6]).await;
    }
    commits(&mut server, 7..=8).await;
    for name in ["primary", "replica-1", "replica-2"] {
        until(&place(&server, name), &[6, 7, 8]).await;
    }
    // Counted, and the files that only old versions had went as well.
    several_looks().await;
    let (_, text) = http_get(server.app.http_address(), "/metrics").await;
    assert!(text.contains("lancegate_pruned_versions_total{connection=\"replica-2\"}"));
    for name in ["primary", "replica-1", "replica-2"] {
        let table = open(&place(&server, name)).await;
        assert_eq!(table.count_rows(None).await.unwrap(), 80);
        assert_eq!(
            orphans(&place(&server, name)).await,
            BTreeSet::new(),
            "{name}"
        );
    }
    // What is gone is said to be gone, and what never was is not there.
    for version in 1..=9 {
        match count(&mut server, exactly(version)).await {
            Ok(answer) => {
                assert!((6..=8).contains(&version), "{version}");
                assert_eq!(answer.count, version * 10);
            }
            Err(status) if version == 9 => assert_eq!(status.code(), Code::NotFound),
            Err(status) => {
                assert!(version < 6, "{version}: {status}");
                refused_as_pruned(&status);
            }
        }
    }
    let restore = RestoreVersionRequest {
        table: "t".into(),
        target: Some(restore_version_request::Target::Version(2)),
    };
    refused_as_pruned(&server.table.restore_version(restore).await.unwrap_err());
    let tag = create_tag("late", 2);
    refused_as_pruned(&server.table.create_tag(tag).await.unwrap_err());
}

fn refused_as_pruned(status: &Status) {
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    let info = status.get_details_error_info().expect("ErrorInfo");
    assert_eq!(info.reason, "VERSION_PRUNED");
}

fn create_tag(name: &str, version: u64) -> CreateTagRequest {
    CreateTagRequest {
        table: "t".into(),
        tag: Some(Tag {
            name: name.into(),
            version,
        }),
    }
}

async fn open(place: &Path) -> Dataset {
    let uri = url(&place.join("t.lance"));
    Dataset::open(&uri).await.unwrap()
}

/// Files of a table that none of its versions has.
async fn orphans(place: &Path) -> BTreeSet<String> {
    let table = open(place).await;
    let mut needed = BTreeSet::new();
    for version in versions(place) {
        let old = table.checkout_version(version).await.unwrap();
        // The version is whole.
        assert_eq!(old.count_rows(None).await.unwrap(), version as usize * 10);
        let files = old.get_fragments().into_iter().flat_map(|fragment| {
            let files = fragment.metadata().files.clone();
            files.into_iter().map(|file| file.path)
        });
        needed.extend(files);
    }
    files(&place.join("t.lance/data"))
        .into_keys()
        .filter(|name| !needed.contains(name))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_off_holds_what_it_has_not_passed() {
    let mut server = start(2, &SOON).await;
    commits(&mut server, 1..=4).await;
    for name in ["primary", "replica-1", "replica-2"] {
        until(&place(&server, name), &[3, 4]).await;
    }
    let (there, away) = (place(&server, "replica-1"), place(&server, "away"));
    std::fs::rename(&there, &away).unwrap();
    let mut seen = false;
    for _ in 0..300 {
        let topology = server.cluster.get_topology(GetTopologyRequest {}).await;
        let topology = topology.unwrap().into_inner();
        seen = topology.connections[1].state() == ConnectionState::Down;
        if seen {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(seen, "the replica is not down");
    commits(&mut server, 5..=9).await;
    until(&place(&server, "primary"), &[4, 5, 6, 7, 8, 9]).await;
    several_looks().await;
    let held: Vec<u64> = (4..=9).collect();
    assert_eq!(versions(&place(&server, "primary")), held);
    // Nor does it go because a client wishes it.
    let optimize = OptimizeTableRequest {
        table: "t".into(),
        prune_older_than: Some(prost_types::Duration::default()),
        ..Default::default()
    };
    let pruned = server.table.optimize_table(optimize).await.unwrap();
    assert_eq!(pruned.into_inner().versions_removed, 0);
    assert_eq!(versions(&place(&server, "primary")), held);
    // Back again it takes what it lacks, and then the old ones go.
    std::fs::rename(&away, &there).unwrap();
    for name in ["primary", "replica-1", "replica-2"] {
        until(&place(&server, name), &[8, 9]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_of_which_nothing_is_known_holds_everything() {
    let mut server = start(1, &SOON[..2]).await;
    commits(&mut server, 1..=5).await;
    server.settled().await;
    // No folder can be there.
    let blocked = place(&server, "replica-2");
    std::fs::write(&blocked, "").unwrap();
    let server = server.restart_with(2, &SOON).await;
    several_looks().await;
    assert_eq!(versions(&place(&server, "primary")), [1, 2, 3, 4, 5]);
    std::fs::remove_file(&blocked).unwrap();
    until(&place(&server, "primary"), &[4, 5]).await;
    until(&place(&server, "replica-1"), &[4, 5]).await;
    until(&place(&server, "replica-2"), &[5]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_holds_its_version() {
    let mut server = start(1, &SOON[..2]).await;
    commits(&mut server, 1..=3).await;
    server.settled().await;
    server.table.create_tag(create_tag("a", 2)).await.unwrap();
    let mut server = server.restart_with(1, &SOON).await;
    commits(&mut server, 4..=6).await;
    for name in ["primary", "replica-1"] {
        until(&place(&server, name), &[2, 5, 6]).await;
    }
    several_looks().await;
    for name in ["primary", "replica-1"] {
        assert_eq!(versions(&place(&server, name)), [2, 5, 6]);
    }
    assert_eq!(count(&mut server, exactly(2)).await.unwrap().count, 20);
    let delete = DeleteTagRequest {
        table: "t".into(),
        name: "a".into(),
    };
    server.table.delete_tag(delete).await.unwrap();
    for name in ["primary", "replica-1"] {
        until(&place(&server, name), &[5, 6]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_holds_until_it_has_expired() {
    let mut server = start(1, &SOON[..2]).await;
    commits(&mut server, 1..=3).await;
    server.settled().await;
    let primary = place(&server, "primary");
    let incarnation = incarnation(&primary);
    let pin = |seconds_from_now: i64| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let at = now.unwrap().as_millis() as i64 + seconds_from_now * 1000;
        let text = format!(r#"{{"incarnation":"{incarnation}","version":2,"expires_at_ms":{at}}}"#);
        write(&primary.join("_lancegate/pins/t/somebody"), text.as_bytes());
    };
    pin(3600);
    let mut server = server.restart_with(1, &SOON).await;
    commits(&mut server, 4..=6).await;
    for name in ["primary", "replica-1"] {
        until(&place(&server, name), &[2, 3, 4, 5, 6]).await;
    }
    // Expired by a clock that may be behind ours.
    pin(-30);
    several_looks().await;
    for name in ["primary", "replica-1"] {
        assert_eq!(versions(&place(&server, name)), [2, 3, 4, 5, 6]);
    }
    assert_eq!(count(&mut server, exactly(2)).await.unwrap().count, 20);
    pin(-61);
    for name in ["primary", "replica-1"] {
        until(&place(&server, name), &[5, 6]).await;
    }
}

/// Reads that last are given `replication.delete_grace`, here 2 s.
#[tokio::test(flavor = "multi_thread")]
async fn readers_notice_nothing() {
    let mut env = SOON.to_vec();
    env.push(("LANCEGATE_REPLICATION__DELETE_GRACE", "2s"));
    let mut server = start(2, &env).await;
    commits(&mut server, 1..=1).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for _ in 0..3 {
        let (mut search, stop) = (server.search.clone(), Arc::clone(&stop));
        readers.push(tokio::spawn(async move {
            let mut reads = 0;
            while !stop.load(Ordering::Relaxed) {
                let scan = ScanRequest {
                    table: "t".into(),
                    query: Some(ScanQuery {
                        columns: vec!["id".into(), "vector".into()],
                        ..Default::default()
                    }),
                    page_size: 10_000,
                    ..Default::default()
                };
                let answer = search.scan(scan).await.expect("an answer").into_inner();
                let version = answer.served.unwrap().version;
                assert_eq!(u64::from(answer.num_rows), version * 10);
                reads += 1;
                tokio::time::sleep(pause(Duration::from_millis(5))).await;
            }
            reads
        }));
    }
    for version in 2..=30 {
        commits(&mut server, version..=version).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for name in ["primary", "replica-1", "replica-2"] {
        until(&place(&server, name), &[29, 30]).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut reads = 0;
    for reader in readers {
        reads += reader.await.expect("no read failed");
    }
    println!("{reads} reads while 28 versions went");
    assert!(reads > 100 / looks(1), "{reads}");
}

/// Killed in the middle, the next process finishes it: every version that is there
/// is whole, and nothing is left behind.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_prunes_a_replica_it_leaves_whole_versions() {
    for place in ["prune:begins", "prune:deleting", "prune:unpublished"] {
        let mut server = start(1, &SOON[..2]).await;
        commits(&mut server, 1..=6).await;
        // Files that only old versions have.
        let compact = OptimizeTableRequest {
            table: "t".into(),
            compact: true,
            ..Default::default()
        };
        server.table.optimize_table(compact).await.unwrap();
        server.settled().await;
        let TestServer { app, folder, .. } = server;
        app.stop().await.unwrap();
        let replica = folder.path().join("replica-1");
        let newest = versions(&replica).len() as u64;

        let mut env = SOON.to_vec();
        env.push(("LANCEGATE_RETENTION__MIN_VERSIONS", "1"));
        let mut broken = env.clone();
        broken.push(("LANCEGATE_FAILPOINT", place));
        if let Ok(mut server) = Server::try_start(folder.path(), 1, &broken).await {
            until_some(async || server.process.has_ended().then_some(())).await;
        }
        let table = open(&replica).await;
        for version in versions(&replica) {
            let old = table.checkout_version(version).await.unwrap();
            old.scan().try_into_batch().await.unwrap();
            // What no scan reads is a file of the version too.
            let transaction = old.manifest().transaction_file.as_ref().unwrap();
            let path = replica.join("t.lance/_transactions").join(transaction);
            assert!(read(&path).is_some(), "version {version}");
        }
        let _server = Server::start(folder.path(), 1, &env).await;
        until(&replica, &[newest]).await;
        let data = replica.join("t.lance/data");
        until_some(async || (files(&data).len() == 1).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_holds_its_version_until_it_is_closed() {
    let mut server = start(1, &SOON).await;
    commits(&mut server, 1..=1).await;
    let request = OpenSessionRequest {
        table: "t".into(),
        ..Default::default()
    };
    let opened = server.search.open_session(request.clone()).await.unwrap();
    let opened = opened.into_inner();
    let in_session = || Some(Kind::Session(opened.session.clone()));
    commits(&mut server, 2..=6).await;
    server.settled().await;
    several_looks().await;
    for name in ["primary", "replica-1"] {
        assert_eq!(versions(&place(&server, name)).first(), Some(&1), "{name}");
    }
    assert_eq!(count(&mut server, in_session()).await.unwrap().count, 10);
    // The floor has passed it: it is renewed because it is held, and nobody else
    // may begin to hold it.
    let renew = RenewSessionRequest {
        table: "t".into(),
        session: opened.session.clone(),
        ttl: None,
    };
    server.search.renew_session(renew).await.unwrap();
    let another = OpenSessionRequest {
        freshness: exactly(1).map(|kind| Freshness { kind: Some(kind) }),
        ..request
    };
    let refused = server.search.open_session(another).await.unwrap_err();
    assert_eq!(reason(&refused), "VERSION_PRUNED");
    assert_eq!(count(&mut server, in_session()).await.unwrap().count, 10);
    let close = CloseSessionRequest {
        table: "t".into(),
        session: opened.session.clone(),
    };
    server.search.close_session(close).await.unwrap();
    for name in ["primary", "replica-1"] {
        until(&place(&server, name), &[5, 6]).await;
    }
    // Not even from what this process had open.
    let mut server = server.restart_with(1, &SOON).await;
    let gone = count(&mut server, in_session()).await.unwrap_err();
    assert_eq!(reason(&gone), "VERSION_PRUNED");
}

/// A floor that another process has just written: what is below may go while a
/// restore or a new tag relies on it.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_gone_at_any_moment_is_neither_restored_nor_tagged() {
    let mut server = start(0, &[]).await;
    commits(&mut server, 1..=4).await;
    server.table.create_tag(create_tag("a", 1)).await.unwrap();
    let primary = place(&server, "primary");
    let floor = format!("{}-{:020}", incarnation(&primary), 3);
    write(&primary.join("_lancegate/floors/t").join(floor), b"");
    let restore = |version| RestoreVersionRequest {
        table: "t".into(),
        target: Some(restore_version_request::Target::Version(version)),
    };
    refused_as_pruned(&server.table.restore_version(restore(2)).await.unwrap_err());
    refused_as_pruned(
        &server
            .table
            .create_tag(create_tag("b", 2))
            .await
            .unwrap_err(),
    );
    // A tag spares version 1; version 3 is not below the floor.
    for version in [1, 3] {
        server
            .table
            .restore_version(restore(version))
            .await
            .unwrap();
        let tag = create_tag(&format!("of-{version}"), version);
        server.table.create_tag(tag).await.unwrap();
    }
    // None of that left a pin behind.
    let pins = files(&primary.join("_lancegate/pins/t"));
    assert_eq!(pins.len(), 0);
}

/// Whoever began to read a version of a replica while it was served has the grace
/// to finish, from when the primary has it no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_keeps_what_the_primary_deleted_for_the_grace() {
    const GRACE: Duration = Duration::from_secs(2);
    let mut server = start(1, &SOON[..2]).await;
    commits(&mut server, 1..=4).await;
    server.settled().await;
    let mut env = SOON.to_vec();
    env.push(("LANCEGATE_REPLICATION__DELETE_GRACE", "2s"));
    let server = server.restart_with(1, &env).await;
    let gone_from = async |name: &str| {
        let place = place(&server, name);
        until_some(async || (!versions(&place).contains(&1)).then(Instant::now)).await
    };
    let (primary, replica) = tokio::join!(gone_from("primary"), gone_from("replica-1"));
    let kept = replica.duration_since(primary);
    // Half of it is for our own looks, which a busy machine delays.
    assert!(kept > GRACE / 2, "{kept:?}");
}
