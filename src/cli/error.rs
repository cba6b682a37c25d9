//! What a command can fail with, in words for a terminal, and its exit codes.

use std::{error::Error, io, path::PathBuf, process::ExitCode};

use tonic::Status;
use tonic_types::StatusExt;

use crate::{app::AppError, config::ConfigErrors, transport::TlsError};

/// Exit code of wrong arguments, as clap has it.
pub(super) const USAGE: u8 = 2;

/// Exit code of a wrong configuration (EX_CONFIG of sysexits.h).
const CONFIG: u8 = 78;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The arguments contradict one another or the data.
    #[error("{0}")]
    Usage(String),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The server ended with an error.
    #[error("{}", chain(.0))]
    App(#[from] AppError),
    /// Certificates and keys of the command line.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// No connection to a server.
    #[error("no connection to {address}: {cause}")]
    Connect { address: String, cause: String },
    /// The server refused a request.
    #[error("{}", in_words(.0))]
    Rpc(Box<Status>),
    /// A file cannot be read.
    #[error("{}: {cause}", .path.display())]
    File { path: PathBuf, cause: String },
    /// The server's answer, or rows on their way to it, are not what they should be.
    #[error("{0}")]
    Data(String),
    /// Standard output cannot be written to.
    #[error("cannot write: {0}")]
    Output(io::Error),
}

impl CliError {
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            CliError::Usage(_) => ExitCode::from(USAGE),
            CliError::Config(_) | CliError::App(AppError::Tls(_)) => ExitCode::from(CONFIG),
            CliError::Tls(_) => ExitCode::from(USAGE),
            _ => ExitCode::FAILURE,
        }
    }

    /// A fault of one file.
    pub(super) fn file(path: impl Into<PathBuf>, cause: impl ToString) -> Self {
        CliError::File {
            path: path.into(),
            cause: cause.to_string(),
        }
    }
}

impl From<Status> for CliError {
    fn from(status: Status) -> Self {
        CliError::Rpc(Box::new(status))
    }
}

impl From<arrow::error::ArrowError> for CliError {
    fn from(error: arrow::error::ArrowError) -> Self {
        CliError::Data(error.to_string())
    }
}

/// A status as a person wants it: the field violations, or the message and the
/// name of the code, with the settings that it is about below.
pub(super) fn in_words(status: &Status) -> String {
    let violations = status
        .get_details_bad_request()
        .map(|d| d.field_violations)
        .unwrap_or_default();
    if violations.is_empty() {
        let message = match status.message() {
            "" => "the server said no more",
            message => message,
        };
        let mut text = format!("{message} ({})", code_name(status.code()));
        let settings = status.get_details_precondition_failure();
        for about in settings.map(|d| d.violations).unwrap_or_default() {
            // Without a subject it is the message once more, or how many are left.
            if !about.subject.is_empty() {
                text.push_str(&format!(
                    "\nerror: {}: {}",
                    about.subject, about.description
                ));
            } else if about.description != status.message() {
                text.push_str(&format!("\nerror: {}", about.description));
            }
        }
        return text;
    }
    let lines: Vec<String> = violations
        .iter()
        .map(|v| format!("{}: {}", v.field, v.description))
        .collect();
    lines.join("\nerror: ")
}

/// The code as the gRPC documentation spells it.
pub(super) fn code_name(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// An error and its causes, once each.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn violations_come_one_a_line() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("query.limit", "must be at least 1");
        details.add_bad_request_violation("table", "is required");
        let status = Status::with_error_details(Code::InvalidArgument, "2 faults", details);
        assert_eq!(
            in_words(&status),
            "query.limit: must be at least 1\nerror: table: is required"
        );
    }

    #[test]
    fn settings_come_below_the_message() {
        let mut details = ErrorDetails::new();
        for (setting, text) in [("a.b", "needs a restart"), ("", "and 3 more faults")] {
            details.add_precondition_failure_violation("NEEDS_RESTART", setting, text);
        }
        let code = Code::FailedPrecondition;
        let status = Status::with_error_details(code, "nothing was changed", details);
        assert_eq!(
            in_words(&status),
            "nothing was changed (FAILED_PRECONDITION)\nerror: a.b: needs a restart\nerror: and 3 more faults"
        );
        let mut details = ErrorDetails::new();
        details.add_precondition_failure_violation("FENCED", "", "it is fenced");
        let status = Status::with_error_details(code, "it is fenced", details);
        assert_eq!(in_words(&status), "it is fenced (FAILED_PRECONDITION)");
    }

    #[test]
    fn other_errors_name_their_code() {
        let status = Status::not_found("table 'x' was not found");
        assert_eq!(in_words(&status), "table 'x' was not found (NOT_FOUND)");
        assert_eq!(
            in_words(&Status::internal("")),
            "the server said no more (INTERNAL)"
        );
    }
}
