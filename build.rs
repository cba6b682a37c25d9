//! Compiles the contract. The descriptor set feeds the reflection service.

use std::{env, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let protos = [
        "proto/lancegate/v1/common.proto",
        "proto/lancegate/v1/search.proto",
        "proto/lancegate/v1/write.proto",
        "proto/lancegate/v1/table.proto",
        "proto/lancegate/v1/cluster.proto",
        "proto/grpc/health/v1/health.proto",
    ];
    tonic_prost_build::configure()
        .file_descriptor_set_path(out.join("descriptors.bin"))
        // Row and vector payloads are shared slices of the message, not copies.
        .bytes(".lancegate.v1")
        .compile_protos(&protos, &["proto"])?;
    println!("cargo:rerun-if-changed=proto");
    Ok(())
}
