//! The arguments. Each may come from the environment instead.

use std::{path::PathBuf, time::Duration};

/// Compares the hop through lancegate with the hop through plain proxies.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "hop")]
pub struct Options {
    /// One short round: to see that it works.
    #[arg(long, env = "LANCEGATE_BENCH_QUICK")]
    quick: bool,
    /// Length of one measurement, in seconds.
    #[arg(long, env = "LANCEGATE_BENCH_SECONDS")]
    seconds: Option<f64>,
    /// How often everything is measured.
    #[arg(long, env = "LANCEGATE_BENCH_ROUNDS")]
    rounds: Option<usize>,
    /// Where the JSON goes.
    #[arg(long, env = "LANCEGATE_BENCH_JSON", value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Cargo passes this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// How long one measurement is.
    pub fn measured(&self) -> Duration {
        let usual = if self.quick { 1.0 } else { 5.0 };
        Duration::from_secs_f64(self.seconds.unwrap_or(usual).clamp(0.1, 3_600.0))
    }

    /// What is answered before, and not counted.
    pub fn warmup(&self) -> Duration {
        (self.measured() / 5).max(Duration::from_millis(300))
    }

    pub fn rounds(&self) -> usize {
        let usual = if self.quick { 1 } else { 3 };
        self.rounds.unwrap_or(usual).max(1)
    }
}
