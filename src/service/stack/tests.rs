//! The stack around a real tonic server on a socket, called by an HTTP/2 client
//! that adds nothing of its own.

mod answers;
mod audits;
mod client;
mod deadlines;
mod limits;
mod quotas;
mod server;
mod traces;
