//! All other nodes that this process knows: found, watched, and let go of.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Node,
    discovery::{Found, discover},
    probe::Prober,
    remote::Identity,
};
use crate::{
    config::{self, Discovery, Live, NodePrimary, NodeReplica, NodeSettings},
    domain::{Role, view::ConnectionState},
    pool::{Member, Pool},
};

/// The name of the replicas of this process among the members.
const LOCAL: &str = "local";

/// How often the members are compared while no answer comes in.
const JUDGE: Duration = Duration::from_millis(100);

/// The longest between two looks at a file of nodes: reading it costs nothing.
const LOOK_AT_FILE: Duration = Duration::from_secs(1);

/// The other nodes. Requests read the list and never write it.
pub struct Nodes {
    instance: Arc<str>,
    settings: NodeSettings,
    live: Live,
    primary: Option<Arc<Node>>,
    groups: Vec<Group>,
    /// By group. Locked while the list below is written, which follows from it.
    known: Mutex<Vec<Vec<Entry>>>,
    /// All nodes that answer reads, in the order of the configuration.
    replicas: ArcSwap<Vec<Arc<Node>>>,
    /// The same as members, and what is read in this process as one of them.
    pool: Pool,
    local: Option<Arc<Member>>,
    changes: watch::Sender<u64>,
}

/// The nodes behind one connection of the configuration.
struct Group {
    replica: NodeReplica,
    name: Arc<str>,
}

#[derive(Clone)]
struct Entry {
    found: Found,
    node: Arc<Node>,
    /// Ends the probes.
    leave: CancellationToken,
}

impl Entry {
    /// The same node where it was found again. A weight that an operator has set
    /// stays, unless there is another one to go by.
    fn with(self, found: Found) -> Self {
        let member = self.node.member();
        if self.found.weight != found.weight {
            member.set_weight(found.weight);
        }
        if self.found.zone != found.zone {
            member.set_zone(found.zone.as_deref().map(Arc::from));
        }
        Self { found, ..self }
    }
}

/// What the tasks of the nodes run in, and what ends them.
#[derive(Clone)]
pub struct Within {
    pub tracker: TaskTracker,
    pub stop: CancellationToken,
}

