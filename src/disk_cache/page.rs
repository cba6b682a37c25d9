//! A page of a file, and what it is found by.

use std::{
    fmt,
    io::{Read, Write},
    ops::Range,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use foyer::{Code, Result};
use object_store::{ObjectMeta, path::Path};

use super::PAGE;

/// Which page of which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PageKey {
    pub file: FileKey,
    /// Counted from the start of the file; [`PageKey::META`] for no bytes of it.
    pub page: u64,
}

impl PageKey {
    /// What is kept of a file that was only looked at.
    pub const META: u64 = u64::MAX;
}

/// Which table, of all stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TableKey([u8; 16]);

impl TableKey {
    /// A table by the server, the bucket and the folder that it has.
    pub fn of(server: &str, bucket: &str, folder: &str) -> Self {
        Self(hash([server, bucket, folder].map(str::as_bytes)))
    }

    /// As it is displayed.
    pub fn parse(text: &str) -> Option<Self> {
        let number = u128::from_str_radix(text, 16).ok()?;
        Some(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for TableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Which file, of all stores, and of which generation of its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileKey([u8; 16]);

impl FileKey {
    /// A file by its table, the table's generation and its path.
    pub fn of(table: TableKey, generation: u64, path: &Path) -> Self {
        let generation = generation.to_le_bytes();
        Self(hash([&table.0, &generation, path.as_ref().as_bytes()]))
    }
}

fn hash(parts: [&[u8]; 3]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut key = [0; 16];
    hasher.finalize_xof().fill(&mut key);
    key
}

/// Bytes of a file, and what the store said of the file when they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub of: FileState,
    pub bytes: Bytes,
}

/// Which state of a file was read: files do not change, unless somebody mends one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileState {
    /// In bytes.
    pub size: u64,
    /// In milliseconds since 1970.
    modified: i64,
    e_tag: Option<String>,
}

impl FileState {
    pub fn of(meta: &ObjectMeta) -> Self {
        Self {
            size: meta.size,
            modified: meta.last_modified.timestamp_millis(),
            e_tag: meta.e_tag.clone(),
        }
    }

    /// As a store says it.
    pub fn meta(&self, location: &Path) -> ObjectMeta {
        ObjectMeta {
            location: location.clone(),
            last_modified: DateTime::<Utc>::from_timestamp_millis(self.modified)
                .unwrap_or_default(),
            size: self.size,
            e_tag: self.e_tag.clone(),
            version: None,
        }
    }
}

impl Page {
    /// What it takes in memory, about.
    pub fn weight(&self) -> usize {
        self.bytes.len() + 128
    }
}

/// The bytes of these pages of a file.
pub(super) fn span(pages: &Range<u64>) -> Range<u64> {
    pages.start * PAGE..pages.end * PAGE
}

/// The pages that these bytes are on.
pub(super) fn pages(bytes: &Range<u64>) -> Range<u64> {
    bytes.start / PAGE..bytes.end.div_ceil(PAGE)
}

impl Code for PageKey {
    fn encode(&self, writer: &mut impl Write) -> Result<()> {
        writer
            .write_all(&self.file.0)
            .map_err(foyer::Error::io_error)?;
        self.page.encode(writer)
    }

    fn decode(reader: &mut impl Read) -> Result<Self> {
        let mut file = [0; 16];
        reader
            .read_exact(&mut file)
            .map_err(foyer::Error::io_error)?;
        Ok(Self {
            file: FileKey(file),
            page: u64::decode(reader)?,
        })
    }

    fn estimated_size(&self) -> usize {
        24
    }
}

impl Code for Page {
    fn encode(&self, writer: &mut impl Write) -> Result<()> {
        self.of.size.encode(writer)?;
        self.of.modified.encode(writer)?;
        self.of.e_tag.is_some().encode(writer)?;
        self.of.e_tag.clone().unwrap_or_default().encode(writer)?;
        self.bytes.encode(writer)
    }

    fn decode(reader: &mut impl Read) -> Result<Self> {
        let (size, modified) = (u64::decode(reader)?, i64::decode(reader)?);
        let (has_tag, e_tag) = (bool::decode(reader)?, String::decode(reader)?);
        Ok(Self {
            of: FileState {
                size,
                modified,
                e_tag: has_tag.then_some(e_tag),
            },
            bytes: Bytes::decode(reader)?,
        })
    }

    fn estimated_size(&self) -> usize {
        let tag = self.of.e_tag.as_ref().map_or(0, String::len);
        33 + tag + self.bytes.len()
    }
}
