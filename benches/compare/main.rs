//! What lancegate costs, and what it saves: `cargo bench --bench compare`.
//!
//! One run searches one table (IVF_PQ, top 10, the same queries in the same
//! order) in four ways:
//!
//! - LanceDB called in this process, on a table pinned to its version;
//! - a real `lancegate serve` with a primary and two replicas, over gRPC on
//!   loopback, answering Arrow IPC, loaded by lancegate's own load generator;
//! - the web app that tutorials write around LanceDB (`benches/peers`), as
//!   written and tuned, over HTTP/1.1, on the folders of the same replicas.
//!
//! The measurements are interleaved in rounds, so that whatever else the machine
//! does hits all alike; the report has medians of the rounds and their spread,
//! recall against exact neighbours, the memory of an idle server and the time
//! that it takes to start. Everything is written to a JSON file as well.
//!
//! The arguments come after `--`, and each has an environment variable:
//!
//! | argument | variable | meaning |
//! |---|---|---|
//! | `--quick` | `LANCEGATE_BENCH_QUICK` | fewer rows, rounds and seconds: to see that it works |
//! | `--seconds S` | `LANCEGATE_BENCH_SECONDS` | length of one measurement (5) |
//! | `--rounds N` | `LANCEGATE_BENCH_ROUNDS` | rounds (3) |
//! | `--rows N` | `LANCEGATE_BENCH_ROWS` | rows of the table (50,000) |
//! | `--nprobes N` | `LANCEGATE_BENCH_NPROBES` | instead of the fewest that reach the recall |
//! | `--refine-factor N` | `LANCEGATE_BENCH_REFINE_FACTOR` | instead of the smallest that reaches the recall |
//! | `--connections N` | `LANCEGATE_BENCH_CONNECTIONS` | HTTP/2 connections of the gRPC load (1) |
//! | `--without-peers` | `LANCEGATE_BENCH_WITHOUT_PEERS` | without the web app, which needs Python and PyPI |
//! | `--json FILE` | `LANCEGATE_BENCH_JSON` | where the JSON goes |
//! | `--choose` | `LANCEGATE_BENCH_CHOOSE` | measure the server's allocator and threads instead |
//! | `--system-allocator BINARY` | `LANCEGATE_BENCH_SYSTEM_ALLOCATOR` | a server built with the feature `system-allocator`, for `--choose` |

mod choose;
mod closed_loop;
mod compare;
mod dataset;
mod in_process;
mod machine;
mod options;
mod over_grpc;
mod report;
mod rounds;
mod server;
mod start_up;
mod tables;
mod web_app;

use std::process::ExitCode;

use clap::Parser;

use self::options::Options;

/// As the server has it: see src/main.rs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whatever goes wrong ends the run with its text.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let options = Options::parse().resolved();
    machine::give_lance_every_core();
    let done = match options.choose {
        true => choose::run(&options),
        false => compare::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
