//! The one table from errors to gRPC statuses, with their details (AIP-193).

#[cfg(test)]
mod tests;

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status, metadata::MetadataValue};
use tonic_types::{ErrorDetails, StatusExt};

use crate::domain::{Error, Violation};

/// `domain` of every `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "lancegate";

/// Tells clients of gRPC's own retries when to try again (gRFC A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// Most field violations in one status.
const MAX_VIOLATIONS: usize = 20;

/// Most settings in one status: their names and faults are short.
const MAX_SETTINGS: usize = 64;

/// Longest single text of a status, in bytes.
const MAX_TEXT: usize = 300;

/// Bytes of all violations together. Headers are limited to 8 KiB by many proxies
/// and by some clients; details travel there in base64, and the message beside
/// them once more, percent-encoded.
const MAX_ALL: usize = 3_000;

/// When to come back after an overload, where nothing says so better.
const OVERLOAD_RETRY: Duration = Duration::from_secs(1);

/// What the client is told about a fault of ours: where to look, and nothing else.
const INTERNAL: &str =
    "internal error; the server's log has it under the x-request-id of this call";

/// The status of an error. Its texts are cut so that it fits into 8 KiB of headers.
pub fn status(error: &Error) -> Status {
    let message = message(error);
    let mut details = ErrorDetails::new();
    match error {
        Error::Invalid(violations) => {
            info(&mut details, "INVALID_REQUEST", []);
            for (field, text) in as_many_as_fit(violations, MAX_VIOLATIONS, 0) {
                details.add_bad_request_violation(field, text);
            }
        }
        Error::RequestIdReused => {
            info(&mut details, "REQUEST_ID_REUSED", []);
            let text = "was used by an earlier request that asked for something else";
            details.add_bad_request_violation("request_id", text);
        }
        Error::NotFound { kind, name } => {
            let reason = format!("{}_NOT_FOUND", kind.as_str().to_uppercase());
            info(&mut details, &reason, [(kind.as_str(), cut(name))]);
            details.set_resource_info(kind.as_str(), cut(name), "", &message);
        }
        Error::AlreadyExists { kind, name } => {
            let reason = format!("{}_ALREADY_EXISTS", kind.as_str().to_uppercase());
            info(&mut details, &reason, [(kind.as_str(), cut(name))]);
            details.set_resource_info(kind.as_str(), cut(name), "", &message);
        }
        Error::Conflict(_) => {
            info(&mut details, "COMMIT_CONFLICT", []);
        }
        Error::Precondition { reason, .. } => {
            info(&mut details, reason, []);
            details.add_precondition_failure_violation(*reason, "", &message);
        }
        Error::Refused {
            reason, violations, ..
        } => {
            info(&mut details, reason, []);
            for (setting, text) in as_many_as_fit(violations, MAX_SETTINGS, reason.len()) {
                details.add_precondition_failure_violation(*reason, setting, text);
            }
        }
        Error::Unavailable {
            reason,
            retry_after,
            ..
        } => {
            info(&mut details, reason, []);
            details.set_retry_info(Some(*retry_after));
        }
        Error::Overloaded(_) => {
            info(&mut details, "OVERLOADED", []);
            details.add_quota_failure_violation("server", &message);
            details.set_retry_info(Some(OVERLOAD_RETRY));
        }
        Error::Shed {
            cause, retry_after, ..
        } => {
            info(&mut details, "OVERLOADED", [("cause", (*cause).to_owned())]);
            details.add_quota_failure_violation("server", &message);
            details.set_retry_info(Some(*retry_after));
        }
        Error::Unauthenticated(_) => {
            info(&mut details, "UNAUTHENTICATED", []);
        }
        Error::Denied(_) => {
            info(&mut details, "ACCESS_DENIED", []);
        }
        Error::Quota {
            quota, retry_after, ..
        } => {
            info(
                &mut details,
                "QUOTA_EXCEEDED",
                [("quota", (*quota).to_owned())],
            );
            details.add_quota_failure_violation(*quota, &message);
            if let Some(delay) = retry_after {
                details.set_retry_info(Some(*delay));
            }
        }
        Error::TooLarge(_) => {
            info(&mut details, "TOO_LARGE", []);
            details.add_quota_failure_violation("message", &message);
        }
        Error::Deadline(_) => {
            info(&mut details, "DEADLINE_EXCEEDED", []);
        }
        Error::Stalled(_) => {
            info(&mut details, "STALLED", []);
        }
        Error::Unsupported(_) => {
            info(&mut details, "NOT_SUPPORTED", []);
        }
        Error::OutcomeUnknown => {
            info(&mut details, "OUTCOME_UNKNOWN", []);
        }
        Error::Corrupt(_) => {
            info(&mut details, "DATA_DAMAGED", []);
        }
        Error::Internal(_) => {
            info(&mut details, "INTERNAL", []);
            return Status::with_error_details(code(error), INTERNAL, details);
        }
    }
    let pushback = match code(error) {
        Code::ResourceExhausted => details.retry_info().and_then(|info| info.retry_delay),
        _ => None,
    };
    let mut status = Status::with_error_details(code(error), message, details);
    if let Some(delay) = pushback {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let metadata = status.metadata_mut();
        metadata.insert(PUSHBACK, MetadataValue::from(millis));
    }
    status
}

