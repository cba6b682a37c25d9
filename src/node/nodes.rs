//! All other nodes that this process knows: what is asked of them together.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Node,
    found::{Entry, Group, talked_to},
    probe::Prober,
    remote::Identity,
};
use crate::{
    config::{self, Live, NodePrimary, NodeSettings},
    domain::{Role, view::ConnectionState},
    pool::{Member, Pool},
    transport::ClientTls,
};

/// The name of the replicas of this process among the members.
const LOCAL: &str = "local";

/// How often the members are compared while no answer comes in.
const JUDGE: Duration = Duration::from_millis(100);

/// The other nodes. Requests read the lists and never write them.
pub struct Nodes {
    pub(super) instance: Arc<str>,
    pub(super) settings: NodeSettings,
    pub(super) live: Live,
    pub(super) primary: Option<Arc<Node>>,
    pub(super) groups: Vec<Group>,
    /// By group. Locked while the lists below are written, which follow from it.
    pub(super) known: Mutex<Vec<Vec<Entry>>>,
    /// All nodes that answer reads, in the order of the configuration.
    pub(super) replicas: ArcSwap<Vec<Arc<Node>>>,
    /// Those out of rotation, which only shadow reads go to.
    pub(super) shadows: ArcSwap<Vec<Arc<Node>>>,
    /// Those that answer reads as members, and what is read in this process as one
    /// of them.
    pub(super) pool: Pool,
    pub(super) local: Option<Arc<Member>>,
    pub(super) changes: watch::Sender<u64>,
    /// For those that have TLS.
    pub(super) tls: Option<ClientTls>,
}

/// What the tasks of the nodes run in, and what ends them.
#[derive(Clone)]
pub struct Within {
    pub tracker: TaskTracker,
    pub stop: CancellationToken,
}

impl Nodes {
    /// Those of the configuration that `live` holds. None is known yet. `local` is
    /// the weight of the replicas of this process together, where it has some;
    /// `pool` has no members; without `tls` none of them has TLS.
    pub fn new(
        primary: Option<NodePrimary>,
        local: Option<u32>,
        pool: Pool,
        live: Live,
        tls: Option<ClientTls>,
    ) -> Self {
        let config::Nodes {
            replicas, settings, ..
        } = live.load().nodes.clone();
        let changes = watch::Sender::new(0);
        let local = local.map(|weight| {
            let member = Member::new(LOCAL.into(), None, weight, Instant::now());
            Arc::new(member)
        });
        pool.set_members(local.iter().cloned().collect());
        let primary = primary.map(|primary| {
            let identity = Identity {
                group: primary.name.as_str().into(),
                name: primary.name,
                role: Role::Primary,
                tls: talked_to(primary.tls, tls.as_ref(), &primary.address.host),
                address: primary.address,
                weight: 1,
                zone: None,
            };
            Arc::new(Node::new(identity, settings, changes.clone()))
        });
        let groups: Vec<_> = replicas.into_iter().map(Group::new).collect();
        Self {
            instance: uuid::Uuid::new_v4().simple().to_string().into(),
            settings,
            live,
            primary,
            known: Mutex::new(vec![Vec::new(); groups.len()]),
            groups,
            replicas: ArcSwap::default(),
            shadows: ArcSwap::default(),
            pool,
            local,
            changes,
            tls,
        }
    }

    /// Whether there can be none.
    pub fn is_empty(&self) -> bool {
        self.primary.is_none() && self.groups.is_empty()
    }

    /// Whether reads may go to nodes.
    pub fn answer_reads(&self) -> bool {
        self.groups.iter().any(Group::is_in_rotation)
    }

    /// What this process is told apart by: of its own start alone.
    pub fn instance(&self) -> &Arc<str> {
        &self.instance
    }

    /// How nodes are talked to.
    pub fn settings(&self) -> NodeSettings {
        self.settings
    }

    /// The node that is the primary, where it is one.
    pub fn primary(&self) -> Option<&Arc<Node>> {
        self.primary.as_ref()
    }

    /// The nodes that answer reads, as they are known now.
    pub fn replicas(&self) -> Arc<Vec<Arc<Node>>> {
        self.replicas.load_full()
    }

