//! What a comparison found, for people and for programs.

use std::fmt::Write;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::HumanBytes;

use crate::{
    app::verify::{Class, Compared, Failure, Finding, Report},
    cli::error::CliError,
};

/// Differences that are shown to people; programs get all of them.
const SHOWN: usize = 200;

/// How exactly answers are compared.
const TOLERANCE: &str = "distances equal to the bit";

/// The report as a table of differences, what is no difference, and what was
/// compared.
pub(super) fn text(report: &Report, checksums: bool, strict: bool) -> String {
    let mut text = String::new();
    let differences: Vec<&Finding> = report.of(Class::Difference).collect();
    if !differences.is_empty() {
        let shown = differences.iter().take(SHOWN).copied();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", as_table(shown));
        if differences.len() > SHOWN {
            let more = differences.len() - SHOWN;
            let _ = writeln!(text, "and {more} more (--json has all of them)");
        }
    }
    for (class, word) in [
        (Class::Lag, "lag"),
        (Class::NotComparable, "not comparable"),
    ] {
        for finding in report.of(class) {
            let _ = writeln!(text, "{word}: {}", in_a_line(finding));
        }
    }
    let mut connections: Vec<&str> = Vec::new();
    for compared in &report.compared {
        if !connections.contains(&compared.connection.as_str()) {
            connections.push(&compared.connection);
        }
    }
    for connection in connections {
        let _ = writeln!(text, "{}", summary(report, connection, checksums));
    }
    let verdict = match (differences.len(), report.differs(strict)) {
        (0, false) => "no difference".to_owned(),
        (0, true) => "no difference but lag, which --strict does not allow".to_owned(),
        (1, _) => "1 difference".to_owned(),
        (n, _) => format!("{n} differences"),
    };
    let _ = writeln!(text, "{verdict}");
    text
}

fn as_table<'a>(findings: impl Iterator<Item = &'a Finding>) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(["kind", "connection", "table", "version", "file", "detail"]);
    for finding in findings {
        table.add_row([
            finding.kind.as_str(),
            &finding.connection,
            &finding.table,
            &finding.versions.to_string(),
            &finding.file,
            &finding.detail,
        ]);
    }
    table
}

fn in_a_line(finding: &Finding) -> String {
    let (connection, table) = (&finding.connection, &finding.table);
    let mut line = format!("{connection}: table {table}: {}", finding.detail);
    let versions = finding.versions.to_string();
    if !versions.is_empty() {
        let _ = write!(line, " (version {versions})");
    }
    if !finding.file.is_empty() {
        let _ = write!(line, " ({})", finding.file);
    }
    line
}

/// What was compared of one replica.
fn summary(report: &Report, connection: &str, checksums: bool) -> String {
    let of = report
        .compared
        .iter()
        .filter(|c| c.connection == connection);
    let (mut tables, mut sum) = (0, Compared::default());
    for compared in of {
        tables += 1;
        sum.versions += compared.versions;
        sum.files += compared.files;
        sum.bytes += compared.bytes;
        sum.checked_bytes += compared.checked_bytes;
        sum.rows += compared.rows;
        sum.queries += compared.queries;
        sum.ties += compared.ties;
    }
    let mut line = format!(
        "{connection}: compared tables {tables}, versions {}, files {} ({})",
        sum.versions,
        sum.files,
        HumanBytes(sum.bytes)
    );
    match checksums {
        true => {
            let _ = write!(line, ", checksums of {}", HumanBytes(sum.checked_bytes));
        }
        false => line.push_str(", sizes only"),
    }
    if sum.rows > 0 {
        let _ = write!(line, ", rows {}", sum.rows);
    }
    if sum.queries > 0 {
        let _ = write!(line, ", queries {} ({TOLERANCE}", sum.queries);
        if sum.ties > 0 {
            let _ = write!(line, "; {} with equal distances in another order", sum.ties);
        }
        line.push(')');
    }
    line
}

/// What could not be compared.
pub(super) fn failure(failure: &Failure) -> String {
    match failure.table.is_empty() {
        true => format!("{}: {}", failure.connection, failure.error),
        false => format!(
            "{}: table {}: {}",
            failure.connection, failure.table, failure.error
        ),
    }
}

/// The report for programs.
pub(super) fn json(report: &Report, checksums: bool, strict: bool) -> Result<String, CliError> {
    let of = |class| report.of(class).collect::<Vec<_>>();
    let value = serde_json::json!({
        "same": report.failures.is_empty() && !report.differs(strict),
        "checksums": if checksums { "blake3" } else { "off" },
        "tolerance": TOLERANCE,
        "differences": of(Class::Difference),
        "lag": of(Class::Lag),
        "not_comparable": of(Class::NotComparable),
        "failures": report.failures,
        "compared": report.compared,
    });
    let text = serde_json::to_string_pretty(&value);
    let text = text.map_err(|error| CliError::Data(error.to_string()))?;
    Ok(format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::verify::Kind;

    fn report(kinds: &[Kind]) -> Report {
        let finding = |kind: &Kind| Finding {
            kind: *kind,
            connection: "replica-1".into(),
            table: "t".into(),
            versions: Default::default(),
            file: "data/a.lance".into(),
            detail: "why".into(),
        };
        Report {
            findings: kinds.iter().map(finding).collect(),
            compared: vec![Compared {
                connection: "replica-1".into(),
                table: "t".into(),
                versions: 2,
                files: 5,
                bytes: 2048,
                checked_bytes: 1024,
                queries: 7,
                ..Compared::default()
            }],
            ..Report::default()
        }
    }

    #[test]
    fn people_see_differences_lag_and_what_was_compared() {
        let words = text(&report(&[Kind::Content, Kind::Behind]), true, false);
        let row = words.lines().nth(3).unwrap_or_default();
        for cell in ["content", "replica-1", "t", "data/a.lance", "why"] {
            assert!(row.contains(cell), "{words}");
        }
        assert!(words.ends_with(
            "lag: replica-1: table t: why (data/a.lance)\n\
             replica-1: compared tables 1, versions 2, files 5 (2.00 KiB), checksums of 1.00 KiB, \
             queries 7 (distances equal to the bit)\n\
             1 difference\n"
        ));
        let words = text(&report(&[]), false, false);
        assert!(words.contains("sizes only"), "{words}");
        assert!(words.ends_with("\nno difference\n"), "{words}");
    }

    #[test]
    fn what_is_not_shown_is_counted() {
        let words = text(&report(&[Kind::Missing; 201]), true, false);
        assert!(words.contains("\nand 1 more"), "{words}");
        assert!(words.ends_with("\n201 differences\n"), "{words}");
    }

    #[test]
    fn programs_get_the_classes_apart() {
        let report = report(&[Kind::Behind, Kind::Pruned]);
        let parse = |strict| -> serde_json::Value {
            serde_json::from_str(&json(&report, true, strict).unwrap()).unwrap()
        };
        let json = parse(false);
        assert_eq!(json["same"], true);
        assert_eq!(json["lag"][0]["kind"], "behind");
        assert_eq!(json["not_comparable"][0]["file"], "data/a.lance");
        assert_eq!(json["compared"][0]["checked_bytes"], 1024);
        assert_eq!(parse(true)["same"], false);
    }
}
