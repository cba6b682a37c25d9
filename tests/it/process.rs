//! The real binary as a process of its own.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use tonic::transport::{Channel, Endpoint};

/// A server process; killed when dropped.
pub struct Process {
    child: Child,
    pub channel: Channel,
    pub http: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a process listens: gRPC and HTTP.
type Addresses = (String, SocketAddr);

impl Process {
    /// Starts a server over `folder` with this many replicas and further
    /// environment variables.
    pub async fn start(folder: &Path, replicas: usize, env: &[(&str, &str)]) -> Self {
        match Self::try_start(folder, replicas, env).await {
            Ok(process) => process,
            Err(log) => panic!("it ended before it listened:\n{log}"),
        }
    }

    /// The same; the log, if it ended before it listened.
    pub async fn try_start(
        folder: &Path,
        replicas: usize,
        env: &[(&str, &str)],
    ) -> Result<Self, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lancegate"));
        let place = |name: &str| folder.join(name).display().to_string();
        command
            .args(["serve", "--grpc-address", "127.0.0.1:0"])
            .args(["--http-address", "127.0.0.1:0"])
            .env("LANCEGATE_PRIMARY__NAME", "primary")
            .env("LANCEGATE_PRIMARY__URI", place("primary"))
            .env("LANCEGATE_REPLICATION__PARALLEL_COPIES", "1")
            .env("LANCEGATE_REPLICATION__POLL_INTERVAL", "100ms")
            .env("LANCEGATE_SHUTDOWN__GRACE", "10ms")
            .envs(env.iter().copied())
            .stderr(Stdio::piped());
        for i in 0..replicas {
            let name = format!("replica-{}", i + 1);
            command
                .env(format!("LANCEGATE_REPLICAS__{i}__NAME"), &name)
                .env(format!("LANCEGATE_REPLICAS__{i}__URI"), place(&name));
        }
        let mut child = command.spawn().expect("the binary starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a log"));
        let log = Arc::new(Mutex::new(String::new()));
        let (send, receive) = tokio::sync::oneshot::channel();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            let (mut line, mut send) = (String::new(), Some(send));
            while lines.read_line(&mut line).is_ok_and(|n| n > 0) {
                kept.lock().unwrap().push_str(&line);
                if let Some(addresses) = addresses_in(&line)
                    && let Some(send) = send.take()
                {
                    let _ = send.send(addresses);
                }
                line.clear();
            }
        });
        let addresses = tokio::time::timeout(Duration::from_secs(20), receive).await;
        let Ok((grpc, http)) = addresses.expect("in time") else {
            child.wait().expect("the end");
            let log = log.lock().unwrap().clone();
            return Err(log);
        };
        let channel = Endpoint::from_shared(format!("http://{grpc}"))
            .unwrap()
            .connect_lazy();
        Ok(Self {
            child,
            channel,
            http,
            log,
        })
    }

    /// Ends it as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("the end");
    }

    /// Whether it ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_some()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }
}

/// The addresses in the log line that says where the server listens.
fn addresses_in(line: &str) -> Option<Addresses> {
    let log: serde_json::Value = serde_json::from_str(line).ok()?;
    let http = log.get("http")?.as_str()?.parse().ok()?;
    Some((log.get("grpc")?.as_str()?.to_owned(), http))
}

/// Looks until there is something, for at most 30 s.
pub async fn until_some<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..3000 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 30 s");
}