    /// Those that answer reads, as members.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The replicas of this process, as one member.
    pub fn local(&self) -> Option<&Arc<Member>> {
        self.local.as_ref()
    }

    /// Every node: the primary, the replicas, and those out of rotation.
    pub fn all(&self) -> Vec<Arc<Node>> {
        let (replicas, shadows) = (self.replicas(), self.shadows.load());
        let all = self.primary.iter().chain(replicas.iter());
        all.chain(shadows.iter()).cloned().collect()
    }

    /// Whether a connection of the configuration stands for nodes.
    pub fn has(&self, connection: &str) -> bool {
        let primary = self.primary.iter().map(|node| node.group());
        let mut all = primary.chain(self.groups.iter().map(|group| &group.name));
        all.any(|name| **name == *connection)
    }

    /// The nodes behind a connection of the configuration, as they are known now.
    pub fn of(&self, connection: &str) -> Vec<Arc<Node>> {
        let mut all = self.all();
        all.retain(|node| **node.group() == *connection);
        all
    }

    /// The state of each node, by the connection of the configuration that it was
    /// found by.
    pub fn states(&self) -> Vec<(Arc<str>, Vec<ConnectionState>)> {
        let primary = self.primary.iter();
        let primary = primary.map(|node| (Arc::clone(node.group()), vec![node.state()]));
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let groups = self.groups.iter().zip(known.iter()).map(|(group, known)| {
            let states = known.iter().map(|entry| entry.node.state()).collect();
            (Arc::clone(&group.name), states)
        });
        primary.chain(groups).collect()
    }

    /// How much of its share of the reads each connection that is in rotation gets, in
    /// percent: of one that stands for several nodes their mean.
    pub fn shares(&self, now: Instant) -> Vec<(Arc<str>, u32)> {
        let slow_start = self.pool.settings().outlier.slow_start;
        let replicas = self.replicas();
        let in_rotation = self.groups.iter().filter(|group| group.is_in_rotation());
        let shares = in_rotation.map(|group| {
            let nodes = replicas.iter().filter(|node| *node.group() == group.name);
            let (mut count, mut sum) = (0, 0);
            for node in nodes {
                count += 1;
                sum += node.member().standing(now, slow_start).percent();
            }
            (Arc::clone(&group.name), sum / count.max(1))
        });
        shares.collect()
    }

    /// Whether a node answers reads. The primary does too, when no replica can.
    pub fn serve_reads(&self) -> bool {
        let replicas = self.replicas();
        let mut answering = self.primary.iter().chain(replicas.iter());
        answering.any(|n| n.state() == ConnectionState::Up)
    }

    /// Whether the node that is the primary is up.
    pub fn serve_writes(&self) -> bool {
        let primary = self.primary.as_ref();
        primary.is_some_and(|n| n.state() == ConnectionState::Up)
    }

    /// Wakes when a node comes, goes, or changes its state.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Starts to find and to probe them.
    pub fn start(self: &Arc<Self>, within: &Within) {
        if let Some(primary) = &self.primary {
            self.watch(Arc::clone(primary), within, within.stop.clone());
        }
        let (nodes, stop) = (Arc::clone(self), within.stop.clone());
        within
            .tracker
            .spawn(async move { nodes.keep_judging(stop).await });
        for index in 0..self.groups.len() {
            let (nodes, within_) = (Arc::clone(self), within.clone());
            within
                .tracker
                .spawn(async move { nodes.keep_finding(index, within_).await });
        }
    }

    async fn keep_judging(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(JUDGE) => self.pool.judge(Instant::now()),
                () = stop.cancelled() => return,
            }
        }
    }

    fn prober(&self) -> Prober {
        Prober {
            live: self.live.clone(),
            instance: Arc::clone(&self.instance),
        }
    }

    /// Asks a node now whether it serves, with a real read.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub async fn check(&self, node: &Arc<Node>) -> Result<(), String> {
        self.prober().probe(node).await.map(drop)
    }

    pub(super) fn watch(&self, node: Arc<Node>, within: &Within, stop: CancellationToken) {
        let prober = self.prober();
        within
            .tracker
            .spawn(async move { prober.watch(&node, &stop).await });
    }
}
