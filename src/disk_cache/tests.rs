//! A cache in front of a store that counts what it is asked.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    memory::InMemory, path::Path,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;

use super::{DiskCache, OpenError, PAGE};

/// The least that is allowed.
const BYTES: u64 = 128 << 20;
const DATA: &str = "b/t.lance/data/0a.lance";

/// A store in memory.
#[derive(Debug, Default)]
struct Counted {
    store: InMemory,
    asked: AtomicU64,
    bytes: AtomicU64,
    /// While somebody else has it, no answer arrives.
    hold: tokio::sync::Mutex<()>,
}

impl Counted {
    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    async fn with(path: &str, bytes: &Bytes) -> Arc<Self> {
        let counted = Arc::new(Self::default());
        counted.write(path, bytes).await;
        counted
    }

    async fn write(&self, path: &str, bytes: &Bytes) {
        self.store
            .put(&path.into(), bytes.clone().into())
            .await
            .unwrap();
    }
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("counted")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Counted {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let answer = self.store.get_opts(location, options).await?;
        self.asked.fetch_add(1, Ordering::SeqCst);
        drop(self.hold.lock().await);
        let read = answer.range.end - answer.range.start;
        self.bytes.fetch_add(read, Ordering::SeqCst);
        Ok(answer)
    }

    async fn put_opts(
        &self,
        to: &Path,
        bytes: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.store.put_opts(to, bytes, options).await
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(to, options).await
    }

    fn delete_stream(
        &self,
        all: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(all)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}

fn random(rng: &mut StdRng, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes[..]);
    bytes.into()
}

async fn open(folder: &TempDir) -> Arc<DiskCache> {
    DiskCache::open(&folder.path().join("cache"), BYTES)
        .await
        .unwrap()
}

