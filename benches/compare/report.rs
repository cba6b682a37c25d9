//! The figures in words.

use std::{fs, path::Path};

use comfy_table::{CellAlignment, Table, presets::NOTHING};
use serde::Serialize;

use crate::{
    Result,
    closed_loop::Sample,
    dataset::{NOISE, SEED, TOP},
    machine::{Machine, Memory},
    rounds::{self, Knobs, Measured, Spread},
    start_up::StartUp,
    tables::Built,
};

/// What the server should reach.
const LEAST_THROUGHPUT: f64 = 0.85;
const MOST_ADDED_MS: f64 = 0.4;

/// The server against LanceDB in process, each round by itself.
#[derive(Debug, Serialize)]
pub struct Ratios {
    /// Throughput at 8, as a share of that in process.
    pub throughput_at_8: Spread,
    /// Median latency at 1, less that in process.
    pub added_p50_ms_at_1: Spread,
}

impl Ratios {
    pub fn of(all: &[Measured], baseline: &str, server: &str) -> Result<Self> {
        let pairs = |concurrency, of: fn(&Sample, &Sample) -> f64| -> Result<Spread> {
            let baseline = rounds::find(all, baseline, concurrency)?;
            let server = rounds::find(all, server, concurrency)?;
            let rounds = server.samples.iter().zip(&baseline.samples);
            Ok(Spread::of(rounds.map(|(s, b)| of(s, b))))
        };
        Ok(Self {
            throughput_at_8: pairs(8, |s, b| s.queries_per_second / b.queries_per_second)?,
            added_p50_ms_at_1: pairs(1, |s, b| s.p50_ms - b.p50_ms)?,
        })
    }
}

pub fn print_machine(machine: &Machine) {
    println!(
        "\nmachine: {} x {}, Linux {}, load average {:.2} before the run",
        machine.cores, machine.cpu, machine.kernel, machine.load_average
    );
}

pub fn print_table_and_knobs(built: &Built, knobs: Knobs, queries: usize) {
    println!(
        "table: {} rows: the sample's 2,000 and copies of them with noise of length {NOISE} added, \
         of unit length again (seed {SEED})\n\
         index: IVF_PQ, cosine, {} partitions, {} sub-vectors of 8 bits; {:.1} s to import, {:.1} s to index\n\
         queries: {queries} in turn, top {TOP}, columns id and title, nprobes {}, refine factor {}\n\
         the client shares the cores with what it loads: one thread, answers read and not decoded;\n\
         CPU is processor time for one query, of the client and of what answers it",
        built.rows,
        built.partitions,
        built.sub_vectors,
        built.import_seconds,
        built.index_seconds,
        knobs.nprobes,
        knobs.refine_factor,
    );
}

/// Medians, and in brackets between what the rounds were.
pub fn print_measured(all: &[Measured], recall: &[(String, f64)]) {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header([
        "system",
        "callers",
        "queries/s",
        "p50 ms",
        "p99 ms",
        "CPU ms",
        &format!("recall@{TOP}"),
    ]);
    for measured in all {
        let recall = recall.iter().find(|(name, _)| *name == measured.system);
        table.add_row([
            measured.system.clone(),
            measured.concurrency.to_string(),
            cell(measured.spread(|s| s.queries_per_second), 0),
            cell(measured.spread(|s| s.p50_ms), 2),
            cell(measured.spread(|s| s.p99_ms), 2),
            cell(measured.spread(|s| s.cpu_ms), 2),
            recall.map_or_else(String::new, |(_, share)| format!("{share:.3}")),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("\n{table}");
}

fn cell(spread: Spread, digits: usize) -> String {
    let Spread { median, min, max } = spread;
    format!("{median:.digits$} [{min:.digits$}-{max:.digits$}]")
}

pub fn print_ratios(ratios: &Ratios) {
    let verdict = |met: bool| if met { "met" } else { "NOT met" };
    let throughput = ratios.throughput_at_8;
    let added = ratios.added_p50_ms_at_1;
    println!(
        "\nthroughput over gRPC at 8, as a share of that in process: {} (at least {LEAST_THROUGHPUT}: {})\n\
         median latency that gRPC adds at 1: {} ms (at most {MOST_ADDED_MS}: {})",
        cell(throughput, 3),
        verdict(throughput.median >= LEAST_THROUGHPUT),
        cell(added, 3),
        verdict(added.median <= MOST_ADDED_MS),
    );
}

pub fn print_start_up(start_up: &StartUp, loaded: Memory) {
    println!(
        "start to SERVING with the sample: {} ms, {} starts\n\
         memory of the server: {} idle with the sample, {} after the load",
        cell(start_up.spread, 0),
        start_up.milliseconds.len(),
        megabytes(start_up.idle),
        megabytes(loaded),
    );
}

/// Memory in words.
pub fn megabytes(memory: Memory) -> String {
    format!(
        "{:.0} MiB ({:.0} MiB anonymous)",
        memory.resident as f64 / f64::from(1 << 20),
        memory.anonymous as f64 / f64::from(1 << 20)
    )
}

pub fn write_json(path: &Path, report: &serde_json::Value) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, format!("{report:#}\n"))?;
    println!("everything: {}", path.display());
    Ok(())
}
