//! What an answer of a node means for the walk: it is the client's, or another one
//! may do better.

use std::time::Duration;

use http::HeaderMap;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{headers::LOOP, message::Asks};
use crate::{domain::Error, node::SendError, wire::status::status};

/// When a client may ask again where nobody answered.
const RETRY: Duration = Duration::from_secs(1);

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The answer is what any node would say.
    Final,
    /// Another one may answer. `blame`: it is the node's fault.
    Elsewhere { blame: bool },
    /// The node has too much to do.
    Shed,
    /// The primary may know better, and nobody else would.
    OnPrimary,
}

/// Reasons that say that a node cannot, and that it is not to blame.
const NOT_ITS_FAULT: [&str; 3] = [NOT_FRESH, "SPILL_LIMIT", "VERSION_REMOVED"];

/// The reason of an answer that would have been too old.
pub(super) const NOT_FRESH: &str = "NOT_FRESH_ENOUGH";

/// What an error means. `reason` is that of its ErrorInfo, if it has one.
pub(super) fn verdict(code: Code, reason: Option<&str>, asks: Asks) -> Verdict {
    let another = Verdict::Elsewhere { blame: false };
    match (code, reason) {
        (Code::Unavailable, Some(reason)) if NOT_ITS_FAULT.contains(&reason) => another,
        // A request that breaks something breaks it everywhere: nobody is ejected for it.
        (Code::Internal, _) => another,
        (
            Code::Unavailable
            | Code::DataLoss
            | Code::Unknown
            // Not by us: it was not given up yet.
            | Code::Cancelled,
            _,
        ) => Verdict::Elsewhere { blame: true },
        (Code::ResourceExhausted, Some("OVERLOADED")) => Verdict::Shed,
        (Code::FailedPrecondition, Some(LOOP)) => another,
        // Another one may still have the version.
        (Code::FailedPrecondition, Some("VERSION_PRUNED" | "PAGE_TOKEN_EXPIRED")) => another,
        (Code::NotFound, Some("VERSION_NOT_FOUND" | "TAG_NOT_FOUND")) if asks == Asks::Version => {
            another
        }
        // Created since the node looked.
        (Code::NotFound, Some("TABLE_NOT_FOUND")) => Verdict::OnPrimary,
        _ => Verdict::Final,
    }
}

/// The reason that headers or trailers with a status carry.
pub(super) fn reason_of(headers: &HeaderMap) -> Option<String> {
    let status = Status::from_header_map(headers)?;
    status.get_details_error_info().map(|info| info.reason)
}

/// What a client is told when the rest of an answer is lost.
pub(super) fn lost() -> Status {
    status(&Error::Unavailable {
        reason: "NODE_LOST",
        message: "the connection to the node that answered was lost".into(),
        retry_after: RETRY,
    })
}

/// What a client is told when a node could not be asked, or did not answer.
pub(super) fn unreachable(name: &str, error: &SendError) -> Status {
    let (reason, what) = match error {
        SendError::Connect(_) => ("NODE_UNREACHABLE", "cannot be reached"),
        SendError::Lost(_) => ("NODE_LOST", "was lost before it answered"),
    };
    status(&Error::Unavailable {
        reason,
        message: format!("node '{name}' {what}"),
        retry_after: RETRY,
    })
}

/// What a client is told when something that speaks no gRPC answered.
pub(super) fn not_grpc(message: String) -> Status {
    status(&Error::Unavailable {
        reason: "NODE_UNREACHABLE",
        message,
        retry_after: RETRY,
    })
}

/// What a client is told when there is nobody to ask.
pub(super) fn nobody() -> Status {
    status(&Error::Unavailable {
        reason: "NO_USABLE_CONNECTION",
        message: "no node and no connection of this process can answer".into(),
        retry_after: RETRY,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_node_may_know_better_goes_there() {
        let another = Verdict::Elsewhere { blame: false };
        let fault = Verdict::Elsewhere { blame: true };
        for (code, reason, asks, expected) in [
            (Code::Unavailable, "NOT_FRESH_ENOUGH", Asks::Bound, another),
            (Code::Unavailable, "NO_CONNECTION", Asks::Nothing, fault),
            (Code::Internal, "INTERNAL", Asks::Nothing, another),
            (Code::DataLoss, "DATA_DAMAGED", Asks::Nothing, fault),
            (
                Code::ResourceExhausted,
                "OVERLOADED",
                Asks::Nothing,
                Verdict::Shed,
            ),
            (
                Code::ResourceExhausted,
                "TOO_LARGE",
                Asks::Nothing,
                Verdict::Final,
            ),
            (
                Code::NotFound,
                "TABLE_NOT_FOUND",
                Asks::Nothing,
                Verdict::OnPrimary,
            ),
            (Code::NotFound, "VERSION_NOT_FOUND", Asks::Version, another),
            (
                Code::NotFound,
                "VERSION_NOT_FOUND",
                Asks::Nothing,
                Verdict::Final,
            ),
            (
                Code::FailedPrecondition,
                "VERSION_PRUNED",
                Asks::Version,
                another,
            ),
            (
                Code::FailedPrecondition,
                "ROUTING_LOOP",
                Asks::Nothing,
                another,
            ),
            (
                Code::FailedPrecondition,
                "TABLE_RECREATED",
                Asks::Bound,
                Verdict::Final,
            ),
            (
                Code::InvalidArgument,
                "INVALID_REQUEST",
                Asks::Nothing,
                Verdict::Final,
            ),
            (
                Code::DeadlineExceeded,
                "DEADLINE_EXCEEDED",
                Asks::Nothing,
                Verdict::Final,
            ),
        ] {
            assert_eq!(
                verdict(code, Some(reason), asks),
                expected,
                "{code:?} {reason}"
            );
        }
        assert_eq!(verdict(Code::Unavailable, None, Asks::Nothing), fault);
        assert_eq!(verdict(Code::NotFound, None, Asks::Version), Verdict::Final);
    }

    #[test]
    fn the_reason_is_found_in_headers() {
        let headers = lost().into_http::<()>().headers().clone();
        assert_eq!(reason_of(&headers).as_deref(), Some("NODE_LOST"));
        assert_eq!(reason_of(&HeaderMap::new()), None);
    }
}
