//! A faulty network in front of a store: what is acknowledged is there, once, and
//! copied. There is no store among the tests' own servers: tests/external/checks/
//! stores.sh starts one and runs these.

pub mod proxy;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use lancegate::proto::v1::*;
use proxy::{Faults, Proxy};
use tempfile::TempDir;
use tonic::Code;

use super::{
    data::{batch, ids, ipc, small},
    place,
    process::{self, Ended, Server, until_some},
};

/// Inserts of 10 rows; every second one has a request id and is repeated until it
/// is acknowledged.
const INSERTS: i64 = 40;
const ROWS: i64 = 10;

/// How the inserts, and the reads in between, went.
#[derive(Debug, Default)]
struct Tally {
    asked: usize,
    succeeded: usize,
    reads: usize,
    failed_reads: usize,
    acknowledged: Vec<i64>,
    doubtful: Vec<i64>,
}

/// The address of the store that the options name.
pub fn endpoint() -> String {
    let options = place::options();
    let keys = ["aws_endpoint", "google_base_url", "azure_storage_endpoint"];
    let found = keys.iter().find_map(|key| options.get(*key));
    found.expect("a store with an endpoint").clone()
}

/// The settings of a primary and a replica that are reached through the proxy.
pub fn through(proxy: &Proxy, folder: &std::path::Path) -> Vec<(String, String)> {
    let real = endpoint();
    let address = real.strip_prefix("http://").expect("a plain address");
    let address = address.split('/').next().unwrap();
    let places = [
        place::variables("LANCEGATE_PRIMARY", &folder.join("primary")),
        place::variables("LANCEGATE_REPLICAS__0", &folder.join("replica-1")),
    ];
    let places = places.into_iter().flatten();
    let mut settings: Vec<(String, String)> = places
        .map(|(key, value)| (key, value.replace(address, &proxy.address().to_string())))
        .collect();
    settings.push(("LANCEGATE_REPLICAS__0__NAME".into(), "replica-1".into()));
    settings
}

async fn work(server: &Server) -> Tally {
    let channel = server.channel.clone();
    let mut table = table_service_client::TableServiceClient::new(channel.clone());
    let mut write = write_service_client::WriteServiceClient::new(channel.clone());
    let mut search = search_service_client::SearchServiceClient::new(channel);
    until_some(async || {
        let create = CreateTableRequest {
            table: "t".into(),
            source: Some(create_table_request::Source::Rows(ipc(&small(-1, 1)))),
            exist_ok: true,
        };
        table.create_table(create).await.ok()
    })
    .await;
    let mut tally = Tally::default();
    for i in 0..INSERTS {
        let first = i * ROWS;
        let has_id = i % 2 == 0;
        let insert = InsertRequest {
            request_id: if has_id {
                format!("insert-{i}")
            } else {
                String::new()
            },
            table: "t".into(),
            rows: Some(ipc(&small(first, ROWS))),
            mode: 0,
        };
        for _ in 0..if has_id { 20 } else { 1 } {
            tally.asked += 1;
            match write.insert(insert.clone()).await {
                Ok(_) => {
                    tally.succeeded += 1;
                    tally.acknowledged.push(first);
                    break;
                }
                Err(status) => {
                    let known = [Code::Unavailable, Code::Unknown, Code::Aborted];
                    assert!(known.contains(&status.code()), "{status:?}");
                    println!("insert {i}: {:?}: {}", status.code(), status.message());
                    if !has_id {
                        tally.doubtful.push(first);
                    }
                }
            }
        }
        for _ in 0..3 {
            tally.reads += 1;
            let count = CountRequest {
                table: "t".into(),
                filter: None,
                freshness: None,
            };
            if let Err(status) = search.count(count).await {
                println!("read: {status:?}");
                tally.failed_reads += 1;
            }
        }
    }
    tally
}

async fn settled(server: &Server) {
    let mut cluster = cluster_service_client::ClusterServiceClient::new(server.channel.clone());
    until_some(async || {
        let topology = cluster.get_topology(GetTopologyRequest {}).await.ok()?;
        let connections = topology.into_inner().connections;
        let version = |c: &ConnectionStatus| c.tables.first().map(|t| t.version);
        let primary = version(&connections[0])?;
        (version(&connections[1]) == Some(primary)).then_some(())
    })
    .await;
}

