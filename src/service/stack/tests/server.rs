//! A real service that does what the metadata `x-do` of a request says.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{Stream, StreamExt, stream};
use tokio::{net::TcpListener, sync::Notify};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, codec::CompressionEncoding, transport::Server};

use super::super::{Deadline, Door, RequestFacts, stack};
use crate::{
    admission,
    config::{self, Admission, Limits, Live, Quotas, Sources},
    connection::Caller,
    domain::{
        Error, Role,
        view::{Detour, Lag, Policy, Route, Served},
    },
    proto::v1::{
        CloseSessionRequest, CloseSessionResponse, CountRequest, CountResponse, ExplainRequest,
        ExplainResponse, GetRequest, GetResponse, OpenSessionRequest, OpenSessionResponse,
        RenewSessionRequest, RenewSessionResponse, ScanRequest, ScanResponse, SearchRequest,
        SearchResponse, SearchStreamRequest, SearchStreamResponse,
        search_service_server::{SearchService, SearchServiceServer},
    },
    service::health::HealthReporter,
    telemetry::audit::AuditLog,
    wire::status::status,
};

/// Largest request of the test server.
pub(super) const MAX_REQUEST: usize = 64 * 1024;
/// Largest answer.
pub(super) const MAX_ANSWER: usize = 256 * 1024;

pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) health: HealthReporter,
    /// Requests and streams whose work was not dropped yet.
    pub(super) working: Arc<AtomicUsize>,
    /// Numbers of the `note` orders, as they began.
    pub(super) noted: Arc<Mutex<Vec<u64>>>,
    pub(super) door: Arc<Door>,
    /// What a `detach` order waits for.
    pub(super) release: Arc<Notify>,
    _server: AbortOnDropHandle<Result<(), tonic::transport::Error>>,
}

impl Running {
    /// Waits until so many requests wait to begin.
    pub(super) async fn until_waiting(&self, n: usize) {
        let check = async {
            while self.door.facts().waiting != n {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), check).await;
        assert!(waited.is_ok(), "{:?}, not {n} waiting", self.door.facts());
    }

    /// Waits until so many requests have their places.
    pub(super) async fn until_in_flight(&self, n: usize) {
        let check = async {
            while self.door.facts().in_flight != n {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), check).await;
        assert!(waited.is_ok(), "{:?}, not {n} in flight", self.door.facts());
    }

    /// Waits until the work in progress is `n`.
    pub(super) async fn until_working(&self, n: usize) {
        let check = async {
            while self.working.load(Ordering::SeqCst) != n {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(5), check).await;
        assert!(waited.is_ok(), "{:?} are working, not {n}", self.working);
    }
}

pub(super) fn limits(max_concurrent_requests: usize, max_deadline: Duration) -> Limits {
    Limits {
        max_concurrent_requests,
        max_deadline,
        stall_timeout: Duration::from_secs(30),
        max_request_bytes: MAX_REQUEST,
        max_response_bytes: MAX_ANSWER,
        max_limit: 1,
        max_query_vectors: 1,
        max_vector_dimension: 1,
        default_page_size: 1,
        max_page_size: 1,
        max_filter_bytes: 1,
        max_filter_depth: 1,
        max_filter_terms: 1_000,
        max_filter_list: 10_000,
        max_pattern_bytes: 1_000,
        max_query_memory: 1 << 30,
        max_import_bytes: 1,
    }
}

/// The default configuration with these limits.
pub(super) fn live(limits: Limits) -> Live {
    let mut config = config::load(Sources::default()).unwrap();
    config.limits = limits;
    Live::new(config)
}

/// A server with room for 100 requests of up to 30 s.
pub(super) async fn start() -> Running {
    start_with(limits(100, Duration::from_secs(30))).await
}

/// Nobody waits, and everything may be worked on that the limits allow.
pub(super) fn no_queue() -> Admission {
    Admission {
        adaptive: false,
        min_concurrent_requests: 1,
        initial_concurrent_requests: 1,
        latency_tolerance: 2.0,
        max_queued: 0,
        max_wait: Duration::from_secs(60),
        newest_first_after: Duration::from_millis(500),
        max_answer_bytes: 64 << 20,
    }
}

pub(super) async fn start_with(limits: Limits) -> Running {
    start_admitting(limits, no_queue()).await
}

/// The same, with these settings of the gate.
pub(super) async fn start_admitting(limits: Limits, admission: Admission) -> Running {
    start_guarded(limits, admission, no_quotas(), AuditLog::nowhere()).await
}

/// Nothing is bounded for anybody.
pub(super) fn no_quotas() -> Quotas {
    config::load(Sources::default()).unwrap().quotas
}

/// The same, with quotas and an audit log.
pub(super) async fn start_guarded(
    limits: Limits,
    admission: Admission,
    quotas: Quotas,
    audit: AuditLog,
) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let working = Arc::new(AtomicUsize::new(0));
    let noted = Arc::new(Mutex::new(Vec::new()));
    let health = HealthReporter::new(&["", "lancegate.v1.SearchService"]);
    let release = Arc::new(Notify::new());
    let service = SearchServiceServer::new(Obedient {
        working: working.clone(),
        noted: noted.clone(),
        release: release.clone(),
    })
    .max_decoding_message_size(limits.max_request_bytes)
    .max_encoding_message_size(limits.max_response_bytes)
    .accept_compressed(CompressionEncoding::Gzip);
    let door = Door::new(&admission, limits.max_concurrent_requests);
    let server = Server::builder()
        .layer(stack(
            &live(limits),
            Arc::clone(&door),
            None,
            admission::Quotas::new(quotas),
            audit,
        ))
        .add_service(service)
        .add_service(health.service())
        .serve_with_incoming(TcpListenerStream::new(listener));
    let server = AbortOnDropHandle::new(tokio::spawn(server));
    Running {
        address,
        health,
        working,
        noted,
        door,
        release,
        _server: server,
    }
}

