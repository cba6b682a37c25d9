//! Reads are never staler than asked: tokens, bounds, the primary, one version.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use lancegate::{
    domain::{self, Bounds, TableName},
    proto::v1::{freshness::Kind, *},
    router::ReadOptions,
};
use tokio::sync::oneshot;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::{
    data::{ipc, small},
    place::looks,
    server::{TestServer, reason, wait_until},
};

/// Replicas stay as they are: something else would have to copy.
const NO_COPIES: (&str, &str) = ("LANCEGATE_REPLICATION__ENABLED", "false");

fn count_with(kind: Option<Kind>) -> CountRequest {
    CountRequest {
        table: "t".into(),
        filter: None,
        freshness: kind.map(|kind| Freshness { kind: Some(kind) }),
    }
}

fn token(token: &str) -> Option<Kind> {
    Some(Kind::Token(token.to_owned()))
}

fn behind(versions: u64) -> Option<Kind> {
    Some(Kind::MaxStaleness(MaxStaleness {
        age: None,
        versions: Some(versions),
    }))
}

async fn count(server: &mut TestServer, kind: Option<Kind>) -> Result<(u64, Served), Status> {
    let answer = server.search.count(count_with(kind)).await?.into_inner();
    Ok((answer.count, answer.served.expect("who answered")))
}

/// Inserts one row; answers the token.
async fn insert(server: &mut TestServer, id: i64) -> String {
    let request = InsertRequest {
        request_id: String::new(),
        table: "t".into(),
        rows: Some(ipc(&small(id, 1))),
        mode: 0,
    };
    let answer = server.write.insert(request).await.expect("a row inserted");
    let header = answer.metadata().get("x-lancegate-token").cloned();
    let served = answer.into_inner().served.expect("who answered");
    assert_eq!(header.expect("the token as metadata"), served.token);
    served.token
}

