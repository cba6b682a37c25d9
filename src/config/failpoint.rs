//! Places at which a test can end the process as if it were killed, and ways in
//! which it can break it. In a build without debug assertions there are none.
//! [`faults`] are reads of one connection that fail or take long.

/// Ends the process if `LANCEGATE_FAILPOINT` names this place. Nothing is cleaned
/// up, as after `kill -9`.
#[cfg(any(debug_assertions, feature = "failpoints"))]
pub fn reached(place: &str) {
    if breaks(place) {
        std::process::abort();
    }
}

/// Whether a test broke this process on purpose, in the way of that name.
#[cfg(any(debug_assertions, feature = "failpoints"))]
pub fn breaks(way: &str) -> bool {
    use std::sync::LazyLock;
    static CHOSEN: LazyLock<Option<String>> =
        LazyLock::new(|| std::env::var("LANCEGATE_FAILPOINT").ok());
    CHOSEN.as_deref() == Some(way)
}

/// Nothing: this build has no failpoints.
#[cfg(not(any(debug_assertions, feature = "failpoints")))]
#[inline(always)]
pub fn reached(_: &str) {}

/// Nothing breaks this build.
#[cfg(not(any(debug_assertions, feature = "failpoints")))]
#[inline(always)]
pub fn breaks(_: &str) -> bool {
    false
}

#[cfg(any(debug_assertions, feature = "failpoints"))]
mod faults;
#[cfg(any(debug_assertions, feature = "failpoints"))]
pub use faults::{read, set_faults};

/// Nothing is wrong with reads in this build.
#[cfg(not(any(debug_assertions, feature = "failpoints")))]
#[inline(always)]
pub async fn read(_: &str) -> crate::domain::Result<()> {
    Ok(())
}
