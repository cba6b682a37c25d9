//! What of the requests the audit log tells: here of denied ones, since the test's
//! service changes nothing. Writes are in `tests/it`.

use std::{path::Path, time::Duration};

use serde_json::Value;
use tempfile::TempDir;
use tonic::Code;

use super::{
    client::{CHECK, COUNT, Client},
    server::{limits, no_queue, no_quotas, start_guarded},
};
use crate::{
    config::{Audit, AuditTo, Rotation},
    telemetry::audit::AuditLog,
};

fn log(folder: &Path) -> AuditLog {
    AuditLog::open(&Audit {
        to: AuditTo::File,
        folder: folder.to_owned(),
        rotation: Rotation::Never,
        max_files: 0,
        required: true,
        sync: false,
    })
    .unwrap()
}

#[tokio::test]
async fn whoever_is_denied_is_told_of_and_whoever_reads_is_not() {
    let folder = TempDir::new().unwrap();
    let log = log(folder.path());
    let limits = limits(100, Duration::from_secs(30));
    let server = start_guarded(limits, no_queue(), no_quotas(), log.clone()).await;
    let client = Client::connect(server.address).await;
    for (order, code) in [
        ("answer", Code::Ok),
        ("refuse", Code::FailedPrecondition),
        ("panic", Code::Internal),
        ("deny", Code::PermissionDenied),
    ] {
        let metadata = [("x-do", order), ("x-request-id", "r-1\"")];
        assert_eq!(client.call(COUNT, &metadata).await.code(), code);
    }
    assert_eq!(client.call(CHECK, &[]).await.code(), Code::Ok);
    log.flush().await;
    let text = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 1, "{text}");
    let line = &lines[0];
    assert_eq!(line["event"], "outcome");
    assert_eq!(line["action"], "lancegate.v1.SearchService/Count");
    assert_eq!(line["code"], "PermissionDenied");
    assert_eq!(line["reason"], "ACCESS_DENIED");
    assert_eq!(line["request_id"], "r-1\"");
    assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
}
