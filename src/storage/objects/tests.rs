//! What is told of errors; and stores that go wrong, for the tests of others.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::{FutureExt as _, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutPayload,
    PutResult, Result, UploadPart, memory::InMemory,
};

use super::*;

/// A store in memory that does not do all that is asked of it.
#[derive(Debug, Default)]
pub(in crate::storage) struct Faulty {
    pub store: InMemory,
    /// The answer to the first create is lost, and the client asks again.
    pub loses_an_answer: AtomicBool,
    /// Every create is answered with "is there already", and does nothing.
    pub creates_nothing: bool,
    /// Parts of uploads after so many fail.
    pub parts: Arc<AtomicUsize>,
    /// Uploads that were taken back, which fails as well.
    pub aborted: Arc<AtomicUsize>,
}

impl Faulty {
    /// The objects of a location at this store.
    pub fn objects(self: &Arc<Self>) -> Objects {
        let mut store = ObjectStore::memory();
        store.inner = Arc::clone(self) as _;
        Objects {
            store: Arc::new(store),
            base: Path::default(),
            unconditional: false,
        }
    }
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("faulty")
    }
}

fn failed(what: &'static str) -> object_store::Error {
    object_store::Error::Generic {
        store: "faulty",
        source: what.into(),
    }
}

fn already_there(path: &Path) -> object_store::Error {
    object_store::Error::AlreadyExists {
        path: path.to_string(),
        source: "412".into(),
    }
}

#[async_trait::async_trait]
impl object_store::ObjectStore for Faulty {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(location, options).await
    }

    async fn put_opts(
        &self,
        to: &Path,
        bytes: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        if self.creates_nothing && options.mode == PutMode::Create {
            return Err(already_there(to));
        }
        let written = self.store.put_opts(to, bytes, options).await?;
        match self.loses_an_answer.swap(false, Ordering::SeqCst) {
            true => Err(already_there(to)),
            false => Ok(written),
        }
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: object_store::PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(FaultyUpload {
            upload: self.store.put_multipart_opts(to, options).await?,
            parts: Arc::clone(&self.parts),
            aborted: Arc::clone(&self.aborted),
        }))
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

#[derive(Debug)]
struct FaultyUpload {
    upload: Box<dyn MultipartUpload>,
    parts: Arc<AtomicUsize>,
    aborted: Arc<AtomicUsize>,
}

#[async_trait::async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let left = self
            .parts
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        match left {
            Ok(_) => self.upload.put_part(data),
            Err(_) => async { Err(failed("a part did not arrive")) }.boxed(),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.upload.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.aborted.fetch_add(1, Ordering::SeqCst);
        Err(failed("nothing can be taken back"))
    }
}

#[test]
fn clients_are_told_the_kind_and_nothing_that_the_store_said() {
    let refused = object_store::Error::PermissionDenied {
        path: "bucket/secret".into(),
        source: "<Error>secret</Error>".into(),
    };
    for (error, told) in [
        (failed("https://secret/"), "did not answer as it should"),
        (refused, "refused"),
        (
            object_store::Error::NotFound {
                path: "bucket/secret".into(),
                source: "404".into(),
            },
            "is not there",
        ),
    ] {
        let error = ObjectError::from(error);
        assert!(error.to_string().contains("secret"), "{error}");
        assert!(error.for_clients().contains(told), "{error}");
        assert!(!error.for_clients().contains("secret"), "{error}");
    }
}
