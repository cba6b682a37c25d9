//! The second composition: the replicator as a process of its own, which serves
//! nothing but its metrics and its health.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::future::{BoxFuture, join_all};

use super::{
    AppError, deep,
    hangup::Hangups,
    heed,
    ports::{listen, listener, local},
    sample,
    shutdown::Signals,
    tasks::Tasks,
    visitors::Visitors,
};
use crate::{
    access::Access,
    config::{Config, Live, ReplicaMode, Replication, Sources},
    connection::{Connection, Events, Primary},
    domain::{Role, view::ConnectionState},
    operate::{Origin, Reloader},
    router::Router,
    storage::Sessions,
    telemetry::{
        audit::AuditLog,
        http::{self, DeepCheck, HttpState, Probes},
        logs, metrics,
    },
    transport::{self, Protocol},
};

/// A running replicator.
pub(super) struct Replicator {
    tasks: Tasks,
    live: Live,
    access: Option<Arc<Access>>,
}

/// Copies until a signal asks to stop. SIGHUP makes it read `sources`, which
/// `config` was loaded from, again.
///
/// # Errors
/// The HTTP address is taken, or there are no replicas.
pub async fn replicate(config: Config, sources: Sources) -> Result<(), AppError> {
    // First of all: before it is listened for, SIGHUP would end the process.
    let hangups = Hangups::listen().map_err(AppError::Signals)?;
    let signals = Signals::listen().map_err(AppError::Signals)?;
    // Held to the end: dropping it sends the last traces.
    let logs = logs::init(&config.logging)?;
    let log = Some(logs.filter());
    let audit = AuditLog::open(&config.audit)?;
    let replicator = Replicator::start(config, audit.clone()).await?;
    let origin = Some(Origin { sources, log });
    let heeds = heed::of_access(replicator.access.as_ref())
        .into_iter()
        .collect();
    let reloader = Arc::new(Reloader::new(replicator.live.clone(), origin, heeds));
    let tasks = &replicator.tasks;
    let access = replicator.access.clone();
    tasks.spawn(hangups.reload(reloader, access, audit.clone(), tasks.stop()));
    replicator.run_until(signals).await;
    audit.flush().await;
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
    Ok((
        Arc::new(Primary::new(primary, replicas.clone(), config.writes)),
        replicas,
    ))
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
    async fn start(config: Config, audit: AuditLog) -> Result<Self, AppError> {
        let recorder = metrics::install(config.metrics.max_table_labels)?;
        let access = match config.access.clone() {
            Some(settings) => Some(Access::start(settings).await?),
            None => None,
        };
        let http = listen("server.http_address", config.server.http_address).await?;
        let address: SocketAddr = local("server.http_address", &http)?;

        let live = Live::new(config.clone());
        let sessions = Arc::new(Sessions::new(config.cache));
        let events = Events::default();
        let (primary, replicas) = connections(&config, &events)?;
        let router = Arc::new(Router::new(
            Arc::clone(&primary),
            replicas.clone(),
            live.clone(),
            events.clone(),
        ));

        let tasks = Tasks::new();
        let listener = listener(
            http,
            Protocol::Http,
            config.server.http_tls.as_ref(),
            &audit,
            &tasks,
        )?;
        for connection in router.connections() {
            tasks.watch(connection, &sessions, &live);
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
        if let Some(access) = access.clone() {
            tasks.spawn(access.keep_current(tasks.stop()));
        }
        let (upkeep, stop_upkeep) = (recorder.clone(), tasks.stop());
        tasks.spawn(async move { upkeep.run_upkeep(stop_upkeep).await });
        let state = HttpState {
            recorder,
            probes: Arc::new(ReplicatorProbes { router }),
            visitors: Arc::new(Visitors::new(live.clone(), access.clone(), audit)),
        };
        let (stop_http, live_http) = (tasks.stop(), live.clone());
        tasks.spawn(async move {
            transport::serve(listener, http::router(state), live_http, stop_http).await;
        });
        tracing::info!(http = %address, replicas = replicas.len(), "replicating");
        Ok(Self {
            tasks,
            live,
            access,
        })
    }

    /// Copies until a signal comes. What is being copied then is finished, for at
    /// most the time to drain; a second signal ends it at once.
    async fn run_until(self, mut signals: Signals) {
        let name = signals.next().await;
        tracing::info!(signal = name, "stopping");
        let drain = self.live.load().shutdown.drain;
        tokio::select! {
            ended = tokio::time::timeout(drain, self.tasks.finish()) => match ended {
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
