//! The composition root: builds, starts, names and stops everything, in order.

mod deep;
mod grpc;
mod hangup;
mod linger;
mod local;
mod message;
mod once;
mod readiness;
mod replicator;
mod sample;
mod shutdown;
mod tasks;
pub mod verify;

use std::{net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{self, Config, Live, Sources},
    connection::Events,
    gateway::{Gateway, GatewayLayer},
    node::Nodes,
    operate::{self, Heed, Origin, Reloader, Watchers},
    pool::{Budgets, Pool},
    router::Router,
    service::{
        api::Api,
        cluster::{Cluster, Places},
        health::HealthReporter,
        shadow::Shadow,
        stack::Door,
    },
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
    /// The primary is another node: whoever has its location copies and compares.
    #[error("the primary is another node: run this where its location is configured")]
    RemotePrimary,
    /// The contract that was compiled in cannot be read.
    #[error("the contract: {0}")]
    Contract(#[from] prost::DecodeError),
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
    router: Option<Arc<Router>>,
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
        let health = readiness::reporter();
        let go_away = CancellationToken::new();
        let tasks = Tasks::new();
        let events = Events::default();
        let router = local::start(&config, &live, &events, &tasks);
        let nodes = Arc::new(known_nodes(&config, &live, router.as_deref()));
        tasks.know(&nodes);
        tasks.spawn(sample::keep_counting(Arc::clone(&nodes), tasks.stop()));
        let serving = readiness::Serving {
            router: router.clone(),
            nodes: Arc::clone(&nodes),
        };
        tasks.spawn(readiness::keep(
            serving,
            health.clone(),
            events,
            tasks.stop(),
        ));
        let (upkeep, stop_upkeep) = (recorder.clone(), tasks.stop());
        tasks.spawn(async move { upkeep.run_upkeep(stop_upkeep).await });

        let door = Door::new(&config.admission, config.limits.max_concurrent_requests);
        let shadow = local::shadow(&config, router.as_deref(), &door);
        let heeds = heeds(router.as_ref(), &nodes, &door);
        let reloader = Arc::new(Reloader::new(live.clone(), origin, heeds));
        let gateway = match nodes.is_empty() {
            true => None,
            false => Some(Gateway::new(Arc::clone(&nodes), live.clone())?),
        };
        let services = grpc::Services {
            api: router.clone().map(|router| Api {
                router,
                live: live.clone(),
                shadow: shadow.clone(),
            }),
            cluster: Cluster::new(
                Places {
                    router: router.clone(),
                    nodes: Arc::clone(&nodes),
                },
                live.clone(),
                Arc::clone(&reloader),
                watchers.clone(),
            ),
            gateway: GatewayLayer::new(gateway),
        };
        let probes = ServerProbes::new(router.clone(), nodes, health.clone());
        let state = HttpState {
            recorder,
            probes: Arc::new(probes),
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
        tracing::info!(
            grpc = %grpc_address,
            http = %http_address,
            replicas = config.replicas.len(),
            nodes = config.nodes.replicas.len(),
            "listening"
        );
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

    /// The router, for what runs in the same process; `None` where the primary is
    /// another node.
    pub fn router(&self) -> Option<&Arc<Router>> {
        self.router.as_ref()
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

/// The other nodes of a configuration.
fn known_nodes(config: &Config, live: &Live, router: Option<&Router>) -> Nodes {
    let primary = match &config.primary {
        config::Primary::Embedded(_) => None,
        config::Primary::Node(node) => Some(node.clone()),
    };
    let settings = config.pool.clone();
    // Shared by the process.
    let budgets = match router {
        Some(router) => Arc::clone(router.pool().budgets()),
        None => Arc::new(Budgets::new(&settings)),
    };
    let now = Instant::now();
    let pool = Pool::new(Vec::new(), settings, budgets, rand::random(), now);
    Nodes::new(primary, weight_together(config), pool, live.clone())
}

/// The weight of the replicas of this process together, if it has some.
fn weight_together(config: &Config) -> Option<u32> {
    let in_rotation = config.replicas.iter().filter(|replica| replica.in_rotation);
    let weights = in_rotation.map(|replica| replica.weight);
    weights.reduce(u32::saturating_add)
}

/// Who hears of a new configuration without reading it.
fn heeds(router: Option<&Arc<Router>>, nodes: &Arc<Nodes>, door: &Arc<Door>) -> Vec<Heed> {
    let mut heeds: Vec<Heed> = Vec::new();
    if let Some(router) = router.cloned() {
        heeds.push(Box::new(move |old, new| {
            operate::heed(router.pool(), old, new);
        }));
    }
    let door = Arc::clone(door);
    heeds.push(Box::new(move |_, new| {
        door.set(&new.admission, new.limits.max_concurrent_requests);
    }));
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
