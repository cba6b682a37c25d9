//! A gRPC client without opinions: tonic's has a deadline of its own.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use h2::{RecvStream, client::SendRequest};
use http::{HeaderMap, Request};
use prost::Message;
use tokio::net::TcpSocket;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::proto::v1::CountRequest;

pub(super) const COUNT: &str = "/lancegate.v1.SearchService/Count";
pub(super) const EXPLAIN: &str = "/lancegate.v1.SearchService/Explain";
pub(super) const STREAM: &str = "/lancegate.v1.SearchService/SearchStream";
pub(super) const CHECK: &str = "/grpc.health.v1.Health/Check";
pub(super) const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// One connection.
#[derive(Clone)]
pub(super) struct Client(SendRequest<Bytes>);

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) bytes: usize,
    pub(super) status: Status,
}

impl Answer {
    pub(super) fn code(&self) -> Code {
        self.status.code()
    }

    pub(super) fn details(&self) -> ErrorDetails {
        self.status.get_error_details()
    }

    /// `google.rpc.ErrorInfo.reason`, which every error must have.
    pub(super) fn reason(&self) -> String {
        self.details()
            .error_info()
            .expect("no ErrorInfo")
            .reason
            .clone()
    }
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self::connect_from(1, address).await
    }

    /// From 127.0.0.`host`: all of them are of this machine.
    pub(super) async fn connect_from(host: u8, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, host], 0).into()).unwrap();
        let socket = socket.connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (send, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        Self(send)
    }

    /// Sends a request; the answer is the caller's to read.
    pub(super) async fn open(
        &self,
        path: &str,
        metadata: &[(&str, &str)],
        body: Bytes,
    ) -> (HeaderMap, RecvStream) {
        let mut request = Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in metadata {
            request = request.header(*name, *value);
        }
        let mut send = self.0.clone().ready().await.unwrap();
        let (answer, mut stream) = send.send_request(request.body(()).unwrap(), false).unwrap();
        // The server may answer, and reset, before it has read everything.
        let _ = stream.send_data(body, true);
        let (parts, body) = answer.await.unwrap().into_parts();
        (parts.headers, body)
    }

    /// Calls with any message and reads the whole answer.
    pub(super) async fn send(&self, path: &str, metadata: &[(&str, &str)], body: Bytes) -> Answer {
        let (headers, stream) = self.open(path, metadata, body).await;
        finish(headers, stream).await
    }

    /// Calls with a small valid message.
    pub(super) async fn call(&self, path: &str, metadata: &[(&str, &str)]) -> Answer {
        self.send(path, metadata, message(path)).await
    }
}

/// A small valid message of a method.
pub(super) fn message(path: &str) -> Bytes {
    match path {
        COUNT | EXPLAIN => frame(&CountRequest {
            freshness: None,
            table: "packages".to_owned(),
            filter: None,
        }),
        _ => framed(0, b""),
    }
}

pub(super) fn frame(message: &impl Message) -> Bytes {
    framed(0, &message.encode_to_vec())
}

/// A message with gRPC's prefix: whether it is compressed, and its length.
pub(super) fn framed(compressed: u8, message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(5 + message.len());
    bytes.put_u8(compressed);
    bytes.put_u32(message.len() as u32);
    bytes.put_slice(message);
    bytes.freeze()
}

/// Reads an answer to its end.
pub(super) async fn finish(headers: HeaderMap, mut stream: RecvStream) -> Answer {
    let mut bytes = 0;
    while let Some(data) = stream.data().await {
        let data = data.expect("the stream was reset");
        stream.flow_control().release_capacity(data.len()).unwrap();
        bytes += data.len();
    }
    let trailers = stream.trailers().await.unwrap().unwrap_or_default();
    let status = Status::from_header_map(&trailers).or(Status::from_header_map(&headers));
    Answer {
        headers,
        bytes,
        status: status.expect("no grpc-status"),
    }
}
