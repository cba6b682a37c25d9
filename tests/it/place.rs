//! Where the tests' servers have their data: folders of a temporary one, or, where
//! `LANCEGATE_TEST_STORE` is a URI such as s3://bucket/run, prefixes below it. The
//! options of the store are a JSON object in `LANCEGATE_TEST_STORE_OPTIONS`; what
//! opens LanceDB beside the servers has them from the environment.
//!
//! A place is named by its path all the same: the prefix has the names of the
//! temporary folder and of the place in it.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use lance_io::object_store::{ObjectStore, ObjectStoreParams, StorageOptionsAccessor};
use object_store::{ObjectMeta, ObjectStore as _, ObjectStoreExt as _, path::Path as Key};

fn store() -> Option<String> {
    env::var("LANCEGATE_TEST_STORE").ok()
}

/// The options of the store.
pub fn options() -> BTreeMap<String, String> {
    options_in("LANCEGATE_TEST_STORE_OPTIONS")
}

fn options_in(variable: &str) -> BTreeMap<String, String> {
    let text = env::var(variable).unwrap_or_else(|_| "{}".into());
    serde_json::from_str(&text).expect("a JSON object of texts")
}

/// How often a test looks before it gives up, if it is so often on a local folder: a
/// store that is one process of Python takes its time.
pub fn looks(locally: u32) -> u32 {
    match store() {
        Some(_) => 6 * locally,
        None => locally,
    }
}

/// How long a test waits before it asks again, if it waits so long where a server
/// reads a local folder: on a store it is not all that there is to be served.
pub fn pause(locally: Duration) -> Duration {
    match store() {
        Some(_) => 60 * locally,
        None => locally,
    }
}

/// A place as LanceDB takes it.
pub fn uri(path: &Path) -> String {
    let is_copy = path
        .iter()
        .any(|part| part.to_string_lossy().starts_with("replica"));
    match store() {
        Some(store) if is_copy => uri_at(Some(&of_a_copy(&store)), path),
        store => uri_at(store.as_deref(), path),
    }
}

/// Whether a place is one that nothing is at: that of a process without data.
fn is_nowhere(path: &Path) -> bool {
    !path.starts_with(env::temp_dir())
}

fn uri_at(store: Option<&str>, path: &Path) -> String {
    let local = url::Url::from_file_path(path).expect("an absolute path");
    let Some(store) = store else {
        return local.into();
    };
    // Below the folder of temporary ones.
    let root = url::Url::from_file_path(env::temp_dir()).expect("an absolute path");
    let root = root.as_str().trim_end_matches('/');
    let rest = local
        .as_str()
        .strip_prefix(root)
        .expect("a temporary folder");
    // s3+ddb has its table behind the path.
    match store.split_once('?') {
        Some((store, query)) => format!("{store}{rest}?{query}"),
        None => format!("{store}{rest}"),
    }
}

/// What a connection is told of a place, by the variables of its settings: those
/// begin with `key`.
pub fn variables(key: &str, path: &Path) -> Vec<(String, String)> {
    match store().filter(|_| !is_nowhere(path)) {
        Some(store) if key.contains("REPLICAS") => {
            variables_at(key, &of_a_copy(&store), options(), path)
        }
        Some(store) => variables_at(key, &store, options(), path),
        // A path where it can be one: relative and odd ones are the users' as well.
        None => vec![(format!("{key}__URI"), path.display().to_string())],
    }
}

/// The same for a place on another store, of these options.
pub fn variables_at(
    key: &str,
    store: &str,
    options: BTreeMap<String, String>,
    path: &Path,
) -> Vec<(String, String)> {
    let option = |(name, value): (String, String)| {
        let name = name.to_ascii_uppercase();
        (format!("{key}__STORAGE_OPTIONS__{name}"), value)
    };
    let mut variables = vec![(format!("{key}__URI"), uri_at(Some(store), path))];
    variables.extend(options.into_iter().map(option));
    variables
}

/// What a connection is told of a place on the other store, that of
/// `LANCEGATE_TEST_OTHER_STORE`; of a folder where there is none.
pub fn other_variables(key: &str, path: &Path) -> Vec<(String, String)> {
    match env::var("LANCEGATE_TEST_OTHER_STORE") {
        Ok(store) => {
            let options = options_in("LANCEGATE_TEST_OTHER_STORE_OPTIONS");
            variables_at(key, &store, options, path)
        }
        Err(_) => vec![(format!("{key}__URI"), path.display().to_string())],
    }
}

