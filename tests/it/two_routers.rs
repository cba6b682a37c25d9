//! Two processes append to one table at once, and nobody tells them of each other.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use lancegate::proto::v1::{
    search_service_client::SearchServiceClient, table_service_client::TableServiceClient,
    write_service_client::WriteServiceClient, *,
};
use tempfile::TempDir;
use tonic::transport::Channel;

use super::{
    data::{batch, ids, ipc, small},
    process::{Server, until_some},
};

const WRITERS: i64 = 8;
const INSERTS: i64 = 5;
const ROWS: i64 = 20;

/// How often: 20 times where the stores are what is tested.
fn runs() -> i64 {
    let runs = std::env::var("LANCEGATE_TEST_RUNS");
    runs.map_or(2, |text| text.parse().expect("a number"))
}

/// Inserts 100 rows, 20 at a time. Answers the first id of those that were
/// acknowledged.
async fn write(channel: Channel, table: String, writer: i64) -> Vec<i64> {
    let mut client = WriteServiceClient::new(channel);
    let mut acknowledged = Vec::new();
    for i in 0..INSERTS {
        let first = (writer * INSERTS + i) * ROWS;
        let insert = InsertRequest {
            request_id: String::new(),
            table: table.clone(),
            rows: Some(ipc(&small(first, ROWS))),
            mode: 0,
        };
        match client.insert(insert).await {
            Ok(_) => acknowledged.push(first),
            Err(status) => println!("not acknowledged: {status:?}"),
        }
    }
    acknowledged
}

/// How often each id is in the table.
async fn counts(channel: Channel, table: String) -> BTreeMap<i64, usize> {
    let mut client = SearchServiceClient::new(channel).max_decoding_message_size(1 << 30);
    let strong = Freshness {
        kind: Some(freshness::Kind::Strong(Strong {})),
    };
    let scan = ScanRequest {
        table,
        query: Some(ScanQuery {
            columns: vec!["id".into()],
            ..Default::default()
        }),
        page_size: 10_000,
        freshness: Some(strong),
        ..Default::default()
    };
    let answer = client.scan(scan).await.expect("rows").into_inner();
    assert!(answer.next_page_token.is_empty());
    let mut counts = BTreeMap::new();
    for id in ids(&batch(answer.rows)) {
        *counts.entry(id).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_row_of_two_routers_is_there_once() {
    let folder = TempDir::new().unwrap();
    let routers = [
        Server::start(folder.path(), 0, &[]).await,
        Server::start(folder.path(), 0, &[]).await,
    ];
    let channel = |i: i64| routers[(i % 2) as usize].channel.clone();
    let mut acknowledged = 0;
    for run in 0..runs() {
        let mut table = TableServiceClient::new(channel(run));
        let name = format!("t{run}");
        until_some(async || {
            let create = CreateTableRequest {
                table: name.clone(),
                source: Some(create_table_request::Source::Rows(ipc(&small(-1, 1)))),
                exist_ok: true,
            };
            table.create_table(create).await.ok()
        })
        .await;
        // The other one sees it too.
        let mut other = TableServiceClient::new(channel(run + 1));
        until_some(async || {
            let describe = DescribeTableRequest {
                table: name.clone(),
            };
            other.describe_table(describe).await.ok()
        })
        .await;

        let writers =
            (0..WRITERS).map(|writer| tokio::spawn(write(channel(writer), name.clone(), writer)));
        let firsts: Vec<Vec<i64>> = stream::iter(writers)
            .buffer_unordered(WRITERS as usize)
            .try_collect()
            .await
            .unwrap();
        let firsts: Vec<i64> = firsts.into_iter().flatten().collect();
        let counts = counts(channel(run), name).await;
        for first in &firsts {
            for id in *first..first + ROWS {
                assert_eq!(counts.get(&id), Some(&1), "run {run}: row {id}");
            }
        }
        let twice: Vec<_> = counts.iter().filter(|(_, n)| **n > 1).collect();
        assert!(twice.is_empty(), "run {run}: {twice:?}");
        acknowledged += firsts.len();
    }
    let asked = runs() * WRITERS * INSERTS;
    println!("{acknowledged} of {asked} inserts of {ROWS} rows were acknowledged");
    // Conflicts are retried, by Lance and by the lane: few give up.
    assert!(acknowledged as i64 >= asked * 9 / 10, "{acknowledged}");
}
