//! The same load on every way to the node, in turn.

use std::{net::SocketAddr, time::Duration};

use lancegate::{
    cli::{
        Security,
        load::{self, Load, LoadResult, Until},
    },
    proto::v1::SearchRequest,
};
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::{Result, machine, options::Options};

/// One way to the node.
pub struct Hop {
    pub name: &'static str,
    pub address: SocketAddr,
    /// The process in between, if there is one.
    pub process: Option<u32>,
    /// What is shown there.
    pub security: Security,
}

impl Hop {
    pub fn new(name: &'static str, address: SocketAddr, process: Option<u32>) -> Self {
        Self {
            name,
            address,
            process,
            security: Security::default(),
        }
    }

    fn cpu_time(&self) -> Result<Duration> {
        self.process.map_or(Ok(Duration::ZERO), machine::cpu_time)
    }
}

/// One way at one concurrency.
#[derive(Debug, Serialize)]
pub struct Measured {
    pub hop: &'static str,
    pub concurrency: usize,
    /// One for each round.
    pub samples: Vec<Sample>,
}

/// What one measurement gave.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sample {
    pub requests_per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Processor time of the process in between for one request, in microseconds.
    pub cpu_us: f64,
}

/// Measures every hop at every concurrency, round after round. What is compared
/// runs one right after the other, and another one begins each round.
pub fn measure(
    hops: &[Hop],
    concurrencies: &[usize],
    options: &Options,
    requests: &[SearchRequest],
    runtime: &Runtime,
) -> Result<Vec<Measured>> {
    let mut all: Vec<Measured> = Vec::new();
    for &concurrency in concurrencies {
        all.extend(hops.iter().map(|hop| Measured {
            hop: hop.name,
            concurrency,
            samples: Vec::new(),
        }));
    }
    for round in 0..options.rounds() {
        for (i, &concurrency) in concurrencies.iter().enumerate() {
            for turn in 0..hops.len() {
                let at = (turn + round) % hops.len();
                let load = |duration| {
                    let load = load_of(&hops[at], concurrency, duration, requests);
                    runtime.block_on(load::run(&load))
                };
                let sample = measure_one(&hops[at], options, load)?;
                eprintln!(
                    "round {}: {} at {concurrency}: {sample:.2?}",
                    round + 1,
                    hops[at].name
                );
                all[i * hops.len() + at].samples.push(sample);
            }
        }
    }
    Ok(all)
}

fn load_of(hop: &Hop, concurrency: usize, duration: Duration, requests: &[SearchRequest]) -> Load {
    Load {
        address: hop.address.to_string(),
        security: hop.security.clone(),
        connections: 1,
        concurrency,
        warmup: Duration::ZERO,
        until: Until::Elapsed(duration),
        requests: requests.to_vec(),
    }
}

fn measure_one<E>(
    hop: &Hop,
    options: &Options,
    load: impl Fn(Duration) -> std::result::Result<LoadResult, E>,
) -> Result<Sample>
where
    Box<dyn std::error::Error + Send + Sync>: From<E>,
{
    load(options.warmup())?;
    let before = hop.cpu_time()?;
    let result = load(options.measured())?;
    let used = hop.cpu_time()? - before;
    if !result.errors.is_empty() {
        return Err(format!("{}: requests failed: {:?}", hop.name, result.errors).into());
    }
    Ok(Sample {
        requests_per_second: result.queries_per_second,
        p50_ms: result.latency.p50_ms,
        p99_ms: result.latency.p99_ms,
        cpu_us: used.as_secs_f64() * 1e6 / result.requests.max(1) as f64,
    })
}

/// The median, and between what the values are.
pub fn cell(mut values: Vec<f64>, digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (values.first(), values.last()) else {
        return String::new();
    };
    let median = values[values.len() / 2];
    format!("{median:.digits$} [{least:.digits$} to {most:.digits$}]")
}
