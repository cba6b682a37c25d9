//! Checks that values of several sections need.

use std::time::Duration;

use secrecy::SecretString;

use super::{
    SecretFile,
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

/// The secret in a file, without the space around it; `None` where no file is named.
pub(super) fn secret_file(faults: &mut Faults, path: &str, file: &str) -> Option<SecretFile> {
    if file.is_empty() {
        return None;
    }
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            faults.push(path, format!("cannot be read: {error}"));
            return None;
        }
    };
    match text.trim() {
        "" => {
            faults.push(path, "is an empty file");
            None
        }
        secret if !secret.bytes().all(|b| b.is_ascii_graphic()) => {
            faults.push(path, "has more than one word of ASCII letters and signs");
            None
        }
        secret => Some(SecretFile {
            path: file.into(),
            secret: SecretString::from(secret),
        }),
    }
}
