//! Who asks, and what they may do: with the real server, over real sockets.

mod guarded;
mod keys;
mod methods;
mod nodes;
mod tenants;
mod writes;
