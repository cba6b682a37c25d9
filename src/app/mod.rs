//! The composition root: builds, starts, names and stops everything, in order.

mod deep;
mod grpc;
mod hangup;
mod linger;
mod message;
mod once;
mod readiness;
mod replicator;
mod sample;
mod shutdown;
mod tasks;
pub mod verify;

use std::{net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, Live, ReplicaMode, Sources},
    connection::{Connection, Events, Primary},
    domain::Role,
    operate::{self, Heed, Origin, Reloader, Watchers},
    router::Router,
    service::{api::Api, cluster::Cluster, health::HealthReporter, shadow::Shadow, stack::Door},
    storage::Sessions,
    telemetry::{
        http::{self, HttpState},
        logs, metrics,
    },
};
use deep::ServerProbes;
use hangup::Hangups;
pub use once::replicate_once;
pub use replicator::replicate;
use tasks::Tasks;

/// What can keep a server from starting or running.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// An address cannot be listened on.
    #[error("{setting} = {address}: cannot listen there: {source}")]
    Listen {
        setting: &'static str,
        address: SocketAddr,
        source: std::io::Error,
    },
    /// The log.
    #[error("logging: {0}")]
    Logs(#[from] logs::LogError),
    /// The metrics recorder.
    #[error("metrics: {0}")]
    Metrics(#[from] metrics::MetricsError),
    /// The reflection service.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The gRPC server stopped by itself.
    #[error("the gRPC server stopped: {0}")]
    Grpc(#[from] tonic::transport::Error),
    /// A signal handler.
    #[error("signals: {0}")]
    Signals(std::io::Error),
    /// A task of the server ended that should not have.
    #[error("a part of the server stopped: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// Requests were still running when the time to drain was over.
    #[error("stopped with requests still running after {0:?}")]
    NotDrained(std::time::Duration),
    /// There is nothing to copy to, or to compare with.
    #[error("the configuration has no replicas for this")]
    NoReplicas,
    /// A replica that is not configured was named.
    #[error("there is no replica '{0}' in the configuration")]
    UnknownReplica(String),
    /// What could not be copied, a line each.
    #[error("{0}")]
    NotReplicated(String),
    /// The primary cannot be opened.
    #[error("{0}")]
    Location(#[from] crate::domain::Error),
    /// Nothing could be compared.
    #[error("{0}")]
    Verify(#[from] crate::replication::verify::VerifyError),
}

/// A running server.
pub struct App {
    grpc_address: SocketAddr,
    http_address: SocketAddr,
    router: Arc<Router>,
    door: Arc<Door>,
    shadow: Option<Arc<Shadow>>,
    health: HealthReporter,
    live: Live,
    reloader: Arc<Reloader>,
    watchers: Watchers,
    /// Asks the gRPC server to send GOAWAY and to drain.
    go_away: CancellationToken,
    grpc: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
    tasks: Tasks,
}

impl App {
    /// Starts a server: it listens when this returns, and serves as soon as its
    /// connections answer.
    pub async fn start(config: Config) -> Result<Self, AppError> {
        Self::start_from(config, None).await
    }

    /// The same; the configuration can be read again from its origin.
    pub async fn start_from(config: Config, origin: Option<Origin>) -> Result<Self, AppError> {
        let recorder = metrics::install(config.metrics.max_table_labels)?;
        let grpc_listener = listen("server.grpc_address", config.server.grpc_address).await?;
        let http_listener = listen("server.http_address", config.server.http_address).await?;
        let grpc_address = local("server.grpc_address", &grpc_listener)?;
        let http_address = local("server.http_address", &http_listener)?;

        let live = Live::new(config.clone());
        let watchers = Watchers::default();
        let sessions = Arc::new(Sessions::new(config.cache));
        let events = Events::default();
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
        let primary = connect(Role::Primary, config.primary);
        let primary = Arc::new(Primary::new(primary, holders, config.writes));
        let router = Arc::new(Router::new(
            Arc::clone(&primary),
            replicas.clone(),
            live.clone(),
            events.clone(),
        ));

        let health = readiness::reporter();
        let go_away = CancellationToken::new();
        let tasks = Tasks::new();
        for connection in router.connections() {
            tasks.watch(connection, &sessions, &live);
        }
        tasks.follow(
            Arc::clone(&primary),
            &events,
            config.replication.poll_interval,
        );
        let copier = tasks.copier(&primary, &events, config.replication, config.retention);
        if config.replication.enabled {
            tasks.spawn(copier.clone().keep_pruned());
        }
        for replica in &replicas {
            tasks.keep_true(replica, &copier, &events, config.replication);
        }
        tasks.spawn(readiness::keep(
            Arc::clone(&router),
            health.clone(),
            events.clone(),
            tasks.stop(),
        ));
        tasks.spawn(Arc::clone(&router).keep_judging(tasks.stop()));
        tasks.spawn(sample::keep_sampling(
            Arc::clone(&router),
            Arc::clone(&sessions),
            tasks.stop(),
        ));
        let (upkeep, stop_upkeep) = (recorder.clone(), tasks.stop());
        tasks.spawn(async move { upkeep.run_upkeep(stop_upkeep).await });

        let door = Door::new(&config.admission, config.limits.max_concurrent_requests);
        let named = |name: &str| router.connections().find(|c| **c.name() == *name).cloned();
        let shadow = config.shadow.and_then(|shadow| {
            let target = named(&shadow.connection)?;
            let door = Arc::clone(&door);
            Some(Arc::new(Shadow::new(shadow, target, door, &config.limits)))
        });
        let heeding = Arc::clone(&router);
        let heed: Heed = Box::new(move |old, new| operate::heed(heeding.pool(), old, new));
        let heeding = Arc::clone(&door);
        let admit: Heed = Box::new(move |_, new| {
            heeding.set(&new.admission, new.limits.max_concurrent_requests);
        });
        let reloader = Arc::new(Reloader::new(live.clone(), origin, vec![heed, admit]));
        let services = grpc::Services {
            api: Api {
                router: Arc::clone(&router),
                live: live.clone(),
                shadow: shadow.clone(),
            },
            cluster: Cluster::new(
                Arc::clone(&router),
                live.clone(),
                Arc::clone(&reloader),
                watchers.clone(),
            ),
        };
        let state = HttpState {
            recorder,
            probes: Arc::new(ServerProbes::new(Arc::clone(&router), health.clone())),
        };
        let stop_http = tasks.stop();
        tasks.spawn(async move {
            if let Err(error) = http::serve(http_listener, state, stop_http).await {
                tracing::error!(%error, "the HTTP server stopped");
            }
        });
        let server = grpc::server(
            services,
            Arc::clone(&door),
            &health,
            &config.server,
            &live,
            grpc_listener,
            go_away.clone(),
        )?;
        let grpc = tokio::spawn(server);
        tracing::info!(grpc = %grpc_address, http = %http_address, replicas = replicas.len(), "listening");
        Ok(Self {
            grpc_address,
            http_address,
            router,
            door,
            shadow,
            health,
            live,
            reloader,
            watchers,
            go_away,
            grpc,
            tasks,
        })
    }

    /// Where gRPC is served.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Where HTTP is served.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// The router, for what runs in the same process.
    pub fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// Where requests come in, for what runs in the same process.
    pub fn door(&self) -> &Arc<Door> {
        &self.door
    }

    /// The reads that are run a second time, where there are any.
    pub fn shadow(&self) -> Option<&Arc<Shadow>> {
        self.shadow.as_ref()
    }

    /// Whether a service is ready.
    pub fn serving(&self, service: &str) -> bool {
        self.health.get(service) == Some(true)
    }
}

/// Runs a server until a signal asks it to stop. SIGHUP makes it read `sources`,
/// which `config` was loaded from, again.
pub async fn run(config: Config, sources: Sources) -> Result<(), AppError> {
    // First of all: before it is listened for, SIGHUP would end the process.
    let hangups = Hangups::listen().map_err(AppError::Signals)?;
    let signals = shutdown::Signals::listen().map_err(AppError::Signals)?;
    // Held to the end: dropping it sends the last traces.
    let logs = logs::init(&config.logging)?;
    let log = Some(logs.filter());
    let app = App::start_from(config, Some(Origin { sources, log })).await?;
    let reloading = hangups.reload(Arc::clone(&app.reloader), app.tasks.stop());
    app.tasks.spawn(reloading);
    app.run_until(signals).await
}

async fn listen(setting: &'static str, address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| AppError::Listen {
            setting,
            address,
            source,
        })
}

fn local(setting: &'static str, listener: &TcpListener) -> Result<SocketAddr, AppError> {
    listener.local_addr().map_err(|source| AppError::Listen {
        setting,
        address: SocketAddr::from(([0, 0, 0, 0], 0)),
        source,
    })
}
