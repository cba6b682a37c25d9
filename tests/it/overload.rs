//! More than a server can do: who is served, who is refused and how, and that all
//! is well again afterwards. Nothing here depends on how fast the machine is.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use lancegate::proto::v1::{search_service_client::SearchServiceClient, *};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt;

use super::{
    data::{ipc, packages, queries, small},
    server::{TestServer, reason, settings_with, wait_until},
};

/// Callers of the client that floods: more than can wait.
const FLOOD: usize = 160;
/// Requests that may wait.
const QUEUED: usize = 100;
/// What the steady client asks, one after the other.
const STEADY: usize = 30;

async fn start(more: &[(&str, &str)]) -> TestServer {
    let folder = TempDir::new().unwrap();
    let config = settings_with(folder.path(), 1, more);
    TestServer::start_with(folder, config).await
}

/// A channel from an address of its own: the whole of 127.0.0.0/8 is here.
async fn from(server: &TestServer, host: u8) -> Channel {
    Endpoint::from_shared(format!("http://{}", server.app.grpc_address()))
        .unwrap()
        .local_address(Some(IpAddr::from([127, 0, 0, host])))
        .initial_stream_window_size(64 << 10)
        .connect()
        .await
        .unwrap()
}

/// A search is worked on by others than the task of its request, and keeps its place
/// meanwhile; to count so few rows is over in the moment in which it begins.
fn ask() -> SearchRequest {
    SearchRequest {
        table: "t".into(),
        query: Some(Query {
            vectors: vec![super::data::floats(&[0.0; 4])],
            limit: 3,
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// What came of the requests of a flood, by code.
#[derive(Default)]
struct Flood {
    answered: AtomicUsize,
    refused: AtomicUsize,
    stop: AtomicBool,
}

impl Flood {
    async fn call(self: Arc<Self>, channel: Channel) -> Vec<Status> {
        let mut search = SearchServiceClient::new(channel);
        let mut refusals = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            match search.search(ask()).await {
                Ok(_) => _ = self.answered.fetch_add(1, Ordering::Relaxed),
                Err(status) => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    if refusals.len() < 10 {
                        refusals.push(status);
                    }
                    // It does not wait for as long as it is told to.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
        refusals
    }
}

/// Asks for health, and for what an operator wants, until it is told to stop.
async fn probe(channel: Channel, stop: Arc<Flood>) -> usize {
    let mut health = HealthClient::new(channel.clone());
    let mut cluster = cluster_service_client::ClusterServiceClient::new(channel);
    let mut answered = 0;
    while !stop.stop.load(Ordering::Relaxed) {
        let asked = health.check(HealthCheckRequest::default()).await;
        let status = asked.expect("health is never refused").into_inner();
        assert_eq!(status.status(), ServingStatus::Serving);
        let topology = cluster.get_topology(GetTopologyRequest {}).await;
        topology.expect("an operator goes first");
        answered += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_shed_and_a_steady_client_beside_it_is_served() {
    let mut server = start(&[
        ("LANCEGATE_LIMITS__MAX_CONCURRENT_REQUESTS", "4"),
        ("LANCEGATE_ADMISSION__MIN_CONCURRENT_REQUESTS", "1"),
        ("LANCEGATE_ADMISSION__INITIAL_CONCURRENT_REQUESTS", "2"),
        ("LANCEGATE_ADMISSION__MAX_QUEUED", &QUEUED.to_string()),
        // Nothing but the length of the queue sheds here.
        ("LANCEGATE_ADMISSION__MAX_WAIT", "10m"),
    ])
    .await;
    server.table_of("t", ipc(&small(0, 10))).await;
    let flood = Arc::new(Flood::default());
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let channel = from(&server, 2).await;
        for _ in 0..FLOOD / 8 {
            callers.spawn(Arc::clone(&flood).call(channel.clone()));
        }
    }
    wait_until("flooded", || flood.refused.load(Ordering::Relaxed) > 0).await;
    let probes = tokio::spawn(probe(from(&server, 3).await, Arc::clone(&flood)));

    let refused = || flood.refused.load(Ordering::Relaxed);
    let (before, refused_before) = (flood.answered.load(Ordering::Relaxed), refused());
    let mut steady = SearchServiceClient::new(from(&server, 4).await);
    for _ in 0..STEADY {
        // It has a turn for each of the flood's, so it is never refused.
        steady
            .search(ask())
            .await
            .expect("a steady client is served");
    }
    // The queue was full of the flood's all the time: first come, first served would
    // have refused it.
    wait_until("full still", || refused() > refused_before).await;
    let meanwhile = flood.answered.load(Ordering::Relaxed) - before;
    flood.stop.store(true, Ordering::Relaxed);

    println!("{meanwhile} of the flood for {STEADY} of the steady client");
    assert!(probes.await.unwrap() > 0);
    let mut codes = BTreeMap::new();
    while let Some(refusals) = callers.join_next().await {
        for status in refusals.unwrap() {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
            assert_eq!(reason(&status), "OVERLOADED");
            let info = status.get_details_error_info().unwrap();
            let delay = status.get_details_retry_info().unwrap().retry_delay;
            let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap();
            let millis = delay.unwrap().as_millis().to_string();
            assert_eq!(pushback.to_str().unwrap(), millis);
            *codes.entry(info.metadata["cause"].clone()).or_insert(0) += 1;
        }
    }
    assert_eq!(codes.keys().collect::<Vec<_>>(), ["queue_full"]);

    // It recovers by itself: nothing waits, no slot is lost, nothing is refused.
    wait_until("empty", || {
        let facts = server.app.door().facts();
        facts.waiting == 0 && facts.in_flight == 0
    })
    .await;
    let mut together = JoinSet::new();
    for _ in 0..20 {
        let mut search = steady.clone();
        together.spawn(async move { search.search(ask()).await.map(drop) });
    }
    while let Some(answer) = together.join_next().await {
        answer.unwrap().expect("nothing is refused");
    }
}

fn large_search(limit: u32) -> Query {
    Query {
        vectors: vec![super::data::floats(&queries()[0].vector)],
        limit,
        ..Default::default()
    }
}

/// A stream that its client does not read holds memory. A second one waits for
/// it, and a large answer is refused; small ones go on.
#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_answers_is_bounded() {
    let mut server = start(&[
        ("LANCEGATE_LIMITS__MAX_RESPONSE_BYTES", "1MiB"),
        ("LANCEGATE_ADMISSION__MAX_ANSWER_BYTES", "3MiB"),
    ])
    .await;
    server.table_of("t", ipc(&packages())).await;
    let streamed = || SearchStreamRequest {
        table: "t".into(),
        query: Some(large_search(5_000)),
        ..Default::default()
    };
    let whole = |limit| SearchRequest {
        table: "t".into(),
        query: Some(large_search(limit)),
        ..Default::default()
    };
    let channel = from(&server, 2).await;
    let mut search = SearchServiceClient::new(channel).max_decoding_message_size(1 << 30);
    let unread = search.search_stream(streamed()).await.unwrap().into_inner();
    // It is not read, and so it holds 2 MiB. 400 rows are 0.6 MiB, and as much
    // when they are encoded.
    let mut refused = None;
    for _ in 0..600 {
        match search.search(whole(400)).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(status) => {
                refused = Some(status);
                break;
            }
        }
    }
    let refused = refused.expect("a refusal");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(info.metadata["cause"], "answer_bytes", "{refused:?}");
    search.search(whole(5)).await.expect("small answers go on");

    // A second stream waits.
    let (mut other, first) = (search.clone(), streamed());
    let second = tokio::spawn(async move {
        let mut request = Request::new(first);
        request.set_timeout(Duration::from_secs(120));
        let mut stream = other.search_stream(request).await?.into_inner();
        let mut chunks = 0;
        while stream.message().await?.is_some() {
            chunks += 1;
        }
        Ok::<_, Status>(chunks)
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!second.is_finished());
    drop(unread);
    assert!(second.await.unwrap().unwrap() > 1);
    wait_until("given back", || server.app.door().answer_bytes() == 0).await;
    search
        .search(whole(400))
        .await
        .expect("there is room again");
}
