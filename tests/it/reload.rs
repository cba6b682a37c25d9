//! The configuration is read again: applied whole to the requests that begin after
//! that, or not at all, and the process stays in either case.

use std::{
    fs,
    path::{Path, PathBuf},
};

use lancegate::proto::v1::{cluster_service_client::ClusterServiceClient, *};
use tempfile::TempDir;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

use super::{
    data::{floats, ipc, small},
    process::{self, Background, until_some},
    server::{TestServer, http_get, reason, sources},
};

/// A file in a folder, and what is written into it.
struct File(PathBuf);

impl File {
    fn new(folder: &Path, text: &str) -> Self {
        let file = Self(folder.join("lancegate.toml"));
        file.write(text);
        file
    }

    /// At once, as an editor and a mounted ConfigMap do it.
    fn write(&self, text: &str) {
        let beside = self.0.with_extension("new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, &self.0).unwrap();
    }
}

async fn start(text: &str) -> (TestServer, File) {
    let folder = TempDir::with_prefix("lancegate-reload-").unwrap();
    let file = File::new(folder.path(), text);
    let mut sources = sources(folder.path(), 2, &[]);
    sources.file = Some(file.0.clone());
    (TestServer::start_reloadable(folder, sources).await, file)
}

async fn reload(server: &mut TestServer) -> Result<Vec<ConfigurationChange>, Status> {
    let request = ReloadConfigurationRequest::default();
    let answer = server.cluster.reload_configuration(request).await?;
    Ok(answer.into_inner().changes)
}

fn words(changes: &[ConfigurationChange]) -> Vec<String> {
    let shown = |value: &Option<String>| value.clone().unwrap_or("nothing".into());
    let line = |c: &ConfigurationChange| {
        let (old, new) = (shown(&c.old_value), shown(&c.new_value));
        format!("{}: {old} -> {new}", c.key)
    };
    changes.iter().map(line).collect()
}

/// The settings that a refusal names.
fn named(refusal: &Status) -> Vec<String> {
    let details = refusal.get_details_precondition_failure().expect("details");
    details.violations.into_iter().map(|v| v.subject).collect()
}

async fn fingerprint(client: &mut ClusterServiceClient<Channel>) -> String {
    let topology = client.get_topology(GetTopologyRequest {}).await;
    topology
        .expect("a topology")
        .into_inner()
        .configuration_fingerprint
}

/// One request for each thing that the configuration says about it: whether it was
/// let through, or by whom it was answered.
async fn seen(server: &mut TestServer) -> [String; 4] {
    let table = || "t".to_owned();
    let word = |code: Option<Code>| match code {
        None => "let through".to_owned(),
        Some(code) => format!("{code:?}"),
    };
    let search = SearchRequest {
        table: table(),
        query: Some(Query {
            vectors: vec![floats(&[1.0, 2.0, 3.0, 4.0])],
            limit: 50,
            ..Default::default()
        }),
        ..Default::default()
    };
    let large_limit = server.search.search(search).await.err().map(|e| e.code());
    let insert = InsertRequest {
        table: table(),
        rows: Some(ipc(&small(1_000, 400))),
        mode: 0,
        request_id: String::new(),
    };
    let large_message = server.write.insert(insert).await.err().map(|e| e.code());
    let open = OpenSessionRequest {
        table: table(),
        ttl: Some(prost_types::Duration {
            seconds: 7_200,
            nanos: 0,
        }),
        ..Default::default()
    };
    let long_session = server
        .search
        .open_session(open)
        .await
        .err()
        .map(|e| e.code());
    let count = || CountRequest {
        table: table(),
        ..Default::default()
    };
    let counted = server
        .search
        .count(count())
        .await
        .expect("a count")
        .into_inner();
    let role = counted.served.expect("who answered").role();
    [
        word(large_limit),
        word(large_message),
        word(long_session),
        format!("{role:?}"),
    ]
}

const STRICT: &str = r#"
[limits]
max_limit = 40
max_request_bytes = "4KiB"
[sessions]
max_ttl = "1h"
[freshness]
default = "strong"
"#;

const LOOSE: &str = r#"
[limits]
max_limit = 60
max_request_bytes = "4MiB"
[sessions]
max_ttl = "3h"
[freshness]
default = "eventual"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_live_holds_for_the_next_request_and_nothing_else_ever_does() {
    let (mut server, file) = start(STRICT).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    let strict = [
        "InvalidArgument",
        "ResourceExhausted",
        "InvalidArgument",
        "Primary",
    ];
    let loose = ["let through", "let through", "let through", "Replica"];
    let before = fingerprint(&mut server.cluster).await;
    assert_eq!(seen(&mut server).await, strict);

    file.write(LOOSE);
    let request = ReloadConfigurationRequest {
        validate_only: true,
    };
    let compared = server.cluster.reload_configuration(request).await.unwrap();
    assert_eq!(compared.into_inner().changes.len(), 4);
    assert_eq!(seen(&mut server).await, strict, "only compared");

    let changes = reload(&mut server).await.unwrap();
    let expected = [
        "freshness.default: strong -> eventual",
        "limits.max_limit: 40 -> 60",
        "limits.max_request_bytes: 4KiB -> 4MiB",
        "sessions.max_ttl: 1h -> 3h",
    ];
    assert_eq!(words(&changes), expected);
    assert_eq!(seen(&mut server).await, loose);
    let after = fingerprint(&mut server.cluster).await;
    assert_ne!(after, before);
    assert_eq!(
        reload(&mut server).await.unwrap(),
        [],
        "nothing changed since"
    );

    // Each of these would also make the server strict again.
    let refusals = [
        (
            "[limits",
            "CONFIGURATION_INVALID",
            vec!["the configuration file line 9"],
        ),
        (
            "[health]\nprobe_timeout = 3",
            "CONFIGURATION_INVALID",
            vec!["health.probe_timeout"],
        ),
        (
            "[cache]\nmetadata_bytes = 0\n[server]\nreflection = false",
            "NEEDS_RESTART",
            vec!["cache.metadata_bytes", "server.reflection"],
        ),
    ];
    for (more, why, settings) in refusals {
        file.write(&format!("{STRICT}{more}"));
        let refusal = reload(&mut server).await.unwrap_err();
        assert_eq!(
            refusal.code(),
            Code::FailedPrecondition,
            "{more}: {refusal:?}"
        );
        assert_eq!(
            (reason(&refusal).as_str(), named(&refusal)),
            (why, as_text(&settings))
        );
        let folder = server.folder.path().display().to_string();
        assert!(!format!("{refusal:?}").contains(&folder), "{refusal:?}");
        assert_eq!(fingerprint(&mut server.cluster).await, after, "{more}");
    }
    assert_eq!(seen(&mut server).await, loose, "as before the refusals");
    let (_, metrics) = http_get(server.app.http_address(), "/metrics").await;
    for line in [
        "lancegate_config_reloads_total{outcome=\"applied\"}",
        "lancegate_config_reloads_total{outcome=\"unchanged\"}",
        "lancegate_config_reloads_total{outcome=\"invalid\"}",
        "lancegate_config_reloads_total{outcome=\"needs_restart\"}",
        "lancegate_config_last_reload_success_timestamp_seconds ",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }

    // The longest deadline: a client's own is cut to it.
    file.write(&format!("{LOOSE}\n[shutdown]\ngrace = \"1ms\""));
    assert_eq!(
        reload(&mut server).await.unwrap(),
        [],
        "the environment wins"
    );
    let instant = LOOSE.replace("max_limit = 60", "max_deadline = \"1ns\"\nmax_limit = 60");
    file.write(&instant);
    assert_eq!(
        words(&reload(&mut server).await.unwrap())[0],
        "limits.max_deadline: 10m -> 1ns"
    );
    let count = server.search.count(CountRequest {
        table: "t".into(),
        ..Default::default()
    });
    assert_eq!(count.await.unwrap_err().code(), Code::DeadlineExceeded);
}

fn as_text(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_not_loaded_from_anywhere_says_so() {
    let mut server = TestServer::start(0).await;
    let refusal = reload(&mut server).await.unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    assert_eq!(reason(&refusal), "NOT_RELOADABLE");
}

/// The real binary with this file, and what it logs.
async fn serve(folder: &Path, file: &File) -> (Background, ClusterServiceClient<Channel>) {
    let port = "127.0.0.1:0";
    let path = file.0.display().to_string();
    let args = [
        "serve",
        "--config",
        &path,
        "--grpc-address",
        port,
        "--http-address",
        port,
    ];
    let mut command = process::command(folder, 1, &args);
    command.env_remove("RUST_LOG");
    let server = Background::start(command, "grpc").await;
    let url = format!("http://{}", server.address("grpc"));
    let client = ClusterServiceClient::connect(url)
        .await
        .expect("a connection");
    (server, client)
}

fn lines(log: &str, what: &str) -> usize {
    log.lines().filter(|line| line.contains(what)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reloads_and_never_ends_the_process() {
    let folder = TempDir::with_prefix("lancegate-sighup-").unwrap();
    // The line that says where it listens is one of level info.
    let file = File::new(folder.path(), "[logging]\nfilter = \"info\"");
    let (mut server, mut client) = serve(folder.path(), &file).await;
    let first = fingerprint(&mut client).await;

    file.write("[logging]\nfilter = \"error\"");
    server.signal("HUP");
    let second = until_some(async || {
        let now = fingerprint(&mut client).await;
        (now != first).then_some(now)
    })
    .await;

    // Broken, in two ways: each fault is told once, and nothing changes. What was
    // logged before those lines has been read when they are.
    file.write("[logging]\nfilter = \"info\"\n[limits]\nmax_limit = 0\n[cache]\nindex_bytes = -1");
    server.signal("HUP");
    let refusals = |log: &str, key: &str| {
        let refused = log.lines().filter(|l| l.contains("configuration refused"));
        refused.filter(|l| l.contains(key)).count()
    };
    until_some(async || {
        let log = server.log();
        let told = ["cache.index_bytes", "limits.max_limit"].map(|key| refusals(&log, key));
        (told == [1, 1]).then_some(())
    })
    .await;
    let before = lines(&server.log(), "GetTopology");
    assert!(before > 0, "it logged while the filter let it");
    for _ in 0..20 {
        fingerprint(&mut client).await;
    }
    file.write("nothing of this kind");
    for _ in 0..10 {
        server.signal("HUP");
    }
    until_some(async || {
        let told = refusals(&server.log(), "the configuration file line 1");
        (told > 0).then_some(())
    })
    .await;
    let after = lines(&server.log(), "GetTopology");
    assert_eq!(
        after, before,
        "the filter lets errors through and nothing else"
    );
    assert!(!server.has_ended());
    assert_eq!(fingerprint(&mut client).await, second);

    // It is taken as soon as it is right, and logs again.
    file.write("[logging]\nfilter = \"info\"");
    server.signal("HUP");
    until_some(async || (fingerprint(&mut client).await == first).then_some(())).await;
    until_some(async || server.log().contains("configuration applied").then_some(())).await;
    until_some(async || {
        fingerprint(&mut client).await;
        (lines(&server.log(), "GetTopology") > after).then_some(())
    })
    .await;
    assert!(server.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_reloads_and_says_what_is_wrong() {
    let folder = TempDir::with_prefix("lancegate-reload-").unwrap();
    let file = File::new(folder.path(), "[limits]\nmax_limit = 50");
    let (server, mut client) = serve(folder.path(), &file).await;
    let address = server.address("grpc").to_string();
    let reload = |more: &[&str]| {
        let mut command = process::lancegate(&["reload", "--address", &address]);
        command.args(more);
        process::run(command)
    };
    let ended = reload(&[]).await;
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (Some(0), "nothing has changed\n")
    );
    let before = fingerprint(&mut client).await;
    file.write("[limits]\nmax_limit = 60");
    for dry_run in [&["--dry-run"][..], &[]] {
        let ended = reload(dry_run).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.out, "limits.max_limit: \"50\" -> \"60\"\n");
    }
    assert_ne!(fingerprint(&mut client).await, before);
    file.write("[limits]\nmax_limit = 70\n[server]\nreflection = false\n[cache]\nindex_bytes = 0");
    let ended = reload(&[]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let expected = "error: these settings cannot change in a running server: nothing was changed \
                    (FAILED_PRECONDITION)\nerror: cache.index_bytes: needs a restart\nerror: \
                    server.reflection: needs a restart\n";
    assert_eq!(ended.err, expected);
    file.write("[limits]\nmax_limit = \"many\"");
    let ended = reload(&[]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended
            .err
            .contains("error: limits.max_limit: must be a whole number"),
        "{ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replicator_stays_too() {
    let folder = TempDir::with_prefix("lancegate-sighup-").unwrap();
    let file = File::new(folder.path(), "[shutdown]\ndrain = \"20s\"");
    let path = file.0.display().to_string();
    let args = [
        "replicate",
        "--config",
        &path,
        "--http-address",
        "127.0.0.1:0",
    ];
    let mut command = process::command(folder.path(), 1, &args);
    command.env_remove("RUST_LOG");
    let mut replicator = Background::start(command, "http").await;
    file.write("[shutdown]\ndrain = 20");
    replicator.signal("HUP");
    until_some(async || {
        let log = replicator.log();
        let told = log.contains("configuration refused") && log.contains("shutdown.drain");
        told.then_some(())
    })
    .await;
    file.write("[shutdown]\ndrain = \"25s\"");
    replicator.signal("HUP");
    until_some(async || {
        replicator
            .log()
            .contains("configuration applied")
            .then_some(())
    })
    .await;
    assert!(!replicator.has_ended());
    assert!(replicator.terminate().await.success());
}
