//! Nodes over one primary location, each with a copy of its own, and a router in
//! front of them that has no data at all.

use std::{collections::BTreeMap, path::Path};

use lancegate::{
    app::App,
    config::Config,
    domain::TableName,
    proto::v1::{search_service_client::SearchServiceClient, *},
};
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::server::{TestServer, settings_with, wait_until};

/// Three nodes in this process, of which the first one takes the writes, and a
/// router before them.
pub struct Fleet {
    pub nodes: Vec<App>,
    pub router: TestServer,
    /// Of the nodes, to the end.
    _folder: TempDir,
}

/// The settings of node `i` over `folder`.
pub fn node(folder: &Path, i: usize) -> Config {
    named_node(folder, i, "replica-1", &[])
}

/// The same with another name of its copy, and more settings.
pub fn named_node(folder: &Path, i: usize, replica: &str, more: &[(&str, &str)]) -> Config {
    let copy = folder.join(format!("copy-{i}")).display().to_string();
    let mut all = vec![
        ("LANCEGATE_REPLICAS__0__NAME", replica),
        ("LANCEGATE_REPLICAS__0__URI", &copy),
    ];
    all.extend(more);
    settings_with(folder, 0, &all)
}

/// Starts a node, and waits until it serves.
pub async fn start_node(folder: &Path, i: usize) -> App {
    let app = App::start(node(folder, i)).await.expect("a node");
    wait_until("a node that serves", || {
        app.serving("lancegate.v1.WriteService")
    })
    .await;
    app
}

/// Reads are tried elsewhere, and a loop of them does not use up the budget. Nobody is
/// ejected for being slow on a busy machine.
const RETRIES: [(&str, &str); 2] = [
    ("LANCEGATE_RETRIES__MAX_ATTEMPTS", "3"),
    ("LANCEGATE_RETRIES__MIN_PER_SECOND", "1000"),
];

/// Settings of a router: `primary` and `replicas` are URIs, of node-1, node-2, ... where
/// `more` does not name them.
pub fn router_settings(primary: &str, replicas: &[String], more: &[(&str, &str)]) -> Config {
    let mut set: BTreeMap<String, String> = RETRIES
        .iter()
        .chain(more)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    set.insert("LANCEGATE_PRIMARY__URI".into(), primary.into());
    for (i, uri) in replicas.iter().enumerate() {
        let name = set.entry(format!("LANCEGATE_REPLICAS__{i}__NAME"));
        name.or_insert_with(|| format!("node-{}", i + 1));
        set.insert(format!("LANCEGATE_REPLICAS__{i}__URI"), uri.clone());
    }
    let set: Vec<(&str, &str)> = set.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    settings_with(Path::new("/nowhere"), 0, &set)
}

/// Starts a router, and waits until it serves.
pub async fn start_router(config: Config) -> TestServer {
    TestServer::start_with(TempDir::new().unwrap(), config).await
}

/// As a URI of the configuration.
pub fn uri(app: &App) -> String {
    format!("grpc://{}", app.grpc_address())
}

impl Fleet {
    pub async fn start(more: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let mut nodes = Vec::new();
        for i in 1..=3 {
            nodes.push(start_node(folder.path(), i).await);
        }
        let uris: Vec<String> = nodes.iter().map(uri).collect();
        let config = router_settings(&uris[0], &uris, more);
        let mut router = start_router(config).await;
        up(&mut router, 4).await;
        Self {
            nodes,
            router,
            _folder: folder,
        }
    }

    /// Creates a table of these rows and waits until every node has it.
    pub async fn table_of(&mut self, name: &str, rows: Rows) {
        self.router.create(name, rows).await;
        self.settled(name).await;
    }

    /// Waits until the copies of every node have the newest version of a table.
    pub async fn settled(&self, table: &str) {
        copied(&self.nodes, table).await;
    }
}

/// Waits until the copies of these nodes have the newest version of a table, by the
/// primary as the first of them knows it.
pub async fn copied(nodes: &[App], table: &str) {
    let name = TableName::parse(table).unwrap();
    let at = |app: &App| {
        let router = app.router().expect("a node has data");
        let versions = router.connections().map(|c| c.catalog().version(&name));
        versions.collect::<Vec<_>>()
    };
    wait_until("settled", || {
        let newest = at(&nodes[0])[0];
        newest.is_some() && nodes.iter().all(|n| at(n).iter().all(|v| *v == newest))
    })
    .await;
}

/// Waits until so many connections of a router are up.
pub async fn up(router: &mut TestServer, count: usize) {
    for _ in 0..600 {
        let found = topology(router).await;
        let up = |c: &&ConnectionStatus| c.state() == ConnectionState::Up;
        if found.iter().filter(up).count() == count {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let found = topology(router).await;
    panic!("not {count} connections up within 30 s: {found:?}");
}

/// Every connection of a server.
pub async fn topology(server: &mut TestServer) -> Vec<ConnectionStatus> {
    let answer = server.cluster.get_topology(GetTopologyRequest {}).await;
    answer.expect("a topology").into_inner().connections
}

/// A request for the rows of a table.
pub fn count(table: &str) -> CountRequest {
    CountRequest {
        table: table.into(),
        ..Default::default()
    }
}

/// Which node answered a count: the part of the connection's name before the slash.
pub async fn who(search: &mut SearchServiceClient<Channel>, table: &str) -> String {
    let answer = search.count(count(table)).await.expect("an answer");
    let served = answer.into_inner().served.expect("who served it");
    let (node, _) = served.connection.split_once('/').expect("a node");
    node.to_owned()
}
