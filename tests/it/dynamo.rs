//! A primary whose versions DynamoDB commits, on a store that ignores conditions.

use std::time::Duration;

use lancegate::proto::v1::*;
use tempfile::TempDir;

use super::{
    data::{ipc, small},
    faulty::{
        endpoint,
        proxy::{Faults, Proxy},
        through,
    },
    place::{self, variables},
    process::{Server, until_some},
};

const NO_LEASE: &str = "nobody can have the copier's lease there";

/// The primary is of use. Who copies cannot be agreed on there, so nobody does, and the
/// log says why; without the lease everybody does.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a store with DynamoDB: tests/external/checks/stores.sh has one"]
async fn nobody_has_the_lease_where_conditions_are_ignored() {
    assert!(place::uri(std::env::temp_dir().as_path()).starts_with("s3+ddb://"));
    for (ignores, lease) in [(false, true), (true, false), (true, true)] {
        let folder = TempDir::new().unwrap();
        let faults = match ignores {
            true => Faults::without_conditions(),
            false => Faults::none(),
        };
        let proxy = Proxy::start(&endpoint(), faults).await;
        let mut settings = through(&proxy, folder.path());
        settings.retain(|(key, _)| key.starts_with("LANCEGATE_PRIMARY"));
        // What is copied to knows conditions.
        let replica = folder.path().join("replica-1");
        settings.extend(variables("LANCEGATE_REPLICAS__0", &replica));
        settings.push(("LANCEGATE_REPLICAS__0__NAME".into(), "replica-1".into()));
        settings.push(("LANCEGATE_REPLICATION__LEASE".into(), lease.to_string()));
        settings.push(("LANCEGATE_REPLICATION__LEASE_TTL".into(), "3s".into()));
        let env: Vec<_> = settings.iter().map(|(k, v)| (&**k, &**v)).collect();
        let server = Server::start(folder.path(), 0, &env).await;
        let mut table = table_service_client::TableServiceClient::new(server.channel.clone());
        until_some(async || {
            let create = CreateTableRequest {
                table: "t".into(),
                source: Some(create_table_request::Source::Rows(ipc(&small(0, 10)))),
                exist_ok: true,
            };
            table.create_table(create).await.ok()
        })
        .await;
        let copied = || place::exists(&replica.join("t.lance/_versions"));
        if ignores && lease {
            until_some(async || server.process.log().contains(NO_LEASE).then_some(())).await;
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert!(!copied(), "it was copied without an agreement");
        } else {
            until_some(async || copied().then_some(())).await;
            assert!(!server.process.log().contains(NO_LEASE));
        }
        assert!(server.process.terminate().await.success());
    }
}
