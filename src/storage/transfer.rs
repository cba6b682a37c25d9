//! Copying one file from one location to another: at a bounded pace, hashed on the
//! way, and checked at the end.

use futures::TryStreamExt;
use object_store::{GetResult, ObjectStoreExt as _, WriteMultipart};

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
        let read = self.write_from(source, file, how).await?;
        let checked = match how.verify {
            Verify::Size => self.has_size(file).await,
            Verify::Checksum => self.reads_back_as(file, read).await,
        };
        if checked.is_err() {
            // Left there it would be taken for a good copy the next time.
            self.delete(&file.path).await?;
        }
        checked
    }

    /// Answers the hash of what was read.
    async fn write_from(
        &self,
        source: &Objects,
        file: &FileCopy,
        how: Transfer<'_>,
    ) -> Result<blake3::Hash, ObjectError> {
        let from = source.store.inner.get(&source.full(&file.path)).await?;
        let to = self.full(&file.path);
        let mut hasher = blake3::Hasher::new();
        if file.size <= SINGLE_PUT_BYTES {
            how.pace.take(file.size).await;
            let bytes = from.bytes().await?;
            hasher.update(&bytes);
            self.store.inner.put(&to, bytes.into()).await?;
            return Ok(hasher.finalize());
        }
        let upload = self.store.inner.put_multipart(&to).await?;
        let mut writer = WriteMultipart::new(upload);
        let mut chunks = from.into_stream();
        loop {
            match chunks.try_next().await {
                Ok(Some(chunk)) => {
                    how.pace.take(chunk.len() as u64).await;
                    hasher.update(&chunk);
                    writer.wait_for_capacity(PARTS_UNDER_WAY).await?;
                    writer.put(chunk);
                }
                Ok(None) => break,
                Err(e) => {
                    writer.abort().await?;
                    return Err(e.into());
                }
            }
        }
        writer.finish().await?;
        Ok(hasher.finalize())
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
