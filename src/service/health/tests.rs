use std::time::Duration;

use tokio::{net::TcpListener, time::timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{
    Streaming,
    transport::{Channel, Server},
};

use super::*;
use crate::proto::health::health_client::HealthClient;

const SEARCH: &str = "lancegate.v1.SearchService";
const WRITE: &str = "lancegate.v1.WriteService";

type Running = AbortOnDropHandle<Result<(), tonic::transport::Error>>;

async fn start() -> (HealthReporter, HealthClient<Channel>, Running) {
    let reporter = HealthReporter::new(&["", SEARCH, WRITE]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = Server::builder()
        .add_service(reporter.service())
        .serve_with_incoming(TcpListenerStream::new(listener));
    let server = AbortOnDropHandle::new(tokio::spawn(server));
    let client = HealthClient::connect(address).await.unwrap();
    (reporter, client, server)
}

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

async fn check(client: &HealthClient<Channel>, service: &str) -> Result<ServingStatus, Code> {
    let answer = client.clone().check(of(service)).await;
    answer
        .map(|a| a.into_inner().status())
        .map_err(|s| s.code())
}

/// The next state of a watch, or `None` if nothing comes for a while.
async fn next(watch: &mut Streaming<HealthCheckResponse>) -> Option<ServingStatus> {
    let answer = timeout(Duration::from_millis(200), watch.message())
        .await
        .ok()?;
    Some(answer.unwrap().expect("the watch ended").status())
}

#[tokio::test]
async fn nothing_serves_at_first_but_the_process_lives() {
    let (reporter, client, _server) = start().await;
    for name in ["", SEARCH, WRITE] {
        assert_eq!(check(&client, name).await, Ok(ServingStatus::NotServing));
        assert_eq!(reporter.get(name), Some(false));
    }
    assert_eq!(check(&client, LIVENESS).await, Ok(ServingStatus::Serving));
    assert_eq!(check(&client, "nobody").await, Err(Code::NotFound));
    assert_eq!(reporter.get("nobody"), None);
}

#[tokio::test]
async fn each_service_has_a_state_of_its_own() {
    let (reporter, mut client, _server) = start().await;
    reporter.set(SEARCH, true);
    reporter.set("nobody", true);
    assert_eq!(check(&client, SEARCH).await, Ok(ServingStatus::Serving));
    assert_eq!(check(&client, WRITE).await, Ok(ServingStatus::NotServing));
    let listed = client
        .list(HealthListRequest {})
        .await
        .unwrap()
        .into_inner()
        .statuses;
    let mut names: Vec<_> = listed
        .iter()
        .map(|(n, s)| (n.as_str(), s.status()))
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            ("", ServingStatus::NotServing),
            (SEARCH, ServingStatus::Serving),
            (WRITE, ServingStatus::NotServing),
            (LIVENESS, ServingStatus::Serving),
        ]
    );
}

#[tokio::test]
async fn a_watch_tells_the_state_and_each_change_once() {
    let (reporter, mut client, _server) = start().await;
    let mut watch = client.watch(of(SEARCH)).await.unwrap().into_inner();
    assert_eq!(next(&mut watch).await, Some(ServingStatus::NotServing));
    assert_eq!(next(&mut watch).await, None);
    reporter.set(SEARCH, true);
    assert_eq!(next(&mut watch).await, Some(ServingStatus::Serving));
    reporter.set(SEARCH, true);
    // There and back before the watcher could see it.
    reporter.set(SEARCH, false);
    reporter.set(SEARCH, true);
    let seen = next(&mut watch).await;
    if seen == Some(ServingStatus::NotServing) {
        assert_eq!(next(&mut watch).await, Some(ServingStatus::Serving));
    } else {
        assert_eq!(seen, None);
    }
}

#[tokio::test]
async fn a_watch_of_an_unknown_name_stays_open() {
    let (reporter, mut client, _server) = start().await;
    let mut watch = client.watch(of("nobody")).await.unwrap().into_inner();
    assert_eq!(next(&mut watch).await, Some(ServingStatus::ServiceUnknown));
    assert_eq!(next(&mut watch).await, None);
    reporter.close();
    assert_eq!(watch.message().await.unwrap(), None);
}

#[tokio::test]
async fn stopping_is_for_good() {
    let (reporter, mut client, _server) = start().await;
    reporter.set(SEARCH, true);
    let mut watch = client.watch(of(SEARCH)).await.unwrap().into_inner();
    assert_eq!(next(&mut watch).await, Some(ServingStatus::Serving));
    reporter.stop();
    reporter.set(SEARCH, true);
    assert_eq!(next(&mut watch).await, Some(ServingStatus::NotServing));
    assert_eq!(check(&client, SEARCH).await, Ok(ServingStatus::NotServing));
    assert_eq!(check(&client, LIVENESS).await, Ok(ServingStatus::Serving));
    assert_eq!(next(&mut watch).await, None);
    reporter.close();
    assert_eq!(watch.message().await.unwrap(), None);
}
