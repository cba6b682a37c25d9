//! The second composition: the replicator as a process of its own, which serves
//! nothing but its metrics and its health.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::future::{BoxFuture, join_all};

use super::{AppError, deep, listen, local, sample, shutdown::Signals, tasks::Tasks};
use crate::{
    config::{Config, ReplicaMode, Replication, Shutdown},
    connection::{Connection, Events, Primary},
    domain::{Role, view::ConnectionState},
    router::Router,
    storage::Sessions,
    telemetry::{
        http::{self, DeepCheck, HttpState, Probes},
        logs, metrics,
    },
};

/// A running replicator.
pub(super) struct Replicator {
    tasks: Tasks,
    shutdown: Shutdown,
}

/// Copies until a signal asks to stop.
///
/// # Errors
/// The HTTP address is taken, or there are no replicas.
pub async fn replicate(config: Config) -> Result<(), AppError> {
    // Held to the end: dropping it sends the last traces.
    let _logs = logs::init(&config.logging)?;
    let signals = Signals::listen().map_err(AppError::Signals)?;
    let replicator = Replicator::start(config).await?;
    replicator.run_until(signals).await;
    Ok(())
}

/// The primary and the replicas to copy to, none of them open. Those that
/// something else copies to are left to it.
pub(super) fn connections(
    config: &Config,
    events: &Events,
) -> Result<(Arc<Primary>, Vec<Arc<Connection>>), AppError> {
    let connect = |role, location| Arc::new(Connection::new(role, location, events.clone()));
    let primary = config.primary.location().ok_or(AppError::RemotePrimary)?;
    let primary = connect(Role::Primary, primary.clone());
    let managed = config.replicas.iter();
    let managed = managed.filter(|location| location.mode == ReplicaMode::Managed);
    let replicas: Vec<_> = managed
        .map(|location| connect(Role::Replica, location.clone()))
        .collect();
    if replicas.is_empty() {
        return Err(AppError::NoReplicas);
    }
    Ok((Arc::new(Primary::new(primary, replicas.clone())), replicas))
}

/// How this process replicates: as configured, but that nothing is warmed where
/// nobody reads.
pub(super) fn options(config: &Config) -> Replication {
    Replication {
        warm_timeout: Duration::ZERO,
        ..config.replication
    }
}

impl Replicator {
    async fn start(config: Config) -> Result<Self, AppError> {
        let recorder = metrics::install(config.metrics.max_table_labels)?;
        let listener = listen("server.http_address", config.server.http_address).await?;
        let address: SocketAddr = local("server.http_address", &listener)?;

        let sessions = Arc::new(Sessions::new(config.cache));
        let events = Events::default();
        let (primary, replicas) = connections(&config, &events)?;
        let router = Arc::new(Router::new(
            Arc::clone(&primary),
            replicas.clone(),
            config.freshness.clone(),
            config.pool.clone(),
            events.clone(),
        ));

        let tasks = Tasks::new();
        for connection in router.connections() {
            tasks.watch(connection, &sessions, config.health);
        }
        let interval = config.replication.poll_interval;
        tasks.follow(Arc::clone(&primary), &events, interval);
        let retention = config.retention.clone();
        let copier = tasks.copier(&primary, &events, options(&config), retention);
        tasks.spawn(copier.clone().keep_pruned());
        for replica in &replicas {
            tasks.keep_true(replica, &copier, &events, options(&config));
        }
        tasks.spawn(sample::keep_sampling(
            Arc::clone(&router),
            Arc::clone(&sessions),
            tasks.stop(),
        ));
        let (upkeep, stop_upkeep) = (recorder.clone(), tasks.stop());
        tasks.spawn(async move { upkeep.run_upkeep(stop_upkeep).await });
        let state = HttpState {
            recorder,
            probes: Arc::new(ReplicatorProbes { router }),
        };
        let stop_http = tasks.stop();
        tasks.spawn(async move {
            if let Err(error) = http::serve(listener, state, stop_http).await {
                tracing::error!(%error, "the HTTP server stopped");
            }
        });
        tracing::info!(http = %address, replicas = replicas.len(), "replicating");
        Ok(Self {
            tasks,
            shutdown: config.shutdown,
        })
    }

    /// Copies until a signal comes. What is being copied then is finished, for at
    /// most the time to drain; a second signal ends it at once.
    async fn run_until(self, mut signals: Signals) {
        let name = signals.next().await;
        tracing::info!(signal = name, "stopping");
        tokio::select! {
            ended = tokio::time::timeout(self.shutdown.drain, self.tasks.finish()) => match ended {
                Ok(()) => tracing::info!("stopped"),
                Err(_) => tracing::warn!("stopped while copying: the next start goes on from there"),
            },
            name = signals.next() => tracing::warn!(signal = name, "stopping at once"),
        }
    }
}

/// Answers the probes of the HTTP port.
struct ReplicatorProbes {
    router: Arc<Router>,
}

impl Probes for ReplicatorProbes {
    fn ready(&self) -> Vec<(&'static str, bool)> {
        let is_up = |c: &Arc<Connection>| c.state() == ConnectionState::Up;
        vec![
            ("primary", self.router.primary().connection().serves()),
            ("replicas", self.router.replicas().iter().all(is_up)),
        ]
    }

    fn deep(&self) -> BoxFuture<'_, Vec<DeepCheck>> {
        Box::pin(async move { join_all(self.router.connections().map(|c| deep::check(c))).await })
    }
}
