//! A store that is read through the cache.

use std::{fmt, ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result, path::Path,
};

use super::{
    DiskCache, PAGE,
    page::{FileKey, FileState, Page, PageKey, TableKey, pages, span},
};
use crate::telemetry::metrics;

/// Pages of one read that are looked up at once.
const PARALLEL_LOOKUPS: usize = 16;

/// Gaps of one read that are fetched at once.
const PARALLEL_FETCHES: usize = 8;

/// The folders of a table whose files have unique names and never change.
const IMMUTABLE: [&str; 3] = ["data", "_indices", "_deletions"];

/// The folders of a table, and of a location, whose files say what there is.
const MUTABLE: [&str; 4] = ["_lancegate", "_versions", "_refs", "_transactions"];

/// A store whose immutable files are read through a cache. Everything else is asked
/// of the store itself.
pub(super) struct Cached {
    cache: Arc<DiskCache>,
    server: String,
    bucket: String,
    inner: Arc<dyn ObjectStore>,
}

impl Cached {
    pub fn new(
        cache: Arc<DiskCache>,
        server: &str,
        bucket: &str,
        inner: Arc<dyn ObjectStore>,
    ) -> Self {
        Self {
            cache,
            server: server.to_owned(),
            bucket: bucket.to_owned(),
            inner,
        }
    }

    /// Which file a read that begins now reads; `None` if it is not for the cache.
    ///
    /// A read is of that one to its end: what it fetched before its table was
    /// forgotten is not kept for those who read after.
    fn file(&self, location: &Path) -> Option<FileKey> {
        let table = TableKey::of(&self.server, &self.bucket, &table_of(location)?);
        Some(self.cache.file(table, location))
    }

    /// What the store says of a file.
    async fn look(&self, file: FileKey, location: &Path, options: GetOptions) -> Result<GetResult> {
        for page in [PageKey::META, 0] {
            if let Some(found) = self.cache.page(&PageKey { file, page }).await {
                metrics::disk_cache_pages(1, 0);
                return Ok(result(location, &found.of, Bytes::new(), 0..0));
            }
        }
        let found = self.inner.get_opts(location, options).await?;
        metrics::disk_cache_pages(0, 1);
        let page = Page {
            of: FileState::of(&found.meta),
            bytes: Bytes::new(),
        };
        let key = PageKey {
            file,
            page: PageKey::META,
        };
        self.cache.keep(key, page);
        Ok(found)
    }

    /// These bytes of a file: its pages from the cache, and from the store what is
    /// not there.
    async fn read(
        &self,
        file: FileKey,
        location: &Path,
        range: Range<u64>,
        options: &GetOptions,
    ) -> Result<GetResult> {
        let mut wanted = pages(&range);
        let lookups = wanted.clone().map(|page| async move {
            let found = self.cache.page(&PageKey { file, page }).await;
            (page, found)
        });
        let lookups = stream::iter(lookups).buffered(PARALLEL_LOOKUPS);
        let mut found: Vec<(u64, Option<Page>)> = lookups.collect().await;
        if let Some(page) = found.iter().find_map(|(_, page)| page.as_ref()) {
            // The file ends where it says.
            let last = page.of.size.div_ceil(PAGE);
            if range.start >= page.of.size {
                return self.inner.get_opts(location, options.clone()).await;
            }
            wanted.end = wanted.end.min(last);
            found.retain(|(page, _)| wanted.contains(page));
        }
        let gaps = gaps(&found);
        let missing: u64 = gaps.iter().map(|gap| gap.end - gap.start).sum();
        metrics::disk_cache_pages(found.len() as u64 - missing, missing);
        let fetches = gaps
            .into_iter()
            .map(|gap| self.fetch(file, location, gap, options));
        let fetches = stream::iter(fetches).buffered(PARALLEL_FETCHES);
        let fetched: Vec<Vec<Page>> = fetches.try_collect().await?;
        let mut fetched = fetched.into_iter().flatten();
        let mut read: Vec<Page> = found
            .into_iter()
            // At the end of a file there are fewer pages than were asked for.
            .map_while(|(_, page)| page.or_else(|| fetched.next()))
            .collect();
        if read.windows(2).any(|pair| pair[0].of != pair[1].of) {
            // Somebody mended the file: what was kept of it is of before.
            read = self.fetch(file, location, wanted.clone(), options).await?;
        }
        let Some(first) = read.first() else {
            return self.inner.get_opts(location, options.clone()).await;
        };
        let of = first.of.clone();
        let range = range.start..range.end.min(of.size);
        let bytes = cut(
            &read,
            range.start - wanted.start * PAGE,
            range.end - range.start,
        );
        if bytes.len() as u64 != range.end - range.start {
            return Err(incomplete(location));
        }
        Ok(result(location, &of, bytes, range))
    }

