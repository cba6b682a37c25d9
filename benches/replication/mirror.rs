//! What a reader of a copy sees while the table changes: a copy that rclone makes
//! over and over, read with LanceDB or through lancegate, and lancegate's own.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use crate::{
    Result,
    copies::{self, Copied, Loop},
    distribution::Distribution,
    options::Options,
    positions::Positions,
    readers::{Answer, Reader, Reading, Readings},
    sample::Sample,
    server::{BINARY, Server, Settings},
    tables::TABLE,
    writer::Writer,
};

/// Between two appends.
const PERIOD: Duration = Duration::from_millis(100);

/// Rows of one append.
const ROWS: usize = 10;

/// After so many appends the table is compacted, its indexes are brought up to
/// date, and every version but the newest is pruned.
const APPENDS_A_PRUNING: usize = 30;

/// After so many the vector index is built anew.
const APPENDS_AN_INDEX: usize = 70;

/// For how long a reader may not see the last write.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum System {
    Rclone,
    External,
    Managed,
}

impl System {
    const ALL: [System; 3] = [Self::Rclone, Self::External, Self::Managed];

    fn name(self) -> &'static str {
        match self {
            Self::Rclone => "rclone, read with LanceDB",
            Self::External => "rclone, read through lancegate (external)",
            Self::Managed => "lancegate copies and serves (managed)",
        }
    }
}

/// What one round of one system gave.
struct Round {
    readings: Readings,
    copied: Option<Copied>,
    /// For each answer, for how long it had been out of date.
    behind_ms: Vec<f64>,
    /// From the last acknowledgement to the first answer that has it; `None` if
    /// there was none in time.
    converged_ms: Option<f64>,
    appends: usize,
}

/// How many rows are there from when on.
struct Written {
    rows: usize,
    acknowledged: Instant,
}

pub async fn run(options: &Options, folder: &Path) -> Result<Value> {
    println!("{}", copies::version()?);
    let sample = Sample::read()?;
    let length = options.duration(15.0);
    let mut rounds: Vec<(System, Round)> = Vec::new();
    for round in 0..options.rounds() {
        for turn in 0..System::ALL.len() {
            let system = System::ALL[(turn + round) % System::ALL.len()];
            let place = folder.join(format!("{round}-{turn}"));
            std::fs::create_dir(&place)?;
            let done = one(system, &sample, length, &place).await?;
            eprintln!("round {}: {}: {}", round + 1, system.name(), words(&done));
            rounds.push((system, done));
        }
    }
    println!(
        "{ROWS} rows are appended every {PERIOD:?} for {length:?} a round, compacted and pruned after each {APPENDS_A_PRUNING} appends,\n\
         and the vector index is built anew after each {APPENDS_AN_INDEX}; a read is all ids and one search"
    );
    let figures = System::ALL.map(|system| {
        let of = rounds.iter().filter(|(s, _)| *s == system);
        report(system, &of.map(|(_, round)| round).collect::<Vec<_>>())
    });
    Ok(json!(figures))
}

async fn one(system: System, sample: &Sample, length: Duration, place: &Path) -> Result<Round> {
    let (primary, copy) = (place.join("primary"), place.join("copy"));
    // The same server writes for all of them.
    let mut variables = vec![("LANCEGATE_PRIMARY__URI", primary.display().to_string())];
    if system != System::Rclone {
        let mode = if system == System::External {
            "external"
        } else {
            "managed"
        };
        variables.push(("LANCEGATE_REPLICAS__0__URI", copy.display().to_string()));
        variables.push(("LANCEGATE_REPLICAS__0__MODE", mode.to_owned()));
    }
    let start = async |variables: Vec<_>| {
        Server::start(Settings {
            binary: Path::new(BINARY),
            data: None,
            log: &place.join("server.log"),
            variables,
        })
        .await
    };
    // The copy is there before anybody looks at it.
    let server = start(variables[..1].to_vec()).await?;
    let mut writer = Writer::connect(&server).await?;
    writer.create(&sample.rows(0, sample.len())?).await?;
    let version = writer.index_vectors(sample.len()).await?;
    server.stop().await?;
    let copying = match system {
        System::Managed => None,
        System::Rclone | System::External => Some(Loop::start(&primary, &copy)?),
    };
    let server = start(variables).await?;
    let reader = match system {
        System::Rclone => Reader::plain(&copy).await?,
        System::External | System::Managed => {
            let mut positions = Positions::connect(&server).await?;
            positions
                .until("replica-1", |p| p.is_up && p.version == version)
                .await?;
            Reader::client(&server).await?
        }
    };
    let mut writer = Writer::connect(&server).await?;

    let reading = Reading::start(reader, sample.queries.clone());
    let written = write(&mut writer, sample, length).await?;
    let last = written.last().ok_or("nothing was written")?;
    reading.until(last.rows, PATIENCE).await;
    let readings = reading.finish().await?;
    let copied = copying.map(Loop::finish).transpose()?;
    server.stop().await?;

    let caught_up = readings.answers.iter().find(|a| a.rows >= last.rows);
    let since = |a: &Answer| a.ended.saturating_duration_since(last.acknowledged);
    Ok(Round {
        converged_ms: caught_up.map(|a| since(a).as_secs_f64() * 1e3),
        behind_ms: readings
            .answers
            .iter()
            .map(|a| behind(a, &written))
            .collect(),
        readings,
        copied,
        appends: written.len(),
    })
}