async fn read(store: &Arc<dyn ObjectStore>, path: &str, range: Range<u64>) -> Bytes {
    store.get_range(&path.into(), range).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_those_of_the_store_and_cost_it_nothing_twice() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let len = 5 * PAGE + 1234;
    let bytes = random(&mut rng, len as usize);
    let counted = Counted::with(DATA, &bytes).await;
    let folder = TempDir::new().unwrap();
    let cache = open(&folder).await;
    let store = cache.over("s", "b", Arc::clone(&counted) as _);
    for _ in 0..300 {
        let start = rng.random_range(0..len);
        // Also to behind the end, as a store allows it.
        let end = rng.random_range(start + 1..=len + PAGE);
        let found = read(&store, DATA, start..end).await;
        assert_eq!(found, bytes.slice(start as usize..end.min(len) as usize));
    }
    assert_eq!(read(&store, DATA, 0..len).await, bytes);
    let asked = counted.asked();
    // Six pages: each was fetched once, some of them together.
    assert!(asked <= 6, "{asked}");
    assert_eq!(counted.bytes.load(Ordering::SeqCst), len);
    let ranges = [0..10, PAGE - 5..PAGE + 5, len - 1..len];
    let parts = store.get_ranges(&DATA.into(), &ranges).await.unwrap();
    for (part, range) in parts.iter().zip(ranges) {
        assert_eq!(*part, bytes.slice(range.start as usize..range.end as usize));
    }
    let meta = store.head(&DATA.into()).await.unwrap();
    let real = counted.store.head(&DATA.into()).await.unwrap();
    assert_eq!((meta.size, &meta.e_tag), (len, &real.e_tag));
    assert_eq!(counted.asked(), asked);
    // What is wrong is the store's to say.
    assert!(store.get_range(&DATA.into(), len..len + 1).await.is_err());
    let nothing = store
        .get_range(&"b/t.lance/data/no.lance".into(), 0..1)
        .await;
    assert!(matches!(nothing, Err(object_store::Error::NotFound { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_is_there_after_a_restart() {
    let mut rng = StdRng::seed_from_u64(1);
    let bytes = random(&mut rng, 3 * PAGE as usize);
    let counted = Counted::with(DATA, &bytes).await;
    let folder = TempDir::new().unwrap();
    let cache = open(&folder).await;
    let store = cache.over("s", "b", Arc::clone(&counted) as _);
    read(&store, DATA, 0..3 * PAGE).await;
    cache.close().await;
    drop((store, cache));
    let asked = counted.asked();
    let cache = open(&folder).await;
    let store = cache.over("s", "b", Arc::clone(&counted) as _);
    assert_eq!(read(&store, DATA, 0..3 * PAGE).await, bytes);
    assert_eq!(counted.asked(), asked);
    // Another server, bucket or file is another thing altogether.
    for (server, bucket, path) in [
        ("other", "b", DATA),
        ("s", "other", DATA),
        ("s", "b", "c/t.lance/data/0a.lance"),
    ] {
        let other = Counted::with(path, &Bytes::from_static(b"others")).await;
        let store = cache.over(server, bucket, other as _);
        assert_eq!(read(&store, path, 0..6).await, "others");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_on_the_disk_is_read_from_the_store() {
    let mut rng = StdRng::seed_from_u64(2);
    let bytes = random(&mut rng, 40 * PAGE as usize);
    let counted = Counted::with(DATA, &bytes).await;
    let folder = TempDir::new().unwrap();
    let cache = open(&folder).await;
    let store = cache.over("s", "b", Arc::clone(&counted) as _);
    read(&store, DATA, 0..40 * PAGE).await;
    cache.close().await;
    drop((store, cache));
    // One bit of every 64 KiB that was written.
    let mut damaged = 0;
    for block in std::fs::read_dir(folder.path().join("cache/blocks")).unwrap() {
        let path = block.unwrap().path();
        let mut text = std::fs::read(&path).unwrap();
        for at in (40_000..text.len()).step_by(64 << 10) {
            if text[at] != 0 {
                text[at] ^= 1;
                damaged += 1;
            }
        }
        std::fs::write(&path, text).unwrap();
    }
    assert!(damaged >= 40, "{damaged}");
    let asked = counted.asked();
    let cache = open(&folder).await;
    let store = cache.over("s", "b", Arc::clone(&counted) as _);
    assert_eq!(read(&store, DATA, 0..40 * PAGE).await, bytes);
    assert!(counted.asked() > asked, "the damage was not seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_files_that_never_change_are_kept() {
    let folder = TempDir::new().unwrap();
    let cache = open(&folder).await;
    for (path, is_kept) in [
        ("b/t.lance/data/0a.lance", true),
        ("t.lance/_indices/9f/index.idx", true),
        ("b/c/t.lance/_deletions/0-1-7.arrow", true),
        ("b/t.lance/_versions/1.manifest", false),
        ("b/t.lance/_transactions/0-a.txn", false),
        ("b/t.lance/_refs/tags/a.json", false),
        ("b/t.lance/_lancegate/incarnation", false),
        ("_lancegate/pins/t/a", false),
        ("b/data/file", false),
        // The location itself is below a folder of such a name.
        ("c.lance/data/t.lance/data/0a.lance", true),
        ("c.lance/x/t.lance/data/0a.lance", true),
        ("c.lance/data/t.lance/_versions/1.manifest", false),
        ("c.lance/data/t.lance/_lancegate/incarnation", false),
        ("c.lance/data/t.lance/_transactions/0-a.txn", false),
        ("c.lance/data/_lancegate/pins/t/a", false),
        ("c.lance/_indices/t.lance/_refs/tags/a.json", false),
        ("data/0a.lance", false),
        ("b/t.lance/data", false),
    ] {
        let counted = Counted::with(path, &Bytes::from_static(b"first")).await;
        let store = cache.over("s", path, Arc::clone(&counted) as _);
        assert_eq!(read(&store, path, 0..5).await, "first");
        counted.write(path, &Bytes::from_static(b"other")).await;
        let expected = if is_kept { "first" } else { "other" };
        assert_eq!(read(&store, path, 0..5).await, expected, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_mended_is_not_read_half_and_half() {
    let mut rng = StdRng::seed_from_u64(3);
    let [before, after] = [(); 2].map(|()| random(&mut rng, 3 * PAGE as usize));
    let counted = Counted::with(DATA, &before).await;
    let folder = TempDir::new().unwrap();
    let cache = open(&folder).await;
    let store = cache.over("s", "b", Arc::clone(&counted) as _);
    read(&store, DATA, 0..PAGE).await;
    counted.write(DATA, &after).await;
    assert_eq!(read(&store, DATA, 0..3 * PAGE).await, after);
    assert_eq!(
        read(&store, DATA, 0..PAGE).await,
        after.slice(..PAGE as usize)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_bounded_and_of_one_process() {
    let mut rng = StdRng::seed_from_u64(4);
    let folder = TempDir::new().unwrap();
    let cache = open(&folder).await;
    let size = || -> u64 {
        let blocks = std::fs::read_dir(folder.path().join("cache/blocks")).unwrap();
        blocks.map(|b| b.unwrap().metadata().unwrap().len()).sum()
    };
    // Twice as much as it holds, slowly enough that most of it is written.
    for file in 0..32 {
        let path = format!("b/t.lance/data/{file}.lance");
        let bytes = random(&mut rng, 8 << 20);
        let counted = Counted::with(&path, &bytes).await;
        let store = cache.over("s", "b", counted as _);
        assert_eq!(read(&store, &path, 0..8 << 20).await, bytes);
    }
    assert!(size() <= BYTES, "{}", size());
    let second = DiskCache::open(&folder.path().join("cache"), BYTES).await;
    assert!(matches!(second, Err(OpenError::InUse(_))), "{second:?}");
    cache.close().await;
    drop(cache);
    // Of another size: what was there is gone.
    let smaller = DiskCache::open(&folder.path().join("cache"), 2 * BYTES).await;
    drop(smaller.unwrap());
    let strange = folder.path().join("strange");
    std::fs::create_dir(&strange).unwrap();
    std::fs::write(strange.join("mine"), "precious").unwrap();
    let refused = DiskCache::open(&strange, BYTES).await;
    assert!(
        matches!(refused, Err(OpenError::NotACache(_))),
        "{refused:?}"
    );
    assert!(strange.join("mine").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_forgotten_is_read_anew_also_after_a_restart() {
    let mut rng = StdRng::seed_from_u64(6);
    let len = 3 * PAGE;
    let [rotten, good] = [(); 2].map(|()| random(&mut rng, len as usize));
    const OTHER: &str = "b/u.lance/data/0a.lance";
    let counted = Counted::with(DATA, &rotten).await;
    counted.write(OTHER, &rotten).await;
    let folder = TempDir::new().unwrap();
    let cache = open(&folder).await;
    let store = cache.over("s", "b", Arc::clone(&counted) as _);
    for path in [DATA, OTHER] {
        assert_eq!(read(&store, path, 0..len).await, rotten);
        store.head(&path.into()).await.unwrap();
    }
    counted.write(DATA, &good).await;
    counted.write(OTHER, &good).await;
    assert_eq!(read(&store, DATA, 0..len).await, rotten, "it is kept");
    // Other buckets have tables of this name too.
    cache.forget("s", "c", &"b/t.lance".into()).await.unwrap();
    assert_eq!(read(&store, DATA, 0..len).await, rotten);
    cache.forget("s", "b", &"b/t.lance".into()).await.unwrap();
    assert_eq!(read(&store, DATA, 0..len).await, good);
    let real = counted.store.head(&DATA.into()).await.unwrap();
    let head = store.head(&DATA.into()).await.unwrap();
    assert_eq!(head.e_tag, real.e_tag);
    assert_eq!(read(&store, OTHER, 0..len).await, rotten, "another table");
    cache.close().await;
    drop((store, cache));
    let asked = counted.asked();
    let cache = open(&folder).await;
    let store = cache.over("s", "b", Arc::clone(&counted) as _);
    assert_eq!(read(&store, DATA, 0..len).await, good);
    assert_eq!(read(&store, OTHER, 0..len).await, rotten);
    assert_eq!(counted.asked(), asked, "it is kept again");
    cache.close().await;
    drop((store, cache));
    // Where nobody knows what was forgotten, nothing that was kept counts.
    let generations = folder.path().join("cache/generations");
    assert!(
        std::fs::read_to_string(&generations)
            .unwrap()
            .lines()
            .count()
            == 2
    );
    std::fs::write(&generations, "half a li").unwrap();
    let cache = open(&folder).await;
    let store = cache.over("s", "b", Arc::clone(&counted) as _);
    assert_eq!(read(&store, OTHER, 0..len).await, good);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_began_before_leaves_nothing_for_those_after() {
    let [rotten, good] = [b"rotten", b"goodly"].map(|bytes| Bytes::from_static(bytes));
    let counted = Counted::with(DATA, &rotten).await;
    let folder = TempDir::new().unwrap();
    let cache = open(&folder).await;
    let store = cache.over("s", "b", Arc::clone(&counted) as _);
    let hold = counted.hold.lock().await;
    let before = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { read(&store, DATA, 0..6).await })
    };
    while counted.asked() == 0 {
        tokio::task::yield_now().await;
    }
    cache.forget("s", "b", &"b/t.lance".into()).await.unwrap();
    drop(hold);
    assert_eq!(before.await.unwrap(), rotten);
    counted.write(DATA, &good).await;
    assert_eq!(read(&store, DATA, 0..6).await, good);
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_is_for_this_user_alone() {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    let folder = TempDir::new().unwrap();
    let cache = folder.path().join("cache");
    let rights = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    drop(DiskCache::open(&cache, BYTES).await.unwrap());
    let folders = [cache.clone(), cache.join("blocks")];
    for folder in &folders {
        assert_eq!(rights(folder), 0o700, "{folder:?}");
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    drop(DiskCache::open(&cache, BYTES).await.unwrap());
    for folder in &folders {
        assert_eq!(rights(folder), 0o700, "{folder:?}");
    }
    // The folder of somebody else is refused as it is.
    let strange = folder.path().join("strange");
    fs::create_dir(&strange).unwrap();
    fs::set_permissions(&strange, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(strange.join("mine"), "").unwrap();
    DiskCache::open(&strange, BYTES).await.unwrap_err();
    assert_eq!(rights(&strange), 0o755);
}

#[tokio::test]
async fn the_root_of_a_fresh_file_system_is_empty() {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("lost+found")).unwrap();
    drop(DiskCache::open(folder.path(), BYTES).await.unwrap());
    drop(DiskCache::open(folder.path(), BYTES).await.unwrap());
    assert!(folder.path().join("lost+found").exists());
}

#[test]
fn a_large_cache_does_not_take_all_the_files_that_may_be_open() {
    const GIB: u64 = 1 << 30;
    for (bytes, blocks) in [(BYTES, 8), (GIB, 64), (10 * GIB, 256), (512 * GIB, 256)] {
        let size = super::block_size(bytes) as u64;
        assert_eq!(size % 4096, 0);
        assert_eq!(bytes / size, blocks, "{bytes}");
    }
    for bytes in [3 * GIB + 12_345, 77 * GIB + 1, 4096 * GIB] {
        let size = super::block_size(bytes) as u64;
        assert_eq!(size % 4096, 0);
        // Within one foyer counts in 32 bits.
        assert!(size < 4 * GIB && bytes / size >= 190, "{size}");
    }
}
