//! The figures in words.

use comfy_table::{CellAlignment, Table, presets::NOTHING};

use crate::{
    machine::Machine,
    measure::{Measured, Sample, cell},
    ways::WAYS,
};

/// Medians of the rounds, and in brackets between what they were. Ratios and
/// differences are to plaintext, taken round by round.
pub fn print(machine: &Machine, all: &[Measured], rows: usize) {
    println!(
        "\nmachine: {} x {}, Linux {}, load average {:.2} before the run\n\
         a flat search of {rows} x 384 for ten rows of two columns; client (one thread, one connection) and\n\
         server share the cores; CPU is that of the server, for one request",
        machine.cores, machine.cpu, machine.kernel, machine.load_average
    );
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header([
        "callers",
        "server",
        "requests/s",
        "of plaintext",
        "p50 ms",
        "p99 ms",
        "CPU us",
        "added CPU us",
    ]);
    for measured in all {
        let base = all
            .iter()
            .find(|m| m.hop == WAYS[0].name && m.concurrency == measured.concurrency);
        let base = base.map_or(&[][..], |base| &base.samples);
        let own = |of: fn(&Sample) -> f64, digits| {
            cell(measured.samples.iter().map(of).collect(), digits)
        };
        let beside = |of: fn(&Sample, &Sample) -> f64, digits| {
            let pairs = measured.samples.iter().zip(base);
            cell(pairs.map(|(own, base)| of(own, base)).collect(), digits)
        };
        table.add_row([
            measured.concurrency.to_string(),
            measured.hop.to_owned(),
            own(|s| s.requests_per_second, 0),
            beside(
                |s, base| s.requests_per_second / base.requests_per_second,
                2,
            ),
            own(|s| s.p50_ms, 2),
            own(|s| s.p99_ms, 2),
            own(|s| s.cpu_us, 0),
            beside(|s, base| s.cpu_us - base.cpu_us, 0),
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("\n{table}");
}
