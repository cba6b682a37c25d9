//! What is copied beside data, what is refused, and replicas that others copy to.

use std::path::Path;

use lance::dataset::Dataset;
use lancegate::{config::ReplicaMode, proto::v1::*};
use tempfile::TempDir;

use super::{
    data::{ipc, small, url},
    place,
    server::{TestServer, settings, wait_until},
};

fn tag(name: &str, version: u64) -> Option<Tag> {
    Some(Tag {
        name: name.into(),
        version,
    })
}

/// The tags that somebody who opens the replica's folder finds.
async fn tags_of(folder: &Path) -> Vec<(String, u64)> {
    let table = Dataset::open(&url(&folder.join("t.lance"))).await;
    let Ok(table) = table else { return Vec::new() };
    let Ok(tags) = table.tags().list().await else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (name, tag) in tags {
        // The version is there, and all of it.
        let tagged = match table.checkout_version(name.as_str()).await {
            Ok(tagged) => tagged,
            // Deleted since it was listed.
            Err(lance::Error::RefNotFound { .. }) => continue,
            // Deleted between the question whether it is there and its reading.
            Err(e) if e.to_string().contains("_refs/tags/") => continue,
            Err(e) => panic!("{name}: {e}"),
        };
        if tagged.version().version != tag.version {
            // Moved since it was listed.
            continue;
        }
        assert!(tagged.scan().try_into_batch().await.unwrap().num_rows() > 0);
        found.push((name, tag.version));
    }
    found.sort();
    found
}

