//! A replica that was off while the table went on: what it copies, and for how
//! long.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use lancegate::{
    config::{self, Sources},
    domain::TableName,
    storage::{Sessions, Store},
};
use serde_json::{Value, json};

use crate::{
    Result,
    options::Options,
    positions::Positions,
    sample::Sample,
    server::{Server, Settings},
    tables::TABLE,
    writer::Writer,
};

/// Versions that the replica misses.
const VERSIONS: u64 = 1_000;
const QUICK_VERSIONS: u64 = 100;

/// After so many appends the table is compacted and its indexes brought up to
/// date: what the newest version needs is then far from what there was.
const APPENDS_A_COMPACTION: usize = 100;

const REPLICA: &str = "replica-2";

/// The folder of one replica is moved away, as a disk that is lost, and comes back
/// when the primary and the other replica are versions further.
pub async fn run(options: &Options, folder: &Path) -> Result<Value> {
    let (data, log) = (folder.join("data"), folder.join("server.log"));
    let mut settings = Settings::new(&data, &log);
    let interval = ("LANCEGATE_HEALTH__PROBE_INTERVAL", "1s".to_owned());
    settings.variables.push(interval);
    let server = Server::start(settings).await?;
    let sample = Sample::read()?;
    let mut writer = Writer::connect(&server).await?;
    writer.create(&sample.rows(0, sample.len())?).await?;
    writer.index_titles().await?;
    let before = writer.index_vectors(sample.len()).await?;
    server.settled().await?;

    let (there, away) = (data.join(REPLICA), folder.join("away"));
    let primary_before = total(&sizes(&table(&data.join("primary")))?);
    fs::rename(&there, &away)?;
    let mut positions = Positions::connect(&server).await?;
    positions.until(REPLICA, |p| !p.is_up).await?;
    let versions = if options.quick {
        QUICK_VERSIONS
    } else {
        VERSIONS
    };
    let newest = write(&mut writer, &sample, before + versions).await?;
    let written = total(&sizes(&table(&data.join("primary")))?) - primary_before;

    let had = sizes(&table(&away))?;
    fs::rename(&away, &there)?;
    let back = Instant::now();
    let up = positions.until(REPLICA, |p| p.is_up).await?;
    let converged = positions.until(REPLICA, |p| p.version == newest).await?;
    server.stop().await?;

    let has = sizes(&table(&there))?;
    let new: BTreeMap<_, _> = has.iter().filter(|(f, _)| !had.contains_key(*f)).collect();
    let copied: u64 = new.values().copied().sum();
    let manifests = new.keys().filter(|f| f.starts_with("_versions")).count();
    let referenced = referenced(&data.join("primary"), newest).await?;
    let needed: u64 = referenced
        .iter()
        .filter(|(file, size)| had.get(*file) != Some(*size))
        .map(|(_, size)| size)
        .sum();
    let seconds = |from: Instant| (converged - from).as_secs_f64();
    println!(
        "{REPLICA} was off from version {before} to {newest}: {} versions, {written} bytes written\n\
         version {newest} refers to {} bytes in {} files; {needed} of them were not on the replica\n\
         copied: {copied} bytes in {} files, {manifests} of them manifests: {:.4} of what was needed\n\
         converged {:.3} s after it was back: {:.3} s until it was found to be up, {:.3} s from then",
        newest - before,
        total(&referenced),
        referenced.len(),
        new.len(),
        copied as f64 / needed as f64,
        seconds(back),
        (up - back).as_secs_f64(),
        seconds(up),
    );
    Ok(json!({
        "versions": newest - before,
        "bytes_written": written,
        "bytes_referenced": total(&referenced),
        "bytes_needed": needed,
        "bytes_copied": copied,
        "manifests_copied": manifests,
        "seconds_from_back": seconds(back),
        "seconds_from_up": seconds(up),
    }))
}

/// Appends until there is this version, with a compaction now and then.
async fn write(writer: &mut Writer, sample: &Sample, until: u64) -> Result<u64> {
    let mut appends = 0;
    loop {
        let batch = sample.rows(sample.len() + appends, 1)?;
        let mut version = writer.insert(&batch).await?;
        appends += 1;
        if appends.is_multiple_of(APPENDS_A_COMPACTION) {
            version = writer.optimize().await?;
        }
        if version >= until {
            return Ok(version);
        }
    }
}

fn table(place: &Path) -> PathBuf {
    place.join(format!("{TABLE}.lance"))
}

/// The files below a folder with their sizes, but for LanceDB's hint of the newest
/// version, which is no part of any.
fn sizes(folder: &Path) -> Result<BTreeMap<String, u64>> {
    fn walk(at: &Path, root: &Path, found: &mut BTreeMap<String, u64>) -> Result<()> {
        for entry in fs::read_dir(at)? {
            let path = entry?.path();
            if path.is_dir() {
                walk(&path, root, found)?;
            } else if !path.ends_with("latest_version_hint.json") {
                let name = path.strip_prefix(root)?.display().to_string();
                found.insert(name, fs::metadata(&path)?.len());
            }
        }
        Ok(())
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found)?;
    Ok(found)
}

fn total(sizes: &BTreeMap<String, u64>) -> u64 {
    sizes.values().sum()
}

/// The files that one version of the primary's table refers to, as Lance says,
/// with their sizes.
async fn referenced(primary: &Path, version: u64) -> Result<BTreeMap<String, u64>> {
    let uri = (
        "LANCEGATE_PRIMARY__URI".to_owned(),
        primary.display().to_string(),
    );
    let config = config::load(Sources {
        env: vec![uri],
        ..Sources::default()
    })?;
    let store = Store::connect(
        config.primary.location().expect("a location"),
        &Sessions::new(config.cache),
    )
    .await?;
    let handle = store.open(&TableName::parse(TABLE)?).await?;
    let mut versions = handle.version_files(version).await?;
    let files = versions
        .remove(&version)
        .ok_or("the version is not there")?;
    let paths = files.files.into_iter().chain([files.manifest]);
    paths
        .map(|path| {
            let size = fs::metadata(table(primary).join(&path))?.len();
            Ok((path, size))
        })
        .collect()
}
