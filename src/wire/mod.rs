//! Protobuf to domain values and back, Arrow to rows and back, and the one table
//! from errors to gRPC statuses. Pure functions: no I/O, no waiting, no state.
//! Whatever a client sends is checked here as far as that needs no table.

mod decimal;
mod faults;
pub mod filter;
mod frames;
pub mod freshness;
pub mod full_text;
pub mod grpc;
pub mod index;
pub mod ipc;
pub mod ipc_chunk;
pub mod page;
pub mod query;
pub mod rows;
pub mod schema;
pub mod served;
pub mod status;
pub mod table;
pub mod vector;

#[cfg(test)]
mod tests;
