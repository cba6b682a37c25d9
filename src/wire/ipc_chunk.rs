//! One Arrow IPC stream as a sequence of chunks, for answers that are too large
//! for one message.

use arrow::{
    array::{Array, AsArray, OffsetSizeTrait, RecordBatch},
    datatypes::{DataType, SchemaRef},
    ipc::writer::StreamWriter,
};
use bytes::Bytes;

use super::ipc::internal;
use crate::domain::{Error, Result};

/// Every chunk but the last has at least this many bytes.
pub const MIN_CHUNK: usize = 1 << 20;

/// No chunk has more bytes. Half of what gRPC clients accept by default.
pub const MAX_CHUNK: usize = 2 << 20;

/// Turns batches into chunks of 1 to 2 MiB of one stream: put together, the chunks
/// are the schema, the batches and the end marker. A large batch is cut by rows into
/// messages of about 1 MiB, so that neither side holds much more than that; chunks
/// need not end where messages end, so even one very large row stays below 2 MiB.
pub struct IpcChunker {
    schema: SchemaRef,
    writer: StreamWriter<Vec<u8>>,
}

impl IpcChunker {
    /// A stream of batches that have this schema.
    pub fn new(schema: SchemaRef) -> Result<Self> {
        let writer = StreamWriter::try_new(Vec::new(), &schema).map_err(internal)?;
        Ok(IpcChunker { schema, writer })
    }

    /// The chunks that are full now.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<Vec<Bytes>> {
        self.check(batch)?;
        let mut chunks = Vec::new();
        let step = rows_per_message(batch);
        for start in (0..batch.num_rows()).step_by(step) {
            let slice = batch.slice(start, step.min(batch.num_rows() - start));
            self.writer.write(&slice).map_err(internal)?;
            self.cut(&mut chunks);
        }
        Ok(chunks)
    }

    /// The last chunk, with the end marker. A stream without any batch is this one.
    pub fn finish(self) -> Result<Bytes> {
        // Ends the stream before it gives up the bytes.
        Ok(self.writer.into_inner().map_err(internal)?.into())
    }

    /// Moves full chunks out of the writer's buffer.
    fn cut(&mut self, chunks: &mut Vec<Bytes>) {
        let pending = self.writer.get_mut();
        if pending.len() < MIN_CHUNK {
            return;
        }
        let mut full = Bytes::from(std::mem::take(pending));
        while full.len() >= MIN_CHUNK {
            chunks.push(full.split_to(full.len().min(MAX_CHUNK)));
        }
        pending.extend_from_slice(&full);
    }

    /// The writer trusts its caller, and would write what nobody can read.
    fn check(&self, batch: &RecordBatch) -> Result<()> {
        let mine = self.schema.fields().iter().map(|field| field.data_type());
        let schema = batch.schema_ref();
        if mine.eq(schema.fields().iter().map(|field| field.data_type())) {
            Ok(())
        } else {
            let text = "a batch differs from the schema of its stream";
            Err(Error::Internal(text.into()))
        }
    }
}

/// How many rows of a batch make a message of about [`MIN_CHUNK`] bytes.
fn rows_per_message(batch: &RecordBatch) -> usize {
    let bytes: usize = batch.columns().iter().map(slice_bytes).sum();
    let rows = batch.num_rows() as u128 * MIN_CHUNK as u128 / (bytes as u128).max(1);
    usize::try_from(rows).unwrap_or(usize::MAX).max(1)
}

/// About how many bytes a message needs for an array: what its rows refer to, not
/// what its buffers hold.
fn slice_bytes(array: &impl AsRef<dyn Array>) -> usize {
    fn list<O: OffsetSizeTrait>(array: &dyn Array) -> usize {
        let list = array.as_list::<O>();
        let (first, last) = match list.value_offsets() {
            [first, .., last] => (first.as_usize(), last.as_usize()),
            _ => (0, 0),
        };
        slice_bytes(&list.values().slice(first, last - first)) + size_of::<O>() * list.len()
    }
    let array = array.as_ref();
    match array.data_type() {
        DataType::List(_) => list::<i32>(array),
        DataType::LargeList(_) => list::<i64>(array),
        DataType::FixedSizeList(..) => slice_bytes(array.as_fixed_size_list().values()),
        DataType::Struct(_) => array.as_struct().columns().iter().map(slice_bytes).sum(),
        // Its keys: the writer sends the values once.
        DataType::Dictionary(..) => {
            slice_bytes(&array.as_any_dictionary().keys().slice(0, array.len()))
        }
        _ => array
            .to_data()
            .get_slice_memory_size()
            .unwrap_or_else(|_| array.get_array_memory_size()),
    }
}
