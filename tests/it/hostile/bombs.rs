//! Little that becomes much: compressed messages, lengths that are not true, frames
//! that are too large.

use std::time::Duration;

use lancegate::proto::v1::{InsertRequest, Rows, rows, write_service_client::WriteServiceClient};
use tokio::{io::AsyncWriteExt, time::timeout};
use tonic::{
    Code,
    codec::CompressionEncoding,
    transport::{Channel, Endpoint},
};

use super::{
    besieged::{Besieged, from},
    frames::{DATA, END_HEADERS, FRAME_SIZE_ERROR, HEADERS, call, connect, frame, request},
};
use crate::server::reason;

const PATIENCE: Duration = Duration::from_secs(60);

/// What each bomb becomes: far more than a message may have here, and than the server may
/// grow by.
const BOMB: usize = 64 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_as_large_as_it_is_when_it_is_unpacked() {
    let besieged = Besieged::start(&[("LANCEGATE_LIMITS__MAX_REQUEST_BYTES", "1MiB")]).await;
    let channel: Channel = Endpoint::from_shared(format!("http://{}", besieged.grpc))
        .unwrap()
        .local_address(Some([127, 0, 0, 2].into()))
        .connect()
        .await
        .unwrap();
    // What it takes to unpack anything at all is taken by a small one.
    explode(&channel, 2 << 20).await;
    let memory = besieged.peak_memory();
    explode(&channel, BOMB).await;
    let grown = besieged.peak_memory().saturating_sub(memory);
    println!("two bombs of {BOMB} bytes: {grown} bytes more");
    // Whoever unpacks all of one before it looks has that much more at least.
    assert!(grown < BOMB as u64, "{grown} bytes more");
    besieged.relieved("decompression bombs").await;
}

/// Sends one bomb in each encoding.
async fn explode(channel: &Channel, bytes: usize) {
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut write = WriteServiceClient::new(channel.clone())
            .max_encoding_message_size(usize::MAX)
            .send_compressed(encoding);
        let bomb = InsertRequest {
            table: "t".into(),
            rows: Some(Rows {
                format: Some(rows::Format::ArrowIpc(vec![0; bytes].into())),
            }),
            ..Default::default()
        };
        let said = write.insert(bomb).await.unwrap_err();
        assert_eq!(
            said.code(),
            Code::ResourceExhausted,
            "{encoding:?}: {said:?}"
        );
        assert_eq!(reason(&said), "TOO_LARGE");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_are_not_believed() {
    let besieged = Besieged::start(&[]).await;
    let memory = besieged.peak_memory();
    // A message that says it has 4 GiB, by many at once. Nothing is set aside for it.
    for host in 2..10 {
        let stream = from(host, besieged.grpc).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..20 {
            let request = request("/lancegate.v1.WriteService/Insert");
            let (answer, mut body) = client.send_request(request, false).unwrap();
            let head = vec![0, 0xff, 0xff, 0xff, 0xff];
            body.send_data(head.into(), false).unwrap();
            let answer = timeout(PATIENCE, answer).await.expect("an answer").unwrap();
            let status = answer.headers().get("grpc-status").unwrap();
            assert_eq!(status, "8", "RESOURCE_EXHAUSTED");
        }
    }
    let grown = besieged.peak_memory().saturating_sub(memory);
    assert!(grown < 64 << 20, "{grown} bytes more");
    besieged.relieved("untrue lengths").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_too_large_end_the_connection() {
    let besieged = Besieged::start(&[]).await;
    for host in 2..6 {
        let (incoming, mut write) = connect(host, besieged.grpc).await;
        let path = "/lancegate.v1.WriteService/Insert";
        let headers = frame(HEADERS, END_HEADERS, 1, &call(path));
        write.write_all(&headers).await.unwrap();
        // 16 MiB less one byte, of which only the head comes.
        let mut head = frame(DATA, 0, 1, &[]);
        head[..3].copy_from_slice(&[0xff, 0xff, 0xff]);
        write.write_all(&head).await.unwrap();
        let code = timeout(PATIENCE, incoming.last_words()).await;
        assert_eq!(code.expect("it is ended"), Some(FRAME_SIZE_ERROR));
    }
    besieged.relieved("frames that are too large").await;
}
