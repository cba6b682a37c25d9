//! One other node: its connections, and what is known of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::SystemTime,
};

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use http::{Request, Response, Uri, uri::Authority};
use hyper::body::Incoming;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tonic::body::Body;

use super::channels::{Channels, OnChannel, SendError};
use crate::{
    config::{NodeAddress, NodeSettings},
    domain::{Role, view::ConnectionState},
    pool::Member,
    proto::v1 as pb,
    transport::Named,
};

/// Another lancegate process that answers reads, or takes writes.
pub struct Node {
    name: Arc<str>,
    group: Arc<str>,
    role: Role,
    /// How it stands among those that answer reads.
    member: Arc<Member>,
    channels: Arc<Channels>,
    authority: Authority,
    status: ArcSwap<NodeStatus>,
    reads: AtomicU64,
    /// Somebody had trouble with it: whoever probes it looks at once.
    trouble: Notify,
    changes: watch::Sender<u64>,
}

/// What the probes found.
#[derive(Debug, Clone)]
pub struct NodeStatus {
    pub state: ConnectionState,
    pub since: SystemTime,
    /// What went wrong last, and when.
    pub last_error: Option<(String, SystemTime)>,
    /// Where its tables are, as it says itself.
    pub tables: Vec<pb::TablePosition>,
}

/// What a node is told apart by.
pub(super) struct Identity {
    pub name: String,
    /// The connection of the configuration that it was found by.
    pub group: Arc<str>,
    pub role: Role,
    pub address: NodeAddress,
    /// `None`: plaintext.
    pub tls: Option<Named>,
    pub weight: u32,
    pub zone: Option<String>,
}

/// An answer, with the call that it belongs to.
pub struct Answer {
    pub response: Response<Incoming>,
    /// Held to the end of the answer.
    pub call: OnChannel,
}

impl Node {
    /// A node that nothing is known of yet. `changes` is told when its state does.
    pub(super) fn new(
        identity: Identity,
        settings: NodeSettings,
        changes: watch::Sender<u64>,
    ) -> Self {
        let Identity {
            name,
            group,
            role,
            address,
            tls,
            weight,
            zone,
        } = identity;
        let name: Arc<str> = name.into();
        let zone = zone.map(Arc::from);
        // Down until a probe finds it up, and then not at full load at once.
        let member = Member::joining(Arc::clone(&name), zone, weight, Instant::now());
        let member = member.measured_as(Arc::clone(&group));
        // An address was checked to be a host and a port.
        let authority = Authority::try_from(address.to_string())
            .unwrap_or_else(|_| Authority::from_static("node"));
        Self {
            name,
            group,
            role,
            member: Arc::new(member),
            channels: Arc::new(Channels::new(address, tls, settings)),
            authority,
            status: ArcSwap::from_pointee(NodeStatus {
                state: ConnectionState::Connecting,
                since: SystemTime::now(),
                last_error: None,
                tables: Vec::new(),
            }),
            reads: AtomicU64::new(0),
            trouble: Notify::new(),
            changes,
        }
    }

    /// Its name: that of the configuration, or with its address where several share
    /// that one.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The name of the configuration alone: a label of metrics.
    pub fn group(&self) -> &Arc<str> {
        &self.group
    }

    /// What it is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// How it stands among those that answer reads.
    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Where it listens.
    pub fn address(&self) -> &NodeAddress {
        self.channels.address()
    }

    /// What the probes found last.
    pub fn status(&self) -> Arc<NodeStatus> {
        self.status.load_full()
    }

    /// Whether it can be used.
    pub fn state(&self) -> ConnectionState {
        self.status.load().state
    }

    /// Counts an answered read.
    pub fn count_read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads answered since it was found.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Sends a call, whose path and headers are the caller's. Dropping the future
    /// or the answer cancels the call.
    ///
    /// # Errors
    /// No connection, or one that was lost before the head of the answer.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Answer, SendError> {
        *request.version_mut() = http::Version::HTTP_2;
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(self.channels.scheme());
        parts.authority = Some(self.authority.clone());
        // With all three parts there is nothing that could be wrong.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        let (response, call) = self.channels.send(request).await?;
        Ok(Answer { response, call })
    }

    /// Notes an error that does not change the state.
    pub fn note_error(&self, error: &str) {
        let mut status = NodeStatus::clone(&self.status.load());
        status.last_error = Some((error.to_owned(), SystemTime::now()));
        self.status.store(Arc::new(status));
        self.trouble.notify_one();
    }

    /// Wakes when somebody had trouble with it.
    pub(super) async fn trouble(&self) {
        self.trouble.notified().await;
    }

    /// Which version of a table its reads see, as the last probe found it.
    pub fn version(&self, table: &str) -> Option<u64> {
        let status = self.status.load();
        let position = status.tables.iter().find(|t| t.table == table)?;
        (position.version > 0).then_some(position.version)
    }

    /// Notes what a probe found. Answers whether its state changed.
    pub(super) fn set(
        &self,
        state: ConnectionState,
        error: Option<&str>,
        tables: Option<Vec<pb::TablePosition>>,
    ) -> bool {
        let old = self.status.load_full();
        let now = SystemTime::now();
        let changed = old.state != state;
        let last_error = error.map(|text| (text.to_owned(), now));
        self.status.store(Arc::new(NodeStatus {
            state,
            since: if changed { now } else { old.since },
            last_error: last_error.or_else(|| old.last_error.clone()),
            tables: tables.unwrap_or_else(|| old.tables.clone()),
        }));
        let (up, now) = (state == ConnectionState::Up, Instant::now());
        self.member.set_up(up, now);
        if up && error.is_none() {
            self.member.probed(now);
        }
        if changed {
            self.changes.send_modify(|n| *n += 1);
        }
        changed
    }
}

/// A node as the generated clients take it.
#[derive(Clone)]
pub struct Client(pub Arc<Node>);

impl tower::Service<Request<Body>> for Client {
    type Response = Response<Incoming>;
    type Error = SendError;
    type Future = BoxFuture<'static, Result<Self::Response, SendError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let node = Arc::clone(&self.0);
        // Calls that come this way are few: their place on the connection is not
        // counted to the end.
        Box::pin(async move { Ok(node.send(request).await?.response) })
    }
}
