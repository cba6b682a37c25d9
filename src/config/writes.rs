//! For how long writes can be repeated: the meaning of `[writes]`.

use std::time::Duration;

use super::{
    checks::{Zero, duration},
    fault::Faults,
    raw,
};

/// What is remembered of writes with a request id.
#[derive(Debug, Clone, Copy)]
pub struct Writes {
    /// For how long at least.
    pub request_id_ttl: Duration,
    /// Most ids of one table in memory.
    pub max_request_ids: usize,
}

/// Checks `[writes]`.
pub(super) fn writes(raw: &raw::Writes, faults: &mut Faults) -> Writes {
    Writes {
        request_id_ttl: duration(
            faults,
            "writes.request_id_ttl",
            &raw.request_id_ttl,
            Zero::Refused,
        ),
        max_request_ids: raw.max_request_ids,
    }
}

impl Writes {
    /// As it would be written.
    pub(super) fn to_raw(self) -> raw::Writes {
        raw::Writes {
            request_id_ttl: self.request_id_ttl.into(),
            max_request_ids: self.max_request_ids,
        }
    }
}
