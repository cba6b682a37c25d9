//! Whether a caller may do to a table what a method does: decided by its name alone,
//! before anything else of the message is unpacked or read, and before it takes a place.
//!
//! Handlers ask again, of the message that they are given: it may name a table late, or
//! more than once.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

use super::{RequestFacts, body::GrpcBody, guard::refused, peek};
use crate::{
    access::{Grants, Need, need},
    config::{AccessRole, failpoint},
    domain::TableName,
};

#[derive(Clone, Copy)]
pub(super) struct TablesLayer;

impl<S> Layer<S> for TablesLayer {
    type Service = Tables<S>;

    fn layer(&self, inner: S) -> Tables<S> {
        Tables { inner }
    }
}

#[derive(Clone)]
pub struct Tables<S> {
    inner: S,
}

impl<S, B> Service<Request<Body>> for Tables<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: GrpcBody,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let grants = request.extensions().get::<Arc<Grants>>();
        let grants = grants.filter(|grants| !grants.is_everything()).cloned();
        let role = role(request.uri().path());
        let (Some(grants), Some(role)) = (grants, role) else {
            return Box::pin(self.inner.call(request));
        };
        // What was found ready is called, whenever that will be.
        let spare = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, spare);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let encoding = parts.headers.get("grpc-encoding");
            let (name, body) = peek::first_field(encoding, body).await;
            if let Some(name) = name
                && let Err(refusal) = grants.table(&name, role)
                && !failpoint::breaks("access:decoded-first")
            {
                if let Some(facts) = parts.extensions.get::<RequestFacts>()
                    && TableName::parse(&name).is_ok()
                {
                    facts.table(&name);
                }
                return Ok(refused(refusal).into_http());
            }
            inner.call(Request::from_parts(parts, body)).await
        })
    }
}

/// What a caller must be on the table that a method's message names first; `None` for
/// methods that are about none.
fn role(path: &str) -> Option<AccessRole> {
    if path.starts_with("/lancegate.v1.ClusterService/") {
        return None;
    }
    match need(path)? {
        Need::Role(role) => Some(role),
        Need::Explain => Some(AccessRole::Reader),
        Need::Nothing | Need::Operator | Need::Reflection => None,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::proto::DESCRIPTORS;

    /// Every method that is decided on here has its table in the first field, but for the
    /// one that lists them all, whose first field is no text.
    #[test]
    fn the_first_field_is_the_table() {
        let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap();
        let files = set
            .file
            .iter()
            .filter(|file| file.package() == "lancegate.v1");
        let messages: Vec<_> = files.clone().flat_map(|file| &file.message_type).collect();
        let (mut decided, mut others) = (0, Vec::new());
        for (file, service) in files.flat_map(|file| file.service.iter().map(move |s| (file, s))) {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                if role(&path).is_none() {
                    continue;
                }
                let input = method.input_type().rsplit('.').next().unwrap();
                let message = messages.iter().find(|m| m.name() == input).unwrap();
                let first = message.field.iter().find(|field| field.number() == 1);
                match first.map(|field| (field.name(), field.r#type())) {
                    Some(("table", prost_types::field_descriptor_proto::Type::String)) => {
                        decided += 1
                    }
                    Some((_, prost_types::field_descriptor_proto::Type::String)) => {
                        panic!("{path}")
                    }
                    _ => others.push(method.name().to_owned()),
                }
            }
        }
        assert_eq!(others, ["ListTables"]);
        assert!(decided > 25, "{decided}");
    }
}
