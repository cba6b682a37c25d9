//! Reads: on the next node in turn, on another one where that fails, and on the
//! primary where none can.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant as Clock,
};

use http::{Request, Response};
use tokio::time::Instant;
use tonic::{Code, Status, body::Body};
use tower::{Service, ServiceExt};

use super::{
    Gateway,
    answer::{AtEnd, code_of},
    forward::{Call, Failure, Way},
    message::Asks,
    place::{Place, Spill, Tried, is_tried},
    verdict::{self, NOT_FRESH, Verdict},
};
use crate::{
    domain::view::{Detour, Policy},
    node::Node,
    pool::{self, Ask, Course, Member, Outcome, Pick, walk},
    service::stack::Deadline,
    telemetry::metrics,
};

/// One read on its way.
pub(super) struct Read<'a, S> {
    pub gateway: &'a Gateway,
    pub call: &'a Call,
    pub inner: S,
    ask: Ask,
    /// Set where only the primary may know better.
    only_primary: AtomicBool,
    /// Set where the primary may not know better either.
    not_primary: AtomicBool,
    /// Set while the node that was asked last could not be reached, or was lost.
    is_gone: AtomicBool,
}

/// The services of this process.
pub(super) trait Inner:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Inner for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

impl<'a, S: Inner> Read<'a, S> {
    pub(super) fn new(gateway: &'a Gateway, call: &'a Call, inner: S) -> Self {
        Self {
            gateway,
            call,
            inner,
            ask: gateway.nodes.pool().ask(),
            only_primary: AtomicBool::new(false),
            not_primary: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
        }
    }

    /// The answer, or what the last one that was asked said.
    pub(super) async fn answer(&self) -> Response<Body> {
        let pool = self.gateway.nodes.pool();
        let deadline = self.call.parts.extensions.get::<Deadline>().map(|d| d.0);
        let Some(first) = self.first() else {
            return verdict::nobody().into_http();
        };
        match walk(pool, self, first, deadline).await.outcome {
            Ok(mut answer) => {
                self.gateway.run_again(self.call, &mut answer);
                answer
            }
            Err(failure) => failure.response,
        }
    }

    fn first(&self) -> Option<Place> {
        let must = match self.call.peek.asks {
            Asks::Strong => Some(Policy::Strong),
            _ if !self.gateway.nodes.answer_reads() => Some(Policy::NoReplicas),
            // Nothing is known of it but that it may not be stale.
            _ if !self.call.peek.is_known && self.gateway.has_defaults() => {
                Some(Policy::PrimaryOnly)
            }
            _ => None,
        };
        match must {
            Some(policy) => self.primary(policy, None),
            None => self
                .pick(None, self.ask)
                .or_else(|| self.primary_for_others(None))
                .or_else(|| self.fail_safe(None)),
        }
    }

    /// The next one in rotation that was not tried.
    fn pick(&self, tried: Option<&Tried<'_>>, ask: Ask) -> Option<Place> {
        let pool = self.gateway.nodes.pool();
        let pick = pool.pick(ask, Instant::now(), |m| !is_tried(tried, m));
        self.place(pick?)
    }

    fn fail_safe(&self, tried: Option<&Tried<'_>>) -> Option<Place> {
        let pool = self.gateway.nodes.pool();
        let pick = pool.fail_safe(self.ask, Instant::now(), |m| !is_tried(tried, m));
        self.place(pick?)
    }

    /// The place of a member. `None`: its node left just now.
    fn place(&self, Pick { member, picked }: Pick) -> Option<Place> {
        let nodes = &self.gateway.nodes;
        if nodes
            .local()
            .is_some_and(|local| Arc::ptr_eq(local, &member))
        {
            return Some(Place::Local(Some(member)));
        }
        let replicas = nodes.replicas();
        let node = replicas.iter().find(|n| Arc::ptr_eq(n.member(), &member))?;
        Some(Place::Node {
            node: Arc::clone(node),
            policy: picked.policy,
            other_zone: picked.other_zone,
        })
    }

    /// The primary, wherever it is.
    fn primary(&self, policy: Policy, spill: Option<Spill>) -> Option<Place> {
        match self.gateway.nodes.primary() {
            Some(node) => Some(Place::Primary {
                node: Arc::clone(node),
                policy,
                _spill: spill,
            }),
            None => Some(Place::Local(None)),
        }
    }

    /// The primary in the place of those that should answer: at most so many reads
    /// at once.
    fn primary_for_others(&self, tried: Option<&Tried<'_>>) -> Option<Place> {
        let was_asked = tried.is_some_and(|t| t.places().any(|p| !p.is_replica_node()));
        if was_asked || self.not_primary.load(Ordering::Relaxed) {
            return None;
        }
        let most = self.gateway.live.load().freshness.max_spilled_reads;
        let spill = self.gateway.spills.take(most)?;
        self.primary(Policy::NoHealthyReplica, Some(spill))
    }

    async fn ask_local(&self) -> Result<Response<Body>, Box<Failure>> {
        // It cannot fail: its errors are answers.
        let Ok(response) = self.inner.clone().oneshot(self.call.local()).await;
        let headers = response.headers();
        if !headers.contains_key(Status::GRPC_STATUS) {
            return Ok(response);
        }
        match code_of(headers) {
            Code::Ok => Ok(response),
            code => Err(self.call.failed(code, &headers.clone(), response)),
        }
    }

