//! The one table from errors to gRPC statuses, with their details (AIP-193).

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::domain::{Error, Violation};

/// `domain` of every `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "lancegate";

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
        Error::TooLarge(_) => {
            info(&mut details, "TOO_LARGE", []);
            details.add_quota_failure_violation("message", &message);
        }
        Error::Deadline(_) => {
            info(&mut details, "DEADLINE_EXCEEDED", []);
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
    Status::with_error_details(code(error), message, details)
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
        Error::Overloaded(_) | Error::TooLarge(_) => Code::ResourceExhausted,
        Error::Deadline(_) => Code::DeadlineExceeded,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Resource;

    fn violation(text: &str) -> Violation {
        Violation {
            field: text.into(),
            description: text.into(),
        }
    }

    fn all(text: &str) -> Vec<(Error, Code, &'static str)> {
        let t = || text.to_owned();
        let name = || text.to_owned();
        vec![
            (
                Error::invalid(t(), t()),
                Code::InvalidArgument,
                "INVALID_REQUEST",
            ),
            (
                Error::not_found(Resource::Table, name()),
                Code::NotFound,
                "TABLE_NOT_FOUND",
            ),
            (
                Error::AlreadyExists {
                    kind: Resource::Tag,
                    name: name(),
                },
                Code::AlreadyExists,
                "TAG_ALREADY_EXISTS",
            ),
            (Error::Conflict(t()), Code::Aborted, "COMMIT_CONFLICT"),
            (
                Error::Precondition {
                    reason: "FENCED",
                    message: t(),
                },
                Code::FailedPrecondition,
                "FENCED",
            ),
            (
                Error::Refused {
                    reason: "NEEDS_RESTART",
                    message: t(),
                    violations: vec![violation(text); 100],
                },
                Code::FailedPrecondition,
                "NEEDS_RESTART",
            ),
            (
                Error::Unavailable {
                    reason: "NO_CONNECTION",
                    message: t(),
                    retry_after: Duration::from_millis(250),
                },
                Code::Unavailable,
                "NO_CONNECTION",
            ),
            (
                Error::Overloaded(t()),
                Code::ResourceExhausted,
                "OVERLOADED",
            ),
            (Error::TooLarge(t()), Code::ResourceExhausted, "TOO_LARGE"),
            (
                Error::Deadline(Duration::from_secs(2)),
                Code::DeadlineExceeded,
                "DEADLINE_EXCEEDED",
            ),
            (
                Error::Unsupported(t()),
                Code::Unimplemented,
                "NOT_SUPPORTED",
            ),
            (Error::OutcomeUnknown, Code::Unknown, "OUTCOME_UNKNOWN"),
            (
                Error::RequestIdReused,
                Code::InvalidArgument,
                "REQUEST_ID_REUSED",
            ),
            (Error::Corrupt(t()), Code::DataLoss, "DATA_DAMAGED"),
            (Error::Internal(t()), Code::Internal, "INTERNAL"),
        ]
    }

    /// Bytes of the headers that carry a status.
    fn header_bytes(status: Status) -> usize {
        let headers = status.into_http::<()>().headers().clone();
        headers
            .iter()
            .map(|(k, v)| k.as_str().len() + v.len())
            .sum()
    }

    #[test]
    fn each_error_has_its_code_and_reason() {
        for (error, code, reason) in all("something") {
            let status = status(&error);
            assert_eq!(status.code(), code, "{error:?}");
            let info = status.get_details_error_info().unwrap();
            assert_eq!(
                (info.reason.as_str(), info.domain.as_str()),
                (reason, "lancegate")
            );
        }
    }

    #[test]
    fn details_say_what_to_do() {
        let found = |i: usize| status(&all("packages")[i].0);
        let violation = &found(0).get_details_bad_request().unwrap().field_violations[0];
        assert_eq!(violation.field, "packages");
        let resource = found(1).get_details_resource_info().unwrap();
        assert_eq!(
            (
                resource.resource_type.as_str(),
                resource.resource_name.as_str()
            ),
            ("table", "packages")
        );
        assert_eq!(
            found(4)
                .get_details_precondition_failure()
                .unwrap()
                .violations[0]
                .r#type,
            "FENCED"
        );
        let settings = found(5).get_details_precondition_failure().unwrap();
        assert_eq!(settings.violations.len(), MAX_SETTINGS);
        assert_eq!(settings.violations[0].subject, "packages");
        assert_eq!(settings.violations[63].description, "and 37 more faults");
        let retry = found(6).get_details_retry_info().unwrap();
        assert_eq!(retry.retry_delay, Some(Duration::from_millis(250)));
        assert!(found(7).get_details_quota_failure().is_some());
        assert!(found(7).get_details_retry_info().is_some());
        assert!(found(6).message().contains("packages"));
    }

    #[test]
    fn our_faults_are_not_told() {
        let status = status(&Error::Internal("/var/lib/secret".into()));
        let sent = format!("{status:?} {:?}", String::from_utf8_lossy(status.details()));
        assert!(!sent.contains("secret"), "{sent}");
    }

    #[test]
    fn statuses_fit_into_headers() {
        for text in ["x".repeat(100_000), "ä€🦀\n\"".repeat(20_000)] {
            for (error, ..) in all(&text) {
                let bytes = header_bytes(status(&error));
                assert!(bytes < 8_192, "{bytes} bytes");
            }
            let many = |n: usize, text: &str| status(&Error::Invalid(vec![violation(text); n]));
            for n in [20, 21, 200] {
                let bytes = header_bytes(many(n, &text));
                assert!(bytes < 8_192, "{n} long violations: {bytes} bytes");
                let short = many(n, "abc");
                let shown = short.get_details_bad_request().unwrap().field_violations;
                assert_eq!(shown.len(), 20);
                let last = format!("and {} more faults", n - 19);
                assert_eq!(shown[19].description == last, n > 20, "{:?}", shown[19]);
            }
        }
    }

    #[test]
    fn texts_are_cut_between_characters() {
        for length in 290..320 {
            let text = "a".repeat(length % 5) + &"€".repeat(length);
            let short = cut(&text);
            assert!(short.len() <= MAX_TEXT && short.ends_with('…'));
        }
        assert_eq!(cut("short"), "short");
    }
}
