//! Who may see the guarded pages of the HTTP port, and what is told of those who may not.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use futures::future::BoxFuture;
use secrecy::ExposeSecret;
use tonic::Code;

use crate::{
    access::{Access, Refusal},
    config::Live,
    domain::{Error, Principal},
    telemetry::{
        audit::{AuditLog, Event, Line},
        http::{self, Visit},
        metrics,
    },
};

/// Decides by the configuration that holds.
pub(super) struct Visitors {
    live: Live,
    access: Option<Arc<Access>>,
    audit: AuditLog,
}

/// Why somebody may not see a page, and who it is, where that is known.
type Denied = (Refusal, Option<Arc<Principal>>);

impl Visitors {
    pub(super) fn new(live: Live, access: Option<Arc<Access>>, audit: AuditLog) -> Self {
        Self {
            live,
            access,
            audit,
        }
    }

    /// Whether a request shows the text of the configuration.
    fn shows_token(&self, headers: &HeaderMap) -> Option<bool> {
        let config = self.live.load();
        let token = config.metrics.bearer_token.as_ref()?.secret.expose_secret();
        let shown = headers.get(header::AUTHORIZATION);
        let shown = shown.and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|text| text.split_once(' '));
        Some(shown.is_some_and(|(scheme, shown)| {
            // Hashes are compared: how much of a text is right is not to be measured.
            let same = blake3::hash(shown.trim().as_bytes()) == blake3::hash(token.as_bytes());
            scheme.eq_ignore_ascii_case("bearer") && same
        }))
    }

    async fn admit(&self, visit: Visit<'_>) -> Result<(), Denied> {
        let Visit {
            headers,
            certificate,
            ..
        } = visit;
        let shows_token = self.shows_token(headers);
        match (shows_token, &self.access) {
            (Some(true), _) | (None, None) => Ok(()),
            (Some(false), None) => Err(match headers.contains_key(header::AUTHORIZATION) {
                true => (Refusal::InvalidToken, None),
                false => (Refusal::Missing, None),
            }),
            (_, Some(access)) => {
                let caller = access.caller(headers, certificate).await;
                let caller = caller.map_err(|refusal| (refusal, None))?;
                match caller.grants.measures() {
                    true => Ok(()),
                    false => Err((Refusal::Method, Some(caller.principal))),
                }
            }
        }
    }

    fn tell(&self, visit: Visit<'_>, (refusal, principal): Denied) {
        metrics::access_refused(refusal.as_str());
        // As the same is told of a call.
        let (code, reason) = match refusal.error() {
            Error::Denied(_) => (Code::PermissionDenied, "ACCESS_DENIED"),
            _ => (Code::Unauthenticated, "UNAUTHENTICATED"),
        };
        let action = format!("http{}", visit.page);
        let line = Line {
            peer: visit.peer,
            code: Some(metrics::code_name(code)),
            reason: Some(reason),
            ..Line::new(Event::Outcome, &action).by(principal.as_deref())
        };
        self.audit.refused(line);
    }
}

impl http::Visitors for Visitors {
    fn may_see<'a>(&'a self, visit: Visit<'a>) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let admitted = self.admit(visit).await;
            admitted.map_err(|denied| self.tell(visit, denied)).is_ok()
        })
    }
}
