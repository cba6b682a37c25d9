//! Options that are in files, read again while the server runs: whoever rotates a
//! key replaces the file, and nothing is restarted.
//!
//! LanceDB opens stores itself, with options as text. So the files are named in an
//! option of our own, and the registry that opens the stores of a session has, for
//! each kind of store, what looks for that option and puts in its place Lance's own
//! way to ask for credentials again and again.

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use lance_io::object_store::{
    ObjectStore, ObjectStoreParams, ObjectStoreProvider, StorageOptionsAccessor,
    StorageOptionsProvider,
};
use lancedb::ObjectStoreRegistry;
use object_store::path::Path;
use secrecy::ExposeSecret;
use url::Url;

#[cfg(feature = "gcs")]
mod google;
/// A build that opens no stores of Google's.
#[cfg(not(feature = "gcs"))]
mod google {
    use std::collections::HashMap;

    pub const TOKEN: &str = "";

    #[derive(Default)]
    pub struct ServiceAccount;

    pub fn names_a_key(_: &HashMap<String, String>) -> bool {
        false
    }

    impl ServiceAccount {
        pub async fn token(&self, _: &HashMap<String, String>) -> Option<String> {
            None
        }
    }
}

use super::cached::Through;
use crate::config::{Location, read_secret};

/// The option that names the files of others: a JSON object.
const FILES: &str = "lancegate.option_files";

/// For how long what was read counts.
const FRESH: Duration = Duration::from_secs(10);

/// Kinds of stores whose credentials Lance can ask for again.
const SCHEMES: [&str; 4] = ["s3", "s3+ddb", "gs", "az"];

/// The options of a location as LanceDB is given them.
pub(super) fn options(location: &Location) -> HashMap<String, String> {
    let mut options: HashMap<String, String> = location
        .storage_options
        .iter()
        .map(|(key, value)| (key.clone(), value.expose_secret().to_owned()))
        .collect();
    if !location.option_files.is_empty()
        && !location.is_local()
        && let Ok(files) = serde_json::to_string(&location.option_files)
    {
        options.insert(FILES.to_owned(), files);
    }
    options
}

/// What commits versions beside the store is told: it has credentials of its own, from
/// the same options.
pub(super) async fn commits(options: HashMap<String, String>) -> ObjectStoreParams {
    let params = super::Objects::params(options.clone());
    match Files::named_in(options, "s3+ddb") {
        Some(files) => reread(files, &params).await,
        None => params,
    }
}

/// The options with what is in their files now, for whoever asks once.
pub(super) fn current(options: HashMap<String, String>) -> HashMap<String, String> {
    match Files::named_in(options.clone(), "") {
        // The names of the files stay: stores are opened with them.
        Some(files) => options.into_iter().chain(files.read_files()).collect(),
        None => options,
    }
}

/// A registry that reads files again, and opens stores to be read `through` a cache.
pub(super) fn registry(through: Option<&Through>) -> ObjectStoreRegistry {
    let registry = ObjectStoreRegistry::default();
    for scheme in SCHEMES {
        if let Some(inner) = registry.get_provider(scheme) {
            let through = through.cloned();
            registry.insert(scheme, Arc::new(Rereading { inner, through }));
        }
    }
    registry
}

/// The same parameters, with options that are read again.
async fn reread(files: Files, params: &ObjectStoreParams) -> ObjectStoreParams {
    let first = files.read().await;
    let accessor = StorageOptionsAccessor::with_initial_and_provider(first, Arc::new(files));
    ObjectStoreParams {
        storage_options_accessor: Some(Arc::new(accessor)),
        ..params.clone()
    }
}

/// Opens stores of one kind.
#[derive(Debug)]
struct Rereading {
    inner: Arc<dyn ObjectStoreProvider>,
    through: Option<Through>,
}

impl Rereading {
    async fn open(&self, base_path: Url, params: &ObjectStoreParams) -> lance::Result<ObjectStore> {
        let mut store = self.inner.new_store(base_path, params).await?;
        if let Some(through) = &self.through {
            store.apply_wrapper(through);
        }
        Ok(store)
    }
}

