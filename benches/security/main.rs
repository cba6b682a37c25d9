//! What it costs that a server is on a network: `cargo bench --bench security`. The
//! same searches go to servers that differ in one thing each: plaintext; TLS; TLS and
//! an API key; TLS, a key and a quota of its identity, one right after the other.
//!
//! It takes the arguments of the benchmark `hop`.

#[path = "../hop/measure.rs"]
mod measure;
#[path = "../hop/options.rs"]
mod options;
mod report;
mod ways;

#[path = "../compare/dataset.rs"]
#[allow(dead_code)]
mod dataset;
#[path = "../compare/machine.rs"]
#[allow(dead_code)]
mod machine;
#[path = "../replication/sample.rs"]
#[allow(dead_code)]
mod sample;
#[path = "../compare/server.rs"]
#[allow(dead_code)]
mod server;
#[path = "../compare/tables.rs"]
#[allow(dead_code)]
mod tables;

use std::{fs, path::Path, process::ExitCode};

use clap::Parser;
use lancegate::proto::v1::{
    CreateTableRequest, Query, Rows, SearchRequest, create_table_request::Source, rows::Format,
    table_service_client::TableServiceClient,
};
use serde_json::json;
use tempfile::TempDir;

use self::{
    measure::{Hop, measure},
    options::Options,
    sample::Sample,
    server::{Server, Settings},
    tables::TABLE,
    ways::{Secured, WAYS},
};

/// As the server has it: see src/main.rs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whatever goes wrong ends the run with its text.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Rows of the table: few, so that the search hides little of the rest.
const ROWS: usize = 300;

/// Callers at once.
const CONCURRENCIES: [usize; 2] = [1, 16];

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let machine = machine::describe();
    let folder = TempDir::with_prefix("lancegate-bench-")?;
    // One thread for the client, as the other benchmarks have it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let data = folder.path().join("data");
    let requests = runtime.block_on(prepare(&data, &folder.path().join("log")))?;
    let mut servers = Vec::new();
    for way in &WAYS {
        servers.push(runtime.block_on(Secured::start(folder.path(), &data, way, &requests))?);
    }
    let hops: Vec<Hop> = servers.iter().map(Secured::hop).collect();
    let all = measure(&hops, &CONCURRENCIES, options, &requests, &runtime)?;
    report::print(&machine, &all, ROWS);
    if let Some(path) = &options.json {
        let report = json!({ "machine": machine, "rows": ROWS, "measured": all });
        fs::write(path, format!("{report:#}\n"))?;
        println!("everything: {}", path.display());
    }
    Ok(())
}

/// Makes the data that each server gets a copy of, and what to ask them.
async fn prepare(data: &Path, log: &Path) -> Result<Vec<SearchRequest>> {
    let server = Server::start(Settings::new(data, log)).await?;
    let sample = Sample::read()?;
    let rows = Rows {
        format: Some(Format::ArrowIpc(tables::ipc(&sample.rows(0, ROWS)?)?)),
    };
    TableServiceClient::new(server.channel().await?)
        .create_table(CreateTableRequest {
            table: TABLE.into(),
            source: Some(Source::Rows(rows)),
            exist_ok: false,
        })
        .await?;
    server.settled().await?;
    server.stop().await?;
    let ten = Query {
        limit: 10,
        ..Default::default()
    };
    let queries = sample.queries.iter();
    Ok(queries
        .map(|query| tables::search(query, ten.clone()))
        .collect())
}
