//! The real binary, over the folders that the tests' own servers use.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

/// What a command ended with.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// A command over `folder` with this many replicas, and the short pauses of the
/// tests' servers.
pub fn command(folder: &Path, replicas: usize, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lancegate"));
    let place = |name: &str| folder.join(name).display().to_string();
    command
        .args(args)
        .env("LANCEGATE_PRIMARY__NAME", "primary")
        .env("LANCEGATE_PRIMARY__URI", place("primary"))
        .env("LANCEGATE_REPLICATION__POLL_INTERVAL", "100ms")
        .env("LANCEGATE_REPLICATION__DELETE_GRACE", "100ms")
        .env("LANCEGATE_HEALTH__PROBE_INTERVAL", "200ms")
        .env("LANCEGATE_SHUTDOWN__GRACE", "10ms")
        .env("LANCEGATE_LOGGING__FORMAT", "json")
        .stdin(Stdio::null());
    for i in 0..replicas {
        let name = format!("replica-{}", i + 1);
        command
            .env(format!("LANCEGATE_REPLICAS__{i}__URI"), place(&name))
            .env(format!("LANCEGATE_REPLICAS__{i}__NAME"), name);
    }
    command
}

/// Runs a command to its end.
pub async fn run(mut command: Command) -> Ended {
    let running = tokio::task::spawn_blocking(move || command.output());
    let output = tokio::time::timeout(Duration::from_secs(120), running).await;
    let output = output.expect("an end").unwrap().expect("the binary starts");
    Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A process that goes on until it is told to stop; killed when dropped.
pub struct Background {
    child: Child,
    /// Fields of the log line that names an address.
    addresses: serde_json::Value,
}

impl Background {
    /// Starts one, and waits until its log says where it listens: in a field of
    /// this name.
    pub async fn start(mut command: Command, field: &'static str) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("a process");
        let mut log = BufReader::new(child.stderr.take().expect("a log"));
        let (send, receive) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            while log.read_line(&mut line).is_ok_and(|n| n > 0) {
                let fields = serde_json::from_str::<serde_json::Value>(&line);
                if let Ok(fields) = fields
                    && fields.get(field).is_some()
                {
                    let _ = send.send(fields);
                    break;
                }
                line.clear();
            }
            // Read to the end, or the process would wait for somebody to.
            let _ = log.read_to_end(&mut Vec::new());
        });
        let addresses = tokio::time::timeout(Duration::from_secs(30), receive).await;
        let addresses = addresses.expect("in time").expect("an address in the log");
        Self { child, addresses }
    }

    /// An address that it listens on.
    pub fn address(&self, field: &str) -> SocketAddr {
        let text = self.addresses[field].as_str().expect("an address");
        text.parse().expect("an address")
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn terminate(mut self) -> ExitStatus {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(sent.success());
        for _ in 0..500 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("still there 10 s after SIGTERM");
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
