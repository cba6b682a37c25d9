//! The real binary, killed without warning while it copies.

use std::{collections::BTreeMap, path::Path, time::Duration};

use lancegate::proto::v1::{
    search_service_client::SearchServiceClient, table_service_client::TableServiceClient,
    write_service_client::WriteServiceClient, *,
};
use tempfile::TempDir;
use tonic::transport::Channel;

use super::{
    data::{ipc, small},
    place,
    process::{Server, until_some},
};

/// Files below a folder, with the tag that the store gives to what is written anew.
fn tags(folder: &Path) -> BTreeMap<String, String> {
    let files = place::metas(folder).into_iter();
    files
        .map(|(name, meta)| (name, meta.e_tag.expect("a tag")))
        .collect()
}

async fn rows(channel: &Channel) -> Option<(u64, String)> {
    let mut search = SearchServiceClient::new(channel.clone());
    let request = CountRequest {
        freshness: None,
        table: "t".into(),
        filter: None,
    };
    let answer = search.count(request).await.ok()?.into_inner();
    Some((answer.count, answer.served?.connection))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_copier_goes_on_where_it_was() {
    const COMMITS: i64 = 60;
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path(), 0, &[]).await;
    let mut table = TableServiceClient::new(server.channel.clone());
    until_some(async || {
        let create = CreateTableRequest {
            table: "t".into(),
            source: Some(create_table_request::Source::Rows(ipc(&small(0, 5_000)))),
            exist_ok: true,
        };
        table.create_table(create).await.ok()
    })
    .await;
    let mut write = WriteServiceClient::new(server.channel.clone());
    for i in 1..COMMITS {
        let insert = InsertRequest {
            request_id: String::new(),
            table: "t".into(),
            rows: Some(ipc(&small(i * 5_000, 5_000))),
            mode: 0,
        };
        write.insert(insert).await.expect("a commit");
    }
    server.process.kill();

    // The newest version refers to one data file per commit.
    let data = folder.path().join("replica-1/t.lance/data");
    let versions = folder.path().join("replica-1/t.lance/_versions");
    let server = Server::start(folder.path(), 1, &[]).await;
    until_some(async || (tags(&data).len() >= 3).then_some(())).await;
    server.process.kill();
    let before = tags(&data);
    assert!(before.len() < COMMITS as usize, "it had copied everything");
    assert!(tags(&versions).is_empty(), "a manifest before its files");

    let server = Server::start(folder.path(), 1, &[]).await;
    let (count, _) = until_some(async || {
        let (count, connection) = rows(&server.channel).await?;
        (connection == "replica-1").then_some((count, connection))
    })
    .await;
    assert_eq!(count, 5_000 * COMMITS as u64);
    let after = tags(&data);
    println!("{} of {} files before the kill", before.len(), after.len());
    assert_eq!(after.len(), COMMITS as usize);
    for (name, tag) in before {
        assert_eq!(after.get(&name), Some(&tag), "copied again: {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_kill() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path(), 1, &[]).await;
    let mut table = TableServiceClient::new(server.channel.clone());
    until_some(async || {
        let create = CreateTableRequest {
            table: "t".into(),
            source: Some(create_table_request::Source::Rows(ipc(&small(0, 10)))),
            exist_ok: true,
        };
        table.create_table(create).await.ok()
    })
    .await;
    let channel = server.channel.clone();
    let (send, written) = tokio::sync::watch::channel(0);
    let writer = tokio::spawn(async move {
        let mut write = WriteServiceClient::new(channel);
        let mut acknowledged = 10;
        loop {
            send.send_replace(acknowledged);
            let insert = InsertRequest {
                request_id: String::new(),
                table: "t".into(),
                rows: Some(ipc(&small(acknowledged, 10))),
                mode: 0,
            };
            match write.insert(insert).await {
                Ok(_) => acknowledged += 10,
                Err(_) => return acknowledged as u64,
            }
        }
    });
    // However slow this machine and the store are: something was written.
    until_some(async || (*written.borrow() > 10).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    server.process.kill();
    let acknowledged = writer.await.unwrap();
    assert!(acknowledged > 10, "nothing was written before the kill");
    let server = Server::start(folder.path(), 1, &[]).await;
    let (count, _) = until_some(async || {
        let found = rows(&server.channel).await?;
        (found.1 == "replica-1" && found.0 >= acknowledged).then_some(found)
    })
    .await;
    // The last insert may have been committed without its answer arriving.
    assert!(
        count == acknowledged || count == acknowledged + 10,
        "{count}"
    );
}
