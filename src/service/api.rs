//! What every service needs, and how every answer is sent.

use std::{sync::Arc, time::Duration};

use tonic::{Extensions, Response, Status};

use super::stack::{Deadline, RequestFacts};
use crate::{
    config::Limits,
    domain::{Error, Result, TableName, view::Served},
    router::Router,
    wire,
};

/// Shared by the services.
#[derive(Clone)]
pub struct Api {
    pub router: Arc<Router>,
    pub limits: Arc<Limits>,
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
    wire::served::attach(response.metadata_mut(), served);
    response
}

/// An error as a client sees it. What is internal is logged here, once.
pub(super) fn refuse(extensions: &Extensions, table: &str, error: &Error) -> Status {
    note(extensions, table, None);
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
    pub message: T,
}

impl<T> From<tonic::Request<T>> for Call<T> {
    fn from(request: tonic::Request<T>) -> Self {
        let (_, extensions, message) = request.into_parts();
        Self {
            extensions,
            message,
        }
    }
}

/// Answers a call: who served it goes into the message by `build`.
pub(super) fn answer<A, M>(
    extensions: &Extensions,
    table: &str,
    outcome: Result<(A, Served)>,
    build: impl FnOnce(A, crate::proto::v1::Served) -> Result<M>,
) -> std::result::Result<Response<M>, Status> {
    let built = outcome.and_then(|(answer, served)| {
        let message = build(answer, wire::served::served(&served))?;
        Ok((message, served))
    });
    match built {
        Ok((message, served)) => Ok(reply(extensions, table, &served, message)),
        Err(error) => Err(refuse(extensions, table, &error)),
    }
}
