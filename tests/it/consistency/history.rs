//! What clients did and saw, and whether one table could have answered so.
//!
//! Every row of a table holds the same two numbers: which creation of the table
//! it is, and the value of the last write. So a read that sees two values saw half
//! a version, and a value tells which write it came from.

use std::collections::{BTreeMap, HashMap};

/// The two numbers, and the version that an answer was of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub creation: u64,
    pub value: i64,
    pub version: u64,
}

/// What was asked of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Eventual,
    /// At least what the client saw last.
    Token(Seen),
    Strong,
}

/// How one operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A write of this value was acknowledged.
    Written(Seen),
    /// A write that failed, and may have been committed or not.
    MaybeWritten { creation: u64, value: i64 },
    /// A read answered these rows: creation and value of each.
    Read {
        asked: Asked,
        version: u64,
        rows: Vec<(u64, i64)>,
    },
    /// A refusal that a client has to expect: nobody was fresh enough in time,
    /// or the table was dropped or re-created.
    Refused,
    /// Anything else.
    Broken(String),
}

/// One operation, in the clock of the test.
#[derive(Debug, Clone)]
pub struct Event {
    pub client: usize,
    pub table: usize,
    pub began: u64,
    pub ended: u64,
    pub outcome: Outcome,
}

/// What is wrong with a history, in words. Empty if nothing is.
pub fn violations(history: &[Event], rows_per_table: usize) -> Vec<String> {
    let writes = Writes::of(history);
    history
        .iter()
        .flat_map(|event| {
            let faults = match &event.outcome {
                Outcome::Broken(text) => vec![format!("broken: {text}")],
                Outcome::Read {
                    asked,
                    version,
                    rows,
                } => writes.faults(event, *asked, *version, rows, rows_per_table),
                Outcome::Written(_) | Outcome::MaybeWritten { .. } | Outcome::Refused => Vec::new(),
            };
            let (client, began) = (event.client, event.began);
            faults
                .into_iter()
                .map(move |fault| format!("client {client} at {began}: {fault}"))
        })
        .collect()
}

struct Write {
    began: u64,
    /// Where it is known.
    version: Option<u64>,
}

/// The writes of a history, by table, creation and value.
struct Writes {
    all: HashMap<(usize, u64, i64), Write>,
    /// Acknowledged ones by the time of that: table, end, creation, version.
    acknowledged: BTreeMap<(usize, u64), Vec<(u64, u64)>>,
}

impl Writes {
    fn of(history: &[Event]) -> Self {
        let (mut all, mut acknowledged) = (HashMap::new(), BTreeMap::new());
        for event in history {
            let (creation, value, version) = match event.outcome {
                Outcome::Written(seen) => (seen.creation, seen.value, Some(seen.version)),
                Outcome::MaybeWritten { creation, value } => (creation, value, None),
                _ => continue,
            };
            let write = Write {
                began: event.began,
                version,
            };
            all.insert((event.table, creation, value), write);
            if let Some(version) = version {
                acknowledged
                    .entry((event.table, event.ended))
                    .or_insert_with(Vec::new)
                    .push((creation, version));
            }
        }
        Self { all, acknowledged }
    }

    fn faults(
        &self,
        event: &Event,
        asked: Asked,
        version: u64,
        rows: &[(u64, i64)],
        rows_per_table: usize,
    ) -> Vec<String> {
        let mut faults = Vec::new();
        let Some(&(creation, value)) = rows.first() else {
            return vec!["a table without rows".to_owned()];
        };
        if rows.len() != rows_per_table || rows.iter().any(|row| *row != (creation, value)) {
            return vec![format!("torn: {rows:?} at version {version}")];
        }
        match self.all.get(&(event.table, creation, value)) {
            None => faults.push(format!("value {value} of nowhere")),
            Some(write) if write.began > event.ended => {
                faults.push(format!("value {value} of the future"));
            }
            Some(Write {
                version: Some(written),
                ..
            }) if *written != version => faults.push(format!(
                "value {value} was written at version {written}, not {version}"
            )),
            Some(_) => {}
        }
        match asked {
            Asked::Eventual => {}
            Asked::Token(seen) if seen.creation != creation => faults.push(format!(
                "creation {creation} with a token of creation {}",
                seen.creation
            )),
            Asked::Token(seen) if version < seen.version => faults.push(format!(
                "stale: version {version} with a token of version {}",
                seen.version
            )),
            Asked::Token(_) => {}
            Asked::Strong => faults.extend(self.missed(event, creation, version)),
        }
        faults
    }

    /// What was acknowledged before a strong read began, and is not in it.
    fn missed(&self, event: &Event, creation: u64, version: u64) -> Option<String> {
        let before = (event.table, 0)..(event.table, event.began);
        let newest = self.acknowledged.range(before).flat_map(|(_, w)| w).max()?;
        (*newest > (creation, version)).then(|| {
            format!("strong read of {creation}@{version} after {newest:?} was acknowledged")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: usize = 2;

    fn event(began: u64, outcome: Outcome) -> Event {
        Event {
            client: 0,
            table: 0,
            began,
            ended: began + 1,
            outcome,
        }
    }

    fn seen(creation: u64, value: i64, version: u64) -> Seen {
        Seen {
            creation,
            value,
            version,
        }
    }

    fn read(asked: Asked, creation: u64, value: i64, version: u64) -> Outcome {
        Outcome::Read {
            asked,
            version,
            rows: vec![(creation, value); ROWS],
        }
    }

    fn history(last: Outcome) -> Vec<Event> {
        vec![
            event(0, Outcome::Written(seen(1, 10, 1))),
            event(2, Outcome::Written(seen(1, 11, 2))),
            event(4, Outcome::Written(seen(2, 12, 1))),
            event(6, last),
        ]
    }

    #[test]
    fn what_can_be_is_no_violation() {
        for fine in [
            read(Asked::Eventual, 1, 10, 1),
            read(Asked::Token(seen(1, 10, 1)), 1, 11, 2),
            read(Asked::Strong, 2, 12, 1),
            Outcome::Refused,
        ] {
            assert_eq!(violations(&history(fine), ROWS), [""; 0]);
        }
    }

    #[test]
    fn every_kind_of_violation_is_found() {
        let torn = Outcome::Read {
            asked: Asked::Eventual,
            version: 2,
            rows: vec![(1, 10), (1, 11)],
        };
        let half = Outcome::Read {
            asked: Asked::Eventual,
            version: 2,
            rows: vec![(1, 11)],
        };
        for (wrong, word) in [
            (torn, "torn"),
            (half, "torn"),
            (read(Asked::Eventual, 1, 99, 2), "nowhere"),
            (read(Asked::Eventual, 1, 10, 2), "was written at"),
            (read(Asked::Token(seen(1, 11, 2)), 1, 10, 1), "stale"),
            (
                read(Asked::Token(seen(1, 10, 1)), 2, 12, 1),
                "with a token of creation",
            ),
            (read(Asked::Strong, 1, 11, 2), "strong read"),
            (Outcome::Broken("INTERNAL".into()), "broken"),
        ] {
            let found = violations(&history(wrong.clone()), ROWS);
            assert_eq!(found.len(), 1, "{wrong:?}: {found:?}");
            assert!(found[0].contains(word), "{found:?}");
        }
        let mut early = history(Outcome::Refused);
        early.push(event(8, read(Asked::Eventual, 1, 13, 3)));
        early.push(event(20, Outcome::Written(seen(1, 13, 3))));
        assert!(violations(&early, ROWS)[0].contains("future"));
    }
}
