//! `check-config --probe`: what it says of locations, and which stores are refused.

use std::{path::Path, time::Duration};

use lancegate::proto::v1::*;
use tempfile::TempDir;

use super::{
    faulty::{
        endpoint,
        proxy::{Faults, Proxy},
        through,
    },
    place::{self, variables},
    process::{self, Ended, Server, until_some},
};

type Settings = Vec<(String, String)>;

async fn check(settings: &Settings) -> Ended {
    // Places of its own: those of the tests' servers are replaced.
    let mut command = process::command(
        &std::env::temp_dir().join("x"),
        0,
        &["check-config", "--probe"],
    );
    command.envs(settings.iter().map(|(k, v)| (k.as_str(), v.as_str())));
    process::run(command).await
}

fn both(folder: &Path) -> Settings {
    let mut settings = variables("LANCEGATE_PRIMARY", &folder.join("primary"));
    settings.extend(variables(
        "LANCEGATE_REPLICAS__0",
        &folder.join("replica-1"),
    ));
    settings
}

/// The same with every value that contains `from` changed.
fn with(settings: &Settings, from: &str, to: &str) -> Settings {
    let pairs = settings.iter().cloned();
    pairs.map(|(k, v)| (k, v.replace(from, to))).collect()
}

/// The text fails, names each of these, and tells no secret.
fn says(ended: &Ended, parts: &[&str]) {
    println!("{}{}", ended.out, ended.err);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for part in parts {
        assert!(ended.out.contains(part), "{part}: {}", ended.out);
    }
    for (key, value) in place::options() {
        if key.contains("secret") || key.contains("account_key") {
            assert!(!ended.out.contains(&value) && !ended.err.contains(&value));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_locations_can_do_all_that_is_needed() {
    let folder = TempDir::new().unwrap();
    for name in ["primary", "replica-1"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let settings = both(folder.path());
    let ended = check(&settings).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.out.contains("cannot"), "{}", ended.out);
    assert_eq!(
        ended.out.matches("  can list\n").count(),
        2,
        "{}",
        ended.out
    );
    assert_eq!(
        ended.out.matches("  can delete\n").count(),
        2,
        "{}",
        ended.out
    );
    for name in ["primary", "replica-1"] {
        let left = place::files(&folder.path().join(name));
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Whoever checks may not be allowed more there, and nothing more is done there later.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_read_is_only_listed() {
    let folder = TempDir::new().unwrap();
    for name in ["primary", "replica-1"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    for (key, value) in [
        ("LANCEGATE_REPLICAS__0__MODE", "external"),
        ("LANCEGATE_REPLICATION__ENABLED", "false"),
    ] {
        let mut settings = both(folder.path());
        settings.push((key.into(), value.into()));
        let ended = check(&settings).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let (primary, replica) = ended.out.split_once("replica-1 (").unwrap();
        assert!(primary.contains("  can list\n"), "{primary}");
        assert!(primary.contains("  can delete\n"), "{primary}");
        let lines: Vec<&str> = replica.lines().skip(1).collect();
        let only = ["  can list (it is only read: nothing else was tried)"];
        assert_eq!(lines, only, "{key}");
        let left = place::files(&folder.path().join("replica-1"));
        assert!(left.is_empty(), "{left:?}");
    }
}

/// The folder is not there, cannot be read, and is no folder.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn of_folders_it_says_what_is_wrong_and_makes_none() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| {
        let uri = folder.path().join(name).display().to_string();
        vec![("LANCEGATE_PRIMARY__URI".to_owned(), uri)]
    };
    let missing = check(&at("missing")).await;
    assert_eq!(missing.code, Some(0), "{missing:?}");
    assert!(missing.out.contains("the server creates it"), "{missing:?}");
    assert!(!folder.path().join("missing").exists());
    std::fs::write(folder.path().join("file"), "").unwrap();
    says(
        &check(&at("file")).await,
        &["cannot be opened", "Not a directory"],
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a store: tests/external/checks/stores.sh has one"]
async fn of_a_store_it_says_what_is_wrong_and_what_to_do() {
    let folder = TempDir::new().unwrap();
    let good = both(folder.path());
    let real = endpoint();

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    let nowhere = with(
        &good,
        real.trim_start_matches("http://"),
        &nobody.to_string(),
    );
    says(&check(&nowhere).await, &["the endpoint cannot be reached"]);

    let bucket = with(&good, "//lancegate/", "//no-such-bucket-here/");
    says(&check(&bucket).await, &["is not there: create it"]);

    let mut forbidden = good.clone();
    forbidden.retain(|(key, _)| !key.contains("ALLOW_HTTP"));
    let ended = check(&forbidden).await;
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(ended.err.contains("allow_http"), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a store: tests/external/checks/stores.sh has one"]
async fn conditions_that_are_ignored_are_said() {
    let folder = TempDir::new().unwrap();
    let proxy = Proxy::start(&endpoint(), Faults::without_conditions()).await;
    let mut ignoring = through(&proxy, folder.path());
    ignoring.retain(|(key, _)| !key.ends_with("NAME"));
    says(
        &check(&ignoring).await,
        &[
            "can write\n",
            "ignores conditional writes",
            "s3+ddb://",
            "can delete\n",
        ],
    );
}

/// A key that may do all but one thing.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a store: tests/external/checks/stores.sh has one"]
async fn of_a_key_that_may_not_do_all_it_says_what_it_may_not() {
    let folder = TempDir::new().unwrap();
    let fine = ["list", "write", "read"];
    for action in ["list", "write", "read", "delete"] {
        let proxy = Proxy::start(&endpoint(), Faults::denying(action)).await;
        let mut denied = through(&proxy, folder.path());
        denied.retain(|(key, _)| !key.ends_with("NAME"));
        let ended = check(&denied).await;
        if action == "list" {
            // LanceDB lists to open it.
            says(
                &ended,
                &["cannot be opened: the credentials are not allowed"],
            );
            continue;
        }
        let told = format!("cannot {action}: the credentials are not allowed");
        says(&ended, &[&told, "to list, read, write and delete"]);
        // What comes before it is fine, and is said to be.
        for before in fine.iter().take_while(|before| **before != action) {
            let text = format!("  can {before}\n");
            assert!(ended.out.contains(&text), "{action}: {}", ended.out);
        }
    }
}

/// Opening takes one request after the other, and longer than a probe may.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a store: tests/external/checks/stores.sh has one"]
async fn of_a_store_that_is_far_away_it_opens_all_the_same() {
    let folder = TempDir::new().unwrap();
    let proxy = Proxy::start(&endpoint(), Faults::far(Duration::from_millis(300))).await;
    let mut settings = through(&proxy, folder.path());
    settings.push(("LANCEGATE_HEALTH__PROBE_TIMEOUT".into(), "1s".into()));
    let env: Vec<_> = settings.iter().map(|(k, v)| (&**k, &**v)).collect();
    let server = Server::start(folder.path(), 0, &env).await;
    let mut cluster = cluster_service_client::ClusterServiceClient::new(server.channel.clone());
    until_some(async || {
        let topology = cluster.get_topology(GetTopologyRequest {}).await.ok()?;
        let connections = topology.into_inner().connections;
        let is_up = |c: &ConnectionStatus| c.state() == ConnectionState::Up;
        (connections.len() == 2 && connections.iter().all(is_up)).then_some(())
    })
    .await;
    assert!(server.process.terminate().await.success());
}

/// Such a store would lose versions without an error.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a store: tests/external/checks/stores.sh has one"]
async fn conditions_that_are_ignored_make_no_primary_and_no_managed_replica() {
    let folder = TempDir::new().unwrap();
    let proxy = Proxy::start(&endpoint(), Faults::without_conditions()).await;
    let through = through(&proxy, folder.path());
    let of = |key: &str| -> Settings {
        let matching = through.iter().filter(|(k, _)| k.starts_with(key));
        matching.cloned().collect()
    };
    for (refused, key) in [(0, "LANCEGATE_PRIMARY"), (1, "LANCEGATE_REPLICAS__0")] {
        let mut settings = both(folder.path());
        let changed = of(key);
        settings.retain(|(k, _)| !changed.iter().any(|(other, _)| other == k));
        settings.extend(changed);
        let env: Vec<(&str, &str)> = settings
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        let server = Server::start(folder.path(), 0, &env).await;
        let mut cluster = cluster_service_client::ClusterServiceClient::new(server.channel.clone());
        let mut error = String::new();
        for _ in 0..600 {
            let topology = cluster.get_topology(GetTopologyRequest {}).await;
            let topology = topology.map(tonic::Response::into_inner);
            error = topology.map_or_else(
                |status| status.to_string(),
                |topology| topology.connections[refused].last_error.clone(),
            );
            if error.contains("ignores conditional writes") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(
            error.contains("ignores conditional writes"),
            "{key}: {error}"
        );
        let copied = place::files(&folder.path().join("replica-1"));
        let copied: Vec<_> = copied.keys().filter(|k| k.contains(".lance/")).collect();
        assert!(copied.is_empty(), "{copied:?}");
    }
}
