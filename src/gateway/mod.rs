//! Forwarding to other nodes: a layer around the services of this process that
//! sends what others are to answer to them, and the rest to the services.

mod again;
mod answer;
mod forward;
mod headers;
mod message;
mod methods;
mod place;
mod primary;
mod read;
mod tag;
mod verdict;

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Request, Response, request::Parts};
use tonic::body::Body;
use tower::{Layer, Service};

use self::{
    forward::Call,
    message::{Asks, Peek},
    methods::{Method, Methods, Sort},
    place::Spills,
    read::{Inner, Read},
};
use crate::{
    config::{DefaultFreshness, Live},
    domain::{Error, TableName},
    node::{Nodes, SHADOW, VIA},
    proto::v1 as pb,
    service::{shadow::Shadow, stack::RequestFacts},
    wire::{
        freshness::{MIN_READ_VERSION, MIN_TIMESTAMP, MIN_VERSION, TOKEN},
        status::status,
    },
};

/// What decides where a request goes, and sends it there.
pub struct Gateway {
    nodes: Arc<Nodes>,
    methods: Methods,
    live: Live,
    /// Reads that the primary answers in the place of nodes that should.
    spills: Spills,
    /// Where there are shadow reads.
    shadow: Option<Arc<Shadow>>,
}

impl Gateway {
    /// One for these nodes.
    ///
    /// # Errors
    /// The contract's descriptors cannot be read: the build is broken.
    pub fn new(
        nodes: Arc<Nodes>,
        live: Live,
        shadow: Option<Arc<Shadow>>,
    ) -> Result<Self, prost::DecodeError> {
        Ok(Self {
            nodes,
            methods: Methods::of_contract()?,
            live,
            spills: Spills::default(),
            shadow,
        })
    }

    /// The method of a request, if that is to be forwarded.
    fn forwards(&self, path: &str) -> Option<Method> {
        let method = self.methods.get(path)?;
        let has_primary = self.nodes.primary().is_some();
        let reads = method.sort.is_read() && self.nodes.answer_reads();
        (reads || has_primary).then_some(*method)
    }

    /// Whether reads may have to be fresher than they say.
    fn has_defaults(&self) -> bool {
        let freshness = &self.live.load().freshness;
        let defaults = freshness.tables.values();
        let mut all = defaults.chain([&freshness.default]);
        all.any(|default| *default != DefaultFreshness::Eventual)
    }

    async fn forward<S: Inner>(
        &self,
        method: Method,
        request: Request<Body>,
        inner: S,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        match self.try_forward(method, parts, body, inner).await {
            Ok(answer) => answer,
            Err(error) => status(&error).into_http(),
        }
    }

    async fn try_forward<S: Inner>(
        &self,
        method: Method,
        parts: Parts,
        body: Body,
        inner: S,
    ) -> Result<Response<Body>, Error> {
        let headers = headers::forwarded(&parts.headers, self.nodes.instance())?;
        // What is run a second time is not run a third time.
        let may_be_shadowed = self.shadow.is_some() && !parts.headers.contains_key(SHADOW);
        let mut call = Call {
            keeps: may_be_shadowed && method.is_search,
            method,
            parts,
            headers,
            body: bytes::Bytes::new(),
            peek: Peek::default(),
            margin: self.nodes.settings().deadline_margin,
        };
        if let (Sort::PrimaryStream, Some(primary)) = (method.sort, self.nodes.primary()) {
            return Ok(primary::stream(primary, &call, body).await);
        }
        let most = self.live.load().limits.max_request_bytes;
        call.body = message::read_whole(body, most).await?;
        call.peek = message::peek(&call.body, &method);
        self.default_freshness(&mut call);
        note(&call);
        match (method.sort.is_read(), self.nodes.primary()) {
            (false, Some(primary)) => Ok(primary::ask(self, primary, &call).await),
            _ => Ok(Read::new(self, &call, inner).answer().await),
        }
    }

    /// Says how fresh the answer must be where the request does not and the
    /// configuration of this process does: that of the node may be another one.
    fn default_freshness(&self, call: &mut Call) {
        use pb::freshness::Kind;
        let (Some(number), Asks::Nothing, true) =
            (call.method.freshness, call.peek.asks, call.peek.is_known)
        else {
            return;
        };
        let (kind, asks) = match self.live.load().freshness.of(&call.peek.table) {
            DefaultFreshness::Eventual => return,
            DefaultFreshness::Strong => (Kind::Strong(pb::Strong {}), Asks::Strong),
            DefaultFreshness::MaxAge(age) => {
                let staleness = pb::MaxStaleness {
                    // No duration of the configuration is that long.
                    age: age.try_into().ok(),
                    versions: None,
                };
                (Kind::MaxStaleness(staleness), Asks::Bound)
            }
            DefaultFreshness::MaxVersions(versions) => {
                let staleness = pb::MaxStaleness {
                    age: None,
                    versions: Some(versions),
                };
                (Kind::MaxStaleness(staleness), Asks::Bound)
            }
        };
        let freshness = pb::Freshness { kind: Some(kind) };
        call.body = message::with_field(&call.body, number, &freshness);
        call.peek.asks = asks;
    }
}

/// Tells the access log which table it is about, and the gate whether its time may be
/// spent waiting for a version.
fn note(call: &Call) {
    let Some(facts) = call.parts.extensions.get::<RequestFacts>() else {
        return;
    };
    // What is no table name may be anything: it is not logged.
    if TableName::parse(&call.peek.table).is_ok() {
        facts.table(&call.peek.table);
    }
    let bounds = [TOKEN, MIN_VERSION, MIN_READ_VERSION, MIN_TIMESTAMP];
    let has_bounds = || {
        bounds
            .iter()
            .any(|name| call.parts.headers.contains_key(*name))
    };
    if call.peek.asks != Asks::Nothing || !call.peek.is_known || has_bounds() {
        facts.bounds();
    }
}

/// The layer. Without a gateway it is not there.
#[derive(Clone)]
pub struct GatewayLayer(Option<Arc<Gateway>>);

impl GatewayLayer {
    /// A layer that forwards, if there is somewhere to forward to.
    pub fn new(gateway: Option<Gateway>) -> Self {
        Self(gateway.map(Arc::new))
    }
}

impl<S> Layer<S> for GatewayLayer {
    type Service = WithGateway<S>;

    fn layer(&self, inner: S) -> WithGateway<S> {
        WithGateway {
            inner,
            gateway: self.0.clone(),
        }
    }
}

/// The services of this process, and what is forwarded instead.
#[derive(Clone)]
pub struct WithGateway<S> {
    inner: S,
    gateway: Option<Arc<Gateway>>,
}

impl<S> Service<Request<Body>> for WithGateway<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(gateway) = &self.gateway else {
            return Box::pin(self.inner.call(request));
        };
        // Also of what is answered here: a probe is to find out that it came back.
        if request.headers().contains_key(VIA)
            && let Err(error) = headers::via(request.headers(), gateway.nodes.instance())
        {
            return Box::pin(async move { Ok(status(&error).into_http()) });
        }
        let Some(method) = gateway.forwards(request.uri().path()) else {
            return Box::pin(self.inner.call(request));
        };
        let (gateway, inner) = (Arc::clone(gateway), self.inner.clone());
        Box::pin(async move { Ok(gateway.forward(method, request, inner).await) })
    }
}
