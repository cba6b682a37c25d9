//! The audit log of real servers: who changed what, and that nothing is changed that
//! must be audited and cannot be.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use lancegate::proto::v1::{write_service_client::WriteServiceClient, *};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value as Json;
use tempfile::TempDir;
use tonic::{Code, Request, codec::CompressionEncoding, transport::Endpoint};

use super::{
    data::{ipc, ipc_bytes, small},
    nodes::fleet::Fleet,
    process::{self, Background},
    server::{TestServer, http_get, reason, settings_with},
};

/// What no line may have in it.
const SECRET: &str = "hunter2";

/// Settings of an audit log in a folder of its own.
struct Log(PathBuf);

impl Log {
    fn within(folder: &Path) -> Self {
        Self(folder.join("audit"))
    }

    fn settings(&self, required: bool) -> Vec<(&'static str, String)> {
        vec![
            ("LANCEGATE_AUDIT__TO", "file".into()),
            ("LANCEGATE_AUDIT__FOLDER", self.0.display().to_string()),
            ("LANCEGATE_AUDIT__ROTATION", "never".into()),
            ("LANCEGATE_AUDIT__REQUIRED", required.to_string()),
        ]
    }

    fn text(&self) -> String {
        fs::read_to_string(self.0.join("audit.jsonl")).unwrap_or_default()
    }

    fn lines(&self) -> Vec<Json> {
        parsed(&self.text())
    }