struct Obedient {
    working: Arc<AtomicUsize>,
    noted: Arc<Mutex<Vec<u64>>>,
    release: Arc<Notify>,
}

/// Counts as work until it is dropped.
struct Work(Arc<AtomicUsize>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Obedient {
    /// The order, and its number.
    fn begin<T>(&self, request: &Request<T>) -> (String, usize, Work) {
        self.working.fetch_add(1, Ordering::SeqCst);
        let work = Work(self.working.clone());
        let order = request
            .metadata()
            .get("x-do")
            .map_or("answer", |v| v.to_str().unwrap());
        let (what, number) = order.split_once(' ').unwrap_or((order, "0"));
        (what.to_owned(), number.parse().unwrap(), work)
    }

    async fn obey<T>(&self, request: &Request<T>) -> Result<u64, Status> {
        let (what, number, _work) = self.begin(request);
        match what.as_str() {
            "answer" => Ok(1),
            "note" => {
                self.noted.lock().unwrap().push(number as u64);
                Ok(1)
            }
            "sleep" => {
                tokio::time::sleep(Duration::from_millis(number as u64)).await;
                Ok(2)
            }
            // Longer than the deadline without ever yielding.
            "block" => {
                std::thread::sleep(Duration::from_millis(number as u64));
                tokio::time::sleep(Duration::from_secs(60)).await;
                Ok(3)
            }
            "remaining" => {
                let deadline = request.extensions().get::<Deadline>().unwrap();
                Ok(deadline.remaining().as_millis() as u64)
            }
            "panic" => panic!("ordered"),
            "refuse" => Err(Status::failed_precondition("ordered")),
            "deny" => Err(status(&Error::Denied("ordered".into()))),
            other => panic!("no such order: {other}"),
        }
    }
}

type Chunks = Pin<Box<dyn Stream<Item = Result<SearchStreamResponse, Status>> + Send>>;

#[tonic::async_trait]
impl SearchService for Obedient {
    async fn search(&self, _: Request<SearchRequest>) -> Result<Response<SearchResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    type SearchStreamStream = Chunks;

    async fn search_stream(
        &self,
        request: Request<SearchStreamRequest>,
    ) -> Result<Response<Chunks>, Status> {
        let (what, number, work) = self.begin(&request);
        let chunk = |size| {
            Ok(SearchStreamResponse {
                arrow_ipc: vec![7; size].into(),
                served: None,
            })
        };
        let first = stream::iter([chunk(10)]);
        if what == "detach" {
            let release = Arc::clone(&self.release);
            let detached = async move {
                release.notified().await;
                drop(work);
                Ok(())
            };
            Caller::current().finish(detached).await.unwrap();
            return Ok(Response::new(first.boxed()));
        }
        let chunks: Chunks = match what.as_str() {
            "stall" => first.chain(stream::pending()).boxed(),
            "endless" => stream::repeat_with(move || chunk(number)).boxed(),
            "panic" => first
                .chain(stream::once(async {
                    // tonic sends what it has only when there is a pause.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    panic!("ordered")
                }))
                .boxed(),
            "chunks" => stream::iter((0..number).map(move |_| chunk(10))).boxed(),
            other => panic!("no such order: {other}"),
        };
        Ok(Response::new(Box::pin(chunks.inspect(move |_| _ = &work))))
    }

    async fn scan(&self, _: Request<ScanRequest>) -> Result<Response<ScanResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn get(&self, _: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn count(
        &self,
        request: Request<CountRequest>,
    ) -> Result<Response<CountResponse>, Status> {
        let facts = RequestFacts::of(&request);
        facts.table(&request.get_ref().table);
        let count = self.obey(&request).await?;
        facts.served(&Served {
            origin: None,
            route: Route {
                connection: 1,
                name: "replica-1".into(),
                role: Role::Replica,
                policy: Policy::RoundRobin { position: 1, of: 2 },
                detour: Detour::default(),
            },
            version: 42,
            lag: Lag::default(),
        });
        tracing::info!("within the handler");
        Ok(Response::new(CountResponse {
            count,
            served: None,
        }))
    }

    async fn open_session(
        &self,
        _: Request<OpenSessionRequest>,
    ) -> Result<Response<OpenSessionResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn renew_session(
        &self,
        _: Request<RenewSessionRequest>,
    ) -> Result<Response<RenewSessionResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn close_session(
        &self,
        _: Request<CloseSessionRequest>,
    ) -> Result<Response<CloseSessionResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn explain(
        &self,
        request: Request<ExplainRequest>,
    ) -> Result<Response<ExplainResponse>, Status> {
        let (what, number, _work) = self.begin(&request);
        assert_eq!(what, "big");
        Ok(Response::new(ExplainResponse {
            plan: "x".repeat(number),
            served: None,
        }))
    }
}
