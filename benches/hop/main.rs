//! What one hop costs: `cargo bench --bench hop`. The same searches go to one node
//! directly, through a lancegate router, through nginx (`grpc_pass`) and through
//! haproxy (h2), one right after the other, each round by itself.
//!
//! | argument | variable | meaning |
//! |---|---|---|
//! | `--quick` | `LANCEGATE_BENCH_QUICK` | one short round: to see that it works |
//! | `--seconds S` | `LANCEGATE_BENCH_SECONDS` | length of one measurement (5) |
//! | `--rounds N` | `LANCEGATE_BENCH_ROUNDS` | how often everything is measured (3) |
//! | `--json FILE` | `LANCEGATE_BENCH_JSON` | where the figures go as JSON |
//!
//! nginx and haproxy are Debian's packages of these names; it is an error if one
//! is missing. Client, hop and node share the machine: ratios are what counts.

mod measure;
mod options;
mod proxies;
mod report;

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
    proxies::Proxy,
    sample::Sample,
    server::{Server, Settings},
    tables::TABLE,
};

/// As the server has it: see src/main.rs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whatever goes wrong ends the run with its text.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Rows of the table: few, so that the node's own work hides little of the hop.
const ROWS: usize = 300;

/// Callers at once.
const CONCURRENCIES: [usize; 3] = [1, 16, 64];

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
    let (node, router, requests) = runtime.block_on(start(folder.path()))?;
    let proxies = [
        Proxy::nginx(folder.path(), node.address)?,
        Proxy::haproxy(folder.path(), node.address)?,
    ];
    let hops = [
        Hop::new("direct", node.address, None),
        Hop::new("lancegate", router.address, Some(router.process())),
        Hop::new(
            "nginx grpc_pass",
            proxies[0].address,
            Some(proxies[0].process()),
        ),
        Hop::new("haproxy h2", proxies[1].address, Some(proxies[1].process())),
    ];
    runtime.block_on(proxies::all_answer(&hops, &requests[0]))?;
    let all = measure(&hops, &CONCURRENCIES, options, &requests, &runtime)?;
    report::print(&machine, &all, ROWS);
    if let Some(path) = &options.json {
        let report = json!({ "machine": machine, "rows": ROWS, "measured": all });
        fs::write(path, format!("{report:#}\n"))?;
        println!("everything: {}", path.display());
    }
    Ok(())
}

/// A node with the sample, a router in front of it, and what to ask them.
async fn start(folder: &Path) -> Result<(Server, Server, Vec<SearchRequest>)> {
    let (data, log) = (folder.join("data"), folder.join("node.log"));
    let node = Server::start(Settings::new(&data, &log)).await?;
    let sample = Sample::read()?;
    let rows = Rows {
        format: Some(Format::ArrowIpc(tables::ipc(&sample.rows(0, ROWS)?)?)),
    };
    TableServiceClient::new(node.channel().await?)
        .create_table(CreateTableRequest {
            table: TABLE.into(),
            source: Some(Source::Rows(rows)),
            exist_ok: false,
        })
        .await?;
    node.settled().await?;
    let log = folder.join("router.log");
    let place = |host: &str| format!("grpc://{host}:{}", node.address.port());
    let router = Server::start(Settings {
        data: None,
        variables: vec![
            ("LANCEGATE_PRIMARY__URI", place("127.0.0.1")),
            ("LANCEGATE_REPLICAS__0__URI", place("localhost")),
            ("LANCEGATE_REPLICAS__0__NAME", "node".to_owned()),
        ],
        ..Settings::new(&data, &log)
    })
    .await?;
    // About 1.5 KB each, for ten rows of two columns.
    let ten = Query {
        limit: 10,
        ..Default::default()
    };
    let queries = sample.queries.iter();
    let requests = queries.map(|query| tables::search(query, ten.clone()));
    Ok((node, router, requests.collect()))
}
