//! Keys and tokens that change while requests come.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use lancegate::{access::keys, proto::v1::*};
use serde_json::{Value, json};
use tonic::Code;

use super::{
    guarded::{Caller, Guarded, entries},
    issuer::{Issuer, jwt},
};
use crate::process::until_some;

async fn asks(server: &Guarded, key: &str) -> Code {
    let mut caller = Caller::of(&server.channel, Some(key));
    let listed = caller.table.list_tables(ListTablesRequest::default()).await;
    listed.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_takes_the_place_of_another_and_no_request_fails() {
    let server = Arc::new(Guarded::start(0, "").await);
    let (old, new) = (server.files.keys["reader"].clone(), keys::generate());
    let current = Arc::new(std::sync::Mutex::new(old.clone()));
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for _ in 0..4 {
        let (server, current, stop) = (server.clone(), current.clone(), stop.clone());
        clients.push(tokio::spawn(async move {
            let mut asked = 0;
            while !stop.load(Ordering::Relaxed) {
                let key = current.lock().unwrap().clone();
                assert_eq!(asks(&server, &key).await, Code::Ok);
                asked += 1;
            }
            asked
        }));
    }
    let file = &server.files.key_file;
    let before = fs::read_to_string(file).unwrap();
    fs::write(
        file,
        format!("{before}{}", keys::entry("reader", &[], &new)),
    )
    .unwrap();
    until_some(async || (asks(&server, &new).await == Code::Ok).then_some(())).await;
    assert_eq!(asks(&server, &old).await, Code::Ok, "both are taken");
    *current.lock().unwrap() = new.clone();
    // Each of the clients has asked with the new one before the old one goes.
    tokio::time::sleep(Duration::from_millis(300)).await;
    // A file that is broken, or gone, takes nothing away.
    fs::write(file, "[[keys]]\nname = ").unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    fs::remove_file(file).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(asks(&server, &old).await, Code::Ok);
    let mut all: BTreeMap<&'static str, String> = server.files.keys.clone();
    all.insert("reader", new.clone());
    fs::write(file, entries(&all)).unwrap();
    until_some(async || (asks(&server, &old).await == Code::Unauthenticated).then_some(())).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        let asked = client
            .await
            .expect("a client whose every request was answered");
        assert!(asked > 10, "{asked}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bindings_count_from_the_next_request_on() {
    let server = Guarded::start(0, "").await;
    let mut reader = server.caller("reader");
    let delete = DeleteRequest {
        table: "t".into(),
        ..Default::default()
    };
    let refused = reader.write.delete(delete.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let config = fs::read_to_string(&server.files.config).unwrap();
    let more = "\n[[access.bindings]]\nprincipals = [\"key:reader\"]\nrole = \"writer\"\ntables = [\"t\"]\n";
    fs::write(&server.files.config, config + more).unwrap();
    let mut root = server.caller("root");
    let reloaded = root
        .cluster
        .reload_configuration(ReloadConfigurationRequest::default())
        .await;
    reloaded.unwrap();
    let refused = reader.write.delete(delete).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_taken_of_the_issuer_and_for_us_alone() {
    let issuer = Issuer::with("k1");
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("jwks.json");
    fs::write(&file, issuer.jwks()).unwrap();
    let source = format!("jwks_file = \"{}\"", file.display());
    let server = Guarded::start_appended(&jwt(&source)).await;
    assert_eq!(asks(&server, &issuer.token("k1", |_| ())).await, Code::Ok);
    let without = issuer.token("k1", |c| c["groups"] = json!(["others"]));
    assert_eq!(asks(&server, &without).await, Code::PermissionDenied);
    type Edit = fn(&mut Value);
    let bad: [Edit; 4] = [
        |c| c["aud"] = json!("other"),
        |c| c["iss"] = json!("https://issuer.example.evil"),
        |c| c["exp"] = json!(1),
        |c| c["nbf"] = json!(u32::MAX),
    ];
    for edit in bad {
        assert_eq!(
            asks(&server, &issuer.token("k1", edit)).await,
            Code::Unauthenticated
        );
    }
    // Another one, whose key has the same name.
    let evil = Issuer::with("k1");
    assert_eq!(
        asks(&server, &evil.token("k1", |_| ())).await,
        Code::Unauthenticated
    );
    // The file changes: both keys, then only the new one.
    issuer.add("k2");
    let new = issuer.token("k2", |_| ());
    assert_eq!(asks(&server, &new).await, Code::Unauthenticated);
    fs::write(&file, issuer.jwks()).unwrap();
    until_some(async || (asks(&server, &new).await == Code::Ok).then_some(())).await;
    let old = issuer.token("k1", |_| ());
    issuer.keys.lock().unwrap().remove(0);
    fs::write(&file, issuer.jwks()).unwrap();
    until_some(async || (asks(&server, &old).await != Code::Ok).then_some(())).await;
    assert_eq!(asks(&server, &new).await, Code::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_fetched_once_however_many_show_it() {
    let issuer = Issuer::with("k1");
    let shown = issuer.clone();
    let page = get(move || {
        shown.fetched.fetch_add(1, Ordering::Relaxed);
        let text = shown.jwks();
        async move { text }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/jwks", page)).await });
    let server = Arc::new(Guarded::start_appended(&jwt(&format!("jwks_url = \"{url}\""))).await);
    let token = issuer.token("k1", |_| ());
    until_some(async || (asks(&server, &token).await == Code::Ok).then_some(())).await;
    let before = issuer.fetched.load(Ordering::Relaxed);
    // Nobody makes this server ask the issuer again and again.
    let stranger = Issuer::with("stranger");
    let asked: Vec<_> = (0..50)
        .map(|_| {
            let (server, token) = (server.clone(), stranger.token("stranger", |_| ()));
            tokio::spawn(async move { asks(&server, &token).await })
        })
        .collect();
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Code::Unauthenticated);
    }
    let after = issuer.fetched.load(Ordering::Relaxed);
    assert!(after - before <= 1, "{before} {after}");
}
