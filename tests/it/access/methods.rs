//! Every method of the contract, by everybody: generated from the descriptors, so that a
//! new method cannot be forgotten.

use std::time::Duration;

use lancegate::proto::{DESCRIPTORS, v1::*};
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::{
    Code, Request, Status, client::Grpc, codegen::http::uri::PathAndQuery,
    service::interceptor::InterceptedService,
};
use tonic_prost::ProstCodec;

use super::guarded::{Caller, Guarded, Shows};
use crate::{
    data::{ipc, small},
    server::http_get,
};

/// What the methods are for. One that is in no list makes the test fail.
const READER: [&str; 16] = [
    "SearchService/Search",
    "SearchService/SearchStream",
    "SearchService/Scan",
    "SearchService/Get",
    "SearchService/Count",
    "SearchService/Explain",
    "SearchService/OpenSession",
    "SearchService/RenewSession",
    "SearchService/CloseSession",
    "TableService/ListTables",
    "TableService/DescribeTable",
    "TableService/ListIndexes",
    "TableService/WaitForIndexes",
    "TableService/ListVersions",
    "TableService/ListTags",
    "ClusterService/GetTopology",
];
const WATCH: &str = "ClusterService/WatchTopology";
const WRITER: [&str; 5] = [
    "WriteService/Insert",
    "WriteService/Upsert",
    "WriteService/Update",
    "WriteService/Delete",
    "WriteService/Import",
];
const ADMIN: [&str; 12] = [
    "TableService/CreateTable",
    "TableService/DropTable",
    "TableService/OptimizeTable",
    "TableService/CreateIndex",
    "TableService/DropIndex",
    "TableService/RestoreVersion",
    "TableService/CreateTag",
    "TableService/UpdateTag",
    "TableService/DeleteTag",
    "TableService/AddColumns",
    "TableService/AlterColumns",
    "TableService/DropColumns",
];
const OPERATOR: [&str; 7] = [
    "ClusterService/RebuildReplica",
    "ClusterService/DrainConnection",
    "ClusterService/UndrainConnection",
    "ClusterService/EjectConnection",
    "ClusterService/ProbeConnection",
    "ClusterService/SetConnectionWeight",
    "ClusterService/ReloadConfiguration",
];

/// How far a method is open, from 0.
fn level(method: &str) -> usize {
    let lists: [&[&str]; 4] = [&READER, &WRITER, &ADMIN, &OPERATOR];
    if method == WATCH {
        return 0;
    }
    let found = lists.iter().position(|list| list.contains(&method));
    found.unwrap_or_else(|| panic!("{method} is new: say here who may call it"))
}

