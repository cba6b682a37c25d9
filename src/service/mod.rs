//! What a client calls: the tower stack and the services behind it. The handlers
//! are thin: they decode with [`crate::wire`], go through the router, and encode.

pub mod allowed;
pub mod api;
mod chunks;
pub mod cluster;
pub mod health;
mod import;
mod once;
mod search;
pub mod shadow;
pub mod stack;
mod table;
mod write;
