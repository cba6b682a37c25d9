//! What a reader gets of one table: rows and answers, compared on every replica.

use super::{
    Place,
    compare::same,
    contents::Copy,
    inventory::Source,
    queries::{self, Outcome, Queries, is_passing},
    report::{Compared, Kind, Report},
    rows::{self, Rows, Side},
    table::Check,
};
use crate::{
    domain::{Error, Result, search::Search},
    storage::Snapshot,
};

/// A replica, with one version of its table open.
struct Open<'a> {
    copy: &'a Copy<'a>,
    snapshot: Snapshot,
}

impl Check<'_> {
    /// Compares the rows of the newest version that both have.
    pub(super) async fn compare_rows(&self, report: &mut Report, source: &Source, copy: &Copy<'_>) {
        let Some(version) = same(source, &copy.inventory).last().copied() else {
            return;
        };
        let compared = async {
            let primary = self.open(self.primary, version).await;
            let primary = primary.map_err(Side::Primary)?;
            let replica = self.open(copy.place, version).await;
            rows::compare(&primary, &replica.map_err(Side::Replica)?).await
        };
        match compared.await {
            Ok(Rows::Same { rows }) => self.count(report, copy, |counted| counted.rows = rows),
            Ok(Rows::Different(how)) => {
                self.found(report, source, copy, (Kind::Rows, version), how)
                    .await;
            }
            Err(Side::Primary(error)) => {
                self.primary_failed(report, error);
            }
            Err(Side::Replica(error)) => {
                let kind = (Kind::Rows, version);
                self.trouble(report, source, copy, kind, error).await;
            }
        }
    }

    /// Asks the queries at the newest version that all have. A replica that has
    /// no version of the primary's is left out: that was reported.
    pub(super) async fn ask(
        &self,
        report: &mut Report,
        queries: &Queries,
        source: &Source,
        copies: &[Copy<'_>],
    ) {
        let held = copies
            .iter()
            .map(|copy| (copy, same(source, &copy.inventory)));
        let held: Vec<(&Copy<'_>, Vec<u64>)> = held.filter(|(_, v)| !v.is_empty()).collect();
        let Some((_, first)) = held.first() else {
            return;
        };
        let by_all = |version: &&u64| held.iter().all(|(_, v)| v.contains(version));
        let Some(version) = first.iter().rev().find(by_all).copied() else {
            let detail = "no version is on all connections: no queries were asked";
            let name = &self.primary.name;
            let finding = self.finding(Kind::NoCommonVersion, name, Vec::new(), detail);
            return report.findings.push(finding);
        };
        let primary = match self.open(self.primary, version).await {
            Ok(primary) => primary,
            Err(error) => return self.primary_failed(report, error),
        };
        let mut replicas = Vec::with_capacity(held.len());
        for (copy, _) in &held {
            match self.open(copy.place, version).await {
                Ok(snapshot) => replicas.push(Open { copy, snapshot }),
                Err(error) => {
                    let kind = (Kind::Answers, version);
                    self.trouble(report, source, copy, kind, error).await;
                }
            }
        }
        for column in queries.columns(primary.schema()) {
            let outcomes = self.ask_column(queries, &primary, &replicas, &column).await;
            let outcomes = match outcomes {
                Ok(outcomes) => outcomes,
                Err(error) => return self.primary_failed(report, error),
            };
            for (replica, outcome) in replicas.iter().zip(outcomes) {
                self.count(report, replica.copy, |counted| {
                    counted.queries += outcome.queries;
                    counted.ties += outcome.ties;
                });
                if let Some(error) = outcome.failure {
                    report
                        .failures
                        .push(self.failure(&replica.copy.place.name, error));
                }
                if let Some(first) = outcome.first {
                    let (different, all) = (outcome.different, outcome.queries);
                    let how = format!("{different} of {all} on column {column}; {first}");
                    let kind = (Kind::Answers, version);
                    self.found(report, source, replica.copy, kind, how).await;
                }
            }
        }
    }

    async fn ask_column(
        &self,
        queries: &Queries,
        primary: &Snapshot,
        replicas: &[Open<'_>],
        column: &str,
    ) -> Result<Vec<Outcome>> {
        let search = Search {
            vector_column: Some(column.to_owned()),
            limit: queries.limit,
            columns: Some(Vec::new()),
            with_row_id: true,
            ..Search::default()
        };
        let vectors = queries.vectors(primary, column).await?;
        let replicas: Vec<&Snapshot> = replicas.iter().map(|r| &r.snapshot).collect();
        queries::ask(primary, &replicas, &search, vectors, self.options.parallel).await
    }

    async fn open(&self, place: &Place, version: u64) -> Result<Snapshot> {
        place.store.open_version(self.table, version).await
    }

    fn primary_failed(&self, report: &mut Report, error: Error) {
        let failure = self.failure(&self.primary.name, error);
        report.failures.push(failure);
    }

    fn count(&self, report: &mut Report, copy: &Copy<'_>, count: impl FnOnce(&mut Compared)) {
        let is_it =
            |c: &Compared| c.connection == copy.place.name && c.table == self.table.as_str();
        if let Some(compared) = report.compared.iter_mut().find(|c| is_it(c)) {
            count(compared);
        }
    }

    /// An error of a replica: of the moment, or of what is stored there.
    async fn trouble(
        &self,
        report: &mut Report,
        source: &Source,
        copy: &Copy<'_>,
        kind: (Kind, u64),
        error: Error,
    ) {
        if is_passing(&error) {
            return report.failures.push(self.failure(&copy.place.name, error));
        }
        let how = error.to_string();
        self.found(report, source, copy, kind, how).await;
    }

    /// Notes a difference, unless the version was replaced meanwhile.
    async fn found(
        &self,
        report: &mut Report,
        source: &Source,
        copy: &Copy<'_>,
        (kind, version): (Kind, u64),
        how: String,
    ) {
        let reader = self.reader();
        let moved = reader.moved(version, &source.inventory, copy).await;
        let (kind, how) = match moved {
            Some(moved) => (moved, "the version was removed meanwhile".into()),
            None => (kind, how),
        };
        let finding = self.finding(kind, &copy.place.name, vec![version], how);
        report.findings.push(finding);
    }
}
