//! grpc.health.v1: whether each service can take requests.
//!
//! `""` and the full names mean readiness. `liveness` means that the process
//! runs, and nothing else: an orchestrator kills what is not alive.

use std::{
    collections::{BTreeMap, HashMap},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{Stream, StreamExt, stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    proto::health::{
        HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
        health_check_response::ServingStatus,
        health_server::{Health, HealthServer},
    },
    wire::status::DOMAIN,
};

/// The name that stands for the process.
pub const LIVENESS: &str = "liveness";

/// Sets what the health service says.
#[derive(Clone)]
pub struct HealthReporter(Arc<Inner>);

struct Inner {
    services: BTreeMap<&'static str, watch::Sender<ServingStatus>>,
    /// Whether the server is stopping. Locked while a state is set, so that
    /// none is set after it stopped.
    stopping: Mutex<bool>,
    /// Ends the open Watch streams.
    closed: CancellationToken,
}

impl HealthReporter {
    /// All of `services` NOT_SERVING, and [`LIVENESS`] SERVING.
    pub fn new(services: &[&'static str]) -> Self {
        let mut states: BTreeMap<_, _> = services
            .iter()
            .map(|&name| (name, watch::Sender::new(ServingStatus::NotServing)))
            .collect();
        states.insert(LIVENESS, watch::Sender::new(ServingStatus::Serving));
        Self(Arc::new(Inner {
            services: states,
            stopping: Mutex::new(false),
            closed: CancellationToken::new(),
        }))
    }

    /// Sets the state of one of the services. Unknown names, and every name
    /// once the server is stopping, are left as they are.
    pub fn set(&self, service: &str, serving: bool) {
        let stopping = self.0.stopping.lock();
        if *stopping.unwrap_or_else(PoisonError::into_inner) {
            return;
        }
        let status = match serving {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        if let Some(state) = self.0.services.get(service) {
            become_(state, status);
        }
    }

    /// Whether a service is SERVING; `None` if there is none of that name.
    pub fn get(&self, service: &str) -> Option<bool> {
        let state = self.0.services.get(service)?;
        Some(*state.borrow() == ServingStatus::Serving)
    }

    /// Every service is NOT_SERVING from now on; [`LIVENESS`] stays.
    pub fn stop(&self) {
        let stopping = self.0.stopping.lock();
        *stopping.unwrap_or_else(PoisonError::into_inner) = true;
        for (name, state) in &self.0.services {
            if *name != LIVENESS {
                become_(state, ServingStatus::NotServing);
            }
        }
    }

    /// Ends the open Watch streams, which by themselves never do.
    pub fn close(&self) {
        self.0.closed.cancel();
    }

    /// The service that says it.
    pub fn service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService(Arc::clone(&self.0)))
    }
}

fn become_(state: &watch::Sender<ServingStatus>, status: ServingStatus) {
    state.send_if_modified(|old| std::mem::replace(old, status) != status);
}

/// The contract over what a [`HealthReporter`] sets.
pub struct HealthService(Arc<Inner>);

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let name = request.into_inner().service;
        match self.0.services.get(name.as_str()) {
            Some(state) => Ok(Response::new(answer(*state.borrow()))),
            None => Err(unknown()),
        }
    }

    async fn list(
        &self,
        _: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        let states = self.0.services.iter();
        let statuses: HashMap<_, _> = states
            .map(|(name, state)| ((*name).to_owned(), answer(*state.borrow())))
            .collect();
        Ok(Response::new(HealthListResponse { statuses }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let name = request.into_inner().service;
        let closed = self.0.closed.clone().cancelled_owned();
        let states = match self.0.services.get(name.as_str()) {
            Some(state) => changes(state.subscribe()).boxed(),
            // As the contract has it the stream stays open: the name may come.
            // Here names are fixed, so nothing ever follows.
            None => stream::iter([ServingStatus::ServiceUnknown])
                .chain(stream::pending())
                .boxed(),
        };
        let answers = states.map(|s| Ok(answer(s))).take_until(closed);
        Ok(Response::new(Box::pin(answers)))
    }
}

/// The state now, and each that differs from the one sent before it: of two
/// changes that cancel out nothing is seen.
fn changes(receiver: watch::Receiver<ServingStatus>) -> impl Stream<Item = ServingStatus> + Send {
    stream::unfold((receiver, None), |(mut receiver, sent)| async move {
        let state = match sent {
            None => *receiver.borrow_and_update(),
            Some(sent) => *receiver.wait_for(|state| *state != sent).await.ok()?,
        };
        Some((state, (receiver, Some(state))))
    })
}

/// What the contract asks for: a name that nobody knows.
fn unknown() -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info("SERVICE_NOT_FOUND", DOMAIN, HashMap::new());
    Status::with_error_details(Code::NotFound, "there is no such service", details)
}

#[cfg(test)]
mod tests;