    /// Reads these pages from the store, and keeps them.
    async fn fetch(
        &self,
        file: FileKey,
        location: &Path,
        pages: Range<u64>,
        options: &GetOptions,
    ) -> Result<Vec<Page>> {
        let wanted = span(&pages);
        let options = GetOptions {
            range: Some(GetRange::Bounded(wanted.clone())),
            ..options.clone()
        };
        let answer = self.inner.get_opts(location, options).await?;
        let of = FileState::of(&answer.meta);
        let expected = wanted.start..wanted.end.min(of.size);
        let is_whole = answer.range == expected;
        let bytes = answer.bytes().await?;
        if !is_whole || bytes.len() as u64 != expected.end - expected.start {
            return Err(incomplete(location));
        }
        let mut fetched = Vec::new();
        for (page, bytes) in pages.zip(bytes.chunks(PAGE as usize)) {
            let page_of_file = Page {
                of: of.clone(),
                // A copy: a part of the answer would keep all of it in memory.
                bytes: Bytes::copy_from_slice(bytes),
            };
            self.cache
                .keep(PageKey { file, page }, page_of_file.clone());
            fetched.push(page_of_file);
        }
        Ok(fetched)
    }
}

/// The pages that were not found, those that follow each other together.
fn gaps(found: &[(u64, Option<Page>)]) -> Vec<Range<u64>> {
    let mut gaps: Vec<Range<u64>> = Vec::new();
    for (page, _) in found.iter().filter(|(_, page)| page.is_none()) {
        match gaps.last_mut() {
            Some(last) if last.end == *page => last.end += 1,
            _ => gaps.push(*page..page + 1),
        }
    }
    gaps
}

/// `len` bytes of these pages from `skip` on, fewer where they end before.
fn cut(pages: &[Page], skip: u64, len: u64) -> Bytes {
    let (skip, len) = (skip as usize, len as usize);
    if let [page] = pages {
        let end = page.bytes.len().min(skip + len);
        return page.bytes.slice(skip.min(end)..end);
    }
    let mut all = BytesMut::with_capacity(len);
    let mut skip = skip;
    for page in pages {
        let from = skip.min(page.bytes.len());
        skip -= from;
        let to = page.bytes.len().min(from + len - all.len());
        all.extend_from_slice(&page.bytes[from..to]);
    }
    all.freeze()
}

fn result(location: &Path, of: &FileState, bytes: Bytes, range: Range<u64>) -> GetResult {
    GetResult {
        payload: GetResultPayload::Stream(stream::once(async { Ok(bytes) }).boxed()),
        meta: of.meta(location),
        range,
        attributes: Default::default(),
        extensions: Default::default(),
    }
}

fn incomplete(location: &Path) -> object_store::Error {
    object_store::Error::Generic {
        store: "cached",
        source: format!("the store answered other bytes of {location} than were asked for").into(),
    }
}

/// The folder of the table that a file is of, if it is one that never changes.
///
/// The folder of a location may end in ".lance" as well, and so may the name of a file:
/// the table is the last folder that does.
fn table_of(location: &Path) -> Option<String> {
    let (folders, _) = location.as_ref().rsplit_once('/')?;
    let folders: Vec<&str> = folders.split('/').collect();
    let is_table = |folder: &&str| folder.ends_with(".lance");
    let first = folders.iter().position(is_table)?;
    let table = folders.iter().rposition(is_table)?;
    let within = folders.get(table + 1)?;
    let never_changes = IMMUTABLE.contains(within)
        && !folders[first..]
            .iter()
            .any(|folder| MUTABLE.contains(folder));
    never_changes.then(|| folders[..=table].join("/"))
}

/// Whether nothing but bytes is asked for.
fn is_plain(options: &GetOptions) -> bool {
    options.if_match.is_none()
        && options.if_none_match.is_none()
        && options.if_modified_since.is_none()
        && options.if_unmodified_since.is_none()
        && options.version.is_none()
}

impl fmt::Debug for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached")
            .field("inner", &self.inner)
            .finish()
    }
}

impl fmt::Display for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cached({})", self.inner)
    }
}

#[async_trait::async_trait]
impl ObjectStore for Cached {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let Some(file) = self.file(location).filter(|_| is_plain(&options)) else {
            return self.inner.get_opts(location, options).await;
        };
        match &options.range {
            _ if options.head => self.look(file, location, options).await,
            Some(GetRange::Bounded(range)) if range.start < range.end => {
                self.read(file, location, range.clone(), &options).await
            }
            _ => self.inner.get_opts(location, options).await,
        }
    }

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}
