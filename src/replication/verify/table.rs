//! One table, compared on every replica.

use std::{collections::HashSet, time::Duration};

use futures::future::join_all;

use super::{
    Options, Place, Progress,
    compare::{compare, damage, same},
    contents::{Copy, Reader},
    inventory::{self, Inventory, Source, Table},
    report::{Class, Compared, Failure, Finding, Kind, Report, Versions},
};
use crate::domain::TableName;

/// How often a table is looked at. One look at a table that is pruned, dropped
/// or created anew meanwhile may see part of the old and part of the new: a
/// difference is one only when two looks, one after the other, find it.
const MAX_LOOKS: usize = 6;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// The comparison of one table.
pub(super) struct Check<'a> {
    pub primary: &'a Place,
    pub replicas: &'a [Place],
    pub table: &'a TableName,
    pub options: &'a Options,
    pub progress: &'a Progress,
}

/// What one look at all places found.
#[derive(Default)]
struct Look<'a> {
    /// `None` where the primary has nothing to compare with.
    source: Option<Source>,
    copies: Vec<Copy<'a>>,
    findings: Vec<Finding>,
    compared: Vec<Compared>,
    failures: Vec<Failure>,
}

impl<'a> Check<'a> {
    /// Compares the table.
    pub(super) async fn run(&self, report: &mut Report) {
        self.progress.begin(self.table, "files");
        let mut look = self.look(None).await;
        let mut confirmed = Vec::new();
        for _ in 1..MAX_LOOKS {
            if !self.has_primary_failed(&look) && look.differences().next().is_none() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            // Everything was read already, unless there was nothing to read.
            let only = look.source.as_ref().map(|_| look.files());
            let mut again = self.look(only.as_ref()).await;
            confirmed = again.confirmed(&look);
            if only.is_some() && again.source.is_some() {
                again.compared = look.compared;
            }
            look = again;
            if !confirmed.is_empty() {
                break;
            }
        }
        let unsettled = look.differences().next().is_some() && confirmed.is_empty();
        let difference = |f: &Finding| f.kind.class() == Class::Difference;
        report
            .findings
            .extend(look.findings.into_iter().filter(|f| !difference(f)));
        report.findings.extend(confirmed);
        report.failures.extend(look.failures);
        report.compared.extend(look.compared);
        if unsettled {
            let detail = "it changed at every look";
            let finding = self.finding(Kind::Changed, &self.primary.name, Vec::new(), detail);
            report.findings.push(finding);
        }
        if let Some(source) = &look.source {
            self.read(report, source, &look.copies).await;
        }
    }

    /// Compares what readers get, where that is asked for.
    async fn read(&self, report: &mut Report, source: &Source, copies: &[Copy<'_>]) {
        if self.options.rows {
            self.progress.begin(self.table, "rows");
            for copy in copies {
                self.compare_rows(report, source, copy).await;
            }
        }
        if let Some(queries) = &self.options.queries {
            self.progress.begin(self.table, "queries");
            self.ask(report, queries, source, copies).await;
        }
    }

    /// Something that was found of the table as a whole.
    pub(super) fn finding(
        &self,
        kind: Kind,
        connection: &str,
        versions: Vec<u64>,
        detail: impl Into<String>,
    ) -> Finding {
        Finding {
            kind,
            connection: connection.to_owned(),
            table: self.table.to_string(),
            versions: Versions(versions),
            file: String::new(),
            detail: detail.into(),
        }
    }

    /// Something that did not answer.
    pub(super) fn failure(&self, place: &str, error: impl ToString) -> Failure {
        Failure {
            connection: place.to_owned(),
            table: self.table.to_string(),
            error: error.to_string(),
        }
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader {
            primary: self.primary,
            table: self.table,
            parallel: self.options.parallel,
            progress: self.progress,
        }
    }

    fn has_primary_failed(&self, look: &Look<'_>) -> bool {
        let primary = &self.primary.name;
        look.failures.iter().any(|f| f.connection == *primary)
    }

    /// Lists all places, reads what is to be read (of all files, or of `only`
    /// these), and compares. Replicas are listed before the primary: what they
    /// have by then the primary has too, unless it was pruned.
    async fn look(&self, only: Option<&HashSet<String>>) -> Look<'a> {
        let mut look = Look::default();
        let lists = self
            .replicas
            .iter()
            .map(|place| inventory::copy(place, self.table));
        for (place, listed) in self.replicas.iter().zip(join_all(lists).await) {
            match listed {
                Ok(inventory) => look.copies.push(Copy { place, inventory }),
                Err(error) => look.failures.push(self.failure(&place.name, error)),
            }
        }
        let oldest = |copy: &Copy<'_>| copy.inventory.manifests.keys().next().copied();
        let oldest = look.copies.iter().filter_map(oldest).min();
        let oldest = oldest.unwrap_or(u64::MAX);
        match inventory::source(self.primary, self.table, oldest).await {
            Ok(Table::Here(source)) => self.compare(&mut look, source, only).await,
            Ok(Table::Gone) => {
                for copy in &look.copies {
                    let versions: Vec<u64> = copy.inventory.manifests.keys().copied().collect();
                    if !versions.is_empty() {
                        let (name, detail) = (&copy.place.name, "the primary has no such table");
                        let finding = self.finding(Kind::Dropped, name, versions, detail);
                        look.findings.push(finding);
                    }
                }
            }
            Ok(Table::NotCopyable(reason)) => {
                let name = &self.primary.name;
                let finding = self.finding(Kind::NotReplicated, name, Vec::new(), reason);
                look.findings.push(finding);
            }
            Err(error) => {
                let failure = self.failure(&self.primary.name, error);
                look.failures.push(failure);
            }
        }
        look
    }

