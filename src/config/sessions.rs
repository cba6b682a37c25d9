//! How long sessions last: the meaning of `[sessions]`.

use std::time::Duration;

use super::{
    checks::{Zero, duration},
    fault::Faults,
    raw,
};

/// What sessions may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Sessions {
    /// For how long one lasts that does not say it.
    pub default_ttl: Duration,
    /// The longest that one may ask for.
    pub max_ttl: Duration,
    /// Most sessions of one table.
    pub max_open: usize,
    /// Most of them that one caller has.
    pub max_per_principal: usize,
}

/// Checks `[sessions]`.
pub(super) fn sessions(raw: &raw::Sessions, faults: &mut Faults) -> Sessions {
    let mut read = |path, text| duration(faults, path, text, Zero::Refused);
    let default_ttl = read("sessions.default_ttl", &raw.default_ttl);
    let max_ttl = read("sessions.max_ttl", &raw.max_ttl);
    if default_ttl > max_ttl {
        faults.push("sessions.default_ttl", "is longer than sessions.max_ttl");
    }
    Sessions {
        default_ttl,
        max_ttl,
        max_open: raw.max_open,
        max_per_principal: raw.max_per_principal,
    }
}

impl Sessions {
    /// As it would be written.
    pub(super) fn to_raw(self) -> raw::Sessions {
        raw::Sessions {
            default_ttl: self.default_ttl.into(),
            max_ttl: self.max_ttl.into(),
            max_open: self.max_open,
            max_per_principal: self.max_per_principal,
        }
    }
}
