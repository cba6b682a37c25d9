//! The self-contained suite: real servers on loopback, real LanceDB in temporary
//! folders. One binary, because each one that links LanceDB takes a while.

mod amplification;
mod bad_input;
mod blobs;
mod consistency;
mod copying;
mod data;
mod differential;
mod divergence;
mod doubt;
mod failpoints;
mod freshness;
mod hidden;
mod killed;
mod lifecycle;
mod mirrored;
mod nodes;
mod process;
mod processes;
mod pruned;
mod quiet;
mod reload;
mod replication;
mod replicator;
mod retention;
mod rotation;
mod round_trip;
mod routing;
mod server;
mod sessions;
mod tables;
mod tidy;
mod verify;
mod watching;
mod writes;
