//! Quotas as they are written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::ByteSize;

/// What each of those who ask may have, so that one cannot take it all from the
/// others. Somebody is the principal that was authenticated, or an IP address (of
/// IPv6 its first 64 bits) for those who showed nothing. More is refused with
/// RESOURCE_EXHAUSTED, and a delay where waiting helps. 0 is no bound. Health checks
/// are not counted, a stream is one request, and what is forwarded to a node is
/// counted here.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Quotas {
    /// Requests a second that may begin, in the long run.
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub requests_per_second: f64,
    /// Requests that may begin at once after a rest. 0: those of one second, and at
    /// least 1.
    #[schemars(range(max = 1_000_000))]
    pub burst: u32,
    /// Requests at once.
    #[schemars(range(max = 1_000_000))]
    pub max_concurrent_requests: u32,
    /// Bytes of one request message, as it comes.
    pub max_request_bytes: ByteSize,
    /// Bytes of one answer, as it is sent; of a stream, of all its messages.
    pub max_answer_bytes: ByteSize,
    /// Rows of one answer; of a stream, of all its messages. Pages of a scan become
    /// no larger.
    pub max_rows: u64,
    /// Rows of one write: those that are new, and those that an Update or a Delete
    /// matches.
    pub rows_per_write: u64,
    /// How many are told apart at once; those who have asked for nothing lately are
    /// forgotten first. Those for whom there is no room are counted as one.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_identities: usize,
    /// Other values for some, by the names of principals, in which * stands for any
    /// text. The pattern with the most other letters counts. "anonymous" is the name
    /// of those who showed nothing.
    pub principals: BTreeMap<String, PrincipalQuotas>,
}

/// What is different for some.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct PrincipalQuotas {
    /// As quotas.requests_per_second, which it is when left out.
    #[schemars(with = "f64", range(min = 0.0, max = 1_000_000.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<f64>,
    /// As quotas.burst, which it is when left out.
    #[schemars(with = "u32", range(max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// As quotas.max_concurrent_requests, which it is when left out.
    #[schemars(with = "u32", range(max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent_requests: Option<u32>,
    /// As quotas.max_request_bytes, which it is when left out.
    #[schemars(with = "ByteSize")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_request_bytes: Option<ByteSize>,
    /// As quotas.max_answer_bytes, which it is when left out.
    #[schemars(with = "ByteSize")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_answer_bytes: Option<ByteSize>,
    /// As quotas.max_rows, which it is when left out.
    #[schemars(with = "u64")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<u64>,
    /// As quotas.rows_per_write, which it is when left out.
    #[schemars(with = "u64")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_per_write: Option<u64>,
}

impl Default for Quotas {
    fn default() -> Self {
        Quotas {
            requests_per_second: 0.0,
            burst: 0,
            max_concurrent_requests: 0,
            max_request_bytes: 0.into(),
            max_answer_bytes: 0.into(),
            max_rows: 0,
            rows_per_write: 0,
            max_identities: 10_000,
            principals: BTreeMap::new(),
        }
    }
}
