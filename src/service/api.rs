//! What every service needs, and how every answer is sent.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tonic::{Extensions, Response, Status, metadata::MetadataMap};

use super::{
    allowed::count_refusal,
    shadow::Shadow,
    stack::{AnswerHold, Deadline, RequestFacts},
};
use crate::{
    config::{Limits, Live},
    connection::Lane,
    domain::{
        Bounds, Error, Freshness, Position, Result, TableName, TableScope,
        view::{Lag, Served},
    },
    proto::v1 as pb,
    router::{ReadOptions, Router},
    storage::{Handle, Rules, Snapshot},
    wire::{
        self,
        freshness::{Asked, freshness},
    },
};

/// Shared by the services.
#[derive(Clone)]
pub struct Api {
    pub router: Arc<Router>,
    /// What is configured, for requests that begin now.
    pub live: Live,
    /// Where there are shadow reads.
    pub shadow: Option<Arc<Shadow>>,
}

/// A message with who served it, which is answered as metadata too.
pub(super) fn reply<T>(
    extensions: &Extensions,
    table: &str,
    served: &Served,
    message: T,
) -> Response<T> {
    note(extensions, table, Some(served));
    let mut response = Response::new(message);
    wire::served::attach(
        response.metadata_mut(),
        &wire::served::served(table, served),
    );
    response
}

/// An error as a client sees it. What is internal is logged here, once.
pub(super) fn refuse(extensions: &Extensions, table: &str, error: &Error) -> Status {
    note(extensions, table, None);
    count_refusal(error);
    if let Error::Internal(detail) = error {
        tracing::error!(detail = %detail, "internal error");
    }
    wire::status::status(error)
}

/// Adds what only a handler knows to the access log.
fn note(extensions: &Extensions, table: &str, served: Option<&Served>) {
    let Some(facts) = extensions.get::<RequestFacts>() else {
        return;
    };
    // A name that is no table name may be anything: it is not logged.
    if TableName::parse(table).is_ok() {
        facts.table(table);
    }
    if let Some(served) = served {
        facts.served(served);
    }
}

/// What is left of a request's time.
pub(super) fn time_left(extensions: &Extensions, limits: &Limits) -> Duration {
    match extensions.get::<Deadline>() {
        Some(deadline) => deadline.remaining(),
        None => limits.max_deadline,
    }
}

/// A request taken apart.
pub(super) struct Call<T> {
    pub extensions: Extensions,
    pub metadata: MetadataMap,
    pub message: T,
}

impl<T> From<tonic::Request<T>> for Call<T> {
    fn from(request: tonic::Request<T>) -> Self {
        let (metadata, extensions, message) = request.into_parts();
        Self {
            extensions,
            metadata,
            message,
        }
    }
}

/// Answers below this many encoded bytes are never compressed: on the few packets
/// of a top-ten list it saves less time than it takes.
const COMPRESS_FROM: usize = 4 << 10;

/// Answers a call: who served it goes into the message by `build`.
pub(super) fn answer<A, M: prost::Message>(
    extensions: &Extensions,
    table: &str,
    outcome: Result<(A, Served)>,
    build: impl FnOnce(A, crate::proto::v1::Served) -> Result<M>,
) -> std::result::Result<Response<M>, Status> {
    let built = outcome.and_then(|(answer, served)| {
        let message = build(answer, wire::served::served(table, &served))?;
        AnswerHold::of(extensions).is(message.encoded_len())?;
        Ok((message, served))
    });
    match built {
        Ok((message, served)) => {
            let is_small = message.encoded_len() < COMPRESS_FROM;
            let mut response = reply(extensions, table, &served, message);
            if is_small {
                response.disable_compression();
            }
            Ok(response)
        }
        Err(error) => Err(refuse(extensions, table, &error)),
    }
}

impl Api {
    /// What a request that begins now may cost.
    pub(super) fn limits(&self) -> Limits {
        self.live.load().limits
    }

    /// Notes, for the audit log, the newest version of a table that is known before
    /// something is done to it.
    pub(super) fn before(&self, extensions: &Extensions, table: &str) {
        let Some(facts) = extensions.get::<RequestFacts>() else {
            return;
        };
        let catalog = self.router.primary().connection().catalog();
        let newest = TableName::parse(table).map(|table| catalog.position(&table));
        if let Ok(Some(position)) = newest {
            facts.version_before(position.version);
        }
    }

