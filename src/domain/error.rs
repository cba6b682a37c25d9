//! The one error type of the request path. Each variant is one situation that a
//! client can act on; [`crate::wire::status`] gives each its gRPC code.

use std::time::Duration;

/// Result of anything on the request path.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One fault of one field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field as in the contract, for example `query.vectors[0]`.
    pub field: String,
    /// What is wrong with it and what would be right, for the client.
    pub description: String,
}

/// The kind of thing that a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    Table,
    Column,
    Index,
    Version,
    Tag,
}

impl Resource {
    /// The word used in messages and in `google.rpc.ResourceInfo`.
    pub fn as_str(self) -> &'static str {
        match self {
            Resource::Table => "table",
            Resource::Column => "column",
            Resource::Index => "index",
            Resource::Version => "version",
            Resource::Tag => "tag",
        }
    }
}

/// What can go wrong with a request. The texts are for clients: they never carry
/// a storage path, a filter literal or a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request itself is wrong.
    #[error("{}", join(.0))]
    Invalid(Vec<Violation>),
    /// An earlier request with the same id asked for something else.
    #[error("request_id: was used by an earlier request that asked for something else")]
    RequestIdReused,
    /// Something named by the request does not exist.
    #[error("{} '{name}' was not found", .kind.as_str())]
    NotFound { kind: Resource, name: String },
    /// Something to be created exists.
    #[error("{} '{name}' already exists", .kind.as_str())]
    AlreadyExists { kind: Resource, name: String },
    /// Another writer won, again and again.
    #[error("the commit conflicted with other writers: {0}")]
    Conflict(String),
    /// The state of the table does not allow it. `reason` is UPPER_SNAKE.
    #[error("{message}")]
    Precondition {
        reason: &'static str,
        message: String,
    },
    /// The state of the server does not allow it, for these reasons. `reason` is
    /// UPPER_SNAKE, and the field of a violation names a setting.
    #[error("{message}")]
    Refused {
        reason: &'static str,
        message: String,
        violations: Vec<Violation>,
    },
    /// Nobody can answer now; later somebody may. `reason` is UPPER_SNAKE.
    #[error("{message}")]
    Unavailable {
        reason: &'static str,
        message: String,
        retry_after: Duration,
    },
    /// The server has too much to do.
    #[error("the server is overloaded: {0}")]
    Overloaded(String),
    /// The server has too much to do to begin, or to send, this one. `cause` is a
    /// word of few.
    #[error("the server is overloaded: {message}")]
    Shed {
        cause: &'static str,
        message: &'static str,
        retry_after: Duration,
    },
    /// Nobody is known by what the request shows, or it shows nothing. The text
    /// says what would be right and nothing of what was shown.
    #[error("{0}")]
    Unauthenticated(String),
    /// Whoever asks may not do this.
    #[error("{0}")]
    Denied(String),
    /// Whoever asks has used up what they may have. `quota` is a setting's name.
    #[error("the quota {quota} is used up: {message}")]
    Quota {
        quota: &'static str,
        message: String,
        /// `None` where the same request is over the quota whenever it comes.
        retry_after: Option<Duration>,
    },
    /// A message or an answer is over a limit.
    #[error("{0}")]
    TooLarge(String),
    /// Time is up.
    #[error("the deadline of {0:?} has passed")]
    Deadline(Duration),
    /// Whoever asks did not send, or did not read, for too long.
    #[error("{0} within limits.stall_timeout")]
    Stalled(&'static str),
    /// This build or this table cannot do it.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// A commit may or may not have happened.
    #[error(
        "the outcome of the commit is not known: repeat it with the same request_id, \
         or look for its rows before writing them again"
    )]
    OutcomeUnknown,
    /// Stored data cannot be read back.
    #[error("stored data is damaged: {0}")]
    Corrupt(String),
    /// A fault of ours. The text is for the log, not for the client.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// What [`Error::Stalled`] says of a request.
    pub const NO_MESSAGE: &'static str = "the message of the request did not come";
}

fn join(violations: &[Violation]) -> String {
    let mut text = String::new();
    for (i, v) in violations.iter().enumerate() {
        if i > 0 {
            text.push_str("; ");
        }
        text.push_str(&v.field);
        text.push_str(": ");
        text.push_str(&v.description);
    }
    text
}

impl Error {
    /// One fault of one field.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Error::Invalid(vec![Violation {
            field: field.into(),
            description: description.into(),
        }])
    }

    /// Something named by the request does not exist.
    pub fn not_found(kind: Resource, name: impl Into<String>) -> Self {
        Error::NotFound {
            kind,
            name: name.into(),
        }
    }

    /// The reason of [`Error::pruned`].
    pub const PRUNED: &str = "VERSION_PRUNED";

    /// A version that was deleted because it was old.
    pub fn pruned(version: u64) -> Self {
        Error::Precondition {
            reason: Self::PRUNED,
            message: format!("version {version} is not kept any more: it was pruned"),
        }
    }

    /// A fault of the place rather than of the request: another connection may
    /// do better.
    pub fn is_connection_fault(&self) -> bool {
        matches!(
            self,
            Error::Unavailable { .. } | Error::Corrupt(_) | Error::Internal(_)
        )
    }
}
