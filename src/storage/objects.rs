//! The raw objects of a location: what replication copies, and the few small
//! ones that lancegate keeps itself. Paths are relative to the location.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use futures::StreamExt;
use lance_io::object_store::{ObjectStore, ObjectStoreParams, StorageOptionsAccessor};
use lancedb::ObjectStoreRegistry;
use object_store::{ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions, path::Path};

use crate::{config::Location, domain::TableName};

/// What went wrong with an object.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The object is not there.
    #[error("object '{0}' is not there")]
    NotFound(String),
    /// The object was copied and is not what it should be.
    #[error("object '{path}' has {found} bytes where {expected} were copied")]
    WrongSize {
        path: String,
        expected: u64,
        found: u64,
    },
    /// The object was copied and reads back as something else.
    #[error("object '{0}' reads back with other bytes than were copied")]
    WrongBytes(String),
    /// The store says that an object is there, and that it is not, in turns.
    #[error("object '{0}' is neither there nor can it be created")]
    Contended(String),
    /// The store did not do what was asked.
    #[error("{0}")]
    Store(Box<dyn std::error::Error + Send + Sync>),
}

impl ObjectError {
    /// What went wrong, for clients: without paths, and without the words of the store,
    /// which may have addresses and more in them.
    pub fn for_clients(&self) -> &'static str {
        match self {
            ObjectError::NotFound(_) => "an object of the location is not there",
            ObjectError::WrongSize { .. } | ObjectError::WrongBytes(_) => {
                "a file was copied and reads back as something else"
            }
            ObjectError::Contended(_) => "an object is neither there nor can it be created",
            ObjectError::Store(_) if self.is_refusal() => {
                "the location refused the server's credentials"
            }
            ObjectError::Store(_) => "the location did not answer as it should",
        }
    }

    /// Whether the store does not let these credentials do this.
    pub fn is_refusal(&self) -> bool {
        let ObjectError::Store(error) = self else {
            return false;
        };
        let error = error.downcast_ref::<object_store::Error>();
        matches!(
            error,
            Some(
                object_store::Error::PermissionDenied { .. }
                    | object_store::Error::Unauthenticated { .. }
            )
        )
    }
}

impl From<object_store::Error> for ObjectError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { path, .. } => ObjectError::NotFound(path),
            other => ObjectError::Store(Box::new(other)),
        }
    }
}

/// How often an object is created that the store says is there, and is not.
const MAX_CREATES: usize = 5;

/// The objects below one location.
pub struct Objects {
    pub(super) store: Arc<ObjectStore>,
    base: Path,
    /// Whether the store may ignore conditions, or not know them.
    unconditional: bool,
}

impl Objects {
    /// What Lance is told of a location besides its URI.
    pub(super) fn params(options: HashMap<String, String>) -> ObjectStoreParams {
        let accessor = (!options.is_empty())
            .then(|| Arc::new(StorageOptionsAccessor::with_static_options(options)));
        ObjectStoreParams {
            storage_options_accessor: accessor,
            ..Default::default()
        }
    }

    pub(super) async fn open(
        location: &Location,
        registry: Arc<ObjectStoreRegistry>,
        params: &ObjectStoreParams,
    ) -> lance::Result<Self> {
        let (store, base) =
            ObjectStore::from_uri_and_params(registry, &location.uri, params).await?;
        Ok(Self {
            store,
            base,
            unconditional: location.commits_elsewhere(),
        })
    }

    pub(super) fn full(&self, path: &str) -> Path {
        path.split('/')
            .filter(|part| !part.is_empty())
            .fold(self.base.clone(), |full, part| full.join(part))
    }

    /// The folder of a table.
    pub fn table_folder(table: &TableName) -> String {
        format!("{table}.lance")
    }

    /// The whole of a small object.
    pub async fn get(&self, path: &str) -> Result<Bytes, ObjectError> {
        Ok(self
            .store
            .inner
            .get(&self.full(path))
            .await?
            .bytes()
            .await?)
    }

    /// The size of an object in bytes, or `None` if it is not there.
    pub async fn size(&self, path: &str) -> Result<Option<u64>, ObjectError> {
        match self.store.inner.head(&self.full(path)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Writes a small object, whether or not it is there.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<(), ObjectError> {
        self.store.inner.put(&self.full(path), bytes.into()).await?;
        Ok(())
    }

    /// Writes a small object if it is not there. Answers whether it was written: if
    /// not, somebody's is there.
    ///
    /// Where the answer of the store was lost and the request repeated, the object
    /// that is there may be this one.
    pub async fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<bool, ObjectError> {
        if self.unconditional {
            return self.put_after_a_look(path, bytes).await;
        }
        for _ in 0..MAX_CREATES {
            if self.create(path, bytes.clone()).await? {
                return Ok(true);
            }
            // S3 also answers "conflict" to one who came while another was at it,
            // whether or not that one succeeded.
            if self.size(path).await?.is_some() {
                return Ok(false);
            }
        }
        Err(ObjectError::Contended(path.to_owned()))
    }

    /// One conditional write. Answers whether the store did it.
    pub(super) async fn create(&self, path: &str, bytes: Bytes) -> Result<bool, ObjectError> {
        let options = PutOptions::from(PutMode::Create);
        let to = self.full(path);
        match self.store.inner.put_opts(&to, bytes.into(), options).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// The nearest that a store without conditions can do: of two who write at the
    /// same moment the later one wins, and mostly both see it.
    async fn put_after_a_look(&self, path: &str, bytes: Bytes) -> Result<bool, ObjectError> {
        if self.size(path).await?.is_some() {
            return Ok(false);
        }
        self.put(path, bytes.clone()).await?;
        Ok(self.get(path).await? == bytes)
    }

    /// Every object below a folder with its size, paths relative to the location.
    pub async fn list(&self, folder: &str) -> Result<HashMap<String, u64>, ObjectError> {
        let prefix = self.full(folder);
        let mut found = HashMap::new();
        let mut listing = self.store.inner.list(Some(&prefix));
        while let Some(meta) = listing.next().await {
            let meta = match meta {
                Ok(meta) => meta,
                // A file that was deleted while its folder was listed.
                Err(object_store::Error::NotFound { .. }) => continue,
                Err(e) => return Err(e.into()),
            };
            if let Some(parts) = meta.location.prefix_match(&self.base) {
                let path: Vec<_> = parts.map(|part| part.as_ref().to_owned()).collect();
                found.insert(path.join("/"), meta.size);
            }
        }
        Ok(found)
    }

    /// Deletes an object. One that is not there is no error.
    pub async fn delete(&self, path: &str) -> Result<(), ObjectError> {
        match self.store.inner.delete(&self.full(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Deletes everything below a folder, and a local folder itself.
    pub async fn delete_folder(&self, folder: &str) -> Result<(), ObjectError> {
        let full = self.full(folder);
        match self.store.remove_dir_all(full).await {
            Ok(()) | Err(lance::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(ObjectError::Store(Box::new(e))),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
