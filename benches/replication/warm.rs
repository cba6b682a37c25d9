//! Searches around the publish of a new index, with and without warming.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use lancegate::proto::v1::{Query, search_service_client::SearchServiceClient};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    Result,
    dataset::{Dataset, TOP},
    distribution::Distribution,
    options::Options,
    positions::{Position, Positions},
    server::{BINARY, Server, Settings},
    tables,
    writer::Writer,
};

const ROWS: usize = 20_000;
const QUICK_ROWS: usize = 5_000;

/// Rows that are appended before the index is brought up to date.
const APPENDED: usize = 500;

/// How many indexes are published in a round: the last one is built anew, the
/// others have rows added.
const PUBLISHES: usize = 4;

/// The searches are as those of `--bench compare`.
const NPROBES: u32 = 30;
const REFINE_FACTOR: u32 = 5;

/// How long a publish is looked at, to either side.
const WINDOW: Duration = Duration::from_secs(1);

/// From one publish to the next writes: the window and some time of quiet.
const QUIET: Duration = Duration::from_secs(3);

/// What is compared: the name, and `replication.warm_timeout`.
const SYSTEMS: [(&str, &str); 2] = [("warmed", "30s"), ("not warmed", "0s")];

/// One search.
#[derive(Debug, Clone, Copy)]
struct Search {
    began: Instant,
    took: Duration,
    version: u64,
}

/// The searches of one round, and the versions with a new index.
struct Round {
    searches: Vec<Search>,
    /// When writes began, and the version that published the index.
    publishes: Vec<(Instant, u64)>,
}

pub async fn run(options: &Options, folder: &Path) -> Result<Value> {
    let rows = if options.quick { QUICK_ROWS } else { ROWS };
    let dataset = Dataset::grow(rows)?;
    let (built, log) = (folder.join("built"), folder.join("server.log"));
    let server = start(&built, &log, "0s").await?;
    let table = tables::build(&server, &dataset).await?;
    server.stop().await?;
    println!(
        "{} rows, IVF_PQ of {} partitions, one replica, one caller; {APPENDED} rows are appended and the index is brought up to date,\n\
         {} times a round, and built anew once",
        table.rows,
        table.partitions,
        PUBLISHES - 1
    );
    let version = table.version;
    let mut rounds: [Vec<Round>; SYSTEMS.len()] = Default::default();
    for round in 0..options.rounds() {
        for turn in 0..SYSTEMS.len() {
            let at = (turn + round) % SYSTEMS.len();
            let (name, warm) = SYSTEMS[at];
            let data = folder.join(format!("{round}-{turn}"));
            copy(&built, &data)?;
            let server = start(&data, &log, warm).await?;
            let done = one(&server, &dataset, version).await?;
            server.stop().await?;
            fs::remove_dir_all(&data)?;
            eprintln!(
                "round {}: {name}: {} searches",
                round + 1,
                done.searches.len()
            );
            rounds[at].push(done);
        }
    }
    let figures: Vec<Value> = SYSTEMS
        .iter()
        .zip(&rounds)
        .map(|((name, _), rounds)| report(name, rounds))
        .collect();
    Ok(json!({ "table": table, "systems": figures }))
}

/// A server with a primary and one replica.
async fn start(data: &Path, log: &Path, warm: &str) -> Result<Server> {
    let place = |name: &str| data.join(name).display().to_string();
    Server::start(Settings {
        binary: Path::new(BINARY),
        data: None,
        log,
        variables: vec![
            ("LANCEGATE_PRIMARY__URI", place("primary")),
            ("LANCEGATE_REPLICAS__0__URI", place("replica-1")),
            ("LANCEGATE_REPLICATION__WARM_TIMEOUT", warm.to_owned()),
        ],
    })
    .await
}

