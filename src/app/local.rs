//! What this process serves by itself: its connections, their router, and the tasks
//! that keep them true. There is none where the primary is another node.

use std::sync::Arc;

use super::{sample, tasks::Tasks};
use crate::{
    config::{Config, Live, ReplicaMode},
    connection::{Connection, Events, Primary},
    disk_cache::{DiskCache, OpenError},
    domain::Role,
    node::Nodes,
    router::Router,
    service::{
        shadow::{Shadow, Target},
        stack::Door,
    },
    storage::Sessions,
};

/// Opens the cache on the local disk, where one is configured. It is closed when the
/// tasks end.
pub(super) async fn disk_cache(
    config: &Config,
    tasks: &Tasks,
) -> Result<Option<Arc<DiskCache>>, OpenError> {
    let Some(settings) = &config.disk_cache else {
        return Ok(None);
    };
    let disk = DiskCache::open(&settings.folder, settings.bytes).await?;
    let (open, stop) = (Arc::clone(&disk), tasks.stop());
    tasks.spawn(async move {
        stop.cancelled().await;
        open.close().await;
    });
    Ok(Some(disk))
}

/// Makes the connections, none of them open, and starts what opens and keeps them.
pub(super) fn start(
    config: &Config,
    live: &Live,
    events: &Events,
    tasks: &Tasks,
    disk: Option<Arc<DiskCache>>,
) -> Option<Arc<Router>> {
    let primary = config.primary.location()?.clone();
    let sessions = Arc::new(Sessions::new(config.cache).through(disk));
    let connect = |role, location| Arc::new(Connection::new(role, location, events.clone()));
    let replicas: Vec<_> = config
        .replicas_to_serve()
        .map(|location| {
            let role = match location.in_rotation {
                true => Role::Replica,
                false => Role::Shadow,
            };
            connect(role, location)
        })
        .collect();
    // Also where another process copies to them.
    let managed = config.replicas.iter().zip(&replicas);
    let managed = managed.filter(|(location, _)| location.mode == ReplicaMode::Managed);
    let holders = managed.map(|(_, replica)| Arc::clone(replica)).collect();
    let primary = connect(Role::Primary, primary);
    let primary = Arc::new(Primary::new(primary, holders, config.writes));
    let router = Arc::new(Router::new(
        Arc::clone(&primary),
        replicas.clone(),
        live.clone(),
        events.clone(),
    ));
    for connection in router.connections() {
        tasks.watch(connection, &sessions, live);
    }
    let interval = config.replication.poll_interval;
    tasks.follow(Arc::clone(&primary), events, interval);
    let retention = config.retention.clone();
    let copier = tasks.copier(&primary, events, config.replication, retention);
    if config.replication.enabled {
        tasks.spawn(copier.clone().keep_pruned());
    }
    for replica in &replicas {
        tasks.keep_true(replica, &copier, events, config.replication);
    }
    tasks.spawn(Arc::clone(&router).keep_judging(tasks.stop()));
    tasks.spawn(sample::keep_sampling(
        Arc::clone(&router),
        sessions,
        tasks.stop(),
    ));
    Some(router)
}

/// The reads that are run a second time: at a connection of this process, or at other
/// nodes.
pub(super) fn shadow(
    config: &Config,
    live: &Live,
    router: Option<&Arc<Router>>,
    nodes: &Arc<Nodes>,
    door: &Arc<Door>,
) -> Option<Arc<Shadow>> {
    let shadow = config.shadow.clone()?;
    let target = match nodes.has(&shadow.connection) {
        true => Target::nodes(Arc::clone(nodes)),
        false => {
            let mut connections = router?.connections();
            let named = connections.find(|c| **c.name() == *shadow.connection)?;
            Target::Here {
                connection: Arc::clone(named),
                router: Arc::clone(router?),
            }
        }
    };
    let door = Arc::clone(door);
    Some(Arc::new(Shadow::new(shadow, target, door, live.clone())))
}
