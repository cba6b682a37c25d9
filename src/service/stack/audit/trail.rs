//! What is known of one request that may have to be audited, until it is over.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::HeaderValue;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{
    super::{method_of, peer},
    RequestFacts, is_audited,
};
use crate::{
    config::failpoint,
    domain::TableName,
    telemetry::{
        audit::{AuditLog, Event, Line, NotAudited, Place, Rows},
        metrics::code_name,
    },
};

/// Longest name of a connection or of a replica.
const MAX_NAME: usize = 63;

/// A request as it came in.
pub(super) struct Request {
    /// Service and method.
    action: String,
    peer: Option<SocketAddr>,
    id: Option<HeaderValue>,
    facts: RequestFacts,
}

impl Request {
    pub(super) fn by<B>(request: &http::Request<B>) -> Self {
        Self {
            action: method_of(request.uri().path()).to_owned(),
            peer: peer(request.extensions()),
            id: request.headers().get("x-request-id").cloned(),
            facts: request.extensions().get().cloned().unwrap_or_default(),
        }
    }
}

/// The trail of a request. The last of its clones to go writes the line.
#[derive(Clone)]
pub(super) struct Trail(Arc<Record>);

struct Record {
    log: AuditLog,
    request: Request,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Whether it has begun to be worked on.
    began: bool,
    table: Option<String>,
    connection: Option<String>,
    /// How the work ended.
    worked: Option<Code>,
    /// What the client was told.
    told: Option<Code>,
    reason: Option<String>,
    place: Option<Place>,
}

/// The reason of an error.
pub(super) fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

impl Trail {
    pub(super) fn new(log: AuditLog, request: Request) -> Self {
        Self(Arc::new(Record {
            log,
            request,
            known: Mutex::default(),
        }))
    }

    /// What it is about, by the first field of its message. What is no name may be
    /// anything: it is not told.
    pub(super) fn about(&self, path: &str, first: Option<String>) {
        let Some(name) = first else { return };
        let mut known = self.0.known();
        if path.starts_with("/lancegate.v1.ClusterService/") {
            let in_names = |c: char| c.is_ascii_alphanumeric() || "-_.:@/".contains(c);
            let is_name = name.len() <= MAX_NAME && name.chars().all(in_names);
            known.connection = Some(name).filter(|_| is_name);
        } else {
            known.table = Some(name).filter(|name| TableName::parse(name).is_ok());
        }
    }

    /// It begins: where nothing may be done that is not audited, that is written
    /// first.
    pub(super) async fn begin(&self) -> Result<(), NotAudited> {
        if self.0.log.is_required() {
            let (table, connection) = {
                let known = self.0.known();
                (known.table.clone(), known.connection.clone())
            };
            let line = Line {
                table: table.as_deref(),
                connection: connection.as_deref(),
                ..self.0.line(Event::Attempt)
            };
            let place = self.0.log.written(&line).await?;
            self.0.known().place = place;
        }
        self.0.known().began = true;
        Ok(())
    }

    /// The work is over, with this status unless it was good.
    pub(super) fn worked(&self, status: Option<Status>) {
        let code = status.as_ref().map_or(Code::Ok, Status::code);
        self.0.known().worked = Some(code);
        if let Some(status) = status {
            self.reason(&status);
        }
    }

    /// The client was told, or has gone away.
    pub(super) fn told(&self, code: Code) {
        self.0.known().told = Some(code);
    }

    /// Why, where it did not go well. The first word stays.
    pub(super) fn reason(&self, status: &Status) {
        if status.code() != Code::Ok {
            let mut known = self.0.known();
            known.reason = known.reason.take().or_else(|| reason(status));
        }
    }
}

impl Record {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is the same in every line.
    fn line(&self, event: Event) -> Line<'_> {
        let Request {
            action,
            peer,
            id,
            facts,
        } = &self.request;
        Line {
            peer: *peer,
            request_id: id.as_ref().and_then(|id| id.to_str().ok()),
            ..Line::new(event, action).by(facts.get_principal().map(AsRef::as_ref))
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let mut known =
            std::mem::take(self.known.get_mut().unwrap_or_else(PoisonError::into_inner));
        let told = known.told.unwrap_or(Code::Cancelled);
        let refused = matches!(told, Code::Unauthenticated | Code::PermissionDenied);
        if !is_audited(&self.request.action) && !refused {
            return;
        }
        let code = match known.worked {
            Some(code) if !failpoint::breaks("audit:as-told") => code,
            // It was begun, and nobody has seen the end: the process stops, or it
            // panicked, which is told as the fault of ours that it is.
            None if known.began && told != Code::Internal => Code::Unknown,
            _ => told,
        };
        let facts = &self.request.facts;
        let done = facts.get_done();
        let line = Line {
            table: facts.get_table().or(known.table.as_deref()),
            connection: known.connection.as_deref(),
            served_by: facts.get_connection(),
            code: Some(code_name(code)),
            reason: known.reason.as_deref().filter(|_| code != Code::Ok),
            client_code: (told != code).then(|| code_name(told)),
            version_before: facts.get_version_before(),
            version_after: facts.get_version().filter(|_| code == Code::Ok),
            rows: done.map(|done| Rows {
                inserted: done.counts.inserted,
                updated: done.counts.updated,
                deleted: done.counts.deleted,
            }),
            write_id: facts.get_write_id(),
            repeated: done.is_some_and(|done| done.repeated),
            ..self.line(Event::Outcome)
        };
        match known.began {
            true => self.log.note(&line, known.place.take()),
            // Whatever for: nothing was done, and it may be a flood.
            false => self.log.refused(line),
        }
    }
}
