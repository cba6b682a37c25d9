//! `verify`: whether the replicas are true copies of the primary.

mod words;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use super::{bench::vectors_of_file, error::CliError, print, serve::Origin};
use crate::{
    app::verify::{self, Options, Progress, Queries, QueryVectors, Report},
    domain::TableName,
};

/// Exit code: something is not the same.
const DIFFERENT: u8 = 1;
/// Exit code: the comparison could not be carried out, or not all of it, and
/// what was compared is the same.
const NOT_DONE: u8 = 2;

/// How often the bar is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(100);

/// Compare the replicas with the primary.
///
/// Table by table and version by version: the bytes of the manifests, which files
/// there are, their sizes and, unless they are turned off, BLAKE3 checksums of
/// their contents. Nothing is written, and servers may go on meanwhile.
///
/// A replica that is behind the primary is no difference (but see --strict), and
/// versions that the primary has pruned are not comparable.
///
/// Exit codes: 0 everything was compared and nothing differs, 1 something differs,
/// 2 nothing that was compared differs, but not everything could be.
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    #[command(flatten)]
    origin: Origin,
    /// Table to compare; may be repeated. All of them by default.
    #[arg(long, value_name = "TABLE", value_parser = table)]
    table: Vec<TableName>,
    /// Replica to compare; may be repeated. All of them by default.
    #[arg(long, value_name = "NAME")]
    replica: Vec<String>,
    /// Whether all files are read, at every place, for their checksums. If not,
    /// sizes are compared, and only manifests are read.
    #[arg(long, value_enum, default_value_t = Switch::On)]
    checksums: Switch,
    /// Read the rows of the newest version that both have, and compare every
    /// value of them.
    #[arg(long)]
    rows: bool,
    /// Ask every connection the same vector queries at one version, and compare
    /// row ids, their order, and the bits of the distances: those of a Parquet
    /// file, in the column `vector`, or N rows of each table.
    #[arg(long, value_name = "FILE|N")]
    queries: Option<String>,
    /// The column to search; by default each that the queries fit.
    #[arg(long, value_name = "COLUMN", requires = "queries")]
    vector_column: Option<String>,
    /// Rows that a query answers.
    #[arg(long, value_name = "N", default_value_t = 10, requires = "queries", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Files, or queries, at once, at all places together.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    parallel: u32,
    /// Lag is a difference too.
    #[arg(long)]
    strict: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

fn table(name: &str) -> Result<TableName, String> {
    TableName::parse(name).map_err(|error| error.to_string())
}

impl Verify {
    pub(super) async fn run(self) -> ExitCode {
        let (json, strict) = (self.json, self.strict);
        let checksums = self.checksums == Switch::On;
        let report = match self.compare().await {
            Ok(report) => report,
            Err(error) => {
                eprintln!("error: {}", error.to_string().trim_end());
                return ExitCode::from(NOT_DONE);
            }
        };
        let printed = match json {
            true => words::json(&report, checksums, strict),
            false => Ok(words::text(&report, checksums, strict)),
        };
        if let Err(error) = printed.and_then(|text| print(&text)) {
            eprintln!("error: {error}");
            return ExitCode::from(NOT_DONE);
        }
        for failure in &report.failures {
            eprintln!("error: {}", words::failure(failure));
        }
        match (report.differs(strict), report.failures.is_empty()) {
            (true, _) => ExitCode::from(DIFFERENT),
            (false, false) => ExitCode::from(NOT_DONE),
            (false, true) => ExitCode::SUCCESS,
        }
    }

    async fn compare(self) -> Result<Report, CliError> {
        let options = Options {
            queries: self.ask().await?,
            tables: self.table,
            checksums: self.checksums == Switch::On,
            rows: self.rows,
            parallel: self.parallel as usize,
        };
        let config = self.origin.load([])?;
        let progress = Arc::new(Progress::default());
        let drawing = tokio::spawn(draw(Arc::clone(&progress)));
        let report = verify::verify(config, &self.replica, &options, &progress).await;
        drawing.abort();
        // Its end clears the bar; it cannot fail but by having been aborted.
        let _ = drawing.await;
        Ok(report?)
    }

    /// The queries, read before anything else is.
    async fn ask(&self) -> Result<Option<Queries>, CliError> {
        let Some(queries) = &self.queries else {
            return Ok(None);
        };
        let vectors = match queries.parse() {
            Ok(0) => return Err(CliError::Usage("--queries: must be at least 1".into())),
            Ok(rows) => QueryVectors::Sampled(rows),
            Err(_) => QueryVectors::Given(of_one_length(PathBuf::from(queries)).await?),
        };
        Ok(Some(Queries {
            vectors,
            column: self.vector_column.clone(),
            limit: self.limit as usize,
        }))
    }
}

async fn of_one_length(path: PathBuf) -> Result<Vec<Vec<f32>>, CliError> {
    let vectors = vectors_of_file(path.clone()).await?;
    let problem = match vectors.first() {
        None => "holds no vectors",
        Some(first) if vectors.iter().any(|v| v.len() != first.len()) => {
            "holds vectors of several lengths"
        }
        Some(_) if vectors.iter().flatten().any(|x| !x.is_finite()) => {
            "holds a vector with an element that is not finite"
        }
        Some(_) => return Ok(vectors),
    };
    Err(CliError::file(path, problem))
}

/// Draws a bar on a terminal, nothing elsewhere, until it is aborted.
async fn draw(progress: Arc<Progress>) {
    /// Cleared whenever drawing ends.
    struct Bar(ProgressBar);
    impl Drop for Bar {
        fn drop(&mut self) {
            self.0.finish_and_clear();
        }
    }
    let bar = Bar(ProgressBar::no_length());
    let template = "{spinner} {msg} {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.0.set_style(style);
    }
    let mut ticks = tokio::time::interval(DRAWN_EVERY);
    loop {
        ticks.tick().await;
        let (total, done) = progress.bytes();
        if total > 0 {
            bar.0.set_length(total);
            bar.0.set_position(done);
        }
        bar.0.set_message(progress.doing());
        bar.0.tick();
    }
}
