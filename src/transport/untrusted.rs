//! Handshakes that fail: what is told of them.

use std::{io, net::SocketAddr};

use tokio_rustls::rustls;

use super::Protocol;
use crate::telemetry::{
    audit::{AuditLog, Event, Line},
    metrics,
};

/// How the audit log has a connection whose certificate was not taken.
const ACTION: &str = "tls.handshake";

/// Tells of a handshake that did not end well. Whoever showed a certificate that is not
/// trusted, or none where one is wanted, was refused, which is for the audit log; whoever
/// does not speak TLS has said nothing of who it is.
pub(super) fn tell(protocol: Protocol, from: SocketAddr, error: &io::Error, audit: &AuditLog) {
    let port = protocol.port();
    metrics::connection_refused(port, "handshake");
    tracing::debug!(port, peer = %from, %error, "no handshake");
    if is_of_certificate(error) {
        audit.refused(Line {
            peer: Some(from),
            code: Some(metrics::code_name(tonic::Code::Unauthenticated)),
            reason: Some("CLIENT_CERTIFICATE"),
            ..Line::new(Event::Outcome, ACTION)
        });
    }
}

/// Tells of a handshake that did not end in time.
pub(super) fn late(protocol: Protocol, from: SocketAddr) {
    metrics::connection_refused(protocol.port(), "handshake_timeout");
    tracing::debug!(port = protocol.port(), peer = %from, "no handshake in time");
}

fn is_of_certificate(error: &io::Error) -> bool {
    let inner = error.get_ref();
    matches!(
        inner.and_then(|inner| inner.downcast_ref()),
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented)
    )
}
