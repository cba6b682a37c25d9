//! Where shadow reads go: to a connection of this process, or to other nodes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::Uri;
use tonic::{
    Code, Request, Status,
    metadata::{MetadataMap, MetadataValue},
};
use tonic_types::StatusExt;

use super::{
    Outcome,
    seen::{Seen, rows},
};
use crate::{
    config::{Limits, failpoint},
    connection::Connection,
    domain::{Position, view::ConnectionState},
    node::{Client, Node, Nodes, SHADOW, VIA},
    proto::v1::{self as pb, search_service_client::SearchServiceClient},
    router::Router,
    service::stack::PRIORITY,
    storage::{Rows, Rules},
    wire,
};

const NOT_UP: Outcome = Outcome::Skipped("the connection is not up");
const NO_VERSION: Outcome = Outcome::Skipped("the connection has not this version");
const ANOTHER: Outcome = Outcome::Skipped("the connection has another creation of the table");

/// Where shadow reads go.
pub enum Target {
    /// A connection of this process. The router knows what tokens say.
    Here {
        connection: Arc<Connection>,
        router: Arc<Router>,
    },
    /// The nodes behind a connection of the configuration, in turn.
    Nodes(Arc<Nodes>, AtomicU64),
}

impl Target {
    /// The nodes behind a connection.
    pub fn nodes(nodes: Arc<Nodes>) -> Self {
        Self::Nodes(nodes, AtomicU64::new(0))
    }

    /// What the connection of this name answers at the very version that was answered
    /// before.
    ///
    /// # Errors
    /// What came of the shadow read instead.
    pub(super) async fn ask(
        &self,
        name: &str,
        seen: &Seen,
        (limits, rules): (&Limits, &Rules),
        timeout: Duration,
    ) -> Result<Rows, Outcome> {
        match self {
            Self::Here { connection, router } => {
                let Some(position) = position(seen, connection, router) else {
                    return Err(ANOTHER);
                };
                ask_here(connection, seen, position, (limits, rules)).await
            }
            Self::Nodes(nodes, turns) => {
                let mut up = nodes.of(name);
                up.retain(|node| node.state() == ConnectionState::Up);
                // Fits: it is below the number of nodes.
                let turn = turns.fetch_add(1, Ordering::Relaxed) % up.len().max(1) as u64;
                let node = up.get(turn as usize).ok_or(NOT_UP)?;
                ask_node(node, nodes.instance(), seen, limits, timeout).await
            }
        }
    }
}

/// Which version of which table answered, if this connection has one of the same
/// creation.
fn position(seen: &Seen, connection: &Connection, router: &Router) -> Option<Position> {
    let opened = || router.token_key()?.open(&seen.table, &seen.token).ok();
    let position = seen.position.or_else(opened)?;
    let here = connection.catalog().position(&seen.table)?;
    (here.incarnation == position.incarnation).then_some(position)
}

async fn ask_here(
    connection: &Connection,
    seen: &Seen,
    position: Position,
    (limits, rules): (&Limits, &Rules),
) -> Result<Rows, Outcome> {
    if connection.state() != ConnectionState::Up {
        return Err(NOT_UP);
    }
    let snapshot = match connection.snapshot_at(&seen.table, position.version).await {
        Ok(snapshot) if snapshot.position() == position => snapshot,
        _ => return Err(NO_VERSION),
    };
    if failpoint::breaks("shadow-hangs") {
        std::future::pending::<()>().await;
    }
    let again = async {
        let search = wire::query::search(seen.request.query.clone(), limits)?;
        let snapshot = match failpoint::breaks("access:shadow") {
            true => snapshot,
            false => snapshot.seen_by(&seen.scope)?,
        };
        let found = snapshot.search(&search, rules).await?;
        found.collect(limits.max_response_bytes).await
    };
    again
        .await
        .map_err(|_| Outcome::Failed("the search failed"))
}

async fn ask_node(
    node: &Arc<Node>,
    instance: &str,
    seen: &Seen,
    limits: &Limits,
    timeout: Duration,
) -> Result<Rows, Outcome> {
    let mut client = SearchServiceClient::with_origin(Client(Arc::clone(node)), Uri::default())
        .max_decoding_message_size(limits.max_response_bytes);
    let mut request = Request::new(pb::SearchRequest {
        freshness: Some(exactly(seen.version)),
        ..seen.request.clone()
    });
    say(request.metadata_mut(), instance, seen);
    request.set_timeout(timeout);
    let answer = client.search(request).await;
    let answer = answer.map_err(|status| refused(&status))?.into_inner();
    let served = answer.served.unwrap_or_default();
    if served.version != seen.version {
        return Err(NO_VERSION);
    }
    // Of one position there is one token.
    let tokens = [&seen.token, &served.token];
    if tokens.iter().all(|token| !token.is_empty()) && seen.token != served.token {
        return Err(ANOTHER);
    }
    rows(answer.rows).ok_or(Outcome::Failed("the answer cannot be read"))
}

fn exactly(version: u64) -> pb::Freshness {
    use pb::{exact_version::Version, freshness::Kind};
    let version = Some(Version::Number(version));
    pb::Freshness {
        kind: Some(Kind::Exact(pb::ExactVersion { version })),
    }
}

/// Where the request came through, that it is a shadow read, which nobody waits for,
/// and who asked first. What the client said of freshness is not repeated: the
/// version is.
fn say(metadata: &mut MetadataMap, instance: &str, seen: &Seen) {
    if let Ok(instance) = MetadataValue::try_from(instance) {
        metadata.insert(VIA, instance);
    }
    metadata.insert(SHADOW, MetadataValue::from_static("1"));
    metadata.insert(PRIORITY, MetadataValue::from_static("batch"));
    seen.credentials.show(metadata);
}

/// What came of a shadow read that a node refused.
fn refused(status: &Status) -> Outcome {
    let reason = status.get_details_error_info().map(|info| info.reason);
    match (status.code(), reason.as_deref()) {
        (Code::NotFound, Some("VERSION_NOT_FOUND" | "TABLE_NOT_FOUND"))
        | (Code::FailedPrecondition, Some("VERSION_PRUNED")) => NO_VERSION,
        (Code::ResourceExhausted, _) => Outcome::Skipped("the node has too much to do"),
        (Code::DeadlineExceeded, _) => Outcome::Failed("no answer in time"),
        _ => Outcome::Failed("the search failed"),
    }
}
