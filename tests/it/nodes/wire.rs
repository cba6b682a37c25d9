//! What a node is sent, and what becomes of answers that are no good: against one
//! that records what comes and answers as a test says.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use lancegate::{
    app::App,
    proto::v1::{search_service_client::SearchServiceClient, *},
};
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tonic::{
    Code, Status,
    codec::CompressionEncoding,
    transport::{Channel, Endpoint},
};

use super::fleet::{count, router_settings, start_router, up, uri};
use crate::{
    data::{floats, ipc, small},
    server::{TestServer, reason, wait_until},
};

/// What it does with a call that is no probe.
#[derive(Clone)]
enum Does {
    /// With this message.
    Answer(Vec<u8>),
    /// Nothing but a status.
    Refuse(Code, &'static str),
    /// The same, and it wants to be left alone for good.
    Push(Code),
    /// The head of an answer, and then a status.
    Begin(Code, &'static str),
    Http(u16),
    /// So many bytes of a message that is longer, and the end of the connection.
    Cut(usize),
}

/// A call that came: the method, its headers and its body.
#[derive(Clone)]
struct Call {
    method: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

type Seen = Arc<Mutex<Vec<Call>>>;

fn calls(seen: &Seen, method: &str) -> Vec<Call> {
    let mut calls = seen.lock().unwrap().clone();
    calls.retain(|call| call.method == method);
    calls
}

/// A node on loopback, which answers probes; the calls that came.
async fn fake(does: Does) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Seen::default());
    let kept = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, does.clone(), Arc::clone(&kept)));
        }
    });
    (address, seen)
}

async fn serve(stream: TcpStream, does: Does, seen: Seen) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    let cut = Arc::new(tokio::sync::Notify::new());
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = cut.notified() => return,
        };
        let Some(Ok((request, respond))) = accepted else {
            return;
        };
        let path = request.uri().path();
        let does = match path {
            "/grpc.health.v1.Health/Check" => {
                // SERVING.
                Does::Answer(vec![8, 1])
            }
            // Without a table that it would be asked for a row of.
            "/lancegate.v1.ClusterService/GetTopology" => Does::Answer(Vec::new()),
            _ => does.clone(),
        };
        let cut = Arc::clone(&cut);
        tokio::spawn(answer(request, respond, does, cut, Arc::clone(&seen)));
    }
}

fn head() -> http::response::Builder {
    let head = Response::builder().header("content-type", "application/grpc");
    head.header("x-lancegate-connection", "replica-9")
        .header("x-lancegate-route", "round_robin(replica-9 1/1)")
        .header("x-of-the-node", "kept")
}

fn refuse(mut respond: SendResponse<Bytes>, code: Code, message: &str) {
    let response = head()
        .header("grpc-status", (code as i32).to_string())
        .header("grpc-message", message)
        .body(())
        .unwrap();
    let _ = respond.send_response(response, true);
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    does: Does,
    cut: Arc<tokio::sync::Notify>,
    seen: Seen,
) {
    let (head_of, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        bytes.extend_from_slice(&data);
    }
    seen.lock().unwrap().push(Call {
        method: head_of.uri.path().rsplit('/').next().unwrap().to_owned(),
        headers: head_of.headers,
        body: bytes,
    });
    let begun = || head().body(()).unwrap();
    let trailers = |code: Code, message: &str| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", (code as i32).into());
        trailers.insert("grpc-message", message.parse().unwrap());
        trailers
    };
    match does {
        Does::Refuse(code, message) => refuse(respond, code, message),
        Does::Push(code) => {
            let response = head()
                .header("grpc-status", (code as i32).to_string())
                .header("grpc-retry-pushback-ms", "-1");
            let response = response.body(()).unwrap();
            let _ = respond.send_response(response, true);
        }
        Does::Begin(code, message) => {
            let mut stream = respond.send_response(begun(), false).unwrap();
            stream.send_trailers(trailers(code, message)).unwrap();
        }
        Does::Answer(message) => {
            let mut stream = respond.send_response(begun(), false).unwrap();
            let mut frame = vec![0];
            frame.extend((message.len() as u32).to_be_bytes());
            frame.extend(message);
            stream.send_data(frame.into(), false).unwrap();
            stream.send_trailers(trailers(Code::Ok, "")).unwrap();
        }
        Does::Http(status) => {
            let response = Response::builder().status(status).body(()).unwrap();
            respond.send_response(response, true).unwrap();
        }
        Does::Cut(bytes) => {
            let mut stream = respond.send_response(begun(), false).unwrap();
            let mut frame = vec![0];
            frame.extend((bytes as u32 + 1_000).to_be_bytes());
            frame.resize(bytes, 0);
            let mut left = Bytes::from(frame);
            // What is more than the window goes when the router has read before it.
            while !left.is_empty() {
                stream.reserve_capacity(left.len());
                let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
                let capacity = capacity.unwrap().unwrap().min(left.len());
                stream.send_data(left.split_to(capacity), false).unwrap();
            }
            cut.notify_one();
        }
    }
}

