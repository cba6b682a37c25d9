//! What the connection of a request shows of its client.

use std::{sync::Arc, time::SystemTime};

/// The certificate that a client has shown and that was verified against the
/// configured authorities. It is in the extensions of each request of such a
/// connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerCertificate {
    /// Whom the certificate names: its first URI (such as spiffe://…), else its
    /// first DNS name, else its common name; empty where it has none of them.
    pub subject: Arc<str>,
    /// Until when it is good. A connection may live longer.
    pub expires: SystemTime,
}
