//! One server and three ways to say who comes: a certificate, a token and a key, each
//! with what it may do, a quota of its own and lines in the audit log.

use std::{fs, path::Path};

use lancegate::proto::v1::*;
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::{
    guarded::{Caller, Guarded},
    issuer::{Issuer, jwt},
};
use crate::{
    data::{ipc, small},
    process::until_some,
    transport::{Authority, secure_channel, tls_to},
};

/// What those of this test may do and have, and how the server is reached.
fn settings(folder: &Path) -> String {
    let file = |name: &str| folder.join(name).display().to_string();
    format!(
        r#"
[[access.bindings]]
principals = ["cert:spiffe://example/ns/jobs/*"]
role = "writer"
tables = ["docs"]

[server.tls]
cert_file = "{}"
key_file = "{}"
client_ca_file = "{}"
client_auth = "optional"

[audit]
to = "file"
folder = "{}"
rotation = "never"

[quotas.principals."spiffe://example/*"]
rows_per_write = 3
[quotas.principals."writer"]
rows_per_write = 2
[quotas.principals."alice"]
requests_per_second = 0.001
burst = 5
"#,
        file("tls.crt"),
        file("tls.key"),
        file("ca.crt"),
        file("audit"),
    )
}

fn insert(table: &str, first: i64, rows: i64) -> InsertRequest {
    InsertRequest {
        table: table.into(),
        rows: Some(ipc(&small(first, rows))),
        ..Default::default()
    }
}

fn count() -> CountRequest {
    CountRequest {
        table: "docs".into(),
        ..Default::default()
    }
}

/// What a refusal for a quota is about.
fn quota<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    let status = answer.expect_err("a refusal");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let failure = status.get_details_quota_failure().expect("details");
    failure.violations[0].subject.clone()
}

