//! One table, compared on every replica.

use futures::future::join_all;

use super::{
    Options, Place, Progress,
    compare::{compare, damage, same},
    contents::{Copy, Reader, Trouble},
    inventory::{self, Source, Table},
    report::{Compared, Finding, Kind, Report, Versions},
};
use crate::{domain::TableName, replication::ReplicationError};

/// How often a table is looked at whose primary cannot be read: that it was
/// pruned, or created anew, meanwhile happens once in a while, and not each time.
const MAX_LOOKS: usize = 5;

/// The comparison of one table.
pub(super) struct Check<'a> {
    pub primary: &'a Place,
    pub replicas: &'a [Place],
    pub table: &'a TableName,
    pub options: &'a Options,
    pub progress: &'a Progress,
}

/// What all places hold of the table.
struct Looked<'a> {
    source: Result<Table, ReplicationError>,
    copies: Vec<Copy<'a>>,
    /// Replicas that did not answer.
    failures: Vec<(&'a Place, ReplicationError)>,
}

impl<'a> Check<'a> {
    /// Compares the table.
    pub(super) async fn run(&self, report: &mut Report) {
        let mut looked = self.look().await;
        for _ in 1..MAX_LOOKS {
            if looked.source.is_ok() {
                break;
            }
            looked = self.look().await;
        }
        for (place, error) in looked.failures {
            report.fail(&place.name, self.table.as_str(), error);
        }
        let mut copies = looked.copies;
        let mut source = match looked.source {
            Ok(Table::Here(source)) => source,
            Ok(Table::Gone) => {
                let detail = "the primary does not have the table";
                for copy in &copies {
                    let versions: Vec<u64> = copy.inventory.manifests.keys().copied().collect();
                    if !versions.is_empty() {
                        let name = &copy.place.name;
                        let finding = self.finding(Kind::Dropped, name, versions, detail);
                        report.findings.push(finding);
                    }
                }
                return;
            }
            Ok(Table::NotCopyable(reason)) => {
                let name = &self.primary.name;
                let finding = self.finding(Kind::NotReplicated, name, Vec::new(), reason);
                report.findings.push(finding);
                return;
            }
            Err(error) => return report.fail(&self.primary.name, self.table.as_str(), error),
        };
        self.compare_files(report, &mut source, &mut copies).await;
        if self.options.rows {
            for copy in &copies {
                self.compare_rows(report, &source, copy).await;
            }
        }
        if let Some(queries) = &self.options.queries {
            self.ask(report, queries, &source, &copies).await;
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

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader {
            primary: self.primary,
            table: self.table,
            parallel: self.options.parallel,
            progress: self.progress,
        }
    }

    /// What each place holds of the table. Replicas are listed before the
    /// primary: what they have by then the primary has too, unless it was pruned.
    async fn look(&self) -> Looked<'a> {
        let lists = self
            .replicas
            .iter()
            .map(|place| inventory::copy(place, self.table));
        let (mut copies, mut failures) = (Vec::new(), Vec::new());
        for (place, listed) in self.replicas.iter().zip(join_all(lists).await) {
            match listed {
                Ok(inventory) => copies.push(Copy { place, inventory }),
                Err(error) => failures.push((place, error)),
            }
        }
        let oldest = |copy: &Copy<'_>| copy.inventory.manifests.keys().next().copied();
        let oldest = copies.iter().filter_map(oldest).min().unwrap_or(u64::MAX);
        Looked {
            source: inventory::source(self.primary, self.table, oldest).await,
            copies,
            failures,
        }
    }

    /// Compares manifests and files. Places that cannot be read are reported and
    /// left out of what follows.
    async fn compare_files(
        &self,
        report: &mut Report,
        source: &mut Source,
        copies: &mut Vec<Copy<'_>>,
    ) {
        let reader = self.reader();
        let troubles = reader.read_manifests(source, copies).await;
        self.give_up(report, copies, troubles);
        if self.options.checksums {
            let troubles = reader.read_files(source, copies).await;
            self.give_up(report, copies, troubles);
        }
        if copies.is_empty() {
            return;
        }
        let table = self.table.as_str();
        let own = damage((&self.primary.name, table), source);
        let own = reader.settle(own, &source.inventory, None).await;
        report.findings.extend(own);
        for copy in copies.iter() {
            let place = (copy.place.name.as_str(), table);
            let comparison = compare(place, source, &copy.inventory);
            let found = comparison.findings;
            let found = reader.settle(found, &source.inventory, Some(copy)).await;
            report.findings.extend(found);
            report.compared.push(Compared {
                connection: copy.place.name.clone(),
                table: table.to_owned(),
                versions: same(source, &copy.inventory).len() as u64,
                files: comparison.files,
                bytes: comparison.bytes,
                checked_bytes: comparison.checked_bytes,
                ..Compared::default()
            });
        }
    }

    fn give_up(&self, report: &mut Report, copies: &mut Vec<Copy<'_>>, troubles: Vec<Trouble>) {
        for (connection, error) in troubles {
            report.fail(&connection, self.table.as_str(), error);
            if connection == self.primary.name {
                copies.clear();
            }
            copies.retain(|copy| copy.place.name != connection);
        }
    }
}
