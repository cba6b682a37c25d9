//! The one place where the layers around every service are put together. Each
//! layer is a file of its own.

mod access_log;
mod answer;
mod arrival;
mod audit;
mod body;
mod caller;
mod deadline;
mod facts;
mod guard;
mod identity;
mod limit;
mod measure;
mod panics;
mod peek;
mod quota;
mod room;
mod tables;
mod translate;
mod unread;
mod watches;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{Extensions, Request};
use tonic::transport::server::TcpConnectInfo;
use tower::{Layer, ServiceBuilder};

use self::{
    access_log::{AccessLog, AccessLogLayer},
    arrival::{Arrival, ArrivalLayer},
    audit::{Attempt, AttemptLayer, Audited, AuditedLayer},
    caller::{CallerLayer, WithCaller},
    deadline::{DeadlineLayer, WithDeadline},
    guard::{Guard, GuardLayer},
    identity::{Identity, IdentityLayer},
    limit::{Limit, LimitLayer},
    measure::{Measure, MeasureLayer},
    panics::{CatchPanic, PanicLayer},
    quota::{QuotaLayer, WithQuota},
    tables::{Tables, TablesLayer},
    translate::{Translate, TranslateLayer},
    unread::{Unread, UnreadLayer},
    watches::HEALTH_WATCH,
};
use crate::{
    access::{Access, need},
    admission::Quotas,
    config::Live,
    telemetry::audit::AuditLog,
};

pub use answer::AnswerHold;
pub use audit::by_signal;
pub use deadline::Deadline;
pub use facts::RequestFacts;
pub use limit::{Door, PRIORITY};
pub use quota::Allowed;
pub use room::Room;
pub use translate::meaning;

/// A method as the logs name it. One that is not known may be a text of any length.
fn method_of(path: &str) -> &str {
    match need(path) {
        Some(_) => path.trim_start_matches('/'),
        None => "unknown",
    }
}

/// All layers, for `tonic::transport::Server::builder().layer(..)`. Clones, and
/// everything that is built from them, share the door.
#[derive(Clone)]
pub struct Stack {
    unread: UnreadLayer,
    audit: AuditLog,
    guard: GuardLayer,
    quota: QuotaLayer,
    deadline: DeadlineLayer,
    arrival: ArrivalLayer,
    limit: LimitLayer,
}

/// The stack of one server. Sizes of messages and compression are set on each
/// tonic service, which reads them before any layer could.
pub fn stack(
    live: &Live,
    door: Arc<Door>,
    access: Option<Arc<Access>>,
    quotas: Arc<Quotas>,
    audit: AuditLog,
) -> Stack {
    Stack {
        unread: UnreadLayer::new(live.clone()),
        audit,
        guard: GuardLayer::new(access),
        quota: QuotaLayer::new(quotas),
        deadline: DeadlineLayer::new(live.clone()),
        arrival: ArrivalLayer::new(live.clone()),
        limit: LimitLayer::new(door, live.clone()),
    }
}

/// What is behind the layers that see every answer.
type Guarded<S> = Guard<WithQuota<WithDeadline<Arrival<Tables<Limit<Attempt<WithCaller<S>>>>>>>>;

impl<S> Layer<S> for Stack {
    type Service = Unread<Identity<AccessLog<Audited<Measure<CatchPanic<Translate<Guarded<S>>>>>>>>;

    fn layer(&self, inner: S) -> Self::Service {
        // From the outside in.
        ServiceBuilder::new()
            // Outside of all: with an answer that nobody reads everything goes that any
            // of the others holds for it.
            .layer(self.unread.clone())
            // Names the request, so that every line below has its id and trace.
            .layer(IdentityLayer)
            // Outside of all that can answer, so that nothing goes unlogged.
            .layer(AccessLogLayer)
            // Likewise, and where the last word on how it ended is known.
            .layer(AuditedLayer::new(self.audit.clone()))
            // Likewise; within the log, so that the log's own cost is not
            // measured as the request's.
            .layer(MeasureLayer)
            // Within the two above, so that a panic is logged and counted as
            // the INTERNAL that the client sees.
            .layer(PanicLayer)
            // Gives tonic's own statuses our codes and details, before they
            // are counted. What the layers below answer needs no translation.
            .layer(TranslateLayer)
            // Within what logs and counts, so that who is refused is seen; outside of
            // all that costs anything: who is not known gets no time and no slot.
            .layer(self.guard.clone())
            // Who asks is known here. Outside of what waits and what is worked on:
            // nobody's requests beyond their quota cost the others a place.
            .layer(self.quota.clone())
            // Outside the limit: who waits is not waited for when time is up, and
            // the slot goes back then, also where the client does not read and
            // the answer cannot end. Only work that cannot be stopped keeps it.
            .layer(self.deadline.clone())
            // Outside the limit too: a slot is taken by who has asked for something.
            .layer(self.arrival.clone())
            // By the name in it, before the message is read.
            .layer(TablesLayer)
            // Within the others: what was refused for another reason took no slot.
            .layer(self.limit.clone())
            // Within all that can refuse: what is said to begin does begin.
            .layer(AttemptLayer)
            // Innermost, within the task that an audited request has: its work knows who
            // waits for it, and keeps its places.
            .layer(CallerLayer)
            .service(inner)
    }
}

/// Where a request came from.
fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions
        .get::<TcpConnectInfo>()
        .and_then(TcpConnectInfo::remote_addr)
}

/// Whether a request asks for a stream that is meant to stay open: it has no
/// deadline but its client's, and takes nothing from the requests that end.
fn stays_open<B>(request: &Request<B>) -> bool {
    matches!(request.uri().path(), HEALTH_WATCH | WATCH_TOPOLOGY)
}

/// Whether the request of a method comes in parts, each when its client has it.
fn streams_in(path: &str) -> bool {
    path == IMPORT || path.starts_with("/grpc.reflection.")
}

/// Whether the answer of a method goes in parts, each when its client wants it.
fn streams_out(path: &str) -> bool {
    path == SEARCH_STREAM || path.starts_with("/grpc.reflection.")
}

/// Bytes a second that a message has to come with, and an answer be read with, where no
/// stream of its client's says otherwise: a megabit a second. The 64 MiB of the largest
/// message take less than the longest deadline with it.
const PACE: u64 = 128 << 10;

/// What so many bytes may take.
fn time_for(bytes: usize) -> Duration {
    Duration::from_millis(bytes as u64 * 1_000 / PACE)
}

const IMPORT: &str = "/lancegate.v1.WriteService/Import";
const SEARCH_STREAM: &str = "/lancegate.v1.SearchService/SearchStream";

/// Bounded by the number of its watchers.
const WATCH_TOPOLOGY: &str = "/lancegate.v1.ClusterService/WatchTopology";

/// Whether a request is a health check: those are neither logged nor limited.
fn is_health<B>(request: &Request<B>) -> bool {
    request.uri().path().starts_with("/grpc.health.v1.Health/")
}

#[cfg(test)]
mod tests;