    /// Compares manifests and files. Places that cannot be read are left out.
    async fn compare(
        &self,
        look: &mut Look<'a>,
        mut source: Source,
        only: Option<&HashSet<String>>,
    ) {
        let (reader, table) = (self.reader(), self.table.as_str());
        let troubles = reader.read_manifests(&mut source, &mut look.copies).await;
        look.give_up(self, troubles);
        if self.options.checksums {
            let troubles = reader.read_files(&mut source, &mut look.copies, only).await;
            look.give_up(self, troubles);
        }
        if self.has_primary_failed(look) {
            return;
        }
        let own = damage((&self.primary.name, table), &source);
        look.findings.extend(own);
        for copy in &look.copies {
            let place = (copy.place.name.as_str(), table);
            let comparison = compare(place, &source, &copy.inventory);
            look.findings.extend(comparison.findings);
            look.compared.push(Compared {
                connection: copy.place.name.clone(),
                table: table.to_owned(),
                versions: same(&source, &copy.inventory).len() as u64,
                files: comparison.files,
                bytes: comparison.bytes,
                checked_bytes: comparison.checked_bytes,
                ..Compared::default()
            });
        }
        look.source = Some(source);
    }
}

impl Look<'_> {
    fn differences(&self) -> impl Iterator<Item = &Finding> {
        let all = self.findings.iter();
        all.filter(|f| f.kind.class() == Class::Difference)
    }

    /// The files that are not the same.
    fn files(&self) -> HashSet<String> {
        self.differences().map(|f| f.file.clone()).collect()
    }

    /// The differences that an earlier look found as well.
    fn confirmed(&self, earlier: &Look<'_>) -> Vec<Finding> {
        let looks = self.source.as_ref().zip(earlier.source.as_ref());
        let is_same_table = looks.is_some_and(|(now, then)| {
            let (now, then) = (&now.inventory, &then.inventory);
            let began = |i: &Inventory| i.committed.map(|(oldest, _)| oldest);
            now.is_same_table(then)
                .unwrap_or(began(now).is_some() && began(now) == began(then))
        });
        let is_known = |now: &&Finding| {
            earlier.differences().any(|then| {
                let (a, b) = (&then.versions.0, &now.versions.0);
                let shared = a.iter().any(|v| b.contains(v)) || (a.is_empty() && b.is_empty());
                let same = (then.kind, &then.connection, &then.file, &then.detail)
                    == (now.kind, &now.connection, &now.file, &now.detail);
                // Files have unique names and manifests checksums. A number is
                // the same only in the same table.
                same && shared && (now.kind != Kind::Ahead || is_same_table)
            })
        };
        self.differences().filter(is_known).cloned().collect()
    }

    fn give_up(&mut self, check: &Check<'_>, troubles: Vec<(String, impl ToString)>) {
        for (connection, error) in troubles {
            self.failures.push(check.failure(&connection, error));
            self.copies.retain(|copy| copy.place.name != connection);
        }
    }
}
