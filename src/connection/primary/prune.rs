//! Deleting old versions of the primary's tables, but for what somebody needs.
//!
//! What holds a version, besides its age and the number of newer ones: a managed
//! replica that has not passed it, a pin, a tag, a branch, a request id that must
//! be remembered. A replica of which nothing is known holds everything. Lance
//! itself spares tags and branches; the rest is in the floor, which is announced
//! before anything is deleted.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::Primary;
use crate::{
    config::Keep,
    connection::Caller,
    domain::{Error, Incarnation, Position, Result, TableName},
    storage::{Below, Handle, pins},
};

/// The most that can be asked for: what LanceDB can count in milliseconds.
const MAX_AGE: Duration = Duration::from_millis(i64::MAX as u64);

/// Which versions somebody wants to be rid of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unwanted {
    /// What retention does not keep: a version whose successor is older than the
    /// age, and that has enough newer ones.
    NotKept(Keep),
    /// Those committed longer ago than this, but the newest.
    OlderThan(Duration),
}

/// What became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Versions deleted.
    pub versions: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// The oldest version that was to stay, tagged ones aside.
    pub floor: u64,
    /// Who keeps more than was wanted, if anybody does: the name of a replica, or
    /// a word.
    pub held_by: Option<Arc<str>>,
}

impl Pruned {
    fn nothing(held_by: &str) -> Self {
        Self {
            held_by: Some(held_by.into()),
            ..Self::default()
        }
    }

    /// Keeps everything from a version on.
    fn keep(&mut self, from: u64, who: &Arc<str>) {
        if from < self.floor {
            self.floor = from;
            self.held_by = Some(Arc::clone(who));
        }
    }
}

impl Primary {
    /// Deletes the versions of a table that are unwanted and that nobody holds.
    ///
    /// # Errors
    /// What the location answers; [`Error::NotFound`] for a table
    /// that is not there. A part may have been deleted then.
    pub async fn prune(self: &Arc<Self>, name: &TableName, unwanted: Unwanted) -> Result<Pruned> {
        let caller = Caller::current();
        // Held while files go: the table is not dropped and created anew meanwhile.
        let alone = caller.begin(self.pruning_of(name)).await?;
        let (primary, name) = (Arc::clone(self), name.clone());
        // It is finished when the caller goes away.
        let work = async move {
            let _alone = alone;
            primary.delete_unwanted(&name, unwanted).await
        };
        caller.finish(work).await
    }

    async fn delete_unwanted(&self, name: &TableName, unwanted: Unwanted) -> Result<Pruned> {
        let head = self.head(name).await?;
        let handle = head.handle();
        let incarnation = handle.incarnation();
        if incarnation == Incarnation::UNKNOWN {
            return Ok(Pruned::nothing("a location that takes no writes"));
        }
        let store = self.connection.store()?;
        let now = SystemTime::now();
        let newest = handle.version().await?;
        let mut versions = handle.version_numbers().await?;
        versions.retain(|version| *version <= newest);

        let (floor, committed_before) = first_wanted(handle, &versions, unwanted, now).await?;
        let mut pruned = Pruned {
            floor,
            ..Pruned::default()
        };
        if handle.not_copyable().await?.is_none() {
            for replica in &self.holders {
                match replica.catalog().position(name) {
                    Some(at) if at.incarnation == incarnation => {
                        pruned.keep(at.version, replica.name());
                    }
                    _ => return Ok(Pruned::nothing(replica.name())),
                }
            }
        }
        // What they record is forgotten with them.
        let wanted = versions.partition_point(|version| *version < pruned.floor);
        let since = self.remembered_since(now);
        if let Some(version) = handle.first_recorded(&versions[..wanted], since).await? {
            pruned.keep(version, &"a request id".into());
        }
        let tagged = handle.tagged_versions().await?;
        if !any_below(&versions, pruned.floor, &tagged) {
            return Ok(pruned);
        }
        // First this, then the pins: `storage::floors` says why.
        let floor = Position {
            incarnation,
            version: pruned.floor,
        };
        store.write_floor(name, floor).await?;
        for pin in pins::held(&store, name).await? {
            if pin.incarnation == incarnation {
                pruned.keep(pin.version, &"a pin".into());
            }
        }
        // The same table still, and not another one of that name.
        if store.incarnation(name).await? != Some(incarnation) {
            return Ok(Pruned::nothing("a table that was created anew"));
        }
        if any_below(&versions, pruned.floor, &tagged) {
            let below = Below {
                version: pruned.floor,
                committed_before,
            };
            let removed = handle.prune(below).await?;
            (pruned.versions, pruned.bytes) = (removed.versions, removed.bytes);
        }
        Ok(pruned)
    }
}

