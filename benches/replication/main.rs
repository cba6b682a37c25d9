//! What replication does to reads, on real servers: `cargo bench --bench replication`.
//!
//! | scenario | what it measures |
//! |---|---|
//! | `lag` | from the acknowledgement of a commit to its visibility on each replica, at 10 commits a second |
//! | `catch-up` | what a replica that was off for 1,000 versions copies, and for how long |
//! | `warm` | searches around the publish of a new index, with and without warming |
//! | `rclone` | readers of a copy that rclone keeps, beside readers of a managed replica |
//!
//! Each runs the binary that cargo built along with it, over temporary folders on
//! the local disk, and prints its figures; all of them run where none is named.
//!
//! | argument | variable | meaning |
//! |---|---|---|
//! | `SCENARIO...` | `LANCEGATE_BENCH_ONLY` (separated by commas) | run only these |
//! | `--quick` | `LANCEGATE_BENCH_QUICK` | smaller and shorter: to see that it works |
//! | `--seconds S` | `LANCEGATE_BENCH_SECONDS` | how long `lag` commits (60) and each round of `rclone` writes (15) |
//! | `--rounds N` | `LANCEGATE_BENCH_ROUNDS` | rounds of `warm` and `rclone` (3) |
//! | `--json FILE` | `LANCEGATE_BENCH_JSON` | where the figures go as JSON |
//!
//! `rclone` needs rclone (Debian has a package of that name). Without it the
//! scenario is left out, and it is an error to name it.

mod catch_up;
mod copies;
mod distribution;
mod lag;
mod mirror;
mod options;
mod positions;
mod readers;
mod sample;
mod warm;
mod writer;

// What is shared with `benches/compare`, which uses all of it.
#[path = "../compare/dataset.rs"]
#[allow(dead_code)]
mod dataset;
#[path = "../compare/machine.rs"]
#[allow(dead_code)]
mod machine;
#[path = "../compare/server.rs"]
#[allow(dead_code)]
mod server;
#[path = "../compare/tables.rs"]
#[allow(dead_code)]
mod tables;

use std::{collections::BTreeMap, fs, process::ExitCode};

use clap::Parser;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::options::{Options, Scenario};

/// As the server has it: see src/main.rs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whatever goes wrong ends the run with its text.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// As src/main.rs has it: Lance's plans are deep.
const STACK_BYTES: usize = 8 << 20;

fn main() -> ExitCode {
    let options = Options::parse();
    machine::give_lance_every_core();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let machine = machine::describe();
    println!(
        "machine: {} x {}, Linux {}, load average {:.2} before the run",
        machine.cores, machine.cpu, machine.kernel, machine.load_average
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()?;
    let mut figures: BTreeMap<&str, Value> = BTreeMap::new();
    for scenario in options.scenarios()? {
        println!("\n== {} ==", scenario.name());
        let folder = TempDir::with_prefix("lancegate-bench-")?;
        let figure = runtime.block_on(async {
            match scenario {
                Scenario::Lag => lag::run(options, folder.path()).await,
                Scenario::CatchUp => catch_up::run(options, folder.path()).await,
                Scenario::Warm => warm::run(options, folder.path()).await,
                Scenario::Rclone => mirror::run(options, folder.path()).await,
            }
        })?;
        figures.insert(scenario.name(), figure);
    }
    if let Some(path) = &options.json {
        let report = json!({ "machine": machine, "scenarios": figures });
        fs::write(path, format!("{report:#}\n"))?;
        println!("\neverything: {}", path.display());
    }
    Ok(())
}