async fn router(primary: SocketAddr, more: &[(&str, &str)]) -> (App, SearchServiceClient<Channel>) {
    let config = router_settings(&format!("grpc://{primary}"), &[], more);
    let app = App::start(config).await.unwrap();
    let url = format!("http://{}", app.grpc_address());
    let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();
    (app, SearchServiceClient::new(channel))
}

async fn asked(does: Does) -> Status {
    let (address, _) = fake(does).await;
    let (app, mut search) = router(address, &[]).await;
    let refused = search.count(count("t")).await.unwrap_err();
    app.stop().await.unwrap();
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_told_what_the_client_said_less_what_is_of_the_hop() {
    let answer = CountResponse {
        count: 7,
        served: Some(Served {
            connection: "replica-9".into(),
            version: 3,
            token: "token".into(),
            ..Default::default()
        }),
    };
    let (address, seen) = fake(Does::Answer(answer.encode_to_vec())).await;
    let margin = [("LANCEGATE_NODES__DEADLINE_MARGIN", "7s")];
    let (app, search) = router(address, &margin).await;
    let mut search = search.accept_compressed(CompressionEncoding::Gzip);
    let mut request = tonic::Request::new(count("t"));
    request.set_timeout(Duration::from_secs(100));
    let said = [
        ("x-lancegate-token", "of-an-earlier-read"),
        ("x-lancedb-min-version", "2"),
        ("x-request-id", "request-7"),
        ("authorization", "Bearer x"),
        ("baggage", "tenant=a"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ];
    for (name, value) in said {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    let answer = search.count(request).await.unwrap();
    let headers = answer.metadata().clone();
    let answer = answer.into_inner();
    assert_eq!(answer.count, 7);
    let served = answer.served.unwrap();
    assert_eq!(served.connection, "primary/replica-9");
    let route = "node(primary no_replicas) > round_robin(replica-9 1/1)";
    assert_eq!(served.route, route);
    assert_eq!((served.version, served.token.as_str()), (3, "token"));
    assert_eq!(
        headers.get("x-lancegate-connection").unwrap(),
        "primary/replica-9"
    );
    assert_eq!(headers.get("x-of-the-node").unwrap(), "kept");

    let seen = calls(&seen, "Count")[0].headers.clone();
    for (name, value) in said {
        assert_eq!(seen.get(name).unwrap(), value, "{name}");
    }
    // It has less time than there is, by the margin.
    let timeout = seen["grpc-timeout"].to_str().unwrap();
    let millis: u64 = timeout.strip_suffix('m').unwrap().parse().unwrap();
    assert!((60_000..=93_000).contains(&millis), "{timeout}");
    assert_eq!(seen["te"], "trailers");
    assert!(!seen.contains_key("grpc-accept-encoding"), "{seen:?}");
    assert!(!seen["x-lancegate-via"].is_empty());
    app.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_refuses_is_the_answer_in_its_own_words() {
    for does in [Does::Refuse, Does::Begin] {
        let refused = asked(does(Code::OutOfRange, "words of the node")).await;
        assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
        assert_eq!(refused.message(), "words of the node");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_none_is_told_as_that() {
    let refused = asked(Does::Http(503)).await;
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert_eq!(reason(&refused), "NODE_UNREACHABLE");
    assert!(refused.message().contains("503"), "{refused:?}");
    // One that was cut before anything of it was sent on, and after that.
    for bytes in [1_000, 3 << 20] {
        let refused = asked(Does::Cut(bytes)).await;
        assert_eq!(refused.code(), Code::Unavailable, "{bytes}: {refused:?}");
        assert_eq!(reason(&refused), "NODE_LOST", "{bytes}");
    }
}

/// A router over a node that has the table, and before it in turn this one.
async fn before_another(does: Does, more: &[(&str, &str)]) -> (TestServer, TestServer, Seen) {
    let mut other = TestServer::start(0).await;
    other.table_of("t", ipc(&small(0, 10))).await;
    let (address, seen) = fake(does).await;
    let at = uri(&other.app);
    let config = router_settings(&at, &[format!("grpc://{address}"), at.clone()], more);
    let mut router = start_router(config).await;
    up(&mut router, 3).await;
    (router, other, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_fails_to_answer_another_one_does() {
    for does in [
        Does::Refuse(Code::Unavailable, ""),
        Does::Begin(Code::Unavailable, ""),
        Does::Begin(Code::DataLoss, ""),
        Does::Http(502),
        Does::Cut(1_000),
    ] {
        let (mut router, _other, seen) = before_another(does, &[]).await;
        // Each second read begins there.
        for _ in 0..2 {
            let answer = router.search.count(count("t")).await;
            let answer = answer.expect("an answer").into_inner();
            assert_eq!(answer.count, 10);
            assert!(!answer.served.unwrap().connection.contains("node-1"));
        }
        assert_eq!(calls(&seen, "Count").len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_to_be_left_alone_is() {
    let describe = DescribeTableRequest { table: "t".into() };
    for (does, asked) in [
        (Does::Refuse(Code::Unavailable, ""), 3),
        (Does::Push(Code::Unavailable), 1),
    ] {
        let (address, seen) = fake(does).await;
        let config = router_settings(&format!("grpc://{address}"), &[], &[]);
        let mut router = start_router(config).await;
        let refused = router.table.describe_table(describe.clone()).await;
        assert_eq!(refused.unwrap_err().code(), Code::Unavailable);
        assert_eq!(calls(&seen, "DescribeTable").len(), asked);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_read_asks_for_the_version_and_says_what_it_is() {
    // It answers another version in spite of that.
    let answer = SearchResponse {
        served: Some(Served {
            version: 1_000,
            ..Default::default()
        }),
        ..Default::default()
    };
    let shadowed = [
        ("LANCEGATE_REPLICAS__0__IN_ROTATION", "false"),
        ("LANCEGATE_SHADOW__CONNECTION", "node-1"),
        ("LANCEGATE_SHADOW__SHARE", "1"),
        ("LANCEGATE_SHADOW__TIMEOUT", "50s"),
    ];
    let does = Does::Answer(answer.encode_to_vec());
    let (mut router, _other, seen) = before_another(does, &shadowed).await;
    let search = SearchRequest {
        table: "t".into(),
        query: Some(Query {
            vectors: vec![floats(&[0.0, 1.0, 2.0, 3.0])],
            limit: 3,
            ..Default::default()
        }),
        row_format: RowFormat::Typed.into(),
        ..Default::default()
    };
    let mut request = tonic::Request::new(search.clone());
    let metadata = request.metadata_mut();
    metadata.insert("authorization", "Bearer of-the-client".parse().unwrap());
    metadata.insert("x-lancedb-min-version", "1".parse().unwrap());
    let answer = router.search.search(request).await.unwrap().into_inner();
    let version = answer.served.unwrap().version;
    assert_eq!(answer.num_rows, 3);
    let skipped = || router.app.shadow().unwrap().counts()["skipped"];
    wait_until("compared", || skipped() == 1).await;

    let seen = calls(&seen, "Search");
    assert_eq!(seen.len(), 1);
    let Call { headers, body, .. } = &seen[0];
    for (name, value) in [
        ("authorization", "Bearer of-the-client"),
        ("x-lancegate-shadow", "1"),
        ("x-lancegate-priority", "batch"),
    ] {
        assert_eq!(headers[name], value);
    }
    assert!(!headers["x-lancegate-via"].is_empty());
    assert!(
        !headers.contains_key("x-lancedb-min-version"),
        "{headers:?}"
    );
    assert!(headers.contains_key("grpc-timeout"));
    let asked = SearchRequest::decode(&body[5..]).unwrap();
    let exact = exact_version::Version::Number(version);
    let kind = freshness::Kind::Exact(ExactVersion {
        version: Some(exact),
    });
    let expected = SearchRequest {
        freshness: Some(Freshness { kind: Some(kind) }),
        ..search
    };
    assert_eq!(asked, expected);
}
