//! Stand-in until the merge: the codes that the stack needs.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::domain::Error;

/// `domain` of every `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "lancegate";

/// The status of an error.
pub fn status(error: &Error) -> Status {
    let mut details = ErrorDetails::new();
    let (code, reason) = match error {
        Error::Invalid(violations) => {
            for v in violations {
                details.add_bad_request_violation(&v.field, &v.description);
            }
            (Code::InvalidArgument, "INVALID_REQUEST")
        }
        Error::Overloaded(_) => {
            details.set_retry_info(Some(Duration::from_secs(1)));
            (Code::ResourceExhausted, "OVERLOADED")
        }
        Error::TooLarge(_) => (Code::ResourceExhausted, "TOO_LARGE"),
        Error::Deadline(_) => (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
        Error::Unsupported(_) => (Code::Unimplemented, "NOT_SUPPORTED"),
        _ => (Code::Internal, "INTERNAL"),
    };
    details.set_error_info(reason, DOMAIN, std::collections::HashMap::new());
    Status::with_error_details(code, error.to_string(), details)
}