async fn until_tags(folder: &Path, expected: &[(&str, u64)]) {
    let expected: Vec<_> = expected.iter().map(|(n, v)| (n.to_string(), *v)).collect();
    let mut found = Vec::new();
    for _ in 0..place::looks(600) {
        found = tags_of(folder).await;
        if found == expected {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the tags are {found:?}, not {expected:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_follow_with_the_versions_that_they_name() {
    let server = TestServer::start(0).await;
    let mut server = server;
    server.table_of("t", ipc(&small(0, 10))).await;
    for i in 1..4 {
        server.insert("t", i * 10, 10).await;
    }
    // The replica begins at version 4.
    let mut server = server.restart(1).await;
    server.settled().await;
    let replica = server.folder.path().join("replica-1");
    let create = |name: &str, version| CreateTagRequest {
        table: "t".into(),
        tag: tag(name, version),
    };
    server.table.create_tag(create("old", 2)).await.unwrap();
    server.table.create_tag(create("new", 4)).await.unwrap();
    until_tags(&replica, &[("new", 4), ("old", 2)]).await;
    let update = UpdateTagRequest {
        table: "t".into(),
        tag: tag("old", 1),
    };
    server.table.update_tag(update).await.unwrap();
    until_tags(&replica, &[("new", 4), ("old", 1)]).await;
    let delete = DeleteTagRequest {
        table: "t".into(),
        name: "new".into(),
    };
    server.table.delete_tag(delete).await.unwrap();
    until_tags(&replica, &[("old", 1)]).await;
    // Somebody else's tag is seen without an announcement.
    let primary = server.folder.path().join("primary");
    let direct = Dataset::open(&url(&primary.join("t.lance"))).await;
    direct.unwrap().tags().create("theirs", 3).await.unwrap();
    until_tags(&replica, &[("old", 1), ("theirs", 3)]).await;
}

/// The error of a table on the first replica.
pub async fn refusal(server: &mut TestServer, table: &str) -> String {
    for _ in 0..place::looks(600) {
        let topology = server.cluster.get_topology(GetTopologyRequest {}).await;
        let replica = topology.unwrap().into_inner().connections.remove(1);
        let position = replica.tables.into_iter().find(|t| t.table == table);
        if let Some(position) = position
            && !position.last_error.is_empty()
        {
            assert_eq!(position.version, 0, "{table} is served");
            return position.last_error;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{table} was not refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_their_versions_do_not_describe_are_refused() {
    let folder = TempDir::new().unwrap();
    let primary = folder.path().join("primary");
    let table = |name: &str| url(&primary.join(format!("{name}.lance")));
    let direct = lancedb::connect(&url(&primary)).execute().await.unwrap();
    for name in ["origin", "branched"] {
        direct
            .create_table(name, small(0, 5))
            .execute()
            .await
            .unwrap();
    }
    let mut origin = Dataset::open(&table("origin")).await.unwrap();
    origin
        .shallow_clone(&table("shallow"), 1, None)
        .await
        .unwrap();
    let mut branched = Dataset::open(&table("branched")).await.unwrap();
    branched.create_branch("side", 1, None).await.unwrap();

    let config = settings(folder.path(), 1);
    let mut server = TestServer::start_with(folder, config).await;
    for (table, reason) in [
        ("shallow", "outside its folder"),
        ("branched", "has branches"),
    ] {
        let error = refusal(&mut server, table).await;
        assert!(error.contains(reason), "{table}: {error}");
        let copy = server
            .folder
            .path()
            .join(format!("replica-1/{table}.lance"));
        assert!(!place::exists(&copy), "something of {table} was copied");
    }
    // The others are copied all the same, and those are read from the primary.
    let count = CountRequest {
        freshness: None,
        table: "origin".into(),
        filter: None,
    };
    let copy = server
        .folder
        .path()
        .join("replica-1/origin.lance/_versions");
    wait_until("copied", || place::exists(&copy)).await;
    let answer = server.search.count(count).await.unwrap().into_inner();
    assert_eq!(answer.count, 5);
}

/// Copies the files of a place that are wanted.
pub fn copy_tree(from: &Path, to: &Path, wanted: &impl Fn(&Path) -> bool) {
    for name in place::files(from).into_keys() {
        if wanted(&from.join(&name)) {
            let bytes = place::read(&from.join(&name)).expect("a file");
            place::write(&to.join(&name), &bytes);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_external_copy_is_served_once_it_is_whole() {
    let folder = TempDir::new().unwrap();
    let mut config = settings(folder.path(), 1);
    config.replicas[0].mode = ReplicaMode::External;
    let mut server = TestServer::start_with(folder, config).await;
    let create = CreateTableRequest {
        table: "t".into(),
        source: Some(create_table_request::Source::Rows(ipc(&small(0, 10)))),
        exist_ok: false,
    };
    server.table.create_table(create).await.unwrap();
    let primary = server.folder.path().join("primary/t.lance");
    let replica = server.folder.path().join("replica-1/t.lance");
    copy_tree(&primary, &replica, &|_| true);
    server.settled().await;
    server.insert("t", 10, 10).await;
    // The manifest before the data, as tools that copy in any order have it.
    copy_tree(&primary, &replica, &|path| {
        path.extension().is_some_and(|e| e == "manifest")
    });
    let error = incomplete(&mut server).await;
    assert!(error.contains("version 2 is not whole"), "{error}");
    let count = CountRequest {
        freshness: None,
        table: "t".into(),
        filter: None,
    };
    for _ in 0..4 {
        let answer = server.search.count(count.clone()).await.unwrap();
        let answer = answer.into_inner();
        let served = answer.served.unwrap();
        assert_eq!(
            (served.connection.as_str(), answer.count),
            ("replica-1", 10)
        );
        assert_eq!(served.lag_versions, 1);
    }
    // Half a file is no file.
    let old = place::files(&replica.join("data"));
    let new = place::files(&primary.join("data")).into_keys();
    for name in new.filter(|name| !old.contains_key(name)) {
        place::write(&replica.join("data").join(name), b"half");
    }
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    let answer = server.search.count(count.clone()).await.unwrap();
    assert_eq!(answer.into_inner().count, 10);
    copy_tree(&primary, &replica, &|_| true);
    server.settled().await;
    let answer = server.search.count(count).await.unwrap().into_inner();
    assert_eq!(answer.count, 20);
    assert_eq!(answer.served.unwrap().connection, "replica-1");
    let marker = "replica-1/_lancegate/replica-of";
    assert!(!place::exists(&server.folder.path().join(marker)));
}

async fn incomplete(server: &mut TestServer) -> String {
    for _ in 0..place::looks(600) {
        let topology = server.cluster.get_topology(GetTopologyRequest {}).await;
        let tables = &topology.unwrap().into_inner().connections[1].tables;
        if let Some(table) = tables.iter().find(|t| !t.last_error.is_empty()) {
            return table.last_error.clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the missing file was not seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_replica_reads_the_primarys_own_files() {
    let folder = TempDir::new().unwrap();
    let mut config = settings(folder.path(), 1);
    config.replicas[0].mode = ReplicaMode::Shared;
    config.replicas[0].uri = config.primary.location().unwrap().uri.clone();
    let mut server = TestServer::start_with(folder, config).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    server.insert("t", 10, 10).await;
    server.settled().await;
    let count = CountRequest {
        freshness: None,
        table: "t".into(),
        filter: None,
    };
    let answer = server.search.count(count).await.unwrap().into_inner();
    assert_eq!(answer.count, 20);
    assert_eq!(answer.served.unwrap().connection, "replica-1");
    assert!(!place::exists(&server.folder.path().join("replica-1")));
    let request = RebuildReplicaRequest {
        replica: "replica-1".into(),
        table: String::new(),
    };
    let refused = server.cluster.rebuild_replica(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
}
