use std::{fs, path::Path};

use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::config::Rotation;

fn settings(folder: &Path, rotation: Rotation) -> Audit {
    Audit {
        to: AuditTo::File,
        folder: folder.to_owned(),
        rotation,
        max_files: 0,
        required: true,
        sync: true,
    }
}

/// The lines of all files of a folder.
fn lines(folder: &Path) -> Vec<Value> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    let files = files.filter(|file| file.file_type().unwrap().is_file());
    let text: String = files
        .map(|file| fs::read_to_string(file.path()).unwrap())
        .collect();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_many_are_whole_and_there_when_it_is_said() {
    for rotation in [Rotation::Never, Rotation::Daily, Rotation::Hourly] {
        let folder = TempDir::new().unwrap();
        let log = AuditLog::open(&settings(folder.path(), rotation)).unwrap();
        let writers = (0..8).map(|writer: usize| {
            let log = log.clone();
            tokio::spawn(async move {
                // Texts that would end a line, or a string.
                let name = format!("w{writer}\n\"{}", "x".repeat(writer * 500));
                for n in 0..50u64 {
                    let line = Line {
                        table: Some(&name),
                        version_after: Some(n),
                        ..Line::new(Event::Attempt, "a/b")
                    };
                    let place = log.written(&line).await.unwrap();
                    let line = Line {
                        event: Event::Outcome,
                        ..line
                    };
                    log.note(&line, place);
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        log.flush().await;
        let lines = lines(folder.path());
        assert_eq!(lines.len(), 8 * 50 * 2);
        let of = |writer: &str, event: &str| {
            let mine = lines.iter().filter(|line| {
                line["table"].as_str().unwrap().starts_with(writer) && line["event"] == event
            });
            let versions = mine.map(|line| line["version_after"].as_u64().unwrap());
            versions.collect::<Vec<_>>()
        };
        let all: Vec<u64> = (0..50).collect();
        assert_eq!(of("w3\n", "attempt"), all);
        assert_eq!(of("w3\n", "outcome"), all);
        let time = lines[0]["time"].as_str().unwrap();
        assert!(humantime::parse_rfc3339(time).is_ok(), "{time}");
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_is_told_at_the_start() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(AuditLog::open(&settings(&file.join("x"), Rotation::Never)).is_err());
}

#[tokio::test]
async fn without_a_log_nothing_is_written_and_nothing_waits() {
    let log = AuditLog::nowhere();
    let line = Line::new(Event::Attempt, "a/b");
    assert!(matches!(log.written(&line).await, Ok(None)));
    log.note(&line, None);
    log.flush().await;
    assert!(!log.is_on() && !log.is_required());
}
