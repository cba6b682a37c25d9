//! The comparison: all systems, one table, one run.

use std::{fs, path::Path, rc::Rc};

use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    Result,
    dataset::{Dataset, NOISE, SEED},
    in_process::InProcess,
    machine,
    options::Resolved,
    over_grpc::OverGrpc,
    report::{self, Ratios},
    rounds::{self, Knobs, System},
    server::{Server, Settings},
    start_up,
    tables::{self, Built, TABLE},
    web_app::{Mode, WebApp},
};

const CONCURRENCIES: [usize; 3] = [1, 8, 32];

/// Partitions of the index that a search looks into.
const NPROBES: u32 = 20;

/// What the candidates of a search are multiplied by, smallest first.
const REFINE_FACTORS: [u32; 9] = [1, 2, 3, 5, 8, 12, 20, 30, 50];

/// What the refine factor has to reach.
const RECALL: f64 = 0.95;

const GRPC: &str = "lancegate over gRPC";

pub fn run(options: &Resolved) -> Result<()> {
    let machine = machine::describe();
    let clients = Rc::new(clients()?);
    let folder = TempDir::with_prefix("lancegate-bench-")?;
    let (server, dataset, built) = loaded_server(options, folder.path(), &clients)?;

    let replicas = ["replica-1", "replica-2"].map(|name| data(folder.path()).join(name));
    let (in_process, knobs) = tuned_in_process(options, &replicas[0], &dataset, &built)?;
    let queries = &dataset.queries;
    let grpc = OverGrpc::new(
        GRPC,
        server.address,
        queries,
        knobs,
        options.connections,
        &clients,
    );
    let baseline = in_process.name().to_owned();
    let mut systems: Vec<Box<dyn System>> = vec![Box::new(in_process), Box::new(grpc)];
    if !options.without_peers {
        for mode in [Mode::Tutorial, Mode::Tuned] {
            let app = WebApp::start(mode, &replicas, queries, knobs, &clients)?;
            systems.push(Box::new(app));
        }
    }

    let mut recall = Vec::new();
    for system in &systems {
        let share = dataset.recall(&system.answers()?);
        recall.push((system.name().to_owned(), share));
        system.measure(8, options.pace)?;
    }
    let measured = rounds::measure(&systems, &CONCURRENCIES, options.rounds, options.pace)?;
    let loaded = server.memory()?;
    drop(systems);
    server.stop()?;
    let start_up = clients.block_on(start_up::measure(folder.path(), options.starts))?;

    let ratios = Ratios::of(&measured, &baseline, GRPC)?;
    report::print_machine(&machine);
    report::print_table_and_knobs(&built, knobs, queries.len());
    report::print_measured(&measured, &recall);
    report::print_ratios(&ratios);
    report::print_start_up(&start_up, loaded);
    report::write_json(
        &options.json,
        &json!({
            "machine": machine,
            "table": built,
            "noise": NOISE,
            "seed": SEED,
            "knobs": knobs,
            "queries": queries.len(),
            "recall": recall.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            "measured": measured,
            "ratios": ratios,
            "start_up_with_sample": start_up,
            "memory_after_load": loaded,
        }),
    )
}

/// One thread for all clients: the load shares the machine with what it loads,
/// and should not be what is measured.
pub fn clients() -> Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime)
}

/// Where the server's primary and replicas are.
pub fn data(folder: &Path) -> std::path::PathBuf {
    folder.join("data")
}

/// A server whose replicas hold the table.
pub fn loaded_server(
    options: &Resolved,
    folder: &Path,
    clients: &Runtime,
) -> Result<(Server, Dataset, Built)> {
    eprintln!("growing the sample to {} rows", options.rows);
    let dataset = Dataset::grow(options.rows)?;
    fs::create_dir(data(folder))?;
    let log = folder.join("server.log");
    clients.block_on(async {
        let server = Server::start(Settings::new(&data(folder), &log)).await?;
        eprintln!("importing the rows and building the index");
        let built = tables::build(&server, &dataset).await?;
        Ok((server, dataset, built))
    })
}

/// LanceDB in process, and the smallest refine factor that reaches the recall.
fn tuned_in_process(
    options: &Resolved,
    replica: &Path,
    dataset: &Dataset,
    built: &Built,
) -> Result<(InProcess, Knobs)> {
    let knobs = |refine_factor| Knobs {
        nprobes: NPROBES,
        refine_factor,
    };
    let first = knobs(options.refine_factor.unwrap_or(REFINE_FACTORS[0]));
    let queries = &dataset.queries;
    let mut system = InProcess::open(replica, TABLE, built.version, queries, first)?;
    if options.refine_factor.is_some() {
        return Ok((system, first));
    }
    let mut best = 0.0_f64;
    for factor in REFINE_FACTORS {
        system.set_knobs(knobs(factor));
        let recall = dataset.recall(&system.answers()?);
        eprintln!("refine factor {factor}: recall {recall:.3}");
        if recall >= RECALL {
            return Ok((system, knobs(factor)));
        }
        best = best.max(recall);
    }
    Err(format!("no refine factor reaches a recall of {RECALL}: {best:.3} at best").into())
}
