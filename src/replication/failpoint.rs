//! Places at which a test can end the process as if it were killed.

/// Ends the process if `LANCEGATE_FAILPOINT` names this place. Nothing is cleaned
/// up, as after `kill -9`.
#[cfg(any(debug_assertions, feature = "failpoints"))]
pub(super) fn reached(place: &str) {
    if breaks(place) {
        std::process::abort();
    }
}

/// Whether a test broke this process on purpose, in the way of that name.
#[cfg(any(debug_assertions, feature = "failpoints"))]
pub(super) fn breaks(way: &str) -> bool {
    use std::sync::LazyLock;
    static CHOSEN: LazyLock<Option<String>> =
        LazyLock::new(|| std::env::var("LANCEGATE_FAILPOINT").ok());
    CHOSEN.as_deref() == Some(way)
}

/// Nothing: this build has no failpoints.
#[cfg(not(any(debug_assertions, feature = "failpoints")))]
#[inline(always)]
pub(super) fn reached(_: &str) {}

/// Nothing breaks this build.
#[cfg(not(any(debug_assertions, feature = "failpoints")))]
#[inline(always)]
pub(super) fn breaks(_: &str) -> bool {
    false
}
