//! Who may see the guarded pages of the HTTP port.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use futures::future::BoxFuture;
use secrecy::ExposeSecret;

use crate::{access::Access, config::Live, telemetry::http};

/// Decides by the configuration that holds.
pub(super) struct Visitors {
    live: Live,
    access: Option<Arc<Access>>,
}

impl Visitors {
    pub(super) fn new(live: Live, access: Option<Arc<Access>>) -> Self {
        Self { live, access }
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
}

impl http::Visitors for Visitors {
    fn may_see<'a>(&'a self, headers: &'a HeaderMap) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let shows_token = self.shows_token(headers);
            match (shows_token, &self.access) {
                (Some(true), _) | (None, None) => true,
                (Some(false), None) => false,
                (_, Some(access)) => {
                    let caller = access.caller(headers, None).await;
                    caller.is_ok_and(|caller| caller.grants.measures())
                }
            }
        })
    }
}
