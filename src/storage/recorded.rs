//! Request ids, as they are recorded with the commit that they caused: in the
//! properties of Lance's transaction, which is part of the version's manifest.

use std::{collections::HashMap, time::SystemTime};

use futures::{StreamExt, TryStreamExt, stream};
use lance::{Dataset, dataset::transaction::Transaction};

use super::{Handle, error};
use crate::domain::{
    Result, WriteRequest,
    request::{Counts, Digest, Recorded, RequestId, WriteKind},
};

const ID: &str = "lancegate.request_id";
const KIND: &str = "lancegate.request_kind";
const DIGEST: &str = "lancegate.request_digest";
/// Rows inserted, updated and deleted, with commas between them.
const COUNTS: &str = "lancegate.request_counts";

/// Transactions read concurrently.
const PARALLEL_READS: usize = 16;

/// A request id, by its key, and what became of it.
pub type Entry = (u128, Recorded);

/// The properties of the transaction that a request makes.
pub(super) fn properties(request: &WriteRequest, counts: Counts) -> HashMap<String, String> {
    let Counts {
        inserted,
        updated,
        deleted,
    } = counts;
    [
        (ID, request.id.as_str().to_owned()),
        (KIND, request.kind.as_str().to_owned()),
        (DIGEST, request.digest.to_text()),
        (COUNTS, format!("{inserted},{updated},{deleted}")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// What a transaction records, if it was made by a request with an id.
fn entry(transaction: &Transaction, version: u64, at: SystemTime) -> Option<Entry> {
    let properties = transaction.transaction_properties.as_ref()?;
    let id = RequestId::parse(properties.get(ID)?).ok()??;
    let mut counts = properties.get(COUNTS)?.split(',').map(str::parse::<u64>);
    let mut next = || counts.next()?.ok();
    let counts = Counts {
        inserted: next()?,
        updated: next()?,
        deleted: next()?,
    };
    let recorded = Recorded {
        kind: WriteKind::parse(properties.get(KIND)?)?,
        digest: Digest::parse(properties.get(DIGEST)?)?,
        counts,
        version,
        at,
    };
    Some((id.key(), recorded))
}

/// What a version was made by.
#[derive(Debug, Clone, Copy)]
pub(super) struct MadeBy {
    pub at: SystemTime,
    pub entry: Option<Entry>,
}

/// Reads what made a version of this table; `None` if that version is gone.
pub(super) async fn made_by(dataset: &Dataset, version: u64) -> lance::Result<Option<MadeBy>> {
    match dataset.read_version_transaction(version).await {
        Ok(read) => {
            let at = read.timestamp.into();
            let entry = read.transaction.and_then(|t| entry(&t, version, at));
            Ok(Some(MadeBy { at, entry }))
        }
        Err(lance::Error::DatasetNotFound { .. } | lance::Error::VersionNotFound { .. }) => {
            Ok(None)
        }
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}

impl Handle {
    /// The request ids that are recorded in the versions after `after`, up to
    /// `until`, and were committed at `since` or later: at most `most` of them, the
    /// newest, in ascending order of their versions.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn recorded(
        &self,
        after: u64,
        until: u64,
        since: SystemTime,
        most: usize,
    ) -> Result<Vec<Entry>> {
        let dataset = error::dataset(&self.table).await?;
        let mut versions = match until - after {
            1 => vec![until],
            _ => self.version_numbers().await?,
        };
        versions.retain(|version| (after + 1..=until).contains(version));
        let mut entries = Vec::new();
        // The newest first: the commits before `since` need not be read.
        for chunk in versions.rchunks(PARALLEL_READS) {
            let chunk: Vec<u64> = chunk.iter().rev().copied().collect();
            let read: Vec<Option<MadeBy>> = stream::iter(chunk)
                .map(|version| made_by(&dataset, version))
                .buffered(PARALLEL_READS)
                .try_collect()
                .await
                .map_err(|e| error::in_table(&self.name, e.into()))?;
            let read = || read.iter().flatten();
            entries.extend(read().filter(|m| m.at >= since).filter_map(|m| m.entry));
            if entries.len() >= most || read().any(|made| made.at < since) {
                break;
            }
        }
        entries.truncate(most);
        entries.reverse();
        Ok(entries)
    }

    /// The oldest of `versions`, which are ascending, that was committed at `since`
    /// or later and records a request id.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn first_recorded(&self, versions: &[u64], since: SystemTime) -> Result<Option<u64>> {
        let dataset = error::dataset(&self.table).await?;
        let older = self.committed_before(versions, since).await?;
        let mut read = stream::iter(versions[older..].to_vec())
            .map(|version| made_by(&dataset, version))
            .buffered(PARALLEL_READS);
        while let Some(made) = read.next().await {
            let made = made.map_err(|e| error::in_table(&self.name, e.into()))?;
            if let Some((_, recorded)) = made.and_then(|made| made.entry) {
                return Ok(Some(recorded.version));
            }
        }
        Ok(None)
    }
}