impl Nodes {
    /// Those of the configuration that `live` holds. None is known yet. `local` is the weight of the
    /// replicas of this process together, where it has some; `pool` has no members.
    pub fn new(primary: Option<NodePrimary>, local: Option<u32>, pool: Pool, live: Live) -> Self {
        let config::Nodes { replicas, settings } = live.load().nodes.clone();
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
                address: primary.address,
                weight: 1,
                zone: None,
            };
            Arc::new(Node::new(identity, settings, changes.clone()))
        });
        let groups = replicas.into_iter().map(|replica| Group {
            name: replica.name.as_str().into(),
            replica,
        });
        let groups: Vec<_> = groups.collect();
        Self {
            instance: uuid::Uuid::new_v4().simple().to_string().into(),
            settings,
            live,
            primary,
            known: Mutex::new(vec![Vec::new(); groups.len()]),
            groups,
            replicas: ArcSwap::default(),
            pool,
            local,
            changes,
        }
    }

    /// Whether there can be none.
    pub fn is_empty(&self) -> bool {
        self.primary.is_none() && self.groups.is_empty()
    }

    /// Whether reads may go to nodes.
    pub fn answer_reads(&self) -> bool {
        !self.groups.is_empty()
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

    /// Every node: the primary, then the replicas.
    pub fn all(&self) -> Vec<Arc<Node>> {
        let replicas = self.replicas();
        self.primary
            .iter()
            .chain(replicas.iter())
            .cloned()
            .collect()
    }

    /// The state of each node, by the connection of the configuration that it was
    /// found by.
    pub fn states(&self) -> Vec<(Arc<str>, Vec<ConnectionState>)> {
        let primary = self.primary.iter();
        let primary = primary.map(|node| (Arc::clone(node.group()), vec![node.state()]));
        let known = lock(&self.known);
        let groups = self.groups.iter().zip(known.iter()).map(|(group, known)| {
            let states = known.iter().map(|entry| entry.node.state()).collect();
            (Arc::clone(&group.name), states)
        });
        primary.chain(groups).collect()
    }

    /// Whether a node answers reads. The primary does too, when no replica can.
    pub fn serve_reads(&self) -> bool {
        self.all().iter().any(|n| n.state() == ConnectionState::Up)
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
            let (nodes, node) = (Arc::clone(self), Arc::clone(primary));
            nodes.watch(node, within, within.stop.clone());
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

    fn watch(&self, node: Arc<Node>, within: &Within, stop: CancellationToken) {
        let prober = self.prober();
        within
            .tracker
            .spawn(async move { prober.watch(&node, &stop).await });
    }

    /// Looks again and again, where what is found can change, and when another
    /// configuration holds.
    async fn keep_finding(&self, index: usize, within: Within) {
        let group = &self.groups[index];
        let pause = match group.replica.discovery {
            Discovery::File(_) => self.settings.resolve_interval.min(LOOK_AT_FILE),
            Discovery::Static(_) | Discovery::Dns(_) => self.settings.resolve_interval,
        };
        let (mut failed, mut changes) = (None, self.live.changes());
        loop {
            // Its share and its zone may have changed.
            let replica = self.live.load().nodes.replicas.get(index).cloned();
            let replica = replica.unwrap_or_else(|| group.replica.clone());
            match discover(&replica).await {
                Ok(found) => {
                    failed = None;
                    self.take(index, found, &within);
                }
                Err(error) => {
                    // Told once, and the nodes of before stay.
                    let error = error.to_string();
                    if failed.as_ref() != Some(&error) {
                        tracing::warn!(connection = %group.name, %error, "nodes cannot be looked up");
                    }
                    failed = Some(error);
                }
            }
            let may_change = !matches!(group.replica.discovery, Discovery::Static(_));
            tokio::select! {
                () = tokio::time::sleep(pause), if may_change => {}
                Ok(()) = changes.changed() => {}
                () = within.stop.cancelled() => return,
            }
        }
    }

    /// Takes what was found now: who is new is probed, who is not there any more
    /// gets no new calls.
    fn take(&self, index: usize, found: Vec<Found>, within: &Within) {
        let mut known = lock(&self.known);
        let before = std::mem::take(&mut known[index]);
        let is_same = before.len() == found.len()
            && before
                .iter()
                .zip(&found)
                .all(|(old, new)| old.found == *new);
        if is_same {
            known[index] = before;
            return;
        }
        let mut old: HashMap<String, Entry> = before
            .into_iter()
            .map(|entry| (entry.found.name.clone(), entry))
            .collect();
        for found in found {
            let entry = match old.remove(&found.name) {
                Some(entry) => entry.with(found),
                None => self.join(&self.groups[index], found, within),
            };
            known[index].push(entry);
        }
        for (name, entry) in old {
            tracing::info!(node = %name, "node left");
            entry.leave.cancel();
        }
        let all = known.iter().flatten().map(|entry| Arc::clone(&entry.node));
        let all: Vec<_> = all.collect();
        let members = all.iter().map(|node| Arc::clone(node.member()));
        let members = members.chain(self.local.clone()).collect();
        // In this order: a member that is picked is one of a known node.
        self.replicas.store(Arc::new(all));
        self.pool.set_members(members);
        self.changes.send_modify(|n| *n += 1);
    }

    fn join(&self, group: &Group, found: Found, within: &Within) -> Entry {
        tracing::info!(node = %found.name, "node found");
        let identity = Identity {
            name: found.name.clone(),
            group: Arc::clone(&group.name),
            role: Role::Replica,
            address: found.address.clone(),
            weight: found.weight,
            zone: found.zone.clone(),
        };
        let node = Arc::new(Node::new(identity, self.settings, self.changes.clone()));
        let leave = within.stop.child_token();
        self.watch(Arc::clone(&node), within, leave.clone());
        Entry { found, node, leave }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