fn code<T>(answer: Result<T, Status>) -> Code {
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_is_known_counted_and_audited() {
    let authority = Authority::new("ours");
    let folder = TempDir::new().unwrap();
    authority.server().write(folder.path());
    fs::write(folder.path().join("ca.crt"), &authority.pem).unwrap();
    let issuer = Issuer::with("k1");
    let jwks = folder.path().join("jwks.json");
    fs::write(&jwks, issuer.jwks()).unwrap();
    let tokens = jwt(&format!("jwks_file = \"{}\"", jwks.display()));
    let server = Guarded::start_appended(&format!("{tokens}\n{}", settings(folder.path()))).await;
    let address = server.app.grpc_address();

    let plain = secure_channel(address, authority.believed(None))
        .await
        .unwrap();
    let shows = async |uri: &str| {
        let leaf = authority.client(uri);
        let config = authority.believed(Some(&leaf));
        secure_channel(address, config).await.unwrap()
    };
    let key = |name: &str| Caller::of(&plain, Some(&server.files.keys[name]));
    let mut root = key("root");
    let create = CreateTableRequest {
        table: "docs".into(),
        source: Some(create_table_request::Source::Rows(ipc(&small(0, 10)))),
        exist_ok: false,
    };
    root.table.create_table(create).await.unwrap();

    // A certificate: rows of its table, so many at once, and nothing else.
    let nightly = shows("spiffe://example/ns/jobs/nightly").await;
    let mut job = Caller::of(&nightly, None);
    let mut three = Request::new(insert("docs", 100, 3));
    let id = "of-the-job".parse().unwrap();
    three.metadata_mut().insert("x-request-id", id);
    job.write.insert(three).await.unwrap();
    let four = job.write.insert(insert("docs", 200, 4)).await;
    assert_eq!(quota(four), "rows_per_write");
    let elsewhere = job.write.insert(insert("other", 0, 1)).await;
    assert_eq!(code(elsewhere), Code::PermissionDenied);
    let drop = DropTableRequest {
        table: "docs".into(),
        ignore_missing: false,
    };
    assert_eq!(
        code(job.table.drop_table(drop).await),
        Code::PermissionDenied
    );
    // Another one of the same authority, whom no binding knows.
    let mut stranger = Caller::of(&shows("spiffe://example/ns/web/front").await, None);
    let denied = stranger.write.insert(insert("docs", 300, 1)).await;
    assert_eq!(code(denied), Code::PermissionDenied);
    // What is shown with the request says more than the connection.
    let mut both = Caller::of(&nightly, Some(&server.files.keys["reader"]));
    let denied = both.write.insert(insert("docs", 300, 1)).await;
    assert_eq!(code(denied), Code::PermissionDenied);
    let mut wrong = Caller::of(&nightly, Some("lgk_of_nobody"));
    assert_eq!(
        code(wrong.search.count(count()).await),
        Code::Unauthenticated
    );
    // A certificate of somebody else's authority is no connection.
    let foreign = Authority::new("foreign");
    let leaf = foreign.client("spiffe://example/ns/jobs/nightly");
    let channel = secure_channel(address, authority.believed(Some(&leaf))).await;
    if let Ok(channel) = channel {
        let mut evil = Caller::of(&channel, None);
        // The handshake ends when the first message is read.
        let answer = evil.search.count(count()).await.unwrap_err();
        assert!(answer.metadata().get("x-request-id").is_none(), "{answer}");
    }

    // A key: its quota is its own.
    let mut writer = key("writer");
    writer.write.insert(insert("docs", 400, 2)).await.unwrap();
    let three = writer.write.insert(insert("docs", 500, 3)).await;
    assert_eq!(quota(three), "rows_per_write");
    root.write.insert(insert("docs", 600, 50)).await.unwrap();

    // A token.
    let mut alice = Caller::of(&plain, Some(&issuer.token("k1", |_| ())));
    let denied = alice.write.insert(insert("docs", 700, 1)).await;
    assert_eq!(code(denied), Code::PermissionDenied);
    let mut answered = 0;
    let refused = loop {
        match alice.search.count(count()).await {
            Ok(answer) => assert_eq!(answer.into_inner().count, 65),
            Err(status) => break status,
        }
        answered += 1;
        assert!(answered <= 5, "more than the burst");
    };
    assert!(answered >= 4, "{answered}");
    let delay = refused.get_details_retry_info().unwrap().retry_delay;
    assert!(delay.unwrap().as_secs() > 100);
    assert_eq!(quota::<()>(Err(refused)), "requests_per_second");
    // Nobody else waits for her.
    let mut bob = Caller::of(
        &plain,
        Some(&issuer.token("k1", |c| c["sub"] = "bob".into())),
    );
    bob.search.count(count()).await.unwrap();
    // Nothing is shown.
    let mut nobody = Caller::of(&plain, None);
    assert_eq!(
        code(nobody.search.count(count()).await),
        Code::Unauthenticated
    );

    // Who may not call a method at all is refused before it is known for which table.
    let wanted = [
        "root api_key CreateTable docs OK",
        "spiffe://example/ns/jobs/nightly certificate Insert docs OK",
        "spiffe://example/ns/jobs/nightly certificate Insert docs ResourceExhausted",
        "spiffe://example/ns/jobs/nightly certificate Insert other PermissionDenied",
        "spiffe://example/ns/jobs/nightly certificate DropTable - PermissionDenied",
        "spiffe://example/ns/web/front certificate Insert - PermissionDenied",
        "reader api_key Insert - PermissionDenied",
        "- - Count - Unauthenticated",
        "writer api_key Insert docs OK",
        "writer api_key Insert docs ResourceExhausted",
        "root api_key Insert docs OK",
        "alice jwt Insert - PermissionDenied",
        "- - Count - Unauthenticated",
    ];
    let lines = outcomes(&folder.path().join("audit"), wanted.len()).await;
    let told: Vec<String> = lines.iter().map(short).collect();
    assert_eq!(told, wanted);
    assert_eq!(lines[1]["request_id"], "of-the-job");
    // A client may try to connect again.
    let text = fs::read_to_string(folder.path().join("audit/audit.jsonl")).unwrap();
    let all = text
        .lines()
        .map(|l| serde_json::from_str::<Json>(l).unwrap());
    let refused: Vec<Json> = all.filter(|l| l["action"] == HANDSHAKE).collect();
    assert!(!refused.is_empty(), "{text}");
    assert_eq!(refused[0]["code"], "Unauthenticated");
    assert_eq!(refused[0]["reason"], "CLIENT_CERTIFICATE");
    assert!(refused[0]["peer"].is_string());
    assert_eq!(lines[1]["rows"]["inserted"], 3);
    let (before, after) = (&lines[1]["version_before"], &lines[1]["version_after"]);
    assert_eq!((before, after), (&Json::from(1), &Json::from(2)));
}

/// On the HTTP port a certificate says who scrapes, as it says who calls on the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_may_read_the_metrics() {
    let authority = Authority::new("ours");
    let folder = TempDir::new().unwrap();
    authority.server().write(folder.path());
    fs::write(folder.path().join("ca.crt"), &authority.pem).unwrap();
    let tls = settings(folder.path()).replace("[server.tls]", "[server.http_tls]");
    let scrapers = r#"
[[access.bindings]]
principals = ["cert:spiffe://example/ns/scrapers/*"]
role = "metrics"
"#;
    let server = Guarded::start_appended(&format!("{scrapers}\n{tls}")).await;
    let scrape = async |shown: Option<&str>| {
        let leaf = shown.map(|uri| authority.client(uri));
        let config = authority.believed(leaf.as_ref());
        let mut stream = tls_to(server.app.http_address(), config).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // Without a goodbye of TLS the answer is whole all the same.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .to_owned()
    };
    let known = scrape(Some("spiffe://example/ns/scrapers/prometheus")).await;
    assert_eq!(known, "HTTP/1.1 200 OK");
    for stranger in [None, Some("spiffe://example/ns/web/front")] {
        let answer = scrape(stranger).await;
        assert_eq!(answer, "HTTP/1.1 401 Unauthorized", "{stranger:?}");
    }
}

/// How a certificate that is not trusted is told of.
const HANDSHAKE: &str = "tls.handshake";

/// Waits until the audit log tells of so many ends of calls.
async fn outcomes(folder: &Path, count: usize) -> Vec<Json> {
    until_some(async || {
        let text = fs::read_to_string(folder.join("audit.jsonl")).ok()?;
        let lines = text.lines().map(|l| serde_json::from_str(l).unwrap());
        let ends = lines.filter(|l: &Json| l["event"] == "outcome");
        let ends: Vec<Json> = ends.filter(|l| l["action"] != HANDSHAKE).collect();
        (ends.len() >= count).then_some(ends)
    })
    .await
}

fn short(line: &Json) -> String {
    let text = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
    let action = text("action");
    let action = action.rsplit('/').next().unwrap();
    format!(
        "{} {} {action} {} {}",
        text("principal"),
        text("proof"),
        text("table"),
        text("code")
    )
}