    /// Waits until there are so many outcomes.
    async fn outcomes(&self, count: usize) -> Vec<Json> {
        for _ in 0..1_500 {
            let outcomes: Vec<Json> = self
                .lines()
                .into_iter()
                .filter(|line| line["event"] == "outcome")
                .collect();
            if outcomes.len() >= count {
                return outcomes;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not {count} outcomes within 30 s:\n{}", self.text());
    }
}

fn parsed(text: &str) -> Vec<Json> {
    let parsed = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
    text.lines().map(parsed).collect()
}

async fn start(required: bool) -> (TestServer, Log) {
    let folder = TempDir::new().unwrap();
    let log = Log::within(folder.path());
    let settings = log.settings(required);
    let more: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let config = settings_with(folder.path(), 1, &more);
    (TestServer::start_with(folder, config).await, log)
}

fn insert(first: i64, rows: i64) -> InsertRequest {
    InsertRequest {
        table: "t".into(),
        rows: Some(ipc(&small(first, rows))),
        ..Default::default()
    }
}

fn delete(sql: &str, id: &str) -> DeleteRequest {
    DeleteRequest {
        table: "t".into(),
        filter: Some(Filter {
            sql: sql.into(),
            params: vec![],
        }),
        request_id: id.into(),
    }
}

async fn rows(server: &mut TestServer) -> u64 {
    let strong = freshness::Kind::Strong(Strong {});
    let request = CountRequest {
        table: "t".into(),
        freshness: Some(Freshness { kind: Some(strong) }),
        filter: None,
    };
    let answer = server.search.count(request).await;
    answer.unwrap().into_inner().count
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_has_its_lines() {
    let (mut server, log) = start(true).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    let mut request = Request::new(insert(10, 5));
    request.get_mut().request_id = "write-1".into();
    let id = "call-1".parse().unwrap();
    request.metadata_mut().insert("x-request-id", id);
    server.write.insert(request).await.unwrap();
    let mut again = insert(10, 5);
    again.request_id = "write-1".into();
    assert!(
        server
            .write
            .insert(again)
            .await
            .unwrap()
            .into_inner()
            .repeated
    );
    let update = UpdateRequest {
        table: "t".into(),
        filter: Some(Filter {
            sql: "text <> $1".into(),
            params: vec![Value {
                kind: Some(value::Kind::StringValue(SECRET.into())),
            }],
        }),
        assignments: vec![Assignment {
            column: "text".into(),
            to: Some(assignment::To::Expression(format!("'{SECRET}'"))),
        }],
        request_id: String::new(),
    };
    server.write.update(update).await.unwrap();
    server.write.delete(delete("id < 4", "")).await.unwrap();
    let wrong = format!("nosuch = '{SECRET}'");
    server.write.delete(delete(&wrong, "")).await.unwrap_err();
    let elsewhere = InsertRequest {
        table: format!("../{SECRET}"),
        ..insert(0, 1)
    };
    server.write.insert(elsewhere).await.unwrap_err();
    let part = |first: i64| ImportRequest {
        table: "t".into(),
        arrow_ipc: ipc_bytes(&small(first, 4)).into(),
        ..Default::default()
    };
    let parts = tokio_stream::iter([part(100), part(104)]);
    server.write.import(parts).await.unwrap();
    let tag = CreateTagRequest {
        table: "t".into(),
        tag: Some(Tag {
            name: "first".into(),
            version: 1,
        }),
    };
    server.table.create_tag(tag).await.unwrap();
    let drain = DrainConnectionRequest {
        connection: "replica-1".into(),
    };
    server.cluster.drain_connection(drain).await.unwrap();
    let reload = ReloadConfigurationRequest::default();
    server
        .cluster
        .reload_configuration(reload)
        .await
        .unwrap_err();
    let drop = DropTableRequest {
        table: "t".into(),
        ..Default::default()
    };
    server.table.drop_table(drop).await.unwrap();
    // None of these changes anything.
    server
        .cluster
        .get_topology(GetTopologyRequest {})
        .await
        .unwrap();
    let list = ListTablesRequest::default();
    server.table.list_tables(list).await.unwrap();

    let outcomes = log.outcomes(12).await;
    let short = |line: &Json| {
        let action = line["action"].as_str().unwrap().to_owned();
        let action = action.rsplit_once('/').unwrap().1.to_owned();
        let text = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
        let number = |key: &str| line[key].as_u64().map_or("-".to_owned(), |n| n.to_string());
        let rows = |key: &str| line["rows"][key].as_u64().unwrap_or(0);
        format!(
            "{action} {} {} {}>{} +{} ~{} -{}",
            text("table"),
            text("code"),
            number("version_before"),
            number("version_after"),
            rows("inserted"),
            rows("updated"),
            rows("deleted"),
        )
    };
    let found: Vec<String> = outcomes.iter().map(short).collect();
    assert_eq!(
        found,
        [
            "CreateTable t OK ->1 +0 ~0 -0",
            "Insert t OK 1>2 +5 ~0 -0",
            "Insert t OK 2>2 +5 ~0 -0",
            "Update t OK 2>3 +0 ~15 -0",
            "Delete t OK 3>4 +0 ~0 -4",
            "Delete t InvalidArgument 4>- +0 ~0 -0",
            "Insert - InvalidArgument ->- +0 ~0 -0",
            "Import t OK 4>5 +8 ~0 -0",
            "CreateTag t OK 5>5 +0 ~0 -0",
            "DrainConnection - OK ->- +0 ~0 -0",
            "ReloadConfiguration - FailedPrecondition ->- +0 ~0 -0",
            "DropTable t OK 5>- +0 ~0 -0",
        ]
    );
    assert_eq!(outcomes[1]["request_id"], "call-1");
    assert_eq!(outcomes[1]["write_id"], "write-1");
    assert_eq!(outcomes[2]["repeated"], true);
    assert_eq!(outcomes[5]["reason"], "INVALID_REQUEST");
    assert_eq!(outcomes[9]["connection"], "replica-1");
    assert_eq!(outcomes[10]["reason"], "NOT_RELOADABLE");
    assert_eq!(outcomes[1]["served_by"], "primary");
    let peer = outcomes[1]["peer"].as_str().unwrap();
    assert!(peer.starts_with("127.0.0.1:"), "{peer}");

    // Each was announced before, with what it is about.
    let lines = log.lines();
    let attempts: Vec<&Json> = lines.iter().filter(|l| l["event"] == "attempt").collect();
    assert_eq!(attempts.len(), outcomes.len());
    for (attempt, outcome) in attempts.iter().zip(&outcomes) {
        for key in ["action", "table", "connection", "request_id"] {
            assert_eq!(attempt[key], outcome[key], "{key} of {attempt}");
        }
        assert!(attempt.get("code").is_none());
    }
    let text = log.text();
    assert!(!text.contains(SECRET), "{text}");
    let (_, metrics) = http_get(server.app.http_address(), "/metrics").await;
    assert!(metrics.contains("lancegate_audit_lines_total"));
}

/// A log that takes no line.
fn full(folder: &Path) -> Log {
    let log = Log::within(folder);
    fs::create_dir(&log.0).unwrap();
    std::os::unix::fs::symlink("/dev/full", log.0.join("audit.jsonl")).unwrap();
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_audited_is_not_done_where_it_must_be() {
    for required in [true, false] {
        // The table is made while there is no log.
        let folder = TempDir::new().unwrap();
        let config = settings_with(folder.path(), 1, &[]);
        let mut server = TestServer::start_with(folder, config).await;
        server.table_of("t", ipc(&small(0, 10))).await;
        let log = full(server.folder.path());
        let settings = log.settings(required);
        let more: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let mut server = server.restart_with(1, &more).await;
        let outcome = server.write.insert(insert(10, 5)).await;
        let drain = DrainConnectionRequest {
            connection: "replica-1".into(),
        };
        let ordered = server.cluster.drain_connection(drain).await;
        match required {
            true => {
                for status in [outcome.unwrap_err(), ordered.unwrap_err()] {
                    assert_eq!(status.code(), Code::Unavailable);
                    assert_eq!(reason(&status), "AUDIT_UNAVAILABLE");
                }
                assert_eq!(rows(&mut server).await, 10, "nothing was written");
            }
            false => {
                outcome.unwrap();
                ordered.unwrap();
                assert_eq!(rows(&mut server).await, 15);
            }
        }
        let (_, metrics) = http_get(server.app.http_address(), "/metrics").await;
        let lost = "lancegate_audit_errors_total{reason=\"write\"} ";
        let lost = metrics.lines().find_map(|line| line.strip_prefix(lost));
        assert!(lost.unwrap().parse::<u64>().unwrap() > 0);
    }
}

/// Clients that go away: what the log says was done is what is there. The seed is
/// printed.
#[tokio::test(flavor = "multi_thread")]
async fn the_outcome_is_that_of_the_work_also_without_its_client() {
    const WRITERS: usize = 40;
    let (mut server, log) = start(true).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut writers = Vec::new();
    for i in 0..WRITERS {
        let mut write: WriteServiceClient<_> = server.write.clone();
        let pause = Duration::from_millis(rng.random_range(0..200));
        let first = 1_000 * (i as i64 + 1);
        writers.push(tokio::spawn(async move {
            let answer = write.insert(insert(first, 3));
            tokio::time::timeout(pause, answer)
                .await
                .is_ok_and(|a| a.is_ok())
        }));
    }
    let mut heard = 0;
    for writer in writers {
        heard += usize::from(writer.await.unwrap());
    }
    // Of those that never came nothing is told; of all others the end is.
    let mut last = 0;
    for _ in 0..300 {
        let lines = log.lines();
        let of = |event: &str| -> BTreeSet<String> {
            let lines = lines.iter().filter(|l| l["event"] == event);
            lines.map(|l| l["request_id"].to_string()).collect()
        };
        if of("attempt").is_subset(&of("outcome")) && last == lines.len() {
            break;
        }
        last = lines.len();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let lines = log.lines();
    let writes = lines
        .iter()
        .filter(|l| l["event"] == "outcome" && l["action"] == "lancegate.v1.WriteService/Insert");
    let done: Vec<&Json> = writes.filter(|l| l["code"] == "OK").collect();
    let told: u64 = done
        .iter()
        .map(|l| l["rows"]["inserted"].as_u64().unwrap())
        .sum();
    let alone = done
        .iter()
        .filter(|l| l["client_code"] == "Canceled")
        .count();
    println!(
        "{heard} heard, {} done, {alone} without a client",
        done.len()
    );
    assert!(done.len() >= heard);
    assert_eq!(rows(&mut server).await, 10 + told);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forwarded_is_audited_where_it_came_in() {
    let folder = TempDir::new().unwrap();
    let log = Log::within(folder.path());
    let settings = log.settings(true);
    let more: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let mut fleet = Fleet::start(&more).await;
    fleet.table_of("t", ipc(&small(0, 10))).await;
    fleet.router.write.insert(insert(10, 5)).await.unwrap();
    let unknown = InsertRequest {
        table: "nosuch".into(),
        ..insert(0, 1)
    };
    fleet.router.write.insert(unknown).await.unwrap_err();
    // What is passed on as it came, and read by nobody here.
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut packing = fleet.router.write.clone().send_compressed(encoding);
        packing.insert(insert(20, 5)).await.unwrap();
        let import = ImportRequest {
            table: "t".into(),
            arrow_ipc: ipc_bytes(&small(30, 20_000)).into(),
            ..Default::default()
        };
        packing.import(tokio_stream::iter([import])).await.unwrap();
    }
    let outcomes = log.outcomes(7).await;
    let [created, inserted, refused, packed @ ..] = outcomes.as_slice() else {
        panic!("{outcomes:?}");
    };
    for line in packed {
        assert_eq!(line["table"], "t", "{line}");
        assert_eq!(line["code"], "OK", "{line}");
    }
    // The lines before them as well.
    let attempts = log.lines().into_iter().filter(|l| l["event"] == "attempt");
    for line in attempts {
        assert!(line["table"].is_string(), "{line}");
    }
    assert_eq!(created["action"], "lancegate.v1.TableService/CreateTable");
    assert_eq!(inserted["table"], "t");
    assert_eq!(inserted["code"], "OK");
    assert_eq!(inserted["version_after"], 2);
    let by = inserted["served_by"].as_str().unwrap();
    assert!(by.ends_with("/primary"), "{by}");
    assert_eq!(refused["code"], "NotFound");
    assert_eq!(refused["reason"], "TABLE_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_writes_its_last_line_before_it_ends() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let mut command = process::command(folder.path(), 0, &["serve"]);
    command
        .env("LANCEGATE_SERVER__GRPC_ADDRESS", "127.0.0.1:0")
        .env("LANCEGATE_SERVER__HTTP_ADDRESS", "127.0.0.1:0")
        .env("LANCEGATE_AUDIT__TO", "stdout")
        .stdout(fs::File::create(&out).unwrap());
    let process = Background::start(command, "grpc").await;
    let channel = Endpoint::from_shared(format!("http://{}", process.address("grpc")))
        .unwrap()
        .connect_lazy();
    let mut table = table_service_client::TableServiceClient::new(channel);
    let mut code = Code::Unavailable;
    for _ in 0..600 {
        let create = CreateTableRequest {
            table: "t".into(),
            source: Some(create_table_request::Source::Rows(ipc(&small(0, 10)))),
            exist_ok: false,
        };
        code = match table.create_table(create).await {
            Ok(_) => Code::Ok,
            Err(status) => status.code(),
        };
        if code != Code::Unavailable {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(code, Code::Ok);
    process.signal("HUP");
    for _ in 0..500 {
        if fs::read_to_string(&out).unwrap().contains("SIGHUP") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let drop = DropTableRequest {
        table: "t".into(),
        ..Default::default()
    };
    table.drop_table(drop).await.unwrap();
    assert!(process.terminate().await.success());
    let lines = parsed(&fs::read_to_string(&out).unwrap());
    let done: Vec<(&str, &str)> = lines
        .iter()
        .filter(|line| line["code"] != "Unavailable")
        .map(|line| {
            assert_eq!(
                line["event"], "outcome",
                "attempts only where it is required"
            );
            let text = |key: &str| line[key].as_str().unwrap();
            (text("action"), text("code"))
        })
        .collect();
    assert_eq!(
        done,
        [
            ("lancegate.v1.TableService/CreateTable", "OK"),
            ("SIGHUP", "OK"),
            ("lancegate.v1.TableService/DropTable", "OK"),
        ]
    );
}
