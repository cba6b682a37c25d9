//! Copying one file from one location to another: at a bounded pace, hashed on the
//! way, and checked at the end.

use futures::TryStreamExt;
use object_store::{
    GetResult, MultipartUpload, ObjectStoreExt as _, PutPayload, PutResult, UploadPart,
    WriteMultipart,
};

use super::{ObjectError, Objects, Pace};
use crate::config::Verify;

/// Files up to this size are copied with one request, larger ones in parts.
const SINGLE_PUT_BYTES: u64 = 8 << 20;

/// Parts of a large file that wait in memory, 5 MiB each: the smallest that S3
/// takes.
const PARTS_UNDER_WAY: usize = 4;

/// One file to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCopy {
    /// Path relative to both locations.
    pub path: String,
    /// Its size at the source, in bytes.
    pub size: u64,
}

/// How files are copied.
#[derive(Clone, Copy)]
pub struct Transfer<'a> {
    /// How fast, all copies of the process together.
    pub pace: &'a Pace,
    /// How what was written is checked.
    pub verify: Verify,
}

impl Objects {
    /// Copies one file from another location and checks it there. The file
    /// appears whole or not at all; one that turns out to be wrong is deleted.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`] if the source has no such file,
    /// [`ObjectError::WrongSize`] and [`ObjectError::WrongBytes`] if what was
    /// written is not what was read.
    pub async fn copy_from(
        &self,
        source: &Objects,
        file: &FileCopy,
        how: Transfer<'_>,
    ) -> Result<(), ObjectError> {
        let checked = match self.write_from(source, file, how).await? {
            None => self.has_size(file).await,
            Some(read) => self.reads_back_as(file, read).await,
        };
        if checked.is_err() {
            // Left there it would be taken for a good copy the next time.
            self.delete(&file.path).await?;
        }
        checked
    }

    /// Answers the hash of what was read, if it is to be compared.
    async fn write_from(
        &self,
        source: &Objects,
        file: &FileCopy,
        how: Transfer<'_>,
    ) -> Result<Option<blake3::Hash>, ObjectError> {
        let from = source.store.inner.get(&source.full(&file.path)).await?;
        let to = self.full(&file.path);
        let mut hasher = (how.verify == Verify::Checksum).then(blake3::Hasher::new);
        let mut read = |bytes: &[u8]| {
            if let Some(hasher) = &mut hasher {
                hasher.update(bytes);
            }
        };
        if file.size <= SINGLE_PUT_BYTES {
            how.pace.take(file.size).await;
            let bytes = from.bytes().await?;
            read(&bytes);
            self.store.inner.put(&to, bytes.into()).await?;
            return Ok(hasher.map(|h| h.finalize()));
        }
        let upload = self.store.inner.put_multipart(&to).await?;
        let mut writer = WriteMultipart::new(Box::new(Upload(upload)));
        if let Err(error) = fill(&mut writer, from, how.pace, read).await {
            writer.abort().await?;
            return Err(error);
        }
        // What goes wrong here it aborts by itself.
        writer.finish().await?;
        Ok(hasher.map(|h| h.finalize()))
    }

    async fn has_size(&self, file: &FileCopy) -> Result<(), ObjectError> {
        match self.size(&file.path).await? {
            Some(found) => same_size(file, found),
            None => same_size(file, 0),
        }
    }

    async fn reads_back_as(&self, file: &FileCopy, read: blake3::Hash) -> Result<(), ObjectError> {
        let written = self.store.inner.get(&self.full(&file.path)).await?;
        same_size(file, written.meta.size)?;
        match hash(written).await? == read {
            true => Ok(()),
            false => Err(ObjectError::WrongBytes(file.path.clone())),
        }
    }
}

/// Hands over what is read of a file, part by part.
async fn fill(
    writer: &mut WriteMultipart,
    from: GetResult,
    pace: &Pace,
    mut read: impl FnMut(&[u8]),
) -> Result<(), ObjectError> {
    let mut chunks = from.into_stream();
    while let Some(chunk) = chunks.try_next().await? {
        pace.take(chunk.len() as u64).await;
        read(&chunk);
        writer.wait_for_capacity(PARTS_UNDER_WAY).await?;
        writer.put(chunk);
    }
    Ok(())
}

/// An upload whose parts are taken back if that can be done: a store keeps them, and
/// asks to be paid for them. If it cannot, what went wrong before is what counts.
#[derive(Debug)]
struct Upload(Box<dyn MultipartUpload>);

#[async_trait::async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.0.put_part(data)
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        self.0.complete().await
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        if self.0.abort().await.is_err() {
            tracing::warn!("the parts of an upload that failed were left behind");
        }
        Ok(())
    }
}

fn same_size(file: &FileCopy, found: u64) -> Result<(), ObjectError> {
    match found == file.size {
        true => Ok(()),
        false => Err(ObjectError::WrongSize {
            path: file.path.clone(),
            expected: file.size,
            found,
        }),
    }
}

