//! What the values of blob columns refer to: side files, or bytes that are in no
//! file of the table. The descriptors say so, small values in the data files; the
//! blobs themselves are not read. Data files never change, so each is read once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arrow::{
    array::{Array, AsArray, PrimitiveArray, StructArray},
    datatypes::{ArrowPrimitiveType, DataType, UInt8Type, UInt32Type, UInt64Type},
};
use futures::{StreamExt, TryStreamExt, stream};
use lance::{Dataset, dataset::scanner::Scanner};
use lance_core::{
    datatypes::{BlobHandling, BlobKind, Field},
    utils::blob::blob_path,
};
use lance_table::format::{DataFile, Fragment};
use object_store::path::Path;

use super::sides::{DATA, stem};
use crate::domain::{Error, Result};

/// Data files read concurrently.
const PARALLEL_READS: usize = 4;

/// Why a table with blobs that are not its own cannot be copied.
pub(super) const EXTERNAL: &str =
    "the table has external blobs, whose bytes are outside its folder";
/// Why a table with blobs that data files share cannot be copied.
pub(super) const MANAGED: &str =
    "the table has managed blobs, in files that its versions do not list";
/// Why a table with blobs of a kind, or in a place, that is not known cannot be.
const UNKNOWN: &str = "the table has blobs of a kind that this server does not know";

/// What the blobs of one data file refer to, deleted rows included.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct References {
    /// Side files, relative to the table's folder, and how many bytes each has at
    /// least.
    pub side_files: BTreeMap<String, u64>,
    /// Why they cannot be copied with the table, if so.
    pub not_copyable: Option<&'static str>,
}