    async fn ask_node(
        &self,
        node: &Arc<Node>,
        policy: Policy,
        detour: Detour,
    ) -> Result<Response<Body>, Box<Failure>> {
        metrics::routed(node.group(), policy.as_str());
        let way = Way {
            node,
            policy,
            detour,
        };
        let began = Clock::now();
        let outcome = self.call.ask(&way, told(node, began)).await;
        if outcome.is_err() {
            metrics::read_finished(node.group(), false, began.elapsed());
        }
        outcome
    }

    /// What a failure means for where to go next.
    fn learn(&self, place: &Place, failure: &mut Failure) {
        match failure.verdict {
            // What the primary does not know nobody does.
            Verdict::OnPrimary if !place.is_replica_node() => failure.verdict = Verdict::Final,
            Verdict::OnPrimary => self.only_primary.store(true, Ordering::Relaxed),
            _ => {}
        }
        self.is_gone.store(failure.is_gone, Ordering::Relaxed);
        let stale = failure.reason.as_deref() == Some(NOT_FRESH);
        if stale && !self.gateway.live.load().freshness.spill_to_primary {
            self.not_primary.store(true, Ordering::Relaxed);
        }
        // Strong reads, and those that only the primary may answer, end there.
        if matches!(place, Place::Primary { .. } | Place::Local(None)) {
            failure.verdict = match failure.verdict {
                Verdict::Shed => Verdict::Shed,
                _ => Verdict::Final,
            };
        }
    }
}

/// Counts a read when its answer is over.
fn told(node: &Arc<Node>, began: Clock) -> AtEnd {
    let node = Arc::clone(node);
    Box::new(move |code| {
        let ok = code == Code::Ok;
        if ok {
            node.count_read();
        }
        metrics::read_finished(node.group(), ok, began.elapsed());
    })
}

impl<S: Inner> Course for Read<'_, S> {
    type Place = Place;
    type Answer = Response<Body>;
    type Error = Box<Failure>;

    fn member<'a>(&'a self, place: &'a Place) -> Option<&'a Arc<Member>> {
        place.member()
    }

    async fn run(&self, place: &Place, detour: Detour) -> Result<Response<Body>, Box<Failure>> {
        let outcome = match place {
            Place::Local(_) => self.ask_local().await,
            Place::Node {
                node,
                policy,
                other_zone,
            } => {
                let detour = Detour {
                    other_zone: *other_zone,
                    ..detour
                };
                self.ask_node(node, *policy, detour).await
            }
            Place::Primary { node, policy, .. } => self.ask_node(node, *policy, detour).await,
        };
        outcome.map_err(|mut failure| {
            self.learn(place, &mut failure);
            failure
        })
    }

    fn verdict(&self, failure: &Self::Error) -> pool::Verdict {
        let (outcome, retry) = match failure.verdict {
            Verdict::Final => (Outcome::Blameless, false),
            Verdict::OnPrimary => (Outcome::Blameless, true),
            Verdict::Elsewhere { blame: true } => (Outcome::Fault, true),
            Verdict::Elsewhere { blame: false } => (Outcome::Blameless, true),
            Verdict::Shed => (Outcome::Shed, true),
        };
        pool::Verdict {
            outcome,
            retry,
            pushback: failure.pushback.unwrap_or_default(),
        }
    }

    async fn retry(&self, before: &[Place], last: &Place) -> Option<Place> {
        let tried = Tried { before, last };
        let tried = Some(&tried);
        if self.only_primary.load(Ordering::Relaxed) {
            return self.primary_for_others(tried);
        }
        let ask = Ask {
            may_try: false,
            ..self.ask
        };
        // The last attempt there is, where nodes failed so often.
        let most = self.gateway.nodes.pool().settings().retries.max_attempts;
        let is_last = u32::try_from(before.len() + 2).is_ok_and(|n| n >= most);
        let primary = || self.primary_for_others(tried);
        let at_last = is_last.then(primary).flatten();
        at_last
            .or_else(|| self.pick(tried, ask))
            .or_else(primary)
            .or_else(|| self.fail_safe(tried))
    }

    fn last_resort(&self, before: &[Place], last: &Place) -> Option<Place> {
        let left = |member: &Arc<Member>| !member.is_in_rotation();
        let is_gone = self.is_gone.load(Ordering::Relaxed) || last.member().is_some_and(left);
        let tried = Tried { before, last };
        is_gone
            .then(|| self.primary_for_others(Some(&tried)))
            .flatten()
    }

    fn hedge(&self, before: &[Place], running: &Place) -> Option<Place> {
        let tried = Tried {
            before,
            last: running,
        };
        let Place::Node { node: first, .. } = running else {
            return None;
        };
        let (pool, peek) = (self.gateway.nodes.pool(), &self.call.peek);
        let replicas = self.gateway.nodes.replicas();
        let at = first.version(&peek.table);
        // The very same answer: of one version, or of what both were last seen at.
        let same = |node: &Node| {
            peek.asks == Asks::Version || at.is_some() && node.version(&peek.table) == at
        };
        // A turn of its own would be one that no read has: the next read would begin
        // at the same node again.
        let ask = Ask {
            may_try: false,
            ..self.ask
        };
        let pick = pool.pick(ask, Instant::now(), |member| {
            let node = replicas.iter().find(|n| Arc::ptr_eq(n.member(), member));
            !tried.has(member) && node.is_some_and(|node| same(node))
        });
        self.place(pick?)
    }
}
