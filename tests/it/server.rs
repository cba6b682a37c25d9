//! A server in this process, on ports of its own, over temporary folders.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};

use lancegate::{
    app::App,
    config::{self, Config, Sources},
    operate::Origin,
    proto::v1::{
        cluster_service_client::ClusterServiceClient, search_service_client::SearchServiceClient,
        table_service_client::TableServiceClient, write_service_client::WriteServiceClient, *,
    },
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Status, transport::Channel};
use tonic_types::StatusExt;

use super::{
    data::{ipc, small},
    place::{looks, variables},
};

/// A running server and clients for it.
pub struct TestServer {
    pub app: App,
    pub folder: TempDir,
    pub search: SearchServiceClient<Channel>,
    pub write: WriteServiceClient<Channel>,
    pub table: TableServiceClient<Channel>,
    pub cluster: ClusterServiceClient<Channel>,
}

/// Settings for a server over `folder` with this many replicas.
pub fn settings(folder: &Path, replicas: usize) -> Config {
    settings_with(folder, replicas, &[])
}

/// The same, with more settings by their environment variables.
pub fn settings_with(folder: &Path, replicas: usize, more: &[(&str, &str)]) -> Config {
    config::load(sources(folder, replicas, more)).unwrap_or_else(|faults| panic!("{faults}"))
}

/// What those are loaded from.
pub fn sources(folder: &Path, replicas: usize, more: &[(&str, &str)]) -> Sources {
    let mut env = BTreeMap::from([
        ("LANCEGATE_SERVER__GRPC_ADDRESS", "127.0.0.1:0".to_owned()),
        ("LANCEGATE_SERVER__HTTP_ADDRESS", "127.0.0.1:0".to_owned()),
        ("LANCEGATE_SHUTDOWN__GRACE", "50ms".to_owned()),
        ("LANCEGATE_REPLICATION__POLL_INTERVAL", "200ms".to_owned()),
        ("LANCEGATE_REPLICATION__DELETE_GRACE", "100ms".to_owned()),
        ("LANCEGATE_HEALTH__PROBE_INTERVAL", "200ms".to_owned()),
        // The machine may be slow: waiting is no fault there.
        ("LANCEGATE_ADMISSION__MAX_WAIT", "1m".to_owned()),
        // A read says what one attempt found, and a pause of a busy machine takes
        // no replica out: the tests of what hides a fault turn it on.
        ("LANCEGATE_RETRIES__MAX_ATTEMPTS", "1".to_owned()),
        ("LANCEGATE_OUTLIER__ENABLED", "false".to_owned()),
        ("LANCEGATE_OUTLIER__SLOW_START", "0s".to_owned()),
    ])
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect::<Vec<_>>();
    env.push(("LANCEGATE_PRIMARY__NAME".into(), "primary".into()));
    env.extend(variables("LANCEGATE_PRIMARY", &folder.join("primary")));
    for i in 0..replicas {
        let name = format!("replica-{}", i + 1);
        let key = format!("LANCEGATE_REPLICAS__{i}");
        env.push((format!("{key}__NAME"), name.clone()));
        env.extend(variables(&key, &folder.join(&name)));
    }
    // A variable is set once, in a real environment too; and options are those of one
    // location.
    env.retain(|(key, _)| {
        let is_of = |(name, _): &(&str, &str)| {
            let options = name
                .strip_suffix("URI")
                .map(|c| format!("{c}STORAGE_OPTIONS"));
            name == key || options.is_some_and(|options| key.starts_with(&options))
        };
        !more.iter().any(is_of)
    });
    let more = more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    env.extend(more);
    Sources {
        env,
        ..Sources::default()
    }
}

impl TestServer {
    /// Starts one with this many replicas, and waits until it is ready.
    pub async fn start(replicas: usize) -> Self {
        // A name that a URI has to escape.
        let folder = TempDir::with_prefix("lance gaté ").expect("a temporary folder");
        let config = settings(folder.path(), replicas);
        Self::start_with(folder, config).await
    }

    /// Starts one with these settings.
    pub async fn start_with(folder: TempDir, config: Config) -> Self {
        Self::start_from(folder, config, None).await
    }

    /// Starts one whose configuration can be read again from these sources.
    pub async fn start_reloadable(folder: TempDir, sources: Sources) -> Self {
        let config = config::load(sources.clone()).unwrap_or_else(|faults| panic!("{faults}"));
        let origin = Origin { sources, log: None };
        Self::start_from(folder, config, Some(origin)).await
    }

    async fn start_from(folder: TempDir, config: Config, origin: Option<Origin>) -> Self {
        let app = App::start_from(config, origin)
            .await
            .expect("the server starts");
        wait_until("ready", || app.serving("lancegate.v1.WriteService")).await;
        let url = format!("http://{}", app.grpc_address());
        let channel = Channel::from_shared(url)
            .expect("a URL")
            .connect()
            .await
            .expect("a connection");
        Self {
            search: SearchServiceClient::new(channel.clone()).max_decoding_message_size(1 << 30),
            write: WriteServiceClient::new(channel.clone()).max_encoding_message_size(1 << 30),
            table: TableServiceClient::new(channel.clone()),
            cluster: ClusterServiceClient::new(channel),
            app,
            folder,
        }
    }

    /// Stops the server and starts another one over the same folders.
    pub async fn restart(self, replicas: usize) -> Self {
        self.restart_with(replicas, &[]).await
    }

    /// The same, with other settings.
    pub async fn restart_with(self, replicas: usize, more: &[(&str, &str)]) -> Self {
        let folder = self.folder;
        self.app.stop().await.expect("the server stops");
        let config = settings_with(folder.path(), replicas, more);
        Self::start_with(folder, config).await
    }

    /// Waits until every replica serves the primary's newest version of all tables.
    pub async fn settled(&mut self) -> GetTopologyResponse {
        for _ in 0..looks(600) {
            let topology = self
                .cluster
                .get_topology(GetTopologyRequest {})
                .await
                .expect("a topology")
                .into_inner();
            let primary: Vec<_> = versions(&topology.connections[0]);
            if topology.connections.iter().all(|c| versions(c) == primary) {
                return topology;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the replicas did not catch up");
    }

    /// Creates a table of these rows.
    pub async fn create(&mut self, name: &str, rows: Rows) {
        self.table
            .create_table(CreateTableRequest {
                table: name.into(),
                source: Some(create_table_request::Source::Rows(rows)),
                exist_ok: false,
            })
            .await
            .expect("a new table");
    }

    /// The same, and waits for the replicas.
    pub async fn table_of(&mut self, name: &str, rows: Rows) {
        self.create(name, rows).await;
        self.settled().await;
    }

    /// Appends so many rows, as [`small`] makes them.
    pub async fn insert(&mut self, table: &str, first: i64, count: i64) {
        self.write
            .insert(InsertRequest {
                request_id: String::new(),
                table: table.into(),
                rows: Some(ipc(&small(first, count))),
                mode: 0,
            })
            .await
            .expect("a commit");
    }
}

fn versions(connection: &ConnectionStatus) -> Vec<(String, u64)> {
    connection
        .tables
        .iter()
        .map(|t| (t.table.clone(), t.version))
        .collect()
}

/// The reason that an error says.
pub fn reason(status: &Status) -> String {
    status.get_details_error_info().expect("ErrorInfo").reason
}

/// Waits up to 30 s, and longer on a store, for something to hold.
pub async fn wait_until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..looks(1500) {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not {what}");
}

/// What the HTTP port answers: the status code, and the answer with its head.
pub async fn http_get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let code = text.split(' ').nth(1).unwrap().parse().unwrap();
    (code, text)
}
