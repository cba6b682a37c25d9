//! The real binary, over the folders that the tests' own servers use.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use tonic::transport::{Channel, Endpoint};

use super::place::{self, looks, variables};

/// What a command ended with.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// A command that knows of no place.
pub fn lancegate(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lancegate"));
    command
        .args(args)
        // What says where the tests have their data is no setting.
        .env_remove("LANCEGATE_TEST_STORE")
        .env_remove("LANCEGATE_TEST_STORE_OPTIONS")
        .env_remove("LANCEGATE_TEST_OTHER_STORE")
        .env_remove("LANCEGATE_TEST_OTHER_STORE_OPTIONS")
        .env_remove("LANCEGATE_TEST_RUNS");
    command
}

/// A command over `folder` with this many replicas, and the short pauses of the
/// tests' servers.
pub fn command(folder: &Path, replicas: usize, args: &[&str]) -> Command {
    let mut command = lancegate(args);
    command
        .env("LANCEGATE_PRIMARY__NAME", "primary")
        .envs(variables("LANCEGATE_PRIMARY", &folder.join("primary")))
        .env("LANCEGATE_REPLICATION__POLL_INTERVAL", "100ms")
        .env("LANCEGATE_REPLICATION__DELETE_GRACE", "100ms")
        .env("LANCEGATE_HEALTH__PROBE_INTERVAL", "200ms")
        .env("LANCEGATE_ADMISSION__MAX_WAIT", "1m")
        // A read says what one attempt found: nothing hides a file that is missing.
        .env("LANCEGATE_RETRIES__MAX_ATTEMPTS", "1")
        .env("LANCEGATE_OUTLIER__ENABLED", "false")
        .env("LANCEGATE_OUTLIER__SLOW_START", "0s")
        .env("LANCEGATE_SHUTDOWN__GRACE", "10ms")
        .env("LANCEGATE_LOGGING__FORMAT", "json")
        .stdin(Stdio::null());
    for i in 0..replicas {
        let name = format!("replica-{}", i + 1);
        let key = format!("LANCEGATE_REPLICAS__{i}");
        command
            .envs(variables(&key, &folder.join(&name)))
            .env(format!("{key}__NAME"), name);
    }
    command
}

/// Runs the command line against a server to its end.
pub async fn at(address: &str, args: &[&str]) -> Ended {
    let mut command = lancegate(args);
    command.args(["--address", address]);
    run(command).await
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
    log: Arc<Mutex<String>>,
}

impl Background {
    /// Starts one, and waits until its log says where it listens: in a field of
    /// this name.
    pub async fn start(command: Command, field: &'static str) -> Self {
        match Self::try_start(command, field).await {
            Ok(process) => process,
            Err(log) => panic!("it ended before it listened:\n{log}"),
        }
    }

    /// The same; the log, if it ended before it listened.
    pub async fn try_start(mut command: Command, field: &'static str) -> Result<Self, String> {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("a process");
        let mut lines = BufReader::new(child.stderr.take().expect("a log"));
        let log = Arc::new(Mutex::new(String::new()));
        let (send, receive) = tokio::sync::oneshot::channel();
        let kept = Arc::clone(&log);
        // Read to the end, or the process would wait for somebody to.
        std::thread::spawn(move || {
            let (mut line, mut send) = (String::new(), Some(send));
            while lines.read_line(&mut line).is_ok_and(|n| n > 0) {
                kept.lock().unwrap().push_str(&line);
                let fields = serde_json::from_str::<serde_json::Value>(&line);
                if let Ok(fields) = fields
                    && fields.get(field).is_some()
                    && let Some(send) = send.take()
                {
                    // Nobody waits for it any more: the test has failed.
                    let _ = send.send(fields);
                }
                line.clear();
            }
        });
        let addresses = tokio::time::timeout(Duration::from_secs(30), receive).await;
        let Ok(addresses) = addresses.expect("in time") else {
            child.wait().expect("the end");
            let log = log.lock().unwrap().clone();
            return Err(log);
        };
        Ok(Self {
            child,
            addresses,
            log,
        })
    }

    /// An address that it listens on.
    pub fn address(&self, field: &str) -> SocketAddr {
        let text = self.addresses[field].as_str().expect("an address");
        text.parse().expect("an address")
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal: its name without SIG.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.unwrap().success());
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn terminate(mut self) -> ExitStatus {
        self.signal("TERM");
        for _ in 0..500 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("still there 10 s after SIGTERM");
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

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gives a command these variables. A location that they name has no options but theirs.
pub fn configure(command: &mut Command, env: &[(&str, &str)]) {
    for key in env.iter().filter_map(|(name, _)| name.strip_suffix("URI")) {
        for option in place::options().into_keys() {
            let option = option.to_ascii_uppercase();
            command.env_remove(format!("{key}STORAGE_OPTIONS__{option}"));
        }
    }
    command.envs(env.iter().copied());
}

/// A server with a channel to it.
pub struct Server {
    pub process: Background,
    pub channel: Channel,
}

impl Server {
    /// Starts a server over `folder` with this many replicas and further
    /// environment variables. It copies one file at a time.
    pub async fn start(folder: &Path, replicas: usize, env: &[(&str, &str)]) -> Self {
        match Self::try_start(folder, replicas, env).await {
            Ok(server) => server,
            Err(log) => panic!("it ended before it listened:\n{log}"),
        }
    }

    /// The same; the log, if it ended before it listened.
    pub async fn try_start(
        folder: &Path,
        replicas: usize,
        env: &[(&str, &str)],
    ) -> Result<Self, String> {
        let any_port = "127.0.0.1:0";
        let args = [
            "serve",
            "--grpc-address",
            any_port,
            "--http-address",
            any_port,
        ];
        let mut command = command(folder, replicas, &args);
        command.env("LANCEGATE_REPLICATION__PARALLEL_COPIES", "1");
        configure(&mut command, env);
        let process = Background::try_start(command, "grpc").await?;
        let channel = Endpoint::from_shared(format!("http://{}", process.address("grpc")))
            .unwrap()
            .connect_lazy();
        Ok(Self { process, channel })
    }
}

/// Looks until there is something, for at most 30 s, and longer on
/// a store.
pub async fn until_some<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..looks(3000) {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is not there");
}