/// What was found out about the data files of one table: of those that were asked
/// for last, and no more.
#[derive(Default)]
pub(super) struct Blobs {
    /// By data file; none for one without blobs.
    side_files: Mutex<HashMap<String, Vec<String>>>,
    read: Mutex<HashMap<String, Arc<References>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Blobs {
    /// Adds what is remembered of the side files of data files. Answers the data
    /// files of which nothing is.
    pub(super) fn recall(
        &self,
        data_files: Vec<String>,
        side_files: &mut HashMap<String, Vec<String>>,
    ) -> Vec<String> {
        let known = lock(&self.side_files);
        let mut unknown = Vec::new();
        for file in data_files {
            match known.get(&file) {
                Some(beside) => {
                    side_files.insert(file, beside.clone());
                }
                None => unknown.push(file),
            }
        }
        unknown
    }

    /// Remembers the side files of these data files, and of no others.
    pub(super) fn remember(&self, side_files: HashMap<String, Vec<String>>) {
        *lock(&self.side_files) = side_files;
    }

    /// The side files that the blobs of a data file refer to, if it was read.
    pub(super) fn side_files_read_of(&self, data_file: &str) -> Vec<String> {
        let read = lock(&self.read);
        let references = read.get(data_file).into_iter();
        let files = references.flat_map(|r| r.side_files.keys());
        files.cloned().collect()
    }

    /// What the blobs of a version refer to, one for each data file with blobs.
    /// Tables without blob columns are not read.
    pub(super) async fn references(&self, dataset: &Dataset) -> Result<Vec<Arc<References>>> {
        let columns = dataset.schema().fields.iter();
        let columns: Vec<&Field> = columns.filter(|field| contains_blob(field)).collect();
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        let (mut found, mut new) = (HashMap::new(), Vec::new());
        for fragment in dataset.fragments().iter() {
            for file in &fragment.files {
                let held = columns.iter().filter(|column| holds(file, column));
                let held: Vec<Field> = held.map(|column| (*column).clone()).collect();
                let name = format!("{DATA}/{}", file.path);
                if held.is_empty() {
                    continue;
                }
                match lock(&self.read).get(&name) {
                    Some(known) => {
                        found.insert(name, Arc::clone(known));
                    }
                    None => new.push((name, fragment.clone(), file.clone(), held)),
                }
            }
        }
        let new: Vec<(String, References)> = stream::iter(new)
            .map(|(name, fragment, file, held)| async move {
                let references = read(dataset, fragment, &file, &held).await?;
                Ok::<_, Error>((name, references))
            })
            .buffer_unordered(PARALLEL_READS)
            .try_collect()
            .await?;
        found.extend(new.into_iter().map(|(name, new)| (name, Arc::new(new))));
        let references = found.values().cloned().collect();
        // Replaced and not added to: what else it had is of versions before.
        *lock(&self.read) = found;
        Ok(references)
    }
}

/// The ids of a field and of all below it.
pub(super) fn ids(field: &Field) -> Vec<i32> {
    let below = field.children.iter().flat_map(ids);
    std::iter::once(field.id).chain(below).collect()
}

fn contains_blob(field: &Field) -> bool {
    field.is_blob_v2() || field.children.iter().any(contains_blob)
}

/// Whether a data file has values of one of the blob columns in a field.
fn holds(file: &DataFile, field: &Field) -> bool {
    match field.is_blob_v2() {
        true => ids(field).iter().any(|id| file.fields.contains(id)),
        false => field.children.iter().any(|child| holds(file, child)),
    }
}

/// Reads the descriptors that a data file has of some columns.
async fn read(
    dataset: &Dataset,
    fragment: Fragment,
    file: &DataFile,
    columns: &[Field],
) -> Result<References> {
    let lance = |e: lance::Error| super::error::from_chain(&e);
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let mut scan: Scanner = dataset.scan();
    scan.with_fragments(vec![fragment])
        .blob_handling(BlobHandling::BlobsDescriptions)
        .project(&names)
        .map_err(lance)?;
    // Deleted rows come back when an older version is restored.
    scan.with_row_id().include_deleted_rows();
    let mut batches = scan.try_into_stream().await.map_err(lance)?;
    let mut found = References::default();
    while let Some(batch) = batches.try_next().await.map_err(lance)? {
        for field in columns {
            let values = batch
                .column_by_name(&field.name)
                .ok_or_else(|| Error::Internal("a blob column was not read".into()))?;
            visit(field, values.as_ref(), file, &mut found)?;
        }
    }
    Ok(found)
}

/// Notes what the blobs below a field refer to.
fn visit(field: &Field, values: &dyn Array, file: &DataFile, found: &mut References) -> Result<()> {
    if !contains_blob(field) || !holds(file, field) {
        return Ok(());
    }
    if field.is_blob_v2() {
        return note(values, file, found);
    }
    let below = |name: &str| match values.data_type() {
        DataType::Struct(_) => values.as_struct().column_by_name(name).cloned(),
        DataType::List(_) => Some(Arc::clone(values.as_list::<i32>().values())),
        DataType::LargeList(_) => Some(Arc::clone(values.as_list::<i64>().values())),
        _ => None,
    };
    for child in field.children.iter().filter(|child| contains_blob(child)) {
        match below(&child.name) {
            Some(values) => visit(child, values.as_ref(), file, found)?,
            None => found.not_copyable = Some(UNKNOWN),
        }
    }
    Ok(())
}

/// Notes what descriptors refer to.
fn note(values: &dyn Array, file: &DataFile, found: &mut References) -> Result<()> {
    let values = values.as_struct_opt().ok_or_else(unreadable)?;
    let kinds = column::<UInt8Type>(values, "kind")?;
    let positions = column::<UInt64Type>(values, "position")?;
    let sizes = column::<UInt64Type>(values, "size")?;
    let blob_ids = column::<UInt32Type>(values, "blob_id")?;
    let mut ends: BTreeMap<u32, u64> = BTreeMap::new();
    for row in 0..values.len() {
        if values.is_null(row) || kinds.is_null(row) {
            continue;
        }
        let size = sizes.value(row);
        let end = match BlobKind::try_from(kinds.value(row)) {
            // In the data file itself.
            Ok(BlobKind::Inline) => continue,
            Ok(BlobKind::Packed) => positions.value(row).saturating_add(size),
            Ok(BlobKind::Dedicated) => size,
            other => {
                found.not_copyable = Some(match other {
                    Ok(BlobKind::External) => EXTERNAL,
                    Ok(BlobKind::Managed | BlobKind::ManagedWithBase) => MANAGED,
                    _ => UNKNOWN,
                });
                continue;
            }
        };
        let known = ends.entry(blob_ids.value(row)).or_default();
        *known = end.max(*known);
    }
    for (id, end) in ends {
        let path = blob_path(&Path::from(DATA), stem(&file.path), id);
        let known = found.side_files.entry(path.to_string()).or_default();
        *known = end.max(*known);
    }
    Ok(())
}

fn column<'a, T: ArrowPrimitiveType>(
    values: &'a StructArray,
    name: &str,
) -> Result<&'a PrimitiveArray<T>> {
    let column = values.column_by_name(name);
    column
        .and_then(|values| values.as_primitive_opt())
        .ok_or_else(unreadable)
}

fn unreadable() -> Error {
    Error::Internal("a blob column was not read as descriptors".into())
}
