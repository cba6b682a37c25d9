//! Two routers and a copier over one primary and two replicas: real processes,
//! stopped, continued and killed while clients use them.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tonic::transport::{Channel, Endpoint};

use crate::{place::pause, process};

/// A process of the real binary; killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status();
        assert!(sent.is_ok_and(|s| s.success()), "kill {name} {pid}");
    }
}

/// One router and the way to it.
struct Router {
    _process: Process,
    channel: Channel,
}

/// What is broken on purpose in a cluster, to see the checker find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    Nothing,
    /// Routers answer reads with tokens as if there were none.
    IgnoreTokens,
    /// The copier publishes a version before its files are there.
    ManifestFirst,
}

/// The processes.
pub struct Cluster {
    folder: PathBuf,
    broken: Broken,
    routers: Vec<Mutex<Router>>,
    copier: Mutex<Process>,
}

const REPLICAS: usize = 2;

impl Cluster {
    /// Starts all of them over a folder.
    pub async fn start(folder: &Path, broken: Broken) -> Self {
        let mut routers = Vec::new();
        for _ in 0..2 {
            routers.push(Mutex::new(router(folder, broken).await));
        }
        let copier = Mutex::new(copier(folder, broken));
        Self {
            folder: folder.to_owned(),
            broken,
            routers,
            copier,
        }
    }

    /// The way to one of the routers.
    pub fn channel(&self, index: usize) -> Channel {
        let router = &self.routers[index % self.routers.len()];
        let router = router.lock().unwrap_or_else(PoisonError::into_inner);
        router.channel.clone()
    }

    /// Disturbs the processes until `stop` is cancelled.
    pub async fn disturb(&self, seed: u64, stop: tokio_util::sync::CancellationToken) {
        let mut random = StdRng::seed_from_u64(seed);
        while !stop.is_cancelled() {
            let quiet = Duration::from_millis(random.random_range(20..250));
            match random.random_range(0..10) {
                0..6 => {
                    // Lag: nothing is copied for a while.
                    self.copier().signal("-STOP");
                    tokio::time::sleep(quiet).await;
                    self.copier().signal("-CONT");
                }
                6..9 => *self.copier() = copier(&self.folder, self.broken),
                _ => {
                    let fresh = router(&self.folder, self.broken).await;
                    let router = &self.routers[1];
                    *router.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
                }
            }
            tokio::time::sleep(quiet).await;
        }
    }

    fn copier(&self) -> std::sync::MutexGuard<'_, Process> {
        self.copier.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn command(folder: &Path, subcommand: &str, broken: Broken) -> Command {
    let args = [subcommand, "--http-address", "127.0.0.1:0"];
    let mut command = process::command(folder, REPLICAS, &args);
    let poll = pause(Duration::from_millis(20)).as_millis();
    command
        .env("LANCEGATE_REPLICATION__POLL_INTERVAL", format!("{poll}ms"))
        .env("LANCEGATE_REPLICATION__DELETE_GRACE", "5s")
        .env("LANCEGATE_FRESHNESS__WAIT", "300ms")
        // As it is used: what fails is tried elsewhere.
        .env_remove("LANCEGATE_RETRIES__MAX_ATTEMPTS")
        .env_remove("LANCEGATE_OUTLIER__ENABLED")
        .env_remove("LANCEGATE_OUTLIER__SLOW_START");
    match broken {
        Broken::Nothing => &mut command,
        Broken::IgnoreTokens => command.env("LANCEGATE_FAILPOINT", "ignore-tokens"),
        // Another replica would answer instead.
        Broken::ManifestFirst => command
            .env("LANCEGATE_FAILPOINT", "manifest-first")
            .env("LANCEGATE_RETRIES__MAX_ATTEMPTS", "1")
            .env("LANCEGATE_OUTLIER__ENABLED", "false"),
    };
    command
}

fn copier(folder: &Path, broken: Broken) -> Process {
    let mut command = command(folder, "replicate", broken);
    // What it says while it is killed over and over is of no interest.
    command.stderr(Stdio::null());
    Process(command.spawn().expect("the copier starts"))
}

async fn router(folder: &Path, broken: Broken) -> Router {
    let mut command = command(folder, "serve", broken);
    command
        .args(["--grpc-address", "127.0.0.1:0"])
        .env("LANCEGATE_REPLICATION__ENABLED", "false")
        .env("LANCEGATE_LOGGING__FORMAT", "json")
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the router starts");
    let mut log = BufReader::new(child.stderr.take().expect("a log"));
    let process = Process(child);
    let (send, receive) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let (mut line, mut send) = (String::new(), Some(send));
        // To its end: a full pipe would hold the server up.
        while log.read_line(&mut line).is_ok_and(|n| n > 0) {
            if let Some(address) = address_in(&line)
                && let Some(send) = send.take()
            {
                let _ = send.send(address);
            }
            line.clear();
        }
    });
    let address = tokio::time::timeout(Duration::from_secs(30), receive).await;
    let address = address.expect("in time").expect("an address in the log");
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .expect("a URL")
        .connect_lazy();
    Router {
        _process: process,
        channel,
    }
}

/// The gRPC address in the log line that says where the server listens.
fn address_in(line: &str) -> Option<String> {
    let log: serde_json::Value = serde_json::from_str(line).ok()?;
    Some(log.get("grpc")?.as_str()?.to_owned())
}
