//! The answer is cut off after the commit: a connection that carries requests and,
//! from some moment on, no answers.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tonic::transport::Channel;

use super::{Write, all_ids, create, found, runs};
use crate::{process::until_some, server::TestServer};

/// A way to a server that can be made to lose the answers.
struct Lossy {
    channel: Channel,
    losing: Arc<AtomicBool>,
    /// Ends the connection when it is aborted.
    carrying: JoinHandle<()>,
}

impl Lossy {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let losing = Arc::new(AtomicBool::new(false));
        let lose = Arc::clone(&losing);
        let carrying = tokio::spawn(async move {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(server).await.unwrap();
            let (mut requests, mut answers) = client.into_split();
            let (mut from, mut to) = server.into_split();
            let forward = tokio::io::copy(&mut requests, &mut to);
            let back = async {
                let mut buffer = vec![0; 64 << 10];
                while let Ok(n) = from.read(&mut buffer).await {
                    if n == 0 {
                        break;
                    }
                    if !lose.load(Ordering::SeqCst)
                        && answers.write_all(&buffer[..n]).await.is_err()
                    {
                        break;
                    }
                }
            };
            tokio::join!(async { forward.await.ok() }, back);
        });
        let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
        Self {
            channel,
            losing,
            carrying,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_cut_off_is_found_again() {
    let server = TestServer::start(0).await;
    let address = server.app.grpc_address();
    let direct = Channel::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let runs = runs(40) as i64;
    let began = Instant::now();
    let mut expected = Vec::new();
    let mut table = String::new();
    for run in 0..runs {
        if run % 50 == 0 {
            // A table with many versions takes long to open.
            if run > 0 {
                assert_eq!(all_ids(&direct, &table).await, expected, "before {run}");
            }
            table = format!("t{run}");
            expected = vec![-100];
            create(&direct, &table, -100..-99).await;
        }
        let id = run * 10;
        let table = table.as_str();
        // Each leaves a row `id`, and another number of rows if it is done twice.
        let write = match run % 5 {
            0 => Write::insert(table, id..id + 2),
            1 => Write::upsert(table, id..id + 2),
            2 => Write::import(table, id..id + 2),
            3 => {
                let before = Write::insert(table, id - 5..id - 3);
                before.send(&direct).await.unwrap();
                Write::add_to_ids(table, &format!("id between {} and {id}", id - 5), 5)
            }
            _ => {
                let before = Write::insert(table, id..id + 3);
                before.send(&direct).await.unwrap();
                Write::delete(table, &format!("id = {}", id + 2))
            }
        };
        expected.extend([id, id + 1]);
        let write = write.with_id(&format!("run {run}"));
        let lossy = Lossy::to(address).await;
        lossy.losing.store(true, Ordering::SeqCst);
        let first = tokio::spawn({
            let (write, channel) = (write.clone(), lossy.channel.clone());
            async move { write.send(&channel).await }
        });
        let filter = format!("id between {} and {}", id - 5, id + 5);
        until_some(async || {
            let rows = found(&direct, table, &filter).await?;
            (rows == [id, id + 1]).then_some(())
        })
        .await;
        // The connection ends without a word of the answer.
        lossy.carrying.abort();
        let lost = first.await.unwrap();
        assert!(lost.is_err(), "{run}: {lost:?}");
        let again = write.send(&direct).await.unwrap();
        assert!(again.repeated, "{run}: {write:?}");
        let counts: u64 = again.counts.iter().sum();
        assert_eq!(counts, if run % 5 == 4 { 1 } else { 2 }, "{run}");
    }
    assert_eq!(all_ids(&direct, &table).await, expected);
    println!(
        "{runs} answers cut off: 0 rows lost, 0 doubled, {:.1} s",
        began.elapsed().as_secs_f64()
    );
    server.app.stop().await.unwrap();
}
