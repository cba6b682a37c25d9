//! What must be true of a server that others than this machine can reach.

use std::net::SocketAddr;

use super::{
    fault::Faults,
    raw,
    tls::{ClientAuth, ServerTls},
};

/// Refuses a gRPC port beyond loopback that anybody can read along or call, unless
/// it is said in words that this is meant.
pub(super) fn exposure(
    address: SocketAddr,
    tls: Option<&ServerTls>,
    raw: &raw::Raw,
    faults: &mut Faults,
) {
    // An address of IPv4 may be written as one of IPv6.
    if address.ip().to_canonical().is_loopback() {
        return;
    }
    if tls.is_none() && !raw.server.allow_plaintext {
        faults.push(
            "server.grpc_address",
            format!(
                "{address} is not loopback and has no TLS: set server.tls.cert_file and \
                 server.tls.key_file, or, where a mesh or a private network protects it, \
                 server.allow_plaintext = true"
            ),
        );
    }
    if !has_authentication(tls, raw) && !raw.server.allow_unauthenticated {
        faults.push(
            "server.grpc_address",
            format!(
                "{address} is not loopback and anybody may call it: set access.enabled, or \
                 server.tls.client_auth = \"required\" and server.tls.client_ca_file, or, where \
                 a mesh or a private network knows who may call, server.allow_unauthenticated = \
                 true"
            ),
        );
    }
}

/// Whether everybody who calls has to show who they are. The one place that knows
/// by what.
fn has_authentication(tls: Option<&ServerTls>, raw: &raw::Raw) -> bool {
    raw.access.enabled || tls.is_some_and(|tls| tls.client_auth == ClientAuth::Required)
}
