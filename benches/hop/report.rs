//! The figures in words.

use comfy_table::{CellAlignment, Table, presets::NOTHING};

use crate::{
    machine::Machine,
    measure::{Measured, Sample, cell},
};

/// The way that the others are compared with.
const DIRECT: &str = "direct";

/// Medians of the rounds, and in brackets between what they were. What a hop adds
/// is taken round by round.
pub fn print(machine: &Machine, all: &[Measured], rows: usize) {
    println!(
        "\nmachine: {} x {}, Linux {}, load average {:.2} before the run\n\
         one node; a flat search of {rows} x 384 for ten rows of two columns; client (one thread, one\n\
         connection), hop and node share the cores; CPU is that of the process in between, for one request",
        machine.cores, machine.cpu, machine.kernel, machine.load_average
    );
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header([
        "callers",
        "way",
        "requests/s",
        "p50 ms",
        "added p50 ms",
        "added p99 ms",
        "CPU us",
    ]);
    for measured in all {
        let direct = all
            .iter()
            .find(|m| m.hop == DIRECT && m.concurrency == measured.concurrency);
        let added = |of: fn(&Sample) -> f64| {
            let pairs = measured
                .samples
                .iter()
                .zip(direct.map_or(&[][..], |d| &d.samples));
            cell(pairs.map(|(hop, direct)| of(hop) - of(direct)).collect(), 2)
        };
        let own = |of: fn(&Sample) -> f64, digits| {
            cell(measured.samples.iter().map(of).collect(), digits)
        };
        let is_direct = measured.hop == DIRECT;
        let of_a_hop = |text: String| if is_direct { String::new() } else { text };
        table.add_row([
            measured.concurrency.to_string(),
            measured.hop.to_owned(),
            own(|s| s.requests_per_second, 0),
            own(|s| s.p50_ms, 2),
            of_a_hop(added(|s| s.p50_ms)),
            of_a_hop(added(|s| s.p99_ms)),
            of_a_hop(own(|s| s.cpu_us, 0)),
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("\n{table}");
}