/// The code of an error, alone.
pub fn code(error: &Error) -> Code {
    match error {
        Error::Invalid(_) | Error::RequestIdReused => Code::InvalidArgument,
        Error::NotFound { .. } => Code::NotFound,
        Error::AlreadyExists { .. } => Code::AlreadyExists,
        Error::Conflict(_) => Code::Aborted,
        Error::Precondition { .. } | Error::Refused { .. } => Code::FailedPrecondition,
        Error::Unavailable { .. } => Code::Unavailable,
        Error::Unauthenticated(_) => Code::Unauthenticated,
        Error::Denied(_) => Code::PermissionDenied,
        Error::Overloaded(_) | Error::Shed { .. } | Error::Quota { .. } | Error::TooLarge(_) => {
            Code::ResourceExhausted
        }
        Error::Deadline(_) | Error::Stalled(_) => Code::DeadlineExceeded,
        Error::Unsupported(_) => Code::Unimplemented,
        Error::OutcomeUnknown => Code::Unknown,
        Error::Corrupt(_) => Code::DataLoss,
        Error::Internal(_) => Code::Internal,
    }
}

fn message(error: &Error) -> String {
    match error {
        // The text of thousands of faults, only to cut it, would cost too much.
        Error::Invalid(violations) if violations.len() > MAX_VIOLATIONS => {
            cut(&Error::Invalid(violations[..MAX_VIOLATIONS].to_vec()).to_string())
        }
        _ => cut(&error.to_string()),
    }
}

fn info<const N: usize>(details: &mut ErrorDetails, reason: &str, pairs: [(&str, String); N]) {
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value));
    details.set_error_info(reason, DOMAIN, HashMap::from(pairs));
}

/// As many violations as there is room for and at most `most`, and how many more
/// there are. Each takes `extra` bytes besides its own.
fn as_many_as_fit(violations: &[Violation], most: usize, extra: usize) -> Vec<(String, String)> {
    let mut room = MAX_ALL;
    let mut told = Vec::new();
    for (i, violation) in violations.iter().enumerate() {
        let (field, description) = (cut(&violation.field), cut(&violation.description));
        let size = field.len() + description.len() + extra;
        if i == most - 1 && i + 1 < violations.len() || size > room {
            let more = format!("and {} more faults", violations.len() - i);
            told.push((String::new(), more));
            return told;
        }
        room -= size;
        told.push((field, description));
    }
    told
}

/// The text, at most [`MAX_TEXT`] bytes of it.
fn cut(text: &str) -> String {
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    let ellipsis = '…';
    let end = text.floor_char_boundary(MAX_TEXT - ellipsis.len_utf8());
    let mut short = text[..end].to_owned();
    short.push(ellipsis);
    short
}