/// How often each id is in the table, as one connection has it.
async fn rows(server: &Server) -> BTreeMap<i64, usize> {
    let mut search = search_service_client::SearchServiceClient::new(server.channel.clone());
    let answer = until_some(async || {
        let scan = ScanRequest {
            table: "t".into(),
            page_size: 10_000,
            freshness: Some(Freshness {
                kind: Some(freshness::Kind::Strong(Strong {})),
            }),
            ..Default::default()
        };
        search.scan(scan).await.ok()
    })
    .await;
    let mut counts = BTreeMap::new();
    for id in ids(&batch(answer.into_inner().rows)) {
        *counts.entry(id).or_default() += 1;
    }
    counts
}

struct Run {
    requests: u64,
    took: Duration,
    tally: Tally,
}

/// The work through a proxy, and whether everything is right after it, asked of the
/// store itself.
async fn run(faults: Faults) -> Run {
    let folder = TempDir::with_prefix("lancegate-faulty-").unwrap();
    let real = endpoint();
    let proxy = Proxy::start(&real, faults).await;
    let settings = through(&proxy, folder.path());
    let env: Vec<(&str, &str)> = settings
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    let began = Instant::now();
    let server = Server::start(folder.path(), 0, &env).await;
    let tally = work(&server).await;
    settled(&server).await;
    let took = began.elapsed();
    let requests = proxy.requests();
    println!("{}", proxy.summary());
    server.process.terminate().await;

    let quiet = Server::start(folder.path(), 1, &[]).await;
    let found = rows(&quiet).await;
    for first in &tally.acknowledged {
        for id in *first..first + ROWS {
            assert_eq!(found.get(&id), Some(&1), "acknowledged row {id}");
        }
    }
    for first in &tally.doubtful {
        let there: Vec<usize> = (*first..first + ROWS)
            .map(|id| found.get(&id).copied().unwrap_or(0))
            .collect();
        let whole = there.iter().all(|n| *n == 0) || there.iter().all(|n| *n == 1);
        assert!(whole, "rows {first}..: {there:?}");
    }
    settled(&quiet).await;
    quiet.process.terminate().await;
    // Not --strict: a replica that is slow leaves out versions in between.
    let verify = process::command(folder.path(), 1, &["verify", "--rows"]);
    let Ended { code, out, err } = process::run(verify).await;
    assert_eq!(code, Some(0), "{out}{err}");
    Run {
        requests,
        took,
        tally,
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a store: tests/external/checks/stores.sh has one"]
async fn nothing_is_wrong_or_lost_behind_a_faulty_network() {
    let seed = std::env::var("LANCEGATE_TEST_SEED").map_or(1, |text| text.parse().unwrap());
    let quiet = run(Faults::none()).await;
    let faulty = run(Faults::all(seed)).await;
    assert_eq!(quiet.tally.succeeded, INSERTS as usize, "{:?}", quiet.tally);
    println!(
        "seed {seed}: {} of {} attempts to insert succeeded, {} of {} inserts were acknowledged; {} of {} reads failed",
        faulty.tally.succeeded,
        faulty.tally.asked,
        faulty.tally.acknowledged.len(),
        INSERTS,
        faulty.tally.failed_reads,
        faulty.tally.reads,
    );
    println!(
        "requests to the store: {} quiet in {:?}, {} faulty in {:?}: amplification {:.2}",
        quiet.requests,
        quiet.took,
        faulty.requests,
        faulty.took,
        faulty.requests as f64 / quiet.requests as f64,
    );
    // What has an id succeeds in the end; of the others most.
    let with_id = faulty
        .tally
        .acknowledged
        .iter()
        .filter(|first| *first / ROWS % 2 == 0);
    assert_eq!(with_id.count() as i64, INSERTS / 2);
    // Catalogs are pinned: reads ask the store for little.
    assert!(
        faulty.tally.failed_reads * 20 <= faulty.tally.reads,
        "{:?}",
        faulty.tally
    );
}

/// The manifest landed, and nobody heard of it: neither refused nor done twice.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a store: tests/external/checks/stores.sh has one"]
async fn a_landed_commit_whose_answer_was_lost_is_neither_refused_nor_done_twice() {
    for faults in [Faults::lost_answers(7), Faults::unavailable_after(7)] {
        let run = run(faults).await;
        println!("{:?}", run.tally);
        // Lance looks who owns the version: none of these is even an error.
        assert_eq!(
            run.tally.acknowledged.len(),
            INSERTS as usize,
            "{:?}",
            run.tally
        );
        assert_eq!(run.tally.asked, INSERTS as usize, "{:?}", run.tally);
    }
}
