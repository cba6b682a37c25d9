//! What the caller of a request may do to a table: the first thing that each handler
//! asks, before it looks at anything else of the message.

use std::sync::Arc;

use tonic::Extensions;

use crate::{
    access::{Grants, Refusal},
    config::AccessRole,
    domain::{Error, Principal, Proof, Result, TableScope},
    telemetry::metrics,
};

/// What of a table is there for the caller, who wants to do what takes this role.
///
/// # Errors
/// [`Error::Denied`], whether there is such a table or not.
pub fn allowed(extensions: &Extensions, table: &str, role: AccessRole) -> Result<Arc<TableScope>> {
    let scope = grants(extensions).and_then(|grants| grants.table(table, role));
    scope.map_err(Refusal::error)
}

/// The same for what is only for who sees the whole table.
pub(super) fn allowed_whole(
    extensions: &Extensions,
    table: &str,
    role: AccessRole,
) -> Result<Arc<TableScope>> {
    let scope = allowed(extensions, table, role)?;
    match scope.is_whole() {
        true => Ok(scope),
        false => Err(Refusal::Rows.error()),
    }
}

/// What the caller may do. A request that nobody has looked at may do nothing.
pub(super) fn grants(extensions: &Extensions) -> std::result::Result<&Arc<Grants>, Refusal> {
    extensions.get::<Arc<Grants>>().ok_or(Refusal::Method)
}

/// Who a repeat of a write must come from, and whose a session is, where anybody is
/// known.
pub(super) fn owner(extensions: &Extensions) -> Option<String> {
    let principal = extensions.get::<Arc<Principal>>()?;
    (principal.proof != Proof::Nothing).then(|| principal.identity())
}

/// Counts an error that is about who asks, wherever it was decided.
pub(super) fn count_refusal(error: &Error) {
    if let Some(refusal) = Refusal::of(error) {
        metrics::access_refused(refusal.as_str());
    }
}
