//! What one connection, or all of them together, may cost: the part of `[limits]`
//! that is about sockets.

use std::time::Duration;

use super::{
    checks::{Zero, bytes, duration},
    fault::Faults,
    raw,
};

/// The largest HTTP/2 takes for the size of headers.
const LARGEST_HEADERS: usize = 16 << 20;

/// What is asked of connections to the gRPC port. Read for each new one.
#[derive(Debug, Clone, Copy)]
pub struct Sockets {
    /// Open at once.
    pub max_connections: usize,
    /// Open at once by one client.
    pub max_per_client: usize,
    /// Requests at once on one connection.
    pub max_streams: u32,
    /// Bytes of the headers of one request.
    pub max_header_bytes: u32,
    /// For how long there may be no first request.
    pub first_request_timeout: Duration,
}

/// Checks that part of `[limits]`.
pub(super) fn sockets(raw: &raw::Limits, faults: &mut Faults) -> Sockets {
    let path = "limits.max_header_bytes";
    let max_header_bytes = bytes(faults, path, &raw.max_header_bytes, Zero::Refused);
    if max_header_bytes > LARGEST_HEADERS {
        faults.push(path, "must be at most 16MiB");
    }
    Sockets {
        max_connections: raw.max_connections,
        max_per_client: raw.max_connections_per_client,
        max_streams: raw.max_streams_per_connection,
        max_header_bytes: max_header_bytes.min(LARGEST_HEADERS) as u32,
        first_request_timeout: duration(
            faults,
            "limits.first_request_timeout",
            &raw.first_request_timeout,
            Zero::Refused,
        ),
    }
}
