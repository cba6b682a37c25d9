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

/// Partitions of the index that a search looks into, fewest first.
const NPROBES: [u32; 5] = [20, 25, 30, 40, 60];

/// Candidates that are ranked by their exact distance, as a multiple of the
/// answered rows, smallest first.
const REFINE_FACTORS: [u32; 8] = [1, 2, 3, 5, 8, 12, 20, 30];

/// What the smallest of both have to reach.
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
    let grpc = OverGrpc::new(GRPC, &server, queries, knobs, options.connections, &clients);
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
        system.load(8, options.pace.measured)?;
    }
    let measured = rounds::measure(&systems, &CONCURRENCIES, options.rounds, options.pace)?;
    let loaded = server.memory()?;
    drop(systems);
    clients.block_on(server.stop())?;
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

/// LanceDB in process, and the smallest knobs that reach the recall.
fn tuned_in_process(
    options: &Resolved,
    replica: &Path,
    dataset: &Dataset,
    built: &Built,
) -> Result<(InProcess, Knobs)> {
    let mut knobs = Knobs {
        nprobes: options.nprobes.unwrap_or(NPROBES[0]),
        refine_factor: options.refine_factor.unwrap_or(REFINE_FACTORS[0]),
    };
    let queries = &dataset.queries;
    let mut system = InProcess::open(replica, TABLE, built.version, queries, knobs)?;
    let all_nprobes = options.nprobes.map_or(NPROBES.to_vec(), |n| vec![n]);
    let all_factors = options
        .refine_factor
        .map_or(REFINE_FACTORS.to_vec(), |n| vec![n]);
    let given = options.nprobes.is_some() && options.refine_factor.is_some();
    for &nprobes in &all_nprobes {
        for &refine_factor in &all_factors {
            knobs = Knobs {
                nprobes,
                refine_factor,
            };
            system.set_knobs(knobs);
            let recall = dataset.recall(&system.answers()?);
            eprintln!("nprobes {nprobes}, refine factor {refine_factor}: recall {recall:.3}");
            if recall >= RECALL || given {
                return Ok((system, knobs));
            }
        }
    }
    Err(format!("the recall stays below {RECALL}").into())
}
