//! What a client calls: the tower stack and the services behind it. The handlers
//! are thin: they decode with [`crate::wire`], go through the router, and encode.

pub mod api;
mod chunks;
mod cluster;
pub mod health;
mod import;
mod on_primary;
mod search;
pub mod stack;
mod table;
mod table_source;
mod write;
