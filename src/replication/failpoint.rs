//! Places at which a test can end the process as if it were killed.

/// Ends the process if `LANCEGATE_FAILPOINT` names this place. Nothing is cleaned
/// up, as after `kill -9`.
#[cfg(any(debug_assertions, feature = "failpoints"))]
pub(super) fn reached(place: &str) {
    use std::sync::LazyLock;
    static CHOSEN: LazyLock<Option<String>> =
        LazyLock::new(|| std::env::var("LANCEGATE_FAILPOINT").ok());
    if CHOSEN.as_deref() == Some(place) {
        std::process::abort();
    }
}

/// Nothing: this build has no failpoints.
#[cfg(not(any(debug_assertions, feature = "failpoints")))]
#[inline(always)]
pub(super) fn reached(_: &str) {}
