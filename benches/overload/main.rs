//! What becomes of a server that is asked for three times what it can do:
//! `cargo bench --bench overload`.
//!
//! It starts the binary that cargo built along with it, finds out how many
//! searches a second it answers, and then sends searches at a fixed pace, whether
//! or not earlier ones were answered: 0.7 times as many, three times as many, and
//! 0.7 times as many again. Meanwhile it asks for the server's health every 100 ms
//! and looks at its memory every second. Searches have a deadline.
//!
//! To see that it works, without an optimised build:
//! `LANCEGATE_BENCH_SECONDS=5 cargo test --bench overload`.
//!
//! It prints what was answered in each phase and, of the last one, how much of
//! what was asked in its last third: 95 per cent is the target.
//!
//! | argument | variable | meaning |
//! |---|---|---|
//! | `--seconds S` | `LANCEGATE_BENCH_SECONDS` | length of the overload, and of what follows (30) |
//! | `--factor F` | `LANCEGATE_BENCH_FACTOR` | how much more than the server can do (3) |
//! | `--deadline S` | `LANCEGATE_BENCH_DEADLINE` | seconds that a search may take (2) |
//! | `--rows N` | `LANCEGATE_BENCH_ROWS` | rows of the table (20,000) |
//! | `--json FILE` | `LANCEGATE_BENCH_JSON` | where the figures go as JSON |

mod open_loop;
mod probes;
mod report;

// What is shared with the other benchmarks, which use all of it.
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
#[path = "../replication/writer.rs"]
#[allow(dead_code)]
mod writer;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use lancegate::{
    cli::load::{self, Load, Until},
    proto::v1::{PackedFloats, Query, SearchRequest, Vector, vector::Data},
};
use tempfile::TempDir;

use self::{
    open_loop::{Phase, Sent},
    probes::Probes,
    report::Report,
    sample::Sample,
    server::{Server, Settings},
    tables::TABLE,
    writer::Writer,
};

/// As the server has it: see src/main.rs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whatever goes wrong ends the run with its text.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Callers that find out what the server can do.
const CALLERS: usize = 16;

/// For how long they do at least: their last answers are long in coming, and count.
const LEAST: Duration = Duration::from_secs(6);

/// What is asked before and after, of what the server can do.
const LIGHT: f64 = 0.7;

/// Rows of one insert.
const ROWS_A_MESSAGE: usize = 2_500;

/// Sends more than a server can answer, and looks at what becomes of it.
#[derive(Debug, Clone, Parser)]
#[command(name = "overload")]
struct Options {
    /// Length of the overload, and of what follows, in seconds.
    #[arg(long, env = "LANCEGATE_BENCH_SECONDS", default_value_t = 30.0)]
    seconds: f64,
    /// How much more than the server can do.
    #[arg(long, env = "LANCEGATE_BENCH_FACTOR", default_value_t = 3.0)]
    factor: f64,
    /// Seconds that a search may take.
    #[arg(long, env = "LANCEGATE_BENCH_DEADLINE", default_value_t = 2.0)]
    deadline: f64,
    /// Rows of the table.
    #[arg(long, env = "LANCEGATE_BENCH_ROWS", default_value_t = 20_000)]
    rows: usize,
    /// Where the figures go as JSON.
    #[arg(long, env = "LANCEGATE_BENCH_JSON", value_name = "FILE")]
    json: Option<PathBuf>,
    /// Cargo passes this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(options: &Options) -> Result<()> {
    let machine = machine::describe();
    println!(
        "machine: {} x {}, Linux {}, load average {:.2} before the run",
        machine.cores, machine.cpu, machine.kernel, machine.load_average
    );
    let folder = TempDir::with_prefix("lancegate-bench-")?;
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let server = Server::start(Settings::new(&data, &log)).await?;
    let requests = fill(&server, options.rows).await?;

    let length = Duration::from_secs_f64(options.seconds.clamp(3.0, 3_600.0));
    let capacity = capacity(&server, &requests, (length / 3).max(LEAST)).await?;
    println!("capacity: {capacity:.0} searches a second, {CALLERS} callers");
    let probes = Probes::start(&server).await?;
    let sender = Sent {
        address: server.address,
        requests,
        deadline: Duration::from_secs_f64(options.deadline),
    };
    let mut report = Report::new(machine, capacity);
    for (name, rate, length) in [
        ("before", LIGHT, length / 3),
        ("overload", options.factor, length),
        ("after", LIGHT, length),
    ] {
        let phase = Phase {
            rate: capacity * rate,
            length,
        };
        // What was before is another phase's.
        drop(probes.take());
        let answers = sender.run(phase).await?;
        report.add(name, phase, answers, probes.take());
    }
    report.print();
    if let Some(path) = &options.json {
        std::fs::write(path, format!("{:#}\n", report.json()))?;
        println!("\neverything: {}", path.display());
    }
    server.stop().await
}

/// Fills the table, and answers what to search for.
async fn fill(server: &Server, rows: usize) -> Result<Vec<SearchRequest>> {
    let sample = Sample::read()?;
    let mut writer = Writer::connect(server).await?;
    writer
        .create(&sample.rows(0, ROWS_A_MESSAGE.min(rows))?)
        .await?;
    for first in (ROWS_A_MESSAGE..rows).step_by(ROWS_A_MESSAGE) {
        let count = ROWS_A_MESSAGE.min(rows - first);
        writer.insert(&sample.rows(first, count)?).await?;
    }
    writer.optimize().await?;
    server.settled().await?;
    Ok(sample.queries.iter().map(|query| request(query)).collect())
}

fn request(query: &[f32]) -> SearchRequest {
    let vector = Vector {
        data: Some(Data::Floats(PackedFloats {
            values: query.to_vec(),
        })),
    };
    SearchRequest {
        table: TABLE.into(),
        query: Some(Query {
            vectors: vec![vector],
            limit: dataset::TOP as u32,
            columns: vec!["id".into(), "title".into()],
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// How many searches a second are answered when callers wait for their answers.
async fn capacity(server: &Server, requests: &[SearchRequest], length: Duration) -> Result<f64> {
    let load = Load {
        address: server.address.to_string(),
        security: Default::default(),
        connections: 4,
        concurrency: CALLERS,
        warmup: length / 3,
        until: Until::Elapsed(length),
        requests: requests.to_vec(),
    };
    let result = load::run(&load).await?;
    match result.errors.is_empty() {
        true => Ok(result.requests_per_second),
        false => Err(format!("without an overload: {:?}", result.errors).into()),
    }
}
