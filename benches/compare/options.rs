//! The arguments. Each may come from the environment instead.

use std::{path::PathBuf, time::Duration};

/// Compares lancegate with LanceDB in process and with a web app around it.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "compare")]
pub struct Options {
    /// Fewer rows, rounds and seconds: to see that it works.
    #[arg(long, env = "LANCEGATE_BENCH_QUICK")]
    pub quick: bool,
    /// Length of one measurement, in seconds.
    #[arg(long, env = "LANCEGATE_BENCH_SECONDS")]
    seconds: Option<f64>,
    /// How often everything is measured.
    #[arg(long, env = "LANCEGATE_BENCH_ROUNDS")]
    rounds: Option<usize>,
    /// Rows of the table.
    #[arg(long, env = "LANCEGATE_BENCH_ROWS")]
    rows: Option<usize>,
    /// Partitions looked into, instead of the fewest that reach the recall.
    #[arg(long, env = "LANCEGATE_BENCH_NPROBES")]
    pub nprobes: Option<u32>,
    /// Instead of the smallest that reaches the recall.
    #[arg(long, env = "LANCEGATE_BENCH_REFINE_FACTOR")]
    pub refine_factor: Option<u32>,
    /// HTTP/2 connections of the gRPC load.
    #[arg(long, env = "LANCEGATE_BENCH_CONNECTIONS", default_value_t = 1)]
    pub connections: usize,
    /// Leave out the web app, which needs Python and PyPI.
    #[arg(long, env = "LANCEGATE_BENCH_WITHOUT_PEERS")]
    pub without_peers: bool,
    /// Where the JSON goes.
    #[arg(long, env = "LANCEGATE_BENCH_JSON", value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure the server's allocator and threads instead.
    #[arg(long, env = "LANCEGATE_BENCH_CHOOSE")]
    pub choose: bool,
    /// A server built with the feature `system-allocator`, for --choose.
    #[arg(
        long,
        env = "LANCEGATE_BENCH_SYSTEM_ALLOCATOR",
        value_name = "BINARY",
        requires = "choose"
    )]
    pub system_allocator: Option<PathBuf>,
    /// Cargo passes this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Options with their defaults filled in.
#[derive(Debug, Clone)]
pub struct Resolved {
    pub options: Options,
    pub pace: Pace,
    pub rounds: usize,
    pub rows: usize,
    /// Starts that are timed.
    pub starts: usize,
    pub json: PathBuf,
}

/// How one measurement is paced.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Answers that are not counted: caches and connections get warm.
    pub warmup: Duration,
    pub measured: Duration,
}

impl std::ops::Deref for Resolved {
    type Target = Options;

    fn deref(&self) -> &Options {
        &self.options
    }
}

impl Options {
    pub fn resolved(self) -> Resolved {
        let (seconds, rounds, rows, starts) = match self.quick {
            true => (1.0, 1, 5_000, 2),
            false => (5.0, 3, 50_000, 5),
        };
        let seconds = self.seconds.unwrap_or(seconds).clamp(0.1, 3_600.0);
        let name = if self.choose {
            "choose.json"
        } else {
            "compare.json"
        };
        let json = self.json.clone();
        Resolved {
            pace: Pace {
                warmup: Duration::from_secs_f64((seconds / 5.0).max(0.3)),
                measured: Duration::from_secs_f64(seconds),
            },
            rounds: self.rounds.unwrap_or(rounds).max(1),
            rows: self.rows.unwrap_or(rows).max(2_000),
            starts,
            json: json.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)),
            options: self,
        }
    }
}