    /// What an expression of a request that begins now may be.
    pub(super) fn rules(&self) -> Arc<Rules> {
        Arc::new(Rules::of(&self.live.load()))
    }

    /// How fresh the answer of a read must be, and how long it may wait for that.
    pub(super) fn read_options(
        &self,
        table: &str,
        field: Option<pb::Freshness>,
        metadata: &MetadataMap,
        extensions: &Extensions,
    ) -> Result<ReadOptions> {
        let table = TableName::parse(table)?;
        let config = self.live.load();
        let configured = &config.freshness;
        let asked = Asked {
            table: &table,
            field,
            metadata,
        };
        let freshness = freshness(
            asked,
            configured.of(table.as_str()),
            self.router.token_key().as_ref(),
            SystemTime::now(),
        )?;
        if freshness != Freshness::Bounded(Bounds::NONE)
            && let Some(facts) = extensions.get::<RequestFacts>()
        {
            facts.bounds();
        }
        Ok(ReadOptions {
            freshness,
            wait: configured.wait.min(time_left(extensions, &config.limits)),
            deadline: extensions.get::<Deadline>().map(|deadline| deadline.0),
        })
    }

    /// Reads a table, as far as it is there for the caller. Nothing else here gets a
    /// snapshot of a router.
    pub(super) async fn read<T, F, Fut>(
        &self,
        table: &TableName,
        options: &ReadOptions,
        scope: &Arc<TableScope>,
        read: F,
    ) -> Result<(T, Served)>
    where
        T: Send,
        F: Fn(Arc<Snapshot>) -> Fut + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let read = |snapshot| seen(snapshot, scope, &read);
        self.router.read(table, options, read).await
    }

    /// The same at one version.
    pub(super) async fn read_at<T, F, Fut>(
        &self,
        table: &TableName,
        version: u64,
        options: &ReadOptions,
        scope: &Arc<TableScope>,
        read: F,
    ) -> Result<(T, Served)>
    where
        T: Send,
        F: Fn(Arc<Snapshot>) -> Fut + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let read = |snapshot| seen(snapshot, scope, &read);
        self.router.read_at(table, version, options, read).await
    }

    /// Runs a write on the primary, on a handle that is the caller's.
    pub(super) async fn write<T, F, Fut>(
        &self,
        table: &str,
        scope: &Arc<TableScope>,
        lane: Lane,
        write: F,
    ) -> Result<(T, Served)>
    where
        T: Send + 'static,
        F: FnOnce(Handle) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T>> + Send,
    {
        let table = TableName::parse(table)?;
        let route = self.router.write_route()?;
        let scope = Arc::clone(scope);
        let write = move |handle: Handle| write(handle.seen_by(&scope));
        let (written, incarnation) = self.router.primary().write(&table, lane, write).await?;
        // The caller knows the version.
        let position = Position {
            incarnation,
            version: 0,
        };
        let served = Served {
            // Nothing is ahead of a write.
            lag: Lag::default(),
            ..self.router.served(route, &table, &position)
        };
        Ok((written, served))
    }
}

async fn seen<T, F, Fut>(snapshot: Arc<Snapshot>, scope: &Arc<TableScope>, read: &F) -> Result<T>
where
    F: Fn(Arc<Snapshot>) -> Fut,
    Fut: Future<Output = Result<T>>,
{
    read(snapshot.seen_by(scope)?).await
}

#[cfg(test)]
mod tests {
    use tonic::codec::SingleMessageCompressionOverride;

    use super::*;
    use crate::{
        domain::{
            Role,
            view::{Detour, Policy, Route},
        },
        proto::v1::ExplainResponse,
    };

    #[test]
    fn only_small_answers_are_sent_as_they_are() {
        let served = Served {
            route: Route {
                connection: 0,
                name: "primary".into(),
                role: Role::Primary,
                policy: Policy::NoReplicas,
                detour: Detour::default(),
            },
            version: 1,
            lag: Lag::default(),
            origin: None,
        };
        for (length, disabled) in [(100, true), (COMPRESS_FROM, false)] {
            let outcome = Ok(("x".repeat(length), served.clone()));
            let response = answer(&Extensions::new(), "t", outcome, |plan, served| {
                Ok(ExplainResponse {
                    plan,
                    served: Some(served),
                })
            });
            let response = response.unwrap();
            let found = response
                .extensions()
                .get::<SingleMessageCompressionOverride>();
            let expected = disabled.then_some(SingleMessageCompressionOverride::Disable);
            assert_eq!(found.copied(), expected, "{length}");
        }
    }
}
