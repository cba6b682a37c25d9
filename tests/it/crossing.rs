//! Replication from one kind of store to another. Where the tests have no store,
//! both are folders; with one, a folder and the store, both ways; with another one,
//! the store and that.

use std::path::Path;

use lancegate::proto::v1::*;
use tempfile::TempDir;

use super::{
    data::{ipc, small},
    place::{other_variables, variables},
    process::{self, Ended},
    server::{TestServer, settings_with},
};

/// The settings of one replica, which is not where the primary is.
type Places = Vec<(String, String)>;

fn places(folder: &Path, primary_is_the_other: bool) -> Places {
    let (primary, replica) = (folder.join("primary"), folder.join("replica-1"));
    let (key, copy) = ("LANCEGATE_PRIMARY", "LANCEGATE_REPLICAS__0");
    let mut places = match primary_is_the_other {
        false => [variables(key, &primary), other_variables(copy, &replica)],
        true => [other_variables(key, &primary), variables(copy, &replica)],
    }
    .concat();
    places.push((format!("{copy}__NAME"), "replica-1".into()));
    places
}

fn as_text(places: &Places) -> Vec<(&str, &str)> {
    let pairs = places.iter();
    pairs.map(|(k, v)| (k.as_str(), v.as_str())).collect()
}

/// Whatever makes files of its own kind: data, deletions, an index, a compaction.
async fn work(server: &mut TestServer) {
    server.table_of("t", ipc(&small(0, 400))).await;
    server.insert("t", 400, 50).await;
    let index = CreateIndexRequest {
        table: "t".into(),
        columns: vec!["id".into()],
        index: Some(IndexSpec {
            kind: Some(index_spec::Kind::Btree(BTreeIndex {})),
        }),
        name: String::new(),
        replace: None,
    };
    server.table.create_index(index).await.expect("an index");
    let delete = DeleteRequest {
        request_id: String::new(),
        table: "t".into(),
        filter: Some(Filter {
            sql: "id < 7".into(),
            params: Vec::new(),
        }),
    };
    server.write.delete(delete).await.expect("a commit");
    let compact = OptimizeTableRequest {
        table: "t".into(),
        compact: true,
        ..Default::default()
    };
    server
        .table
        .optimize_table(compact)
        .await
        .expect("a commit");
    server.table_of("u", ipc(&small(0, 5))).await;
    server
        .table
        .drop_table(DropTableRequest {
            table: "u".into(),
            ignore_missing: false,
        })
        .await
        .expect("no table");
    // Larger than what is written in one piece.
    let large = (0..40).map(|i| small(10_000 + i * 10_000, 10_000));
    let large: Vec<_> = large.collect();
    let large = arrow::compute::concat_batches(&large[0].schema(), &large).unwrap();
    server.table_of("large", ipc(&large)).await;
    server.settled().await;
}

async fn copies_are_true(primary_is_the_other: bool) {
    let folder = TempDir::with_prefix("lancegate crossing ").unwrap();
    let places = places(folder.path(), primary_is_the_other);
    let config = settings_with(folder.path(), 0, &as_text(&places));
    let mut server = TestServer::start_with(folder, config).await;
    work(&mut server).await;
    let TestServer { app, folder, .. } = server;
    app.stop().await.expect("the server stops");

    let args = ["verify", "--strict", "--rows", "--queries", "10"];
    let mut verify = process::command(folder.path(), 0, &args);
    process::configure(&mut verify, &as_text(&places));
    let Ended { code, out, err } = process::run(verify).await;
    println!("{out}");
    assert_eq!(code, Some(0), "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_on_another_kind_of_store_are_true() {
    copies_are_true(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_from_another_kind_of_store_are_true() {
    copies_are_true(true).await;
}
