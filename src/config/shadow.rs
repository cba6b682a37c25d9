//! Reads that are run a second time: the meaning of `[shadow]`.

use std::time::Duration;

use super::{
    checks::{Zero, duration},
    fault::Faults,
    raw,
};

/// Which reads are run a second time, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Shadow {
    /// The name of a connection: a location of this process, or other nodes.
    pub connection: String,
    /// The part of the searches, from 0 to 1.
    pub share: f64,
    /// How far apart two distances may be that are the same: a part of the larger
    /// one and of 1.
    pub tolerance: f64,
    /// Shadow reads at once.
    pub max_in_flight: usize,
    /// For how long one may run.
    pub timeout: Duration,
}

/// Checks `[shadow]`; `None` where there are no shadow reads.
pub(super) fn shadow<'a>(
    raw: &raw::Shadow,
    mut connections: impl Iterator<Item = &'a str>,
    faults: &mut Faults,
) -> Option<Shadow> {
    let timeout = duration(faults, "shadow.timeout", &raw.timeout, Zero::Refused);
    let connection = raw.connection.clone();
    if connection.is_empty() {
        return None;
    }
    if !connections.any(|name| name == connection) {
        faults.push(
            "shadow.connection",
            "is no connection of this configuration",
        );
    }
    Some(Shadow {
        connection,
        share: raw.share,
        tolerance: raw.tolerance,
        max_in_flight: raw.max_in_flight,
        timeout,
    })
}

/// As it would be written.
pub(super) fn raw_shadow(shadow: Option<&Shadow>) -> raw::Shadow {
    let Some(shadow) = shadow else {
        return raw::Shadow::default();
    };
    raw::Shadow {
        connection: shadow.connection.clone(),
        share: shadow.share,
        tolerance: shadow.tolerance,
        max_in_flight: shadow.max_in_flight,
        timeout: shadow.timeout.into(),
    }
}
