//! One line of JSON per event: time, level, target and message first, then the
//! event's own fields and those of the spans around it, all at the top level.

use std::{collections::BTreeMap, fmt};

use chrono::{SecondsFormat, Utc};
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;
use tracing::{Event, Subscriber, field::Field};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormattedFields,
        format::{JsonFields, Writer},
    },
    registry::LookupSpan,
};

/// Fields under this prefix are instructions to the trace exporter.
const FOR_TRACES: &str = "otel.";

/// What the `log` crate's bridge adds to an event of a library: its target, and
/// where in the source it is, which names folders of the machine that built it.
const BRIDGE: &str = "log.";

/// The true target of a bridged event. tracing's own target for it is `log`.
const BRIDGED_TARGET: &str = "log.target";

/// The format. The fields of spans must be formatted with [`JsonFields`].
pub(super) struct Flat;

impl<S> FormatEvent<S, JsonFields> for Flat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        for span in context
            .event_scope()
            .into_iter()
            .flat_map(|s| s.from_root())
        {
            let extensions = span.extensions();
            if let Some(formatted) = extensions.get::<FormattedFields<JsonFields>>() {
                fields.add_span(formatted);
            }
        }
        event.record(&mut fields);
        let line = fields.line(event).map_err(|_| fmt::Error)?;
        writeln!(writer, "{line}")
    }
}

/// The fields of one line. What is nearer to the event wins.
#[derive(Default)]
struct Fields(BTreeMap<String, Value>);

impl Fields {
    fn add_span(&mut self, formatted: &str) {
        if let Ok(Value::Object(fields)) = serde_json::from_str(formatted) {
            self.0.extend(
                fields
                    .into_iter()
                    .filter(|(k, _)| !k.starts_with(FOR_TRACES)),
            );
        }
    }

    fn add(&mut self, field: &Field, value: Value) {
        if !field.name().starts_with(FOR_TRACES) {
            self.0.insert(field.name().to_owned(), value);
        }
    }

    fn line(mut self, event: &Event<'_>) -> serde_json::Result<String> {
        let metadata = event.metadata();
        let message = self.0.remove("message");
        let bridged = self.0.remove(BRIDGED_TARGET);
        let target = bridged.as_ref().and_then(Value::as_str);
        let mut line = Vec::with_capacity(256);
        let mut json = serde_json::Serializer::new(&mut line);
        let mut map = json.serialize_map(None)?;
        let time = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
        map.serialize_entry("time", &time)?;
        map.serialize_entry("level", metadata.level().as_str())?;
        map.serialize_entry("target", target.unwrap_or(metadata.target()))?;
        if let Some(message) = message {
            map.serialize_entry("message", &message)?;
        }
        for (name, value) in &self.0 {
            // A field may not pretend to be one of the four above.
            if !matches!(name.as_str(), "time" | "level" | "target") && !name.starts_with(BRIDGE) {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()?;
        // serde_json writes UTF-8 only, so nothing is lost here.
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(act: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .fmt_fields(JsonFields::new())
            .event_format(Flat)
            .finish();
        tracing::subscriber::with_default(subscriber, act);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn everything_is_at_the_top_level() {
        let text = logged(|| {
            let span = tracing::info_span!(
                "request",
                request_id = "abc",
                trace_id = tracing::field::Empty,
                table = "outer",
                otel.kind = "server"
            );
            span.record("trace_id", "0af7651916cd43dd8448eb211c80319c");
            span.in_scope(|| {
                tracing::info!(
                    duration_ms = 1.5,
                    version = 7u64,
                    table = "inner",
                    "done \"now\"\n"
                );
            });
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "done \"now\"\n");
        assert_eq!(line["request_id"], "abc");
        assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(line["duration_ms"], 1.5);
        assert_eq!(line["version"], 7);
        assert_eq!(line["table"], "inner");
        assert!(line.get("otel.kind").is_none());
        let time = line["time"].as_str().unwrap();
        assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok(), "{time}");
        assert!(text.starts_with("{\"time\":"), "{text}");
    }

    #[test]
    fn a_library_that_uses_log_is_named_without_its_source_file() {
        let text = logged(|| {
            tracing::warn!(
                "log.target" = "lance::io",
                "log.file" = "/home/u/lance/src/io.rs",
                "log.line" = 7,
                "slow"
            );
        });
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["target"], "lance::io");
        assert_eq!(line["message"], "slow");
        assert_eq!(line.as_object().unwrap().len(), 4, "{text}");
    }

    #[test]
    fn a_field_cannot_forge_the_level() {
        let text = logged(|| tracing::info!(level = "ERROR", time = "never", "x"));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_ne!(line["time"], "never");
    }
}
