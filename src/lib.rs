//! lancegate: a gRPC read-replica router and server for LanceDB.
//!
//! The folders follow a request: [`service`] decodes it with [`wire`] into
//! [`domain`] values, [`router`] chooses a [`connection`] with what [`pool`] knows of
//! it, and [`storage`], the only folder that names LanceDB, does the work.
//! [`access`] decides who may do what, [`admission`] who may begin; [`replication`] keeps the replicas true;
//! [`operate`] does what an operator orders. [`app`] builds, starts and stops
//! everything. [`transport`] is the sockets of all of them.
//! ARCHITECTURE.md states which folder may use which.

pub mod access;
pub mod admission;
pub mod app;
pub mod cli;
pub mod config;
pub mod connection;
#[cfg(feature = "disk-cache")]
pub mod disk_cache;
#[cfg(not(feature = "disk-cache"))]
#[path = "disk_cache/absent.rs"]
pub mod disk_cache;
pub mod domain;
pub mod gateway;
pub mod node;
pub mod operate;
pub mod pool;
pub mod proto;
pub mod replication;
pub mod router;
pub mod service;
pub mod storage;
pub mod telemetry;
pub mod transport;
pub mod wire;
