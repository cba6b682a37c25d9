//! Whose the sessions of a table are, so that nobody takes the places of all others.
//!
//! Pins do not say it: what is counted is what this process has opened or renewed, and
//! it begins anew when the process does.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use uuid::Uuid;

use crate::{
    domain::{Error, Result, Session, TableName},
    telemetry::metrics,
};

/// The setting that bounds them.
const BOUND: &str = "sessions.max_per_principal";

/// When one of them may have ended.
const RETRY: Duration = Duration::from_secs(1);

/// How often those that have ended are forgotten, of all tables.
const SWEEP: Duration = Duration::from_secs(60);

/// Sessions with their owners.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    tables: HashMap<TableName, HashMap<Uuid, Lease>>,
    swept: Option<SystemTime>,
}

#[derive(Debug)]
struct Lease {
    owner: Arc<str>,
    expires: SystemTime,
}

impl Leases {
    /// Notes a session that is about to be opened. One owner has at most `most` of one
    /// table.
    ///
    /// # Errors
    /// [`Error::Quota`] for one more.
    pub(super) fn open(
        &self,
        table: &TableName,
        owner: &Arc<str>,
        session: &Session,
        most: usize,
    ) -> Result<()> {
        let now = SystemTime::now();
        let mut state = self.state();
        state.sweep(now);
        let leases = state.tables.entry(table.clone()).or_default();
        leases.retain(|_, lease| lease.expires > now);
        let has = leases.values().filter(|l| l.owner == *owner).count();
        if has >= most {
            metrics::quota_refused(BOUND);
            return Err(Error::Quota {
                quota: BOUND,
                message: format!("you have {has} sessions of table '{table}': close one"),
                retry_after: Some(RETRY),
            });
        }
        leases.insert(session.id, Lease::of(owner, session));
        Ok(())
    }

    /// A session lasts longer. One that was opened elsewhere is whose it is kept by.
    pub(super) fn renew(&self, table: &TableName, owner: &Arc<str>, session: &Session) {
        let mut state = self.state();
        let leases = state.tables.entry(table.clone()).or_default();
        leases
            .entry(session.id)
            .and_modify(|lease| lease.expires = session.expires)
            .or_insert_with(|| Lease::of(owner, session));
    }

    /// A session was closed, or not opened after all.
    pub(super) fn close(&self, table: &TableName, session: &Session) {
        if let Some(leases) = self.state().tables.get_mut(table) {
            leases.remove(&session.id);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn sweep(&mut self, now: SystemTime) {
        let since = self.swept.map(|at| now.duration_since(at));
        // A clock that was put back is no reason to wait.
        if since.is_some_and(|since| since.is_ok_and(|since| since < SWEEP)) {
            return;
        }
        self.swept = Some(now);
        self.tables.retain(|_, leases| {
            leases.retain(|_, lease| lease.expires > now);
            !leases.is_empty()
        });
    }
}

impl Lease {
    fn of(owner: &Arc<str>, session: &Session) -> Self {
        Self {
            owner: Arc::clone(owner),
            expires: session.expires,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Incarnation, Position};

    fn session(seconds: u64) -> Session {
        let position = Position {
            incarnation: Incarnation::fresh(),
            version: 1,
        };
        Session::new(Uuid::new_v4(), position, Duration::from_secs(seconds))
    }

    #[test]
    fn everybody_has_so_many_of_each_table() {
        let leases = Leases::default();
        let (t, u) = (
            TableName::parse("t").unwrap(),
            TableName::parse("u").unwrap(),
        );
        let (one, other): (Arc<str>, Arc<str>) = ("api_key:a".into(), "jwt:a".into());
        let first = session(60);
        leases.open(&t, &one, &first, 2).unwrap();
        leases.open(&t, &one, &session(60), 2).unwrap();
        for _ in 0..2 {
            let refused = leases.open(&t, &one, &session(60), 2).unwrap_err();
            assert!(matches!(refused, Error::Quota { quota: BOUND, .. }));
        }
        // Neither another table's nor another one's.
        leases.open(&u, &one, &session(60), 2).unwrap();
        leases.open(&t, &other, &session(60), 2).unwrap();
        leases.close(&t, &first);
        leases.open(&t, &one, &session(60), 2).unwrap();
        assert!(leases.open(&t, &one, &session(60), 2).is_err());
    }

    #[test]
    fn what_has_ended_counts_no_more_and_what_was_renewed_does() {
        let leases = Leases::default();
        let (t, one) = (TableName::parse("t").unwrap(), Arc::from("api_key:a"));
        let short = session(0);
        leases.open(&t, &one, &short, 1).unwrap();
        let kept = session(60);
        leases.open(&t, &one, &kept, 1).unwrap();
        assert!(leases.open(&t, &one, &session(60), 1).is_err());
        leases.close(&t, &kept);
        // Of another process, or from before a restart.
        leases.renew(&t, &one, &session(60));
        assert!(leases.open(&t, &one, &session(60), 1).is_err());
        leases.open(&t, &one, &session(60), 2).unwrap();
        let later = SystemTime::now() + Duration::from_secs(3_600);
        leases.state().sweep(later);
        assert!(leases.state().tables.is_empty());
    }
}