/// A table of 10 rows on two replicas, which then are left behind by one row.
async fn left_behind(more: &[(&str, &str)]) -> (TestServer, String) {
    let mut server = TestServer::start(2).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    let mut settings = vec![NO_COPIES];
    settings.extend(more);
    let mut server = server.restart_with(2, &settings).await;
    server.settled().await;
    let token = insert(&mut server, 10).await;
    (server, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_with_the_token_of_a_write_sees_it() {
    let mut server = TestServer::start(3).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    for i in 0..40 {
        let written = insert(&mut server, 10 + i).await;
        let (rows, served) = count(&mut server, token(&written)).await.unwrap();
        assert_eq!(rows, 11 + i as u64, "by {}", served.route);
        // And what was read is never unread, by metadata as well.
        let mut request = Request::new(count_with(None));
        let header = served.token.parse().unwrap();
        request.metadata_mut().insert("x-lancegate-token", header);
        let again = server.search.count(request).await.unwrap().into_inner();
        assert_eq!(again.count, rows);
        assert!(again.served.unwrap().version >= served.version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_read_is_woken_by_the_copy() {
    let mut server = TestServer::start(2).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    let patient = [("LANCEGATE_FRESHNESS__WAIT", "20s")];
    let mut server = server.restart_with(2, &patient).await;
    server.settled().await;
    let began = Instant::now();
    for i in 0..10 {
        let written = insert(&mut server, 10 + i).await;
        let (_, served) = count(&mut server, token(&written)).await.unwrap();
        assert_eq!(served.role(), Role::Replica, "{}", served.route);
    }
    assert!(began.elapsed() < Duration::from_secs(15));
}

/// After a start the primary answers alone until a replica has opened its tables.
async fn until_a_replica_answers(server: &mut TestServer) {
    for _ in 0..600 {
        let (_, served) = count(server, None).await.unwrap();
        if served.role() == Role::Replica {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no replica answered within 30 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_replica_is_fresh_the_primary_answers_or_nobody() {
    let wait = ("LANCEGATE_FRESHNESS__WAIT", "150ms");
    let (mut server, written) = left_behind(&[wait]).await;
    let (rows, served) = count(&mut server, None).await.unwrap();
    assert_eq!((rows, served.role()), (10, Role::Replica));
    assert_eq!(served.lag_versions, 1);
    let began = Instant::now();
    let (rows, served) = count(&mut server, token(&written)).await.unwrap();
    assert_eq!((rows, served.route.as_str()), (11, "spilled(primary)"));
    assert!(began.elapsed() >= Duration::from_millis(150));
    assert_eq!(count(&mut server, behind(0)).await.unwrap().0, 11);
    assert_eq!(count(&mut server, behind(1)).await.unwrap().0, 10);

    let alone = ("LANCEGATE_FRESHNESS__SPILL_TO_PRIMARY", "false");
    let mut server = server.restart_with(2, &[NO_COPIES, wait, alone]).await;
    wait_until("the primary's tables looked up", || server.app.serving("")).await;
    until_a_replica_answers(&mut server).await;
    let refused = count(&mut server, token(&written)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(reason(&refused), "NOT_FRESH_ENOUGH");
    let retry = refused.get_details_retry_info().expect("RetryInfo");
    assert!(retry.retry_delay.is_some());
    // The primary's own answer can still be had.
    let strong = count(&mut server, Some(Kind::Strong(Strong {}))).await;
    let (rows, served) = strong.unwrap();
    assert_eq!((rows, served.route.as_str()), (11, "strong(primary)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_is_not_crushed_by_lag() {
    let settings = [
        ("LANCEGATE_FRESHNESS__WAIT", "0s"),
        ("LANCEGATE_FRESHNESS__MAX_SPILLED_READS", "1"),
    ];
    let (mut server, written) = left_behind(&settings).await;
    let table = TableName::parse("t").unwrap();
    let router = Arc::clone(server.app.router().unwrap());
    let newest = router.primary().connection().catalog().position(&table);
    let options = ReadOptions {
        freshness: domain::Freshness::Bounded(Bounds {
            position: newest,
            ..Bounds::NONE
        }),
        wait: Duration::ZERO,
        deadline: None,
    };
    // One read that takes as long as this test wants.
    let (begun, begins) = oneshot::channel();
    let (end, ends) = oneshot::channel::<()>();
    // There is one attempt: the first one takes the channels.
    let channels = std::sync::Mutex::new(Some((begun, ends)));
    let slow = tokio::spawn(async move {
        let read = router.read(&table, &options, |snapshot| {
            let (begun, ends) = channels.lock().unwrap().take().unwrap();
            async move {
                begun.send(()).unwrap();
                ends.await.unwrap();
                Ok(snapshot.version())
            }
        });
        read.await
    });
    begins.await.unwrap();
    for _ in 0..3 {
        let refused = count(&mut server, token(&written)).await.unwrap_err();
        assert_eq!(reason(&refused), "SPILL_LIMIT", "{refused}");
    }
    end.send(()).unwrap();
    let (_, served) = slow.await.unwrap().unwrap();
    assert_eq!(served.route.to_string(), "spilled(primary)");
    let (rows, served) = count(&mut server, token(&written)).await.unwrap();
    assert_eq!((rows, served.route.as_str()), (11, "spilled(primary)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_by_age_and_lancedb_headers_hold() {
    let wait = ("LANCEGATE_FRESHNESS__WAIT", "50ms");
    let (mut server, _) = left_behind(&[wait]).await;
    let age = |seconds| {
        Some(Kind::MaxStaleness(MaxStaleness {
            age: Some(prost_types::Duration { seconds, nanos: 0 }),
            versions: None,
        }))
    };
    // The replicas had everything an hour ago, and not just now.
    assert_eq!(count(&mut server, age(3600)).await.unwrap().0, 10);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(count(&mut server, age(0)).await.unwrap().0, 11);
    let now = chrono::Utc::now().to_rfc3339();
    for (name, value, rows) in [
        ("x-lancedb-min-version", "1", 10),
        ("x-lancedb-min-version", "2", 11),
        ("x-lancedb-min-read-version", "2", 11),
        ("x-lancedb-min-timestamp", "2020-01-01T00:00:00Z", 10),
        ("x-lancedb-min-timestamp", now.as_str(), 11),
    ] {
        let mut request = Request::new(count_with(None));
        request.metadata_mut().insert(name, value.parse().unwrap());
        let answer = server.search.count(request).await.unwrap();
        let version = answer.metadata().get("x-lancedb-version").cloned();
        let answer = answer.into_inner();
        assert_eq!(answer.count, rows, "{name}: {value}");
        let served = answer.served.unwrap().version.to_string();
        assert_eq!(version.unwrap(), served);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_have_defaults_of_their_own() {
    let wait = ("LANCEGATE_FRESHNESS__WAIT", "50ms");
    let mine = ("LANCEGATE_FRESHNESS__TABLES__T", "max_versions=0");
    let (mut server, _) = left_behind(&[wait, mine]).await;
    assert_eq!(count(&mut server, None).await.unwrap().0, 11);
    let eventual = Some(Kind::Eventual(Eventual {}));
    assert_eq!(count(&mut server, eventual).await.unwrap().0, 10);
    let all = ("LANCEGATE_FRESHNESS__DEFAULT", "strong");
    let mut server = server.restart_with(2, &[NO_COPIES, all]).await;
    assert_eq!(count(&mut server, None).await.unwrap().0, 11);
    let eventual = Some(Kind::Eventual(Eventual {}));
    assert_eq!(count(&mut server, eventual).await.unwrap().0, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_hold_everywhere_and_cannot_be_made_up() {
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    server.table_of("u", ipc(&small(0, 10))).await;
    let written = insert(&mut server, 10).await;
    // After a restart.
    let mut server = server.restart(1).await;
    assert_eq!(count(&mut server, token(&written)).await.unwrap().0, 11);

    // Of another primary, of another table, made up.
    let mut other = TestServer::start(1).await;
    other.table_of("t", ipc(&small(0, 10))).await;
    let foreign = insert(&mut other, 10).await;
    for bad in [foreign.as_str(), "AAAA", "x", &written[1..]] {
        let refused = count(&mut server, token(bad)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{bad}");
        let details = refused.get_details_bad_request().expect("BadRequest");
        assert_eq!(details.field_violations[0].field, "freshness.token");
    }
    let request = CountRequest {
        table: "u".into(),
        ..count_with(token(&written))
    };
    let refused = server.search.count(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);

    // Of a table that was dropped and created again since, with as many versions.
    let drop = DropTableRequest {
        table: "t".into(),
        ..Default::default()
    };
    server.table.drop_table(drop).await.unwrap();
    server.table_of("t", ipc(&small(0, 5))).await;
    let newer = insert(&mut server, 6).await;
    let refused = count(&mut server, token(&written)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(reason(&refused), "TABLE_RECREATED");
    assert_eq!(count(&mut server, token(&newer)).await.unwrap().0, 6);
}

/// Says so when it is dropped.
struct Ended(Arc<AtomicBool>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a token says was true when its write was done: who drops the table before
/// the answer is made, and creates it anew, changes nothing of that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_of_the_table_that_was_written() {
    const LOOPS: usize = 150;
    let mut server = TestServer::start(0).await;
    server.create("t", ipc(&small(0, 1))).await;
    let done = Arc::new(AtomicBool::new(false));
    // Also where this ends too soon: a runtime waits for those who never yield.
    let _ended = Ended(Arc::clone(&done));
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (mut write, done) = (server.write.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut tokens = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let request = InsertRequest {
                        table: "t".into(),
                        rows: Some(ipc(&small(1, 1))),
                        ..Default::default()
                    };
                    if let Ok(answer) = write.insert(request).await {
                        tokens.push(answer.into_inner().served.expect("who answered").token);
                    }
                }
                tokens
            })
        })
        .collect();
    for _ in 0..LOOPS {
        let request = DropTableRequest {
            table: "t".into(),
            ignore_missing: false,
        };
        server.table.drop_table(request).await.expect("dropped");
        server.create("t", ipc(&small(0, 1))).await;
    }
    done.store(true, Ordering::Relaxed);
    let mut seen = 0;
    for writer in writers {
        for text in writer.await.expect("a writer") {
            assert_ne!(text, "", "a write was answered without a token");
            if let Err(error) = count(&mut server, token(&text)).await {
                assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
            }
            seen += 1;
        }
    }
    // A slow store does fewer.
    let least = LOOPS / looks(1) as usize;
    assert!(seen > least, "only {seen} writes were done");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_version_is_read_from_whoever_has_it() {
    let mut server = TestServer::start(2).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    for i in 0..5 {
        insert(&mut server, 10 + i).await;
        server.settled().await;
    }
    let tag = CreateTagRequest {
        table: "t".into(),
        tag: Some(Tag {
            name: "then".into(),
            version: 3,
        }),
    };
    server.table.create_tag(tag).await.unwrap();
    let exact = |version| Some(Kind::Exact(ExactVersion { version }));
    use exact_version::Version;
    let mut by = std::collections::BTreeSet::new();
    for version in [1, 2, 3, 4, 5, 6] {
        let asked = exact(Some(Version::Number(version)));
        let (rows, served) = count(&mut server, asked).await.unwrap();
        assert_eq!((rows, served.version), (9 + version, version));
        by.insert(served.connection);
    }
    assert_eq!(by.len(), 2, "replicas answer in turn: {by:?}");
    let tagged = exact(Some(Version::Tag("then".into())));
    assert_eq!(count(&mut server, tagged).await.unwrap().0, 12);
    for (asked, code) in [
        (Some(Version::Number(99)), Code::NotFound),
        (Some(Version::Tag("never".into())), Code::NotFound),
        (Some(Version::Number(0)), Code::InvalidArgument),
        (None, Code::InvalidArgument),
    ] {
        let refused = count(&mut server, exact(asked)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
    }
}
