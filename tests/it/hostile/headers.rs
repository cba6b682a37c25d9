//! Headers without an end, and too many of them.

use std::time::Duration;

use tokio::{io::AsyncWriteExt, time::timeout};

use super::{
    besieged::{Besieged, from},
    frames::{CONTINUATION, END_HEADERS, END_STREAM, HEADERS, call, connect, frame, header},
};

const COUNT: &str = "/lancegate.v1.SearchService/Count";

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_an_end_end_the_connection() {
    const ENOUGH: usize = 64 << 20;
    let besieged = Besieged::start(&[]).await;
    let memory = besieged.peak_memory();
    for host in 2..6 {
        let (incoming, mut write) = connect(host, besieged.grpc).await;
        let ended = tokio::spawn(incoming.last_words());
        let first = frame(HEADERS, 0, 1, &call(COUNT));
        write.write_all(&first).await.unwrap();
        let value = "y".repeat(100);
        let block: Vec<u8> = (0..100).flat_map(|_| header("x-flood", &value)).collect();
        let more = frame(CONTINUATION, 0, 1, &block);
        let mut sent = 0;
        while !ended.is_finished() && sent < ENOUGH {
            if write.write_all(&more).await.is_err() {
                break;
            }
            sent += more.len();
        }
        let ended = timeout(Duration::from_secs(60), ended).await;
        println!(
            "ended after {sent} bytes of headers: {:?}",
            ended.map(Result::unwrap)
        );
        assert!(sent < ENOUGH);
    }
    let grown = besieged.peak_memory().saturating_sub(memory);
    assert!(grown < 256 << 20, "{grown} bytes more");
    besieged.relieved("headers without an end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_headers_are_refused() {
    let besieged = Besieged::start(&[("LANCEGATE_LIMITS__MAX_HEADER_BYTES", "16KiB")]).await;
    let stream = from(2, besieged.grpc).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for (bytes, fits) in [(8 << 10, true), (24 << 10, false), (200 << 10, false)] {
        let mut request = http::Request::post(format!("http://localhost{COUNT}"))
            .header("content-type", "application/grpc");
        for i in 0..bytes / 100 {
            request = request.header(format!("x-{i}"), "y".repeat(60));
        }
        let request = request.body(()).unwrap();
        let answer = match client.send_request(request, true) {
            Ok((answer, _)) => answer.await,
            Err(error) => Err(error),
        };
        let status = answer.map(|answer| answer.status().as_u16());
        // Of a fitting one, what is missing is the message.
        assert_eq!(
            status.as_ref().ok() == Some(&200),
            fits,
            "{bytes}: {status:?}"
        );
    }
    // The HTTP port says it in words.
    let mut stream = from(2, besieged.http).await.unwrap();
    let large = "y".repeat(20 << 10);
    let request =
        format!("GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-a: {large}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer)
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    // Without an end it does not wait for one.
    let mut stream = from(2, besieged.http).await.unwrap();
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n")
        .await
        .unwrap();
    let line = format!("x-a: {}\r\n", "y".repeat(1_000));
    let memory = besieged.peak_memory();
    let mut sent = 0;
    let flood = async {
        while stream.write_all(line.as_bytes()).await.is_ok() {
            sent += line.len();
        }
    };
    let ended = timeout(Duration::from_secs(60), flood).await;
    let grown = besieged.peak_memory().saturating_sub(memory);
    println!("ended after {sent} bytes of HTTP/1 headers: {grown} bytes more");
    assert!(ended.is_ok() && grown < 32 << 20);
    // An unusual order is no way around it: the block in two frames.
    let (incoming, mut write) = connect(3, besieged.grpc).await;
    let block: Vec<u8> = (0..300)
        .flat_map(|_| header("x-more", &"y".repeat(100)))
        .collect();
    let (a, b) = block.split_at(block.len() / 2);
    let mut bytes = frame(HEADERS, END_STREAM, 1, &call(COUNT));
    bytes.extend(frame(CONTINUATION, 0, 1, &a[..16_000]));
    bytes.extend(frame(CONTINUATION, END_HEADERS, 1, &b[..16_000]));
    write.write_all(&bytes).await.unwrap();
    drop((incoming, write));
    besieged.relieved("too many headers").await;
}
