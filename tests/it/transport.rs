//! TLS: of both ports, with and without certificates of clients, with files that
//! change, towards nodes, and from the command line.

mod certs;
mod cli;
mod nodes;
mod ports;
mod renewed;

pub use certs::{Authority, secure_channel, tls_to};
pub use renewed::secured;