/// A managed copy is not on s3+ddb, whose versions are in DynamoDB: it is on the
/// same store without it.
fn of_a_copy(store: &str) -> String {
    let store = store.replacen("s3+ddb://", "s3://", 1);
    store.split('?').next().unwrap_or_default().to_owned()
}

/// Every file below a place, or a folder of one, by its path from there, with its size
/// in bytes.
pub fn files(path: &Path) -> BTreeMap<String, u64> {
    let all = metas(path).into_iter();
    all.map(|(name, meta)| (name, meta.size)).collect()
}

/// The same with all that the store says of each.
pub fn metas(path: &Path) -> BTreeMap<String, ObjectMeta> {
    on_store(path, async |store, base| {
        let mut listing = store.inner.list(Some(&base));
        let mut found = BTreeMap::new();
        while let Some(meta) = listing.next().await {
            let meta = match meta {
                Ok(meta) => meta,
                // Deleted while its folder was listed.
                Err(object_store::Error::NotFound { .. }) => continue,
                Err(error) => panic!("{error}"),
            };
            let parts = meta.location.prefix_match(&base).expect("below it");
            let parts: Vec<_> = parts.map(|part| part.as_ref().to_owned()).collect();
            found.insert(parts.join("/"), meta);
        }
        found
    })
}

/// What is directly in a folder, files and folders, largest first.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut sizes = BTreeMap::<PathBuf, u64>::new();
    for (name, size) in files(folder) {
        let entry = name.split('/').next().expect("a first part");
        *sizes.entry(folder.join(entry)).or_default() += size;
    }
    // Local folders may be empty.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        sizes.entry(entry.path()).or_default();
    }
    let mut found: Vec<_> = sizes.into_iter().map(|(path, size)| (size, path)).collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

/// Whether there is such a file, or one below it; of a local folder, whether it is there.
pub fn exists(path: &Path) -> bool {
    match store() {
        None => path.exists(),
        Some(_) => read(path).is_some() || !files(path).is_empty(),
    }
}

/// The bytes of a file; `None` if it is not there.
pub fn read(path: &Path) -> Option<Vec<u8>> {
    on_store(path, async |store, key| match store.inner.get(&key).await {
        Ok(found) => Some(found.bytes().await.unwrap().to_vec()),
        Err(object_store::Error::NotFound { .. }) => None,
        Err(error) => panic!("{error}"),
    })
}

/// Writes a file.
pub fn write(path: &Path, bytes: &[u8]) {
    let bytes = bytes.to_vec();
    on_store(path, async move |store, key| {
        store.inner.put(&key, bytes.into()).await.unwrap();
    });
}

/// Removes a file, or all that is below a folder, and the folder.
pub fn remove(path: &Path) {
    match store() {
        None if path.is_dir() => std::fs::remove_dir_all(path).unwrap(),
        None => std::fs::remove_file(path).unwrap(),
        Some(_) => {
            let below = files(path).into_keys().map(|name| path.join(name));
            let mut all: Vec<_> = below.collect();
            if all.is_empty() {
                all.push(path.to_owned());
            }
            for file in all {
                on_store(&file, async |store, key| {
                    store.inner.delete(&key).await.unwrap();
                });
            }
        }
    }
}

/// Where a path is within its store, as Lance names it.
pub fn within(path: &Path) -> PathBuf {
    let uri = url::Url::parse(&uri(path)).expect("a URI");
    let local = format!("file://{}", uri.path());
    let local = url::Url::parse(&local).expect("a URI").to_file_path();
    local
        .expect("a path")
        .strip_prefix("/")
        .expect("a root")
        .to_owned()
}

/// Does something with the store that a path is on, and waits for it: on a thread of
/// its own, so that it can be done from within a test's runtime.
fn on_store<T: Send>(path: &Path, ask: impl AsyncFnOnce(Arc<ObjectStore>, Key) -> T + Send) -> T {
    let params = ObjectStoreParams {
        storage_options_accessor: store().map(|_| {
            let options = options().into_iter().collect();
            Arc::new(StorageOptionsAccessor::with_static_options(options))
        }),
        ..Default::default()
    };
    let uri = uri(path);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            runtime.block_on(async {
                let opened = ObjectStore::from_uri_and_params(Arc::default(), &uri, &params);
                let (store, key) = opened.await.unwrap();
                ask(store, key).await
            })
        });
        asked.join().expect("an answer of the store")
    })
}
