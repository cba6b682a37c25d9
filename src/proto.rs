//! The contract, as generated from `proto/`.

#![allow(missing_docs, clippy::all, clippy::pedantic)]

/// `lancegate.v1`.
pub mod v1 {
    tonic::include_proto!("lancegate.v1");
}

/// `grpc.health.v1`.
pub mod health {
    tonic::include_proto!("grpc.health.v1");
}

/// The descriptors of every service, for reflection.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("descriptors");
