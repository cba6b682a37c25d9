//! Arrow IPC streams as whole byte strings.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, OffsetSizeTrait, RecordBatch},
    buffer::Buffer,
    datatypes::{DataType, Schema, SchemaRef, i256},
    error::ArrowError,
    ipc::{reader::StreamDecoder, writer::StreamWriter},
};
use bytes::Bytes;

use super::frames;
use crate::domain::{Error, Result};

/// Reads a whole stream: schema, batches and the end marker, which must be there,
/// because without it a stream that was cut between two batches looks whole.
/// `field` is the path of `stream` in the request. Buffers are shared with `stream`
/// where their alignment allows it.
pub fn decode_stream(stream: Bytes, field: &str) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    guarded(field, || {
        frames::check(&stream)?;
        let schema = Arc::new(frames::schema(&stream)?);
        let max = frames::max_expanded(stream.len());
        let invalid = |error| format!("is not a valid stream: {error}");
        let batches = batches(stream).map_err(invalid)?;
        let columns = batches.iter().flat_map(RecordBatch::columns);
        if columns.map(shared_bytes).fold(0, u64::saturating_add) > max {
            return Err("would be too large without dictionaries and views".into());
        }
        Ok((schema, batches))
    })
}

/// Reads the schema that a stream, or a serialized schema alone, begins with.
pub fn decode_schema(stream: &[u8], field: &str) -> Result<SchemaRef> {
    guarded(field, || frames::schema(stream)).map(Arc::new)
}

fn batches(stream: Bytes) -> Result<Vec<RecordBatch>, ArrowError> {
    let mut decoder = StreamDecoder::new();
    let mut rest = Buffer::from(stream);
    let mut batches = Vec::new();
    while !rest.is_empty() {
        batches.extend(decoder.decode(&mut rest)?);
    }
    decoder.finish()?;
    Ok(batches)
}

/// How large an array would be without dictionaries and views, where it has any:
/// a few bytes of a row may then stand for a value of megabytes that others share,
/// until somebody writes it out.
fn shared_bytes(array: &ArrayRef) -> u64 {
    let total = |lengths: &mut dyn Iterator<Item = usize>| lengths.map(|n| n as u64).sum();
    match array.data_type() {
        DataType::Utf8View => total(&mut array.as_string_view().iter().flatten().map(str::len)),
        DataType::BinaryView => {
            total(&mut array.as_binary_view().iter().flatten().map(<[u8]>::len))
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            if dictionary.values().is_empty() {
                return 0;
            }
            let lengths = lengths(dictionary.values());
            let keys = dictionary.normalized_keys();
            total(&mut keys.iter().filter_map(|key| lengths.get(*key).copied()))
        }
        DataType::Struct(_) => array.as_struct().columns().iter().map(shared_bytes).sum(),
        DataType::List(_) => shared_bytes(array.as_list::<i32>().values()),
        DataType::LargeList(_) => shared_bytes(array.as_list::<i64>().values()),
        DataType::FixedSizeList(..) => shared_bytes(array.as_fixed_size_list().values()),
        DataType::Map(..) => array
            .as_map()
            .entries()
            .columns()
            .iter()
            .map(shared_bytes)
            .sum(),
        _ => 0,
    }
}

/// Bytes of each value of a dictionary. Only text and bytes can be long.
fn lengths(values: &ArrayRef) -> Vec<usize> {
    fn of<O: OffsetSizeTrait>(offsets: &[O]) -> Vec<usize> {
        offsets
            .windows(2)
            .map(|w| w[1].as_usize() - w[0].as_usize())
            .collect()
    }
    match values.data_type() {
        DataType::Utf8 => of(values.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => of(values.as_string::<i64>().value_offsets()),
        DataType::Binary => of(values.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => of(values.as_binary::<i64>().value_offsets()),
        DataType::FixedSizeBinary(size) => vec![size.unsigned_abs() as usize; values.len()],
        _ => vec![size_of::<i256>(); values.len()],
    }
}

/// The arrow crate panics on some streams that are not valid (types it does not
/// know, buffers that are too short). It holds nothing that outlives the call, so
/// a panic of its is one more fault of the field.
fn guarded<T>(field: &str, read: impl FnOnce() -> Result<T, frames::Fault>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err("is not a valid Arrow IPC stream".into()))
        .map_err(|fault| Error::invalid(field, fault))
}

/// Writes a whole stream. Every batch has this schema.
pub fn encode_stream(schema: &Schema, batches: &[RecordBatch]) -> Result<Bytes> {
    let write = || {
        let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
        batches.iter().try_for_each(|batch| writer.write(batch))?;
        // Ends the stream before it gives up the bytes.
        writer.into_inner()
    };
    write().map(Bytes::from).map_err(internal)
}

/// What we have in memory can be written; if not, it is a fault of ours.
pub(super) fn internal(error: ArrowError) -> Error {
    Error::Internal(format!("arrow: {error}"))
}

#[cfg(test)]
mod tests;