async fn one(server: &Server, dataset: &Dataset, version: u64) -> Result<Round> {
    let mut positions = Positions::connect(server).await?;
    let is_there = |at: u64| move |p: &Position| p.is_up && p.version >= at;
    positions.until("replica-1", is_there(version)).await?;
    let mut writer = Writer::connect(server).await?;
    let searching = Searching::start(server, dataset).await?;
    tokio::time::sleep(QUIET).await;
    let batches = dataset.batches(APPENDED)?;
    let mut publishes = Vec::new();
    for (publish, batch) in batches.iter().take(PUBLISHES).enumerate() {
        let began = Instant::now();
        let mut version = writer.insert(batch).await?;
        version = match publish + 1 == PUBLISHES {
            true => writer.index_vectors(dataset.num_rows()).await?,
            false => writer.optimize_indexes().await?.max(version),
        };
        positions.until("replica-1", is_there(version)).await?;
        publishes.push((began, version));
        tokio::time::sleep(QUIET).await;
    }
    Ok(Round {
        searches: searching.finish().await?,
        publishes,
    })
}

/// One caller who searches until it is told to stop.
struct Searching {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<Vec<Search>>>,
}

impl Searching {
    async fn start(server: &Server, dataset: &Dataset) -> Result<Self> {
        let mut client = SearchServiceClient::new(server.channel().await?);
        let how = Query {
            limit: TOP as u32,
            nprobes: NPROBES,
            refine_factor: Some(REFINE_FACTOR),
            ..Default::default()
        };
        let queries = dataset.queries.iter();
        let requests: Vec<_> = queries.map(|q| tables::search(q, how.clone())).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut searches = Vec::new();
            for request in requests.iter().cycle() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let began = Instant::now();
                let answer = client.search(request.clone()).await?.into_inner();
                let served = answer.served.ok_or("the answer says not who served it")?;
                searches.push(Search {
                    began,
                    took: began.elapsed(),
                    version: served.version,
                });
            }
            Ok(searches)
        });
        Ok(Self { stop, task })
    }

    async fn finish(self) -> Result<Vec<Search>> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

/// Sorts the searches by when they were: far from any publish, just before one
/// (while the index is built, copied and warmed), the first of all on a new
/// index, and those soon after.
fn report(name: &str, rounds: &[Round]) -> Value {
    let (mut quiet, mut before, mut first, mut after) = (vec![], vec![], vec![], vec![]);
    for round in rounds {
        let mut seen = Vec::new();
        for (writes, version) in &round.publishes {
            let at = round.searches.iter().position(|s| s.version >= *version);
            let Some(search) = at.map(|at| round.searches[at]) else {
                continue;
            };
            first.push(milliseconds(&search));
            seen.push((*writes, search.began));
        }
        for search in &round.searches {
            let began = search.began;
            let published = seen.iter().rev().find(|(_, at)| began >= *at);
            let coming = seen.iter().find(|(_, at)| began < *at);
            let since = published.map(|(_, at)| began - *at);
            if since.is_some_and(|since| since < WINDOW) {
                after.push(milliseconds(search));
            } else if coming.is_some_and(|(_, at)| *at - began < WINDOW) {
                before.push(milliseconds(search));
            } else if since.is_some() && coming.is_none_or(|(writes, _)| began < *writes) {
                quiet.push(milliseconds(search));
            }
        }
    }
    println!("\n{name}");
    let mut figures = serde_json::Map::new();
    figures.insert("system".into(), json!(name));
    for (what, values) in [
        ("quiet", quiet),
        ("in the second before", before),
        ("first on a new index", first),
        ("in the second after", after),
    ] {
        let values = Distribution::of(values);
        println!(
            "  {what:<22} {:>5} searches: p50 {:>6.2}, p99 {:>6.2}, max {:>6.2} ms",
            values.len(),
            values.at(0.5),
            values.at(0.99),
            values.max()
        );
        figures.insert(what.into(), values.json());
    }
    Value::Object(figures)
}

fn milliseconds(search: &Search) -> f64 {
    search.took.as_secs_f64() * 1e3
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}