async fn write(writer: &mut Writer, sample: &Sample, length: Duration) -> Result<Vec<Written>> {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let began = Instant::now();
    let mut written: Vec<Written> = Vec::new();
    while began.elapsed() < length {
        ticks.tick().await;
        let appended = written.len() * ROWS;
        let batch = sample.rows(sample.len() + appended, ROWS)?;
        writer.insert(&batch).await?;
        let rows = sample.len() + appended + ROWS;
        written.push(Written {
            rows,
            acknowledged: Instant::now(),
        });
        if written.len().is_multiple_of(APPENDS_A_PRUNING) {
            writer.optimize_and_prune().await?;
        }
        if written.len().is_multiple_of(APPENDS_AN_INDEX) {
            writer.index_vectors(rows).await?;
        }
    }
    Ok(written)
}

/// For how long, when the read began, there had been rows that its answer lacks;
/// in milliseconds.
fn behind(answer: &Answer, written: &[Written]) -> f64 {
    let missing = written.iter().find(|w| w.rows > answer.rows);
    missing.map_or(0.0, |w| {
        let since = answer.began.saturating_duration_since(w.acknowledged);
        since.as_secs_f64() * 1e3
    })
}

fn words(round: &Round) -> String {
    let failed: usize = round.readings.failed.values().sum();
    format!(
        "{} appends, {} reads answered, {failed} failed, {} torn, converged after {}",
        round.appends,
        round.readings.answers.len(),
        round.readings.torn,
        converged(round.converged_ms)
    )
}

fn converged(after_ms: Option<f64>) -> String {
    after_ms.map_or("never".to_owned(), |ms| format!("{ms:.0} ms"))
}

fn report(system: System, rounds: &[&Round]) -> Value {
    let answered: usize = rounds.iter().map(|r| r.readings.answers.len()).sum();
    let torn: usize = rounds.iter().map(|r| r.readings.torn).sum();
    let went_back: usize = rounds.iter().map(|r| r.readings.went_back).sum();
    let mut failed = std::collections::BTreeMap::<&str, usize>::new();
    for (what, times) in rounds.iter().flat_map(|r| &r.readings.failed) {
        *failed.entry(what).or_default() += times;
    }
    let failures: usize = failed.values().sum();
    let behind = Distribution::of(rounds.iter().flat_map(|r| r.behind_ms.iter().copied()));
    let mut ends: Vec<_> = rounds.iter().map(|r| r.converged_ms).collect();
    ends.sort_by(|a, b| a.unwrap_or(f64::MAX).total_cmp(&b.unwrap_or(f64::MAX)));
    let ends_in_words: Vec<_> = ends.iter().map(|ms| converged(*ms)).collect();
    println!(
        "\n{}\n  {} reads: {failures} failed ({:.1} %), {torn} torn, {went_back} older than one before\n  \
         age of the answers: p50 {:.0}, p99 {:.0}, max {:.0} ms\n  \
         the last write was read after: {}",
        system.name(),
        answered + failures,
        failures as f64 * 100.0 / (answered + failures).max(1) as f64,
        behind.at(0.5),
        behind.at(0.99),
        behind.max(),
        ends_in_words.join(", "),
    );
    for (what, times) in &failed {
        println!("  {times:>6} x {what}");
    }
    for copied in rounds.iter().filter_map(|r| r.copied) {
        println!(
            "  rclone ran {} times in {:.0} s, {} with an error",
            copied.runs, copied.seconds, copied.failed
        );
    }
    json!({
        "system": system.name(),
        "table": TABLE,
        "appends": rounds.iter().map(|r| r.appends).sum::<usize>(),
        "answered": answered,
        "failed": failures,
        "failures": failed,
        "torn": torn,
        "went_back": went_back,
        "age": behind.json(),
        "converged_ms": ends,
        "rclone": rounds.iter().filter_map(|r| r.copied).collect::<Vec<_>>(),
    })
}