fn any_below(versions: &[u64], floor: u64, tagged: &HashSet<u64>) -> bool {
    let mut below = versions.iter().take_while(|version| **version < floor);
    below.any(|version| !tagged.contains(version))
}

/// The oldest version that is wanted, and the time before which those were
/// committed that are not.
async fn first_wanted(
    handle: &Handle,
    versions: &[u64],
    unwanted: Unwanted,
    now: SystemTime,
) -> Result<(u64, SystemTime)> {
    let (age, kept) = match unwanted {
        Unwanted::NotKept(keep) => (keep.max_age, keep.min_versions),
        Unwanted::OlderThan(age) if age > MAX_AGE => {
            return Err(Error::invalid("prune_older_than", "is out of range"));
        }
        Unwanted::OlderThan(age) => (age, 1),
    };
    let time = now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
    let time = time.max(SystemTime::UNIX_EPOCH);
    let old = handle.committed_before(versions, time).await?;
    let by_age = match unwanted {
        // The last of them was still the newest at that time.
        Unwanted::NotKept(_) => old.saturating_sub(1),
        Unwanted::OlderThan(_) => old,
    };
    let kept = usize::try_from(kept.max(1)).unwrap_or(usize::MAX);
    let by_count = versions.len().saturating_sub(kept);
    let first = versions.get(by_age.min(by_count)).copied();
    Ok((first.unwrap_or(0), time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::tests::local;

    /// Five commits; each wish is judged a minute after the third.
    #[tokio::test]
    async fn what_was_the_newest_within_the_age_is_kept() {
        let (_folder, store) = local().await;
        let name = TableName::parse("t").unwrap();
        let column = arrow::datatypes::Field::new("x", arrow::datatypes::DataType::Int32, true);
        let schema = Arc::new(arrow::datatypes::Schema::new(vec![column]));
        let no_rows = arrow::array::RecordBatch::new_empty(Arc::clone(&schema));
        let handle = store.create(&name, schema, Vec::new()).await.unwrap();
        for _ in 2..=5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            handle.insert(vec![no_rows.clone()], true).await.unwrap();
        }
        let versions = handle.version_numbers().await.unwrap();
        assert_eq!(versions, [1, 2, 3, 4, 5]);
        let third = handle.commit_of(3).await.unwrap().unwrap().time();
        let minute = Duration::from_secs(60);
        let now = third + minute + Duration::from_millis(1);
        let kept = |max_age, min_versions| {
            Unwanted::NotKept(Keep {
                max_age,
                min_versions,
            })
        };
        for (unwanted, first) in [
            // Version 3 was the newest a minute ago, version 1 two minutes ago.
            (kept(minute, 1), 3),
            (kept(2 * minute, 1), 1),
            (kept(Duration::ZERO, 1), 5),
            (kept(Duration::MAX, 1), 1),
            // Few are kept in any case, and all where there are few.
            (kept(minute, 4), 2),
            (kept(Duration::ZERO, 2), 4),
            (kept(Duration::ZERO, 99), 1),
            // By the time of its own commit version 3 is older than that.
            (Unwanted::OlderThan(minute), 4),
            (Unwanted::OlderThan(Duration::ZERO), 5),
        ] {
            let found = first_wanted(&handle, &versions, unwanted, now).await;
            assert_eq!(found.unwrap().0, first, "{unwanted:?}");
        }
    }
}