async fn hash(object: GetResult) -> Result<blake3::Hash, ObjectError> {
    let mut hasher = blake3::Hasher::new();
    if object.meta.size <= SINGLE_PUT_BYTES {
        hasher.update(&object.bytes().await?);
    } else {
        let mut chunks = object.into_stream();
        while let Some(chunk) = chunks.try_next().await? {
            hasher.update(&chunk);
        }
    }
    Ok(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::{Arc, atomic::Ordering},
        time::Duration,
    };

    use tokio::time::Instant;

    use super::*;
    use crate::{
        config::{self, Sources},
        storage::{Sessions, Store, objects::tests::Faulty},
    };

    struct Places {
        folder: tempfile::TempDir,
        from: Store,
        to: Store,
    }

    async fn places() -> Places {
        let folder = tempfile::tempdir().unwrap();
        let config = config::load(Sources {
            data_dir: Some(folder.path().to_owned()),
            ..Sources::default()
        })
        .unwrap();
        let sessions = Sessions::new(config.cache);
        Places {
            from: Store::connect(config.primary.location().unwrap(), &sessions)
                .await
                .unwrap(),
            to: Store::connect(&config.replicas[0], &sessions)
                .await
                .unwrap(),
            folder,
        }
    }

    impl Places {
        /// A file of the source, not all of one byte.
        fn file(&self, path: &str, size: usize) -> FileCopy {
            let bytes: Vec<u8> = (0..size).map(|i| (i / 1000 % 251) as u8).collect();
            fs::write(self.folder.path().join("primary").join(path), bytes).unwrap();
            FileCopy {
                path: path.into(),
                size: size as u64,
            }
        }

        fn bytes(&self, place: &str, path: &str) -> Option<Vec<u8>> {
            fs::read(self.folder.path().join(place).join(path)).ok()
        }

        async fn copy(
            &self,
            file: &FileCopy,
            verify: Verify,
            pace: &Pace,
        ) -> Result<(), ObjectError> {
            let how = Transfer { pace, verify };
            self.to
                .objects()
                .copy_from(self.from.objects(), file, how)
                .await
        }
    }

    #[tokio::test]
    async fn small_and_large_files_arrive_as_they_were() {
        let places = places().await;
        let pace = Pace::new(0);
        for (path, size) in [
            ("empty", 0),
            ("small", 100),
            ("large", SINGLE_PUT_BYTES as usize + 12_345),
        ] {
            for verify in [Verify::Size, Verify::Checksum] {
                let file = places.file(path, size);
                places.copy(&file, verify, &pace).await.unwrap();
                let copied = places.bytes("replica-1", path);
                assert!(copied == places.bytes("primary", path), "{path}");
            }
        }
    }

    #[tokio::test]
    async fn what_has_not_the_expected_size_is_deleted() {
        let places = places().await;
        for verify in [Verify::Size, Verify::Checksum] {
            let mut file = places.file("short", 100);
            file.size = 101;
            let error = places.copy(&file, verify, &Pace::new(0)).await.unwrap_err();
            assert!(
                matches!(error, ObjectError::WrongSize { found: 100, .. }),
                "{error}"
            );
            assert_eq!(places.bytes("replica-1", "short"), None);
        }
    }

    #[tokio::test]
    async fn other_bytes_of_the_same_size_are_found() {
        let places = places().await;
        let file = places.file("f", 5_000);
        places
            .copy(&file, Verify::Size, &Pace::new(0))
            .await
            .unwrap();
        let mut bytes = places.bytes("replica-1", "f").unwrap();
        let read = blake3::hash(&bytes);
        let objects = places.to.objects();
        objects.reads_back_as(&file, read).await.unwrap();
        // One bit of the disk.
        bytes[4_321] ^= 1;
        fs::write(places.folder.path().join("replica-1/f"), bytes).unwrap();
        let error = objects.reads_back_as(&file, read).await.unwrap_err();
        assert!(matches!(error, ObjectError::WrongBytes(_)), "{error}");
        assert!(objects.has_size(&file).await.is_ok());
    }

    #[tokio::test]
    async fn copies_keep_the_pace() {
        let places = places().await;
        let pace = Pace::new(1 << 20);
        let files: Vec<_> = (0..5)
            .map(|i| places.file(&format!("f{i}"), 100 << 10))
            .collect();
        let began = Instant::now();
        let copies = files.iter().map(|f| places.copy(f, Verify::Size, &pace));
        futures::future::try_join_all(copies).await.unwrap();
        // The last of five begins after four tenths of a second.
        let elapsed = began.elapsed();
        assert!(elapsed >= Duration::from_millis(380), "{elapsed:?}");
    }

    #[tokio::test]
    async fn an_upload_that_fails_is_taken_back_and_says_why() {
        // In the middle, where the writer waits for a part, and at the end.
        for (mib, parts) in [(64, 1), (11, 1), (11, 2)] {
            let source = Arc::new(Faulty::default());
            let target = Arc::new(Faulty::default());
            target.parts.store(parts, Ordering::SeqCst);
            let file = FileCopy {
                path: "large".into(),
                size: mib << 20,
            };
            let bytes = vec![7; file.size as usize];
            let from = source.objects();
            from.put(&file.path, bytes.into()).await.unwrap();
            let pace = Pace::new(0);
            let how = Transfer {
                pace: &pace,
                verify: Verify::Size,
            };
            let to = target.objects();
            let error = to.copy_from(&from, &file, how).await.unwrap_err();
            assert!(error.to_string().contains("did not arrive"), "{error}");
            assert_eq!(target.aborted.load(Ordering::SeqCst), 1, "{mib}");
            assert_eq!(to.size(&file.path).await.unwrap(), None);
        }
    }
}
