//! A server that asks who comes, and callers who show a key.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use lancegate::{
    access::keys,
    app::App,
    config::{self, Sources},
    operate::Origin,
    proto::v1::{
        cluster_service_client::ClusterServiceClient, search_service_client::SearchServiceClient,
        table_service_client::TableServiceClient, write_service_client::WriteServiceClient, *,
    },
};
use tempfile::TempDir;
use tonic::{
    Request, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::server::{sources, wait_until};

/// Shows a key or a token, or nothing.
#[derive(Clone)]
pub struct Shows(pub Option<String>);

impl Interceptor for Shows {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            let value = format!("Bearer {key}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

pub type Calls = InterceptedService<Channel, Shows>;

/// The clients of one caller.
#[derive(Clone)]
pub struct Caller {
    pub search: SearchServiceClient<Calls>,
    pub write: WriteServiceClient<Calls>,
    pub table: TableServiceClient<Calls>,
    pub cluster: ClusterServiceClient<Calls>,
}

impl Caller {
    pub fn of(channel: &Channel, key: Option<&str>) -> Self {
        let shows = Shows(key.map(str::to_owned));
        let calls = || InterceptedService::new(channel.clone(), shows.clone());
        Self {
            search: SearchServiceClient::new(calls()),
            write: WriteServiceClient::new(calls()),
            table: TableServiceClient::new(calls()),
            cluster: ClusterServiceClient::new(calls()),
        }
    }
}

/// What the callers of these tests are bound to, by their keys' names. `{}` is the file
/// of the keys.
pub const BINDINGS: &str = r#"
[access]
enabled = true
reload_interval = "50ms"
api_keys_file = "{}"

[[access.bindings]]
principals = ["key:root"]
role = "admin"
tables = ["*"]

[[access.bindings]]
principals = ["key:librarian"]
role = "admin"
tables = ["docs*"]

[[access.bindings]]
principals = ["key:writer"]
role = "writer"
tables = ["*"]

[[access.bindings]]
principals = ["key:reader"]
role = "reader"
tables = ["*"]

[[access.bindings]]
principals = ["key:scraper"]
role = "metrics"

[[access.bindings]]
principals = ["key:acme", "key:globex"]
role = "writer"
tables = ["docs*"]
rows = "tenant = {tenant}"
hidden_columns = ["secret"]

[[access.bindings]]
principals = ["key:lost"]
role = "reader"
tables = ["*"]
rows = "tenant = {tenant}"
"#;

/// Everybody who has a key.
pub const NAMES: [&str; 9] = [
    "root",
    "librarian",
    "writer",
    "reader",
    "scraper",
    "acme",
    "globex",
    "lost",
    "nobody",
];

/// Files of a configuration with keys for everybody.
pub struct Files {
    pub keys: BTreeMap<&'static str, String>,
    pub config: std::path::PathBuf,
    pub key_file: std::path::PathBuf,
}

impl Files {
    /// Writes them to a folder. `more` goes before the bindings.
    pub fn write(folder: &Path, more: &str) -> Self {
        let keys: BTreeMap<_, _> = NAMES.map(|name| (name, keys::generate())).into();
        let key_file = folder.join("keys.toml");
        fs::write(&key_file, entries(&keys)).unwrap();
        let config = folder.join("lancegate.toml");
        let text = BINDINGS.replace("{}", &key_file.display().to_string());
        fs::write(&config, format!("{more}\n{text}")).unwrap();
        Self {
            keys,
            config,
            key_file,
        }
    }
}

/// The entries of keys, with the tenants of those who have one.
pub fn entries(all: &BTreeMap<&'static str, String>) -> String {
    let entry = |(name, key): (&&'static str, &String)| {
        let claims = match *name {
            "acme" | "globex" => format!("claims = {{ tenant = \"{name}\" }}\n"),
            _ => String::new(),
        };
        keys::entry(name, &[], key) + &claims
    };
    all.iter().map(entry).collect()
}

/// A running server that asks who comes.
pub struct Guarded {
    pub app: App,
    /// To the end.
    _folder: TempDir,
    pub files: Files,
    pub channel: Channel,
}

impl Guarded {
    /// One with these further settings, before the bindings.
    pub async fn start(replicas: usize, more: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let files = Files::write(folder.path(), more);
        Self::start_from(replicas, folder, files).await
    }

    /// One with these further bindings, or tables of `[access]`.
    pub async fn start_appended(more: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let files = Files::write(folder.path(), "");
        let config = fs::read_to_string(&files.config).unwrap();
        fs::write(&files.config, format!("{config}\n{more}")).unwrap();
        Self::start_from(0, folder, files).await
    }

    async fn start_from(replicas: usize, folder: TempDir, files: Files) -> Self {
        let sources = Sources {
            file: Some(files.config.clone()),
            ..sources(folder.path(), replicas, &[])
        };
        let config = config::load(sources.clone()).unwrap_or_else(|faults| panic!("{faults}"));
        let origin = Origin { sources, log: None };
        let app = App::start_from(config, Some(origin))
            .await
            .expect("a server");
        wait_until("ready", || app.serving("lancegate.v1.WriteService")).await;
        let channel = channel(&app.grpc_address().to_string());
        Self {
            app,
            _folder: folder,
            files,
            channel,
        }
    }

    /// Somebody who shows the key of this name.
    pub fn caller(&self, name: &str) -> Caller {
        Caller::of(&self.channel, Some(&self.files.keys[name]))
    }

    /// Waits until every replica has the primary's tables.
    pub async fn settled(&self) {
        settled(&mut self.caller("root")).await;
    }
}

pub fn channel(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect_lazy()
}

/// Waits until every replica has the primary's tables.
pub async fn settled(root: &mut Caller) {
    for _ in 0..600 {
        let topology = root.cluster.get_topology(GetTopologyRequest {}).await;
        let connections = topology.unwrap().into_inner().connections;
        let versions = |c: &ConnectionStatus| {
            let tables = c.tables.iter();
            tables
                .map(|t| (t.table.clone(), t.version))
                .collect::<Vec<_>>()
        };
        let first = versions(&connections[0]);
        if connections.iter().all(|c| versions(c) == first) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the replicas did not catch up within 30 s");
}
