//! A server in a process of its own, and clients that only want to be served.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use lancegate::proto::v1::{CountRequest, CreateTableRequest, create_table_request};
use tempfile::TempDir;
use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use crate::{
    access::{Caller, Files},
    data::{ipc, small},
    process::{Server, until_some},
    server::http_get,
};

/// Calls by which a quiet server is measured.
const QUIET: usize = 200;

/// Calls of the others that have to be answered before an attack counts as borne.
const ENOUGH: usize = 50;

/// A server that is under attack, as far as its other clients can tell.
pub struct Besieged {
    pub server: Server,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    _folder: TempDir,
    /// The keys of all who have one, where it asks who comes.
    files: Option<Files>,
    quiet: Duration,
    work: Arc<Work>,
    clients: Vec<JoinHandle<()>>,
}

/// What the well-behaved clients saw.
#[derive(Default)]
struct Work {
    stop: AtomicBool,
    took: Mutex<Vec<Duration>>,
    errors: Mutex<Vec<String>>,
}

impl Work {
    fn note(&self, began: Instant, answer: Result<u64, Status>) {
        match answer {
            Ok(rows) => {
                assert_eq!(rows, 100);
                self.took.lock().unwrap().push(began.elapsed());
            }
            Err(status) => self.errors.lock().unwrap().push(format!("{status:?}")),
        }
    }
}

impl Besieged {
    /// Starts a server with these settings, measures it while nobody is in the way,
    /// and has its clients go on.
    pub async fn start(env: &[(&str, &str)]) -> Self {
        Self::start_in(TempDir::new().unwrap(), None, env).await
    }

    /// The same, with a server that asks who comes.
    pub async fn guarded() -> Self {
        let folder = TempDir::new().unwrap();
        let files = Files::write(folder.path(), "");
        let config = files.config.to_str().unwrap().to_owned();
        Self::start_in(folder, Some(files), &[("LANCEGATE_CONFIG", &config)]).await
    }

    async fn start_in(folder: TempDir, files: Option<Files>, env: &[(&str, &str)]) -> Self {
        let server = Server::start(folder.path(), 1, env).await;
        let own = files.as_ref().map(|files| files.keys["root"].clone());
        let caller = |channel: &Channel| Caller::of(channel, own.as_deref());
        let channel = server.channel.clone();
        let create = CreateTableRequest {
            table: "t".into(),
            source: Some(create_table_request::Source::Rows(ipc(&small(0, 100)))),
            exist_ok: true,
        };
        // It may not be ready yet.
        until_some(async || {
            caller(&channel)
                .table
                .create_table(create.clone())
                .await
                .ok()
        })
        .await;
        until_some(async || {
            let counted = count(caller(&channel)).await;
            counted.ok().filter(|rows| *rows == 100)
        })
        .await;
        let quiet = Work::default();
        for _ in 0..QUIET {
            let began = Instant::now();
            quiet.note(began, count(caller(&channel)).await);
        }
        let quiet = p99(&mut quiet.took.into_inner().unwrap());

        let (grpc, http) = (
            server.process.address("grpc"),
            server.process.address("http"),
        );
        let work = Arc::new(Work::default());
        let mut clients = Vec::new();
        for _ in 0..2 {
            clients.push(tokio::spawn(stays(Arc::clone(&work), caller(&channel))));
        }
        clients.push(tokio::spawn(comes_and_goes(Arc::clone(&work), grpc, own)));
        Self {
            server,
            grpc,
            http,
            _folder: folder,
            files,
            quiet,
            work,
            clients,
        }
    }

    /// The key of this name.
    pub fn key(&self, name: &str) -> String {
        self.files.as_ref().expect("it is guarded").keys[name].clone()
    }

    /// A metric, by its name and labels; 0 where it is not there yet.
    pub async fn metric(&self, series: &str) -> f64 {
        let (_, text) = http_get(self.http, "/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    /// How much memory the server has had at most, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.server.process.id());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib << 10
    }

    /// The other clients leave, content so far.
    pub async fn alone(mut self) -> Self {
        self.work.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.await.unwrap();
        }
        let errors = self.work.errors.lock().unwrap();
        assert!(errors.is_empty(), "{:?}", &errors[..errors.len().min(3)]);
        drop(errors);
        self
    }

    /// The attack is over: nobody else has noticed.
    pub async fn relieved(self, attack: &str) {
        // A short one says little: some of what they ask may only be answered now.
        until_some(async || {
            let enough = self.work.took.lock().unwrap().len() >= ENOUGH;
            let failed = !self.work.errors.lock().unwrap().is_empty();
            (enough || failed).then_some(())
        })
        .await;
        self.work.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        let errors = std::mem::take(&mut *self.work.errors.lock().unwrap());
        let mut took = std::mem::take(&mut *self.work.took.lock().unwrap());
        println!(
            "{attack}: {} calls of others, {} errors, p99 {:?} (quiet: {:?})",
            took.len(),
            errors.len(),
            p99(&mut took),
            self.quiet
        );
        assert!(
            errors.is_empty(),
            "{attack}: {:?}",
            &errors[..errors.len().min(3)]
        );
        assert!(self.server.process.terminate().await.success());
    }
}

/// Calls again and again over one connection.
async fn stays(work: Arc<Work>, caller: Caller) {
    while !work.stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answer = count(caller.clone()).await;
        work.note(began, answer);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Opens a connection for each call.
async fn comes_and_goes(work: Arc<Work>, address: SocketAddr, key: Option<String>) {
    while !work.stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let answer = match endpoint.connect().await {
            Ok(channel) => count(Caller::of(&channel, key.as_deref())).await,
            Err(error) => Err(Status::unavailable(format!("no connection: {error:?}"))),
        };
        work.note(began, answer);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn count(mut caller: Caller) -> Result<u64, Status> {
    let request = CountRequest {
        table: "t".into(),
        ..Default::default()
    };
    Ok(caller.search.count(request).await?.into_inner().count)
}

fn p99(took: &mut [Duration]) -> Duration {
    took.sort();
    let at = (took.len() * 99 / 100).min(took.len().saturating_sub(1));
    took.get(at).copied().unwrap_or_default()
}

/// A connection from another address of this machine: 127.0.0.`host`.
pub async fn from(host: u8, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, host], 0)))?;
    socket.connect(to).await
}

/// Waits until the other side has closed a connection; what it sends is passed over.
pub async fn until_closed(stream: &mut TcpStream, within: Duration) -> bool {
    let mut scrap = [0; 4096];
    let closed = async { while stream.read(&mut scrap).await.is_ok_and(|n| n > 0) {} };
    tokio::time::timeout(within, closed).await.is_ok()
}
