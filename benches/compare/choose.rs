//! How the server's allocator and the number of Lance's threads were chosen.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    Result, compare, machine,
    options::Resolved,
    over_grpc::OverGrpc,
    report,
    rounds::{self, Knobs, System},
    server::{BINARY, Server, Settings},
};

/// Where throughput is what counts.
const CONCURRENCIES: [usize; 1] = [8];

/// A search of the default refine factor of the comparison's table.
const KNOBS: Knobs = Knobs {
    nprobes: 20,
    refine_factor: 8,
};

pub fn run(options: &Resolved) -> Result<()> {
    let machine = machine::describe();
    let clients = Rc::new(compare::clients()?);
    let folder = TempDir::with_prefix("lancegate-bench-")?;
    let (server, dataset, built) = compare::loaded_server(options, folder.path(), &clients)?;
    clients.block_on(server.stop())?;

    let knobs = Knobs {
        refine_factor: options.refine_factor.unwrap_or(KNOBS.refine_factor),
        ..KNOBS
    };
    let mut servers = Vec::new();
    let mut systems: Vec<Box<dyn System>> = Vec::new();
    for (allocator, binary) in binaries(options) {
        for threads in 1..=machine::cores() {
            let name = format!("{allocator}, LANCE_CPU_THREADS={threads}");
            let server = clients.block_on(start(folder.path(), &binary, &name, threads))?;
            systems.push(Box::new(OverGrpc::new(
                name,
                &server,
                &dataset.queries,
                knobs,
                options.connections,
                &clients,
            )));
            servers.push(server);
        }
    }
    let mut recall = Vec::new();
    for system in &systems {
        let share = dataset.recall(&system.answers()?);
        recall.push((system.name().to_owned(), share));
        system.load(8, options.pace.measured)?;
    }
    let measured = rounds::measure(&systems, &CONCURRENCIES, options.rounds, options.pace)?;

    report::print_machine(&machine);
    report::print_table_and_knobs(&built, knobs, dataset.queries.len());
    report::print_measured(&measured, &recall);
    let mut memory = Vec::new();
    for (system, server) in systems.iter().zip(servers) {
        let used = server.memory()?;
        println!("{}: {}", system.name(), report::megabytes(used));
        memory.push(json!({"system": system.name(), "memory": used}));
        clients.block_on(server.stop())?;
    }
    report::write_json(
        &options.json,
        &json!({
            "machine": machine,
            "table": built,
            "knobs": knobs,
            "measured": measured,
            "memory_after_load": memory,
        }),
    )
}

/// The servers to compare. That of this checkout has its own allocator.
fn binaries(options: &Resolved) -> Vec<(&'static str, PathBuf)> {
    let mut binaries = vec![("mimalloc", PathBuf::from(BINARY))];
    match &options.system_allocator {
        Some(binary) => binaries.push(("system allocator", binary.clone())),
        None => eprintln!("--system-allocator was not given: only mimalloc is measured"),
    }
    binaries
}

/// A server over the same folders as the others: it reads only.
async fn start(folder: &Path, binary: &Path, name: &str, threads: usize) -> Result<Server> {
    let (data, log) = (compare::data(folder), folder.join(format!("{name}.log")));
    let variables = vec![
        (machine::LANCE_CPU_THREADS, threads.to_string()),
        ("LANCEGATE_REPLICATION__ENABLED", "false".to_owned()),
    ];
    let settings = Settings {
        binary,
        variables,
        ..Settings::new(&data, &log)
    };
    Server::start(settings).await
}
