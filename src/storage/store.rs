//! One LanceDB location.

use std::{
    collections::HashMap,
    error::Error as StdError,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use lance::dataset::{ReadParams, WriteParams};
use lance_table::io::commit::{CommitHandler, commit_handler_from_url};
use lancedb::{Table, connection::OpenTableBuilder, table::WriteOptions};
use url::Url;

use super::{Handle, Objects, Sessions, Snapshot, advice, blobs::Blobs, error, session::Caches};
use crate::{
    config::Location,
    domain::{Error, Incarnation, Resource, Result, TableName},
};

/// A LanceDB location: its tables, and the objects that they are made of.
pub struct Store {
    pub(super) connection: lancedb::Connection,
    pub(super) objects: Objects,
    caches: Caches,
    /// How the store commits a version.
    pub(super) commits: Arc<dyn CommitHandler>,
    /// The options of the location, where versions are committed beside the store: a
    /// table is created with those that count then.
    pub(super) elsewhere: Option<HashMap<String, String>>,
    /// Of tables that somebody has a handle on or a snapshot of.
    blobs: Mutex<HashMap<TableName, Weak<Blobs>>>,
}

impl Store {
    /// Opens a location. A local folder is created if it is not there; nothing
    /// else is written.
    ///
    /// # Errors
    /// [`NotOpened`], which is an [`Error`] for clients.
    pub async fn connect(location: &Location, sessions: &Sessions) -> Result<Self, NotOpened> {
        let not_opened = |cause: &(dyn StdError + 'static)| NotOpened::of(location, cause);
        if let Some(folder) = local_folder(&location.uri) {
            std::fs::create_dir_all(&folder).map_err(|e| not_opened(&e))?;
        }
        let caches = sessions.of(location);
        let options = super::rotated::options(location);
        let params = Objects::params(options.clone());
        let objects = Objects::open(
            location,
            sessions.stores_themselves(&caches.session),
            &params,
        )
        .await
        .map_err(|e| not_opened(&e))?;
        let elsewhere = location.commits_elsewhere().then(|| options.clone());
        let commits = match &elsewhere {
            Some(options) => super::rotated::commits(options.clone()).await,
            None => params,
        };
        let commits = commit_handler_from_url(&location.uri, &Some(commits))
            .await
            .map_err(|e| not_opened(&e))?;
        let connection = lancedb::connect(&location.uri)
            .session(Arc::clone(&caches.session))
            .storage_options(options)
            .execute()
            .await
            .map_err(|e| not_opened(&e))?;
        Ok(Self {
            connection,
            objects,
            caches,
            commits,
            elsewhere,
            blobs: Mutex::default(),
        })
    }

    /// Opens a location that must be there, and changes nothing: a local folder
    /// is not created.
    ///
    /// # Errors
    /// As [`Store::connect`], and where a local folder is not there.
    pub async fn connect_existing(
        location: &Location,
        sessions: &Sessions,
    ) -> Result<Self, NotOpened> {
        if let Some(folder) = local_folder(&location.uri)
            && let Err(e) = std::fs::read_dir(&folder)
        {
            return Err(NotOpened::of(location, &e));
        }
        Self::connect(location, sessions).await
    }

    /// The raw objects of the location.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Has the files of a table read from the store again, whatever this process has
    /// kept of them: they were replaced by others of the same names.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: the cache on the local disk could not note it.
    pub async fn forget_cached(&self, table: &TableName) -> Result<()> {
        let folder = self.objects.full(&Objects::table_folder(table));
        let forgotten = self.caches.forget(&self.objects.store, &folder).await;
        forgotten.map_err(|error| {
            tracing::warn!(%table, %error, "the cache on the local disk cannot be written");
            Error::Unavailable {
                reason: "CACHE_UNAVAILABLE",
                message: "the cache on the local disk cannot be written".into(),
                retry_after: Duration::from_secs(1),
            }
        })
    }

    /// Names of the tables, in byte order. Folders whose name is not a valid
    /// table name are not ours and are left out.
    pub async fn table_names(&self) -> Result<Vec<TableName>> {
        let names = self
            .connection
            .table_names()
            .execute()
            .await
            .map_err(error::from_lancedb)?;
        Ok(names
            .iter()
            .filter_map(|name| TableName::parse(name).ok())
            .collect())
    }

    /// Opens the newest version of a table, for what follows it.
    pub async fn open(&self, name: &TableName) -> Result<Handle> {
        let (table, incarnation) = self
            .with_incarnation(name, || async {
                self.opening(name, Arc::clone(&self.commits))
                    .execute()
                    .await
                    .map_err(|e| error::in_table(name, e))
            })
            .await?;
        Ok(self.handle(name, table, incarnation))
    }

    /// Opens a table that commits its versions so. LanceDB's own way would be one of the
    /// options at the start, and not of what is in their files now.
    pub(super) fn opening(
        &self,
        name: &TableName,
        commits: Arc<dyn CommitHandler>,
    ) -> OpenTableBuilder {
        let read = ReadParams {
            commit_handler: Some(commits),
            ..ReadParams::default()
        };
        let opening = self.connection.open_table(name.as_str());
        opening.lance_read_params(read)
    }

    fn handle(&self, name: &TableName, table: Table, incarnation: Incarnation) -> Handle {
        Handle::new(name.clone(), table, incarnation, self.blobs(name))
    }

    /// What is known of the blobs of a table, shared by all who open it. Names of
    /// data files are unique: one created anew has others.
    fn blobs(&self, name: &TableName) -> Arc<Blobs> {
        let mut all = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(name).and_then(Weak::upgrade) {
            return known;
        }
        all.retain(|_, blobs| blobs.strong_count() > 0);
        let blobs = Arc::new(Blobs::default());
        all.insert(name.clone(), Arc::downgrade(&blobs));
        blobs
    }

    /// Opens the newest version of a table of the primary, for writes too. A
    /// table that nobody has marked is marked, so that its re-creation shows.
    pub async fn open_marked(&self, name: &TableName) -> Result<Handle> {
        let handle = self.open(name).await?;
        if handle.incarnation() != Incarnation::UNKNOWN {
            return Ok(handle);
        }
        if let Err(error) = self.mark(name, Incarnation::fresh()).await {
            tracing::debug!(table = %name, %error, "the table cannot be marked");
            return Ok(handle);
        }
        let reopened = self.open(name).await;
        if let Err(Error::NotFound { .. }) = &reopened {
            // Dropped meanwhile: the mark alone would look like a table.
            let _ = self.unmark(name).await;
        }
        reopened
    }

    /// Opens one version of a table, pinned.
    pub async fn open_version(&self, name: &TableName, version: u64) -> Result<Snapshot> {
        let opened = self.with_incarnation(name, || async {
            self.opening(name, Arc::clone(&self.commits))
                .version(version)
                .execute()
                .await
                .map_err(|e| error::in_table(name, e))
        });
        let unknown = || Error::not_found(Resource::Version, format!("{name}@{version}"));
        let (table, incarnation) = match opened.await {
            Ok(opened) => opened,
            Err(Error::NotFound { .. }) => return Err(unknown()),
            // What DynamoDB does not know is missing as a file of a version would be.
            Err(Error::Corrupt(_)) if !self.may_have(name, version).await? => {
                return Err(unknown());
            }
            Err(e) => return Err(e),
        };
        Snapshot::of(name.clone(), table, incarnation, self.blobs(name)).await
    }

    /// Creates a table of these rows, none for an empty one.
    pub async fn create(
        &self,
        name: &TableName,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> Result<Handle> {
        let request = if batches.is_empty() {
            self.connection.create_empty_table(name.as_str(), schema)
        } else {
            self.connection.create_table(name.as_str(), batches)
        };
        let write = WriteParams {
            store_params: self.elsewhere.clone().map(|options| {
                let current = super::rotated::current(options);
                Objects::params(current)
            }),
            ..WriteParams::default()
        };
        let table = request
            .write_options(WriteOptions {
                lance_write_params: Some(write),
            })
            .execute()
            .await
            .map_err(|e| error::in_table(name, e))?;
        // The table is there, whatever becomes of its mark: the next who opens it
        // marks it.
        let marked = self.mark(name, Incarnation::fresh()).await;
        let incarnation = marked.unwrap_or_else(|error| {
            tracing::warn!(table = %name, %error, "the new table could not be marked");
            Incarnation::UNKNOWN
        });
        match self.elsewhere {
            None => Ok(self.handle(name, table, incarnation)),
            // It goes on committing with what counted when it was made.
            Some(_) => self.open(name).await,
        }
    }
}

/// The folder of a `file` URI.
fn local_folder(uri: &str) -> Option<PathBuf> {
    let url = Url::parse(uri).ok()?;
    (url.scheme() == "file")
        .then(|| url.to_file_path().ok())
        .flatten()
}

/// Why a location could not be opened, in the words of the store and without the
/// secrets of the location: for who runs the server. As an [`Error`] it is for clients.
#[derive(Debug, thiserror::Error)]
#[error("connection '{connection}' could not be opened: {detail}")]
pub struct NotOpened {
    connection: String,
    detail: String,
    kind: &'static str,
}

impl NotOpened {
    fn of(location: &Location, cause: &(dyn StdError + 'static)) -> Self {
        Self {
            connection: location.name.clone(),
            detail: advice::redacted(&cause.to_string(), location),
            kind: advice::kind(cause),
        }
    }

    /// What clients are told: not the detail, which may have addresses in it.
    pub fn for_clients(&self) -> Error {
        Error::Unavailable {
            reason: "LOCATION_UNREACHABLE",
            message: format!(
                "connection '{}' could not be opened: {}",
                self.connection, self.kind
            ),
            retry_after: Duration::from_secs(1),
        }
    }
}

impl From<NotOpened> for Error {
    fn from(error: NotOpened) -> Self {
        tracing::warn!(detail = %error, "object store error");
        error.for_clients()
    }
}
