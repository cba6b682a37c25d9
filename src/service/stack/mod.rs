//! The one place where the layers around every service are put together. Each
//! layer is a file of its own.

mod access_log;
mod answer;
mod body;
mod deadline;
mod facts;
mod identity;
mod limit;
mod measure;
mod panics;
mod translate;

use std::sync::Arc;

use http::Request;
use tower::{Layer, ServiceBuilder};

use self::{
    access_log::{AccessLog, AccessLogLayer},
    deadline::{DeadlineLayer, WithDeadline},
    identity::{Identity, IdentityLayer},
    limit::{Limit, LimitLayer},
    measure::{Measure, MeasureLayer},
    panics::{CatchPanic, PanicLayer},
    translate::{Translate, TranslateLayer},
};
use crate::config::Live;

pub use answer::AnswerHold;
pub use deadline::Deadline;
pub use facts::RequestFacts;
pub use limit::Door;

/// All layers, for `tonic::transport::Server::builder().layer(..)`. Clones, and
/// everything that is built from them, share the door.
#[derive(Clone)]
pub struct Stack {
    limit: LimitLayer,
    deadline: DeadlineLayer,
}

/// The stack of one server. Sizes of messages and compression are set on each
/// tonic service, which reads them before any layer could.
pub fn stack(live: &Live, door: Arc<Door>) -> Stack {
    Stack {
        limit: LimitLayer::new(door),
        deadline: DeadlineLayer::new(live.clone()),
    }
}

impl<S> Layer<S> for Stack {
    type Service = Identity<AccessLog<Measure<CatchPanic<Translate<WithDeadline<Limit<S>>>>>>>;

    fn layer(&self, inner: S) -> Self::Service {
        // From the outside in.
        ServiceBuilder::new()
            // Names the request, so that every line below has its id and trace.
            .layer(IdentityLayer)
            // Outside of all that can answer, so that nothing goes unlogged.
            .layer(AccessLogLayer)
            // Likewise; within the log, so that the log's own cost is not
            // measured as the request's.
            .layer(MeasureLayer)
            // Within the two above, so that a panic is logged and counted as
            // the INTERNAL that the client sees.
            .layer(PanicLayer)
            // Gives tonic's own statuses our codes and details, before they
            // are counted. What the layers below answer needs no translation.
            .layer(TranslateLayer)
            // Outside the limit: who waits is not waited for when time is up, and
            // the slot goes back then, also where the client does not read and
            // the answer cannot end.
            .layer(self.deadline.clone())
            // Innermost: what was refused for another reason took no slot.
            .layer(self.limit.clone())
            .service(inner)
    }
}

/// Whether a request asks for a stream that is meant to stay open: it has no
/// deadline but its client's, and takes nothing from the requests that end.
fn stays_open<B>(request: &Request<B>) -> bool {
    is_health(request) || request.uri().path() == WATCH_TOPOLOGY
}

/// Bounded by the number of its watchers.
const WATCH_TOPOLOGY: &str = "/lancegate.v1.ClusterService/WatchTopology";

/// Whether a request is a health check: those are neither logged nor limited.
fn is_health<B>(request: &Request<B>) -> bool {
    request.uri().path().starts_with("/grpc.health.v1.Health/")
}

#[cfg(test)]
mod tests;
