//! A router before a node: both ask who comes, and decide for themselves.

use std::fs;

use lancegate::{
    app::App,
    config::{self, Sources},
    proto::v1::*,
};
use tempfile::TempDir;
use tonic::Code;

use super::{
    guarded::{Caller, Guarded, channel},
    tenants::{EACH, create},
};
use crate::server::{sources, wait_until};

/// A router before this node, with the same bindings; `more` goes before them.
async fn router(node: &Guarded, folder: &TempDir, more: &str) -> App {
    let file = folder.path().join("router.toml");
    let bindings = fs::read_to_string(&node.files.config).unwrap();
    fs::write(&file, format!("{more}\n{bindings}")).unwrap();
    let address = format!("grpc://{}", node.app.grpc_address());
    let env = [
        ("LANCEGATE_PRIMARY__URI", address.as_str()),
        ("LANCEGATE_REPLICAS__0__NAME", "node-1"),
        ("LANCEGATE_REPLICAS__0__URI", address.as_str()),
    ];
    let sources = Sources {
        file: Some(file),
        ..sources(folder.path(), 0, &env)
    };
    let config = config::load(sources).unwrap_or_else(|faults| panic!("{faults}"));
    App::start(config).await.expect("a router")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_passes_on_who_asks_and_the_node_decides() {
    let node = Guarded::start(1, "").await;
    create(&mut node.caller("root"), "docs").await;
    let folder = TempDir::new().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, format!("{}\n", node.files.keys["reader"])).unwrap();
    let more = format!(
        "[nodes]\nenforce_access = true\napi_key_file = \"{}\"\n",
        key.display()
    );
    let app = router(&node, &folder, &more).await;
    wait_until("a router that serves", || {
        app.serving("lancegate.v1.WriteService")
    })
    .await;
    let channel = channel(&app.grpc_address().to_string());
    let count = CountRequest {
        table: "docs".into(),
        ..Default::default()
    };
    for (who, expected) in [
        ("acme", EACH as u64),
        ("globex", EACH as u64),
        ("root", 2 * EACH as u64),
    ] {
        let mut caller = Caller::of(&channel, Some(&node.files.keys[who]));
        let answer = caller
            .search
            .count(count.clone())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answer.count, expected, "{who}");
        assert!(answer.served.unwrap().route.contains("node("), "{who}");
    }
    for (key, code) in [
        (None, Code::Unauthenticated),
        (Some("lgk_x"), Code::Unauthenticated),
        (
            Some(node.files.keys["nobody"].as_str()),
            Code::PermissionDenied,
        ),
    ] {
        let refused = Caller::of(&channel, key)
            .search
            .count(count.clone())
            .await
            .unwrap_err();
        assert_eq!(refused.code(), code);
    }
    let mut acme = Caller::of(&channel, Some(&node.files.keys["acme"]));
    let listed = acme
        .table
        .list_tables(ListTablesRequest::default())
        .await
        .unwrap();
    assert_eq!(listed.into_inner().tables, ["docs"]);
    let drop = DropTableRequest {
        table: "docs".into(),
        ..Default::default()
    };
    let refused = acme.table.drop_table(drop).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[test]
fn certificates_are_not_forwarded_and_the_configuration_says_so() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("lancegate.toml");
    fs::write(&file, "[access]\nenabled = true\n[[access.bindings]]\nprincipals = [\"cert:CN=a\"]\nrole = \"reader\"\ntables = [\"*\"]\n").unwrap();
    let load = |env: &[(&str, &str)]| {
        config::load(Sources {
            file: Some(file.clone()),
            ..sources(folder.path(), 0, env)
        })
    };
    load(&[]).unwrap();
    let faults = load(&[("LANCEGATE_PRIMARY__URI", "grpc://127.0.0.1:1")]).unwrap_err();
    assert!(faults.to_string().contains("not forwarded"), "{faults}");
}

/// A router does not look for rows and columns in what nodes answer.
#[test]
fn bindings_that_nodes_must_know_too_are_pointed_at() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("lancegate.toml");
    let load = |binding: &str, enforce: &str| {
        let text = format!(
            "[nodes]\nenforce_access = {enforce}\n[access]\nenabled = true\napi_keys_file = \"keys\"\n\
             [[access.bindings]]\nprincipals = [\"key:a\"]\nrole = \"reader\"\n{binding}\n"
        );
        fs::write(&file, text).unwrap();
        config::load(Sources {
            file: Some(file.clone()),
            ..sources(
                folder.path(),
                0,
                &[("LANCEGATE_PRIMARY__URI", "grpc://127.0.0.1:1")],
            )
        })
    };
    load("tables = [\"*\"]", "false").unwrap();
    for limited in [
        "tables = [\"docs\"]",
        "tables = [\"*\"]\nrows = \"tenant = {tenant}\"",
        "tables = [\"*\"]\nhidden_columns = [\"secret\"]",
    ] {
        let faults = load(limited, "false").unwrap_err().to_string();
        assert!(faults.contains("nodes.enforce_access"), "{faults}");
        load(limited, "true").unwrap();
    }
}
