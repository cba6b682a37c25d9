//! Batches as messages of about one size, each a whole Arrow IPC stream, made on
//! a thread of their own while the network is busy with those before.

use arrow::{
    array::{Array, RecordBatch},
    datatypes::SchemaRef,
    error::ArrowError,
    ipc::writer::StreamWriter,
};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::{convert::Converter, source::Source};
use crate::cli::error::CliError;

/// Messages that wait for the network.
const WAITING: usize = 4;

/// What the reading thread has to say. An end is said: a channel that just
/// closes means that the thread died, and rows are missing.
pub(super) enum Event {
    Chunk(Chunk),
    End,
    Failed(CliError),
}

/// The rows of one message.
pub(super) struct Chunk {
    pub ipc: Bytes,
    pub rows: u64,
}

/// Reads the sources one after the other, on a thread of its own.
pub(super) fn read(
    sources: Vec<Source>,
    first: RecordBatch,
    converter: Converter,
    chunk_bytes: usize,
) -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || {
        let mut packer = Packer::new(converter.schema().clone(), chunk_bytes);
        let last = match read_all(sources, first, &converter, &mut packer, &sender) {
            Ok(()) => Event::End,
            Err(error) => Event::Failed(error),
        };
        // Nobody listens when the server has refused the rest.
        let _ = sender.blocking_send(last);
    });
    receiver
}

fn read_all(
    sources: Vec<Source>,
    first: RecordBatch,
    converter: &Converter,
    packer: &mut Packer,
    sender: &mpsc::Sender<Event>,
) -> Result<(), CliError> {
    let mut ahead = Some(first);
    for mut source in sources {
        while let Some(batch) = ahead
            .take()
            .map_or_else(|| source.next(), |batch| Ok(Some(batch)))?
        {
            let batch = converter
                .convert(batch)
                .map_err(|error| CliError::file(&source.path, error))?;
            for chunk in packer.add(batch)? {
                if sender.blocking_send(Event::Chunk(chunk)).is_err() {
                    return Ok(());
                }
            }
        }
    }
    if let Some(chunk) = packer.pack()? {
        // As above.
        let _ = sender.blocking_send(Event::Chunk(chunk));
    }
    Ok(())
}

/// Gathers batches until they make a message.
struct Packer {
    schema: SchemaRef,
    chunk_bytes: usize,
    waiting: Vec<RecordBatch>,
    waiting_bytes: usize,
}

impl Packer {
    fn new(schema: SchemaRef, chunk_bytes: usize) -> Self {
        Packer {
            schema,
            chunk_bytes,
            waiting: Vec::new(),
            waiting_bytes: 0,
        }
    }

    /// Adds rows; answers the messages that became full.
    fn add(&mut self, batch: RecordBatch) -> Result<Vec<Chunk>, ArrowError> {
        let bytes = data_bytes(&batch)?;
        let rows = batch.num_rows();
        let row_bytes = bytes.div_ceil(rows.max(1)).max(1);
        let mut full = Vec::new();
        let mut begin = 0;
        while begin < rows {
            let room = self.chunk_bytes.saturating_sub(self.waiting_bytes) / row_bytes;
            let count = room.max(1).min(rows - begin);
            self.waiting.push(batch.slice(begin, count));
            self.waiting_bytes += count * row_bytes;
            begin += count;
            if self.waiting_bytes + row_bytes > self.chunk_bytes {
                full.extend(self.pack()?);
            }
        }
        Ok(full)
    }

    /// What waits, as a message; `None` if nothing does.
    fn pack(&mut self) -> Result<Option<Chunk>, ArrowError> {
        if self.waiting.is_empty() {
            return Ok(None);
        }
        let mut ipc = Vec::with_capacity(self.waiting_bytes + self.waiting_bytes / 8);
        let mut writer = StreamWriter::try_new(&mut ipc, &self.schema)?;
        let mut rows = 0;
        for batch in self.waiting.drain(..) {
            writer.write(&batch)?;
            rows += batch.num_rows() as u64;
        }
        writer.finish()?;
        drop(writer);
        self.waiting_bytes = 0;
        Ok(Some(Chunk {
            ipc: ipc.into(),
            rows,
        }))
    }
}

/// Bytes of the rows themselves, without those of buffers that a slice shares.
fn data_bytes(batch: &RecordBatch) -> Result<usize, ArrowError> {
    batch
        .columns()
        .iter()
        .map(|column| column.to_data().get_slice_memory_size())
        .sum()
}

/// An Arrow IPC stream of no rows: the schema as CreateTable takes it.
pub(super) fn schema_ipc(schema: &SchemaRef) -> Result<Bytes, ArrowError> {
    let mut ipc = Vec::new();
    StreamWriter::try_new(&mut ipc, schema)?.finish()?;
    Ok(ipc.into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array, StringArray};

    use super::*;
    use crate::cli::table::decode;

    #[test]
    fn rows_are_packed_evenly_and_none_is_lost() {
        let batch = |from: i64, to: i64| {
            let ids = Int64Array::from_iter_values(from..to);
            let texts = StringArray::from_iter_values((from..to).map(|i| format!("{i:0>92}")));
            RecordBatch::try_from_iter([("id", Arc::new(ids) as _), ("text", Arc::new(texts) as _)])
                .unwrap()
        };
        // About 104 bytes a row: a hundred rows fit into one message.
        let mut packer = Packer::new(batch(0, 1).schema(), 10_500);
        let mut chunks = Vec::new();
        for (from, to) in [(0, 1000), (1000, 1001), (1001, 1030), (1030, 2000)] {
            chunks.extend(packer.add(batch(from, to)).unwrap());
        }
        chunks.extend(packer.pack().unwrap());
        assert!(packer.pack().unwrap().is_none());
        assert!((19..=21).contains(&chunks.len()), "{}", chunks.len());
        assert_eq!(chunks.iter().map(|c| c.rows).sum::<u64>(), 2000);

        let mut ids = Vec::new();
        for chunk in chunks {
            assert!(chunk.ipc.len() < 13_000, "{}", chunk.ipc.len());
            for batch in decode(chunk.ipc).unwrap() {
                let column = batch
                    .column(0)
                    .as_primitive::<arrow::datatypes::Int64Type>();
                ids.extend(column.values().iter().copied());
            }
        }
        assert_eq!(ids, (0..2000).collect::<Vec<_>>());
    }

    #[test]
    fn a_row_larger_than_a_message_gets_one_of_its_own() {
        let texts = StringArray::from(vec!["x".repeat(5_000); 3]);
        let batch = RecordBatch::try_from_iter([("text", Arc::new(texts) as _)]).unwrap();
        let mut packer = Packer::new(batch.schema(), 1_000);
        assert_eq!(packer.add(batch).unwrap().len(), 3);
    }
}
