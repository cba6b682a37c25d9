//! What a new configuration is handed on to: whoever does not read it anew.

use std::sync::Arc;

use crate::{
    access::Access,
    admission::Quotas,
    config::Config,
    node::Nodes,
    operate::{self, Heed},
    router::Router,
    service::stack::Door,
};

/// The weight of the replicas of this process together, if it has some.
pub(super) fn weight_together(config: &Config) -> Option<u32> {
    let answering = config.replicas.iter().filter(|replica| replica.in_rotation);
    let weights = answering.map(|replica| replica.weight);
    weights.reduce(u32::saturating_add)
}

/// What hands new bindings on, where somebody decides by them.
pub(super) fn of_access(access: Option<&Arc<Access>>) -> Option<Heed> {
    let access = Arc::clone(access?);
    Some(Box::new(move |_, new| {
        if let Some(settings) = &new.access {
            access.heed(settings);
        }
    }))
}

/// Who hears of a new configuration without reading it.
pub(super) fn heeds(
    router: Option<&Arc<Router>>,
    nodes: &Arc<Nodes>,
    door: &Arc<Door>,
    access: Option<&Arc<Access>>,
    quotas: &Arc<Quotas>,
) -> Vec<Heed> {
    let mut heeds: Vec<Heed> = Vec::new();
    if let Some(router) = router.cloned() {
        heeds.push(Box::new(move |old, new| {
            operate::heed(router.pool(), old, new);
        }));
    }
    heeds.extend(of_access(access));
    let door = Arc::clone(door);
    heeds.push(Box::new(move |_, new| {
        door.set(&new.admission, new.limits.max_concurrent_requests);
    }));
    let quotas = Arc::clone(quotas);
    heeds.push(Box::new(move |_, new| quotas.set(new.quotas.clone())));
    let nodes = Arc::clone(nodes);
    heeds.push(Box::new(move |old, new| {
        operate::heed(nodes.pool(), old, new);
        let (before, now) = (weight_together(old), weight_together(new));
        if let (Some(local), Some(weight)) = (nodes.local(), now.filter(|_| before != now)) {
            local.set_weight(weight);
        }
    }));
    heeds
}
