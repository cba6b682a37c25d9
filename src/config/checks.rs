//! Checks that values of several sections need.

use std::time::Duration;

use super::{
    fault::Faults,
    units::{ByteSize, DurationText},
};

/// Whether zero is a sensible value.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Zero {
    Allowed,
    Refused,
}

/// The duration; zero after a fault.
pub(super) fn duration(
    faults: &mut Faults,
    path: &str,
    text: &DurationText,
    zero: Zero,
) -> Duration {
    let value = faults.ok(path, text.parse());
    if value == Some(Duration::ZERO) && zero == Zero::Refused {
        faults.push(path, "must be longer than nothing");
    }
    value.unwrap_or_default()
}

/// The number of bytes; zero after a fault.
pub(super) fn bytes(faults: &mut Faults, path: &str, size: &ByteSize, zero: Zero) -> usize {
    let value = faults.ok(path, size.parse());
    if value == Some(0) && zero == Zero::Refused {
        faults.push(path, "must be at least 1");
    }
    let value = value.unwrap_or_default();
    usize::try_from(value).unwrap_or_else(|_| {
        faults.push(path, "is more than this machine can address");
        0
    })
}