/// Calls a method with an empty message. Answers its code.
async fn call(server: &Guarded, key: Option<&str>, method: &str, streams: (bool, bool)) -> Code {
    let service = InterceptedService::new(server.channel.clone(), Shows(key.map(str::to_owned)));
    let mut grpc = Grpc::new(service);
    grpc.ready().await.unwrap();
    let path: PathAndQuery = format!("/lancegate.v1.{method}").parse().unwrap();
    let codec = ProstCodec::<(), ()>::default();
    let code = |outcome: Result<(), Status>| outcome.map_or_else(|s| s.code(), |()| Code::Ok);
    match streams {
        (true, _) => {
            let messages = Request::new(tokio_stream::iter([()]));
            code(grpc.client_streaming(messages, path, codec).await.map(drop))
        }
        (_, true) => {
            let answer = grpc.server_streaming(Request::new(()), path, codec).await;
            match answer {
                Err(status) => status.code(),
                Ok(mut answer) => {
                    let first =
                        tokio::time::timeout(Duration::from_secs(30), answer.get_mut().message());
                    code(first.await.expect("an answer").map(drop))
                }
            }
        }
        _ => code(grpc.unary(Request::new(()), path, codec).await.map(drop)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_is_for_those_who_may_and_nobody_else() {
    let server = Guarded::start(1, "").await;
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
    let of_contract = files.iter().filter(|f| f.package() == "lancegate.v1");
    let mut seen = 0;
    for service in of_contract.flat_map(|file| &file.service) {
        for method in &service.method {
            let name = format!("{}/{}", service.name(), method.name());
            let streams = (method.client_streaming(), method.server_streaming());
            let level = level(&name);
            for key in [None, Some("lgk_forged"), Some("a.b.c"), Some("")] {
                let code = call(&server, key, &name, streams).await;
                assert_eq!(code, Code::Unauthenticated, "{name} {key:?}");
            }
            // With an empty name of a table, which only who may see all of them may.
            for (who, may) in [
                ("nobody", None),
                ("scraper", None),
                ("reader", Some(0)),
                ("writer", Some(1)),
                ("root", Some(3)),
            ] {
                let key = server.files.keys[who].as_str();
                let code = call(&server, Some(key), &name, streams).await;
                let denied = code == Code::PermissionDenied;
                assert_eq!(
                    denied,
                    may.is_none_or(|may| may < level),
                    "{name} {who} {code:?}"
                );
                assert_ne!(code, Code::Unauthenticated, "{name} {who}");
            }
            // Whoever is admin of some tables operates nothing.
            let key = server.files.keys["librarian"].as_str();
            let code = call(&server, Some(key), &name, streams).await;
            if level == 3 {
                assert_eq!(code, Code::PermissionDenied, "{name}");
            }
            seen += 1;
        }
    }
    let all = READER.len() + 1 + WRITER.len() + ADMIN.len() + OPERATOR.len();
    assert_eq!(seen, all, "the lists have methods that there are none of");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_method_is_for_nobody_and_probes_are_for_everybody() {
    use lancegate::proto::health::{HealthCheckRequest, health_client::HealthClient};
    let server = Guarded::start(0, "").await;
    let key = server.files.keys["root"].as_str();
    for method in ["SearchService/Nothing", "NoService/Search"] {
        let code = call(&server, Some(key), method, (false, false)).await;
        assert_eq!(code, Code::PermissionDenied, "{method}");
        let code = call(&server, None, method, (false, false)).await;
        assert_eq!(code, Code::Unauthenticated, "{method}");
    }
    let mut health = HealthClient::new(server.channel.clone());
    health.check(HealthCheckRequest::default()).await.unwrap();
    let http = server.app.http_address();
    for open in ["/livez", "/readyz", "/health", "/ready"] {
        assert_eq!(http_get(http, open).await.0, 200, "{open}");
    }
    for guarded in ["/metrics", "/health/deep"] {
        assert_eq!(http_get(http, guarded).await.0, 401, "{guarded}");
        for (who, code) in [
            ("scraper", 200),
            ("root", 200),
            ("reader", 401),
            ("nobody", 401),
        ] {
            let header = format!("x-api-key: {}", server.files.keys[who]);
            let found = http_get_with(http, guarded, &header).await;
            assert_eq!(found.0, code, "{guarded} {who}");
        }
    }
    let header = format!("x-api-key: {}", server.files.keys["scraper"]);
    let (_, text) = http_get_with(http, "/metrics", &header).await;
    assert!(text.contains("lancegate_access_refused_total{reason=\"missing_credentials\"}"));
    assert!(!text.contains("lgk_"));
}

/// As [`http_get`], with a header more.
pub async fn http_get_with(
    address: std::net::SocketAddr,
    path: &str,
    header: &str,
) -> (u16, String) {
    http_get(address, &format!("{path} HTTP/1.1\r\n{header}\r\nX-Rest:")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_of_the_configuration_opens_the_metrics() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "let-me-in\n").unwrap();
    let file = file.display().to_string();
    let more = [("LANCEGATE_METRICS__BEARER_TOKEN_FILE", file.as_str())];
    let config = crate::server::settings_with(folder.path(), 0, &more);
    assert!(!format!("{config:?}{}", config.render()).contains("let-me-in"));
    let server = crate::server::TestServer::start_with(folder, config).await;
    let http = server.app.http_address();
    assert_eq!(http_get(http, "/livez").await.0, 200);
    for (header, code) in [
        ("X-None: 1", 401),
        ("Authorization: Bearer let-me-in", 200),
        ("Authorization: Bearer let-me-in2", 401),
        ("Authorization: Bearer ", 401),
        ("Authorization: Basic let-me-in", 401),
    ] {
        assert_eq!(
            http_get_with(http, "/metrics", header).await.0,
            code,
            "{header}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_denied_on_the_http_port_is_told_of() {
    let folder = tempfile::TempDir::new().unwrap();
    let audit = folder.path().join("audit");
    let more = format!(
        "[audit]\nto = \"file\"\nfolder = \"{}\"\nrotation = \"never\"\n",
        audit.display()
    );
    let server = Guarded::start(0, &more).await;
    let http = server.app.http_address();
    let header = |who: &str| format!("x-api-key: {}", server.files.keys[who]);
    assert_eq!(http_get(http, "/metrics?x=1").await.0, 401);
    let (code, _) = http_get_with(http, "/health/deep", &header("reader")).await;
    assert_eq!(code, 401);
    // Neither of these is denied.
    assert_eq!(http_get(http, "/livez").await.0, 200);
    let (_, text) = http_get_with(http, "/metrics", &header("scraper")).await;
    for reason in ["missing_credentials", "method"] {
        let line = format!("lancegate_access_refused_total{{reason=\"{reason}\"}} ");
        let count = text.lines().find_map(|l| l.strip_prefix(&line));
        assert!(count.is_some_and(|n| n != "0"), "{reason}: {text}");
    }
    let mut lines: Vec<serde_json::Value> = Vec::new();
    for _ in 0..500 {
        let text = std::fs::read_to_string(audit.join("audit.jsonl")).unwrap_or_default();
        lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        if lines.len() == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let told = |line: &serde_json::Value| {
        let text = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
        let peer = text("peer").starts_with("127.0.0.1:");
        let words = ["event", "action", "code", "reason", "principal"].map(text);
        format!("{} {peer}", words.join(" "))
    };
    let told: Vec<_> = lines.iter().map(told).collect();
    assert_eq!(
        told,
        [
            "outcome http/metrics Unauthenticated UNAUTHENTICATED - true",
            "outcome http/health/deep PermissionDenied ACCESS_DENIED reader true",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_the_places_of_all_others() {
    let more = "[sessions]\nmax_open = 5\nmax_per_principal = 2\n";
    let server = Guarded::start(0, more).await;
    let mut root = server.caller("root");
    let source = Some(create_table_request::Source::Rows(ipc(&small(0, 3))));
    let create = CreateTableRequest {
        table: "docs".into(),
        source,
        exist_ok: false,
    };
    root.table.create_table(create).await.unwrap();
    let open = OpenSessionRequest {
        table: "docs".into(),
        ..Default::default()
    };
    let mut reader = server.caller("reader");
    let first = reader.search.open_session(open.clone()).await.unwrap();
    reader.search.open_session(open.clone()).await.unwrap();
    let refused = reader.search.open_session(open.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("sessions.max_per_principal"));
    root.search.open_session(open.clone()).await.unwrap();
    let close = CloseSessionRequest {
        table: "docs".into(),
        session: first.into_inner().session,
    };
    reader.search.close_session(close).await.unwrap();
    reader.search.open_session(open).await.unwrap();

    let watch = WatchTopologyRequest::default();
    let mut watching = Vec::new();
    let refused = loop {
        match reader.cluster.watch_topology(watch).await {
            Ok(stream) => watching.push(stream),
            Err(status) => break status,
        }
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(watching.len(), 16);
    root.cluster.watch_topology(watch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_may_not_be_seen_is_not_there() {
    let server = Guarded::start(1, "").await;
    let mut root = server.caller("root");
    for table in ["docs", "payroll"] {
        let source = Some(create_table_request::Source::Rows(ipc(&small(0, 3))));
        let table = table.into();
        let create = CreateTableRequest {
            table,
            source,
            exist_ok: false,
        };
        root.table.create_table(create).await.unwrap();
    }
    server.settled().await;
    let mut librarian = server.caller("librarian");
    let listed = librarian
        .table
        .list_tables(ListTablesRequest::default())
        .await;
    assert_eq!(listed.unwrap().into_inner().tables, ["docs"]);
    let topology = librarian.cluster.get_topology(GetTopologyRequest {}).await;
    let topology = topology.unwrap().into_inner();
    assert!(!format!("{topology:?}").contains("payroll"));
    let mut watch = (librarian
        .cluster
        .watch_topology(WatchTopologyRequest::default())
        .await)
        .unwrap()
        .into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert!(!format!("{first:?}").contains("payroll"));
    // The same answer, whether there is one of this name or not.
    let answers = async |caller: &mut Caller, table: &str| {
        let count = CountRequest {
            table: table.into(),
            ..Default::default()
        };
        let describe = DescribeTableRequest {
            table: table.into(),
        };
        let drop = DropTableRequest {
            table: table.into(),
            ignore_missing: true,
        };
        [
            caller.search.count(count).await.map(drop_it).unwrap_err(),
            caller
                .table
                .describe_table(describe)
                .await
                .map(drop_it)
                .unwrap_err(),
            caller
                .table
                .drop_table(drop)
                .await
                .map(drop_it)
                .unwrap_err(),
        ]
        .map(|status| {
            (
                status.code(),
                status.message().to_owned(),
                status.details().to_vec(),
            )
        })
    };
    let (there, not_there) = (
        answers(&mut librarian, "payroll").await,
        answers(&mut librarian, "missing").await,
    );
    assert_eq!(there, not_there);
    assert!(
        there
            .iter()
            .all(|(code, ..)| *code == Code::PermissionDenied)
    );
    // Who has no claim to fill the restriction in with sees nothing at all.
    let mut lost = server.caller("lost");
    let listed = lost.table.list_tables(ListTablesRequest::default()).await;
    assert!(listed.unwrap().into_inner().tables.is_empty());
    assert!(
        answers(&mut lost, "docs")
            .await
            .iter()
            .all(|(code, ..)| *code == Code::PermissionDenied)
    );
    let describe = DescribeTableRequest {
        table: "docs".into(),
    };
    librarian.table.describe_table(describe).await.unwrap();
}

fn drop_it<T>(_: T) {}
