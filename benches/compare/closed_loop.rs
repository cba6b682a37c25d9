//! A closed loop, as lancegate's own load generator has it: each caller sends
//! its next query when the answer to its last one is there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use lancegate::cli::load::LoadResult;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::Result;

/// Sends one query at a time.
pub trait Caller: Send + 'static {
    /// Sends the query with this number and waits for the whole answer.
    fn call(&mut self, query: usize) -> impl Future<Output = Result<()>> + Send;
}

/// What one measurement gave.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sample {
    pub queries_per_second: f64,
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub answered: u64,
    /// Processor time for one query, of the client and of what answers it.
    pub cpu_ms: f64,
}

impl TryFrom<LoadResult> for Sample {
    type Error = Box<dyn std::error::Error + Send + Sync>;

    /// Fails where a request failed: then the figures are of something else.
    fn try_from(result: LoadResult) -> Result<Self> {
        if !result.errors.is_empty() {
            return Err(format!("requests failed: {:?}", result.errors).into());
        }
        Ok(Self {
            queries_per_second: result.queries_per_second,
            mean_ms: result.latency.mean_ms,
            p50_ms: result.latency.p50_ms,
            p99_ms: result.latency.p99_ms,
            answered: result.requests,
            cpu_ms: 0.0,
        })
    }
}

/// Runs the callers side by side; the queries are sent in turn, over and over.
///
/// # Errors
/// That of the first call that failed.
pub async fn run<C: Caller>(callers: Vec<C>, queries: usize, duration: Duration) -> Result<Sample> {
    let begin = Instant::now();
    let turn = Arc::new(AtomicUsize::new(0));
    let mut running = JoinSet::new();
    for mut caller in callers {
        let turn = Arc::clone(&turn);
        running.spawn(async move {
            let mut micros = histogram()?;
            loop {
                let started = Instant::now();
                if started - begin >= duration {
                    return Ok::<_, Box<dyn std::error::Error + Send + Sync>>(micros);
                }
                let query = turn.fetch_add(1, Ordering::Relaxed) % queries;
                caller.call(query).await?;
                micros.saturating_record(started.elapsed().as_micros() as u64);
            }
        });
    }
    let mut micros = histogram()?;
    while let Some(caller) = running.join_next().await {
        micros.add(caller??)?;
    }
    let at = |quantile| micros.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Sample {
        queries_per_second: micros.len() as f64 / begin.elapsed().as_secs_f64(),
        mean_ms: micros.mean() / 1e3,
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        answered: micros.len(),
        cpu_ms: 0.0,
    })
}

/// Of microseconds, up to ten minutes, three digits.
fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 600_000_000, 3)?)
}
