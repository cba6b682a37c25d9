//! How long after its acknowledgement a commit is visible on each replica.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use crate::{
    Result,
    distribution::Distribution,
    options::Options,
    positions::{Seen, Watch},
    sample::Sample,
    server::{Server, Settings},
    writer::Writer,
};

/// Ten commits a second.
const PERIOD: Duration = Duration::from_millis(100);

/// What should be reached by 99 of 100 commits.
const MOST_P99_MS: f64 = 500.0;

/// Rows of one commit.
const ROWS: usize = 1;

/// One acknowledged commit.
struct Commit {
    version: u64,
    acknowledged: Instant,
    /// From the request to the acknowledgement.
    took: Duration,
}

/// Commits to the sample's table over three folders: a primary and two replicas.
pub async fn run(options: &Options, folder: &Path) -> Result<Value> {
    let (data, log) = (folder.join("data"), folder.join("server.log"));
    let server = Server::start(Settings::new(&data, &log)).await?;
    let sample = Sample::read()?;
    let mut writer = Writer::connect(&server).await?;
    writer.create(&sample.rows(0, sample.len())?).await?;
    writer.index_titles().await?;
    server.settled().await?;

    let watch = Watch::start(&server).await?;
    let began = Instant::now();
    let commits = commit(&mut writer, &sample, options.duration(60.0)).await?;
    let took = began.elapsed();
    server.settled().await?;
    // The last version was seen by now, or is at the next look.
    tokio::time::sleep(PERIOD).await;
    let seen = watch.finish().await?;
    server.stop().await?;
    report(&commits, took, &seen)
}

async fn commit(writer: &mut Writer, sample: &Sample, length: Duration) -> Result<Vec<Commit>> {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut commits = Vec::new();
    let began = Instant::now();
    while began.elapsed() < length {
        let batch = sample.rows(sample.len() + commits.len() * ROWS, ROWS)?;
        ticks.tick().await;
        let sent = Instant::now();
        let version = writer.insert(&batch).await?;
        commits.push(Commit {
            version,
            acknowledged: Instant::now(),
            took: sent.elapsed(),
        });
    }
    Ok(commits)
}

fn report(commits: &[Commit], took: Duration, seen: &Seen) -> Result<Value> {
    println!(
        "{} commits of {ROWS} row in {:.1} s, {:.1} a second, to the sample's table with a full-text index;\n\
         a replica's version is looked at with GetTopology, and counts from when the answer is there",
        commits.len(),
        took.as_secs_f64(),
        commits.len() as f64 / took.as_secs_f64()
    );
    let acknowledged = Distribution::of(commits.iter().map(|c| c.took.as_secs_f64() * 1e3));
    println!("a commit, to its acknowledgement: {}", acknowledged.line());
    let gaps = Distribution::of(seen.gaps_ms.iter().copied());
    println!(
        "from one look to the next (the resolution): {}",
        gaps.line()
    );
    let mut all = Vec::new();
    let mut replicas = serde_json::Map::new();
    for replica in seen.replicas.keys() {
        let mut lags = Vec::with_capacity(commits.len());
        for commit in commits {
            let visible = seen
                .reached(replica, commit.version)
                .ok_or_else(|| format!("version {} was not seen on {replica}", commit.version))?;
            // Some are visible before the acknowledgement has arrived.
            let lag = visible.saturating_duration_since(commit.acknowledged);
            lags.push(lag.as_secs_f64() * 1e3);
        }
        all.extend_from_slice(&lags);
        let lags = Distribution::of(lags);
        println!("\nacknowledged to visible on {replica}: {}", lags.line());
        lags.print_histogram();
        replicas.insert(replica.clone(), lags.json());
    }
    let all = Distribution::of(all);
    let verdict = if all.at(0.99) < MOST_P99_MS {
        "met"
    } else {
        "NOT met"
    };
    println!(
        "\nboth replicas: {}\np99 below {MOST_P99_MS} ms: {verdict}",
        all.line()
    );
    Ok(json!({
        "commits": commits.len(),
        "seconds": took.as_secs_f64(),
        "rows_a_commit": ROWS,
        "acknowledgement": acknowledged.json(),
        "resolution": gaps.json(),
        "replicas": replicas,
        "all": all.json(),
    }))
}
