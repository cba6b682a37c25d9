//! Logs on stderr, and the switch that turns traces on beside them.

use std::{
    io::{self, IsTerminal},
    panic,
};

use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{
        MakeWriter,
        format::{JsonFields, debug_fn},
    },
    layer::SubscriberExt,
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt,
};

use super::{
    json::Flat,
    traces::{self, TraceGuard},
};
use crate::config::{LogFormat, Logging};

/// Overrides the configured filter, as in every program that uses `tracing`.
const RUST_LOG: &str = "RUST_LOG";

/// What is told only from `warn` up, unless the filter names it: libraries that
/// log each step of a query at `info` or `debug`. `lance` alone is not here
/// because a filter matches by prefix, and our own name begins so.
const QUIET: [&str; 11] = [
    "lance::",
    "lance_",
    "lancedb",
    "datafusion",
    "object_store",
    "h2",
    "hyper",
    "tonic",
    "tower",
    "opentelemetry",
    // It repeats every expression, with its values.
    "sqlparser",
];

/// What is told only from `error` up, unless the filter names it. Lance's scanner
/// warns in every search that names its columns that the score columns, which
/// the contract promises, will one day have to be asked for.
const MUTED: &str = "lance::dataset::scanner";

/// Longest text of a panic that is logged, in characters: the location is what
/// matters, and a message may quote data.
const PANIC_TEXT: usize = 200;

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("{source_name}: '{filter}' is not a log filter: {error}")]
    Filter {
        source_name: &'static str,
        filter: String,
        error: tracing_subscriber::filter::ParseError,
    },
    /// Traces were asked for and cannot be sent.
    #[error(transparent)]
    Traces(#[from] traces::TraceError),
    /// The log of this process is gone.
    #[error("logging.filter: {0}")]
    Reload(reload::Error),
    /// Something else in this process took the logs first.
    #[error("logging could not be installed: {0}")]
    Install(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends what is left of the traces when it is dropped. Drop it before the
/// runtime ends: the exporter's connection lives there.
#[must_use]
pub struct LogGuard {
    _traces: Option<TraceGuard>,
    filter: LogFilter,
}

impl LogGuard {
    /// What changes the filter of this process's log.
    pub fn filter(&self) -> LogFilter {
        self.filter.clone()
    }
}

/// Changes what is logged while the process runs.
#[derive(Clone)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

impl LogFilter {
    /// Logs what this filter lets through, from the next event on. `RUST_LOG` wins
    /// over it, now as at the start.
    ///
    /// # Errors
    /// It is no filter; the old one stays.
    pub fn set(&self, configured: &str) -> Result<(), LogError> {
        let filter = filter(std::env::var(RUST_LOG).ok().as_deref(), configured)?;
        self.0.reload(filter).map_err(LogError::Reload)
    }
}

/// Makes this process log as configured, and trace if `OTEL_*` says so. Must be
/// called within the runtime.
pub fn init(logging: &Logging) -> Result<LogGuard, LogError> {
    let pretty = match logging.format {
        LogFormat::Json => false,
        LogFormat::Pretty => true,
        LogFormat::Auto => io::stderr().is_terminal(),
    };
    let filter = filter(std::env::var(RUST_LOG).ok().as_deref(), &logging.filter)?;
    let (layer, traces) = traces::from_environment()?.unzip();
    let (filter, handle) = reload::Layer::new(filter);
    Registry::default()
        .with(lines(pretty).with_filter(filter))
        .with(layer)
        .try_init()?;
    log_panics();
    Ok(LogGuard {
        _traces: traces,
        filter: LogFilter(handle),
    })
}

fn lines<S>(pretty: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    if !pretty {
        return json_lines(io::stderr);
    }
    // As the default, less what is meant for the trace exporter.
    let fields = debug_fn(|writer, field, value| match field.name() {
        name if name.starts_with("otel.") || name.starts_with("log.") => Ok(()),
        "message" => write!(writer, "{value:?} "),
        name => write!(writer, "{name}={value:?} "),
    });
    tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .compact()
        .with_ansi(io::stderr().is_terminal())
        .fmt_fields(fields)
        .boxed()
}

/// The layer that writes each event as one line of JSON.
pub(crate) fn json_lines<S, W>(writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .fmt_fields(JsonFields::new())
        .event_format(Flat)
        .boxed()
}

/// The filter that holds: `RUST_LOG` before the configuration.
fn filter(environment: Option<&str>, configured: &str) -> Result<EnvFilter, LogError> {
    let (source_name, text) = match environment {
        Some(text) if !text.trim().is_empty() => (RUST_LOG, text),
        _ => ("logging.filter", configured),
    };
    EnvFilter::try_new(directives(text)).map_err(|error| LogError::Filter {
        source_name,
        filter: text.to_owned(),
        error,
    })
}

/// `text` with the noise of libraries that it does not speak of turned down.
fn directives(text: &str) -> String {
    let asked: Vec<&str> = text.split(',').map(str::trim).collect();
    let target = |directive: &&str| -> String {
        let end = directive.find(['=', '[']).unwrap_or(directive.len());
        directive[..end].to_owned()
    };
    let mut all: Vec<String> = Vec::new();
    for quiet in QUIET {
        let name = quiet.trim_end_matches([':', '_']);
        let spoken_of = asked.iter().map(target).any(|t| {
            t.starts_with(name)
                && !t.starts_with("lancegate")
                && !(name == "lance" && t == "lancedb")
        });
        if !spoken_of {
            all.push(format!("{quiet}=warn"));
        }
    }
    if !asked.iter().map(target).any(|t| t == MUTED) {
        all.push(format!("{MUTED}=error"));
    }
    for directive in &asked {
        match directive.strip_prefix("lance=") {
            // Meant for Lance; as it stands it would catch our own lines too.
            Some(level) => all.extend([format!("lance::={level}"), format!("lance_={level}")]),
            None => all.push((*directive).to_owned()),
        }
    }
    all.join(",")
}

/// A panic becomes a line of the log like any other, not raw text between them.
fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let text: String = info
            .payload_as_str()
            .unwrap_or("(no text)")
            .chars()
            .take(PANIC_TEXT)
            .collect();
        let location = info.location().map(ToString::to_string);
        tracing::error!(location, panic = text, "a thread panicked");
    }));
}

#[cfg(test)]
mod tests;
