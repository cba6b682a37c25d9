//! What the tests of this folder share.

use std::time::Duration;

use crate::{
    config::Limits,
    domain::{Error, Result},
};

/// Limits with room for every good request of the tests.
pub(super) fn limits() -> Limits {
    Limits {
        max_concurrent_requests: 256,
        max_deadline: Duration::from_secs(60),
        max_request_bytes: 16 << 20,
        max_response_bytes: 64 << 20,
        max_limit: 1_000,
        max_query_vectors: 16,
        max_vector_dimension: 4_096,
        default_page_size: 100,
        max_page_size: 1_000,
        max_filter_bytes: 1_024,
        max_filter_depth: 32,
        max_import_bytes: 1 << 30,
    }
}

/// The paths of an invalid request's violations.
pub(super) fn fields<T: std::fmt::Debug>(result: Result<T>) -> Vec<String> {
    match result {
        Err(Error::Invalid(violations)) => violations.into_iter().map(|v| v.field).collect(),
        other => panic!("not refused as invalid: {other:?}"),
    }
}
