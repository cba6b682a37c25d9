//! The arguments. Each may come from the environment instead.

use std::{path::PathBuf, time::Duration};

use crate::{Result, copies};

/// Measures what replication does to reads.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "replication")]
pub struct Options {
    /// What to measure; everything when left out.
    #[arg(env = "LANCEGATE_BENCH_ONLY", value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Smaller and shorter: to see that it works.
    #[arg(long, env = "LANCEGATE_BENCH_QUICK")]
    pub quick: bool,
    /// How long commits go on, in seconds.
    #[arg(long, env = "LANCEGATE_BENCH_SECONDS")]
    seconds: Option<f64>,
    /// Rounds of what is compared.
    #[arg(long, env = "LANCEGATE_BENCH_ROUNDS")]
    rounds: Option<usize>,
    /// Where the figures go as JSON.
    #[arg(long, env = "LANCEGATE_BENCH_JSON", value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Cargo passes this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    Lag,
    CatchUp,
    Warm,
    Rclone,
}

impl Scenario {
    pub fn name(self) -> &'static str {
        match self {
            Self::Lag => "lag",
            Self::CatchUp => "catch-up",
            Self::Warm => "warm",
            Self::Rclone => "rclone",
        }
    }
}

impl Options {
    /// What to run, in order.
    ///
    /// # Errors
    /// rclone was asked for by name, and is not there.
    pub fn scenarios(&self) -> Result<Vec<Scenario>> {
        const WITHOUT: &str = "rclone is not on the PATH (Debian: apt-get install rclone)";
        let there = copies::version().is_ok();
        if !self.only.is_empty() {
            if self.only.contains(&Scenario::Rclone) && !there {
                return Err(WITHOUT.into());
            }
            return Ok(self.only.clone());
        }
        let mut all = vec![Scenario::Lag, Scenario::CatchUp, Scenario::Warm];
        match there {
            true => all.push(Scenario::Rclone),
            false => println!("{WITHOUT}: that scenario is left out"),
        }
        Ok(all)
    }

    /// How long commits go on: as asked, else this, less in a quick run.
    pub fn duration(&self, seconds: f64) -> Duration {
        let default = if self.quick { seconds / 6.0 } else { seconds };
        Duration::from_secs_f64(self.seconds.unwrap_or(default).clamp(1.0, 3_600.0))
    }

    /// How often everything that is compared is measured.
    pub fn rounds(&self) -> usize {
        let default = if self.quick { 1 } else { 3 };
        self.rounds.unwrap_or(default).max(1)
    }
}
