//! What LanceDB's errors mean to a client. LanceDB wraps errors in errors, and
//! its texts carry paths and source lines: so the chain is walked for the
//! variant that says most, and only texts that are made for users go on.

use std::{error::Error as StdError, sync::Arc, time::Duration};

use lance::Dataset;
use lance_core::error::CommitStatusUnknownError;
use lancedb::Table;

use super::step::KEPT;
use crate::domain::{Error, Resource, Result, TableName};

/// The Lance dataset behind a table handle.
pub(super) async fn dataset(table: &Table) -> Result<Arc<Dataset>> {
    match table.dataset() {
        Some(wrapper) => wrapper.get().await.map_err(from_lancedb),
        None => Err(Error::Unsupported("tables of a remote database".into())),
    }
}

/// An error of work on one table: what it does not find is the table.
pub(super) fn in_table(table: &TableName, error: lancedb::Error) -> Error {
    match from_lancedb(error) {
        Error::NotFound {
            kind: Resource::Table,
            ..
        } => Error::not_found(Resource::Table, table.as_str()),
        Error::AlreadyExists {
            kind: Resource::Table,
            ..
        } => Error::AlreadyExists {
            kind: Resource::Table,
            name: table.to_string(),
        },
        other => other,
    }
}

/// Where LanceDB only knows that an input was wrong, here it was this field.
pub(super) fn about(field: &str, error: Error) -> Error {
    match error {
        Error::Invalid(mut violations) => {
            for violation in &mut violations {
                if violation.field == "request" {
                    violation.field = field.to_owned();
                }
            }
            Error::Invalid(violations)
        }
        other => other,
    }
}

/// Any error of LanceDB.
pub(super) fn from_lancedb(error: lancedb::Error) -> Error {
    use lancedb::Error as L;
    match error {
        L::InvalidTableName { reason, .. } => Error::invalid("table", reason),
        L::InvalidInput { message } => Error::invalid("request", clean(&message)),
        L::TableNotFound { name, .. } => Error::not_found(Resource::Table, name),
        L::TableAlreadyExists { name } => Error::AlreadyExists {
            kind: Resource::Table,
            name,
        },
        L::TableCorrupted { name, source } => {
            log_detail(&*source);
            Error::Corrupt(format!("table '{name}' cannot be loaded"))
        }
        L::IndexNotFound { name } => Error::not_found(Resource::Index, name),
        L::ColumnNotFound { name } => Error::not_found(Resource::Column, name),
        L::ColumnAlreadyExists { name } => Error::AlreadyExists {
            kind: Resource::Column,
            name,
        },
        L::InvalidExpression { column, message } => {
            Error::invalid(format!("columns.{column}"), clean(&message))
        }
        L::Schema { message } => Error::invalid("request", clean(&message)),
        L::Timeout { message } => Error::Unavailable {
            reason: "STORAGE_TIMEOUT",
            message: clean(&message),
            retry_after: Duration::from_secs(1),
        },
        L::NotSupported { message } => Error::Unsupported(clean(&message)),
        // LanceDB's own variant is transparent: in the chain it would hide this one.
        L::External { source } if source.is::<CommitStatusUnknownError>() => {
            log_detail(&*source);
            Error::OutcomeUnknown
        }
        other => from_chain(&other),
    }
}

/// Any error of Lance.
pub(super) fn from_lance(error: lance::Error) -> Error {
    from_lancedb(error.into())
}

