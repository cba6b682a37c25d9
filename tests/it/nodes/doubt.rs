//! A primary that takes a request and is gone before it answers.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use lancegate::{
    app::App,
    proto::v1::{
        table_service_client::TableServiceClient, write_service_client::WriteServiceClient, *,
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use super::fleet::router_settings;
use crate::{
    data::{ipc, small},
    server::reason,
};

/// How often each method was called.
type Seen = Arc<Mutex<HashMap<String, usize>>>;

/// Takes each request to its end, and ends the connection. Only probes are answered.
/// With `for_good` nothing listens any more once a request came that is no probe.
async fn vanishing(for_good: bool) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let counted = Arc::clone(&seen);
    tokio::spawn(async move {
        let gone = Arc::new(Notify::new());
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, _) = accepted.unwrap();
                    let gone = for_good.then(|| Arc::clone(&gone));
                    tokio::spawn(vanish(stream, Arc::clone(&counted), gone));
                }
                () = gone.notified() => return,
            }
        }
    });
    (address, seen)
}

async fn vanish(stream: TcpStream, counted: Seen, gone: Option<Arc<Notify>>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    let whole = Arc::new(Notify::new());
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            // All of it was read: nobody can say what became of it.
            () = whole.notified() => return,
        };
        let Some(Ok((request, mut respond))) = accepted else {
            return;
        };
        let path = request.uri().path().to_owned();
        if path.starts_with("/grpc.health.v1.Health/") {
            let refused = http::Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", "12")
                .body(())
                .unwrap();
            let _ = respond.send_response(refused, true);
            continue;
        }
        let method = path.rsplit('/').next().unwrap().to_owned();
        *counted.lock().unwrap().entry(method).or_default() += 1;
        if let Some(gone) = &gone {
            gone.notify_one();
        }
        let (mut body, whole) = (request.into_body(), Arc::clone(&whole));
        tokio::spawn(async move {
            // Held: dropping it would answer with a reset.
            let _respond = respond;
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
            }
            whole.notify_one();
            std::future::pending::<()>().await;
        });
    }
}

async fn router(primary: SocketAddr) -> (App, Channel) {
    let config = router_settings(&format!("grpc://{primary}"), &[], &[]);
    let app = App::start(config).await.unwrap();
    let url = format!("http://{}", app.grpc_address());
    let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();
    (app, channel)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_that_nobody_takes_leaves_the_doubt() {
    let (address, seen) = vanishing(true).await;
    let (app, channel) = router(address).await;
    let insert = InsertRequest {
        table: "t".into(),
        rows: Some(ipc(&small(0, 1))),
        request_id: "a-request".into(),
        ..Default::default()
    };
    let refused = WriteServiceClient::new(channel).insert(insert).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::Unknown, "{refused:?}");
    assert_eq!(seen.lock().unwrap().get("Insert"), Some(&1));
    app.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_made_once_and_its_doubt_is_told() {
    let (address, seen) = vanishing(false).await;
    let (app, channel) = router(address).await;
    let calls = |method: &str| seen.lock().unwrap().get(method).copied().unwrap_or(0);

    let mut write = WriteServiceClient::new(channel.clone());
    let insert = InsertRequest {
        table: "t".into(),
        rows: Some(ipc(&small(0, 1))),
        ..Default::default()
    };
    let refused = write.insert(insert).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unknown, "{refused:?}");
    assert_eq!(reason(&refused), "OUTCOME_UNKNOWN");
    assert_eq!(calls("Insert"), 1);

    // With an id by which the primary knows a repeat it is repeated.
    let insert = InsertRequest {
        table: "t".into(),
        rows: Some(ipc(&small(0, 1))),
        request_id: "a-request".into(),
        ..Default::default()
    };
    let refused = write.insert(insert).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unknown, "{refused:?}");
    assert_eq!(calls("Insert"), 1 + 3);

    // What changes nothing can be asked again, and is.
    let mut table = TableServiceClient::new(channel);
    let describe = DescribeTableRequest { table: "t".into() };
    let refused = table.describe_table(describe).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert_eq!(reason(&refused), "NODE_LOST");
    assert_eq!(calls("DescribeTable"), 3);
    app.stop().await.unwrap();
}
