//! Asking a node whether it serves: its health, where its tables are, and a real
//! read. A node that only accepts connections is not up.

use std::{sync::Arc, time::Duration};

use http::Uri;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
};
use tonic_types::StatusExt;

use super::{Node, VIA, remote::Client};
use crate::{
    config::{Live, NodeKey},
    domain::{Role, view::ConnectionState},
    proto::{
        health::{
            HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
        },
        v1::{
            self as pb, cluster_service_client::ClusterServiceClient,
            search_service_client::SearchServiceClient,
        },
    },
};

/// What a primary must serve, and what a replica must.
const WRITE: &str = "lancegate.v1.WriteService";
const SEARCH: &str = "lancegate.v1.SearchService";

/// The shortest time between two probes, however much trouble there is.
const LEAST: Duration = Duration::from_millis(100);

/// Most bytes of a topology, or of the one row that is read.
const MAX_ANSWER: usize = 64 << 20;

/// A key as a request shows it.
type Bearer = MetadataValue<Ascii>;

/// What a probe needs besides the node.
pub(super) struct Prober {
    pub live: Live,
    /// This process, as calls that pass through it name it.
    pub instance: Arc<str>,
}

impl Prober {
    /// Probes until `stop`. A node that is not up is probed every second at least:
    /// somebody is waiting for it.
    pub(super) async fn watch(&self, node: &Arc<Node>, stop: &CancellationToken) {
        let mut failures = 0;
        loop {
            let probed = tokio::select! {
                probed = self.probe(node) => probed,
                () = stop.cancelled() => return,
            };
            self.note(node, probed, &mut failures);
            let health = self.live.load().health;
            let pause = match node.state() {
                ConnectionState::Up if failures == 0 => health.probe_interval,
                _ => health.probe_interval.min(Duration::from_secs(1)),
            };
            let until_then = async {
                tokio::time::sleep(LEAST.min(pause)).await;
                tokio::select! {
                    () = tokio::time::sleep(pause.saturating_sub(LEAST)) => {}
                    () = node.trouble() => {}
                }
            };
            tokio::select! {
                () = until_then => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn note(
        &self,
        node: &Node,
        probed: Result<Vec<pb::TablePosition>, String>,
        failures: &mut u32,
    ) {
        match probed {
            Ok(tables) => {
                *failures = 0;
                if node.set(ConnectionState::Up, None, Some(tables)) {
                    tracing::info!(node = %node.name(), role = node.role().as_str(), "node is up");
                }
            }
            Err(error) => {
                *failures += 1;
                let was_up = node.state() == ConnectionState::Up;
                let state = match was_up && *failures < self.live.load().health.failure_threshold {
                    true => ConnectionState::Up,
                    false => ConnectionState::Down,
                };
                if node.set(state, Some(&error), None) {
                    tracing::warn!(node = %node.name(), %error, "node is down");
                }
            }
        }
    }

    /// One probe. Answers where the node's tables are, or what is wrong with it in
    /// words.
    pub(super) async fn probe(&self, node: &Arc<Node>) -> Result<Vec<pb::TablePosition>, String> {
        let within = self.live.load().health.probe_timeout;
        let probed = timeout(within, self.ask(node)).await;
        let probed = probed.unwrap_or_else(|_| {
            Err(Status::deadline_exceeded(format!(
                "no answer within {within:?}"
            )))
        });
        match probed {
            Ok(tables) => Ok(tables),
            Err(status) => Err(in_words(&status)),
        }
    }

    async fn ask(&self, node: &Arc<Node>) -> Result<Vec<pb::TablePosition>, Status> {
        let service = match node.role() {
            Role::Primary => WRITE,
            Role::Replica | Role::Shadow => SEARCH,
        };
        let check = HealthCheckRequest {
            service: service.into(),
        };
        let key = self.key().await?;
        let mut health = HealthClient::with_origin(Client(Arc::clone(node)), Uri::default());
        let health = health
            .check(self.request(check, key.as_ref()))
            .await?
            .into_inner();
        if health.status() != ServingStatus::Serving {
            let status = health.status().as_str_name();
            return Err(Status::unavailable(format!("{service} is {status} there")));
        }
        let mut cluster =
            ClusterServiceClient::with_origin(Client(Arc::clone(node)), Uri::default())
                .max_decoding_message_size(MAX_ANSWER);
        let topology = cluster
            .get_topology(self.request(pb::GetTopologyRequest {}, key.as_ref()))
            .await?;
        let tables = positions(topology.into_inner().connections);
        if let Some(table) = tables.iter().find(|t| t.version > 0) {
            self.read(node, &table.table, key.as_ref()).await?;
        }
        Ok(tables)
    }

    /// Reads the first row of a table.
    async fn read(
        &self,
        node: &Arc<Node>,
        table: &str,
        key: Option<&Bearer>,
    ) -> Result<(), Status> {
        let mut search = SearchServiceClient::with_origin(Client(Arc::clone(node)), Uri::default())
            .max_decoding_message_size(MAX_ANSWER);
        let scan = pb::ScanRequest {
            table: table.into(),
            page_size: 1,
            ..Default::default()
        };
        match search.scan(self.request(scan, key)).await {
            // Dropped since the node was asked for its tables.
            Err(status) if status.code() == Code::NotFound => Ok(()),
            // What refuses work does work.
            Err(status) if status.code() == Code::ResourceExhausted => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// A request that is known as one of this process: a node that leads back here
    /// is found out.
    fn request<T>(&self, message: T, key: Option<&Bearer>) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.live.load().health.probe_timeout);
        if let Ok(instance) = MetadataValue::try_from(&*self.instance) {
            request.metadata_mut().insert(VIA, instance);
        }
        if let Some(key) = key {
            request.metadata_mut().insert("authorization", key.clone());
        }
        request
    }

    /// What this process shows, where it is to show something.
    async fn key(&self) -> Result<Option<Bearer>, Status> {
        let key = match &self.live.load().nodes.api_key {
            None => return Ok(None),
            Some(key) => key.clone(),
        };
        let text = match key {
            NodeKey::Text(text) => text,
            NodeKey::File(path) => match tokio::fs::read_to_string(&path).await {
                Ok(text) => SecretString::from(text),
                Err(error) => {
                    let problem = format!("nodes.api_key_file cannot be read: {error}");
                    return Err(Status::unauthenticated(problem));
                }
            },
        };
        let mut value = Bearer::try_from(format!("Bearer {}", text.expose_secret().trim()))
            .map_err(|_| Status::unauthenticated("nodes.api_key_file holds no printable key"))?;
        // It is left out where requests are written down.
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn in_words(status: &Status) -> String {
    let reason = status.get_details_error_info().map(|info| info.reason);
    let reason = reason.unwrap_or_else(|| format!("{:?}", status.code()));
    match status.message() {
        "" => reason,
        text => format!("{reason}: {text}"),
    }
}

/// Where the reads of a node are: of each table what the furthest behind of its
/// replicas has or, where it has none that are up, its primary.
fn positions(connections: Vec<pb::ConnectionStatus>) -> Vec<pb::TablePosition> {
    let up = |c: &pb::ConnectionStatus| c.state() == pb::ConnectionState::Up;
    let is_replica = |c: &pb::ConnectionStatus| c.role() == pb::Role::Replica;
    let any = connections.iter().any(|c| up(c) && is_replica(c));
    let mut found = std::collections::BTreeMap::<String, pb::TablePosition>::new();
    let answering = connections
        .into_iter()
        .filter(|c| up(c) && (is_replica(c) || !any));
    for position in answering.flat_map(|c| c.tables) {
        match found.get(&position.table) {
            Some(known) if known.lag_versions >= position.lag_versions => {}
            _ => {
                found.insert(position.table.clone(), position);
            }
        }
    }
    found.into_values().collect()
}

#[cfg(test)]
mod tests;