/// Walks the sources of an error to the first one that says what it is.
pub(super) fn from_chain(error: &(dyn StdError + 'static)) -> Error {
    let mut cause = Some(error);
    while let Some(current) = cause {
        // Below it is what became of the connection, which says less.
        if current.is::<CommitStatusUnknownError>() {
            log_detail(error);
            return Error::OutcomeUnknown;
        }
        if let Some(lance) = current.downcast_ref::<lance::Error>()
            && let Some(known) = known_lance(lance)
        {
            return known;
        }
        if let Some(io) = current.downcast_ref::<object_store::Error>() {
            // Lance wraps its own errors in generic ones, which say nothing.
            let says_more = match io {
                object_store::Error::Generic { source, .. } => known_inside(&**source),
                _ => None,
            };
            log_detail(error);
            return says_more.unwrap_or_else(|| from_object_store(io));
        }
        if let Some(arrow) = current.downcast_ref::<arrow::error::ArrowError>()
            && let Some(known) = known_arrow(arrow)
        {
            return known;
        }
        if let Some(datafusion) =
            current.downcast_ref::<lancedb::datafusion::error::DataFusionError>()
            && let Some(known) = known_datafusion(datafusion)
        {
            return known;
        }
        if let Some(inner) = current.downcast_ref::<Arc<lance::Error>>()
            && let Some(known) = known_lance(inner)
        {
            return known;
        }
        cause = current.source();
    }
    log_detail(error);
    Error::Internal(error.to_string())
}

/// What Lance says somewhere below.
fn known_inside(error: &(dyn StdError + 'static)) -> Option<Error> {
    let causes = std::iter::successors(Some(error), |&e| e.source());
    causes
        .filter_map(|cause| cause.downcast_ref::<lance::Error>())
        .find_map(known_lance)
}

fn known_lance(error: &lance::Error) -> Option<Error> {
    use lance::Error as L;
    Some(match error {
        L::InvalidInput { source, .. } => Error::invalid("request", clean(&source.to_string())),
        L::SchemaMismatch { difference, .. } => Error::invalid("rows", clean(difference)),
        L::Schema { message, .. } | L::Arrow { message, .. } => {
            Error::invalid("request", clean(message))
        }
        L::FieldNotFound { source } => Error::not_found(Resource::Column, &source.field_name),
        L::DatasetAlreadyExists { .. } => Error::AlreadyExists {
            kind: Resource::Table,
            name: String::new(),
        },
        L::DatasetNotFound { .. } => Error::not_found(Resource::Table, ""),
        L::VersionNotFound { message } => Error::not_found(Resource::Version, clean(message)),
        L::RefNotFound { message } => Error::not_found(Resource::Tag, clean(message)),
        L::RefConflict { message } => Error::AlreadyExists {
            kind: Resource::Tag,
            name: clean(message),
        },
        L::InvalidRef { message } => Error::invalid("tag", clean(message)),
        L::IndexNotFound { identity, .. } => Error::not_found(Resource::Index, clean(identity)),
        L::Index { message, .. } => Error::invalid("index", clean(message)),
        L::NotSupported { source, .. } => Error::Unsupported(clean(&source.to_string())),
        L::CommitConflict { source, .. }
        | L::RetryableCommitConflict { source, .. }
        | L::IncompatibleTransaction { source, .. } => Error::Conflict(clean(&source.to_string())),
        L::TooMuchWriteContention { message, .. } => Error::Conflict(clean(message)),
        L::CorruptFile { .. } => {
            log_detail(error);
            Error::Corrupt("a file of the table is damaged".into())
        }
        L::Timeout { message, .. } => Error::Unavailable {
            reason: "STORAGE_TIMEOUT",
            message: clean(message),
            retry_after: Duration::from_secs(1),
        },
        L::Backpressure { message, .. } => Error::Overloaded(clean(message)),
        L::Cleanup { message } => Error::Precondition {
            reason: "CLEANUP_REFUSED",
            message: clean(message),
        },
        L::NotFound { .. } => {
            log_detail(error);
            Error::Corrupt("a file of the table is missing".into())
        }
        L::Shared { source } => return known_lance(source),
        _ => return None,
    })
}

fn known_arrow(error: &arrow::error::ArrowError) -> Option<Error> {
    use arrow::error::ArrowError as A;
    Some(match error {
        A::InvalidArgumentError(m)
        | A::CastError(m)
        | A::ParseError(m)
        | A::SchemaError(m)
        | A::ComputeError(m)
        | A::ArithmeticOverflow(m) => Error::invalid("request", clean(m)),
        A::DivideByZero => Error::invalid("request", "division by zero"),
        A::NotYetImplemented(m) => Error::Unsupported(clean(m)),
        _ => return None,
    })
}

fn known_datafusion(error: &lancedb::datafusion::error::DataFusionError) -> Option<Error> {
    use lancedb::datafusion::error::DataFusionError as D;
    Some(match error {
        D::SchemaError(e, _) => Error::invalid("request", clean(&e.to_string())),
        D::Plan(m) => Error::invalid("request", clean(m)),
        D::SQL(e, _) => Error::invalid("request", clean(&e.to_string())),
        D::NotImplemented(m) => Error::Unsupported(clean(m)),
        D::ResourcesExhausted(_) => exhausted(),
        _ => return None,
    })
}

/// A query or a write that may keep no more in memory, and would have to.
fn exhausted() -> Error {
    Error::TooLarge(
        "it needs more memory than one may use (limits.max_query_memory, for reads): ask for \
         fewer rows or columns at once"
            .into(),
    )
}

/// An error of the object store itself: the place is at fault, not the request.
pub(super) fn from_object_store(error: &object_store::Error) -> Error {
    let message = match error {
        object_store::Error::NotFound { .. } => {
            return Error::Corrupt("a file of the table is missing".into());
        }
        object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. } => {
            "the object store refused the server's credentials"
        }
        _ => "the object store did not answer as it should",
    };
    Error::Unavailable {
        reason: "STORAGE_UNAVAILABLE",
        message: message.into(),
        retry_after: Duration::from_secs(1),
    }
}

/// The whole chain, for the log: the client gets less.
fn log_detail(error: &dyn StdError) {
    let detail = error.to_string();
    if !detail.contains(KEPT) {
        tracing::warn!(target: "lancegate::storage", detail, "storage error");
    }
}

/// Takes the source locations and paths out of a text of Lance: everything from
/// ", /path/to/file.rs:1:2" on, and "location: ..." likewise.
pub(super) fn clean(text: &str) -> String {
    let mut end = text.len();
    for mark in [
        ", location:",
        ", /",
        ", rust/",
        " at /",
        ": /",
        " in schema:\n",
    ] {
        if let Some(at) = text.find(mark) {
            end = end.min(at);
        }
    }
    without_values(text[..end].trim().trim_end_matches('.'))
}

/// Takes out the value that Arrow quotes where it cannot be converted: it may be
/// a row's.
fn without_values(text: &str) -> String {
    for mark in ["Cannot cast string '", "Error parsing timestamp from '"] {
        if let Some(at) = text.find(mark) {
            let (before, value) = text.split_at(at + mark.len());
            // The value may have a quote itself: the last one ends it.
            let after = value.rfind('\'').map_or("'", |end| &value[end..]);
            return format!("{before}…{after}");
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_for_clients_carry_no_paths() {
        let text = "Column 'x' does not exist, /home/u/.cargo/lance-14/src/scanner.rs:10:5";
        assert_eq!(clean(text), "Column 'x' does not exist");
        assert_eq!(clean("plain."), "plain");
        let text = "Cast error: Cannot cast string 'it's me' to value of Int32 type";
        let clear = "Cast error: Cannot cast string '…' to value of Int32 type";
        assert_eq!(clean(text), clear);
    }
}
