//! The composition root: builds, starts, names and stops everything, in order.

pub mod check;
mod deep;
mod error;
mod grpc;
mod hangup;
mod heed;
mod local;
mod message;
mod once;
mod ports;
mod readiness;
mod replicator;
mod sample;
mod shutdown;
mod tasks;
pub mod verify;
mod visitors;

use std::{net::SocketAddr, sync::Arc};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    access::Access,
    admission::Quotas,
    config::{self, Config, Live, Sources},
    connection::Events,
    gateway::{Gateway, GatewayLayer},
    node::Nodes,
    operate::{Origin, Reloader, Watchers},
    pool::{Budgets, Pool},
    router::Router,
    service::{
        api::Api,
        cluster::{Cluster, Places},
        health::HealthReporter,
        shadow::Shadow,
        stack::{self, Door},
    },
    telemetry::{
        audit::AuditLog,
        http::{self, HttpState},
        logs, metrics,
    },
    transport::{self, ClientTls, Protocol},
};
use deep::ServerProbes;
pub use error::AppError;
use hangup::Hangups;
pub use once::replicate_once;
pub use ports::check_certificates;
use ports::{listen, listener, local, node_tls};
pub use replicator::replicate;
use tasks::Tasks;
use visitors::Visitors;

/// A running server.
pub struct App {
    grpc_address: SocketAddr,
    http_address: SocketAddr,
    router: Option<Arc<Router>>,
    door: Arc<Door>,
    audit: AuditLog,
    shadow: Option<Arc<Shadow>>,
    health: HealthReporter,
    live: Live,
    reloader: Arc<Reloader>,
    watchers: Watchers,
    access: Option<Arc<Access>>,
    /// Asks the gRPC server to send GOAWAY and to drain.
    go_away: CancellationToken,
    grpc: tokio::task::JoinHandle<()>,
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
        let audit = AuditLog::open(&config.audit)?;
        let access = match config.access.clone() {
            Some(settings) => Some(Access::start(settings).await?),
            None => None,
        };
        let grpc = listen("server.grpc_address", config.server.grpc_address).await?;
        let http = listen("server.http_address", config.server.http_address).await?;
        let grpc_address = local("server.grpc_address", &grpc)?;
        let http_address = local("server.http_address", &http)?;

        let live = Live::new(config.clone());
        let watchers = Watchers::default();
        let health = readiness::reporter();
        let go_away = CancellationToken::new();
        let tasks = Tasks::new();
        let server = &config.server;
        let (grpc_tls, http_tls) = (server.tls.as_ref(), server.http_tls.as_ref());
        let grpc_listener = listener(grpc, Protocol::Grpc, grpc_tls, &audit, &tasks)?;
        let http_listener = listener(http, Protocol::Http, http_tls, &audit, &tasks)?;
        let events = Events::default();
        let disk = local::disk_cache(&config, &tasks).await?;
        let router = local::start(&config, &live, &events, &tasks, disk);
        let tls = node_tls(&config, &tasks)?;
        let nodes = Arc::new(known_nodes(&config, &live, router.as_deref(), tls));
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
        let quotas = Quotas::new(config.quotas.clone());
        let shadow = local::shadow(&config, &live, router.as_ref(), &nodes, &door);
        if let Some(access) = access.clone() {
            tasks.spawn(access.keep_current(tasks.stop()));
        }
        let heeds = heed::heeds(router.as_ref(), &nodes, &door, access.as_ref(), &quotas);
        let reloader = Arc::new(Reloader::new(live.clone(), origin, heeds));
        let gateway = match nodes.is_empty() {
            true => None,
            false => Some(Gateway::new(
                Arc::clone(&nodes),
                live.clone(),
                shadow.clone(),
            )?),
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
            visitors: Arc::new(Visitors::new(live.clone(), access.clone(), audit.clone())),
        };
        let (stop_http, live_http) = (tasks.stop(), live.clone());
        tasks.spawn(async move {
            transport::serve(http_listener, http::router(state), live_http, stop_http).await;
        });
        let server = grpc::server(
            services,
            stack::stack(
                &live,
                Arc::clone(&door),
                access.clone(),
                quotas,
                audit.clone(),
            ),
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
            audit,
            shadow,
            health,
            live,
            reloader,
            watchers,
            access,
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
    let reloading = hangups.reload(
        Arc::clone(&app.reloader),
        app.access.clone(),
        app.audit.clone(),
        app.tasks.stop(),
    );
    app.tasks.spawn(reloading);
    app.run_until(signals).await
}

/// The other nodes of a configuration.
fn known_nodes(
    config: &Config,
    live: &Live,
    router: Option<&Router>,
    tls: Option<ClientTls>,
) -> Nodes {
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
    Nodes::new(
        primary,
        heed::weight_together(config),
        pool,
        live.clone(),
        tls,
    )
}
