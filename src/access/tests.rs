//! The decisions, without a server: bindings, names, claims, keys and tokens.

mod decisions;
mod tokens;
