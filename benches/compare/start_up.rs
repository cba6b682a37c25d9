//! A server that has just the sample, as after `make run`: how long it takes to
//! serve, and how much memory it has while nobody asks.

use std::{path::Path, time::Duration};

use serde::Serialize;

use crate::{
    Result,
    dataset::sample_file,
    machine::Memory,
    rounds::Spread,
    server::{BINARY, Server, Settings, without_configuration},
};

/// How long a server is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(5);

#[derive(Debug, Serialize)]
pub struct StartUp {
    pub milliseconds: Vec<f64>,
    pub spread: Spread,
    pub idle: Memory,
}

/// Loads the sample into a new server, then starts it again and again.
pub async fn measure(folder: &Path, starts: usize) -> Result<StartUp> {
    let (data, log) = (folder.join("sample"), folder.join("sample.log"));
    let server = Server::start(Settings::new(&data, &log)).await?;
    let imported = without_configuration(Path::new(BINARY))
        .args(["import", "packages"])
        .arg(sample_file("packages.parquet"))
        .args(["--create", "--index", "title:fts"])
        .args(["--address", &server.address.to_string()])
        .output()?;
    if !imported.status.success() {
        let text = String::from_utf8_lossy(&imported.stderr);
        return Err(format!("the sample could not be imported: {text}").into());
    }
    server.settled().await?;
    server.stop().await?;

    let mut milliseconds = Vec::new();
    let mut idle = None;
    for start in 0..starts {
        let server = Server::start(Settings::new(&data, &log)).await?;
        milliseconds.push(server.start_up.as_secs_f64() * 1e3);
        if start + 1 == starts {
            tokio::time::sleep(IDLE).await;
            idle = Some(server.memory()?);
        }
        server.stop().await?;
    }
    Ok(StartUp {
        spread: Spread::of(milliseconds.iter().copied()),
        milliseconds,
        idle: idle.ok_or("the server was never started")?,
    })
}
