//! The bound on table labels: each series costs memory here and in Prometheus,
//! and the names of tables are the clients' to choose.

use std::sync::Arc;

use metrics::{Gauge, Histogram, counter, gauge, histogram};

use super::{
    LAG_SECONDS, LAG_VERSIONS, OTHER_TABLES, SEARCH_SECONDS, SEARCHES, TABLE_ROWS,
    handles::{ByName, Outcomes},
};

/// The series of one table label.
pub(super) struct Table {
    label: String,
    pub(super) searches: Outcomes,
    pub(super) search_seconds: Histogram,
    rows: std::sync::OnceLock<Gauge>,
    lag: ByName<Lag>,
}

/// The two gauges of one table on one connection.
pub(super) struct Lag {
    pub(super) versions: Gauge,
    pub(super) seconds: Gauge,
}

impl Table {
    fn new(label: &str) -> Self {
        let label = label.to_owned();
        let of_searches = label.clone();
        Self {
            searches: Outcomes::new(
                move |status| counter!(SEARCHES, "table" => of_searches.clone(), "status" => status),
            ),
            search_seconds: histogram!(SEARCH_SECONDS, "table" => label.clone()),
            rows: std::sync::OnceLock::new(),
            lag: ByName::new(),
            label,
        }
    }

    /// The gauge of its rows. It appears with the first call: a table whose
    /// rows nobody counted has no number, not zero.
    pub(super) fn rows(&self) -> &Gauge {
        self.rows
            .get_or_init(|| gauge!(TABLE_ROWS, "table" => self.label.clone()))
    }

    /// Its lag on one connection.
    pub(super) fn lag(&self, connection: &str) -> Option<Arc<Lag>> {
        self.lag.get_within(usize::MAX, connection, || {
            let labels = [
                ("connection", connection.to_owned()),
                ("table", self.label.clone()),
            ];
            Lag {
                versions: gauge!(LAG_VERSIONS, &labels),
                seconds: gauge!(LAG_SECONDS, &labels),
            }
        })
    }

    /// The table was dropped. A series cannot be taken back: its gauges fall
    /// to zero, and its label stays taken, or the bound would be none.
    pub(super) fn gone(&self) {
        if let Some(rows) = self.rows.get() {
            rows.set(0.0);
        }
        self.lag.each(|lag| {
            lag.versions.set(0.0);
            lag.seconds.set(0.0);
        });
    }
}

/// The tables that have a label of their own, and the one of the others.
pub(super) struct Tables {
    max: usize,
    own: ByName<Table>,
    other: Arc<Table>,
}

/// Where the numbers of a table go.
pub(super) enum Place {
    Own(Arc<Table>),
    Other(Arc<Table>),
}

impl Tables {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            own: ByName::new(),
            other: Arc::new(Table::new(OTHER_TABLES)),
        }
    }

    /// The label of a table that is known to exist; it takes one if any is left.
    pub(super) fn existing(&self, name: &str) -> Place {
        if name == OTHER_TABLES {
            return Place::Other(Arc::clone(&self.other));
        }
        match self.own.get_within(self.max, name, || Table::new(name)) {
            Some(table) => Place::Own(table),
            None => Place::Other(Arc::clone(&self.other)),
        }
    }

    /// The label of a name that a client may have made up: it never takes one.
    pub(super) fn find(&self, name: &str) -> Place {
        match self.own.find(name) {
            Some(table) => Place::Own(table),
            None => Place::Other(Arc::clone(&self.other)),
        }
    }
}

impl Place {
    /// The series, whichever they are.
    pub(super) fn table(self) -> Arc<Table> {
        match self {
            Place::Own(table) | Place::Other(table) => table,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_bound_share_a_label() {
        let tables = Tables::new(2);
        let label = |name: &str| tables.existing(name).table().label.clone();
        assert_eq!(label("a"), "a");
        assert_eq!(label("b"), "b");
        assert_eq!(label("c"), OTHER_TABLES);
        assert_eq!(label("a"), "a");
        assert!(matches!(tables.existing("c"), Place::Other(_)));
    }

    #[test]
    fn asking_for_a_table_that_is_not_there_takes_no_label() {
        let tables = Tables::new(1);
        assert_eq!(tables.find("made-up").table().label, OTHER_TABLES);
        assert_eq!(tables.existing("real").table().label, "real");
        assert_eq!(tables.find("real").table().label, "real");
    }

    #[test]
    fn a_table_named_like_the_overflow_is_part_of_it() {
        let tables = Tables::new(1);
        assert!(matches!(tables.existing(OTHER_TABLES), Place::Other(_)));
        assert!(matches!(tables.existing("real"), Place::Own(_)));
    }
}
