//! Who asks, and what they may do: with the real server, over real sockets.

mod early;
mod guarded;
mod identities;
mod issuer;
mod keys;
mod methods;
mod nodes;
mod tenants;
mod writes;

pub use guarded::{Caller, Files, channel};
pub use methods::http_get_with;
