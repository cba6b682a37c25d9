//! Fifty repeats at once, through one process and through two on one primary: one
//! commit.

use futures::future::join_all;
use tempfile::TempDir;
use tonic::transport::Channel;

use super::{Answer, Write, all_ids, create, try_create};
use crate::{
    process::{Server, until_some},
    server::TestServer,
};

const REPEATS: usize = 50;

/// Sends one write many times at once; answers what all of them were answered.
async fn at_once(write: &Write, channels: &[Channel]) -> Answer {
    let sends = (0..REPEATS).map(|n| {
        let (write, channel) = (write.clone(), channels[n % channels.len()].clone());
        // Tasks: they run on all threads.
        tokio::spawn(async move { write.send(&channel).await })
    });
    let mut answers: Vec<Answer> = Vec::new();
    for answer in join_all(sends).await {
        answers.push(answer.unwrap().expect("an answer"));
    }
    let did: Vec<&Answer> = answers.iter().filter(|answer| !answer.repeated).collect();
    assert_eq!(did.len(), 1, "did it: {did:?}");
    let did = did[0].clone();
    for answer in answers {
        let first = Answer {
            repeated: answer.repeated,
            ..did.clone()
        };
        assert_eq!(answer, first);
    }
    did
}

async fn each_kind_once(channels: &[Channel]) {
    create(&channels[0], "t", 0..1).await;
    let mut version = 1;
    for (n, write) in [
        Write::insert("t", 1..3),
        Write::upsert("t", 2..5),
        Write::add_to_ids("t", "id >= 3", 10),
        Write::import("t", 20..22),
        Write::delete("t", "id = 13"),
    ]
    .into_iter()
    .enumerate()
    {
        let did = at_once(&write.with_id(&format!("id {n}")), channels).await;
        assert_eq!(did.version, version + 1, "commits besides it");
        version = did.version;
    }
    for channel in channels {
        assert_eq!(all_ids(channel, "t").await, [0, 1, 2, 14, 20, 21]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_repeats_through_one_process_are_one_commit() {
    let server = TestServer::start(0).await;
    let url = format!("http://{}", server.app.grpc_address());
    let channel = Channel::from_shared(url).unwrap().connect_lazy();
    each_kind_once(&[channel]).await;
    server.app.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_repeats_through_two_processes_are_one_commit() {
    let folder = TempDir::new().unwrap();
    let a = Server::start(folder.path(), 0, &[]).await;
    let b = Server::start(folder.path(), 0, &[]).await;
    let channels = [a.channel.clone(), b.channel.clone()];
    for channel in &channels {
        until_some(async || try_create(channel, "up", 0..1).await).await;
    }
    each_kind_once(&channels).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_upserts_of_the_same_new_keys_insert_them_once() {
    let server = TestServer::start(0).await;
    let url = format!("http://{}", server.app.grpc_address());
    let channel = Channel::from_shared(url).unwrap().connect_lazy();
    create(&channel, "t", 0..1).await;
    // Some with ids of their own, some without.
    let sends = (0..30).map(|n| {
        let write = Write::upsert("t", 1..6);
        let write = match n % 3 {
            0 => write,
            _ => write.with_id(&format!("id {n}")),
        };
        let channel = channel.clone();
        tokio::spawn(async move { write.send(&channel).await })
    });
    for answer in join_all(sends).await {
        assert!(!answer.unwrap().unwrap().repeated);
    }
    assert_eq!(all_ids(&channel, "t").await, [0, 1, 2, 3, 4, 5]);
    server.app.stop().await.unwrap();
}
