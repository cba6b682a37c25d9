//! What must be true of a server that others than this machine can reach.

use std::net::SocketAddr;

use super::{
    fault::Faults,
    raw,
    tls::{ClientAuth, ServerTls},
};

/// One of the two ports.
struct Port {
    setting: &'static str,
    address: SocketAddr,
    is_secure: bool,
    /// Whether everybody who comes has to show who they are.
    is_guarded: bool,
    /// What makes it secure, what somebody could do without a guard, and what guards it.
    says: [&'static str; 3],
}

/// Refuses ports beyond loopback that anybody can read along or call, unless it is said
/// in words that this is meant. The one place that knows by what callers are known.
pub(super) fn exposure(
    [grpc, http]: [(SocketAddr, Option<&ServerTls>); 2],
    raw: &raw::Raw,
    faults: &mut Faults,
) {
    let asks = |tls: Option<&ServerTls>| {
        raw.access.enabled || tls.is_some_and(|tls| tls.client_auth == ClientAuth::Required)
    };
    let ports = [
        Port {
            setting: "server.grpc_address",
            address: grpc.0,
            is_secure: grpc.1.is_some(),
            is_guarded: asks(grpc.1),
            says: [
                "server.tls.cert_file and server.tls.key_file",
                "call it",
                "access.enabled, or server.tls.client_auth = \"required\" and \
                 server.tls.client_ca_file",
            ],
        },
        // The probes there tell nothing; the metrics and the deep check name what there is.
        Port {
            setting: "server.http_address",
            address: http.0,
            is_secure: http.1.is_some(),
            is_guarded: asks(http.1) || !raw.metrics.bearer_token_file.is_empty(),
            says: [
                "server.http_tls.cert_file and server.http_tls.key_file",
                "see its metrics",
                "metrics.bearer_token_file or access.enabled",
            ],
        },
    ];
    for port in ports {
        refuse(&port, &raw.server, faults);
    }
}

fn refuse(port: &Port, server: &raw::Server, faults: &mut Faults) {
    let (address, [tls, act, guard]) = (port.address, port.says);
    // An address of IPv4 may be written as one of IPv6.
    if address.ip().to_canonical().is_loopback() {
        return;
    }
    if !port.is_secure && !server.allow_plaintext {
        faults.push(
            port.setting,
            format!(
                "{address} is not loopback and has no TLS: set {tls}, or, where a mesh or a \
                 private network protects it, server.allow_plaintext = true"
            ),
        );
    }
    if !port.is_guarded && !server.allow_unauthenticated {
        faults.push(
            port.setting,
            format!(
                "{address} is not loopback and anybody may {act}: set {guard}, or, where a mesh \
                 or a private network knows who may call, server.allow_unauthenticated = true"
            ),
        );
    }
}
