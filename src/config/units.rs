//! Durations and byte sizes as people write them: "250ms", "64MiB".

use std::{borrow::Cow, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Longer than any of these waits makes sense for, and far from where adding it
/// to an instant overflows.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Units of bytes. Those of 1000 are there because people mean them.
const BYTE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// A number of bytes as people write it, for flags of the command line.
///
/// # Errors
/// What would be right.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    ByteSize::Text(text.into()).parse()
}

/// A duration, not parsed yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct DurationText(String);

impl DurationText {
    /// The duration, or what would be right.
    pub(super) fn parse(&self) -> Result<Duration, String> {
        let parsed = humantime::parse_duration(self.0.trim()).map_err(|_| {
            format!(
                "'{}' is no duration: write \"250ms\", \"5s\" or \"10m\"",
                self.0
            )
        })?;
        if parsed > LONGEST {
            return Err("must be at most 366 days".into());
        }
        Ok(parsed)
    }
}

impl From<String> for DurationText {
    fn from(text: String) -> Self {
        DurationText(text)
    }
}

impl From<Duration> for DurationText {
    fn from(value: Duration) -> Self {
        DurationText(humantime::format_duration(value).to_string())
    }
}

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": ["250ms", "5s", "10m"]})
    }
}

/// A number of bytes, not parsed yet.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum ByteSize {
    Number(u64),
    Text(String),
}

impl ByteSize {
    /// The number of bytes, or what would be right.
    pub(super) fn parse(&self) -> Result<u64, String> {
        let text = match self {
            ByteSize::Number(bytes) => return Ok(*bytes),
            ByteSize::Text(text) => text.trim(),
        };
        let (number, factor) = BYTE_UNITS
            .iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
            .unwrap_or((text, 1));
        let bytes = number
            .trim()
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(factor));
        bytes.ok_or_else(|| {
            format!(
                "'{text}' is no size: write a number of bytes, \"64KiB\", \"64MiB\" or \"1GiB\""
            )
        })
    }
}

impl From<u64> for ByteSize {
    fn from(value: u64) -> Self {
        ByteSize::Number(value)
    }
}

/// As the largest unit that loses nothing.
impl Serialize for ByteSize {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            ByteSize::Text(text) => serializer.serialize_str(text),
            ByteSize::Number(bytes) => {
                let binary = &BYTE_UNITS[..4];
                match binary
                    .iter()
                    .find(|(_, factor)| *bytes > 0 && bytes % factor == 0)
                {
                    Some((unit, factor)) => {
                        serializer.serialize_str(&format!("{}{unit}", bytes / factor))
                    }
                    None => serializer.serialize_u64(*bytes),
                }
            }
        }
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["integer", "string"], "minimum": 0, "examples": [65536, "64MiB", "1GiB"]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> Result<u64, String> {
        ByteSize::Text(text.into()).parse()
    }

    #[test]
    fn sizes_are_read_with_and_without_units() {
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size(" 1 GiB "), Ok(1 << 30));
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("5KB"), Ok(5000));
        assert_eq!(size("7B"), Ok(7));
        for wrong in ["", "MiB", "-1", "1.5GiB", "64 furlongs", "99999999TiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_written_so_that_they_read_the_same() {
        for bytes in [0, 1, 1023, 1024, 65536, 64 << 20, (64 << 20) + 1, 3 << 40] {
            let text = serde_json::to_value(ByteSize::from(bytes)).unwrap();
            let back: ByteSize = serde_json::from_value(text).unwrap();
            assert_eq!(back.parse(), Ok(bytes));
        }
        assert_eq!(
            serde_json::to_value(ByteSize::from(64 << 20)).unwrap(),
            "64MiB"
        );
    }

    #[test]
    fn durations_are_read_and_bounded() {
        let parse = |text: &str| DurationText(text.into()).parse();
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("0s"), Ok(Duration::ZERO));
        for wrong in ["", "5", "-1s", "5 parsecs", "1000years"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
