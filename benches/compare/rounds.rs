//! Everything is measured in turn, round after round.

use std::time::Duration;

use serde::Serialize;

use crate::{Result, closed_loop::Sample, machine, options::Pace};

/// What a search is asked to do, the same for all.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Knobs {
    pub nprobes: u32,
    pub refine_factor: u32,
}

/// Something that answers the queries.
pub trait System {
    fn name(&self) -> &str;

    /// Loads it with that many callers, for so long.
    fn load(&self, concurrency: usize, duration: Duration) -> Result<Sample>;

    /// The process that answers, if that is not this one.
    fn process(&self) -> Option<u32>;

    /// Ids of the rows that each query is answered with.
    fn answers(&self) -> Result<Vec<Vec<i64>>>;
}

/// One system at one concurrency.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    pub system: String,
    pub concurrency: usize,
    /// One for each round.
    pub samples: Vec<Sample>,
}

/// The median of the rounds, and between what they were.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        Self {
            median: match values.len() % 2 {
                0 => (values[middle - 1] + values[middle]) / 2.0,
                _ => values[middle],
            },
            min: values[0],
            max: values[values.len() - 1],
        }
    }
}

impl Measured {
    pub fn spread(&self, of: impl Fn(&Sample) -> f64) -> Spread {
        Spread::of(self.samples.iter().map(of))
    }
}

/// Measures all systems at all concurrencies, `rounds` times. Systems that are
/// compared run one right after the other, and another one begins each round.
pub fn measure(
    systems: &[Box<dyn System>],
    concurrencies: &[usize],
    rounds: usize,
    pace: Pace,
) -> Result<Vec<Measured>> {
    let mut all: Vec<Measured> = Vec::new();
    for &concurrency in concurrencies {
        all.extend(systems.iter().map(|system| Measured {
            system: system.name().to_owned(),
            concurrency,
            samples: Vec::new(),
        }));
    }
    for round in 0..rounds {
        for (i, &concurrency) in concurrencies.iter().enumerate() {
            for turn in 0..systems.len() {
                let at = (turn + round) % systems.len();
                let system = &systems[at];
                let sample = measure_one(system.as_ref(), concurrency, pace)?;
                eprintln!(
                    "round {} of {rounds}: {} at {concurrency}: {:.0} queries/s, p50 {:.2} ms, p99 {:.2} ms, CPU {:.2} ms",
                    round + 1,
                    system.name(),
                    sample.queries_per_second,
                    sample.p50_ms,
                    sample.p99_ms,
                    sample.cpu_ms,
                );
                all[i * systems.len() + at].samples.push(sample);
            }
        }
    }
    Ok(all)
}

/// One measurement, after a warm-up that does not count.
fn measure_one(system: &dyn System, concurrency: usize, pace: Pace) -> Result<Sample> {
    let used = || -> Result<Duration> {
        // What this process started is counted for itself.
        let other = system
            .process()
            .map_or(Ok(Duration::ZERO), machine::cpu_time)?;
        Ok(machine::own_cpu_time()? + other)
    };
    system.load(concurrency, pace.warmup)?;
    let before = used()?;
    let mut sample = system.load(concurrency, pace.measured)?;
    sample.cpu_ms = (used()? - before).as_secs_f64() * 1e3 / sample.answered.max(1) as f64;
    Ok(sample)
}

/// The figures of one system at one concurrency.
pub fn find<'a>(all: &'a [Measured], system: &str, concurrency: usize) -> Result<&'a Measured> {
    all.iter()
        .find(|m| m.system == system && m.concurrency == concurrency)
        .ok_or_else(|| format!("{system} was not measured at {concurrency}").into())
}
