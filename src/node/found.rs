//! Nodes that come and go: a task for each connection of the configuration finds
//! those behind it again and again, and keeps the lists of [`Nodes`].

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    Node, Nodes, Within,
    discovery::{Found, discover},
    remote::Identity,
};
use crate::{
    config::{Discovery, NodeReplica},
    domain::Role,
    transport::{ClientTls, Named},
};

/// The longest between two looks at a file of nodes: reading it costs nothing.
const LOOK_AT_FILE: Duration = Duration::from_secs(1);

/// The nodes behind one connection of the configuration.
pub(super) struct Group {
    replica: NodeReplica,
    pub name: Arc<str>,
}

impl Group {
    pub(super) fn new(replica: NodeReplica) -> Self {
        Self {
            name: replica.name.as_str().into(),
            replica,
        }
    }

    /// Whether clients' reads go there.
    pub(super) fn is_in_rotation(&self) -> bool {
        self.replica.in_rotation
    }

    fn role(&self) -> Role {
        match self.replica.in_rotation {
            true => Role::Replica,
            false => Role::Shadow,
        }
    }

    /// How one of them is talked to. Certificates have the name that was looked up,
    /// not the address that was found by it.
    fn tls(&self, tls: Option<&ClientTls>, host: &str) -> Option<Named> {
        let host = match &self.replica.discovery {
            Discovery::Dns(name) => &name.host,
            Discovery::Static(_) | Discovery::File(_) => host,
        };
        talked_to(self.replica.tls, tls, host)
    }
}

/// How a node at this host is talked to: `None`: in plaintext. What is to have TLS
/// makes sure that there is a `tls`.
pub(super) fn talked_to(secure: bool, tls: Option<&ClientTls>, host: &str) -> Option<Named> {
    tls.filter(|_| secure).map(|tls| tls.named(host))
}

/// A node that is there, as it was found last.
#[derive(Clone)]
pub(super) struct Entry {
    found: Found,
    pub node: Arc<Node>,
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

impl Nodes {
    /// Looks again and again, where what is found can change, and when another
    /// configuration holds.
    pub(super) async fn keep_finding(&self, index: usize, within: Within) {
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
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
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
        let (replicas, shadows): (Vec<_>, Vec<_>) =
            all.partition(|node| node.role() == Role::Replica);
        let members = replicas.iter().map(|node| Arc::clone(node.member()));
        let members = members.chain(self.local.clone()).collect();
        // In this order: a member that is picked is one of a known node.
        self.replicas.store(Arc::new(replicas));
        self.shadows.store(Arc::new(shadows));
        self.pool.set_members(members);
        self.changes.send_modify(|n| *n += 1);
    }

    fn join(&self, group: &Group, found: Found, within: &Within) -> Entry {
        tracing::info!(node = %found.name, "node found");
        let identity = Identity {
            name: found.name.clone(),
            group: Arc::clone(&group.name),
            role: group.role(),
            tls: group.tls(self.tls.as_ref(), &found.address.host),
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
