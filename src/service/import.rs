//! An import: Arrow IPC messages become one commit, all or nothing.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use bytes::Bytes;
use futures::{Stream, stream};
use tokio::sync::mpsc;
use tonic::Streaming;

use crate::{
    domain::{Error, Result},
    proto::v1::ImportRequest,
    wire::ipc::decode_stream,
};

/// Batches that wait between the network and the table. Together with the size
/// of a message this bounds an import's memory.
const BATCHES_WAITING: usize = 4;

/// What goes to the table: the rows, and the word that they are complete. A
/// client that goes away never says it, so half an import is never committed.
enum Item {
    Rows(RecordBatch),
    Complete,
}

/// An import whose first message has come.
pub(super) struct Upload {
    schema: SchemaRef,
    first: Vec<RecordBatch>,
    max_bytes: u64,
    bytes: u64,
}

/// The side that reads from the client.
pub(super) struct Feed {
    upload: Upload,
    rows: Arc<AtomicU64>,
    table: mpsc::Sender<Item>,
}

/// The first message of an import.
pub(super) async fn first_message(stream: &mut Streaming<ImportRequest>) -> Result<ImportRequest> {
    next(stream)
        .await?
        .ok_or_else(|| Error::invalid("table", "is required in the first message"))
}

async fn next(stream: &mut Streaming<ImportRequest>) -> Result<Option<ImportRequest>> {
    stream
        .message()
        .await
        .map_err(|status| match status.code() {
            tonic::Code::OutOfRange | tonic::Code::ResourceExhausted => {
                Error::TooLarge("a message of the import is larger than the server takes".into())
            }
            tonic::Code::InvalidArgument => Error::invalid("request", status.message()),
            _ => Error::Unavailable {
                reason: "CLIENT_GONE",
                message: "the client ended the import before it was complete".into(),
                retry_after: std::time::Duration::ZERO,
            },
        })
}

impl Upload {
    /// Begins with the first message's rows, which say what the columns are.
    pub(super) fn new(first: &Bytes, max_bytes: u64) -> Result<Self> {
        if first.is_empty() {
            return Err(Error::invalid("arrow_ipc", "is required"));
        }
        let bytes = first.len() as u64;
        if bytes > max_bytes {
            return Err(too_large(max_bytes));
        }
        let (schema, batches) = decode_stream(first.clone(), "arrow_ipc")?;
        Ok(Self {
            schema,
            first: batches,
            max_bytes,
            bytes,
        })
    }

    pub(super) fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    /// The two ends: one reads from the client, the other is the table's input.
    pub(super) fn start(
        self,
        rows: Arc<AtomicU64>,
    ) -> (
        Feed,
        impl Stream<Item = Result<RecordBatch>> + Send + 'static,
    ) {
        let (table, input) = mpsc::channel(BATCHES_WAITING);
        let feed = Feed {
            upload: self,
            rows,
            table,
        };
        let batches = stream::unfold(Some(input), |input| async move {
            let mut input = input?;
            match input.recv().await {
                Some(Item::Rows(batch)) => Some((Ok(batch), Some(input))),
                Some(Item::Complete) => None,
                None => Some((Err(cut_off()), None)),
            }
        });
        (feed, batches)
    }
}

fn too_large(max_bytes: u64) -> Error {
    Error::TooLarge(format!("an import may have {max_bytes} bytes"))
}

fn cut_off() -> Error {
    Error::Unavailable {
        reason: "IMPORT_CUT_OFF",
        message: "the import ended before it was complete; nothing was written".into(),
        retry_after: std::time::Duration::ZERO,
    }
}

impl Feed {
    /// Reads to the end of the client's stream. Returning early, or being
    /// dropped, undoes the import.
    pub(super) async fn run(mut self, mut stream: Streaming<ImportRequest>) -> Result<()> {
        let mut batches = std::mem::take(&mut self.upload.first);
        loop {
            for batch in batches {
                self.rows
                    .fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                if self.table.send(Item::Rows(batch)).await.is_err() {
                    // The table refused the rows and says why itself.
                    return Ok(());
                }
            }
            let Some(message) = next(&mut stream).await? else {
                break;
            };
            self.upload.bytes += message.arrow_ipc.len() as u64;
            if self.upload.bytes > self.upload.max_bytes {
                return Err(too_large(self.upload.max_bytes));
            }
            let (schema, next) = decode_stream(message.arrow_ipc, "arrow_ipc")?;
            if schema.fields() != self.upload.schema.fields() {
                let text = "has other columns than the first message";
                return Err(Error::invalid("arrow_ipc", text));
            }
            batches = next;
        }
        // An error here means that the table has refused the rows already.
        let _ = self.table.send(Item::Complete).await;
        Ok(())
    }
}
