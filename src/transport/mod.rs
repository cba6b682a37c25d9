//! Sockets: who may connect, certificates and keys, and how a connection begins and
//! ends. Nothing here knows what is asked of them.

mod caps;
mod client;
mod counted;
mod files;
mod handshakes;
mod identity;
mod linger;
mod reloaded;
mod serve;
mod server;
mod untrusted;

pub use client::{ClientTls, Named};
pub use counted::Upload;
pub use files::TlsError;
pub use serve::{Listener, Protocol, serve};
pub use server::ServerTls;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// The cryptography of every connection: the one that the object stores bring
/// along. Named wherever it is needed, because others in the process may have set
/// another default.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests;
