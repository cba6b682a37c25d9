//! Writes that carry a request id.

use std::sync::Arc;

use tonic::Extensions;

use super::{allowed::owner, api::Api, stack::RequestFacts};
use crate::{
    domain::{
        Done, Error, Incarnation, Position, RequestId, Result, TableName, TableScope, WriteRequest,
        request::{Digest, WriteKind},
        view::{Lag, Served},
    },
    storage::{Handle, Staged, Store},
    telemetry::metrics,
};

/// What a message asks for, if it has a request id. `id` was taken out of it, so
/// that the rest is the same whatever the id.
pub(super) fn repeatable<M: prost::Message>(
    kind: WriteKind,
    id: &str,
    message: &M,
    extensions: &Extensions,
) -> Result<Option<WriteRequest>> {
    let Some(id) = owned_id(id, extensions)? else {
        return Ok(None);
    };
    if let Some(facts) = extensions.get::<RequestFacts>() {
        facts.write_id(&id);
    }
    // Not the bytes that came: clients may encode one message in several ways.
    let mut hasher = blake3::Hasher::new();
    hasher.update(&message.encode_to_vec());
    Ok(Some(WriteRequest {
        id,
        kind,
        digest: Digest::of(&hasher),
    }))
}

/// The id of a request. That of somebody who is known is their own: what others call
/// alike is not answered with what became of theirs.
pub(super) fn owned_id(id: &str, extensions: &Extensions) -> Result<Option<RequestId>> {
    let id = RequestId::parse(id)?;
    Ok(id.map(|id| match owner(extensions) {
        Some(owner) => id.owned_by(&owner),
        None => id,
    }))
}

impl Api {
    /// Runs a write with a request id on the primary.
    pub(super) async fn write_once<F, Fut>(
        &self,
        table: &str,
        scope: &Arc<TableScope>,
        request: WriteRequest,
        stage: F,
    ) -> Result<(Done, Served)>
    where
        F: Fn(Arc<Store>, Handle) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Staged>> + Send,
    {
        let table = TableName::parse(table)?;
        let scope = Arc::clone(scope);
        let stage = move |store, handle: Handle| stage(store, handle.seen_by(&scope));
        let write = self.router.primary().write_once(&table, request, stage);
        self.done(&table, write).await
    }

    /// Waits for a write with a request id. Whatever it made, it is served now.
    pub(super) async fn done(
        &self,
        table: &TableName,
        write: impl Future<Output = Result<(Done, Incarnation)>>,
    ) -> Result<(Done, Served)> {
        let route = self.router.write_route()?;
        let outcome = write.await;
        match &outcome {
            Ok((done, _)) if done.repeated => metrics::write_repeated("answered"),
            Err(Error::RequestIdReused) => metrics::write_repeated("refused"),
            _ => {}
        }
        let (done, incarnation) = outcome?;
        let version = done.version;
        let served = Served {
            // Nothing is ahead of a write.
            lag: Lag::default(),
            ..self.router.served(
                route,
                table,
                &Position {
                    incarnation,
                    version,
                },
            )
        };
        Ok((done, served))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1 as pb;

    #[test]
    fn the_id_is_not_part_of_what_is_asked() {
        let request = |id: &str, sql: &str| {
            let message = pb::DeleteRequest {
                table: "t".into(),
                filter: Some(pb::Filter {
                    sql: sql.into(),
                    ..Default::default()
                }),
                request_id: String::new(),
            };
            repeatable(WriteKind::Delete, id, &message, &Extensions::new())
        };
        assert_eq!(request("", "id = 1"), Ok(None));
        assert!(request("\n", "id = 1").is_err());
        let of = |id, sql| request(id, sql).unwrap().unwrap();
        assert_eq!(of("a", "id = 1").digest, of("b", "id = 1").digest);
        assert_ne!(of("a", "id = 1").digest, of("a", "id = 2").digest);
    }
}
