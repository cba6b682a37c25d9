//! Health checks need no key and take no place: they are no way in for a flood.

use std::time::Duration;

use bytes::Bytes;
use h2::{SendStream, client::ResponseFuture};
use lancegate::proto::health::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};
use tokio::time::timeout;

use super::{
    besieged::{Besieged, from},
    frames::{framed, request},
};
use crate::process::until_some;

const PATIENCE: Duration = Duration::from_secs(60);

/// Connections of one client, and so its watches of the health.
const OF_ONE: usize = 40;

const SETTINGS: [(&str, &str); 2] = [
    ("LANCEGATE_LIMITS__STALL_TIMEOUT", "3s"),
    ("LANCEGATE_LIMITS__MAX_CONNECTIONS_PER_CLIENT", "40"),
];

type Asked = Vec<(ResponseFuture, SendStream<Bytes>)>;

/// Asks so often on each of two connections of a host, with the message or without it.
async fn ask(besieged: &Besieged, host: u8, method: &str, times: usize, is_whole: bool) -> Asked {
    let mut asked = Asked::new();
    for _ in 0..2 {
        let stream = from(host, besieged.grpc).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..times {
            let mut client = client.clone().ready().await.unwrap();
            let head = request(&format!("/grpc.health.v1.Health/{method}"));
            let (answer, mut body) = client.send_request(head, false).unwrap();
            if is_whole {
                let message = framed(&HealthCheckRequest::default());
                body.send_data(message.into(), true).unwrap();
            }
            asked.push((answer, body));
        }
    }
    asked
}

/// The status of each, where it is over.
async fn statuses(asked: &mut Asked) -> Vec<Option<String>> {
    let mut found = Vec::new();
    for (answer, _) in asked {
        let answer = timeout(PATIENCE, answer).await.expect("an answer").unwrap();
        let status = answer.headers().get("grpc-status");
        found.push(status.map(|status| status.to_str().unwrap().to_owned()));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_watches_as_often_as_it_may_connect() {
    let besieged = Besieged::start(&SETTINGS).await;
    let mut flood = ask(&besieged, 2, "Watch", 100, true).await;
    let found = statuses(&mut flood).await;
    let open = found.iter().filter(|status| status.is_none()).count();
    assert_eq!(open, OF_ONE);
    // RESOURCE_EXHAUSTED.
    assert!(
        found.iter().flatten().all(|status| status == "8"),
        "{found:?}"
    );
    // Others watch, and whoever floods is told the health all the same.
    let mut health = HealthClient::new(besieged.server.channel.clone());
    let watch = health.watch(HealthCheckRequest::default()).await.unwrap();
    let first: HealthCheckResponse = watch.into_inner().message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    let checks = statuses(&mut ask(&besieged, 2, "Check", 10, true).await).await;
    assert!(checks.iter().all(Option::is_none), "{checks:?}");
    // The places of those who go come back.
    drop(flood);
    until_some(async || {
        let mut again = ask(&besieged, 2, "Watch", 1, true).await;
        let found = statuses(&mut again).await;
        found.iter().all(Option::is_none).then_some(())
    })
    .await;
    besieged.relieved("watches of the health").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_without_their_message_are_cut_off() {
    let besieged = Besieged::start(&SETTINGS).await;
    for method in ["Check", "List", "Watch"] {
        let mut unsent = ask(&besieged, 2, method, 100, false).await;
        let found = statuses(&mut unsent).await;
        // DEADLINE_EXCEEDED.
        let all = found.iter().all(|status| status.as_deref() == Some("4"));
        assert!(all, "{method}: {found:?}");
    }
    besieged.relieved("probes without a message").await;
}
