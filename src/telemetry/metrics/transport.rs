//! Connections and certificates, by port.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use super::{
    CERTIFICATE_EXPIRY, CERTIFICATE_LOADS, CONNECTIONS_CUT, CONNECTIONS_OPEN, CONNECTIONS_REFUSED,
};

pub(super) fn describe() {
    describe_gauge!(CONNECTIONS_OPEN, "Connections to a port that are open.");
    describe_counter!(
        CONNECTIONS_REFUSED,
        "Connections to a port that were not let in, by reason: total or client (there are as many as may be, or as one client may have), handshake, handshake_timeout or accept."
    );
    describe_counter!(
        CONNECTIONS_CUT,
        "Connections to a port that were ended, by reason: no_request (none came in time) or resets (most requests were reset as soon as they came)."
    );
    describe_gauge!(
        CERTIFICATE_EXPIRY,
        Unit::Seconds,
        "Until when the certificate of a port, or the one that is shown to nodes, is good, since 1970."
    );
    describe_counter!(
        CERTIFICATE_LOADS,
        "Times that certificates were read because their files had changed, by outcome: ok or error."
    );
}

/// How many connections to a port are open.
pub fn connections_open(port: &'static str, count: usize) {
    gauge!(CONNECTIONS_OPEN, "port" => port).set(count as f64);
}

/// A connection was not let in. `reason` is one of the words in the description of
/// the metric.
pub fn connection_refused(port: &'static str, reason: &'static str) {
    counter!(CONNECTIONS_REFUSED, "port" => port, "reason" => reason).increment(1);
}

/// A connection was ended because of what its client does: `no_request` or `resets`.
pub fn connection_cut(port: &'static str, reason: &'static str) {
    counter!(CONNECTIONS_CUT, "port" => port, "reason" => reason).increment(1);
}

/// Until when a certificate is good, in seconds since 1970. `of` is the port, or
/// `nodes` for what is shown to other nodes.
pub fn certificate_expiry(of: &'static str, until: i64) {
    gauge!(CERTIFICATE_EXPIRY, "of" => of).set(until as f64);
}

/// Certificates were read again because their files have changed, and could be used
/// or not.
pub fn certificates_loaded(of: &'static str, ok: bool) {
    let outcome = if ok { "ok" } else { "error" };
    counter!(CERTIFICATE_LOADS, "of" => of, "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_certificates_are_told_apart() {
        let recorder = super::super::install(4).unwrap();
        connections_open("of this test", 7);
        connection_refused("of this test", "client");
        connection_cut("of this test", "resets");
        certificate_expiry("of this test", 1_900_000_000);
        certificates_loaded("of this test", false);
        let text = recorder.render();
        for line in [
            "lancegate_open_connections{port=\"of this test\"} 7",
            "lancegate_connections_refused_total{port=\"of this test\",reason=\"client\"} 1",
            "lancegate_connections_cut_total{port=\"of this test\",reason=\"resets\"} 1",
            "lancegate_certificate_expiry_timestamp_seconds{of=\"of this test\"} 1900000000",
            "lancegate_certificate_loads_total{of=\"of this test\",outcome=\"error\"} 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
