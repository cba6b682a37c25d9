//! What a client calls: the tower stack and the services behind it.

pub mod health;
pub mod stack;
