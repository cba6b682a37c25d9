//! What a location holds of one table: gathered by listings, so that a table
//! that cannot be opened can be compared all the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Place;
use crate::{
    domain::{Error, Incarnation, TableName},
    replication::ReplicationError,
    storage::{Checksum, Objects},
};

/// Where Lance keeps tags, in the table's folder.
const TAGS: &str = "_refs/tags/";

/// One file, as a listing shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Object {
    /// In bytes.
    pub size: u64,
    /// Once it was read.
    pub checksum: Option<Checksum>,
}

/// A version that is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Its path relative to the table's folder.
    pub file: String,
    pub object: Object,
}

/// What a location holds of one table.
#[derive(Debug, Clone, Default)]
pub(super) struct Inventory {
    pub manifests: BTreeMap<u64, Manifest>,
    /// The other files, by their path relative to the table's folder.
    pub files: HashMap<String, Object>,
    /// Which creation of the table it is, where that is written down.
    pub incarnation: Option<Incarnation>,
    /// When the oldest and the newest of the versions were committed, in
    /// nanoseconds since 1970, where that can be read.
    pub committed: Option<(u128, u128)>,
}

impl Inventory {
    /// The files of its tags.
    pub(super) fn tags(&self) -> impl Iterator<Item = &String> {
        self.files.keys().filter(|file| file.starts_with(TAGS))
    }

    /// Whether this is known to be another creation of the table, or the same
    /// one: `None` where it does not say.
    pub(super) fn is_same_table(&self, other: &Inventory) -> Option<bool> {
        Some(self.incarnation? == other.incarnation?)
    }
}

/// What the primary holds of one table, and which files its versions are made of.
#[derive(Debug, Clone, Default)]
pub(super) struct Source {
    pub inventory: Inventory,
    /// Relative to the table's folder, by version.
    pub contents: BTreeMap<u64, BTreeSet<String>>,
}

/// What the primary says of a table.
pub(super) enum Table {
    Here(Source),
    /// There is no such table.
    Gone,
    /// It cannot be copied file by file, and why.
    NotCopyable(&'static str),
}

fn object(size: u64) -> Object {
    Object {
        size,
        checksum: None,
    }
}

/// The manifests of a table at a location.
async fn manifests(
    place: &Place,
    table: &TableName,
) -> Result<BTreeMap<u64, Manifest>, ReplicationError> {
    let published = place.store.objects().published(table).await?;
    let manifest = |found: crate::storage::Published| Manifest {
        file: found.file,
        object: object(found.size),
    };
    Ok(published
        .into_iter()
        .map(|(version, found)| (version, manifest(found)))
        .collect())
}

/// The files of a table at a location, without its manifests.
async fn files(
    place: &Place,
    table: &TableName,
) -> Result<HashMap<String, Object>, ReplicationError> {
    let folder = Objects::table_folder(table);
    let found = place.store.objects().list(&folder).await?;
    let files = found.into_iter().filter_map(|(path, size)| {
        let file = path.strip_prefix(&folder)?.trim_start_matches('/');
        (!file.starts_with("_versions/")).then(|| (file.to_owned(), object(size)))
    });
    Ok(files.collect())
}

/// When a version was committed; `None` if it cannot be read.
async fn committed(place: &Place, table: &TableName, version: u64) -> Option<u128> {
    let snapshot = place.store.open_version(table, version).await.ok()?;
    Some(snapshot.commit().timestamp_nanos)
}

/// Which creation of a table a location has; `None` also where what says so is
/// damaged.
async fn incarnation(
    place: &Place,
    table: &TableName,
) -> Result<Option<Incarnation>, ReplicationError> {
    match place.store.incarnation(table).await {
        Ok(found) => Ok(found),
        Err(Error::Corrupt(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What a replica holds. Manifests are listed before files: the files of a
/// version that is published are all there already.
pub(super) async fn copy(place: &Place, table: &TableName) -> Result<Inventory, ReplicationError> {
    let manifests = manifests(place, table).await?;
    let committed = match (manifests.keys().next(), manifests.keys().next_back()) {
        (Some(oldest), Some(newest)) => {
            let oldest = committed(place, table, *oldest).await;
            oldest.zip(committed(place, table, *newest).await)
        }
        _ => None,
    };
    Ok(Inventory {
        incarnation: incarnation(place, table).await?,
        files: files(place, table).await?,
        manifests,
        committed,
    })
}

/// What the primary holds; of versions before `oldest` only the manifests.
pub(super) async fn source(
    place: &Place,
    table: &TableName,
    oldest: u64,
) -> Result<Table, ReplicationError> {
    let handle = match place.store.open(table).await {
        Ok(handle) => handle,
        Err(Error::NotFound { .. }) => return Ok(Table::Gone),
        Err(error) => return Err(error.into()),
    };
    if let Some(reason) = handle.not_copyable().await? {
        return Ok(Table::NotCopyable(reason));
    }
    let mut manifests = manifests(place, table).await?;
    let versions = handle.version_files(oldest).await?;
    let contents: BTreeMap<u64, BTreeSet<String>> = versions
        .into_iter()
        .map(|(version, found)| (version, found.files))
        .collect();
    // Pruned, or committed, between the two looks.
    manifests.retain(|version, _| *version < oldest || contents.contains_key(version));
    let Some(first) = manifests.keys().next().copied() else {
        // Dropped after it was opened.
        return Ok(Table::Gone);
    };
    let newest = handle.snapshot().await?.commit().timestamp_nanos;
    let committed = committed(place, table, first).await;
    let committed = committed.map(|oldest| (oldest, newest));
    let inventory = Inventory {
        incarnation: incarnation(place, table).await?,
        files: files(place, table).await?,
        manifests,
        committed,
    };
    Ok(Table::Here(Source {
        inventory,
        contents,
    }))
}
