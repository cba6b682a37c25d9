//! A real server: the binary of this checkout, as a child process.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use lancegate::proto::v1::{
    ConnectionStatus, GetTopologyRequest, cluster_service_client::ClusterServiceClient,
};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{Result, machine};

/// The binary that cargo built along with this benchmark.
pub const BINARY: &str = env!("CARGO_BIN_EXE_lancegate");

/// How often a starting server is asked whether it serves.
const ASK_EVERY: Duration = Duration::from_millis(2);

/// More than any start or copy takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running server; killed when it is dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// From the start of the process to SERVING.
    pub start_up: Duration,
}

/// What differs from server to server.
pub struct Settings<'a> {
    pub binary: &'a Path,
    /// Holds primary, replica-1 and replica-2: the embedded default. `None` where
    /// the variables name the places.
    pub data: Option<&'a Path>,
    pub log: &'a Path,
    /// Variables of its environment.
    pub variables: Vec<(&'static str, String)>,
}

impl<'a> Settings<'a> {
    pub fn new(data: &'a Path, log: &'a Path) -> Self {
        Self {
            binary: Path::new(BINARY),
            data: Some(data),
            log,
            variables: Vec::new(),
        }
    }
}

impl Server {
    /// Starts a server and waits until it serves.
    pub async fn start(settings: Settings<'_>) -> Result<Self> {
        let address = free_address()?;
        let mut command = without_configuration(settings.binary);
        command
            .arg("serve")
            .args(settings.data.map(|_| "--data-dir"))
            .args(settings.data)
            .args(["--grpc-address", &address.to_string()])
            .args(["--http-address", &free_address()?.to_string()])
            // Nobody else uses it: it may go at once.
            .env("LANCEGATE_SHUTDOWN__GRACE", "0s")
            .envs(settings.variables)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // The log goes to a file, as in production.
            .stderr(File::create(settings.log)?);
        let began = Instant::now();
        let mut server = Self {
            child: command.spawn()?,
            address,
            start_up: Duration::ZERO,
        };
        while !server.serves().await {
            if let Some(status) = server.child.try_wait()? {
                let log = std::fs::read_to_string(settings.log)?;
                return Err(format!("the server ended with {status}:\n{log}").into());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("the server is not SERVING after {PATIENCE:?}").into());
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        server.start_up = began.elapsed();
        Ok(server)
    }

    /// grpc.health.v1 Check of the whole server.
    async fn serves(&self) -> bool {
        let Ok(channel) = self.channel().await else {
            return false;
        };
        let answer = HealthClient::new(channel)
            .check(HealthCheckRequest::default())
            .await;
        answer.is_ok_and(|answer| answer.get_ref().status() == ServingStatus::Serving)
    }

    pub async fn channel(&self) -> Result<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address))?;
        Ok(endpoint.connect().await?)
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    pub fn memory(&self) -> Result<machine::Memory> {
        machine::memory(self.child.id())
    }

    /// Waits until every replica serves the primary's versions of all tables.
    pub async fn settled(&self) -> Result<()> {
        let mut cluster = ClusterServiceClient::new(self.channel().await?);
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let topology = cluster.get_topology(GetTopologyRequest {}).await?;
            let versions: Vec<_> = topology
                .get_ref()
                .connections
                .iter()
                .map(versions)
                .collect();
            if versions.windows(2).all(|pair| pair[0] == pair[1]) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(format!("the replicas are behind after {PATIENCE:?}").into())
    }

    /// Asks the server to stop, and waits for it. The runtime goes on meanwhile:
    /// its clients have to answer the server's goodbye.
    pub async fn stop(mut self) -> Result<()> {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status()?;
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None => tokio::time::sleep(ASK_EVERY).await,
            }
        };
        match status.success() {
            true => Ok(()),
            false => Err(format!("the server ended with {status}").into()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn versions(connection: &ConnectionStatus) -> Vec<(&str, u64)> {
    let tables = connection.tables.iter();
    tables.map(|t| (t.table.as_str(), t.version)).collect()
}

/// The binary, without the settings that the environment has for others.
pub fn without_configuration(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("LANCEGATE_") || text.starts_with("OTEL_") || text == "RUST_LOG" {
            command.env_remove(&name);
        }
    }
    command
}

/// A port that was free a moment ago.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
