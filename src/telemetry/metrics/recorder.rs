//! The process's one recorder, and how it becomes text.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

use super::{BUILD_INFO, SECONDS, describe, grpc, load, record};

/// How often samples are folded into buckets while nobody scrapes: they are
/// kept one by one until then.
const UPKEEP: Duration = Duration::from_secs(5);

/// The metrics facade takes one recorder per process, for good.
static INSTALLED: Mutex<Option<Recorder>> = Mutex::new(None);

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// Something else in this process took the facade first.
    #[error("the metrics recorder could not be installed: {0}")]
    Install(#[from] BuildError),
}

/// Shows what was measured.
#[derive(Clone)]
pub struct Recorder {
    handle: PrometheusHandle,
    process: metrics_process::Collector,
}

/// Makes this process measure. `max_table_labels` tables get a label of their
/// own. In a process with several servers the first call decides; later ones
/// get the same recorder.
pub fn install(max_table_labels: usize) -> Result<Recorder, MetricsError> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(recorder) = &*installed {
        return Ok(recorder.clone());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets(&SECONDS)?
        .install_recorder()?;
    let process = metrics_process::Collector::default();
    describe();
    process.describe();
    metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    grpc::start();
    record::start(max_table_labels);
    load::start();

    let recorder = Recorder { handle, process };
    *installed = Some(recorder.clone());
    Ok(recorder)
}

impl Recorder {
    /// Everything, in Prometheus' text format 0.0.4.
    pub fn render(&self) -> String {
        self.process.collect();
        self.handle.render()
    }

    /// Keeps memory bounded while nobody scrapes. Runs until `shutdown`.
    pub async fn run_upkeep(&self, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(UPKEEP);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = tick.tick() => self.handle.run_upkeep(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_install_gets_the_first_recorder() {
        let first = install(10).unwrap();
        let second = install(999).unwrap();
        super::super::request_shed("waited");
        let seen = |r: &Recorder| {
            r.render()
                .lines()
                .find(|l| l.starts_with(super::super::SHED) && l.contains("waited"))
                .map(str::to_owned)
        };
        assert!(seen(&first).is_some());
        assert_eq!(seen(&first), seen(&second));
    }

    #[test]
    fn durations_are_histograms_with_the_documented_buckets() {
        let recorder = install(10).unwrap();
        super::super::read_finished("buckets", true, Duration::from_micros(2_600));
        let text = recorder.render();
        let line = |le: &str| {
            format!(
                "lancegate_connection_read_seconds_bucket{{connection=\"buckets\",le=\"{le}\"}} "
            )
        };
        assert!(text.contains("# TYPE lancegate_connection_read_seconds histogram"));
        assert!(text.contains(&(line("0.0025") + "0")), "{text}");
        assert!(text.contains(&(line("0.005") + "1")), "{text}");
        assert!(text.contains(&(line("30") + "1")), "{text}");
        assert!(text.contains("lancegate_build_info{version="));
        assert!(text.contains("process_resident_memory_bytes"));
    }
}
