//! The self-contained suite: real servers on loopback, real LanceDB in temporary
//! folders. One binary, because each one that links LanceDB takes a while.

mod bad_input;
mod consistency;
mod data;
mod differential;
mod freshness;
mod killed;
mod lifecycle;
mod process;
mod replication;
mod replicator;
mod round_trip;
mod routing;
mod server;
mod tables;
mod tidy;
mod verify;
mod writes;