#[async_trait::async_trait]
impl ObjectStoreProvider for Rereading {
    async fn new_store(
        &self,
        base_path: Url,
        params: &ObjectStoreParams,
    ) -> lance::Result<ObjectStore> {
        let options = params.storage_options().cloned().unwrap_or_default();
        let Some(files) = Files::named_in(options, base_path.scheme()) else {
            return self.open(base_path, params).await;
        };
        let params = reread(files, params).await;
        self.open(base_path, &params).await
    }

    fn extract_path(&self, url: &Url) -> lance::Result<Path> {
        self.inner.extract_path(url)
    }

    fn calculate_object_store_prefix(
        &self,
        url: &Url,
        options: Option<&HashMap<String, String>>,
    ) -> lance::Result<String> {
        self.inner.calculate_object_store_prefix(url, options)
    }
}

/// Options, some of which are in files.
struct Files {
    /// Each with the last value that was of use.
    options: Mutex<HashMap<String, String>>,
    files: HashMap<String, PathBuf>,
    account: Option<google::ServiceAccount>,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Files {
    /// Those of the options of a store of this kind; none where nothing is read again.
    fn named_in(mut options: HashMap<String, String>, scheme: &str) -> Option<Self> {
        let files = options.remove(FILES);
        let files: HashMap<_, _> = files
            .and_then(|files| serde_json::from_str(&files).ok())
            .unwrap_or_default();
        // Credentials are looked for under their names in lower case.
        let lower = options
            .into_iter()
            .map(|(k, v)| (k.to_ascii_lowercase(), v));
        let options: HashMap<_, _> = lower.collect();
        let has_key = scheme == "gs" && google::names_a_key(&options);
        let account = has_key.then(google::ServiceAccount::default);
        (has_key || !files.is_empty()).then(|| Self {
            options: Mutex::new(options),
            files,
            account,
        })
    }

    /// What counts from now on. A file that cannot be read, or is empty, because it
    /// is being written, leaves its option as it was: the value of the start may have
    /// been revoked long ago.
    async fn read(&self) -> HashMap<String, String> {
        let mut options = self.read_files();
        if let Some(account) = &self.account
            && let Some(token) = account.token(&options).await
        {
            options.insert(google::TOKEN.into(), token);
        }
        let until = SystemTime::now() + FRESH;
        let until = until.duration_since(SystemTime::UNIX_EPOCH);
        let until = until.unwrap_or_default().as_millis();
        options.insert("expires_at_millis".into(), until.to_string());
        options.insert("refresh_offset_millis".into(), "0".into());
        options
    }

    fn read_files(&self) -> HashMap<String, String> {
        let mut options = self.options.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, file) in &self.files {
            match read_secret(file) {
                Ok(value) => {
                    let value = value.expose_secret().to_owned();
                    options.insert(key.to_ascii_lowercase(), value);
                }
                Err(problem) => {
                    tracing::warn!(option = %key, %problem, "a file of storage_options was not read again");
                }
            }
        }
        options.clone()
    }
}

#[async_trait::async_trait]
impl StorageOptionsProvider for Files {
    async fn fetch_storage_options(&self) -> lance::Result<Option<HashMap<String, String>>> {
        // A few bytes, once in `FRESH`.
        Ok(Some(self.read().await))
    }

    fn provider_id(&self) -> String {
        let mut files: Vec<_> = self.files.iter().collect();
        files.sort();
        format!("lancegate files {files:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_replaced_file_counts_and_a_broken_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "first\n").unwrap();
        let named = serde_json::json!({ "aws_secret_access_key": file }).to_string();
        let options = HashMap::from([
            (FILES.to_owned(), named),
            ("AWS_Region".to_owned(), "r".to_owned()),
            ("aws_secret_access_key".to_owned(), "first".to_owned()),
        ]);
        let files = Files::named_in(options, "s3").unwrap();
        let found = async || files.fetch_storage_options().await.unwrap().unwrap();
        assert_eq!(found().await["aws_secret_access_key"], "first");
        assert_eq!(found().await["aws_region"], "r");
        std::fs::write(&file, "second").unwrap();
        assert_eq!(found().await["aws_secret_access_key"], "second");
        std::fs::write(&file, "").unwrap();
        assert_eq!(found().await["aws_secret_access_key"], "second");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(found().await["aws_secret_access_key"], "second");
        std::fs::write(&file, "third").unwrap();
        assert_eq!(found().await["aws_secret_access_key"], "third");
        let shown = format!("{files:?}");
        assert!(!shown.contains("first") && !shown.contains("third"));
    }
}
